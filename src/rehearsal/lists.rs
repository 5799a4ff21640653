//! Reads the playlists that ffmpeg's HLS muxer writes.
//!
//! Promises: durations come exactly from their digits.
//! Never: reads anyone else's playlists (that is `hls`); these are our own child's, in the one form that it has.

use std::path::Path;

use super::{RehearsalError, disk};
use crate::model::{FileName, parse_duration_text};

/// One segment as ffmpeg lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub sequence: u64,
    pub duration_micros: i64,
    /// The digits as they were written.
    pub duration_text: String,
    pub file: FileName,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MediaList {
    /// The file of the initialisation section.
    pub map: Option<FileName>,
    pub segments: Vec<Listed>,
}

/// What ffmpeg's master playlist says of one rendition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    pub bits_per_second: u64,
    /// As RFC 6381 has them, such as `avc1.64001e,mp4a.40.2`.
    pub codecs: String,
}

/// `None` where there is no such file yet.
pub(super) fn read_media(path: &Path) -> Result<Option<MediaList>, RehearsalError> {
    read(path, parse_media)
}

/// The variants in the order of the renditions; `None` where there is no such file yet.
pub(super) fn read_master(path: &Path) -> Result<Option<Vec<Variant>>, RehearsalError> {
    read(path, parse_master)
}

fn read<T>(path: &Path, parse: fn(&str) -> Result<T, &'static str>) -> Result<Option<T>, RehearsalError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk("read", path)(error)),
    };
    parse(&text).map(Some).map_err(|why| RehearsalError::List { path: path.to_owned(), why })
}

fn parse_media(text: &str) -> Result<MediaList, &'static str> {
    let mut list = MediaList::default();
    let mut next_sequence = 0;
    let mut duration = None;
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(value) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
            next_sequence = value.parse().map_err(|_| "its media sequence is no number")?;
        } else if let Some(value) = line.strip_prefix("#EXT-X-MAP:URI=\"") {
            let file = value.split('"').next().unwrap_or_default();
            list.map = Some(file.parse().map_err(|_| "the file of its map is no name")?);
        } else if let Some(value) = line.strip_prefix("#EXTINF:") {
            duration = value.split(',').next().map(str::to_owned);
        } else if !line.starts_with('#') {
            let duration_text = duration.take().ok_or("a segment has no duration")?;
            let duration_micros = parse_duration_text(&duration_text).ok_or("a duration is no number of seconds")?;
            let file = line.parse().map_err(|_| "the file of a segment is no name")?;
            list.segments.push(Listed { sequence: next_sequence, duration_micros, duration_text, file });
            next_sequence += 1;
        }
    }
    Ok(list)
}

fn parse_master(text: &str) -> Result<Vec<Variant>, &'static str> {
    let attributes = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-STREAM-INF:"));
    attributes.map(|text| parse_variant(text).ok_or("a variant lacks its bandwidth or codecs")).collect()
}

fn parse_variant(attributes: &str) -> Option<Variant> {
    let bandwidth = attributes.split("BANDWIDTH=").nth(1)?.split(',').next()?;
    let codecs = attributes.split("CODECS=\"").nth(1)?.split('"').next()?;
    Some(Variant { bits_per_second: bandwidth.parse().ok()?, codecs: codecs.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_playlist_is_read_exactly() {
        let text = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n\
                    #EXT-X-MAP:URI=\"init_0.mp4\"\n#EXTINF:2.002000,\n00007.m4s\n#EXTINF:0.100333,\n00008.m4s\n";
        let list = parse_media(text).unwrap();
        assert_eq!(list.map.unwrap().as_str(), "init_0.mp4");
        let segments: Vec<_> = list.segments.iter().map(|s| (s.sequence, s.duration_micros, s.file.as_str())).collect();
        assert_eq!(segments, [(7, 2_002_000, "00007.m4s"), (8, 100_333, "00008.m4s")]);
        assert!(parse_media("00001.ts\n").is_err());
        assert!(parse_media("#EXTINF:nan,\n00001.ts\n").is_err());
        assert!(parse_media("#EXTINF:1.0,\n../00001.ts\n").is_err());
    }

    #[test]
    fn a_master_playlist_gives_bandwidth_and_codecs() {
        let text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=985600,RESOLUTION=640x360,CODECS=\"avc1.64001e,mp4a.40.2\"\n\
                    v0/index.m3u8\n";
        let variant = Variant { bits_per_second: 985_600, codecs: "avc1.64001e,mp4a.40.2".into() };
        assert_eq!(parse_master(text).unwrap(), [variant]);
        assert!(parse_master("#EXT-X-STREAM-INF:RESOLUTION=1x1\n").is_err());
    }
}
