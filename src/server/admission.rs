//! How many requests are in hand. A request for a method of ours takes a place before its message is read and keeps it
//! until it is answered; without a free place it is refused with `busy` at once, and nothing queues. Agents and
//! operators have places of their own, so that a fleet in a storm does not keep its operators out. Health and
//! reflection take no place. A message beyond its limit, which is not read to its end, is refused in the vault's words.
//!
//! Here, too, each request is measured and logged: method, code, time and peer, never what it holds.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::listen::Origin;
use super::{methods, status};
use crate::denial::{Denial, Reason};
use crate::telemetry::Telemetry;

/// The places of one kind of peer; clones share them.
#[derive(Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    all: u32,
    timeout: Duration,
    telemetry: Telemetry,
    unread: Arc<dyn Fn(Reason) + Send + Sync>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("free", &self.places.available_permits()).field("all", &self.all).finish()
    }
}

impl Admission {
    /// So many places, each for at most `timeout`; `unread` is told why each request was refused that was not read.
    #[must_use]
    pub fn new(
        places: u32,
        timeout: Duration,
        telemetry: Telemetry,
        unread: impl Fn(Reason) + Send + Sync + 'static,
    ) -> Admission {
        Admission {
            places: Arc::new(Semaphore::new(places as usize)),
            all: places,
            timeout,
            telemetry,
            unread: Arc::new(unread),
        }
    }

    /// Waits until no request is in hand.
    pub async fn idle(&self) {
        // The semaphore is never closed.
        let _ = self.places.acquire_many(self.all).await;
    }

    fn refuse_unread(&self, reason: Reason) -> Response<Body> {
        (self.unread)(reason);
        self.refuse(reason).into_http()
    }

    fn refuse(&self, reason: Reason) -> Status {
        self.telemetry.refused(reason);
        status::refusal(&Denial::new(reason), None)
    }
}

impl<S> Layer<S> for Admission {
    type Service = Admitted<S>;

    fn layer(&self, inner: S) -> Admitted<S> {
        Admitted { inner, admission: self.clone() }
    }
}

/// What stands behind an [`Admission`].
#[derive(Clone, Debug)]
pub struct Admitted<S> {
    inner: S,
    admission: Admission,
}

impl<S> Service<Request<Body>> for Admitted<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(rpc) = methods::name(request.uri().path()) else {
            return Box::pin(self.inner.call(request));
        };
        // The one that was asked whether it is ready is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let admission = self.admission.clone();
        let origin = request.extensions().get::<Origin>().copied();
        Box::pin(async move {
            let begin = Instant::now();
            let answer = match Arc::clone(&admission.places).try_acquire_owned() {
                Err(_) => Ok(admission.refuse_unread(Reason::Busy)),
                Ok(_place) => match tokio::time::timeout(admission.timeout, inner.call(request)).await {
                    Ok(Ok(answer)) if code_of(&answer) == TOO_LARGE => Ok(admission.refuse_unread(Reason::Oversize)),
                    Ok(answer) => answer,
                    // What was under way may still become durable; the vault undoes it then.
                    Err(_) => Ok(admission.refuse(Reason::OutcomeUnknown).into_http()),
                },
            };
            if let Ok(answer) = &answer {
                let code = status::code_name(code_of(answer));
                let took = begin.elapsed();
                admission.telemetry.answered(rpc, code, took);
                tracing::debug!(rpc, code, peer = ?origin.map(|origin| origin.0), ?took, "answered");
            }
            answer
        })
    }
}

/// What tonic says of a message beyond its limit. No refusal of ours has this code.
const TOO_LARGE: Code = Code::OutOfRange;

/// The gRPC code of an answer. One that ends well has it in its trailers, which come after the message; a refusal has
/// it in its head.
fn code_of(answer: &Response<Body>) -> Code {
    Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::Notify;

    use super::*;
    use crate::wire::convert::RefusalDetails;

    /// Answers when it is told to.
    #[derive(Clone, Default)]
    struct Held(Arc<Notify>);

    impl Service<Request<Body>> for Held {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            let told = Arc::clone(&self.0);
            Box::pin(async move {
                told.notified().await;
                Ok(Response::new(Body::empty()))
            })
        }
    }

    fn asked(path: &'static str) -> Request<Body> {
        Request::builder().uri(path).body(Body::empty()).expect("a request")
    }

    fn refusal(answer: &Response<Body>) -> (Code, String) {
        let status = Status::from_header_map(answer.headers()).expect("a refusal");
        (status.code(), RefusalDetails::from_status(&status).expect("one of ours").reason)
    }

    const OURS: &str = "/nockvault.v1.AgentService/RequestCredential";

    #[tokio::test]
    async fn one_request_too_many_is_refused_at_once() {
        let held = Held::default();
        let admission = Admission::new(2, Duration::from_secs(60), Telemetry::new(), |_| {});
        let mut service = admission.layer(held.clone());
        let inside: Vec<_> = (0..2).map(|_| tokio::spawn(service.call(asked(OURS)))).collect();
        while admission.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = service.call(asked(OURS)).await.expect("infallible");
        assert_eq!(refusal(&refused), (Code::ResourceExhausted, "busy".to_owned()));

        // Who asks for health is not kept out.
        let health = tokio::spawn(service.call(asked("/grpc.health.v1.Health/Check")));
        tokio::task::yield_now().await;
        held.0.notify_waiters();
        health.await.expect("it ends").expect("infallible");
        for request in inside {
            request.await.expect("it ends").expect("infallible");
        }
        admission.idle().await;
        let text = admission.telemetry.text();
        for line in [
            "nockvault_requests_total{rpc=\"RequestCredential\",code=\"OK\"} 2",
            "nockvault_requests_total{rpc=\"RequestCredential\",code=\"RESOURCE_EXHAUSTED\"} 1",
            "nockvault_refusals_total{reason=\"busy\"} 1",
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_given_up() {
        let admission = Admission::new(1, Duration::from_millis(20), Telemetry::new(), |_| {});
        let answer = admission.layer(Held::default()).call(asked(OURS)).await.expect("infallible");
        assert_eq!(refusal(&answer), (Code::DeadlineExceeded, "outcome_unknown".to_owned()));
        admission.idle().await;
    }
}
