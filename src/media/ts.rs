//! The encoding of a transport stream, from its start: tables, then the first frame of each stream that they announce.

use super::audio::audio_format;
use super::encoding::{Audio, Container, Encoding, SegmentMedia, Video};
use super::mpegts::{AudioCoding, Codec, PACKET_BYTES, Packet, PacketFinder, Program, ProgramStream, Tables};
use super::parameter_sets::{VideoFormat, h264_format, hevc_format, mpeg2_format};
use super::probe::Probed;

/// A reading in progress: every packet is looked at once.
#[derive(Debug, Default)]
pub struct TsProbe {
    finder: PacketFinder,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    packets: usize,
    tables: Tables,
    /// Packets that came before the tables.
    early: Vec<[u8; PACKET_BYTES]>,
    /// The first video stream and all of audio, once the tables have come.
    streams: Option<Vec<Gathered>>,
}

/// A stream, and its elementary bytes from its first frame on until they tell what it is.
#[derive(Debug)]
struct Gathered {
    stream: ProgramStream,
    bytes: Vec<u8>,
    /// They are looked at again when there are so many: each time twice as many.
    enough_bytes: usize,
    described: Described,
}

impl TsProbe {
    pub fn push(&mut self, bytes: &[u8]) {
        let state = &mut self.state;
        self.finder.push(bytes, |packet| state.packet(packet));
    }

    /// `is_whole`: nothing comes after what was pushed, and nothing is missing in it.
    pub fn probed(&self, is_whole: bool) -> Probed {
        let unfinished = if is_whole { Probed::Unreadable } else { Probed::NeedsMore };
        if self.state.packets == 0 {
            return Probed::Unreadable;
        }
        let Some(streams) = &self.state.streams else { return unfinished };
        let mut encoding = Encoding { container: Container::MpegTs, video: None, audio: Vec::new() };
        for gathered in streams {
            let described = match gathered.described {
                // Some bytes may have come since they were looked at.
                Described::NotYet => describe(gathered.stream, &gathered.bytes),
                Described::Video(_) | Described::Audio(_) | Described::Never => gathered.described.clone(),
            };
            match described {
                Described::Video(video) => encoding.video = Some(video),
                Described::Audio(audio) => encoding.audio.push(audio),
                // Tables announce what may come: a whole segment may be without.
                Described::NotYet if is_whole && gathered.bytes.is_empty() => {}
                Described::NotYet => return unfinished,
                Described::Never => return Probed::Unreadable,
            }
        }
        if encoding.video.is_none() && encoding.audio.is_empty() {
            return unfinished;
        }
        Probed::Known(SegmentMedia { encoding, init: None })
    }
}

impl State {
    fn packet(&mut self, bytes: &[u8; PACKET_BYTES]) {
        let Some(packet) = Packet::new(bytes) else { return };
        self.packets += 1;
        if let Some(streams) = &mut self.streams {
            gather(streams, packet);
            return;
        }
        self.early.push(*bytes);
        if packet.pes_header().is_none() {
            self.tables.push(packet);
        }
        if let Some(program) = self.tables.program() {
            let mut streams = streams_of(program);
            self.early.iter().filter_map(Packet::new).for_each(|packet| gather(&mut streams, packet));
            self.early = Vec::new();
            self.streams = Some(streams);
        }
    }
}

fn streams_of(program: &Program) -> Vec<Gathered> {
    let shown = program.video().into_iter();
    let heard = program.streams.iter().copied().filter(|stream| matches!(stream.codec, Codec::Audio(_)));
    let begin = |stream: ProgramStream| Gathered {
        stream,
        bytes: Vec::new(),
        enough_bytes: 1,
        // Some are told by the tables alone.
        described: describe(stream, &[]),
    };
    shown.chain(heard).map(begin).collect()
}

fn gather(streams: &mut [Gathered], packet: Packet<'_>) {
    let of_packet = streams.iter_mut().find(|gathered| gathered.stream.pid == packet.pid());
    let Some(gathered) = of_packet.filter(|gathered| matches!(gathered.described, Described::NotYet)) else { return };
    if gathered.bytes.is_empty() && packet.pes_header().is_none() {
        return;
    }
    gathered.bytes.extend_from_slice(packet.elementary().unwrap_or_default());
    if gathered.bytes.len() >= gathered.enough_bytes {
        gathered.enough_bytes = 2 * gathered.bytes.len();
        gathered.described = describe(gathered.stream, &gathered.bytes);
    }
}

#[derive(Debug, Clone)]
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
        Codec::Audio(AudioCoding::Other) => Described::Never,
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
