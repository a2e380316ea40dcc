//! `vault-agent proxy` with real parts: a real vault gives the secret, curl, Python, Node and git are the child, a TLS host
//! is on the other side. The child gets its answers, and in nothing that it has or hears is the secret.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;
#[path = "proxy/refused.rs"]
mod refused;
#[path = "proxy/stage.rs"]
mod stage;
#[path = "proxy/upstream.rs"]
mod upstream;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use programs::said;
use stage::{SECRET, Stage, assert_holds_none, python};

#[test]
fn curl_is_answered_both_ways_and_never_has_the_secret() {
    let stage = Stage::new();
    let mut proxy = stage.proxy(&stage.api());
    let (base, through) = (format!("{}/echo?a=b", proxy.base()), stage.url("/v1/echo?a=b"));
    for url in [&base, &through] {
        let said = stage.curl(&proxy, &["-H", "Authorization: Bearer of-the-child", "-d", "hello", url]).ok();
        let seen = stage.upstream.last();
        assert_eq!(seen.line(), "POST /v1/echo?a=b HTTP/1.1");
        assert_eq!(seen.all("authorization"), [format!("Bearer {SECRET}")], "the rule's, and no other");
        assert_eq!(seen.all("host"), [format!("localhost:{}", stage.upstream.port)]);
        assert_eq!((seen.all("accept-encoding"), seen.body.as_slice()), (vec!["identity"], &b"hello"[..]));
        assert!(seen.head.lines().all(|line| !line.contains(&proxy.at().1)), "the token stays here: {}", seen.head);
        assert!(said.contains("authorization: Bearer [redacted]") && said.contains("hello"), "{said}");
    }
    assert_eq!(stage.issued(), 1, "one credential serves them all");

    for place in ["environ", "cmdline"] {
        assert_holds_none(&String::from_utf8_lossy(&fs::read(format!("/proc/{}/{place}", proxy.id())).unwrap()));
    }
    assert_holds_none(&format!("{:?}", proxy.variables));
    assert_holds_none(&proxy.said());
    assert_eq!(proxy.end(), Some(0));
    let kinds = stage.vault.vaultctl(&["audit", "show", "kit", "--field", "kind"]).ok();
    assert!(kinds.contains("session_close") || kinds.contains("close"), "the session ended with it: {kinds}");
}

#[test]
fn python_is_answered_both_ways() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    let script = r#"
import os, sys, urllib.request, requests
base, through = os.environ["API_BASE_URL"] + "/echo", sys.argv[1]
for url in (base, through):
    answer = requests.post(url, data="hello", headers={"Authorization": "Bearer mine"}, timeout=30)
    print(answer.status_code, answer.text, dict(answer.headers))
    with urllib.request.urlopen(urllib.request.Request(url, data=b"hello"), timeout=30) as answer:
        print(answer.status, answer.read().decode(), dict(answer.headers))
assert requests.get(base.replace("/v1/echo", "/v2"), timeout=30).status_code == 403
"#;
    let said = said(stage.child(&proxy, python()).args(["-c", script, &stage.url("/v1/echo")]));
    assert_holds_none(&format!("{}{}", said.out, said.err));
    let out = said.ok();
    assert_eq!(out.matches("authorization: Bearer [redacted]").count(), 4, "{out}");
    assert!(stage.upstream.seen().iter().all(|seen| seen.all("authorization") == [format!("Bearer {SECRET}")]));
}

#[test]
fn node_is_answered_both_ways() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    // Node 20 has no fetch through HTTPS_PROXY: the tunnel is asked for by hand, and trusted by NODE_EXTRA_CA_CERTS.
    let script = r#"
const http = require('http'), tls = require('tls');
const base = process.env.API_BASE_URL + '/echo', through = new URL(process.argv[1]), proxy = new URL(process.env.HTTPS_PROXY);
(async () => {
  const answer = await fetch(base, { method: 'POST', body: 'hello', headers: { authorization: 'Bearer mine' } });
  console.log(answer.status, await answer.text(), [...answer.headers]);
  const auth = 'Basic ' + Buffer.from(proxy.username + ':' + proxy.password).toString('base64');
  const connect = http.request({ host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: through.host,
    headers: { 'Proxy-Authorization': auth } });
  connect.on('connect', (_, socket) => {
    const inner = tls.connect({ socket, servername: through.hostname }, () => {
      inner.write(`GET ${through.pathname} HTTP/1.1\r\nHost: ${through.host}\r\nConnection: close\r\n\r\n`);
    });
    inner.on('data', (part) => process.stdout.write(part));
    inner.on('error', (error) => { console.error(error); process.exit(1); });
  });
  connect.end();
})();
"#;
    let said = said(stage.child(&proxy, "node").args(["-e", script, &stage.url("/v1/echo")]));
    assert_holds_none(&format!("{}{}", said.out, said.err));
    let out = said.ok();
    assert_eq!(out.matches("authorization: Bearer [redacted]").count(), 2, "{out}");
}

#[test]
fn git_is_let_in_by_a_password_that_it_never_has() {
    let stage = Stage::new();
    let rules = stage.rule(
        "git",
        "paths = [\"/repo.git/*\"]\nbasic = { username = \"x-access-token\", password = \"{value}\" }\nconnect = true",
    );
    let proxy = stage.proxy(&rules);
    let mut git = stage.child(&proxy, "git");
    git.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CURL_VERBOSE", "1");
    let said = said(git.args(["ls-remote", &stage.url("/repo.git")]));
    assert_holds_none(&format!("{}{}", said.out, said.err));
    assert!(said.ok().contains("1111111111111111111111111111111111111111\trefs/heads/main"));
    let shown = stage.upstream.last().all("authorization").first().unwrap().strip_prefix("Basic ").unwrap().to_owned();
    let both = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, shown).unwrap();
    assert_eq!(String::from_utf8(both).unwrap(), format!("x-access-token:{SECRET}"));
}

#[test]
fn what_comes_back_holds_the_secret_in_no_writing() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    let get = |path: &str| stage.curl(&proxy, &["-i", &format!("{}{path}", proxy.base())]);

    let said = get("/ways").ok();
    assert_eq!(said.matches("[redacted]").count(), upstream::ways(SECRET).len(), "one byte a chunk: {said}");
    assert!(!said.contains("x-trailer"), "{said}");

    let said = get("/headers").ok();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "the reason is not the upstream's: {head}");
    assert_eq!(head.matches("x-echo: a ").count(), upstream::ways(SECRET).len(), "{head}");
    assert!(!head.contains("set-cookie") && !head.contains("alt-svc"), "{head}");
    assert_eq!(body, "ok\n");

    let said = stage.curl(&proxy, &["-I", &format!("{}/echo", proxy.base())]).ok();
    assert!(said.contains("x-echo: Bearer [redacted]") && said.contains("content-length: 1234"), "{said}");
    let pieces = stage.curl(&proxy, &["-r", "0-3", &format!("{}/echo", proxy.base())]);
    pieces.ok();
    assert!(stage.upstream.last().all("range").is_empty(), "piece by piece nothing would be found");

    for path in ["/gzip", "/wide"] {
        let said = get(path).ok();
        assert!(said.starts_with("HTTP/1.1 502") && said.contains("a secret could not be found"), "{said}");
    }
    let said = get("/both").ok();
    assert!(said.starts_with("HTTP/1.1 502"), "two lengths: {said}");
}

#[test]
fn a_secret_is_found_without_the_spaces_around_it_that_are_lost_on_the_way() {
    let stage = Stage::new();
    stage.put("spaced", "\tsk-between-spaces-0123 \n");
    let rule = "role = \"spaced\"\nvalue = \"{}\"\nvariable = \"API_BASE_URL\"";
    let proxy = stage.proxy(&stage.rule("spaced", rule));
    let said = stage.curl(&proxy, &["-i", &format!("{}/v1/echo", proxy.base())]).ok();
    assert!(stage.upstream.last().head.contains("sk-between-spaces-0123"));
    assert!(said.contains("[redacted]") && !said.contains("between-spaces"), "{said}");
}

#[test]
fn a_redirect_is_the_childs_to_follow() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    let url = format!("{}/moved", proxy.base());
    let said = stage.curl(&proxy, &["-i", &url]).ok();
    assert!(said.contains("302 Found") && said.contains(&format!("location: {}/echo?moved=1", proxy.base())), "{said}");
    assert_eq!(stage.upstream.seen().len(), 1);
    let said = stage.curl(&proxy, &["-L", &url]).ok();
    assert!(said.contains("GET /v1/echo?moved=1"), "{said}");
    let said = stage.curl(&proxy, &["-i", &format!("{url}/away")]).ok();
    assert!(said.contains("location: https://elsewhere.example/v1/echo"), "{said}");
}

#[test]
fn events_come_as_they_are_sent() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    let mut curl = stage.child(&proxy, "curl");
    let begun = Instant::now();
    let mut curl = curl.args(["-sSN", &format!("{}/events", proxy.base())]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "data: one");
    let first = begun.elapsed();
    while lines.next().unwrap().unwrap() != "data: two" {}
    // The second is sent three seconds after the first.
    assert!(begun.elapsed() > first + Duration::from_secs(2), "{first:?} {:?}", begun.elapsed());
    assert!(curl.wait().unwrap().success());
}

#[test]
fn long_bodies_go_through_without_being_kept() {
    const MIB: usize = 96;
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    stage.curl(&proxy, &["-o", "warm", &format!("{}/big?mib=1", proxy.base())]).ok();
    let before = proxy.most();
    let to = stage.path("child/big");
    for url in [format!("{}/big?mib={MIB}", proxy.base()), stage.url(&format!("/v1/big?mib={MIB}"))] {
        stage.curl(&proxy, &["-o", to.to_str().unwrap(), &url]).ok();
        assert_eq!(fs::metadata(&to).unwrap().len() as usize, MIB << 20);
        let up = stage.curl(&proxy, &["-T", to.to_str().unwrap(), &url.replace(&format!("big?mib={MIB}"), "nothing")]);
        up.ok();
        assert_eq!(stage.upstream.last().length, MIB << 20);
    }
    let grown = proxy.most().saturating_sub(before);
    assert!(grown < 16 << 10, "{before} KiB, and {grown} KiB more");
}

#[test]
fn a_change_of_protocol_needs_a_word_in_the_rule() {
    let stage = Stage::new();
    let rules =
        [stage.api(), stage.rule("live", "variable = \"LIVE_URL\"\nwebsocket = true\npaths = [\"/v1/socket\"]")];
    let proxy = stage.proxy(&rules.concat());
    let (port, token) = proxy.at();
    let ask = |rule: &str| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head =
            "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
        write!(stream, "GET /{token}/{rule}/v1/socket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{head}\r\n").unwrap();
        stream
    };
    let said = refused::read_until(&mut ask("api"), "\n\n");
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("websocket = true"), "{said}");
    let mut stream = ask("live");
    let said = refused::read_until(&mut stream, "\r\n\r\n");
    assert!(said.starts_with("HTTP/1.1 101"), "{said}");
    let seen = stage.upstream.last();
    assert_eq!((seen.all("upgrade"), seen.all("sec-websocket-extensions")), (vec!["websocket"], vec![]));
    stream.write_all(b"ping").unwrap();
    let said = refused::read_until(&mut stream, ">");
    assert!(said.starts_with("ping<[redacted]**"), "{said}");
    assert_holds_none(&said);
}

#[test]
fn base_urls_alone_need_no_authority() {
    let stage = Stage::new();
    let rules = stage.rule("api", "variable = \"API_BASE_URL\"\nplaceholders = [\"API_KEY\"]");
    let proxy = stage.proxy(&rules);
    let names: Vec<_> = proxy.variables.keys().map(String::as_str).collect();
    assert_eq!(names, ["API_BASE_URL", "API_KEY", "NO_PROXY", "no_proxy"]);
    stage.curl(&proxy, &["-f", &format!("{}/v1/echo", proxy.base())]).ok();
}

#[test]
fn the_authority_speaks_for_the_rules_hosts_alone() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    let text = |name: &str| {
        let path = &proxy.variables[name];
        said(stage.child(&proxy, "openssl").args(["x509", "-noout", "-text", "-in", path])).ok()
    };
    let said = text("NODE_EXTRA_CA_CERTS");
    let constraints = said.split_once("Name Constraints: critical").expect("there are some").1;
    assert!(constraints.contains("DNS:localhost") && constraints.contains("IP:0.0.0.0/0.0.0.0"), "{said}");
    assert!(said.contains("pathlen:0"), "{said}");
    // Where a file is taken instead of the system's authorities, these are in it too.
    let count = |name: &str| fs::read_to_string(&proxy.variables[name]).unwrap().matches("BEGIN CERTIFICATE").count();
    assert_eq!(count("NODE_EXTRA_CA_CERTS"), 1);
    for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"] {
        assert!(count(name) > 20, "{name}: {}", count(name));
        assert!(!fs::read_to_string(&proxy.variables[name]).unwrap().contains("PRIVATE"));
    }
}

#[test]
fn a_command_behind_the_proxy_gets_the_secret_in_no_other_way() {
    let stage = Stage::new();
    stage.put("shared", "another-secret");
    fs::write(stage.path("rules.toml"), stage.api()).unwrap();
    let script = "curl -sS -f \"$API_BASE_URL/echo\"; \"$AGENT\" get shared; \"$AGENT\" list; \"$AGENT\" get orders-read; \
                  \"$AGENT\" release orders-read; \"$AGENT\" list --help > /dev/null; env; cat /proc/$PPID/environ";
    let agent = env!("CARGO_BIN_EXE_vault-agent");
    let mut exec = programs::program(agent, stage.vault.path());
    exec.env("AGENT", agent).args([
        "--agent",
        "kit",
        "exec",
        "--ask",
        "shared",
        "--proxy",
        "rules.toml",
        "--",
        "sh",
        "-c",
        script,
    ]);
    let said = said(&mut exec);
    assert_holds_none(&format!("{}{}", said.out, said.err));
    assert!(said.out.contains("authorization: Bearer [redacted]") && said.out.contains("another-secret"), "{said:?}");
    assert!(said.err.contains("this launcher does not ask for orders-read"), "{said:?}");
    assert!(
        !said.out.lines().any(|line| line.contains("orders-read") && !line.contains("rules")),
        "it is not listed: {said:?}"
    );
    assert!(!said.out.contains("NOCKVAULT_AGENT_KIT_ED25519_KEY"), "{said:?}");
}
