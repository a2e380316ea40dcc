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
//! # Issue, an engine with an outside effect
//!
//! | step | durable afterwards | a crash here leaves | recovery |
//! |---|---|---|---|
//! | 1. checks | nothing | nothing | none |
//! | 2. intent: nonce, use count, quota, the lease and its handle | the intent | an intent whose effect may or may not exist | revoke by handle at the backend, until it answers; then a `deny` entry with lease and handle |
//! | 3. mint | | as step 2 | as step 2 |
//! | 4. seal | | as step 2 | as step 2 |
//! | 5. commit: session, lease, entry | the lease is live | before it is durable: as step 2 | as step 2 |
//! | 6. answer | | a live lease that nobody received | it expires, or is released by `req` |
//!
//! # The deadline
//!
//! A queued commit is withdrawn when its caller's deadline passes. One that may still land is answered
//! `outcome_unknown`; if it lands, the lease is revoked with an `undelivered` entry. The caller signs a new request and
//! never sends the same bytes again.
//!
//! # The end of a lease
//!
//! | step | a crash here leaves | recovery |
//! |---|---|---|
//! | 1. the lease is marked as ending, with its entry | a lease that is over for the vault, alive at the backend | the sweep takes it up at start |
//! | 2. revoke at the backend | as step 1; revoking twice is harmless | as step 1, with endless and visible retries |
//! | 3. the outcome is recorded | | none |
//!
//! # What a failed write means
//!
//! - A request that fails alone rolls back to its savepoint; the others of its group commit.
//! - A full disk refuses what issues, and a reserve keeps revoke, freeze and expire working.
//! - A failed sync is the end of the process: what the kernel holds can no longer be trusted. It stops, restarts and
//!   recovers.
//! - A chain that does not verify at start is quarantined, loudly. The others go on.
