//! Connections as the vault's own role. There is one pool for each place and role, made when it is first needed, and a
//! call that is dropped or fails takes its connection with it: only one that came to its end gives it back, so that no
//! open transaction is ever found in a pool.
//!
//! The password is the newest version of a stored secret. Where the server does not take it, the version before is
//! tried: so long as a rotation has stored a new version and the server has not yet taken it, the older one is the good
//! one. A pool remembers for which newest version it was made, and is made anew when a newer one is stored or the server
//! no longer takes what it holds.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;
use tokio_postgres::config::{ChannelBinding, SslMode};

use super::config::{Config, Tls};
use super::fault::NotIn;
use super::tls::Connector;
use crate::denial::{Denial, Reason};
use crate::engine::{Stored, StoredValues};
use crate::id::SecretName;
use crate::statement::secret::SecretUse;

/// How many connections one pool may hold.
const CONNECTIONS: usize = 8;

/// How many pools are kept; the one that was longest out of use makes room.
const POOLS: usize = 64;

/// How long each of these may take: to wait for a connection, to make one, to look whether one is still good, to ask for
/// a cancellation.
const PATIENCE: Duration = Duration::from_secs(3);

/// What every connection begins with, also after it was used. No function or operator that somebody put into a schema of
/// his own is found in place of the server's; nothing runs or waits without end.
const READY: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                     SET search_path TO pg_catalog, pg_temp; SELECT pg_catalog.pg_advisory_unlock_all(); \
                     SET statement_timeout TO '30s'; SET lock_timeout TO '10s'; \
                     SET idle_in_transaction_session_timeout TO '60s'";

/// Where connections lead, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
    database: String,
    user: String,
    secret: SecretName,
    tls: Tls,
    ca: Option<String>,
}

impl Place {
    fn of(config: &Config, database: &str) -> Place {
        Place {
            host: config.host.clone(),
            port: config.port,
            database: database.to_owned(),
            user: config.user.clone(),
            secret: config.password.clone(),
            tls: config.tls(),
            ca: config.ca.clone(),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

/// A pool, and the newest version of the password when it was made.
#[derive(Clone)]
struct Known {
    newest: u64,
    pool: Pool,
    connector: Connector,
}

/// All pools of the engine, the one last used at the end.
#[derive(Default)]
pub(super) struct Pools(Mutex<Vec<(Place, Known)>>);

impl Pools {
    /// A connection to `database` as the vault's own role.
    pub(super) async fn session(
        &self,
        config: &Config,
        database: &str,
        values: &dyn StoredValues,
    ) -> Result<Session, Denial> {
        let place = Place::of(config, database);
        let newest = password(config, None, values).await?;
        if let Some(known) = self.known(&place, newest.version) {
            match known.enter(&place).await {
                Err(NotIn::WrongPassword(_)) => self.forget(&place),
                entered => return entered.map_err(|why| why.denial(&place.to_string(), &place.secret)),
            }
        }
        self.search(config, place, newest, values).await
    }

    /// Tries the newest password, and where the server does not take it, the one before.
    async fn search(
        &self,
        config: &Config,
        place: Place,
        newest: Stored,
        values: &dyn StoredValues,
    ) -> Result<Session, Denial> {
        let fresh = Known::new(config, &place, &newest, newest.version)?;
        let refused = match fresh.enter(&place).await {
            Ok(session) => {
                self.keep(place, fresh);
                return Ok(session);
            }
            Err(NotIn::WrongPassword(refused)) if newest.version > 1 => NotIn::WrongPassword(refused),
            Err(why) => return Err(why.denial(&place.to_string(), &place.secret)),
        };
        let older = password(config, Some(newest.version - 1), values).await?;
        let fallback = Known::new(config, &place, &older, newest.version)?;
        match fallback.enter(&place).await {
            Ok(session) => {
                self.keep(place, fallback);
                Ok(session)
            }
            // What was wrong with the newest says more.
            Err(NotIn::WrongPassword(_)) => Err(refused.denial(&place.to_string(), &place.secret)),
            Err(why) => Err(why.denial(&place.to_string(), &place.secret)),
        }
    }

    /// A connection of its own that was let in by the newest password and by no other. Connections after it are let in
    /// by it too.
    pub(super) async fn by_newest(&self, config: &Config, newest: &Stored) -> Result<Session, Denial> {
        let place = Place::of(config, &config.database);
        let fresh = Known::new(config, &place, newest, newest.version)?;
        let session = fresh.enter(&place).await.map_err(|why| why.denial(&place.to_string(), &place.secret))?;
        self.keep(place, fresh);
        Ok(session)
    }

    fn known(&self, place: &Place, newest: u64) -> Option<Known> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = pools.iter().position(|(other, known)| other == place && known.newest == newest)?;
        let used = pools.remove(index);
        let known = used.1.clone();
        pools.push(used);
        Some(known)
    }

    fn forget(&self, place: &Place) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _)| other != place);
    }

    fn keep(&self, place: Place, known: Known) {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|(other, _)| *other != place);
        if pools.len() >= POOLS {
            pools.remove(0);
        }
        pools.push((place, known));
    }
}

/// A version of the password of the vault's own role.
pub(super) async fn password(
    config: &Config,
    version: Option<u64>,
    values: &dyn StoredValues,
) -> Result<Stored, Denial> {
    let stored = values.stored_value(SecretUse::Backend, &config.password, version).await?;
    stored.ok_or_else(|| {
        let which = version.map(|version| format!(", version {version}")).unwrap_or_default();
        let name = &config.password;
        let why = format!("no secret {name}{which}; `vaultctl secret put {name} --use backend` stores one");
        Denial::new(Reason::SecretMissing).internal(why)
    })
}

impl Known {
    fn new(config: &Config, place: &Place, stored: &Stored, newest: u64) -> Result<Known, Denial> {
        let connector = Connector::of(config)?;
        let mut door = tokio_postgres::Config::new();
        door.port(place.port).dbname(&place.database).user(&place.user).password(stored.value.expose());
        door.application_name("nockvault").connect_timeout(PATIENCE).tcp_user_timeout(PATIENCE);
        if config.is_socket() {
            door.host_path(&place.host)
        } else {
            door.host(&place.host)
        };
        door.ssl_mode(if place.tls == Tls::Off { SslMode::Disable } else { SslMode::Require });
        // A server that asks for the password itself, in clear text or as MD5, is refused: whoever may name a server in a
        // role must not learn the password that is meant for another.
        if place.tls != Tls::Off {
            door.channel_binding(ChannelBinding::Require);
        }
        let recycled = ManagerConfig { recycling_method: RecyclingMethod::Custom(READY.to_owned()) };
        let made = match connector.clone() {
            Connector::Plain => Manager::from_config(door, NoTls, recycled),
            Connector::Tls(tls) => Manager::from_config(door, tls, recycled),
        };
        let ready = Hook::async_fn(|client: &mut deadpool_postgres::ClientWrapper, _| {
            Box::pin(async move { client.batch_execute(READY).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(made)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(PATIENCE))
            .recycle_timeout(Some(PATIENCE))
            .post_create(ready)
            .build()
            .map_err(|why| Denial::new(Reason::Internal).internal(why))?;
        Ok(Known { newest, pool, connector })
    }

    async fn enter(&self, place: &Place) -> Result<Session, NotIn> {
        let object = self.pool.get().await.map_err(|why| NotIn::of(why, &place.to_string()))?;
        Ok(Session { object: Some(object), connector: self.connector.clone() })
    }
}

/// A connection in use. Dropped, it is closed, and the server is asked to break off what runs on it; only
/// [`Session::done`] gives it back.
pub(super) struct Session {
    object: Option<Object>,
    connector: Connector,
}

impl Session {
    /// The connection.
    pub(super) fn client(&mut self) -> &mut tokio_postgres::Client {
        self.object.as_mut().expect("it is held until the session is done or dropped")
    }

    /// Gives the connection back: everything asked of it was answered, and no transaction is open.
    pub(super) fn done(mut self) {
        self.object = None;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        let client = Object::take(object);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if client.is_closed() {
            return;
        }
        // The connection is closed only after the cancellation was asked for: a statement that waits would not notice.
        let cancelled = self.connector.clone().cancel(client.cancel_token());
        runtime.spawn(async move {
            let _ = tokio::time::timeout(PATIENCE, cancelled).await;
            drop(client);
        });
    }
}
