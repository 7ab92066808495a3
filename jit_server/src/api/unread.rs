//! Answers to calls whose body nobody read. What is small is read off first, so that the connection is good for the next call. Where the rest
//! is large, or does not come, the connection ends with the answer, since it would be in the way; whoever calls is told so, and begins another
//! one instead of losing a call on this one.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

/// As much of a body is read off. Bytes.
const SMALL: usize = 64 * 1024;
/// It is waited for so long: whoever has sent the head is sending it.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Reads off what is left of the body, or says that the connection ends.
pub(super) async fn read_off(request: Request, next: Next) -> Response {
    // Who waits to be told that he may send the body is told by the answer that he need not.
    let is_sent = !request.headers().contains_key(header::EXPECT);
    let left = Left::default();
    let request = request.map(|body| {
        Body::new(Watched {
            body,
            is_read: false,
            left: left.clone(),
        })
    });
    let mut response = next.run(request).await;
    if let Some(rest) = left.take()
        && !(is_sent && is_read_off(rest).await)
    {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

async fn is_read_off(rest: Body) -> bool {
    if usize::try_from(rest.size_hint().lower()).is_ok_and(|bytes| bytes > SMALL) {
        return false;
    }
    let read = Limited::new(rest, SMALL).collect();
    timeout(LONGEST_WAIT, read)
        .await
        .is_ok_and(|read| read.is_ok())
}

/// What is left of a body when whoever has it drops it.
#[derive(Debug, Clone, Default)]
struct Left(Arc<Mutex<Option<Body>>>);

impl Left {
    fn put(&self, body: Body) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    fn take(&self) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A body that leaves behind what nobody read of it.
struct Watched {
    body: Body,
    /// To its end, which not every body tells again.
    is_read: bool,
    left: Left,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            self.left.put(std::mem::take(&mut self.body));
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.is_read |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.is_read || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
