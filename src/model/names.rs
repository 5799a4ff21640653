//! Names that become parts of a path.
//!
//! Promises: a value of these types is one plain path part: it cannot climb, hide, or split.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name of a channel or quality, in bytes. Linux allows 255 for a path part.
const MAX_NAME_BYTES: usize = 128;
/// Longest file name that Linux file systems take, in bytes (NAME_MAX).
const MAX_FILE_NAME_BYTES: usize = 255;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("a name may not be empty")]
    Empty,
    #[error("a name may not start with a period")]
    Hidden,
    #[error("a name may not hold a slash, a backslash or a control character")]
    BadCharacter,
    #[error("a name may not be longer than {0} bytes")]
    TooLong(usize),
}

fn check_path_part(text: &str, max_bytes: usize) -> Result<(), BadName> {
    if text.is_empty() {
        return Err(BadName::Empty);
    }
    if text.starts_with('.') {
        return Err(BadName::Hidden);
    }
    if text.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
        return Err(BadName::BadCharacter);
    }
    if text.len() > max_bytes {
        return Err(BadName::TooLong(max_bytes));
    }
    Ok(())
}

macro_rules! path_part {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                check_path_part(text, $max)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl AsRef<std::path::Path> for $name {
            fn as_ref(&self) -> &std::path::Path {
                std::path::Path::new(self.as_str())
            }
        }
    };
}

path_part!(
    /// A recorded stream, such as `gdq`; the first directory under BASE.
    Channel,
    MAX_NAME_BYTES
);
path_part!(
    /// One rendition of a channel, such as `source` or `480p`; the second directory under BASE.
    Quality,
    MAX_NAME_BYTES
);
path_part!(
    /// What a node is called among its peers, in the logs and in the database; by default its host name.
    NodeName,
    MAX_NAME_BYTES
);
path_part!(
    /// A directory under BASE of files that are neither segments nor chat, such as `emotes`.
    ExtraDir,
    MAX_NAME_BYTES
);
path_part!(
    /// The name of a file of ours that need not be a segment: a chat batch, a tombstone, a stray file.
    FileName,
    MAX_FILE_NAME_BYTES
);
path_part!(
    /// What an event is called, in the database and in addresses.
    EventId,
    MAX_NAME_BYTES
);
path_part!(
    /// Where videos go: what the configuration calls a destination.
    UploadLocation,
    MAX_NAME_BYTES
);
path_part!(
    /// What a thumbnail template is called.
    TemplateName,
    MAX_NAME_BYTES
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_plain_path_part() {
        for good in ["gdq", "a-b", "x y", "é", "720p60", "..."].iter().filter(|n| !n.starts_with('.')) {
            assert_eq!(good.parse::<Channel>().unwrap().as_str(), *good);
        }
        for (bad, why) in [
            ("", BadName::Empty),
            (".", BadName::Hidden),
            ("..", BadName::Hidden),
            (".hid", BadName::Hidden),
            ("a/b", BadName::BadCharacter),
            ("a\\b", BadName::BadCharacter),
            ("a\0b", BadName::BadCharacter),
            ("a\nb", BadName::BadCharacter),
        ] {
            assert_eq!(bad.parse::<Channel>().unwrap_err(), why, "{bad:?}");
        }
        assert_eq!("x".repeat(129).parse::<Quality>().unwrap_err(), BadName::TooLong(128));
        assert!("x".repeat(255).parse::<FileName>().is_ok());
    }
}
