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
//! not know. `vaultd check-config` says so without starting. At start the heads of all chains are checked at once and
//! the rest in the background.
//!
//! # The clock
//!
//! Requests are accepted within the skew, five minutes unless set otherwise. When the clock stands further than that
//! behind the newest entry, issuing stops with `clock_behind`. Mend the clock. Only where an entry lies in a false
//! future does an operator's `clock_reset` let time fall, and each chain then says who did it.
//!
//! # Backup and restore
//!
//! A restore sets the floor of `iat` beyond the skew, so that no request from before it comes alive; each chain gets a
//! `restore` entry and its origin a new suffix. An agent that has seen more than the backup holds is told so, signed,
//! and keeps its old head as evidence. Leases that the backup does not know are found at the backends of engines that
//! can list what they made.
//!
//! # When a key is lost or taken
//!
//! | key | what a thief can do | what to do |
//! |---|---|---|
//! | an agent's | sign as that agent, within its live grants | freeze the agent, revoke its key, register a successor |
//! | an operator's | command, visibly: each command stands in `_operators` under that key | revoke the key with another operator's; go through its commands |
//! | audit key of an epoch | forge entries from now until the epoch's end, not backwards | restart: a new epoch has a new key |
//! | identity key | certify keys of his own | a new vault, and new cards |
//! | root key | open the database, if he has it too | a new root key, and every stored secret changed at its source |
//!
//! # What to watch
//!
//! - `history_mismatch`: an agent holds a history that is not the vault's. An alarm, never routine.
//! - A quarantined chain.
//! - Revocations that are being retried.
//! - Refusals by reason in `_vault`: a rise of `unauthenticated` is somebody trying.
