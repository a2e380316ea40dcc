//! The offline verifier: reads a chain file and says what it proves, with public keys alone.

fn main() {}
