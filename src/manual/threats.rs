//! Who may attack, what stops them, and what does not.
//!
//! `SECURITY.md` lists the promises and the test that holds each. This page says for each adversary what he has, what
//! he wants, and where he ends.
//!
//! # Assets
//!
//! 1. Secrets: stored ones, minted ones, keys.
//! 2. The truth of a chain: that what stands there happened, and that what happened stands there.
//! 3. The bounds of a grant.
//! 4. That agents with a right to a credential get one.
//!
//! # Adversaries
//!
//! | who | has | wants | ends at |
//! |---|---|---|---|
//! | a stranger on the network | the address | names, memory, a full disk | one answer and alike time for unknown agent, unknown key and bad signature; limits before parsing; refusals counted, not chained |
//! | a reader of the wire or of a log | captured requests and replies | a secret, a second issuance | replies are sealed to a key in the session's memory; a request names its vault, its session, its nonce and its minute |
//! | a proxy that terminates TLS | requests and replies, and may change them | the same, or a wider request | nothing unsigned widens what is allowed; the signed bytes are verified as received |
//! | a compromised agent | its key and its session | more than its grants, another's leases, a quiet trail | its own live grants; leases are looked up under their owner; its requests stand in its chain with its signature |
//! | another agent | its own key | to fill or confuse a neighbour's chain | only requests that the neighbour's key signed reach its chain |
//! | who can write the database | the file | a key, a grant, a revived lease | rows that decide carry a code under a key that the file does not hold, and agree with the chain |
//! | who can read the database | the file, the log of writes, a backup | secrets | records are encrypted to their place; minted secrets are never stored |
//! | an operator | his own key | to invent an issuance, to hide a command | an issuance needs the agent's signature; commands stand signed in `_operators` |
//! | the vault's host, from some moment on | the running process | to rewrite the past | heads and receipts that others keep; audit keys of past epochs are erased |
//! | an agent that denies | its own key | to have asked for nothing | its signed request stands in the entry |
//!
//! # Assumptions
//!
//! - Ed25519, X25519, SHA-256, HKDF and (X)ChaCha20-Poly1305 hold.
//! - The system's random generator gives random bytes.
//! - A synced write is durable.
//! - Whoever owns the vault's process while it runs owns what it can open from then on.
//! - At least one head or receipt of a chain is kept where the attacker cannot change it.
//!
//! # Not stopped
//!
//! - A key taken out of a running launcher signs until it is revoked.
//! - A secret of the `kv` engine was known and stays known: its end is a change at its source.
//! - An operator who registers a key of his own as "kit" is found by those who pinned kit's key outside, and by no one
//!   else.
//! - A child of the same user can read what its user can read.
//! - A signature proves "a holder of kit's key", never "the model".
//! - A chain file alone does not show that its end was cut off. A head or a receipt kept outside shows it.
//! - A vault that is stopped, or a host that is taken away, issues nothing.
