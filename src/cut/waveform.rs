//! How loud a range is.
//!
//! Promises: each segment is listened to once, several by one ffmpeg; what is known is kept in side files and, of a bounded
//! number of hours, in memory. A hole is told from silence.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::StreamExt;
use tokio::sync::Semaphore;

use super::CutError;
use super::args::Args;
use super::ffmpeg::Ffmpeg;
use super::files::{Record, SourceFile, one_container, survey};
use super::source::Source;
use crate::media::Container;
use crate::model::{Channel, Hour, Quality, SegmentName, Span, Timestamp};
use crate::png::{self, Colour};
use crate::select::{Part, Selection};
use crate::store::{HourPeaks, Volume, read_peaks, write_peaks};

/// Peaks are told of stretches of this length.
const STRETCH_MICROS: i64 = 20_000;
/// Enough for what one sees.
const SAMPLE_RATE_HZ: i64 = 8000;
const SAMPLES_PER_STRETCH: usize = (SAMPLE_RATE_HZ * STRETCH_MICROS / 1_000_000) as usize;
/// Segments that one ffmpeg listens to. Its start costs as much as some ten segments.
const SEGMENTS_AT_ONCE: usize = 60;
/// Hours that stay in memory, of some 200 KB each.
const HOURS_IN_MEMORY: usize = 48;

/// One value for each column: 0 to 255, `None` where there is nothing to hear because there is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waveform {
    pub span: Span,
    pub columns: Vec<Option<u8>>,
}

type Key = (Channel, Quality, Hour);

/// What is known. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct Waveforms {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ffmpeg: Ffmpeg,
    volume: Volume,
    /// The one that was used last is the last.
    hours: Mutex<Vec<(Key, Arc<HourPeaks>)>>,
    /// One learns at a time, so that what two ask for is learnt once.
    learning: Semaphore,
}

impl Waveforms {
    pub fn new(ffmpeg: Ffmpeg, volume: Volume) -> Self {
        let shared = Shared { ffmpeg, volume, hours: Mutex::default(), learning: Semaphore::new(1) };
        Self { shared: Arc::new(shared) }
    }

    /// The loudness of what was selected, in so many columns.
    pub async fn draw(&self, record: &Record, selection: &Selection, columns: u32) -> Result<Waveform, CutError> {
        let span = selection.span();
        let mut waveform = Waveform { span, columns: vec![None; columns as usize] };
        let segments: Vec<SegmentName> = selection.segments().map(|segment| segment.to_name()).collect();
        for segments in segments.chunk_by(|a, b| a.hour() == b.hour()) {
            let hour = self.hour(record, selection, segments).await?;
            for segment in segments {
                let peaks = hour.get(segment.as_str()).map_or(&[][..], |peaks| peaks);
                waveform.add(segment, peaks);
            }
        }
        Ok(waveform)
    }

    /// The peaks of an hour, those of `segments` (all of one hour) among them.
    async fn hour(
        &self,
        record: &Record,
        selection: &Selection,
        segments: &[SegmentName],
    ) -> Result<Arc<HourPeaks>, CutError> {
        let key = (record.channel.clone(), record.quality.clone(), segments[0].hour());
        let knows_all = |known: &HourPeaks| segments.iter().all(|segment| known.contains_key(segment.as_str()));
        if let Some(known) = self.recall(&key).filter(|known| knows_all(known)) {
            return Ok(known);
        }
        let _learning = self.shared.learning.acquire().await.expect("the semaphore is never closed");
        let known = match self.recall(&key) {
            Some(known) => known,
            None => {
                let (layout, (channel, quality, hour)) = (record.layout.clone(), key.clone());
                Arc::new(record.blocking.run(move || read_peaks(&layout, &channel, &quality, hour)).await?)
            }
        };
        if knows_all(&known) {
            self.remember(key, Arc::clone(&known));
            return Ok(known);
        }
        let mut learnt = HourPeaks::clone(&known);
        for run in unknown_runs(selection, segments, &known) {
            for (segment, peaks) in run.iter().zip(self.listen(record, &run).await?) {
                learnt.insert(segment.as_str().into(), peaks);
            }
        }
        let learnt = Arc::new(learnt);
        let (layout, volume) = (record.layout.clone(), self.shared.volume.clone());
        let ((channel, quality, hour), kept) = (key.clone(), Arc::clone(&learnt));
        let write = move || write_peaks(&layout, &volume, &channel, &quality, hour, &kept);
        let written = record.blocking.run(write).await?;
        written?;
        self.remember(key, Arc::clone(&learnt));
        Ok(learnt)
    }

    fn recall(&self, key: &Key) -> Option<Arc<HourPeaks>> {
        let mut hours = self.shared.hours.lock().unwrap_or_else(PoisonError::into_inner);
        let at = hours.iter().position(|(known, _)| known == key)?;
        let entry = hours.remove(at);
        let peaks = Arc::clone(&entry.1);
        hours.push(entry);
        Some(peaks)
    }

    fn remember(&self, key: Key, peaks: Arc<HourPeaks>) {
        let mut hours = self.shared.hours.lock().unwrap_or_else(PoisonError::into_inner);
        hours.retain(|(known, _)| *known != key);
        if hours.len() == HOURS_IN_MEMORY {
            hours.remove(0);
        }
        hours.push((key, peaks));
    }

    /// The peaks of each segment of a run without holes.
    async fn listen(&self, record: &Record, run: &[SegmentName]) -> Result<Vec<Box<[u8]>>, CutError> {
        match self.listen_to_all(record, run).await {
            Ok(peaks) => Ok(peaks),
            Err(error) if !is_about_content(&error) => Err(error),
            // One that cannot be heard is silent, whoever stands beside it.
            Err(_) if run.len() == 1 => Ok(vec![Box::default()]),
            Err(_) => {
                let mut all = Vec::with_capacity(run.len());
                for segment in run {
                    match self.listen_to_all(record, std::slice::from_ref(segment)).await {
                        Ok(mut peaks) => all.append(&mut peaks),
                        Err(error) if is_about_content(&error) => all.push(Box::default()),
                        Err(error) => return Err(error),
                    }
                }
                Ok(all)
            }
        }
    }

    async fn listen_to_all(&self, record: &Record, run: &[SegmentName]) -> Result<Vec<Box<[u8]>>, CutError> {
        let files = survey(record, run.to_vec()).await?;
        let container = one_container(&files, |_| false)?;
        let source = Source { record: record.clone(), ffmpeg: self.shared.ffmpeg.clone() };
        let seat = source.ffmpeg.seat().await?;
        let input = match container {
            Container::MpegTs => source.shifted_streams(&seat, files, 0)?,
            Container::FragmentedMp4 => {
                if let Some(SourceFile { segment, .. }) = files.iter().skip(1).find(|file| !file.repeats_init) {
                    // Alone, it is read with an initialisation section of its own.
                    return Err(CutError::MixedContainers { segment: segment.path_text() });
                }
                source.remux(&seat, files)?.into_stream()
            }
        };
        let mut args = Args::default();
        args.words("-f mpegts -i - -map 0:a:0 -ac 1 -af").words("aresample=8000:async=1").words("-f s16le -");
        let mut heard = seat.run(args.done(), input)?.into_stream();
        let mut peaks = Peaks::default();
        while let Some(bytes) = heard.next().await {
            peaks.push(&bytes?);
        }
        let all = peaks.finish();
        let place = |moment: Timestamp| (moment.micros_since(run[0].start()) / STRETCH_MICROS).max(0) as usize;
        let of = |segment: &SegmentName| {
            let end = place(segment.end()).min(all.len());
            Box::from(&all[place(segment.start()).min(end)..end])
        };
        Ok(run.iter().map(of).collect())
    }
}

/// What another try would not change: there is no sound, or nothing that can be read.
fn is_about_content(error: &CutError) -> bool {
    matches!(
        error,
        CutError::FfmpegFailed { .. }
            | CutError::MixedContainers { .. }
            | CutError::NotFragmented { .. }
            | CutError::NoStamps { .. }
    )
}

/// Those of `segments` that are not known, in runs without holes.
fn unknown_runs(selection: &Selection, segments: &[SegmentName], known: &HourPeaks) -> Vec<Vec<SegmentName>> {
    let mut runs: Vec<Vec<SegmentName>> = Vec::new();
    let mut goes_on = false;
    for part in selection.parts() {
        let Part::Segment(segment) = part else {
            goes_on = false;
            continue;
        };
        let name = segment.to_name();
        if name.hour() != segments[0].hour() || known.contains_key(name.as_str()) {
            goes_on = false;
            continue;
        }
        match runs.last_mut() {
            Some(run) if goes_on && run.len() < SEGMENTS_AT_ONCE => run.push(name),
            _ => runs.push(vec![name]),
        }
        goes_on = true;
    }
    runs
}

/// Samples of 16 bits as they come, and the loudest of each stretch.
#[derive(Debug, Default)]
struct Peaks {
    /// The first half of a sample whose other half is still to come.
    half: Option<u8>,
    loudest: u16,
    samples: usize,
    peaks: Vec<u8>,
}

impl Peaks {
    fn push(&mut self, bytes: &Bytes) {
        for byte in bytes {
            let Some(low) = self.half.take() else {
                self.half = Some(*byte);
                continue;
            };
            self.loudest = self.loudest.max(i16::from_le_bytes([low, *byte]).unsigned_abs());
            self.samples += 1;
            if self.samples == SAMPLES_PER_STRETCH {
                self.end_stretch();
            }
        }
    }

    fn end_stretch(&mut self) {
        // 32,768 is 255 as well.
        self.peaks.push((self.loudest >> 7).min(255) as u8);
        (self.loudest, self.samples) = (0, 0);
    }

    fn finish(mut self) -> Vec<u8> {
        if self.samples > 0 {
            self.end_stretch();
        }
        self.peaks
    }
}

impl Waveform {
    fn add(&mut self, segment: &SegmentName, peaks: &[u8]) {
        let count = self.columns.len() as i128;
        let length = i128::from(self.span.end().micros_since(self.span.start()));
        let offset = segment.start().micros_since(self.span.start());
        let column = |micros: i64| i128::from(micros) * count / length;
        // What is there but not heard is silent.
        let (first, last) = (column(offset).max(0), column(segment.end().micros_since(self.span.start()) - 1));
        for silent in first..(last + 1).min(count) {
            self.columns[silent as usize].get_or_insert(0);
        }
        for (at, peak) in peaks.iter().enumerate() {
            let micros = offset + at as i64 * STRETCH_MICROS;
            if let (true, Some(shown)) = (micros >= 0, self.columns.get_mut(column(micros) as usize)) {
                *shown = Some(shown.unwrap_or(0).max(*peak));
            }
        }
    }

    /// A picture of this height: a bar for each column about the middle, nothing where it is silent, a band for a hole.
    pub fn png(&self, height: u32) -> Vec<u8> {
        const PALETTE: [Colour; 3] = [[0, 0, 0, 0], [80, 130, 255, 255], [200, 60, 60, 120]];
        let (width, half) = (self.columns.len(), height as f32 / 2.0);
        let mut pixels = vec![0; width * height as usize];
        for (row, line) in pixels.chunks_exact_mut(width).enumerate() {
            let distance = (row as f32 + 0.5 - half).abs();
            for (pixel, column) in line.iter_mut().zip(&self.columns) {
                *pixel = match column {
                    None => 2,
                    Some(peak) => u8::from(distance <= half * f32::from(*peak) / 255.0),
                };
            }
        }
        png::write(width as u32, height, &PALETTE, &pixels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SegmentHash, SegmentKind};

    fn at(micros: i64) -> Timestamp {
        "2026-01-02T03:00:00".parse::<Timestamp>().unwrap().plus_micros(micros)
    }

    fn segment(start: i64, duration: i64) -> SegmentName {
        SegmentName::finished(at(start), duration, SegmentKind::Full, SegmentHash::from_bytes([0; 32]))
    }

    #[test]
    fn peaks_are_the_loudest_samples_wherever_the_bytes_are_split() {
        let mut samples = vec![0_i16; SAMPLES_PER_STRETCH * 2 + 1];
        samples[3] = -20_000;
        samples[SAMPLES_PER_STRETCH * 2 - 1] = i16::MIN;
        samples[SAMPLES_PER_STRETCH * 2] = 128;
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        for piece in [1, 3, 1000, bytes.len()] {
            let mut peaks = Peaks::default();
            bytes.chunks(piece).for_each(|piece| peaks.push(&Bytes::copy_from_slice(piece)));
            assert_eq!(peaks.finish(), [156, 255, 1], "{piece}");
        }
    }

    #[test]
    fn a_hole_is_told_from_silence() {
        let mut waveform = Waveform { span: Span::new(at(0), at(100_000)).unwrap(), columns: vec![None; 10] };
        // It begins before the range; of its peaks the first is not shown.
        waveform.add(&segment(-20_000, 60_000), &[255, 10, 20]);
        waveform.add(&segment(80_000, 40_000), &[]);
        let shown: Vec<Option<u8>> =
            vec![Some(10), Some(0), Some(20), Some(0), None, None, None, None, Some(0), Some(0)];
        assert_eq!(waveform.columns, shown);
        let picture = waveform.png(4);
        assert_eq!(png::size_of(&picture), Some((10, 4)));
    }
}
