//! The first screen of the README, as a new user meets it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use segvault::rehearsal::barcode;

use crate::support::{PATIENCE, run, segvault};

struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        // Ended already, if the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_readme_begins_with_two_commands_that_are_there() {
    let root = env!("CARGO_MANIFEST_DIR");
    let readme = std::fs::read_to_string(format!("{root}/README.md")).unwrap();
    let first_screen: Vec<&str> = readme.lines().take(40).collect();
    for command in ["make demo", "make test"] {
        assert!(first_screen.iter().any(|line| line.contains(command)), "{command}");
        // A dry run: the target exists, and what it needs can be made.
        let (code, _, said) = run(Command::new("make").args(["-n", "-C", root]).args(command.split(' ').skip(1)));
        assert_eq!(code, 0, "{said}");
    }
}

/// What `make demo` runs: the printed playlist plays without a gap, and the printed cut holds exactly the frames that it
/// promises.
#[test]
fn what_the_demo_prints_works() {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let mut command = segvault();
    command.args(["demo", "--dir", "d e m o"]).current_dir(dir.path());
    let mut demo = Demo(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = Vec::new();
    for line in lines.by_ref() {
        let last = line.contains("^C stops");
        said.push(line);
        if last {
            break;
        }
    }
    let said = said.join("\n");
    assert!(began.elapsed() < PATIENCE, "it took {} s: {said}", began.elapsed().as_secs());
    let line =
        |part: &str| said.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}\n{said}")).trim();

    let shell = |line: &str| run(Command::new("sh").args(["-c", line]).current_dir(dir.path()));
    let (code, _, errors) = shell(line(" cut --url "));
    assert_eq!(code, 0, "{errors}");
    let frames = barcode::read_file(&dir.path().join("demo-cut.ts")).unwrap();
    let promised: Vec<u32> = line("exactly frames").split(' ').filter_map(|word| word.parse().ok()).take(2).collect();
    assert_eq!(frames, (promised[0]..=promised[1]).collect::<Vec<_>>(), "{said}");

    let (code, listed, errors) = shell(line(" select --dir "));
    assert_eq!(code, 0, "{errors}");
    assert!(listed.lines().count() >= 3 && !listed.contains("hole"), "{listed}");

    // Through a player's eyes, from the first segment on: ffmpeg follows the live playlist for a while.
    let playlist = line("/playlist/demo.m3u8").split(' ').next_back().unwrap();
    let seen = dir.path().join("seen.mkv");
    let (code, _, errors) = run(Command::new("ffmpeg")
        .args(["-v", "error", "-live_start_index", "0", "-i", playlist, "-t", "6", "-map", "0:v:0"])
        // Decoded, as a player does; a copy would end in the middle of a group of B-frames.
        .args(["-fps_mode", "passthrough", "-c:v", "libx264", "-preset", "ultrafast"])
        .arg(&seen));
    assert_eq!((code, errors.as_str()), (0, ""));
    let frames = barcode::read_file(&seen).unwrap();
    assert!(frames.len() >= 150, "{}", frames.len());
    assert_eq!(frames, (frames[0]..frames[0] + frames.len() as u32).collect::<Vec<_>>());

    assert!(Command::new("kill").args(["-INT", &demo.0.id().to_string()]).status().unwrap().success());
    assert_eq!(demo.0.wait().unwrap().code(), Some(0));
    assert!(lines.any(|line| line.contains("The record is in")));
}
