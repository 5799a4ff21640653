//! `segvault tombstone add`.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;

use super::super::config::EXIT_OK;
use super::super::place::{PlaceArgs, user_name};
use super::{Failure, streams};
use crate::clock::Clock;
use crate::model::{
    Channel, FileName, HashedName, Hour, NameFields, Quality, SEGMENT_ENDING, Span, TOMBSTONE_ENDING, Timestamp,
    tombstone_of,
};
use crate::store::{self, Hiding, Layout, Wish};

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("range").args(["from", "to"]).multiple(true).requires_all(["from", "to"])))]
pub struct AddArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Segments as CHANNEL/QUALITY/HOUR/NAME, in the directory or from its root; or, with --from and --to, one channel.
    #[arg(value_name = "PATH|CHANNEL", required = true)]
    what: Vec<String>,
    /// Hide every version of everything that holds a moment of a range: all types, all qualities, chat and quarantine.
    #[arg(long, value_name = "T")]
    from: Option<Timestamp>,
    /// The end of the range.
    #[arg(long, value_name = "T")]
    to: Option<Timestamp>,
    /// Of a range only this quality.
    #[arg(long, requires = "range")]
    quality: Option<Quality>,
    /// Why; kept beside the record for `tombstone list`.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who; without it the user's name.
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Print what would be hidden, and hide nothing.
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &AddArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let wishes = match (args.from, args.to) {
        (Some(from), Some(to)) => {
            let span = Span::new(from, to).map_err(|error| Failure::Usage(error.to_string()))?;
            in_range(args, &layout, span)?
        }
        _ => by_path(&layout, &args.what)?,
    };
    let files: usize = wishes.iter().map(|wish| wish.names.len()).sum();
    eprintln!(
        "{files} file{} to hide{}",
        if files == 1 { "" } else { "s" },
        if args.dry_run { ", not done" } else { "" }
    );
    let mut out = io::stdout().lock();
    if args.dry_run {
        for wish in &wishes {
            print(&mut out, wish, |_| "").context("cannot print")?;
        }
        return Ok(EXIT_OK);
    }
    let hiding = Hiding {
        at: Clock::system().now(),
        by: args.author.clone().unwrap_or_else(user_name),
        reason: args.reason.clone(),
    };
    let mut printed = Ok(());
    let hidden = store::hide(&layout, &wishes, &hiding, |wish, are_new| {
        let remark = |at: usize| if are_new[at] { "" } else { " (was there)" };
        printed = std::mem::replace(&mut printed, Ok(())).and_then(|()| print(&mut out, wish, remark));
    });
    // What is not hidden matters more than what is not printed.
    hidden.map_err(anyhow::Error::from)?;
    printed.context("cannot print")?;
    Ok(EXIT_OK)
}

fn print(out: &mut impl Write, wish: &Wish, remark: impl Fn(usize) -> &'static str) -> io::Result<()> {
    let Wish { channel, quality, hour, names } = wish;
    let mut named = names.iter().enumerate();
    named.try_for_each(|(at, name)| writeln!(out, "{channel}/{quality}/{hour}/{name}{}", remark(at)))
}

/// All names are checked before the first is hidden: a typing error should not leave half of the work done.
fn by_path(layout: &Layout, paths: &[String]) -> Result<Vec<Wish>, Failure> {
    let mut wishes: Vec<Wish> = Vec::new();
    for path in paths {
        let (channel, quality, hour, name) = parse_path(layout, path)?;
        let same = |wish: &&mut Wish| (&wish.channel, &wish.quality, wish.hour) == (&channel, &quality, hour);
        match wishes.iter_mut().find(same) {
            Some(wish) => wish.names.push(name),
            None => wishes.push(Wish { channel, quality, hour, names: vec![name] }),
        }
    }
    for Wish { channel, quality, .. } in &wishes {
        let is_there = |place: &Layout| place.quality_dir(channel, quality).is_dir();
        if !is_there(layout) && !is_there(&layout.quarantine()) {
            let base = layout.base().display();
            return Err(Failure::Usage(format!("there is no {quality} of {channel} in {base}")));
        }
    }
    Ok(wishes)
}

/// CHANNEL/QUALITY/HOUR/NAME, of a segment or chat batch or already of a tombstone → the same of the tombstone. The file
/// need not be here: a node may be told before it has the bytes.
fn parse_path(layout: &Layout, path: &str) -> Result<(Channel, Quality, Hour, String), Failure> {
    let bad = |why: &str| {
        Failure::Usage(format!(
            "{path:?} is no segment: {why}; write it as CHANNEL/QUALITY/HOUR/NAME, or give a channel with --from and --to"
        ))
    };
    let within = Path::new(path).strip_prefix(layout.base()).unwrap_or(Path::new(path));
    let parts: Vec<&str> = within.to_str().unwrap_or_default().trim_start_matches("./").split('/').collect();
    let [channel, quality, hour, name] = parts[..] else { return Err(bad("it has other than four parts")) };
    let channel = channel.parse::<Channel>().map_err(|error| bad(&error.to_string()))?;
    let quality = quality.parse::<Quality>().map_err(|error| bad(&error.to_string()))?;
    let hour = hour.parse::<Hour>().map_err(|error| bad(&error.to_string()))?;
    let name = name.parse::<FileName>().map_err(|error| bad(&error.to_string()))?;
    if name.as_str().ends_with(TOMBSTONE_ENDING) {
        return Ok((channel, quality, hour, name.to_string()));
    }
    if name.as_str().ends_with(SEGMENT_ENDING) {
        NameFields::parse(name.as_str()).map_err(|error| bad(&error.to_string()))?;
    } else {
        HashedName::parse(hour, name.as_str()).map_err(|error| bad(&error.to_string()))?;
    }
    let tombstone = tombstone_of(name.as_str()).ok_or_else(|| bad("it has no ending"))?;
    Ok((channel, quality, hour, tombstone))
}

fn in_range(args: &AddArgs, layout: &Layout, span: Span) -> Result<Vec<Wish>, Failure> {
    let [channel] = &args.what[..] else {
        return Err(Failure::Usage("with --from and --to give one channel".to_owned()));
    };
    let channel: Channel = channel.parse().map_err(|error| Failure::Usage(format!("{channel:?}: {error}")))?;
    let streams = streams(layout, Some(&channel), args.quality.as_ref())?;
    let qualities: Vec<Quality> = streams.into_iter().map(|(_, quality)| quality).collect();
    let wished = store::wishes_in(layout, &channel, &qualities, span).context("cannot read the record")?;
    if wished.unfinished > 0 || span.end() > Clock::system().now() {
        eprintln!("segvault: what is still being recorded is not hidden; do the same again when it is over");
    }
    if wished.wishes.is_empty() {
        return Err(Failure::Usage(format!("nothing of {channel} lies in {span}")));
    }
    Ok(wished.wishes)
}
