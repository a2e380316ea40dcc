//! A secret cannot be a member of anything that is written out.

use nockvault::secret::SecretBytes;

fn write_out(_: &impl serde::Serialize) {}

fn main() {
    write_out(&SecretBytes::from(b"hunter2".to_vec()));
}
