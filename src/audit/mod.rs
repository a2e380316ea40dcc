//! The trail: one chain an agent, and the chains `_operators` and `_vault`. A chain is a file of lines; each line is an
//! [`entry`], signed by the audit key of its epoch and bound to the line before it. [`chain`] makes the next line,
//! [`certificate`] ties the vault's keys to its identity, and [`verify`] holds a whole chain against everything that
//! can be known from public keys alone. [`tree`] gives a chain its root, and the proofs that lead there; a [`checkpoint`]
//! is that root as a signed [`note`], which a [`witness`] cosigns; a [`policy`] says how many of them it takes. A
//! [`proof`] carries one entry up to there.
//!
//! [`nockguard`] reads the trails of another program that agents sign with the same keys.
//!
//! Nothing here needs a vault or a network: who holds a file and the vault's identity can check it anywhere. What is read
//! is a [`std::io::BufRead`]; what a long chain leaves to be remembered goes to unnamed temporary files.

pub mod certificate;
pub mod chain;
pub mod checkpoint;
pub mod directory;
pub mod entry;
mod line;
pub mod links;
pub mod nockguard;
pub mod note;
pub mod policy;
pub mod proof;
pub mod receipt;
pub mod shown;
pub mod tree;
pub mod verify;
pub mod witness;
