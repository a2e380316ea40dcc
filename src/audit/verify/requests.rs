//! Requests and commands inside entries: signed by a key of the holder that was accepted at the entry's `ts`, meant for
//! this vault, each in one entry alone, and signed in view of a history that this chain holds.

use serde::Deserialize as _;

use super::ahead::Opened;
use super::keys::{Key, KeyHistory};
use super::report::{Fault, Finding};
use super::spill::{Leaves, Once};
use crate::crypto::envelope::{Embedded, PayloadType};
use crate::crypto::hash::Digest;
use crate::crypto::json::{Admission, NotAdmitted, admit_as, depth};
use crate::id::{AgentName, Aud};
use crate::statement::issue::Issue;
use crate::statement::lease::{Release, Renew};
use crate::statement::request::{Common, Request, Seen};
use crate::statement::rotate_key::RotateKey;
use crate::statement::session::{Close, Hello};
use crate::statement::{Body, VERSION};
use crate::time::Timestamp;

/// A request that was read and believed.
pub(super) struct Asked<B> {
    pub(super) common: Common,
    pub(super) body: B,
    pub(super) req: Digest,
    pub(super) kver: u64,
}

/// A request that was refused.
pub(super) struct Refused {
    /// Whether the history that it names is not this chain's.
    pub(super) false_history: bool,
}

/// Where a request stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The entry's number.
    pub(super) seq: u64,
    /// The entry's `ts`.
    pub(super) ts: Timestamp,
    /// The leaves of all entries before it.
    pub(super) leaves: &'a Leaves,
    /// The request in it, where it was opened already.
    pub(super) opened: Option<&'a Opened>,
}

/// Whether something was a state of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Yes,
    No,
    /// It is of before the part that is known.
    Untold,
}

impl Place<'_> {
    /// Whether this was a state of the chain before this entry.
    fn held(&self, seen: Seen) -> Result<Held, Finding> {
        let held = match seen.size.checked_sub(1) {
            None => seen.head == Digest::ZERO,
            Some(last) if last < self.leaves.first() => return Ok(Held::Untold),
            Some(last) => self.leaves.at(last)?.is_some_and(|(leaf, _)| leaf == seen.head),
        };
        Ok(if held { Held::Yes } else { Held::No })
    }
}

/// The requests of one agent.
#[derive(Debug)]
pub(super) struct Requests {
    aud: Aud,
    agent: AgentName,
    /// H(PAE) of every request in the chain.
    known: Once<32>,
    /// How many were signed in view of a history that is not in the part that is known.
    pub(super) untold: u64,
}

impl Requests {
    pub(super) fn new(aud: &Aud, agent: &AgentName, held: usize) -> Requests {
        Requests { aud: aud.clone(), agent: agent.clone(), known: Once::holding(held), untold: 0 }
    }

    /// A request because of which something was done.
    pub(super) fn obeyed<B: Body>(
        &mut self,
        embedded: &Embedded,
        keys: &mut KeyHistory,
        place: Place<'_>,
    ) -> Result<Asked<B>, Finding> {
        let asked = self.open::<B>(embedded, keys, place, false)?;
        match place.held(asked.common.seen)? {
            Held::Yes => {}
            Held::Untold => self.untold += 1,
            Held::No => {
                return Err(Fault::History.found(format!(
                    "the agent signed its request in view of a history of {} entries with head {}, which is not that of \
                     this chain: history was rewritten after the agent saw it",
                    asked.common.seen.size, asked.common.seen.head
                )));
            }
        }
        Ok(asked)
    }

    /// A request, of any `typ`, that was refused: what it says of the history is the agent's claim and nothing more. One
    /// that was `intended` had been accepted before something else ended it.
    pub(super) fn refused(
        &mut self,
        embedded: &Embedded,
        keys: &mut KeyHistory,
        place: Place<'_>,
        intended: bool,
    ) -> Result<Refused, Finding> {
        let common = match embedded.payload.get("typ").and_then(serde_json::Value::as_str) {
            Some(Hello::TYP) => self.open::<Hello>(embedded, keys, place, intended)?.common,
            Some(Issue::TYP) => self.open::<Issue>(embedded, keys, place, intended)?.common,
            Some(Renew::TYP) => self.open::<Renew>(embedded, keys, place, intended)?.common,
            Some(Release::TYP) => self.open::<Release>(embedded, keys, place, intended)?.common,
            Some(Close::TYP) => self.open::<Close>(embedded, keys, place, intended)?.common,
            Some(RotateKey::TYP) => self.open::<RotateKey>(embedded, keys, place, intended)?.common,
            _ => return Err(Fault::RequestMembers.found("what was refused is no request of an agent")),
        };
        Ok(Refused { false_history: place.held(common.seen)? == Held::No })
    }

    fn open<B: Body>(
        &mut self,
        embedded: &Embedded,
        keys: &mut KeyHistory,
        place: Place<'_>,
        intended: bool,
    ) -> Result<Asked<B>, Finding> {
        let reset = keys.is_reset();
        let fresh;
        let opened = match place.opened {
            Some(opened) => opened,
            None => {
                fresh = Opened::of(embedded, PayloadType::Request);
                &fresh
            }
        };
        let claimed = embedded.payload.get("kid").and_then(serde_json::Value::as_str).unwrap_or_default();
        let key = keys.signer(claimed, opened, place.ts)?;
        let misfit = |what: String| Fault::RequestMembers.found(what);
        let request: Request<B> = read(embedded, &opened.envelope.payload)
            .map_err(|why| misfit(format!("the request in it is not a {}: {why}", B::TYP)))?;
        let Request { common, body } = request;
        if common.typ != B::TYP || common.v != VERSION {
            return Err(misfit(format!("the request in it is a {} of version {}", common.typ, common.v)));
        }
        // Of a key that is not known only the request itself tells its number.
        let kver = key.and_then(Key::kver).unwrap_or(common.kver);
        if common.aud != self.aud || common.agent != self.agent || common.kver != kver {
            return Err(misfit(format!(
                "the request in it is of {} with key number {} for {}, not of {} with key number {kver} for {}",
                common.agent, common.kver, common.aud, self.agent, self.aud
            )));
        }
        match key {
            // Where the clock was put back, its end may be of an earlier time than what it signed.
            Some(_) if intended && reset => {}
            Some(key) if intended => key.accepted_once(common.iat)?,
            Some(key) => key.accepted(place.ts)?,
            None => {}
        }
        let req = opened.digest;
        if self.known.insert(*req.as_bytes(), place.seq)? {
            Ok(Asked { common, body, req, kver })
        } else {
            Err(twice())
        }
    }

    /// The first entry with a request that stands in an earlier one, where only the end could show it.
    pub(super) fn again(&mut self) -> Result<Option<(u64, Finding)>, Finding> {
        Ok(self.known.again()?.map(|(entry, _)| (entry, twice())))
    }
}

/// The statement in a line that was admitted: all that is left to see is its own size and depth, and its schema.
fn read<B: Body>(embedded: &Embedded, payload: &[u8]) -> Result<Request<B>, NotAdmitted> {
    let rules = Admission::AGENT;
    if payload.len() <= rules.max_bytes
        && depth(&embedded.payload) <= rules.max_depth
        && let Ok(request) = Request::deserialize(&embedded.payload)
    {
        return Ok(request);
    }
    // What is wrong with it, in words.
    admit_as(payload, &rules)
}

fn twice() -> Finding {
    Fault::RequestTwice.found("the request in it stands in an earlier entry already: a replay")
}
