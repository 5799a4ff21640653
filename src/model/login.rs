//! What a broadcaster is called in the addresses of Twitch.

use std::fmt;
use std::str::FromStr;

/// Twitch gives out 4 to 25 characters; older and shorter ones exist.
const MAX_LOGIN_BYTES: usize = 25;

/// A login name at Twitch, such as `gamesdonequick`: ASCII letters in lower case, digits, underscores.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TwitchLogin(Box<str>);

/// A text that is no login name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a login name at Twitch")]
pub struct BadLogin;

impl TwitchLogin {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TwitchLogin {
    type Err = BadLogin;

    fn from_str(text: &str) -> Result<Self, BadLogin> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if text.is_empty() || text.len() > MAX_LOGIN_BYTES || !is_plain {
            return Err(BadLogin);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for TwitchLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_one_word_of_a_path() {
        assert_eq!("GamesDoneQuick".parse::<TwitchLogin>().unwrap().as_str(), "gamesdonequick");
        for bad in ["", "a b", "a/b", "https://twitch.tv/a", "a?b", "é", &"x".repeat(26)] {
            assert_eq!(bad.parse::<TwitchLogin>(), Err(BadLogin), "{bad}");
        }
    }
}
