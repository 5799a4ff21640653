//! `segvault losses`: what was lost and why, from the ledger and the record, with no node running.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;

use super::Failure;
use super::config::EXIT_OK;
use super::place::{ChosenStreams, PlaceArgs, StreamsArgs};
use crate::model::{LossCause, Quality, duration_text};
use crate::select::StandingLoss;
use crate::select::losses::missing_micros;
use crate::store::{self, LossLine};

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct LossesArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    streams: StreamsArgs,
    /// Print one object: {"seconds": {CAUSE: SECONDS, …}, "losses": [{"quality", "start", "end", "cause", …}, …]}.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &LossesArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let ChosenStreams { qualities, within } = args.streams.choose(&layout, &[&layout, &layout.losses()])?;
    let mut found = Vec::new();
    for quality in qualities {
        let losses =
            store::losses(&layout, &args.streams.channel, &quality, within).context("cannot read the ledger")?;
        found.push((quality, losses));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = if args.json { print_json(&mut out, &found) } else { print_table(&mut out, &found) };
    printed.and_then(|()| out.flush()).context("cannot print")?;
    Ok(EXIT_OK)
}

type Found = [(Quality, Vec<StandingLoss>)];

fn missing(found: &Found) -> BTreeMap<LossCause, i64> {
    let mut missing: BTreeMap<LossCause, i64> = BTreeMap::new();
    for (cause, micros) in found.iter().flat_map(|(_, losses)| missing_micros(losses)) {
        *missing.entry(cause).or_default() += micros;
    }
    missing
}

fn print_table(out: &mut impl Write, found: &Found) -> io::Result<()> {
    let missing = missing(found);
    for (cause, micros) in &missing {
        writeln!(out, "{:<15}{:>14} s", cause.as_str(), duration_text(*micros))?;
    }
    writeln!(out, "{:<15}{:>14} s", "missing", duration_text(missing.values().sum()))?;
    for (quality, losses) in found {
        if !losses.is_empty() {
            writeln!(out, "\n{quality}")?;
        }
        for StandingLoss { loss, filled } in losses {
            let cause = if *filled { format!("{}, filled", loss.cause) } else { loss.cause.to_string() };
            let seconds = duration_text(loss.span.end().micros_since(loss.span.start()));
            let line =
                format!("{}  {}  {seconds:>12} s  {cause:<22}  {}", loss.span.start(), loss.span.end(), loss.detail);
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Row {
    quality: String,
    #[serde(flatten)]
    loss: LossLine,
}

fn print_json(out: &mut impl Write, found: &Found) -> io::Result<()> {
    let seconds: BTreeMap<&str, f64> =
        missing(found).into_iter().map(|(cause, micros)| (cause.as_str(), micros as f64 / 1e6)).collect();
    let row = |quality: &Quality, loss| Row { quality: quality.to_string(), loss: LossLine::from(loss) };
    let rows: Vec<Row> =
        found.iter().flat_map(|(quality, losses)| losses.iter().map(move |loss| row(quality, loss))).collect();
    writeln!(out, "{}", json!({ "seconds": seconds, "losses": rows }))
}
