//! `vaultctl status`: how the vault is.

use std::process::ExitCode;

use nockvault::client::custody::Custody;
use nockvault::client::fault::Fault;
use nockvault::denial::Reason;
use nockvault::statement::card::Card;
use nockvault::statement::status::StatusRead;
use serde_json::{Map, Value, json};

use crate::output::Output;
use crate::{Common, find};

/// 0 where it is unsealed, 2 where it is sealed.
pub(crate) async fn run(common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
    let card = find::card(common)?;
    let asked = async { anyhow::Ok(find::connect(common).await?.command(StatusRead {}).await?) };
    match asked.await {
        Ok(mut executed) => {
            executed.result.insert("sealed".to_owned(), false.into());
            output.one(&executed.result)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(why) if sealed(&why) => {
            output.one(&of_sealed(&card).await)?;
            say!("The vault is sealed: on its machine, `vaultctl unseal` opens it.");
            Ok(ExitCode::from(2))
        }
        Err(why) => Err(why),
    }
}

/// Whether the vault said that it is sealed.
pub(crate) fn sealed(why: &anyhow::Error) -> bool {
    why.downcast_ref::<Fault>().and_then(Fault::reason) == Some(Reason::Sealed)
}

/// What can be said of a sealed vault: over its unix socket who can open it, otherwise that it is sealed.
async fn of_sealed(card: &Card) -> Map<String, Value> {
    let custody = async { Custody::connect(card).await?.read().await };
    let custodians: Vec<Value> = custody
        .await
        .map_or_else(|_| Vec::new(), |custody| custody.custodians.iter().map(crate::seal::shown).collect());
    let told = json!({ "custodians": custodians, "sealed": true, "state": "sealed", "vault": card.name });
    told.as_object().cloned().unwrap_or_default()
}
