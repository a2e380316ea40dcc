//! `vault-agent mcp` under the official Python SDK, against a real vault: credentials of every kind are put where programs
//! find them and taken away again, and no byte that the client reads holds a value.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

#[path = "postgres/server.rs"]
mod postgres;
mod programs;

use programs::{Said, Vault, foreign, program, said};

const SECRET: &str = "hunter2-n\u{e4}cht \"lang\" & genug <7>";

/// An MCP client with its server.
struct Client {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What the server said of itself.
    about: Value,
    spoken: PathBuf,
    words: PathBuf,
}

impl Drop for Client {
    fn drop(&mut self) {
        // The SDK ends the server when its own input ends.
        self.orders = None;
        if self.ended_within(Duration::from_secs(10)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Client {
    fn start(vault: &Vault, mode: &str, arguments: &[&str]) -> Client {
        Client::start_with(vault, mode, arguments, &[])
    }

    /// The server speaks through `tee`, so that every byte of it is kept.
    fn start_with(vault: &Vault, mode: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Client {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/client.py");
        let (spoken, words) = (vault.path().join(format!("{mode}.out")), vault.path().join(format!("{mode}.err")));
        let through = r#"out=$1 err=$2; shift 2; "$@" 2>>"$err" | tee -a "$out""#;
        let mut command = foreign::mcp(vault.path());
        command.arg(script).args([mode, "sh", "-c", through, "sh"]).arg(&spoken).arg(&words);
        command.arg(env!("CARGO_BIN_EXE_vault-agent")).args(["mcp", "--vault", "vault/prod.card", "--agent", "kit"]);
        command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut client = Client { child, orders, answers, about: Value::Null, spoken, words };
        client.about = client.answer();
        client
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let said = || fs::read_to_string(&self.words).unwrap_or_default();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no answer; the server said: {}", said()))
    }

    fn order(&mut self, order: &Value) -> Value {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        self.answer()
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.order(&json!({"call": tool, "with": arguments}))
    }

    /// What a tool gives, where it does.
    #[track_caller]
    fn does(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], false, "{result}");
        result["structuredContent"].clone()
    }

    /// What a tool says where it cannot.
    #[track_caller]
    fn refuses(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    fn ended_within(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
        let begin = Instant::now();
        while begin.elapsed() < patience {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Ends the session, and gives every byte that the server said to its client or to people.
    fn close(mut self) -> Vec<u8> {
        self.orders = None;
        let status = self.ended_within(Duration::from_secs(20)).expect("the client ends");
        assert!(status.success());
        [fs::read(&self.spoken).unwrap(), fs::read(&self.words).unwrap()].concat()
    }
}

fn ask(role: &str) -> Value {
    json!({"role": role, "purpose": "a test"})
}

/// The path of the file that a tool's looks for under this name.
#[track_caller]
fn path(given: &Value, name: &str) -> PathBuf {
    let placed = given["credential"]["placed"].as_array().unwrap();
    let found = placed.iter().find(|placed| placed["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {given}"))["path"].as_str().unwrap().into()
}

fn shell(vault: &Vault, line: &str) -> Said {
    said(program("sh", vault.path()).args(["-c", line]))
}

fn live_leases(vault: &Vault) -> usize {
    vault.vaultctl(&["lease", "list", "--field", "lease"]).ok().lines().count()
}

/// Each way in which a secret could be written.
fn needles(secret: &[u8]) -> Vec<Vec<u8>> {
    let standard = base64::engine::general_purpose::STANDARD_NO_PAD;
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let text = String::from_utf8_lossy(secret).into_owned();
    let json = serde_json::to_string(&text).unwrap();
    let twice = serde_json::to_string(&json).unwrap();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let escaped: String = secret.iter().map(|byte| format!("%{byte:02X}")).collect();
    let mut all = vec![secret.to_vec(), json.trim_matches('"').into(), hex.into(), escaped.into()];
    all.push(twice.trim_matches(['"', '\\']).into());
    all.extend([standard.encode(secret).into(), url.encode(secret).into()]);
    all
}

#[track_caller]
fn holds_none(spoken: &[u8], secrets: &[Vec<u8>]) {
    assert!(spoken.len() > 1000, "what was spoken was kept");
    for secret in secrets {
        assert!(secret.len() >= 8, "{secret:?} is too short to look for");
        for needle in needles(secret) {
            let found = spoken.windows(needle.len()).any(|part| part == needle);
            assert!(!found, "{} was said", String::from_utf8_lossy(&needle));
        }
    }
}

#[test]
fn a_client_lists_asks_uses_and_gives_back() {
    let vault = Vault::start();
    vault.with_kit(SECRET);
    for mode in ["legacy", "auto"] {
        let mut client = Client::start(&vault, mode, &["--role", "orders-read", "--role", "orders-write"]);
        assert_eq!(client.about["server"]["name"], "nockvault");
        assert!(client.about["instructions"].as_str().unwrap().contains("never shown a value"));
        let tools = client.order(&json!({"list": true}));
        let tools = tools["tools"].as_array().unwrap();
        let named: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(named, ["list_credentials", "request_credential", "release_credential"]);
        let hints: Vec<_> = tools.iter().map(|tool| &tool["annotations"]).collect();
        assert_eq!((&hints[0]["readOnlyHint"], &hints[2]["destructiveHint"]), (&json!(true), &json!(true)));
        assert!(tools.iter().all(|tool| tool["inputSchema"]["additionalProperties"] == false));

        let listed = client.does("list_credentials", json!({}));
        assert_eq!((&listed["agent"], &listed["vault"]), (&json!("kit"), &json!("prod")));
        assert_eq!((&listed["roles"], &listed["held"]), (&json!(["orders-read", "orders-write"]), &json!([])));

        let given = client.does("request_credential", ask("orders-read"));
        let file = path(&given, "ORDERS_READ");
        assert_eq!(fs::read_to_string(&file).unwrap(), SECRET);
        assert!(given["credential"]["seconds_left"].as_u64().unwrap() > 800, "{given}");
        assert_eq!(client.does("request_credential", ask("orders-read")), given, "the same within its life");

        // The same credential in a variable of one command.
        let mut env = ask("orders-read");
        (env["deliver"], env["variable"]) = ("env".into(), "DB_PASSWORD".into());
        let in_env = client.does("request_credential", env);
        assert_eq!(in_env["credential"]["lease"], given["credential"]["lease"]);
        let how = in_env["how"].as_str().unwrap();
        let prefix = how.split_once("prefix: ").unwrap().1.split_once("COMMAND").unwrap().0;
        assert_eq!(shell(&vault, &format!("{prefix} printenv DB_PASSWORD")).ok(), format!("{SECRET}\n"));
        assert_eq!(shell(&vault, &format!("{prefix} sh -c 'exit 7'")).code, 7);
        assert_eq!(shell(&vault, &format!("{prefix} /no/such/program")).code, 127);

        let listed = client.does("list_credentials", json!({}));
        assert_eq!(listed["held"][0]["placed"].as_array().unwrap().len(), 2, "{listed}");
        vault.vaultctl(&["audit", "export", "kit", "--file", &format!("{mode}.jsonl")]).ok();
        let trail = fs::read_to_string(vault.path().join(format!("{mode}.jsonl"))).unwrap();
        assert!(trail.contains("a test"), "the purpose stands in the trail: {trail}");

        assert_eq!(live_leases(&vault), 1);
        assert_eq!(client.does("release_credential", json!({"role": "orders-read"}))["leases"], 1);
        assert!(!file.exists() && !file.parent().unwrap().exists());
        assert_eq!(live_leases(&vault), 0);
        assert_eq!(client.does("release_credential", json!({"role": "orders-read"}))["leases"], 0);
        // After it was given back, another is had.
        let again = client.does("request_credential", ask("orders-read"));
        assert_ne!(again["credential"]["lease"], given["credential"]["lease"]);

        // The end of the session takes away what is still held.
        let file = path(&again, "ORDERS_READ");
        assert!(file.exists());
        holds_none(&client.close(), &[SECRET.into()]);
        assert!(!file.parent().unwrap().exists());
        assert_eq!(live_leases(&vault), 0);
        assert!(shell(&vault, &format!("{prefix} true")).fails(125).contains("has it ended?"));
    }
}

#[test]
fn the_key_is_not_read_from_where_the_client_speaks_and_no_command_has_it() {
    let vault = Vault::start();
    vault.with_kit(SECRET);
    let arguments = ["mcp", "--agent", "kit", "--key", "-"];
    let said = programs::fed(program(env!("CARGO_BIN_EXE_vault-agent"), vault.path()).args(arguments), b"{}\n");
    assert!(said.fails(1).contains("--key - is standard input"));

    let mut client = Client::start(&vault, "legacy", &["--role", "orders-read"]);
    let given = client
        .does("request_credential", json!({"role": "orders-read", "purpose": "x", "deliver": "env", "variable": "DB"}));
    let how = given["how"].as_str().unwrap();
    let socket = how.split_once("--socket ").unwrap().1.split(' ').next().unwrap();
    let mut run = program(env!("CARGO_BIN_EXE_vault-agent"), vault.path());
    let key = "NOCKVAULT_AGENT_KIT_ED25519_KEY";
    run.env(key, "07".repeat(32)).env("NOCKGUARD_AGENT_KIT_ED25519_KEY", "08".repeat(32)).env("KEPT", "yes");
    let environment =
        programs::said(run.args(["run", "--socket", socket, "--env", "DB=orders-read", "--", "env"])).ok();
    assert!(environment.contains("KEPT=yes") && environment.contains(&format!("DB={SECRET}")), "{environment}");
    assert!(!environment.contains("ED25519_KEY"), "{environment}");
}

#[test]
fn what_cannot_be_done_is_said_to_the_model_and_not_to_the_protocol() {
    let vault = Vault::start();
    vault.with_kit(SECRET);
    let mut client = Client::start(&vault, "legacy", &["--role", "orders-read", "--role", "orders-write"]);
    let no_grant = client.refuses("request_credential", ask("orders-write"));
    assert!(no_grant.contains("no_grant") && no_grant.contains("operator of vault prod"), "{no_grant}");
    assert!(no_grant.contains("vaultctl grant kit orders-write --ttl 15m"), "{no_grant}");
    let other = client.refuses("request_credential", ask("payroll"));
    assert!(other.contains("--role payroll"), "{other}");
    let with = |members: Value| {
        let mut all = ask("orders-read");
        all.as_object_mut().unwrap().extend(members.as_object().cloned().unwrap());
        all
    };
    for (arguments, word) in [
        (with(json!({"ttl_seconds": 7200})), "ttl_exceeds_grant"),
        (with(json!({"reveal": true})), "reveal"),
        (with(json!({"deliver": "chat"})), "chat"),
        (with(json!({"deliver": "env"})), "needs a variable"),
        (with(json!({"deliver": "env", "variable": "A B"})), "no variable's name"),
        (with(json!({"deliver": "env", "variable": "A", "member": "none"})), "no text none"),
        (with(json!({"variable": "A"})), "leave it out"),
        (with(json!({"member": "none"})), "\"none\""),
        (with(json!({"member": "../x"})), "no variable's name"),
        (with(json!({"purpose": " "})), "what it is for"),
        (with(json!({"purpose": "x".repeat(300)})), "256"),
        (with(json!({"params": {"none": 1}})), "params_refused"),
        (json!({"role": "orders-read"}), "purpose"),
        (json!({"role": "Orders Read", "purpose": "x"}), "role"),
    ] {
        let words = client.refuses("request_credential", arguments);
        assert!(words.contains(word), "{words}");
    }
    let slot = |number: usize| with(json!({"deliver": "env", "variable": format!("V{number}")}));
    (0..32).for_each(|number| drop(client.does("request_credential", slot(number))));
    let words = client.refuses("request_credential", slot(32));
    assert!(words.contains("in 32 places already"), "{words}");
    client.does("request_credential", slot(31));
    let mut unknown = || client.call("get_secret", json!({}));
    assert_eq!(unknown()["isError"], true);
    // An operator gives the grant, and the model asks again.
    vault.vaultctl(&["role", "create", "orders-write", "--engine", "kv", "--set", "secret=orders-db"]).ok();
    vault.vaultctl(&["grant", "kit", "orders-write", "--ttl", "15m"]).ok();
    client.does("request_credential", ask("orders-write"));
    holds_none(&client.close(), &[SECRET.into()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_any_kind_of_secret_is_said() {
    let server = postgres::Server::start().await;
    let vault = Vault::start();
    vault.with_kit(SECRET);
    let raw: Vec<u8> = (0..64u8).map(|byte| byte.wrapping_mul(37)).collect();
    vault.vaultctl_fed(&["secret", "put", "raw", "-"], &raw).ok();
    vault.vaultctl(&["role", "create", "raw", "--engine", "kv", "--set", "secret=raw"]).ok();
    let token = json!({"audience": ["https://api.example.com"]}).to_string();
    vault.vaultctl_fed(&["role", "create", "token", "--engine", "jwt", "--config", "-"], token.as_bytes()).ok();
    let put = ["secret", "put", "orders-admin", "--use", "backend", "-"];
    vault.vaultctl_fed(&put, server.admin_password().as_bytes()).ok();
    let config = json!({
        "host": "localhost", "port": server.port(), "database": "orders", "user": postgres::ADMIN,
        "password": "orders-admin", "ca": server.ca_pem(), "grants": ["orders_read"],
    });
    let create = ["role", "create", "login", "--engine", "postgres", "--config", "-"];
    vault.vaultctl_fed(&create, config.to_string().as_bytes()).ok();
    vault.vaultctl(&["ca", "create", "users", "--engine", "ssh"]).ok();
    let ssh = json!({"ca": "users", "principals": ["deploy"]});
    vault.vaultctl_fed(&["role", "create", "ssh", "--engine", "ssh", "--config", "-"], ssh.to_string().as_bytes()).ok();
    vault.vaultctl(&["ca", "create", "agents", "--engine", "x509", "--set", "subject.common_name=Agents"]).ok();
    let x509 = json!({"ca": "agents", "trust_domain": "prod.example.com", "usage": ["client"]});
    vault
        .vaultctl_fed(&["role", "create", "tls", "--engine", "x509", "--config", "-"], x509.to_string().as_bytes())
        .ok();
    for role in ["raw", "token", "login", "ssh", "tls"] {
        vault.vaultctl(&["grant", "kit", role, "--ttl", "10m"]).ok();
    }
    let key = "NOCKVAULT_AGENT_KIT_ED25519_KEY";
    let seed = fs::read_to_string(vault.path().join("kit.ed25519")).unwrap();
    let mut client = Client::start_with(&vault, "legacy", &[], &[(key, seed.trim())]);

    let mut secrets = vec![SECRET.as_bytes().to_vec(), raw.clone(), seed.trim().as_bytes().to_vec()];
    let mut given = |role: &str| client.does("request_credential", ask(role));
    assert_eq!(fs::read(path(&given("orders-read"), "ORDERS_READ")).unwrap(), SECRET.as_bytes());
    assert_eq!(fs::read(path(&given("raw"), "RAW")).unwrap(), raw);
    secrets.push(fs::read(path(&given("token"), "TOKEN")).unwrap());

    let login = given("login");
    let service = path(&login, "PGSERVICEFILE");
    let text = fs::read_to_string(&service).unwrap();
    let password = text.lines().find_map(|line| line.strip_prefix("password=")).unwrap();
    secrets.push(password.into());
    let psql = login["how"].as_str().unwrap().split_once("with: ").unwrap().1.split_once(". The").unwrap().0.to_owned();
    let rows = shell(&vault, &format!("{psql} -At -c 'select name from item'"));
    assert_eq!(rows.ok(), "lamp\nchair\n");

    let ssh = given("ssh");
    let private = path(&ssh, "SSH");
    let body: String = fs::read_to_string(&private).unwrap();
    secrets.extend(body.lines().filter(|line| !line.starts_with('-') && line.len() > 40).map(|line| line.into()));
    let certificate = format!("{}-cert.pub", private.display());
    let told = said(Command::new("ssh-keygen").args(["-L", "-f", &certificate])).ok();
    assert!(told.contains("deploy"), "{told}");

    let tls = given("tls");
    let body = fs::read_to_string(path(&tls, "TLS_KEY")).unwrap();
    secrets.extend(body.lines().filter(|line| !line.starts_with('-') && line.len() > 40).map(|line| line.into()));
    assert!(fs::read_to_string(path(&tls, "TLS_CERT")).unwrap().contains("BEGIN CERTIFICATE"));

    // Single members, variables, refusals and lists: whatever has to do with a secret.
    for (role, member) in [("login", "url"), ("login", "username"), ("ssh", "private_key"), ("tls", "certificate")] {
        let mut file = ask(role);
        file["member"] = member.into();
        client.does("request_credential", file.clone());
        (file["deliver"], file["variable"]) = ("env".into(), "X".into());
        client.does("request_credential", file);
    }
    client.refuses("request_credential", json!({"role": "login", "purpose": "x", "member": "hidden"}));
    client.refuses("request_credential", json!({"role": "raw", "purpose": "x", "deliver": "env", "variable": "X"}));
    client.does("list_credentials", json!({}));
    client.does("release_credential", json!({"role": "ssh"}));
    assert!(secrets.len() > 6, "{}", secrets.len());
    holds_none(&client.close(), &secrets);
    assert_eq!(live_leases(&vault), 0);
}

/// Clients that end do so by a signal as often as by closing the pipe.
#[test]
fn a_signal_gives_everything_back() {
    let vault = Vault::start();
    vault.with_kit(SECRET);
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut command = program(env!("CARGO_BIN_EXE_vault-agent"), vault.path());
        command.args(["mcp", "--vault", "vault/prod.card", "--agent", "kit"]).stdin(Stdio::piped());
        let mut server = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut to = server.0.stdin.take().unwrap();
        let mut from = BufReader::new(server.0.stdout.take().unwrap());
        let mut say = |message: Value| {
            writeln!(to, "{message}").unwrap();
            let mut line = String::new();
            if message.get("id").is_some() {
                from.read_line(&mut line).unwrap();
            }
            line
        };
        let about = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": about});
        say(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}));
        say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        let params = json!({"name": "request_credential", "arguments": ask("orders-read")});
        let given = say(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}));
        let given: Value = serde_json::from_str(&given).unwrap();
        let file = path(&given["result"]["structuredContent"], "ORDERS_READ");
        assert!(file.exists() && live_leases(&vault) == 1);
        rustix::process::kill_process(rustix::process::Pid::from_child(&server.0), signal).unwrap();
        assert!(server.0.wait().unwrap().success());
        assert!(!file.exists() && live_leases(&vault) == 0);
    }
}

/// The proxy's token and the value stay where they are; the request arrives with the value.
#[test]
fn a_proxy_slot_puts_the_value_into_requests_alone() {
    let vault = Vault::start();
    let secret = "hunter2-for-requests";
    vault.with_kit(secret);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(vault.path().join("server.pem"), made.cert.pem()).unwrap();
    fs::write(vault.path().join("server.key"), made.signing_key.serialize_pem()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/upstream.py");
    let mut upstream = foreign::mcp(vault.path());
    upstream.arg(script).args(["server.pem", "server.key", secret]).stdout(Stdio::piped());
    let mut upstream = Killed(upstream.spawn().unwrap());
    let mut port = String::new();
    BufReader::new(upstream.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let rules = format!(
        "[[rule]]\nname = \"api\"\nrole = \"orders-read\"\nhost = \"localhost\"\nport = {}\nmethods = [\"GET\"]\n\
         paths = [\"/*\"]\nheader = \"authorization\"\nvalue = \"Bearer {{value}}\"\nvariable = \"API_URL\"\n\
         allow_private = true\nca = \"server.pem\"\n",
        port.trim()
    );
    fs::write(vault.path().join("rules.toml"), rules).unwrap();
    let trail = "--nockguard-trail=kit.audit.jsonl";
    fs::set_permissions(vault.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut client = Client::start(&vault, "legacy", &["--role", "token", "--proxy", "rules.toml", trail]);
    let listed = client.does("list_credentials", json!({}));
    assert_eq!((&listed["deliver"], &listed["roles"]), (&json!(["file", "env", "proxy"]), &json!(["token"])));
    assert_eq!(listed["proxy_roles"], json!(["orders-read"]));
    let mut wanted = ask("orders-read");
    assert!(client.refuses("request_credential", wanted.clone()).contains("ask with deliver proxy"));
    wanted["deliver"] = "proxy".into();
    let given = client.does("request_credential", wanted.clone());
    let file = path(&given, "proxy");
    let how = given["how"].as_str().unwrap();
    let with = how.split_once("with: ").unwrap().1.split_once("COMMAND").unwrap().0;
    let fetched = shell(&vault, &format!("{with} curl -sS --max-time 20 \"$API_URL/orders\""));
    assert_eq!(fetched.ok(), "known");
    wanted["role"] = "token".into();
    assert!(client.refuses("request_credential", wanted.clone()).contains("no rule for token"));
    wanted["member"] = "value".into();
    assert!(client.refuses("request_credential", wanted).contains("leave member and params out"));
    let variables = fs::read_to_string(&file).unwrap();
    let token =
        variables.split(['/', '\'']).find(|part| part.len() == 43).expect("the proxy's token").as_bytes().to_vec();
    assert!(!variables.contains(secret));
    holds_none(&client.close(), &[secret.into(), token]);
    assert!(!file.exists());
    // Each request stands in the agent's own NockGuard trail.
    let public = fs::read_to_string(vault.path().join("kit.pub")).unwrap();
    let mut verify = program(env!("CARGO_BIN_EXE_vault-verify"), vault.path());
    verify.args(["--format", "nockguard", "--agent-key", public.trim(), "kit.audit.jsonl"]);
    assert!(said(&mut verify).ok().contains("2 good rows"));
    let rows = fs::read_to_string(vault.path().join("kit.audit.jsonl")).unwrap();
    assert!(rows.contains("nockvault:issue:orders-read") && rows.contains("nockvault:release:orders-read"), "{rows}");
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
