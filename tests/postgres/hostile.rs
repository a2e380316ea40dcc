//! A minted role that fights for its life: whatever it may do at the server, its revocation ends it within the time that
//! a call has, and nothing that it leaves behind is mightier than it was.

use std::time::Duration;

use nockvault::denial::Denial;
use nockvault::engine::{Engine as _, Undone};
use serde_json::json;

use super::server::{ADMIN, Server};
use super::{Lease, Passwords, config, engine, login, role_exists, text, with};

/// A revocation that has as long as the vault gives one.
async fn revoke(lease: &Lease, values: &Passwords) -> Result<Undone, Denial> {
    let late = "the revocation did not end in its time";
    tokio::time::timeout(Duration::from_secs(5), engine().revoke(lease.made(), values)).await.expect(late)
}

#[tokio::test]
async fn a_role_that_holds_its_own_row_is_ended() {
    let server = Server::start().await;
    let values = Passwords::of(&server);
    let lease = Lease::new(&config(&server));
    let secret = lease.mint(&engine(), &values).await.unwrap();
    let client = login(&server, &secret).await.unwrap();
    client.batch_execute("BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'").await.unwrap();
    assert_eq!(revoke(&lease, &values).await.unwrap(), Undone::Revoked);
    assert!(client.batch_execute("SELECT 1").await.is_err());
    assert!(!role_exists(&server, &lease.handle).await);
}

/// It does so again as soon as it is thrown out, from as many places as it may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_comes_back_and_holds_its_row_again_is_ended() {
    let server = Server::start().await;
    let values = Passwords::of(&server);
    let lease = Lease::new(&with(config(&server), "connections", json!(20)));
    let secret = lease.mint(&engine(), &values).await.unwrap();
    let mut stubborn = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let password = text(&secret, "password").to_owned();
        let (handle, socket, port) = (lease.handle.clone(), server.socket_dir().to_owned(), server.port());
        stubborn.spawn(async move {
            loop {
                let mut door = tokio_postgres::Config::new();
                door.host_path(&socket).port(port).user(&handle).password(&password).dbname("orders");
                let Ok((client, connection)) = door.connect(tokio_postgres::NoTls).await else {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                let running = tokio::spawn(connection);
                let again = format!("BEGIN; ALTER ROLE CURRENT_USER PASSWORD '{password}'; SELECT pg_sleep(60)");
                let _ = client.batch_execute(&again).await;
                running.abort();
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Where the machine is busy with this, the first call may not be enough; the vault calls again.
    let engine = engine();
    let undone = async { while engine.revoke(lease.made(), &values).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), undone).await.expect("it is not ended");
    assert!(!role_exists(&server, &lease.handle).await);
}

#[tokio::test]
async fn a_role_that_takes_the_vaults_lock_is_ended() {
    let server = Server::start().await;
    let values = Passwords::of(&server);
    let (lease, other) = (Lease::new(&config(&server)), Lease::new(&config(&server)));
    lease.mint(&engine(), &values).await.unwrap();
    let secret = other.mint(&engine(), &values).await.unwrap();
    let holding = login(&server, &secret).await.unwrap();
    // The key follows from the name, which every role can read.
    for handle in [&lease.handle, &other.handle] {
        let parts: [&[u8]; 2] = [b"nockvault/postgres/role\0", handle.as_bytes()];
        let digest = nockvault::crypto::hash::Digest::of_parts(&parts);
        let key = i64::from_be_bytes(digest.as_bytes()[..8].try_into().unwrap());
        holding.batch_execute(&format!("SELECT pg_advisory_lock({key})")).await.unwrap();
    }
    assert_eq!(revoke(&lease, &values).await.unwrap(), Undone::Revoked);
    assert_eq!(revoke(&other, &values).await.unwrap(), Undone::Revoked);
}

#[tokio::test]
async fn what_a_role_made_never_runs_with_the_rights_of_the_vault() {
    let server = Server::start().await;
    let values = Passwords::of(&server);
    let maker = with(config(&server), "grants", json!(["orders_maker"]));
    let lease = Lease::new(&maker);
    let client = login(&server, &lease.mint(&engine(), &values).await.unwrap()).await.unwrap();
    let trap = "CREATE FUNCTION public.trap() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS \
                $$ BEGIN CREATE ROLE back LOGIN PASSWORD 'door' IN ROLE orders_read; RETURN current_user; END $$";
    client.batch_execute(trap).await.unwrap();
    assert_eq!(revoke(&lease, &values).await.unwrap(), Undone::Revoked);
    let next = Lease::new(&maker);
    let client = login(&server, &next.mint(&engine(), &values).await.unwrap()).await.unwrap();
    let _ = client.batch_execute("SELECT public.trap()").await;
    assert!(!role_exists(&server, "back").await, "an agent made a role that no lease ends");
    let owned = format!("SELECT proname FROM pg_proc WHERE proowner = '{ADMIN}'::regrole");
    assert!(server.sql_in("orders", &owned).await.is_empty());
}

/// Everybody may make large objects wherever he may connect.
#[tokio::test]
async fn what_a_role_hides_in_another_database_is_found() {
    let server = Server::start().await;
    let values = Passwords::of(&server);
    let lease = Lease::new(&config(&server));
    let secret = lease.mint(&engine(), &values).await.unwrap();
    for database in ["stock", "postgres"] {
        let client = server.client_in(database, &lease.handle, text(&secret, "password")).await.unwrap();
        client.batch_execute("SELECT lo_create(0)").await.unwrap();
    }
    assert_eq!(revoke(&lease, &values).await.unwrap(), Undone::Revoked);
    assert!(server.sql_in("stock", "SELECT 1 FROM pg_largeobject_metadata").await.is_empty());
}

/// A transaction that was prepared outlives its session and keeps its locks.
#[tokio::test]
async fn a_role_that_prepared_a_transaction_is_ended() {
    let server = Server::start().await;
    let values = Passwords::of(&server);
    let lease = Lease::new(&config(&server));
    let secret = lease.mint(&engine(), &values).await.unwrap();
    let prepared = "BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'; PREPARE TRANSACTION 'it''s mine'";
    login(&server, &secret).await.unwrap().batch_execute(prepared).await.unwrap();
    let client = server.client_in("stock", &lease.handle, text(&secret, "password")).await.unwrap();
    client.batch_execute("BEGIN; SELECT lo_create(0); PREPARE TRANSACTION 'there'").await.unwrap();
    assert_eq!(revoke(&lease, &values).await.unwrap(), Undone::Revoked);
    assert!(!role_exists(&server, &lease.handle).await);
}

/// Where its objects cannot be dropped, what they run as has no rights any more.
#[tokio::test]
async fn a_role_that_cannot_be_dropped_has_nothing_left() {
    let server = Server::start().await;
    let values = Passwords::of(&server);
    let lease = Lease::new(&with(config(&server), "grants", json!(["orders_maker", "orders_read"])));
    let client = login(&server, &lease.mint(&engine(), &values).await.unwrap()).await.unwrap();
    let trap = "CREATE FUNCTION public.trap() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS \
                'SELECT count(*) FROM public.item'";
    client.batch_execute(trap).await.unwrap();
    let next = Lease::new(&with(config(&server), "grants", json!(["orders_maker"])));
    let client = login(&server, &next.mint(&engine(), &values).await.unwrap()).await.unwrap();
    client.batch_execute("CREATE VIEW public.held AS SELECT public.trap()").await.unwrap();
    let denial = revoke(&lease, &values).await.unwrap_err();
    assert_eq!(denial.reason, nockvault::denial::Reason::EngineRefused, "{denial:?}");
    assert!(client.batch_execute("SELECT public.trap()").await.is_err(), "it still reads what its role could");
}

/// A lock that somebody holds says nothing of the backend: the revocations of others go on.
#[tokio::test]
async fn a_lock_that_is_held_counts_against_its_lease_alone() {
    let server = Server::start().await;
    let values = Passwords::of(&server);
    let lease = Lease::new(&with(config(&server), "grants", json!(["orders_maker"])));
    let client = login(&server, &lease.mint(&engine(), &values).await.unwrap()).await.unwrap();
    client.batch_execute("CREATE TABLE public.busy (i int); GRANT ALL ON public.busy TO orders_read").await.unwrap();
    let other = Lease::new(&config(&server));
    let other = login(&server, &other.mint(&engine(), &values).await.unwrap()).await.unwrap();
    other.batch_execute("BEGIN; SELECT * FROM public.busy").await.unwrap();
    let denial = revoke(&lease, &values).await.unwrap_err();
    assert_eq!(denial.reason, nockvault::denial::Reason::EngineRefused, "{denial:?}");
}
