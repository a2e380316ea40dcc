//! The ends of a session: `OpenSession` and `CloseSession`.

use super::Vault;
use super::admit::{Asking, Reply};
use super::answer::{Outcome, Receipt};
use crate::crypto::envelope::Envelope;
use crate::denial::Denial;
use crate::failpoint::failpoint;
use crate::statement::reply::{Closed, Opened};
use crate::statement::session::{Close, Hello};

impl Vault {
    /// `OpenSession`: pins the session to its seal before the first need. Saying hello again under the same seal is no
    /// error.
    pub async fn open_session(&self, envelope: Envelope) -> Outcome {
        match self.admit::<Hello>(envelope, |_| None).await {
            Ok(asking) => {
                let decided = self.decide_open(&asking).await;
                self.conclude(&asking, decided).await
            }
            Err(outcome) => outcome,
        }
    }

    async fn decide_open(&self, asking: &Asking<Hello>) -> Result<(Receipt, Reply), Denial> {
        asking.bind(Some(&asking.body().seal), self)?;
        let opened = self.store.open_session(&asking.authenticated).await;
        let (session, entry) = opened.map_err(|failure| failure.denial())?;
        let (idle, now, req) = (self.limits.rules.session_idle, self.clock.now(), asking.req());
        let reply: Reply = Box::new(move |pen, receipt| {
            pen.release(receipt, |entry| Opened::new(entry, session.ends, idle, now, req))
        });
        Ok((Receipt::of(entry), reply))
    }

    /// `CloseSession`: ends the session and releases all of it.
    pub async fn close(&self, envelope: Envelope) -> Outcome {
        match self.admit::<Close>(envelope, |_| None).await {
            Ok(asking) => {
                let decided = self.decide_close(&asking).await;
                self.conclude(&asking, decided).await
            }
            Err(outcome) => outcome,
        }
    }

    async fn decide_close(&self, asking: &Asking<Close>) -> Result<(Receipt, Reply), Denial> {
        asking.bind(None, self)?;
        let (leases, entry) = self.store.close(&asking.authenticated).await.map_err(|failure| failure.denial())?;
        failpoint!("close: committed");
        self.wake.notify_one();
        let (sid, req) = (asking.authenticated.statement().common.sid.clone(), asking.req());
        let reply: Reply =
            Box::new(move |pen, receipt| pen.release(receipt, |entry| Closed::new(entry, leases, req, sid)));
        Ok((Receipt::of(entry), reply))
    }
}
