//! A vault that is away, comes back, or says no: bounded waits, clear words, no hurry.

use std::time::Instant;

use rustix::process::Signal;

use crate::programs::said;
use crate::stage::{Launched, SECRET, exec, kinds, leases, run, short_lived, vault, wait_until};

/// The processor time of a process so far, in hundredths of a second.
fn ticks(pid: rustix::process::Pid) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_vault_that_is_not_there_is_waited_for_and_no_longer() {
    let mut vault = vault();
    vault.kill();
    let start = Instant::now();
    let gone = run(&vault, &["--role", "orders-read", "--wait", "2s"], "echo ran");
    assert!(gone.code == 125 && gone.out.is_empty() && gone.err.contains("cannot be reached"), "{gone:?}");
    assert!((2..30).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    // It comes back meanwhile.
    let launched = Launched::start(&vault, &["--role", "orders-read", "--wait", "60s"], "exec sleep 60");
    wait_until("the wait was said", || launched.words().contains("trying for 60 s"));
    vault.go_on();
    launched.wait_for_child();
}

#[test]
fn a_vault_that_is_away_for_longer_than_a_lease_is_asked_again_without_hurry() {
    let mut vault = short_lived("4s", "4s");
    let mut launched = Launched::start(&vault, &["--file", "F=orders-read"], "exec sleep 120");
    launched.wait_for_child();
    vault.kill();
    wait_until("it was said", || launched.words().contains("cannot be prolonged"));
    wait_until("the end was said", || launched.words().contains("has ended, and there is no other yet"));
    let before = ticks(launched.id());
    std::thread::sleep(std::time::Duration::from_secs(2));
    let spent = ticks(launched.id()) - before;
    assert!(spent <= 20, "{spent} hundredths of a second in two seconds of waiting");
    vault.go_on();
    wait_until("all is well", || launched.words().contains("is well again"));
    assert_eq!(launched.words().matches("cannot be prolonged").count(), 1, "once: {}", launched.words());
    launched.signal(Signal::TERM);
    launched.end();
    assert_eq!(leases(&vault), 0);
}

#[test]
fn an_end_that_the_vault_does_not_hear_of_is_left_to_the_next_start() {
    let mut vault = vault();
    let mut launched = Launched::start(&vault, &["--role", "orders-read"], "exec sleep 60");
    launched.wait_for_child();
    vault.kill();
    let start = Instant::now();
    launched.signal(Signal::TERM);
    launched.end();
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    assert!(launched.words().contains("the session could not be ended"), "{}", launched.words());
    vault.go_on();
    assert_eq!(leases(&vault), 1);
    let next = run(&vault, &["--role", "orders-read"], "true");
    assert!(next.err.contains("of a launcher that could not end it, and 1 leases in it"), "{next:?}");
    assert_eq!(leases(&vault), 0);
}

#[test]
fn a_frozen_agent_gets_nothing_and_its_child_is_told_of() {
    let vault = short_lived("3s", "3s");
    let mut launched = Launched::start(&vault, &["--file", "F=orders-read"], "exec sleep 60");
    launched.wait_for_child();
    vault.vaultctl(&["freeze", "kit"]).ok();
    wait_until("it was said", || launched.words().contains("agent_frozen"));
    let frozen = run(&vault, &["--role", "orders-read"], "echo ran");
    assert!(frozen.code == 125 && frozen.out.is_empty() && frozen.err.contains("agent_frozen"), "{frozen:?}");
    vault.vaultctl(&["thaw", "kit"]).ok();
    wait_until("all is well", || launched.words().contains("is well again"));
    vault.vaultctl(&["freeze", "kit"]).ok();
    launched.signal(Signal::TERM);
    launched.end();
    let words = launched.words();
    assert!(words.contains("the agent is frozen; its leases were taken back by that"), "{words}");
    assert!(!words.contains("could not be ended"), "{words}");
    vault.vaultctl(&["thaw", "kit"]).ok();
    let next = run(&vault, &["--role", "orders-read"], "true");
    assert!(next.code == 0 && next.err.contains("of a launcher that could not end it, and 0 leases"), "{next:?}");
}

#[test]
fn a_clock_that_is_hours_off_is_set_by_the_vaults_word_alone() {
    let vault = vault();
    for off in ["+3h", "-3h"] {
        let mut command = crate::programs::program("faketime", vault.path());
        command.args([
            "-f",
            off,
            env!("CARGO_BIN_EXE_vault-agent"),
            "exec",
            "--agent",
            "kit",
            "--vault",
            "vault/prod.card",
        ]);
        let given = said(command.args(["--role", "orders-read", "--", "sh", "-c", "printf %s \"$ORDERS_READ\""]));
        assert_eq!((given.code, given.out.as_str()), (0, SECRET), "{given:?}");
    }
    assert!(!kinds(&vault).contains(&"deny".to_owned()), "nothing was asked with the wrong time");
}

#[test]
fn another_vault_in_its_place_is_not_believed() {
    let (vault, other) = (vault(), vault());
    let card = std::fs::read_to_string(vault.card()).unwrap();
    let socket = format!("agents = \"unix:{}\"", other.path().join("vault/run/agents.sock").display());
    let line = card.lines().find(|line| line.starts_with("agents")).unwrap();
    std::fs::write(vault.card(), card.replace(line, &socket)).unwrap();
    let refused = said(exec(&vault).args(["--role", "orders-read", "--", "echo", "ran"]));
    assert!(refused.code == 125 && refused.err.contains("another vault answers"), "{refused:?}");
}

#[test]
fn a_network_that_is_cut_for_longer_than_a_lease_holds_nothing_up() {
    let vault = short_lived("3s", "3s");
    let mut launched = Launched::start(&vault, &["--file", "F=orders-read", "--ask", "orders-read"], "exec sleep 120");
    launched.wait_for_child();
    let daemon = rustix::process::Pid::from_raw(i32::try_from(vault.id()).unwrap()).unwrap();
    // Nothing is refused and nothing answers: as when packets are dropped.
    rustix::process::kill_process(daemon, Signal::STOP).unwrap();
    wait_until("the end was said", || launched.words().contains("has ended, and there is no other yet"));
    rustix::process::kill_process(daemon, Signal::CONT).unwrap();
    wait_until("another was issued", || kinds(&vault).iter().filter(|kind| *kind == "issue").count() >= 2);
    let start = Instant::now();
    rustix::process::kill_process(daemon, Signal::STOP).unwrap();
    launched.signal(Signal::TERM);
    launched.end();
    let took = start.elapsed();
    rustix::process::kill_process(daemon, Signal::CONT).unwrap();
    assert!(took.as_secs() < 20, "{took:?}");
    assert!(launched.words().contains("the session could not be ended"), "{}", launched.words());
}

#[test]
fn on_a_full_disk_nothing_is_used_and_what_was_given_is_given_back() {
    let vault = vault();
    run(&vault, &["--role", "orders-read"], "true").ok();
    let state = std::fs::read_dir(vault.path().join(".local/state/nockvault")).unwrap().next().unwrap().unwrap().path();
    // A folder in the file's way, as a full disk would be.
    std::fs::create_dir_all(state.join("kit.seen.new/full")).unwrap();
    let full = run(&vault, &["--role", "orders-read", "--wait", "1s"], "echo ran");
    assert!(full.code == 125 && full.out.is_empty() && full.err.contains("kit.seen"), "{full:?}");
    let count = |wanted: &str| kinds(&vault).iter().filter(|kind| *kind == wanted).count();
    assert!(count("release") >= 1 && count("release") == count("issue") - 1, "{:?}", kinds(&vault));
    assert_eq!(leases(&vault), 0);
    std::fs::remove_dir_all(state.join("kit.seen.new")).unwrap();
    assert_eq!(run(&vault, &["--role", "orders-read"], "true").code, 0);
}
