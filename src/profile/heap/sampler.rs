//! The program's allocator: the system's, and a note of who asked for one byte in so many.
//!
//! Bytes are drawn as tcmalloc and Go draw them: every byte that is asked for is as likely as any other, one in
//! [`note_every`] on average, and who asked for it is noted with its stack until it is given back. From the notes follows what
//! is held, without bias. A request that is not noted costs a subtraction, and its return a look at one of 4,096 counters.
//!
//! Promises: as correct as the system's allocator, under which every request goes unchanged; notes are bounded.
//! Never: asks for memory, locks or unwinds on behalf of its own work (`IS_NOTING`), waits for whoever looks up names, or sees
//! what C libraries ask for.
// The trait of allocators is unsafe, and so is to walk a stack without the lock that those hold who look up names, for seconds.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of a stack, what is nearest to the request.
const MAX_DEPTH: usize = 128;
/// Many times what a node has: it would hold 32 GiB at the usual rate. Also what a counter of `PLACES` can bear.
const MAX_NOTES: usize = 16_384;
const PLACE_BITS: u32 = 12;

/// One byte in so many is noted; none, where it is 0. At tcmalloc's rate: to walk a stack takes 10 µs, and a cut that moves
/// gigabytes in pieces asks for gigabytes.
static EVERY: AtomicU64 = AtomicU64::new(2 << 20);
static THREADS: AtomicU64 = AtomicU64::new(1);
/// How many notes there are of the addresses that fall on each place: mostly none, and nobody has to look further.
static PLACES: [AtomicU16; 1 << PLACE_BITS] = [const { AtomicU16::new(0) }; 1 << PLACE_BITS];
/// By address.
static NOTES: Mutex<BTreeMap<usize, Note>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// How many bytes from here the next one is that is drawn.
    static DUE_IN: Cell<i64> = const { Cell::new(0) };
    /// Of the thread's random numbers; 0 before it has asked for anything.
    static SEED: Cell<u64> = const { Cell::new(0) };
    /// What is asked for meanwhile is for a note.
    static IS_NOTING: Cell<bool> = const { Cell::new(false) };
}

/// Put in the system allocator's place by `main`.
pub struct SampledHeap;

/// A request whose memory is held.
#[derive(Clone)]
pub struct Note {
    /// Where each function of the stack goes on, the innermost first.
    pub stack: Box<[usize]>,
    /// Of how many requests like it this is the noted one, and how many bytes they are.
    pub requests: f64,
    pub bytes: f64,
}

/// From here on one byte in so many is noted, 0 for none. Notes that there are stay.
pub fn note_every(bytes: u64) {
    EVERY.store(bytes, Ordering::Relaxed);
}

pub fn noted_every() -> u64 {
    EVERY.load(Ordering::Relaxed)
}

/// What is held now.
pub fn notes() -> Vec<Note> {
    own_work(|| held().values().cloned().collect()).unwrap_or_default()
}

// SAFETY: every request goes to the system's allocator as it came, and its answer back as it is; nothing here unwinds.
unsafe impl GlobalAlloc for SampledHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that are asked for.
        let memory = unsafe { System.alloc(layout) };
        asked(memory, layout.size());
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { System.alloc_zeroed(layout) };
        asked(memory, layout.size());
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // Before the address can be somebody else's.
        drop(given_back(memory));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let note = given_back(memory);
        // SAFETY: as above.
        let moved = unsafe { System.realloc(memory, layout, new_size) };
        match note {
            Some(note) if moved.is_null() => keep(memory, note),
            _ => asked(moved, new_size),
        }
        moved
    }
}

#[inline]
fn asked(memory: *mut u8, size: usize) {
    let due_in = DUE_IN.get().saturating_sub_unsigned(size as u64);
    DUE_IN.set(due_in);
    if due_in < 0 {
        drawn(memory, size);
    }
}

#[inline]
fn given_back(memory: *mut u8) -> Option<Note> {
    // Who gives it back has it from who noted it, and so sees the counter.
    if PLACES[place(memory.addr())].load(Ordering::Relaxed) == 0 { None } else { forget(memory) }
}

/// A byte of this request is drawn, or it is a thread's first.
#[cold]
#[inline(never)]
fn drawn(memory: *mut u8, size: usize) {
    let every = EVERY.load(Ordering::Relaxed);
    if SEED.get() == 0 {
        SEED.set(THREADS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let due_in = distance(every).saturating_sub_unsigned(size as u64);
        if due_in >= 0 {
            DUE_IN.set(due_in);
            return;
        }
    }
    DUE_IN.set(distance(every));
    if every == 0 || memory.is_null() {
        return;
    }
    own_work(|| {
        // The share of requests of this size in which a byte is drawn.
        let share = -(-(size as f64) / every as f64).exp_m1();
        let note = Note { stack: stack(), requests: share.recip(), bytes: size as f64 / share };
        keep_among(&mut held(), memory, note);
    });
}

#[cold]
#[inline(never)]
fn forget(memory: *mut u8) -> Option<Note> {
    own_work(|| {
        let note = held().remove(&memory.addr());
        if note.is_some() {
            PLACES[place(memory.addr())].fetch_sub(1, Ordering::Relaxed);
        }
        note
    })
    .flatten()
}

#[cold]
#[inline(never)]
fn keep(memory: *mut u8, note: Note) {
    own_work(|| keep_among(&mut held(), memory, note));
}

fn keep_among(notes: &mut BTreeMap<usize, Note>, memory: *mut u8, note: Note) {
    if notes.len() < MAX_NOTES && notes.insert(memory.addr(), note).is_none() {
        PLACES[place(memory.addr())].fetch_add(1, Ordering::Relaxed);
    }
}

/// Only as [`own_work`]: what is asked for under it must not come back to it.
fn held() -> MutexGuard<'static, BTreeMap<usize, Note>> {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what may ask for memory itself, unless it is that which asks.
fn own_work<T>(work: impl FnOnce() -> T) -> Option<T> {
    if IS_NOTING.replace(true) {
        return None;
    }
    let done = work();
    IS_NOTING.set(false);
    Some(done)
}

fn stack() -> Box<[usize]> {
    let (mut stack, mut depth) = ([0; MAX_DEPTH], 0);
    let note = |frame: &backtrace::Frame| {
        stack[depth] = frame.ip().addr();
        depth += 1;
        depth < MAX_DEPTH
    };
    // SAFETY: only Windows keeps anything that two threads must not use at once; `dl_iterate_phdr(3)` has a lock of its own.
    unsafe { backtrace::trace_unsynchronized(note) };
    stack[..depth].into()
}

/// Addresses are spread over the places: their lowest bits are alike, and so are the highest.
fn place(address: usize) -> usize {
    ((address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACE_BITS)) as usize
}

/// From one byte that is drawn to the next: exponential, as each byte is as likely as any other.
fn distance(every: u64) -> i64 {
    // Where nothing is noted, look again now and then whether that is still so.
    let mean = if every == 0 { (1u64 << 30) as f64 } else { every as f64 };
    let seed = xorshift(SEED.get());
    SEED.set(seed);
    // In (0, 1].
    let uniform = ((seed >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-uniform.ln() * mean) as i64
}

/// Marsaglia, "Xorshift RNGs", 2003.
fn xorshift(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}
