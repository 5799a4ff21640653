//! A job from one node's page to its video, made by another node, as whoever filed it sees it.

use std::fs;

use serde_json::json;

use super::chromium::Chromium;
use super::kept_in;
use crate::db::Ground;
use crate::events::send;
use crate::jobs::{Crew, RANGES, assert_shows, event, file, steps};
use crate::support::{NodeProcess, eventually};

#[test]
fn a_job_of_one_nodes_page_is_followed_until_another_node_has_published_it() {
    let crew = Crew::new(Ground::sqlite());
    let alpha = crew.node("alpha", "[events]\nupload_locations = [\"local\"]\n");
    let beta = crew.cutter("beta");
    let mut chromium = Chromium::start(1500, 1000);
    let range = RANGES[0];
    chromium.open(&format!("{}/#/cut/ch/source?range={},{}&at={}", alpha.url(), range.0, range.1, range.0));
    chromium.until("document.querySelectorAll('.range').length === 1");
    chromium.until("document.querySelector('.job [name=location]').value === 'local'");
    chromium.value("window.stays = true");
    // Whoever cuts it stands still, until it was seen.
    fs::write(crew.hold(), "").unwrap();
    chromium.fill("title", "A run");
    chromium.press("Enter");
    chromium.until("document.querySelector('.job > p a')?.textContent === 'see it among the jobs'");
    chromium.value("document.querySelector('.job > p a').click()");

    chromium.until("document.querySelector('.jobs .pill')?.textContent === 'being cut'");
    chromium.until("document.querySelector('.jobs td:last-child')?.textContent.includes('on beta')");
    chromium.until("document.querySelector('.jobs progress')?.checkVisibility()");
    chromium.until("document.querySelector('.event .pill')?.textContent === 'being cut'");
    chromium.until("document.querySelector('.event > progress').checkVisibility()");
    chromium.until("document.querySelector('.event > [role=status]').textContent.startsWith('cutting')");
    assert!(chromium.text(".event-facts").contains("Channelch source"), "{}", chromium.text(".event-facts"));
    assert!(crew.videos().is_empty());
    chromium.picture(&kept_in().join("being-cut.png"));

    fs::remove_file(crew.hold()).unwrap();
    chromium.until("document.querySelector('.event .pill').textContent === 'published'");
    chromium.until("document.querySelector('.jobs .pill').textContent === 'published'");
    let video = crew.only_video();
    assert_shows(&video, &[range]);
    let name = video.file_name().unwrap().to_str().unwrap();
    let link = chromium.value("document.querySelector('.event-facts a').href");
    assert_eq!(link, json!(format!("http://videos.test/{name}")));
    assert!(chromium.text(".event-facts").contains("on beta"), "{}", chromium.text(".event-facts"));
    chromium.value("document.querySelector('.event details:not(.receipt) summary').click()");
    chromium.until("document.querySelectorAll('.history li').length === 5");
    let steps = chromium.text(".history");
    let places = ["finish by node beta", "finalize by node beta", "claim by node beta", "edit by", "add by"]
        .map(|step| steps.find(step));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{steps}");
    chromium.picture(&kept_in().join("published.png"));
    assert_eq!(chromium.value("window.stays"), true, "it was not loaded anew");
    let id = chromium.value("new URLSearchParams(location.hash.split('?')[1]).get('event')");
    assert_eq!(event(&beta, id.as_str().unwrap())["state"], "DONE");
    chromium.until("document.querySelector('.receipt summary')?.textContent.startsWith('Receipt: ')");
    assert_eq!(chromium.said(), [], "the console");
    [alpha, beta].into_iter().for_each(NodeProcess::stop);
}

/// Nobody listens for a page that is not looked at: what comes then is asked for.
#[test]
fn who_comes_back_to_the_tab_sees_what_became_of_the_event_meanwhile() {
    let crew = Crew::new(Ground::sqlite());
    let node = crew.node("alpha", "[events]\nupload_locations = [\"local\"]\n");
    file(&node, "run", &RANGES[..1], &json!({}));
    let mut chromium = Chromium::start(1500, 1000);
    chromium.open(&format!("{}/#/jobs?event=run", node.url()));
    let said = |state: &str, at: &str| format!("document.querySelector('{at} .pill')?.textContent === '{state}'");
    chromium.until(&said("waiting to be cut", ".event"));
    chromium.until(&said("waiting to be cut", ".jobs"));
    let look = |is_away: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{ value: {is_away}, configurable: true }});
             document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    chromium.value(&look(true));
    assert_eq!(send(&node, "POST", "/api/v1/events/run/cancel", None, &json!(null)).status, 200);
    chromium.value(&look(false));
    chromium.until(&said("to be edited", ".jobs"));
    chromium.until(&said("to be edited", ".event"));
    chromium.assert_silent();
    node.stop();
}

#[test]
fn what_failed_says_why_and_is_tried_again_from_the_page() {
    let crew = Crew::new(Ground::sqlite());
    let node = crew.cutter("alpha");
    file(&node, "moon", &RANGES[..1], &json!({ "upload_location": "moon" }));
    let mut chromium = Chromium::start(1500, 1000);
    chromium.open(&format!("{}/#/jobs?event=moon", node.url()));
    const FAILED: &str = "document.querySelector('.event .pill')?.textContent === 'failed'";
    chromium.until(FAILED);
    chromium.until("document.querySelector('.jobs tbody .pill')?.textContent === 'failed'");
    let why = chromium.text(".event > [role=alert]");
    assert!(why.starts_with("no node has the upload location moon; choose another (there are: local)"), "{why}");
    let press =
        "[...document.querySelectorAll('.event button')].find((one) => one.textContent === 'Try again now').click()";
    chromium.value(press);
    // Nothing was changed that could help.
    eventually("it was filed again", || steps(&node, "moon").contains(&"file again".to_owned()).then_some(()));
    chromium.until(FAILED);
    chromium.assert_silent();
    node.stop();
}
