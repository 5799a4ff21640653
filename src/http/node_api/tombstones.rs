//! `/api/v1/tombstones/CHANNEL`: what is hidden, by whom and why, and hiding a range, first for show.

use std::collections::HashMap;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::nodes::peers_of;
use crate::http::access::admit_with_body;
use crate::http::params::{self, Query};
use crate::http::{HttpError, Site};
use crate::model::{Channel, Hour, Quality, Role, Span, Timestamp};
use crate::peers::{Peer, TombstoneState, tombstone_state};
use crate::store::{self, Hiding, Layout, Reason, StoreError, Wish, Wished};

/// Of a list, and of the names that a preview shows.
const USUAL_PAGE: usize = 200;
const MAX_PAGE: usize = 1000;
/// For what other nodes say of what is listed.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// Hours of a page that other nodes are asked about.
const MOST_ASKED_HOURS: usize = 48;
const MAX_REASON_BYTES: usize = 500;
/// A range by mistake is not a week.
const LONGEST_SPAN: Duration = Duration::from_secs(24 * 3600);

/// A tombstone, as it is listed.
struct Row {
    quality: Quality,
    hour: Hour,
    name: String,
    has_bytes: bool,
}

/// What is hidden of a channel, the latest first; `nodes=true` asks the other nodes what they have of it.
pub async fn list(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let channel = params::channel(&path)?;
    let query = Query::parse(request.query_string());
    let quality = query.get("quality").map(params::quality).transpose()?;
    let (from, to) = (query.time("from")?, query.time("to")?);
    let within = match (from, to) {
        (None, None) => None,
        (from, to) => {
            let (first, last) = (Timestamp::from_micros(i64::MIN / 2), Timestamp::from_micros(i64::MAX / 2));
            Some(Span::new(from.unwrap_or(first), to.unwrap_or(last))?)
        }
    };
    let limit = query.get("limit").map(|text| text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit)));
    let bad_limit = || HttpError::Parameter { parameter: "limit", why: format!("it is 1 to {MAX_PAGE}") };
    let limit = limit.unwrap_or(Some(USUAL_PAGE)).ok_or_else(bad_limit)?;
    let asks_nodes = query.flag("nodes")?;
    let (layout, of) = (site.layout.clone(), channel.clone());
    let find = move || {
        let rows = find(&layout, &of, quality.as_ref(), within, limit + 1)?;
        Ok::<_, StoreError>((rows, store::read_reasons(&layout, &of)))
    };
    let (mut rows, reasons) = site.blocking.run(find).await??;
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let reasons: HashMap<&str, &Reason> = reasons.iter().map(|reason| (reason.tombstone.as_str(), reason)).collect();
    let elsewhere = if asks_nodes { ask_nodes(&site, &channel, &rows).await } else { HashMap::new() };
    let tell = |row: &Row| {
        let path = format!("{}/{}/{}", row.quality, row.hour, row.name);
        let ends = store::ends_of(row.hour, &row.name);
        let reason = reasons.get(path.as_str());
        json!({
            "tombstone": &path,
            "quality": row.quality.as_str(),
            "start": ends.map(|(start, _)| start.to_string()),
            "end": ends.map(|(_, end)| end.to_string()),
            "bytes": row.has_bytes,
            "by": reason.map(|reason| &reason.by),
            "at": reason.map(|reason| &reason.at),
            "reason": reason.and_then(|reason| reason.reason.as_ref()),
            "nodes": elsewhere.get(&path),
        })
    };
    let rows: Vec<Value> = rows.iter().map(tell).collect();
    let answer = json!({ "tombstones": rows, "more": is_more });
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// Of all qualities together, the latest hours first.
fn find(
    layout: &Layout,
    channel: &Channel,
    quality: Option<&Quality>,
    within: Option<Span>,
    most: usize,
) -> Result<Vec<Row>, StoreError> {
    let mut places = Vec::new();
    for of in store::qualities_to_hide(layout, channel)?.into_iter().filter(|of| quality.is_none_or(|one| one == of)) {
        let hours = store::hours(layout, channel, &of)?;
        let near =
            |hour: &Hour| within.is_none_or(|span| (span.start().hour().previous()..=span.end().hour()).contains(hour));
        places.extend(hours.into_iter().filter(near).map(|hour| (hour, of.clone())));
    }
    places.sort_unstable_by(|a, b| b.cmp(a));
    let mut rows: Vec<Row> = Vec::new();
    for (hour, quality) in places {
        if rows.len() >= most {
            break;
        }
        let states = store::tombstone_states(layout, channel, &quality, hour)?;
        let wanted = states
            .into_iter()
            .rev()
            .filter(|(name, _)| within.is_none_or(|span| store::touches(hour, name, span)))
            .map(|(name, has_bytes)| Row { quality: quality.clone(), hour, name, has_bytes });
        rows.extend(wanted);
    }
    Ok(rows)
}

/// By the path of each tombstone: `{URL: {"tombstone", "bytes"}}`, or null of a node that did not answer in time.
async fn ask_nodes(site: &Site, channel: &Channel, rows: &[Row]) -> HashMap<String, Map<String, Value>> {
    let mut hours: Vec<((Quality, Hour), Vec<String>)> = Vec::new();
    for row in rows {
        match hours.iter_mut().find(|((quality, hour), _)| *quality == row.quality && *hour == row.hour) {
            Some((_, names)) => names.push(row.name.clone()),
            None => hours.push(((row.quality.clone(), row.hour), vec![row.name.clone()])),
        }
    }
    hours.truncate(MOST_ASKED_HOURS);
    let urls = peers_of(site).await;
    let ask = |url| {
        let (peer, hours) = (Peer::new(url, &site.peer_access), &hours);
        async move {
            let mut told = Vec::new();
            for ((quality, hour), names) in hours {
                told.push(tombstone_state(&peer, channel, quality, *hour, names).await.ok());
            }
            told
        }
    };
    let asked = urls.iter().map(|url| timeout(ASK_WITHIN, ask(url.clone())));
    let answers = join_all(asked).await;
    let mut found: HashMap<String, Map<String, Value>> = HashMap::new();
    for (url, answer) in urls.iter().zip(answers) {
        for (place, ((quality, hour), names)) in hours.iter().enumerate() {
            let states: Option<&Vec<TombstoneState>> =
                answer.as_ref().ok().and_then(|told| told.get(place)).and_then(Option::as_ref);
            for (at, name) in names.iter().enumerate() {
                let state = states
                    .and_then(|states| states.get(at))
                    .map(|state| json!({ "tombstone": state.has_tombstone, "bytes": state.has_bytes }));
                let of = found.entry(format!("{quality}/{hour}/{name}")).or_default();
                of.insert(url.to_string(), state.unwrap_or(Value::Null));
            }
        }
    }
    found
}

/// What is to be hidden: `{from, to, quality?, reason?, dry_run?, mark?}`.
struct Order {
    span: Span,
    quality: Option<Quality>,
    reason: Option<String>,
    is_dry_run: bool,
    /// Of the preview that somebody has seen.
    mark: Option<String>,
}

impl Order {
    fn read(body: &Map<String, Value>) -> Result<Self, HttpError> {
        let bad = |parameter: &'static str, why: &str| HttpError::Parameter { parameter, why: why.to_owned() };
        if let Some(odd) = body.keys().find(|key| !ORDER_FIELDS.contains(&key.as_str())) {
            return Err(bad("body", &format!("there is no field {odd:?}")));
        }
        let text = |field: &'static str| match body.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(bad(field, "it must be a text")),
        };
        let (Some(from), Some(to)) = (text("from")?, text("to")?) else {
            return Err(HttpError::MissingFields(vec!["from", "to"]));
        };
        let span = Span::new(params::time("from", from)?, params::time("to", to)?)?;
        if span.duration() > LONGEST_SPAN {
            return Err(bad("to", "a range of more than a day is hidden in parts"));
        }
        let reason = text("reason")?.map(str::trim).filter(|reason| !reason.is_empty()).map(str::to_owned);
        if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES || reason.contains('\0')) {
            return Err(bad("reason", &format!("it has at most {MAX_REASON_BYTES} bytes")));
        }
        let is_dry_run = match body.get("dry_run") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(is_dry_run)) => *is_dry_run,
            Some(_) => return Err(bad("dry_run", "it must be true or false")),
        };
        let quality = text("quality")?.map(params::quality).transpose()?;
        Ok(Self { span, quality, reason, is_dry_run, mark: text("mark")?.map(str::to_owned) })
    }
}

const ORDER_FIELDS: [&str; 6] = ["from", "to", "quality", "reason", "dry_run", "mark"];

/// Hides a range, as `segvault tombstone add` does; with `dry_run` tells what would be hidden. With the `mark` of such an
/// answer only if it would still be the same.
pub async fn add(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, HttpError> {
    let (who, body) = admit_with_body(&site, &request, &body, Role::Operator).await?;
    let (channel, order) = (params::channel(&path)?, Order::read(&body)?);
    let hiding = Hiding { at: site.clock.now(), by: who.email.to_string(), reason: order.reason.clone() };
    let (layout, volume, log) = (site.layout.clone(), site.volume.clone(), site.log.clone());
    let work = move || {
        volume.check()?;
        let mut qualities = store::qualities_to_hide(&layout, &channel)?;
        qualities.retain(|quality| order.quality.as_ref().is_none_or(|one| one == quality));
        let wished = store::wishes_in(&layout, &channel, &qualities, order.span)?;
        if wished.wishes.is_empty() {
            return Err(HttpError::Absent("record in that range"));
        }
        if order.mark.as_ref().is_some_and(|mark| *mark != wished.mark().to_string()) {
            return Err(HttpError::NotAsShown);
        }
        let answer = preview(&layout, &wished, &order, hiding.at);
        if !order.is_dry_run {
            store::hide(&layout, &wished.wishes, &hiding, |_, _| {})?;
            slog::info!(log, "a range was hidden"; "channel" => %channel, "span" => %order.span,
                "files" => wished.files(), "by" => &hiding.by);
        }
        Ok(answer)
    };
    let answer = site.blocking.run(work).await??;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// `hidden_files` are those that were hidden before.
fn preview(layout: &Layout, wished: &Wished, order: &Order, now: Timestamp) -> Value {
    let mut qualities: Vec<(&Quality, Tally)> = Vec::new();
    let mut names = Vec::new();
    for wish in &wished.wishes {
        let Wish { quality, hour, .. } = wish;
        if qualities.last().is_none_or(|(last, _)| *last != quality) {
            qualities.push((quality, Tally::default()));
        }
        let are_hidden = store::are_hidden(layout, wish);
        for (name, is_hidden) in wish.names.iter().zip(are_hidden) {
            if let Some((_, tally)) = qualities.last_mut() {
                tally.add(store::ends_of(*hour, name), is_hidden);
            }
            if names.len() < MAX_PAGE {
                names.push(format!("{quality}/{hour}/{name}"));
            }
        }
    }
    let files = wished.files();
    json!({
        "dry_run": order.is_dry_run,
        "mark": wished.mark().to_string(),
        "files": files,
        "hidden_files": qualities.iter().map(|(_, tally)| tally.hidden).sum::<usize>(),
        // What is being written, or comes later, is not among them.
        "unfinished": wished.unfinished > 0 || order.span.end() > now,
        "qualities": qualities.iter().map(|(quality, tally)| tally.to_json(quality)).collect::<Vec<_>>(),
        "names": names,
        "names_left_off": files.saturating_sub(MAX_PAGE),
    })
}

/// What would go of a quality.
#[derive(Default)]
struct Tally {
    files: usize,
    hidden: usize,
    ends: Option<(Timestamp, Timestamp)>,
}

impl Tally {
    fn add(&mut self, ends: Option<(Timestamp, Timestamp)>, is_hidden: bool) {
        self.files += 1;
        self.hidden += usize::from(is_hidden);
        if let Some((start, end)) = ends {
            let (first, last) = self.ends.unwrap_or((start, end));
            self.ends = Some((first.min(start), last.max(end)));
        }
    }

    /// Segments are hidden whole, so that both ends may lie outside of the range.
    fn to_json(&self, quality: &Quality) -> Value {
        json!({
            "quality": quality.as_str(),
            "files": self.files,
            "hidden_files": self.hidden,
            "start": self.ends.map(|(start, _)| start.to_string()),
            "end": self.ends.map(|(_, end)| end.to_string()),
        })
    }
}
