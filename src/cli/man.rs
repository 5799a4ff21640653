//! `segvault man`: manual pages, made from the same descriptions as `--help`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory;

use super::config::EXIT_OK;
use super::{Args, Failure};

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Where they go, such as /usr/local/share/man/man1; made if it is not there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub fn run(args: &ManArgs) -> Result<u8, Failure> {
    let made = std::fs::create_dir_all(&args.dir).and_then(|()| clap_mangen::generate_to(Args::command(), &args.dir));
    made.with_context(|| format!("cannot write manual pages into {}", args.dir.display()))?;
    Ok(EXIT_OK)
}
