//! `[[channel]]` and `[twitch]`: what is recorded, and where from.
//!
//! Promises: a channel has exactly one source.

use std::path::PathBuf;
use std::time::Duration;

use super::coverage::PlannedOff;
use super::fault::{Origin, quoted};
use super::reader::{Reader, Section};
use super::retention;
use super::sources;
use super::tree::Table;
use super::values::{Setting, SourceUrl, TitlePrefix};
use crate::model::{Channel, Quality, TwitchLogin, VideoCodec};

/// The keys of `[[channel]]` of which each has exactly one.
const SOURCES: &[&str] = &["hls", "twitch", "youtube", "command"];
/// Shorter, and the node would do little but ask; longer is no life that an address has.
const URL_LIFE: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);

/// One recorded channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelConfig {
    pub name: Channel,
    pub source: SourceConfig,
    /// Names of variants, `source` being the best one; not empty, none twice.
    pub qualities: Vec<Quality>,
    /// Whether the source is asked often while the channel is not live.
    pub important: bool,
    /// Which codecs `source` may have; of two variants that are equal otherwise, the earlier one's wins.
    pub codecs: Vec<VideoCodec>,
    /// How long the addresses of media playlists are good, where the operator knows better than we.
    pub url_life: Option<Duration>,
    /// Segments whose titles begin so are advertisements; may be empty.
    pub advertisement_titles: Vec<TitlePrefix>,
    /// When it is meant to be off; may be empty.
    pub planned_off: Vec<PlannedOff>,
    /// How long it is kept, where that differs from `retention.max_age`.
    pub max_age: Option<Duration>,
}

/// Where a channel's playlists come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceConfig {
    /// A master or media playlist.
    Hls(SourceUrl),
    Twitch(TwitchLogin),
    /// A page that yt-dlp understands.
    Youtube(PageUrl),
    /// A program that prints the address of a playlist.
    Command(CommandLine),
}

/// Where Twitch is asked. The same for all channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwitchConfig {
    pub gql: SourceUrl,
    /// The playlist of a channel is at this address, a slash, its login, and `.m3u8`.
    pub usher: SourceUrl,
    pub client_id: ClientId,
    /// Read anew at each use.
    pub token_file: Option<PathBuf>,
}

/// The address of a page with a live video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageUrl(SourceUrl);

impl PageUrl {
    /// The whole URL, with its secrets. It begins with `http`, so it is never taken for an option.
    pub fn expose(&self) -> &str {
        self.0.expose().as_str()
    }
}

impl Setting for PageUrl {
    const ALLOWED: &'static str = "write the address of a live video, as https://www.youtube.com/@example/live";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map(Self)
    }

    fn shown(&self) -> String {
        self.0.shown()
    }
}

/// A program and its arguments, never put through a shell. Not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine(Vec<Word>);

/// What stands for the name of a quality in an argument.
const QUALITY: &str = "{quality}";

impl CommandLine {
    /// A path, or a name to look for in PATH.
    pub fn program(&self) -> &str {
        &self.0[0].0
    }

    /// Whether the program prints another address for each quality.
    pub fn is_per_quality(&self) -> bool {
        self.0[1..].iter().any(|word| word.0.contains(QUALITY))
    }

    /// The arguments, for one quality.
    pub fn args(&self, quality: &Quality) -> Vec<String> {
        self.0[1..].iter().map(|word| word.0.replace(QUALITY, quality.as_str())).collect()
    }
}

/// One word of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word(String);

impl Setting for Word {
    const ALLOWED: &'static str = "write a program and its arguments, as [\"streamlink\", \"--stream-url\", \"URL\"]";

    fn read(text: &str) -> Result<Self, String> {
        // The system ends an argument there.
        if text.contains('\0') {
            return Err(format!("{} holds a NUL", quoted(text)));
        }
        Ok(Self(text.into()))
    }

    fn shown(&self) -> String {
        self.0.clone()
    }
}

/// What Twitch calls the program that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientId(Box<str>);

impl ClientId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for ClientId {
    const ALLOWED: &'static str = "write 1 to 64 letters and digits";

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("{} is no client ID", quoted(text)));
        }
        Ok(Self(text.into()))
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }
}

impl Setting for TwitchLogin {
    const ALLOWED: &'static str = "write the channel's name as in its address, twitch.tv/NAME";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|err| format!("{}: {err}", quoted(text)))
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for VideoCodec {
    const ALLOWED: &'static str = "write h264, hevc or av1";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|err| format!("{}: {err}", quoted(text)))
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

pub(super) fn read_channels(reader: &mut Reader, root: &Table) -> Vec<ChannelConfig> {
    let mut named: Vec<(Channel, Origin)> = Vec::new();
    reader.sections(root, "channel", |mut section| {
        let name = section.required::<Channel>("name");
        let source = read_source(&mut section);
        let qualities = section.texts("qualities", &["source"]);
        let important = section.boolean("important", true);
        let codecs = section.texts("codecs", &["h264", "hevc", "av1"]);
        let url_life = section.optional_duration("url_life", URL_LIFE);
        // How Twitch titles what it stitches in.
        let advertisement_titles = section.texts_or_none("advertisement_titles", &["Amazon|"]);
        let planned_off = section.texts_or_none("planned_off", &[]);
        let max_age = section.optional_duration("max_age", retention::MAX_AGE);
        if let Some(name) = &name {
            let at = section.origin("name");
            match named.iter().find(|(other, _)| other == name) {
                Some((_, first)) => {
                    section.fault(&at, "name", format!("{:?} is a channel already, at {first}", name.as_str()))
                }
                None => named.push((name.clone(), at)),
            }
        }
        section.close();
        Some(ChannelConfig {
            name: name?,
            source: source?,
            qualities: qualities?,
            important: important?,
            codecs: codecs?,
            url_life: url_life?,
            advertisement_titles: advertisement_titles?,
            planned_off: planned_off?,
            max_age: max_age?,
        })
    })
}

/// All four keys are read, so that the faults of each are told; then there must be one.
fn read_source(section: &mut Section<'_, '_>) -> Option<SourceConfig> {
    let hls = section.optional("hls").flatten().map(SourceConfig::Hls);
    let twitch = section.optional("twitch").flatten().map(SourceConfig::Twitch);
    let youtube = section.optional("youtube").flatten().map(SourceConfig::Youtube);
    let command = section.words("command").flatten().and_then(|words| read_command(section, words));
    let given: Vec<&str> = SOURCES.iter().copied().filter(|key| section.has(key)).collect();
    match given[..] {
        [] => section.missing("hls", "name the source: one of hls, twitch, youtube and command"),
        [first, ref more @ ..] => {
            for key in more {
                let at = section.origin(key);
                section.fault(&at, key, format!("{first} is there already; a channel has one source"));
            }
        }
    }
    hls.or(twitch).or(youtube).or(command)
}

fn read_command(section: &mut Section<'_, '_>, words: Vec<Word>) -> Option<SourceConfig> {
    if words[0].0.is_empty() {
        let at = section.origin("command");
        section.fault(&at, "command", "the program has no name");
        return None;
    }
    Some(SourceConfig::Command(CommandLine(words)))
}

pub(super) fn read_twitch(mut section: Section<'_, '_>) -> Option<TwitchConfig> {
    let gql = section.text("gql", "https://gql.twitch.tv/gql");
    let usher = section.text("usher", "https://usher.ttvnw.net/api/v2/channel/hls");
    // The one of the website: it is the only one that gets playback tokens.
    let client_id = section.text("client_id", "kimne78kx3ncx6brgo4mv6wki5h1ko");
    let token_file = section.optional_path("token_file");
    if let Some(Some(file)) = &token_file
        && let Err(problem) = sources::read_secret(file)
    {
        let at = section.origin("token_file");
        section.fault(&at, "token_file", problem);
    }
    section.close();
    Some(TwitchConfig { gql: gql?, usher: usher?, client_id: client_id?, token_file: token_file? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quality_is_put_into_arguments_and_nowhere_else() {
        let words = |words: &[&str]| CommandLine(words.iter().map(|word| Word((*word).into())).collect());
        let line = words(&["get-{quality}", "--of", "x", "{quality},worst", "{quality}{quality}"]);
        assert_eq!((line.program(), line.is_per_quality()), ("get-{quality}", true));
        assert_eq!(line.args(&"480p".parse().unwrap()), ["--of", "x", "480p,worst", "480p480p"]);
        assert!(!words(&["{quality}", "x"]).is_per_quality());
    }
}
