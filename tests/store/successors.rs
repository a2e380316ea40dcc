//! Versions that follow the one they were made from, and no other.

use nockvault::denial::Reason;
use nockvault::id::SecretName;
use nockvault::secret::SecretBytes;
use nockvault::statement::ca::{CaCertify, CaCreate};
use nockvault::statement::role::RoleRotate;
use nockvault::statement::secret::SecretUse;
use nockvault::store::{Order, Store, Successor};

use super::world::{World, refused, role};

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

async fn value(world: &World, used: SecretUse, of: &SecretName) -> Option<(u64, Vec<u8>)> {
    let stored = world.store().secret_value(used, of, None).await.unwrap();
    stored.map(|stored| (stored.version, stored.value.expose().clone()))
}

#[tokio::test]
async fn an_authority_begins_where_nothing_is_and_goes_on_from_what_was_read() {
    let world = World::new().await;
    let (web, first) = (name("web"), SecretBytes::from(b"first".to_vec()));
    let create = CaCreate { name: web.clone(), engine: "x".into(), wish: Default::default() };
    let next = |after| Successor { name: &web, after, value: &first };
    let carried = world.order(&Order::CreateCa(&world.command(create.clone()).await, next(0))).await;
    assert_eq!(carried.result.unwrap()["version"], 1);
    let again = world.order(&Order::CreateCa(&world.command(create).await, next(0))).await;
    assert_eq!(refused(again), Reason::AlreadyExists);

    let certify = || CaCertify { name: web.clone(), engine: "x".into(), chain: "pem".into() };
    for (after, wanted) in [(2, Err(Reason::Busy)), (1, Ok(2)), (1, Err(Reason::Busy)), (2, Ok(3))] {
        let carried = world.order(&Order::CertifyCa(&world.command(certify()).await, next(after))).await;
        let version = carried.result.map(|result| result["version"].as_u64().unwrap());
        assert_eq!(version.map_err(|denial| denial.reason), wanted, "after {after}");
    }
    assert_eq!(value(&world, SecretUse::Ca, &web).await, Some((3, b"first".to_vec())));
    assert_eq!(value(&world, SecretUse::Backend, &web).await, None);
    world.verify(&[]).await;
}

#[tokio::test]
async fn a_password_follows_the_newest_one_of_its_own_use() {
    let world = World::new().await;
    world.role("orders").await;
    let (admin, drawn) = (name("admin"), SecretBytes::from(b"drawn".to_vec()));
    let next = |after| Successor { name: &admin, after, value: &drawn };
    let rotate = || RoleRotate { role: role("orders") };
    let ca = CaCreate { name: admin.clone(), engine: "x".into(), wish: Default::default() };
    world.order(&Order::CreateCa(&world.command(ca).await, next(0))).await.result.unwrap();
    let carried = world.order(&Order::RotateRole(&world.command(rotate()).await, next(1))).await;
    assert_eq!(refused(carried), Reason::AlreadyExists, "an authority's name is no password's");
    assert_eq!(value(&world, SecretUse::Ca, &admin).await, Some((1, b"drawn".to_vec())));
    world.verify(&[]).await;
}
