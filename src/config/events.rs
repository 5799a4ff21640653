//! `[events]`: what editors start from.

use super::fault::quoted;
use super::reader::Section;
use super::values::Setting;
use crate::model::{BadName, BadTime, Channel, Timestamp, UploadLocation};

/// Longest title header or description footer, in bytes.
const MAX_AFFIX_BYTES: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsConfig {
    /// What is cut unless somebody says otherwise.
    pub channel: Option<Channel>,
    /// When the marathon began, which editors count from.
    pub begins: Option<Timestamp>,
    /// Stands before each title, with " - " between them.
    pub title_header: Option<Affix>,
    /// Stands below each description.
    pub description_footer: Option<Affix>,
    /// Where videos may go; the first is what editors start with.
    pub upload_locations: Vec<UploadLocation>,
}

/// A text that is added to what editors write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affix(Box<str>);

impl Affix {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Affix {
    const ALLOWED: &'static str = "write 1 to 1,000 bytes without < and >";

    fn read(text: &str) -> Result<Self, String> {
        // YouTube refuses these two in titles and descriptions.
        if text.trim().is_empty() || text.len() > MAX_AFFIX_BYTES || text.contains(['<', '>', '\0']) {
            return Err(format!("{} cannot be added to what editors write", quoted(text)));
        }
        Ok(Self(text.into()))
    }

    fn shown(&self) -> String {
        self.as_str().into()
    }
}

impl Setting for Timestamp {
    const ALLOWED: &'static str = "write a time in UTC, as 2026-01-02T03:04:05";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: BadTime| error.to_string())
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for UploadLocation {
    const ALLOWED: &'static str = "write a name of 1 to 128 bytes without a slash, not beginning with a period";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: BadName| format!("{}: {error}", quoted(text)))
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

pub(super) fn read_events(mut section: Section<'_, '_>) -> Option<EventsConfig> {
    let channel = section.optional("channel");
    let begins = section.optional("begins");
    let title_header = section.optional("title_header");
    let description_footer = section.optional("description_footer");
    let upload_locations = section.optional_texts("upload_locations");
    section.close();
    Some(EventsConfig {
        channel: channel?,
        begins: begins?,
        title_header: title_header?,
        description_footer: description_footer?,
        upload_locations: upload_locations?.unwrap_or_default(),
    })
}
