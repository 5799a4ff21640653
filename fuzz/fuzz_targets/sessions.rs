//! Two sessions that show any lists in any order: nobody panics, and no segment of an epoch is wanted twice but as the
//! programme where an advertisement was.
#![no_main]

use std::collections::HashSet;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use segvault::hls::upstream::{Playlist, parse};
use segvault::ingest::{AdRules, Dates, Sessions, Tracker};
use segvault::model::Timestamp;

fuzz_target!(|lists: Vec<(bool, &str)>| {
    let mut sessions = Sessions::new(Tracker::new(None, AdRules::new(["Amazon|"])));
    let address = |session: bool| format!("http://source.test/{session}/live.m3u8").parse().expect("it is an address");
    let ids = [false, true].map(|session| sessions.opened(address(session), None, Dates::Exact, Duration::ZERO));
    let began: Timestamp = "2026-01-02T03:04:05".parse().expect("it is a time");
    let mut wanted = HashSet::new();
    for (at, (session, text)) in lists.iter().enumerate() {
        let Ok(Playlist::Media(playlist)) = parse(format!("#EXTM3U\n{text}").as_bytes()) else { continue };
        let (Some(id), now) = (ids[usize::from(*session)], Duration::from_secs(at as u64)) else { continue };
        let Some(step) = sessions.take(id, &playlist, &address(*session), began.plus(now), now) else { continue };
        for one in &step.wanted {
            let key = (one.epoch, one.media_sequence, one.content.is_advertisement());
            assert!(wanted.insert(key), "{one:?} is wanted twice");
        }
    }
});
