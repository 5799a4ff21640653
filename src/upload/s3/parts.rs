//! How a file is cut into parts.
//!
//! Promises: the parts of a file are its bytes, each once and in order; there are no more than S3 takes; what is listed as
//! there counts only if it is just that part.

use super::answers::ListedPart;

/// "Amazon S3 multipart upload limits": part numbers from 1 to 10,000; every part but the last has 5 MiB or more.
const MAX_PARTS: u64 = 10_000;
pub const MIN_PART_BYTES: u64 = 5 << 20;
const MIB: u64 = 1 << 20;

/// The bytes `first..end` of a file, under their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub number: u32,
    pub first: u64,
    pub end: u64,
}

impl Part {
    pub fn len_bytes(self) -> u64 {
        self.end - self.first
    }
}

/// How many bytes each part of a file of `len_bytes` gets, if there is no reason for more than `wanted_bytes`.
pub fn part_bytes(len_bytes: u64, wanted_bytes: u64) -> u64 {
    let needed = len_bytes.div_ceil(MAX_PARTS).next_multiple_of(MIB);
    wanted_bytes.max(needed).max(MIN_PART_BYTES)
}

/// All parts, in order. An empty file has one empty part.
pub fn parts(len_bytes: u64, part_bytes: u64) -> impl Iterator<Item = Part> {
    let count = len_bytes.div_ceil(part_bytes).max(1);
    (0..count).map(move |index| {
        let first = index * part_bytes;
        Part { number: index as u32 + 1, first, end: len_bytes.min(first + part_bytes) }
    })
}

/// What is there of a part: a part of this number and length, with these bytes as far as the store tells.
pub fn is_there<'a>(part: Part, sha256: Option<&str>, listed: &'a [ListedPart]) -> Option<&'a ListedPart> {
    let same_bytes = |there: &&ListedPart| match (&there.sha256, sha256) {
        (Some(theirs), Some(ours)) => &**theirs == ours,
        _ => true,
    };
    listed.iter().find(|there| there.number == part.number && there.len_bytes == part.len_bytes()).filter(same_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn part_sizes_follow_the_file() {
        assert_eq!(part_bytes(0, 16 * MIB), 16 * MIB);
        assert_eq!(part_bytes(160_000 * MIB, 16 * MIB), 16 * MIB);
        assert_eq!(part_bytes(160_000 * MIB + 1, 16 * MIB), 17 * MIB);
        assert_eq!(part_bytes(1, 1), MIN_PART_BYTES);
        assert_eq!(parts(0, 5).collect::<Vec<_>>(), [Part { number: 1, first: 0, end: 0 }]);
    }

    #[test]
    fn another_length_or_other_bytes_are_not_the_part() {
        let part = Part { number: 2, first: 5, end: 9 };
        let listed = |number, len_bytes, sha256: Option<&str>| {
            [ListedPart { number, len_bytes, etag: "e".into(), sha256: sha256.map(Box::from) }]
        };
        assert!(is_there(part, Some("a"), &listed(2, 4, Some("a"))).is_some());
        assert!(is_there(part, Some("a"), &listed(2, 4, None)).is_some());
        assert!(is_there(part, None, &listed(2, 4, Some("a"))).is_some());
        assert!(is_there(part, Some("a"), &listed(2, 4, Some("b"))).is_none());
        assert!(is_there(part, Some("a"), &listed(2, 3, Some("a"))).is_none());
        assert!(is_there(part, Some("a"), &listed(1, 4, Some("a"))).is_none());
    }

    proptest! {
        #[test]
        fn parts_are_the_file(len_bytes in 0u64..1 << 42, wanted in 0u64..1 << 30) {
            let size = part_bytes(len_bytes, wanted);
            let all: Vec<Part> = parts(len_bytes, size).collect();
            prop_assert!(all.len() as u64 <= MAX_PARTS);
            let mut at = 0;
            for (index, part) in all.iter().enumerate() {
                prop_assert_eq!((part.number as usize, part.first), (index + 1, at));
                prop_assert!(part.len_bytes() == size || index + 1 == all.len());
                at = part.end;
            }
            prop_assert_eq!(at, len_bytes);
        }
    }
}
