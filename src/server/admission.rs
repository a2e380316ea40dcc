//! How many requests are in hand, and how often a peer may ask. Whatever a peer calls but health is counted before it is
//! read, and refused with `rate_limited` and the time to wait where the peer asks too often ([`super::peers`]). A request
//! for a method of ours takes a place before its message is read and keeps it until it is answered; without a free place
//! it is refused with `busy` at once, and nothing queues. Agents have places of their own, and so has each listener of
//! operators, so that neither a fleet in a storm nor a stranger at a port keeps operators out. What anyone may ask has
//! places of its own (`public`). A message beyond its limit, which is not read to its end, is refused in the
//! vault's words.
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
use super::peers::{Line, Peers, kind};
use super::public::{self, Place, Public, STREAMS};
use super::{methods, status};
use crate::denial::{Denial, Reason};
use crate::telemetry::Telemetry;
use crate::wire::convert::RefusalDetails;

/// The places of one kind of peer; clones share them.
#[derive(Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    all: u32,
    /// Places for streams of health and reflection.
    streams: Arc<Semaphore>,
    timeout: Duration,
    /// Which listener it is, for metrics.
    name: &'static str,
    peers: Peers,
    telemetry: Telemetry,
    unread: Arc<dyn Fn(Reason) + Send + Sync>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("free", &self.places.available_permits()).field("all", &self.all).finish()
    }
}

impl Admission {
    /// So many places, each for at most `timeout`, at the listener of this name; `unread` is told why each request was refused that was not read.
    #[must_use]
    pub fn new(
        places: u32,
        timeout: Duration,
        (name, peers): (&'static str, Peers),
        telemetry: Telemetry,
        unread: impl Fn(Reason) + Send + Sync + 'static,
    ) -> Admission {
        Admission {
            places: Arc::new(Semaphore::new(places as usize)),
            all: places,
            streams: Arc::new(Semaphore::new(STREAMS)),
            timeout,
            name,
            peers,
            telemetry,
            unread: Arc::new(unread),
        }
    }

    /// Waits until no request is in hand.
    pub async fn idle(&self) {
        // The semaphore is never closed.
        let _ = self.places.acquire_many(self.all).await;
    }

    fn refuse_unread(&self, denial: &Denial) -> Response<Body> {
        (self.unread)(denial.reason);
        self.refuse(denial).into_http()
    }

    fn refuse(&self, denial: &Denial) -> Status {
        self.telemetry.refused(denial.reason);
        status::refusal(denial, None)
    }

    /// Counts a request of this peer.
    fn ask(&self, origin: Option<&Origin>) -> Result<(), Denial> {
        let asked = origin.map_or(Ok(()), |origin| self.peers.ask(origin));
        asked.map_err(later)
    }

    /// A place for a request of this peer.
    fn place(&self, origin: Option<&Origin>) -> Result<Place, Denial> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Reason::Busy)?;
        let held = origin.map_or(Ok(None), |origin| self.peers.take_in_hand(&origin.0)).map_err(later)?;
        Ok((held, place))
    }

    /// A place for what anyone may ask.
    fn public_place(&self, public: Public, origin: Option<&Origin>, line: &Line) -> Result<Place, Denial> {
        match public {
            Public::Check => return Ok((None, line.check().map_err(later)?)),
            // Whoever looks after the daemon hears how it is, whatever else comes from there.
            Public::Watch => {}
            Public::Reflection => self.ask(origin)?,
        }
        let place = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| Reason::Busy)?;
        let held = origin.map_or(Ok(None), |origin| self.peers.stream(&origin.0)).map_err(later)?;
        Ok((held, place))
    }

    /// An answer within its time. One to a stranger keeps its place until he has taken it; `stranger` is where he is.
    async fn answer<E>(
        &self,
        answer: impl Future<Output = Result<Response<Body>, E>>,
        place: Place,
        stranger: Option<Arc<Line>>,
    ) -> Result<Response<Body>, E> {
        match (tokio::time::timeout(self.timeout, answer).await, stranger) {
            (Ok(Ok(answer)), _) if code_of(&answer) == TOO_LARGE => Ok(self.refuse_unread(&Reason::Oversize.into())),
            (Ok(Ok(answer)), Some(line)) => Ok(public::hold(answer, (place, line), self.timeout)),
            (Ok(answer), _) => answer,
            // What was under way may still become durable; the vault undoes it then.
            (Err(_), _) => Ok(self.refuse(&Reason::OutcomeUnknown.into()).into_http()),
        }
    }

    /// Learns from the answer whether a key stands behind this connection.
    fn learn(&self, origin: &Origin, rpc: &str, answer: &Response<Body>) {
        let status = Status::from_header_map(answer.headers()).filter(|status| status.code() != Code::Ok);
        let Some(status) = status else {
            // Who the vault is, it says to anybody.
            if !methods::DESCRIBE.ends_with(rpc) {
                self.peers.proved(origin);
            }
            return;
        };
        let Some(details) = RefusalDetails::from_status(&status) else { return };
        if details.reason == Reason::Unauthenticated.code() {
            self.peers.failed(origin);
            self.telemetry.signature_failed(self.name, kind(&origin.0));
        } else if details.signed.is_some() {
            self.peers.proved(origin);
            if let Some(wait) = details.retry_after() {
                self.peers.hold(origin, wait);
            }
        }
    }
}

fn later(wait: Duration) -> Denial {
    Denial::new(Reason::RateLimited).retry_after(wait)
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

impl<S> Admitted<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    /// The one that was asked whether it is ready, which is the one to call.
    fn take(&mut self) -> S {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }

    /// Asks what anyone may ask.
    fn public(&mut self, public: Public, request: Request<Body>, origin: Option<Origin>) -> Answering<S::Error> {
        let (mut inner, admission) = (self.take(), self.admission.clone());
        let line = origin.as_ref().map_or_else(Arc::default, |origin| Arc::clone(&origin.1));
        Box::pin(async move {
            match admission.public_place(public, origin.as_ref(), &line) {
                Err(denial) => Ok(admission.refuse_unread(&denial)),
                Ok(place) => public::serve(&mut inner, request, (place, line), public.time(admission.timeout)).await,
            }
        })
    }
}

type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Service<Request<Body>> for Admitted<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let origin = request.extensions().get::<Origin>().cloned();
        if let Some(public) = Public::of(path) {
            return self.public(public, request, origin);
        }
        let asked = self.admission.ask(origin.as_ref());
        let Some(rpc) = methods::name(path) else {
            return match asked {
                Ok(()) => Box::pin(self.inner.call(request)),
                Err(denial) => Box::pin(std::future::ready(Ok(self.admission.refuse_unread(&denial)))),
            };
        };
        let stranger = origin.as_ref().filter(|_| path == methods::DESCRIBE).map(|origin| Arc::clone(&origin.1));
        let (mut inner, admission) = (self.take(), self.admission.clone());
        Box::pin(async move {
            let begin = Instant::now();
            let answer = match asked.and_then(|()| admission.place(origin.as_ref())) {
                Err(denial) => Ok(admission.refuse_unread(&denial)),
                Ok(place) => admission.answer(inner.call(request), place, stranger).await,
            };
            if let (Ok(answer), Some(origin)) = (&answer, &origin) {
                admission.learn(origin, rpc, answer);
            }
            if let Ok(answer) = &answer {
                let code = status::code_name(code_of(answer));
                let took = begin.elapsed();
                admission.telemetry.answered(rpc, code, took);
                tracing::debug!(rpc, code, peer = ?origin.as_ref().map(|origin| origin.0), ?took, "answered");
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

    use super::super::peers::Free;
    use super::*;
    use crate::authz::Peer;
    use crate::config::Limits;

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

    fn admission(places: u32, timeout: Duration) -> Admission {
        let limits = Limits { peer_requests_per_s: 1, peer_request_burst: 3, ..Limits::default() };
        let peers = ("agents", Peers::new(&limits, Free::Nobody));
        Admission::new(places, timeout, peers, Telemetry::new(), |_| {})
    }

    /// Answers that nobody signed it.
    #[derive(Clone)]
    struct Nobody;

    impl Service<Request<Body>> for Nobody {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            std::future::ready(Ok(status::refusal(&Reason::Unauthenticated.into(), None).into_http()))
        }
    }

    #[tokio::test]
    async fn a_stranger_is_told_to_wait_and_a_neighbour_is_served() {
        let admission = admission(9, Duration::from_secs(9));
        let mut service = admission.layer(Nobody);
        let at = |address: &str| Origin(Peer::Tcp(address.parse().expect("an address")), Arc::default());
        let mut ask = async |path: &'static str, origin: &Origin| {
            let mut request = asked(path);
            request.extensions_mut().insert(origin.clone());
            let answer = service.call(request).await.expect("infallible");
            let status = Status::from_header_map(answer.headers()).expect("a refusal");
            let details = RefusalDetails::from_status(&status).expect("one of ours");
            (details.reason.clone(), details.retry_after())
        };
        let bad = at("192.0.2.1");
        assert_eq!(ask(OURS, &bad).await, ("unauthenticated".to_owned(), None));
        for path in [OURS, "/nockvault.v1.AgentService/Nothing", "/grpc.reflection.v1.ServerReflection/Info"] {
            let (reason, wait) = ask(path, &bad).await;
            assert_eq!(reason, "rate_limited", "{path}");
            let wait = wait.expect("it says how long");
            assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(5), "{wait:?}");
        }
        assert_eq!(ask("/grpc.health.v1.Health/Check", &bad).await.0, "unauthenticated", "it was asked");
        assert_eq!(ask(OURS, &at("192.0.2.2")).await.0, "unauthenticated");
        let text = admission.telemetry.text();
        for line in [
            "nockvault_refusals_total{reason=\"rate_limited\"} 3",
            "nockvault_signature_failures_total{listener=\"agents\",peer=\"public\"} 2",
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
    }

    fn refusal(answer: &Response<Body>) -> (Code, String) {
        let status = Status::from_header_map(answer.headers()).expect("a refusal");
        (status.code(), RefusalDetails::from_status(&status).expect("one of ours").reason)
    }

    const OURS: &str = "/nockvault.v1.AgentService/RequestCredential";

    #[tokio::test]
    async fn one_request_too_many_is_refused_at_once() {
        let held = Held::default();
        let admission = admission(2, Duration::from_secs(60));
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
        let admission = admission(1, Duration::from_millis(20));
        let answer = admission.layer(Held::default()).call(asked(OURS)).await.expect("infallible");
        assert_eq!(refusal(&answer), (Code::DeadlineExceeded, "outcome_unknown".to_owned()));
        admission.idle().await;
    }
}
