//! A child's output without the secrets that it was given, by choice: what it prints passes through here, and a secret in
//! it, as it is or in one of the usual writings, is covered. It keeps an accident out of a log or a transcript. A child
//! that means to show its secret finds a writing that nobody looks for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

use super::redact::{Known, Needles, Redactor};
use super::wallet::Held;

/// The members that are secret in one kind of credential or another.
const SECRET: &[&str] = &["value", "token", "password", "private_key", "url"];
/// How much is read at once.
const PART: usize = 16 * 1024;

/// How long the rest of an ended child's output is waited for, where something that it started holds that open.
const REST: Duration = Duration::from_secs(1);

/// What is covered. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    known: Arc<Known>,
    needles: Arc<Mutex<Option<Arc<Needles>>>>,
}

impl Mask {
    /// Covers this credential too, from here on.
    pub fn learn(&self, held: &Held) {
        let secrets = SECRET.iter().filter_map(|member| held.secret.expose(member));
        // A key in several lines is printed line by line as often as whole.
        let secrets = secrets.flat_map(|secret| std::iter::once(secret).chain(secret.lines()));
        let needles = self.known.with(secrets.map(str::trim).filter(|secret| secret.len() >= super::redact::SHORTEST));
        *self.needles.lock().unwrap_or_else(PoisonError::into_inner) = Some(needles);
    }

    fn now(&self) -> Option<Arc<Needles>> {
        self.needles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Carries what `from` says to `to`, without what is covered, until it ends or nobody reads any more. Once `ended`
    /// says so, no more is waited for than what is there; who reads slowly gets it all.
    pub async fn carry(
        self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        mut ended: watch::Receiver<bool>,
    ) {
        let mut part = vec![0; PART];
        let mut needles = self.now();
        let mut redactor = needles.clone().map(Redactor::new);
        loop {
            let read = tokio::select! {
                biased;
                read = from.read(&mut part) => read,
                () = rest(&mut ended) => Ok(0),
            };
            let Ok(read) = read else { break };
            let mut out = Vec::new();
            let now = self.now();
            if !same(now.as_ref(), needles.as_ref()) || read == 0 {
                out.extend(redactor.take().map(|mut ended| ended.finish()).unwrap_or_default());
                redactor = now.clone().map(Redactor::new);
                needles = now;
            }
            let came = Bytes::copy_from_slice(&part[..read]);
            out.extend(redactor.as_mut().map_or(came.clone(), |redactor| redactor.push(came)));
            if to.write_all(&out).await.is_err() || to.flush().await.is_err() || read == 0 {
                break;
            }
        }
    }
}

/// Until the time is over that the rest is waited for.
async fn rest(ended: &mut watch::Receiver<bool>) {
    // Who would say so is gone where there is an error.
    let _ = ended.wait_for(|ended| *ended).await;
    tokio::time::sleep(REST).await;
}

fn same(one: Option<&Arc<Needles>>, other: Option<&Arc<Needles>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}
