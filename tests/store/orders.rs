//! Commands of operators, and what operators read.

use nockvault::audit::entry::Body;
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::SigningKey;
use nockvault::denial::{Denial, Reason};
use nockvault::lease::State;
use nockvault::secret::SecretBytes;
use nockvault::statement::agent::{AgentKeyEnd, AgentRegister};
use nockvault::statement::command::Page;
use nockvault::statement::grant::{GrantCreate, GrantRevoke, Terms};
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::statement::role::RoleCreate;
use nockvault::statement::secret::{SecretPut, SecretUse};
use nockvault::store::{Listed, Order, Store};
use nockvault::time::{Clock, Seconds};

use super::world::{Kit, World, denied, refused, role, terms};

async fn put(world: &World, name: &str, value: &[u8]) -> u64 {
    let command = world
        .command(SecretPut {
            name: name.parse().unwrap(),
            sealed: Digest::of(value),
            expires: None,
            used: SecretUse::Kv,
        })
        .await;
    let value = SecretBytes::from(value.to_vec());
    let result = world.order(&Order::PutSecret(&command, &value)).await.result.unwrap();
    result["version"].as_u64().unwrap()
}

#[tokio::test]
async fn effects_name_the_command_that_caused_them() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let (lease, _) = world.issue(&kit, "s1").await.unwrap();
    let revoke = world
        .order(&Order::RevokeLeases(
            &world.command(LeaseRevoke { reason: None, scope: Scope::Lease(lease.clone()) }).await,
        ))
        .await;
    assert_eq!(revoke.result.unwrap()["leases"], 1);
    assert_eq!(world.store().lease(&lease).await.unwrap().unwrap().state, State::Revoked);
    let Some(Body::Revoke(entry)) = world.entries("kit").await.pop() else { panic!("no revoke entry") };
    assert_eq!((entry.by.leaf, entry.by.seq), (revoke.entry.leaf, revoke.entry.seq));
    assert_eq!((entry.lease, entry.outcome.as_str()), (lease, "none"));
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn a_grant_taken_back_takes_its_leases_along_and_no_others() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    world.role("reports").await;
    world.grant(&kit, "reports", terms()).await;
    let (first, _) = world.issue(&kit, "s1").await.unwrap();
    let (second, _) = world.issue(&kit, "s2").await.unwrap();
    let request = world.request(&kit, "s1", world.issue_body(&kit, "reports", 60)).await;
    let (other, _) = world.record(&request).await.unwrap();
    let body = GrantRevoke { agent: kit.name.clone(), role: role("orders") };
    let result = world.order(&Order::RevokeGrant(&world.command(body.clone()).await)).await.result.unwrap();
    assert_eq!(result["leases"], 2);
    for (lease, state) in [(&first, State::Revoked), (&second, State::Revoked), (&other, State::Live)] {
        assert_eq!(world.store().lease(lease).await.unwrap().unwrap().state, state);
    }
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::NoGrant);
    assert_eq!(refused(world.order(&Order::RevokeGrant(&world.command(body).await)).await), Reason::NotFound);
    // A new grant begins anew.
    world.grant(&kit, "orders", Terms { max_uses: Some(1), ..terms() }).await;
    world.issue(&kit, "s1").await.unwrap();
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::GrantExhausted);
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn a_refused_order_changes_nothing_and_stands_in_operators() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let before = world.store().census().await.unwrap();

    world.agent("k-it").await;
    let mut reasons = Vec::new();
    for name in ["kit", "k.it"] {
        reasons.push(refused(world.try_agent(name).await.1));
    }
    let (register, embedded) = world.register("eve", &kit.key, 1, None);
    let command = world.command(AgentRegister { register: embedded }).await;
    reasons.push(refused(world.order(&Order::RegisterAgent(&command, &register)).await));
    let (register, embedded) = world.register("eve", &world.founder.operator_key, 1, None);
    let command = world.command(AgentRegister { register: embedded }).await;
    reasons.push(refused(world.order(&Order::RegisterAgent(&command, &register)).await));
    let grant =
        |agent: &str, name: &str, terms: Terms| GrantCreate { agent: agent.parse().unwrap(), role: role(name), terms };
    for body in [
        grant("kit", "orders", terms()),
        grant("nobody", "orders", terms()),
        grant("kit", "nothing", terms()),
        grant("kit", "orders", Terms { ttl: Seconds(0), ..terms() }),
    ] {
        reasons.push(refused(world.order(&Order::CreateGrant(&world.command(body).await)).await));
    }
    let body = RoleCreate { role: role("orders"), engine: "kv".to_owned(), config: Default::default() };
    reasons.push(refused(world.order(&Order::CreateRole(&world.command(body).await)).await));
    let body = AgentKeyEnd { agent: kit.name.clone(), kid: Some(world.founder.operator_key.kid()), suspect_from: None };
    reasons.push(refused(world.order(&Order::EndAgentKey(&world.command(body).await)).await));

    use Reason::{AlreadyExists, BadTerms, KeyKnown, NameCollision, NotFound};
    let names = [AlreadyExists, NameCollision, KeyKnown, KeyKnown];
    let grants = [AlreadyExists, NotFound, NotFound, BadTerms];
    assert_eq!(reasons, [names.as_slice(), &grants, &[AlreadyExists, NotFound]].concat());
    let after = world.store().census().await.unwrap();
    assert_eq!((after.agents, after.roles, after.grants), (before.agents + 1, before.roles, before.grants));
    let denials = world.entries("_operators").await.into_iter().filter(|body| match body {
        Body::Command(command) => command.denial().is_some(),
        _ => false,
    });
    assert_eq!(denials.count(), 10);
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn a_command_is_taken_once_whether_refused_or_not() {
    let world = World::new().await;
    let body = RoleCreate { role: role("orders"), engine: "kv".to_owned(), config: Default::default() };
    let command = world.command(body.clone()).await;
    world.order(&Order::CreateRole(&command)).await.result.unwrap();
    assert_eq!(denied(world.store().carry_out(&Order::CreateRole(&command)).await), Reason::Replay);
    let command = world.command(body).await;
    assert_eq!(refused(world.order(&Order::CreateRole(&command)).await), Reason::AlreadyExists);
    assert_eq!(denied(world.store().carry_out(&Order::CreateRole(&command)).await), Reason::Replay);

    let command = world
        .command(AgentKeyEnd {
            agent: "kit".parse().unwrap(),
            kid: Some(world.founder.operator_key.kid()),
            suspect_from: None,
        })
        .await;
    let denial = Denial::new(Reason::NotPermitted);
    let (kid, nonce) = (&command.statement().kid, &command.statement().nonce);
    let refuse =
        Order::Refuse { envelope: command.envelope(), kid, nonce, iat: command.statement().iat, denial: &denial };
    assert_eq!(refused(world.order(&refuse).await), Reason::NotPermitted);
    assert_eq!(denied(world.store().carry_out(&refuse).await), Reason::Replay);
    assert_eq!(denied(world.store().spend(kid, nonce, world.clock.now()).await), Reason::Replay);
    let nonce = world.nonce();
    world.store().spend(kid, &nonce, world.clock.now()).await.unwrap();
    assert!(world.store().nonce_known(kid, &nonce).await.unwrap());
    assert_eq!(world.kinds("_operators").await, ["genesis", "command", "command", "command"]);
    world.verify(&[]).await;
}

#[tokio::test]
async fn an_agents_key_commands_nothing() {
    let world = World::new().await;
    let kit = world.agent("kit").await;
    let command =
        world.command(LeaseRevoke { reason: None, scope: Scope::Lease(nockvault::id::LeaseId::new(1, [0; 10])) }).await;
    let denial = Denial::new(Reason::NotPermitted);
    let (kid, nonce) = (kit.key.kid(), world.nonce());
    let order = Order::Refuse {
        envelope: command.envelope(),
        kid: &kid,
        nonce: &nonce,
        iat: world.clock.now(),
        denial: &denial,
    };
    assert_eq!(denied(world.store().carry_out(&order).await), Reason::Unauthenticated);
    assert_eq!(world.kinds("_operators").await.len(), 2);
}

#[tokio::test]
async fn an_operator_brings_a_successor_and_ends_a_key() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let end = |kid| AgentKeyEnd { agent: kit.name.clone(), kid: Some(kid), suspect_from: Some(world.clock.now()) };
    let ended = world.order(&Order::EndAgentKey(&world.command(end(kit.key.kid())).await)).await;
    ended.result.unwrap();
    let again = world.order(&Order::EndAgentKey(&world.command(end(kit.key.kid())).await)).await;
    assert_eq!(refused(again), Reason::NotFound);
    assert!(world.store().candidate(&kit.key.kid()).await.unwrap().key.unwrap().ended.is_some());

    let next = SigningKey::generate(&*world.entropy);
    for (kver, prev, reason) in [(3, kit.key.kid(), Some(Reason::BadSuccessor)), (2, kit.key.kid(), None)] {
        let (register, embedded) = world.register("kit", &next, kver, Some(prev));
        let command = world.command(AgentRegister { register: embedded }).await;
        let carried = world.order(&Order::RegisterAgent(&command, &register)).await;
        assert_eq!(carried.result.err().map(|denial| denial.reason), reason);
    }
    let kit = Kit { key: next, kver: 2, ..kit };
    world.issue(&kit, "s1").await.unwrap();
    assert_eq!(world.kinds("kit").await, ["genesis", "grant", "agent_key_end", "agent_key", "issue"]);
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn secrets_have_versions_and_open_at_their_place_only() {
    let mut world = World::new().await;
    let name = "db/orders".parse().unwrap();
    assert_eq!(world.store().secret_value(SecretUse::Kv, &name, None).await.unwrap().map(|found| found.version), None);
    assert_eq!((put(&world, "db/orders", b"one").await, put(&world, "db/orders", b"two").await), (1, 2));
    put(&world, "db/other", b"canary").await;
    let newest = world.store().secret_value(SecretUse::Kv, &name, None).await.unwrap().unwrap();
    assert_eq!((newest.version, newest.value.expose().as_slice()), (2, b"two".as_slice()));
    world.restart().await;
    let first = world.store().secret_value(SecretUse::Kv, &name, Some(1)).await.unwrap().unwrap();
    assert_eq!(first.value.expose(), b"one");
    assert!(world.store().secret_value(SecretUse::Kv, &name, Some(u64::MAX)).await.unwrap().is_none());
    let versions = world.store().secret_versions(&name).await.unwrap();
    assert_eq!(versions.iter().map(|one| (one.version, one.bytes)).collect::<Vec<_>>(), [(1, 3), (2, 3)]);
    let listed = world.store().secrets(&Page::first()).await.unwrap();
    assert_eq!(
        listed.items.iter().map(|one| (one.name.as_str(), one.version)).collect::<Vec<_>>(),
        [("db/orders", 2), ("db/other", 1)]
    );

    let sql = "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'db/other') WHERE version = 2";
    assert_eq!(world.intruder().execute(sql, []).unwrap(), 1);
    assert!(
        world.store().secret_value(SecretUse::Kv, &name, None).await.is_err(),
        "another secret's value was given out"
    );
    for file in ["vault.db", "vault.db-wal"] {
        let bytes = std::fs::read(super::world::data_dir(world.folder.path()).join(file)).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"canary"), "{file} holds a secret in the open");
    }
    world.verify(&[]).await;
}

/// All items of a list, in pages of two.
async fn walk<T, F: Future<Output = Listed<T>>>(page: impl Fn(Page) -> F) -> (Vec<T>, usize) {
    let (mut all, mut after, mut pages) = (Vec::new(), Some(String::new()), 0);
    while let Some(from) = after {
        let part = page(Page { after: from, limit: 2 }).await;
        assert!(part.items.len() <= 2);
        (after, pages) = (part.next, pages + 1);
        all.extend(part.items);
    }
    (all, pages)
}

#[tokio::test]
async fn lists_come_in_pages_in_order_and_whole() {
    let world = World::new().await;
    for name in ["e", "b", "d", "a", "c"] {
        let kit = world.agent(name).await;
        world.role(&format!("role-{name}")).await;
        put(&world, &format!("secret-{name}"), b"value").await;
        put(&world, &format!("secret-{name}"), b"value").await;
        world.grant(&kit, &format!("role-{name}"), terms()).await;
        if name == "b" {
            world.grant(&kit, "role-e", terms()).await;
        }
    }
    let store = world.store();
    let (agents, pages) = walk(async |page| store.agents(&page).await.unwrap()).await;
    assert_eq!((agents.iter().map(|agent| agent.name.as_str()).collect::<String>(), pages), ("abcde".to_owned(), 3));
    let (roles, _) = walk(async |page| store.roles(&page).await.unwrap()).await;
    assert_eq!(roles.iter().map(|role| &role.name.as_str()[5..]).collect::<String>(), "abcde");
    let (secrets, _) = walk(async |page| store.secrets(&page).await.unwrap()).await;
    assert_eq!(secrets.iter().map(|secret| &secret.name.as_str()[7..]).collect::<String>(), "abcde");
    let (grants, _) = walk(async |page| store.grants(None, &page).await.unwrap()).await;
    let names: Vec<String> =
        grants.iter().map(|one| format!("{}{}", one.grant.agent, &one.grant.role.as_str()[5..])).collect();
    assert_eq!(names, ["aa", "bb", "be", "cc", "dd", "ee"]);
    let b = "b".parse().unwrap();
    let (grants, _) = walk(async |page| store.grants(Some(&b), &page).await.unwrap()).await;
    assert_eq!(grants.len(), 2);
}

#[tokio::test]
async fn leases_are_listed_newest_first() {
    let world = World::new().await;
    let (kit, ida) = (world.granted("kit").await, world.granted("ida").await);
    let mut made = Vec::new();
    for turn in 0..7 {
        world.clock.advance(Seconds(1));
        made.push(world.issue(if turn % 2 == 0 { &kit } else { &ida }, "s1").await.unwrap().0);
    }
    let body = LeaseRevoke { reason: None, scope: Scope::Lease(made[2].clone()) };
    world.order(&Order::RevokeLeases(&world.command(body).await)).await.result.unwrap();
    made.reverse();
    let store = world.store();
    let (all, _) =
        walk(async |page| store.leases(None, nockvault::statement::lease::Which::All, &page).await.unwrap()).await;
    assert_eq!(all.iter().map(|lease| &lease.id).collect::<Vec<_>>(), made.iter().collect::<Vec<_>>());
    let (live, _) = walk(async |page| {
        store.leases(Some(&kit.name), nockvault::statement::lease::Which::Live, &page).await.unwrap()
    })
    .await;
    assert_eq!(live.iter().map(|lease| &lease.id).collect::<Vec<_>>(), [&made[0], &made[2], &made[6]]);
    let nobody = "nobody".parse().unwrap();
    assert!(
        store
            .leases(Some(&nobody), nockvault::statement::lease::Which::All, &Page::first())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn lines_come_within_their_limits() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    for _ in 0..5 {
        world.hello(&kit, "s1").await.unwrap();
    }
    let chain = "kit".parse().unwrap();
    let lines = |from, limit, bytes| world.store().lines(&chain, from, limit, bytes);
    let all = lines(0, 100, 1 << 20).await.unwrap().unwrap();
    assert_eq!((all.lines.len(), all.head.size), (7, 7));
    assert_eq!(nockvault::crypto::hash::leaf(all.lines.last().unwrap()), all.head.head);
    assert_eq!(lines(3, 2, 1 << 20).await.unwrap().unwrap().lines, all.lines[3..5]);
    assert_eq!(lines(3, 100, 1).await.unwrap().unwrap().lines, all.lines[3..4], "the first comes whatever it holds");
    assert!(lines(u64::MAX, 100, 1 << 20).await.unwrap().unwrap().lines.is_empty());
    assert!(world.store().lines(&"nobody".parse().unwrap(), 0, 1, 1).await.unwrap().is_none());

    let (nobody, operators) = ("nobody".parse().unwrap(), "_operators".parse().unwrap());
    let many = vec![(chain.clone(), 3), (nobody, 0), (operators, 1), (chain.clone(), 0)];
    let read = world.store().lines_of(many, 2, 1 << 20).await.unwrap();
    let of_operators = world.store().lines(&"_operators".parse().unwrap(), 1, 2, 1 << 20).await.unwrap();
    assert!(of_operators.as_ref().is_some_and(|lines| lines.lines.len() == 2));
    let one_by_one = [lines(3, 2, 1 << 20).await.unwrap(), None, of_operators, lines(0, 2, 1 << 20).await.unwrap()];
    assert_eq!(read, one_by_one);
}
