//! The page's Record and Jobs, and the addresses that they stand on: real nodes, a real headless Chromium.

mod api;
mod chrome;
mod jobs;
mod record;
