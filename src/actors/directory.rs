//! Hands out the current address of each actor; a rebuilt actor replaces the old one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use actix::{Actor, Addr};

use super::{
    BackfillExtras, BackfillPeer, BountyBoard, CoverageChecker, Cutter, Downloader, Guardian, HourCache, LiveEdges,
    MediaBook, PeerBook, Registrar, Retention, Scrubber, StoredFeed, StreamWorker,
};
use crate::model::{Channel, PeerUrl, Quality};

/// Addresses by key. Cheap to clone.
pub struct Addresses<K, A: Actor> {
    current: Arc<RwLock<HashMap<K, Addr<A>>>>,
}

impl<K, A: Actor> Clone for Addresses<K, A> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current) }
    }
}

impl<K, A: Actor> Default for Addresses<K, A> {
    fn default() -> Self {
        Self { current: Arc::default() }
    }
}

impl<K: Eq + Hash, A: Actor> Addresses<K, A> {
    pub fn publish(&self, key: K, address: Addr<A>) {
        self.current.write().unwrap_or_else(PoisonError::into_inner).insert(key, address);
    }

    pub fn get(&self, key: &K) -> Option<Addr<A>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub fn keys(&self) -> Vec<K>
    where
        K: Clone,
    {
        self.current.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub fn all(&self) -> Vec<Addr<A>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Who is who in this node, now.
#[derive(Clone, Default)]
pub struct Directory {
    pub guardian: Addresses<(), Guardian>,
    pub hour_cache: Addresses<(), HourCache>,
    pub live_edges: Addresses<(), LiveEdges>,
    pub media_book: Addresses<(), MediaBook>,
    pub downloaders: Addresses<Channel, Downloader>,
    pub workers: Addresses<(Channel, Quality), StreamWorker>,
    pub registrar: Addresses<(), Registrar>,
    pub scrubber: Addresses<(), Scrubber>,
    pub coverage_checker: Addresses<(), CoverageChecker>,
    pub cutter: Addresses<(), Cutter>,
    pub retention: Addresses<(), Retention>,
    pub peer_book: Addresses<(), PeerBook>,
    /// None where there can be no peers.
    pub bounty_board: Addresses<(), BountyBoard>,
    pub stored_feed: Addresses<(), StoredFeed>,
    pub backfill_extras: Addresses<PeerUrl, BackfillExtras>,
    pub backfill_peers: Addresses<(PeerUrl, Channel, Quality), BackfillPeer>,
}
