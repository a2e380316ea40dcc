//! What anyone may ask, and nobody signs: how the daemon is (health), what there is to call (reflection), who the vault
//! is. Nothing is known of whoever asks, so what he may hold of the daemon's memory is bounded, in number and in time.
//!
//! Streams, which are health's `Watch` and reflection, have [`STREAMS`] places of their own at a kind of listener, and
//! one peer has [`STREAMS_OF_PEER`] of them. A stream ends when its time is over; whoever needs it asks anew. One
//! connection has [`CHECKS`] requests for health in hand at once, and nobody elsewhere takes any of these, so that who
//! looks after the daemon always hears how it is. `DescribeVault` takes a place as every method of ours does.
//!
//! A place is kept until the answer is taken, not only until it is made: a peer that opens no HTTP/2 window leaves it
//! with the daemon, which then cannot even tell the end. Where it is not taken [`GRACE`] after its time, the connection
//! is closed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as _, Frame};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::peers::{Held, Line};

/// Streams at once at one kind of listener.
pub(super) const STREAMS: usize = 64;
/// Streams at once of one peer.
pub(super) const STREAMS_OF_PEER: usize = 8;
/// Requests for health in hand at once on one connection.
pub(super) const CHECKS: usize = 16;
/// How long health may be watched at a stretch.
const WATCH: Duration = Duration::from_secs(300);
/// How long after its time an answer may still lie here.
const GRACE: Duration = Duration::from_secs(5);

const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/";

/// Which of these a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Public {
    /// How the daemon is, once.
    Check,
    /// How it is from now on.
    Watch,
    /// What there is to call.
    Reflection,
}

impl Public {
    pub(super) fn of(path: &str) -> Option<Public> {
        match path.strip_prefix(HEALTH) {
            Some("Watch") => Some(Public::Watch),
            Some(_) => Some(Public::Check),
            None => path.starts_with(REFLECTION).then_some(Public::Reflection),
        }
    }

    /// How long it may take, where a request may take `request`.
    pub(super) fn time(self, request: Duration) -> Duration {
        if self == Public::Watch { WATCH } else { request }
    }
}

/// A place among all, and one among those of the peer.
pub(super) type Place = (Held, OwnedSemaphorePermit);

/// A place that is held until the answer is taken: it is dropped with the answer.
struct Stay {
    _place: Place,
    closer: AbortHandle,
}

impl Stay {
    /// Closes the connection if this still stands when `end`, and a while, is over.
    fn begin(place: Place, line: Arc<Line>, end: Instant) -> Stay {
        let closer = tokio::spawn(async move {
            sleep_until(end + GRACE).await;
            line.close();
        });
        Stay { _place: place, closer: closer.abort_handle() }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.closer.abort();
    }
}

/// Asks `inner` at this place. When `time` is over, what was asked and what is answered both end.
pub(super) async fn serve<S>(
    inner: &mut S,
    request: Request<Body>,
    (place, line): (Place, Arc<Line>),
    time: Duration,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    let end = Instant::now() + time;
    let stay = Arc::new(Stay::begin(place, line, end));
    // Who answers may wait for more of the request for as long as it comes, whether or not the answer has ended.
    let request = request.map(|body| Timed::body(body, end, None, &stay));
    match timeout_at(end, inner.call(request)).await {
        Ok(answer) => Ok(answer?.map(|body| Timed::body(body, end, Some(over()), &stay))),
        Err(_) => Ok(over().into_http()),
    }
}

/// The same answer, which holds the place until it is taken, and has this time for it.
pub(super) fn hold(answer: Response<Body>, (place, line): (Place, Arc<Line>), time: Duration) -> Response<Body> {
    let end = Instant::now() + time;
    let stay = Arc::new(Stay::begin(place, line, end));
    answer.map(|body| Timed::body(body, end, Some(over()), &stay))
}

fn over() -> Status {
    Status::unavailable("this has had its time; ask anew")
}

/// A body that ends with its time.
struct Timed {
    body: Body,
    end: Pin<Box<Sleep>>,
    ended: bool,
    /// What an answer says when its time is over.
    last: Option<Status>,
    _stay: Arc<Stay>,
}

impl Timed {
    fn body(body: Body, end: Instant, last: Option<Status>, stay: &Arc<Stay>) -> Body {
        // One that is empty is not wrapped: nothing of it has to be taken.
        if body.is_end_stream() {
            return body;
        }
        let end = Box::pin(sleep_until(end));
        Body::new(Timed { body, end, ended: false, last, _stay: Arc::clone(stay) })
    }
}

impl hyper::body::Body for Timed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // Before anything else, or a peer that is quick enough is never at its end.
        if self.end.as_mut().poll(cx).is_pending() {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        self.ended = true;
        let Some(last) = self.last.take() else { return Poll::Ready(None) };
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(last.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}
