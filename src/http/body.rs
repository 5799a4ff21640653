//! Parts of files as bodies of answers.

use std::fs::File;
use std::io;

use actix_web::http::header::HeaderValue;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;

use crate::blocking::Blocking;
use crate::store::Pieces;

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

/// Sends an extent of a file.
pub fn stream_file(file: File, extent: Extent, blocking: Blocking) -> impl Stream<Item = io::Result<Bytes>> {
    let pieces = Pieces::new(file, extent.first, extent.end, blocking);
    stream::try_unfold(pieces, |mut pieces| async move { Ok(pieces.next().await?.map(|piece| (piece, pieces))) })
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
}
