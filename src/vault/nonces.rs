//! Nonces in flight. Copies of one request that arrive together must not all pass the look into the store, so the
//! first one reserves its (kid, nonce) here, at once and in memory; the others fall. The reservation ends with the
//! request that made it: by then the nonce is durable, or the request came to nothing and may be tried by whoever holds
//! it. What decides is the store, where (kid, nonce) is unique; this only spares the work.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::denial::{Denial, Reason};
use crate::id::{Kid, Nonce};

/// The nonces of requests that are being served.
#[derive(Clone, Debug, Default)]
pub(super) struct Nonces(Arc<Mutex<HashSet<(Kid, Nonce)>>>);

/// One nonce, held until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    nonces: Nonces,
    held: (Kid, Nonce),
}

impl Nonces {
    /// Step 8: holds the nonce, or refuses it as one that is being used.
    pub(super) fn reserve(&self, kid: &Kid, nonce: &Nonce) -> Result<Reservation, Denial> {
        let held = (kid.clone(), nonce.clone());
        let fresh = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(held.clone());
        if fresh { Ok(Reservation { nonces: self.clone(), held }) } else { Err(Reason::Replay.into()) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.nonces.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_held_once_and_freed_at_the_end() {
        let nonces = Nonces::default();
        let kid = Kid::from_thumbprint(&[1; 32]);
        let nonce = Nonce::from_bytes(&[2; 24]);
        let held = nonces.reserve(&kid, &nonce).unwrap();
        assert_eq!(nonces.reserve(&kid, &nonce).unwrap_err().reason, Reason::Replay);
        assert!(nonces.reserve(&Kid::from_thumbprint(&[3; 32]), &nonce).is_ok(), "another key's nonce is another");
        drop(held);
        assert!(nonces.reserve(&kid, &nonce).is_ok());
    }
}
