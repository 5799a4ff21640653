//! `segvault events`: events in the database of the configuration, with no node running; or those of a node, over HTTP.

mod remote;

use std::io::{self, Write};

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::task::LocalSet;
use url::Url;

use super::Failure;
use super::config::{ConfigArgs, EXIT_OK};
use super::db::advice;
use super::node_token::TokenArgs;
use super::run::install_tls;
use crate::causes::chain;
use crate::clock::Clock;
use crate::db::{Author, Changed, Db, DbError, EventFilter, MAX_PAGE};
use crate::edits::{self, Patch};
use crate::model::{Email, Event, EventId, EventState, EventStep, Refusal, SheetFields, Timestamp};

/// What to do with events.
#[derive(Debug, clap::Subcommand)]
pub enum EventsCommand {
    /// List events, by their start.
    List(ListArgs),
    /// Show everything about an event but its image.
    Show(OneArgs),
    /// Note an event.
    Add(FieldsArgs),
    /// Change an event; with --state EDITED it is ready to be cut.
    Edit(EditArgs),
    /// File an event again that failed, or waits after a failure, as it was edited.
    Retry(OneArgs),
    /// Take an event back that is not published yet.
    Cancel(OneArgs),
    /// Forget what became of an event, published or not; look after its video yourself.
    Reset(OneArgs),
    /// Print who did what to an event, and when.
    History(OneArgs),
}

// No doc comment: clap would show it in place of the command's own description.
#[derive(Debug, clap::Args)]
pub struct CommonArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Ask this node, such as http://alpha:8000, in place of a database. A change is put down to whose token it is.
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "set", "by"])]
    url: Option<Url>,
    #[command(flatten)]
    token: TokenArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Whom the history puts a change down to.
    #[arg(long, value_name = "WHO", default_value = "operator")]
    by: Email,
}

// Likewise.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only those in this state. Repeatable.
    #[arg(long)]
    state: Vec<EventState>,
    /// Only those that start then or later.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only those that start before.
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Only those with this text in their id, description, title, category, notes or tags.
    #[arg(long)]
    text: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    common: CommonArgs,
}

// Likewise.
#[derive(Debug, clap::Args)]
pub struct OneArgs {
    /// The event.
    id: EventId,
    #[command(flatten)]
    common: CommonArgs,
}

// Likewise.
#[derive(Debug, clap::Args)]
pub struct FieldsArgs {
    /// The event.
    id: EventId,
    /// Fields and their values, in JSON or as they stand: event_start=2026-01-02T03:04:05 'tags=["Day 1"]'.
    #[arg(value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    #[command(flatten)]
    common: CommonArgs,
}

// Likewise.
#[derive(Debug, clap::Args)]
pub struct EditArgs {
    #[command(flatten)]
    fields: FieldsArgs,
    /// The step to take: EDITED, UNEDITED (a draft), or MODIFIED.
    #[arg(long)]
    state: Option<EventState>,
    /// Only if the event is still of this version.
    #[arg(long)]
    version: Option<i64>,
}

impl EventsCommand {
    fn common(&self) -> &CommonArgs {
        match self {
            Self::List(args) => &args.common,
            Self::Add(args) => &args.common,
            Self::Edit(args) => &args.fields.common,
            Self::Show(args) | Self::Retry(args) | Self::Cancel(args) | Self::Reset(args) | Self::History(args) => {
                &args.common
            }
        }
    }
}

/// What was answered, as text and as JSON.
struct Answer {
    text: String,
    json: Value,
}

/// Runs the command. Blocks.
pub fn run(command: EventsCommand) -> Result<u8, Failure> {
    let is_json = command.common().json;
    let answer = match &command.common().url {
        Some(url) => at_node(url.clone(), &command)?,
        None => in_database(&command)?,
    };
    let mut out = io::stdout().lock();
    let text = if is_json { format!("{}\n", answer.json) } else { answer.text };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot print")?;
    Ok(EXIT_OK)
}

fn in_database(command: &EventsCommand) -> Result<Answer, Failure> {
    let database = command.common().config.load()?.config.database.database;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().context("cannot start")?;
    let db = Db::new(&database);
    let answer = runtime.block_on(answer(&db, command));
    // A thread that still waits for the server must not hold up the exit.
    runtime.shutdown_background();
    answer
}

fn at_node(url: Url, command: &EventsCommand) -> Result<Answer, Failure> {
    let authorization = command.common().token.authorization()?;
    install_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    LocalSet::new().block_on(&runtime, async { remote::Node::new(url, authorization).answer(command).await })
}

async fn answer(db: &Db, command: &EventsCommand) -> Result<Answer, Failure> {
    let failed = |error: DbError| {
        let advice = advice(&error, db.engine());
        Failure::Other(anyhow!("{} at {}: {}\n{advice}", db.engine(), db.address(), chain(&error)))
    };
    // Where nothing was ever written there are no events; a first one makes the tables, as a node would.
    db.migrate().await.map_err(failed)?;
    let (now, author) = (Clock::system().now(), Author::Person(command.common().by.clone()));
    let change = |id: EventId, step: EventStep, act: fn(&mut Event) -> Result<(), Refusal>| {
        let (db, author) = (db.clone(), author.clone());
        async move { db.change_event(&id, step.as_str(), &author, now, act).await }
    };
    match command {
        EventsCommand::List(args) => list(db, args).await.map_err(failed),
        EventsCommand::Show(args) => {
            let event = db.event(&args.id).await.map_err(failed)?;
            event.map(|event| shown(event.to_json())).ok_or_else(|| absent(&args.id))
        }
        EventsCommand::Add(args) => {
            let mut event = Event::new(args.id.clone(), SheetFields::default());
            edits::set_sheet(&mut event, &fields(&args.fields)?).map_err(|bad| Failure::Usage(bad.to_string()))?;
            if !db.add_event(&event, &author, now).await.map_err(failed)? {
                return Err(Failure::Other(anyhow!("there is an event {} already", args.id)));
            }
            Ok(shown(event.to_json()))
        }
        EventsCommand::Edit(args) => {
            let patch = Patch::read(patch_body(args)?).map_err(|bad| Failure::Usage(bad.to_string()))?;
            let editor = command.common().by.clone();
            let (id, what) = (args.fields.id.clone(), patch.what());
            let known = patch.version;
            let act = move |event: &mut Event| patch.apply(event, &editor, now);
            let changed = db.change_event(&id, what, &author, now, act).await.map_err(failed)?;
            if let (Some(known), Changed::Refused(refusal)) = (known, &changed)
                && edits::is_stale(refusal)
            {
                let why = format!("{id} is not of version {known} any more; segvault events history {id} says why");
                return Err(Failure::Other(anyhow!(why)));
            }
            done(&id, changed)
        }
        EventsCommand::Retry(args) => {
            let editor = command.common().by.clone();
            let act = move |event: &mut Event| event.file_again(&editor, now);
            let changed = db.change_event(&args.id, edits::FILED_AGAIN, &author, now, act).await.map_err(failed)?;
            done(&args.id, changed)
        }
        EventsCommand::Cancel(args) => {
            let changed = change(args.id.clone(), EventStep::Cancel, Event::cancel).await.map_err(failed)?;
            done(&args.id, changed)
        }
        EventsCommand::Reset(args) => {
            let changed = change(args.id.clone(), EventStep::Reset, Event::reset).await.map_err(failed)?;
            done(&args.id, changed)
        }
        EventsCommand::History(args) => {
            let lines = db.history(&args.id).await.map_err(failed)?;
            if lines.is_empty() {
                return Err(absent(&args.id));
            }
            let lines: Vec<Value> = lines.iter().map(|line| line.to_json()).collect();
            Ok(Answer { text: history_text(&lines), json: lines.into() })
        }
    }
}

async fn list(db: &Db, args: &ListArgs) -> Result<Answer, DbError> {
    let filter = EventFilter {
        states: args.state.clone(),
        from: args.from,
        to: args.to,
        text: args.text.clone(),
        ..EventFilter::default()
    };
    let (mut events, mut unreadable, mut after) = (Vec::new(), Vec::new(), None);
    while events.len() < args.limit {
        let page = db.events(&filter, after.as_ref(), (args.limit - events.len()).min(MAX_PAGE)).await?;
        events.extend(page.events);
        unreadable.extend(page.unreadable);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let events: Vec<Value> = events.iter().map(Event::to_json).map(Value::from).collect();
    let unreadable: Vec<(String, String)> = unreadable.into_iter().map(|(id, why)| (id, why.to_string())).collect();
    Ok(Answer { text: events_text(&events, &unreadable, after.is_some()), json: events.into() })
}

fn events_text(events: &[Value], unreadable: &[(String, String)], are_more: bool) -> String {
    let mut text: String = events.iter().map(line).collect();
    for (id, why) in unreadable {
        text.push_str(&format!("# {} cannot be read: {}\n", id.escape_debug(), why.escape_debug()));
    }
    if are_more {
        text.push_str("# there are more; see --limit\n");
    }
    text
}

fn line(event: &Value) -> String {
    let said = |name: &str| event[name].as_str().map(|text| text.escape_debug().to_string());
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let title = said("video_title").or_else(|| said("description")).unwrap_or_default();
    let error = said("error").map_or(String::new(), |error| format!("  ({error})"));
    let (start, state, id) = (or_none(said("event_start")), or_none(said("state")), or_none(said("id")));
    format!("{start:<26}  {state:<11}  {id}  {title}{error}\n")
}

fn history_text(lines: &[Value]) -> String {
    let tell = |line: &Value| {
        let columns: Vec<String> = line["changes"]
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .map(|column| column.escape_debug().to_string())
            .collect();
        let said = |name: &str| line[name].as_str().unwrap_or_default().escape_debug().to_string();
        let (at, by, what) = (said("at"), said("by"), said("what"));
        format!("{:>4}  {at}  {what:<11} {by}  {}\n", line["version"].to_string(), columns.join(" "))
    };
    lines.iter().map(tell).collect()
}

/// An event as its JSON has it, with its image as the number of its bytes.
fn shown(mut event: Map<String, Value>) -> Answer {
    let image = event.get("thumbnail_image").and_then(Value::as_str);
    if let Some(bytes) = image.map(|image| STANDARD.decode(image).map_or(image.len(), |bytes| bytes.len())) {
        event.insert("thumbnail_image".into(), json!(format!("{bytes} bytes")));
    }
    let said = event.iter().filter(|(_, value)| !value.is_null());
    // As JSON: nothing in it moves a terminal's cursor.
    let text = said.map(|(name, value)| format!("{:<22} {value}\n", name.escape_debug().to_string())).collect();
    Answer { text, json: event.into() }
}

fn done(id: &EventId, changed: Changed) -> Result<Answer, Failure> {
    match changed {
        Changed::Done(event) => Ok(shown(event.to_json())),
        Changed::Absent => Err(absent(id)),
        Changed::Refused(refusal) => Err(Failure::Other(anyhow!("{id}: {refusal}"))),
    }
}

fn absent(id: &EventId) -> Failure {
    Failure::Other(anyhow!("there is no event {id}; segvault events list shows what there is"))
}

fn fields(texts: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut fields = Map::new();
    for text in texts {
        let usage = || Failure::Usage(format!("{text:?} is no FIELD=VALUE"));
        let (name, value) = text.split_once('=').ok_or_else(usage)?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        fields.insert(name.to_owned(), value);
    }
    Ok(fields)
}

fn patch_body(args: &EditArgs) -> Result<Map<String, Value>, Failure> {
    let mut body = fields(&args.fields.fields)?;
    if let Some(state) = args.state {
        body.insert("state".into(), state.as_str().into());
    }
    if let Some(version) = args.version {
        body.insert("version".into(), version.into());
    }
    if body.is_empty() {
        return Err(Failure::Usage("say what to change: FIELD=VALUE, or --state".into()));
    }
    Ok(body)
}
