//! `segvault backfill`: copies from a node what a directory lacks. Needs no node on this side; one that runs does no harm.
//!
//! Promises: what was copied stays if the rest fails or is interrupted, and the next call goes on from there.

mod progress;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use super::config::EXIT_OK;
use super::nodes::{Nodes, known_nodes};
use super::place::PlaceArgs;
use super::run::install_tls;
use super::{EXIT_FAILED, Failure, print_line};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::config::{BackfillConfig, Since};
use crate::model::{BadName, Channel, CopyOrder, PeerUrl, Quality};
use crate::peers::{
    Claims, Copier, Finisher, Pass, PassReport, Peer, PeerAccess, PeerError, Remembered, Roots, Throttle, Window,
};
use crate::store::{Digests, Layout, TempMark, Volume};
use progress::Progress;

/// For half of this the peer is not asked again what it has.
const ROOT_INTERVAL: Duration = Duration::from_secs(120);
/// Files at once. Each waits for the disk most of its time, and disks flush many at once nearly as fast as one.
const AT_ONCE: usize = 32;
/// Pieces of disk work that end after an interruption get so long.
const LAST_WRITES: Duration = Duration::from_secs(2);

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct BackfillArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The node to copy from, such as http://alpha:8000; one of wubloader will do. Without it all others, one after the
    /// other: those of the configuration, and those that a node here has found by its file, DNS or database.
    #[arg(long, value_name = "URL")]
    from: Option<PeerUrl>,
    /// What to copy; without it, all that the node has.
    #[arg(value_name = "CHANNEL[/QUALITY]")]
    streams: Vec<Wish>,
    /// Only what is not older: a time in UTC, or an age such as 14d. Where all others are copied from, backfill.since is the
    /// default.
    #[arg(long, value_name = "T")]
    since: Option<Since>,
    /// At the end print one object: {"copied_files", "copied_bytes", "tombstones", "failed_files", "refused_names",
    /// "seconds", "streams"}.
    #[arg(long)]
    json: bool,
}

/// A channel, or one of its qualities.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    channel: Channel,
    quality: Option<Quality>,
}

impl Wish {
    pub fn is_for(&self, channel: &Channel, quality: &Quality) -> bool {
        self.channel == *channel && self.quality.as_ref().is_none_or(|wished| wished == quality)
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.quality {
            Some(quality) => write!(f, "{}/{quality}", self.channel),
            None => self.channel.fmt(f),
        }
    }
}

impl FromStr for Wish {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let (channel, quality) = match text.split_once('/') {
            Some((channel, quality)) => (channel, Some(quality.parse()?)),
            None => (text, None),
        };
        Ok(Self { channel: channel.parse()?, quality })
    }
}

/// Whom to copy from, and what of it.
struct Plan {
    peers: Vec<Peer>,
    since: Option<Since>,
    order: CopyOrder,
    /// Nodes that do not answer.
    silent: usize,
}

impl Plan {
    /// Names on standard error who does not answer.
    async fn of(
        args: &BackfillArgs,
        config: Option<BackfillConfig>,
        access: &PeerAccess,
        layout: &Layout,
    ) -> anyhow::Result<Self> {
        let Some(config) = config else {
            let peers = args.from.iter().cloned().map(|url| Peer::new(url, access)).collect();
            return Ok(Self { peers, since: args.since, order: CopyOrder::default(), silent: 0 });
        };
        let known = known_nodes(config.peers, layout);
        if known.is_empty() {
            anyhow::bail!("no other node is known; name one with --from");
        }
        let nodes = Nodes::ask(known, layout, access).await;
        nodes.tell_silent();
        let silent = nodes.silent.len();
        Ok(Self { peers: nodes.there, since: args.since.or(config.since), order: config.order, silent })
    }
}

pub fn run(args: &BackfillArgs) -> Result<u8, Failure> {
    let config = if args.from.is_some() { None } else { Some(args.place.config()?.backfill) };
    let access = args.place.access()?;
    let layout = args.place.layout()?;
    let volume = own_volume(&layout).context("cannot use the directory")?;
    install_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let done = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            done = backfill(args, config, &access, layout, volume) => done,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot listen to signals")?;
                Err(anyhow::anyhow!("interrupted; what was copied is kept, the same command goes on from there"))
            }
        }
    });
    // What is being written is deleted when its writer has ended.
    runtime.shutdown_timeout(LAST_WRITES);
    Ok(done?)
}

/// A directory that is no node's has no word by which to know it again.
pub(super) fn own_volume(layout: &Layout) -> anyhow::Result<Option<Volume>> {
    let own_dir: &Path = &layout.own_dir();
    Ok(if own_dir.is_dir() { Some(Volume::adopt(layout)?) } else { None })
}

async fn backfill(
    args: &BackfillArgs,
    config: Option<BackfillConfig>,
    access: &PeerAccess,
    layout: Layout,
    volume: Option<Volume>,
) -> anyhow::Result<u8> {
    let began = Instant::now();
    let plan = Plan::of(args, config, access, &layout).await?;
    let copier = Copier {
        layout,
        volume,
        blocking: Blocking::new(AT_ONCE),
        finisher: Finisher::default(),
        claims: Claims::default(),
        throttle: Throttle::default(),
        mark: TempMark::of_this_process(),
        min_free_bytes: 0,
    };
    let roots = Roots::new(ROOT_INTERVAL);
    // Each is kept until the end.
    let _held: Vec<_> = plan.peers.iter().map(|peer| roots.of(peer.url())).collect();
    let digests = Digests::new(copier.layout.clone(), copier.blocking.clone());
    let since = plan.since.map(|since| since.at(Clock::system().now()));
    let (streams, unlisted) = all_streams(&plan.peers, &args.streams).await?;
    let progress = Progress::begin();
    let mut total = PassReport::default();
    let mut told = Vec::new();
    let mut has_failed = plan.silent > 0 || unlisted > 0;
    for (peer, channel, quality) in streams {
        let pass = Pass {
            copier: copier.clone(),
            digests: digests.clone(),
            digests_max_age: Duration::ZERO,
            root: roots.of(peer.url()),
            peer: peer.clone(),
            channel: channel.clone(),
            quality: quality.clone(),
            window: Window { since, order: plan.order, ..Window::default() },
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            at_once: AT_ONCE,
        };
        let mut report = PassReport::default();
        let done = pass.run(&mut Remembered::default(), &mut report, &|notice| progress.take(&notice)).await;
        if let Err(error) = &done {
            progress.tell(&format!("{}: {}", stream_text(args, &peer, &channel, &quality), chain(error)));
        }
        has_failed |= done.is_err() || report.failed_files > 0;
        total.add(&report);
        told.push((peer, channel, quality, report));
    }
    drop(progress);
    let seconds = began.elapsed().as_secs_f64();
    if args.json {
        let stream = |(peer, channel, quality, report): &(Peer, Channel, Quality, PassReport)| {
            let mut value = figures(report);
            value["node"] = peer.url().to_string().into();
            value["channel"] = channel.as_str().into();
            value["quality"] = quality.as_str().into();
            value
        };
        let mut value = figures(&total);
        value["seconds"] = seconds.into();
        value["streams"] = told.iter().map(stream).collect();
        print_line(value)?;
    } else {
        for (peer, channel, quality, report) in &told {
            print_line(format_args!("{}: {}", stream_text(args, peer, channel, quality), words(report)))?;
        }
    }
    Ok(if has_failed { EXIT_FAILED } else { EXIT_OK })
}

/// What is wished for, as far as the nodes have it, and how many of several did not list what they have.
async fn all_streams(peers: &[Peer], wishes: &[Wish]) -> anyhow::Result<(Vec<(Peer, Channel, Quality)>, usize)> {
    let (mut all, mut unlisted) = (Vec::new(), 0);
    for peer in peers {
        match streams(peer, wishes).await.with_context(|| format!("cannot copy from {}", peer.url())) {
            Ok(found) => all.extend(found.into_iter().map(|(channel, quality)| (peer.clone(), channel, quality))),
            Err(error) if peers.len() == 1 => return Err(error),
            Err(error) => {
                eprintln!("segvault: {error:#}");
                unlisted += 1;
            }
        }
    }
    // A mistyped name should not look like a copy that is complete.
    let lacks = |wish: &&Wish| !all.iter().any(|(_, channel, quality)| wish.is_for(channel, quality));
    if let Some(wish) = wishes.iter().find(lacks) {
        match peers {
            [peer] => anyhow::bail!("{} has nothing of {wish}", peer.url()),
            _ => anyhow::bail!("nobody who answers has anything of {wish}"),
        }
    }
    Ok((all, unlisted))
}

/// The same of one node.
async fn streams(peer: &Peer, wishes: &[Wish]) -> Result<Vec<(Channel, Quality)>, PeerError> {
    let mut wishes = wishes.to_vec();
    if wishes.is_empty() {
        let (channels, _) = peer.channels().await?;
        wishes = channels.into_iter().map(|channel| Wish { channel, quality: None }).collect();
    }
    let mut streams = Vec::new();
    for wish in wishes {
        let (qualities, _) = peer.qualities(&wish.channel).await?;
        let wanted = qualities.into_iter().filter(|quality| wish.is_for(&wish.channel, quality));
        streams.extend(wanted.map(|quality| (wish.channel.clone(), quality)));
    }
    Ok(streams)
}

/// Whose it is, only where there may be several.
fn stream_text(args: &BackfillArgs, peer: &Peer, channel: &Channel, quality: &Quality) -> String {
    let of = if args.from.is_some() { String::new() } else { format!(" of {}", peer.url()) };
    format!("{channel}/{quality}{of}")
}

fn figures(report: &PassReport) -> Value {
    json!({
        "copied_files": report.copied_files,
        "copied_bytes": report.copied_bytes,
        "tombstones": report.tombstones,
        "failed_files": report.failed_files,
        "refused_names": report.refused_names,
    })
}

fn words(report: &PassReport) -> String {
    let mut words = format!("{} files copied, {} bytes", report.copied_files, report.copied_bytes);
    for (count, what) in [
        (report.tombstones as u64, "tombstones taken over"),
        (report.failed_files, "files failed"),
        (report.refused_names as u64, "names refused"),
    ] {
        if count > 0 {
            words += &format!(", {count} {what}");
        }
    }
    words
}
