pub mod blocking;
pub mod hls;
pub mod ingest;
pub mod model;
pub mod select;
pub mod store;
