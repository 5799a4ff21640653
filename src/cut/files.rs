//! The files that a cut reads.
//!
//! Promises: a tombstone is looked for before each opening; a file that is shorter or longer than it was is an error,
//! never a shorter cut. One chunk is in memory at a time.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::CutError;
use crate::blocking::Blocking;
use crate::media::{Container, mp4, video_letters};
use crate::model::{Channel, Quality, SegmentName};
use crate::store::{Layout, Pieces, is_tombstoned};

/// How many files one piece of blocking work looks at.
const SURVEY_AT_ONCE: usize = 256;

/// `ftyp` and `moov` of a stream with two tracks, several times over.
const USUAL_INIT_BYTES: usize = 16 * 1024;

/// Bytes on their way, in order; ends after an error.
pub(super) type ByteStream = BoxStream<'static, Result<Bytes, CutError>>;

/// One quality of a channel, and how to read it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Record {
    pub layout: Layout,
    pub channel: Channel,
    pub quality: Quality,
    /// The door for reads: not the one that recording uses.
    pub blocking: Blocking,
}

impl Record {
    fn path(&self, segment: &SegmentName) -> PathBuf {
        self.layout.segment_path(&self.channel, &self.quality, segment)
    }
}

/// A segment as it was found before the cut began.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    pub segment: SegmentName,
    pub len_bytes: u64,
    pub container: Container,
    /// Its video's codec, where it is fragmented MP4 and the codec is one that MPEG-TS does not carry.
    pub uncarried: Option<Box<str>>,
    /// Length of the initialisation section; zero for MPEG-TS.
    pub init_bytes: u64,
    /// The initialisation section is that of the file before this one.
    pub repeats_init: bool,
}

/// The sample entries of video in fragmented MP4 that can be repacked as MPEG-TS (ISO/IEC 14496-15; the last four are HEVC and
/// H.264 under Dolby Vision). Of anything else, only sound would be left; it has to be encoded anew.
const CARRIED: [&[u8; 4]; 8] = [b"avc1", b"avc3", b"hvc1", b"hev1", b"dvh1", b"dvhe", b"dva1", b"dvav"];

fn uncarried(init: &[u8]) -> Option<Box<str>> {
    let letters = video_letters(init).filter(|letters| !CARRIED.contains(&letters))?;
    Some(letters.escape_ascii().to_string().into())
}

/// Refuses files of which only the sound could be repacked, unless they are `converted`, place by place.
pub(super) fn all_carried(files: &[SourceFile], mut is_converted: impl FnMut(usize) -> bool) -> Result<(), CutError> {
    let mut own = files.iter().enumerate().filter(|(at, _)| !is_converted(*at)).map(|(_, file)| file);
    let uncarried = own.find_map(|file| file.uncarried.clone().map(|codec| (file, codec)));
    uncarried.map_or(Ok(()), |(file, codec)| {
        Err(CutError::Uncarried { segment: file.segment.path_text(), codec: codec.into() })
    })
}

/// That of the first file that has any bytes. Those that are not `converted`, place by place, must have the same.
pub(super) fn one_container(
    files: &[SourceFile],
    mut is_converted: impl FnMut(usize) -> bool,
) -> Result<Container, CutError> {
    let own = files.iter().enumerate().filter(|(at, file)| file.len_bytes > 0 && !is_converted(*at));
    let mut own = own.map(|(_, file)| file).peekable();
    let container = own.peek().map_or(Container::MpegTs, |file| file.container);
    match own.find(|file| file.container != container) {
        Some(other) => Err(CutError::MixedContainers { segment: other.segment.path_text() }),
        None => Ok(container),
    }
}

/// Looks at every file of a cut, in order: each can be opened now.
pub(super) async fn survey(record: &Record, segments: Vec<SegmentName>) -> Result<Vec<SourceFile>, CutError> {
    let mut surveyor = Surveyor::default();
    let mut segments = segments.into_iter();
    loop {
        let some: Vec<SegmentName> = segments.by_ref().take(SURVEY_AT_ONCE).collect();
        if some.is_empty() {
            return Ok(surveyor.files);
        }
        let record_there = record.clone();
        surveyor = record
            .blocking
            .run(move || {
                some.into_iter().try_for_each(|segment| surveyor.look_at(&record_there, segment))?;
                Ok::<_, CutError>(surveyor)
            })
            .await??;
    }
}

/// Looks at a file that would be of help. `None` if it cannot be had.
pub(super) async fn survey_helper(record: &Record, segment: SegmentName) -> Option<SourceFile> {
    survey(record, vec![segment]).await.ok()?.pop()
}

#[derive(Debug, Default)]
struct Surveyor {
    last_init: Vec<u8>,
    last_uncarried: Option<Box<str>>,
    files: Vec<SourceFile>,
}

impl Surveyor {
    fn look_at(&mut self, record: &Record, segment: SegmentName) -> Result<(), CutError> {
        let (mut file, len_bytes) = open(&record.path(&segment), &segment)?;
        let head = read_up_to(&mut file, 8).map_err(|source| read_error(&segment, source))?;
        let container = if mp4::is_mp4(&head) { Container::FragmentedMp4 } else { Container::MpegTs };
        let mut found =
            SourceFile { segment, len_bytes, container, uncarried: None, init_bytes: 0, repeats_init: false };
        if container == Container::FragmentedMp4 {
            let init = read_init(&mut file, head, &found.segment)?;
            found.init_bytes = init.len() as u64;
            found.repeats_init = init == self.last_init;
            if !found.repeats_init {
                self.last_uncarried = uncarried(&init);
                self.last_init = init;
            }
            found.uncarried = self.last_uncarried.clone();
        } else if len_bytes > 0 {
            self.last_init.clear();
        }
        self.files.push(found);
        Ok(())
    }
}

/// The initialisation section of a file of which `head` has been read.
fn read_init(file: &mut File, mut head: Vec<u8>, segment: &SegmentName) -> Result<Vec<u8>, CutError> {
    // Nearly always the first step is enough, and an hour has thousands of files.
    let steps = [USUAL_INIT_BYTES, mp4::MAX_INIT_BYTES];
    let mut found = Err(mp4::NoFragment);
    for step in steps {
        let more = read_up_to(file, (step - head.len()) as u64).map_err(|source| read_error(segment, source))?;
        head.extend(more);
        found = mp4::init_len(&head);
        if found.is_ok() {
            break;
        }
    }
    let init_len = found.map_err(|source| CutError::NotFragmented { segment: segment.path_text(), source })?;
    head.truncate(init_len);
    Ok(head)
}

/// Opens a segment unless a tombstone marks it; gives its length too. Blocks.
fn open(path: &Path, segment: &SegmentName) -> Result<(File, u64), CutError> {
    if is_tombstoned(path) {
        return Err(CutError::Tombstoned { segment: segment.path_text() });
    }
    let open = || {
        let file = File::open(path)?;
        let len_bytes = file.metadata()?.len();
        Ok((file, len_bytes))
    };
    open().map_err(|source: io::Error| read_error(segment, source))
}

fn read_error(segment: &SegmentName, source: io::Error) -> CutError {
    let segment = segment.path_text();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => CutError::Vanished { segment },
        _ => CutError::Read { segment, source },
    }
}

fn read_up_to(file: &mut File, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(count as usize);
    file.take(count).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// An initialisation section is written once, and again only where it changes.
pub(super) fn rough_skip(file: &SourceFile) -> u64 {
    if file.repeats_init { file.init_bytes } else { 0 }
}

/// What a rough cut shows of a file.
pub(super) fn rough_len(file: &SourceFile) -> u64 {
    file.len_bytes - rough_skip(file)
}

/// One file, read piece by piece.
#[derive(Debug)]
pub(super) struct FileReader {
    segment: SegmentName,
    pieces: Pieces,
}

impl FileReader {
    /// Opens a file to read it from `skip_bytes` on.
    pub async fn open(record: &Record, source: &SourceFile, skip_bytes: u64) -> Result<Self, CutError> {
        let (path, segment) = (record.path(&source.segment), source.segment.clone());
        let opened = record.blocking.run(move || open(&path, &segment));
        let (file, len_bytes) = opened.await??;
        if len_bytes != source.len_bytes {
            return Err(CutError::Changed { segment: source.segment.path_text() });
        }
        let pieces = Pieces::new(file, skip_bytes, len_bytes, record.blocking.clone());
        Ok(Self { segment: source.segment.clone(), pieces })
    }

    /// The next piece, or `None` once all the bytes that the file had when it was opened have been read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CutError> {
        self.pieces.next().await.map_err(|source| self.error(source))
    }

    /// The same, which nobody else holds, so that it can be changed where it is.
    pub async fn next_own(&mut self) -> Result<Option<Bytes>, CutError> {
        self.pieces.next_own().await.map_err(|source| self.error(source))
    }

    /// What is read next may take this memory, once nobody else holds it.
    pub fn take_back(&mut self, done: Bytes) {
        self.pieces.take_back(done);
    }

    fn error(&self, source: io::Error) -> CutError {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => CutError::Changed { segment: self.segment.path_text() },
            _ => read_error(&self.segment, source),
        }
    }
}

/// Files one after the other, each with how many bytes of it to pass over.
pub(super) fn concatenated(record: &Record, files: Vec<(SourceFile, u64)>) -> ByteStream {
    let state = (record.clone(), files.into_iter(), None::<FileReader>);
    let chunks = stream::try_unfold(state, |(record, mut files, mut reader)| async move {
        loop {
            if let Some(open) = &mut reader
                && let Some(bytes) = open.next().await?
            {
                return Ok(Some((bytes, (record, files, reader))));
            }
            let Some((file, skip_bytes)) = files.next() else { return Ok(None) };
            reader = Some(FileReader::open(&record, &file, skip_bytes).await?);
        }
    });
    chunks.boxed()
}
