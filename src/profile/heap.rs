//! Who holds the memory: the notes of the program's allocator, with names.

mod sampler;

use std::collections::{BTreeMap, HashMap};
use std::ptr;

pub use sampler::{SampledHeap, note_every};

use super::{Frame, protobuf};

/// What a stack holds, estimated from what was noted of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Held {
    pub requests: f64,
    pub bytes: f64,
}

impl Held {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
    }
}

/// What the heap holds at a moment, by who asked for it: from the thread's first function to the one that asked.
#[derive(Debug, Clone, Default)]
pub struct HeapProfile {
    pub stacks: BTreeMap<Vec<Frame>, Held>,
    /// One byte in so many was noted.
    pub every_bytes: u64,
}

impl HeapProfile {
    /// Takes a moment: names are looked up.
    pub(super) fn take() -> Self {
        // Most notes are of few stacks, and each has its names once.
        let mut stacks: HashMap<Box<[usize]>, Held> = HashMap::new();
        for note in sampler::notes() {
            stacks.entry(note.stack).or_default().add(Held { requests: note.requests, bytes: note.bytes });
        }
        let mut profile = Self { stacks: BTreeMap::new(), every_bytes: sampler::noted_every() };
        let mut known = HashMap::new();
        for (stack, held) in stacks {
            let name = |address: &usize| known.entry(*address).or_insert_with(|| frames_at(*address)).clone();
            let mut frames: Vec<Frame> = stack.iter().flat_map(name).collect();
            // The innermost are the allocator, and what walked the stack for it.
            let own = frames.iter().rposition(is_own).map_or(0, |last| last + 1);
            frames.drain(..own);
            frames.reverse();
            profile.stacks.entry(frames).or_default().add(held);
        }
        profile
    }

    pub fn bytes(&self) -> f64 {
        self.stacks.values().map(|held| held.bytes).sum()
    }

    /// As `go tool pprof` reads it, not yet compressed.
    pub fn protobuf(&self, taken_unix_nanos: i64) -> Vec<u8> {
        let sheet = protobuf::Sheet {
            kinds: [("inuse_objects", "count"), ("inuse_space", "bytes")],
            period: ("space", "bytes", self.every_bytes),
            began_unix_nanos: taken_unix_nanos,
            took_nanos: 0,
        };
        let rows = self.stacks.iter().map(|(frames, held)| protobuf::Row {
            frames,
            thread: None,
            values: [held.requests.round() as u64, held.bytes.round() as u64],
        });
        protobuf::encode(&sheet, rows)
    }
}

/// Whether this is the allocator. What was inlined has no path in its name, and what was stripped has no file.
fn is_own(frame: &Frame) -> bool {
    frame.file.ends_with("profile/heap/sampler.rs") || frame.function.contains("profile::heap::sampler::")
}

/// The function that goes on at an address, before those that it was inlined into.
fn frames_at(address: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    // The call itself ends there.
    let call = ptr::without_provenance_mut(address.saturating_sub(1));
    backtrace::resolve(call, |symbol| {
        let function = symbol.name().map(|name| format!("{name:#}")).unwrap_or_default();
        let file = symbol.filename().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        frames.push(Frame { function, file, line: symbol.lineno().unwrap_or(0) });
    });
    if frames.is_empty() {
        frames.push(Frame { function: format!("{address:#x}"), file: String::new(), line: 0 });
    }
    frames
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    const MIB: usize = 1 << 20;

    #[inline(never)]
    fn holds_many_small_ones(bytes: usize) -> Vec<Vec<u8>> {
        (0..bytes / 1024).map(|_| black_box(vec![7; 1024])).collect()
    }

    #[inline(never)]
    fn holds_one_that_grew(bytes: usize) -> Vec<u8> {
        let mut grown = black_box(Vec::with_capacity(1));
        while grown.len() < bytes {
            grown.resize((2 * grown.len()).max(1), 7);
        }
        grown
    }

    fn held_by(function: &str) -> Held {
        let mut sum = Held::default();
        for (stack, held) in HeapProfile::take().stacks {
            let has = |name: &str| stack.iter().any(|frame| frame.function.contains(name));
            // A signal of another test's profile of the processor may come anywhere, and its first ones read tables.
            if has(function) && !has("pprof::") {
                sum.add(held);
            }
        }
        sum
    }

    fn is_near(estimate: f64, real: usize, of: f64) -> bool {
        (estimate / real as f64 - 1.0).abs() < of
    }

    /// The allocator of all unit tests is the one under test (lib.rs), so that they are its trial, too.
    #[test]
    fn what_is_held_is_known_by_who_asked_for_it_until_it_is_given_back() {
        // 256 notes are due: their standard deviation is a sixteenth of it.
        note_every(256 << 10);
        let small = holds_many_small_ones(64 * MIB);
        let held = held_by("holds_many_small_ones");
        assert!(is_near(held.bytes, 64 * MIB, 0.5) && is_near(held.requests, 64 << 10, 0.5), "{held:?}");
        // Also by another thread than asked for it.
        std::thread::spawn(move || drop(small)).join().unwrap();
        assert_eq!(held_by("holds_many_small_ones"), Held::default());

        // One request of 64 or 128 MiB is noted for certain, and what it was before it grew is not held.
        let grown = holds_one_that_grew(64 * MIB);
        let held = held_by("holds_one_that_grew");
        assert!(is_near(held.bytes, grown.capacity(), 0.01) && is_near(held.requests, 1, 0.01), "{held:?}");
        drop(grown);
        assert_eq!(held_by("holds_one_that_grew"), Held::default());
    }

    #[test]
    fn many_threads_ask_and_give_back_each_others_memory() {
        #[inline(never)]
        fn held_across_threads(size: usize) -> Vec<u8> {
            black_box(vec![7; size])
        }
        let (send, receive) = std::sync::mpsc::sync_channel::<Vec<u8>>(64);
        let askers: Vec<_> = (0..4)
            .map(|seed: usize| {
                let send = send.clone();
                std::thread::spawn(move || {
                    for n in 0..5_000 {
                        let mut memory = held_across_threads(1 + (n * 7919 + seed) % 40_000);
                        if n % 3 == 0 {
                            memory.reserve_exact(50_000);
                        }
                        send.send(memory).unwrap();
                    }
                })
            })
            .collect();
        drop(send);
        let looker = std::thread::spawn(|| (0..4).map(|_| HeapProfile::take().stacks.len()).sum::<usize>());
        assert_eq!(receive.iter().filter(|memory| memory.iter().all(|byte| *byte == 7)).count(), 20_000);
        askers.into_iter().for_each(|asker| asker.join().unwrap());
        assert!(looker.join().unwrap() > 0);
        assert_eq!(held_by("held_across_threads"), Held::default());
    }
}
