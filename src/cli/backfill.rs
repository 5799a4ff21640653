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
use super::place::PlaceArgs;
use super::run::install_tls;
use super::{EXIT_FAILED, Failure};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::config::parse_duration;
use crate::model::{BadName, Channel, PeerUrl, Quality, Timestamp};
use crate::peers::{Claims, Copier, Pass, PassReport, Peer, Remembered, Throttle, Window};
use crate::store::{Layout, TempMark, Volume};
use progress::Progress;

/// Files at once. Each waits for the disk most of its time, and disks flush many at once nearly as fast as one.
const AT_ONCE: usize = 32;
/// Pieces of disk work that end after an interruption get so long.
const LAST_WRITES: Duration = Duration::from_secs(2);

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct BackfillArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The node to copy from, such as http://alpha:8000; one of wubloader will do.
    #[arg(long, value_name = "URL")]
    from: PeerUrl,
    /// What to copy; without it, all that the node has.
    #[arg(value_name = "CHANNEL[/QUALITY]")]
    streams: Vec<Wish>,
    /// Only what is not older: a time in UTC, or an age such as 14d.
    #[arg(long, value_name = "T", value_parser = parse_since)]
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

#[derive(Debug, Clone, Copy)]
pub(super) enum Since {
    Time(Timestamp),
    Age(Duration),
}

impl Since {
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Age(age) => now.plus_micros(-i64::try_from(age.as_micros()).unwrap_or(i64::MAX)),
        }
    }
}

pub(super) fn parse_since(text: &str) -> Result<Since, String> {
    let age = parse_duration(text).map(Since::Age);
    age.or_else(|_| text.parse().map(Since::Time)).map_err(|_| "write a time in UTC, or an age such as 14d".to_owned())
}

pub fn run(args: &BackfillArgs) -> Result<u8, Failure> {
    let layout = args.place.layout()?;
    let volume = own_volume(&layout).context("cannot use the directory")?;
    install_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let done = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            done = backfill(args, layout, volume) => done,
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

async fn backfill(args: &BackfillArgs, layout: Layout, volume: Option<Volume>) -> anyhow::Result<u8> {
    let began = Instant::now();
    let peer = Peer::new(args.from.clone());
    let copier = Copier {
        layout,
        volume,
        blocking: Blocking::new(AT_ONCE),
        claims: Claims::default(),
        throttle: Throttle::default(),
        mark: TempMark::of_this_process(),
        min_free_bytes: 0,
    };
    let since = args.since.map(|since| since.before(Clock::system().now()));
    let streams = streams(&peer, &args.streams).await?;
    let progress = Progress::begin();
    let mut total = PassReport::default();
    let mut told = Vec::new();
    let mut has_failed = false;
    for (channel, quality) in streams {
        let pass = Pass {
            copier: copier.clone(),
            peer: peer.clone(),
            channel: channel.clone(),
            quality: quality.clone(),
            window: Window { since, ..Window::default() },
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            at_once: AT_ONCE,
        };
        let mut report = PassReport::default();
        let done = pass.run(&mut Remembered::default(), &mut report, &|notice| progress.take(&notice)).await;
        if let Err(error) = &done {
            progress.tell(&format!("{channel}/{quality}: {}", chain(error)));
        }
        has_failed |= done.is_err() || report.failed_files > 0;
        total.add(&report);
        told.push((channel, quality, report));
    }
    drop(progress);
    let seconds = began.elapsed().as_secs_f64();
    if args.json {
        let stream = |(channel, quality, report): &(Channel, Quality, PassReport)| {
            let mut value = figures(report);
            value["channel"] = channel.as_str().into();
            value["quality"] = quality.as_str().into();
            value
        };
        let mut value = figures(&total);
        value["seconds"] = seconds.into();
        value["streams"] = told.iter().map(stream).collect();
        println!("{value}");
    } else {
        for (channel, quality, report) in &told {
            println!("{channel}/{quality}: {}", words(report));
        }
    }
    Ok(if has_failed { EXIT_FAILED } else { EXIT_OK })
}

/// What is wished for, as far as the node has it.
async fn streams(peer: &Peer, wishes: &[Wish]) -> anyhow::Result<Vec<(Channel, Quality)>> {
    let mut wishes = wishes.to_vec();
    if wishes.is_empty() {
        let (channels, _) = peer.channels().await.with_context(|| format!("cannot copy from {}", peer.url()))?;
        wishes = channels.into_iter().map(|channel| Wish { channel, quality: None }).collect();
    }
    let mut streams = Vec::new();
    for Wish { channel, quality } in wishes {
        let (qualities, _) =
            peer.qualities(&channel).await.with_context(|| format!("cannot copy from {}", peer.url()))?;
        let wanted: Vec<Quality> =
            qualities.into_iter().filter(|one| quality.as_ref().is_none_or(|wanted| wanted == one)).collect();
        if wanted.is_empty() {
            // A mistyped name should not look like a copy that is complete.
            let what = quality.map_or(channel.to_string(), |quality| format!("{channel}/{quality}"));
            anyhow::bail!("{} has nothing of {what}", peer.url());
        }
        streams.extend(wanted.into_iter().map(|quality| (channel.clone(), quality)));
    }
    Ok(streams)
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
