//! Commands about roles: made, checked before they are made, and let in anew at their backends.

use serde_json::{Map, Value};

use super::super::Vault;
use super::super::answer::Outcome;
use super::super::deadline::openly;
use super::super::listing;
use super::{Told, found};
use crate::base64url;
use crate::crypto::envelope::Envelope;
use crate::denial::{Denial, Reason};
use crate::engine::Engine;
use crate::failpoint::failpoint;
use crate::grant::Role;
use crate::id::{RoleName, SecretName};
use crate::secret::{Secret, SecretBytes};
use crate::statement::role::{RoleCheck, RoleCreate, RoleList, RoleRotate, RoleShow};
use crate::statement::secret::SecretUse;
use crate::store::{Failure, Order, Successor};

/// A password that is about to follow another.
struct Turn {
    role: std::sync::Arc<Role>,
    name: SecretName,
    /// The version that opens the backend now.
    after: u64,
    value: SecretBytes,
}

impl Vault {
    pub(super) async fn role_create(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<RoleCreate>(envelope).await?;
        let role = &admitted.authenticated.statement().body;
        let order = self
            .engines
            .of_kind(&role.engine)
            .and_then(|engine| engine.check_role(&role.config))
            .map(|()| Order::CreateRole(&admitted.authenticated));
        let outcome = self.carry(&admitted.authenticated, order).await;
        // Who fetches what an authority publishes finds that of a new role at once.
        self.forget_authorities().await;
        Ok(outcome)
    }

    pub(super) async fn role_list(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<RoleList>(envelope).await?;
        let listed = self.store.roles(&admitted.authenticated.statement().body.page).await;
        let told = listed.map(|roles| listing::page(roles, |role| listing::role(role))).map_err(Failure::denial);
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    pub(super) async fn role_show(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<RoleShow>(envelope).await?;
        let role = self.store.role(&admitted.authenticated.statement().body.role).await;
        let told = found(role).map(|role| listing::role(&role));
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    /// Looks at the backend of a role that may not be there yet. What it said stands in the answer.
    pub(super) async fn role_check(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<RoleCheck>(envelope).await?;
        let RoleCheck { engine, config } = &admitted.authenticated.statement().body;
        let told = self.probe(engine, config).await.map_err(openly);
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    async fn probe(&self, engine: &str, config: &Map<String, Value>) -> Told {
        let engine = self.engines.of_kind(engine)?;
        engine.check_role(config)?;
        self.in_time(engine.probe(config, self)).await
    }

    /// Exchanges the password by which the vault is let in at a role's backend, in three steps. Whichever is broken off,
    /// one of the two newest versions opens the backend, and the engine tries both.
    pub(super) async fn role_rotate(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<RoleRotate>(envelope).await?;
        let command = &admitted.authenticated;
        // Two at once could each leave a version that the other takes for the one before.
        let _alone = self.rotating.lock().await;
        // 1. The backend takes the newest version there is. A crash here leaves what was, or a rotation that was broken
        //    off before and is complete now.
        let turn = self.turn(&command.statement().body.role).await.map_err(openly);
        failpoint!("rotate: settled");
        let order = turn.as_ref().map_err(Clone::clone).map(|turn| {
            Order::RotateRole(command, Successor { name: &turn.name, after: turn.after, value: &turn.value })
        });
        // 2. The next version is stored together with the command's entry, if none was stored since step 1: two versions
        //    that no backend has taken would lock the vault out, and another daemon may be at it too. A crash here leaves
        //    a version that no backend has taken; the one before it is still good.
        let carried = self.carried(command, order).await?;
        // 3. The backend takes it. A crash here leaves one of the two good, and the engine is let in by it; the next
        //    rotation completes this one first.
        let taken = match &turn {
            Ok(turn) => self.rotated(&turn.role).await.map_err(openly),
            Err(denial) => Err(denial.clone()),
        };
        failpoint!("rotate: taken");
        let mut result = carried.result.clone();
        result.insert("rotated".to_owned(), taken.is_ok().into());
        if let Err(denial) = taken {
            let reason = format!("{denial}; the password before it is still good; rotate again to complete it");
            result.insert("reason".to_owned(), reason.into());
        }
        Ok(self.executed(command, carried.entry, result))
    }

    /// A new password for a role whose backend has taken the one before.
    async fn turn(&self, role: &RoleName) -> Result<Turn, Denial> {
        let role = found(self.store.role(role).await)?;
        let engine = self.engines.of_kind(&role.engine)?;
        let name = engine.admin_secret(&role.config).ok_or_else(|| no_password(engine))?;
        let stored = self.store.secret_value(SecretUse::Backend, &name, None).await.map_err(Failure::denial)?;
        let missing = || {
            let advice = format!("no secret {name} is stored for the use backend; `vaultctl secret put` stores one");
            Denial::new(Reason::SecretMissing).detail(advice)
        };
        let after = stored.ok_or_else(missing)?.version;
        self.rotated(&role).await?;
        let drawn = Secret::new(self.entropy.bytes::<32>());
        let value = SecretBytes::new(base64url::encode(drawn.expose()).into_bytes());
        Ok(Turn { role, name, after, value })
    }

    async fn rotated(&self, role: &Role) -> Result<(), Denial> {
        let engine = self.engines.of_kind(&role.engine)?;
        self.in_time(engine.rotate(&role.config, self)).await
    }
}

fn no_password(engine: &dyn Engine) -> Denial {
    let kind = engine.kind();
    Denial::new(Reason::BadRole).detail(format!("engine {kind} has no password of its own at a backend"))
}
