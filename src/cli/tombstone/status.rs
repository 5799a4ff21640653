//! `segvault tombstone status`.

use std::io::{self, BufWriter, Write};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::super::config::EXIT_OK;
use super::super::nodes::{NodeArgs, Nodes, block_on};
use super::super::place::PlaceArgs;
use super::{Failure, Hidden, WhichArgs};
use crate::causes::chain;
use crate::peers::{TombstoneState, tombstone_state};
use crate::store::{self, Layout};

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    nodes: NodeArgs,
    /// Print one object: {"silent": {URL: WHY}, "tombstones": [{"tombstone", "bytes", "nodes": {URL: {"tombstone",
    /// "bytes"}}}, …]}; null means unknown.
    #[arg(long)]
    json: bool,
}

/// What is known of one tombstone.
pub(super) struct Known {
    pub name: String,
    /// Whether bytes of it are on this node.
    pub has_bytes: bool,
    /// By the order of `Nodes::there`; `None` where the node did not answer.
    pub elsewhere: Vec<Option<TombstoneState>>,
}

impl Known {
    /// Whether all these nodes have the tombstone.
    pub fn is_everywhere(&self) -> bool {
        self.elsewhere.iter().all(|state| state.is_some_and(|state| state.has_tombstone))
    }
}

/// Asks all nodes for the tombstones of an hour. What fails is told once, on standard error.
pub(super) async fn ask_hour(layout: &Layout, nodes: &Nodes, hidden: &Hidden) -> anyhow::Result<Vec<Known>> {
    let Hidden { channel, quality, hour, names } = hidden;
    let here = store::tombstone_states(layout, channel, quality, *hour).context("cannot read the record")?;
    let asked = nodes.there.iter().map(|peer| tombstone_state(peer, channel, quality, *hour, names));
    let answers = futures_util::future::join_all(asked).await;
    for (peer, answer) in nodes.there.iter().zip(&answers) {
        if let Err(error) = answer {
            eprintln!("segvault: {}: {}", peer.url(), chain(error));
        }
    }
    let known = names.iter().enumerate().map(|(at, name)| Known {
        name: name.clone(),
        has_bytes: here.get(name).copied().unwrap_or(false),
        elsewhere: answers.iter().map(|answer| answer.as_ref().ok().map(|states| states[at])).collect(),
    });
    Ok(known.collect())
}

pub fn run(args: &StatusArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let found = args.which.find(&layout)?;
    let known = args.nodes.known(&args.place, &layout)?;
    let access = args.place.access()?;
    block_on(async {
        let nodes = Nodes::ask(known, &layout, &access).await;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut rows = Vec::new();
        for hidden in &found {
            for known in ask_hour(&layout, &nodes, hidden).await? {
                if args.json {
                    rows.push(row(&nodes, hidden, &known));
                } else {
                    print(&mut out, &nodes, hidden, &known).context("cannot print")?;
                }
            }
        }
        if args.json {
            let silent: Map<String, Value> =
                nodes.silent.iter().map(|(url, why)| (url.to_string(), why.as_str().into())).collect();
            writeln!(out, "{}", json!({ "silent": silent, "tombstones": rows })).context("cannot print")?;
        } else {
            nodes.tell_silent();
        }
        out.flush().context("cannot print")
    })?;
    Ok(EXIT_OK)
}

fn row(nodes: &Nodes, hidden: &Hidden, known: &Known) -> Value {
    let state = |state: &Option<TombstoneState>| match state {
        Some(TombstoneState { has_tombstone, has_bytes }) => {
            json!({ "tombstone": has_tombstone, "bytes": has_bytes })
        }
        None => Value::Null,
    };
    let asked = nodes.there.iter().map(|peer| peer.url()).zip(known.elsewhere.iter().map(state));
    let silent = nodes.silent.iter().map(|(url, _)| (url, Value::Null));
    let elsewhere: Map<String, Value> = asked.chain(silent).map(|(url, state)| (url.to_string(), state)).collect();
    json!({ "tombstone": hidden.path_text(&known.name), "bytes": known.has_bytes, "nodes": elsewhere })
}

fn print(out: &mut impl Write, nodes: &Nodes, hidden: &Hidden, known: &Known) -> io::Result<()> {
    writeln!(out, "{}", hidden.path_text(&known.name))?;
    writeln!(out, "    here  {}", if known.has_bytes { "bytes are here" } else { "no bytes" })?;
    for (peer, state) in nodes.there.iter().zip(&known.elsewhere) {
        let said = match state {
            None => "does not answer".to_owned(),
            Some(TombstoneState { has_tombstone, has_bytes }) => {
                let tombstone = if *has_tombstone { "has the tombstone" } else { "HAS NO TOMBSTONE" };
                let bytes = match has_bytes {
                    Some(true) => "still holds the bytes",
                    Some(false) => "no bytes",
                    None => "it is unknown whether it holds the bytes",
                };
                format!("{tombstone}, {bytes}")
            }
        };
        writeln!(out, "    {}  {said}", peer.url())?;
    }
    for (url, _) in &nodes.silent {
        writeln!(out, "    {url}  cannot be reached")?;
    }
    Ok(())
}
