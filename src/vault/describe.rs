//! `DescribeVault`: who the vault is, signed, with the caller's challenge in it. The only call of ours that asks for no
//! key; it fills no chain and reads no store.

use serde_json::{Map, Value, json};

use super::Vault;
use crate::base64url::Bytes;
use crate::crypto::envelope::Envelope;
use crate::crypto::hpke;
use crate::crypto::json::Admission;
use crate::denial::{Denial, Reason};
use crate::statement::reply::{Accepted, Described, Limits};
use crate::statement::secret::SEALED_INPUT_MAX;
use crate::statement::{VERSION, schema};
use crate::store::Census;

impl Vault {
    /// The signed description that answers this challenge of 16 to 64 random bytes.
    ///
    /// # Errors
    /// [`Reason::Malformed`] for a challenge of another length.
    pub fn describe(&self, challenge: &[u8]) -> Result<Envelope, Denial> {
        if !(16..=64).contains(&challenge.len()) {
            self.refusals.count(Reason::Malformed, self.clock.now());
            return Err(Denial::new(Reason::Malformed).detail("a challenge has 16 to 64 bytes"));
        }
        Ok(self.pen.describe(&Described::new(
            accepted(),
            self.aud.clone(),
            [self.certs.clone(), self.tokens.certs()].concat(),
            Bytes(self.identity.public().to_bytes().to_vec()),
            self.described_limits(),
            self.name.clone(),
            self.clock.now(),
            Bytes(challenge.to_vec()),
            vec![hpke::SUITE.to_owned()],
        )))
    }

    fn described_limits(&self) -> Limits {
        let rules = &self.limits.rules;
        Limits {
            skew: rules.skew,
            request_bytes: Admission::AGENT.max_bytes as u64,
            command_bytes: Admission::OPERATOR.max_bytes as u64,
            sealed_input_bytes: SEALED_INPUT_MAX as u64,
            session_idle: rules.session_idle,
            session_max: rules.session_max,
        }
    }

    /// What an operator is told of the vault's state.
    pub(super) fn status(&self, census: &Census) -> Map<String, Value> {
        let told = json!({
            "aud": self.aud,
            "clock_resets": census.resets,
            "agents": census.agents,
            "entries": census.entries,
            "epoch": self.epochs.newest(),
            "grants": census.grants,
            "leases": census.leases,
            "name": self.name,
            "node": self.limits.node,
            "now": self.clock.now(),
            "frozen": census.frozen,
            "quarantined": census.quarantined,
            "rehearsal": self.restored.rehearsal,
            "ring": self.ring_status(),
            "restores": self.restored.restores,
            "revoking": census.revoking,
            "roles": census.roles,
            "sessions": census.sessions,
            "state": self.state().as_str(),
            "undoing": census.undoing,
            "version": env!("CARGO_PKG_VERSION"),
        });
        told.as_object().cloned().unwrap_or_default()
    }
}

/// Every statement that this vault takes.
fn accepted() -> Vec<Accepted> {
    schema::accepted().iter().map(|typ| Accepted { typ: (*typ).to_owned(), v: VERSION }).collect()
}
