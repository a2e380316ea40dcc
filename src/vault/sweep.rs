//! The sweep: what this vault once made at a backend and no lease answers for is taken away. A lease that was forgotten,
//! a store that was put back to an older state, a row that somebody deleted: each leaves such an orphan, and the backend
//! can tell which. So does a chain that is set aside, for nothing of it can be ended any more. It is done at the start and then every hour, and each orphan stands in `_vault`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Vault;
use crate::engine::{Engine, Made, Undone};
use crate::grant::Role;
use crate::id::{AgentName, LeaseId, of_handle};
use crate::statement::command::Page;
use crate::statement::reply::Revocation;
use crate::store::{Failure, Sweep};

/// How long between two sweeps.
const EVERY: Duration = Duration::from_secs(3600);

impl Vault {
    /// Sweeps now and every hour, until `stop`.
    pub(super) async fn sweep_on(&self, stop: CancellationToken) {
        let mut turn = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turn.tick() => {}
            }
            // Backends that are gone do not keep the daemon from its end; what is not swept is swept the next time.
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.sweep() => {}
            }
        }
    }

    /// Looks at the backends of all roles once. What cannot be reached is looked at the next time.
    pub async fn sweep(&self) {
        let mut page = Page::first();
        loop {
            let listed = match self.store.roles(&page).await {
                Ok(listed) => listed,
                Err(failure) => {
                    tracing::warn!(why = %failure, "the roles could not be read, and nothing was swept");
                    return;
                }
            };
            for role in &listed.items {
                if let Ok(engine) = self.engines.of_kind(&role.engine)
                    && engine.capabilities().revocation == Revocation::Backend
                {
                    self.sweep_role(role, engine).await;
                }
            }
            match listed.next {
                Some(after) => page.after = after,
                None => return,
            }
        }
    }

    async fn sweep_role(&self, role: &Role, engine: &dyn Engine) {
        // The list is older than the look at the leases: what is in it had its intent before.
        let handles = match self.in_time(engine.list(&role.config, self)).await {
            Ok(handles) => handles,
            Err(denial) => {
                tracing::warn!(role = %role.name, why = %denial.internal, "what is at the backend could not be listed");
                return;
            }
        };
        for handle in handles {
            let Some((agent, lease)) = of_handle(&handle) else { continue };
            match self.store.answered_for(&lease, self.clock.now()).await {
                Ok(true) => {}
                Ok(false) => self.take_away(role, engine, (&handle, &agent, &lease)).await,
                Err(failure) => tracing::warn!(why = %failure, handle, "a lease could not be looked up"),
            }
        }
    }

    async fn take_away(&self, role: &Role, engine: &dyn Engine, (handle, agent, lease): (&str, &AgentName, &LeaseId)) {
        let made = Made { config: &role.config, agent, lease, handle };
        match self.in_time(engine.revoke(made, self)).await {
            Ok(Undone::Absent) => {}
            Ok(outcome) => {
                tracing::warn!(role = %role.name, handle, "a credential without a lease was found and taken away");
                let sweep = Sweep { role: role.name.clone(), handle: handle.to_owned(), outcome };
                if let Err(failure) = self.store.swept(&sweep).await.map_err(Failure::denial) {
                    tracing::error!(why = %failure.internal, handle, "that it was taken away could not be recorded");
                }
            }
            Err(denial) => {
                tracing::warn!(role = %role.name, handle, why = %denial.internal, "it could not be taken away")
            }
        }
    }
}
