//! Arguments that say where a record is: a directory, or the one of a configuration.

use std::path::PathBuf;

use anyhow::Context as _;

use super::Failure;
use super::config::ConfigArgs;
use crate::config::Config;
use crate::model::{Channel, Quality, Span, Timestamp};
use crate::peers::PeerAccess;
use crate::store::{self, Layout};

// No doc comment: clap would show it in place of the command's own description.
#[derive(Debug, clap::Args)]
pub struct PlaceArgs {
    /// The directory of the record; without it node.dir of the configuration.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl PlaceArgs {
    /// The configuration, whether or not it names the directory.
    pub fn config(&self) -> Result<Config, Failure> {
        Ok(self.config.load()?.config)
    }

    /// How the configuration says that other nodes are spoken to.
    pub fn access(&self) -> Result<PeerAccess, Failure> {
        Ok(PeerAccess::open(&self.config()?.backfill).context("other nodes cannot be spoken to")?)
    }

    /// The directory must exist: a mistyped one should not look like an empty record.
    pub fn layout(&self) -> Result<Layout, Failure> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => self.config.load()?.config.node.dir,
        };
        if !dir.is_dir() {
            return Err(Failure::Usage(format!("{} is no directory; give the record's with --dir", dir.display())));
        }
        Ok(Layout::new(dir))
    }
}

/// Who works here, for people; as the shell says.
pub fn user_name() -> String {
    std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

// Likewise.
#[derive(Debug, Clone, clap::Args)]
pub struct StreamArgs {
    /// The channel, such as gdq.
    pub channel: Channel,
    /// The quality, such as source.
    pub quality: Quality,
}

impl StreamArgs {
    /// The quality must be there, for the same reason.
    pub fn check(&self, layout: &Layout) -> Result<(), Failure> {
        let dir = layout.quality_dir(&self.channel, &self.quality);
        if dir.is_dir() {
            return Ok(());
        }
        Err(Failure::Usage(format!("there is no {} of {} in {}", self.quality, self.channel, layout.base().display())))
    }
}

// Likewise.
#[derive(Debug, clap::Args)]
pub struct StreamsArgs {
    /// The channel, such as gdq.
    pub channel: Channel,
    /// Of one quality, such as source, and of one range of UTC, such as 2026-01-02T03:04:05 2026-01-02T03:05:00. All of both
    /// where it is not given.
    #[arg(value_name = "QUALITY] [START END", num_args = 0..=3)]
    which: Vec<String>,
}

/// What `StreamsArgs` choose.
pub struct ChosenStreams {
    pub qualities: Vec<Quality>,
    /// All time if `None`.
    pub within: Option<Span>,
}

impl StreamsArgs {
    /// The qualities are those that one of `places` has of the channel; the chosen one must be among them, as a mistyped one
    /// should not look like an empty answer.
    pub fn choose(&self, layout: &Layout, places: &[&Layout]) -> Result<ChosenStreams, Failure> {
        let (quality, range) = match &self.which[..] {
            [] => (None, None),
            [quality] => (Some(quality), None),
            [start, end] => (None, Some((start, end))),
            [quality, start, end, ..] => (Some(quality), Some((start, end))),
        };
        let usage = |error: &dyn std::error::Error| Failure::Usage(error.to_string());
        let within = match range {
            None => None,
            Some((start, end)) => {
                let start: Timestamp = start.parse().map_err(|error| usage(&error))?;
                let end: Timestamp = end.parse().map_err(|error| usage(&error))?;
                Some(Span::new(start, end).map_err(|error| usage(&error))?)
            }
        };
        let mut there = Vec::new();
        for place in places {
            there.extend(store::qualities(place, &self.channel).context("cannot read the directory")?);
        }
        there.sort_unstable();
        there.dedup();
        let base = layout.base().display();
        if let Some(quality) = quality {
            there.retain(|one| one.as_str() == quality);
            if there.is_empty() {
                return Err(Failure::Usage(format!("there is no {quality} of {} in {base}", self.channel)));
            }
        }
        if there.is_empty() && !layout.channel_dir(&self.channel).is_dir() {
            return Err(Failure::Usage(format!("there is no {} in {base}", self.channel)));
        }
        Ok(ChosenStreams { qualities: there, within })
    }
}
