//! The house: its rooms, and which way imports run.
//!
//! Imports run one way, downward, and there is no circle. `tests/architecture.rs` holds every path that a file names
//! against a table, and fails with the file, the line and the arrow that is not in it. Whoever reads a room needs to
//! know only what stands below it.
//!
//! ```text
//!   vaultd          vaultctl        vault-agent       an agent          vault-verify      programs
//!      |                |                |                |                   |
//!  +---v----+       +---v----------------v----------------v---+               |
//!  | server |       |  client  (launcher: what holds the key)  |               |           edges
//!  +--+--+--+       +---+--------------------------------+----+               |
//!     |  |              |                                |                    |
//!     |  +-----> wire <-+                                |                    |           the contract, generated
//!     |                                                  |                    |
//!  +--v-----+                                            |                    |
//!  | vault  |  issue, renew, revoke, operate, expire     |                    |           the flow
//!  +--+-----+                                            |                    |
//!  +--v-----+                                            |                    |
//!  | store  |  the domain's verbs, each one transaction  |                    |           what is durable
//!  +--+-----+                                            |                    |
//!     |                                                  |                    |
//!  +--v-----+   +--------+   +--------+              +---v----+           +---v----+
//!  | engine |-->| authz  |-->| authn  |              |  seal  |           | audit  |      what decides and makes
//!  +--------+   +--------+   +--------+              +--------+           +--------+
//!     |             |             |                      |                    |
//!  registry       grant         lease                    |                    |           who, what, until when
//!     |             |             |                      |                    |
//!  +--v-------------v-------------v----------------------v--------------------v------+
//!  |  statement   what agents and operators sign: one file a `typ`                   |
//!  +---------------------------------------------------------------------------------+
//!  |  crypto      hash, signature, aead, hpke, canonical JSON, envelope              |
//!  +---------------------------------------------------------------------------------+
//!  |  ground      time, entropy, secret, base64url, id, denial, failpoint            |
//!  +---------------------------------------------------------------------------------+
//! ```
//!
//! # Rooms
//!
//! | room | what it promises | stands on |
//! |---|---|---|
//! | `time`, `entropy` | the only readers of the clock and of the system's randomness; elsewhere both are arguments | |
//! | `secret` | what is inside is zeroized and never printed | |
//! | `base64url`, `id` | names and values parsed once, into types that cannot hold a wrong one | |
//! | `denial` | the closed list of refusals, each with its code and its texts | `id`, `time` |
//! | `failpoint` | named steps at which a test stops the process and kills it; a release build has none | |
//! | `crypto` | each primitive opens with its formula and its RFC; the only room that names a cipher or a curve | ground |
//! | `statement` | what is signed, with exactly the members that the formats name | ground, `crypto` |
//! | `registry`, `grant`, `lease` | agents, operators and their keys; roles and terms; what was handed out | `statement` and below |
//! | `authn` | signature, window, nonce and session: each check leaves a proof that the next step demands | `registry` and below |
//! | `authz` | an authenticated request and a grant give a permit or a denial; pure | `authn`, `grant`, `lease` and below |
//! | `engine` | mint, renew, revoke, list, probe; one file or folder a kind; what it must read comes through a port | `authz`, `lease`, `seal` and below |
//! | `seal` | a reply to its session, a record to its place, the root key to its custody | `statement` and below |
//! | `audit` | entries, chains, certificates, receipts and their verification; it waits for nothing and reads from `Read` | `statement` and below |
//! | `store` | the domain's verbs, each one durable transaction | all above |
//! | `follow` | what is committed is carried outside, by sinks that delay nobody and go on from where they were | `store`, `audit`, `telemetry` and below |
//! | `vault` | the flow; neither the wire nor the configuration is known here | all above |
//! | `wire` | generated messages and their conversion | `statement` and below |
//! | `server` | bind, TLS, drain; the one table from a denial to a gRPC status | everything but `client` |
//! | `client` | sign, send, open, check the receipt | `wire`, `seal`, `audit` and below |
//! | `launcher` | hold the key, run the child, serve it | `client` |
//! | `config` | strict; each limit with its unit and its default | the types of `vault`, `store` and `follow` that it fills |
//! | `telemetry` | the names of logs and metrics | ground |
//!
//! # The flow
//!
//! ```text
//! SignedEnvelope -> Statement<Issue>
//!   authn   signature -> SignatureValid; window -> WithinWindow; session -> SessionBound
//!   authz   a live grant -> Permit, or a Denial (a value, not an exception)
//!   store   intend(nonce, grant use, lease), durable       (only where the credential will live at a backend)
//!   engine  mint(Mint { permit, handle, params, .. }) -> Minted { secret, until }
//!   seal    to the session's key
//!   store   commit(nonce, session, lease, grant use, entry) -> Receipt, in one durable transaction
//!   -> Released { Reply, Receipt } or Refused { Denial, Option<Receipt> }
//! ```
//!
//! An intent that does not become a lease becomes a `deny`, and its backend is looked at.
//!
//! # The end
//!
//! ```text
//! released, revoked, expired, undelivered, or abandoned
//!   store   the lease's row and its entry, in one durable transaction
//!   vault   undo: what is due, by role, until its backend has taken the credential away
//!   engine  revoke(Made { handle, .. }) -> revoked | absent
//!   store   undone, or when it is tried next
//! ```
//!
//! A live lease is a row in an index on when it expires. No timer and no memory stands behind it: one loop looks each
//! second for what is due, and another for what waits for a backend. Each role has its own places for calls, so that a
//! backend that is slow or gone holds up its own requests and no others. Once an hour, and at the start, the vault
//! lists what it ever made at each backend, and takes away what no lease answers for.
//!
//! # Engines
//!
//! | engine | makes | is made useless by |
//! |---|---|---|
//! | `kv` | nothing: it hands out a stored value | nothing |
//! | `jwt` | a token, signed by a key of the vault | a signed list of revoked tokens |
//! | `ssh` | a user certificate, signed by an authority | a KRL that hosts fetch |
//! | `x509` | a client or server certificate, signed by an authority | a CRL that peers fetch |
//! | `postgres` | a role that can log in | dropping it, after its sessions are ended |
//!
//! Authorities are stored secrets of a use of their own. An engine sees neither the store nor the trail: stored values
//! come through [`crate::engine::StoredValues`], and an engine of authorities gives the documents to publish for the
//! leases that it is told of.
//!
//! Proofs are types with private fields, born in one function and demanded by the next step, so that a skipped check
//! does not compile. `tests/forge/` holds programs that try.
//!
//! # Features
//!
//! `daemon` and `client` are both on by default. With neither, the core and the verifier build alone: no runtime, no
//! network stack, no database. `tests/verifier_links.rs` holds that.
//!
//! # Where a change belongs
//!
//! - A rule about who may have what: `authz`. It takes `now` and gives a value; its tests need no vault.
//! - A new refusal: `denial`, and the table in `server`.
//! - A new signed statement: a file in `statement`, its row in [`super::formats`], its schema under `proto/schema/`.
//! - A new backend of credentials: a file in `engine` and a line in its list. `CONTRIBUTING.md` walks through one.
//! - What becomes of a lease: `lease` for its states, `vault/undo` for its end at a backend, [`super::crash_order`] for
//!   what a crash leaves.
//! - A query: a verb of `store`. Nothing above `store` knows SQL.
