//! The HTTP server that plays a reel as a live HLS channel.
//!
//! `/master.m3u8`, `/QUALITY/live.m3u8`, `/QUALITY/NNNN.ts` or `.m4s`, `/QUALITY/init.mp4`.
//!
//! Promises: a segment is served once its last frame is over, and never changes; faults come from the script alone.
//! Never: outlives its handle.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;

use super::aired::Published;
use super::live::LiveReel;
use super::reel::Reel;
use super::script::Script;
use super::serve::{self, Air};
use super::show::Show;
use super::spec::ReelSpec;
use super::tape::{AtEnd, Tape};
use super::turns::{self, Turn};
use super::{RehearsalError, ffmpeg};
use crate::model::{Quality, Timestamp};

/// Live playlists of real servers hold about this many segments.
const WINDOW_SEGMENTS: usize = 6;

/// Says what time it is.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What is played.
pub enum Program {
    Prepared {
        reel: Reel,
        /// The same frames encoded otherwise; needed where a turn says so.
        other: Option<Reel>,
        /// The time of frame 0; `None` for the start of the source. In the past, the stream has been on air since.
        origin: Option<Timestamp>,
        /// How many times faster than real segments appear. Their times and durations stay as they are.
        speed: u32,
        at_end: AtEnd,
    },
    /// Encoded while it is played, below a directory.
    Live { spec: ReelSpec, directory: PathBuf },
}

/// A source that is to be started.
pub struct SourceSpec {
    /// Port 0 picks one.
    pub listen: SocketAddr,
    pub program: Program,
    /// Segments in a media playlist, at least 1 and for a live reel at most 30.
    pub window_segments: usize,
    /// PROGRAM-DATE-TIME on every segment.
    pub date_times: bool,
    /// How long after its first listing a segment can be had; `None` for ever.
    pub keep: Option<Duration>,
    /// How a prepared programme changes by itself.
    pub turns: Vec<Turn>,
    /// A prepared programme begins when the handle says so, and not before.
    pub waits: bool,
    pub clock: WallClock,
}

impl SourceSpec {
    /// This programme on a port of loopback, by the wall clock.
    pub fn new(program: Program) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            program,
            window_segments: WINDOW_SEGMENTS,
            date_times: true,
            keep: None,
            turns: Vec::new(),
            waits: false,
            clock: Arc::new(wall_now),
        }
    }

    /// A prepared reel that starts now, plays in real time, and loops.
    pub fn prepared(reel: Reel) -> Self {
        Self::new(Program::Prepared { reel, other: None, origin: None, speed: 1, at_end: AtEnd::Loop })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this room that reads the wall clock, where none is given"
)]
fn wall_now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_micros(0).plus(since_epoch.unwrap_or_default())
}

/// How often a path has been asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    pub requests: u64,
    /// Answered with the whole true content, all of which was handed to the connection.
    pub completed: u64,
}

/// The fake source.
pub struct Source;

impl Source {
    /// Starts serving on a thread of its own.
    pub fn start(spec: SourceSpec) -> Result<SourceHandle, RehearsalError> {
        check(&spec)?;
        let refused = |source| RehearsalError::Listen { address: spec.listen, source };
        let listener = TcpListener::bind(spec.listen).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let now = (spec.clock)();
        let tape = match &spec.program {
            Program::Prepared { reel, other, origin, speed, at_end } => Tape::Prepared {
                reel: reel.clone(),
                other: other.clone(),
                origin: origin.unwrap_or(now),
                speed: *speed,
                at_end: *at_end,
            },
            Program::Live { spec, directory } => Tape::Live(Box::new(LiveReel::start(spec, directory, now)?)),
        };
        let air = Arc::new(Air::new(Show::new(tape, spec.turns.clone(), spec.waits), &spec));
        let (server, thread) = serve::start(listener, air.clone()).map_err(refused)?;
        Ok(SourceHandle { address, air, server, thread: Some(thread) })
    }
}

fn check(spec: &SourceSpec) -> Result<(), RehearsalError> {
    let (most, speed) = match &spec.program {
        Program::Prepared { speed, .. } => (usize::MAX, *speed),
        Program::Live { .. } => (ffmpeg::LIVE_LIST_SEGMENTS, 1),
    };
    if spec.window_segments == 0 || spec.window_segments > most {
        return Err(RehearsalError::Spec("a playlist has 1 segment or more, of a live reel at most 30"));
    }
    if speed == 0 {
        return Err(RehearsalError::Spec("the speed is 1 or more"));
    }
    let (is_prepared, has_other) = match &spec.program {
        Program::Prepared { other, .. } => (true, other.is_some()),
        Program::Live { .. } => (false, false),
    };
    if !is_prepared && (spec.waits || !spec.turns.is_empty()) {
        return Err(RehearsalError::Spec("only a prepared reel waits, and changes by itself"));
    }
    if turns::need_other_encoding(&spec.turns) && !has_other {
        return Err(RehearsalError::Spec("a change of the encoding, and advertisements, need a second reel"));
    }
    Ok(())
}

/// A running source. Dropping it stops the server and whatever encodes for it.
pub struct SourceHandle {
    address: SocketAddr,
    air: Arc<Air>,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl SourceHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Of the master playlist, as this machine reaches it.
    pub fn url(&self) -> String {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("http://{}/master.m3u8", SocketAddr::new(ip, self.address.port()))
    }

    /// The time of frame 0.
    pub fn origin(&self) -> Timestamp {
        self.air.show().origin()
    }

    /// The EXT-X-TARGETDURATION of all playlists.
    pub fn target_duration(&self) -> Duration {
        Duration::from_secs(self.air.show().target_seconds())
    }

    /// Lets a programme begin that has waited: this is the time of frame 0, and from here its faults and turns count.
    pub fn begin(&self) {
        self.air.begin();
    }

    /// What goes wrong; to be changed at any time.
    pub fn script(&self) -> Arc<Mutex<Script>> {
        self.air.script()
    }

    /// All segments of a quality that have been on air and are still on disk, oldest first. Empty for a quality that
    /// is not there.
    pub fn published(&self, quality: &Quality) -> Vec<Published> {
        self.air.show_now().aired(quality).unwrap_or_default().to_vec()
    }

    /// The bytes of a segment as it is served; `None` where it has not been on air, or is no longer on disk. Where the
    /// numbering has started over, the latest segment with this number.
    pub fn segment_bytes(&self, quality: &Quality, media_sequence: u64) -> Option<Vec<u8>> {
        let published = self.published(quality);
        published.iter().rev().find(|segment| segment.media_sequence == media_sequence)?.bytes().ok()
    }

    /// Ends the stream, as when the broadcaster stops: playlists say ENDLIST, and what would be due is not on air.
    pub fn end_stream(&self) {
        self.air.show_now().end();
    }

    /// The stream returns, behind a DISCONTINUITY where something was not on air.
    pub fn resume_stream(&self) {
        self.air.show_now().resume();
    }

    /// From the next segment on, MEDIA-SEQUENCE starts at 0 again, with new names and nothing older in the playlist.
    pub fn reset_sequence(&self) {
        self.air.show_now().reset_sequence();
    }

    /// How often each path (not percent-encoded) has been asked for.
    pub fn accesses(&self) -> BTreeMap<String, Access> {
        self.air.accesses()
    }

    /// Why a live reel has stopped, if it has.
    pub fn broken(&self) -> Option<String> {
        self.air.show_now().broken().map(str::to_owned)
    }

    /// Stops at once, connections and all; returns when the server has gone.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for SourceHandle {
    fn drop(&mut self) {
        // The command is sent by the call itself; there is nothing to await from a thread without a runtime.
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take() {
            // A server that panicked has said so on standard error, and has stopped all the same.
            let _ = thread.join();
        }
        // Not left to the drop of `air`: the server's worker threads may hold it a little longer.
        self.air.show().close();
    }
}
