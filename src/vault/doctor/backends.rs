//! Roles: whether each could be served, what it is signed with and until when, and how its backend is reached.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_json::Value;

use super::super::Vault;
use super::super::deadline::{openly, within};
use super::rows::{Rows, State};
use super::{ends, names};
use crate::denial::{Denial, Reason};
use crate::grant::Role;
use crate::statement::command::Page;
use crate::statement::reply::Revocation;
use crate::store::{Failure, Listed};
use crate::time::Timestamp;

/// How many backends are asked at once, and for how long each at most. Whoever asks waits for all of them.
const AT_ONCE: usize = 8;
const LONGEST: Duration = Duration::from_secs(3);
/// The most roles whose backends are asked.
const MOST: usize = 64;

type Found = Result<serde_json::Map<String, Value>, Denial>;
type Call<'a> = Pin<Box<dyn Future<Output = Found> + Send + 'a>>;

impl Vault {
    pub(super) async fn examine_roles(&self, probe: bool, now: Timestamp, rows: &mut Rows) -> Result<(), Denial> {
        let roles = names::whole!(self.store, roles());
        let frozen: Vec<String> = roles.iter().filter(|role| role.frozen).map(|role| role.name.to_string()).collect();
        names::row(rows, "roles_frozen", &frozen, "vaultctl thaw --role ROLE, once it is over");
        let plain: Vec<String> = roles.iter().filter(|role| in_clear(role)).map(|role| role.name.to_string()).collect();
        names::row(rows, "roles_without_tls", &plain, "vaultctl role show ROLE; make a role whose tls is verify-full");
        // What needs no backend is looked at in any case.
        let asked: Vec<Arc<Role>> =
            roles.into_iter().filter(|role| probe || !self.at_backend(role)).take(MOST).collect();
        let mut told: Vec<(Arc<Role>, Found)> = Vec::new();
        for part in asked.chunks(AT_ONCE) {
            let mut calls: Vec<Call<'_>> = Vec::new();
            for role in part {
                calls.push(Box::pin(self.probed(role)));
            }
            let found = all(calls).await;
            told.extend(part.iter().cloned().zip(found));
        }
        let failed: Vec<String> =
            told.iter().filter_map(|(role, found)| Some(format!("{}: {}", role.name, found.as_ref().err()?))).collect();
        let state = if failed.is_empty() { State::Ok } else { State::Bad };
        let found =
            if failed.is_empty() { format!("{} roles can be served", told.len()) } else { names::some(&failed) };
        let missing: Vec<String> = told.iter().filter_map(|(role, found)| unstored(role, found)).collect();
        let what = match missing.as_slice() {
            [] => "look at the backend; vaultctl role check says what it answers".to_owned(),
            names if names.len() == failed.len() => names.join("; "),
            names => format!("{}; of the others, vaultctl role check says what the backend answers", names.join("; ")),
        };
        rows.add("backends", state, found, &what);
        let ending = told.iter().filter_map(|(role, found)| {
            let end = found.as_ref().ok()?.get("not_after").or(found.as_ref().ok()?.get("expires"))?.as_u64();
            end.map(|end| (role, Timestamp(end)))
        });
        let ending: Vec<(State, String)> =
            ending.map(|(role, end)| (ends(end, now), format!("{}: {end}", role.name))).collect();
        let worst = ending.iter().map(|(state, _)| *state).max().unwrap_or(State::Ok);
        let soon: Vec<String> =
            ending.into_iter().filter(|(state, _)| *state != State::Ok).map(|(_, text)| text).collect();
        rows.add("authorities", worst, names::some(&soon), "vaultctl ca certify, or vaultctl secret put a new value");
        Ok(())
    }

    fn at_backend(&self, role: &Role) -> bool {
        let engine = self.engines.of_kind(&role.engine);
        engine.is_ok_and(|engine| engine.capabilities().revocation == Revocation::Backend)
    }

    async fn probed(&self, role: &Role) -> Found {
        let engine = self.engines.of_kind(&role.engine)?;
        let deadline = self.limits.engine_deadline.min(LONGEST);
        within(deadline, engine.probe(&role.config, self)).await.map_err(openly)
    }
}

/// Waits for all of them at once.
async fn all(calls: Vec<Call<'_>>) -> Vec<Found> {
    let mut calls: Vec<(Call<'_>, Option<Found>)> = calls.into_iter().map(|call| (call, None)).collect();
    poll_fn(|waker| {
        for (call, done) in calls.iter_mut().filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(value) = call.as_mut().poll(waker) {
                *done = Some(value);
            }
        }
        if calls.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    calls.into_iter().filter_map(|(_, done)| done).collect()
}

/// The command that stores the secret of a role of engine kv, where none is stored yet.
fn unstored(role: &Role, found: &Found) -> Option<String> {
    let missing = found.as_ref().is_err_and(|denial| denial.reason == Reason::SecretMissing) && role.engine == "kv";
    let name = role.config.get("secret").and_then(Value::as_str).filter(|_| missing)?;
    Some(format!("vaultctl secret put {name}"))
}

/// Whether a role's server is reached over a network without TLS.
fn in_clear(role: &Role) -> bool {
    let text = |name: &str| role.config.get(name).and_then(Value::as_str);
    text("tls") == Some("off") && text("host").is_some_and(|host| !host.starts_with('/'))
}
