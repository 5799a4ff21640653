//! The command line, one file per subcommand.

pub mod config;
pub mod db;
