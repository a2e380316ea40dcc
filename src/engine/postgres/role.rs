//! The life of a minted role at the server: made, prolonged, and taken away. What a crash or a dropped call leaves:
//!
//! | after | leaves | and then |
//! |---|---|---|
//! | any step of `make` but the last | nothing: the transaction ends with its connection | |
//! | the commit of `make` | the role, which the recorded intent names | `remove` finds it |
//! | `remove`, made a member | the role, of which the vault's role is a member | called again, it locks it out |
//! | `remove`, locked out | a role without login, perhaps with sessions | called again, it ends them |
//! | `remove`, sessions ended | a role without login, perhaps with memberships and objects | called again, it cleans up |
//! | `remove`, cleaned | a role without login, rights and objects | called again, it drops the role |
//!
//! `make` and `remove` of one name exclude each other by an advisory lock, so that a commit which is still on its way
//! cannot bring a role back after `remove` has found none. Everybody at the server may take that lock, a minted role
//! too: it is needed to say that a role is not there, and never to take one away.

use std::time::Duration;

use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::config::Config;
use super::fault::{denial, in_the_way, is_in_the_way};
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
/// How often it is tried to lock a role out that holds its own row.
const LOCK_OUTS: u32 = 10;
/// How long a removal waits for a lock that somebody holds: well below the time that a call has, so that the server's
/// answer counts against this one role and is not taken for an outage.
const PATIENCE: &str = "SET lock_timeout TO '1500ms'";
/// The same while whoever holds the lock can be ended.
const HASTE: &str = "SET lock_timeout TO '200ms'";
const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = $1";

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

/// Takes a role away: locks it out, ends its sessions, cleans up after it, and drops it. `session` is a connection to
/// the role's own database. The role may fight for its life: it may hold its own row, the lock of its name, or what it
/// made, also in a prepared transaction. So the lock is a courtesy among ours, whoever is in the way is ended, and
/// nothing is waited for long.
pub(super) async fn remove(
    session: &mut Session,
    config: &Config,
    handle: &str,
    pools: &Pools,
    values: &dyn StoredValues,
) -> Result<Undone, Denial> {
    let doing = format!("removing the role {handle}");
    let statements = template::revocation(config, handle).map_err(|what| Denial::new(Reason::BadRole).detail(what))?;
    let removal = Removal { config, handle, doing: &doing, pools, values };
    removal.execute(session, PATIENCE).await?;
    let locked = removal.lock(session).await?;
    let found = match removal.look(session).await? {
        None if locked => Undone::Absent,
        None => return Err(removal.refused("it is not there, and somebody holds the lock of its name")),
        Some(role) => {
            removal.lock_out(session, role).await?;
            failpoint!("postgres: locked out");
            end_sessions(session, role.oid, &doing).await?;
            removal.strip(session, role).await?;
            removal.roll_back_prepared(session).await?;
            for database in removal.databases(session, role).await? {
                let mut there = removal.enter(&database).await?;
                clean(&mut there, &statements, &format!("{doing} from {database}")).await?;
                there.done();
            }
            clean(session, &statements, &doing).await?;
            failpoint!("postgres: cleaned");
            // Whoever was past the check of NOLOGIN when it was committed shows only now.
            end_sessions(session, role.oid, &doing).await?;
            removal.execute(session, &format!("DROP ROLE IF EXISTS {}", escape_identifier(handle))).await?;
            end_sessions(session, role.oid, &doing).await?;
            Undone::Revoked
        }
    };
    if locked {
        removal.execute(session, "SELECT pg_advisory_unlock_all()").await?;
    }
    Ok(found)
}

/// A role that is there.
#[derive(Clone, Copy)]
struct There {
    oid: u32,
    /// Of the server.
    version: i32,
}

/// One removal.
struct Removal<'a> {
    config: &'a Config,
    handle: &'a str,
    doing: &'a str,
    pools: &'a Pools,
    values: &'a dyn StoredValues,
}

impl Removal<'_> {
    fn failed(&self, why: &tokio_postgres::Error) -> Denial {
        in_the_way(why, self.doing)
    }

    fn refused(&self, what: &str) -> Denial {
        Denial::new(Reason::EngineRefused).internal(format!("{}: {what}", self.doing))
    }

    async fn execute(&self, session: &mut Session, statement: &str) -> Result<(), Denial> {
        session.client().execute_typed(statement, &[]).await.map(drop).map_err(|why| self.failed(&why))
    }

    /// Whether the lock of the name was had. Every role may take it, also one of those that it is to protect from.
    async fn lock(&self, session: &mut Session) -> Result<bool, Denial> {
        let lock = lock_of(self.handle);
        match session.client().query_typed("SELECT pg_advisory_lock($1)", &[(&lock, Type::INT8)]).await {
            Ok(_) => Ok(true),
            Err(why) if is_in_the_way(&why) => Ok(false),
            Err(why) => Err(self.failed(&why)),
        }
    }

    async fn look(&self, session: &mut Session) -> Result<Option<There>, Denial> {
        let failed = |why| self.failed(&why);
        let look = "SELECT oid, current_setting('server_version_num')::int4 FROM pg_roles WHERE rolname = $1";
        let rows = session.client().query_typed(look, &[(&self.handle, Type::NAME)]).await.map_err(failed)?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(There { oid: row.try_get(0).map_err(failed)?, version: row.try_get(1).map_err(failed)? }))
    }

    /// From here on the role cannot log in, and the vault's role is a member of it: only members may give its objects
    /// away. Who holds the role's row is thrown out, as often as he comes back: between that and the change lies less
    /// time than a login takes.
    async fn lock_out(&self, session: &mut Session, role: There) -> Result<(), Denial> {
        let name = escape_identifier(self.handle);
        // From 16 on the maker of a role may grant it and has none of its rights until it does.
        let with = if role.version >= 160_000 { " WITH INHERIT TRUE, SET TRUE" } else { "" };
        self.execute(session, &format!("GRANT {name} TO CURRENT_USER{with}")).await?;
        failpoint!("postgres: joined");
        self.execute(session, HASTE).await?;
        let lock_out = format!("ALTER ROLE {name} NOLOGIN");
        let mut tries = 0;
        while let Err(why) = session.client().execute_typed(&lock_out, &[]).await {
            tries += 1;
            if tries == LOCK_OUTS || !is_in_the_way(&why) {
                return Err(self.failed(&why));
            }
            self.roll_back_prepared(session).await?;
            session.client().query_typed(END, &[(&role.oid, Type::OID)]).await.map_err(|why| self.failed(&why))?;
        }
        self.execute(session, PATIENCE).await
    }

    /// Takes from the role what it is a member of. Where it cannot be dropped, what it owns still runs as the role, and
    /// can so do nothing more. What does not go goes with the role.
    async fn strip(&self, session: &mut Session, role: There) -> Result<(), Denial> {
        let failed = |why| self.failed(&why);
        let look = "SELECT DISTINCT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid \
                    WHERE m.member = $1";
        for row in session.client().query_typed(look, &[(&role.oid, Type::OID)]).await.map_err(failed)? {
            let group: String = row.try_get(0).map_err(failed)?;
            let strip = format!("REVOKE {} FROM {}", escape_identifier(&group), escape_identifier(self.handle));
            if let Err(why) = session.client().execute_typed(&strip, &[]).await
                && why.as_db_error().is_none()
            {
                return Err(self.failed(&why));
            }
        }
        Ok(())
    }

    /// Rolls back what the role has prepared: such a transaction outlives its session, and keeps its locks. Only the
    /// role itself may, in the database where it did.
    async fn roll_back_prepared(&self, session: &mut Session) -> Result<(), Denial> {
        let failed = |why| self.failed(&why);
        let look = "SELECT gid, database::text FROM pg_prepared_xacts WHERE owner = $1";
        let rows = session.client().query_typed(look, &[(&self.handle, Type::NAME)]).await.map_err(failed)?;
        for row in rows {
            let (gid, database): (String, String) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
            let back = format!("ROLLBACK PREPARED {}", escape_literal(&gid));
            if database == self.config.database {
                self.execute_as_it(session, &back).await?;
            } else {
                let mut there = self.enter(&database).await?;
                self.execute_as_it(&mut there, &back).await?;
                there.done();
            }
        }
        Ok(())
    }

    async fn execute_as_it(&self, session: &mut Session, statement: &str) -> Result<(), Denial> {
        self.execute(session, &format!("SET ROLE {}", escape_identifier(self.handle))).await?;
        let done = session.client().execute_typed(statement, &[]).await;
        self.execute(session, "RESET ROLE").await?;
        match done {
            // Somebody else was quicker.
            Err(why) if why.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(()),
            done => done.map(drop).map_err(|why| self.failed(&why)),
        }
    }

    /// The other databases to clean up in: those that are named, and those in which the server knows of something.
    async fn databases(&self, session: &mut Session, role: There) -> Result<Vec<String>, Denial> {
        let failed = |why| self.failed(&why);
        let look = "SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid \
                    WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1 AND d.datallowconn";
        let mut databases = self.config.databases.clone();
        for row in session.client().query_typed(look, &[(&role.oid, Type::OID)]).await.map_err(failed)? {
            let database: String = row.try_get(0).map_err(failed)?;
            if database != self.config.database && !databases.contains(&database) {
                databases.push(database);
            }
        }
        Ok(databases)
    }

    /// A connection to another database. That there is none says nothing of the server: ours is open.
    async fn enter(&self, database: &str) -> Result<Session, Denial> {
        let entered = self.pools.session(self.config, database, self.values).await;
        let mut there = entered.map_err(|why| self.refused(&why.internal))?;
        self.execute(&mut there, PATIENCE).await?;
        Ok(there)
    }
}

/// Ends the role's sessions and looks until there are none.
async fn end_sessions(session: &mut Session, oid: u32, doing: &str) -> Result<(), Denial> {
    for _ in 0..LOOKS {
        let ended = session.client().query_typed(END, &[(&oid, Type::OID)]).await;
        if ended.map_err(|why| in_the_way(&why, doing))?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Err(Denial::new(Reason::EngineRefused).internal(format!("{doing}: its sessions do not end")))
}

async fn clean(session: &mut Session, statements: &[String], doing: &str) -> Result<(), Denial> {
    let failed = |why| in_the_way(&why, doing);
    let work = session.client().transaction().await.map_err(failed)?;
    for statement in statements {
        work.execute_typed(statement, &[]).await.map_err(failed)?;
    }
    work.commit().await.map_err(failed)
}

/// The names of all roles whose mark begins so.
pub(super) async fn marked(session: &mut Session, mark: &str) -> Result<Vec<String>, Denial> {
    let look = "SELECT r.rolname::text FROM pg_roles r JOIN pg_shdescription d ON d.objoid = r.oid \
                WHERE d.classoid = 'pg_authid'::regclass AND starts_with(d.description, $1) ORDER BY r.rolname";
    let failed = |why: tokio_postgres::Error| denial(&why, "listing the roles");
    let rows = session.client().query_typed(look, &[(&mark, Type::TEXT)]).await.map_err(failed)?;
    rows.iter().map(|row| row.try_get(0).map_err(failed)).collect()
}
