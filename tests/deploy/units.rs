//! What systemd makes of the units: it takes them, they expose little, and what they start does what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::house;
use crate::programs::{Vault, program, said};

fn deployed(name: &str) -> String {
    fs::read_to_string(house().join("deploy").join(name)).unwrap()
}

/// The units with the programs where they lie here, in a folder of their own.
fn units() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for file in fs::read_dir(house().join("deploy")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".service") || name.ends_with(".timer") {
            let text = deployed(&name)
                .replace("/usr/local/bin/vaultd", env!("CARGO_BIN_EXE_vaultd"))
                .replace("/usr/local/sbin/fetch-krl", house().join("deploy/fetch-krl").to_str().unwrap());
            let to = folder.path().join(name);
            fs::write(&to, text).unwrap();
            units.push(to);
        }
    }
    (folder, units)
}

#[test]
fn systemd_takes_the_units() {
    let (folder, units) = units();
    assert!(units.len() >= 5, "{units:?}");
    let verified = said(program("systemd-analyze", folder.path()).arg("verify").args(&units));
    assert_eq!((verified.code, verified.err.as_str()), (0, ""), "{verified:?}");
}

#[test]
fn the_daemon_is_exposed_to_little() {
    let (folder, _) = units();
    let judge = |threshold: &str| {
        let judge = ["security", "--offline=true", threshold, "./nockvault.service"];
        said(program("systemd-analyze", folder.path()).args(judge))
    };
    judge("--threshold=15").ok();
    // The threshold is looked at.
    assert_ne!(judge("--threshold=1").code, 0);
}

/// systemd's own groups of calls have not always held those that the daemon walls itself with.
#[test]
fn the_unit_lets_the_daemon_raise_its_own_walls() {
    let unit = deployed("nockvault.service");
    let allowed = unit.lines().find(|line| line.starts_with("SystemCallFilter=@system-service")).unwrap();
    for call in ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"] {
        assert!(allowed.split(' ').any(|word| word == call), "{call} is not in {allowed}");
    }
    assert!(unit.contains("\nLimitMEMLOCK=infinity\n") && unit.contains("\nType=notify\n"));
}

#[test]
fn user_and_folders_are_those_of_the_unit() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let sysusers = house().join("deploy/nockvault.sysusers");
    let at = format!("--root={}", root.path().display());
    said(program("systemd-sysusers", root.path()).arg(&at).arg(&sysusers)).ok();
    let users = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let user = users.lines().find(|line| line.starts_with("nockvault:")).expect("the user is made");
    assert!(user.ends_with(":/var/lib/nockvault:/usr/sbin/nologin"), "{user}");
    let unit = deployed("nockvault.service");
    for line in ["User=nockvault", "Group=nockvault", "StateDirectory=nockvault", "StateDirectoryMode=0750"] {
        assert!(unit.lines().any(|one| one == line), "the unit has no {line}");
    }
    assert!(deployed("nockvault.tmpfiles").contains("d /var/lib/nockvault 0750 nockvault nockvault -"));
    if rustix::process::geteuid().is_root() {
        let tmpfiles = house().join("deploy/nockvault.tmpfiles");
        said(program("systemd-tmpfiles", root.path()).arg("--create").arg(&at).arg(&tmpfiles)).ok();
        let mode = |name: &str| fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("var/lib/nockvault"), mode("etc/credstore.encrypted")), (0o750, 0o700));
    }
}

/// What a unit's line has a shell run, as systemd hands it over.
fn command(unit: &str, key: &str) -> String {
    let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    let line = line.strip_prefix("/bin/sh -c '").map_or(line, |line| line.trim_end_matches('\''));
    line.replace("$$", "$").replace("%%", "%")
}

#[test]
fn the_backup_of_each_night_is_made() {
    let vault = Vault::start();
    let unit = deployed("nockvault-backup.service");
    let kept = vault.path().join("kept");
    fs::create_dir(&kept).unwrap();
    let run = |command: &str| {
        let bin = Path::new(env!("CARGO_BIN_EXE_vaultctl")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut shell: Command = program("sh", vault.path());
        said(shell.args(["-c", command]).env("PATH", path).env("STATE_DIRECTORY", &kept)).ok();
    };
    let files = || {
        let mut names: Vec<_> =
            fs::read_dir(&kept).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    run(&command(&unit, "ExecStart"));
    let [made] = &files()[..] else { panic!("{:?}", files()) };
    assert!(made.starts_with("20") && made.ends_with(".backup"), "{made}");
    assert!(fs::metadata(kept.join(made)).unwrap().len() > 1000);

    for (name, days) in [("old.backup", 16), ("young.backup", 3)] {
        #[allow(clippy::disallowed_methods, reason = "the age of a file is by the machine's clock")]
        let then = SystemTime::now() - Duration::from_secs(days * 86400);
        fs::File::create(kept.join(name)).unwrap().set_modified(then).unwrap();
    }
    run(&command(&unit, "ExecStartPost"));
    assert_eq!(files(), [made.as_str(), "young.backup"]);
}
