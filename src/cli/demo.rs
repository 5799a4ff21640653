//! `segvault demo`: a live test source and a node that records it, on this machine, and where to look.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep, timeout};

use super::config::EXIT_OK;
use super::run::{install_tls, stop_at_once_on_a_second, until_stop};
use super::{Failure, print_line};
use crate::clock::Clock;
use crate::config::{Config, parse_duration};
use crate::log::Log;
use crate::model::{Channel, Quality, Timestamp};
use crate::node::{Node, NodeError};
use crate::rehearsal::{Program, ReelSpec, Source, SourceHandle, SourceSpec};
use crate::shutdown::Signals;
use crate::store::{self, Layout};

/// Where the node listens if nobody else does.
const USUAL_PORT: u16 = 8000;
/// How much must be recorded before there is something worth a cut.
const ENOUGH_TO_CUT: Duration = Duration::from_secs(8);
/// A source that plays nothing for this long will not.
const NOTHING_AFTER: Duration = Duration::from_secs(60);
const CHANNEL: &str = "demo";

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Where the record is kept, and stays after the demo.
    #[arg(long, value_name = "DIR", default_value = "segvault-demo")]
    dir: PathBuf,
    /// Stop by itself after this long, such as 90s or 10m; without it at ^C.
    #[arg(long, value_name = "T", value_parser = parse_duration)]
    duration: Option<Duration>,
}

pub fn run(args: DemoArgs) -> Result<u8, Failure> {
    let clock = Clock::system();
    let dir = std::path::absolute(&args.dir).context("cannot find the working directory")?;
    let spec = ReelSpec::default();
    let source = start_source(&dir, &spec)?;
    let qualities: Vec<&Quality> = spec.renditions.iter().map(|rendition| &rendition.quality).collect();
    let config = |port: u16| {
        let sets = [
            format!("node.name={CHANNEL}"),
            format!("node.dir={}", dir.join("record").display()),
            format!("node.listen={}", SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            "log.level=warning".to_owned(),
            format!("channel.0.name={CHANNEL}"),
            format!("channel.0.hls={}", source.url()),
            format!("channel.0.qualities={qualities:?}"),
        ];
        Config::load(None, &sets, std::iter::empty()).map(|loaded| loaded.config)
    };
    let (usual, any_port) = (config(USUAL_PORT)?, config(0)?);
    let log = Log::start(usual.log.format, usual.log.level, clock.clone());
    log.bridge_libraries();
    log.report_panics();
    install_tls();
    actix::System::new().block_on(async {
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        let started = match Node::start(&usual, &log, clock.clone()).await {
            Err(NodeError::Listen { .. }) => Node::start(&any_port, &log, clock.clone()).await,
            started => started,
        };
        let node = started.context("cannot start the node")?;
        let end = args.duration.map(|duration| Instant::now() + duration);
        let show = async {
            let newest = wait_for_record(&Layout::new(&usual.node.dir), &source).await?;
            print_where_to_look(&node, &source, &spec, &usual.node.dir, newest)?;
            std::future::pending::<anyhow::Result<()>>().await
        };
        let stop = until_stop_or(&mut signals, &log, end);
        let shown = tokio::select! {
            shown = show => shown,
            () = stop => Ok(()),
        };
        stop_at_once_on_a_second(signals, log.logger.clone());
        node.stop().await;
        source.stop();
        shown?;
        print_line(format_args!("\nStopped. The record is in {}.", dir.join("record").display()))?;
        Ok(EXIT_OK)
    })
}

fn start_source(dir: &Path, spec: &ReelSpec) -> anyhow::Result<SourceHandle> {
    print_line("Starting a live test source and a node that records it …")?;
    let program = Program::Live { spec: spec.clone(), directory: dir.join("source") };
    Source::start(SourceSpec::new(program)).context("cannot start the live test source")
}

async fn until_stop_or(signals: &mut Signals, log: &Log, end: Option<Instant>) {
    let stop = until_stop(signals, log);
    match end {
        Some(end) => {
            // Either way it is time to stop.
            let _ = tokio::time::timeout_at(end, stop).await;
        }
        None => stop.await,
    }
}

/// Waits until enough is on disk; answers the end of what there is.
async fn wait_for_record(layout: &Layout, source: &SourceHandle) -> anyhow::Result<Timestamp> {
    let (channel, quality): (Channel, Quality) =
        (CHANNEL.parse().expect("a plain word is a name"), "source".parse().expect("likewise"));
    let recorded = async {
        loop {
            if let Some(newest) = newest_end(layout, &channel, &quality)?
                && newest.saturating_since(source.origin()) >= ENOUGH_TO_CUT
            {
                return Ok(newest);
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    match timeout(NOTHING_AFTER, recorded).await {
        Ok(recorded) => recorded,
        Err(_) => Err(anyhow::anyhow!(
            "nothing was recorded within {} s: {}",
            NOTHING_AFTER.as_secs(),
            source.broken().unwrap_or_else(|| "see the log above".into())
        )),
    }
}

fn newest_end(layout: &Layout, channel: &Channel, quality: &Quality) -> anyhow::Result<Option<Timestamp>> {
    let Some(hour) = store::hours(layout, channel, quality)?.pop() else { return Ok(None) };
    let index = store::load_hour(layout, channel, quality, hour)?.index;
    Ok(index.best().next_back().map(|segment| segment.end()))
}

fn print_where_to_look(
    node: &Node,
    source: &SourceHandle,
    spec: &ReelSpec,
    record: &Path,
    newest: Timestamp,
) -> anyhow::Result<()> {
    let url = format!("http://{}", node.address());
    let program = std::env::current_exe().map_or_else(|_| "segvault".into(), |path| quoted(&path));
    // Not on whole seconds, so that the edges fall within segments and GOPs: the cut is exact all the same.
    let start = newest.plus_micros(-7_300_000);
    let end = start.plus_micros(5_000_000);
    let frame = |moment: Timestamp| spec.frame_rate.first_frame_at(moment.micros_since(source.origin()));
    let range = format!("{start},{end}");
    print_line(format_args!(
        "\nRecording. Frame numbers and times are burned into the picture.\n\n\
         Page     {url}/\n\
         Watch    any HLS player, for example\n\
         \x20          ffplay {url}/playlist/{CHANNEL}.m3u8\n\
         List     what is recorded\n\
         \x20          curl {url}/files/{CHANNEL}/source\n\
         \x20          {program} select --dir {record} {CHANNEL} source {start} {end}\n\
         Cut      exactly frames {first} to {last} (5 s)\n\
         \x20          {program} cut --url {url} {CHANNEL} source --range {range} -o demo-cut.ts\n\
         \x20          curl -o demo-cut.ts '{url}/cut/{CHANNEL}/source.ts?type=smart&start={start}&end={end}'\n\
         Picture  the first frame of that cut\n\
         \x20          curl -o demo-frame.png '{url}/frame/{CHANNEL}/source.png?timestamp={start}'\n\
         Numbers  {url}/metrics\n\
         Record   {record}\n\n\
         ^C stops.",
        record = quoted(record),
        first = frame(start),
        last = frame(end) - 1,
    ))
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
