//! The daemon's file: what the example says, what defaults hold, and what each fault is answered with.
#![cfg(feature = "daemon")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use nockvault::config::{
    Audit, Config, Custody, Host, Limits, Listen, LogFormat, Mirror, Otlp, Places, Syslog, Wall, example,
};
use nockvault::follow::syslog::Target;

const LEAST: &str = "[vault]\ndata_dir = \"data\"\ncustody = { file = \"root.key\" }\n[agents]\nunix = \"a.sock\"\n\
                     [operators]\nunix = \"o.sock\"\n";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("/etc/nv/vaultd.toml")).map_err(|faults| faults.to_string())
}

#[track_caller]
fn assert_refused(text: &str, told: &str) {
    assert_eq!(parse(text).expect_err("the file has a fault"), told.replace("FILE", "/etc/nv/vaultd.toml"), "{text}");
}

/// The least file with this after it.
fn with(more: &str) -> String {
    format!("{LEAST}{more}")
}

#[test]
fn the_example_says_every_key_and_its_default() {
    let text = example(&Places::default());
    let config = parse(&text).expect("the example is valid");
    assert_eq!(config.limits, Limits::default());
    assert_eq!((config.log.format, config.log.level.as_str()), (LogFormat::Human, "info"));
    assert_eq!((config.vault.node.as_str(), config.issuer.as_deref()), ("node1", None));
    assert_eq!(config.host, Host::default());
    for limit in Limits::TABLE {
        assert!(text.contains(&format!("\n{} = {}\n", limit.name, limit.default)), "{}", limit.name);
        assert!(limit.range.contains(&limit.default), "{}", limit.name);
    }
    assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    // Each key that is only shown is a key too.
    let shown: String = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|key| key.contains(" = \"") || key.contains(" = [")).unwrap_or(line))
        .fold(String::new(), |all, line| format!("{all}{line}\n"));
    let shown = parse(&shown).expect("the shown keys are valid");
    assert_eq!(shown.issuer.as_deref(), Some("https://vault.example.org"));
    assert_eq!(shown.audit.syslog, Some(Syslog { target: Target::Unix("/dev/log".into()), bytes: 8192 }));
    let ca = Some("/etc/nv/tls/collector-ca.pem".into());
    assert_eq!(shown.audit.otlp, Some(Otlp { address: "https://127.0.0.1:4317".to_owned(), ca }));
    assert_eq!(shown.operators.tcp, Some("127.0.0.1:8442".parse().unwrap()));
    assert_eq!(shown.checkpoints.places.len(), 2);
    assert_eq!(shown.checkpoints.policy.as_deref(), Some(Path::new("/etc/nv/witnesses.policy")));
}

#[test]
fn an_example_takes_any_place() {
    let places = Places {
        data_dir: "/srv/a \"b\" \\ c\n".to_owned(),
        agents: "0.0.0.0:8440".parse().unwrap(),
        operators: Some("[::]:9".parse().unwrap()),
        http: "0.0.0.0:80".parse().unwrap(),
        ..Places::default()
    };
    let config = parse(&example(&places)).expect("the example is valid");
    assert_eq!(config.vault.data_dir, PathBuf::from("/srv/a \"b\" \\ c\n"));
    assert_eq!(config.operators.tcp, places.operators);
    assert_eq!((config.http, config.http_names), (Some(places.http), false));
}

#[test]
fn what_is_not_said_has_its_default() {
    let config = parse(LEAST).expect("the least file is valid");
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.vault.data_dir, Path::new("/etc/nv/data"));
    assert_eq!(config.vault.custody, Custody::File("/etc/nv/root.key".into()));
    assert_eq!(config.agents, Listen { tcp: None, unix: Some("/etc/nv/a.sock".into()) });
    assert!(config.http.is_none() && config.tls.is_none() && config.issuer.is_none());
}

#[test]
fn what_is_said_holds() {
    let config = parse(&with(
        "[limits]\nskew_s = 60\n[log]\nformat = \"json\"\nlevel = \"info,h2=off\"\n[jwt]\nissuer = \"https://v.test/x\"\n\
         [tls]\ncert = \"/c.pem\"\nkey = \"k.pem\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
    ))
    .expect("it is valid");
    assert_eq!(config.limits, Limits { skew_s: 60, ..Limits::default() });
    assert_eq!((config.log.format, config.log.level.as_str()), (LogFormat::Json, "info,h2=off"));
    assert_eq!(config.issuer.as_deref(), Some("https://v.test/x"));
    let tls = config.tls.expect("it was said");
    assert_eq!((tls.cert, tls.key), (PathBuf::from("/c.pem"), PathBuf::from("/etc/nv/k.pem")));
}

#[test]
fn a_key_that_nobody_knows_is_refused() {
    assert_refused(&with("[limits]\nskew = 5\n"), "FILE:9: limits.skew: no such key; did you mean skew_s?");
    assert_refused(
        &with("[http]\nport = 1\nlisten = \"127.0.0.1:0\"\n"),
        "FILE:9: http.port: no such key; known here: listen, plaintext, names",
    );
    assert_refused(&with("[agent]\n"), "FILE:8: agent: no such key; did you mean agents?");
    let inner = LEAST.replace("\"root.key\"", "\"root.key\", pin = 1");
    assert_refused(&inner, "FILE:3: vault.custody.pin: no such key; did you mean file?");
}

#[test]
fn a_limit_outside_its_range_is_refused() {
    for (value, wrong) in [
        ("0", "0 is too small"),
        ("-5", "-5 is too small"),
        ("3601", "3601 is too large"),
        ("0xffff_ffff", "4294967295 is too large"),
        ("\"300\"", "a text where a number belongs"),
        ("300.0", "a number with a fraction where a number belongs"),
        ("true", "true or false where a number belongs"),
        ("[300]", "a list where a number belongs"),
    ] {
        let told = format!("FILE:9: limits.skew_s: {wrong}; write a number from 1 to 3600; the default is 300");
        assert_refused(&with(&format!("[limits]\nskew_s = {value}\n")), &told);
    }
    for limit in Limits::TABLE {
        let edges = [limit.range.start().checked_sub(1), limit.range.end().checked_add(1)];
        for beyond in edges.into_iter().flatten() {
            let told = parse(&with(&format!("[limits]\n{} = {beyond}\n", limit.name))).expect_err("it is beyond");
            assert!(told.contains(&format!("limits.{}: {beyond} is too ", limit.name)), "{told}");
        }
    }
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    assert_refused(
        &with("[limits]\nsession_max_s = 600\n"),
        "FILE:9: limits.session_idle_s: it is longer than session_max_s; lower it or raise session_max_s",
    );
    assert_refused(
        &with("[limits]\ncommit_deadline_ms = 20000\n"),
        "FILE:9: limits.commit_deadline_ms: it is longer than drain_s; lower it or raise drain_s",
    );
    assert_refused(
        &with("[limits]\nengine_deadline_ms = 40000\ndrain_s = 60\n"),
        "FILE:9: limits.engine_deadline_ms: it is longer than request_timeout_s; lower it or raise request_timeout_s",
    );
    assert_refused(
        &with("[limits]\nengine_deadline_ms = 16000\n"),
        "FILE:9: limits.engine_deadline_ms: it is longer than drain_s; lower it or raise drain_s",
    );
}

#[test]
fn the_vault_is_given_its_deadlines() {
    let limits = parse(LEAST).expect("the least file is valid").vault_limits();
    assert_eq!(limits.engine_deadline, Duration::from_secs(5));
    let config = parse(&with("[limits]\nengine_deadline_ms = 250\ncommit_deadline_ms = 300\n")).expect("it is valid");
    let limits = config.vault_limits();
    assert_eq!(
        (limits.engine_deadline, limits.rules.deadline),
        (Duration::from_millis(250), Duration::from_millis(300))
    );
}

#[test]
fn nothing_leaves_the_machine_without_tls() {
    let told = |line, section, address| {
        format!(
            "FILE:{line}: {section}.listen: {address} is off loopback and there is no TLS; add [tls] with cert and key, or \
             listen on 127.0.0.1"
        )
    };
    let agents = LEAST.replace("[agents]\n", "[agents]\nlisten = \"0.0.0.0:8440\"\n");
    assert_refused(&agents, &told(5, "agents", "0.0.0.0:8440"));
    let operators = LEAST.replace("[operators]\n", "[operators]\nlisten = \"10.1.2.3:1\"\n");
    assert_refused(&operators, &told(7, "operators", "10.1.2.3:1"));
    for address in ["127.0.0.1:8440", "127.9.9.9:1", "[::1]:8440"] {
        let agents = LEAST.replace("[agents]\n", &format!("[agents]\nlisten = \"{address}\"\n"));
        parse(&agents).expect("loopback needs no TLS");
    }
    parse(&format!("{agents}[tls]\ncert = \"c\"\nkey = \"k\"\n")).expect("it has TLS");
    // Half a [tls] is one fault, not three.
    assert_refused(
        &format!("{agents}[tls]\ncert = \"c\"\n"),
        "FILE:9: tls.key: missing; write key = \"tls/server.key\"",
    );
    let http = parse(&with("[http]\nlisten = \"0.0.0.0:80\"\n")).expect_err("it would leave");
    assert!(
        http.starts_with(
            "/etc/nv/vaultd.toml:9: http.listen: 0.0.0.0:80 is off loopback and this listener speaks no TLS"
        ),
        "{http}"
    );
    parse(&with("[http]\nlisten = \"0.0.0.0:80\"\nplaintext = true\n")).expect("it was meant");
}

#[test]
fn what_must_be_there_is_asked_for() {
    assert_refused(
        "",
        "FILE:1: vault.data_dir: missing; write data_dir = \"data\"\n\
         FILE:1: vault.custody.file: missing; write file = \"root.key\"\n\
         FILE:1: agents.unix: missing; write unix = \"agents.sock\"\n\
         FILE:1: operators.unix: missing; write unix = \"operators.sock\"",
    );
    assert_refused(
        &LEAST
            .replace("[vault]\n", "[vault]\nnode = \"Node 1\"\n")
            .replace("unix = \"a.sock\"", "listen = \"localhost:1\""),
        "FILE:2: vault.node: \"Node 1\" is not a node's name: up to 63 of a-z, 0-9, . and -, beginning with a letter or \
         digit; write for example node = \"node1\"\n\
         FILE:6: agents.listen: \"localhost:1\" is not an IP address with a port; write for example listen = \
         \"127.0.0.1:8440\"",
    );
}

#[test]
fn what_is_of_another_kind_is_refused() {
    assert_refused(
        "vault = 3\n[agents]\nunix = \"a\"\n[operators]\nunix = \"o\"",
        "FILE:1: vault: a number where a section belongs; write [vault]",
    );
    assert_refused(
        &LEAST.replace("{ file = \"root.key\" }", "\"root.key\""),
        "FILE:3: vault.custody: a text where a table belongs; write custody = { file = \"root.key\" }",
    );
    assert_refused(
        &LEAST.replace("\"data\"", "7"),
        "FILE:2: vault.data_dir: a number where a text belongs; write data_dir = \"data\"",
    );
    assert_refused(
        &LEAST.replace("\"data\"", "\"\""),
        "FILE:2: vault.data_dir: an empty text; write data_dir = \"data\"",
    );
    assert_refused(
        &LEAST.replace("root.key", "data/root.key"),
        "FILE:3: vault.custody.file: the root key would lie inside the data directory that it protects; name a file \
         elsewhere",
    );
    assert_refused(
        &with("[log]\nformat = \"xml\"\nlevel = \"chatty\"\n"),
        "FILE:9: log.format: \"xml\" is neither human nor json; write for example format = \"human\"\n\
         FILE:10: log.level: \"chatty\" is not off, error, warn, info, debug or trace, nor a list of target=level; write \
         for example level = \"info\"",
    );
    assert_refused(
        &with("[jwt]\nissuer = \"http://v.test\"\n"),
        "FILE:9: jwt.issuer: \"http://v.test\" is not an https URL without query and fragment; write for example issuer = \
         \"https://vault.example.org\"",
    );
    let long = LEAST.replace("a.sock", &"a".repeat(101));
    assert!(parse(&long).expect_err("it is too long").contains("agents.unix: the path has "), "{long}");
}

#[test]
fn what_is_no_toml_says_where() {
    let told = parse(&with("[limits\n")).expect_err("it is no TOML");
    assert!(told.starts_with("/etc/nv/vaultd.toml:8: not TOML: "), "{told}");
    assert!(parse(&with("[vault]\n")).is_err(), "a section stands once");
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = Config::read(&folder.path().join("none.toml")).expect_err("there is none").to_string();
    assert!(told.contains("none.toml:1: the file cannot be read: ") && told.contains("vaultctl init"), "{told}");
}

#[test]
fn what_is_carried_outside_is_read_strictly() {
    assert_eq!(parse(LEAST).expect("the least file is valid").audit, Audit::default());
    let audit = parse(&with("[audit]\ndir = \"audit\"\n")).expect("it is valid").audit;
    assert_eq!(audit.mirror, Some(Mirror { dir: "/etc/nv/audit".into(), mode: 0o640 }));
    let audit = parse(&with("[audit]\ndir = \"/var/log/nv\"\nmode = \"0600\"\n")).expect("it is valid").audit;
    assert_eq!(audit.mirror, Some(Mirror { dir: "/var/log/nv".into(), mode: 0o600 }));
    assert_refused(
        &with("[audit]\ndir = \"data/audit\"\n"),
        "FILE:9: audit.dir: the mirror would lie inside the data directory, which is closed to those who are to read \
         it; name a folder elsewhere",
    );
    assert_refused(
        &with("[audit]\nmode = \"0666\"\n"),
        "FILE:9: audit.mode: \"0666\" is none of 0600, 0640 and 0644; write for example mode = \"0640\"",
    );
    for (text, target) in [
        ("unix:/run/log", Target::Unix("/run/log".into())),
        ("udp:[::1]:514", Target::Udp("[::1]:514".to_owned())),
        ("tcp:logs.example.org:6514", Target::Tcp("logs.example.org:6514".to_owned())),
    ] {
        let audit =
            parse(&with(&format!("[audit]\nsyslog = \"{text}\"\nsyslog_bytes = 2048\n"))).expect("it is valid").audit;
        assert_eq!(audit.syslog, Some(Syslog { target, bytes: 2048 }), "{text}");
    }
    for text in ["/dev/log", "unix:log", "udp:514", "tcp::514", "tcp:host", "tcp:host:0", "tcp:::1:514", "tcp:h st:1"] {
        let told = format!(
            "FILE:9: audit.syslog: {text:?} is none of unix:/path, udp:host:port and tcp:host:port; write for example \
             syslog = \"unix:/dev/log\""
        );
        assert_refused(&with(&format!("[audit]\nsyslog = \"{text}\"\n")), &told);
    }
    for text in
        ["127.0.0.1:4317", "http://host", "https://:4317", "http://host:4317/v1", "grpc://host:4317", "http://h:0"]
    {
        let told = format!(
            "FILE:9: audit.otlp: {text:?} is neither http://host:port nor https://host:port; write for example \
             otlp = \"http://127.0.0.1:4317\""
        );
        assert_refused(&with(&format!("[audit]\notlp = \"{text}\"\n")), &told);
    }
    assert_refused(
        &with("[audit]\notlp = \"http://host:4317\"\notlp_ca = \"ca.pem\"\n"),
        "FILE:10: audit.otlp_ca: no connection to a collector uses it; write otlp = \"https://...\"",
    );
    assert_refused(
        &with("[audit]\nsyslog_bytes = 100\n"),
        "FILE:9: audit.syslog_bytes: 100 is too small; write a number from 480 to 65000; the default is 8192",
    );
    assert_refused(&with("[audit]\ndri = \"a\"\n"), "FILE:9: audit.dri: no such key; did you mean dir?");
}

#[test]
fn who_keeps_checkpoints_is_read_strictly() {
    let none = parse(LEAST).expect("the least file is valid").checkpoints;
    assert_eq!((none.places.len(), none.policy), (0, None));
    let said = "[checkpoints]\nplaces = [\"dir:/mnt/keep\", \"http://127.0.0.1:9/a\"]\npolicy = \"/etc/w.policy\"\n";
    let said = parse(&with(said)).expect("it is valid").checkpoints;
    let places: Vec<_> = said.places.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["dir:/mnt/keep", "http://127.0.0.1:9/a"]);
    assert_eq!(said.policy, Some("/etc/w.policy".into()));
    let write = "write for example places = [\"dir:/mnt/keep/checkpoints\"]";
    for (line, wrong) in [
        ("\"dir:/a\"", "a text where a list belongs"),
        ("[7]", "a number where a text belongs"),
        ("[\"dir:keep\"]", "the folder of a place is an absolute path, not \"keep\""),
        ("[\"http://keep.example/\"]", "to another machine it is https://"),
        ("[\"https://me:pw@keep.example/\"]", "an address holds no password"),
    ] {
        let told = format!("FILE:9: checkpoints.places: {wrong}; {write}");
        assert_refused(&with(&format!("[checkpoints]\nplaces = {line}\n")), &told);
    }
    assert_refused(
        &with("[checkpoints]\nplaces = [\"dir:/a\", \"dir:/a\"]\n"),
        "FILE:9: checkpoints.places: dir:/a stands there twice, the second time as number 2; name each place once",
    );
}

#[test]
fn walls_are_read_strictly() {
    let all =
        parse(&with("[host]\nmlock = \"on\"\nlandlock = \"off\"\nseccomp = \"auto\"\nseccomp_kills = true\n")).unwrap();
    let wanted = Host { mlock: Wall::On, landlock: Wall::Off, seccomp: Wall::Auto, seccomp_kills: true };
    assert_eq!(all.host, wanted);
    assert_eq!(parse(LEAST).unwrap().host, Host::default());
    assert_refused(
        &with("[host]\nmlock = \"yes\"\nseccomp = \"off\"\nseccomp_kills = true\nlandlok = \"on\"\n"),
        "FILE:9: host.mlock: \"yes\" is none of auto, on and off; write for example mlock = \"auto\"\n\
         FILE:11: host.seccomp_kills: no call is refused while seccomp = \"off\"; leave out one of the two\n\
         FILE:12: host.landlok: no such key; did you mean landlock?",
    );
}
