//! The HTTP client that fetches from sources and peers.
//!
//! Promises: a body that ends before its end is an error, never a short success; every wait has a deadline; a body is
//! streamed, and one that is read whole has a bound; redirects are followed, and the answer says where they led, as what
//! a playlist lists is relative to that.
//! One per arbiter: it is not `Send`.

pub mod sending;

use std::cell::{OnceCell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_rt::net::{ActixStream, Ready, TcpStream};
use actix_service::{Service, fn_service};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector as TcpConnector};
use actix_web::dev::{Decompress, Payload};
use awc::SendClientRequest;
use awc::http::{StatusCode, Uri, Version, header};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::LocalBoxStream;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::hls::upstream::ByteRange;
use crate::model::Timestamp;

/// Time until a connection stands.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// Time without a single byte, after which a body counts as stuck.
pub const STALL_DEADLINE: Duration = Duration::from_secs(30);
/// Connections kept per client. More than all permits of an arbiter's channels together would use is waste.
const MAX_CONNECTIONS: usize = 100;
/// As browsers have it, less; more is a loop.
const MAX_REDIRECTS: usize = 5;

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    #[error("no answer within {}s", .0.as_secs())]
    NoAnswer(Duration),
    #[error("answered with status {0}")]
    Status(u16),
    #[error("no byte for {}s", .0.as_secs())]
    Stalled(Duration),
    #[error("not done within {}s", .0.as_secs())]
    TooSlow(Duration),
    #[error("the body broke off after {got_bytes} bytes: {why}")]
    CutOff { got_bytes: u64, why: String },
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    #[error("asked for a byte range, and got something else")]
    WrongRange,
    #[error("redirected more than {MAX_REDIRECTS} times, or to nowhere")]
    Redirected,
}

impl FetchError {
    /// Whether the server says that what was asked for is not there.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Status(404 | 410))
    }

    /// Whether there was no connection.
    pub fn is_unconnected(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Whether nobody answered at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::NoAnswer(_))
    }

    /// Whether the server does not accept the address: a token has expired, mostly.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Status(401 | 403))
    }
}

/// How long a whole body may take, and how long it may be.
#[derive(Debug, Clone, Copy)]
pub struct ByteBudget {
    pub max_bytes: usize,
    pub deadline: Duration,
}

impl ByteBudget {
    /// What is small is waited for as long as all of it may take.
    pub const fn patience(self) -> Patience {
        Patience { head: self.deadline, stall: STALL_DEADLINE, whole: self.deadline }
    }
}

/// Whose head has come.
type Answer = awc::ClientResponse<Decompress<Payload>>;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the status line and headers.
    pub head: Duration,
    /// Without a single byte of the body.
    pub stall: Duration,
    /// For all of it.
    pub whole: Duration,
}

/// A client of one arbiter. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    client: Rc<awc::Client>,
}

thread_local! {
    static OF_THIS_ARBITER: OnceCell<HttpClient> = const { OnceCell::new() };
    static FOR_LONG_ANSWERS: OnceCell<HttpClient> = const { OnceCell::new() };
    static WITH_TLS: Kept = const { Kept::new(None) };
    static FOR_LONG_ANSWERS_WITH_TLS: Kept = const { Kept::new(None) };
}

/// A client that believes other certificates; a node has one set of them.
type Kept = RefCell<Option<(Arc<ClientConfig>, HttpClient)>>;

impl HttpClient {
    /// The client of the current arbiter: its actors share connections and the list of root certificates.
    pub fn of_this_arbiter() -> Self {
        OF_THIS_ARBITER.with(|client| client.get_or_init(|| Self::new(None)).clone())
    }

    /// Another one of the current arbiter, for answers that never end: they would keep connections from the rest.
    pub fn for_long_answers() -> Self {
        FOR_LONG_ANSWERS.with(|client| client.get_or_init(|| Self::new(None)).clone())
    }

    /// As `of_this_arbiter`, with other rules for TLS.
    pub fn with_tls(tls: &Arc<ClientConfig>) -> Self {
        WITH_TLS.with(|kept| Self::kept(kept, tls))
    }

    /// As `for_long_answers`, with other rules for TLS.
    pub fn for_long_answers_with_tls(tls: &Arc<ClientConfig>) -> Self {
        FOR_LONG_ANSWERS_WITH_TLS.with(|kept| Self::kept(kept, tls))
    }

    fn kept(kept: &Kept, tls: &Arc<ClientConfig>) -> Self {
        let mut kept = kept.borrow_mut();
        match &*kept {
            Some((of, client)) if Arc::ptr_eq(of, tls) => client.clone(),
            _ => {
                let client = Self::new(Some(Arc::clone(tls)));
                *kept = Some((Arc::clone(tls), client.clone()));
                client
            }
        }
    }

    fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        let tcp = TcpConnector::default().service();
        let ends_are_errors = fn_service(move |request: ConnectInfo<Uri>| {
            let connecting = tcp.call(request);
            async move {
                let (io, uri) = connecting.await?.into_parts();
                // Small requests must not wait for acknowledgements of earlier ones.
                let _ = io.set_nodelay(true);
                Ok::<_, ConnectError>(Connection::new(uri, EndIsError::new(io)))
            }
        });
        let connector =
            awc::Connector::new().timeout(CONNECT_DEADLINE).limit(MAX_CONNECTIONS).connector(ends_are_errors);
        let connector = match tls {
            None => connector.max_http_version(Version::HTTP_11),
            Some(tls) => connector.rustls_0_23(tls),
        };
        let client = awc::Client::builder()
            .connector(connector)
            .timeout(CONNECT_DEADLINE)
            .disable_redirects()
            .add_default_header((header::USER_AGENT, concat!("segvault/", env!("CARGO_PKG_VERSION"))))
            .finish();
        Self { client: Rc::new(client) }
    }

    /// Sends a GET. `Ok` means status 200, or 206 where a range was asked for.
    pub async fn get(&self, url: &Url, range: Option<ByteRange>, patience: Patience) -> Result<Response, FetchError> {
        let response = self.send(url, range, patience).await?;
        match (response.status, range) {
            (StatusCode::OK, None) | (StatusCode::PARTIAL_CONTENT, Some(_)) => Ok(response),
            (StatusCode::OK, Some(_)) => Err(FetchError::WrongRange),
            (status, _) => Err(FetchError::Status(status.as_u16())),
        }
    }

    /// Sends a GET and gives the answer whatever its status: for who wants to read why.
    pub async fn ask(&self, url: &Url, patience: Patience) -> Result<Response, FetchError> {
        self.send(url, None, patience).await
    }

    /// Sends a GET with these headers and gives the answer whatever its status: a redirect too, which is not followed.
    pub async fn ask_here(
        &self,
        url: &Url,
        headers: &[(header::HeaderName, &str)],
        patience: Patience,
    ) -> Result<Response, FetchError> {
        let mut request = self.client.get(url.as_str()).timeout(patience.head);
        for (name, value) in headers {
            request = request.insert_header((name.clone(), *value));
        }
        let deadline = Instant::now() + patience.whole;
        let answer = answer_within(request.send(), patience).await?;
        Ok(Response::new(answer, url.clone(), patience, deadline))
    }

    /// Sends a POST and gives the answer whatever its status.
    pub async fn post(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        body: Bytes,
        patience: Patience,
    ) -> Result<Response, FetchError> {
        let mut request = self.client.post(url.as_str()).timeout(patience.head);
        for header in headers {
            request = request.insert_header(*header);
        }
        let deadline = Instant::now() + patience.whole;
        let answer = answer_within(request.send_body(body), patience).await?;
        Ok(Response::new(answer, url.clone(), patience, deadline))
    }

    async fn send(&self, url: &Url, range: Option<ByteRange>, patience: Patience) -> Result<Response, FetchError> {
        let deadline = Instant::now() + patience.whole;
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            match self.send_once(&url, range, patience, deadline).await? {
                Sent::Answer(response) => return Ok(response),
                Sent::Elsewhere(other) => url = other,
            }
        }
        Err(FetchError::Redirected)
    }

    async fn send_once(
        &self,
        url: &Url,
        range: Option<ByteRange>,
        patience: Patience,
        deadline: Instant,
    ) -> Result<Sent, FetchError> {
        // What is archived is the bytes as they are; a server that compresses nonetheless is decompressed.
        let mut request = self.client.get(url.as_str()).insert_header((header::ACCEPT_ENCODING, "identity"));
        request = request.timeout(patience.head);
        if let Some(range) = range {
            let last = range.offset.saturating_add(range.length.saturating_sub(1));
            request = request.insert_header((header::RANGE, format!("bytes={}-{last}", range.offset)));
        }
        let response = answer_within(request.send(), patience).await?;
        let status = response.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let elsewhere = location.and_then(|location| url.join(location).ok());
            return elsewhere.map(Sent::Elsewhere).ok_or(FetchError::Redirected);
        }
        Ok(Sent::Answer(Response::new(response, url.clone(), patience, deadline)))
    }

    /// Fetches a small body whole, within its budget.
    pub async fn get_whole(
        &self,
        url: &Url,
        range: Option<ByteRange>,
        budget: ByteBudget,
    ) -> Result<Bytes, FetchError> {
        Ok(self.get_located(url, range, budget).await?.0)
    }

    /// The same, with the address that answered in the end: what a playlist lists is relative to that.
    pub async fn get_located(
        &self,
        url: &Url,
        range: Option<ByteRange>,
        budget: ByteBudget,
    ) -> Result<(Bytes, Url), FetchError> {
        let response = self.get(url, range, budget.patience()).await?;
        let url = response.url.clone();
        Ok((response.whole(budget.max_bytes).await?, url))
    }
}

/// Waits for the head of an answer.
async fn answer_within(sent: SendClientRequest, patience: Patience) -> Result<Answer, FetchError> {
    match timeout(patience.head, sent).await {
        Err(_) | Ok(Err(awc::error::SendRequestError::Timeout)) => Err(FetchError::NoAnswer(patience.head)),
        Ok(Err(error)) => Err(FetchError::Unreachable(error.to_string())),
        Ok(Ok(answer)) => Ok(answer),
    }
}

/// An answer.
pub struct Response {
    pub status: StatusCode,
    /// What answered, after all redirects.
    pub url: Url,
    /// As it came, where it is plain text.
    pub etag: Option<Box<str>>,
    /// Which bytes these are of how many, as it came.
    pub content_range: Option<Box<str>>,
    /// Under which number a node keeps the receipt of the cut that this is.
    pub cut_number: Option<u64>,
    /// What time it was where it came from.
    pub date: Option<Timestamp>,
    /// For how long it is good, if it says so.
    pub max_age: Option<Duration>,
    pub body: Body,
}

enum Sent {
    Answer(Response),
    Elsewhere(Url),
}

impl Response {
    fn new(answer: Answer, url: Url, patience: Patience, deadline: Instant) -> Self {
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let expected_bytes = header(header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let is_encoded = header(header::CONTENT_ENCODING).is_some();
        let etag = header(header::ETAG).map(Box::from);
        let content_range = header(header::CONTENT_RANGE).map(Box::from);
        let cut_number = header(header::HeaderName::from_static("x-segvault-cut")).and_then(|text| text.parse().ok());
        let date = header(header::DATE).and_then(Timestamp::from_http_date);
        let max_age = header(header::CACHE_CONTROL).and_then(max_age);
        let status = answer.status();
        let body = Body {
            stream: answer.map(|piece| piece.map_err(|error| error.to_string())).boxed_local(),
            got_bytes: 0,
            expected_bytes: expected_bytes.filter(|_: &u64| !is_encoded),
            deadline,
            patience,
        };
        Self { status, url, etag, content_range, cut_number, date, max_age, body }
    }

    /// The body, if it has no more than `max_bytes`.
    pub async fn whole(mut self, max_bytes: usize) -> Result<Bytes, FetchError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if whole.len() + piece.len() > max_bytes {
                return Err(FetchError::TooLong(max_bytes));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// Of a Cache-Control (RFC 9111 §5.2.2.1).
fn max_age(text: &str) -> Option<Duration> {
    let directives = text.split(',').filter_map(|one| one.split_once('='));
    let mut ages = directives.filter(|(name, _)| name.trim().eq_ignore_ascii_case("max-age"));
    ages.next()?.1.trim().trim_matches('"').parse().ok().map(Duration::from_secs)
}

/// A body as it arrives.
pub struct Body {
    stream: LocalBoxStream<'static, Result<Bytes, String>>,
    got_bytes: u64,
    expected_bytes: Option<u64>,
    deadline: Instant,
    patience: Patience,
}

impl Body {
    /// The length that the server announced, if it did.
    pub fn expected_bytes(&self) -> Option<u64> {
        self.expected_bytes
    }

    /// The next piece; `None` only when the body is complete.
    pub async fn next(&mut self) -> Option<Result<Bytes, FetchError>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let Patience { stall, whole, .. } = self.patience;
        match timeout(left.min(stall), self.stream.next()).await {
            Err(_) if left <= stall => Some(Err(FetchError::TooSlow(whole))),
            Err(_) => Some(Err(FetchError::Stalled(stall))),
            Ok(Some(Ok(piece))) => {
                self.got_bytes += piece.len() as u64;
                Some(Ok(piece))
            }
            Ok(Some(Err(why))) => Some(Err(FetchError::CutOff { got_bytes: self.got_bytes, why })),
            // The connection's end is an error already (EndIsError); this guards against a client that hides it.
            Ok(None) => match self.expected_bytes {
                Some(expected) if expected != self.got_bytes => {
                    let why = format!("{expected} bytes were announced");
                    Some(Err(FetchError::CutOff { got_bytes: self.got_bytes, why }))
                }
                _ => None,
            },
        }
    }
}

/// What is read at once of a connection on which much comes.
const AHEAD_BYTES: usize = 64 * 1024;

/// A TCP stream whose end is an error: awc takes a connection that closes amid a body for the body's end.
/// It reads ahead, as awc asks for 8 KB at a time (actix-codec): of a long body that is a call of the system for each, and a
/// window told to the sender.
#[derive(Debug)]
struct EndIsError {
    tcp: TcpStream,
    /// Read and not yet asked for. Without memory on a connection that has little to say.
    ahead: BytesMut,
    /// The last read filled the room that awc gave: there may be more.
    is_busy: bool,
}

impl EndIsError {
    fn new(tcp: TcpStream) -> Self {
        Self { tcp, ahead: BytesMut::new(), is_busy: false }
    }
}

impl AsyncRead for EndIsError {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let room = buffer.remaining();
        if this.ahead.is_empty() && !this.is_busy {
            let filled = buffer.filled().len();
            ready!(Pin::new(&mut this.tcp).poll_read(cx, buffer))?;
            let read = buffer.filled().len() - filled;
            this.is_busy = read == room;
            return Poll::Ready(if room > 0 { not_the_end(read) } else { Ok(()) });
        }
        if this.ahead.is_empty() {
            this.ahead.reserve(AHEAD_BYTES);
            let read = ready!(pin!(this.tcp.read_buf(&mut this.ahead)).poll(cx))?;
            not_the_end(read)?;
            this.is_busy = read >= room;
        }
        let given = room.min(this.ahead.len());
        buffer.put_slice(&this.ahead[..given]);
        this.ahead.advance(given);
        if this.ahead.is_empty() && !this.is_busy {
            this.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

fn not_the_end(read_bytes: usize) -> io::Result<()> {
    if read_bytes == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

impl AsyncWrite for EndIsError {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

impl ActixStream for EndIsError {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.tcp, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.tcp, cx)
    }
}
