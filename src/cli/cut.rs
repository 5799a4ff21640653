//! `segvault cut`: an exact video out of the record, of this machine's disk or of a node's.
//!
//! Promises: the file appears under its name only when it is whole; what a failure or ^C leaves is named, and gone on with
//! where its bytes are known to be those of the same cut.

mod output;
mod partial;
mod remote;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::LocalBoxStream;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use url::Url;

use super::Failure;
use super::config::EXIT_OK;
use super::node_token::TokenArgs;
use super::place::StreamArgs;
use super::run::install_tls;
use crate::blocking::Blocking;
use crate::config::Secret;
use crate::cut::{
    self, Begun, CutError, CutType, Ffmpeg, Fingerprint, Joint, KnownEncodings, Limits, OnChange, Outline, Piece, Plan,
    PlanError, Receipt, Record,
};
use crate::media::HourMedia;
use crate::model::Span;
use crate::select::{Part, Selection};
use crate::store::{self, Layout, Scratch, StoreError};
use output::{Output, Target};

/// One reads, one writes.
const BLOCKING_AT_ONCE: usize = 2;

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("record").required(true).args(["dir", "url"])))]
pub struct CutArgs {
    /// The directory of the record.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A node that has the record, such as http://alpha:8000.
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    stream: StreamArgs,
    /// What to cut, in UTC, such as 2026-01-02T03:04:05,2026-01-02T03:05:00.5 or 2026-01-02T03:04:05+1m30s; several follow
    /// each other.
    #[arg(long = "range", value_name = "START,END", required = true)]
    ranges: Vec<Span>,
    /// smart: exactly these frames, the edges re-encoded and the rest copied; mp4: the same in fragmented MP4; faststart: the
    /// same in MP4 whose index comes first. mpegts, webm: exactly these frames, all re-encoded. rough: whole segments, without
    /// ffmpeg; archive: the same in Matroska.
    #[arg(long = "type", value_name = "TYPE", default_value_t = CutType::Smart)]
    cut_type: CutType,
    /// How one range gives way to the next, such as fade,1 (seconds, taken off both); the first is between the first two, and
    /// an empty one is a hard cut. A wrong type is answered with all there are.
    #[arg(long = "transition", value_name = "TYPE,SECONDS")]
    transitions: Vec<Joint>,
    /// Pass over what is missing; without it, a hole is an error.
    #[arg(long)]
    allow_holes: bool,
    /// Where the source's encoding changes (its size, codec, sample rate): re-encode what differs from the first of it, or
    /// refuse to cut. A rough cut takes all as it is.
    #[arg(long, value_name = "reencode|refuse", default_value_t = OnChange::Reencode)]
    change: OnChange,
    /// The file to write; - is standard output. Until it is whole it is FILE.partial. A rough cut that was interrupted goes on where
    /// it stopped if it is asked for again, from a directory or a node; of any other type, all of it is made again.
    #[arg(short, long, value_name = "FILE", required_unless_present = "plan")]
    output: Option<Target>,
    /// Print what would be done instead of doing it: which segments are copied, which frames re-encoded. With --json as one
    /// object: {"type", "encodings", "pieces": [{"start", "end", "parts": [{"do": "copy" | "re-encode" | "convert" | "hole", …}]}]}.
    #[arg(long, conflicts_with_all = ["url", "output"])]
    plan: bool,
    /// At the end print one object: {"file", "bytes", "resumed_bytes", "type", "ranges", "holes", "receipt"} (on standard error
    /// after -o -); so many of its bytes are of an interrupted run. Holes and receipt are null where a node made the cut and says nothing of them.
    #[arg(long)]
    json: bool,
    /// Write down here, as JSON, what the cut shows: its frames, segments and holes, what was checked about it and what was
    /// found. Also of a cut that broke off.
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    receipt: Option<PathBuf>,
}

/// Bytes on their way from wherever.
struct Source {
    /// Of all of it.
    size_bytes: Option<u64>,
    /// How much at its start is there already and does not come.
    begins_at_bytes: u64,
    /// By which it can be gone on with.
    fingerprint: Option<Fingerprint>,
    receipt: ReceiptSource,
    bytes: LocalBoxStream<'static, anyhow::Result<Bytes>>,
}

/// Where the receipt is once the bytes have ended.
enum ReceiptSource {
    Here(Receipt),
    /// At a node, if it keeps any.
    At(Option<remote::ReceiptAt>),
}

impl ReceiptSource {
    /// `None` if a node made the cut and cannot be asked any more, or never could, or need not be.
    async fn json(&self, is_needed: bool) -> Option<Value> {
        match self {
            Self::Here(receipt) => Some(receipt.json()),
            Self::At(Some(at)) if is_needed => remote::receipt(at).await,
            Self::At(_) => None,
        }
    }
}

pub fn run(args: &CutArgs) -> Result<u8, Failure> {
    let pieces = cut::pieces(&args.ranges, &args.transitions).map_err(|error| Failure::Usage(error.to_string()))?;
    let layout = args.dir.as_deref().map(|dir| layout(dir, &args.stream)).transpose()?;
    let authorization = if args.url.is_some() { args.token.authorization()? } else { None };
    install_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let done = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            done = cut(args, &pieces, layout, authorization) => done,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot listen to signals")?;
                let left = args.output.as_ref().map(Target::what_is_left).unwrap_or_default();
                Err(anyhow::anyhow!("interrupted{left}"))
            }
        }
    });
    // A write to a pipe that nobody reads may never end; ^C must not wait for it.
    runtime.shutdown_background();
    Ok(done.map(|()| EXIT_OK)?)
}

/// Mistyped names should not look like an empty record.
fn layout(dir: &std::path::Path, stream: &StreamArgs) -> Result<Layout, Failure> {
    if !dir.is_dir() {
        return Err(Failure::Usage(format!("{} is no directory; give the record's with --dir", dir.display())));
    }
    let layout = Layout::new(dir);
    stream.check(&layout)?;
    Ok(layout)
}

async fn cut(
    args: &CutArgs,
    pieces: &[Piece<Span>],
    layout: Option<Layout>,
    authorization: Option<Secret>,
) -> anyhow::Result<()> {
    let Some(target) = &args.output else {
        let layout = layout.expect("clap wants --dir for a plan");
        return print_plan(&plan(args, pieces, &layout)?, args.json);
    };
    let blocking = Blocking::new(BLOCKING_AT_ONCE);
    let left = target.left()?;
    let begun = left.as_ref().and_then(|left| left.begun);
    let mut source = match layout {
        Some(layout) => local(args, pieces, layout, begun, blocking.clone()).await?,
        None => {
            let node = args.url.as_ref().expect("clap wants --dir or --url");
            remote::open(node, authorization, args, begun).await?
        }
    };
    if left.is_some() {
        writeln!(io::stderr(), "{}", how_it_begins(target, &source)).context("cannot print")?;
    }
    let resumed_bytes = source.begins_at_bytes;
    let mut output = Output::create(target, &source, left, blocking)?;
    let written = write(&mut source, &mut output).await;
    let receipt = source.receipt.json(args.json || args.receipt.is_some()).await;
    if let Some(path) = &args.receipt {
        write_receipt(path, receipt.as_ref()).await?;
    }
    written.map_err(|error| error.context(format!("the cut broke off{}", target.what_is_left())))?;
    let written_bytes = output.finish().await?;
    report(args, target, (written_bytes, resumed_bytes), receipt)
}

/// Where there is something of an earlier run.
fn how_it_begins(target: &Target, source: &Source) -> String {
    match (source.begins_at_bytes, source.fingerprint) {
        (0, None) => {
            format!("{target}.partial is made again from its start: only a rough cut goes on where it stopped")
        }
        (0, Some(_)) => {
            format!("{target}.partial is made again from its start: nothing in it is known to be of this cut")
        }
        (bytes, _) => format!("{target}.partial has the first {bytes} bytes; the rest follows"),
    }
}

async fn write(source: &mut Source, output: &mut Output) -> anyhow::Result<()> {
    while let Some(bytes) = source.bytes.next().await {
        output.write(bytes?).await?;
    }
    Ok(())
}

async fn write_receipt(path: &Path, receipt: Option<&Value>) -> anyhow::Result<()> {
    let receipt = receipt.context("the node gives no receipts; cut from its directory with --dir")?;
    let text = format!("{receipt:#}\n");
    tokio::task::spawn_blocking({
        let path = path.to_owned();
        move || std::fs::write(path, text)
    })
    .await?
    .with_context(|| format!("cannot write {}; choose another place with --receipt", path.display()))
}

fn plan(args: &CutArgs, pieces: &[Piece<Span>], layout: &Layout) -> anyhow::Result<Plan> {
    let StreamArgs { channel, quality } = &args.stream;
    let load = |span: &Span| store::load_span(layout, channel, quality, *span);
    let selected: Vec<_> =
        pieces.iter().map(|piece| piece.try_map(load)).collect::<Result<_, _>>().context("cannot read the record")?;
    let plan = Plan::new(args.cut_type, &selected, args.allow_holes).map_err(|error| advised(error.into()))?;
    let mut known = KnownEncodings::default();
    // A rough cut takes everything as it is.
    for selection in selected.iter().filter(|_| args.cut_type != CutType::Rough).flat_map(Piece::stretches) {
        learn_encodings(&args.stream, layout, selection, &mut known).context("cannot read the record")?;
    }
    plan.told(&known, args.change).map_err(|error| advised(error.into()))
}

/// Looks at the head of each segment that no node has looked at.
fn learn_encodings(
    stream: &StreamArgs,
    layout: &Layout,
    selection: &Selection,
    known: &mut KnownEncodings,
) -> Result<(), StoreError> {
    let StreamArgs { channel, quality } = stream;
    let mut media = Vec::new();
    for (index, parts) in selection.hours() {
        let mut knowledge = store::read_knowledge(layout, channel, quality, index.hour());
        let unknown: BTreeSet<&str> = knowledge.unknown(index).iter().map(|segment| segment.name).collect();
        for part in parts {
            let Part::Segment(segment) = selection.part(part) else { continue };
            if unknown.contains(segment.name)
                && let Some(looked_at) = store::look_at(layout, channel, quality, &segment.to_name())?
            {
                knowledge.learn(segment.name, looked_at.size_bytes, looked_at.media);
            }
        }
        media.push(Arc::new(HourMedia::new(index, &knowledge)));
    }
    known.see(selection, &media);
    Ok(())
}

fn print_plan(plan: &Plan, as_json: bool) -> anyhow::Result<()> {
    let outline = Outline(plan);
    let text = if as_json { outline.json().to_string() } else { outline.to_string() };
    writeln!(io::stdout(), "{text}").context("cannot print")
}

async fn local(
    args: &CutArgs,
    pieces: &[Piece<Span>],
    layout: Layout,
    begun: Option<Begun>,
    blocking: Blocking,
) -> anyhow::Result<Source> {
    let plan = plan(args, pieces, &layout)?;
    let StreamArgs { channel, quality } = args.stream.clone();
    let record = Record { layout, channel, quality, blocking };
    let ffmpeg = Ffmpeg::with_scratch("ffmpeg", Limits::default(), scratch(args.output.as_ref()));
    let stream = cut::start_after(record, ffmpeg, plan, begun).await.map_err(advised)?;
    let (size_bytes, begins_at_bytes, fingerprint) =
        (stream.size_bytes(), stream.begins_at_bytes(), stream.fingerprint());
    let receipt = ReceiptSource::Here(stream.receipt());
    let bytes = stream.map(|bytes| bytes.map_err(advised)).boxed_local();
    Ok(Source { size_bytes, begins_at_bytes, fingerprint, receipt, bytes })
}

/// On the disk where the video is to be: the record's may take no writes, and the system's own may be small.
fn scratch(target: Option<&Target>) -> Scratch {
    let beside = match target {
        Some(Target::File(path)) => path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        Some(Target::Stdout) | None => &std::env::temp_dir(),
    };
    Scratch::new(beside)
}

/// The error, and what to do about it.
fn advised(error: CutError) -> anyhow::Error {
    let advice = match &error {
        CutError::Plan(PlanError::Holes(_)) => "--allow-holes passes over them",
        CutError::Plan(PlanError::NoContent(_)) | CutError::NoFrames => "`segvault select` shows what there is",
        CutError::Plan(PlanError::Changes { .. }) => {
            "--change reencode makes a video alike, and --type rough takes it as it is"
        }
        CutError::FfmpegMissing { .. } => "install ffmpeg, or take whole segments with --type rough",
        CutError::Vanished { .. } | CutError::Tombstoned { .. } | CutError::Changed { .. } | CutError::Busy { .. } => {
            "try again"
        }
        CutError::Plan(PlanError::NoRanges | PlanError::NotOneRange | PlanError::NoBlends(_))
        | CutError::Unblendable { .. }
        | CutError::Unlike { .. }
        | CutError::MixedContainers { .. }
        | CutError::NotFragmented { .. }
        // These say themselves that a rough cut is possible.
        | CutError::NoStamps { .. }
        | CutError::Codec { .. }
        | CutError::Uncarried { .. }
        | CutError::Inexact { .. }
        | CutError::Check { .. }
        // This one names the other type.
        | CutError::NoRoom
        | CutError::Read { .. }
        | CutError::Store(_)
        | CutError::Panicked(_)
        | CutError::FfmpegFailed { .. }
        | CutError::FfmpegStalled { .. }
        | CutError::FfmpegPipe { .. }
        | CutError::Framing(_)
        | CutError::PictureTooLarge { .. } => return error.into(),
    };
    anyhow::anyhow!("{}; {advice}", crate::causes::chain(&error))
}

fn report(
    args: &CutArgs,
    target: &Target,
    (written_bytes, resumed_bytes): (u64, u64),
    receipt: Option<Value>,
) -> anyhow::Result<()> {
    let holes = receipt.as_ref().map(|receipt| receipt["holes"].clone());
    let text = if args.json {
        let range = |span: &Span| json!({ "start": span.start().to_string(), "end": span.end().to_string() });
        json!({
            "file": target.to_string(),
            "bytes": written_bytes,
            "resumed_bytes": resumed_bytes,
            "type": args.cut_type.as_str(),
            "ranges": args.ranges.iter().map(range).collect::<Vec<_>>(),
            "holes": holes,
            "receipt": receipt,
        })
        .to_string()
    } else {
        let time = |time: &Value| time.as_str().unwrap_or_default().to_owned();
        let passed_over =
            |hole: &Value| format!("\npassed over a hole from {} to {}", time(&hole["start"]), time(&hole["end"]));
        let holes = holes.as_ref().and_then(Value::as_array);
        let holes: Option<String> = holes.map(|holes| holes.iter().map(passed_over).collect());
        format!("{target}: {written_bytes} bytes{}", holes.unwrap_or_default())
    };
    target.tell(&text).context("cannot print")
}
