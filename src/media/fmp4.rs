//! The encoding of fragmented MP4, from its initialisation section; and the frames that its fragments announce.
//!
//! Promises: of a file, one `moov` or `moof` is in memory at a time.

use super::encoding::{Audio, Container, Encoding, Init, SegmentMedia, Video};
use super::mp4::{MAX_INIT_BYTES, boxes, find, init_len, read_head};
use super::probe::Probed;
use super::sample_entry::{audio_format, video_format};

/// `is_whole`: nothing comes after `head`, and nothing is missing in it.
pub fn read(head: &[u8], is_whole: bool) -> Probed {
    let Ok(len) = init_len(head) else {
        let may_come = !is_whole && head.len() < MAX_INIT_BYTES;
        return if may_come { Probed::NeedsMore } else { Probed::Unreadable };
    };
    let init = &head[..len];
    match encoding_of(init) {
        Some(encoding) => Probed::Known(SegmentMedia { encoding, init: Some(Init::of(init)) }),
        None => Probed::Unreadable,
    }
}

/// The first video track and all of audio. `None` if one is coded in a way that we do not read.
fn encoding_of(init: &[u8]) -> Option<Encoding> {
    let mut encoding = Encoding { container: Container::FragmentedMp4, video: None, audio: Vec::new() };
    for track in tracks(find(init, &[b"moov"])?) {
        match (track.kind, &encoding.video) {
            (b"vide", None) => {
                let format = video_format(track.stsd)?;
                let (width, height) = (format.width, format.height);
                encoding.video = Some(Video { track: track.id, codec: format.codec, width, height });
            }
            (b"soun", _) => {
                let format = audio_format(track.stsd)?;
                encoding.audio.push(Audio {
                    track: track.id,
                    codec: format.codec,
                    sample_rate_hz: format.sample_rate_hz,
                    channels: format.channels,
                });
            }
            _ => {}
        }
    }
    (encoding.video.is_some() || !encoding.audio.is_empty()).then_some(encoding)
}

/// The four letters of the first video track's sample entry, such as `avc1`, also where the rest of it cannot be read.
pub fn video_letters(init: &[u8]) -> Option<[u8; 4]> {
    let track = tracks(find(init, &[b"moov"])?).find(|track| track.kind == b"vide")?;
    // Version, flags, and the number of entries come before the first entry's length.
    track.stsd.get(12..)?.first_chunk().copied()
}

/// A track as `moov` has it.
struct Track<'b> {
    id: u32,
    kind: &'b [u8; 4],
    timescale: u32,
    stsd: &'b [u8],
}

fn tracks(moov: &[u8]) -> impl Iterator<Item = Track<'_>> {
    boxes(moov).filter(|(kind, _)| *kind == b"trak").filter_map(|(_, trak)| {
        let (tkhd, mdhd) = (find(trak, &[b"tkhd"])?, find(trak, &[b"mdia", b"mdhd"])?);
        // Times have eight bytes each in version 1, and four in version 0.
        let after_times = |content: &[u8]| if content.first() == Some(&1) { 4 + 16 } else { 4 + 8 };
        Some(Track {
            id: number_at(tkhd, after_times(tkhd))?,
            timescale: number_at(mdhd, after_times(mdhd))?,
            kind: find(trak, &[b"mdia", b"hdlr"])?.get(8..)?.first_chunk()?,
            stsd: find(trak, &[b"mdia", b"minf", b"stbl", b"stsd"])?,
        })
    })
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A head is at most this long.
const HEAD_BYTES: usize = 16;

/// Counts the video's frames and how long they last, over a file that comes in pieces.
#[derive(Debug, Default)]
pub struct FragmentScan {
    /// The head of a box, or all of one that is read.
    held: Vec<u8>,
    /// How long `held` will be, once that is known.
    wanted: Option<usize>,
    skip_bytes: u64,
    /// No box can be found any more.
    lost: bool,
    video: Option<VideoTrack>,
    frames: u64,
    ticks: u64,
}

#[derive(Debug, Clone, Copy)]
struct VideoTrack {
    id: u32,
    timescale: u32,
    usual_ticks: u32,
}

impl FragmentScan {
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            if self.skip_bytes > 0 {
                let skipped = self.skip_bytes.min(bytes.len() as u64);
                self.skip_bytes -= skipped;
                bytes = &bytes[skipped as usize..];
                continue;
            }
            let wanted = self.wanted.unwrap_or(if self.is_long() { HEAD_BYTES } else { 8 });
            let taken = bytes.len().min(wanted - self.held.len());
            self.held.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.held.len() == wanted {
                self.step();
            }
        }
    }

    /// Frames, the ticks that they last, and the ticks of a second.
    pub fn finish(self) -> Option<(u64, u64, u32)> {
        Some((self.frames, self.ticks, self.video?.timescale))
    }

    fn is_long(&self) -> bool {
        self.held.len() >= 8 && self.held[..4] == [0, 0, 0, 1]
    }

    /// `held` is as long as was wanted.
    fn step(&mut self) {
        if self.wanted.take().is_some() {
            let content = std::mem::take(&mut self.held);
            self.take_box(&content);
            return;
        }
        if self.is_long() && self.held.len() < HEAD_BYTES {
            return;
        }
        let Some(head) = read_head(&self.held) else {
            self.lost = true;
            return;
        };
        let is_read = matches!(head.kind, b"moov" | b"moof") && head.len_bytes <= MAX_INIT_BYTES;
        if is_read && head.len_bytes > head.head_bytes {
            self.wanted = Some(head.len_bytes);
        } else {
            self.skip_bytes = (head.len_bytes - head.head_bytes) as u64;
            self.held.clear();
        }
    }

    fn take_box(&mut self, whole: &[u8]) {
        if let Some(moov) = find(whole, &[b"moov"]) {
            let video = tracks(moov).find(|track| track.kind == b"vide");
            self.video = video.map(|track| VideoTrack {
                id: track.id,
                timescale: track.timescale,
                usual_ticks: usual_ticks(moov, track.id).unwrap_or(0),
            });
        }
        let (Some(moof), Some(video)) = (find(whole, &[b"moof"]), self.video) else { return };
        for (_, traf) in boxes(moof).filter(|(kind, _)| *kind == b"traf") {
            let usual = find(traf, &[b"tfhd"]).and_then(|tfhd| usual_ticks_of_fragment(tfhd, video));
            let Some(usual) = usual else { continue };
            for (_, trun) in boxes(traf).filter(|(kind, _)| *kind == b"trun") {
                if let Some((frames, ticks)) = count_run(trun, usual) {
                    self.frames += frames;
                    self.ticks = self.ticks.saturating_add(ticks);
                }
            }
        }
    }
}

/// The duration of a sample of this track, unless a fragment says otherwise (`trex`).
fn usual_ticks(moov: &[u8], id: u32) -> Option<u32> {
    let mut extends = boxes(find(moov, &[b"mvex"])?).filter(|(kind, _)| *kind == b"trex");
    extends.find(|(_, trex)| number_at(trex, 4) == Some(id)).and_then(|(_, trex)| number_at(trex, 12))
}

/// The same within a fragment. `None` if it is another track's.
fn usual_ticks_of_fragment(tfhd: &[u8], video: VideoTrack) -> Option<u32> {
    let flags = number_at(tfhd, 0)? & 0xff_ffff;
    if number_at(tfhd, 4)? != video.id {
        return None;
    }
    if flags & 0x08 == 0 {
        return Some(video.usual_ticks);
    }
    // After a data offset and the number of the sample entry, if they are there.
    number_at(tfhd, 8 + if flags & 0x01 == 0 { 0 } else { 8 } + if flags & 0x02 == 0 { 0 } else { 4 })
}

/// Frames of a run, and how long they last.
fn count_run(trun: &[u8], usual_ticks: u32) -> Option<(u64, u64)> {
    let flags = number_at(trun, 0)? & 0xff_ffff;
    let frames = u64::from(number_at(trun, 4)?);
    if flags & 0x100 == 0 {
        return Some((frames, frames.saturating_mul(u64::from(usual_ticks))));
    }
    let first = 8 + if flags & 0x01 == 0 { 0 } else { 4 } + if flags & 0x04 == 0 { 0 } else { 4 };
    // Duration, size, flags and time offset of a sample, each if its flag is set.
    let sample_bytes = 4 * (flags >> 8 & 0x0f).count_ones() as usize;
    let samples = trun.get(first..)?.chunks_exact(sample_bytes).take(usize::try_from(frames).ok()?);
    samples
        .map(|sample| number_at(sample, 0))
        .try_fold((0, 0), |(frames, ticks), duration| Some((frames + 1, ticks + u64::from(duration?))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&((content.len() + 8) as u32).to_be_bytes()[..], kind, content].concat()
    }

    fn numbers(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    /// Track 7 at 600 ticks a second, two runs of 3 frames: one of the usual 20 ticks, one that says its own.
    fn file() -> Vec<u8> {
        let tkhd = boxed(b"tkhd", &numbers(&[0, 0, 0, 7]));
        let mdhd = boxed(b"mdhd", &numbers(&[0, 0, 0, 600]));
        let hdlr = boxed(b"hdlr", &[&[0; 8][..], b"vide"].concat());
        let minf = boxed(b"minf", &boxed(b"stbl", &boxed(b"stsd", &[0; 8])));
        let trak = boxed(b"trak", &[tkhd, boxed(b"mdia", &[mdhd, hdlr, minf].concat())].concat());
        let mvex = boxed(b"mvex", &boxed(b"trex", &numbers(&[0, 7, 1, 20, 0, 0])));
        let traf = |id: u32, trun: &[u32]| {
            boxed(b"traf", &[boxed(b"tfhd", &numbers(&[0, id])), boxed(b"trun", &numbers(trun))].concat())
        };
        let usual = boxed(b"moof", &[traf(7, &[0, 3]), traf(8, &[0, 99])].concat());
        let own = boxed(b"moof", &traf(7, &[0x305, 3, 0, 0, 10, 1, 20, 2, 30, 3]));
        let long_mdat = [&[0, 0, 0, 1][..], b"mdat", &20u64.to_be_bytes(), &[9; 4]].concat();
        [boxed(b"ftyp", &[]), boxed(b"moov", &[trak, mvex].concat()), usual, long_mdat, own, boxed(b"mdat", &[1; 30])]
            .concat()
    }

    fn scan(bytes: &[u8], piece: usize) -> Option<(u64, u64, u32)> {
        let mut scan = FragmentScan::default();
        bytes.chunks(piece).for_each(|part| scan.push(part));
        scan.finish()
    }

    #[test]
    fn frames_are_counted_in_pieces_of_any_size() {
        for piece in [1, 7, 8, 100, 10_000] {
            assert_eq!(scan(&file(), piece), Some((6, 120, 600)), "{piece}");
        }
    }

    #[test]
    fn a_track_that_we_do_not_read_makes_the_whole_unreadable() {
        assert!(matches!(read(&file(), true), Probed::Unreadable));
        assert!(matches!(read(&file()[..30], false), Probed::NeedsMore));
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(flips in prop::collection::vec((0usize..300, any::<u8>()), 0..30), piece in 1usize..50) {
            let mut bytes = file();
            for (at, value) in flips {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            let _ = scan(&bytes, piece);
            let _ = (read(&bytes, true), read(&bytes, false));
        }
    }
}
