//! Children and surroundings that mean no good, and ends that come at a bad moment.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::programs::{Vault, fed, said};
use crate::stage::{Launched, SECRET, exec, exec_with_file, kinds, leases, run, short_lived, vault, wait_until};

/// A launcher whose child finds our programs.
fn with_tools(vault: &Vault) -> Command {
    let mut command = exec(vault);
    let tools = Path::new(env!("CARGO_BIN_EXE_vault-agent")).parent().unwrap();
    command.env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
    command
}

fn count(vault: &Vault, wanted: &str) -> usize {
    kinds(vault).iter().filter(|kind| *kind == wanted).count()
}

#[test]
fn the_input_that_brought_the_key_is_not_the_childs() {
    let vault = vault();
    let mut command = exec_with_file(&vault);
    command.args(["--key", "-", "--role", "orders-read", "--", "sh", "-c", "cat /proc/self/fd/0; echo end"]);
    command.stdin(fs::File::open(vault.path().join("kit.ed25519")).unwrap());
    assert_eq!(said(&mut command).ok(), "end\n");
    let kept = fed(exec(&vault).args(["--role", "orders-read", "--", "cat"]), b"its own");
    assert_eq!(kept.ok(), "its own", "another input is the child's");
}

#[test]
fn a_child_that_is_another_user_cannot_change_the_folder_of_its_files() {
    if !rustix::process::geteuid().is_root() {
        let said = said(exec(&vault()).args(["--user", "nobody", "--role", "orders-read", "--", "true"]));
        assert!(said.fails(125).contains("only root"));
        return;
    }
    let vault = vault();
    let script =
        "d=$(dirname \"$F\"); stat -c '%u %a' \"$d\"; cat \"$F\"; ln -s /etc/x \"$d/.F.new\" 2>/dev/null && echo linked
        mv \"$d\" \"$d.x\" 2>/dev/null && echo moved; rm -f \"$F\" 2>/dev/null; test -e \"$F\" && echo ' there'";
    let child = run(&vault, &["--user", "nobody", "--file", "F=orders-read"], script);
    assert_eq!(child.out, format!("0 710\n{SECRET} there\n"), "{child:?}");
}

#[test]
fn a_lease_that_was_renewed_often_is_still_the_one_that_is_given() {
    let vault = short_lived("3s", "1h");
    let script = "for i in $(seq 9); do sleep 1; vault-agent get orders-read; done";
    let got = said(with_tools(&vault).args(["--role", "orders-read", "--", "sh", "-c", script]));
    assert_eq!(got.out, format!("{SECRET}\n").repeat(9), "{got:?}");
    assert!(count(&vault, "renew") >= 3);
    assert_eq!(count(&vault, "issue"), 1, "nobody needed another");
}

#[test]
fn a_session_that_a_younger_one_took_over_from_ends_too() {
    let vault = Vault::start_with(|config| {
        config
            .replace("session_max_s = 86400", "session_max_s = 60")
            .replace("session_idle_s = 3600", "session_idle_s = 60")
    });
    vault.with_kit(SECRET);
    let script = "vault-agent get orders-read --ttl 20s; vault-agent get orders-read --fresh --ttl 10m 2>&1 | grep -c exceeds_session
        sleep 3; vault-agent get orders-read --fresh --ttl 59s";
    let got = said(with_tools(&vault).args(["--ask", "orders-read", "--", "sh", "-c", script]));
    assert_eq!(got.out, format!("{SECRET}\n1\n{SECRET}\n"), "{got:?}");
    assert_eq!((count(&vault, "issue"), count(&vault, "close"), leases(&vault)), (2, 2, 0));
}

#[test]
fn a_child_that_is_told_to_end_is_not_started_again_for_a_new_credential() {
    let vault = short_lived("2s", "2s");
    let script = "trap 'sleep 4; exit 3' TERM; echo run >> runs; while :; do sleep 0.1; done";
    let options = ["--role", "orders-read", "--on-replace", "restart", "--grace", "30s"];
    let mut launched = Launched::start(&vault, &options, script);
    wait_until("the child listens", || vault.path().join("runs").exists());
    launched.signal(Signal::TERM);
    assert_eq!(launched.end().code(), Some(3), "{}", launched.words());
    assert_eq!(fs::read_to_string(vault.path().join("runs")).unwrap(), "run\n");
    assert!(count(&vault, "issue") >= 2, "there was a new credential meanwhile");
    assert_eq!(leases(&vault), 0);
}

/// A daemon that stands still, and goes on when this is dropped.
struct Still(Pid);

impl Still {
    fn of(vault: &Vault) -> Still {
        let pid = Pid::from_raw(i32::try_from(vault.id()).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Still(pid)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn a_window_that_changes_its_size_ends_nothing() {
    let vault = vault();
    let still = Still::of(&vault);
    let mut launched = Launched::start(&vault, &["--role", "orders-read", "--wait", "60s"], "exit 4");
    let caught = || {
        let status = fs::read_to_string(format!("/proc/{}/status", launched.id().as_raw_nonzero())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap() & 1 << 27 != 0
    };
    wait_until("it listens", caught);
    launched.signal(Signal::WINCH);
    std::thread::sleep(Duration::from_millis(300));
    drop(still);
    assert_eq!(launched.end().code(), Some(4), "{}", launched.words());
}

#[test]
fn an_end_waits_for_no_connection_that_does_not_come_about() {
    let vault = vault();
    let script =
        "echo ready > ready; vault-agent get orders-read & until test -e go; do sleep 0.1; done; sleep 1; exit 6";
    let mut command = with_tools(&vault);
    let still = Still::of(&vault);
    command.args(["--ask", "orders-read", "--", "sh", "-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut launcher = command.spawn().unwrap();
    wait_until("the child asks", || vault.path().join("ready").exists());
    fs::write(vault.path().join("go"), "").unwrap();
    let start = Instant::now();
    let code = launcher.wait().unwrap().code();
    drop(still);
    assert_eq!(code, Some(6));
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    assert_eq!(leases(&vault), 0);
}

#[test]
fn what_is_masked_comes_whole_to_a_slow_reader_and_without_long_secrets() {
    let vault = vault();
    let mut command = exec(&vault);
    command.args(["--mask", "--role", "orders-read", "--", "seq", "1", "20000"]).stdout(Stdio::piped());
    let mut launcher = command.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let mut all = String::new();
    launcher.stdout.take().unwrap().read_to_string(&mut all).unwrap();
    assert!(launcher.wait().unwrap().success());
    assert_eq!(all.lines().count(), 20_000, "nothing was cut off");
    let key: String = (0..60).map(|line| format!("line-{line:04}-of-a-key\n")).collect();
    vault.vaultctl_fed(&["secret", "put", "orders-db", "-"], key.as_bytes()).ok();
    let shown = run(&vault, &["--mask", "--role", "orders-read"], "printenv ORDERS_READ");
    assert!(shown.code == 0 && !shown.out.contains("of-a-key"), "{shown:?}");
}

#[test]
fn a_launcher_within_a_launcher_stands_for_itself() {
    let vault = vault();
    let inner =
        "exec vault-agent exec --agent kit --vault vault/prod.card --ask orders-read -- vault-agent get orders-read";
    // The shell closes what it inherited, as other programs do.
    let script = format!("fd=$NOCKVAULT_AGENT_TOKEN_FD; eval \"exec $fd<&-\"; {inner}");
    let nested = said(with_tools(&vault).args(["--tight", "--ask", "orders-read", "--", "bash", "-c", &script]));
    assert_eq!(nested.out, format!("{SECRET}\n"), "{nested:?}");
}

#[test]
fn two_roles_of_one_variable_are_not_mixed_up() {
    let vault = vault();
    vault.vaultctl_fed(&["secret", "put", "other", "-"], b"another secret").ok();
    vault.vaultctl(&["role", "create", "orders.read", "--engine", "kv", "--set", "secret=other"]).ok();
    vault.vaultctl(&["grant", "kit", "orders.read", "--ttl", "15m", "--max-ttl", "1h"]).ok();
    let both = run(&vault, &["--role", "orders-read", "--role", "orders.read"], "echo ran");
    assert!(both.code == 125 && both.err.contains("ORDERS_READ would be given twice"), "{both:?}");
    assert_eq!(leases(&vault), 0);
}
