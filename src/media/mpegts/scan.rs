//! Reads a file's tables and every time stamp in it.

use super::nal::{FirstPicture, MAX_HEAD_BYTES, first_picture};
use super::packet::{PACKET_BYTES, Packet, PacketFinder, Pid};
use super::psi::{Codec, Program, Tables};
use super::unwrap_near;

/// Nine hours at 30 frames a second, in 16 MiB. A segment is seconds long: what has more is no segment.
const MAX_STAMPS: usize = 1 << 20;
/// A decoder buffers at most a second of H.264 (T-STD); a clock that runs further ahead of its stream is broken.
const MAX_PCR_LEAD_90K: i64 = 10 * 90_000;

/// H.264 and HEVC reorder by no more (`max_dec_frame_buffering`).
const MAX_REORDERED: usize = 16;

/// Why a file cannot be cut to the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TsError {
    #[error("no program map is in the file")]
    NoProgram,
    #[error("no time stamp of video or audio is in the file")]
    NoStamps,
    #[error("there are more than {MAX_STAMPS} time stamps in the file")]
    TooManyStamps,
}

/// When a frame (or for audio, a group of them) is shown and when decoded, in 90 kHz ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub pts: i64,
    pub dts: i64,
}

/// One elementary stream's stamps in decoding order, never empty. Unwrapped: they may lie beyond 33 bits, or below zero,
/// but those of all tracks of a file lie on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    pub pid: Pid,
    pub codec: Codec,
    stamps: Vec<Stamp>,
    is_mended: bool,
}

impl Track {
    /// Of stamps in decoding order, at least one.
    #[cfg(test)]
    pub fn new(pid: Pid, codec: Codec, stamps: Vec<Stamp>) -> Self {
        Self { pid, codec, stamps, is_mended: false }
    }

    pub fn lowest_pts(&self) -> i64 {
        self.all_pts().min().expect("a track is never empty")
    }

    pub fn highest_pts(&self) -> i64 {
        self.all_pts().max().expect("a track is never empty")
    }

    pub fn lowest_dts(&self) -> i64 {
        self.stamps.iter().map(|stamp| stamp.dts).min().expect("a track is never empty")
    }

    pub fn highest_dts(&self) -> i64 {
        self.stamps.iter().map(|stamp| stamp.dts).max().expect("a track is never empty")
    }

    /// When what is shown, or heard, last has ended, if it lasts as long as what comes before it.
    pub fn end_pts(&self) -> i64 {
        let highest = self.highest_pts();
        let before = self.all_pts().filter(|pts| *pts < highest).max();
        highest + before.map_or(0, |before| highest - before)
    }

    /// Whether decoding times rise throughout, by no more than this at once: a clock that begins anew does neither.
    pub fn is_steady(&self, most_90k: i64) -> bool {
        self.stamps.windows(2).all(|pair| (1..=most_90k).contains(&(pair[1].dts - pair[0].dts)))
    }

    /// Makes up decoding times where they do not rise, or lie beyond the showing, as they do where a source leaves them out: from
    /// the order of the frames. Leaves them where that order is none, as over a clock that begins anew.
    pub fn mend_dts(&mut self) {
        let rises = self.stamps.windows(2).all(|pair| pair[0].dts < pair[1].dts);
        if rises && self.stamps.iter().all(|stamp| stamp.dts <= stamp.pts) {
            return;
        }
        // How many frames that are shown later are decoded before one, at most.
        let later = |at: usize| {
            let before = &self.stamps[at.saturating_sub(2 * MAX_REORDERED)..at];
            before.iter().filter(|stamp| stamp.pts > self.stamps[at].pts).count()
        };
        let depth = (0..self.stamps.len()).map(later).max().unwrap_or(0);
        let mut shown: Vec<i64> = self.all_pts().collect();
        shown.sort_unstable();
        let step = self.step_90k();
        if depth == 0 || depth > MAX_REORDERED || shown.windows(2).any(|pair| pair[0] == pair[1]) {
            return;
        }
        for (at, stamp) in self.stamps.iter_mut().enumerate() {
            let missing = depth.saturating_sub(at) as i64;
            stamp.dts = shown[at.saturating_sub(depth)] - missing * step;
        }
        self.is_mended = true;
    }

    /// Whether its decoding times are made up.
    pub fn is_mended(&self) -> bool {
        self.is_mended
    }

    /// The usual time from one frame to the next; at least a tick.
    pub fn step_90k(&self) -> i64 {
        let mut shown: Vec<i64> = self.all_pts().collect();
        shown.sort_unstable();
        let mut steps: Vec<i64> = shown.windows(2).map(|pair| pair[1] - pair[0]).collect();
        steps.sort_unstable();
        steps.get(steps.len() / 2).copied().unwrap_or(1).max(1)
    }

    /// In decoding order.
    pub fn stamps(&self) -> &[Stamp] {
        &self.stamps
    }

    /// In decoding order.
    pub fn all_pts(&self) -> impl Iterator<Item = i64> {
        self.stamps.iter().map(|stamp| stamp.pts)
    }
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub program: Program,
    /// The program's first video stream, if it has stamps.
    pub video: Option<Track>,
    /// Whether the first picture of the video starts a sequence of its own, so that it can follow any other picture.
    pub starts_fresh: bool,
    /// Whether it starts an open GOP, at which a decoder may start.
    pub starts_open_gop: bool,
    /// All audio streams that have stamps.
    pub audio: Vec<Track>,
    first_pcr: Option<i64>,
}

impl Summary {
    /// The stream that gives the file its time: the video, or without any, the first audio.
    pub fn main(&self) -> &Track {
        self.video.as_ref().or(self.audio.first()).expect("a summary has a track")
    }

    /// How far the program clock runs before the decoding of the main track, as that is mended by now; 0 where it is unknown or
    /// absurd.
    pub fn pcr_lead_90k(&self) -> i64 {
        let lead = self.first_pcr.map_or(0, |pcr| self.main().stamps[0].dts - pcr);
        if (0..=MAX_PCR_LEAD_90K).contains(&lead) { lead } else { 0 }
    }
}

/// A scan in progress: push the file's bytes in pieces of any size, then finish.
#[derive(Debug, Default)]
pub struct Scan {
    finder: PacketFinder,
    state: ScanState,
}

#[derive(Debug, Default)]
struct ScanState {
    tables: Tables,
    /// Kept per PID from the first packet on, as stamps can come before the tables.
    stamps: Vec<(Pid, Vec<Stamp>)>,
    stamp_count: usize,
    /// Stamps are unwrapped to lie around the first one.
    reference: Option<i64>,
    first_pcr: Option<i64>,
    head: VideoHead,
}

/// The start of the video's elementary stream, kept until its first slice has come.
#[derive(Debug, Default)]
struct VideoHead {
    bytes: Vec<u8>,
    first_picture: Option<FirstPicture>,
}

impl VideoHead {
    fn push(&mut self, codec: Codec, packet: Packet<'_>) {
        let is_done = self.first_picture.is_some() || self.bytes.len() >= MAX_HEAD_BYTES;
        let has_begun = !self.bytes.is_empty() || packet.pes_header().is_some();
        if !is_done && has_begun {
            self.bytes.extend_from_slice(packet.elementary().unwrap_or_default());
            self.first_picture = first_picture(codec, &self.bytes);
        }
    }
}

impl Scan {
    pub fn push(&mut self, bytes: &[u8]) {
        let state = &mut self.state;
        self.finder.push(bytes, |packet| state.packet(packet));
    }

    pub fn finish(self) -> Result<Summary, TsError> {
        self.state.finish()
    }
}

impl ScanState {
    fn packet(&mut self, bytes: &[u8; PACKET_BYTES]) {
        let Some(packet) = Packet::new(bytes) else { return };
        if let Some(raw) = packet.pcr() {
            let pcr = self.unwrap(raw);
            self.first_pcr.get_or_insert(pcr);
        }
        if let Some(stream) = self.tables.program().and_then(Program::video)
            && stream.pid == packet.pid()
        {
            self.head.push(stream.codec, packet);
        }
        if let Some(header) = packet.pes_header() {
            if let Some(pts) = header.pts {
                let pts = self.unwrap(pts);
                let dts = header.dts.map_or(pts, |dts| self.unwrap(dts));
                self.stamp(packet.pid(), Stamp { pts, dts });
            }
        } else {
            self.tables.push(packet);
        }
    }

    fn unwrap(&mut self, raw: u64) -> i64 {
        unwrap_near(raw, *self.reference.get_or_insert(raw as i64))
    }

    fn stamp(&mut self, pid: Pid, stamp: Stamp) {
        self.stamp_count += 1;
        if self.stamp_count > MAX_STAMPS {
            return;
        }
        match self.stamps.iter_mut().find(|(known, _)| *known == pid) {
            Some((_, stamps)) => stamps.push(stamp),
            None => self.stamps.push((pid, vec![stamp])),
        }
    }

    fn finish(mut self) -> Result<Summary, TsError> {
        if self.stamp_count > MAX_STAMPS {
            return Err(TsError::TooManyStamps);
        }
        let program = std::mem::take(&mut self.tables).into_program().ok_or(TsError::NoProgram)?;
        let mut tracks: Vec<Track> = program
            .streams
            .iter()
            .filter_map(|stream| {
                let at = self.stamps.iter().position(|(pid, _)| *pid == stream.pid)?;
                let (pid, stamps) = self.stamps.swap_remove(at);
                Some(Track { pid, codec: stream.codec, stamps, is_mended: false })
            })
            .collect();
        let video_pid = program.video().map(|stream| stream.pid);
        let video = tracks.iter().position(|track| Some(track.pid) == video_pid).map(|at| tracks.remove(at));
        tracks.retain(|track| matches!(track.codec, Codec::Audio(_)));
        if video.is_none() && tracks.is_empty() {
            return Err(TsError::NoStamps);
        }
        let starts_fresh = self.head.first_picture == Some(FirstPicture::Fresh);
        let starts_open_gop = self.head.first_picture == Some(FirstPicture::Recovery);
        Ok(Summary { program, video, starts_fresh, starts_open_gop, audio: tracks, first_pcr: self.first_pcr })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(bytes: &[u8], piece: usize) -> Result<Summary, TsError> {
        let mut scan = Scan::default();
        bytes.chunks(piece).for_each(|part| scan.push(part));
        scan.finish()
    }

    fn vector(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/vectors/ts/{name}.ts", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    }

    /// (frames, lowest PTS, highest PTS, lowest DTS, audio streams), as ffprobe reads them.
    fn video(name: &str) -> (usize, i64, i64, i64, usize) {
        let summary = scan(&vector(name), 1000).unwrap();
        let video = summary.video.unwrap();
        (video.stamps.len(), video.lowest_pts(), video.highest_pts(), video.lowest_dts(), summary.audio.len())
    }

    #[test]
    fn stamps_are_those_that_ffprobe_reads() {
        assert_eq!(video("av_bf2"), (60, 132_000, 309_000, 126_000, 1));
        assert_eq!(video("av_wrap"), (90, 8_589_906_000, 8_590_173_000, 8_589_906_000, 1));
    }

    #[test]
    fn decoding_times_that_were_left_out_are_made_up_in_the_order_of_the_frames() {
        let summary = scan(&vector("av_bf2"), 1000).unwrap();
        let right = summary.video.unwrap();
        let mut mended = right.clone();
        mended.mend_dts();
        assert_eq!(mended, right);
        mended.stamps.iter_mut().for_each(|stamp| stamp.dts = stamp.pts);
        mended.mend_dts();
        assert!(mended.is_mended());
        // The source has them a frame earlier than they need be.
        let later: Vec<Stamp> = right.stamps.iter().map(|stamp| Stamp { dts: stamp.dts + 3000, ..*stamp }).collect();
        assert_eq!(mended.stamps, later);
        // Two clocks.
        let mut two = scan(&[vector("av_bf2"), vector("av_bf0")].concat(), 1000).unwrap().video.unwrap();
        let before = two.clone();
        two.mend_dts();
        assert_eq!(two, before);
    }

    #[test]
    fn the_clock_runs_ahead_of_decoding_times_that_were_made_up() {
        let mut summary = scan(&vector("av_bf2"), 1000).unwrap();
        let right = summary.pcr_lead_90k();
        assert!(right > 0);
        let track = summary.video.as_mut().unwrap();
        track.stamps.iter_mut().for_each(|stamp| stamp.dts = stamp.pts);
        track.mend_dts();
        // They are a frame later than the source had them.
        assert_eq!(summary.pcr_lead_90k(), right + 3000);
    }

    #[test]
    fn a_clock_that_begins_anew_is_not_steady() {
        let steady = |bytes: &[u8]| scan(bytes, 1000).unwrap().video.unwrap().is_steady(90_000);
        let (one, two) = (vector("av_bf2"), vector("av_bf0"));
        assert!(steady(&one) && steady(&two));
        assert!(!steady(&[&one[..], &two].concat()));
    }

    #[test]
    fn audio_gives_the_time_where_there_is_no_video() {
        let summary = scan(&vector("a_only"), 188).unwrap();
        assert_eq!(summary.video, None);
        assert_eq!(summary.main().pid, summary.audio[0].pid);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        for name in ["empty", "one_packet", "short_100"] {
            assert_eq!(scan(&vector(name), 4096), Err(TsError::NoProgram), "{name}");
        }
    }

    #[test]
    fn broken_files_are_read_the_same_in_any_pieces() {
        for entry in std::fs::read_dir(format!("{}/tests/vectors/ts", env!("CARGO_MANIFEST_DIR"))).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let whole = scan(&bytes, bytes.len().max(1));
            if bytes.first() == Some(&0x47) {
                assert_eq!(scan(&bytes, 188), whole);
            }
            let _ = scan(&bytes, 61);
        }
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(flips in prop::collection::vec((0usize..48_504, any::<u8>()), 0..40), cut in 0usize..48_504) {
            let mut bytes = vector("av_bf2");
            for (at, value) in flips {
                bytes[at] = value;
            }
            let _ = scan(&bytes[cut..], 5000);
        }
    }
}
