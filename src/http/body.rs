//! Streams a file, or a part of it, with back-pressure: no more than one piece ahead of the client.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use actix_web::http::header::HeaderValue;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;

use crate::blocking::Blocking;

/// Large enough to make few trips to the disk, small enough for hundreds of clients at once.
const PIECE_BYTES: u64 = 256 * 1024;

/// Bytes `first..end` of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub first: u64,
    pub end: u64,
}

impl Extent {
    pub fn len_bytes(self) -> u64 {
        self.end - self.first
    }
}

/// Reads an extent piece by piece. A file that is shorter than it was is an error, never a short body.
pub fn stream_file(file: File, extent: Extent, blocking: Blocking) -> impl Stream<Item = io::Result<Bytes>> {
    let file = Arc::new(file);
    stream::try_unfold(extent.first, move |at| {
        let (file, blocking) = (Arc::clone(&file), blocking.clone());
        async move {
            if at >= extent.end {
                return Ok(None);
            }
            let len_bytes = (extent.end - at).min(PIECE_BYTES) as usize;
            let read = move || {
                let mut piece = vec![0; len_bytes];
                file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece))
            };
            let piece = blocking.run(read).await.map_err(io::Error::other)??;
            Ok(Some((piece, at + len_bytes as u64)))
        }
    })
}

/// What a Range header asks of a file (RFC 9110 §14). `None`: the whole file, as for anything that is not one range of
/// bytes. `Err`: the range lies outside.
pub fn requested_extent(header: Option<&HeaderValue>, len_bytes: u64) -> Result<Option<Extent>, ()> {
    let Some(text) = header.and_then(|value| value.to_str().ok()?.strip_prefix("bytes=")) else { return Ok(None) };
    let Some((first, last)) = text.trim().split_once('-') else { return Ok(None) };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (first, end) = match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => return Ok(None),
        (Some(first), Some(last)) => (first, last.saturating_add(1).min(len_bytes)),
        (Some(first), None) if last.trim().is_empty() => (first, len_bytes),
        (None, Some(suffix)) if first.trim().is_empty() => (len_bytes.saturating_sub(suffix), len_bytes),
        _ => return Ok(None),
    };
    if first >= len_bytes || first >= end { Err(()) } else { Ok(Some(Extent { first, end })) }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let extent = |text: &str| requested_extent(Some(&HeaderValue::from_str(text).unwrap()), 100);
        let bytes = |first, end| Ok(Some(Extent { first, end }));
        for (text, expected) in [
            ("bytes=0-0", bytes(0, 1)),
            ("bytes=10-", bytes(10, 100)),
            ("bytes=90-200", bytes(90, 100)),
            ("bytes=-5", bytes(95, 100)),
            ("bytes=-500", bytes(0, 100)),
            ("bytes=100-", Err(())),
            ("bytes=-0", Err(())),
            ("bytes=5-4", Ok(None)),
            ("bytes=0-1,5-6", Ok(None)),
            ("items=0-1", Ok(None)),
            ("bytes=x-y", Ok(None)),
            ("bytes=-", Ok(None)),
        ] {
            assert_eq!(extent(text), expected, "{text}");
        }
        assert_eq!(requested_extent(None, 100), Ok(None));
    }

    #[actix_rt::test]
    async fn a_file_that_shrank_is_an_error() {
        let mut path = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut path, &[7; 600_000]).unwrap();
        let read = |end| {
            let extent = Extent { first: 1, end };
            stream_file(path.reopen().unwrap(), extent, Blocking::new(1)).try_collect::<Vec<_>>()
        };
        let whole: usize = read(600_000).await.unwrap().iter().map(Bytes::len).sum();
        assert_eq!(whole, 599_999);
        assert!(read(600_001).await.is_err());
    }
}
