//! The playlists of the fake source, as text.
//!
//! Promises: what a player or a recorder would accept from a real server (RFC 8216).
//! Never: spoils anything; what is left out was asked to be left out.

use std::fmt::{self, Write as _};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::aired::{Encoding, Published};
use super::lists::Variant;
use super::spec::{FrameRate, ReelSpec};

/// The names under which maps are served, beside the segments.
const MAP_NAMES: [(&str, Encoding); 2] = [("init.mp4", Encoding::Usual), ("init-other.mp4", Encoding::Other)];
/// The name under which a media playlist is served, beside the segments.
pub(super) const MEDIA_NAME: &str = "live.m3u8";

/// What Twitch calls the ranges of its advertisements.
const ADVERTISEMENT_CLASS: &str = "twitch-stitched-ad";
/// EXTINF titles of theirs begin with who pays.
const ADVERTISEMENT_TITLE: &str = "Amazon|1234567890";

/// The name under which the map of an encoding is served.
pub(super) fn map_name(encoding: Encoding) -> &'static str {
    MAP_NAMES[usize::from(encoding == Encoding::Other)].0
}

/// The encoding whose map is served under this name.
pub(super) fn encoding_of_map(name: &str) -> Option<Encoding> {
    MAP_NAMES.iter().find(|(known, _)| *known == name).map(|(_, encoding)| *encoding)
}

/// What is appended to an address, so that it opens (`?token=…`); nothing where none is needed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Token(pub Option<Duration>);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |issued| write!(f, "?token={}", issued.as_millis()))
    }
}

/// The master playlist; `variants` are in the order of the spec's renditions.
pub(super) fn master(spec: &ReelSpec, variants: &[Variant], token: Token) -> String {
    let mut text = "#EXTM3U\n".to_owned();
    for (rendition, variant) in spec.renditions.iter().zip(variants) {
        let name = rendition.quality.as_str().replace('"', "'");
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID=\"{name}\",NAME=\"{name}\",AUTOSELECT=YES,DEFAULT=YES\n\
             #EXT-X-STREAM-INF:BANDWIDTH={},RESOLUTION={}x{},CODECS=\"{}\",VIDEO=\"{name}\",FRAME-RATE={},NAME=\"{name}\"\n\
             {}/{MEDIA_NAME}{token}",
            variant.bits_per_second,
            rendition.width,
            rendition.height,
            variant.codecs,
            frame_rate_text(spec.frame_rate, rendition.frame_step),
            utf8_percent_encode(rendition.quality.as_str(), NON_ALPHANUMERIC),
        );
    }
    text
}

/// Decimal, with three digits, as RFC 8216 wants it.
fn frame_rate_text(rate: FrameRate, step: u32) -> String {
    let divisor = u64::from(rate.denominator) * u64::from(step);
    let thousandths = (u64::from(rate.numerator) * 1000 + divisor / 2) / divisor;
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

/// What a media playlist holds beside its segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct MediaPage {
    pub target_seconds: u64,
    pub date_times: bool,
    pub ended: bool,
    /// Every segment can be decoded alone.
    pub independent: bool,
    pub token: Token,
}

impl MediaPage {
    /// The media playlist of these segments; `None` where there are none yet.
    pub(super) fn text(self, segments: &[Published]) -> Option<String> {
        let first = segments.first()?;
        let version = if first.map.is_some() { 7 } else { 6 };
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{}\n",
            self.target_seconds, first.media_sequence
        );
        if first.discontinuity_sequence() > 0 {
            let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", first.discontinuity_sequence());
        }
        if self.independent {
            text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        self.write_breaks(&mut text, segments);
        let mut map = None;
        for segment in segments {
            self.write_segment(&mut text, segment, &mut map);
        }
        if self.ended {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        Some(text)
    }

    /// A DATERANGE for each break for advertisements that is still in the list.
    fn write_breaks(self, text: &mut String, segments: &[Published]) {
        let mut last = None;
        for told in segments.iter().filter_map(|segment| segment.advertisement) {
            if last.replace(told) == Some(told) {
                continue;
            }
            let _ = writeln!(
                text,
                "#EXT-X-DATERANGE:ID=\"stitched-ad-{}\",CLASS=\"{ADVERTISEMENT_CLASS}\",START-DATE=\"{}Z\",DURATION={:.3},\
                 X-TV-TWITCH-AD-ROLL-TYPE=\"MIDROLL\"",
                told.start.micros(),
                told.start,
                told.duration.as_secs_f64(),
            );
        }
    }

    /// `map` is the encoding whose map is in force.
    fn write_segment(self, text: &mut String, segment: &Published, map: &mut Option<Encoding>) {
        if segment.discontinuity {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if segment.map.is_some() && map.replace(segment.encoding) != Some(segment.encoding) {
            let _ = writeln!(text, "#EXT-X-MAP:URI=\"{}{}\"", map_name(segment.encoding), self.token);
        }
        if self.date_times {
            let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}Z", segment.start);
        }
        let title = if segment.advertisement.is_some() { ADVERTISEMENT_TITLE } else { "" };
        let _ = writeln!(text, "#EXTINF:{},{title}\n{}{}", segment.duration_text, segment.name, self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_rates_are_decimal_with_three_digits() {
        assert_eq!(frame_rate_text(FrameRate::FPS_60, 2), "30.000");
        assert_eq!(frame_rate_text(FrameRate::NTSC, 1), "29.970");
        assert_eq!(frame_rate_text(FrameRate::FPS_25, 2), "12.500");
    }

    #[test]
    fn a_master_playlist_names_each_rendition() {
        let mut spec = ReelSpec::default();
        spec.renditions[1].quality = "a b".parse().unwrap();
        let variant = Variant { bits_per_second: 7, codecs: "avc1.64001e,mp4a.40.2".into() };
        let text = master(&spec, &[variant.clone(), variant], Token::default());
        assert!(text.contains("BANDWIDTH=7,RESOLUTION=640x360,CODECS=\"avc1.64001e,mp4a.40.2\",VIDEO=\"source\""));
        assert!(text.contains("FRAME-RATE=30.000,NAME=\"a b\"\na%20b/live.m3u8\n"), "{text}");
    }
}
