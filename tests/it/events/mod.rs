//! Events: what the database holds of them, what editors and scripts are answered, who may do what.

mod access;
mod api;
mod command;
mod constraints;
mod contract;
mod editor;
mod speed;

use std::io::Write as _;
use std::net::TcpStream;

use segvault::model::{Column, Email, Event, NodeName, SheetFields, Timestamp};
use serde_json::{Value, json};

use crate::db::Ground;
use crate::support::{NodeProcess, PATIENCE, Reply, eventually, read_reply};

pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_767_322_800_000_000 + micros)
}

pub fn ann() -> Email {
    "ann@example.org".parse().unwrap()
}

pub fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

/// An event that has just been noted.
pub fn noted(id: &str) -> Event {
    Event::new(id.parse().unwrap(), SheetFields { description: format!("What {id} is"), ..SheetFields::default() })
}

/// An event with everything said, still UNEDITED.
pub fn said(id: &str) -> Event {
    let mut event = noted(id);
    for (column, value) in [
        (Column::EventStart, json!("2026-01-02T03:00:00.000001")),
        (Column::Tags, json!(["Day 1"])),
        (Column::UploadLocation, json!("local")),
        (Column::VideoRanges, json!([["2026-01-02T03:00:00", "2026-01-02T03:01:00.123456"]])),
        (Column::VideoTransitions, json!([])),
        (Column::VideoTitle, json!("A title")),
        (Column::VideoDescription, json!("")),
        (Column::VideoTags, json!(["a", "b"])),
        (Column::VideoChannel, json!("gdq")),
        (Column::ThumbnailMode, json!("NONE")),
    ] {
        event.set(column, &value).unwrap();
    }
    event
}

/// EDITED since `edited`.
pub fn edited(id: &str, edited: Timestamp) -> Event {
    let mut event = said(id);
    event.submit(&ann(), edited).unwrap();
    event
}

/// Asks a node with a body of JSON, and a token perhaps.
pub fn send(node: &NodeProcess, method: &str, path: &str, token: Option<&str>, body: &Value) -> Reply {
    let address = node.url().replace("http://", "");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let authorization = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{authorization}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // It may answer before it has read all of it.
    let _ = stream.write_all(body.as_bytes());
    read_reply(stream, false)
}

/// A node over a new database that is ready.
pub fn start(ground: &Ground, more: &str) -> NodeProcess {
    // Where `Ground::raw` finds it, whatever the node's directory.
    let url = match ground.url.strip_prefix("sqlite:") {
        Some(file) => format!("sqlite:{}", ground.dir.path().join(".segvault").join(file).display()),
        None => ground.url.clone(),
    };
    let more = format!("[database]\nurl = {url:?}\n{more}");
    let node = NodeProcess::start_with(&ground.dir.path().join("record"), &more, |_| {});
    eventually("the schema is there", || (node.get("/thrimshim").status == 200).then_some(()));
    node
}

/// The same claims over both engines.
macro_rules! over_both {
    ($($claim:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $claim() {
                super::$claim(crate::db::Ground::sqlite());
            })+
        }
        mod postgres {
            $(#[test]
            fn $claim() {
                super::$claim(crate::db::Ground::postgres());
            })+
        }
    };
}
pub(crate) use over_both;
