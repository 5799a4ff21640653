//! `segvault retention`: what would be deleted now. Deletes nothing; that is the running node's.

use std::io::{self, BufWriter, Write};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Failure;
use super::config::EXIT_OK;
use super::nodes::{NodeArgs, Nodes, block_on};
use super::place::PlaceArgs;
use crate::actors::{Going, Horizons, Made, SpacePass, Unproven, each_aged, pins};
use crate::blocking::Blocking;
use crate::clock::Clock;
use crate::config::RetentionConfig;
use crate::model::Timestamp;
use crate::peers::PeerAccess;
use crate::store::{self, Layout};

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct RetentionArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    nodes: NodeArgs,
    /// Print one object: {"free_bytes", "missing_bytes", "hours": [{"channel", "quality", "hour", "cause", "files", "bytes"},
    /// …]}.
    #[arg(long)]
    json: bool,
}

/// What of an hour would go, and why.
struct Row {
    cause: &'static str,
    going: Going,
}

pub fn run(args: &RetentionArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let config = args.place.config()?.retention;
    let wall = Clock::system().now();
    let now = store::read_aging(&layout).map_or(wall, |clock| clock.look(wall, config.interval).now());
    if now < wall {
        eprintln!("segvault: the clock is far ahead of the node's last look; age counts from {now}");
    }
    let mut rows = aged(&layout, &config, now).map_err(Failure::Other)?;
    let free = store::free_bytes(&layout).context("cannot look at the disk")?;
    let min_free = config.min_free.map_or(0, |size| size.bytes());
    let by_age: u64 = rows.iter().filter(|row| row.cause == "age").map(|row| bytes(&row.going)).sum();
    let missing_bytes = min_free.saturating_sub(free.saturating_add(by_age));
    let mut short = None;
    if missing_bytes > 0 {
        let known = args.nodes.known(&args.place, &layout)?;
        let access = args.place.access()?;
        let (more, made) = block_on(spare(&layout, &config, now, missing_bytes, known, &access))?;
        // What is too old is on that list already.
        let is_new = |going: &Going| rows.iter().all(|row| row.going.of != going.of);
        let more: Vec<Going> = more.into_iter().filter(is_new).collect();
        rows.extend(more.into_iter().map(|going| Row { cause: "space", going }));
        short = Some(made).filter(|made| made.missing_bytes > 0);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        let missing = short.as_ref().map_or(0, |made| made.missing_bytes);
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        writeln!(out, "{}", json!({ "free_bytes": free, "missing_bytes": missing, "hours": rows }))
            .context("cannot print")?;
    } else {
        rows.iter().try_for_each(|row| row.print(&mut out)).context("cannot print")?;
    }
    out.flush().context("cannot print")?;
    if let Some(Made { missing_bytes, unproven_hours, .. }) = short {
        eprintln!(
            "segvault: {missing_bytes} bytes are missing that nothing may be deleted for; too few other nodes hold {unproven_hours} hours whole (retention.min_copies = {})",
            config.min_copies
        );
    }
    Ok(EXIT_OK)
}

fn aged(layout: &Layout, config: &RetentionConfig, now: Timestamp) -> anyhow::Result<Vec<Row>> {
    let pins = pins(layout).context("cannot read what is pinned; nothing would go")?;
    let mut rows = Vec::new();
    each_aged(layout, &|channel| config.max_age(channel), now, &pins, &mut |going| {
        rows.push(Row { cause: "age", going });
        Ok(true)
    })
    .context("cannot read the record")?;
    each_aged(&layout.quarantine(), &|channel| config.quarantine_max_age(channel), now, &pins, &mut |going| {
        rows.push(Row { cause: "quarantine", going });
        Ok(true)
    })
    .context("cannot read quarantine")?;
    Ok(rows)
}

async fn spare(
    layout: &Layout,
    config: &RetentionConfig,
    now: Timestamp,
    missing_bytes: u64,
    known: Vec<crate::model::PeerUrl>,
    access: &PeerAccess,
) -> anyhow::Result<(Vec<Going>, Made)> {
    let nodes = Nodes::ask(known, layout, access).await;
    nodes.tell_silent();
    let pass = SpacePass {
        layout: layout.clone(),
        blocking: Blocking::new(1),
        peers: nodes.there,
        min_copies: config.min_copies as usize,
        now,
        missing_bytes,
        is_dry_run: true,
    };
    let mut going = Vec::new();
    let made = pass.run(&mut Unproven::default(), &Horizons::default(), &mut |one| going.push(one.clone())).await?;
    Ok((going, made))
}

fn bytes(going: &Going) -> u64 {
    going.files.iter().map(|file| file.size_bytes).sum()
}

impl Row {
    fn json(&self) -> Value {
        let of = &self.going.of;
        json!({
            "channel": of.channel.as_str(),
            "quality": of.quality.as_str(),
            "hour": of.hour.to_string(),
            "cause": self.cause,
            "files": self.going.files.len(),
            "bytes": bytes(&self.going),
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let of = &self.going.of;
        let (files, bytes) = (self.going.files.len(), bytes(&self.going));
        writeln!(out, "{}/{}/{}  {}  {files} files  {bytes} bytes", of.channel, of.quality, of.hour, self.cause)
    }
}
