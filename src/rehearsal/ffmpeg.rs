//! ffmpeg as a child process: its arguments, its errors, and its end.
//!
//! Promises: a missing ffmpeg is said so; an endless child ends when its guard is dropped, and also when this process
//! is killed.
//! Never: puts a name from outside into a filter or an option.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::spec::{Container, ReelSpec, micros};
use super::{RehearsalError, barcode, disk};
use crate::model::{Timestamp, duration_text};

/// How much of ffmpeg's complaint goes into an error.
const SAID_BYTES: usize = 2000;
/// Segments that a live reel keeps on disk and in its playlist.
pub(super) const LIVE_LIST_SEGMENTS: usize = 30;

/// How fast to encode, and how much.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// As fast as possible, this many frames of the full rate.
    Frames(u64),
    /// By the wall clock, without end; frame 0 belongs to this moment.
    RealTime(Timestamp),
}

/// Runs ffmpeg to its end and returns its standard output. `directory` becomes its working directory.
pub(super) fn run<A: AsRef<OsStr>>(
    what: &'static str,
    arguments: &[A],
    directory: Option<&Path>,
) -> Result<Vec<u8>, RehearsalError> {
    let mut command = command(arguments);
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    let output = command.output().map_err(|error| not_started(what, error))?;
    if !output.status.success() {
        return Err(RehearsalError::Ffmpeg { what, said: said(output.status, &output.stderr) });
    }
    Ok(output.stdout)
}

fn command<A: AsRef<OsStr>>(arguments: &[A]) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-v", "error"]).args(arguments).stdin(Stdio::null());
    command
}

fn not_started(what: &'static str, error: io::Error) -> RehearsalError {
    match error.kind() {
        io::ErrorKind::NotFound => RehearsalError::FfmpegMissing,
        _ => RehearsalError::Ffmpeg { what, said: error.to_string() },
    }
}

/// The end of what ffmpeg wrote, or how it ended where it wrote nothing.
fn said(status: ExitStatus, stderr: &[u8]) -> String {
    let tail = &stderr[stderr.len().saturating_sub(SAID_BYTES)..];
    match String::from_utf8_lossy(tail).trim() {
        "" => status.to_string(),
        text => text.to_owned(),
    }
}

/// An endless ffmpeg.
pub(super) struct Endless {
    child: Child,
    watchdog: Child,
    log: std::path::PathBuf,
}

impl Endless {
    /// Starts ffmpeg in `directory`; its complaints go into `ffmpeg.log` there.
    pub(super) fn start(arguments: &[String], directory: &Path) -> Result<Self, RehearsalError> {
        let what = "be started";
        let log = directory.join("ffmpeg.log");
        let stderr = File::create(&log).map_err(disk("create", &log))?;
        let mut command = command(arguments);
        // A group of its own: Ctrl-C in a terminal is for us, who then stop it in our order.
        command.current_dir(directory).stdout(Stdio::null()).stderr(stderr).process_group(0);
        let mut child = command.spawn().map_err(|error| not_started(what, error))?;
        match watchdog(child.id()) {
            Ok(watchdog) => Ok(Self { child, watchdog, log }),
            Err(error) => {
                end(&mut child);
                Err(RehearsalError::Ffmpeg { what, said: error.to_string() })
            }
        }
    }

    /// Why ffmpeg has ended, if it has.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(said(status, &std::fs::read(&self.log).unwrap_or_default()))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        // Before ffmpeg is reaped: afterwards its number may belong to another process.
        end(&mut self.watchdog);
        end(&mut self.child);
    }
}

/// A shell that waits until our end of its pipe is gone, which happens even under kill -9, and then ends ffmpeg.
fn watchdog(id: u32) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", r#"read -r _; kill -KILL "$1""#, "sh", &id.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

fn end(child: &mut Child) {
    // Both fail only where the child has already ended and been waited for.
    let _ = child.kill();
    let _ = child.wait();
}

/// Whether this ffmpeg can write text into a picture: some are built without it, some machines have no font.
pub(super) fn can_draw_text() -> bool {
    let draw = ["-f", "lavfi", "-i", "color=size=64x64", "-vf", "drawtext=text=1", "-frames:v", "1", "-f", "null", "-"];
    run("draw text", &draw, None).is_ok()
}

/// The arguments that make a reel in the working directory: `v0/index.m3u8`, `v0/00000.ts`, … for each rendition, and
/// `master.m3u8`.
pub(super) fn reel_arguments(spec: &ReelSpec, pace: Pace, with_text: bool) -> Vec<String> {
    let mut arguments = input_arguments(spec, pace);
    arguments.extend(["-filter_complex".into(), picture_graph(spec, pace, with_text)]);
    for (at, rendition) in spec.renditions.iter().enumerate() {
        let rate = rendition.bits_per_second;
        let options = [
            ("-b:v", format!("{rate}")),
            ("-maxrate:v", format!("{rate}")),
            ("-bufsize:v", format!("{}", u64::from(rate) * 2)),
            ("-x264-params:v", x264_parameters(spec, rendition.frame_step)),
        ];
        arguments.extend(["-map".into(), format!("[v{at}]"), "-map".into(), "1:a".into()]);
        for (option, value) in options {
            arguments.extend([format!("{option}:{at}"), value]);
        }
    }
    if let Pace::Frames(frames) = pace {
        arguments.extend(["-t".into(), duration_text(spec.frame_rate.start_micros(frames))]);
    }
    arguments
        .extend("-c:v libx264 -preset veryfast -pix_fmt yuv420p -c:a aac -b:a 96k -ac 2".split(' ').map(Into::into));
    arguments.extend(packing_arguments(spec, pace));
    arguments
}

fn input_arguments(spec: &ReelSpec, pace: Pace) -> Vec<String> {
    let largest = &spec.renditions[0];
    let rate = spec.frame_rate;
    let picture =
        format!("testsrc2=size={}x{}:rate={}/{}", largest.width, largest.height, rate.numerator, rate.denominator);
    // A beep at each second, an octave higher at each tenth.
    let beep = "0.5*sin(2*PI*t*880*(1+lt(mod(t,10),1)))*lt(mod(t,1),0.06)";
    let sound = format!("aevalsrc=exprs='{beep}':sample_rate={}", spec.audio_rate_hz);
    let mut arguments = Vec::new();
    for input in [picture, sound] {
        if matches!(pace, Pace::RealTime(_)) {
            arguments.push("-re".into());
        }
        arguments.extend(["-f".into(), "lavfi".into(), "-i".into(), input]);
    }
    arguments
}

/// Draws once, on the largest picture, then splits: all renditions show the same frame at the same time.
fn picture_graph(spec: &ReelSpec, pace: Pace, with_text: bool) -> String {
    let mut graph = format!("[0:v]{}", barcode::drawing_filters());
    if with_text {
        let clock = match pace {
            Pace::Frames(_) => r"%{pts\:hms}".to_owned(),
            Pace::RealTime(origin) => format!(r"%{{pts\:gmtime\:{}}}", duration_text(origin.micros())),
        };
        let style = "fontcolor=white:fontsize=h/12:box=1:boxcolor=black:x=w/20:y=h/6";
        let _ = write!(graph, r",drawtext=text='frame %{{n}}   {clock}':{style}");
    }
    let _ = write!(graph, ",split={}", spec.renditions.len());
    for at in 0..spec.renditions.len() {
        let _ = write!(graph, "[s{at}]");
    }
    for (at, rendition) in spec.renditions.iter().enumerate() {
        let (step, width, height) = (rendition.frame_step, rendition.width, rendition.height);
        let _ = write!(graph, ";[s{at}]framestep={step},scale={width}:{height}[v{at}]");
    }
    graph
}

fn x264_parameters(spec: &ReelSpec, frame_step: u32) -> String {
    let gop = spec.gop() / u64::from(frame_step);
    let pyramid = if spec.b_frames >= 2 { "normal" } else { "none" };
    // Key frames of open GOPs are no IDR frames, and the MPEG-TS muxer puts parameter sets before IDR frames only.
    let repeat_headers = spec.open_gop && spec.container == Container::MpegTs;
    format!(
        "keyint={gop}:min-keyint={gop}:scenecut=0:bframes={}:b-adapt=0:b-pyramid={pyramid}:open-gop={}:repeat-headers={}",
        spec.b_frames,
        u8::from(spec.open_gop),
        u8::from(repeat_headers),
    )
}

fn packing_arguments(spec: &ReelSpec, pace: Pace) -> Vec<String> {
    // Half a frame short, so that rounding never makes ffmpeg wait for the next key frame.
    let half_frame = spec.frame_rate.start_micros(1) / 2;
    let segment_micros = spec.frame_rate.start_micros(spec.segment_frames()) - half_frame;
    let mut flags = "temp_file".to_owned();
    if !spec.open_gop {
        flags.push_str("+independent_segments");
    }
    let list_size = match pace {
        Pace::Frames(_) => 0,
        Pace::RealTime(_) => {
            flags.push_str("+delete_segments");
            LIVE_LIST_SEGMENTS
        }
    };
    let kind = match spec.container {
        Container::MpegTs => "mpegts",
        Container::FragmentedMp4 => "fmp4",
    };
    let streams: Vec<String> = (0..spec.renditions.len()).map(|at| format!("v:{at},a:{at}")).collect();
    let options = [
        ("-f", "hls".to_owned()),
        ("-output_ts_offset", duration_text(micros(spec.timestamp_offset()))),
        ("-hls_time", duration_text(segment_micros)),
        ("-hls_list_size", list_size.to_string()),
        ("-hls_flags", flags),
        ("-hls_segment_type", kind.to_owned()),
        ("-hls_fmp4_init_filename", "init.mp4".to_owned()),
        ("-hls_segment_filename", format!("v%v/%05d.{}", spec.container.extension())),
        ("-master_pl_name", "master.m3u8".to_owned()),
        ("-var_stream_map", streams.join(" ")),
    ];
    let mut arguments: Vec<String> = options.into_iter().flat_map(|(option, value)| [option.into(), value]).collect();
    arguments.push("v%v/index.m3u8".into());
    arguments
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn start(directory: &Path) -> Endless {
        let spec = ReelSpec::default();
        Endless::start(&reel_arguments(&spec, Pace::RealTime(Timestamp::from_micros(0)), false), directory).unwrap()
    }

    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < patience, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_dropped_guard_leaves_no_process() {
        let directory = tempfile::tempdir().unwrap();
        let endless = start(directory.path());
        let processes = [endless.child.id(), endless.watchdog.id()].map(|id| format!("/proc/{id}"));
        assert!(processes.iter().all(|process| Path::new(process).exists()));
        drop(endless);
        assert!(processes.iter().all(|process| !Path::new(process).exists()));
    }

    #[test]
    fn the_end_of_our_process_ends_ffmpeg() {
        let directory = tempfile::tempdir().unwrap();
        let mut endless = start(directory.path());
        assert_eq!(endless.ended(), None);
        // What the kernel does to the pipe when this process is killed.
        endless.watchdog.stdin = None;
        eventually("ffmpeg goes on", || endless.ended().is_some());
    }

    #[test]
    fn what_ffmpeg_complains_of_is_said() {
        let error = run("read nothing", &["-i", "/nonexistent", "-f", "null", "-"], None).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
        let directory = tempfile::tempdir().unwrap();
        let mut endless = Endless::start(&["-i".into(), "/nonexistent".into()], directory.path()).unwrap();
        let mut said = None;
        eventually("ffmpeg goes on", || {
            said = endless.ended();
            said.is_some()
        });
        assert!(said.is_some_and(|said| said.contains("/nonexistent")));
    }
}
