//! Requests that carry something: any method, any headers, a body that is streamed from wherever it lies.
//!
//! Promises: whoever sends learns whether the server can have seen anything of a request that failed; a body that does not
//! move is given up, but not while it waits for its own reader; nothing is sent twice; redirects are not followed.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use actix_web::body::SizedStream;
use awc::error::{ConnectError, SendRequestError};
use awc::http::header::HeaderMap;
use awc::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::stream::{self, LocalBoxStream};
use futures_util::{Stream, StreamExt};
use tokio::time::{Duration, Instant, sleep_until};
use url::Url;

use super::{FetchError, HttpClient, Patience, Response};

/// What goes out.
pub struct Outgoing<'a> {
    pub method: Method,
    pub url: &'a Url,
    pub headers: Vec<(&'static str, String)>,
    pub cargo: Cargo,
    /// `stall` holds for bytes that go out as well as for bytes that come in; `head` from the last byte out.
    pub patience: Patience,
}

/// What a request carries.
pub enum Cargo {
    Nothing,
    Whole(Bytes),
    Stream(Shipment),
}

/// Bytes of a known number, which are read while they are sent.
pub struct Shipment {
    pub len_bytes: u64,
    pub pieces: LocalBoxStream<'static, io::Result<Bytes>>,
}

/// What came back, whatever its status.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    response: Response,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The server has seen nothing of it.
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    /// From here on it may have seen all of it.
    #[error("the connection broke off: {0}")]
    Broken(String),
    #[error("no byte went out for {}s", .0.as_secs())]
    Stalled(Duration),
    #[error("no answer for {}s after the last byte", .0.as_secs())]
    NoAnswer(Duration),
    #[error("not done within {}s", .0.as_secs())]
    TooSlow(Duration),
    #[error("what is to be sent cannot be read")]
    Unreadable(#[source] io::Error),
    #[error("the answer did not come whole")]
    Answer(#[source] FetchError),
}

impl SendError {
    /// Whether the server can have done what it was asked for.
    pub fn may_have_come(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Unreadable(_) => false,
            Self::Broken(_) | Self::Stalled(_) | Self::NoAnswer(_) | Self::TooSlow(_) | Self::Answer(_) => true,
        }
    }
}

impl Reply {
    /// A header's text, where it is plain.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body, if it has no more than `max_bytes`. An answer to HEAD has none, whatever its length says.
    pub async fn whole(self, max_bytes: usize) -> Result<Bytes, SendError> {
        self.response.whole(max_bytes).await.map_err(SendError::Answer)
    }
}

impl HttpClient {
    /// Sends this, once.
    pub async fn carry(&self, outgoing: Outgoing<'_>) -> Result<Reply, SendError> {
        let Outgoing { method, url, headers, cargo, patience } = outgoing;
        let deadline = Instant::now() + patience.whole;
        let mut request = self.client.request(method, url.as_str()).timeout(patience.whole);
        for header in headers {
            request = request.insert_header(header);
        }
        let watch = Rc::new(Watch::new());
        let sent = match cargo {
            Cargo::Nothing => request.send(),
            Cargo::Whole(bytes) => request.send_body(bytes),
            Cargo::Stream(Shipment { len_bytes, pieces }) => {
                watch.is_out.set(false);
                request.send_body(SizedStream::new(len_bytes, watched(pieces, Rc::clone(&watch))))
            }
        };
        let mut sent = pin!(sent);
        let answer = loop {
            let due = watch.due(patience).min(deadline);
            tokio::select! {
                biased;
                answer = &mut sent => break answer,
                () = sleep_until(due) => {}
            }
            if watch.due(patience).min(deadline) <= Instant::now() {
                return Err(watch.verdict(patience, deadline));
            }
        };
        let answer = answer
            .map_err(|error| watch.unreadable.take().map_or_else(|| failure(error, patience), SendError::Unreadable))?;
        let headers = answer.headers().clone();
        let response = Response::new(answer, url.clone(), patience, deadline);
        Ok(Reply { status: response.status, headers, response })
    }
}

fn failure(error: SendRequestError, patience: Patience) -> SendError {
    match error {
        // Also said of a connection that ended before an answer came.
        SendRequestError::Connect(ConnectError::Disconnected) => SendError::Broken("no answer before its end".into()),
        SendRequestError::Connect(error) => SendError::Unreachable(error.to_string()),
        SendRequestError::Url(error) => SendError::Unreachable(error.to_string()),
        SendRequestError::Timeout => SendError::TooSlow(patience.whole),
        error => SendError::Broken(error.to_string()),
    }
}

/// How far a body is on its way out.
struct Watch {
    /// Whether all of it has been handed over.
    is_out: Cell<bool>,
    /// Whether the connection waits for the reader, and not the other way round.
    reads: Cell<bool>,
    last: Cell<Instant>,
    unreadable: RefCell<Option<io::Error>>,
}

impl Watch {
    fn new() -> Self {
        Self {
            is_out: Cell::new(true),
            reads: Cell::new(false),
            last: Cell::new(Instant::now()),
            unreadable: RefCell::default(),
        }
    }

    /// When it is time to give up, unless something happens before.
    fn due(&self, patience: Patience) -> Instant {
        match (self.is_out.get(), self.reads.get()) {
            (true, _) => self.last.get() + patience.head,
            (false, false) => self.last.get() + patience.stall,
            (false, true) => Instant::now() + patience.stall,
        }
    }

    fn verdict(&self, patience: Patience, deadline: Instant) -> SendError {
        if deadline <= Instant::now() {
            SendError::TooSlow(patience.whole)
        } else if self.is_out.get() {
            SendError::NoAnswer(patience.head)
        } else {
            SendError::Stalled(patience.stall)
        }
    }
}

/// The pieces, with notes on how they go.
fn watched(
    mut pieces: LocalBoxStream<'static, io::Result<Bytes>>,
    watch: Rc<Watch>,
) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    stream::poll_fn(move |context| {
        watch.reads.set(true);
        let piece = ready!(pieces.poll_next_unpin(context));
        watch.reads.set(false);
        watch.last.set(Instant::now());
        Poll::Ready(match piece {
            Some(Err(error)) => {
                let told = io::Error::from(error.kind());
                watch.unreadable.replace(Some(error));
                Some(Err(told))
            }
            Some(piece) => Some(piece),
            None => {
                watch.is_out.set(true);
                None
            }
        })
    })
}
