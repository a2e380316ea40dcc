//! What agents and operators call. [`agent::Agent`] asks for credentials: it signs each request with the agent's key,
//! opens what comes back with a session key that never leaves memory, and believes an answer only where the vault that
//! the card pins signed it, for this very request. [`operator::Operator`] gives signed commands in the same way.
//!
//! The same bytes are never sent twice. Where the vault refuses because of the clock and proves it with its signature,
//! the clock is corrected and a new statement is signed, once; every other refusal goes to the caller, as a
//! [`fault::Refusal`] with its reason, its limit and the vault's time.
//!
//! - [`agent`]: sessions, credentials, leases, the agent's next key
//! - [`material`]: a secret, opened
//! - [`operator`]: commands, secret input, reading chains
//! - [`signer`]: who holds a key and signs with it
//! - [`sshagent`]: keys that an ssh-agent holds
//! - [`approval`]: commands that wait for other operators
//! - [`keyfile`]: keys in files and environment variables, shared with NockGuard
//! - [`passphrase`]: keys behind a passphrase
//! - [`pins`]: which answers are the vault's
//! - [`place`]: where cards and keys lie
//! - [`seen`]: what an agent remembers of its chain
//! - [`custody`]: how a sealed vault is opened
//! - [`channel`]: TLS with the card's CA alone, loopback, unix sockets
//! - [`fault`]: what can go wrong, by who has to act

pub mod agent;
pub mod approval;
pub mod channel;
pub mod custody;
pub mod fault;
pub mod keyfile;
mod link;
pub mod material;
pub mod operator;
pub mod passphrase;
pub mod pins;
pub mod place;
pub mod seen;
pub mod signer;
pub mod sshagent;

pub use link::Surroundings;
