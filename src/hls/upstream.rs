//! Reads a source's playlists into exact values. The only user of m3u8_rs.
//!
//! m3u8_rs keeps durations as f32, loses dates without a zone, and reads a torn tag as a segment. So the lines are
//! scanned beside it for the digits and titles of EXTINF, for dates and for date ranges, and each of its segments must match a URI line.
//!
//! Promises: never panics on hostile text; a segment without a credible duration or number, or with a URI that is no line
//! of its own, is left out, and the sequence numbers of the others stay true.

mod date_range;
mod key;

pub use date_range::DateRange;
pub use key::{Encryption, Key};

use crate::model::{Timestamp, parse_duration_text};
use key::KeysInForce;

/// A text that is no playlist, with the beginning of what came instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlaylist {
    #[error("not a playlist but {kind}, beginning with {start:?}")]
    NotAPlaylist { kind: &'static str, start: String },
    #[error("a playlist that cannot be read: {0}")]
    Broken(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Playlist {
    Master(Vec<Variant>),
    Media(MediaPlaylist),
}

/// One rendition that a master playlist offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variant {
    pub uri: String,
    /// Names that it goes by, each once: its rendition's name and group, NAME, STABLE-VARIANT-ID, IVS-NAME. May be empty.
    pub names: Vec<String>,
    /// Peak bits per second.
    pub bandwidth: u64,
    /// Where it is told.
    pub resolution: Option<Resolution>,
    /// To the nearest whole number, where it is told: sources that say 29.97 mean the `30` of a name.
    pub frames_per_second: Option<u64>,
    /// RFC 6381; empty where it is not told.
    pub codecs: Vec<String>,
    /// The source says that this is what the broadcaster sends: IVS-VARIANT-SOURCE, `(source)` in a name, or the group
    /// `chunked`, each of which Twitch has used.
    pub is_source: bool,
    /// Its sound is in another playlist (EXT-X-MEDIA of type AUDIO with a URI).
    pub separate_sound: bool,
}

/// Of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    pub width: u64,
    pub height: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaPlaylist {
    pub target_duration_seconds: u64,
    pub segments: Vec<UpstreamSegment>,
    /// By their IDs.
    pub date_ranges: Vec<DateRange>,
    /// EXT-X-ENDLIST: nothing will be added.
    pub ended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSegment {
    pub media_sequence: u64,
    /// As written: relative or absolute.
    pub uri: String,
    pub duration_micros: i64,
    /// Of EXTINF; may be empty.
    pub title: String,
    pub date_time: Option<Timestamp>,
    pub byte_range: Option<ByteRange>,
    pub map: Option<UpstreamMap>,
    pub encryption: Encryption,
}

/// The initialisation section of fragmented MP4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamMap {
    pub uri: String,
    pub byte_range: Option<ByteRange>,
    /// By the key that was in force where the map was named.
    pub encryption: Encryption,
}

/// `length` bytes from `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRange {
    pub offset: u64,
    pub length: u64,
}

/// A segment that claims to be longer than a day is a mistake, and so many of them would overflow any sum.
const LONGEST_MICROS: i64 = 24 * 3600 * 1_000_000;
/// How much of a text that is no playlist goes into the error.
const EXCERPT_CHARS: usize = 60;

pub fn parse(text: &[u8]) -> Result<Playlist, BadPlaylist> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if !text.starts_with(b"#EXTM3U") {
        return Err(not_a_playlist(text));
    }
    let Ok(lines) = std::str::from_utf8(text) else { return Err(BadPlaylist::Broken("it is not UTF-8")) };
    // m3u8_rs reads a last line only where it ends.
    let terminated = format!("{lines}\n");
    match m3u8_rs::parse_playlist_res(terminated.as_bytes()) {
        Ok(m3u8_rs::Playlist::MasterPlaylist(master)) => Ok(Playlist::Master(variants(master))),
        Ok(m3u8_rs::Playlist::MediaPlaylist(media)) => {
            Ok(Playlist::Media(media_playlist(media, scan(lines), date_range::date_ranges(lines))))
        }
        Err(_) => Err(BadPlaylist::Broken("a tag is malformed")),
    }
}

fn not_a_playlist(text: &[u8]) -> BadPlaylist {
    let start = String::from_utf8_lossy(&text[..text.len().min(4 * EXCERPT_CHARS)]);
    let start: String = start.trim_start().chars().take(EXCERPT_CHARS).collect();
    let lower = start.to_ascii_lowercase();
    let kind = if start.is_empty() {
        "nothing"
    } else if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        "an HTML page"
    } else if start.starts_with(['{', '[']) {
        "JSON"
    } else {
        "something else"
    };
    BadPlaylist::NotAPlaylist { kind, start }
}

fn variants(master: m3u8_rs::MasterPlaylist) -> Vec<Variant> {
    let offered = master.variants.iter().filter(|variant| !variant.is_i_frame && !variant.uri.is_empty());
    offered.map(|variant| read_variant(variant, &master.alternatives)).collect()
}

fn read_variant(variant: &m3u8_rs::VariantStream, renditions: &[m3u8_rs::AlternativeMedia]) -> Variant {
    let attribute = |key: &str| Some(variant.other_attributes.as_ref()?.get(key)?.as_str().to_owned());
    let is_video = |media: &&m3u8_rs::AlternativeMedia| media.media_type == m3u8_rs::AlternativeMediaType::Video;
    let rendition =
        |group: &str| Some(renditions.iter().filter(is_video).find(|media| media.group_id == group)?.name.clone());
    let group = variant.video.clone();
    let mut names: Vec<String> = Vec::new();
    for name in [
        group.as_deref().and_then(rendition),
        group,
        attribute("NAME"),
        attribute("IVS-NAME"),
        attribute("STABLE-VARIANT-ID"),
    ]
    .into_iter()
    .flatten()
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let codecs = variant.codecs.as_deref().unwrap_or_default().split(',').map(str::trim);
    let in_other_playlist = |media: &&m3u8_rs::AlternativeMedia| {
        media.media_type == m3u8_rs::AlternativeMediaType::Audio && media.uri.is_some()
    };
    let mut sounds = renditions.iter().filter(in_other_playlist);
    Variant {
        uri: variant.uri.clone(),
        bandwidth: variant.bandwidth,
        resolution: variant.resolution.map(|size| Resolution { width: size.width, height: size.height }),
        frames_per_second: variant.frame_rate.map(|rate| rate.round() as u64),
        codecs: codecs.filter(|codec| !codec.is_empty()).map(str::to_owned).collect(),
        is_source: attribute("IVS-VARIANT-SOURCE").is_some_and(|what| what.eq_ignore_ascii_case("source"))
            || names.iter().any(|name| name.to_ascii_lowercase().contains("(source)") || name == "chunked"),
        separate_sound: sounds.any(|media| Some(&media.group_id) == variant.audio.as_ref()),
        names,
    }
}

/// What a URI line says by the tags before it, in exact digits.
struct Scanned<'t> {
    uri: &'t str,
    duration_micros: Option<i64>,
    title: &'t str,
    date_time: Option<Timestamp>,
    encryption: Encryption,
    /// Of the map that was named last.
    map_encryption: Encryption,
}

fn scan(text: &str) -> Vec<Scanned<'_>> {
    let mut scanned = Vec::new();
    let (mut duration_micros, mut title, mut date_time) = (None, "", None);
    let (mut keys, mut map_encryption) = (KeysInForce::default(), Encryption::Clear);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("#EXTINF:") {
            let (digits, told) = rest.split_once(',').unwrap_or((rest, ""));
            (duration_micros, title) = (parse_duration_text(digits.trim()), told.trim());
        } else if let Some(rest) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
            date_time = parse_date_time(rest.trim());
        } else if let Some(rest) = line.strip_prefix("#EXT-X-KEY:") {
            keys.read(rest);
        } else if line.starts_with("#EXT-X-MAP:") {
            map_encryption = keys.encryption();
        } else if !line.starts_with('#') {
            scanned.push(Scanned {
                uri: line,
                duration_micros: duration_micros.take(),
                title: std::mem::take(&mut title),
                date_time: date_time.take(),
                encryption: keys.encryption(),
                map_encryption: map_encryption.clone(),
            });
        }
    }
    scanned
}

/// Unlike the times of our own interface, a source's zone counts.
fn parse_date_time(text: &str) -> Option<Timestamp> {
    let local: Timestamp = text.parse().ok()?;
    let after_date = text.get(10..)?;
    let Some(at) = after_date.rfind(['+', '-']) else { return Some(local) };
    let sign = if after_date[at..].starts_with('-') { 1 } else { -1 };
    let digits: String = after_date[at + 1..].chars().filter(char::is_ascii_digit).collect();
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = digits.get(2..4).map_or(Some(0), |text| text.parse().ok())?;
    Some(local.plus_micros(sign * (hours * 60 + minutes) * 60_000_000))
}

fn media_playlist(
    media: m3u8_rs::MediaPlaylist,
    scanned: Vec<Scanned<'_>>,
    date_ranges: Vec<DateRange>,
) -> MediaPlaylist {
    let mut segments: Vec<UpstreamSegment> = Vec::with_capacity(scanned.len());
    let (mut map, mut next_byte) = (None, 0);
    let mut place = 0;
    for parsed in media.segments {
        let ahead = scanned[place..].iter().position(|line| line.uri == parsed.uri.trim());
        let line = ahead.map(|ahead| &scanned[place + ahead]);
        if let Some(new) = &parsed.map {
            let byte_range = new.byte_range.as_ref();
            map = Some(UpstreamMap {
                uri: new.uri.clone(),
                byte_range: byte_range
                    .map(|range| ByteRange { offset: range.offset.unwrap_or(0), length: range.length }),
                encryption: line.map(|line| line.map_encryption.clone()).unwrap_or_default(),
            });
        }
        let (Some(ahead), Some(line)) = (ahead, line) else { continue };
        let number = media.media_sequence.checked_add((place + ahead) as u64);
        place += ahead + 1;
        let byte_range = parsed
            .byte_range
            .as_ref()
            .map(|range| ByteRange { offset: range.offset.unwrap_or(next_byte), length: range.length });
        next_byte = byte_range.map_or(0, |range| range.offset.saturating_add(range.length));
        let length = line.duration_micros.filter(|micros| (1..=LONGEST_MICROS).contains(micros));
        let (Some(media_sequence), Some(duration_micros)) = (number, length) else { continue };
        segments.push(UpstreamSegment {
            media_sequence,
            uri: parsed.uri.trim().to_owned(),
            duration_micros,
            title: line.title.to_owned(),
            date_time: line.date_time,
            byte_range,
            map: map.clone(),
            encryption: line.encryption.clone(),
        });
    }
    MediaPlaylist { target_duration_seconds: media.target_duration, segments, date_ranges, ended: media.end_list }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn media(text: &str) -> MediaPlaylist {
        match parse(text.as_bytes()) {
            Ok(Playlist::Media(media)) => media,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn digits_and_dates_are_exact() {
        let playlist = media(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:41\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05.123456+01:00\n#EXTINF:1.966801,live\na.ts\n\
             #EXTINF:2.000,\nhttp://x/b.ts?t=1",
        );
        assert_eq!(playlist.segments.len(), 2);
        let (a, b) = (&playlist.segments[0], &playlist.segments[1]);
        assert_eq!((a.title.as_str(), b.title.as_str()), ("live", ""));
        assert_eq!((a.media_sequence, a.duration_micros), (41, 1_966_801));
        assert_eq!(a.date_time.unwrap().to_string(), "2026-01-02T02:04:05.123456");
        assert_eq!((b.media_sequence, b.uri.as_str(), b.date_time), (42, "http://x/b.ts?t=1", None));
        assert!(!playlist.ended);
    }

    #[test]
    fn dates_come_in_many_forms() {
        for (text, utc) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000"),
            ("2026-01-02T03:04:05.5", "2026-01-02T03:04:05.500000"),
            ("2026-01-02T03:04:05+0530", "2026-01-01T21:34:05.000000"),
            ("2026-01-02T03:04:05-02:00", "2026-01-02T05:04:05.000000"),
            ("2026-01-02T03:04:05+14", "2026-01-01T13:04:05.000000"),
        ] {
            assert_eq!(parse_date_time(text).unwrap().to_string(), utc, "{text}");
        }
    }

    #[test]
    fn a_map_holds_until_the_next_and_ranges_follow_on() {
        let playlist = media(
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"i.mp4\",BYTERANGE=\"10@0\"\n\
             #EXTINF:2,\n#EXT-X-BYTERANGE:100@10\nall.mp4\n#EXTINF:2,\n#EXT-X-BYTERANGE:50\nall.mp4\n#EXT-X-ENDLIST\n",
        );
        let ranges: Vec<_> = playlist.segments.iter().map(|segment| segment.byte_range.unwrap().offset).collect();
        assert_eq!(ranges, [10, 110]);
        assert!(playlist.segments.iter().all(|segment| segment.map.as_ref().unwrap().uri == "i.mp4"));
        assert!(playlist.ended);
    }

    #[test]
    fn torn_and_empty_segments_keep_the_numbers_of_others_true() {
        let playlist = media(
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:0,\na.ts\n#EXTINF:2,\nb.ts\n#EXTIN",
        );
        let found: Vec<_> = playlist.segments.iter().map(|s| (s.media_sequence, s.uri.as_str())).collect();
        assert_eq!(found, [(8, "b.ts")]);
    }

    #[test]
    fn a_key_holds_for_what_follows_and_for_the_map_behind_it() {
        let playlist = media(
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"clear.mp4\"\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n\
             #EXTINF:2,\na.ts\n#EXT-X-MAP:URI=\"i.mp4\"\n#EXTINF:2,\nb.ts\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:2,\nc.ts\n",
        );
        let key = Encryption::Aes128(Key { uri: "k".into(), iv: None });
        let found: Vec<_> =
            playlist.segments.iter().map(|s| (&s.encryption, &s.map.as_ref().unwrap().encryption)).collect();
        assert_eq!(found, [(&key, &Encryption::Clear), (&key, &key), (&Encryption::Clear, &key)]);
    }

    #[test]
    fn variants_go_by_all_their_names() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID=\"chunked\",NAME=\"1080p60 (source)\",AUTOSELECT=YES\n\
            #EXT-X-STREAM-INF:BANDWIDTH=6000000,RESOLUTION=1920x1080,VIDEO=\"chunked\"\nhttp://x/1.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1000000,RESOLUTION=852x480,NAME=\"480p\"\n2.m3u8\n";
        let Ok(Playlist::Master(variants)) = parse(text.as_bytes()) else { panic!() };
        assert_eq!(variants[0].names, ["1080p60 (source)", "chunked"]);
        assert_eq!((variants[1].uri.as_str(), &variants[1].names[..]), ("2.m3u8", &["480p".to_owned()][..]));
        assert_eq!(variants[1].resolution, Some(Resolution { width: 852, height: 480 }));
        assert_eq!([variants[0].is_source, variants[1].is_source], [true, false]);
    }

    #[test]
    fn what_is_no_playlist_is_named() {
        for (text, kind) in [("<!DOCTYPE html><p>", "an HTML page"), ("", "nothing"), ("{\"error\":1}", "JSON")] {
            let Err(BadPlaylist::NotAPlaylist { kind: found, .. }) = parse(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(found, kind);
        }
    }

    #[test]
    fn what_no_segment_can_be_is_left_out() {
        let text = |sequence: u64, seconds: &str| {
            format!(
                "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n#EXTINF:{seconds},\na.ts\n#EXTINF:2,\nb.ts\n"
            )
        };
        let numbers = |text: String| media(&text).segments.iter().map(|one| one.media_sequence).collect::<Vec<_>>();
        assert_eq!(numbers(text(7, "2")), [7, 8]);
        for seconds in ["0", "-2", "86401", "9223372036854", "99999999999999999999"] {
            assert_eq!(numbers(text(7, seconds)), [8], "{seconds}");
        }
        assert_eq!(numbers(text(u64::MAX, "2")), [u64::MAX], "there is no number after it");
    }

    proptest! {
        #[test]
        fn hostile_text_is_read_or_refused(lines in prop::collection::vec(
            "(#EXTINF:|#EXT-X-DATERANGE:ID=|#EXT-X-MAP:|#EXT-X-BYTERANGE:|#EXT-X-PROGRAM-DATE-TIME:|#EXT-X-STREAM-INF:|#EXT-X-KEY:|)[ -~é]{0,30}",
            0..20,
        )) {
            let _ = parse(format!("#EXTM3U\n{}", lines.join("\n")).as_bytes());
        }
    }
}
