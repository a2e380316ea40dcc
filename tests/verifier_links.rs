//! An auditor's tool links no server code: without features, the package needs neither a runtime nor a network stack.

use std::collections::BTreeSet;
use std::process::Command;

/// What belongs to the daemon and to clients. A name also stands for its family: `tokio` for `tokio-util`.
const SERVER_CODE: &[&str] = &["tokio", "tonic", "hyper", "h2", "axum", "tower", "rustls", "rusqlite", "libsqlite3"];

/// The crates that a build with these features links, as `cargo tree` tells it.
fn linked(features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "-e", "normal", "--prefix", "none", "--format", "{p}"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo tree speaks UTF-8");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn server_code(linked: &BTreeSet<String>) -> Vec<&String> {
    let in_family = |name: &str, family: &str| {
        name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    linked.iter().filter(|name| SERVER_CODE.iter().any(|family| in_family(name, family))).collect()
}

#[test]
fn the_bare_verifier_links_no_server_code() {
    let bare = linked(&["--no-default-features"]);
    assert!(bare.contains("nockvault") && bare.contains("ed25519-dalek"), "not the tree of this package: {bare:?}");
    assert_eq!(server_code(&bare), Vec::<&String>::new());
}

#[test]
fn the_whole_package_does_link_it_so_that_the_check_can_fail() {
    let whole = linked(&[]);
    let found = server_code(&whole);
    for name in ["tokio", "tonic", "tokio-stream", "rusqlite"] {
        assert!(found.iter().any(|one| *one == name), "{name} is not among {found:?}");
    }
}
