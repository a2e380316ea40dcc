//! `nockvault/clock_reset`: an operator says that the clock had been ahead and is right now.

use std::sync::Arc;

use super::super::Vault;
use super::super::answer::Outcome;
use crate::crypto::envelope::Envelope;
use crate::statement::clock::ClockReset;
use crate::store::Order;
use crate::time::Timestamp;

impl Vault {
    /// The floor that the wrong clock raised does not hold for this command: it is what sets it anew. The store takes it
    /// once, and none that was signed before another.
    pub(super) async fn clock_reset(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command_above::<ClockReset>(envelope, Some(Timestamp::ZERO)).await?;
        let command = &admitted.authenticated;
        let _turn = self.epochs.turn().await;
        let now = self.clock.now();
        let key = Arc::new(self.epochs.anew(&self.identity, &self.limits.node, now, &*self.entropy));
        let done = self.carried(command, Ok(Order::ResetClock(command, &key))).await;
        match done {
            Ok(done) => {
                self.epochs.reset(now);
                self.token_keys_changed().await;
                Ok(self.executed(command, done.entry, done.result))
            }
            Err(refused) => Ok(refused),
        }
    }
}
