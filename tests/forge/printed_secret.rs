//! A secret has no text of its own: `Display` would put it into the first log line that meets it.

use nockvault::secret::SecretBytes;

fn main() {
    let secret = SecretBytes::from(b"hunter2".to_vec());
    println!("{secret}");
}
