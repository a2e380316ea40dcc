//! The manual: prose only, no code. It is built with the documentation, so that it is read where the types are, and a
//! broken link in it breaks the build.
//!
//! | page | for whom |
//! |---|---|
//! | [`architecture`] | who changes the code: the rooms of the house, and which way imports run |
//! | [`threats`] | who decides whether to trust it: who may attack, what stops them, what does not |
//! | [`formats`] | who writes an agent or a verifier in another language: every byte that is signed, sealed, chained or stored |
//! | [`crash_order`] | who touches a multi-step write: what a crash leaves at each step, and what recovery does |
//! | [`operations`] | who runs a vault: start, clock, emergencies, backup and restore, limits, alarms |
//! | [`custody`] | who opens it and who commands it: the root key's custodians, operators, keys that are lost or taken |
//! | [`backends`] | who gives it databases, hosts and authorities to make credentials at |
//! | [`trail`] | who reads or keeps the chains: auditors, mirrors, checkpoints outside |
//! | [`launcher`] | who runs an agent: how its program gets credentials and no key, and what happens when |
//! | [`speed`] | who asks what an issuance costs: how it is measured, and what was found |
//! | [`tools`] | who gives an agent's tools their credentials: the lines for git, docker, AWS, Kubernetes and others |
//!
//! # Words
//!
//! One word an idea, the same in the wire contract, in Rust, in SQL, at the command line, in logs and in metrics.
//!
//! | word | means |
//! |---|---|
//! | agent, operator | who holds a key and signs: an agent requests, an operator commands |
//! | key, `kid`, `kver` | an Ed25519 key; its thumbprint; its number among its holder's keys, from 1 |
//! | session, `sid` | one run of an agent, with one fresh key that its secrets are sealed to |
//! | role | what kind of credential, from which engine |
//! | engine | what makes a credential: a stored value, a token, a certificate, a database login |
//! | backend | where an engine's credentials live: a database server |
//! | authority | a key that signs certificates; a stored secret that is never handed out |
//! | grant | which agent may have which role, on what terms |
//! | request | what an agent signs |
//! | denial | a refusal, out of a closed list, each with its code |
//! | lease | what was handed out, until it ends |
//! | intent | a lease before its credential is made at a backend |
//! | undo | to have a backend take away the credential of a lease that is over |
//! | sweep | to look at a backend for what no lease answers for |
//! | handle | the public name of an issued credential at its backend |
//! | receipt | the vault's signed answer, kept by the agent |
//! | entry, chain, head | a signed line; the lines of one agent, each over the one before; the newest of them |
//! | checkpoint | a signed note of a chain's size and root, for keeping outside |
//! | seal | to encrypt for one session's key |
//! | custody | of the root key: where it comes from when the vault starts |
//!
//! Verbs: register, grant, issue, mint, seal, record, release, renew, revoke, expire, freeze, thaw, verify.

pub mod architecture;
pub mod backends;
pub mod crash_order;
pub mod custody;
pub mod formats;
pub mod launcher;
pub mod operations;
pub mod speed;
pub mod threats;
pub mod tools;
pub mod trail;
