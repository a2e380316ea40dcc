//! What the fuzzer begins with of a trail: `tests/fuzz/seeds`, made of the chains of these tests. They come out alike each
//! time; `NOCKVAULT_REGENERATE=1` writes them anew.

use nockvault::audit::chain::Head;
use nockvault::audit::entry::{self, Entry};
use nockvault::crypto::hash::leaf;
use nockvault::id::ChainName;
use nockvault::statement::card::{Card, Genesis};
use nockvault::time::Seconds;

use crate::cases::receipt;
use crate::committed::stands;
use crate::files::{begins, listed, note, proof};
use crate::world::{Chain, World, file};

/// `_vault` of the same vault: founded, a daemon that began and ended.
fn vault(world: &mut World) -> Chain {
    let mut chain = Chain { head: Head::empty(&"prod".parse().unwrap(), &ChainName::vault()), lines: Vec::new() };
    let (identity, salt) = (world.identity_bytes(), world.salt());
    let genesis = entry::VaultGenesis { aud: world.aud.clone(), identity, name: "prod".parse().unwrap(), salt };
    let limits = [("skew_s".to_owned(), 300)].into();
    chain.put(&world.audit, &genesis.into(), world.now);
    world.new_epoch();
    for body in [
        entry::Start { node: "n1".into(), opened: None, version: "0.1.0".into() }.into(),
        entry::Config { limits }.into(),
        entry::Refused { counts: [("unknown".to_owned(), 4)].into(), minute: 29_675_000 }.into(),
        entry::Stop {}.into(),
    ] {
        world.now = world.now.plus(Seconds(1));
        chain.put(&world.audit, &body, world.now);
    }
    chain
}

/// Each seed by its name, with its bytes.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut world = World::whole(1);
    let chain = vault(&mut world);
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let card = Card {
        name: "prod".parse().unwrap(),
        aud: world.aud.clone(),
        identity: world.identity.public(),
        agents: "unix:/nowhere/agents.sock".into(),
        operators: "unix:/nowhere/operators.sock".into(),
        ca: None,
        genesis: Genesis { vault: leaf(&chain.lines[0]), operators: leaf(&world.operators.lines[0]) },
    };
    all.push(("world/vault.card".into(), card.write().into_bytes()));
    let (kit, operators) = (world.kit.lines.clone(), world.operators.lines.clone());
    for (name, lines) in [("kit", &kit), ("operators", &operators), ("vault", &chain.lines)] {
        all.push((format!("seeds/chain/{name}"), file(lines)));
        // One of each kind.
        for line in lines.iter().rev() {
            let kind = Entry::read(line).unwrap().body.kind();
            all.push((format!("seeds/entry/{name}-{kind}"), line.clone()));
        }
    }
    all.push(("seeds/chain/part".into(), file(&kit[begins(&world)..])));
    let signed = note(&world, 9);
    all.push(("seeds/proof/entry".into(), proof(&world, 3, 9, &signed).into_bytes()));
    all.push(("seeds/note/checkpoint".into(), signed.into_bytes()));
    all.push(("seeds/directory/keys".into(), listed(&world, |_| {}).into_bytes()));
    all.push(("seeds/receipt/issued".into(), receipt(&world, |_| {}).write().into_bytes()));
    let mut names = std::collections::BTreeSet::new();
    all.retain(|(name, _)| names.insert(name.clone()));
    all
}

#[test]
fn the_seeds_of_the_fuzzer_are_made_of_these_chains() {
    for (name, bytes) in seeds() {
        stands(format!("tests/fuzz/{name}"), bytes);
    }
}
