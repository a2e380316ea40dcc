//! What is too open is refused at the start and by `vaultd check-config`, each with the command that mends it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::programs::{Vault, program, said};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_too_open_is_refused_with_what_mends_it() {
    let mut vault = Vault::start();
    vault.kill();
    let place = |name: &str| vault.path().join("vault").join(name);
    let run = |arguments: &[&str]| said(program(env!("CARGO_BIN_EXE_vaultd"), vault.path()).args(arguments));
    let check = || run(&["check-config", "vault/vaultd.toml"]);
    check().ok();
    for (name, open, mend) in [
        ("data", 0o755, "chmod 700"),
        ("data", 0o720, "chmod 700"),
        ("tls/server.key", 0o604, "chmod 600"),
        ("tls/server.pem", 0o666, "chmod go-w"),
        ("vaultd.toml", 0o602, "chmod go-w"),
        ("run", 0o777, "chmod go-w"),
        ("audit", 0o757, "chmod go-w"),
        ("root.key", 0o640, "chmod 600"),
        ("", 0o707, "chmod o-w"),
    ] {
        let path = place(name);
        let before = fs::metadata(&path).unwrap().permissions();
        chmod(&path, open);
        let checked = check().fails(1);
        assert!(checked.contains(mend), "{name} {open:o}: {checked}");
        // The command that it gives is run as it stands.
        let command = checked.split('`').nth(1).unwrap();
        let started = run(&["--config", "vault/vaultd.toml"]).fails(2);
        assert!(started.contains(mend), "{name} {open:o}: {started}");
        said(program("sh", vault.path()).args(["-c", command])).ok();
        check().ok();
        fs::set_permissions(&path, before).unwrap();
    }
}

#[test]
fn what_people_differ_about_is_spoken_of() {
    let mut vault = Vault::start();
    vault.kill();
    for (name, open) in [("vaultd.toml", 0o664), ("run", 0o770), ("audit", 0o770), ("data", 0o750)] {
        let path = vault.path().join("vault").join(name);
        let before = fs::metadata(&path).unwrap().permissions();
        chmod(&path, open);
        let check = ["check-config", "vault/vaultd.toml"];
        let checked = said(program(env!("CARGO_BIN_EXE_vaultd"), vault.path()).args(check));
        assert!(checked.err.contains("is open to others") && checked.err.contains("chmod"), "{name}: {checked:?}");
        checked.ok();
        fs::set_permissions(&path, before).unwrap();
    }
}
