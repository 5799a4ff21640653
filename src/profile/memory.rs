//! What the process's memory is made of, as the kernel counts it (`/proc/self/smaps`, proc(5)). Who holds it, a profile of the
//! heap says; this has also what C libraries asked for, and what was given back to the allocator but not by it.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::Serialize;

/// All in bytes that are in memory now, but for `swapped_bytes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub resident_bytes: u64,
    /// The allocator's first arena.
    pub heap_bytes: u64,
    /// Its other arenas (one or more per thread), large blocks, the threads' stacks.
    pub anonymous_bytes: u64,
    /// The program, its libraries, and files that are mapped: the kernel may drop what of it is clean.
    pub files_bytes: u64,
    pub swapped_bytes: u64,
    /// The files with the most, at most ten, by path.
    pub files: BTreeMap<String, u64>,
}

const MOST_FILES: usize = 10;

/// Asks the kernel. Blocks for some milliseconds.
pub fn memory() -> io::Result<Memory> {
    Ok(parse(&fs::read_to_string("/proc/self/smaps")?))
}

fn parse(smaps: &str) -> Memory {
    let (mut memory, mut name) = (Memory::default(), "");
    for line in smaps.lines() {
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let kib = || rest.trim().strip_suffix(" kB").and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0);
        match first {
            "Rss:" => memory.add(name, kib() << 10),
            "Swap:" => memory.swapped_bytes += kib() << 10,
            // A mapping's first line: addresses, permissions, offset, device, inode, and its name, if it has one.
            _ if !first.ends_with(':') => name = rest.splitn(5, ' ').nth(4).unwrap_or("").trim(),
            _ => {}
        }
    }
    while memory.files.len() > MOST_FILES {
        let least = memory.files.iter().min_by_key(|(_, bytes)| **bytes).map(|(path, _)| path.clone());
        memory.files.remove(&least.unwrap_or_default());
    }
    memory
}

impl Memory {
    fn add(&mut self, name: &str, bytes: u64) {
        self.resident_bytes += bytes;
        match name {
            "[heap]" => self.heap_bytes += bytes,
            path if path.starts_with('/') => {
                self.files_bytes += bytes;
                *self.files.entry(path.to_owned()).or_default() += bytes;
            }
            _ => self.anonymous_bytes += bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_added_up_by_what_they_are() {
        let smaps = "\
            5556cf746000-5556cf748000 r--p 00000000 fe:00 247282                     /usr/bin/a b\n\
            Size:                  8 kB\nRss:                   8 kB\nSwap:                  0 kB\nVmFlags: rd mr\n\
            5556cf748000-5556cf74e000 r-xp 00002000 fe:00 247282                     /usr/bin/a b\n\
            Rss:                  20 kB\n\
            55570ec40000-55570ec61000 rw-p 00000000 00:00 0                          [heap]\n\
            Rss:                   4 kB\nSwap:                 12 kB\n\
            7f0000000000-7f0000021000 rw-p 00000000 00:00 0 \n\
            Rss:                 100 kB\n\
            7ffc39d00000-7ffc39d21000 rw-p 00000000 00:00 0                          [stack]\n\
            Rss:                   1 kB\n";
        let expected = Memory {
            resident_bytes: 133 << 10,
            heap_bytes: 4 << 10,
            anonymous_bytes: 101 << 10,
            files_bytes: 28 << 10,
            swapped_bytes: 12 << 10,
            files: [("/usr/bin/a b".to_owned(), 28 << 10)].into(),
        };
        assert_eq!(parse(smaps), expected);
    }

    #[test]
    fn what_is_held_shows() {
        let before = memory().unwrap();
        let held = std::hint::black_box(vec![7u8; 64 << 20]);
        let grown = memory().unwrap().anonymous_bytes.saturating_sub(before.anonymous_bytes);
        assert!(grown >= 60 << 20, "{grown}");
        drop(held);
    }
}
