pub mod cli;
pub mod clock;
pub mod config;
pub mod log;
pub mod metrics;
pub mod model;
