//! Bodies of answers that may stop too early.
//!
//! Promises: the bytes before the cut reach the socket before the connection closes.
//! Never: closes a connection that was only to stall.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;

const CHUNK_BYTES: usize = 64 * 1024;
/// actix-web throws away what it has not yet written when a body fails, so a body that is to fail in its midst waits
/// this long for what came before to be written.
const FLUSH: Duration = Duration::from_millis(50);
/// A line that says nothing, for playlists that do not end.
const PADDING_LINE: &str = "# There is nothing more to say, and this line says so, as did the one before it.\n";

/// Calls back once the whole body has been handed to the connection.
pub(super) type WhenComplete = Box<dyn FnOnce() + Send>;

/// What follows the last byte.
pub(super) enum Ending {
    /// The end, as announced.
    Whole(WhenComplete),
    /// The connection closes.
    Broken,
    /// Nothing, for ever.
    Stalled,
}

/// A body of these bytes, and what follows them.
pub(super) fn stream(bytes: Bytes, ending: Ending) -> impl Stream<Item = io::Result<Bytes>> {
    unfold((bytes, Some(ending)), next)
}

type Rest = (Bytes, Option<Ending>);

async fn next((mut bytes, ending): Rest) -> Option<(io::Result<Bytes>, Rest)> {
    if !bytes.is_empty() {
        let chunk = bytes.split_to(CHUNK_BYTES.min(bytes.len()));
        return Some((Ok(chunk), (bytes, ending)));
    }
    match ending {
        None => None,
        Some(Ending::Whole(done)) => {
            done();
            None
        }
        Some(Ending::Broken) => {
            actix_web::rt::time::sleep(FLUSH).await;
            Some((Err(io::ErrorKind::UnexpectedEof.into()), (bytes, None)))
        }
        Some(Ending::Stalled) => std::future::pending().await,
    }
}

/// These bytes, then comments up to `total_bytes` or a little more; never in memory as a whole.
pub(super) fn padded(bytes: Bytes, total_bytes: u64) -> impl Stream<Item = io::Result<Bytes>> {
    let padding = Bytes::from(PADDING_LINE.repeat(CHUNK_BYTES / PADDING_LINE.len()));
    let (head, sent) = (Some(bytes), 0_u64);
    unfold((head, sent), move |(head, sent)| {
        let chunk = match head {
            Some(head) => Some(head),
            None => (sent < total_bytes).then(|| padding.clone()),
        };
        async move { chunk.map(|chunk| (Ok(chunk.clone()), (None, sent + chunk.len() as u64))) }
    })
}

/// A body that fails before its first byte, so that not even the head of the answer is sent.
pub(super) fn nothing() -> impl Stream<Item = io::Result<Bytes>> {
    futures_util::stream::once(async { Err(io::ErrorKind::ConnectionReset.into()) })
}
