//! ffmpeg's arguments for writing MPEG-TS as the source has it.

use std::ffi::OsString;

use super::args::Args;
use crate::media::mpegts::{Pid, Program};

/// PIDs below are refused by ffmpeg's muxer, for streams and for program maps.
const LOWEST_STREAM_PID: u16 = 0x10;
const LOWEST_MAP_PID: u16 = 0x20;

/// How a program is to look like that of the source.
#[derive(Debug)]
pub(super) struct Mux {
    pub program: Program,
    pub pcr_lead_90k: i64,
    /// Of the streams, in order.
    pub pids: Vec<Pid>,
}

impl Mux {
    /// Keeps PIDs and the distance of the program clock as they were.
    pub fn args(&self, args: &mut Args) {
        args.option("-muxdelay", format!("{}", self.pcr_lead_90k as f64 / 90_000.0));
        if self.program.number != 0 {
            args.option("-mpegts_service_id", self.program.number.to_string());
        }
        if self.program.pmt_pid.number() >= LOWEST_MAP_PID {
            args.option("-mpegts_pmt_start_pid", self.program.pmt_pid.number().to_string());
        }
        for (at, pid) in self.pids.iter().enumerate().filter(|(_, pid)| pid.number() >= LOWEST_STREAM_PID) {
            args.option("-streamid", format!("{at}:{}", pid.number()));
        }
        args.words("-f mpegts -");
    }
}

/// Without these the muxer moves all stamps by 1.4 s.
pub(super) fn mux_args(args: &mut Args) {
    args.words("-mpegts_copyts 1 -muxpreload 0 -avoid_negative_ts disabled");
}

/// ffmpeg's arguments to repack fragmented MP4 as MPEG-TS, stamps kept.
pub(super) fn remux_args() -> Vec<OsString> {
    from_mp4_args("-c copy")
}

/// The same, of video that MPEG-TS does not carry: it becomes H.264 without loss, frame by frame, for whoever encodes it.
pub(super) fn lossless_args() -> Vec<OsString> {
    from_mp4_args(
        "-c:a copy -fps_mode passthrough -enc_time_base:v 1:90000 -c:v libx264 -bf 0 -x264-params force-cfr=1 \
         -preset ultrafast -qp 0",
    )
}

fn from_mp4_args(coding: &'static str) -> Vec<OsString> {
    let mut args = Args::default();
    args.words("-copyts -f mp4 -i - -map 0:v:0? -map 0:a?").words(coding);
    mux_args(&mut args);
    args.words("-muxdelay 0 -f mpegts -");
    args.done()
}
