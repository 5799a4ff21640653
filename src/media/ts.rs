//! The encoding of a transport stream, from its start: tables, then the first frame of each stream that they announce.

use super::audio::audio_format;
use super::encoding::{Audio, Container, Encoding, SegmentMedia, Video};
use super::mpegts::{Codec, Packet, PacketFinder, Program, ProgramStream, Tables};
use super::parameter_sets::{VideoFormat, h264_format, hevc_format, mpeg2_format};
use super::probe::Probed;

/// `is_whole`: nothing comes after `head`, and nothing is missing in it.
pub fn read(head: &[u8], is_whole: bool) -> Probed {
    let unfinished = if is_whole { Probed::Unreadable } else { Probed::NeedsMore };
    let mut tables = Tables::default();
    let mut packets = 0;
    for_each_packet(head, |packet| {
        packets += 1;
        if packet.pes_header().is_none() {
            tables.push(packet);
        }
    });
    if packets == 0 {
        return Probed::Unreadable;
    }
    let Some(program) = tables.into_program() else { return unfinished };
    let mut encoding = Encoding { container: Container::MpegTs, video: None, audio: Vec::new() };
    for (stream, bytes) in gather(head, &program) {
        match describe(stream, &bytes) {
            Described::Video(video) => encoding.video = Some(video),
            Described::Audio(audio) => encoding.audio.push(audio),
            // Tables announce what may come: a whole segment may be without.
            Described::NotYet if is_whole && bytes.is_empty() => {}
            Described::NotYet => return unfinished,
            Described::Never => return Probed::Unreadable,
        }
    }
    if encoding.video.is_none() && encoding.audio.is_empty() {
        return unfinished;
    }
    Probed::Known(SegmentMedia { encoding, init: None })
}

fn for_each_packet(bytes: &[u8], mut visit: impl FnMut(Packet<'_>)) {
    PacketFinder::default().push(bytes, |bytes| {
        if let Some(packet) = Packet::new(bytes) {
            visit(packet);
        }
    });
}

/// The first video stream and all of audio, each with its elementary bytes from its first frame in `head` on.
fn gather(head: &[u8], program: &Program) -> Vec<(ProgramStream, Vec<u8>)> {
    let shown = program.video().into_iter();
    let heard = program.streams.iter().copied().filter(|stream| matches!(stream.codec, Codec::Audio(_)));
    let mut streams: Vec<(ProgramStream, Vec<u8>)> = shown.chain(heard).map(|stream| (stream, Vec::new())).collect();
    for_each_packet(head, |packet| {
        let of_packet = streams.iter_mut().find(|(stream, _)| stream.pid == packet.pid());
        if let Some((_, bytes)) = of_packet
            && (!bytes.is_empty() || packet.pes_header().is_some())
        {
            bytes.extend_from_slice(packet.elementary().unwrap_or_default());
        }
    });
    streams
}

enum Described {
    Video(Video),
    Audio(Audio),
    /// More of the stream may tell.
    NotYet,
    /// It is coded in a way that we do not read.
    Never,
}

fn describe(stream: ProgramStream, bytes: &[u8]) -> Described {
    let track = u32::from(stream.pid.number());
    let video = |format: Option<VideoFormat>| match format {
        Some(VideoFormat { codec, width, height }) => Described::Video(Video { track, codec, width, height }),
        None => Described::NotYet,
    };
    match stream.codec {
        Codec::H264 => video(h264_format(bytes)),
        Codec::Hevc => video(hevc_format(bytes)),
        Codec::OtherVideo(0x01 | 0x02) => video(mpeg2_format(bytes)),
        Codec::OtherVideo(_) | Codec::Other => Described::Never,
        Codec::Audio(super::mpegts::AudioCoding::Other) => Described::Never,
        Codec::Audio(coding) => match audio_format(coding, bytes) {
            Some(format) => Described::Audio(Audio {
                track,
                codec: format.codec,
                sample_rate_hz: format.sample_rate_hz,
                channels: format.channels,
            }),
            None => Described::NotYet,
        },
    }
}
