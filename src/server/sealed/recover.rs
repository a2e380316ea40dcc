//! `Recover`: whoever can open the vault makes an operator in it, for the case that no operator is left who could. The vault is
//! unsealed for that, since it has to write it down.
//!
//! The custodians are those that the store has verified, and the statement of the new key is looked at before anything is
//! taken: nobody gives a share for what cannot be. Shares collect by statement, so that two who recover with different ones
//! do not complete each other.

use super::{Came, Desk, Progress, Refused, sealed};
use crate::crypto::envelope::PayloadType;
use crate::crypto::hpke::SealSecretKey;
use crate::denial::{Denial, Reason};
use crate::seal::custody::purpose::Purpose;
use crate::store::Failure;
use crate::vault::Vault;
use crate::wire::convert;
use crate::wire::v1::{RecoverRequest, RecoverResponse};

/// What lands after its caller has gone stays, and the same once more tells.
const UNKNOWN: &str =
    "it is not known whether the operator was made; do the same once more: already_exists says that it was";

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Refused {
        let Denial { reason, detail, internal, .. } = denial;
        if !internal.is_empty() {
            tracing::warn!(%reason, internal, "custody could make no operator");
        }
        let text = match reason {
            Reason::OutcomeUnknown => UNKNOWN,
            reason if detail.is_empty() => reason.advice(),
            _ => &detail,
        };
        Refused::new(reason, text)
    }
}

impl Desk {
    pub(super) async fn recover(&self, asked: RecoverRequest) -> Result<RecoverResponse, Refused> {
        let sealed = || Refused::new(Reason::Sealed, "the vault is sealed; unseal it first, and recover then");
        let inside = self.phases.enter().ok_or_else(sealed)?;
        self.paced()?;
        let done = inside.within(self.recover_in(&inside.vault, asked)).await;
        done.unwrap_or_else(|| Err(Denial::from(Reason::OutcomeUnknown).into()))
    }

    async fn recover_in(&self, vault: &Vault, asked: RecoverRequest) -> Result<RecoverResponse, Refused> {
        let register = convert::envelope(asked.register);
        let register = register.map_err(|why| Refused::new(Reason::Malformed, why.to_string()))?;
        if register.payload_type != PayloadType::Register.as_str() {
            return Err(Denial::from(Reason::WrongPayloadType).into());
        }
        let proof = register.embed().ok_or_else(|| Refused::from(Denial::from(Reason::NotCanonical)))?;
        let newcomer = vault.newcomer(proof).await?;
        let purpose = Purpose::Recover(register.digest());
        let sealed = sealed(asked.sealed_enc, asked.sealed_ct)?;
        let custodians = vault.store().custodians().await.map_err(Failure::denial)?;
        let custodians = custodians.into_iter().map(|kept| kept.custodian).collect();
        let (root, opened) = match self.take((purpose, &asked.custodian), &sealed, custodians, vault.aud())? {
            Came::Whole(root, opened) => (root, opened),
            Came::Part(Progress { threshold, contributed }) => {
                return Ok(RecoverResponse { threshold, contributed, ..RecoverResponse::default() });
            }
        };
        let Progress { threshold, contributed } = Progress::whole(&opened);
        let custodian = opened.custodian.ok_or_else(|| Refused::from(Denial::from(Reason::Internal)))?;
        let (operator, kid) = (newcomer.operator.to_string(), newcomer.kid().to_string());
        let entry = vault.recover_operator(newcomer, root, &custodian, opened.shares).await?;
        self.telemetry.made_by_custody();
        self.forget(purpose);
        Ok(RecoverResponse {
            recovered: true,
            threshold,
            contributed,
            operator,
            kid,
            custodian: custodian.to_string(),
            seq: entry.seq,
            leaf: entry.leaf.as_bytes().to_vec(),
        })
    }

    /// Forgets what was contributed for this, and the key that it was sealed to. What others have given stays.
    fn forget(&self, purpose: Purpose) {
        let mut state = self.state();
        state.intake = SealSecretKey::generate(&*self.entropy);
        state.pots.retain(|(given_for, _), _| *given_for != purpose);
    }
}
