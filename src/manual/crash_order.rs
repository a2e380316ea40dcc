//! What a crash leaves, step by step, and what recovery does with it.
//!
//! A process may end between any two instructions, and a disk may lose what was not synced. So each write of more than
//! one step has an order in which every prefix is safe, and recovery runs the same code as the ordinary path. Beside
//! each step in the source stands a comment that says what a crash at that place leaves; this page gathers them.
//!
//! # Issue, an engine without outside effect (`kv`, `jwt`)
//!
//! | step | durable afterwards | a crash here leaves | recovery |
//! |---|---|---|---|
//! | 1. checks | nothing | nothing; the nonce was reserved in memory only | none: the same bytes may come once more |
//! | 2. mint and seal | nothing | a sealed secret in memory that is gone with the process | none |
//! | 3. commit: nonce, session, lease, use count, entry | all of it, or nothing | before the commit is durable: as step 2 | the writer reads heads from the store; memory moves only after the commit |
//! | 4. answer | | a lease whose secret nobody received | the agent releases it by `req`, or it expires; the sweep runs at start |
//!
//! An engine with an effect outside (a database login, a certificate at a far side) needs an intent that is durable
//! before the mint. There is none yet; [`crate::engine`] comes with that order when the first one does.
//!
//! # The deadline
//!
//! A queued commit is withdrawn when its caller's deadline passes. One that may still land is answered
//! `outcome_unknown`; if it lands, the lease is revoked with an `undelivered` entry. The caller signs a new request and
//! never sends the same bytes again.
//!
//! The caller may also be gone, its connection closed, when the commit lands. The writer sees that nobody took the
//! answer and ends the lease in its next commit. A crash between the two leaves a live lease that nobody received: it
//! expires, or its agent releases it by `req`.
//!
//! # The end of a lease
//!
//! Expiry, release and revocation are one transaction each: the lease's row and its entry. A crash before the commit
//! leaves the lease as it was; the sweep, which also runs at start, takes it up.
//!
//! # The turn of an audit epoch
//!
//! The new key's first entry, `start` or `epoch` in `_vault`, is committed together with the count of epochs. A crash
//! before leaves the old count; the key is gone with the process, and the next start makes another. A key that signed
//! nothing leaves no trace.
//!
//! # Founding
//!
//! The rows and the first entries of a vault are one transaction. A crash before it leaves a database that holds no
//! vault, which is refused and must be removed; the configuration is written last, so that a folder without one holds
//! no vault.
//!
//! # What a failed write means
//!
//! - A request that fails alone rolls back to its savepoint; the others of its group commit.
//! - A full disk refuses what issues, and a reserve of disk keeps revoke, release, close and expire working.
//! - A failed sync is the end of the process: what the kernel holds can no longer be trusted. It stops, restarts and
//!   recovers.
//! - A chain whose row or newest line does not fit at start, or whose deciding rows do not fit when they are read, is
//!   set aside, loudly. The others go on.
