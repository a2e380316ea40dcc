//! The main job: a signed request becomes a sealed, short-lived secret with an entry behind it.
//!
//! What a crash leaves, step by step: before the commit, nothing, for the engines of this vault have no effect outside
//! it; after the commit and before the answer, a lease that its agent has not got, which the agent finds under its
//! request's digest and releases, or which expires.

use super::Vault;
use super::admit::{Asking, Reply};
use super::answer::{Outcome, Receipt};
use crate::authn::{self, SessionBound};
use crate::authz::{self, Asked, Peer, Permit};
use crate::base64url::Bytes;
use crate::crypto::envelope::Envelope;
use crate::crypto::hpke::Sealed;
use crate::denial::Denial;
use crate::engine::{Capabilities, Engine, Mint};
use crate::id::{LeaseId, handle};
use crate::seal::reply as seal;
use crate::statement::issue::Issue;
use crate::statement::reply::{Hdr, Issued};
use crate::store::Issuance;

impl Vault {
    /// `RequestCredential`: from a signed envelope to a sealed credential, or a denial.
    pub async fn issue(&self, envelope: Envelope, peer: Peer) -> Outcome {
        match self.admit::<Issue>(envelope, |issue| Some(&issue.role)).await {
            Ok(asking) => {
                let decided = self.decide_issue(&asking, peer).await;
                self.conclude(&asking, decided).await
            }
            Err(outcome) => outcome,
        }
    }

    async fn decide_issue(&self, asking: &Asking<Issue>, peer: Peer) -> Result<(Receipt, Reply), Denial> {
        let issue = asking.body();
        let bound = asking.bind(Some(&issue.seal), self)?;
        let session_key = authn::seal_acceptable(&issue.seal)?;
        let (permit, engine) = self.permit(asking, &bound, peer)?;

        let handle = handle(permit.agent(), permit.lease());
        let session_signs = issue.seal.sig_pk.as_ref();
        let mint = Mint { permit: &permit, handle: &handle, params: &issue.params, session_key: session_signs };
        let minted = engine.mint(mint, self).await?;
        let hdr = self.header(asking, &permit, engine.capabilities());
        let sealed = seal::seal(&minted.secret, &hdr, &session_key, &*self.entropy)?;

        let issuance = Issuance {
            request: &asking.authenticated,
            peer,
            hdr: &hdr,
            latest: permit.latest(),
            handle: &handle,
            sealed: sealed.digest(),
        };
        let receipt = Receipt::of(self.store.issue(&issuance).await.map_err(|failure| failure.denial())?);
        Ok((receipt, reply(sealed, hdr)))
    }

    /// Step 12: the grant covers it, and the engine takes its parameters.
    fn permit(
        &self,
        asking: &Asking<Issue>,
        bound: &SessionBound,
        peer: Peer,
    ) -> Result<(Permit, &dyn Engine), Denial> {
        let (common, issue) = (&asking.authenticated.statement().common, asking.body());
        let now = asking.authenticated.at();
        let situation = &asking.situation;
        let session_ends =
            situation.session.as_ref().map_or(now.plus(self.limits.rules.session_max), |session| session.ends);
        let asked = Asked {
            agent: &common.agent,
            sid: &common.sid,
            bound,
            session_ends,
            role: &issue.role,
            ttl: issue.ttl,
            peer,
            req: asking.req(),
        };
        let grant = situation.agent.grants.iter().find(|grant| grant.role == issue.role);
        let lease = LeaseId::new(now.0, self.entropy.bytes());
        let permit = authz::permit(&asked, grant, situation.role.as_deref(), situation.uses, &lease, now)?;
        let engine = self.engines.of_kind(&permit.role().engine)?;
        engine.check_params(permit.config(), &issue.params)?;
        Ok((permit, engine))
    }

    fn header(&self, asking: &Asking<Issue>, permit: &Permit, can: Capabilities) -> Hdr {
        Hdr {
            agent: permit.agent().clone(),
            exp: permit.expires(),
            iat: permit.issued(),
            kid: asking.authenticated.key().kid.clone(),
            lease: permit.lease().clone(),
            renewable: can.renewable,
            req: permit.req(),
            revocation: can.revocation,
            role: permit.role().name.clone(),
            sid: permit.sid().clone(),
            vault: self.aud.clone(),
        }
    }
}

fn reply(sealed: Sealed, hdr: Hdr) -> Reply {
    Box::new(move |pen, receipt| {
        pen.release(receipt, |entry| Issued::new(Bytes(sealed.ct), Bytes(sealed.enc.to_vec()), entry, hdr))
    })
}
