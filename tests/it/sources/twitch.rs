//! `twitch = LOGIN`.

use std::path::Path;
use std::time::Duration;

use segvault::rehearsal::SourceHandle;

use super::fake_twitch::{Asked, FakeTwitch};
use super::{assert_records, troubles};
use crate::record::LONG_SECONDS;
use crate::support::{NodeProcess, eventually, small_spec, source};

const QUALITIES: [(&str, &str); 2] = [("source", "source"), ("480p", "90p")];

fn live() -> SourceHandle {
    source(&small_spec(), LONG_SECONDS, 1)
}

fn start(base: &Path, twitch: &FakeTwitch, more: &str) -> NodeProcess {
    let channel = "[[channel]]\nname = \"ch\"\ntwitch = \"SegVault\"\nqualities = [\"source\", \"480p\"]\n";
    NodeProcess::start_with(base, &format!("{}{more}{channel}codecs = [\"h264\"]\n", twitch.config()), |_| {})
}

#[test]
fn both_forms_of_playlist_are_recorded() {
    let source = live();
    for (playlist, best) in [
        ("media_names.m3u8", "-source-"),
        ("ivs_names.m3u8", "-source-"),
        ("ivs_names_codecs.m3u8", "-h264-1080p60-"),
        ("ivs_names_no_source.m3u8", "-720p60-"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let twitch = FakeTwitch::start(&source, &[(best, "source"), ("-480p30-", "90p"), ("-h264-480p30-", "90p")]);
        twitch.now().playlist = Some(playlist);
        // The question in full is as good as the short one.
        twitch.now().knows_question = playlist != "ivs_names.m3u8";
        let node = start(&dir.path().join("base"), &twitch, "");
        let has_480p = playlist != "ivs_names_no_source.m3u8";
        assert_records(&node, &source, if has_480p { &QUALITIES } else { &QUALITIES[..1] });
        let asked = twitch.now().asked_usher();
        assert_eq!(
            (asked[0].query("supported_codecs").as_str(), asked[0].query("allow_source").as_str()),
            ("h264", "true")
        );
        let missing = node.logged("quality is not offered");
        assert_eq!(missing.is_empty(), has_480p, "{missing:#?}");
        node.stop();
    }
}

#[test]
fn a_channel_that_is_not_live_is_asked_calmly_and_recorded_when_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let source = live();
    let twitch = FakeTwitch::start(&source, &[("-source-", "source"), ("-480p30-", "90p")]);
    let node = start(&dir.path().join("base"), &twitch, "");
    let asked = eventually("it is asked again and again", || {
        let asked = twitch.now().asked_usher();
        (asked.len() >= 3).then_some(asked)
    });
    for pair in asked.windows(2) {
        let between = pair[1].at - pair[0].at;
        assert!(between >= Duration::from_millis(4900), "asked again after {between:?}");
    }
    assert_eq!(node.logged("channel is not live").len(), 1);
    assert_eq!(troubles(&node), [""; 0]);
    twitch.now().playlist = Some("ivs_names.m3u8");
    assert_records(&node, &source, &QUALITIES);
    let told = node.logged("channel is live");
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0]["offered"], "720p60, 480p|480p30, 360p|360p30, 160p|160p30, audio_only, 1080p60",
        "every name that can be written as a quality"
    );
    node.stop();
}

#[test]
fn a_refused_token_is_told_once_and_another_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "bad-secret\n").unwrap();
    let source = live();
    let twitch = FakeTwitch::start(&source, &[("-source-", "source"), ("-480p30-", "90p")]);
    twitch.now().account = Some("good-secret");
    let node = start(&dir.path().join("base"), &twitch, &format!("token_file = {file:?}\n"));
    let tokens = |asked: Vec<Asked>| asked.into_iter().map(|asked| asked.authorization).collect::<Vec<_>>();
    let sent =
        eventually("it goes on without", || Some(tokens(twitch.now().asked_gql())).filter(|sent| sent.len() >= 3));
    assert_eq!(sent[..3], [Some("OAuth bad-secret".to_owned()), None, None]);
    eventually("what it gets is used", || (twitch.now().asked_usher().len() >= 2).then_some(()));

    std::fs::write(&file, "good-secret\n").unwrap();
    eventually("the new one is sent", || {
        tokens(twitch.now().asked_gql()).contains(&Some("OAuth good-secret".to_owned())).then_some(())
    });
    twitch.now().playlist = Some("media_names.m3u8");
    assert_records(&node, &source, &QUALITIES);
    let troubles = troubles(&node);
    assert_eq!(troubles.len(), 1, "{troubles:#?}");
    assert!(troubles[0].contains("Twitch refuses the token") && troubles[0].contains("401"), "{troubles:#?}");
    let log = node.log().join("\n");
    for secret in ["bad-secret", "good-secret", "0123456789abcdef0123456789abcdef01234567"] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
    node.stop();
}

#[test]
fn refusals_are_told_with_their_reason() {
    let dir = tempfile::tempdir().unwrap();
    let source = live();
    let twitch = FakeTwitch::start(&source, &[]);
    let more = "[[channel]]\nname = \"gone\"\ntwitch = \"renamed\"\n";
    let node = start(&dir.path().join("base"), &twitch, more);
    let told = eventually("it is told", || node.logged("source gives no answer, will ask again").pop());
    assert_eq!(told["channel"], "gone");
    assert_eq!(told["error"], "Twitch gives no access token: there is no channel renamed");
    node.stop();
}
