//! The vault's own role at the server: whether it may do what roles of a configuration ask of it, and its password.

use postgres_protocol::escape::escape_literal;
use serde_json::{Map, Value, json};
use tokio_postgres::types::Type;

use super::config::Config;
use super::fault::denial;
use super::pool::{Pools, Session, password};
use crate::denial::{Denial, Reason};
use crate::engine::StoredValues;

/// Looks whether roles could be minted and revoked, and tells what is missing.
pub(super) async fn probe(
    pools: &Pools,
    config: &Config,
    values: &dyn StoredValues,
) -> Result<Map<String, Value>, Denial> {
    let mut session = pools.session(config, &config.database, values).await?;
    let own = Own::look(&mut session).await?;
    let mut missing = own.missing(config);
    for group in &config.grants {
        missing.extend(own.missing_for_grant(&mut session, config, group).await?);
    }
    missing.extend(missing_for_owner(&mut session, config).await?);
    session.done();
    for database in &config.databases {
        pools.session(config, database, values).await?.done();
    }
    if own.standby {
        let why = "the server is a standby and takes no writes; name the primary as host";
        return Err(Denial::new(Reason::EngineUnavailable).detail(why).internal(why));
    }
    if !missing.is_empty() {
        let missing = missing.join("; ");
        return Err(Denial::new(Reason::EngineRefused).detail(&missing).internal(&missing));
    }
    let found = json!({
        "server": format!("PostgreSQL {}", own.server),
        "tls": own.tls.as_deref().unwrap_or("off"),
        "admin": config.user,
        "superuser": own.superuser,
        "grants": config.grants,
        "databases": std::iter::once(&config.database).chain(&config.databases).collect::<Vec<_>>(),
    });
    Ok(found.as_object().cloned().unwrap_or_default())
}

/// What the server says of the vault's role and of itself.
struct Own {
    server: String,
    version: i32,
    tls: Option<String>,
    superuser: bool,
    creates_roles: bool,
    inherits: bool,
    signals: bool,
    standby: bool,
}

impl Own {
    async fn look(session: &mut Session) -> Result<Own, Denial> {
        let look = "SELECT current_setting('server_version'), current_setting('server_version_num')::int4, \
                    (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()), r.rolsuper, r.rolcreaterole, \
                    r.rolinherit, pg_has_role('pg_signal_backend', 'USAGE'), pg_is_in_recovery() \
                    FROM pg_roles r WHERE r.rolname = current_user";
        let failed = |why: tokio_postgres::Error| denial(&why, "looking at the vault's role");
        let row = session.client().query_typed(look, &[]).await.map_err(failed)?;
        let row =
            row.first().ok_or_else(|| Denial::new(Reason::EngineRefused).internal("the vault's role is not there"))?;
        Ok(Own {
            server: row.try_get(0).map_err(failed)?,
            version: row.try_get(1).map_err(failed)?,
            tls: row.try_get(2).map_err(failed)?,
            superuser: row.try_get(3).map_err(failed)?,
            creates_roles: row.try_get(4).map_err(failed)?,
            inherits: row.try_get(5).map_err(failed)?,
            signals: row.try_get(6).map_err(failed)?,
            standby: row.try_get(7).map_err(failed)?,
        })
    }

    /// What it lacks whatever the role grants.
    fn missing(&self, config: &Config) -> Vec<String> {
        let user = &config.user;
        let mut missing = Vec::new();
        if !(self.superuser || self.creates_roles) {
            missing.push(format!("{user} may not create roles: ALTER ROLE {user} CREATEROLE"));
        }
        if !(self.superuser || self.signals) {
            missing.push(format!("{user} may not end the sessions of others: GRANT pg_signal_backend TO {user}"));
        }
        if !(self.superuser || self.inherits || self.version >= 160_000) {
            missing.push(format!("{user} could not give away what a role leaves behind: ALTER ROLE {user} INHERIT"));
        }
        missing
    }

    /// What it lacks to grant `group`. Before 16, who may create roles may grant each but a superuser.
    async fn missing_for_grant(
        &self,
        session: &mut Session,
        config: &Config,
        group: &str,
    ) -> Result<Option<String>, Denial> {
        let look = "SELECT rolsuper, pg_has_role(oid, 'MEMBER WITH ADMIN OPTION') FROM pg_roles WHERE rolname = $1";
        let failed = |why: tokio_postgres::Error| denial(&why, "looking at the roles to grant");
        let rows = session.client().query_typed(look, &[(&group, Type::NAME)]).await.map_err(failed)?;
        let Some(row) = rows.first() else {
            return Ok(Some(format!("the role {group}, named in grants, does not exist")));
        };
        let (mighty, may): (bool, bool) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
        let before_16 = self.version < 160_000 && self.creates_roles && !mighty;
        let user = &config.user;
        let missing = (!(self.superuser || may || before_16))
            .then(|| format!("{user} may not grant {group}: GRANT {group} TO {user} WITH ADMIN OPTION"));
        Ok(missing)
    }
}

async fn missing_for_owner(session: &mut Session, config: &Config) -> Result<Option<String>, Denial> {
    let Some(owner) = &config.owner else { return Ok(None) };
    let look = "SELECT pg_has_role(oid, 'USAGE'), rolsuper OR rolcreaterole OR rolreplication OR rolbypassrls \
                OR pg_has_role(oid, current_user, 'MEMBER') FROM pg_roles WHERE rolname = $1";
    let failed = |why: tokio_postgres::Error| denial(&why, "looking at the owner");
    let rows = session.client().query_typed(look, &[(owner, Type::NAME)]).await.map_err(failed)?;
    let Some(row) = rows.first() else {
        return Ok(Some(format!("the role {owner}, named as owner, does not exist")));
    };
    let (may, mighty): (bool, bool) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
    let user = &config.user;
    if mighty {
        return Ok(Some(format!("{owner} may do too much to be owner: what agents made would run with its rights")));
    }
    Ok((!may).then(|| format!("{user} may not give objects to {owner}: GRANT {owner} TO {user}")))
}

/// Makes the server take the newest version of the password, and proves it with a login. Only the verifier is sent. A
/// crash before the change leaves the version before good, one after it the newest; every connection tries both.
pub(super) async fn rotate(pools: &Pools, config: &Config, values: &dyn StoredValues) -> Result<(), Denial> {
    let newest = password(config, None, values).await?;
    let verifier = postgres_protocol::password::scram_sha_256(newest.value.expose());
    let mut session = pools.session(config, &config.database, values).await?;
    let change = format!("ALTER ROLE CURRENT_USER PASSWORD {}", escape_literal(&verifier));
    session
        .client()
        .execute_typed(&change, &[])
        .await
        .map_err(|why| denial(&why, "changing the vault's own password"))?;
    session.done();
    let mut proof = pools.by_newest(config, &newest).await?;
    proof.client().query_typed("SELECT 1", &[]).await.map_err(|why| denial(&why, "trying the new password"))?;
    proof.done();
    Ok(())
}
