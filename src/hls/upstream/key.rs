//! EXT-X-KEY: which key is in force for which segment (RFC 8216 §4.3.2.4).
//!
//! Promises: several key systems beside each other are told apart by their format; what is in force and is not plain
//! AES-128 is never taken for clear.

/// How a segment, or an initialisation section, is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    #[default]
    Clear,
    /// The whole resource, with AES-128 in CBC mode and PKCS#7 padding.
    Aes128(Key),
    /// A method that we cannot undo, by its name: SAMPLE-AES, or a key system.
    Other(Box<str>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// As written: relative or absolute.
    pub uri: String,
    /// `None` means the media sequence number (RFC 8216 §5.2).
    pub iv: Option<[u8; 16]>,
}

/// The keys that hold from here on, as tag follows tag.
#[derive(Debug, Default)]
pub(super) struct KeysInForce {
    identity: Encryption,
    /// The method of a key system beside it.
    foreign: Option<Box<str>>,
}

impl KeysInForce {
    /// Takes the attributes of one EXT-X-KEY.
    pub fn read(&mut self, attributes: &str) {
        let method = attribute(attributes, "METHOD").unwrap_or_default();
        let format = attribute(attributes, "KEYFORMAT").unwrap_or("identity");
        match (method, format) {
            ("NONE", _) => *self = Self::default(),
            ("AES-128", "identity") => {
                let key = attribute(attributes, "URI").map(|uri| Key { uri: uri.to_owned(), iv: None });
                let iv = attribute(attributes, "IV").map(parse_iv);
                self.identity = match (key, iv) {
                    (Some(key), None) => Encryption::Aes128(key),
                    (Some(key), Some(Some(iv))) => Encryption::Aes128(Key { iv: Some(iv), ..key }),
                    (None, _) | (Some(_), Some(None)) => Encryption::Other("AES-128 without a readable key".into()),
                };
            }
            (method, "identity") => self.identity = Encryption::Other(method.into()),
            (method, _) => self.foreign = Some(method.into()),
        }
    }

    /// A key that we can use is enough, whatever other key systems offer for the same segment.
    pub fn encryption(&self) -> Encryption {
        match (&self.identity, &self.foreign) {
            (Encryption::Clear, Some(method)) => Encryption::Other(method.clone()),
            (identity, _) => identity.clone(),
        }
    }
}

/// A hexadecimal number of up to 128 bits.
fn parse_iv(text: &str) -> Option<[u8; 16]> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes)
}

/// The value of an attribute, without its quotes (RFC 8216 §4.2): a comma within quotes separates nothing.
fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = attributes.trim();
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        if key.trim() == name {
            return Some(value.trim());
        }
        rest = next.trim_start_matches(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(tags: &[&str]) -> Encryption {
        let mut keys = KeysInForce::default();
        tags.iter().for_each(|tag| keys.read(tag));
        keys.encryption()
    }

    fn key(uri: &str, iv: Option<u128>) -> Encryption {
        Encryption::Aes128(Key { uri: uri.into(), iv: iv.map(u128::to_be_bytes) })
    }

    #[test]
    fn a_key_is_read_with_its_quotes_and_its_iv() {
        assert_eq!(after(&["METHOD=AES-128,URI=\"k,1=METHOD\""]), key("k,1=METHOD", None));
        assert_eq!(after(&["URI=\"k\",IV=0xff,METHOD=AES-128"]), key("k", Some(0xff)));
        assert_eq!(
            after(&["METHOD=AES-128,URI=\"k\",IV=0X000102030405060708090A0B0C0D0E0F,KEYFORMAT=\"identity\""]),
            key("k", Some(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f))
        );
        assert_eq!(after(&["METHOD=AES-128,URI=\"a\"", "METHOD=AES-128,URI=\"b\""]), key("b", None));
        assert_eq!(after(&["METHOD=AES-128,URI=\"a\"", "METHOD=NONE"]), Encryption::Clear);
    }

    #[test]
    fn what_cannot_be_undone_is_never_clear() {
        for tags in [
            ["METHOD=SAMPLE-AES,URI=\"k\"", ""],
            ["METHOD=SAMPLE-AES,URI=\"k\",KEYFORMAT=\"com.apple.streamingkeydelivery\"", "KEYFORMAT=\"x\""],
            ["METHOD=AES-128", ""],
            ["METHOD=AES-128,URI=\"k\",IV=7", "METHOD=SAMPLE-AES-CTR,KEYFORMAT=\"y\""],
            ["garbage", ""],
        ] {
            let tags: Vec<&str> = tags.into_iter().filter(|tag| !tag.is_empty()).collect();
            assert!(matches!(after(&tags), Encryption::Other(_)), "{tags:?}");
        }
    }

    #[test]
    fn a_usable_key_is_used_whatever_stands_beside_it() {
        let foreign = "METHOD=SAMPLE-AES,URI=\"skd\",KEYFORMAT=\"com.apple.streamingkeydelivery\"";
        assert_eq!(after(&["METHOD=AES-128,URI=\"k\"", foreign]), key("k", None));
        assert_eq!(after(&[foreign, "METHOD=NONE"]), Encryption::Clear);
    }
}
