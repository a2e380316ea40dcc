//! What `vault-agent` does: it holds the agent's key so that nothing else need hold it, asks the vault in the agent's
//! name, and gives credentials where tools expect them. The program that it runs, and the model behind that, never see
//! the key, and see a secret only where they were to have one.
//!
//! - [`want`]: what may be asked for
//! - [`wallet`]: what is held for the child: one session, cached within each lease, released at the end
//! - [`run`]: one run of a child, from its first credential to its end
//! - [`child`]: the program that is run
//! - [`keep`]: credentials that were delivered, kept alive
//! - [`delivery`]: where a child finds what it was given
//! - [`mask`], `redact`: secrets taken out of what a child prints, and out of answers
//! - [`key`]: the key is the launcher's alone
//! - [`folder`]: secrets in files, in memory
//! - [`nockguard`]: the agent's own NockGuard trail, one row a request
//! - [`proxy`]: requests that go out with a secret that the child never has
//! - [`sshagent`]: an ssh-agent that has the certificates which the vault issues
//! - [`confine`]: keeping the child away from files with keys
//! - [`mcp`]: a server of the Model Context Protocol, which puts credentials where programs find them
//! - [`orphans`]: the sessions of launchers that were killed, ended by the next one
//! - [`socket`], [`token`]: where the child's tools ask, and what they show in tight mode
//! - [`ask`]: from whom a tool gets its credential: the launcher's socket, or the agent's own key
//! - [`adapters`]: credentials in the form in which git, docker, AWS, Kubernetes, libpq and others ask for them

pub mod adapters;
pub mod ask;
pub mod child;
pub mod confine;
pub mod delivery;
pub mod folder;
pub mod keep;
pub mod key;
pub mod mask;
pub mod mcp;
pub mod nockguard;
pub mod orphans;
pub mod proxy;
mod redact;
pub mod run;
pub mod socket;
pub mod sshagent;
pub mod token;
pub mod wallet;
pub mod want;
