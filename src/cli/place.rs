//! Arguments that say where a record is: a directory, or the one of a configuration.

use std::path::PathBuf;

use super::Failure;
use super::config::ConfigArgs;
use crate::model::{Channel, Quality};
use crate::store::Layout;

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
