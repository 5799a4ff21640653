//! `/api/openapi.json`: what there is below /api, for programs (OpenAPI 3.1).
//!
//! One table, from which the document is made; a test asks a node for each of its rows, and for each of the node's routes
//! whether it has a row.

use actix_web::HttpResponse;
use serde_json::{Map, Value, json};

use crate::db::MAX_PAGE;
use crate::http::node_api;
use crate::model::{Column, ColumnKind, EventState, Role, ThumbnailMode};

/// A method of an address.
pub struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub summary: &'static str,
    /// Which role it takes; `None` where it is open.
    pub role: Option<Role>,
    pub query: &'static [(&'static str, &'static str)],
    /// The schema of the body, if it takes one.
    pub body: Option<&'static str>,
    /// Status and schema of the answer.
    pub answer: (u16, &'static str),
    /// Statuses of refusals beyond those that all have.
    pub refusals: &'static [u16],
}

/// What stands in paths.
const IN_PATHS: &[(&str, &str)] = &[("id", "Id"), ("channel", "Name"), ("quality", "Name")];

const LIST_QUERY: &[(&str, &str)] = &[
    ("state", "EventStates"),
    ("from", "Time"),
    ("to", "Time"),
    ("text", "Text"),
    ("channel", "Name"),
    ("editor", "Text"),
    ("order", "Order"),
    ("limit", "Limit"),
    ("after", "Text"),
];

const OPERATIONS: &[Operation] = &[
    Operation {
        method: "get",
        path: "/api/v1/events",
        summary: "A page of events, by their start; those without one come last, with `order=newest` first. `next` goes into \
                  `after`.",
        role: None,
        query: LIST_QUERY,
        body: None,
        answer: (200, "EventPage"),
        refusals: &[403],
    },
    Operation {
        method: "post",
        path: "/api/v1/events",
        summary: "Notes an event. The id is the caller's: who asks again is told 409.",
        role: Some(Role::Editor),
        query: &[],
        body: Some("NewEvent"),
        answer: (201, "Event"),
        refusals: &[409],
    },
    Operation {
        method: "get",
        path: "/api/v1/events/stream",
        summary: "Every change of any event as it happens: server-sent events `change`, each a HistoryLine. \
                  `since`, or the header Last-Event-ID, says from when on; what happened shortly before it may come again.",
        role: None,
        query: &[("since", "Time")],
        body: None,
        answer: (200, "text/event-stream"),
        refusals: &[],
    },
    Operation {
        method: "get",
        path: "/api/v1/events/{id}",
        summary: "An event, with its image and how far the node that holds it is.",
        role: None,
        query: &[],
        body: None,
        answer: (200, "Event"),
        refusals: &[404],
    },
    Operation {
        method: "patch",
        path: "/api/v1/events/{id}",
        summary: "Changes fields, and takes a step with `state`. With `version` only if the event is still of that version.",
        role: Some(Role::Editor),
        query: &[],
        body: Some("Patch"),
        answer: (200, "Event"),
        refusals: &[404, 409],
    },
    Operation {
        method: "get",
        path: "/api/v1/events/{id}/history",
        summary: "Who did what to it, and when; oldest first.",
        role: None,
        query: &[],
        body: None,
        answer: (200, "History"),
        refusals: &[404],
    },
    Operation {
        method: "get",
        path: "/api/v1/events/{id}/receipt",
        summary: "What was checked about the cut that is published, or on its way: frames, segments, holes, as the receipt of \
                  a cut has them. 404 before anything was cut.",
        role: None,
        query: &[],
        body: None,
        answer: (200, "CutReceipt"),
        refusals: &[404],
    },
    Operation {
        method: "post",
        path: "/api/v1/events/{id}/retry",
        summary: "EDITED again, as it was edited, and cut as soon as a node can: an event that failed (UNEDITED with an \
                  error), or that waits after a failure. 409 where nothing failed.",
        role: Some(Role::Editor),
        query: &[],
        body: None,
        answer: (200, "Event"),
        refusals: &[404, 409],
    },
    Operation {
        method: "post",
        path: "/api/v1/events/{id}/cancel",
        summary: "Back to UNEDITED, unless it may be published already.",
        role: Some(Role::Editor),
        query: &[],
        body: None,
        answer: (200, "Event"),
        refusals: &[404, 409],
    },
    Operation {
        method: "post",
        path: "/api/v1/events/{id}/reset",
        summary: "Back to UNEDITED, whatever it was. What may lie at the destination is for a person to look after.",
        role: Some(Role::Operator),
        query: &[],
        body: None,
        answer: (200, "Event"),
        refusals: &[404],
    },
    Operation {
        method: "post",
        path: "/api/v1/events/{id}/link",
        summary: "DONE, as it was published by hand.",
        role: Some(Role::Editor),
        query: &[],
        body: Some("Link"),
        answer: (200, "Event"),
        refusals: &[404, 409],
    },
];

pub async fn get() -> HttpResponse {
    HttpResponse::Ok().json(document())
}

fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS.iter().chain(node_api::OPERATIONS) {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "segvault",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Events: what somebody wants as a video, and what became of it. Nodes: how they are, what each has, what is hidden.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        },
    })
}

fn described(operation: &Operation) -> Value {
    let schema = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let in_query = operation
        .query
        .iter()
        .map(|(name, kind)| json!({ "name": name, "in": "query", "required": false, "schema": schema(kind) }));
    let in_path = IN_PATHS
        .iter()
        .filter(|(name, _)| operation.path.contains(&format!("{{{name}}}")))
        .map(|(name, kind)| json!({ "name": name, "in": "path", "required": true, "schema": schema(kind) }));
    let (status, answer) = operation.answer;
    let content = match answer {
        "text/event-stream" => json!({ answer: { "schema": { "type": "string" } } }),
        name => json!({ "application/json": { "schema": schema(name) } }),
    };
    let mut responses = Map::new();
    responses.insert(status.to_string(), json!({ "description": "done", "content": content }));
    // Where reading is closed, every operation takes a token.
    let of_role: &[u16] = if operation.role.is_some() { &[401, 403, 413, 429] } else { &[401, 403, 429] };
    let refusal = json!({ "application/json": { "schema": schema("Refusal") } });
    for refused in [400, 503].iter().chain(of_role).chain(operation.refusals) {
        let content = match refused {
            // The server refuses it before it is ours.
            413 => json!({ "text/plain": { "schema": { "type": "string" } } }),
            _ => refusal.clone(),
        };
        responses.insert(refused.to_string(), json!({ "description": "refused", "content": content }));
    }
    let mut described = json!({
        "summary": operation.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": responses,
    });
    if let Some(role) = operation.role {
        described["security"] = json!([{ "token": [] }]);
        described["description"] = format!("Needs the role {role}.").into();
    }
    if let Some(body) = operation.body {
        described["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema(body) } } });
    }
    described
}

/// What stands in a field.
fn field(column: Column) -> Value {
    let text = || json!({ "type": "string", "maxLength": 65536 });
    let or_null = |kind: &str| json!({ "type": [kind, "null"] });
    let time = || json!({ "type": ["string", "null"], "description": "UTC, as 2026-01-02T03:04:05.678901" });
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let area = || json!({ "type": ["array", "null"], "items": { "type": "integer" }, "minItems": 4, "maxItems": 4 });
    match column {
        Column::Id => json!({ "$ref": "#/components/schemas/Id" }),
        Column::SheetName
        | Column::Category
        | Column::Description
        | Column::SubmitterWinner
        | Column::Notes
        | Column::VideoQuality => text(),
        Column::EventStart
        | Column::EventEnd
        | Column::ThumbnailTime
        | Column::EditTime
        | Column::UploadTime
        | Column::LastModified => time(),
        Column::PosterMoment | Column::AllowHoles | Column::Public => json!({ "type": "boolean" }),
        Column::ImageLinks | Column::Tags => texts(),
        Column::UploaderWhitelist | Column::VideoTags => {
            json!({ "type": ["array", "null"], "items": { "type": "string" } })
        }
        Column::VideoRanges => json!({
            "type": ["array", "null"],
            "items": { "type": "array", "items": time(), "minItems": 2, "maxItems": 2 },
        }),
        Column::VideoTransitions => json!({
            "type": ["array", "null"],
            "description": "one fewer than the ranges: [type, seconds], or null for a hard cut",
            "items": { "type": ["array", "null"], "minItems": 2, "maxItems": 2 },
        }),
        Column::UploadLocation
        | Column::VideoTitle
        | Column::VideoDescription
        | Column::VideoChannel
        | Column::ThumbnailTemplate
        | Column::Uploader
        | Column::Error
        | Column::VideoId
        | Column::VideoLink
        | Column::Editor => or_null("string"),
        Column::ThumbnailMode => json!({ "enum": ThumbnailMode::ALL.map(ThumbnailMode::as_str) }),
        Column::ThumbnailImage | Column::ThumbnailLastWritten => {
            json!({ "type": ["string", "null"], "contentEncoding": "base64" })
        }
        Column::ThumbnailCrop | Column::ThumbnailLocation => area(),
        Column::State => json!({ "enum": EventState::ALL.map(EventState::as_str) }),
    }
}

fn fields(of: impl Fn(ColumnKind) -> bool) -> Map<String, Value> {
    let columns = Column::ALL.into_iter().filter(|column| of(column.kind()));
    columns.map(|column| (column.to_string(), field(column))).collect()
}

fn schemas() -> Value {
    let time = json!({ "type": ["string", "null"] });
    let mut event = fields(|_| true);
    event.insert("version".into(), json!({ "type": "integer" }));
    event.insert("attempts".into(), json!({ "type": "integer" }));
    event.insert("retry_at".into(), time.clone());
    event.insert("lease_until".into(), time);
    event.insert("progress".into(), json!({ "type": ["object", "null"] }));
    let mut new = fields(|kind| kind == ColumnKind::Sheet);
    new.insert("id".into(), field(Column::Id));
    let mut patch = fields(|kind| matches!(kind, ColumnKind::Sheet | ColumnKind::Edit));
    patch.insert("version".into(), json!({ "type": "integer" }));
    patch.insert("state".into(), json!({ "enum": ["UNEDITED", "EDITED", "MODIFIED"] }));
    let mut all = json!({
        "Id": { "type": "string", "minLength": 1, "maxLength": 128 },
        "Time": { "type": "string" },
        "Text": { "type": "string" },
        "Order": { "enum": ["oldest", "newest"] },
        "Limit": { "type": "integer", "minimum": 1, "maximum": MAX_PAGE },
        "EventStates": { "type": "array", "items": field(Column::State) },
        "Event": { "type": "object", "properties": event, "required": ["id", "state", "version"] },
        "NewEvent": { "type": "object", "properties": new, "required": ["id"], "additionalProperties": false },
        "Patch": { "type": "object", "properties": patch, "additionalProperties": false },
        "Link": {
            "type": "object",
            "properties": { "link": { "type": "string", "format": "uri" } },
            "required": ["link"],
        },
        "EventPage": {
            "type": "object",
            "properties": {
                "events": { "type": "array", "items": { "$ref": "#/components/schemas/Event" } },
                "next": { "type": ["string", "null"] },
                "unreadable": { "type": "array", "items": { "type": "object" } },
            },
            "required": ["events", "next", "unreadable"],
        },
        "HistoryLine": {
            "type": "object",
            "properties": {
                "event_id": { "type": "string" },
                "version": { "type": "integer" },
                "at": { "type": "string" },
                "by": { "type": "string" },
                "what": { "type": "string" },
                "changes": { "type": "object", "description": "{column: [before, after]}" },
            },
            "required": ["event_id", "version", "at", "by", "what", "changes"],
        },
        "CutReceipt": {
            "type": "object",
            "properties": {
                "outcome": { "enum": ["done", "failed", "running", "left"] },
                "type": { "type": "string" },
                "bytes": { "type": "integer" },
                "ranges": { "type": "array", "items": { "type": "object" } },
                "frames": { "type": ["object", "null"] },
                "segments": { "type": "array", "items": { "type": "object" } },
                "holes": { "type": "array", "items": { "type": "object" } },
                "checks": { "type": "array", "items": { "type": "object" } },
            },
            "required": ["outcome", "type", "bytes"],
        },
        "History": { "type": "array", "items": { "$ref": "#/components/schemas/HistoryLine" } },
        "Refusal": {
            "type": "object",
            "properties": { "code": { "type": "string" }, "message": { "type": "string" } },
            "required": ["code", "message"],
        },
    });
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), node_api::schemas()) {
        all.extend(more);
    }
    all
}
