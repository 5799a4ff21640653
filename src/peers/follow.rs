//! Follows what a peer stores: reads its server-sent events.
//!
//! Promises: a line, and what comes within some seconds, is bounded; a name is a type of `model` before anything is done with
//! it; a peer that says nothing, or nonsense, is an error.

use std::borrow::Cow;
use std::time::Duration;

use awc::http::{StatusCode, header};
use bytes::BytesMut;
use serde::Deserialize;
use tokio::time::Instant;

use super::PeerError;
use super::client::Peer;
use super::names::HourNames;
use crate::ingest::{Body, FetchError, Patience};
use crate::model::{Channel, Hour, Quality};

/// A peer says something at least every 10 s. After an hour the connection is made anew, for balance and for safety.
const PATIENCE: Patience =
    Patience { head: Duration::from_secs(30), stall: Duration::from_secs(30), whole: Duration::from_secs(3600) };
/// Many times the longest name.
const MAX_LINE_BYTES: usize = 2048;
/// Many times what a hundred segments a second would take.
const MAX_BYTES: u64 = 1 << 20;
const WITHIN: Duration = Duration::from_secs(10);
/// A peer that has told so many names that are none, on one connection, is let go.
const MAX_REFUSED: usize = 16;

/// What a peer tells.
#[derive(Debug)]
pub enum FollowEvent {
    /// What came before is not told.
    List,
    /// A file, or a tombstone; or neither, if the name is none.
    Named(HourNames),
}

/// What a peer stores, as it tells.
pub struct Following {
    body: Body,
    reader: EventReader,
    last_id: Option<u64>,
    refused: usize,
    since: Instant,
    got_bytes: u64,
}

/// Begins to follow; `None` if the peer does not offer it, as those of the existing system.
pub async fn follow(
    peer: &Peer,
    channel: &Channel,
    quality: &Quality,
    after: Option<u64>,
) -> Result<Option<Following>, PeerError> {
    let url = peer.url().join(["follow", channel.as_str(), quality.as_str()]);
    let after = after.map(|after| after.to_string());
    let mut headers = vec![(header::ACCEPT, "text/event-stream"), (header::ACCEPT_ENCODING, "identity")];
    headers.extend(after.as_deref().map(|after| (header::HeaderName::from_static("last-event-id"), after)));
    let answer = peer.ask_at_length(&url, &headers, PATIENCE).await.map_err(failed)?;
    match answer.status {
        StatusCode::OK => Ok(Some(Following {
            body: answer.body,
            reader: EventReader::default(),
            last_id: None,
            refused: 0,
            since: Instant::now(),
            got_bytes: 0,
        })),
        StatusCode::NOT_FOUND => Ok(None),
        status => Err(failed(FetchError::Status(status.as_u16()))),
    }
}

fn failed(source: FetchError) -> PeerError {
    PeerError::Ask { what: "what is stored", source }
}

impl Following {
    /// The last event's, to go on after.
    pub fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// The next event; `None` if there is none at the moment. May be dropped at any point.
    pub fn ready(&mut self) -> Result<Option<FollowEvent>, PeerError> {
        loop {
            let Some(raw) = self.reader.next()? else { return Ok(None) };
            self.last_id = raw.id.or(self.last_id);
            let event = match &*raw.event {
                "list" => FollowEvent::List,
                "stored" | "tombstone" => FollowEvent::Named(self.read_name(&raw.data)?),
                // Of a version to come.
                _ => continue,
            };
            return Ok(Some(event));
        }
    }

    /// Waits for the next event. May be dropped at any point.
    pub async fn next(&mut self) -> Result<FollowEvent, PeerError> {
        loop {
            if let Some(event) = self.ready()? {
                return Ok(event);
            }
            let Some(piece) = self.body.next().await else { return Err(bad("at its end")) };
            let piece = piece.map_err(failed)?;
            if self.since.elapsed() > WITHIN {
                (self.since, self.got_bytes) = (Instant::now(), 0);
            }
            self.got_bytes += piece.len() as u64;
            if self.got_bytes > MAX_BYTES {
                return Err(bad("more than a node stores"));
            }
            self.reader.feed(&piece);
        }
    }

    fn read_name(&mut self, data: &str) -> Result<HourNames, PeerError> {
        #[derive(Deserialize)]
        struct Data<'d> {
            hour: Cow<'d, str>,
            name: Cow<'d, str>,
        }
        let data: Data<'_> = serde_json::from_str(data).map_err(|_| bad("no names"))?;
        let hour: Hour = data.hour.parse().map_err(|_| bad("no names"))?;
        let names = HourNames::of(hour, [&*data.name]);
        self.refused += names.refused.count;
        if self.refused > MAX_REFUSED { Err(bad("no names")) } else { Ok(names) }
    }
}

fn bad(why: &'static str) -> PeerError {
    PeerError::NoFeed { why }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct RawEvent {
    event: String,
    id: Option<u64>,
    data: String,
}

/// Reads lines into events (HTML Living Standard §9.2.6), as far as peers need it.
#[derive(Debug, Default)]
struct EventReader {
    buffer: BytesMut,
    event: RawEvent,
}

impl EventReader {
    fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Result<Option<RawEvent>, PeerError> {
        while let Some(end) = self.buffer.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(end + 1);
            let line = std::str::from_utf8(&line).map_err(|_| bad("no text"))?.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.event.is_empty() || !event.data.is_empty() {
                    return Ok(Some(event));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => self.event.event = value.to_owned(),
                "id" => self.event.id = value.parse().ok(),
                "data" if self.event.data.len() + value.len() > MAX_LINE_BYTES => return Err(bad("too long a line")),
                "data" => self.event.data.push_str(value),
                // A comment, or what is not for us.
                _ => {}
            }
        }
        if self.buffer.len() >= MAX_LINE_BYTES { Err(bad("too long a line")) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<RawEvent>, PeerError> {
        let (mut reader, mut events) = (EventReader::default(), Vec::new());
        for piece in pieces {
            reader.feed(piece);
            while let Some(event) = reader.next()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    fn raw(event: &str, id: Option<u64>, data: &str) -> RawEvent {
        RawEvent { event: event.into(), id, data: data.into() }
    }

    const TEXT: &[u8] = b":\n\nevent: list\nid: 7\ndata: {}\n\nevent:stored\r\nid: 8\r\ndata: {\"a\":\r\ndata:1}\r\n\r\n\n\nid: x\ndata\nretry: 1\nevent: new\n\ndata: cut";

    fn expected() -> Vec<RawEvent> {
        vec![raw("list", Some(7), "{}"), raw("stored", Some(8), "{\"a\":1}"), raw("new", None, "")]
    }

    #[test]
    fn events_are_read_wherever_they_are_cut() {
        assert_eq!(read(&[TEXT]).unwrap(), expected());
        let bytes: Vec<&[u8]> = TEXT.chunks(1).collect();
        assert_eq!(read(&bytes).unwrap(), expected());
    }

    #[test]
    fn what_never_ends_is_refused() {
        let long = vec![b'x'; MAX_LINE_BYTES];
        assert!(read(&[&long]).is_err());
        assert!(read(&[&long[1..], b"\n\n"]).is_ok_and(|events| events.is_empty()));
        let line = [b"data: ", &long[..1000], b"\n"].concat();
        assert!(read(&[&line, &line, &line]).is_err());
        assert!(read(&[b"data: \xff\n"]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_events_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..6000), cut in 1usize..700) {
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            if let Ok(events) = read(&pieces) {
                prop_assert!(events.iter().all(|event| event.data.len() <= MAX_LINE_BYTES));
            }
        }
    }
}
