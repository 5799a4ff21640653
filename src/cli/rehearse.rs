//! `segvault rehearse`: plays a scripted bad day to a node, and says what was lost of it and why.
//!
//! Promises: the exit code is 0 only where everything that could be had is there, byte for byte, and nothing wrong passes
//! for right.

mod examine;
mod own_node;
mod print;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::config::EXIT_OK;
use super::run::{install_tls, stop_at_once_on_a_second};
use super::{EXIT_FAILED, Failure};
use crate::clock::Clock;
use crate::log::{Format, Level, Log};
use crate::model::{Channel, Quality};
use crate::rehearsal::{QualityReport, Scenario, Stage};
use crate::shutdown::{Asked, Signals};
use examine::Examiner;
use own_node::OwnNode;

/// A node of our own is up within a second, but the machine may be busy.
const OWN_NODE_ASKS_WITHIN: Duration = Duration::from_secs(60);
/// Time for a person to configure a node.
const OTHER_NODE_ASKS_WITHIN: Duration = Duration::from_secs(15 * 60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two examinations, while a node may still be at work.
const EXAMINE_EVERY: Duration = Duration::from_secs(1);

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct RehearseArgs {
    /// The scenario, such as rehearsals/expired-token.toml.
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    /// A running node to play it to, such as http://alpha:8000; without it, one is started in a temporary directory.
    #[arg(long, value_name = "URL")]
    node: Option<Url>,
    /// Where the fake source listens; port 0 picks one.
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    listen: SocketAddr,
    /// The channel under which the node records it.
    #[arg(long, value_name = "NAME", default_value = "rehearsal")]
    channel: Channel,
    /// Where the video of the source is kept between runs; without it, it is encoded each time.
    #[arg(long, value_name = "DIR")]
    reels: Option<PathBuf>,
    /// Print one object: {"scenario", "channel", "nothing_avoidable_lost", "as_expected", "qualities": […]}.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &RehearseArgs) -> Result<u8, Failure> {
    let scenario = Scenario::load(&args.scenario)?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let reels = args.reels.clone().unwrap_or_else(|| directory.path().join("reels"));
    let stage = Stage::set(scenario, &reels, args.listen).context("cannot start the fake source")?;
    let stage = Arc::new(stage);
    let clock = Clock::system();
    // A bad day is full of warnings, and the source's own server logs each answer that it spoils as an error: what is worth
    // saying of it is the report.
    let log = Log::start(Format::Auto, Level::Error, clock.clone());
    log.report_panics();
    install_tls();
    actix::System::new().block_on(async {
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        let (node, url) = match &args.node {
            Some(url) => (None, url.clone()),
            None => {
                let own = OwnNode::start(&stage, &args.channel, &directory.path().join("record"), &log, clock).await?;
                let url = own.url()?;
                (Some(own), url)
            }
        };
        let play = play(args, &stage, &url, node.is_some());
        let played = tokio::select! {
            played = play => played.map(Some),
            () = stop_is_asked(&mut signals) => Ok(None),
        };
        if matches!(played, Ok(None)) {
            stop_at_once_on_a_second(signals, log.logger.clone());
        }
        if let Some(node) = node {
            node.stop().await;
        }
        let Some(reports) = played? else { return Err(anyhow::anyhow!("stopped before the end").into()) };
        print::print(args, &reports).context("cannot print")?;
        let is_good = reports.iter().all(QualityReport::is_good);
        Ok(if is_good { EXIT_OK } else { EXIT_FAILED })
    })
}

async fn stop_is_asked(signals: &mut Signals) {
    while signals.next().await != Asked::Stop {}
}

/// Waits until the node is there, plays the day, and examines the node until all is well or its time is over.
async fn play(args: &RehearseArgs, stage: &Arc<Stage>, url: &Url, is_own: bool) -> anyhow::Result<Vec<QualityReport>> {
    print::print_beginning(args, stage, is_own);
    let qualities = wait_for_recorder(stage, is_own).await?;
    stage.source().begin();
    sleep(stage.scenario().length + LOOK_EVERY).await;
    let end = Instant::now() + stage.scenario().settle;
    let mut examiner = Examiner::new(url, &args.channel, stage, &qualities).await?;
    loop {
        let examined = examiner.examine().await;
        let is_over = Instant::now() >= end;
        match examined {
            Ok(reports) if is_over || reports.iter().all(|report| report.is_good() && report.as_expected) => {
                return Ok(reports);
            }
            Err(error) if is_over => return Err(error.context("cannot examine the node")),
            Ok(_) | Err(_) => sleep(EXAMINE_EVERY).await,
        }
    }
}

/// The programme begins when somebody asks for its playlists: with our own node for all of them, else for one, and for as
/// many as come within the next moments.
async fn wait_for_recorder(stage: &Stage, is_own: bool) -> anyhow::Result<Vec<Quality>> {
    let patience = if is_own { OWN_NODE_ASKS_WITHIN } else { OTHER_NODE_ASKS_WITHIN };
    let all = stage.scenario().qualities.len();
    let asked = timeout(patience, async {
        loop {
            let asked = stage.asked_for().len();
            if asked == all || (asked > 0 && !is_own) {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        if !is_own {
            sleep(EXAMINE_EVERY).await;
        }
        stage.asked_for()
    });
    asked
        .await
        .with_context(|| format!("no recorder has asked for {} within {} s", stage.source().url(), patience.as_secs()))
}
