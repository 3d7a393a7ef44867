//! A request's body that has to be whole in time.
//!
//! Invariant: nobody waits for a body longer than its limit; what was read in time is untouched.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};

use crate::clock::SharedClock;

/// A body, and when its time is up.
pub(super) struct TimedBody {
    inner: Incoming,
    limit: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for TimedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimedBody")
    }
}

impl TimedBody {
    pub(super) fn new(inner: Incoming, limit: Duration, clock: SharedClock) -> Self {
        let limit = Box::pin(async move { clock.sleep(limit).await });
        Self { inner, limit }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame.map(|read| read.map_err(BoxError::from)));
        }
        match self.limit.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
