//! The box of a secret is private: what is inside can be read by `expose` and not moved out.

use nockvault::secret::SecretBytes;

fn main() {
    let secret = SecretBytes::from(b"hunter2".to_vec());
    let _inside = secret.0;
}
