//! The tables that say which PID carries what: PAT and PMT (ISO/IEC 13818-1, 2.4.4).

use super::packet::{Packet, Pid};

/// A section is at most this long, its three leading bytes included.
const MAX_SECTION_BYTES: usize = 1024;
const PAT_TABLE: u8 = 0;
const PMT_TABLE: u8 = 2;
/// table_id to last_section_number.
const SECTION_HEAD_BYTES: usize = 8;
const CRC_BYTES: usize = 4;

/// What a stream holds, as far as cuts and playlists care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    H264,
    Hevc,
    /// Video that cuts do not re-encode, with its stream type.
    OtherVideo(u8),
    Audio(AudioCoding),
    /// Subtitles, metadata, splice information.
    Other,
}

/// How audio is packed, as far as the tables tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioCoding {
    /// Layers I to III of MPEG-1 and MPEG-2.
    Mpeg,
    AacAdts,
    AacLatm,
    Ac3,
    Eac3,
    Opus,
    /// One whose headers we do not read.
    Other,
}

impl Codec {
    pub fn is_video(self) -> bool {
        matches!(self, Self::H264 | Self::Hevc | Self::OtherVideo(_))
    }
}

/// One elementary stream of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramStream {
    pub pid: Pid,
    pub codec: Codec,
}

/// A program as its PMT has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub number: u16,
    pub pmt_pid: Pid,
    pub streams: Vec<ProgramStream>,
}

impl Program {
    /// The stream that is cut; others of video are left out.
    pub fn video(&self) -> Option<ProgramStream> {
        self.streams.iter().copied().find(|stream| stream.codec.is_video())
    }
}

/// Puts together the sections of one PID.
#[derive(Debug, Default)]
pub struct SectionBuffer {
    bytes: Vec<u8>,
}

impl SectionBuffer {
    /// Takes a packet's payload; gives the section once it is whole and its checksum is right.
    pub fn push(&mut self, starts_unit: bool, payload: &[u8]) -> Option<&[u8]> {
        let mut payload = payload;
        if starts_unit {
            let (pointer, rest) = payload.split_first()?;
            payload = rest.get(usize::from(*pointer)..)?;
            self.bytes.clear();
        } else if self.bytes.is_empty() {
            return None;
        }
        let room = MAX_SECTION_BYTES - self.bytes.len();
        self.bytes.extend_from_slice(&payload[..payload.len().min(room)]);
        let length = 3 + (usize::from(*self.bytes.get(1)? & 0x0f) << 8 | usize::from(*self.bytes.get(2)?));
        let section = self.bytes.get(..length)?;
        (length >= SECTION_HEAD_BYTES + CRC_BYTES && crc32(section) == 0).then_some(section)
    }
}

/// Finds the first program that a file's tables announce.
#[derive(Debug, Default)]
pub struct Tables {
    pat: SectionBuffer,
    pmt: SectionBuffer,
    announced: Option<(u16, Pid)>,
    program: Option<Program>,
}

impl Tables {
    /// Takes a packet that starts no PES packet.
    pub fn push(&mut self, packet: Packet<'_>) {
        if self.program.is_some() {
            return;
        }
        let Some(payload) = packet.payload() else { return };
        if packet.pid() == Pid::PAT {
            if let Some(announced) = self.pat.push(packet.starts_unit(), payload).and_then(parse_pat) {
                self.announced = Some(announced);
            }
        } else if let Some((number, pmt_pid)) = self.announced
            && packet.pid() == pmt_pid
            && let Some(section) = self.pmt.push(packet.starts_unit(), payload)
        {
            self.program = parse_pmt(section, number, pmt_pid);
        }
    }

    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    pub fn into_program(self) -> Option<Program> {
        self.program
    }
}

/// The first program of a PAT: its number and where its PMT is.
pub fn parse_pat(section: &[u8]) -> Option<(u16, Pid)> {
    let entries = body(section, PAT_TABLE)?;
    entries.chunks_exact(4).find_map(|entry| {
        let number = u16::from_be_bytes([entry[0], entry[1]]);
        // Program 0 is the network information table.
        (number != 0).then(|| (number, Pid::from_bytes(entry[2], entry[3])))
    })
}

pub fn parse_pmt(section: &[u8], number: u16, pmt_pid: Pid) -> Option<Program> {
    let body = body(section, PMT_TABLE)?;
    if section[3..5] != number.to_be_bytes() {
        return None;
    }
    let info_bytes = usize::from(body.get(2)? & 0x0f) << 8 | usize::from(*body.get(3)?);
    let mut rest = body.get(4 + info_bytes..)?;
    let mut streams = Vec::new();
    while let [stream_type, pid_high, pid_low, length_high, length_low, tail @ ..] = rest {
        let length = usize::from(length_high & 0x0f) << 8 | usize::from(*length_low);
        let descriptors = tail.get(..length)?;
        streams.push(ProgramStream {
            pid: Pid::from_bytes(*pid_high, *pid_low),
            codec: codec_of(*stream_type, descriptors),
        });
        rest = &tail[length..];
    }
    Some(Program { number, pmt_pid, streams })
}

fn body(section: &[u8], table: u8) -> Option<&[u8]> {
    let is_current = section.get(5)? & 1 == 1;
    let end = section.len().checked_sub(CRC_BYTES)?;
    (section[0] == table && is_current).then(|| section.get(SECTION_HEAD_BYTES..end))?
}

/// Stream types of ISO/IEC 13818-1 table 2-34, and those of ATSC and DVB for AC-3 and Opus.
fn codec_of(stream_type: u8, descriptors: &[u8]) -> Codec {
    match stream_type {
        0x1b => Codec::H264,
        0x24 => Codec::Hevc,
        0x01 | 0x02 | 0x10 | 0x20 | 0x21 | 0x33 | 0x42 | 0xd1 | 0xea => Codec::OtherVideo(stream_type),
        0x03 | 0x04 => Codec::Audio(AudioCoding::Mpeg),
        0x0f => Codec::Audio(AudioCoding::AacAdts),
        0x11 => Codec::Audio(AudioCoding::AacLatm),
        0x81 => Codec::Audio(AudioCoding::Ac3),
        0x84 | 0x87 => Codec::Audio(AudioCoding::Eac3),
        0x1c => Codec::Audio(AudioCoding::Other),
        0x06 => audio_in(descriptors).map_or(Codec::Other, Codec::Audio),
        _ => Codec::Other,
    }
}

/// Which audio a private stream's descriptors name, if any.
fn audio_in(mut descriptors: &[u8]) -> Option<AudioCoding> {
    while let [tag, length, tail @ ..] = descriptors {
        let content = tail.get(..usize::from(*length))?;
        // AC-3, E-AC-3, DTS and AAC of DVB; or a registration by four letters.
        let coding = match (tag, content.get(..4)) {
            (0x6a, _) | (0x05, Some(b"AC-3")) => Some(AudioCoding::Ac3),
            (0x7a, _) | (0x05, Some(b"EAC3")) => Some(AudioCoding::Eac3),
            (0x05, Some(b"Opus")) => Some(AudioCoding::Opus),
            (0x7b | 0x7c, _) => Some(AudioCoding::Other),
            _ => None,
        };
        if coding.is_some() {
            return coding;
        }
        descriptors = &tail[content.len()..];
    }
    None
}

/// CRC-32/MPEG-2; zero over a section with its checksum.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn section(table: u8, id: u16, body: &[u8]) -> Vec<u8> {
        let length = 5 + body.len() + CRC_BYTES;
        let mut bytes = vec![table, 0xb0 | (length >> 8) as u8, length as u8, (id >> 8) as u8, id as u8, 0xc1, 0, 0];
        bytes.extend(body);
        let crc = crc32(&bytes);
        bytes.extend(crc.to_be_bytes());
        bytes
    }

    #[test]
    fn a_map_over_two_packets_is_put_together() {
        let mut body = vec![0xe1, 0x00, 0xf0, 0];
        body.extend([0x1b, 0xe1, 0x00, 0xf0, 200]);
        body.extend([0; 200]);
        body.extend([0x0f, 0xe1, 0x01, 0xf0, 0]);
        body.extend([0x06, 0xe1, 0x02, 0xf0, 6, 0x05, 4, b'O', b'p', b'u', b's']);
        body.extend([0x15, 0xe1, 0x03, 0xf0, 0]);
        let section = section(PMT_TABLE, 1, &body);
        let mut first = vec![0];
        first.extend(&section[..180]);
        let mut buffer = SectionBuffer::default();
        assert_eq!(buffer.push(false, &section), None);
        assert_eq!(buffer.push(true, &first), None);
        let whole = buffer.push(false, &section[180..]).unwrap();
        let program = parse_pmt(whole, 1, Pid::from_bytes(0x10, 0)).unwrap();
        let streams: Vec<_> = program.streams.iter().map(|stream| (stream.pid.number(), stream.codec)).collect();
        let (aac, opus) = (Codec::Audio(AudioCoding::AacAdts), Codec::Audio(AudioCoding::Opus));
        let expected = [(0x100, Codec::H264), (0x101, aac), (0x102, opus), (0x103, Codec::Other)];
        assert_eq!(streams, expected);
        assert_eq!(parse_pmt(whole, 2, Pid::PAT), None);
    }

    #[test]
    fn a_section_with_a_wrong_checksum_is_none() {
        let mut bytes = vec![0];
        bytes.extend(section(PAT_TABLE, 1, &[0, 0, 0xe0, 0x10, 0, 1, 0xf0, 0]));
        let mut buffer = SectionBuffer::default();
        let pat = parse_pat(buffer.push(true, &bytes).unwrap());
        assert_eq!(pat, Some((1, Pid::from_bytes(0x10, 0))));
        bytes[10] ^= 1;
        assert_eq!(buffer.push(true, &bytes), None);
    }

    proptest! {
        #[test]
        fn any_table_is_read(payload in prop::collection::vec(any::<u8>(), 0..200), body in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = SectionBuffer::default();
            let _ = buffer.push(true, &payload);
            let _ = buffer.push(false, &payload);
            let _ = parse_pat(&section(PAT_TABLE, 1, &body));
            let _ = parse_pmt(&section(PMT_TABLE, 1, &body), 1, Pid::PAT);
        }
    }
}
