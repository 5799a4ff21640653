//! `segvault tombstone add|list`: hide segments, and see what is hidden. Works on the directory, with no node running.

use std::io::{self, Write};

use anyhow::Context as _;
use serde_json::json;

use super::Failure;
use super::config::EXIT_OK;
use super::place::{PlaceArgs, StreamArgs};
use crate::model::{FileName, Hour, Span, tombstone_of};
use crate::store::{self, Layout};

#[derive(Debug, clap::Subcommand)]
pub enum TombstoneCommand {
    /// Hide segments: from this moment no listing, playlist, cut or download has them. The bytes stay on disk.
    Add(AddArgs),
    /// Print what is hidden.
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
pub struct AddArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    stream: StreamArgs,
    /// Segments as HOUR/NAME, as `segvault select` prints them.
    #[arg(value_name = "HOUR/NAME", required_unless_present = "range", conflicts_with = "range")]
    names: Vec<String>,
    /// Hide every segment, of any type, that holds a moment of this range.
    #[arg(long, value_name = "START,END")]
    range: Option<Span>,
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    stream: StreamArgs,
    /// Only those in the hours of this range.
    #[arg(long, value_name = "START,END")]
    range: Option<Span>,
    /// Print one object: {"tombstones": ["HOUR/NAME", …]}.
    #[arg(long)]
    json: bool,
}

pub fn run(command: TombstoneCommand) -> Result<u8, Failure> {
    match command {
        TombstoneCommand::Add(args) => add(&args),
        TombstoneCommand::List(args) => list(&args),
    }
}

fn add(args: &AddArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    args.stream.check(&layout)?;
    let names = match args.range {
        Some(span) => names_in(&layout, &args.stream, span)?,
        None => args.names.clone(),
    };
    // All names are checked before the first is hidden: a typing error should not leave half of the work done.
    let parsed: Vec<(Hour, String)> = names.iter().map(|name| parse_name(name)).collect::<Result<_, _>>()?;
    let mut out = io::stdout().lock();
    for (hour, tombstone) in parsed {
        let (channel, quality) = (&args.stream.channel, &args.stream.quality);
        let is_new = store::add_tombstone(&layout, channel, quality, hour, &tombstone)
            .with_context(|| format!("{hour}/{tombstone} is not in force"))?;
        writeln!(out, "{hour}/{tombstone}{}", if is_new { "" } else { " (was there)" }).context("cannot print")?;
    }
    Ok(EXIT_OK)
}

/// HOUR/NAME, of a segment or chat batch or already of a tombstone → the hour and the tombstone's file name.
fn parse_name(text: &str) -> Result<(Hour, String), Failure> {
    let bad = |why: &str| Failure::Usage(format!("{text:?} is no segment: {why}; write it as HOUR/NAME"));
    let (hour, name) = text.split_once('/').ok_or_else(|| bad("there is no hour"))?;
    let hour = hour.parse::<Hour>().map_err(|error| bad(&error.to_string()))?;
    let name = name.parse::<FileName>().map_err(|error| bad(&error.to_string()))?;
    if name.as_str().ends_with(crate::model::TOMBSTONE_ENDING) {
        return Ok((hour, name.to_string()));
    }
    if !name.as_str().ends_with(".json") {
        crate::model::NameFields::parse(name.as_str()).map_err(|error| bad(&error.to_string()))?;
    }
    Ok((hour, tombstone_of(name.as_str()).ok_or_else(|| bad("it has no ending"))?))
}

fn names_in(layout: &Layout, stream: &StreamArgs, span: Span) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for hour in span.hours() {
        let loaded =
            store::load_hour(layout, &stream.channel, &stream.quality, hour).context("cannot read the record")?;
        let inside = loaded.index.all().filter(|one| one.start < span.end() && one.end() > span.start());
        names.extend(inside.map(|segment| format!("{hour}/{}", segment.name)));
    }
    if names.is_empty() {
        return Err(Failure::Usage(format!("no segment lies in {span}")));
    }
    Ok(names)
}

fn list(args: &ListArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    args.stream.check(&layout)?;
    let found = store::tombstones(&layout, &args.stream.channel, &args.stream.quality, args.range)
        .context("cannot read the record")?;
    let names: Vec<String> = found.iter().map(|one| format!("{}/{}", one.hour, one.name)).collect();
    let mut out = io::stdout().lock();
    let printed = if args.json {
        writeln!(out, "{}", json!({ "tombstones": names }))
    } else {
        names.iter().try_for_each(|name| writeln!(out, "{name}"))
    };
    printed.context("cannot print")?;
    Ok(EXIT_OK)
}
