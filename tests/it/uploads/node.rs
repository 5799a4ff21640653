use serde_json::json;

use super::stand_in::StandIn;
use crate::db::Ground;
use crate::jobs::{Crew, RANGES, file, wait_for};
use crate::support::eventually;

#[test]
fn a_job_whose_answer_is_lost_and_whose_node_is_killed_has_one_video() {
    let (crew, stand_in) = (Crew::new(Ground::sqlite()), StandIn::start());
    let (secrets, port) = (crew.dir.path().join("secrets"), stand_in.port);
    let account = json!({"client_id": "me", "client_secret": "hush", "refresh_token": "refresh/me"});
    std::fs::write(&secrets, account.to_string()).unwrap();
    let config = format!(
        "[upload.channel]\ntype = \"youtube\"\ncredentials_file = {secrets:?}\nsettle = \"2s\"\n\
         api = \"http://127.0.0.1:{port}\"\ntoken_url = \"http://127.0.0.1:{port}/token\"\n\
         [cutter]\ninterval = \"200ms\"\nlease = \"5s\"\nretry = \"300ms\"\n"
    );
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
