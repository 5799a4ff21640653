//! What of `/api/openapi.json` is about nodes and the record.

use serde_json::{Value, json};

use crate::http::events_api::Operation;
use crate::model::Role;

pub const OPERATIONS: &[Operation] = &[
    Operation {
        method: "get",
        path: "/api/v1/node",
        summary: "How this node is: recording, disk, peers, parts. Waits for no disk.",
        role: None,
        query: &[],
        body: None,
        answer: (200, "NodeState"),
        refusals: &[],
    },
    Operation {
        method: "get",
        path: "/api/v1/sign-in",
        summary: "How to say who asks: not at all, by a token, or by an ID token of one of these issuers too \
                  (`response_type=id_token`, with a nonce), whose page sends people back to `signed_in` on this address.",
        role: None,
        query: &[],
        body: None,
        answer: (200, "SignIn"),
        refusals: &[],
    },
    Operation {
        method: "get",
        path: "/api/v1/nodes",
        summary: "How this node and those that it copies from are, each asked now. Of a node of the existing system, what its \
                  listings show (`listed`).",
        role: None,
        query: &[],
        body: None,
        answer: (200, "Nodes"),
        refusals: &[],
    },
    Operation {
        method: "get",
        path: "/api/v1/coverage/{channel}/{quality}",
        summary: "What each node has of a quality, from `start` to `end`, or of the last `window` seconds (an hour); at most 32 \
                  days.",
        role: None,
        query: &[("start", "Time"), ("end", "Time"), ("window", "Seconds")],
        body: None,
        answer: (200, "Coverages"),
        refusals: &[403, 500],
    },
    Operation {
        method: "get",
        path: "/api/v1/tombstones/{channel}",
        summary: "What is hidden of a channel, the latest first; `nodes=true` asks the other nodes what they have of it.",
        role: None,
        query: &[("quality", "Name"), ("from", "Time"), ("to", "Time"), ("limit", "TombstoneLimit"), ("nodes", "Flag")],
        body: None,
        answer: (200, "Tombstones"),
        refusals: &[403, 500],
    },
    Operation {
        method: "post",
        path: "/api/v1/tombstones/{channel}",
        summary: "Hides everything that holds a moment of a range, for good; with `dry_run` tells what that would be. With the \
                  `mark` of such an answer only if it is the same still.",
        role: Some(Role::Operator),
        query: &[],
        body: Some("Hide"),
        answer: (200, "Hidden"),
        refusals: &[404, 409, 500],
    },
    Operation {
        method: "get",
        path: "/api/v1/drain-check",
        summary: "Whether this node may be stopped for good, as the last check found; how far a check is.",
        role: None,
        query: &[],
        body: None,
        answer: (200, "DrainCheck"),
        refusals: &[],
    },
    Operation {
        method: "post",
        path: "/api/v1/drain-check",
        summary: "Begins such a check, unless one is under way.",
        role: Some(Role::Operator),
        query: &[],
        body: None,
        answer: (202, "DrainCheck"),
        refusals: &[],
    },
];

pub fn schemas() -> Value {
    let or_null = |kind: &str| json!({ "type": [kind, "null"] });
    let text = || json!({ "type": "string" });
    let flag = || json!({ "type": "boolean" });
    let number = || json!({ "type": "number" });
    let list = |of: &str| json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{of}") } });
    let object = |properties: Value| {
        let required: Vec<&String> = properties.as_object().into_iter().flat_map(|all| all.keys()).collect();
        json!({ "type": "object", "required": required, "properties": properties })
    };
    let stream = object(json!({
        "channel": text(), "quality": text(),
        "phase": { "enum": ["waiting", "recording", "failing", "ended", null] },
        "newest": or_null("string"), "lag_seconds": or_null("number"),
    }));
    let peer = object(json!({
        "url": text(), "standing": { "enum": ["not_asked", "there", "ourselves", "copy", "failing"] },
        "error": or_null("string"), "behind_seconds": or_null("number"),
        "clock_ahead_seconds": or_null("number"), "bytes_per_second": or_null("number"),
    }));
    let actor = object(json!({
        "kind": text(), "name": text(), "alive": flag(), "silent_seconds": number(), "restarts": { "type": "integer" },
        "ended_seconds_ago": or_null("number"), "panicked": or_null("boolean"),
    }));
    let disk = object(json!({
        "writable": flag(), "free_bytes": or_null("integer"), "size_bytes": or_null("integer"),
        "min_free_bytes": { "type": "integer" }, "full_in_seconds": or_null("number"), "held_bytes": { "type": "integer" },
    }));
    let maybe =
        |of: &str| json!({ "type": ["array", "null"], "items": { "$ref": format!("#/components/schemas/{of}") } });
    let state = object(json!({
        "name": text(), "id": or_null("string"), "version": text(), "now": text(), "uptime_seconds": number(),
        "ready": flag(), "not_ready": or_null("string"), "notes": { "type": "array", "items": text() }, "disk": disk,
        "ffmpeg": object(json!({ "version": or_null("string"), "in_use": { "type": "integer" } })),
        "recording": list("StreamState"), "peers": maybe("PeerState"), "actors": maybe("ActorState"),
    }));
    let node = object(json!({
        "url": or_null("string"), "self": flag(), "took_ms": { "type": "integer" }, "error": or_null("string"),
        "state": { "anyOf": [{ "$ref": "#/components/schemas/NodeState" }, { "type": "null" }] },
        "listed": maybe("StreamState"),
    }));
    let span = || object(json!({ "start": text(), "end": text() }));
    let hole = object(json!({
        "start": text(), "end": text(), "seconds": number(),
        "lost": { "type": "object", "description": "seconds by cause, as far as a ledger knows" },
    }));
    let report = json!({
        "type": ["object", "null"],
        "properties": {
            "start": text(), "end": text(), "begins": or_null("string"), "holes": { "type": "array", "items": hole },
            "unsure": { "type": "array", "items": span() }, "hidden": { "type": "array", "items": span() },
        },
    });
    let covered = object(json!({
        "url": or_null("string"), "self": flag(), "error": or_null("string"),
        "listed": { "type": "boolean", "description": "made of listings: no causes are known" }, "coverage": report,
    }));
    let tombstone = object(json!({
        "tombstone": text(), "quality": text(), "start": or_null("string"), "end": or_null("string"),
        "bytes": { "type": "boolean", "description": "whether they are on this node still" },
        "by": or_null("string"), "at": or_null("string"), "reason": or_null("string"),
        "nodes": { "type": ["object", "null"], "description": "{URL: {tombstone, bytes}, or null of one that does not answer}" },
    }));
    let issuer = object(json!({ "issuer": text(), "client_id": text(), "authorization_endpoint": text() }));
    json!({
        "SignIn": object(json!({
            "mode": { "enum": ["none", "tokens", "oidc"] }, "signed_in": text(),
            "issuers": { "type": "array", "items": issuer },
        })),
        "Name": { "type": "string", "minLength": 1, "maxLength": 128 },
        "Seconds": { "type": "integer", "minimum": 1 },
        "Flag": { "type": "boolean" },
        "TombstoneLimit": { "type": "integer", "minimum": 1, "maximum": 1000 },
        "StreamState": stream,
        "PeerState": peer,
        "ActorState": actor,
        "NodeState": state,
        "Nodes": object(json!({ "nodes": { "type": "array", "items": node } })),
        "Coverages": object(json!({ "start": text(), "end": text(), "nodes": { "type": "array", "items": covered } })),
        "Tombstones": object(json!({ "tombstones": { "type": "array", "items": tombstone }, "more": flag() })),
        "Hide": {
            "type": "object",
            "properties": {
                "from": text(), "to": text(), "quality": or_null("string"), "reason": or_null("string"),
                "dry_run": or_null("boolean"), "mark": or_null("string"),
            },
            "required": ["from", "to"],
            "additionalProperties": false,
        },
        "Hidden": object(json!({
            "dry_run": flag(), "mark": text(), "files": { "type": "integer" }, "hidden_files": { "type": "integer" },
            "unfinished": flag(), "qualities": { "type": "array", "items": { "type": "object" } },
            "names": { "type": "array", "items": text() }, "names_left_off": { "type": "integer" },
        })),
        "DrainCheck": {
            "type": "object",
            "properties": {
                "state": { "enum": ["never", "running", "done", "failed"] },
                "may_stop": { "type": "boolean" }, "since": text(), "at": text(), "why": text(),
                "done_hours": { "type": "integer" }, "all_hours": { "type": "integer" },
                "asked": { "type": "array", "items": text() }, "silent": { "type": "array", "items": text() },
                "streams": { "type": "array", "items": { "type": "object" } },
            },
            "required": ["state"],
        },
    })
}
