//! Closed reading: tokens, signed links, and nodes among themselves.

use std::path::Path;

use segvault::model::Timestamp;
use sha2::{Digest, Sha256};

use super::writes::routes_with;
use super::{address, send, send_as};
use crate::replicate::{HOUR, plant_segment, plant_tree, tree};
use crate::support::{NodeProcess, Reply, eventually, run, segvault};

const READER: &str = "reader-s3cret";
const EDITOR: &str = "editor-s3cret";
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn closed(dir: &Path, more: &str) -> String {
    std::fs::write(dir.join("link-key"), KEY).unwrap();
    let token = |who: &str, token: &str| {
        let hash: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{who}@example.org {who} {hash}")
    };
    let tokens = [token("reader", READER), token("editor", EDITOR)];
    format!("[auth]\nmode = \"tokens\"\nread = \"token\"\nlink_key_file = \"link-key\"\ntokens = {tokens:?}\n{more}")
}

fn get(node: &NodeProcess, path: &str, token: Option<&str>) -> Reply {
    send_as(node, "GET", path, token, "")
}

#[test]
fn where_reading_is_closed_nothing_answers_without_a_token_but_probes() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    plant_segment(&base.join("ch/source").join(HOUR), "00:00.0", "full", b"x");
    let node = NodeProcess::start_with(&base, &closed(dir.path(), ""), |_| {});
    let routes = routes_with(&["get_or_head()", "web::get()"]);
    assert!(routes.len() > 30, "{routes:?}");
    for (_, pattern) in &routes {
        let path = pattern.replace("{channel}", "ch").replace("{quality}", "source").replace("{hour}", HOUR);
        let path: String = path.split(['{', '}']).step_by(2).collect::<Vec<_>>().join("x");
        let is_open = ["/healthz", "/readyz"].contains(&path.as_str());
        for method in ["GET", "HEAD", "POST", "PUT"] {
            let status = |token| send_as(&node, method, &path, token, "").status;
            if !is_open {
                // What takes no POST may say so.
                let is_refused = |status| status == 401 || (status == 405 && !["GET", "HEAD"].contains(&method));
                assert!(is_refused(status(None)), "{method} {path}");
            } else if method == "GET" {
                assert_eq!(status(None), 200, "{path}");
            }
        }
        let endless = ["/follow/", "/api/v1/events/stream"].iter().any(|endless| path.starts_with(endless));
        if !endless {
            for token in [READER, EDITOR] {
                assert!(![401, 429].contains(&get(&node, &path, Some(token)).status), "{path}");
            }
        }
    }
    for path in ["/", "/nowhere", "/healthz/x", "//files", "/files?sig=x&until=1", "/metrics/x"] {
        assert_eq!(get(&node, path, None).status, 401, "{path}");
    }
    // A browser may ask whether it may ask.
    assert_eq!(send_as(&node, "OPTIONS", "/files", None, "").status, 204);
    let segments = format!("/files/ch/source/{HOUR}");
    let names = get(&node, &segments, Some(READER)).json();
    let segment = format!("/segments/ch/source/{HOUR}/{}", names[0].as_str().unwrap());
    let reply = get(&node, &segment, Some(READER));
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"x"[..]));
    assert!(reply.header("cache-control").starts_with("private,"), "{}", reply.header("cache-control"));
    assert_eq!(send_as(&node, "POST", "/api/v1/events", Some(READER), "{\"id\": \"e\"}").status, 403);
    node.stop();

    let node = NodeProcess::start_with(&base, &closed(dir.path(), "metrics = \"open\"\n"), |_| {});
    assert_eq!((get(&node, "/metrics", None).status, get(&node, "/files", None).status), (200, 401));
    let (code, said, _) = run(segvault().args(["health", "--dir"]).arg(&base));
    assert_eq!((code, said.contains("true")), (0, true), "{said}");
    node.stop();
}

/// The addresses in a playlist, those in tags too.
fn addresses(text: &str) -> Vec<String> {
    let plain = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let tags = text.lines().filter_map(|line| line.split_once("URI=\"")?.1.split('"').next());
    plain.chain(tags).map(str::to_owned).collect()
}

#[test]
fn a_link_plays_what_it_is_for_until_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    for quality in ["source", "480p"] {
        for second in 0..5u8 {
            let hour = base.join("ch é").join(quality).join(HOUR);
            plant_segment(&hour, &format!("00:{:02}.0", 2 * second), "full", &[second]);
        }
    }
    plant_segment(&base.join("other/source").join(HOUR), "00:00.0", "full", b"x");
    let node = NodeProcess::start_with(&base, &closed(dir.path(), ""), |_| {});
    let config = base.with_extension("toml");
    let link = |args: &[&str]| {
        let (code, url, said) = run(segvault().args(["link", "--at", &node.url(), "--config"]).arg(&config).args(args));
        assert_eq!(code, 0, "{said}");
        url.trim().strip_prefix(&node.url()).unwrap().to_owned()
    };
    let range = ["--start", "2026-01-02T03:00:00", "--end", "2026-01-02T03:00:10"];
    let of_channel = link(&[&["ch é"], &range[..]].concat());
    let parameters = of_channel[of_channel.find("sig=").unwrap()..].to_owned();

    let master = get(&node, &of_channel, None);
    assert_eq!(master.status, 200, "{}", master.text());
    let media = addresses(&master.text());
    assert_eq!(media.len(), 2, "{}", master.text());
    for address in media {
        assert!(address.ends_with(&format!("&{parameters}")), "{address}");
        let playlist = get(&node, &address, None);
        assert_eq!(playlist.status, 200);
        let plain = get(&node, &address.replace(&format!("&{parameters}"), ""), Some(READER)).text();
        assert!(plain.contains("#EXT-X-ENDLIST") && !plain.contains("sig="));
        assert_eq!(playlist.text().replace(&format!("?{parameters}"), ""), plain, "else it is the same");
        let segments = addresses(&playlist.text());
        assert_eq!(segments.len(), 5);
        for (place, segment) in segments.iter().enumerate() {
            let reply = get(&node, segment, None);
            assert_eq!((reply.status, reply.body.as_slice()), (200, &[place as u8][..]), "{segment}");
            assert_eq!(get(&node, segment.split('?').next().unwrap(), None).status, 401);
        }
    }

    let of_quality = link(&["ch é", "480p"]);
    assert_eq!(get(&node, &of_quality, None).status, 200);
    let parameters_of = |link: &str| link[link.find("sig=").unwrap()..].to_owned();
    let refused = [
        format!("/playlist/ch%20%C3%A9.m3u8?{}", parameters_of(&of_quality)),
        format!("/playlist/ch%20%C3%A9/source.m3u8?{}", parameters_of(&of_quality)),
        format!("/playlist/other.m3u8?{parameters}"),
        format!("/files?{parameters}"),
        format!("/cut/ch%20%C3%A9/source.ts?{parameters}"),
        of_channel.replace("until=", "until=1"),
        of_channel.replace("sig=", "sig=A"),
        link(&["ch é", "--for", "0s"]),
    ];
    for path in &refused {
        assert_eq!(get(&node, path, None).status, 401, "{path}");
    }
    assert_eq!(send_as(&node, "POST", &of_channel, None, "").status, 401, "a link only reads");
    let log = node.log().join("\n");
    assert!(!log.contains(KEY) && !log.contains("s3cret"));
    node.stop();
}

#[test]
fn a_live_playlist_only_grows_for_who_has_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let origin = Timestamp::from_micros((now.as_secs() as i64 - 20) * 1_000_000);
    let add = |second: i64| {
        let start = origin.plus_micros(second * 1_000_000);
        let offset = start.micros_since(start.hour().start()) / 1_000_000;
        let hour = base.join("ch/source").join(start.hour().to_string());
        plant_segment(&hour, &format!("{:02}:{:02}.0", offset / 60, offset % 60), "full", &[second as u8]);
    };
    (0..3).for_each(|place| add(2 * place));
    let node = NodeProcess::start_with(&base, &closed(dir.path(), ""), |_| {});
    let config = base.with_extension("toml");
    let args = ["link", "ch", "source", "--at", &node.url(), "--start", &origin.to_string(), "--config"];
    let (_, url, _) = run(segvault().args(args).arg(&config));
    let path = url.trim().strip_prefix(&node.url()).unwrap();
    let mut before = eventually("it is listed", || {
        let reply = get(&node, path, None);
        (addresses(&reply.text()).len() == 3).then_some(reply)
    });
    for place in 3..6 {
        add(2 * place);
        let after = eventually("it grows", || {
            let reply = get(&node, path, None);
            assert_eq!(reply.header("content-length"), reply.body.len().to_string());
            (addresses(&reply.text()).len() == place as usize + 1).then_some(reply)
        });
        assert!(after.text().starts_with(&before.text()), "{}\n{}", before.text(), after.text());
        let newest = addresses(&after.text()).pop().unwrap();
        assert_eq!(get(&node, &newest, None).body, [2 * place as u8]);
        let unchanged = [("If-None-Match", after.header("etag"))];
        assert_eq!(send(&address(&node), "GET", path, &unchanged, "").status, 304);
        before = after;
    }
    node.stop();
}

#[test]
fn nodes_show_each_other_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let [theirs, ours, others] = ["theirs", "ours", "others"].map(|name| dir.path().join(name));
    plant_tree(&theirs);
    let peer = NodeProcess::start_with(&theirs, &closed(dir.path(), ""), |_| {});
    let token = dir.path().join("peers-token");
    std::fs::write(&token, format!("{READER}\n")).unwrap();
    let more = format!("[backfill]\npeers = [{:?}]\nchannels = [\"ch é\"]\ninterval = \"1s\"\n", peer.url());
    let without = NodeProcess::start_with(&others, &more, |_| {});
    let node = NodeProcess::start_with(&ours, &format!("{more}token_file = \"peers-token\"\n"), |_| {});
    eventually("all is here", || (tree(&ours) == tree(&theirs)).then_some(()));
    eventually("it is told why nothing is", || without.log().iter().any(|line| line.contains("401")).then_some(()));
    assert!(tree(&others).is_empty());

    std::fs::write(&token, format!("{EDITOR}\n")).unwrap();
    eventually("the new one is shown", || node.logged("showing peers a new token").pop());
    plant_segment(&theirs.join("ch é/source").join(HOUR), "40:00.0", "full", b"more");
    eventually("that is here too", || (tree(&ours) == tree(&theirs)).then_some(()));
    let (code, _, said) = run(segvault().args(["drain-check", "--config"]).arg(ours.with_extension("toml")));
    assert_eq!(code, 0, "commands show it as well: {said}");
    let log = node.log().join("\n");
    assert!(!log.contains(READER) && !log.contains(EDITOR));
    node.stop();
    without.stop();
    peer.stop();
}

#[test]
fn commands_show_a_closed_node_their_token_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    plant_segment(&base.join("ch/source").join(HOUR), "00:00.0", "full", b"x");
    let node = NodeProcess::start_with(&base, &closed(dir.path(), ""), |_| {});
    eventually("the schema is there", || (get(&node, "/api/v1/events", Some(READER)).status == 200).then_some(()));
    let token_file = |token: &str| {
        let file = dir.path().join(token);
        std::fs::write(&file, format!("{token}\n")).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (reader, editor, url) = (token_file(READER), token_file(EDITOR), node.url());
    let ask = |args: &[&str], token: Option<&str>, variable: Option<&str>| {
        let mut command = segvault();
        command.args(args).args(["--url", &url]);
        command.args(token.into_iter().flat_map(|file| ["--token-file", file]));
        command.envs(variable.map(|token| ("SEGVAULT_TOKEN", token)));
        run(&mut command)
    };
    let events = |args: &[&str]| -> serde_json::Value {
        let (code, out, error) = ask(&[&["events"], args, &["--json"]].concat(), Some(&editor), None);
        assert_eq!(code, 0, "{args:?}: {error}");
        serde_json::from_str(&out).unwrap()
    };

    let added = events(&["add", "e1", "event_start=2026-01-02T03:00:00", "description=A run"]);
    assert_eq!((&added["id"], &added["state"]), (&"e1".into(), &"UNEDITED".into()));
    let edited = events(&["edit", "e1", "video_title=T", "--version", "1"]);
    assert_eq!((&edited["video_title"], &edited["editor"]), (&"T".into(), &"editor@example.org".into()));
    events(&["add", "e2", "event_start=2026-01-02T04:00:00"]);
    let listed = events(&["list", "--state", "UNEDITED", "--limit", "1"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &"e1".into()));
    let history = events(&["history", "e1"]);
    assert_eq!((history.as_array().unwrap().len(), &history[1]["by"]), (2, &"editor@example.org".into()));
    assert_eq!(events(&["cancel", "e1"])["state"], "UNEDITED");
    // As text, and with the token in the environment.
    let (code, out, error) = ask(&["events", "list", "--limit", "1"], None, Some(READER));
    assert!(
        code == 0 && out.contains("UNEDITED") && out.contains("  e1  T\n") && out.contains("there are more"),
        "{error}{out}"
    );
    let (_, out, _) = ask(&["events", "show", "e1"], Some(&reader), None);
    assert!(out.contains("video_title            \"T\"\n"), "{out}");

    for (args, token, code, says) in [
        (&["events", "show", "e1"][..], None, 1, "(401)"),
        (&["events", "edit", "e1", "notes=x"], Some(&reader), 1, "(403)"),
        (&["events", "edit", "e1", "notes=x", "--version", "1"], Some(&editor), 1, "of version"),
        (&["events", "retry", "e1"], Some(&editor), 1, "nothing about the event has failed"),
        (&["events", "reset", "e1"], Some(&editor), 1, "(403)"),
        (&["events", "show", "none"], Some(&editor), 1, "no such event"),
        (&["events", "cancel", "e1", "--by", "ann"], Some(&editor), 64, "--by"),
        (&["events", "list", "--set", "log.level=debug"], Some(&editor), 64, "--set"),
    ] {
        let (ended, out, error) = ask(args, token.map(String::as_str), None);
        assert!(ended == code && error.contains(says), "{args:?}: {ended} {out} {error}");
        assert!(!error.contains("s3cret") || token.is_some(), "{error}");
    }
    let mut without_url = segvault();
    let (code, _, error) = run(without_url.args(["events", "list", "--token-file", &reader]));
    assert!(code == 64 && error.contains("--url"), "{error}");

    let file = dir.path().join("cut.ts");
    let range = format!("{HOUR}:00:00,{HOUR}:00:01");
    let cut =
        ["cut", "ch", "source", "--range", &range, "--type", "rough", "--allow-holes", "-o", file.to_str().unwrap()];
    let (code, _, error) = ask(&cut, None, None);
    assert!(code == 1 && error.contains("(401 "), "{error}");
    let receipt = dir.path().join("receipt.json");
    let with_receipt = [&cut[..], &["--receipt", receipt.to_str().unwrap()]].concat();
    let (code, _, error) = ask(&with_receipt, Some(&reader), None);
    assert_eq!((code, std::fs::read(&file).unwrap()), (0, b"x".to_vec()), "{error}");
    let receipt: serde_json::Value = serde_json::from_slice(&std::fs::read(receipt).unwrap()).unwrap();
    assert_eq!(receipt["outcome"], "done");
    node.stop();
}
