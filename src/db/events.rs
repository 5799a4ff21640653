//! Events: reading them, listing them, and finding those that wait to be cut.
//!
//! Promises: an answer is a page, never everything; images come with single events only.

use diesel::prelude::*;
use diesel::sql_types::{Binary, Nullable};

use super::conn::DbConnection;
use super::error::DbError;
use super::event_row::{Row, row_columns};
use super::handle::Db;
use super::schema::events;
use crate::model::{Channel, Email, Event, EventId, EventState, NodeName, Timestamp, UploadLocation};

/// Most events of a page.
pub const MAX_PAGE: usize = 500;
/// Rows that are looked at at once for those that a node may upload.
const WAITING_BATCH: usize = 100;
/// Rows that are looked at in all: others wait for the next look.
const MAX_WAITING_BATCHES: usize = 20;

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Any of these; all, if there is none.
    pub states: Vec<EventState>,
    /// Those that start then or later, and before that.
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// In the id, descriptions, title, category, notes or tags, whatever its case.
    pub text: Option<String>,
    /// Cut from this channel.
    pub channel: Option<Channel>,
    /// Edited last by them.
    pub editor: Option<Email>,
    /// The latest first, and before them those without a start.
    pub newest_first: bool,
}

/// Where a page ended: the next one begins behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventCursor {
    pub listed_at: i64,
    pub id: String,
}

/// Some events, by their start; those without one come last, or first where the latest do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventPage {
    /// Without images.
    pub events: Vec<Event>,
    /// Ids of rows that are no events, and why.
    pub unreadable: Vec<(String, String)>,
    /// `None` at the end.
    pub next: Option<EventCursor>,
}

impl Db {
    /// The whole event, with its image.
    pub async fn event(&self, id: &EventId) -> Result<Option<Event>, DbError> {
        let id = id.to_string();
        self.run(move |conn| read_event(conn, &id)).await
    }

    /// A page of at most `limit` events.
    pub async fn events(
        &self,
        filter: &EventFilter,
        after: Option<&EventCursor>,
        limit: usize,
    ) -> Result<EventPage, DbError> {
        let (filter, after, limit) = (filter.clone(), after.cloned(), limit.clamp(1, MAX_PAGE));
        self.run(move |conn| {
            // State by state: each is a walk along an index, however rare it is.
            let states: Vec<Option<EventState>> = match &filter.states[..] {
                [] => vec![None],
                states => states.iter().copied().map(Some).collect(),
            };
            let mut rows = Vec::new();
            for state in states {
                rows.extend(load_page(conn, &filter, state, after.as_ref(), limit + 1)?);
            }
            Ok(page(rows, limit, filter.newest_first))
        })
        .await
    }

    /// EDITED events that this node may upload to one of these places now, the longest waiting first.
    pub async fn waiting(
        &self,
        node: &NodeName,
        locations: &[UploadLocation],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Event>, DbError> {
        let locations: Vec<String> = locations.iter().map(ToString::to_string).collect();
        let (node, limit) = (node.clone(), limit.clamp(1, MAX_PAGE));
        self.run(move |conn| {
            let (mut found, mut after) = (Vec::new(), None);
            for _ in 0..MAX_WAITING_BATCHES {
                let rows = load_waiting(conn, &locations, now, after.as_ref())?;
                let is_last = rows.len() < WAITING_BATCH;
                for row in rows {
                    // One that cannot be read stands in nobody's way; lists tell of it.
                    let id = row.id().to_owned();
                    let event = row.read().ok();
                    after =
                        Some((event.as_ref().and_then(|event| event.job.edit_time).map_or(0, Timestamp::micros), id));
                    found.extend(event.filter(|event| may_upload(event, &node)));
                }
                if found.len() >= limit || is_last {
                    break;
                }
            }
            found.truncate(limit);
            Ok(found)
        })
        .await
    }

    /// Events that a node holds under a lease, ended or not; without images.
    pub async fn claims_of(&self, uploader: &NodeName) -> Result<Vec<Event>, DbError> {
        let uploader = uploader.to_string();
        self.run(move |conn| {
            let rows: Vec<Row> = held()
                .filter(events::uploader.eq(uploader))
                .select(row_columns!(no_image()))
                .limit(MAX_PAGE as i64)
                .load(conn)?;
            rows.into_iter().map(Row::read).collect()
        })
        .await
    }

    /// Events whose uploader has let its lease end before `now`; without images.
    pub async fn abandoned(&self, now: Timestamp) -> Result<Vec<Event>, DbError> {
        self.run(move |conn| {
            let rows: Vec<Row> = held()
                .filter(events::lease_until.lt(now.micros()))
                .select(row_columns!(no_image()))
                .limit(MAX_PAGE as i64)
                .load(conn)?;
            rows.into_iter().map(Row::read).collect()
        })
        .await
    }
}

fn may_upload(event: &Event, node: &NodeName) -> bool {
    event.edit.uploader_whitelist.as_ref().is_none_or(|names| names.contains(node))
}

/// The event as it is, with its image.
pub(super) fn read_event(conn: &mut DbConnection, id: &str) -> Result<Option<Event>, DbError> {
    let row = events::table.find(id).select(row_columns!(events::thumbnail_image)).first::<Row>(conn).optional()?;
    row.map(Row::read).transpose()
}

fn no_image() -> diesel::expression::SqlLiteral<Nullable<Binary>> {
    diesel::dsl::sql("NULL")
}

#[diesel::dsl::auto_type(no_type_alias)]
fn held() -> _ {
    let claimed: &'static str = EventState::Claimed.as_str();
    let finalizing: &'static str = EventState::Finalizing.as_str();
    events::table.filter(events::state.eq(claimed).or(events::state.eq(finalizing)))
}

fn load_page(
    conn: &mut DbConnection,
    filter: &EventFilter,
    state: Option<EventState>,
    after: Option<&EventCursor>,
    limit: usize,
) -> QueryResult<Vec<Row>> {
    let mut query = events::table.select(row_columns!(no_image())).into_boxed();
    if let Some(state) = state {
        query = query.filter(events::state.eq(state.as_str()));
    }
    if let Some(from) = filter.from {
        query = query.filter(events::listed_at.ge(from.micros()));
    }
    if let Some(to) = filter.to {
        query = query.filter(events::listed_at.lt(to.micros()));
    }
    if let Some(text) = &filter.text {
        query = query.filter(events::search.like(containing(text)).escape('\\'));
    }
    if let Some(channel) = &filter.channel {
        query = query.filter(events::video_channel.eq(channel.to_string()));
    }
    if let Some(editor) = &filter.editor {
        query = query.filter(events::editor.eq(editor.to_string()));
    }
    // In these forms both engines go straight to the place.
    if filter.newest_first {
        if let Some(EventCursor { listed_at, id }) = after {
            let behind = events::listed_at.lt(*listed_at).or(events::id.lt(id.clone()));
            query = query.filter(events::listed_at.le(*listed_at)).filter(behind);
        }
        return query.order((events::listed_at.desc(), events::id.desc())).limit(limit as i64).load(conn);
    }
    if let Some(EventCursor { listed_at, id }) = after {
        let behind = events::listed_at.gt(*listed_at).or(events::id.gt(id.clone()));
        query = query.filter(events::listed_at.ge(*listed_at)).filter(behind);
    }
    query.order((events::listed_at, events::id)).limit(limit as i64).load(conn)
}

fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for letter in text.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

/// Merges what the states gave, and cuts it off at `limit`.
fn page(mut rows: Vec<Row>, limit: usize, newest_first: bool) -> EventPage {
    rows.sort_by(|a, b| (a.listed_at(), a.id()).cmp(&(b.listed_at(), b.id())));
    if newest_first {
        rows.reverse();
    }
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().map(|row| EventCursor { listed_at: row.listed_at(), id: row.id().to_owned() });
    let mut page = EventPage { next: last.filter(|_| is_more), ..EventPage::default() };
    for row in rows {
        let id = row.id().to_owned();
        match row.read() {
            Ok(event) => page.events.push(event),
            Err(error) => page.unreadable.push((id, crate::causes::chain(&error))),
        }
    }
    page
}

fn load_waiting(
    conn: &mut DbConnection,
    locations: &[String],
    now: Timestamp,
    after: Option<&(i64, String)>,
) -> QueryResult<Vec<Row>> {
    let mut query = events::table
        .select(row_columns!(no_image()))
        .filter(events::state.eq(EventState::Edited.as_str()))
        .filter(events::retry_at.is_null().or(events::retry_at.le(now.micros())))
        .filter(events::upload_location.eq_any(locations.to_vec()))
        .into_boxed();
    if let Some((edit_time, id)) = after {
        let behind = events::edit_time.gt(*edit_time).or(events::id.gt(id.clone()));
        query = query.filter(events::edit_time.ge(*edit_time)).filter(behind);
    }
    query.order((events::edit_time, events::id)).limit(WAITING_BATCH as i64).load(conn)
}
