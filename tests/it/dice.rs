//! Numbers that look random, and are the same for the same seed.
//!
//! `make test` throws the same each time: what fails there is what was changed. `make soak` throws anew, as SEGVAULT_SEED=any
//! does; each test says its seed, and SEGVAULT_SEED=N throws that again.

use std::hash::{BuildHasher, RandomState};

/// SplitMix64, by S. Vigna: small, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Dice(u64);

/// The seed of a test, told where one that fails shows it.
pub fn seed(usual: u64) -> u64 {
    let seed = match std::env::var("SEGVAULT_SEED") {
        Err(_) => usual,
        Ok(any) if any == "any" => RandomState::new().hash_one(0_u8) >> 16,
        Ok(text) => text.parse().expect("SEGVAULT_SEED is a number, or any"),
    };
    println!("SEGVAULT_SEED={seed}");
    seed
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// Others for each of several that share a seed.
    pub fn fork(&mut self) -> Self {
        Self(self.roll())
    }
}
