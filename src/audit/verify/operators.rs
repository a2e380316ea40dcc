//! `_operators`: the commands of operators, verified against their keys, and kept so that an agent's chain can be held
//! against them: each effect there names the [`Command`](crate::audit::entry::Command) that caused it.

use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ahead::{Guess, Opened};
use super::approvals::{Approvals, Known, Stands};
use super::custody::{Custodians, MadeByCustody};
use super::freezes::{Freezes, LONGEST_SKEW};
use super::keys::Key;
use super::report::{Fault, Finding, KeySeen};
use super::requests::Place;
use super::roster::Roster;
use super::spill::Once;
use crate::audit::entry::{self, By};
use crate::crypto::envelope::{Embedded, PayloadType};
use crate::crypto::hash::Digest;
use crate::crypto::json::{Admission, admit_as};
use crate::id::{AgentName, Aud, ChainName, Kid, LeaseId, RoleName, Sid};
use crate::statement::Body as _;
use crate::statement::VERSION;
use crate::statement::agent::{AgentFreeze, AgentKeyEnd, AgentRegister, AgentThaw};
use crate::statement::backup::Backup;
use crate::statement::command::Command;
use crate::statement::freeze::{RoleFreeze, VaultFreeze, VaultThaw};
use crate::statement::grant::{GrantCreate, GrantRevoke};
use crate::statement::lease::{LeaseForget, LeaseRevoke, Scope};
use crate::statement::reply::{EntryRef, Revocation};
use crate::statement::role::RoleCreate;
use crate::time::Timestamp;

/// What engines whose credentials do not end by themselves leave to be done.
const LEFT_BY: [(&str, Revocation); 3] =
    [("postgres", Revocation::Backend), ("ssh", Revocation::Listed), ("x509", Revocation::Listed)];

/// Commands that leave something in an agent's chain; of others only the leaf is kept.
const WITH_EFFECTS: [&str; 13] = [
    AgentRegister::TYP,
    AgentKeyEnd::TYP,
    GrantCreate::TYP,
    GrantRevoke::TYP,
    LeaseRevoke::TYP,
    LeaseForget::TYP,
    AgentFreeze::TYP,
    AgentThaw::TYP,
    VaultFreeze::TYP,
    VaultThaw::TYP,
    RoleFreeze::TYP,
    CLOCK_RESET,
    Backup::TYP,
];

pub(super) const CLOCK_RESET: &str = "nockvault/clock_reset";

/// Those of them that leave an entry in the chain of the one agent that they name.
const LEAVE_AN_ENTRY: [&str; 6] =
    [AgentRegister::TYP, AgentKeyEnd::TYP, AgentFreeze::TYP, AgentThaw::TYP, GrantCreate::TYP, GrantRevoke::TYP];

/// How many bytes of commands are kept at most.
const MOST: usize = 1 << 30;

/// A command as it stands in `_operators`.
#[derive(Clone, Debug)]
struct Given {
    leaf: Digest,
    ts: Timestamp,
    /// What it says, where it may leave something in an agent's chain.
    said: Option<Said>,
    denied: bool,
}

/// What a command says: its `typ`, and its body as JSON.
#[derive(Clone, Debug)]
struct Said {
    typ: &'static str,
    body: Box<str>,
}

/// The commands of a verified `_operators`, by the `seq` of their entries.
#[derive(Clone, Debug)]
pub struct Commands {
    aud: Aud,
    /// The first entry that is known.
    first: u64,
    size: u64,
    given: BTreeMap<u64, Given>,
    /// By agent, the entries with commands that were carried out and leave an entry in its chain.
    about: HashMap<Box<str>, Vec<u64>>,
    /// What each role's engine leaves to be done.
    left: HashMap<String, Option<Revocation>>,
    freezes: Freezes,
    bytes: usize,
}

/// What an effect claims to be caused by.
pub(super) enum Effect<'a> {
    Registered(&'a Embedded),
    KeyEnded(&'a Kid, Option<Timestamp>),
    Granted(&'a entry::Grant),
    Ungranted(&'a RoleName),
    Revoked(&'a LeaseId, &'a RoleName, &'a Sid),
    SessionEnded(&'a Sid),
    Forgotten(&'a LeaseId),
    Frozen,
    Thawed,
}

impl Commands {
    pub(super) fn none(aud: &Aud) -> Commands {
        let (given, about, left) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Commands { aud: aud.clone(), first: 0, size: 0, given, about, left, freezes: Freezes::default(), bytes: 0 }
    }

    fn take(&mut self, place: Place<'_>, leaf: Digest, typ: &str, body: &Value, denied: bool) -> Result<(), Finding> {
        let seq = place.seq;
        self.size = seq + 1;
        if !denied {
            self.freezes.carried(seq, place.ts, typ, body);
        }
        if typ == RoleCreate::TYP && !denied {
            let named = |member: &str| body.get(member).and_then(Value::as_str).unwrap_or_default();
            let engine = LEFT_BY.iter().find(|(known, _)| *known == named("engine"));
            self.left.entry(named("role").to_owned()).or_insert(engine.map(|(_, left)| *left));
        }
        if LEAVE_AN_ENTRY.contains(&typ)
            && !denied
            && let Some(agent) = body.get("agent").or_else(|| body.pointer("/register/payload/agent"))
        {
            let agent: Box<str> = agent.as_str().unwrap_or_default().into();
            self.bytes += agent.len() + size_of::<Given>();
            self.about.entry(agent).or_default().push(seq);
        }
        let known = WITH_EFFECTS.into_iter().find(|known| *known == typ);
        let said = known.map(|typ| Said { typ, body: body.to_string().into() });
        self.bytes += size_of::<Given>() + said.as_ref().map_or(0, |said| said.body.len());
        if self.bytes > MOST {
            return Err(Finding::Unusable("the commands are more than this program keeps".into()));
        }
        self.given.insert(seq, Given { leaf, ts: place.ts, said, denied });
        Ok(())
    }

    /// The entries with commands that were carried out and leave an entry in this agent's chain.
    pub(super) fn about(&self, agent: &AgentName) -> &[u64] {
        self.about.get(agent.as_str()).map_or(&[], Vec::as_slice)
    }

    /// The entries with commands that were carried out and leave an entry in `_vault`.
    pub(super) fn about_the_vault(&self) -> impl Iterator<Item = u64> {
        let about = |given: &Given| {
            let typ = given.said.as_ref().map(|said| said.typ);
            !given.denied && matches!(typ, Some(VaultFreeze::TYP | VaultThaw::TYP))
        };
        self.given.iter().filter(move |(_, given)| about(given)).map(|(seq, _)| *seq)
    }

    /// The entry with a freeze, of everything or of this role, while which nothing may have been issued at `ts`; see
    /// [`Freezes::forbids`].
    pub(super) fn forbids(&self, since: Option<u64>, ts: Timestamp, role: Option<&RoleName>) -> Option<u64> {
        self.freezes.forbids(since, ts, role)
    }

    /// Whether the clock was never reset, as far as the file goes; false where it does not begin with the chain.
    pub(super) fn never_reset(&self) -> bool {
        self.first == 0 && self.freezes.never_reset()
    }

    /// Whether the entry that `by` names holds a command that froze everything, or thawed it.
    pub(super) fn froze_or_thawed(&self, by: &By, aud: &Aud, froze: bool) -> Result<(), Finding> {
        let typ = if froze { VaultFreeze::TYP } else { VaultThaw::TYP };
        self.rests(by, aud, |said| said.typ == typ)
    }

    /// What a role's engine leaves to be done when a credential of it ends; nothing is known of engines that are not ours.
    pub(super) fn revocation_of(&self, role: &RoleName) -> Option<Revocation> {
        self.left.get(role.as_str()).copied().flatten()
    }

    /// Whether the entry that `by` names holds a command for this very effect on this agent.
    pub(super) fn caused(&self, by: &By, agent: &AgentName, aud: &Aud, effect: &Effect<'_>) -> Result<(), Finding> {
        self.rests(by, aud, |said| said.fits(agent, effect))
    }

    /// Whether the command that `by` names was over before what was issued at `iat`, in a chain whose time rests on `since`.
    /// What it takes back was there, or under way, when it came, and its entry is no earlier than the newest of any chain.
    /// A reset of the clock and a restore take back what is later.
    pub(super) fn is_older(&self, by: &By, since: Option<u64>, iat: Timestamp) -> bool {
        let known = since.is_some() || self.never_reset();
        self.given.get(&by.seq).is_some_and(|given| {
            let timeless = given.said.as_ref().is_some_and(|said| [CLOCK_RESET, Backup::TYP].contains(&said.typ));
            !timeless && known && self.freezes.compares(by.seq, since) && given.ts.plus(LONGEST_SKEW) < iat
        })
    }

    /// Whether the entry that `by` names holds a command that made a backup.
    pub(super) fn made_a_backup(&self, by: &By, aud: &Aud) -> Result<(), Finding> {
        self.rests(by, aud, |said| said.typ == Backup::TYP)
    }

    /// Whether the command of this entry made a backup.
    pub(super) fn is_backup(&self, seq: u64) -> bool {
        self.given.get(&seq).and_then(|given| given.said.as_ref()).is_some_and(|said| said.typ == Backup::TYP)
    }

    /// Whether the entry that `by` names holds a command that reset the clock.
    pub(super) fn reset_the_clock(&self, by: &By, aud: &Aud) -> Result<(), Finding> {
        self.rests(by, aud, |said| said.typ == CLOCK_RESET)
    }

    fn rests(&self, by: &By, aud: &Aud, fits: impl FnOnce(&Said) -> bool) -> Result<(), Finding> {
        if self.aud != *aud {
            return Err(Finding::Unusable(format!("the _operators file is of another vault, {}", self.aud)));
        }
        if by.seq >= self.size {
            return Err(Finding::Unusable(format!(
                "it rests on entry {} of _operators, but the file given ends after {} entries; give a newer one",
                by.seq, self.size
            )));
        }
        if by.seq < self.first {
            return Err(Finding::Unusable(format!(
                "it rests on entry {} of _operators, but the file given begins with entry {}; give the whole",
                by.seq, self.first
            )));
        }
        let wrong = |how: &str| Err(Fault::By.found(format!("it rests on entry {} of _operators, {how}", by.seq)));
        let Some(given) = self.given.get(&by.seq) else { return wrong("which is no command") };
        if given.leaf != by.leaf {
            return wrong("whose leaf is another: one of the two chains was rewritten");
        }
        if given.denied {
            return wrong("a command that was refused");
        }
        if given.said.as_ref().is_some_and(fits) { Ok(()) } else { wrong("a command for something else") }
    }
}

impl Said {
    fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.body).ok()
    }

    fn fits(&self, agent: &AgentName, effect: &Effect<'_>) -> bool {
        let fits = match (self.typ, effect) {
            (AgentRegister::TYP, Effect::Registered(register)) => {
                self.read().map(|body: AgentRegister| body.register == **register)
            }
            (AgentKeyEnd::TYP, Effect::KeyEnded(kid, suspect)) => self.read().map(|body: AgentKeyEnd| {
                body.agent == *agent && body.kid.is_none_or(|named| named == **kid) && body.suspect_from == *suspect
            }),
            (GrantCreate::TYP, Effect::Granted(grant)) => self
                .read()
                .map(|body: GrantCreate| body.agent == *agent && body.role == grant.role && body.terms == grant.terms),
            (GrantRevoke::TYP, Effect::Ungranted(role) | Effect::Revoked(_, role, _)) => {
                self.read().map(|body: GrantRevoke| body.agent == *agent && body.role == **role)
            }
            (LeaseRevoke::TYP, Effect::Revoked(lease, role, sid)) => {
                self.read().map(|body: LeaseRevoke| match &body.scope {
                    Scope::Lease(named) => named == *lease,
                    Scope::Session(of, named) => of == agent && named == *sid,
                    Scope::Agent(of) => of == agent,
                    Scope::Role(named) => named == *role,
                    Scope::All => true,
                })
            }
            (LeaseRevoke::TYP, Effect::SessionEnded(sid)) => self.read().map(
                |body: LeaseRevoke| matches!(&body.scope, Scope::Session(of, named) if of == agent && named == *sid),
            ),
            (LeaseForget::TYP, Effect::Forgotten(lease)) => self.read().map(|body: LeaseForget| body.lease == **lease),
            (AgentKeyEnd::TYP, Effect::Revoked(..)) => self.read().map(|body: AgentKeyEnd| body.agent == *agent),
            // What was given under a clock that was ahead.
            (CLOCK_RESET, Effect::Revoked(..) | Effect::SessionEnded(_)) => Some(true),
            // What stood in a backup that the vault was restored from; that it was is for the chain to say.
            (Backup::TYP, Effect::Revoked(..) | Effect::SessionEnded(_)) => Some(true),
            (AgentFreeze::TYP, Effect::Frozen | Effect::Revoked(..)) => {
                self.read().map(|body: AgentFreeze| body.agent == *agent)
            }
            (VaultFreeze::TYP, Effect::Revoked(..)) => Some(true),
            (RoleFreeze::TYP, Effect::Revoked(_, role, _)) => self.read().map(|body: RoleFreeze| body.role == **role),
            (AgentThaw::TYP, Effect::Thawed) => self.read().map(|body: AgentThaw| body.agent == *agent),
            _ => None,
        };
        fits == Some(true)
    }
}

/// Verifies `_operators` entry by entry.
#[derive(Debug)]
pub(super) struct OperatorsTrail {
    roster: Roster,
    known: Once<32>,
    commands: Commands,
    approvals: Approvals,
    custodians: Custodians,
    made_by_custody: Vec<MadeByCustody>,
}

impl OperatorsTrail {
    pub(super) fn begin(
        genesis: &entry::OperatorsGenesis,
        aud: &Aud,
        ts: Timestamp,
        held: usize,
    ) -> Result<OperatorsTrail, Finding> {
        let roster = Roster::begin(&genesis.operator, &genesis.register, aud, ts)?;
        Ok(OperatorsTrail::of(roster, Approvals::Known(Known::default()), (0, aud), held))
    }

    /// A part of the chain that begins with the entry `first`.
    pub(super) fn resume(roster: Roster, first: u64, aud: &Aud, held: usize) -> OperatorsTrail {
        OperatorsTrail::of(roster, Approvals::Unknown, (first, aud), held)
    }

    fn of(roster: Roster, approvals: Approvals, (first, aud): (u64, &Aud), held: usize) -> OperatorsTrail {
        let commands = Commands { first, size: first + 1, ..Commands::none(aud) };
        let (custodians, made_by_custody) = (Custodians::default(), Vec::new());
        OperatorsTrail { roster, known: Once::holding(held), commands, approvals, custodians, made_by_custody }
    }

    /// Custody made an operator.
    pub(super) fn by_custody(&mut self, said: &entry::CustodyOperator, place: Place<'_>) -> Result<(), Finding> {
        self.custodians.may_have(said)?;
        let who = self.roster.by_custody(&said.register, &said.duty, place.ts)?;
        self.made_by_custody.push(MadeByCustody::of(said, who, place.seq, place.ts));
        Ok(())
    }

    /// The operators whom custody made.
    pub(super) fn made_by_custody(&self) -> &[MadeByCustody] {
        &self.made_by_custody
    }

    pub(super) fn command(&mut self, command: &entry::Command, leaf: Digest, place: Place<'_>) -> Result<(), Finding> {
        let fresh;
        let opened = match place.opened {
            Some(opened) => opened,
            None => {
                fresh = Opened::of(&command.command, PayloadType::Command);
                &fresh
            }
        };
        let claimed = command.command.payload.get("kid").and_then(Value::as_str).unwrap_or_default();
        let (operator, key) = self.roster.signer(claimed, opened, place.ts)?;
        let misfit = |what: String| Fault::RequestMembers.found(what);
        let statement: Command<Value> = admit_as(&opened.envelope.payload, &Admission::OPERATOR)
            .map_err(|why| misfit(format!("the command in it is not one: {why}")))?;
        if statement.aud != self.commands.aud
            || operator.is_some_and(|operator| operator != statement.operator)
            || key.and_then(Key::kver).is_some_and(|kver| statement.kver != kver)
            || statement.v != VERSION
        {
            return Err(misfit(format!(
                "the command in it is of {} with key number {} for {}, version {}",
                statement.operator, statement.kver, statement.aud, statement.v
            )));
        }
        key.map_or(Ok(()), |key| key.accepted(place.ts))?;
        if !self.known.insert(*opened.digest.as_bytes(), place.seq)? {
            return Err(twice());
        }
        let denied = command.denial().is_some();
        let entry = EntryRef { leaf, seq: place.seq };
        let at = Stands { said: &statement, digest: opened.digest, entry, ts: place.ts };
        if denied {
            self.approvals.refused(command, at, &self.roster)?;
        } else {
            self.carried(command, at)?;
        }
        self.commands.take(place, leaf, &statement.typ, &statement.body, denied)
    }

    /// What a command that was carried out did among the operators, and whether its operator might give it, and enough wanted
    /// it.
    fn carried(&mut self, command: &entry::Command, at: Stands<'_>) -> Result<(), Finding> {
        let said = at.said;
        self.roster.allowed(&said.operator, &said.typ, &said.body)?;
        self.approvals.wanted(command, at, &self.roster)?;
        self.custodians.carried(&said.typ, &said.body, &command.result);
        self.roster.carried(&said.operator, (&said.typ, &said.body), &command.result, at.ts)?;
        self.approvals.carried(at, &self.roster)
    }

    /// The first entry with a command that stands in an earlier one, where only the end could show it.
    pub(super) fn again(&mut self) -> Result<Option<(u64, Finding)>, Finding> {
        Ok(self.known.again()?.map(|(entry, _)| (entry, twice())))
    }

    /// The keys that the next commands are likely signed by.
    pub(super) fn guesses(&self) -> impl Iterator<Item = Guess> {
        self.roster.guesses()
    }

    /// The keys of all operators.
    pub(super) fn keys(&self) -> Vec<KeySeen> {
        self.roster.seen().into_iter().flat_map(|(_, keys)| keys).collect()
    }

    /// The keys by whose they are.
    pub(super) fn keys_by_operator(&self) -> Vec<(String, Vec<KeySeen>)> {
        self.roster.seen()
    }

    /// A `clock_reset` in this very chain, whose command stands before it.
    pub(super) fn reset_the_clock(&mut self, by: &By, (seq, ts): (u64, Timestamp)) -> Result<(), Finding> {
        if by.seq >= seq {
            return Err(Fault::By.found(format!("it rests on entry {}, which does not stand before it", by.seq)));
        }
        self.roster.clock_reset(ts);
        self.commands.reset_the_clock(by, &self.commands.aud)
    }

    /// A `restore` in this very chain, from a backup that was made before it.
    pub(super) fn restored(&self, by: &By, seq: u64) -> Result<(), Finding> {
        if by.seq >= seq {
            return Err(Fault::By.found(format!("it rests on entry {}, which does not stand before it", by.seq)));
        }
        self.commands.made_a_backup(by, &self.commands.aud)
    }

    /// The commands of a chain that has so many entries.
    pub(super) fn into_commands(self, size: u64) -> Commands {
        Commands { size, ..self.commands }
    }

    /// How many commands are signed by keys that are not known.
    pub(super) fn unchecked(&self) -> u64 {
        self.roster.unchecked()
    }
}

fn twice() -> Finding {
    Fault::RequestTwice.found("the command in it stands in an earlier entry already: a replay")
}

/// That a `by` names an entry of `_operators` at all.
pub(super) fn names_operators(by: &By) -> Result<(), Finding> {
    if by.chain == ChainName::operators() {
        Ok(())
    } else {
        Err(Fault::By.found(format!("it rests on an entry of {}, where no operator's command stands", by.chain)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crypto::signature::Signature;
    use crate::statement::grant::Terms;
    use crate::time::Seconds;

    fn terms(ttl: u64) -> Terms {
        let (ttl, max_ttl) = (Seconds(ttl), Seconds(600));
        Terms { ttl, max_ttl, max_uses: None, until: None, session: None, from: Vec::new(), rate: None }
    }

    fn grant(role: &str, ttl: u64) -> entry::Grant {
        let by = By { chain: ChainName::operators(), leaf: Digest::ZERO, seq: 1 };
        entry::Grant { by, role: role.parse().unwrap(), terms: terms(ttl) }
    }

    /// Every command that may leave something in the chain of `kit`, and which of the effects it has; another effect it has
    /// not, and for another agent none but where it is for all.
    #[test]
    fn a_command_has_its_own_effects_and_no_others() {
        let register = |nth: u8| Embedded { payload: json!({ "nth": nth }), sig: Signature::from_bytes([nth; 64]) };
        let (registers, kids) = ([register(1), register(2)], [1, 2].map(|nth| Kid::from_thumbprint(&[nth; 32])));
        let leases = [1, 2].map(|nth| LeaseId::new(nth, [1; 10]));
        let roles: [RoleName; 2] = ["a", "b"].map(|role| role.parse().unwrap());
        let sids: [Sid; 2] = ["s", "t"].map(|sid| sid.parse().unwrap());
        let grants = [grant("a", 60), grant("a", 61), grant("b", 60)];
        let doubt = Some(Timestamp(7));
        let effects = [
            ("registered", Effect::Registered(&registers[0])),
            ("another registered", Effect::Registered(&registers[1])),
            ("key ended", Effect::KeyEnded(&kids[0], None)),
            ("key ended in doubt", Effect::KeyEnded(&kids[0], doubt)),
            ("another key ended", Effect::KeyEnded(&kids[1], None)),
            ("granted", Effect::Granted(&grants[0])),
            ("granted more", Effect::Granted(&grants[1])),
            ("granted another", Effect::Granted(&grants[2])),
            ("ungranted", Effect::Ungranted(&roles[0])),
            ("another ungranted", Effect::Ungranted(&roles[1])),
            ("revoked by lease", Effect::Revoked(&leases[0], &roles[1], &sids[1])),
            ("revoked by role", Effect::Revoked(&leases[1], &roles[0], &sids[1])),
            ("revoked by session", Effect::Revoked(&leases[1], &roles[1], &sids[0])),
            ("another revoked", Effect::Revoked(&leases[1], &roles[1], &sids[1])),
            ("session ended", Effect::SessionEnded(&sids[0])),
            ("another session ended", Effect::SessionEnded(&sids[1])),
            ("forgotten", Effect::Forgotten(&leases[0])),
            ("another forgotten", Effect::Forgotten(&leases[1])),
            ("frozen", Effect::Frozen),
            ("thawed", Effect::Thawed),
        ];
        let revoked = ["revoked by lease", "revoked by role", "revoked by session", "another revoked"];
        let ends = [&revoked[..], &["session ended", "another session ended"]].concat();
        let scope = |scope: Value| json!({ "scope": scope });
        let mira = json!({ "agent": "mira", "role": "a", "terms": terms(60), "kid": null, "suspect_from": null, "reason": "" });
        let only = |members: &[&str]| {
            let mut body = mira.clone();
            body.as_object_mut().unwrap().retain(|member, _| members.contains(&member.as_str()));
            body
        };
        let kit = |members: &[&str]| {
            let mut body = only(members);
            body["agent"] = "kit".into();
            body
        };
        let [key_end, create, revoke] =
            [&["agent", "kid", "suspect_from"][..], &["agent", "role", "terms"], &["agent", "role"]];
        let named = |kid: &Kid, doubt: Option<u64>| json!({ "agent": "kit", "kid": kid, "suspect_from": doubt });
        let with_key = |ended: &[&'static str]| [ended, &revoked].concat();
        let commands: Vec<(&str, Value, Vec<&str>)> = vec![
            (AgentRegister::TYP, json!({ "register": registers[0] }), vec!["registered"]),
            (AgentKeyEnd::TYP, kit(key_end), with_key(&["key ended", "another key ended"])),
            (AgentKeyEnd::TYP, named(&kids[0], None), with_key(&["key ended"])),
            (AgentKeyEnd::TYP, named(&kids[0], Some(7)), with_key(&["key ended in doubt"])),
            (AgentKeyEnd::TYP, only(key_end), vec![]),
            (GrantCreate::TYP, kit(create), vec!["granted"]),
            (GrantCreate::TYP, only(create), vec![]),
            (GrantRevoke::TYP, kit(revoke), vec!["ungranted", "revoked by role"]),
            (GrantRevoke::TYP, only(revoke), vec![]),
            (LeaseRevoke::TYP, scope(json!({ "lease": leases[0] })), vec!["revoked by lease"]),
            (
                LeaseRevoke::TYP,
                scope(json!({ "agent": "kit", "sid": "s" })),
                vec!["revoked by session", "session ended"],
            ),
            (LeaseRevoke::TYP, scope(json!({ "agent": "mira", "sid": "s" })), vec![]),
            (LeaseRevoke::TYP, scope(json!({ "agent": "kit" })), revoked.to_vec()),
            (LeaseRevoke::TYP, scope(json!({ "agent": "mira" })), vec![]),
            (LeaseRevoke::TYP, scope(json!({ "role": "a" })), vec!["revoked by role"]),
            (LeaseRevoke::TYP, scope(json!({ "all": true })), revoked.to_vec()),
            (LeaseForget::TYP, json!({ "lease": leases[0] }), vec!["forgotten"]),
            (CLOCK_RESET, json!({}), ends.clone()),
            (Backup::TYP, json!({}), ends),
            (AgentFreeze::TYP, kit(&["agent", "reason"]), with_key(&["frozen"])),
            (AgentFreeze::TYP, only(&["agent", "reason"]), vec![]),
            (AgentThaw::TYP, kit(&["agent"]), vec!["thawed"]),
            (AgentThaw::TYP, only(&["agent"]), vec![]),
            (VaultFreeze::TYP, json!({ "reason": "" }), revoked.to_vec()),
            (VaultThaw::TYP, json!({}), vec![]),
            (RoleFreeze::TYP, json!({ "reason": "", "role": "a" }), vec!["revoked by role"]),
        ];
        for (typ, body, has) in commands {
            let typ = WITH_EFFECTS.into_iter().find(|known| *known == typ).unwrap();
            let said = Said { typ, body: body.to_string().into() };
            let found: Vec<&str> = effects
                .iter()
                .filter(|(_, effect)| said.fits(&"kit".parse().unwrap(), effect))
                .map(|(name, _)| *name)
                .collect();
            let wanted: Vec<&str> = effects.iter().map(|(name, _)| *name).filter(|name| has.contains(name)).collect();
            assert_eq!(found, wanted, "{typ} {body}");
        }
    }

    /// Commands of these kinds and bodies, refused or not, one behind the other.
    fn given(commands: &mut Commands, told: &[(&str, Value, bool)]) -> Result<(), Finding> {
        let leaves = super::super::spill::Leaves::holding(1);
        told.iter().zip(commands.given.len() as u64..).try_for_each(|((typ, body, denied), seq)| {
            let place = Place { seq, ts: Timestamp(seq), leaves: &leaves, opened: None };
            commands.take(place, Digest::ZERO, typ, body, *denied)
        })
    }

    fn none() -> Commands {
        Commands::none(&Aud::of_identity(&Kid::from_thumbprint(&[1; 32])))
    }

    #[test]
    fn a_role_leaves_what_the_engine_of_its_first_command_leaves() {
        let role = |engine: &str| json!({ "role": "a", "engine": engine });
        let mut commands = none();
        let told = [
            (GrantCreate::TYP, json!({ "role": "a" }), false),
            (RoleCreate::TYP, role("ssh"), true),
            (RoleCreate::TYP, role("postgres"), false),
            (RoleCreate::TYP, role("x509"), false),
        ];
        given(&mut commands, &told).unwrap();
        let role: RoleName = "a".parse().unwrap();
        assert_eq!(commands.revocation_of(&role), Some(Revocation::Backend));
    }

    #[test]
    fn what_is_about_an_agent_leaves_an_entry_in_its_chain() {
        let (kit, mira) = (json!({ "agent": "kit", "scope": {} }), json!({ "agent": "mira" }));
        let registered = json!({ "register": { "payload": { "agent": "kit" } } });
        let mut commands = none();
        let told = [
            (GrantCreate::TYP, kit.clone(), false),
            (GrantCreate::TYP, kit.clone(), true),
            (GrantCreate::TYP, mira, false),
            (LeaseRevoke::TYP, kit, false),
            (AgentRegister::TYP, registered, false),
            (VaultFreeze::TYP, json!({}), false),
            (VaultThaw::TYP, json!({}), true),
        ];
        given(&mut commands, &told).unwrap();
        assert_eq!(commands.about(&"kit".parse().unwrap()), [0, 4]);
        assert_eq!(commands.about_the_vault().collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn that_the_clock_was_never_reset_is_known_of_a_whole_chain() {
        let (whole, part) = (none(), Commands { first: 3, ..none() });
        let mut reset = none();
        given(&mut reset, &[(CLOCK_RESET, json!({}), false)]).unwrap();
        assert_eq!([whole.never_reset(), part.never_reset(), reset.never_reset()], [true, false, false]);
    }

    #[test]
    fn commands_are_kept_up_to_a_limit() {
        let (each, freeze) = (size_of::<Given>(), (AgentFreeze::TYP, json!({ "agent": "kit" }), false));
        let mut commands = none();
        given(&mut commands, &[freeze.clone(), freeze]).unwrap();
        // The command, and that it is about kit.
        assert_eq!(commands.bytes, 2 * (each + r#"{"agent":"kit"}"#.len() + each + "kit".len()));
        let list = [("nockvault/agent_list", json!({}), false)];
        commands.bytes = MOST - each;
        assert!(given(&mut commands, &list).is_ok() && commands.bytes == MOST);
        assert!(matches!(given(&mut commands, &list), Err(Finding::Unusable(_))));
        commands.bytes = 2 * MOST;
        assert!(given(&mut commands, &list).is_err());
    }
}
