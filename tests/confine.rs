//! A child that is kept away from files with keys: it cannot read them, in none of the ways round, and ordinary programs
//! work as before. `vault-agent confined` is the step that `exec` starts its child through.
//!
//! Where the kernel has no Landlock, what is seen to hold is that it says so and runs the command all the same.

#![cfg(feature = "launcher")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nockvault::launcher::confine::{exposed, exposed_in_ssh_agent, places_of_keys};
use tempfile::TempDir;

const SEED: &str = "4242424242424242424242424242424242424242424242424242424242424242";

/// A home with keys in their folder and one in a folder of work.
struct Home(TempDir);

impl Home {
    fn new() -> Home {
        let home = tempfile::Builder::new().prefix("home").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for dir in [".config/nockvault/agents", ".config/nockvault/prod", ".config/git", "work/src", "tmp"] {
            fs::create_dir_all(home.path().join(dir)).unwrap();
        }
        for file in [".config/nockvault/agents/kit.ed25519", ".config/nockvault/prod/ada.ed25519", "work/kit.ed25519"] {
            fs::write(home.path().join(file), SEED).unwrap();
        }
        fs::write(home.path().join(".config/nockvault/prod.card"), "a card").unwrap();
        fs::write(home.path().join("work/kit.register"), "a statement").unwrap();
        symlink("../.config/nockvault/agents/kit.ed25519", home.path().join("work/link")).unwrap();
        Home(home)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What is closed for a launcher of this home whose key file is the one in the folder of work.
    fn closed(&self) -> Vec<PathBuf> {
        let config = self.path(".config/nockvault");
        vec![config.join("agents"), config.join("prod"), self.path("work/kit.ed25519")]
    }

    /// `vault-agent confined` before its command, in the folder of work.
    fn confined(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vault-agent"));
        command.arg("confined");
        for place in self.closed() {
            command.arg("--closed").arg(place);
        }
        command.arg("--").current_dir(self.path("work")).stdin(Stdio::null());
        command.env("HOME", self.0.path()).env("TMPDIR", self.path("tmp")).env_remove("XDG_CONFIG_HOME");
        command
    }

    fn run<S: AsRef<OsStr>>(&self, words: &[S]) -> Output {
        self.confined().args(words).output().unwrap()
    }

    fn sh(&self, line: &str) -> Output {
        self.run(&["sh", "-c", line])
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether this kernel can do it: what it says of itself, not what our own code makes of it.
fn landlocked() -> bool {
    let home = Home::new();
    let missing = err(&home.run(&["true"])).contains("this kernel has no Landlock");
    let modules = fs::read_to_string("/sys/kernel/security/lsm");
    if let Ok(modules) = modules {
        assert_eq!(missing, !modules.contains("landlock"), "the list of the kernel's modules: {modules}");
    }
    !missing
}

#[test]
fn a_child_reads_no_key_in_none_of_the_ways_round() {
    let home = Home::new();
    let (agents, work) = (home.path(".config/nockvault/agents"), home.path("work"));
    let (agents, work) = (agents.display(), work.display());
    let ways = [
        format!("cat {agents}/kit.ed25519"),
        format!("cat {}", home.path(".config/nockvault/prod/ada.ed25519").display()),
        "cat kit.ed25519".into(),
        "cat ./../work/kit.ed25519".into(),
        "cat link".into(),
        format!("cat /proc/self/root{agents}/kit.ed25519"),
        format!("cp {agents}/kit.ed25519 taken; cat taken"),
        format!("mv {agents}/kit.ed25519 src/taken; cat src/taken {agents}/kit.ed25519"),
        format!("ln {agents}/kit.ed25519 src/linked; cat src/linked"),
        format!("ln -s {agents} src/agents; cat src/agents/kit.ed25519"),
        format!("mv {agents} {agents}-moved; cat {agents}-moved/kit.ed25519; mv {agents}-moved {agents}"),
        format!("mv {} src/config; cat src/config/nockvault/agents/kit.ed25519", home.path(".config").display()),
        format!("dd if={agents}/kit.ed25519 2>&1"),
        format!("exec 3<>{agents}/kit.ed25519 && cat <&3"),
        format!("cd {agents} && cat kit.ed25519"),
        "mv kit.ed25519 kit.other; cat kit.other; mv kit.other kit.ed25519".into(),
        format!("sh -c 'sh -c \"cat {work}/kit.ed25519\"'"),
        format!("unshare -rm sh -c 'mount --bind {agents} src && cat src/kit.ed25519' 2>&1"),
        format!("python3 -c 'print(open(\"{agents}/kit.ed25519\").read())' 2>&1"),
        format!(
            "python3 -c 'import os; f = os.open(\"{agents}/kit.ed25519\", os.O_PATH); \
                 print(open(f\"/proc/self/fd/{{f}}\").read())' 2>&1"
        ),
    ];
    let landlocked = landlocked();
    for way in &ways {
        let said = home.sh(way);
        let seen = out(&said).contains("4242") || err(&said).contains("4242");
        assert!(!seen || !landlocked, "{way}: {}{}", out(&said), err(&said));
    }
    // Without it each file can be read, so that the ways above end where they should.
    assert_eq!(fs::read_to_string(home.path("work/link")).unwrap(), SEED, "what was tried has moved no key");
    for file in home.closed() {
        let read = if file.is_dir() { file.read_dir().unwrap().next().unwrap().unwrap().path() } else { file };
        assert_eq!(fs::read_to_string(read).unwrap(), SEED);
    }
}

#[test]
fn ordinary_programs_work() {
    let home = Home::new();
    fs::write(home.path("work/src/main.py"), "import json, ssl, sqlite3, tempfile\nprint(json.dumps({'ok': 1}))\n")
        .unwrap();
    for (line, wanted) in [
        ("cat kit.register ../.config/nockvault/prod.card", "a statementa card"),
        ("ls ../.config/nockvault/agents", "kit.ed25519"),
        ("python3 src/main.py", "{\"ok\": 1}"),
        ("python3 -m venv --without-pip src/venv && src/venv/bin/python -c 'print(7)'", "7"),
        ("psql --version", "psql (PostgreSQL)"),
        ("f=$(mktemp) && echo made > $f && cat $f", "made"),
        ("echo one > src/a && mkdir src/sub && mv src/a src/sub/b && ln src/sub/b src/c && cat src/c", "one"),
        ("mv src/sub/b ../tmp/b && cat ../tmp/b", "one"),
        (
            "cd src && git init -q repo && cd repo && git config user.email k@x && git config user.name k && echo x > f && \
             git add f && git commit -qm one && git clone -q . ../copy && git -C ../copy log --format=%s && cat ../copy/f",
            "one\nx",
        ),
        ("echo from a pipe | cat /dev/stdin", "from a pipe"),
        ("cat /proc/self/status | grep -c NoNewPrivs", "1"),
    ] {
        let said = home.sh(line);
        assert!(out(&said).contains(wanted), "{line}: {}{}", out(&said), err(&said));
    }
    assert_eq!(home.sh("exit 7").status.code(), Some(7));
    assert_eq!(home.run(&["/no/such/program"]).status.code(), Some(127));
    assert_eq!(home.run(&[home.path("work/kit.register")]).status.code(), Some(126));
}

/// What the module says that it cannot do, it cannot: whoever changes that changes the words too.
#[test]
fn a_file_made_right_on_the_way_to_a_key_cannot_be_read_again() {
    if !landlocked() {
        return;
    }
    let home = Home::new();
    let said = home.sh("echo x > ../made; cat ../made");
    assert!(err(&said).contains("ermission denied"), "{}", err(&said));
    assert_eq!(fs::read_to_string(home.path("made")).unwrap(), "x\n");
}

#[test]
fn what_does_not_exist_closes_nothing_and_the_root_is_not_closed() {
    let home = Home::new();
    let run = |place: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vault-agent"));
        command.args(["confined", "--closed"]).arg(place).args(["--", "cat"]).arg(home.path("work/kit.ed25519"));
        command.env("HOME", home.0.path()).output().unwrap()
    };
    assert_eq!(out(&run(&home.path("none/at/all"))), SEED);
    let root = run(Path::new("/"));
    assert_eq!((root.status.code(), out(&root).as_str()), (Some(125), ""));
    assert!(err(&root).contains("everything cannot be closed"), "{}", err(&root));
}

#[test]
fn it_is_said_whom_a_key_file_is_open_to_and_what_to_do() {
    let home = Home::new();
    let file = home.path("work/kit.ed25519");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let own = fs::metadata(&file).unwrap().uid();
    let same = exposed(&file, None).unwrap();
    for word in ["kit.ed25519", "--user", "--from-ssh-agent", "--landlock"] {
        assert!(same.contains(word), "{same}");
    }
    assert!(exposed(&file, Some(0)).unwrap().contains(if own == 0 { "root" } else { "runs as root" }));
    assert_eq!(exposed(&file, Some(own + 1)), None);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(exposed(&file, Some(own + 1)).unwrap().contains("open to others"));
    assert_eq!(exposed(&home.path("none"), None), None);
    let agent = exposed_in_ssh_agent(Path::new("/run/agent"), None).unwrap();
    assert!(agent.contains("--user") && agent.contains("ssh-add -c"), "{agent}");
    assert_eq!(exposed_in_ssh_agent(Path::new("/run/agent"), Some(own + 1)), None);
}

#[test]
fn key_files_beside_the_one_that_is_named_are_closed_too() {
    let home = Home::new();
    fs::write(home.path("work/src/ada.ed25519"), SEED).unwrap();
    let places = places_of_keys(Some(&home.path("work/kit.ed25519")), &[home.path("work/src")]);
    for wanted in ["work/kit.ed25519", "work/src/ada.ed25519"] {
        assert!(places.contains(&home.path(wanted)), "{places:?}");
    }
    assert!(!places.contains(&home.path("work/kit.register")) && !places.contains(&home.path("work")));
    assert!(places_of_keys(None, &[]).iter().any(|place| place.ends_with(".nockguard/keys")));
}
