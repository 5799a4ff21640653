//! AES-128 in CBC mode with PKCS#7 padding, as HLS encrypts whole segments (RFC 8216 §4.3.2.4), undone piece by piece.
//!
//! Promises: what comes out is the clear text up to the padding, which is checked; holds back one block at most.

use aes::Aes128;
use aes::cipher::{Block, BlockModeDecrypt, KeyIvInit};

const BLOCK_BYTES: usize = 16;

pub type KeyBytes = [u8; 16];

/// Bytes that are no cipher text of this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    #[error("the cipher text ends within a block")]
    CutOff,
    #[error("the padding is wrong: this is not the key, or not the cipher text")]
    Padding,
}

/// Fed with cipher text in order, in pieces of any size.
pub struct Decryptor {
    cipher: cbc::Decryptor<Aes128>,
    /// Not decrypted yet: less than a block, or one that may be the last.
    held: Vec<u8>,
}

impl Decryptor {
    pub fn new(key: &KeyBytes, iv: &[u8; 16]) -> Self {
        Self { cipher: cbc::Decryptor::new(key.into(), iv.into()), held: Vec::new() }
    }

    /// The clear text that is certain by now.
    pub fn feed(&mut self, cipher_text: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(cipher_text);
        // The last block stays: only the end tells that it is the one with the padding.
        let ready = self.held.len().saturating_sub(1) / BLOCK_BYTES * BLOCK_BYTES;
        let rest = self.held.split_off(ready);
        let mut clear = std::mem::replace(&mut self.held, rest);
        self.decrypt(&mut clear);
        clear
    }

    /// The rest of the clear text, without its padding. Nothing at all is nothing, not a fault.
    pub fn finish(mut self) -> Result<Vec<u8>, DecryptError> {
        let mut last = std::mem::take(&mut self.held);
        if last.is_empty() {
            return Ok(last);
        }
        if last.len() != BLOCK_BYTES {
            return Err(DecryptError::CutOff);
        }
        self.decrypt(&mut last);
        let padding = last[BLOCK_BYTES - 1];
        let kept = BLOCK_BYTES.checked_sub(usize::from(padding)).filter(|kept| *kept < BLOCK_BYTES);
        match kept {
            Some(kept) if last[kept..].iter().all(|byte| *byte == padding) => {
                last.truncate(kept);
                Ok(last)
            }
            Some(_) | None => Err(DecryptError::Padding),
        }
    }

    fn decrypt(&mut self, whole_blocks: &mut [u8]) {
        let (blocks, _) = Block::<Aes128>::slice_as_chunks_mut(whole_blocks);
        self.cipher.decrypt_blocks(blocks);
    }
}

/// A small resource at once.
pub fn decrypt_whole(key: &KeyBytes, iv: &[u8; 16], cipher_text: &[u8]) -> Result<Vec<u8>, DecryptError> {
    let mut decryptor = Decryptor::new(key, iv);
    let mut clear = decryptor.feed(cipher_text);
    clear.extend(decryptor.finish()?);
    Ok(clear)
}

#[cfg(test)]
mod tests {
    use aes::cipher::BlockModeEncrypt;
    use proptest::prelude::*;

    use super::*;

    /// By NIST SP 800-38A §F.2.1, CBC-AES128: the first two blocks.
    const KEY: u128 = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c;
    const IV: u128 = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f;
    const CLEAR: [u128; 2] = [0x6bc1_bee2_2e40_9f96_e93d_7e11_7393_172a, 0xae2d_8a57_1e03_ac9c_9eb7_6fac_45af_8e51];
    const CIPHER: [u128; 2] = [0x7649_abac_8119_b246_cee9_8e9b_12e9_197d, 0x5086_cb9b_5072_19ee_95db_113a_9176_78b2];

    fn bytes(blocks: [u128; 2]) -> Vec<u8> {
        blocks.iter().flat_map(|block| block.to_be_bytes()).collect()
    }

    fn encrypt(clear: &[u8]) -> Vec<u8> {
        let padding = BLOCK_BYTES - clear.len() % BLOCK_BYTES;
        let mut padded = [clear, &vec![padding as u8; padding]].concat();
        let mut cipher = cbc::Encryptor::<Aes128>::new(&KEY.to_be_bytes().into(), &IV.to_be_bytes().into());
        cipher.encrypt_blocks(Block::<Aes128>::slice_as_chunks_mut(&mut padded).0);
        padded
    }

    fn decrypt(cipher_text: &[u8], piece: usize) -> Result<Vec<u8>, DecryptError> {
        let mut decryptor = Decryptor::new(&KEY.to_be_bytes(), &IV.to_be_bytes());
        let mut clear: Vec<u8> = cipher_text.chunks(piece).flat_map(|piece| decryptor.feed(piece)).collect();
        clear.extend(decryptor.finish()?);
        Ok(clear)
    }

    #[test]
    fn the_published_vectors_are_met() {
        let with_padding = encrypt(&bytes(CLEAR));
        assert_eq!(with_padding[..32], bytes(CIPHER));
        assert_eq!(decrypt(&with_padding, 5).unwrap(), bytes(CLEAR));
        assert!(decrypt(&[], 1).unwrap().is_empty());
    }

    #[test]
    fn what_is_cut_off_or_of_another_key_is_refused() {
        let whole = encrypt(b"a segment of some bytes, more than one block");
        assert_eq!(decrypt(&whole[..whole.len() - 1], 7), Err(DecryptError::CutOff));
        assert_eq!(decrypt(&whole[..whole.len() - 16], 7), Err(DecryptError::Padding));
        assert_eq!(decrypt_whole(&[1; 16], &IV.to_be_bytes(), &whole), Err(DecryptError::Padding));
    }

    proptest! {
        #[test]
        fn any_clear_text_comes_back_in_pieces_of_any_size(clear: Vec<u8>, piece in 1usize..70) {
            prop_assert_eq!(decrypt(&encrypt(&clear), piece).unwrap(), clear);
        }
    }
}
