//! `segvault coverage`: how much of a channel is there, hour by hour, and what is missing; with no node running.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Failure;
use super::config::EXIT_OK;
use super::place::{ChosenStreams, PlaceArgs, StreamsArgs};
use crate::model::{Quality, Span, duration_text};
use crate::png;
use crate::select::{HourCoverage, Map, Report, StreamCoverage, coverage_span};
use crate::store;

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct CoverageArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    streams: StreamsArgs,
    /// Print one object: {QUALITY: {"start", "end", "missing_seconds", "lost_seconds", "holes": […], "hours": […]}, …}.
    #[arg(long)]
    json: bool,
    /// Write a map as a PNG: two seconds a pixel downwards, ten minutes a column. Takes one QUALITY.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

struct Found {
    quality: Quality,
    stream: StreamCoverage,
    /// `None` where there is nothing.
    report: Option<Report>,
}

pub fn run(args: &CoverageArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let config = args.place.config()?.coverage;
    let ChosenStreams { mut qualities, within } = args.streams.choose(&layout, &[&layout])?;
    qualities.retain(|quality| quality.as_str() != "chat");
    let channel = &args.streams.channel;
    let look = |quality: Quality| -> anyhow::Result<Found> {
        let stream = store::coverage(&layout, channel, &quality).context("cannot read the record")?;
        let (start, end) = (within.map(Span::start), within.map(Span::end));
        let report = match coverage_span(&stream, start, end) {
            None => None,
            Some(span) => {
                let losses = store::losses(&layout, channel, &quality, Some(span)).context("cannot read the ledger")?;
                let standing: Vec<_> = losses.into_iter().filter(|standing| !standing.filled).collect();
                Some(Report::new(&stream, span, &standing))
            }
        };
        Ok(Found { quality, stream, report })
    };
    let found = qualities.into_iter().map(look).collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(file) = &args.png {
        let [Found { stream, report, .. }] = &found[..] else {
            return Err(Failure::Usage("a map is of one quality; name it".into()));
        };
        let hours = match report.as_ref().filter(|_| within.is_some()) {
            Some(report) => Some((report.span.start().hour(), report.span.end().plus_micros(-1).hour())),
            None => stream.latest_hours(config.map_hours()),
        };
        let (first, last) = hours.context("nothing is recorded")?;
        let map = stream.map(first, last, &config.off(channel));
        let picture = png::write(map.width(), Map::HEIGHT, &Map::PALETTE, &map.rows());
        std::fs::write(file, picture).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = if args.json { print_json(&mut out, &found) } else { print_table(&mut out, &found) };
    printed.and_then(|()| out.flush()).context("cannot print")?;
    Ok(EXIT_OK)
}

fn print_json(out: &mut impl Write, found: &[Found]) -> io::Result<()> {
    let reports: serde_json::Map<String, Value> = found
        .iter()
        .map(|found| (found.quality.to_string(), found.report.as_ref().map_or(Value::Null, Report::to_json)))
        .collect();
    writeln!(out, "{}", json!(reports))
}

fn print_table(out: &mut impl Write, found: &[Found]) -> io::Result<()> {
    for Found { quality, report, .. } in found {
        let Some(report) = report else {
            writeln!(out, "{quality}: nothing is recorded")?;
            continue;
        };
        let (missing, lost) = (duration_text(report.missing_micros()), duration_text(report.lost_micros()));
        writeln!(
            out,
            "{quality}  {}  {}  {missing} s missing, {lost} s of it noted as lost",
            report.span.start(),
            report.span.end()
        )?;
        writeln!(
            out,
            "  {:<13}  {:>9}  {:>9}  {:>6}  {:>7}  {:>7}  {:>8}  {:>5}",
            "hour", "shown s", "to cut s", "full", "suspect", "partial", "overlaps", "bad"
        )?;
        for of in &report.hours {
            print_hour(out, of)?;
        }
        for hole in &report.holes {
            let causes: Vec<String> = hole
                .lost_micros
                .iter()
                .map(|(cause, micros)| format!("{cause} {} s", duration_text(*micros)))
                .collect();
            let length = duration_text(hole.span.end().micros_since(hole.span.start()));
            let line =
                format!("  missing  {}  {}  {length:>12} s  {}", hole.span.start(), hole.span.end(), causes.join(", "));
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    Ok(())
}

fn print_hour(out: &mut impl Write, of: &HourCoverage) -> io::Result<()> {
    let overlaps = of.full.overlap_count + of.suspect.overlap_count + of.partial.overlap_count;
    let seconds = |micros: i64| format!("{:.3}", micros as f64 / 1e6);
    writeln!(
        out,
        "  {:<13}  {:>9}  {:>9}  {:>6}  {:>7}  {:>7}  {overlaps:>8}  {:>5}",
        of.hour.to_string(),
        seconds(of.raw_micros),
        seconds(of.editable_micros),
        of.full.count,
        of.suspect.count,
        of.partial.count,
        of.bad_names
    )
}
