//! Files: the store's own, and the key file that opens it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use nockvault::entropy::{Entropy, SeededEntropy};
use nockvault::seal::custody::{self, CustodyFault, RootKey};
use nockvault::store::Store;
use nockvault::store::sqlite::{OpenFault, Sqlite};
use nockvault::time::ManualClock;
use nockvault::vault::found;

use super::world::{RULES, START, World, data_dir, found as founded, open, root};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn entropy() -> Arc<dyn Entropy> {
    Arc::new(SeededEntropy::new(3))
}

#[tokio::test]
async fn a_founded_store_opens_and_holds_what_it_began_with() {
    let entropy = entropy();
    let (folder, founder, (vault, operators)) = founded(&entropy);
    let clock = ManualClock::at(START);
    let (store, keys) = open(folder.path(), RULES, &clock, &entropy).unwrap();
    assert_eq!((keys.name.as_str(), &keys.aud, keys.audit_epochs), ("prod", &founder.aud, 1));
    assert_eq!(keys.identity.public(), founder.identity);
    assert_eq!(keys.kept.len(), 4);
    for (chain, entry) in [("_vault", vault), ("_operators", operators)] {
        let lines = store.lines(&chain.parse().unwrap(), 0, 10, 1 << 20).await.unwrap().unwrap();
        assert_eq!((lines.lines.len(), lines.head), (1, entry.seen()));
    }
    let operator = store.operator(&founder.operator_key.kid()).await.unwrap().unwrap();
    assert_eq!((operator.name.as_str(), operator.keys.len()), ("ada", 1));

    let response = keys.kept.iter().find(|key| key.role == nockvault::statement::cert::KeyRole::Response).unwrap();
    let mut cert = response.cert.clone();
    cert.payload["node"] = "n2".into();
    store.replace_cert(response.role, &cert).await.unwrap();
    drop(store);
    let (_store, keys) = open(folder.path(), RULES, &clock, &entropy).unwrap();
    assert!(keys.kept.iter().any(|key| key.cert == cert));
}

#[tokio::test]
async fn no_file_of_the_store_is_open_to_others() {
    let world = World::new().await;
    let data = data_dir(world.folder.path());
    assert_eq!(mode(&data), 0o700);
    let mut files = 0;
    for file in std::fs::read_dir(&data).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert_eq!(files, 5, "vault.db, its log and index, lock, reserve");
}

#[tokio::test]
async fn an_audit_epoch_is_counted_and_kept() {
    let mut world = World::new().await;
    world.restart().await;
    world.reopen();
    assert_eq!(world.keys.audit_epochs, 3);
}

#[tokio::test]
async fn one_directory_has_one_daemon() {
    let mut world = World::new().await;
    let second = open(world.folder.path(), RULES, &world.clock, &world.entropy);
    assert!(matches!(second, Err(OpenFault::Locked(_))), "{second:?}");
    world.reopen();
}

#[tokio::test]
async fn a_store_is_not_founded_twice() {
    let entropy = entropy();
    let (folder, founder, _) = founded(&entropy);
    let wish = found::Founding {
        name: "prod".parse().unwrap(),
        node: "n1".to_owned(),
        operator: "eve".parse().unwrap(),
        now: START,
    };
    let (founding, _) = found::prepare(wish, &*entropy);
    let again = Sqlite::found(&data_dir(folder.path()), &root(folder.path()), founding, Arc::clone(&entropy));
    assert!(matches!(again, Err(OpenFault::Exists(_))), "{again:?}");
    let (_, keys) = open(folder.path(), RULES, &ManualClock::at(START), &entropy).unwrap();
    assert_eq!(keys.aud, founder.aud);
}

#[tokio::test]
async fn a_directory_that_is_not_a_store_is_refused() {
    let entropy = entropy();
    let clock = ManualClock::at(START);
    let (folder, ..) = founded(&entropy);
    let data = data_dir(folder.path());
    let fault = || open(folder.path(), RULES, &clock, &entropy).map(drop).expect_err("it was opened");

    let other = RootKey::generate(&*entropy);
    let opened = Sqlite::open(&data, &other, RULES, Arc::new(clock.clone()), Arc::clone(&entropy));
    assert!(matches!(opened, Err(OpenFault::WrongRoot)), "{opened:?}");

    set_mode(&data, 0o750);
    assert!(matches!(fault(), OpenFault::Open { mode: 0o750, .. }));
    set_mode(&data, 0o700);
    set_mode(&data.join("vault.db"), 0o640);
    assert!(matches!(fault(), OpenFault::Open { mode: 0o640, .. }));
    set_mode(&data.join("vault.db"), 0o600);

    let raw = rusqlite::Connection::open(data.join("vault.db")).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    let text = fault().to_string();
    assert!(text.contains("99") && text.contains("newer vaultd"), "{text}");
    raw.pragma_update(None, "user_version", 1).unwrap();
    raw.pragma_update(None, "application_id", 1).unwrap();
    assert!(matches!(fault(), OpenFault::NotOurs));
    drop(raw);

    std::fs::remove_file(data.join("vault.db")).unwrap();
    assert!(matches!(fault(), OpenFault::Missing(_)));
    symlink("/dev/null", data.join("vault.db")).unwrap();
    assert!(matches!(fault(), OpenFault::NotOurs));

    // What cannot be looked at is not called missing: who believed it would make a new vault.
    let round = folder.path().join("round");
    symlink(&round, &round).unwrap();
    let opened = Sqlite::open(&round, &other, RULES, Arc::new(clock.clone()), Arc::clone(&entropy));
    assert!(matches!(opened, Err(OpenFault::Io { .. })), "{opened:?}");
}

#[test]
fn a_key_file_is_made_once_and_for_its_owner_alone() {
    let (folder, entropy) = (tempfile::tempdir().unwrap(), entropy());
    let (path, data) = (folder.path().join("root.key"), folder.path().join("data"));
    custody::file::create(&path, &data, &*entropy).unwrap();
    assert_eq!((mode(&path), path.metadata().unwrap().len()), (0o600, 32));
    assert!(matches!(custody::file::create(&path, &data, &*entropy), Err(CustodyFault::Exists(_))));
    custody::file::read(&path, &data).unwrap();
}

#[test]
fn a_key_file_that_does_not_look_like_one_is_refused_with_the_way_out() {
    let (folder, entropy) = (tempfile::tempdir().unwrap(), entropy());
    let at = |name: &str| folder.path().join(name);
    let data = at("data");
    std::fs::create_dir(&data).unwrap();
    let path = at("root.key");
    custody::file::create(&path, &data, &*entropy).unwrap();
    let fault = |path: &Path| custody::file::read(path, &data).expect_err("it was taken").to_string();

    for open in [0o640, 0o604, 0o660, 0o610] {
        set_mode(&path, open);
        let text = fault(&path);
        assert!(text.contains("chmod 600") && text.contains(&format!("{open:04o}")), "{text}");
    }
    set_mode(&path, 0o600);
    symlink(&path, at("link")).unwrap();
    assert!(fault(&at("link")).contains("readlink -f"));
    assert!(fault(&data).contains("no regular file"));
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert!(fault(&at("pipe")).contains("no regular file"), "a pipe must not be waited for");
    assert!(fault(&at("none")).contains("vaultctl init"));
    std::fs::copy(&path, data.join("root.key")).unwrap();
    assert!(fault(&data.join("root.key")).contains("inside the data directory"));
    symlink(&data, at("elsewhere")).unwrap();
    assert!(fault(&at("elsewhere").join("root.key")).contains("inside the data directory"));
    assert!(matches!(custody::file::create(&data.join("new"), &data, &*entropy), Err(CustodyFault::Inside { .. })));
    for length in [0, 31, 33, 64] {
        let path = at(&format!("length-{length}"));
        std::fs::write(&path, vec![1u8; length]).unwrap();
        set_mode(&path, 0o600);
        assert!(fault(&path).contains("not 32"), "{length}");
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        assert!(fault(&path).contains("chown"));
    }
}
