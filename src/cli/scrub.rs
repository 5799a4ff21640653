//! `segvault scrub`: compares every file with the hash in its name, by hand. Works beside a running node or without one.
//!
//! Promises: what is wrong leaves the record for quarantine, and nothing is deleted; without a node, what a killed one left
//! as `temp` is kept as `partial`, too. Whatever was done stays if the rest fails or is interrupted.

mod report;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt};
use tokio::task::LocalSet;

use super::backfill::{Wish, own_volume};
use super::config::EXIT_OK;
use super::place::PlaceArgs;
use super::run::install_tls;
use super::{EXIT_FAILED, Failure};
use crate::blocking::Blocking;
use crate::causes::chain;
use crate::clock::Clock;
use crate::config::Since;
use crate::metrics::Damage;
use crate::model::{Loss, LossCause, LossDetail, NodeName, PeerUrl, Timestamp};
use crate::peers::{Claims, Copier, Finisher, Outcome, Peer, PeerAccess, Throttle};
use crate::store::{self, Checked, Layout, Recovery, Scrubbed, StoreError, StoredFile, StreamHour, TempMark, Volume};
use report::{Bad, Report, Tally};

/// Files at once, where there are as many cores: more readers than this only make a disk seek.
const MOST_AT_ONCE: usize = 4;
/// So many files in a row that cannot be read are a disk that fails, and not files that went bad.
const MOST_UNREADABLE: u32 = 5;
/// Pieces of disk work that end after an interruption get so long.
const LAST_WORK: Duration = Duration::from_secs(2);

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct ScrubArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// What to check; without it, the whole record.
    #[arg(value_name = "CHANNEL[/QUALITY]")]
    streams: Vec<Wish>,
    /// Only what is not older: a time in UTC, or an age such as 14d.
    #[arg(long, value_name = "T")]
    since: Option<Since>,
    /// Fetch what went bad, now or earlier, from this node, such as http://beta:8000; may be repeated.
    #[arg(long, value_name = "URL")]
    repair_from: Vec<PeerUrl>,
    /// Only say what is wrong.
    #[arg(long, conflicts_with = "repair_from")]
    dry_run: bool,
    /// At the end print one object: {"files", "bytes", "bad", "recovered_temps", "failed_files", "seconds"}; "bad" is a list
    /// of {"file", "cause", "repaired_from"}.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ScrubArgs) -> Result<u8, Failure> {
    let access = args.place.access()?;
    let layout = args.place.layout()?;
    let volume = own_volume(&layout).context("cannot use the directory")?;
    install_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let done = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            done = Scrub::new(args, access, layout, volume).run() => done,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot listen to signals")?;
                Err(anyhow::anyhow!("interrupted; what went bad so far is in quarantine"))
            }
        }
    });
    runtime.shutdown_timeout(LAST_WORK);
    Ok(done?)
}

/// One run of the command.
struct Scrub<'a> {
    args: &'a ScrubArgs,
    access: PeerAccess,
    layout: Layout,
    volume: Option<Volume>,
    blocking: Blocking,
    at_once: usize,
    clock: Clock,
    since: Option<Timestamp>,
    mark: TempMark,
    tally: Tally,
    report: Report,
}

impl<'a> Scrub<'a> {
    fn new(args: &'a ScrubArgs, access: PeerAccess, layout: Layout, volume: Option<Volume>) -> Self {
        let clock = Clock::system();
        let since = args.since.map(|since| since.at(clock.now()));
        let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE);
        Self {
            args,
            access,
            layout,
            volume,
            blocking: Blocking::new(at_once),
            at_once,
            clock,
            since,
            mark: TempMark::of_this_process(),
            tally: Tally::begin(),
            report: Report::default(),
        }
    }

    async fn run(mut self) -> anyhow::Result<u8> {
        let began = Instant::now();
        let hours = self.hours().await?;
        self.tally.hours(hours.len());
        for hour in &hours {
            if !self.args.dry_run && self.volume.is_some() {
                self.recover(hour).await?;
            }
            self.check_hour(hour).await?;
            self.tally.hour_done(self.report.bytes, began.elapsed());
        }
        if !self.args.repair_from.is_empty() {
            self.repair(&hours).await?;
        }
        self.tally.end();
        self.report.print(began.elapsed(), self.args.json)?;
        Ok(if self.report.is_good() { EXIT_OK } else { EXIT_FAILED })
    }

    /// Those that are wished for. Of what does not exist it is said: a mistyped name should not look like a good record.
    async fn hours(&self) -> anyhow::Result<Vec<StreamHour>> {
        let layout = self.layout.clone();
        let mut hours = self.blocking.run(move || store::stream_hours(&layout)).await??;
        for wish in &self.args.streams {
            if !hours.iter().any(|of| wish.is_for(&of.channel, &of.quality)) {
                anyhow::bail!("there is nothing of {wish} in {}", self.layout.base().display());
            }
        }
        let is_wished = |of: &StreamHour| {
            let is_named = self.args.streams.iter().any(|wish| wish.is_for(&of.channel, &of.quality));
            let is_young = self.since.is_none_or(|since| of.hour >= since.hour().previous());
            (self.args.streams.is_empty() || is_named) && is_young
        };
        hours.retain(is_wished);
        Ok(hours)
    }

    /// Keeps what a killed node, or one of the existing system, left behind. A node that runs does so itself.
    async fn recover(&mut self, of: &StreamHour) -> anyhow::Result<()> {
        let (layout, mark, of) = (self.layout.clone(), self.mark.clone(), of.clone());
        let recover = move || {
            // Held for an hour's temps only: a node that is to start waits for so long, and then has temps of its own.
            let Some(_lock) = store::try_lock(&layout)? else { return Ok((Recovery::default(), Vec::new())) };
            let mut failed = Vec::new();
            store::recover_hour(&layout, &of.channel, &of.quality, of.hour, &mark, |error| failed.push(error))
                .map(|recovery| (recovery, failed))
        };
        let (recovery, failed) = self.blocking.run(recover).await??;
        for error in failed {
            self.tally.tell(&format!("a temp is left as it is: {}", chain(&error)));
        }
        for left in &recovery.recovered {
            self.tally.tell(&format!("kept what a killed process left: {}/{}", left.channel, left.name.path_text()));
        }
        self.report.recovered_temps += recovery.recovered.len();
        Ok(())
    }

    async fn check_hour(&mut self, of: &StreamHour) -> anyhow::Result<()> {
        let (layout, of) = (self.layout.clone(), of.clone());
        let mut files = self.blocking.run(move || store::files_of(&layout, &of)).await??;
        files.retain(|file| self.since.is_none_or(|since| file.name.end() >= since));
        let (layout, volume, clock) = (self.layout.clone(), self.volume.clone(), self.clock.clone());
        let (blocking, dry_run) = (self.blocking.clone(), self.args.dry_run);
        let mut looked = stream::iter(files)
            .map(move |file| {
                let (layout, volume, now) = (layout.clone(), volume.clone(), clock.now());
                blocking.run(move || {
                    let scrubbed = if dry_run {
                        store::check(&layout, &file).map(Looked::from)
                    } else {
                        store::scrub(&layout, volume.as_ref(), &file, now).map(Looked::from)
                    };
                    (file, scrubbed)
                })
            })
            .buffer_unordered(self.at_once);
        while let Some(done) = looked.next().await {
            let (file, looked) = done?;
            self.take(file, looked)?;
        }
        Ok(())
    }

    fn take(&mut self, file: StoredFile, looked: Result<Looked, StoreError>) -> anyhow::Result<()> {
        match looked {
            Ok(Looked { bytes: None, .. }) => {}
            Ok(Looked { bytes: Some(bytes), damage }) => {
                self.report.files += 1;
                self.report.bytes += bytes;
                let is_unreadable = damage == Some(Damage::Unreadable);
                self.report.unreadable_in_a_row = if is_unreadable { self.report.unreadable_in_a_row + 1 } else { 0 };
                if let Some(damage) = damage {
                    self.tell_bad(file, damage);
                }
            }
            Err(error) => {
                self.report.failed_files += 1;
                self.tally.tell(&format!("{} was not checked: {}", file.path_text(), chain(&error)));
            }
        }
        if self.report.unreadable_in_a_row >= MOST_UNREADABLE {
            anyhow::bail!("one file after the other cannot be read: the disk fails, see the kernel's log");
        }
        Ok(())
    }

    fn tell_bad(&mut self, file: StoredFile, damage: Damage) {
        let done = if self.args.dry_run { "is bad" } else { "went bad, and is in quarantine" };
        self.tally.tell(&format!("{} {done} ({})", file.path_text(), damage.as_str()));
        if !self.args.dry_run
            && let Err(error) = self.note_loss(&file, damage)
        {
            self.tally.tell(&format!("the loss is not in the ledger: {}", chain(&error)));
        }
        self.report.bad.push(Bad { file, damage, repaired_from: None });
    }

    /// A directory that is no node's has no ledger.
    fn note_loss(&self, file: &StoredFile, damage: Damage) -> Result<(), StoreError> {
        let (Some(volume), Some(span)) = (&self.volume, file.shown_span()) else { return Ok(()) };
        volume.check()?;
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let node = host_name.parse().unwrap_or_else(|_| "scrub".parse::<NodeName>().expect("it is a name"));
        let detail = LossDetail::new(damage.as_str());
        let loss = Loss { span, cause: LossCause::Corrupt, noticed: self.clock.now(), node, detail };
        store::note_losses(&self.layout, &file.channel, &file.quality, &[loss])
    }

    /// Fetches whatever went bad and is not in the record, from the first node that has it.
    async fn repair(&mut self, hours: &[StreamHour]) -> anyhow::Result<()> {
        let streams: BTreeSet<_> = hours.iter().map(|of| (of.channel.clone(), of.quality.clone())).collect();
        for (channel, quality) in streams {
            let layout = self.layout.clone();
            let earlier = self.blocking.run(move || store::bad_files(&layout, &channel, &quality)).await??;
            for bad in earlier.into_iter().filter(|bad| self.since.is_none_or(|since| bad.file.name.end() >= since)) {
                let is_known = self.report.bad.iter().any(|known| known.file == bad.file);
                if !is_known && !bad.file.path(&self.layout).exists() {
                    self.report.bad.push(Bad { file: bad.file, damage: bad.damage, repaired_from: None });
                }
            }
        }
        let copier = Copier {
            layout: self.layout.clone(),
            volume: self.volume.clone(),
            blocking: self.blocking.clone(),
            finisher: Finisher::default(),
            claims: Claims::default(),
            throttle: Throttle::default(),
            mark: self.mark.clone(),
            min_free_bytes: 0,
        };
        let access = &self.access;
        let peers: Vec<Peer> = self.args.repair_from.iter().map(|url| Peer::new(url.clone(), access)).collect();
        for bad in &mut self.report.bad {
            bad.repaired_from = repair_one(&copier, &peers, &bad.file, &self.tally).await;
            if let Some(from) = &bad.repaired_from {
                self.tally.tell(&format!("{} is whole again, from {from}", bad.file.path_text()));
            }
        }
        Ok(())
    }
}

async fn repair_one(copier: &Copier, peers: &[Peer], file: &StoredFile, tally: &Tally) -> Option<PeerUrl> {
    for peer in peers {
        match copier.copy(peer, &file.channel, &file.quality, &file.name).await {
            // Not needed: a node that runs here got it meanwhile; or somebody hid it, then nobody needs it.
            Ok(Outcome::Copied { .. } | Outcome::NotNeeded) => return Some(peer.url().clone()),
            Ok(Outcome::Gone | Outcome::UnderWay | Outcome::Yielded) => {
                tally.tell(&format!("{} does not have {}", peer.url(), file.path_text()));
            }
            Err(error) => tally.tell(&chain(&error)),
        }
    }
    None
}

/// What was found of a file, moved or not; no bytes of one that is gone.
struct Looked {
    bytes: Option<u64>,
    damage: Option<Damage>,
}

impl From<Checked> for Looked {
    fn from(checked: Checked) -> Self {
        match checked {
            Checked::Good { bytes } => Self { bytes: Some(bytes), damage: None },
            Checked::Bad { bytes, damage } => Self { bytes: Some(bytes), damage: Some(damage) },
            Checked::Gone => Self { bytes: None, damage: None },
        }
    }
}

impl From<Scrubbed> for Looked {
    fn from(scrubbed: Scrubbed) -> Self {
        match scrubbed {
            Scrubbed::Good { bytes } => Self { bytes: Some(bytes), damage: None },
            Scrubbed::SetAside { bytes, damage, .. } => Self { bytes: Some(bytes), damage: Some(damage) },
            Scrubbed::Gone => Self { bytes: None, damage: None },
        }
    }
}
