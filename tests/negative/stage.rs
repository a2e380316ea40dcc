//! The stage of the table: two agents, a role for each way to be refused, a session that was closed, leases live and
//! ended. And the judge, who looks at every row of the database before and after.

use std::collections::BTreeMap;

use ipnet::IpNet;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::denial::Reason;
use nockvault::id::{ChainName, LeaseId};
use nockvault::statement::grant::{Rate, Terms};
use nockvault::statement::session::Seal;
use nockvault::time::Seconds;
use serde_json::{Value, json};

use crate::support::agent::{Agent, Rpc};
use crate::support::picture::TRAIL;
use crate::support::{Harness, Refusal, START, terms};

/// How long the stage took to set, in milliseconds on its clock.
pub(crate) const SET_FOR: u64 = 5_000;

/// What a refusal leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Every row is as it was.
    Nothing,
    /// One `deny` in the agent's chain, and the nonce.
    Denial,
}

pub(crate) struct Stage {
    pub(crate) vault: Harness,
    pub(crate) kit: Agent,
    pub(crate) ada: Agent,
    /// A nonce that kit has used.
    pub(crate) used_nonce: String,
    /// A seal that no session of kit's has.
    pub(crate) other_seal: Seal,
    /// A live lease of kit's.
    pub(crate) live: LeaseId,
    /// One that kit gave back.
    pub(crate) given_back: LeaseId,
    /// One of a token, which cannot be renewed.
    pub(crate) token: LeaseId,
}

impl Stage {
    pub(crate) async fn set() -> Stage {
        let vault = Harness::new().await;
        let (mut kit, mut ada) = (vault.agent("kit").await, vault.agent("ada").await);
        make_roles(&vault, &kit, &ada).await;

        kit.new_session("closed");
        kit.get(&vault, "orders").await;
        kit.close(&vault).await;
        kit.new_session("work");
        let used = kit.issue("orders");
        let issued = vault.issued(&used).await;
        kit.keep(issued.entry);
        let payload: Value = serde_json::from_slice(&used.payload).unwrap();
        for role in ["once", "seldom"] {
            kit.get(&vault, role).await;
        }
        let token = kit.get(&vault, "token").await.hdr.lease;
        let given_back = kit.get(&vault, "orders").await.hdr.lease;
        kit.release(&vault, &given_back).await;
        ada.get(&vault, "ada-only").await;

        vault.clock.advance(Seconds(SET_FOR / 1000));
        let other_seal = Agent::new("kit", crate::support::new_key(), kit.form, &kit.aud, &kit.clock).seal_statement();
        let used_nonce = payload["nonce"].as_str().unwrap().to_owned();
        Stage { vault, kit, ada, used_nonce, other_seal, live: issued.hdr.lease, given_back, token }
    }

    /// Sends it to `RequestCredential`; it must be refused for this, and leave no more than this.
    pub(crate) async fn judge(&self, name: &str, envelope: Envelope, wanted: Reason, leaves: Leaves) -> Refusal {
        self.judge_at(Rpc::RequestCredential, name, envelope, wanted, leaves).await
    }

    /// The same for any call.
    pub(crate) async fn judge_at(
        &self,
        rpc: Rpc,
        name: &str,
        envelope: Envelope,
        wanted: Reason,
        leaves: Leaves,
    ) -> Refusal {
        let refusal = self.judged(rpc, name, envelope, wanted, leaves).await;
        assert!(refusal.said.is_some(), "{name}: its key was proved, so the refusal is signed");
        refusal
    }

    /// One that is refused before its signature is looked at.
    pub(crate) async fn judge_unsigned(&self, name: &str, envelope: Envelope, wanted: Reason) {
        let refusal = self.judged(Rpc::RequestCredential, name, envelope, wanted, Leaves::Nothing).await;
        assert!(refusal.said.is_none(), "{name}: nothing was proved, so nothing is signed");
    }

    /// One that nobody's key signed. Whoever calls compares the database.
    pub(crate) async fn stranger(&self, name: &str, envelope: Envelope) {
        let refusal = self.vault.refusal(Rpc::RequestCredential, envelope).await;
        assert_eq!(refusal.reason, Reason::Unauthenticated, "{name}");
        assert!(refusal.said.is_none(), "{name}");
    }

    async fn judged(&self, rpc: Rpc, name: &str, envelope: Envelope, wanted: Reason, leaves: Leaves) -> Refusal {
        let (before, counted) = (self.vault.picture(), self.vault.vault().store().census().await.unwrap());
        let refusal = self.vault.refusal(rpc, envelope.clone()).await;
        assert_eq!(refusal.reason, wanted, "{name}: {} ({})", refusal.denial, refusal.denial.internal);
        let (after, counts) = (self.vault.picture(), self.vault.vault().store().census().await.unwrap());
        let changed = before.changed(&after);
        if leaves == Leaves::Nothing {
            assert!(changed.is_empty(), "{name}: changed {changed:?}");
            return refusal;
        }
        assert!(changed.iter().all(|table| TRAIL.contains(table)), "{name}: changed {changed:?}");
        for table in ["lines", "nonces"] {
            assert_eq!(before.count(table) + 1, after.count(table), "{name}: {table}");
        }
        assert_eq!(nockvault::store::Census { entries: counted.entries + 1, ..counted }, counts, "{name}");
        self.denied(name, &envelope, wanted).await;
        refusal
    }

    /// The newest entry of kit's chain says this.
    async fn denied(&self, name: &str, envelope: &Envelope, reason: Reason) {
        let chain = ChainName::from(&self.kit.name);
        let (_, head) = self.vault.vault().store().agent(&self.kit.name).await.unwrap().unwrap();
        let newest = self.vault.vault().store().lines(&chain, head.size - 1, 1, 1 << 20).await.unwrap().unwrap();
        let entry: Value = serde_json::from_slice(&newest.lines[0]).unwrap();
        assert_eq!(entry["kind"], "deny", "{name}");
        assert_eq!(entry["body"]["reason"], reason.code(), "{name}");
        assert_eq!(entry["body"]["request"], json!(envelope.embed().unwrap()), "{name}");
        assert_eq!(envelope.payload_type, PayloadType::Request.as_str());
    }
}

/// The roles by name, and on what terms kit has them.
async fn make_roles(vault: &Harness, kit: &Agent, ada: &Agent) {
    vault.put_secret("orders", b"a value").await;
    let network: IpNet = "10.0.0.0/8".parse().unwrap();
    let granted: BTreeMap<&str, Terms> = [
        ("orders", terms()),
        ("expired", Terms { until: Some(nockvault::time::Timestamp(START.0 + 1_000)), ..terms() }),
        ("once", Terms { max_uses: Some(1), ..terms() }),
        ("nightly", Terms { session: Some("nightly-*".parse().unwrap()), ..terms() }),
        ("far", Terms { from: vec![network], ..terms() }),
        ("seldom", Terms { rate: Some(Rate { count: 1, per: Seconds(65) }), ..terms() }),
        ("long", Terms { max_ttl: Seconds(100_000), ..terms() }),
        ("hollow", terms()),
        ("token", terms()),
        ("taken-back", terms()),
    ]
    .into();
    for (role, terms) in granted {
        match role {
            "token" => vault.role(role, "jwt", json!({"audience": ["a"]})).await,
            "hollow" => vault.role(role, "kv", json!({"secret": "not-there"})).await,
            _ => vault.role(role, "kv", json!({"secret": "orders"})).await,
        }
        vault.grant(&kit.name, role, terms).await;
    }
    vault.ungrant(&kit.name, "taken-back").await;
    vault.role("ada-only", "kv", json!({"secret": "orders"})).await;
    vault.grant(&ada.name, "ada-only", terms()).await;
}
