//! Database and mirror are rolled back together, by one who needs no key for it: what he puts back was true.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nockvault::audit::verify::report::{Fault, Verdict};
use nockvault::audit::verify::{Pins, verify};
use nockvault::denial::Reason;
use nockvault::id::ChainName;
use nockvault::statement::request::Seen;

use crate::support::{Harness, terms};

/// Puts the files of one folder in the place of all that is in another.
fn put_back(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test]
async fn database_and_mirror_rolled_back_together() {
    let mut vault = Harness::new().await;
    vault.kv_role("orders", b"a value").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    kit.get(&vault, "orders").await;
    let chain = ChainName::from(&kit.name);
    let elsewhere = tempfile::tempdir().unwrap();
    vault.shut();
    put_back(&vault.data(), elsewhere.path());
    vault.reopen().await;
    kit.get(&vault, "orders").await;

    vault.shut();
    put_back(elsewhere.path(), &vault.data());
    vault.reopen().await;
    // The vault cannot know: what it holds is what it once was, and a mirror of it verifies.
    let pins = Pins { identity: Some(vault.identity.clone()), ..Pins::default() };
    let mirror = vault.file(&chain).await;
    assert_eq!(verify(mirror.as_slice(), &pins).unwrap().verdict, Verdict::Intact);
    // Kit knows, and so does every reader of what kit has seen.
    let held = Pins { heads: vec![kit.seen], ..pins.clone() };
    let verdict = verify(mirror.as_slice(), &held).unwrap().verdict;
    assert!(matches!(verdict, Verdict::Tampered { fault: Fault::Head, .. }), "{verdict}");
    assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::HistoryMismatch);
    // The refusal, with what kit had seen, stands in the chain from then on for any reader.
    let told = verify(vault.file(&chain).await.as_slice(), &pins).unwrap().to_string();
    assert!(told.contains("what the agent claims in the refused requests"), "{told}");
    // An agent that remembers nothing notices nothing.
    kit.seen = Seen::NONE;
    kit.get(&vault, "orders").await;
}
