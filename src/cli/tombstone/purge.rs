//! `segvault tombstone purge`.

use std::io::{self, BufWriter, Write};

use anyhow::Context as _;

use super::super::EXIT_FAILED;
use super::super::config::EXIT_OK;
use super::super::nodes::{NodeArgs, Nodes, block_on};
use super::super::place::PlaceArgs;
use super::status::ask_hour;
use super::{Failure, Hidden, WhichArgs};
use crate::model::tombstone_of;
use crate::store::{self, HiddenFile, Layout};

#[derive(Debug, clap::Args)]
pub struct PurgeArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    nodes: NodeArgs,
    /// Do it. Without it, what would be deleted is printed.
    #[arg(long)]
    yes: bool,
    /// Also where a node lacks the tombstone or cannot be reached.
    #[arg(long)]
    force: bool,
}

/// What became of the files so far.
#[derive(Default)]
struct Count {
    files: u64,
    size_bytes: u64,
    /// Files that stay, as not every node has their tombstone.
    kept: u64,
}

pub fn run(args: &PurgeArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let found = args.which.find(&layout)?;
    let known = args.nodes.known(&args.place, &layout)?;
    let access = args.place.access()?;
    block_on(async {
        let nodes = Nodes::ask(known, &layout, &access).await;
        nodes.tell_silent();
        if nodes.count() == 0 {
            eprintln!("segvault: no other node is known");
        }
        let mut out = BufWriter::new(io::stdout().lock());
        let mut count = Count::default();
        for hidden in &found {
            let files = purge_hour(args, &layout, &nodes, hidden, &mut count).await?;
            for file in files {
                writeln!(out, "{}", hidden.path_text(&file.name)).context("cannot print")?;
            }
        }
        out.flush().context("cannot print")?;
        let Count { files, size_bytes, kept } = count;
        let done = if args.yes { "deleted" } else { "would be deleted; --yes does it" };
        eprintln!("{files} files, {size_bytes} bytes {done}");
        if kept > 0 {
            eprintln!(
                "segvault: {kept} files stay: not every node is known to have their tombstones; `tombstone status` names them, --force deletes nonetheless"
            );
            return Ok(EXIT_FAILED);
        }
        Ok(EXIT_OK)
    })
}

/// Answers the files that were deleted, or would be.
async fn purge_hour(
    args: &PurgeArgs,
    layout: &Layout,
    nodes: &Nodes,
    hidden: &Hidden,
    count: &mut Count,
) -> anyhow::Result<Vec<HiddenFile>> {
    let Hidden { channel, quality, hour, names } = hidden;
    let mut files = store::hidden_files(layout, channel, quality, *hour).context("cannot read the record")?;
    files.retain(|file| tombstone_of(&file.name).is_some_and(|tombstone| names.contains(&tombstone)));
    if files.is_empty() {
        return Ok(files);
    }
    if !args.force {
        let known = ask_hour(layout, nodes, hidden).await?;
        let is_everywhere = |file: &HiddenFile| {
            let tombstone = tombstone_of(&file.name);
            let known = known.iter().find(|known| Some(&known.name) == tombstone.as_ref());
            nodes.silent.is_empty() && known.is_some_and(|known| known.is_everywhere())
        };
        let all = files.len();
        files.retain(is_everywhere);
        count.kept += (all - files.len()) as u64;
    }
    if args.yes {
        let purged = store::purge(layout, channel, quality, *hour, &files)
            .with_context(|| format!("cannot delete all of {channel}/{quality}/{hour}"))?;
        count.files += purged.files;
        count.size_bytes += purged.size_bytes;
    } else {
        count.files += files.len() as u64;
        count.size_bytes += files.iter().map(|file| file.size_bytes).sum::<u64>();
    }
    Ok(files)
}
