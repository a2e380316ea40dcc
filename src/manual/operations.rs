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
//! | root key | open the database, if he has it too | a new root key, and every stored secret changed at its source |
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
