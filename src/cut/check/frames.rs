//! Frames of video in a file that is copied.

use super::{AUDIO_IDS, VIDEO_IDS};
use crate::media::mpegts::{PACKET_BYTES, Packet, PacketFinder};

/// Counts the frames of a file that is copied, as they go in.
#[derive(Debug, Default)]
pub(in crate::cut) struct FrameCounter {
    finder: PacketFinder,
    frames: u64,
}

impl FrameCounter {
    pub fn push(&mut self, bytes: &[u8]) {
        let frames = &mut self.frames;
        self.finder.push(bytes, |packet| *frames += u64::from(starts_frame(packet)));
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }
}

pub(super) fn starts_frame(bytes: &[u8; PACKET_BYTES]) -> bool {
    let Some(packet) = Packet::new(bytes).filter(|packet| packet.starts_unit()) else { return false };
    packet.pes_header().is_some_and(|header| header.pts.is_some() && VIDEO_IDS.contains(&header.stream_id))
}

/// When the first frame of video in some packets is shown and decoded, in raw ticks; without any, of sound.
pub(in crate::cut) fn first_stamps(bytes: &[u8]) -> Option<(u64, u64)> {
    let (mut video, mut audio) = (None, None);
    PacketFinder::default().push(bytes, |packet| {
        let header = if video.is_none() { Packet::new(packet).and_then(Packet::pes_header) } else { None };
        if let Some(header) = header
            && let Some(pts) = header.pts
        {
            let stamps = (pts, header.dts.unwrap_or(pts));
            if VIDEO_IDS.contains(&header.stream_id) {
                video = Some(stamps);
            } else if AUDIO_IDS.contains(&header.stream_id) {
                audio.get_or_insert(stamps);
            }
        }
    });
    video.or(audio)
}
