//! Nothing is permitted in a session that was not bound: the proof is made by the check alone.

use nockvault::authn::SessionBound;

fn main() {
    let _bound = SessionBound(());
}
