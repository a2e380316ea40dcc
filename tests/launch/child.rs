//! What a child is given, and how its end is told.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use crate::programs::{program, said};
use crate::stage::{Launched, SECRET, exec, kinds, leases, run, vault, wait_until};

#[test]
fn a_role_that_is_named_alone_comes_in_a_variable_of_its_name() {
    let vault = vault();
    let given = run(&vault, &["--role", "orders-read"], "printf %s \"$ORDERS_READ\"; exit 7");
    assert_eq!((given.code, given.out.as_str()), (7, SECRET), "{given:?}");
    assert_eq!(leases(&vault), 0, "the lease ended with the child");
    assert_eq!(kinds(&vault), ["genesis", "grant", "issue", "close"], "and nothing else was asked for");
}

#[test]
fn a_secret_comes_where_it_was_asked_for() {
    let vault = vault();
    let options = [
        ["--env", "A=orders-read"],
        ["--env", "NAME=orders-read:name"],
        ["--file", "B=orders-read"],
        ["--memfd", "C=orders-read"],
    ];
    let script = "printf '%s|%s|%s|%s|%s' \"$A\" \"$NAME\" \"$(cat \"$B\")\" \"$(cat \"$C\")\" \"$(sh -c 'cat \"$C\"')\"
        stat -c '%a %F' \"$B\" \"$(dirname \"$B\")\" >&2; stat -f -c %T \"$B\" >&2; (echo x > \"$C\") 2>/dev/null && echo written >&2
        echo \"$B\" > file";
    let given = run(&vault, &options.concat(), script);
    assert_eq!(given.out, format!("{SECRET}|orders-db|{SECRET}|{SECRET}|{SECRET}"), "{given:?}");
    assert_eq!(given.err, "600 regular file\n700 directory\ntmpfs\n", "private, in memory, and not to be changed");
    let file = std::fs::read_to_string(vault.path().join("file")).unwrap();
    assert!(!std::path::Path::new(file.trim()).exists(), "files go with the child: {file}");
    let issued = kinds(&vault).iter().filter(|kind| *kind == "issue").count();
    assert_eq!(issued, 1, "one lease serves all places");
}

#[test]
fn what_cannot_be_delivered_is_said_and_nothing_is_run() {
    let vault = vault();
    let fails = |options: &[&str], words: &str| {
        let said = run(&vault, options, "echo ran");
        assert!(said.code == 125 && said.out.is_empty() && said.err.contains(words), "{said:?}");
        assert!(!said.err.contains(SECRET));
    };
    fails(&["--env", "A=orders-read:password"], "has no text \"password\"; it has: encoding, name, type, value");
    fails(&["--pgpass", "orders-read"], "a credential of kind kv, not a login of PostgreSQL");
    fails(&["--role", "orders-write"], "no_grant");
    fails(&["--env", "A=orders-read", "--file", "A=orders-read"], "A is given twice");
    fails(&["--role", "orders-read", "--param", "other:x=1"], "other is asked for nowhere");
    fails(&["--role", "orders-read", "--session", "a b"], "is not a session id");
    assert_eq!(leases(&vault), 0);
}

#[test]
fn an_agent_that_nobody_registered_is_told_why_once() {
    let vault = vault();
    vault.vaultctl(&["keygen", "--agent", "rob"]).ok();
    // The second time, there is a note of the first.
    for _ in 0..2 {
        let mut command = program(env!("CARGO_BIN_EXE_vault-agent"), vault.path());
        command.args(["exec", "--agent", "rob", "--vault", "vault/prod.card", "--role", "orders-read", "--", "true"]);
        let told = said(&mut command).fails(125);
        assert_eq!(told.matches("unauthenticated").count(), 1, "{told}");
        assert!(!told.contains("session"), "{told}");
    }
}

#[test]
fn a_parameter_is_what_is_in_a_file() {
    let vault = vault();
    // The engine takes none: that it was read and sent shows in what the vault says.
    std::fs::write(vault.path().join("x.csr"), "a request\n").unwrap();
    let refused = run(&vault, &["--role", "orders-read", "--param", "orders-read:csr=@x.csr"], "echo ran");
    assert!(refused.code == 125 && refused.err.contains("params_refused"), "{refused:?}");
    let exported = vault.vaultctl(&["audit", "show", "kit", "--kind", "deny", "-o", "jsonl"]).ok();
    assert!(exported.contains(r#""csr":"a request\n""#), "{exported}");
    let missing = run(&vault, &["--role", "orders-read", "--param", "orders-read:csr=@nosuch"], "echo ran");
    assert!(missing.code == 1 && missing.err.contains("--param") && missing.err.contains("nosuch: "), "{missing:?}");
}

#[test]
fn a_childs_end_is_the_launchers() {
    let vault = vault();
    assert_eq!(run(&vault, &["--role", "orders-read"], "kill -USR1 $$").code, 128 + 10);
    let missing = said(exec(&vault).args(["--role", "orders-read", "--", "no-such-program"]));
    assert!(missing.code == 127 && missing.err.contains("no-such-program"), "{missing:?}");
    let closed = said(exec(&vault).args(["--role", "orders-read", "--", "/etc/passwd"]));
    assert!(closed.code == 126 && closed.err.contains("/etc/passwd"), "{closed:?}");
    assert_eq!(leases(&vault), 0);
}

#[test]
fn signals_pass_through_and_leases_end_at_once() {
    let vault = vault();
    let script =
        "trap 'echo usr1 >> signals' USR1; trap 'echo hup >> signals' HUP; trap 'echo term >> signals; exit 3' TERM
        echo ready > signals; while :; do sleep 0.1; done";
    let mut launched = Launched::start(&vault, &["--role", "orders-read"], script);
    let seen = || std::fs::read_to_string(vault.path().join("signals")).unwrap_or_default();
    wait_until("the child listens", || seen() == "ready\n");
    assert_eq!(leases(&vault), 1);
    launched.signal(Signal::USR1);
    wait_until("the first signal came", || seen().contains("usr1"));
    launched.signal(Signal::HUP);
    wait_until("the second signal came", || seen().contains("hup"));
    launched.signal(Signal::TERM);
    assert_eq!(launched.end().code(), Some(3));
    assert_eq!((seen().as_str(), leases(&vault)), ("ready\nusr1\nhup\nterm\n", 0));
}

#[test]
fn a_child_that_does_not_end_is_killed_after_its_grace() {
    let vault = vault();
    let script = "trap '' TERM; echo ready > signals; while :; do sleep 0.1; done";
    let mut launched = Launched::start(&vault, &["--role", "orders-read", "--grace", "1s"], script);
    wait_until("the child listens", || vault.path().join("signals").exists());
    launched.signal(Signal::TERM);
    let status = launched.end();
    assert_eq!((status.code(), status.signal()), (Some(128 + 9), None), "{}", launched.words());
    assert_eq!(leases(&vault), 0);
}

#[test]
fn the_session_of_a_killed_launcher_ends_at_the_next_start() {
    let vault = vault();
    let mut launched = Launched::start(&vault, &["--role", "orders-read", "--file", "F=orders-read"], "exec sleep 60");
    launched.wait_for_child();
    assert_eq!(leases(&vault), 1);
    launched.signal(Signal::KILL);
    launched.end();
    assert_eq!(leases(&vault), 1, "nobody could end it");
    let next = run(&vault, &["--role", "orders-read"], "true");
    assert!(next.code == 0 && next.err.contains("of a launcher that was killed, and 1 leases in it"), "{next:?}");
    assert_eq!(leases(&vault), 0);
    assert_eq!(run(&vault, &["--role", "orders-read"], "true").err, "", "once");
}

#[test]
fn a_sessions_name_begins_as_nocklock_has_it() {
    let vault = vault();
    let mut command = exec(&vault);
    command.env("NOCKLOCK_SESSION_ID", "lock-1").args(["--role", "orders-read", "--purpose", "the nightly report"]);
    said(command.args(["--", "true"])).ok();
    let chain = vault.vaultctl(&["audit", "export", "kit"]).ok();
    assert!(chain.contains("\"sid\":\"lock-1-") && chain.contains("the nightly report"), "{chain}");
}
