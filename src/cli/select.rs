//! `segvault select`: what a range shows, straight from the disk.

use std::io::{self, BufWriter, Write};

use anyhow::Context as _;
use serde::{Serialize, Serializer};

use super::Failure;
use super::config::EXIT_OK;
use super::place::{PlaceArgs, StreamArgs};
use crate::model::{Span, Timestamp};
use crate::select::{Part, Selection};
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
    let mut out = BufWriter::with_capacity(OUT_BYTES, io::stdout().lock());
    let printed = if args.json {
        serde_json::to_writer(&mut out, &Answer { segments: &selection })
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        selection.parts().try_for_each(|part| match part {
            Part::Segment(segment) => writeln!(out, "{}/{}", segment.hour, segment.name),
            Part::Hole(hole) if hole.start == hole.end => {
                writeln!(out, "# hole before {}, of unknown length", hole.end)
            }
            Part::Hole(hole) => writeln!(out, "# hole {} to {}", hole.start, hole.end),
        })
    };
    let printed = printed.and_then(|()| out.flush());
    printed.context("cannot print")?;
    Ok(EXIT_OK)
}

const OUT_BYTES: usize = 64 * 1024;

/// What `--json` prints, written as it is walked over: a week is 25 MB.
#[derive(Serialize)]
struct Answer<'s> {
    #[serde(serialize_with = "names_and_holes")]
    segments: &'s Selection,
}

fn names_and_holes<S: Serializer>(selection: &&Selection, serializer: S) -> Result<S::Ok, S::Error> {
    // The hour's text is made once for its many segments.
    let mut hour_text = None;
    serializer.collect_seq(selection.parts().map(|part| match part {
        Part::Hole(_) => None,
        Part::Segment(segment) => {
            if hour_text.as_ref().is_none_or(|(hour, _)| *hour != segment.hour) {
                hour_text = Some((segment.hour, segment.hour.to_string()));
            }
            hour_text.as_ref().map(|(_, hour)| format!("{hour}/{}", segment.name))
        }
    }))
}
