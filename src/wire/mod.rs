//! The wire: what gRPC carries, and the way between that and the house's own types. The contract stands in `proto/`;
//! [`v1`] is generated from it and committed, so that building needs no `protoc`, and `tests/generated.rs` holds the
//! two together. Nothing here decides anything: an envelope that passes [`convert`] has the right shape and is believed
//! no further.

pub mod convert;

/// The messages and services of `proto/nockvault/v1`, as generated. The clients need the feature `client`, the servers
/// the feature `daemon`.
#[allow(missing_docs, unreachable_pub, rustdoc::all, clippy::all, clippy::pedantic)]
pub mod v1 {
    include!("gen/nockvault.v1.rs");
}

/// The contract as a `google.protobuf.FileDescriptorSet`, which is what gRPC reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/nockvault.v1.bin");
