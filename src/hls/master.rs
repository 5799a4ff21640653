//! Writes the master playlist: which qualities there are, and what a player needs to choose (RFC 8216 §4.3.4.2).
//!
//! Promises: the best rendition first; no two of equal BANDWIDTH, as players take those for one rendition on two servers;
//! what is not known is left out, never guessed.

use std::fmt::Write as _;

use super::encode;
use super::live::{Generation, Window};
use crate::media::{Encoding, FrameRate};
use crate::model::{Channel, Quality, Timestamp};

/// One quality of a channel, as a master playlist offers it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendition {
    pub quality: Quality,
    /// Bits per second of the densest segment, measured.
    pub peak: u64,
    pub average: Option<u64>,
    pub encoding: Option<Encoding>,
    pub frame_rate: Option<FrameRate>,
    /// Which past its playlist continues, if it goes on.
    pub generation: Option<Generation>,
}

impl Rendition {
    /// Pixels of a picture; 0 without one. `None` where that is unknown.
    fn pixels(&self) -> Option<u64> {
        let video = self.encoding.as_ref()?.video.as_ref();
        Some(video.map_or(0, |video| u64::from(video.width) * u64::from(video.height)))
    }
}

/// The range that a master playlist leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    pub window: Option<Window>,
}

/// The whole text. The range, and the generation of each rendition that goes on, are said in its address.
pub fn master(channel: &Channel, renditions: Vec<Rendition>, range: Range) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:3\n");
    let renditions = best_first(renditions);
    for (place, (rendition, bandwidth)) in renditions.iter().zip(distinct_bandwidths(&renditions)).enumerate() {
        push_rendition(&mut text, rendition, bandwidth, place == 0);
        let query = query(range, rendition.generation);
        let _ =
            writeln!(text, "/playlist/{}/{}.m3u8{query}", encode(channel.as_str()), encode(rendition.quality.as_str()));
    }
    text
}

fn query(range: Range, generation: Option<Generation>) -> String {
    let mut query = String::new();
    let mut push = |key: &str, value: &dyn std::fmt::Display| {
        let mark = if query.is_empty() { '?' } else { '&' };
        let _ = write!(query, "{mark}{key}={value}");
    };
    for (key, time) in [("start", range.start), ("end", range.end)] {
        if let Some(time) = time {
            push(key, &format_args!("{}Z", encode(&time.to_string())));
        }
    }
    if let Some(Window(window)) = range.window {
        push("window", &window.as_secs());
    }
    if let Some(generation) = generation {
        push("gen", &generation);
    }
    query
}

/// By size of the picture, then by bit rate: a better codec needs fewer bits. Where a size is unknown, by bit rate alone.
fn best_first(mut renditions: Vec<Rendition>) -> Vec<Rendition> {
    let all_known = renditions.iter().all(|rendition| rendition.pixels().is_some());
    let pixels = |rendition: &Rendition| rendition.pixels().filter(|_| all_known);
    renditions.sort_by(|a, b| {
        let by_worth = pixels(b).cmp(&pixels(a)).then(b.peak.cmp(&a.peak));
        by_worth.then_with(|| a.quality.cmp(&b.quality))
    });
    renditions
}

/// The worse of two equals keeps its figure, the better one gets a bit per second more. Never 0: players refuse it.
fn distinct_bandwidths(renditions: &[Rendition]) -> Vec<u64> {
    let mut taken: Vec<u64> = Vec::with_capacity(renditions.len());
    for rendition in renditions.iter().rev() {
        let mut bandwidth = rendition.peak.max(rendition.average.unwrap_or(0)).max(1);
        while taken.contains(&bandwidth) {
            bandwidth += 1;
        }
        taken.push(bandwidth);
    }
    taken.reverse();
    taken
}

/// The group of one rendition without an address is how Twitch names its qualities, and what editors of the existing system
/// read; players that do not know it pass it over.
fn push_rendition(text: &mut String, rendition: &Rendition, bandwidth: u64, is_best: bool) {
    // A quoted attribute cannot hold its own quote (RFC 8216 §4.2).
    let name = rendition.quality.as_str().replace('"', "'");
    let default = if is_best { "YES" } else { "NO" };
    let _ =
        writeln!(text, "#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID=\"{name}\",NAME=\"{name}\",AUTOSELECT=YES,DEFAULT={default}");
    let _ = write!(text, "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth}");
    if let Some(average) = rendition.average {
        let _ = write!(text, ",AVERAGE-BANDWIDTH={}", average.max(1));
    }
    if let Some(encoding) = &rendition.encoding {
        let codecs: Vec<&str> = encoding.codecs().into_iter().map(|codec| codec.as_str()).collect();
        let _ = write!(text, ",CODECS=\"{}\"", codecs.join(","));
        if let Some(video) = &encoding.video {
            let _ = write!(text, ",RESOLUTION={}x{}", video.width, video.height);
        }
    }
    if let Some(frame_rate) = rendition.frame_rate {
        let _ = write!(text, ",FRAME-RATE={frame_rate}");
    }
    let _ = writeln!(text, ",VIDEO=\"{name}\",NAME=\"{name}\"");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::fixtures::media;
    use crate::media::{Audio, CodecName, FrameRate};

    fn bare(quality: &str, peak: u64) -> Rendition {
        Rendition {
            quality: quality.parse().unwrap(),
            peak,
            average: None,
            encoding: None,
            frame_rate: None,
            generation: None,
        }
    }

    fn text(renditions: Vec<Rendition>) -> String {
        let range = Range { start: None, end: Some("2026-01-02".parse().unwrap()), window: None };
        master(&"x y".parse().unwrap(), renditions, range)
    }

    fn order(renditions: Vec<Rendition>) -> Vec<(String, u64)> {
        let renditions = best_first(renditions);
        let bandwidths = distinct_bandwidths(&renditions);
        renditions.into_iter().map(|rendition| rendition.quality.to_string()).zip(bandwidths).collect()
    }

    #[test]
    fn all_that_is_known_is_told_and_nothing_else() {
        let mut known = bare("a\"b", 5_000_000);
        let audio =
            Audio { track: 1, codec: CodecName::new("mp4a.40.2").unwrap(), sample_rate_hz: None, channels: None };
        let encoding = Encoding { audio: vec![audio.clone()], ..media(720).encoding };
        known.average = Some(4_000_000);
        known.frame_rate = serde_json::from_str::<FrameRate>("29970").ok();
        known.encoding = Some(encoding.clone());
        let sound = Rendition { encoding: Some(Encoding { video: None, ..encoding }), ..bare("sound", 100_000) };
        assert_eq!(
            text(vec![sound, known]),
            "#EXTM3U\n#EXT-X-VERSION:3\n\
             #EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID=\"a'b\",NAME=\"a'b\",AUTOSELECT=YES,DEFAULT=YES\n\
             #EXT-X-STREAM-INF:BANDWIDTH=5000000,AVERAGE-BANDWIDTH=4000000,CODECS=\"avc1.64001f,mp4a.40.2\",\
             RESOLUTION=1280x720,FRAME-RATE=29.970,VIDEO=\"a'b\",NAME=\"a'b\"\n\
             /playlist/x%20y/a%22b.m3u8?end=2026-01-02T00%3A00%3A00.000000Z\n\
             #EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID=\"sound\",NAME=\"sound\",AUTOSELECT=YES,DEFAULT=NO\n\
             #EXT-X-STREAM-INF:BANDWIDTH=100000,CODECS=\"mp4a.40.2\",VIDEO=\"sound\",NAME=\"sound\"\n\
             /playlist/x%20y/sound.m3u8?end=2026-01-02T00%3A00%3A00.000000Z\n"
        );
        assert!(text(vec![bare("q", 7)]).contains("#EXT-X-STREAM-INF:BANDWIDTH=7,VIDEO=\"q\",NAME=\"q\"\n"));
    }

    #[test]
    fn what_goes_on_has_a_window_and_a_generation() {
        let range = Range {
            start: Some("2026-01-02T03".parse().unwrap()),
            end: None,
            window: Some(Window(std::time::Duration::from_secs(60))),
        };
        let generation = Some(Generation { made_millis: 7, target_seconds: 3 });
        let text = master(&"c".parse().unwrap(), vec![Rendition { generation, ..bare("q", 7) }], range);
        assert!(
            text.ends_with("/playlist/c/q.m3u8?start=2026-01-02T03%3A00%3A00.000000Z&window=60&gen=7-3\n"),
            "{text}"
        );
    }

    #[test]
    fn no_two_renditions_have_one_bandwidth() {
        let equal = vec![bare("c", 9), bare("a", 9), bare("b", 9), bare("d", 10), bare("e", 0), bare("f", 0)];
        let expected = [("d", 12), ("a", 11), ("b", 10), ("c", 9), ("e", 2), ("f", 1)];
        assert_eq!(order(equal), expected.map(|(name, bandwidth)| (name.to_owned(), bandwidth)));
    }

    #[test]
    fn a_larger_picture_is_better_where_all_sizes_are_known() {
        let of_height = |name, height, peak| Rendition { encoding: Some(media(height).encoding), ..bare(name, peak) };
        let [av1, h264] = [of_height("source", 1440, 4_000), of_height("1080p", 1080, 6_000)];
        let names = |renditions| order(renditions).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(vec![h264.clone(), av1.clone()]), ["source", "1080p"]);
        assert_eq!(names(vec![h264, av1, bare("odd", 5_000)]), ["1080p", "odd", "source"]);
    }
}
