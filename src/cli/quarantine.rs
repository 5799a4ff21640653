//! `segvault quarantine list|restore`: what is kept out of the record, and putting it back. Works on the directory, beside a
//! running node or without one.

use std::io::{self, Write};

use anyhow::Context as _;
use serde_json::json;

use super::config::EXIT_OK;
use super::place::{ChosenStreams, PlaceArgs, StreamsArgs};
use super::{EXIT_FAILED, Failure};
use crate::causes::chain;
use crate::model::{Quality, SegmentName};
use crate::store::{self, Layout, Restored, TempMark};

#[derive(Debug, clap::Subcommand)]
pub enum QuarantineCommand {
    /// Print what is in quarantine.
    List(ListArgs),
    /// Move segments from quarantine into the record, each as a whole; what a tombstone hides stays.
    Restore(RestoreArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    streams: StreamsArgs,
    /// Print one object: {"segments": ["QUALITY/HOUR/NAME", …]}.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    streams: StreamsArgs,
}

pub fn run(command: &QuarantineCommand) -> Result<u8, Failure> {
    match command {
        QuarantineCommand::List(args) => list(args),
        QuarantineCommand::Restore(args) => restore(args),
    }
}

fn find(layout: &Layout, streams: &StreamsArgs) -> Result<Vec<(Quality, SegmentName)>, Failure> {
    let ChosenStreams { qualities, within } = streams.choose(layout, &[&layout.quarantine()])?;
    let mut found = Vec::new();
    for quality in qualities {
        let names = store::quarantined(layout, &streams.channel, &quality, within).context("cannot read quarantine")?;
        found.extend(names.into_iter().map(|name| (quality.clone(), name)));
    }
    Ok(found)
}

fn list(args: &ListArgs) -> Result<u8, Failure> {
    let found = find(&args.place.layout()?, &args.streams)?;
    let names: Vec<String> = found.iter().map(|(quality, name)| format!("{quality}/{}", name.path_text())).collect();
    let mut out = io::stdout().lock();
    let printed = if args.json {
        writeln!(out, "{}", json!({ "segments": names }))
    } else {
        names.iter().try_for_each(|name| writeln!(out, "{name}"))
    };
    printed.context("cannot print")?;
    Ok(EXIT_OK)
}

/// One that cannot be restored does not keep back the others.
fn restore(args: &RestoreArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let (mark, mut failed) = (TempMark::of_this_process(), 0);
    let mut out = io::stdout().lock();
    for (quality, name) in find(&layout, &args.streams)? {
        let shown = format!("{quality}/{}", name.path_text());
        let said = match store::restore(&layout, &args.streams.channel, &quality, &name, &mark.next()) {
            Ok(Restored::InRecord) => shown,
            Ok(Restored::WasThere) => format!("{shown} (was there)"),
            Ok(Restored::Tombstoned) => {
                failed += 1;
                eprintln!("segvault: {shown} stays in quarantine: a tombstone hides it");
                continue;
            }
            Err(error) => {
                failed += 1;
                eprintln!("segvault: {shown} stays in quarantine: {}", chain(&error));
                continue;
            }
        };
        writeln!(out, "{said}").context("cannot print")?;
    }
    Ok(if failed == 0 { EXIT_OK } else { EXIT_FAILED })
}
