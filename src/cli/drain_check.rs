//! `segvault drain-check`: whether this node may be stopped for good. Works on the directory, beside a running node or
//! without one.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::config::EXIT_OK;
use super::nodes::{NodeArgs, Nodes, block_on};
use super::place::PlaceArgs;
use super::{EXIT_FAILED, Failure};
use crate::causes::chain;
use crate::model::{Channel, HashedName, Quality, duration_text};
use crate::peers::{OnlyHere, only_here};
use crate::store::{self, Layout};

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

/// What only this node has of a quality.
struct Stream {
    channel: Channel,
    quality: Quality,
    hours: Vec<OnlyHere>,
}

pub fn run(args: &DrainCheckArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let known = args.nodes.known(&args.place, &layout)?;
    let access = args.place.access()?;
    let (streams, silent) = block_on(async {
        let nodes = Nodes::ask(known, &layout, &access).await;
        nodes.tell_silent();
        if nodes.there.is_empty() {
            eprintln!("segvault: no other node answers");
        }
        let mut silent: BTreeSet<String> = nodes.silent.iter().map(|(url, _)| url.to_string()).collect();
        let mut streams = Vec::new();
        for (channel, quality) in store::streams(&layout).context("cannot read the record")? {
            streams.push(examine(&layout, &nodes, channel, quality, &mut silent).await?);
        }
        Ok((streams, silent))
    })?;
    let may_stop = streams.iter().all(|stream| stream.hours.iter().all(OnlyHere::is_nothing));
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = if args.json {
        let rows: Vec<Value> = streams.iter().filter(|stream| stream.files() > 0).map(Stream::json).collect();
        writeln!(out, "{}", json!({ "may_stop": may_stop, "silent": silent, "streams": rows }))
    } else {
        print(&mut out, &streams, may_stop)
    };
    printed.and_then(|()| out.flush()).context("cannot print")?;
    Ok(if may_stop { EXIT_OK } else { EXIT_FAILED })
}

async fn examine(
    layout: &Layout,
    nodes: &Nodes,
    channel: Channel,
    quality: Quality,
    silent: &mut BTreeSet<String>,
) -> anyhow::Result<Stream> {
    let mut hours = Vec::new();
    for hour in store::hours(layout, &channel, &quality).context("cannot read the record")? {
        let listing = store::list_hour(layout, &channel, &quality, hour).context("cannot read the record")?;
        let ours: Vec<HashedName> = listing.visible().filter_map(|name| HashedName::parse(hour, name).ok()).collect();
        if ours.is_empty() {
            continue;
        }
        let mut failed = |peer: &crate::peers::Peer, error: crate::peers::PeerError| {
            if silent.insert(peer.url().to_string()) {
                eprintln!("segvault: {}: {}", peer.url(), chain(&error));
            }
        };
        let found = only_here(&nodes.there, &channel, &quality, hour, &ours, &mut failed).await;
        if !found.files.is_empty() {
            hours.push(found);
        }
    }
    Ok(Stream { channel, quality, hours })
}

impl Stream {
    fn micros(&self) -> i64 {
        self.hours.iter().map(OnlyHere::micros).sum()
    }

    fn files(&self) -> usize {
        self.hours.iter().map(|hour| hour.files.len()).sum()
    }

    fn chat(&self) -> usize {
        self.hours.iter().map(OnlyHere::chat).sum()
    }

    fn json(&self) -> Value {
        let spans = self.hours.iter().flat_map(|hour| &hour.spans);
        let spans: Vec<Value> = spans.map(|span| json!([span.start().to_string(), span.end().to_string()])).collect();
        json!({
            "channel": self.channel.as_str(),
            "quality": self.quality.as_str(),
            "seconds": self.micros() as f64 / 1e6,
            "files": self.files(),
            "chat": self.chat(),
            "spans": spans,
        })
    }
}

fn print(out: &mut impl Write, streams: &[Stream], may_stop: bool) -> io::Result<()> {
    for stream in streams.iter().filter(|stream| stream.files() > 0) {
        let (seconds, files) = (duration_text(stream.micros()), stream.files());
        writeln!(
            out,
            "{}/{}  {seconds} s only here, in {files} files that nobody else has",
            stream.channel, stream.quality
        )?;
        for span in stream.hours.iter().flat_map(|hour| &hour.spans) {
            writeln!(out, "    {}  {}", span.start(), span.end())?;
        }
    }
    writeln!(out, "{}", if may_stop { "may be stopped" } else { "must not be stopped" })
}
