//! `command = […]` and `youtube = URL`: programs that say where the playlist is.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use segvault::rehearsal::SourceHandle;

use super::{assert_records, script, troubles};
use crate::record::LONG_SECONDS;
use crate::support::{NodeProcess, eventually, run, segvault, small_spec, source};

const BOTH: [(&str, &str); 2] = [("source", "source"), ("90p", "90p")];

fn live() -> SourceHandle {
    source(&small_spec(), LONG_SECONDS, 1)
}

fn start(base: &Path, source: &str, change: impl FnOnce(&mut Command)) -> NodeProcess {
    let channel = format!("[[channel]]\nname = \"ch\"\nqualities = [\"source\", \"90p\"]\n{source}\n");
    NodeProcess::start_with(base, &channel, change)
}

/// PATH with a directory before everything else.
fn path_with(dir: &Path) -> OsString {
    let usual = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(dir.to_owned()).chain(std::env::split_paths(&usual))).unwrap()
}

#[test]
fn a_command_prints_the_address_of_a_playlist() {
    let dir = tempfile::tempdir().unwrap();
    let source = live();
    let (program, address) = (dir.path().join("find playlist"), dir.path().join("address"));
    // What a shell would make two words or a variable of is one argument.
    script(&program, "test \"$1\" = '$HOME and *' || exit 9\ncat \"$2\" 2>/dev/null || true");
    let line = format!("command = [{program:?}, \"$HOME and *\", {address:?}]");
    let node = start(&dir.path().join("base"), &line, |_| {});
    // It prints nothing.
    eventually("it is told", || (!node.logged("channel is not live").is_empty()).then_some(()));
    assert_eq!(troubles(&node), [""; 0]);
    std::fs::write(&address, format!("\n{}\n", source.url())).unwrap();
    assert_records(&node, &source, &BOTH);
    node.stop();
}

#[test]
fn a_command_is_asked_for_each_quality() {
    let dir = tempfile::tempdir().unwrap();
    let source = live();
    let program = dir.path().join("find");
    let media = source.url().replace("master.m3u8", "");
    script(&program, &format!("test \"$1\" = --quality=180p && exit 1\necho {media}${{1#--quality=}}/live.m3u8"));
    let channel = format!(
        "[[channel]]\nname = \"ch\"\nqualities = [\"source\", \"90p\", \"180p\"]\n\
         command = [{program:?}, \"--quality={{quality}}\"]\n"
    );
    let node = NodeProcess::start_with(&dir.path().join("base"), &channel, |_| {});
    assert_records(&node, &source, &BOTH);
    let missing = node.logged("quality is not offered");
    assert_eq!((missing.len(), missing[0]["quality"].as_str()), (1, Some("180p")));
    node.stop();
}

#[test]
fn the_last_words_of_a_command_that_fails_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("fail");
    for (text, told_as) in [
        ("echo out of cookies >&2; exit 3", "(exit status: 3): out of cookies"),
        ("echo 'error: no plugin'; exit 1", "(exit status: 1): error: no plugin"),
        ("echo file:///etc/passwd", "printed no http or https address: \"file:///etc/passwd\""),
    ] {
        script(&program, text);
        let base = dir.path().join("base");
        let node = start(&base, &format!("command = [{program:?}]"), |_| {});
        let told = eventually("it is told", || node.logged("source gives no answer, will ask again").pop());
        assert!(told["error"].as_str().unwrap().contains(told_as), "{told}");
        node.stop();
    }
    // As streamlink says it.
    script(&program, "echo 'error: No playable streams found on this URL: x'; exit 1");
    let node = start(&dir.path().join("base"), &format!("command = [{program:?}]"), |_| {});
    eventually("it is not live", || (!node.logged("channel is not live").is_empty()).then_some(()));
    assert_eq!(troubles(&node), [""; 0]);
    node.stop();
}

#[test]
fn a_command_that_hangs_ends_with_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (program, ids) = (dir.path().join("hang"), dir.path().join("ids"));
    let text = format!("sleep 1000 & echo $$ $! >'{0}.temp'; mv '{0}.temp' '{0}'; wait", ids.display());
    script(&program, &text);
    let node = start(&dir.path().join("base"), &format!("command = [{program:?}]"), |_| {});
    let ids = eventually("it runs", || std::fs::read_to_string(&ids).ok());
    node.stop();
    for id in ids.split_whitespace() {
        eventually("it is gone", || {
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            // A zombie waits for whoever is to bury it.
            (status.is_empty() || status.contains("State:\tZ")).then_some(())
        });
    }
}

#[test]
fn yt_dlp_is_asked_for_the_playlist_of_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let source = live();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let (said, args) = (dir.path().join("said"), dir.path().join("args"));
    let answer = |json: &str| {
        let temp = dir.path().join("temp");
        std::fs::write(&temp, json).unwrap();
        std::fs::rename(&temp, &said).unwrap();
    };
    answer("{\"live_status\": \"is_upcoming\", \"formats\": []}");
    script(&bin.join("yt-dlp"), &format!("printf '%s\\n' \"$@\" >>'{}'; cat '{}'", args.display(), said.display()));
    let base = dir.path().join("base");
    let page = "https://www.youtube.com/@example/live";
    let node = start(&base, &format!("youtube = {page:?}"), |command| {
        command.env("PATH", path_with(&bin));
    });
    eventually("it is told", || (!node.logged("channel is not live").is_empty()).then_some(()));
    assert_eq!(troubles(&node), [""; 0]);
    answer(&format!(
        "{{\"live_status\": \"is_live\", \"protocol\": \"m3u8_native\", \"url\": \"http://127.0.0.1:1/\", \
         \"manifest_url\": {:?}}}",
        source.url()
    ));
    assert_records(&node, &source, &BOTH);
    let args = std::fs::read_to_string(&args).unwrap();
    assert!(args.starts_with("--dump-json\n") && args.contains(&format!("\n--\n{page}\n")), "{args}");
    node.stop();

    // A page where nothing is announced is no failure, whatever the exit code.
    script(&bin.join("yt-dlp"), "echo 'ERROR: [youtube:tab] @example: The channel is not currently live' >&2; exit 1");
    let node = start(&base, &format!("youtube = {page:?}"), |command| {
        command.env("PATH", path_with(&bin));
    });
    eventually("it is told", || (!node.logged("channel is not live").is_empty()).then_some(()));
    assert_eq!(troubles(&node), [""; 0]);
    node.stop();
}

#[test]
fn a_missing_program_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("bin");
    std::fs::create_dir(&empty).unwrap();
    let base = dir.path().join("base");
    let node = start(&base, "youtube = \"https://www.youtube.com/@example/live\"", |command| {
        command.env("PATH", &empty);
    });
    let absent = node.logged("a program is not installed, its channel cannot be recorded");
    assert_eq!((absent.len(), absent[0]["program"].as_str()), (1, Some("yt-dlp")));
    let told = eventually("it is told", || node.logged("source gives no answer, will ask again").pop());
    assert!(told["error"].as_str().unwrap().starts_with("cannot run yt-dlp; is it installed?: "), "{told}");
    node.stop();
    let config = base.with_extension("toml");
    let check = |path: &Path| run(segvault().args(["config", "check", "--config"]).arg(&config).env("PATH", path));
    let warning = "warning: channel ch cannot be recorded without \"yt-dlp\", which is not installed\n";
    assert_eq!(check(&empty), (0, "ok\n".into(), warning.into()));
    script(&empty.join("yt-dlp"), "exit 1");
    assert_eq!(check(&empty), (0, "ok\n".into(), String::new()));
}
