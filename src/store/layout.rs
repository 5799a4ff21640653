//! Where everything lies under BASE (FORMATS §1).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::{Channel, ExtraDir, Hour, Quality, SegmentName};

/// The directory of everything that is ours alone; hidden from listings and peers.
const OWN_DIR: &str = ".segvault";

/// The BASE directory. Cheap to clone. Its paths are built from types that cannot leave it.
#[derive(Debug, Clone)]
pub struct Layout {
    base: Arc<Path>,
}

impl Layout {
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into().into() }
    }

    pub fn base(&self) -> &Path {
        &self.base
    }

    pub fn channel_dir(&self, channel: &Channel) -> PathBuf {
        self.base.join(channel)
    }

    pub fn quality_dir(&self, channel: &Channel, quality: &Quality) -> PathBuf {
        self.channel_dir(channel).join(quality)
    }

    pub fn hour_dir(&self, channel: &Channel, quality: &Quality, hour: Hour) -> PathBuf {
        self.quality_dir(channel, quality).join(hour.to_string())
    }

    pub fn segment_path(&self, channel: &Channel, quality: &Quality, name: &SegmentName) -> PathBuf {
        self.hour_dir(channel, quality, name.hour()).join(name.as_str())
    }

    /// Files that are neither segments nor chat.
    pub fn extra_dir(&self, dir: &ExtraDir) -> PathBuf {
        self.base.join(dir)
    }

    /// BASE/.segvault: the database, anchors, the ledger, quarantine, the address that the node listens on.
    pub fn own_dir(&self) -> PathBuf {
        self.base.join(OWN_DIR)
    }

    /// Where a node that runs writes down the address that it listens on.
    pub fn listen_file(&self) -> PathBuf {
        self.own_dir().join("listen")
    }

    /// Where operators speak to a node that runs.
    pub fn admin_socket(&self) -> PathBuf {
        self.own_dir().join("admin.sock")
    }

    /// Where what is kept out of the record lies, in the same order as the record.
    pub fn quarantine(&self) -> Self {
        Self::new(self.own_dir().join("quarantine"))
    }

    /// Where the ledger lies, in the same order, with a file for each hour.
    pub fn losses(&self) -> Self {
        Self::new(self.own_dir().join("losses"))
    }
}
