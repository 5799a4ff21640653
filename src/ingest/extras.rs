//! What segments need beside their own bytes: keys and initialisation sections, fetched once and kept.
//!
//! Promises: at most a few of each are kept, the latest ones; a map is kept for its epoch only, as a source that begins
//! anew may use old names.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::client::{ByteBudget, FetchError, HttpClient};
use super::decrypt::{DecryptError, KeyBytes, decrypt_whole};
use super::tracker::{Cipher, WantedMap};

/// Keys that rotate are used for minutes; a list shows a few of them.
const KEPT: usize = 16;
/// An initialisation section has a few kilobytes.
const MAP_BUDGET: ByteBudget = ByteBudget { max_bytes: 1 << 20, deadline: Duration::from_secs(60) };
/// A key has 16 bytes; a page of text has more, and is told from it.
const KEY_BUDGET: ByteBudget = ByteBudget { max_bytes: 4096, deadline: Duration::from_secs(60) };

/// Why a key or a map could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ExtraError {
    #[error("cannot fetch the initialisation section")]
    Map(#[source] FetchError),
    #[error("cannot fetch the key")]
    Key(#[source] FetchError),
    #[error("the key has {0} bytes instead of 16")]
    NoKey(usize),
    #[error("encrypted by {0}, which cannot be recorded")]
    Unreadable(Box<str>),
    #[error("the initialisation section cannot be decrypted")]
    Decrypt(#[source] DecryptError),
}

/// The keys and maps of one quality.
#[derive(Default)]
pub struct Extras {
    keys: RefCell<Recent<Url, KeyBytes>>,
    maps: RefCell<Recent<(u32, WantedMap), Bytes>>,
}

impl Extras {
    /// What goes before the segment's own bytes.
    pub async fn map(&self, client: &HttpClient, epoch: u32, map: &WantedMap) -> Result<Bytes, ExtraError> {
        let name = (epoch, map.clone());
        if let Some(known) = self.maps.borrow().get(&name) {
            return Ok(known);
        }
        let bytes = client.get_whole(&map.url, map.byte_range, MAP_BUDGET).await.map_err(ExtraError::Map)?;
        let clear = match self.key(client, &map.cipher).await? {
            Some((key, iv)) => decrypt_whole(&key, &iv, &bytes).map_err(ExtraError::Decrypt)?.into(),
            None => bytes,
        };
        self.maps.borrow_mut().put(name, clear.clone());
        Ok(clear)
    }

    /// The key and its initialisation vector; `None` for clear bytes.
    pub async fn key(&self, client: &HttpClient, cipher: &Cipher) -> Result<Option<(KeyBytes, [u8; 16])>, ExtraError> {
        let (url, iv) = match cipher {
            Cipher::Clear => return Ok(None),
            Cipher::Unreadable(method) => return Err(ExtraError::Unreadable(method.clone())),
            Cipher::Aes128 { key, iv } => (key, *iv),
        };
        if let Some(known) = self.keys.borrow().get(url) {
            return Ok(Some((known, iv)));
        }
        let bytes = client.get_whole(url, None, KEY_BUDGET).await.map_err(ExtraError::Key)?;
        let key: KeyBytes = bytes.as_ref().try_into().map_err(|_| ExtraError::NoKey(bytes.len()))?;
        self.keys.borrow_mut().put(url.clone(), key);
        Ok(Some((key, iv)))
    }

    /// It does not fit: the next who needs it asks again.
    pub fn forget_key(&self, cipher: &Cipher) {
        if let Cipher::Aes128 { key, .. } = cipher {
            self.keys.borrow_mut().remove(key);
        }
    }
}

/// The latest few values, by name.
struct Recent<K, V>(VecDeque<(K, V)>);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    fn get(&self, name: &K) -> Option<V> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    fn put(&mut self, name: K, value: V) {
        self.remove(&name);
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((name, value));
    }

    fn remove(&mut self, name: &K) {
        self.0.retain(|(known, _)| known != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_are_kept() {
        let mut recent = Recent::default();
        (0..40).for_each(|number| recent.put(number, number * 2));
        assert_eq!((recent.0.len(), recent.get(&39), recent.get(&23)), (KEPT, Some(78), None));
        recent.put(30, 7);
        assert_eq!((recent.0.len(), recent.get(&30)), (KEPT, Some(7)));
        recent.remove(&30);
        assert_eq!(recent.get(&30), None);
    }
}
