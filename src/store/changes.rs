//! Who hears of commits. A [`Changes`] knows which chains have grown since it was last asked and nothing else: it holds a
//! set of names, so that a listener that is slow or dead costs no more than the number of chains, and delays nobody.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

use crate::id::ChainName;

/// Chains with commits that a listener has not heard of.
#[derive(Debug, Default)]
struct Unheard {
    chains: Mutex<BTreeSet<ChainName>>,
    wake: Notify,
}

impl Unheard {
    fn add(&self, chains: impl Iterator<Item = ChainName>) {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner).extend(chains);
        self.wake.notify_one();
    }
}

/// Tells which chains have changed.
#[derive(Debug)]
pub struct Changes(Arc<Unheard>);

impl Changes {
    /// Waits until there is a commit that was not told of yet, and gives the chains of all of them; the first call gives
    /// every chain that there is. A call that is dropped while it waits loses nothing. After the store was closed it waits
    /// for ever.
    pub async fn next(&mut self) -> BTreeSet<ChainName> {
        loop {
            let chains = std::mem::take(&mut *self.0.chains.lock().unwrap_or_else(PoisonError::into_inner));
            if !chains.is_empty() {
                return chains;
            }
            self.0.wake.notified().await;
        }
    }
}

/// Tells all listeners of commits.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    chains: BTreeSet<ChainName>,
    listeners: Vec<Weak<Unheard>>,
}

impl Announcer {
    /// A new listener.
    pub(super) fn listen(&self) -> Changes {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let unheard = Arc::new(Unheard::default());
        unheard.add(known.chains.iter().cloned());
        known.listeners.push(Arc::downgrade(&unheard));
        Changes(unheard)
    }

    /// These chains have commits; call it when they are durable.
    pub(super) fn announce(&self, chains: &[ChainName]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for chain in chains {
            if !known.chains.contains(chain) {
                known.chains.insert(chain.clone());
            }
        }
        known.listeners.retain(|listener| match listener.upgrade() {
            Some(unheard) => {
                unheard.add(chains.iter().cloned());
                true
            }
            None => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains(names: &[&str]) -> Vec<ChainName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn told(changes: &mut Changes) -> Option<Vec<String>> {
        let waiting = std::pin::pin!(changes.next());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match waiting.poll(&mut context) {
            std::task::Poll::Ready(chains) => Some(chains.iter().map(ToString::to_string).collect()),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn the_first_call_gives_every_chain_and_the_others_what_changed_since() {
        let announcer = Announcer::default();
        announcer.announce(&chains(&["_vault", "kit"]));
        let mut early = announcer.listen();
        announcer.announce(&chains(&["kit"]));
        announcer.announce(&chains(&["max"]));
        assert_eq!(told(&mut early).unwrap(), ["_vault", "kit", "max"]);
        assert_eq!(told(&mut early), None);
        announcer.announce(&chains(&["kit"]));
        announcer.announce(&chains(&["kit"]));
        assert_eq!(told(&mut early).unwrap(), ["kit"]);
        assert_eq!(told(&mut early), None);
        assert_eq!(told(&mut announcer.listen()).unwrap(), ["_vault", "kit", "max"]);
    }

    #[test]
    fn a_listener_that_went_away_is_forgotten() {
        let announcer = Announcer::default();
        drop(announcer.listen());
        announcer.announce(&chains(&["kit"]));
        assert!(announcer.known.lock().unwrap().listeners.is_empty());
    }
}
