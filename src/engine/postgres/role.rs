//! The life of a minted role at the server: made, prolonged, and taken away. What a crash or a dropped call leaves:
//!
//! | after | leaves | and then |
//! |---|---|---|
//! | any step of `make` but the last | nothing: the transaction ends with its connection | |
//! | the commit of `make` | the role, which the recorded intent names | `remove` finds it |
//! | `remove`, locked out | a role without login, perhaps with sessions | called again, it ends them |
//! | `remove`, sessions ended | a role without login, perhaps with objects | called again, it cleans up |
//! | `remove`, cleaned | a role without login, rights and objects | called again, it drops the role |
//!
//! `make` and `remove` of one name exclude each other by an advisory lock, so that a commit which is still on its way
//! cannot bring a role back after `remove` has found none.

use std::time::Duration;

use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::config::Config;
use super::fault::denial;
use super::pool::{Pools, Session};
use super::template;
use crate::crypto::hash::Digest;
use crate::denial::{Denial, Reason};
use crate::engine::{StoredValues, Undone};
use crate::failpoint::failpoint;
use crate::time::Timestamp;

/// How often sessions are looked for, and how long between two looks: 3 seconds in all.
const LOOKS: u32 = 60;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What is to be made.
pub(super) struct Wanted<'a> {
    pub(super) handle: &'a str,
    pub(super) verifier: &'a str,
    pub(super) expires: Timestamp,
    /// The comment by which the vault finds it again.
    pub(super) mark: &'a str,
}

/// The lock under which a role of this name is made or removed.
fn lock_of(handle: &str) -> i64 {
    let digest = Digest::of_parts(&[b"nockvault/postgres/role\0", handle.as_bytes()]);
    let (first, _) = digest.as_bytes().split_at(8);
    first.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}

/// Makes a role that can log in until it expires.
pub(super) async fn make(session: &mut Session, config: &Config, wanted: &Wanted<'_>) -> Result<(), Denial> {
    let refused = |what| Denial::new(Reason::BadRole).detail(what);
    let statements = template::creation(config, wanted.handle, wanted.verifier, wanted.expires).map_err(refused)?;
    let name = escape_identifier(wanted.handle);
    let doing = format!("making the role {}", wanted.handle);
    let failed = |why: tokio_postgres::Error| denial(&why, &doing);

    let work = session.client().transaction().await.map_err(failed)?;
    let lock = lock_of(wanted.handle);
    work.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&lock, Type::INT8)]).await.map_err(failed)?;
    run(&work, &statements, &doing).await?;
    if !config.grants.is_empty() {
        let groups: Vec<_> = config.grants.iter().map(|group| escape_identifier(group)).collect();
        let grant = format!("GRANT {} TO {name}", groups.join(", "));
        work.execute_typed(&grant, &[]).await.map_err(failed)?;
    }
    let mark = format!("COMMENT ON ROLE {name} IS {}", escape_literal(wanted.mark));
    work.execute_typed(&mark, &[]).await.map_err(failed)?;
    failpoint!("postgres: made");
    work.commit().await.map_err(failed)
}

/// Lets a role log in until `expires`.
pub(super) async fn prolong(
    session: &mut Session,
    config: &Config,
    handle: &str,
    expires: Timestamp,
) -> Result<(), Denial> {
    let statements =
        template::renewal(config, handle, expires).map_err(|what| Denial::new(Reason::BadRole).detail(what))?;
    let doing = format!("prolonging the role {handle}");
    let failed = |why: tokio_postgres::Error| denial(&why, &doing);
    let work = session.client().transaction().await.map_err(failed)?;
    run(&work, &statements, &doing).await?;
    work.commit().await.map_err(failed)
}

async fn run(work: &Transaction<'_>, statements: &[String], doing: &str) -> Result<(), Denial> {
    for statement in statements {
        work.execute_typed(statement, &[]).await.map_err(|why| denial(&why, doing))?;
    }
    Ok(())
}

/// Takes a role away: locks it out, ends its sessions, gives its objects to the owner, and drops it. `session` is a
/// connection to the role's own database.
pub(super) async fn remove(
    session: &mut Session,
    config: &Config,
    handle: &str,
    pools: &Pools,
    values: &dyn StoredValues,
) -> Result<Undone, Denial> {
    let doing = format!("removing the role {handle}");
    let failed = |why: tokio_postgres::Error| denial(&why, &doing);
    let statements = template::revocation(config, handle).map_err(|what| Denial::new(Reason::BadRole).detail(what))?;
    let lock = lock_of(handle);
    let client = session.client();
    client.query_typed("SELECT pg_advisory_lock($1)", &[(&lock, Type::INT8)]).await.map_err(failed)?;
    let found = match lock_out(session, handle, &doing).await? {
        None => Undone::Absent,
        Some(oid) => {
            failpoint!("postgres: locked out");
            end_sessions(session, oid, &doing).await?;
            for database in &config.databases {
                let mut there = pools.session(config, database, values).await?;
                clean(&mut there, &statements, &format!("{doing} from {database}")).await?;
                there.done();
            }
            clean(session, &statements, &doing).await?;
            failpoint!("postgres: cleaned");
            // Whoever was past the check of NOLOGIN when it was committed shows only now.
            end_sessions(session, oid, &doing).await?;
            let drop = format!("DROP ROLE IF EXISTS {}", escape_identifier(handle));
            session.client().execute_typed(&drop, &[]).await.map_err(failed)?;
            end_sessions(session, oid, &doing).await?;
            Undone::Revoked
        }
    };
    session.client().query_typed("SELECT pg_advisory_unlock($1)", &[(&lock, Type::INT8)]).await.map_err(failed)?;
    Ok(found)
}

/// From here on the role cannot log in, and the vault's role is a member of it: only members may end its sessions and
/// give its objects away. Gives the role's number, or `None` where there is no such role.
async fn lock_out(session: &mut Session, handle: &str, doing: &str) -> Result<Option<u32>, Denial> {
    let failed = |why: tokio_postgres::Error| denial(&why, doing);
    let work = session.client().transaction().await.map_err(failed)?;
    let look = "SELECT oid, current_setting('server_version_num')::int4 FROM pg_roles WHERE rolname = $1";
    let rows = work.query_typed(look, &[(&handle, Type::NAME)]).await.map_err(failed)?;
    let Some(row) = rows.first() else {
        return work.rollback().await.map_err(failed).map(|()| None);
    };
    let (oid, version): (u32, i32) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
    let name = escape_identifier(handle);
    work.execute_typed(&format!("ALTER ROLE {name} NOLOGIN"), &[]).await.map_err(failed)?;
    // From 16 on the maker of a role may grant it and has none of its rights until it does.
    let with = if version >= 160_000 { " WITH INHERIT TRUE, SET TRUE" } else { "" };
    work.execute_typed(&format!("GRANT {name} TO CURRENT_USER{with}"), &[]).await.map_err(failed)?;
    work.commit().await.map_err(failed)?;
    Ok(Some(oid))
}

/// Ends the role's sessions and looks until there are none.
async fn end_sessions(session: &mut Session, oid: u32, doing: &str) -> Result<(), Denial> {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = $1";
    for _ in 0..LOOKS {
        let ended = session.client().query_typed(end, &[(&oid, Type::OID)]).await;
        if ended.map_err(|why| denial(&why, doing))?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Err(Denial::new(Reason::EngineUnavailable).internal(format!("{doing}: its sessions do not end")))
}

async fn clean(session: &mut Session, statements: &[String], doing: &str) -> Result<(), Denial> {
    let work = session.client().transaction().await.map_err(|why| denial(&why, doing))?;
    run(&work, statements, doing).await?;
    work.commit().await.map_err(|why| denial(&why, doing))
}

/// The names of all roles whose mark begins so.
pub(super) async fn marked(session: &mut Session, mark: &str) -> Result<Vec<String>, Denial> {
    let look = "SELECT r.rolname::text FROM pg_roles r JOIN pg_shdescription d ON d.objoid = r.oid \
                WHERE d.classoid = 'pg_authid'::regclass AND starts_with(d.description, $1) ORDER BY r.rolname";
    let failed = |why: tokio_postgres::Error| denial(&why, "listing the roles");
    let rows = session.client().query_typed(look, &[(&mark, Type::TEXT)]).await.map_err(failed)?;
    rows.iter().map(|row| row.try_get(0).map_err(failed)).collect()
}
