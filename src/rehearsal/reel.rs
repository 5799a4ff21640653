//! A prepared reel: a fixed length of video, encoded once and kept for all who want the same.
//!
//! Promises: a reel under its final name is complete; two processes that want the same one encode it once.
//! Never: deletes a finished reel (the directory is a cache: whoever owns it may).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::ffmpeg::{self, Pace};
use super::lists::{self, Variant};
use super::spec::{ReelSpec, Rendition, micros};
use super::{RehearsalError, disk};

/// Part of each reel's key. Raise it whenever the same spec gives different video.
const GENERATION: u32 = 2;

/// A finished reel on disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reel(Arc<Content>);

#[derive(Debug)]
struct Content {
    spec: ReelSpec,
    tracks: Vec<Track>,
    frames: u64,
}

/// One rendition of a reel.
#[derive(Debug)]
pub struct Track {
    pub rendition: Rendition,
    pub variant: Variant,
    /// The file of the initialisation section, for fragmented MP4.
    pub map: Option<PathBuf>,
    pub segments: Vec<ReelSegment>,
}

/// One segment of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReelSegment {
    /// Time of its key frame, in µs after the reel's origin.
    pub offset_micros: i64,
    pub duration_micros: i64,
    /// The digits of EXTINF as ffmpeg wrote them.
    pub duration_text: String,
    pub path: PathBuf,
}

impl Reel {
    /// Encodes `length` of video (to the nearest frame) into `cache`, or takes what an earlier run left there. Blocks
    /// while it, or another process that wants the same, encodes: about a second for every 15 s of the default spec.
    pub fn prepare(spec: &ReelSpec, length: Duration, cache: &Path) -> Result<Self, RehearsalError> {
        spec.check()?;
        let frames = spec.frame_rate.nearest_frame(micros(length));
        if frames == 0 {
            return Err(RehearsalError::Spec("a reel has at least one frame"));
        }
        fs::create_dir_all(cache).map_err(disk("create", cache))?;
        let key = key(spec, frames);
        let finished = cache.join(&key);
        let _lock = lock(&cache.join(format!("{key}.lock")))?;
        if !finished.is_dir() {
            encode(spec, frames, &cache.join(format!(".making-{key}")), &finished)?;
        }
        load(spec, frames, &finished)
    }

    pub fn spec(&self) -> &ReelSpec {
        &self.0.spec
    }

    /// In the order of the spec's renditions.
    pub fn tracks(&self) -> &[Track] {
        &self.0.tracks
    }

    /// Frames of the full rate: their numbers are 0 to this, less one.
    pub fn frames(&self) -> u64 {
        self.0.frames
    }

    /// In µs.
    pub fn length_micros(&self) -> i64 {
        self.0.spec.frame_rate.start_micros(self.0.frames)
    }
}

/// A name for everything that decides how the video looks.
fn key(spec: &ReelSpec, frames: u64) -> String {
    let digest = Sha256::digest(format!("{GENERATION} {frames} {spec:?}"));
    digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// Held until the file is closed, also by the end of the process.
fn lock(path: &Path) -> Result<File, RehearsalError> {
    let file = File::options().create(true).write(true).truncate(false).open(path).map_err(disk("open", path))?;
    file.lock().map_err(disk("lock", path))?;
    Ok(file)
}

/// Must be called under the key's lock: whatever is in `making` was left by a run that was killed.
fn encode(spec: &ReelSpec, frames: u64, making: &Path, finished: &Path) -> Result<(), RehearsalError> {
    if making.exists() {
        fs::remove_dir_all(making).map_err(disk("remove", making))?;
    }
    fs::create_dir(making).map_err(disk("create", making))?;
    let arguments = ffmpeg::reel_arguments(spec, Pace::Frames(frames), ffmpeg::can_draw_text());
    ffmpeg::run("encode the reel", &arguments, Some(making))?;
    fs::rename(making, finished).map_err(disk("rename", making))
}

fn load(spec: &ReelSpec, frames: u64, directory: &Path) -> Result<Reel, RehearsalError> {
    let master = directory.join("master.m3u8");
    let wrong = |why| RehearsalError::List { path: master.clone(), why };
    let variants = lists::read_master(&master)?.ok_or_else(|| wrong("it is missing; remove its directory"))?;
    if variants.len() != spec.renditions.len() {
        return Err(wrong("it has not one variant for each rendition"));
    }
    let pairs = spec.renditions.iter().zip(variants).enumerate();
    let tracks =
        pairs.map(|(at, (rendition, variant))| load_track(spec, rendition, variant, &track_directory(directory, at)));
    let tracks = tracks.collect::<Result<_, _>>()?;
    Ok(Reel(Arc::new(Content { spec: spec.clone(), tracks, frames })))
}

/// Where ffmpeg puts the rendition with this index.
pub(super) fn track_directory(directory: &Path, at: usize) -> PathBuf {
    directory.join(format!("v{at}"))
}

fn load_track(
    spec: &ReelSpec,
    rendition: &Rendition,
    variant: Variant,
    directory: &Path,
) -> Result<Track, RehearsalError> {
    let path = directory.join("index.m3u8");
    let missing = RehearsalError::List { path: path.clone(), why: "it is missing; remove the reel's directory" };
    let list = lists::read_media(&path)?.ok_or(missing)?;
    let mut segments = Vec::with_capacity(list.segments.len());
    let mut offset_micros = 0;
    for listed in list.segments {
        segments.push(ReelSegment {
            offset_micros,
            duration_micros: listed.duration_micros,
            duration_text: listed.duration_text,
            path: directory.join(&listed.file),
        });
        offset_micros = snap(spec, offset_micros + listed.duration_micros);
    }
    let map = list.map.map(|file| directory.join(file));
    Ok(Track { rendition: rendition.clone(), variant, map, segments })
}

/// The time of the frame closest to `micros`: durations are cut to microseconds, and their sum must not drift away
/// from the frames.
pub(super) fn snap(spec: &ReelSpec, micros: i64) -> i64 {
    spec.frame_rate.start_micros(spec.frame_rate.nearest_frame(micros))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::barcode;
    use super::super::spec::{Container, FrameRate};
    use super::*;

    /// Kept between runs of the tests.
    pub fn cache() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/reels")
    }

    /// Two small renditions with segments of half a second.
    pub fn small_spec() -> ReelSpec {
        let mut spec = ReelSpec { segment: Duration::from_millis(500), ..ReelSpec::default() };
        spec.renditions[0] = Rendition::new("source".parse().unwrap(), 320, 180, 250_000);
        spec.renditions[1] = Rendition::new("low".parse().unwrap(), 160, 90, 80_000);
        spec
    }

    /// All bytes of a track, as a recorder would join them.
    fn joined(track: &Track) -> Vec<u8> {
        let files = track.map.iter().chain(track.segments.iter().map(|segment| &segment.path));
        files.flat_map(|path| fs::read(path).unwrap()).collect()
    }

    /// Frame numbers of one segment alone.
    fn numbers(track: &Track, segment: &ReelSegment) -> Vec<u32> {
        let mut bytes = track.map.as_ref().map(|map| fs::read(map).unwrap()).unwrap_or_default();
        bytes.extend(fs::read(&segment.path).unwrap());
        barcode::read_bytes(&bytes).unwrap()
    }

    fn assert_frames_are_whole(spec: &ReelSpec, length: Duration) {
        let reel = Reel::prepare(spec, length, &cache()).unwrap();
        for track in reel.tracks() {
            let step = track.rendition.frame_step as usize;
            let expected: Vec<u32> = (0..reel.frames() as u32).step_by(step).collect();
            assert_eq!(barcode::read_bytes(&joined(track)).unwrap(), expected, "{:?}", track.rendition);
            for segment in &track.segments {
                let first = spec.frame_rate.first_frame_at(segment.offset_micros);
                assert_eq!(u64::from(numbers(track, segment)[0]), first, "{segment:?}");
            }
            let last = track.segments.last().unwrap();
            let end = last.offset_micros + last.duration_micros;
            assert!((end - reel.length_micros()).abs() < 40_000, "{end} against {}", reel.length_micros());
        }
    }

    #[test]
    fn frames_of_a_transport_stream_reel_read_back_without_gap() {
        assert_frames_are_whole(&small_spec(), Duration::from_secs(4));
    }

    #[test]
    fn frames_of_a_fragmented_reel_read_back_without_gap() {
        let spec = ReelSpec { container: Container::FragmentedMp4, ..small_spec() };
        assert_frames_are_whole(&spec, Duration::from_secs(4));
    }

    #[test]
    fn frames_of_other_rates_and_gops_read_back_without_gap() {
        let mut at_60 = ReelSpec { frame_rate: FrameRate::FPS_60, b_frames: 0, ..small_spec() };
        at_60.renditions[1].frame_step = 2;
        let odd_gop = ReelSpec { gop_frames: Some(7), segment: Duration::from_secs(1), ..small_spec() };
        let ntsc = ReelSpec { frame_rate: FrameRate::NTSC, audio_rate_hz: 44_100, ..small_spec() };
        let at_25 = ReelSpec { frame_rate: FrameRate::FPS_25, segment: Duration::from_secs(1), ..small_spec() };
        for spec in [at_60, odd_gop, ntsc, at_25] {
            assert_frames_are_whole(&spec, Duration::from_secs(2));
        }
    }

    #[test]
    fn the_first_pts_and_the_reordering_are_as_asked() {
        for (container, b_frames) in [(Container::MpegTs, 2), (Container::FragmentedMp4, 2), (Container::MpegTs, 0)] {
            let spec = ReelSpec { container, b_frames, start_pts: Duration::from_millis(3500), ..small_spec() };
            let reel = Reel::prepare(&spec, Duration::from_secs(2), &cache()).unwrap();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            std::io::Write::write_all(&mut file, &joined(&reel.tracks()[0])).unwrap();
            let output = std::process::Command::new("ffprobe")
                .args(["-v", "error", "-select_streams", "v", "-show_entries", "stream=has_b_frames,start_time"])
                .args(["-of", "default=noprint_wrappers=1"])
                .arg(file.path())
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains(&format!("has_b_frames={b_frames}")), "{text}");
            assert!(text.contains("start_time=3.500000"), "{container:?}: {text}");
        }
    }

    #[test]
    fn a_video_that_begins_mid_stream_is_read_from_its_first_whole_picture() {
        let reel = Reel::prepare(&small_spec(), Duration::from_secs(4), &cache()).unwrap();
        let bytes = joined(&reel.tracks()[0]);
        let numbers = barcode::read_bytes(&bytes[bytes.len() / 3..]).unwrap();
        let first = numbers[0];
        assert!(first > 15 && first.is_multiple_of(15), "begins with a key frame: {first}");
        assert_eq!(numbers, (first..120).collect::<Vec<u32>>());
    }

    #[test]
    fn an_open_gop_needs_the_segment_before_it() {
        let spec = ReelSpec { open_gop: true, ..small_spec() };
        let reel = Reel::prepare(&spec, Duration::from_secs(4), &cache()).unwrap();
        let track = &reel.tracks()[0];
        assert_eq!(barcode::read_bytes(&joined(track)).unwrap(), (0..120).collect::<Vec<u32>>());
        let bytes = fs::read(&track.segments[2].path).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        let alone: Vec<u32> = barcode::read_each(file.path()).unwrap().into_iter().flatten().collect();
        // 28 and 29 need the segment before; 43 and 44 come with the key frame of the next.
        assert_eq!(alone, (30..43).collect::<Vec<u32>>());
    }

    #[test]
    fn numbers_survive_the_lowest_bitrate_and_the_smallest_picture() {
        let mut spec = small_spec();
        spec.renditions[0].bits_per_second = 50_000;
        spec.renditions[1].bits_per_second = 50_000;
        assert_frames_are_whole(&spec, Duration::from_secs(6));
    }

    #[test]
    fn timestamps_may_wrap_within_a_reel() {
        // 2^33 / 90,000 s, less two.
        let spec = ReelSpec { start_pts: Duration::from_micros(95_441_717_688), ..small_spec() };
        let reel = Reel::prepare(&spec, Duration::from_secs(4), &cache()).unwrap();
        for track in reel.tracks() {
            assert_eq!(barcode::read_bytes(&joined(track)).unwrap(), (0..120).collect::<Vec<u32>>());
        }
    }

    #[test]
    fn what_shows_no_number_is_an_error() {
        let empty = barcode::read_bytes(b"");
        assert!(matches!(empty, Err(RehearsalError::Ffmpeg { .. } | RehearsalError::NoFrames)), "{empty:?}");
        let directory = tempfile::tempdir().unwrap();
        let plain = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=5:duration=1", "plain.mkv"];
        ffmpeg::run("make a plain video", &plain, Some(directory.path())).unwrap();
        let read = barcode::read_file(&directory.path().join("plain.mkv"));
        assert!(matches!(read, Err(RehearsalError::Unreadable { index: 0 })), "{read:?}");
    }

    #[test]
    fn the_same_reel_is_encoded_once_and_a_killed_attempt_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (spec, length) = (small_spec(), Duration::from_secs(1));
        let left = directory.path().join(format!(".making-{}", key(&spec, 30)));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("half.ts"), b"x").unwrap();
        let paths: Vec<PathBuf> = std::thread::scope(|scope| {
            let make = || Reel::prepare(&spec, length, directory.path()).unwrap().tracks()[0].segments[0].path.clone();
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let made = fs::metadata(&paths[0]).unwrap().modified().unwrap();
        Reel::prepare(&spec, length, directory.path()).unwrap();
        assert_eq!(fs::metadata(&paths[0]).unwrap().modified().unwrap(), made);
        assert!(paths.iter().all(|path| *path == paths[0]) && !left.exists());
    }
}
