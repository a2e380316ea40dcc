//! The agent's key is nowhere but in the launcher: not in what its child has, and not in what others can read.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::programs::{Vault, fed, program, said};
use crate::stage::{Launched, SECRET, exec, exec_with_file, leases, vault};

/// The seed of the agent's key, as it is in its file and as it is in memory.
fn seed(vault: &Vault) -> (String, Vec<u8>) {
    let hex = crate::stage::seed(vault);
    let pair = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
    (hex.clone(), (0..32).map(pair).collect())
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// All of a process that its user can read: variables, arguments, open files, and every readable page of memory.
fn whole(pid: rustix::process::Pid) -> Vec<u8> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let dir = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
    let mut bytes = Vec::new();
    for name in ["environ", "cmdline", "auxv"] {
        bytes.extend(fs::read(dir.join(name)).unwrap());
    }
    for open in fs::read_dir(dir.join("fd")).unwrap().filter_map(Result::ok) {
        let target = fs::read_link(open.path()).unwrap_or_default();
        bytes.extend(target.as_os_str().as_encoded_bytes());
        if fs::metadata(open.path()).is_ok_and(|stat| stat.is_file()) {
            bytes.extend(fs::read(open.path()).unwrap_or_default());
        }
    }
    let mut memory = fs::File::open(dir.join("mem")).unwrap();
    let mut pages = 0;
    for line in fs::read_to_string(dir.join("maps")).unwrap().lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        if !rest.starts_with('r') || memory.seek(SeekFrom::Start(from)).is_err() {
            continue;
        }
        let mut region = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact(&mut region).is_ok() {
            pages += 1;
            bytes.extend(region);
        }
    }
    assert!(pages > 3, "the child's memory could be read");
    bytes
}

#[test]
fn a_child_holds_no_key_in_variables_files_arguments_or_memory() {
    let vault = vault();
    let (hex, raw) = seed(&vault);
    let mut command = exec(&vault);
    for name in [
        "NOCKVAULT_AGENT_KIT_ED25519_KEY",
        "NOCKGUARD_AGENT_KIT_ED25519_KEY",
        "NOCKGUARD_AGENT_MIRA_ED25519_KEY",
        "OTHER_NAME",
    ] {
        command.env(name, &hex);
    }
    let register = fs::read_to_string(vault.path().join("kit.register")).unwrap();
    command.env("NOCKVAULT_AGENT_KIT_REGISTER", register.trim()).env("KEPT", "as it was");
    let options = ["--role", "orders-read", "--memfd", "M=orders-read", "--tight"];
    let launched = Launched::begin(command, &vault, &options, "exec sleep 60");
    let pid = launched.wait_for_child();
    let bytes = whole(pid);
    assert!(holds(&bytes, b"KEPT=as it was") && holds(&bytes, SECRET.as_bytes()), "what it was to have is there");
    assert!(!holds(&bytes, hex.as_bytes()) && !holds(&bytes, &raw), "a key is not");
    assert!(!holds(&bytes, b"ED25519_KEY") && !holds(&bytes, b"OTHER_NAME"));
}

/// A program as an ordinary user: this one, or nobody where that is root, who may read everything.
fn ordinary(path: &str, folder: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return program(path, folder);
    }
    let mut command = program("setpriv", folder);
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", path]);
    command
}

#[test]
fn a_launcher_shows_nothing_of_itself_to_its_own_user() {
    let vault = vault();
    let (hex, _) = seed(&vault);
    // What nobody needs to run it, and no more.
    let open = tempfile::Builder::new().prefix("nv").tempdir().unwrap();
    for file in ["vault-agent", "prod.card"] {
        let from = if file == "prod.card" { vault.card() } else { env!("CARGO_BIN_EXE_vault-agent").into() };
        fs::copy(from, open.path().join(file)).unwrap();
    }
    fs::set_permissions(open.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let agent = open.path().join("vault-agent");
    let mut command = ordinary(agent.to_str().unwrap(), open.path());
    command.args(["exec", "--agent", "kit", "--vault", "prod.card"]).env("NOCKVAULT_AGENT_KIT_ED25519_KEY", &hex);
    let script = "for what in environ mem maps fd/0; do cat /proc/$PPID/$what > /dev/null 2>&1 && echo $what; done
        cat /proc/self/environ > /dev/null && echo own; exit 0";
    let read = said(command.args(["--role", "orders-read", "--", "sh", "-c", script]));
    assert_eq!((read.code, read.out.as_str()), (0, "own\n"), "{read:?}");
}

#[test]
fn a_key_comes_from_standard_input_or_a_file_and_from_nockguards_places() {
    let vault = vault();
    let (hex, _) = seed(&vault);
    fs::rename(vault.path().join("kit.ed25519"), vault.path().join("moved")).unwrap();
    let fails = said(exec_with_file(&vault).args(["--role", "orders-read", "--", "true"])).fails(125);
    assert!(fails.contains("no key of agent kit"), "{fails}");
    let show = ["--role", "orders-read", "--", "sh", "-c", "printf %s \"$ORDERS_READ\"; cat"];
    let fed = fed(exec_with_file(&vault).args(["--key", "-"]).args(show), hex.as_bytes());
    assert_eq!(fed.ok(), SECRET);
    assert_eq!(said(exec_with_file(&vault).args(["--key", "moved"]).args(show)).ok(), SECRET);
    let keys = vault.path().join(".nockguard/keys");
    fs::create_dir_all(&keys).unwrap();
    fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::rename(vault.path().join("moved"), keys.join("kit.ed25519")).unwrap();
    assert_eq!(said(exec_with_file(&vault).args(show)).ok(), SECRET);
    fs::set_permissions(keys.join("kit.ed25519"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let unsafe_file = said(exec_with_file(&vault).args(show)).fails(125);
    assert!(unsafe_file.contains("is open to others") && !unsafe_file.contains(&hex), "{unsafe_file}");
}

#[test]
fn a_child_can_be_another_user_who_reads_no_key_of_ours() {
    let vault = vault();
    let script = "id -u; printf '%s ' \"$ORDERS_READ\"; cat \"$F\"; cat kit.ed25519 2>&1 | grep -c denied; vault-agent get orders-read";
    let mut command = exec(&vault);
    let tools = Path::new(env!("CARGO_BIN_EXE_vault-agent")).parent().unwrap();
    command.env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
    let options = ["--user", "nobody", "--env", "ORDERS_READ=orders-read", "--file", "F=orders-read"];
    let ran = said(command.args(options).args(["--", "sh", "-c", script]));
    if rustix::process::geteuid().is_root() {
        let id = ran.out.lines().next().unwrap_or_default().to_owned();
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.out, format!("{id}\n{SECRET} {SECRET}1\n{SECRET}\n"), "{ran:?}");
        assert_ne!(id, "0");
    } else {
        assert!(ran.fails(125).contains("only root can run a command as another user"));
    }
    assert_eq!(leases(&vault), 0);
}

#[test]
fn a_child_that_could_read_the_key_is_spoken_of_and_can_be_kept_from_it() {
    let vault = vault();
    let open = said(exec_with_file(&vault).args(["--role", "orders-read", "--", "cat", "kit.pub"]));
    let words = "the command can read the agent's key in ./kit.ed25519";
    assert!(open.code == 0 && open.err.contains(words) && open.err.contains("--landlock"), "{open:?}");
    let script = "cat kit.ed25519 2>&1 | grep -c denied; cat kit.pub; printf %s \"$ORDERS_READ\"; exit 5";
    let closed = said(exec_with_file(&vault).args(["--landlock", "--role", "orders-read", "--", "sh", "-c", script]));
    let public = fs::read_to_string(vault.path().join("kit.pub")).unwrap();
    assert_eq!((closed.code, closed.out.as_str()), (5, format!("1\n{public}{SECRET}").as_str()), "{closed:?}");
    assert_eq!(closed.err, "");
    let missing = said(exec_with_file(&vault).args(["--landlock", "--role", "orders-read", "--", "no-such-program"]));
    assert_eq!(missing.code, 127, "{missing:?}");
}
