//! Bodies of answers that may stop too early.
//!
//! Promises: the bytes before the cut reach the socket before the connection closes.
//! Never: closes a connection that was only to stall.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;

use super::script::Cut;

const CHUNK_BYTES: usize = 64 * 1024;
/// actix-web throws away what it has not yet written when a body fails, so a body that is to fail in its midst waits
/// this long for what came before to be written.
const FLUSH: Duration = Duration::from_millis(50);

/// Calls back once the whole body has been handed to the connection.
pub(super) type WhenComplete = Box<dyn FnOnce() + Send>;

struct Rest {
    bytes: Bytes,
    cut: Option<Cut>,
    when_complete: Option<WhenComplete>,
}

/// A body of these bytes up to the cut. A cut at or beyond the end is none.
pub(super) fn stream(mut bytes: Bytes, cut: Option<Cut>, done: WhenComplete) -> impl Stream<Item = io::Result<Bytes>> {
    let after = match cut {
        Some(Cut::Truncated { after_bytes, .. } | Cut::Stalled { after_bytes }) => after_bytes,
        None => bytes.len(),
    };
    let cut = cut.filter(|_| after < bytes.len());
    bytes.truncate(after);
    unfold(Rest { bytes, cut, when_complete: Some(done) }, next)
}

async fn next(mut rest: Rest) -> Option<(io::Result<Bytes>, Rest)> {
    if !rest.bytes.is_empty() {
        let chunk = rest.bytes.split_to(CHUNK_BYTES.min(rest.bytes.len()));
        return Some((Ok(chunk), rest));
    }
    match rest.cut {
        None => {
            if let Some(done) = rest.when_complete.take() {
                done();
            }
            None
        }
        Some(Cut::Truncated { .. }) => {
            actix_web::rt::time::sleep(FLUSH).await;
            Some((Err(io::ErrorKind::UnexpectedEof.into()), rest))
        }
        Some(Cut::Stalled { .. }) => std::future::pending().await,
    }
}

/// A body that fails before its first byte, so that not even the head of the answer is sent.
pub(super) fn nothing() -> impl Stream<Item = io::Result<Bytes>> {
    futures_util::stream::once(async { Err(io::ErrorKind::ConnectionReset.into()) })
}
