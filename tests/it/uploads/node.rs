//! Jobs whose destination is a channel: what the event says in the end, and what the channel has.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use super::stand_in::StandIn;
use crate::db::Ground;
use crate::events::{over_both, send};
use crate::jobs::{Crew, RANGES, edit, event, file, steps, submit, wait_for};
use crate::support::eventually;

over_both! {
    a_job_whose_answer_is_lost_and_whose_node_is_killed_has_one_video,
    a_cancel_amid_an_upload_ends_it_within_a_second,
    what_the_channel_works_on_is_asked_for_until_it_is_done_or_has_failed,
    a_thumbnail_that_is_too_large_is_refused_to_the_editor_or_told,
    what_was_spent_of_a_quota_is_known_to_the_next_life_and_to_other_nodes,
}

/// A node's configuration for it.
fn channel(crew: &Crew, stand_in: &StandIn, more: &str) -> String {
    let (secrets, port) = (crew.dir.path().join("secrets"), stand_in.port);
    let account = json!({"client_id": "me", "client_secret": "hush", "refresh_token": "refresh/me"});
    std::fs::write(&secrets, account.to_string()).unwrap();
    format!(
        "[upload.channel]\ntype = \"youtube\"\ncredentials_file = {secrets:?}\nsettle = \"2s\"\n\
         api = \"http://127.0.0.1:{port}\"\ntoken_url = \"http://127.0.0.1:{port}/token\"\n{more}\
         [cutter]\ninterval = \"200ms\"\nlease = \"5s\"\nretry = \"300ms\"\n"
    )
}

fn a_job_whose_answer_is_lost_and_whose_node_is_killed_has_one_video(ground: Ground) {
    let (crew, stand_in) = (Crew::new(ground), StandIn::start());
    let config = channel(&crew, &stand_in, "");
    stand_in.now().loses_last_answer = true;
    let mut node = crew.node("alpha", &config);
    file(&node, "e1", RANGES, &json!({"upload_location": "channel"}));
    eventually("the video is there", || (!stand_in.now().videos.is_empty()).then_some(()));
    node.signal("-KILL");
    node.wait();
    let video_id = {
        let mut youtube = stand_in.now();
        youtube.forget_sessions();
        youtube.videos[0].status["uploadStatus"] = json!("processed");
        youtube.videos[0].id.clone()
    };
    let node = crew.node("alpha", &config);
    let done = wait_for(&node, "e1", "DONE");
    assert_eq!((&done["video_id"], &done["error"]), (&json!(video_id), &json!(null)));
    assert_eq!(done["video_link"], format!("https://youtu.be/{video_id}"));
    assert_eq!(stand_in.now().videos.len(), 1);
    let metrics = node.get("/metrics").text();
    assert!(metrics.contains("segvault_upload_acts_total{act=\"send\",location=\"channel\""), "{metrics}");
    let log = node.log().join("\n");
    assert!(!["hush", "refresh/me", "upload_id="].iter().any(|secret| log.contains(secret)), "a secret is in the log");
    node.stop();
}

/// Bytes a second, and so many seconds of them.
const SLOW: &str = "64KiB";

fn a_cancel_amid_an_upload_ends_it_within_a_second(ground: Ground) {
    let (crew, stand_in) = (Crew::new(ground), StandIn::start());
    let config =
        channel(&crew, &stand_in, &format!("cut_type = \"rough\"\nchunk_size = \"256KiB\"\nbandwidth = {SLOW:?}\n"));
    let node = crew.node("alpha", &config);
    // The same again and again is larger than a chunk: it takes a while until the last of them is due.
    let ranges = vec![("2026-01-02T03:59:55", "2026-01-02T04:00:07"); 12];
    file(&node, "e1", &ranges, &json!({"upload_location": "channel"}));
    eventually("bytes are being sent", || (stand_in.now().carried_bytes > 0).then_some(()));
    let uploading = eventually("how far it is", || {
        Some(event(&node, "e1")).filter(|event| event["progress"]["activity"] == "uploading")
    });
    assert_eq!(uploading["state"], "CLAIMED");
    assert!(uploading["progress"]["total_bytes"].as_u64().unwrap() > 512 << 10, "{uploading}");
    let cancelled = Instant::now();
    assert_eq!(send(&node, "POST", "/thrimshim/reset/e1", None, &json!({})).status, 200);
    eventually("the job has ended", || node.logged("event was taken away from its job").pop());
    let took = cancelled.elapsed();
    eprintln!("an upload ended {} ms after its event was cancelled", took.as_millis());
    // A second, and what a machine that is busy with other tests adds.
    assert!(took < Duration::from_secs(4), "{took:?}");
    eventually("its session is given up", || (stand_in.now().count("DELETE /session") == 1).then_some(()));
    let carried = stand_in.now().carried_bytes;
    let jobs = node.base.join(".segvault/jobs");
    eventually("nothing is left", || {
        std::fs::read_dir(&jobs).map_or(true, |mut left| left.next().is_none()).then_some(())
    });
    let (youtube, ended) = (stand_in.now(), event(&node, "e1"));
    assert_eq!((youtube.videos.len(), youtube.sessions(), youtube.carried_bytes), (0, 0, carried));
    assert_eq!(
        (&ended["state"], &ended["error"], &ended["progress"]),
        (&json!("UNEDITED"), &Value::Null, &Value::Null)
    );
    drop(youtube);
    node.stop();
}

fn what_the_channel_works_on_is_asked_for_until_it_is_done_or_has_failed(ground: Ground) {
    let (crew, stand_in) = (Crew::new(ground), StandIn::start());
    let node = crew.node("alpha", &channel(&crew, &stand_in, ""));
    for id in ["good", "bad"] {
        file(&node, id, &RANGES[..1], &json!({"upload_location": "channel", "video_title": id}));
        let working = wait_for(&node, id, "TRANSCODING");
        assert_eq!((&working["error"], &working["upload_time"]), (&Value::Null, &Value::Null));
        assert!(working["video_link"].as_str().unwrap().starts_with("https://youtu.be/"), "{working}");
    }
    eventually("it is asked for", || (stand_in.now().count("GET /youtube/v3/videos") >= 2).then_some(()));
    for video in &mut stand_in.now().videos {
        let is_good = video.snippet["title"] == "good";
        video.status["uploadStatus"] = if is_good { json!("processed") } else { json!("failed") };
        video.status["failureReason"] = json!("codec");
    }
    let done = wait_for(&node, "good", "DONE");
    assert_eq!((&done["error"], done["upload_time"].is_string()), (&Value::Null, true));
    let failed = eventually("a person is told", || Some(event(&node, "bad")).filter(|event| !event["error"].is_null()));
    assert_eq!(
        (&failed["state"], &failed["error"]),
        (
            &json!("TRANSCODING"),
            &json!(
                "the destination cannot show the video: YouTube could not read the video: codec; reset the event to cut it again"
            )
        )
    );
    assert_eq!(send(&node, "POST", "/thrimshim/reset/bad?force=true", None, &json!({})).status, 200);
    submit(&node, "bad", &RANGES[..1], &json!({"upload_location": "channel"}));
    eventually("it is there again", || (stand_in.now().videos.len() == 3).then_some(()));
    assert_eq!(steps(&node, "good"), ["add", "edit", "claim", "finalize", "transcode", "finish"]);
    node.stop();
}

/// A picture of 2.4 MB, which no compression makes smaller.
fn noise(file: &Path) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "1000x800"]);
    command.args(["-i", "/dev/urandom", "-frames:v", "1"]).arg(file);
    assert!(command.status().unwrap().success());
    std::fs::read(file).unwrap()
}

fn a_thumbnail_that_is_too_large_is_refused_to_the_editor_or_told(ground: Ground) {
    let (crew, stand_in) = (Crew::new(ground), StandIn::start());
    let node = crew.node("alpha", &channel(&crew, &stand_in, ""));
    let image = noise(&crew.dir.path().join("noise.png"));
    assert!(image.len() > 2 << 20, "{}", image.len());
    let image = base64::engine::general_purpose::STANDARD.encode(image);

    // One that is brought along is refused, and changes nothing.
    let to_channel = json!({"upload_location": "channel"});
    file(&node, "e1", &RANGES[..1], &json!({"upload_location": "elsewhere"}));
    let row = node.get("/thrimshim/e1").json();
    let more = json!({"upload_location": "channel", "thumbnail_mode": "CUSTOM", "thumbnail_image": image});
    let refused = send(&node, "POST", "/thrimshim/e1", None, &edit(&row, &RANGES[..1], &more));
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(
        refused.text().contains("thumbnail_image") && refused.text().contains("2097152 bytes"),
        "{}",
        refused.text()
    );
    assert_eq!(event(&node, "e1")["upload_location"], "elsewhere");

    // One that is drawn is judged when it is there, before anything is sent.
    let template = json!({
        "name": "noise", "description": "", "attribution": "", "crop": [0, 0, 192, 64], "location": [0, 0, 192, 64],
        "image": image,
    });
    assert_eq!(send(&node, "POST", "/thrimshim/add-template", None, &template).status, 201);
    let mut more = to_channel;
    more["thumbnail_mode"] = json!("TEMPLATE");
    more["thumbnail_template"] = json!("noise");
    more["thumbnail_time"] = json!("2026-01-02T03:59:57");
    submit(&node, "e1", &RANGES[..1], &more);
    let told = eventually("its editor is told", || {
        Some(event(&node, "e1")).filter(|event| event["state"] == "UNEDITED" && !event["error"].is_null())
    });
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("the thumbnail has ") && error.contains("YouTube takes 2097152"), "{error}");
    assert!(error.contains("choose a smaller thumbnail"), "{error}");
    assert_eq!(stand_in.now().count("POST /upload/youtube/v3/videos"), 0);
    node.stop();
}

fn what_was_spent_of_a_quota_is_known_to_the_next_life_and_to_other_nodes(ground: Ground) {
    let (crew, stand_in) = (Crew::new(ground), StandIn::start());
    let config = channel(&crew, &stand_in, "uploads_per_day = 1\n");
    let node = crew.node("alpha", &config);
    let to_channel = json!({"upload_location": "channel"});
    file(&node, "e1", &RANGES[..1], &to_channel);
    wait_for(&node, "e1", "TRANSCODING");
    node.stop();
    for name in ["alpha", "beta"] {
        let node = crew.node(name, &config);
        file(&node, name, &RANGES[..1], &to_channel);
        let waiting = eventually("it waits", || Some(event(&node, name)).filter(|event| !event["error"].is_null()));
        let error = waiting["error"].as_str().unwrap();
        assert!(
            waiting["state"] == "EDITED" && error.contains("the day's budget of the location is spent"),
            "{waiting}"
        );
        assert!(waiting["retry_at"].is_string(), "{waiting}");
        node.stop();
    }
    let youtube = stand_in.now();
    assert_eq!((youtube.count("POST /upload/youtube/v3/videos"), youtube.videos.len()), (1, 1));
}
