//! What has a clock or a state machine of its own (DESIGN §2).
//!
//! An actor is thin: it gathers, calls a pure step, applies the step's result. A pass takes no hints, and asks for the
//! next one when it has ended. Messages carry no payloads of bytes. Actors do not keep each other's addresses: the
//! `Directory` hands out the current one, so that an actor that died can be rebuilt alone.

mod backfill_extras;
mod backfill_peer;
mod bounty_board;
mod coverage_checker;
mod cutter;
mod directory;
mod downloader;
mod guardian;
mod hour_cache;
mod left_behind;
mod live_edges;
mod media_book;
mod overview;
mod peer_book;
mod registrar;
mod retention;
mod scrubber;
mod stored_feed;
mod stream_worker;

pub use backfill_extras::BackfillExtras;
pub use backfill_peer::{BackfillPeer, Replication};
pub use bounty_board::{BountyBoard, LostHere};
pub use coverage_checker::{Checking, CoverageChecker};
pub use cutter::{Cutter, Cutting};
pub use directory::{Addresses, Directory};
pub use downloader::{Downloader, FindMedia, MediaFound};
pub use guardian::{ActorKind, Child, Drain, Guardian, Restart, Sentinel};
pub use hour_cache::{CacheError, GetHours, GetListing, HourCache, HourReading};
pub use left_behind::tell_left_behind;
pub use live_edges::{GetGeneration, GetLive, LiveEdges, LiveError, LiveReading};
pub use media_book::{GetMedia, MediaBook, MediaReading};
pub use overview::Overview;
pub use peer_book::PeerBook;
pub use registrar::{Pace, Registrar, Registration};
pub use retention::{
    Going, Horizons, Keeping, Made, Retention, SpaceError, SpacePass, Swept, Unproven, bound, each_aged, pins,
};
pub use scrubber::{Scrubber, Scrubbing};
pub use stored_feed::{FeedError, FeedReading, Follow, News, StoredFeed, StoredKind};
pub use stream_worker::{HISTORY_PERMITS, Recording, StreamWorker, seek_missing, tell_saved, tell_set_aside};
