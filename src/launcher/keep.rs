//! Keeps a delivered credential alive: renews its lease when two thirds of its life are over, a little earlier or later
//! so that many launchers do not ask at once, and takes another where it cannot be renewed. A vault that does not answer
//! is asked again and again, ever more slowly and never in a hurry; whoever listens is told when that begins, when the
//! credential has ended meanwhile, and when all is well again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::wallet::{Held, Wallet};
use super::want::Want;
use crate::client::fault::Fault;
use crate::denial::Reason;
use crate::entropy::Entropy;
use crate::time::Timestamp;

/// The shortest pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The longest sleep in one piece: a machine that slept, or a clock that was set, is noticed after it.
const NAP: Duration = Duration::from_secs(15);

/// What became of a credential that is kept.
#[derive(Debug)]
pub enum Kept {
    /// Another one took its place.
    Replaced(Want),
    /// It could not be renewed or replaced. Said once, until it could.
    Failing(Want, Fault, Timestamp),
    /// It has ended, and there is no other.
    Ended(Want),
    /// It is renewed or replaced again, after failing.
    Well(Want),
}

/// How pauses between attempts grow.
#[derive(Debug)]
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Pause {
        Pause(FIRST_PAUSE)
    }
}

impl Pause {
    /// The next pause: twice as long as the one before, up to a minute, and up to a quarter longer by chance.
    pub fn next(&mut self, entropy: &dyn Entropy) -> Duration {
        let pause = self.0;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        pause + share(pause, entropy) / 4
    }
}

/// A part of `span` by chance.
fn share(span: Duration, entropy: &dyn Entropy) -> Duration {
    let [byte] = entropy.bytes::<1>();
    span * u32::from(byte) / 256
}

/// Whether asking again may help without anybody's doing anything else.
#[must_use]
pub fn passes(fault: &Fault) -> bool {
    match fault {
        Fault::Unreachable { .. } | Fault::NoAnswer { .. } => true,
        Fault::Untrusted(_) | Fault::Local(_) => false,
        Fault::Refused(_) => matches!(
            fault.reason(),
            Some(
                Reason::Sealed
                    | Reason::Busy
                    | Reason::NoncesFull
                    | Reason::RateLimited
                    | Reason::EngineUnavailable
                    | Reason::AuditUnavailable
                    | Reason::OutcomeUnknown
                    | Reason::Interrupted
                    | Reason::Internal
            )
        ),
    }
}

/// How long the vault said to wait. Nobody need have signed it, so it is no longer than a pause may be.
fn told_to_wait(fault: &Fault) -> Duration {
    let told = fault.refusal().and_then(|refusal| refusal.retry_after_ms);
    Duration::from_millis(told.unwrap_or(0)).min(LONGEST_PAUSE)
}

/// Keeps what is held for `want` until the listener goes away.
pub async fn keep(wallet: Wallet, want: Want, held: Arc<Held>, listener: mpsc::Sender<Kept>) {
    let mut keeper = Keeper { since: held.hdr.iat, wallet, want, held, listener, failing: false, ended: false };
    // It ends where nobody listens any more.
    while keeper.once().await.is_some() {}
}

/// What came of asking for more life.
enum More {
    Renewed(Timestamp),
    Replaced(Arc<Held>),
}

struct Keeper {
    wallet: Wallet,
    want: Want,
    held: Arc<Held>,
    /// When its life began, or was renewed.
    since: Timestamp,
    listener: mpsc::Sender<Kept>,
    failing: bool,
    ended: bool,
}

impl Keeper {
    /// Sleeps until more life is due, and asks until it is there. `None` where nobody listens any more.
    async fn once(&mut self) -> Option<()> {
        let entropy = self.wallet.owner().around.entropy.clone();
        self.sleep_until_due(&*entropy).await;
        let mut pause = Pause::default();
        loop {
            if self.listener.is_closed() {
                return None;
            }
            let told = match self.asked().await? {
                Ok(more) => return self.well(more).await,
                Err(fault) => {
                    let told = told_to_wait(&fault);
                    self.failing(fault).await?;
                    told
                }
            };
            let pause = pause.next(&*entropy).max(told);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.listener.closed() => return None,
            }
        }
    }

    /// Sleeps until two thirds of the life are over, in naps.
    async fn sleep_until_due(&self, entropy: &dyn Entropy) {
        let life = Duration::from_millis(self.held.exp().0.saturating_sub(self.since.0));
        // Between 60 and 67 parts of a hundred.
        let due = (life * 60 / 100 + share(life * 7 / 100, entropy)).max(FIRST_PAUSE);
        loop {
            let over = Duration::from_millis(self.wallet.now().await.0.saturating_sub(self.since.0));
            let Some(left) = due.checked_sub(over).filter(|left| !left.is_zero()) else { return };
            tokio::select! {
                () = tokio::time::sleep(left.min(NAP)) => {}
                () = self.listener.closed() => return,
            }
        }
    }

    /// Asks for more life. A vault that says nothing for longer than the credential lives holds up no word of its end.
    async fn asked(&mut self) -> Option<Result<More, Fault>> {
        let left = self.held.exp().0.saturating_sub(self.wallet.now().await.0);
        let end = tokio::time::sleep(Duration::from_millis(left));
        tokio::pin!(end);
        let mut ended = self.ended;
        let more = {
            let asking = self.more();
            tokio::pin!(asking);
            loop {
                tokio::select! {
                    more = &mut asking => break more,
                    () = &mut end, if !ended => {
                        ended = true;
                        self.listener.send(Kept::Ended(self.want.clone())).await.ok()?;
                    }
                    () = self.listener.closed() => return None,
                }
            }
        };
        self.ended = ended;
        Some(more)
    }

    /// Renews, or takes another.
    async fn more(&self) -> Result<More, Fault> {
        let now = self.wallet.now().await;
        if self.held.hdr.renewable && self.held.exp() > now {
            let before = self.held.exp();
            match self.wallet.renew(&self.want, &self.held).await {
                // The grant's bound is near where little was gained: the next one is taken while this one still lives.
                Ok(exp) if exp.0.saturating_sub(now.0) > before.0.saturating_sub(self.since.0) / 2 => {
                    return Ok(More::Renewed(now));
                }
                Ok(_) => {}
                Err(fault) if passes(&fault) => return Err(fault),
                Err(_) => {}
            }
        }
        self.wallet.fresh(&self.want).await.map(More::Replaced)
    }

    async fn well(&mut self, more: More) -> Option<()> {
        let failed = std::mem::take(&mut self.failing);
        match more {
            More::Renewed(now) => self.since = now,
            More::Replaced(held) => {
                (self.since, self.held, self.ended) = (held.hdr.iat, held, false);
                self.listener.send(Kept::Replaced(self.want.clone())).await.ok()?;
            }
        }
        if failed { self.listener.send(Kept::Well(self.want.clone())).await.ok() } else { Some(()) }
    }

    /// Tells of a failure once, until all is well.
    async fn failing(&mut self, fault: Fault) -> Option<()> {
        if self.failing {
            return Some(());
        }
        self.failing = true;
        self.listener.send(Kept::Failing(self.want.clone(), fault, self.held.exp())).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fault::Refusal;
    use crate::entropy::SeededEntropy;

    #[test]
    fn what_passes_by_itself_is_asked_again_and_what_needs_somebody_is_said() {
        let refused = |code: &str| {
            let (code, message) = (code.to_owned(), String::new());
            Fault::Refused(Box::new(Refusal {
                code,
                limit: None,
                retry_after_ms: None,
                now: None,
                message,
                proven: false,
            }))
        };
        for code in ["sealed", "busy", "engine_unavailable", "audit_unavailable", "outcome_unknown", "rate_limited"] {
            assert!(passes(&refused(code)), "{code}");
        }
        for code in
            ["no_grant", "agent_frozen", "unauthenticated", "ttl_exceeds_grant", "history_mismatch", "of a later vault"]
        {
            assert!(!passes(&refused(code)), "{code}");
        }
        assert!(!passes(&Fault::local("a file")));
    }

    #[test]
    fn pauses_grow_to_a_minute_and_no_further() {
        let (mut pause, entropy) = (Pause::default(), SeededEntropy::new(1));
        let pauses: Vec<_> = (0..12).map(|_| pause.next(&entropy)).collect();
        assert!(pauses[0] >= FIRST_PAUSE && pauses[0] < FIRST_PAUSE * 2, "{pauses:?}");
        assert!(pauses[11] >= LONGEST_PAUSE && pauses[11] <= LONGEST_PAUSE * 5 / 4, "{pauses:?}");
    }
}
