//! The body of an answer on its way to the child: without secrets, without trailers, and given up where nothing comes for
//! too long. It is passed on part by part; no more than one part and the start of a secret is in memory.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use tokio::time::{Instant, Sleep, sleep};

use super::no::Broken;
use crate::launcher::redact::Redactor;

/// How long the upstream may say nothing in the middle of a body.
pub(super) const SILENCE: Duration = Duration::from_secs(600);

/// A body under redaction.
pub(super) struct Redacted {
    inner: Incoming,
    redactor: Option<Redactor>,
    patience: Pin<Box<Sleep>>,
}

impl Redacted {
    pub(super) fn new(inner: Incoming, redactor: Redactor) -> Redacted {
        Redacted { inner, redactor: Some(redactor), patience: Box::pin(sleep(SILENCE)) }
    }
}

impl Body for Redacted {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        loop {
            let Some(redactor) = &mut this.redactor else { return Poll::Ready(None) };
            if this.patience.as_mut().poll(cx).is_ready() {
                this.redactor = None;
                return Poll::Ready(Some(Err("the upstream said nothing for too long".into())));
            }
            let out = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    this.patience.as_mut().reset(Instant::now() + SILENCE);
                    match frame.into_data() {
                        Ok(part) => redactor.push(part),
                        // Trailers: nobody needs them, and they are headers that were not looked through.
                        Err(_) => continue,
                    }
                }
                // What is held back is not said: it may be the first half of a secret.
                Some(Err(error)) => {
                    this.redactor = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => {
                    let rest = redactor.finish();
                    this.redactor = None;
                    rest
                }
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }
}
