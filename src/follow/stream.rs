//! A sink that sends entries to a program elsewhere. How far each chain was sent is kept in a cursor, so that it goes on
//! from there: at least once. What may have been lost on its way is sent again, and so is what was sent after the cursor
//! was last written down, when the daemon was killed. A repeat carries the same `seq` and the same leaf.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::cursor::{Carried, Cursors, Mark};
use super::facts::{Entry, follows};
use super::{Sink, Step, Trouble};
use crate::crypto::hash::{Digest, leaf};
use crate::id::ChainName;
use crate::store::Store;

/// How much is sent at once: entries, and bytes.
const PART: (u64, usize) = (512, 512 << 10);

/// A way outside.
#[async_trait]
pub(super) trait Wire: Send {
    /// The name of the sink.
    const NAME: &'static str;
    /// How long after it was sent an entry may turn out to be lost; none where each part is acknowledged.
    const DOUBT: Option<Duration>;

    /// Sends entries of one chain. It comes to an end in bounded time.
    async fn send(&mut self, chain: &ChainName, entries: &[Entry<'_>]) -> Result<(), String>;

    /// Whether what was sent last is known to have got lost.
    fn is_broken(&mut self) -> bool {
        false
    }
}

/// What comes next of a chain.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place {
    seq: u64,
    /// The leaf of the entry before it.
    leaf: Digest,
}

impl Mark for Place {
    fn seq(&self) -> u64 {
        self.seq
    }
}

const BEGIN: Place = Place { seq: 0, leaf: Digest::ZERO };

/// The sink over a wire.
pub(super) struct Stream<W> {
    wire: W,
    store: Arc<dyn Store>,
    cursors: Cursors<Place>,
    /// From where on a chain was sent lately: in the present span of doubt, and in the one before.
    lately: [BTreeMap<ChainName, Place>; 2],
    turned: Instant,
    again: BTreeSet<ChainName>,
}

impl<W: Wire> Stream<W> {
    /// Sends over `wire` to `target`, with cursors in a folder of its own under `state`: another target gets everything
    /// from the first entry on.
    pub(super) fn new(wire: W, target: &str, state: &Path, store: Arc<dyn Store>) -> Stream<W> {
        let short = &Digest::of(target.as_bytes()).to_string()[..12];
        let cursors = Cursors::new(state.join(format!("{}-{short}", W::NAME)));
        let (lately, again) = (Default::default(), BTreeSet::new());
        Stream { wire, store, cursors, lately, turned: Instant::now(), again }
    }

    fn remember(&mut self, chain: &ChainName, from: Place) {
        let Some(doubt) = W::DOUBT else { return };
        if self.turned.elapsed() >= doubt {
            self.lately.swap(0, 1);
            self.lately[0].clear();
            self.turned = Instant::now();
        }
        self.lately[0].entry(chain.clone()).or_insert(from);
    }

    /// Goes back to before what was sent lately.
    fn go_back(&mut self) {
        let [present, before] = std::mem::take(&mut self.lately);
        for (chain, place) in present.into_iter().chain(before) {
            if self.cursors.load(&chain).is_some_and(|now| now.seq > place.seq) {
                self.cursors.put(&chain, place);
            }
            self.again.insert(chain);
        }
    }

    /// The newest leaf that was sent is not the store's. Is it the store that does not hang together?
    async fn diverged(&mut self, chain: &ChainName, place: Place) -> Result<Step, Trouble> {
        if let Some(before) = place.seq.checked_sub(1) {
            let lines =
                self.store.lines(chain, before, 1, 0).await.map_err(|failure| Trouble::all(failure.to_string()))?;
            let sent = lines.and_then(|lines| lines.lines.first().map(|line| leaf(line)));
            if sent != Some(place.leaf) {
                tracing::error!(
                    sink = W::NAME, %chain, seq = before, sent = %place.leaf,
                    "the store has another history than the one that was sent; the chain is sent again from its beginning"
                );
                self.cursors.put(chain, BEGIN);
                return Ok(Step { more: true, carried: false, set_aside: true });
            }
        }
        Err(Trouble::of(format!("the store's own chain {chain} is broken at its entry {}", place.seq)))
    }

    /// Sends the next entries of a chain.
    async fn carry(&mut self, chain: &ChainName) -> Result<Step, Trouble> {
        let place = self.cursors.load(chain).unwrap_or(BEGIN);
        let lines = self.store.lines(chain, place.seq, PART.0, PART.1).await;
        let lines = lines.map_err(|failure| Trouble::all(failure.to_string()))?;
        let lines = lines.ok_or_else(|| Trouble::of(format!("the store does not know the chain {chain} any more")))?;
        if !follows(&lines, place.seq, place.leaf) {
            return self.diverged(chain, place).await;
        }
        let Some(last) = lines.lines.last() else { return Ok(Step::default()) };
        let broken = || Trouble::of(format!("the store's own chain {chain} has no entry after {}", place.seq));
        let entries = Entry::all(&lines.lines).ok_or_else(broken)?;
        if let Err(why) = self.wire.send(chain, &entries).await {
            self.go_back();
            return Err(Trouble::all(why));
        }
        let next = Place { seq: place.seq + entries.len() as u64, leaf: leaf(last) };
        self.cursors.put(chain, next);
        self.remember(chain, place);
        Ok(Step { more: next.seq < lines.head.size, carried: true, set_aside: false })
    }
}

#[async_trait]
impl<W: Wire> Sink for Stream<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn carried(&self) -> Carried {
        self.cursors.carried().clone()
    }

    async fn begin(&mut self, chains: &BTreeSet<ChainName>) {
        self.cursors.count(chains);
    }

    async fn step(&mut self, chains: &[ChainName]) -> Vec<Result<Step, Trouble>> {
        vec![self.carry(&chains[0]).await]
    }

    async fn look(&mut self) -> BTreeSet<ChainName> {
        if self.wire.is_broken() {
            self.go_back();
        }
        std::mem::take(&mut self.again)
    }

    async fn save(&mut self) -> Result<(), Trouble> {
        self.cursors.save().map_err(|error| Trouble::all(format!("its cursors cannot be written: {error}")))
    }
}
