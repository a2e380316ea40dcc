//! The primitives, and the bytes they run over. Nothing above this module names a cipher, a curve or a hash function;
//! it signs, seals and hashes in the words below. Each primitive's documentation opens with its formula, then names the
//! RFC. The published test vectors run against exactly this code in `tests/vectors.rs`.
//!
//! - [`hash`]: SHA-256, and the two hashes of a Merkle tree
//! - [`signature`]: Ed25519 keys that may be registered, always `verify_strict`
//! - [`json`]: the canonical form of JSON, and the admission of bytes that claim to have it
//! - [`envelope`]: what is signed, and the two shapes it travels in
//! - [`aead`]: records sealed to their place, rows bound to theirs
//! - [`hpke`]: sealing to a public key
//! - [`mac`]: tags under a key that both sides hold
//! - [`primitive`]: the bare functions that `aead` is built of
//! - [`stream`]: more than fits into memory, sealed chunk by chunk
//! - [`scram`]: what a server keeps of a password

pub mod aead;
mod bytes;
pub mod envelope;
pub mod hash;
pub mod hpke;
pub mod json;
pub mod mac;
pub mod primitive;
pub mod scram;
pub mod signature;
pub mod stream;
