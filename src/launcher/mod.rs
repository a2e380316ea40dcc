//! What `vault-agent` does: it holds the agent's key so that nothing else need hold it, asks the vault in the agent's
//! name, and gives credentials where tools expect them. The program that it runs, and the model behind that, never see
//! the key, and see a secret only where they were to have one.
//!
//! - [`want`]: what may be asked for
//! - [`wallet`]: what is held for the child: one session, cached within each lease, released at the end
//! - [`nockguard`]: the agent's own NockGuard trail, one row a request
//! - [`orphans`]: the sessions of launchers that were killed, ended by the next one

pub mod nockguard;
pub mod orphans;
pub mod wallet;
pub mod want;
