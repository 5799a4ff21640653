//! `segvault select`: what a range shows, straight from the disk.

use std::io::{self, Write};

use anyhow::Context as _;
use serde_json::json;

use super::Failure;
use super::config::EXIT_OK;
use super::place::{PlaceArgs, StreamArgs};
use crate::model::{Span, Timestamp};
use crate::select::Part;
use crate::store;

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct SelectArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    stream: StreamArgs,
    /// UTC, such as 2026-01-02T03:04:05.678.
    start: Timestamp,
    /// UTC; the range does not include it.
    end: Timestamp,
    /// Print one object: {"segments": ["HOUR/NAME" | null, …]}; null is a hole.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &SelectArgs) -> Result<u8, Failure> {
    let span = Span::new(args.start, args.end).map_err(|error| Failure::Usage(error.to_string()))?;
    let layout = args.place.layout()?;
    args.stream.check(&layout)?;
    let selection = store::load_span(&layout, &args.stream.channel, &args.stream.quality, span)
        .context("cannot read the record")?;
    let mut out = io::stdout().lock();
    let printed = if args.json {
        let segments: Vec<Option<String>> = selection
            .parts()
            .map(|part| match part {
                Part::Segment(segment) => Some(format!("{}/{}", segment.hour, segment.name)),
                Part::Hole(_) => None,
            })
            .collect();
        writeln!(out, "{}", json!({ "segments": segments }))
    } else {
        selection.parts().try_for_each(|part| match part {
            Part::Segment(segment) => writeln!(out, "{}/{}", segment.hour, segment.name),
            Part::Hole(hole) if hole.start == hole.end => {
                writeln!(out, "# hole before {}, of unknown length", hole.end)
            }
            Part::Hole(hole) => writeln!(out, "# hole {} to {}", hole.start, hole.end),
        })
    };
    printed.context("cannot print")?;
    Ok(EXIT_OK)
}
