//! `RotateKey`: an agent's newest key names its successor. Both sign: the old key the request, the new key the register
//! statement inside it. For an overlap the old key is still accepted, so that a fleet can change over.

use super::Vault;
use super::admit::{Asking, Reply};
use super::answer::{Outcome, Receipt};
use crate::crypto::envelope::Envelope;
use crate::denial::{Denial, Reason};
use crate::statement::register::{Holder, Register};
use crate::statement::reply::Rotated;
use crate::statement::rotate_key::RotateKey;

impl Vault {
    /// `RotateKey`.
    pub async fn rotate_key(&self, envelope: Envelope) -> Outcome {
        match self.admit::<RotateKey>(envelope, |_| None).await {
            Ok(asking) => {
                let decided = self.decide_rotate(&asking).await;
                self.conclude(&asking, decided).await
            }
            Err(outcome) => outcome,
        }
    }

    async fn decide_rotate(&self, asking: &Asking<RotateKey>) -> Result<(Receipt, Reply), Denial> {
        asking.alive()?;
        asking.history()?;
        let new = self.successor(asking)?;
        let rotated = self.store.rotate_key(&asking.authenticated, &new).await;
        let (grace, entry) = rotated.map_err(|failure| failure.denial())?;
        let (kid, kver, req) = (new.pk.kid(), new.kver, asking.req());
        let reply: Reply =
            Box::new(move |pen, receipt| pen.release(receipt, |entry| Rotated::new(entry, grace, kid, kver, req)));
        Ok((Receipt::of(entry), reply))
    }

    /// The register statement inside the request, if it is the signing key's own successor.
    fn successor(&self, asking: &Asking<RotateKey>) -> Result<Register, Denial> {
        let key = asking.authenticated.key();
        let new = Register::open(&asking.body().new)?;
        new.timely(&self.aud, asking.authenticated.at(), self.limits.rules.skew)?;
        let follows = new.holder == Holder::Agent(asking.situation.agent.name.clone())
            && new.prev.as_ref() == Some(&key.kid)
            && new.kver == key.kver + 1;
        let newest = asking.situation.agent.newest().is_some_and(|newest| newest.kid == key.kid);
        if follows && newest {
            Ok(new)
        } else {
            Err(Denial::new(Reason::BadSuccessor)
                .detail("only the newest key names a successor, with prev its own kid and kver one more"))
        }
    }
}
