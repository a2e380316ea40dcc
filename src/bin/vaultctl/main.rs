//! What operators type.

fn main() {}
