use std::collections::BTreeMap;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{CutType, EncoderPreset, FullCodec, FullEncode, Quality, UploadLocation, VideoCodec};

const SAMPLE: &str = include_str!("../../docs/segvault.sample.toml");

fn machine() -> Machine {
    Machine { host_name: "alpha".into(), cores: 2, current_dir: "/here".into() }
}

/// Loads a file called `t.toml` with this text, and overrides.
fn load_with(text: &str, sets: &[&str], variables: &[(&str, &str)]) -> Result<Loaded, Faults> {
    let dir = TempDir::new().unwrap();
    load_in(&dir, text, sets, variables)
}

fn load_in(dir: &TempDir, text: &str, sets: &[&str], variables: &[(&str, &str)]) -> Result<Loaded, Faults> {
    let path = dir.path().join("t.toml");
    std::fs::write(&path, text).unwrap();
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    load_on(&machine(), Some(&path), &sets, variables)
}

fn load(text: &str) -> Result<Loaded, Faults> {
    load_with(text, &[], &[])
}

/// The faults, without the directory of the file.
fn faults_of(result: Result<Loaded, Faults>) -> Vec<String> {
    let lines = |faults: Faults| faults.to_string().lines().map(strip_dir).collect();
    result.err().map(lines).unwrap_or_default()
}

fn strip_dir(line: &str) -> String {
    line.split_once("/t.toml").map_or(line, |(_, rest)| rest).trim_start_matches(':').to_owned()
}

const CHANNEL: &str = "[[channel]]\nname = \"gdq\"\nhls = \"http://127.0.0.1:9000/m.m3u8\"\n";

#[test]
fn nothing_given_is_a_whole_configuration() {
    let Loaded { config, .. } = load_on(&machine(), None, &[], std::iter::empty()).unwrap();
    assert_eq!(config.node.name.as_str(), "alpha");
    assert_eq!(config.node.dir, Path::new("/var/lib/segvault"));
    assert_eq!(config.node.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.node.grace, Duration::from_secs(25));
    assert_eq!(config.log, LogConfig { format: log::Format::Auto, level: log::Level::Info });
    assert_eq!(config.channels, []);
    assert_eq!(config.record.segment_permits, 8);
    assert_eq!(config.record.spool_size.bytes(), 64 << 20);
    assert_eq!(config.playlist.hold, Duration::from_secs(15));
    assert_eq!(config.cache.hours_size.bytes(), 64 << 20);
    assert_eq!(config.cut, CutConfig { max_ffmpeg: 2, stall: Duration::from_secs(60) });
    assert_eq!(config.database.database, Database::Sqlite("/var/lib/segvault/.segvault/segvault.db".into()));
}

#[test]
fn a_file_is_read_in_full() {
    let dir = TempDir::new().unwrap();
    let text = r#"
        cut = { max_ffmpeg = 3, stall = "90s" }
        [node]
        name = "beta"
        dir = "data"
        listen = "[::1]:0"
        grace = "10s"
        [log]
        format = "json"
        level = "warn"
        [[channel]]
        name = "gdq"
        hls = "http://127.0.0.1:9000/m.m3u8"
        [[channel]]
        name = "esa"
        hls = "https://example.org/m.m3u8"
        qualities = ["source", "480p"]
        [record]
        segment_permits = 0x10
        spool_size = "0B"
        [playlist]
        hold = "0s"
        [cache]
        hours_size = "1GiB"
        [database]
        url = "sqlite:/srv/jobs.db"
    "#;
    let Loaded { config, .. } = load_in(&dir, text, &[], &[]).unwrap();
    assert_eq!(config.node.dir, dir.path().join("data"));
    assert_eq!(config.node.listen.port(), 0);
    assert_eq!(config.log, LogConfig { format: log::Format::Json, level: log::Level::Warning });
    let names: Vec<_> = config.channels.iter().map(|channel| channel.name.as_str()).collect();
    assert_eq!(names, ["gdq", "esa"]);
    assert_eq!(config.channels[1].qualities.iter().map(Quality::as_str).collect::<Vec<_>>(), ["source", "480p"]);
    assert_eq!(config.record.segment_permits, 16);
    assert_eq!(config.record.spool_size.bytes(), 0);
    assert_eq!(config.playlist.hold, Duration::ZERO);
    assert_eq!(config.cut, CutConfig { max_ffmpeg: 3, stall: Duration::from_secs(90) });
    assert_eq!(config.database.database, Database::Sqlite("/srv/jobs.db".into()));
}

#[test]
fn each_kind_of_fault_says_where_what_and_what_is_allowed() {
    let name = "write 1 to 128 bytes without a slash, backslash or control character, not beginning with a period";
    let url = "write the address of an HLS playlist, as https://example.org/live/master.m3u8";
    let duration = "write a whole number and a unit, as 250ms, 15s, 2m, 12h or 14d";
    let mut wrong = Vec::new();
    for (text, fault) in [
        ("[node]\nnmae = \"x\"", "2:1: node.nmae: unknown; did you mean name?".to_owned()),
        ("[node]\nport = 1", "2:1: node.port: unknown; allowed here: name, dir, listen, url, grace".into()),
        ("[nodes]", "1:2: nodes: unknown; did you mean node?".into()),
        (
            "[upload.local]\ntype = \"tape\"",
            "2:8: upload.local.type: \"tape\" is no type of destination; write local, archive, s3 or youtube".into(),
        ),
        ("[upload.a]\ntype = \"local\"", "1:1: upload.a.path: missing; write the directory that videos go to".into()),
        (
            "[upload.a]\ntype = \"archive\"\npath = \"v\"\ncut_type = \"smart\"",
            "4:1: upload.a.cut_type: unknown; allowed here: type, path, url_prefix".into(),
        ),
        (
            "[upload.a]\ntype = \"local\"\npath = \"v\"\ncut_type = \"archive\"",
            "4:12: upload.a.cut_type: it belongs to the type archive; write smart, rough, mp4, faststart, mpegts or webm".into(),
        ),
        (
            "[upload.\"../a\"]\ntype = \"local\"",
            format!("1:9: upload.../a: \"../a\": a name may not start with a period; {}", UploadLocation::ALLOWED),
        ),
        (
            "[upload.a]\ntype = \"s3\"\nendpoint = \"http://127.0.0.1:9\"\nbucket = \"abc\"\npath_style = false\n\
             credentials_file = \"k\"",
            "5:14: upload.a.path_style: the endpoint is an IP address, before which no bucket can stand".into(),
        ),
        (
            "[upload.a]\ntype = \"s3\"\nendpoint = \"http://me:hush@h\"\nbucket = \"abc\"\ncredentials_file = \"k\"",
            "3:12: upload.a.endpoint: not just the address of a server; write the address of the store, as \
             https://s3.eu-central-1.amazonaws.com"
                .into(),
        ),
        (
            "[upload.a]\ntype = \"youtube\"\ncredentials_file = \"k\"\napi = \"http://example.org\"",
            "4:7: upload.a.api: not the address of a server that may see tokens; write the address of a server, with https: \
             unless it is on this machine"
                .into(),
        ),
        (
            "[upload.a]\ntype = \"local\"\npath = \"v\"\nencode_crf = 20",
            "4:14: upload.a.encode_crf: a smart cut copies what it shows; it goes with cut_type \"mpegts\" or \"webm\"".into(),
        ),
        (
            "[upload.a]\ntype = \"local\"\npath = \"v\"\ncut_type = \"webm\"\nencode_preset = \"fast\"",
            "5:17: upload.a.encode_preset: it goes with cut_type \"mpegts\"; a webm is VP9, as fast as can be".into(),
        ),
        (
            "[upload.a]\ntype = \"local\"\npath = \"v\"\ncut_type = \"mpegts\"\nencode_preset = \"fast -f null\"",
            "5:17: upload.a.encode_preset: \"fast -f null\" is no preset; write ultrafast, superfast, veryfast, faster, fast, \
             medium, slow, slower or veryslow"
                .into(),
        ),
        (
            "[upload.a]\ntype = \"local\"\npath = \"v\"\ncut_type = \"mpegts\"\nencode_crf = 60",
            "5:14: upload.a.encode_crf: 60 is out of bounds; write a whole number from 0 to 51".into(),
        ),
        ("upload = 3", "1:10: upload: an integer where tables are due; write [upload.NAME]".into()),
        ("[upload]\na = 3", "2:5: upload.a: an integer where a table is due; write [upload.NAME]".into()),
        ("node = 3", "1:8: node: an integer where a section is due; write [node]".into()),
        ("[[node]]", "1:1: node: there is one of it; write [node]".into()),
        ("[channel]\nname = \"x\"", "1:1: channel: a table where a list is due; write [[channel]]".into()),
        ("channel = [1]", "1:12: channel.0: an integer where a table is due; write [[channel]]".into()),
        ("[node]\nname = \"../x\"", format!("2:8: node.name: \"../x\": a name may not start with a period; {name}")),
        ("[node]\nname = 7", format!("2:8: node.name: an integer (7) where a text in quotes is due; {name}")),
        ("[node]\ndir = \"\"", "2:7: node.dir: \"\" is no path; write a path in quotes".into()),
        (
            "[node]\nlisten = \"localhost:80\"",
            "2:10: node.listen: \"localhost:80\" is no address; write an IP address and a port, as 127.0.0.1:8000, \
             0.0.0.0:8000 or [::]:8000"
                .into(),
        ),
        ("[node]\ngrace = \"0s\"", format!("2:9: node.grace: \"0s\" is not from 1s to 1h; {duration}")),
        ("[node]\ngrace = 25", format!("2:9: node.grace: an integer (25) where a text in quotes is due; {duration}")),
        ("[playlist]\nhold = \"15\"", format!("2:8: playlist.hold: \"15\" has no unit; {duration}")),
        (
            "[cache]\nhours_size = \"0B\"",
            "2:14: cache.hours_size: \"0B\" is not from 1MiB to 1TiB; write a whole number and a unit, as 500B, \
             512KiB, 64MiB, 20GiB or 1TiB"
                .into(),
        ),
        ("[log]\nformat = \"xml\"", "2:10: log.format: \"xml\" is no log format; write auto, json or terminal".into()),
        (
            "[log]\nlevel = \"loud\"",
            "2:9: log.level: \"loud\" is no log level; write error, warning, info, debug or trace".into(),
        ),
        (
            "[record]\nsegment_permits = 65",
            "2:19: record.segment_permits: 65 is out of bounds; write a whole number from 1 to 64".into(),
        ),
        (
            "[cut]\nmax_ffmpeg = -1",
            "2:14: cut.max_ffmpeg: -1 is out of bounds; write a whole number from 1 to 64".into(),
        ),
        (
            "[cut]\nmax_ffmpeg = \"two\"",
            "2:14: cut.max_ffmpeg: a text where a whole number is due; write a whole number from 1 to 64".into(),
        ),
        ("[[channel]]\nhls = \"http://x/\"", format!("1:1: channel.0.name: missing; {name}")),
        (
            "[[channel]]\nname = \"x\"",
            "1:1: channel.0.hls: missing; name the source: one of hls, twitch, youtube and command".into(),
        ),
        (
            "[[channel]]\nname = \"x\"\nhls = \"x.m3u8\"",
            format!("3:7: channel.0.hls: not a URL (relative URL without a base); {url}"),
        ),
        (
            "[[channel]]\nname = \"x\"\ntwitch = \"twitch.tv/x\"",
            "3:10: channel.0.twitch: \"twitch.tv/x\": not a login name at Twitch; write the channel's name as in its \
             address, twitch.tv/NAME"
                .into(),
        ),
        (
            "[[channel]]\nname = \"x\"\nyoutube = \"dQw4w9WgXcQ\"",
            "3:11: channel.0.youtube: not a URL (relative URL without a base); write the address of a live video, as \
             https://www.youtube.com/@example/live"
                .into(),
        ),
        (
            "[twitch]\nclient_id = \"\"",
            "2:13: twitch.client_id: \"\" is no client ID; write 1 to 64 letters and digits".into(),
        ),
        (
            "[database]\nurl = \"mysql://u:p@h/d\"",
            "2:7: database.url: not the URL of a database that we know; write sqlite:PATH (relative to DIR/.segvault) \
             or postgres://USER@HOST/DATABASE"
                .into(),
        ),
        (
            "[database]\npassword_file = \"x\"",
            "2:17: database.password_file: an SQLite file has no password; leave the key out".into(),
        ),
        (
            "[database]\nurl = \"postgres://u:p@h/d\"\npassword_file = \"x\"",
            "3:17: database.password_file: the url holds a password already; keep one of the two".into(),
        ),
    ] {
        let found = faults_of(load(text));
        if found != [fault.as_str()] {
            wrong.push(format!("{text}\n{found:#?}\n{fault}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn each_fault_of_a_channel_names_its_element() {
    let with = |line: &str| faults_of(load(&format!("{CHANNEL}{line}")));
    assert_eq!(
        with("important = \"yes\""),
        ["4:13: channel.0.important: a text where a boolean is due; write true or false"]
    );
    assert_eq!(
        with("quality = 1"),
        ["4:1: channel.0.quality: unknown; allowed here: name, hls, twitch, youtube, command, qualities, important, \
          codecs, url_life, advertisement_titles, planned_off, max_age"]
    );
    assert_eq!(
        with("codecs = [\"vp9\"]"),
        ["4:11: channel.0.codecs.0: \"vp9\": no video codec that we know; write h264, hevc or av1"]
    );
    assert_eq!(
        with("url_life = \"5s\""),
        [
            "4:12: channel.0.url_life: \"5s\" is not from 1m to 30d; write a whole number and a unit, as 250ms, 15s, 2m, \
          12h or 14d"
        ]
    );
    assert_eq!(
        with("command = []"),
        [
            "4:11: channel.0.command: hls is there already; a channel has one source",
            "4:11: channel.0.command: the list is empty; name at least one, or leave the key out",
        ]
    );
    assert_eq!(
        with("twitch = \"a b\"\nyoutube = \"https://x/\"").len(),
        3,
        "each source that is too many, and what is wrong with it"
    );
    assert_eq!(with("advertisement_titles = []"), <[&str; 0]>::default());
    assert!(with("advertisement_titles = [\"\"]")[0].contains("is no beginning of a title"));
    assert_eq!(with("qualitys = 1"), ["4:1: channel.0.qualitys: unknown; did you mean qualities?"]);
    assert_eq!(
        with("qualities = []"),
        ["4:13: channel.0.qualities: the list is empty; name at least one, or leave the key out"]
    );
    assert_eq!(
        with("qualities = \"source\""),
        ["4:13: channel.0.qualities: a text where a list is due; write [\"a\", \"b\"]"]
    );
    let several = with("qualities = [\"a\", \"a\", \"chat\", 3]");
    assert_eq!(several.len(), 3, "{several:#?}");
    assert_eq!(several[0], "4:19: channel.0.qualities.1: \"a\" is there twice");
    assert!(several[1].starts_with("4:24: channel.0.qualities.2: \"chat\" is where"), "{several:#?}");
    assert!(several[2].starts_with("4:32: channel.0.qualities.3: an integer (3)"), "{several:#?}");

    let twice = load(&format!("{CHANNEL}{CHANNEL}")).unwrap_err().to_string();
    assert!(twice.contains("/t.toml:5:8: channel.1.name: \"gdq\" is a channel already, at /"), "{twice}");
    assert!(twice.ends_with("/t.toml:2:8"), "{twice}");
}

#[test]
fn each_kind_of_source_is_read() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("token"), "hunter2\n").unwrap();
    let text = "[[channel]]\nname = \"a\"\ntwitch = \"GamesDoneQuick\"\nimportant = false\ncodecs = [\"h265\", \"h264\"]\n\
        [[channel]]\nname = \"b\"\nyoutube = \"https://www.youtube.com/watch?v=x&key=hunter2\"\nurl_life = \"2h\"\n\
        [[channel]]\nname = \"c\"\ncommand = [\"get\", \"-v\", \"-v\", \"{quality}\"]\n[twitch]\ntoken_file = \"token\"\n";
    let loaded = load_in(&dir, text, &[], &[]).unwrap();
    let [twitch, youtube, command] = &loaded.config.channels[..] else { panic!() };
    let SourceConfig::Twitch(login) = &twitch.source else { panic!("{twitch:?}") };
    assert_eq!((login.as_str(), twitch.important, youtube.important), ("gamesdonequick", false, true));
    assert_eq!(twitch.codecs, [VideoCodec::Hevc, VideoCodec::H264]);
    assert_eq!([twitch.url_life, youtube.url_life], [None, Some(Duration::from_secs(7200))]);
    let SourceConfig::Youtube(page) = &youtube.source else { panic!("{youtube:?}") };
    assert_eq!(page.expose(), "https://www.youtube.com/watch?v=x&key=hunter2");
    let SourceConfig::Command(line) = &command.source else { panic!("{command:?}") };
    assert_eq!((line.program(), line.is_per_quality()), ("get", true));
    assert_eq!(line.args(&"480p".parse().unwrap()), ["-v", "-v", "480p"]);
    assert_eq!(loaded.config.twitch.token_file, Some(dir.path().join("token")));
    assert!(!format!("{loaded:?}{}", loaded.show()).contains("hunter2"));
    std::fs::remove_file(dir.path().join("token")).unwrap();
    let faults = load_in(&dir, text, &[], &[]).unwrap_err().to_string();
    assert!(faults.contains("twitch.token_file: /") && faults.contains("No such file"), "{faults}");
}

#[test]
fn programs_that_are_not_there_are_named() {
    let text =
        "[[channel]]\nname = \"a\"\ncommand = [\"/nowhere/tool\"]\n[[channel]]\nname = \"b\"\ncommand = [\"sh\"]\n";
    let absent = load(text).unwrap().config.absent_programs();
    let told: Vec<String> = absent.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["channel a cannot be recorded without \"/nowhere/tool\", which is not installed"]);
}

#[test]
fn every_fault_is_reported_at_once_in_order() {
    let text = "[log]\nlevel = \"loud\"\n[node]\nnmae = 1\ngrace = \"1\"\nname = \nlisten = 3\n[[channel]]\n";
    let faults = faults_of(load_with(text, &["cut.stall=0s", "x"], &[("SEGVAULT_LOG__FORMAT", "xml")]));
    let starts: Vec<&str> = faults.iter().map(|fault| &fault[..5]).collect();
    // The missing keys of the channel are not reported: the syntax fault may have swallowed them.
    assert_eq!(starts, ["2:9: ", "4:1: ", "5:9: ", "6:8: ", "7:10:", "SEGVA", "--set", "--set"], "{faults:#?}");
}

#[test]
fn several_syntax_faults_are_reported() {
    let faults = faults_of(load("[node\nname = \"x\"\n[log]\nlevel = info\nlevel = \"info\"\n= 3\n"));
    assert!(faults.len() >= 3, "{faults:#?}");
    assert!(faults.iter().all(|fault| fault.contains("not TOML")), "{faults:#?}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let dir = TempDir::new().unwrap();
    let load = |path: &Path| load_on(&machine(), Some(path), &[], std::iter::empty()).unwrap_err().to_string();
    let missing = dir.path().join("none.toml");
    assert_eq!(
        load(&missing),
        format!("{}: cannot be read: No such file or directory (os error 2)", missing.display())
    );
    assert!(load(dir.path()).contains("cannot be read: Is a directory"));
    assert!(load(Path::new("/dev/zero")).contains("cannot be read: larger than 1048576 bytes"));
    let binary = dir.path().join("binary.toml");
    std::fs::write(&binary, b"[node]\nname = \"\xff\"").unwrap();
    assert!(load(&binary).ends_with("not UTF-8, in line 2"), "{}", load(&binary));
}

#[test]
fn later_layers_win() {
    let text = "[node]\nname = \"file\"\ngrace = \"2s\"\n[log]\nlevel = \"debug\"";
    let variables = [("SEGVAULT_NODE__NAME", "42"), ("SEGVAULT_LOG__LEVEL", "trace"), ("OTHER__X", "1")];
    let loaded = load_with(text, &["log.level=error"], &variables).unwrap();
    assert_eq!(loaded.config.node.name.as_str(), "42");
    assert_eq!(loaded.config.node.grace, Duration::from_secs(2));
    assert_eq!(loaded.config.log.level, log::Level::Error);
    let origin = |section, key| {
        let found = loaded.effective().iter().find(|one| one.section == section && one.key == key).unwrap();
        strip_dir(&found.origin.brief())
    };
    assert_eq!(origin("node", "name"), "env SEGVAULT_NODE__NAME");
    assert_eq!(origin("node", "grace"), "3");
    assert_eq!(origin("node", "dir"), "default");
    assert_eq!(origin("log", "level"), "--set");
}

#[test]
fn a_channel_can_be_made_of_overrides_alone() {
    let variables = [
        ("SEGVAULT_CHANNEL__1__HLS", "http://x/b"),
        ("SEGVAULT_CHANNEL__1__NAME", "b"),
        ("SEGVAULT_CHANNEL__0__QUALITIES", "[\"source\", \"480p\"]"),
    ];
    let loaded = load_with(CHANNEL, &["channel.0.name=a"], &variables).unwrap();
    let [first, second] = &loaded.config.channels[..] else { panic!() };
    assert_eq!((first.name.as_str(), first.qualities.len()), ("a", 2));
    assert_eq!((second.name.as_str(), &second.source), ("b", &SourceConfig::Hls("http://x/b".parse().unwrap())));
    let whole = load_with("", &[], &[("SEGVAULT_CHANNEL", "[{ name = \"c\", hls = \"http://x/\" }]")]).unwrap();
    assert_eq!(whole.config.channels[0].name.as_str(), "c");
}

#[test]
fn a_fault_of_an_override_names_it() {
    for (sets, variables, fault) in [
        (&["channel.0.name=x"][..], &[][..], "--set channel.0.name: channel.0.hls: missing; name the source"),
        (&["node.nmae=x"], &[], "--set node.nmae: unknown; did you mean name?"),
        (&["nodename=x"], &[], "--set nodename: unknown; allowed here: node, log"),
        (&[], &[("SEGVAULT_NODE__NMAE", "x")], "SEGVAULT_NODE__NMAE: node.nmae: unknown; did you mean name?"),
        (
            &[],
            &[("SEGVAULT_UPLOAD__MODE", "x")],
            "SEGVAULT_UPLOAD__MODE: upload.mode: a text where a table is due; write [upload.NAME]",
        ),
        (&[], &[("SEGVAULT_AUTH__MODE", "oidc")], "SEGVAULT_AUTH__MODE: auth.client_ids: missing; write the client id"),
        (&["auth.people=[\"ann editor\"]"], &[], "--set auth.people: it belongs to the mode oidc"),
        (&["auth.mode=none", "node.listen=0.0.0.0:80"], &[], "--set auth.mode: none lets everybody write"),
        (&[], &[("SEGVAULT_LOG", "debug")], "SEGVAULT_LOG: log: a text where a section is due; write [log]"),
        (
            &[],
            &[("SEGVAULT_NODE_DIR", "x")],
            "SEGVAULT_NODE_DIR: unknown; two underscores go between section and key: SEGVAULT_NODE__DIR",
        ),
    ] {
        let faults = faults_of(load_with("", sets, variables));
        assert!(faults.len() == 1 && faults[0].starts_with(fault), "{faults:#?}\n{fault}");
    }
}

#[test]
fn what_an_orchestrator_puts_into_the_environment_is_no_fault() {
    let variables =
        [("SEGVAULT_SERVICE_HOST", "10.0.0.1"), ("SEGVAULT_PORT", "tcp://10.0.0.1:80"), ("SEGVAULT_CONFIG", "x")];
    assert!(load_with("", &[], &variables).is_ok());
}

#[test]
fn relative_paths_know_what_they_are_relative_to() {
    let dir = TempDir::new().unwrap();
    let node_dir = |text, sets| load_in(&dir, text, sets, &[]).unwrap().config.node.dir;
    assert_eq!(node_dir("[node]\ndir = \"data\"", &[]), dir.path().join("data"));
    assert_eq!(node_dir("", &["node.dir=data"]), Path::new("/here/data"));
    assert_eq!(node_dir("", &["node.dir=/data"]), Path::new("/data"));
}

#[test]
fn a_password_comes_from_its_file_and_is_printed_nowhere() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("pw"), "hunter2\n").unwrap();
    let text = "[database]\nurl = \"postgres://me@db/vault\"\npassword_file = \"pw\"";
    let from_file = load_in(&dir, text, &[], &[]).unwrap();
    let in_url = load("[database]\nurl = \"postgres://me:hunter2@db/vault\"").unwrap();
    for loaded in [&from_file, &in_url] {
        let Database::Postgres(postgres) = &loaded.config.database.database else { panic!() };
        assert_eq!(postgres.expose_url().expose(), "postgres://me:hunter2@db/vault");
        assert!(!format!("{loaded:?}{}", loaded.show()).contains("hunter2"));
    }
    assert!(in_url.show().contains("url = \"postgres://me:***@db/vault\""), "{}", in_url.show());

    for (content, fault) in [("", "is empty"), ("a\nb", "holds more than one line")] {
        std::fs::write(dir.path().join("pw"), content).unwrap();
        let faults = load_in(&dir, text, &[], &[]).unwrap_err().to_string();
        assert!(faults.ends_with(fault), "{faults}");
    }
    std::fs::remove_file(dir.path().join("pw")).unwrap();
    let faults = load_in(&dir, text, &[], &[]).unwrap_err().to_string();
    assert!(faults.contains("/t.toml:3:17: database.password_file: /"), "{faults}");
    assert!(faults.ends_with("/pw cannot be read: No such file or directory (os error 2)"), "{faults}");
}

#[test]
fn an_unusable_host_name_asks_for_a_name() {
    let machine = Machine { host_name: String::new(), ..machine() };
    let faults = load_on(&machine, None, &[], std::iter::empty()).unwrap_err().to_string();
    assert!(faults.starts_with("node.name: \"\": a name may not be empty; write 1 to 128 bytes"), "{faults}");
    assert!(load_on(&machine, None, &["node.name=x".into()], std::iter::empty()).is_ok());
}

#[test]
fn what_is_shown_can_be_read_again() {
    let loaded = load(&format!(
        "[node]\nname = \"a \\\"b\\\"\"\n{CHANNEL}qualities = [\"x\", \"y\"]\n{}",
        CHANNEL.replace("gdq", "esa")
    ))
    .unwrap();
    let again = load(&loaded.show()).unwrap_or_else(|faults| panic!("{faults}\n{}", loaded.show()));
    assert_eq!(again.config, loaded.config);
}

#[test]
fn show_says_where_each_value_came_from() {
    let shown = load_on(&machine(), None, &["log.level=debug".into()], std::iter::empty()).unwrap().show();
    assert!(shown.starts_with("[node]\nname = \"alpha\"             # default\n"), "{shown}");
    assert!(shown.contains("[log]\nformat = \"auto\"  # default\nlevel = \"debug\"  # --set\n"), "{shown}");
    assert!(shown.contains("#password_file is not set"), "{shown}");
}

#[test]
fn a_channel_is_kept_as_long_as_it_says_itself() {
    let text = "[retention]\nmax_age = \"14d\"\nmin_free = \"20GiB\"\n";
    let own = format!("{text}{CHANNEL}\nmax_age = \"90d\"");
    let retention = load(&own).unwrap().config.retention;
    let days = |days: u64| Some(Duration::from_secs(days * 24 * 3600));
    let (named, other) = (load(&own).unwrap().config.channels[0].name.clone(), "other".parse().unwrap());
    assert_eq!((retention.max_age(&named), retention.max_age(&other)), (days(90), days(14)));
    assert_eq!((retention.quarantine_max_age(&named), retention.quarantine_max_age(&other)), (days(90), days(14)));
    let set_aside = load(&own.replace("min_free", "quarantine_max_age = \"3d\"\nmin_free")).unwrap().config.retention;
    assert_eq!((set_aside.quarantine_max_age(&named), set_aside.max_age(&other)), (days(3), days(14)));
    assert_eq!((retention.min_copies, retention.min_free.map(ByteSize::bytes)), (1, Some(20 << 30)));
    assert_eq!(load(CHANNEL).unwrap().config.retention.max_age(&named), None, "nothing goes unless it is said");
    assert!(load("[retention]\nmax_age = \"59m\"").is_err());
}

#[test]
fn a_channel_may_be_meant_to_be_off() {
    let with = |off: &str| load(&format!("{CHANNEL}\nplanned_off = [{off}]"));
    let loaded = with("\"2026-01-02T03:00/2026-01-02T05:30\"").unwrap().config;
    let off = loaded.coverage.off(&loaded.channels[0].name);
    assert_eq!((off.len(), off[0].end().to_string().as_str()), (1, "2026-01-02T05:30:00.000000"));
    assert_eq!(loaded.coverage.off(&"other".parse().unwrap()), []);
    assert_eq!(loaded.coverage.map_hours(), 168);
    for bad in ["2026-01-02T03:00", "2026-01-02T03:00/", "2026-01-02T03:00/2026-01-02T02:00"] {
        assert!(with(&format!("{bad:?}")).is_err(), "{bad}");
    }
}

#[test]
fn peers_are_addresses_without_secrets() {
    let quiet = load("[backfill]\nfollow = false").unwrap().config;
    assert!(!quiet.backfill.follow && !quiet.backfill.may_have_peers(&quiet.database.database));
    let shared = load("[database]\nurl = \"postgres://db/vault\"").unwrap().config;
    assert!(shared.backfill.may_have_peers(&shared.database.database));
    let text = "[backfill]\npeers = [\"http://beta:8000/\"]\nchannels = [\"a\"]\nbandwidth = \"20MiB\"";
    let Config { backfill, database, .. } = load(text).unwrap().config;
    assert_eq!(backfill.peers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["http://beta:8000"]);
    assert_eq!((backfill.channels.len(), backfill.bandwidth.map(ByteSize::bytes)), (1, Some(20 << 20)));
    assert!(backfill.follow && backfill.may_have_peers(&database.database));
    assert_eq!((backfill.interval, backfill.recent_cutoff), (Duration::from_secs(120), Duration::from_secs(120)));
    for (bad, says) in [
        ("peers = [\"http://me:secret@beta\"]", "holds no user"),
        ("peers = [\"beta:8000\"]", "can be fetched: beta:"),
        ("peers = [\"http://a\", \"http://a/\"]", "is there twice"),
        ("bandwidth = \"1KiB\"", "is not from 1MiB"),
        ("peers_dns = \"https://segvault\"", "no certificate"),
        ("extras = [\"../emotes\"]", "may not start with a period"),
        ("extras = [\"a\"]\nchannels = [\"a\"]", "is a channel"),
        ("since = \"soon\"", "neither a time nor an age"),
        ("order = \"random\"", "is no order"),
    ] {
        let faults = faults_of(load(&format!("[backfill]\n{bad}")));
        assert!(faults.len() == 1 && faults[0].contains(says), "{bad}: {faults:?}");
    }
}

/// The sample with every key put in.
fn sample_uncommented() -> String {
    let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let lines = SAMPLE.lines().map(|line| line.strip_prefix('#').filter(|rest| is_key(rest)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_location_is_read() {
    let dir = TempDir::new().unwrap();
    let text = "[upload.local]\ntype = \"local\"\npath = \"videos\"\ncut_type = \"fast\"\nurl_prefix = \"http://v/\"\n\
        [upload.\"a b\"]\ntype = \"archive\"\npath = \"/srv\"\n[cutter]\nlease = \"10s\"\n";
    let web = "[upload.web]\ntype = \"local\"\npath = \"w\"\ncut_type = \"mpegts\"\nencode_codec = \"hevc\"\nencode_preset = \"slow\"\n\
        encode_crf = 0\nencode_max_kbps = 900\nencode_audio_kbps = 64\n";
    let encode = load(web).unwrap().config.uploads[0].encode;
    let (codec, preset) = (Some(FullCodec::Hevc), Some(EncoderPreset::Slow));
    assert_eq!(encode, FullEncode { codec, preset, crf: Some(0), max_kbps: Some(900), audio_kbps: Some(64) });
    let webm = "[upload.web]\ntype = \"local\"\npath = \"w\"\ncut_type = \"webm\"\nencode_crf = 60\n";
    assert_eq!(load(webm).unwrap().config.uploads[0].encode, FullEncode { crf: Some(60), ..FullEncode::default() });
    let loaded = load_in(&dir, text, &["upload.local.path=/else", "cutter.at_once=2"], &[]).unwrap();
    let [archive, local] = &loaded.config.uploads[..] else { panic!("{loaded:?}") };
    assert_eq!(
        (archive.location.as_str(), archive.cut_type, local.cut_type),
        ("a b", CutType::Archive, CutType::Smart)
    );
    let DestinationConfig::Local(found) = &local.destination else { panic!("{local:?}") };
    assert_eq!((found.path.as_path(), found.url_prefix.as_ref().unwrap().as_str()), (Path::new("/else"), "http://v/"));
    assert_eq!((loaded.config.cutter.at_once, loaded.config.cutter.lease), (2, Duration::from_secs(10)));
    assert!(loaded.show().contains("[upload.\"a b\"]\ntype"), "{}", loaded.show());
    assert_eq!(load(&loaded.show()).unwrap().config.uploads, loaded.config.uploads);
}

#[test]
fn stores_and_channels_are_read() {
    let text = "[upload.a]\ntype = \"s3\"\nendpoint = \"https://s3.example:9000/base\"\nbucket = \"b.c\"\n\
        credentials_file = \"/keys\"\nprefix = \"x/\"\n\
        [upload.b]\ntype = \"youtube\"\ncredentials_file = \"/google\"\nbandwidth = \"2MiB\"\nlanguage = \"en\"\n";
    let loaded = load(text).unwrap();
    let [a, b] = &loaded.config.uploads[..] else { panic!("{loaded:?}") };
    let DestinationConfig::S3(s3) = &a.destination else { panic!("{a:?}") };
    assert_eq!(s3.bucket_url().as_str(), "https://s3.example:9000/base/b.c");
    let before_host = S3Config { path_style: false, ..s3.clone() };
    assert_eq!(before_host.bucket_url().as_str(), "https://b.c.s3.example:9000/base");
    let DestinationConfig::Youtube(youtube) = &b.destination else { panic!("{b:?}") };
    assert_eq!((youtube.uploads_per_day, youtube.units_per_day), (100, 10_000));
    assert_eq!(youtube.bandwidth, Some(ByteSize::from_bytes(2 << 20)));
    assert_eq!(load(&loaded.show()).unwrap().config.uploads, loaded.config.uploads);
}

#[test]
fn the_sample_as_it_stands_is_the_default() {
    let sample = load(SAMPLE).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(sample.config, load("").unwrap().config);
}

/// The keys and values of a section, whichever of the channels it is. Of several channels the first one's count.
fn by_key(loaded: &Loaded) -> BTreeMap<(String, &'static str), Effective> {
    let section = |one: &Effective| one.section.split('.').next().unwrap().to_owned();
    let mut found = BTreeMap::new();
    for one in loaded.effective() {
        let key = (section(one), one.key);
        // The sample's channels have a source each: what one of them lacks is not missing.
        let is_there = found.get(&key).is_some_and(|other: &Effective| other.origin != Origin::Default);
        if !is_there {
            found.insert(key, one.clone());
        }
    }
    found
}

/// One of each type, with no more than each needs.
const UPLOADS: &str = "[upload.local]\ntype = \"local\"\npath = \"v\"\n\
    [upload.s3]\ntype = \"s3\"\nendpoint = \"https://e\"\nbucket = \"abc\"\ncredentials_file = \"k\"\n\
    [upload.youtube]\ntype = \"youtube\"\ncredentials_file = \"k\"\n";

#[test]
fn the_sample_holds_every_key_with_its_default() {
    let dir = TempDir::new().unwrap();
    for secret in ["database-password", "twitch-token", "peers-token", "link-key"] {
        std::fs::write(dir.path().join(secret), "x".repeat(32)).unwrap();
    }
    let sample = load_in(&dir, &sample_uncommented(), &[], &[]).unwrap_or_else(|faults| panic!("{faults}"));
    let sample = by_key(&sample);
    let defaults = by_key(&load(&format!("{CHANNEL}{UPLOADS}")).unwrap());
    assert_eq!(sample.keys().collect::<Vec<_>>(), defaults.keys().collect::<Vec<_>>());
    let examples = [
        "name",
        "hls",
        "twitch",
        "youtube",
        "command",
        "url_life",
        "planned_off",
        "max_ffmpeg",
        "url",
        "password_file",
        "token_file",
        "peers",
        "peers_file",
        "peers_dns",
        "channels",
        "bandwidth",
        "since",
        "extras",
        "max_age",
        "quarantine_max_age",
        "min_free",
        "mode",
        "tokens",
        "client_ids",
        "issuers",
        "people",
        "read",
        "metrics",
        "link_key_file",
        "origins",
        "certificate",
        "key",
        "ca_file",
        "channel",
        "begins",
        "endpoint",
        "bucket",
        "credentials_file",
        "language",
        "title_header",
        "description_footer",
        "upload_locations",
        "type",
        "path",
        "url_prefix",
        "encode_codec",
        "encode_preset",
        "encode_crf",
        "encode_max_kbps",
        "encode_audio_kbps",
    ];
    for ((section, key), given) in sample {
        assert_ne!(given.origin, Origin::Default, "{section}.{key} is not in the sample");
        if !examples.contains(&key) {
            assert_eq!(given.value, defaults[&(section.clone(), key)].value, "{section}.{key}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_loaded_or_refused(text in ".{0,80}|(?s).{0,80}|[\\[\\]a-z=\"{},.\n #0-9']{0,120}") {
        check_lines(load(&text));
    }

    #[test]
    fn a_known_key_takes_or_refuses_any_value(
        key in prop::sample::select(vec![
            "node.name", "node.dir", "node.listen", "node.grace", "log.level", "channel.0.hls", "channel.0.qualities",
            "channel.0.twitch", "channel.0.command", "channel.0.important", "channel.0.url_life", "twitch.token_file",
            "channel.0", "channel", "record.segment_permits", "cache.hours_size", "database.url", "database", "cut",
        ]),
        value in ".{0,40}|[0-9a-zA-Z:/@.\\[\\]\"{}=,]{0,40}",
    ) {
        check_lines(load_with(CHANNEL, &[&format!("{key}={value}")], &[]));
        let variable = format!("SEGVAULT_{}", key.replace('.', "__").to_uppercase());
        check_lines(load_with("", &[], &[(&variable, &value)]));
    }

    #[test]
    fn any_override_is_laid_or_refused(set in ".{0,60}", name in "[A-Z0-9_]{0,30}", value in ".{0,30}") {
        check_lines(load_with(CHANNEL, &[&set], &[(&format!("SEGVAULT_{name}"), &value)]));
    }
}

/// As many lines as faults, and none with a control character.
fn check_lines(result: Result<Loaded, Faults>) {
    if let Err(faults) = result {
        let text = faults.to_string();
        assert_eq!(text.split('\n').count(), faults.iter().count());
        assert!(!text.replace('\n', "").contains(char::is_control), "{text:?}");
    }
}
