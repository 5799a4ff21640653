//! The live stream that the node records: one reel, some segments of which are never given out, and whose encoding
//! changes in mid-stream.
//!
//! Promises: what is on air at an instant is a function of the plan and the clock; a segment that is lost is named by
//! the playlist and is 404 for as long as it is asked for; its bytes are there for whoever fills the hole.
//! Never: writes to a node's directory.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use segvault::clock::Clock;
use segvault::model::Timestamp;
use segvault::rehearsal::{Reel, ReelSegment, ReelSpec, Rendition};

use super::web::{Request, Response, Web};
use crate::support::{quality, reel};

/// Of every segment.
pub const SEGMENT: Duration = Duration::from_secs(2);
/// What stands in a playlist; so many are on air when the origin starts, as a player begins with several.
pub const WINDOW: usize = 6;

/// What the stream does, by the number of the segment.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Named in the playlist, never served.
    pub lost: BTreeSet<usize>,
    /// From each of these on, the other of the two sizes.
    pub encoding_changes: Vec<usize>,
}

pub struct Origin {
    air: Arc<Air>,
    web: Web,
}

struct Air {
    reel: Reel,
    plan: Mutex<Plan>,
    /// The time of frame 0.
    began: Timestamp,
    clock: Clock,
}

impl Origin {
    /// Starts a stream of at least so many segments, without faults.
    pub fn start(segments: usize) -> Self {
        let spec = ReelSpec {
            renditions: vec![
                Rendition::new(quality("large"), 320, 180, 300_000),
                Rendition::new(quality("small"), 256, 144, 200_000),
            ],
            segment: SEGMENT,
            ..ReelSpec::default()
        };
        let reel = reel(&spec, segments as u64 * SEGMENT.as_secs());
        let clock = Clock::system();
        let on_air_already = SEGMENT * WINDOW as u32;
        let began = clock.now().plus_micros(-(on_air_already.as_micros() as i64));
        let air = Arc::new(Air { reel, plan: Mutex::default(), began, clock });
        let served = Arc::clone(&air);
        Self { air, web: Web::start(move |request| served.answer(&request)) }
    }

    /// Of the master playlist.
    pub fn url(&self) -> String {
        format!("{}/master.m3u8", self.web.url())
    }

    /// What happens from here on; nothing of it may be about what is on air already.
    pub fn follow(&self, plan: Plan) {
        *self.air.plan.lock().unwrap() = plan;
    }

    /// How many segments have been on air: the number of the next.
    pub fn on_air(&self) -> usize {
        self.air.on_air()
    }

    pub fn began(&self) -> Timestamp {
        self.air.began
    }

    /// Of its first frame.
    pub fn start_of(&self, number: usize) -> Timestamp {
        self.air.start_of(number)
    }

    /// When it goes on air: at its last frame's end.
    pub fn due(&self, number: usize) -> Timestamp {
        self.air.due(number)
    }

    pub fn duration_micros(&self, number: usize) -> i64 {
        self.air.segment(number).duration_micros
    }

    pub fn bytes(&self, number: usize) -> Vec<u8> {
        std::fs::read(&self.air.segment(number).path).unwrap()
    }
}

impl Air {
    /// Both sizes are cut at the same frames, so times and numbers do not change with the encoding.
    fn segment(&self, number: usize) -> &ReelSegment {
        let track = self.changes(0..number + 1) % 2;
        &self.reel.tracks()[track].segments[number]
    }

    fn changes(&self, numbers: Range<usize>) -> usize {
        let plan = self.plan.lock().unwrap();
        plan.encoding_changes.iter().filter(|change| numbers.contains(*change)).count()
    }

    fn is_lost(&self, number: usize) -> bool {
        self.plan.lock().unwrap().lost.contains(&number)
    }

    fn start_of(&self, number: usize) -> Timestamp {
        self.began.plus_micros(self.segment(number).offset_micros)
    }

    fn due(&self, number: usize) -> Timestamp {
        self.start_of(number).plus_micros(self.segment(number).duration_micros)
    }

    fn on_air(&self) -> usize {
        let now = self.clock.now();
        (0..self.reel.tracks()[0].segments.len()).take_while(|number| self.due(*number) <= now).count()
    }

    fn answer(&self, request: &Request) -> Response {
        const PLAYLIST: &str = "application/vnd.apple.mpegurl";
        match request.path.as_str() {
            "/master.m3u8" => Response::ok(PLAYLIST, self.master()),
            "/live.m3u8" => Response::ok(PLAYLIST, self.media()),
            path => {
                let number = path.strip_prefix('/').and_then(|path| path.strip_suffix(".ts"));
                match number.and_then(|number| number.parse().ok()) {
                    Some(number) if number < self.on_air() && !self.is_lost(number) => {
                        Response::ok("video/mp2t", std::fs::read(&self.segment(number).path).unwrap())
                    }
                    _ => Response::not_found(),
                }
            }
        }
    }

    fn master(&self) -> String {
        let variant = &self.reel.tracks()[0].variant;
        format!(
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH={},CODECS=\"{}\"\nlive.m3u8\n",
            variant.bits_per_second, variant.codecs
        )
    }

    fn media(&self) -> String {
        let end = self.on_air();
        let first = end.saturating_sub(WINDOW);
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{first}\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
            SEGMENT.as_secs(),
            self.changes(0..first)
        );
        for number in first..end {
            if self.changes(number..number + 1) > 0 {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            let _ = write!(
                text,
                "#EXT-X-PROGRAM-DATE-TIME:{}Z\n#EXTINF:{},\n{number}.ts\n",
                self.start_of(number),
                self.segment(number).duration_text
            );
        }
        text
    }
}
