//! What a node starts for a cut, and what is left of it.

use std::io::Read;
use std::process::Command;

use super::{PLAIN, Source, record};
use crate::support::{NodeProcess, eventually};

/// A process's number and state, of all that this one has started; a zombie has ended.
fn children(parent: u32) -> Vec<u32> {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes
        .filter(|process| stat(*process).is_some_and(|(its_parent, state)| its_parent == parent && state != "Z"))
        .collect()
}

/// The parent and the state of a process that is there.
fn stat(process: u32) -> Option<(u32, String)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after_name) = text.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    let state = fields.next()?.to_owned();
    Some((fields.next()?.parse().ok()?, state))
}

fn is_running(process: u32) -> bool {
    stat(process).is_some_and(|(_, state)| state != "Z")
}

fn ffmpegs_in_use(node: &NodeProcess) -> String {
    let text = node.get("/metrics").text();
    let line = text.lines().find(|line| line.starts_with("segvault_cut_ffmpeg_in_use_processes ")).unwrap();
    line.rsplit_once(' ').unwrap().1.to_owned()
}

/// A node whose ffmpeg is the real one, but stays there after it has re-encoded sound, or put a video together.
fn node_with_a_lingering_ffmpeg(source: &Source) -> NodeProcess {
    let found = Command::new("sh").args(["-c", "command -v ffmpeg"]).output().unwrap().stdout;
    let real = String::from_utf8(found).unwrap().trim().to_owned();
    let programs = source.record.layout.base().with_file_name("programs");
    std::fs::create_dir(&programs).unwrap();
    let script = programs.join("ffmpeg");
    // Those that trim edges end as ever: what comes after waits for their end.
    std::fs::write(&script, format!("#!/bin/sh\n{real} \"$@\"\ncase \"$*\" in *192k*|*faststart*) sleep 600;; esac\n"))
        .unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    NodeProcess::start_with(source.record.layout.base(), "", |command| {
        command.env("PATH", path).args(["--set", "node.grace=4s"]);
    })
}

#[test]
fn bad_questions_are_refused_before_any_byte_and_leave_nothing_running() {
    let source = record(PLAIN);
    std::fs::remove_file(source.path(3)).unwrap();
    let node = NodeProcess::start(source.record.layout.base(), &[]);
    eventually("the node knows its ffmpeg", || node.get("/node").json()["ffmpeg"]["version"].is_string().then_some(()));
    let range = |from: usize, until: usize| format!("range={},{}", source.frame(from), source.frame(until));
    let two = format!("{}&{}", range(30, 100), range(20, 60));
    let many = vec![range(10, 20); 1000].join("&");
    for (query, status, code) in [
        (format!("{}&type=avi", range(0, 30)), 400, "bad_parameter"),
        (format!("{}&allow_holes=perhaps", range(0, 30)), 400, "bad_parameter"),
        (format!("{two}&transition=nosuch,1"), 400, "bad_parameter"),
        (format!("{two}&transition=fade,0"), 400, "bad_parameter"),
        (format!("{two}&transition=fade,1.4"), 400, "bad_parameter"),
        (format!("{two}&transition=fade,1&transition=fade,1"), 400, "bad_parameter"),
        (format!("{two}&transition=fade,0.5&type=rough"), 400, "no_transitions"),
        (format!("{two}&type=archive"), 400, "not_one_range"),
        (range(50, 50), 400, "end_before_start"),
        (range(60, 50), 400, "end_before_start"),
        (format!("start={}&end={}", source.frame(60), source.frame(50)), 400, "end_before_start"),
        (format!("{}&start={}", range(0, 30), source.frame(0)), 400, "bad_parameter"),
        ("range=yesterday,today".to_owned(), 400, "bad_time"),
        ("range=".to_owned(), 400, "bad_parameter"),
        (range(150, 300), 406, "holes"),
        (format!("{}&{}", range(0, 30), range(150, 300)), 406, "holes"),
        ("range=2031-01-01,2031-01-02".to_owned(), 406, "no_content"),
        ("range=2031-01-01,2031-01-02&allow_holes=true".to_owned(), 406, "no_content"),
        ("range=0001-01-01,9999-12-31".to_owned(), 406, "holes"),
        // Between two frames.
        (
            format!("range={},{}", source.frame(30).plus_micros(100), source.frame(30).plus_micros(200)),
            406,
            "no_content",
        ),
        (many, 400, "bad_parameter"),
    ] {
        let refused = node.get(&format!("/cut/ch/source.ts?{query}"));
        let what = &query[..query.len().min(120)];
        assert_eq!(
            (refused.status, refused.json()["code"].as_str()),
            (status, Some(code)),
            "{what}: {}",
            refused.text()
        );
        assert!(refused.json()["message"].as_str().is_some_and(|message| message.len() > 10), "{what}");
        assert_eq!(refused.header("x-segvault-cut"), "", "{what}");
    }
    for (path, status) in [("/cut/none/source.ts", 404), ("/cut/.ch/source.ts", 403), ("/cut/ch/..%2Fx.ts", 403)] {
        assert_eq!(node.get(&format!("{path}?{}", range(0, 30))).status, status, "{path}");
    }
    eventually("nothing runs any more", || {
        (children(node.id()).is_empty() && ffmpegs_in_use(&node) == "0").then_some(())
    });
    node.stop();
}

#[test]
fn what_runs_for_a_cut_ends_when_the_client_leaves_and_when_the_node_stops() {
    let source = record(PLAIN);
    let mut node = node_with_a_lingering_ffmpeg(&source);
    let path = format!("/cut/ch/source.ts?type=mpegts&range={},{}", source.frame(10), source.frame(350));
    let begun = || {
        let mut client = node.ask(&path);
        let mut head = [0; 1000];
        client.read_exact(&mut head).unwrap();
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        let running = children(node.id());
        assert!(!running.is_empty() && ffmpegs_in_use(&node) == "1", "{running:?}");
        (client, running)
    };
    let (client, running) = begun();
    drop(client);
    eventually("the programs of a client who has left end", || {
        running.iter().all(|one| !is_running(*one)).then_some(())
    });
    assert_eq!(ffmpegs_in_use(&node), "0");

    let (_client, running) = begun();
    // The scripts and what they have started.
    let family: Vec<u32> = running.iter().flat_map(|one| children(*one)).chain(running.iter().copied()).collect();
    node.signal("-TERM");
    assert_eq!(node.wait().code(), Some(0), "{:#?}", node.log());
    eventually("the programs of a node that has stopped end", || {
        family.iter().all(|one| !is_running(*one)).then_some(())
    });
}

#[test]
fn a_client_that_leaves_before_its_video_is_put_together_ends_it() {
    let source = record(super::Recipe { seconds: 4, ..PLAIN });
    let node = node_with_a_lingering_ffmpeg(&source);
    let path = format!("/cut/ch/source.ts?type=faststart&range={},{}", source.frame(10), source.frame(110));
    let client = node.ask(&path);
    // The script, once all that it reads is made.
    let is_putting_together = |process: u32| {
        let words = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains("faststart")
    };
    let running = eventually("the video is being put together", || {
        children(node.id()).into_iter().find(|process| is_putting_together(*process))
    });
    drop(client);
    eventually("the programs of a client who has left end", || (!is_running(running)).then_some(()));
    eventually("its place is free", || (ffmpegs_in_use(&node) == "0").then_some(()));
    node.stop();
}

#[test]
fn the_ffmpeg_that_was_found_is_told() {
    let source = record(super::Recipe { seconds: 2, ..PLAIN });
    let node = NodeProcess::start(source.record.layout.base(), &[]);
    let told = || {
        eventually("the node has asked", || {
            let ffmpeg = node.get("/node").json()["ffmpeg"].clone();
            ffmpeg.is_object().then_some(ffmpeg)
        })
    };
    let first = eventually("the log tells", || node.logged("ffmpeg is there").pop());
    assert_eq!((&told()["version"], &told()["missing"]), (&first["version"], &serde_json::json!([])));
    node.stop();

    // One that lacks encoders.
    let base = source.record.layout.base();
    let programs = base.with_file_name("programs");
    std::fs::create_dir(&programs).unwrap();
    let script = programs.join("ffmpeg");
    std::fs::write(
        &script,
        "#!/bin/sh\necho 'ffmpeg version 9.9-small by hand' >&2\necho ' V....D libx264 and more'\n",
    )
    .unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let node = NodeProcess::start_with(base, "", |command| {
        command.env("PATH", path);
    });
    let warned = eventually("the log warns", || node.logged("ffmpeg lacks encoders: some cuts will fail").pop());
    assert_eq!(
        (warned["version"].as_str(), warned["missing"].as_str()),
        (Some("9.9-small"), Some("libx265 aac libvpx-vp9 libopus"))
    );
    let ffmpeg = eventually("the node has asked", || {
        let ffmpeg = node.get("/node").json()["ffmpeg"].clone();
        ffmpeg.is_object().then_some(ffmpeg)
    });
    assert_eq!(
        ffmpeg,
        serde_json::json!({ "version": "9.9-small", "missing": ["libx265", "aac", "libvpx-vp9", "libopus"] })
    );
    node.stop();
}
