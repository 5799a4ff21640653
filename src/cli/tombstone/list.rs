//! `segvault tombstone list`.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::super::config::EXIT_OK;
use super::super::place::PlaceArgs;
use super::{Failure, Hidden, WhichArgs};
use crate::model::Channel;
use crate::store::{self, Layout, Reason};

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    which: WhichArgs,
    /// Print one object: {"tombstones": [{"tombstone": "CHANNEL/QUALITY/HOUR/NAME", "bytes", "at", "by", "reason"}, …]}.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ListArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let found = args.which.find(&layout)?;
    let mut reasons = Reasons::default();
    let mut rows = Vec::new();
    let mut out = BufWriter::new(io::stdout().lock());
    for hidden in &found {
        let states = store::tombstone_states(&layout, &hidden.channel, &hidden.quality, hidden.hour)
            .context("cannot read the record")?;
        for name in &hidden.names {
            let has_bytes = states.get(name).copied().unwrap_or(false);
            let reason = reasons.of(&layout, hidden, name);
            if args.json {
                rows.push(row(hidden, name, has_bytes, reason));
            } else {
                print(&mut out, hidden, name, has_bytes, reason).context("cannot print")?;
            }
        }
    }
    if args.json {
        writeln!(out, "{}", json!({ "tombstones": rows })).context("cannot print")?;
    }
    out.flush().context("cannot print")?;
    Ok(EXIT_OK)
}

fn row(hidden: &Hidden, name: &str, has_bytes: bool, reason: Option<&Reason>) -> Value {
    let mut row = json!({ "tombstone": hidden.path_text(name), "bytes": has_bytes });
    if let Some(Reason { at, by, reason, .. }) = reason {
        row["at"] = at.as_str().into();
        row["by"] = by.as_str().into();
        row["reason"] = reason.as_deref().into();
    }
    row
}

fn print(
    out: &mut impl Write,
    hidden: &Hidden,
    name: &str,
    has_bytes: bool,
    reason: Option<&Reason>,
) -> io::Result<()> {
    write!(out, "{}  {}", hidden.path_text(name), if has_bytes { "bytes are here" } else { "no bytes" })?;
    if let Some(Reason { at, by, reason, .. }) = reason {
        write!(out, "  {at} {}", by.escape_debug())?;
        if let Some(reason) = reason {
            write!(out, ": {}", reason.escape_debug())?;
        }
    }
    writeln!(out)
}

/// What is known of each tombstone, by channel; the last word counts.
#[derive(Default)]
struct Reasons(HashMap<Channel, HashMap<String, Reason>>);

impl Reasons {
    fn of(&mut self, layout: &Layout, hidden: &Hidden, name: &str) -> Option<&Reason> {
        let of_channel = self.0.entry(hidden.channel.clone()).or_insert_with(|| {
            let all = store::read_reasons(layout, &hidden.channel);
            all.into_iter().map(|reason| (reason.tombstone.clone(), reason)).collect()
        });
        of_channel.get(&format!("{}/{}/{name}", hidden.quality, hidden.hour))
    }
}
