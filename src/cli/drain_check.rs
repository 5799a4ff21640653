//! `segvault drain-check`: whether this node may be stopped for good. Works on the directory, beside a running node or
//! without one.

use std::io::{self, BufWriter, Write};

use anyhow::Context as _;

use super::config::EXIT_OK;
use super::nodes::{NodeArgs, Nodes, block_on};
use super::place::PlaceArgs;
use super::{EXIT_FAILED, Failure};
use crate::blocking::Blocking;
use crate::model::duration_text;
use crate::peers::{DrainReport, drain_check};

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct DrainCheckArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    nodes: NodeArgs,
    /// Print one object: {"may_stop", "silent": [URL, …], "streams": [{"channel", "quality", "seconds", "files", "chat", "spans":
    /// [[START, END], …]}, …]}; only what nobody else has.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &DrainCheckArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let known = args.nodes.known(&args.place, &layout)?;
    let access = args.place.access()?;
    let report = block_on(async {
        let nodes = Nodes::ask(known, &layout, &access).await;
        nodes.tell_silent();
        if nodes.there.is_empty() {
            eprintln!("segvault: no other node answers");
        }
        let checked = drain_check(&layout, &Blocking::new(1), &nodes.there, &mut |_| {}).await;
        let mut report = checked.context("cannot read the record")?;
        for (url, why) in &report.silent {
            eprintln!("segvault: {url}: {why}");
        }
        report.silent.extend(nodes.silent);
        Ok(report)
    })?;
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = if args.json { writeln!(out, "{}", report.to_json()) } else { print(&mut out, &report) };
    printed.and_then(|()| out.flush()).context("cannot print")?;
    Ok(if report.may_stop() { EXIT_OK } else { EXIT_FAILED })
}

fn print(out: &mut impl Write, report: &DrainReport) -> io::Result<()> {
    for stream in report.lacking() {
        let (seconds, files) = (duration_text(stream.micros()), stream.files());
        writeln!(
            out,
            "{}/{}  {seconds} s only here, in {files} files that nobody else has",
            stream.channel, stream.quality
        )?;
        for span in stream.spans() {
            writeln!(out, "    {}  {}", span.start(), span.end())?;
        }
    }
    writeln!(out, "{}", if report.may_stop() { "may be stopped" } else { "must not be stopped" })
}
