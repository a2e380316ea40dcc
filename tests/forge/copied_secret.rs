//! A secret has one place, so that erasing it there erases it.

use nockvault::secret::SecretBytes;

fn main() {
    let secret = SecretBytes::from(b"hunter2".to_vec());
    let _copy = secret.clone();
}
