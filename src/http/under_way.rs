//! Counts answers that are being sent, so that a stopping node knows when the last has ended.
//!
//! actix-web's own graceful stop waits for idle connections too, which players and Prometheus keep open.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

/// The number of answers under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts one until the result is dropped.
    pub fn begin(&self) -> OneUnderWay {
        self.0.fetch_add(1, Ordering::SeqCst);
        OneUnderWay(self.clone())
    }
}

#[derive(Debug)]
pub struct OneUnderWay(UnderWay);

impl Drop for OneUnderWay {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A body that counts as under way until it is sent or dropped.
pub struct CountedBody {
    pub body: BoxBody,
    pub _counted: OneUnderWay,
}

impl MessageBody for CountedBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
