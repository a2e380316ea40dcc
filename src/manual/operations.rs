//! Running a vault: what to keep, what to watch, what to do when something is lost.
//!
//! # What exists, and where it belongs
//!
//! | thing | secret? | keep it |
//! |---|---|---|
//! | custody key file | yes | mode 0600, outside the data directory, with a copy elsewhere: without it the data cannot be opened |
//! | data directory | sealed, but private | on a local disk that honours sync; mode 0700 |
//! | operator key | yes | with its operator; one key a person |
//! | vault card | no | hand it to every agent, operator and auditor: it pins the vault |
//! | a chain's newest head, a receipt, a checkpoint | no | outside the vault's reach; each closes the history before it |
//!
//! # Starting
//!
//! `vaultd` refuses a configuration with an unknown member, a custody file that others can read, and a schema it does
//! not know. `vaultd check-config` says so without starting. At start the newest line of each chain is held against its
//! row. To verify a chain whole, export it and run `vault-verify`.
//!
//! # The clock
//!
//! Requests are accepted within the skew, five minutes unless set otherwise. When the clock stands further than that
//! behind the newest entry, issuing stops with `clock_behind`. Mend the clock. Where an entry lies in a false future,
//! wait until it is past: a command that lets time fall is to come.
//!
//! # Backup and restore
//!
//! Online backup and a restore that cannot be mistaken for a continuation are to come. Until then: stop the daemon, copy
//! the data directory and the custody key to different places, start it again. A vault that runs on after its data
//! was put back refuses every agent that has seen more (`history_mismatch`), and rightly: the two histories differ.
//!
//! # When a key is lost or taken
//!
//! | key | what a thief can do | what to do |
//! |---|---|---|
//! | an agent's | sign as that agent, within its live grants | `vaultctl agent end-key NAME`, which ends every key of it, then register a successor |
//! | an operator's | command, visibly: each command stands in `_operators` under that key | go through its commands there; several operators, and ending an operator's key, are to come |
//! | audit key of an epoch | forge entries from now until the epoch's end, not backwards | restart: a new epoch has a new key |
//! | identity key | certify keys of his own | a new vault, and new cards |
//! | the key for tokens | sign tokens, until verifiers have its withdrawal | `vaultctl key rotate jwt --now --withdraw`; the tokens it signed are refused then, and new ones are asked for |
//! | root key | open the database, if he has it too | a new root key, and every stored secret changed at its source |
//!
//! # Roles and the backends behind them
//!
//! `vaultctl role create ROLE --engine postgres --config role.toml --check` lets the vault look at the backend, shows what
//! it found and creates nothing; it ends with 1 and the backend's own words where the role would not work. Without
//! `--check` the role is made. `vaultctl role check ROLE` looks again later. A role's file is TOML or JSON, with whole
//! numbers, texts, lists and tables. Each call to a backend ends after `engine_deadline_ms`.
//!
//! What the vault needs to be let in at a backend is stored by `vaultctl secret put NAME --use backend`; no engine hands
//! it out. `vaultctl role rotate ROLE` exchanges it for one that the vault draws and nobody else knows. It may be broken
//! off at any point:
//!
//! | broken off | stored | at the backend | what follows |
//! |---|---|---|---|
//! | while the newest version is tried | as before | as before, or an earlier rotation complete | command again |
//! | before the next version is stored | as before | the newest | command again |
//! | after it is stored: the answer says `rotated: false` | one version more | the one before, or the newest | the next call to the backend completes it; nothing is to be done |
//!
//! A further version is stored only after the backend has taken the newest, so that one of the two newest always opens it.
//! Put no version by hand while a rotation is incomplete.
//!
//! # Certificate authorities
//!
//! `vaultctl ca create NAME --engine ssh` has the vault make one; `vaultctl ca import NAME --engine ssh --file KEY` brings
//! one, and what is left of its key elsewhere signs as well as the vault does. `vaultctl ca certify NAME --engine x509
//! --chain FILE` gives it the chain that a higher one signed for its request (`vaultctl ca show NAME --engine x509 --field
//! request`). A name is never used again. No command shows a private key;
//! `vaultctl ca show NAME --engine ssh --field public_key` writes what hosts are to trust.
//!
//! What relying parties need is fetched over HTTP, by anyone, for each authority that some role signs with:
//!
//! | path | what |
//! |---|---|
//! | `/ssh/ca/NAME` | the public key's line, for `TrustedUserCAKeys` |
//! | `/ssh/krl/NAME` | the key revocation list, for `RevokedKeys` |
//! | `/x509/ca/NAME` | the certificate chain, PEM |
//! | `/x509/crl/NAME` | the certificate revocation list, DER |
//!
//! Each is made at most once in five seconds, however many ask, so that what was revoked in the last seconds may be
//! missing. A list holds the leases that were released, revoked or never delivered, until they would have expired. Fetch
//! it in short intervals, and keep the old one when the vault does not answer.
//!
//! # Turning the key for tokens
//!
//! `vaultctl key rotate jwt` makes a new key. It stands in `/.well-known/jwks.json` at once and signs ten minutes later,
//! when verifiers that keep the set for the five minutes that it says have fetched it. The key before it stays there
//! until the last token that it signed has expired; nothing else is to be done, and nothing is refused meanwhile. A
//! verifier that checks offline fetches both the keys and `/jwt/revoked`, which is good for five minutes.
//!
//! # What to watch
//!
//! - `history_mismatch`: an agent holds a history that is not the vault's. An alarm, never routine.
//! - A quarantined chain.
//! - Refusals by reason in `_vault`: a rise of `unauthenticated` is somebody trying.
//!
//! # Other stacks
//!
//! Over a unix socket some gRPC stacks send the socket's path as the name of the host, which HTTP/2 does not take; set
//! the channel's authority to `localhost` (in Python: `grpc.default_authority`).
