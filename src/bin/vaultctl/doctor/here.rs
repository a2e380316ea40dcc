//! What stands at the operator's side: the card, the key, the clock, and which programs speak with each other.

use nockvault::client::operator::Operator;
use nockvault::client::signer::Identity;
use nockvault::id::OperatorName;
use nockvault::statement::card::Card;
use nockvault::statement::reply::Executed;
use nockvault::time::{Clock as _, Seconds, SystemClock};
use serde_json::Value;

use super::{Row, row};
use crate::{Common, find};

/// How far the two clocks may be apart before it is worth a word: far less than what a vault takes.
const APART: u64 = 30;

/// The card and the key, as far as they are there to ask with.
pub(super) fn files(common: &Common) -> (Vec<Row>, Option<(Card, Identity<OperatorName>)>) {
    let card = match find::card(common) {
        Ok(card) => card,
        Err(why) => {
            let what = "name the card with --vault, or ask for it again: it is public";
            return (vec![row("card", "bad", why.to_string(), what)], None);
        }
    };
    let mut rows = vec![row("card", "ok", format!("{} at {}", card.name, card.operators), "")];
    match find::operator(common, &card) {
        Ok(identity) => {
            rows.push(row("operator_key", "ok", "there, and closed to others", ""));
            (rows, Some((card, identity)))
        }
        Err(why) => {
            let what = "do what the line says, or name another with --key";
            rows.push(row("operator_key", "bad", format!("{why:#}"), what));
            (rows, None)
        }
    }
}

pub(super) fn beside(operator: &Operator, told: &Executed) -> Vec<Row> {
    let (here, there) = (SystemClock.now(), told.now);
    let (apart, skew) = (here.0.abs_diff(there.0) / 1000, operator.vault().limits.skew);
    let state = match apart {
        apart if apart > skew.0 => "bad",
        apart if apart > APART => "warn",
        _ => "ok",
    };
    let found = format!("{} apart; the vault takes {skew}", Seconds(apart));
    let (own, theirs) =
        (env!("CARGO_PKG_VERSION"), told.result.get("version").and_then(Value::as_str).unwrap_or_default());
    let same = if own == theirs { "ok" } else { "warn" };
    vec![
        row("connection", "ok", "the vault of the card answers", ""),
        row("clocks", state, found, "set the clock here, or the vault's: let NTP do it"),
        row("versions", same, format!("vaultctl {own}, vaultd {theirs}"), "bring both to one version"),
    ]
}
