//! `vaultctl seal`, and `lock-down`, which first takes back what lives.

use std::time::Duration;

use clap::Args;
use nockvault::client::operator::Operator;
use nockvault::statement::freeze::VaultFreeze;
use nockvault::statement::issue::Purpose;
use nockvault::statement::seal::VaultSeal;
use nockvault::statement::status::StatusRead;
use nockvault::time::Seconds;
use nockvault::wire::v1::Custodian;
use serde_json::{Map, Value, json};

use crate::output::Output;
use crate::{Common, find, lease};

/// Seal the vault: every key leaves the daemon's memory, and every request is answered `sealed`.
///
/// Requests in hand get the daemon's drain_s to finish. The vault stays sealed, over restarts too, until somebody says
/// `vaultctl unseal`. Nothing is revoked: leases live on at their backends until they expire there or the vault is
/// unsealed. To take everything back first, use `vaultctl lock-down`.
#[derive(Debug, Args)]
pub(crate) struct Seal {
    /// Why, for whoever reads the trail; at most 256 bytes.
    #[arg(long, value_name = "TEXT", value_parser = lease::reason)]
    reason: Option<Purpose>,
}

impl Seal {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let reason = self.reason.unwrap_or_default();
        let done = find::connect(common).await?.command(VaultSeal { reason }).await?;
        let told = json!({ "entry": done.entry.map(|entry| entry.seq), "sealed": true });
        output.one(told.as_object().unwrap_or(&Map::new()))?;
        say!("The vault is sealed and stays so until somebody says `vaultctl unseal`.");
        Ok(())
    }
}

/// A custodian, as it is shown.
pub(crate) fn shown(custodian: &Custodian) -> Value {
    let Custodian { name, kind, threshold, contributed, .. } = custodian;
    match threshold {
        0 => json!({ "kind": kind, "name": name }),
        needed => json!({ "contributed": contributed, "kind": kind, "name": name, "needed": needed }),
    }
}

/// Freeze everything, wait for the backends to take back what lives, and seal the vault.
///
/// From the first moment nothing is issued any more. What a backend has not taken back when the time is over lives on
/// until it expires there, or until the vault is unsealed and goes on: it is said how much that is. Afterwards `vaultctl
/// unseal` opens the vault, and `vaultctl thaw --everything` lets agents act again.
#[derive(Debug, Args)]
pub(crate) struct LockDown {
    /// Why, for whoever reads the trail; at most 256 bytes.
    #[arg(long, value_name = "TEXT", value_parser = lease::reason)]
    reason: Purpose,
    /// How long to wait for the backends at most.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    within: Seconds,
}

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);

impl LockDown {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let operator = find::connect(common).await?;
        let frozen = operator.command(VaultFreeze { reason: self.reason.clone() }).await?;
        say!("everything is frozen: nothing is issued any more");
        let within = Duration::from_secs(self.within.0);
        // Where the time is over, what was seen last is what is left.
        let mut left = (u64::MAX, u64::MAX);
        let waited = tokio::time::timeout(within, until_none_is_left(&operator, &mut left)).await;
        let in_time = matches!(waited, Ok(Ok(())));
        match waited {
            Ok(Ok(())) => {}
            // An emergency is not put off because a question found no answer.
            Ok(Err(why)) => say!("how much is left cannot be asked: {why:#}; the vault is sealed all the same"),
            Err(_) => say!("{} have not been taken away at their backends within {}", words(left), self.within),
        }
        let sealed = operator.command(VaultSeal { reason: self.reason }).await?;
        let told = json!({
            "frozen_at": frozen.entry.map(|entry| entry.seq),
            "left": if in_time { Some(0) } else { left.0.checked_add(left.1) },
            "sealed": true,
            "sealed_at": sealed.entry.map(|entry| entry.seq),
        });
        output.one(told.as_object().unwrap_or(&Map::new()))?;
        say!("The vault is sealed. Then: `vaultctl unseal`, and `vaultctl thaw --everything`.");
        Ok(())
    }
}

/// Waits until nothing lives and nothing waits at a backend, and says how far it is. `left` is what is still to be revoked,
/// and what waits for its backend.
async fn until_none_is_left(operator: &Operator, left: &mut (u64, u64)) -> anyhow::Result<()> {
    loop {
        let status = operator.command(StatusRead {}).await?.result;
        let number = |member: &str| status.get(member).and_then(Value::as_u64).unwrap_or_default();
        let now = (number("leases"), number("undoing"));
        if now == (0, 0) && number("revoking") == 0 {
            say!("nothing lives any more");
            return Ok(());
        }
        if now != *left {
            say!("{} still to be taken away", words(now));
            *left = now;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn words((live, waiting): (u64, u64)) -> String {
    match (live, waiting) {
        (u64::MAX, _) => "it is not known how many leases".to_owned(),
        (live, waiting) => format!("{} leases", live.saturating_add(waiting)),
    }
}
