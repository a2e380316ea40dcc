//! What is not as it should be in this vault, or soon will not be: each thing by name, with what was found and what to do.
//! Nothing is changed and nothing secret is told; a name stands here only where the lists that every operator may read
//! have it too.
//!
//! | state | means |
//! |---|---|
//! | `ok` | nothing to do |
//! | `warn` | it works today; do it before it does not |
//! | `bad` | something does not work now, or is lost if nothing is done |

mod backends;
mod names;
mod outside;
mod rows;

use serde_json::{Map, Value, json};

use super::Vault;
use super::answer::Outcome;
use crate::crypto::envelope::Envelope;
use crate::denial::Denial;
use crate::id::CustodianName;
use crate::statement::cert::Cert;
use crate::statement::command::Page;
use crate::statement::doctor::DoctorRead;
use crate::statement::lease::Which;
use crate::store::{Failure, Health};
use crate::time::{Seconds, Timestamp};

use rows::{Rows, State};

const DAY: Seconds = Seconds(86_400);
const MONTH: Seconds = Seconds(30 * 86_400);
const YEAR: Seconds = Seconds(365 * 86_400);
const MIB: u64 = 1 << 20;
/// Below this much free space a vault will soon issue nothing, and below that it does soon.
const ROOM_WARN: u64 = 1024 * MIB;
const ROOM_BAD: u64 = 64 * MIB;
/// A log that has grown beyond this is not being moved into the database.
const LOG_WARN: u64 = 256 * MIB;
/// After how long without a backup there is too much to lose.
const BACKUP_WARN: Seconds = Seconds(7 * 86_400);

impl Vault {
    /// `ReadDoctor`: changes nothing.
    pub(super) async fn doctor_read(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<DoctorRead>(envelope).await?;
        let DoctorRead { probe } = admitted.authenticated.statement().body;
        let told = self.examined(probe).await;
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    async fn examined(&self, probe: bool) -> Result<Map<String, Value>, Denial> {
        let mut rows = Rows::default();
        let now = self.clock.now();
        let health = self.store.health().await.map_err(Failure::denial)?;
        self.examine_store(&health, now, &mut rows);
        self.examine_census(&mut rows).await?;
        self.examine_leases(now, &mut rows).await?;
        self.examine_checkpoints(now, &mut rows).await?;
        self.examine_certs(now, &mut rows);
        self.examine_outside(now, &mut rows);
        self.examine_names(&health, now, &mut rows).await?;
        self.examine_roles(probe, now, &mut rows).await?;
        let told = json!({ "checks": rows.told(), "now": now, "version": env!("CARGO_PKG_VERSION") });
        Ok(told.as_object().cloned().unwrap_or_default())
    }

    fn examine_store(&self, health: &Health, now: Timestamp, rows: &mut Rows) {
        let behind = now.plus(self.limits.rules.skew) < health.newest;
        rows.add(
            "clock",
            if behind { State::Bad } else { State::Ok },
            format!("{now}; the newest entry is of {}", health.newest),
            "set the daemon's clock right; if it was ahead before, then vaultctl clock reset",
        );
        let free = health.free.unwrap_or_default();
        let state = match free {
            _ if health.full => State::Bad,
            free if health.free.is_some() && free < ROOM_BAD => State::Bad,
            free if health.free.is_none() || free < ROOM_WARN => State::Warn,
            _ => State::Ok,
        };
        let found = if health.full { "the disk is full and nothing is issued".to_owned() } else { mib(free) + " free" };
        rows.add("disk", state, found, "free space where data_dir lies, or move it to a larger disk");
        let state = if health.reserve { State::Ok } else { State::Bad };
        let found = if health.reserve { "kept" } else { "not there" };
        rows.add(
            "reserve",
            state,
            found,
            "free space where data_dir lies; the daemon makes the reserve again by itself",
        );
        let state = if health.log > LOG_WARN { State::Warn } else { State::Ok };
        let found = format!("{} and {} of log; version {}", mib(health.database), mib(health.log), health.schema);
        rows.add(
            "database",
            state,
            found,
            "something reads the database for long; look for a copy or a tool that holds it",
        );
        let open: Vec<String> = health.open.iter().map(|(path, mode)| format!("{path} ({mode:04o})")).collect();
        let state = if open.is_empty() { State::Ok } else { State::Bad };
        let found = if open.is_empty() { "closed to others".to_owned() } else { open.join(", ") };
        rows.add("files", state, found, "chmod go-rwx each of them");
        let (state, found) = match health.backup {
            Some(at) if at.plus(BACKUP_WARN) >= now => (State::Ok, format!("{at}")),
            Some(at) => (State::Warn, format!("{at}, {} ago", days(now.since(at)))),
            None => (State::Warn, "none among the newest commands".to_owned()),
        };
        rows.add("backup", state, found, "vaultctl backup --file FILE, each day by a timer; then rehearse a restore");
        self.examine_custodians(health, rows);
        Vault::examine_custody(health, now, rows);
    }

    /// A daemon whose configuration names a custodian that was removed serves, and does not start again.
    fn examine_custodians(&self, health: &Health, rows: &mut Rows) {
        let known: Vec<String> = health.custodians.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
        let gone = |opener: &&CustodianName| !health.custodians.iter().any(|(name, _)| name == *opener);
        if let Some(opener) = self.opener.as_ref().filter(gone) {
            let found =
                format!("{opener} opened this daemon and is no custodian any more; there are: {}", known.join(", "));
            let what = "before the next start set [vault] custody in the daemon's configuration to what opens one of these, or \
                        custody = { unseal = true } to start sealed; a start makes this row well";
            rows.add("custody", State::Bad, found, what);
            return;
        }
        let (state, found) = match known.len() {
            0 => (State::Warn, "the root key alone".to_owned()),
            1 => (State::Warn, format!("only {}", known[0])),
            _ => (State::Ok, known.join(", ")),
        };
        rows.add("custody", state, found, "vaultctl custody add: losing the only one loses the vault");
    }

    /// Custody makes an operator where none is left. Where others are, somebody had better know of it.
    fn examine_custody(health: &Health, now: Timestamp, rows: &mut Rows) {
        let named: Vec<String> = health.by_custody.iter().map(|(name, at)| format!("{name}, {at}")).collect();
        let lately = health.by_custody.iter().any(|(_, at)| at.plus(MONTH) >= now);
        // What lies further back was not read: somebody may have written so much to have it so.
        let hidden = health.looked_back_to.filter(|since| since.plus(MONTH) >= now);
        let since = hidden.map_or(String::new(), |since| format!("; not looked at before {since}"));
        let state = if lately || hidden.is_some() { State::Warn } else { State::Ok };
        let found = names::some(&named) + &since;
        let what = "ask the custodians whether they wanted it; where they did not, vaultctl operator end NAME, and \
                    vaultctl custody remove whoever gave the secret";
        rows.add("by_custody", state, found, what);
    }

    async fn examine_census(&self, rows: &mut Rows) -> Result<(), Denial> {
        let census = self.store.census().await.map_err(Failure::denial)?;
        let names: Vec<String> = census.quarantined.iter().map(ToString::to_string).collect();
        let state = if names.is_empty() { State::Ok } else { State::Bad };
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        rows.add("quarantined", state, found, "vaultctl audit verify CHAIN; restore the store from a backup");
        let state = if census.frozen { State::Warn } else { State::Ok };
        let found = if census.frozen { "everything is frozen" } else { "no" };
        rows.add("frozen", state, found, "vaultctl thaw --everything, once it is over");
        let state = if self.restored.rehearsal { State::Warn } else { State::Ok };
        let found = if self.restored.rehearsal {
            "this is the rehearsal of a restore".to_owned()
        } else {
            format!("{} restores", self.restored.restores)
        };
        rows.add("restored", state, found, "a rehearsal serves no backend; stop it once it has shown what it should");
        Ok(())
    }

    async fn examine_leases(&self, now: Timestamp, rows: &mut Rows) -> Result<(), Denial> {
        let stuck = self.store.leases(None, Which::Stuck, &Page::first()).await.map_err(Failure::denial)?;
        let oldest = stuck.items.iter().min_by_key(|lease| lease.ended);
        let found = match oldest {
            None => "none".to_owned(),
            Some(lease) => {
                let more = if stuck.next.is_some() { " and more" } else { "" };
                let ended = lease.ended.unwrap_or(now);
                let why = lease.undo.as_ref().and_then(|undo| undo.fault.as_deref()).unwrap_or("not tried again yet");
                let (count, ago) = (stuck.items.len(), days(now.since(ended)));
                format!("{count}{more}; the oldest of role {}, ended {ago} ago: {why}", lease.role)
            }
        };
        let state = if oldest.is_some() { State::Bad } else { State::Ok };
        let what = "vaultctl lease list --stuck; look at the backend, or vaultctl lease revoke ID --force gives it up";
        rows.add("stuck_leases", state, found, what);
        Ok(())
    }

    async fn examine_checkpoints(&self, now: Timestamp, rows: &mut Rows) -> Result<(), Denial> {
        // Due for as long again as it may take.
        let before = now.minus(self.limits.rules.checkpoints.after.max(Seconds(60)));
        let late = self.store.checkpoints_due(before, 100).await.map_err(Failure::denial)?;
        let names: Vec<String> = late.iter().take(5).map(ToString::to_string).collect();
        let state = if late.is_empty() { State::Ok } else { State::Warn };
        let found = if late.is_empty() {
            "in time".to_owned()
        } else {
            format!("{} chains wait, {} first", late.len(), names.join(", "))
        };
        rows.add("checkpoints", state, found, "look into the daemon's log for what keeps it from signing them");
        Ok(())
    }

    /// The vault's own certificates: those that are renewed at a start, before they end.
    fn examine_certs(&self, now: Timestamp, rows: &mut Rows) {
        let certs = [self.certs.clone(), self.tokens.certs()].concat();
        let read = |cert: &crate::crypto::envelope::Embedded| {
            serde_json::from_value::<Cert>(cert.payload.clone()).ok().map(|cert| (cert.exp, cert.role))
        };
        // A former key for tokens may well have ended.
        let mut newest: std::collections::BTreeMap<_, Timestamp> = std::collections::BTreeMap::new();
        for (exp, role) in certs.iter().filter_map(read) {
            let known = newest.entry(role).or_default();
            *known = exp.max(*known);
        }
        let first = newest.iter().min_by_key(|(_, exp)| **exp);
        let (state, found) = match first {
            Some((role, exp)) => {
                let word = serde_json::to_value(role).unwrap_or_default();
                (ends(*exp, now), format!("{} ends first, {exp}", word.as_str().unwrap_or_default()))
            }
            None => (State::Bad, "none".to_owned()),
        };
        let what = "start the daemon anew: it renews its certificates; for tokens, vaultctl key rotate";
        rows.add("vault_certificates", state, found, what);
    }
}

/// What a certificate's end means today.
fn ends(end: Timestamp, now: Timestamp) -> State {
    match end {
        end if end <= now.plus(DAY) => State::Bad,
        end if end <= now.plus(MONTH) => State::Warn,
        _ => State::Ok,
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / MIB)
}

fn days(span: Seconds) -> String {
    match span.0 {
        seconds if seconds >= 2 * DAY.0 => format!("{} days", seconds / DAY.0),
        seconds => Seconds(seconds).to_string(),
    }
}
