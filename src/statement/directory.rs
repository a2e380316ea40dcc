//! `nockvault/directory`: the public keys of a vault and of those who sign to it, each with the time in which it is
//! good, signed by the response key. It is made to be kept: who holds it checks answers and entries without asking the
//! vault, until `exp`.
//!
//! One without names says of agents' keys only what they are, in the order of their key identifiers, and nothing of
//! operators: anybody may have it. On paper a directory is an embedded envelope and a line feed; [`crate::audit`] opens
//! it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::register::Holder;
use super::reply::Reply;
use super::{Body, VERSION, nullable, present};
use crate::crypto::envelope::Embedded;
use crate::crypto::signature::{Form, PublicKey};
use crate::id::{AgentName, Aud, Kid, OperatorName, VaultName};
use crate::time::{Seconds, Timestamp};

/// The statement's `typ`.
pub const TYP: &str = "nockvault/directory";

/// For how long a directory is good: a key that was ended since is still shown as good for this long.
pub const GOOD_FOR: Seconds = Seconds(3600);

/// The most bytes of a directory: some 200,000 keys.
pub const MAX_BYTES: usize = 64 << 20;

/// A key of an agent or operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedKey {
    /// The agent that holds it; left out where the directory has no names, and for an operator's key.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "AgentName")]
    pub agent: Option<AgentName>,
    /// When it was retired or revoked.
    #[serde(deserialize_with = "nullable")]
    pub ended: Option<Timestamp>,
    /// How its signatures are formed.
    pub form: Form,
    /// Until when it is accepted beside its successor; null while it is the newest.
    #[serde(deserialize_with = "nullable")]
    pub grace: Option<Timestamp>,
    /// Its RFC 7638 thumbprint.
    pub kid: Kid,
    /// Its number among the holder's keys, from 1; left out where the directory has no names.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "u64")]
    pub kver: Option<u64>,
    /// The operator that holds it; left out for an agent's key.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "OperatorName")]
    pub operator: Option<OperatorName>,
    /// The key, 32 bytes.
    pub pk: PublicKey,
    /// When it was registered.
    pub since: Timestamp,
}

impl ListedKey {
    /// Before when it is accepted, where that is known already.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match (self.grace, self.ended) {
            (Some(grace), Some(ended)) => Some(grace.min(ended)),
            (grace, ended) => grace.or(ended),
        }
    }

    /// Whether it was accepted at `at`.
    #[must_use]
    pub fn good(&self, at: Timestamp) -> bool {
        self.since <= at && self.until().is_none_or(|until| at < until)
    }

    /// The same key without what tells whose it is.
    #[must_use]
    pub fn nameless(&self) -> ListedKey {
        ListedKey { agent: None, operator: None, kver: None, ..self.clone() }
    }
}

/// A key directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Directory {
    /// The keys of agents: by name and number, or, without names, by `kid`.
    pub agents: Vec<ListedKey>,
    /// The vault.
    pub aud: Aud,
    /// Certificates of the vault's own keys, that of the key which signed the directory among them.
    pub certs: Vec<Embedded>,
    /// It is good before this.
    pub exp: Timestamp,
    /// When it was made.
    pub iat: Timestamp,
    /// The vault's identity key, 32 bytes.
    pub identity: PublicKey,
    /// The vault's name.
    pub name: VaultName,
    /// Whether it says whose the keys are.
    pub names: bool,
    /// The keys of operators, by name and number; empty where the directory has no names.
    pub operators: Vec<ListedKey>,
    /// `nockvault/directory`.
    pub typ: String,
    /// 1.
    pub v: u64,
}

impl Reply for Directory {
    const TYP: &'static str = TYP;
}

/// What a directory says of a vault itself.
#[derive(Clone, Debug)]
pub struct Of {
    /// The vault.
    pub aud: Aud,
    /// Certificates of its own keys.
    pub certs: Vec<Embedded>,
    /// Its identity key.
    pub identity: PublicKey,
    /// Its name.
    pub name: VaultName,
}

impl Directory {
    /// The directory of a vault with these keys, made at `iat`.
    #[must_use]
    pub fn new(of: Of, agents: Vec<ListedKey>, operators: Vec<ListedKey>, iat: Timestamp) -> Directory {
        let Of { aud, certs, identity, name } = of;
        let exp = iat.plus(GOOD_FOR);
        Directory { agents, aud, certs, exp, iat, identity, name, names: true, operators, typ: TYP.into(), v: VERSION }
    }

    /// The same without names, for anybody.
    #[must_use]
    pub fn nameless(&self) -> Directory {
        let mut agents: Vec<ListedKey> = self.agents.iter().map(ListedKey::nameless).collect();
        agents.sort_by(|one, other| one.kid.as_str().cmp(other.kid.as_str()));
        Directory { agents, operators: Vec::new(), names: false, ..self.clone() }
    }

    /// The keys of an agent by number; none where the directory has no names.
    pub fn of_agent<'a>(&'a self, agent: &'a AgentName) -> impl Iterator<Item = &'a ListedKey> {
        self.agents.iter().filter(move |key| key.agent.as_ref() == Some(agent))
    }

    /// The keys of this holder; where the directory has no names, those of all agents for any agent.
    pub fn of<'a>(&'a self, holder: &'a Holder) -> impl Iterator<Item = &'a ListedKey> {
        let keys = match holder {
            Holder::Agent(_) => &self.agents,
            Holder::Operator(_) => &self.operators,
        };
        keys.iter().filter(move |key| match holder {
            Holder::Agent(agent) => !self.names || key.agent.as_ref() == Some(agent),
            Holder::Operator(operator) => key.operator.as_ref() == Some(operator),
        })
    }

    /// The key of this identifier, an agent's or an operator's.
    #[must_use]
    pub fn key(&self, kid: &Kid) -> Option<&ListedKey> {
        self.agents.iter().chain(&self.operators).find(|key| key.kid == *kid)
    }
}

/// `nockvault/directory_read`: asks for the directory with names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryRead {}

impl Body for DirectoryRead {
    const TYP: &'static str = "nockvault/directory_read";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signature::SigningKey;
    use crate::entropy::SeededEntropy;

    fn key(seed: u64, holder: &Holder) -> ListedKey {
        let pk = SigningKey::generate(&SeededEntropy::new(seed)).public();
        let (agent, operator) = match holder {
            Holder::Agent(name) => (Some(name.clone()), None),
            Holder::Operator(name) => (None, Some(name.clone())),
        };
        let (kid, since) = (pk.kid(), Timestamp(10));
        ListedKey { agent, ended: None, form: Form::Pae, grace: None, kid, kver: Some(1), operator, pk, since }
    }

    #[test]
    fn a_key_is_good_from_its_registration_to_its_first_end() {
        let kit = key(1, &Holder::Agent("kit".parse().unwrap()));
        for (grace, ended, until) in [
            (None, None, None),
            (Some(20), None, Some(20)),
            (None, Some(15), Some(15)),
            (Some(20), Some(15), Some(15)),
            (Some(15), Some(20), Some(15)),
        ] {
            let key = ListedKey { grace: grace.map(Timestamp), ended: ended.map(Timestamp), ..kit.clone() };
            assert_eq!(key.until(), until.map(Timestamp));
            let good = [9, 10, 14, 15, 19, 20].map(|at| key.good(Timestamp(at)));
            let end = until.unwrap_or(u64::MAX);
            assert_eq!(good, [false, true, true, 15 < end, 19 < end, 20 < end], "{until:?}");
        }
    }

    #[test]
    fn a_directory_tells_whose_a_key_is_only_with_names() {
        let (kit, mira) = (Holder::Agent("kit".parse().unwrap()), Holder::Agent("mira".parse().unwrap()));
        let (ada, eve) = (Holder::Operator("ada".parse().unwrap()), Holder::Operator("eve".parse().unwrap()));
        let identity = SigningKey::generate(&SeededEntropy::new(9)).public();
        let aud = Aud::of_identity(&identity.kid());
        let of = Of { aud, certs: Vec::new(), identity, name: "prod".parse().unwrap() };
        let (agents, operators) = (vec![key(1, &kit), key(2, &kit), key(3, &mira)], vec![key(4, &ada), key(5, &eve)]);
        let directory = Directory::new(of, agents.clone(), operators.clone(), Timestamp(7));
        assert_eq!((directory.exp, directory.names), (Timestamp(7).plus(GOOD_FOR), true));
        let keys = |directory: &Directory, holder: &Holder| directory.of(holder).cloned().collect::<Vec<_>>();
        assert_eq!(keys(&directory, &kit), agents[..2]);
        assert_eq!(
            (keys(&directory, &ada), keys(&directory, &eve)),
            (operators[..1].to_vec(), operators[1..].to_vec())
        );
        assert_eq!(directory.of_agent(&"mira".parse().unwrap()).collect::<Vec<_>>(), [&agents[2]]);
        assert_eq!(
            (directory.key(&agents[2].kid), directory.key(&operators[1].kid)),
            (Some(&agents[2]), Some(&operators[1]))
        );
        let nameless = directory.nameless();
        assert!(
            !nameless.names
                && nameless.operators.is_empty()
                && nameless.of_agent(&"kit".parse().unwrap()).next().is_none()
        );
        assert_eq!((keys(&nameless, &kit).len(), keys(&nameless, &mira).len(), keys(&nameless, &ada).len()), (3, 3, 0));
        assert!(nameless.agents.is_sorted_by(|one, other| one.kid.as_str() < other.kid.as_str()));
        for listed in agents.iter().chain(&operators) {
            let nameless = listed.nameless();
            assert_eq!((&nameless.agent, &nameless.operator, nameless.kver), (&None, &None, None));
            assert_eq!((&nameless.kid, &nameless.pk, nameless.since), (&listed.kid, &listed.pk, listed.since));
        }
    }
}
