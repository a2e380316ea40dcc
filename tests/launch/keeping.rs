//! Credentials that are shorter than their child's life.

use std::fs;

use rustix::process::Signal;

use crate::stage::{Launched, SECRET, kinds, leases, short_lived, wait_until};

fn count(vault: &crate::programs::Vault, wanted: &str) -> usize {
    kinds(vault).iter().filter(|kind| *kind == wanted).count()
}

#[test]
fn a_lease_is_renewed_while_its_grant_allows_and_then_replaced() {
    let vault = short_lived("3s", "8s");
    let script = "while :; do cat \"$F\" > now; sleep 0.1; done";
    let mut launched = Launched::start(&vault, &["--file", "F=orders-read"], script);
    wait_until("it was renewed", || count(&vault, "renew") >= 1);
    vault.vaultctl_fed(&["secret", "put", "orders-db", "-"], b"the next one").ok();
    wait_until("it was replaced", || count(&vault, "issue") >= 2);
    let now = || fs::read_to_string(vault.path().join("now")).unwrap_or_default();
    wait_until("the file has the next value", || now() == "the next one");
    launched.signal(Signal::TERM);
    launched.end();
    assert_eq!((launched.words().as_str(), leases(&vault)), ("", 0), "a file that follows needs no words");
    // Asked for in time and no more often: two thirds of three seconds are two.
    let (renewals, issues) = (count(&vault, "renew"), count(&vault, "issue"));
    assert!(renewals <= 12 && issues <= 6, "{renewals} renewals, {issues} issues");
}

#[test]
fn a_child_is_started_again_with_what_took_the_place_of_its_variables() {
    let vault = short_lived("2s", "2s");
    let script = "trap 'exit 0' TERM; printf '%s\\n' \"$ORDERS_READ\" >> given; while :; do sleep 0.1; done";
    let options = ["--role", "orders-read", "--on-replace", "restart"];
    let mut launched = Launched::start(&vault, &options, script);
    let given = || fs::read_to_string(vault.path().join("given")).unwrap_or_default();
    wait_until("the first one came", || given() == format!("{SECRET}\n"));
    vault.vaultctl_fed(&["secret", "put", "orders-db", "-"], b"the next one").ok();
    wait_until("it was started again", || given().contains("the next one\n"));
    launched.signal(Signal::TERM);
    assert_eq!(launched.end().code(), Some(0), "told to end, it is not started again");
    assert_eq!(leases(&vault), 0);
}

#[test]
fn a_child_is_told_by_a_signal_or_its_user_by_words() {
    let vault = short_lived("2s", "2s");
    let script = "trap 'echo hup >> told' HUP; while :; do sleep 0.1; done";
    let told = vault.path().join("told");
    let mut launched = Launched::start(&vault, &["--file", "F=orders-read", "--on-replace", "signal:HUP"], script);
    wait_until("the child was told", || told.exists());
    launched.signal(Signal::TERM);
    launched.end();
    let mut launched = Launched::start(&vault, &["--role", "orders-read"], "exec sleep 60");
    wait_until("the user was told", || launched.words().contains("the child still has the one before"));
    assert!(launched.words().contains("--on-replace restart or signal"), "{}", launched.words());
    launched.signal(Signal::TERM);
    launched.end();
}
