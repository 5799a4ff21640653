//! Boxes of MP4 (ISO/IEC 14496-12), and where the initialisation section of a stored segment ends.
//!
//! Promises: any bytes are read without a panic.
//! Never: knows what a box means.

/// Boxes before this many bytes are searched for the first fragment; `moov` of a fragmented file is a few kilobytes.
pub const MAX_INIT_BYTES: usize = 1 << 20;
/// Boxes that a file can start with.
const FIRST_BOXES: [&[u8; 4]; 8] = [b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"emsg", b"prft", b"free"];
/// Boxes that belong to the media, not to the initialisation section.
const MEDIA_BOXES: [&[u8; 4]; 5] = [b"moof", b"styp", b"sidx", b"emsg", b"prft"];

/// No fragment was found where one must start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no fragment starts within the first {MAX_INIT_BYTES} bytes")]
pub struct NoFragment;

/// Whether a file that starts with `head` is MP4. Eight bytes are enough.
pub fn is_mp4(head: &[u8]) -> bool {
    head.get(4..8).is_some_and(|kind| FIRST_BOXES.iter().any(|first| kind == *first))
}

/// The length of the initialisation section in bytes: everything before the first box of media. Zero if there is none.
/// `head` is the start of the file, at least `MAX_INIT_BYTES` of it unless the file is shorter.
pub fn init_len(head: &[u8]) -> Result<usize, NoFragment> {
    let mut at = 0;
    loop {
        let head = read_head(head.get(at..).ok_or(NoFragment)?).ok_or(NoFragment)?;
        if MEDIA_BOXES.contains(&head.kind) {
            return Ok(at);
        }
        at = at.checked_add(head.len_bytes).ok_or(NoFragment)?;
    }
}

/// The boxes that follow each other in `bytes`, each with its content. Ends before one that is not whole.
pub fn boxes(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let head = read_head(rest)?;
        let content = rest.get(head.head_bytes..head.len_bytes)?;
        rest = &rest[head.len_bytes..];
        Some((head.kind, content))
    })
}

/// The content of the first box of this kind, down a path of boxes within boxes.
pub fn find<'b>(bytes: &'b [u8], path: &[&[u8; 4]]) -> Option<&'b [u8]> {
    path.iter().try_fold(bytes, |within, kind| Some(boxes(within).find(|(found, _)| found == kind)?.1))
}

/// How a box starts.
pub(super) struct Head<'b> {
    pub kind: &'b [u8; 4],
    /// 8, or 16 for a long box.
    pub head_bytes: usize,
    /// Of the whole box.
    pub len_bytes: usize,
}

/// The head of the box that starts here. `None` for a length that is none, and for one that means "to the end of the
/// file": no media can follow.
pub(super) fn read_head(bytes: &[u8]) -> Option<Head<'_>> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let (len, head_bytes) = match u32::from_be_bytes(*size) {
        0 => return None,
        1 => (u64::from_be_bytes(*rest.first_chunk::<8>()?), 16),
        len => (u64::from(len), 8),
    };
    let len_bytes = usize::try_from(len).ok()?;
    (len_bytes >= head_bytes).then_some(Head { kind, head_bytes, len_bytes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn small(kind: &[u8; 4], content: usize) -> Vec<u8> {
        let mut bytes = ((content + 8) as u32).to_be_bytes().to_vec();
        bytes.extend(kind);
        bytes.resize(content + 8, 0);
        bytes
    }

    #[test]
    fn the_init_ends_where_the_media_starts() {
        let init = [small(b"ftyp", 16), small(b"moov", 500), small(b"free", 0)].concat();
        for first in MEDIA_BOXES {
            let file = [init.clone(), small(first, 4), small(b"mdat", 9)].concat();
            assert_eq!(init_len(&file), Ok(init.len()));
            assert!(is_mp4(&file));
        }
        assert_eq!(init_len(&small(b"moof", 4)), Ok(0));
        let long = [vec![0, 0, 0, 1], b"moov".to_vec(), 20u64.to_be_bytes().to_vec(), vec![0; 4], small(b"moof", 0)];
        assert_eq!(init_len(&long.concat()), Ok(20));
    }

    #[test]
    fn what_has_no_fragment_is_refused() {
        let whole = [small(b"ftyp", 16), small(b"moov", 500), small(b"mdat", 9)].concat();
        for bad in [whole.as_slice(), &[], &[0; 16], &[0, 0, 0, 7, b'm', b'o', b'o', b'v', 0, 0]] {
            assert_eq!(init_len(bad), Err(NoFragment), "{bad:?}");
        }
        assert!(!is_mp4(&[0x47; 188]));
        assert!(!is_mp4(b"ftyp"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(sizes in prop::collection::vec((0u32..40, any::<bool>()), 0..20), junk in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = Vec::new();
            for (size, is_moof) in sizes {
                bytes.extend(size.to_be_bytes());
                bytes.extend(if is_moof { b"moof" } else { b"free" });
                bytes.extend(&junk[..junk.len().min(size.saturating_sub(8) as usize)]);
            }
            bytes.extend(&junk);
            let _ = init_len(&bytes);
            let _ = init_len(&junk);
            let _ = (boxes(&bytes).count(), find(&bytes, &[b"free", b"moof"]));
        }
    }
}
