//! `segvault pin add|list|remove`: stretches that stay, whatever the bounds of retention say. Works on the directory, beside
//! a running node or without one.

use std::io::{self, Write};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::config::EXIT_OK;
use super::place::{PlaceArgs, user_name};
use super::{EXIT_FAILED, Failure};
use crate::clock::Clock;
use crate::model::{Channel, Quality, Span, Timestamp};
use crate::select::retain::Pin;
use crate::store::{self, KeptPin};

#[derive(Debug, clap::Subcommand)]
pub enum PinCommand {
    /// Keep a range of a channel, however old it gets and however little of the disk is free.
    Add(AddArgs),
    /// Print what is pinned.
    List(ListArgs),
    /// Give a range up to retention again.
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
pub struct AddArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The channel, such as gdq; it need not be here yet.
    channel: Channel,
    /// The first moment that stays (UTC).
    #[arg(long, value_name = "T")]
    from: Timestamp,
    /// The end of what stays.
    #[arg(long, value_name = "T")]
    to: Timestamp,
    /// Only this quality; without it all, chat too.
    #[arg(long)]
    quality: Option<Quality>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Print one object: {"pins": [{"id", "channel", "quality", "from", "to", "reason", "by", "at"}, …]}.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// As `pin list` prints it.
    id: u64,
}

pub fn run(command: &PinCommand) -> Result<u8, Failure> {
    match command {
        PinCommand::Add(args) => add(args),
        PinCommand::List(args) => list(args),
        PinCommand::Remove(args) => remove(args),
    }
}

fn add(args: &AddArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let span = Span::new(args.from, args.to).map_err(|error| Failure::Usage(error.to_string()))?;
    let pin = Pin { channel: args.channel.clone(), quality: args.quality.clone(), span };
    let at = Clock::system().now().to_string();
    let kept = store::add_pin(&layout, pin, args.reason.clone(), user_name(), at).context("the range is not pinned")?;
    print(&mut io::stdout().lock(), &kept).context("cannot print")?;
    Ok(EXIT_OK)
}

fn list(args: &ListArgs) -> Result<u8, Failure> {
    let pins = store::read_pins(&args.place.layout()?).context("cannot read what is pinned")?;
    let mut out = io::stdout().lock();
    let printed = if args.json {
        writeln!(out, "{}", json!({ "pins": pins.iter().map(row).collect::<Vec<_>>() }))
    } else {
        pins.iter().try_for_each(|pin| print(&mut out, pin))
    };
    printed.context("cannot print")?;
    Ok(EXIT_OK)
}

fn remove(args: &RemoveArgs) -> Result<u8, Failure> {
    if store::remove_pin(&args.place.layout()?, args.id).context("the pin stays")? {
        return Ok(EXIT_OK);
    }
    eprintln!("segvault: there is no pin {}", args.id);
    Ok(EXIT_FAILED)
}

fn row(KeptPin { id, pin, reason, by, at }: &KeptPin) -> Value {
    json!({
        "id": id,
        "channel": pin.channel.as_str(),
        "quality": pin.quality.as_ref().map(Quality::as_str),
        "from": pin.span.start().to_string(),
        "to": pin.span.end().to_string(),
        "reason": reason,
        "by": by,
        "at": at,
    })
}

fn print(out: &mut impl Write, KeptPin { id, pin, reason, by, at }: &KeptPin) -> io::Result<()> {
    let quality = pin.quality.as_ref().map_or("*", Quality::as_str);
    write!(out, "{id}  {}/{quality}  {}  {}", pin.channel, pin.span.start(), pin.span.end())?;
    write!(out, "  {at} {}", by.escape_debug())?;
    match reason {
        Some(reason) => writeln!(out, ": {}", reason.escape_debug()),
        None => writeln!(out),
    }
}
