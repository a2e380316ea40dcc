//! What the proxy refuses, and that nothing of it reaches the host.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::stage::{Proxy, SECRET, Stage, assert_holds_none};

/// Reads until this was said, or no more comes.
pub(crate) fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let (mut said, mut part) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&said).contains(end) {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(count) => said.extend_from_slice(&part[..count]),
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Sends these bytes, and gives all that is said until the connection ends.
fn raw(proxy: &Proxy, text: &str) -> String {
    read_until(&mut open(proxy, text), "\0")
}

fn open(proxy: &Proxy, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.at().0)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

fn credentials(proxy: &Proxy) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("x:{}", proxy.at().1)))
}

/// A request for a base URL, with these headers besides.
fn asked(proxy: &Proxy, line: &str, more: &str) -> String {
    let (port, token) = proxy.at();
    let line = line.replace("TOKEN", &token);
    raw(proxy, &format!("{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{more}\r\n"))
}

#[test]
fn what_no_rule_allows_is_refused_and_says_so() {
    let stage = Stage::new();
    let narrow = stage.rule(
        "api",
        "methods = [\"GET\"]\npaths = [\"/v1/echo\", \"/v1/files/*\"]\nvariable = \"API_BASE_URL\"\nconnect = true",
    );
    let proxy = stage.proxy(&narrow);
    for line in [
        "POST /TOKEN/api/v1/echo",
        "GET /TOKEN/api/v1/echo/",
        "GET /TOKEN/api/v1/Echo",
        "GET /TOKEN/api/v1/files",
        "GET /TOKEN/api/v1/files/../echo",
        "GET /TOKEN/api/v1/files/%2e%2e/echo",
        "GET /TOKEN/api/v1/files/..%2fecho",
        "GET /TOKEN/api/v1/files/a%5c..%5cecho",
        "GET /TOKEN/api/v1/files/..;/echo",
        "GET /TOKEN/api/v1//echo",
        "GET /TOKEN/api//v1/echo",
        "GET /TOKEN/api/v1/files/%252e%252e/echo",
        "GET /TOKEN/api/v1/files/%00",
        "GET /TOKEN/api",
        "GET /TOKEN/api/",
        "GET /TOKEN/other/v1/echo",
        "GET /TOKEN",
        "TRACE /TOKEN/api/v1/echo",
        "get /TOKEN/api/v1/echo",
        "GET /api/v1/echo",
        "GET /TOKENx/api/v1/echo",
        "GET //api/v1/echo",
        "GET /",
        "GET http://localhost/v1/echo",
        "GET https://localhost/v1/echo",
        "OPTIONS *",
    ] {
        let said = asked(&proxy, line, "");
        assert!(said.starts_with("HTTP/1.1 403"), "{line}: {said}");
        assert!(said.contains("proxy-status: vault-agent; error=http_request_denied"), "{line}: {said}");
    }
    let said = asked(&proxy, "POST /TOKEN/api/v1/echo", "");
    assert!(
        said.contains("no rule allows POST https://localhost:") && said.contains("the rules for this host are: api"),
        "{said}"
    );
    // Through the tunnel it is the same.
    let said = stage.curl(&proxy, &["--path-as-is", &stage.url("/v1/files/../echo")]).ok();
    assert!(said.contains("a dot segment"), "{said}");
    assert!(stage.upstream.seen().is_empty(), "nothing of it went out: {:?}", stage.upstream.seen());
    assert_eq!(stage.issued(), 0, "and nothing was asked for");
    assert!(proxy.said().contains("no rule allows POST https://localhost:"), "{}", proxy.said());
    assert!(!proxy.said().contains(&proxy.at().1), "the token is not logged: {}", proxy.said());
    assert!(asked(&proxy, "GET /TOKEN/api/v1/echo?..%2f", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn another_process_does_not_get_in_without_the_token() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    let (port, token) = proxy.at();
    let other = if token.starts_with('A') { 'B' } else { 'A' };
    let wrong = format!("{other}{}", &token[1..]);
    for line in [format!("GET /{wrong}/api/v1/echo"), "GET /api/v1/echo".to_owned()] {
        assert!(asked(&proxy, &line, "").starts_with("HTTP/1.1 403"), "{line}");
    }
    let connect = format!("CONNECT localhost:{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", stage.upstream.port);
    for shown in [
        String::new(),
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("x:{wrong}"))),
        format!("Proxy-Authorization: Bearer {token}\r\n"),
        "Proxy-Authorization: Basic !\r\n".to_owned(),
    ] {
        let said = raw(&proxy, &format!("{connect}{shown}\r\n"));
        assert!(said.starts_with("HTTP/1.1 407") && said.contains("proxy-authenticate: Basic"), "{shown}: {said}");
    }
    // A page in a browser that was led to this port by its own name.
    for host in ["evil.example", &format!("evil.example:{port}"), "127.0.0.1", "127.0.0.1:1", "[::1]"] {
        let said =
            raw(&proxy, &format!("GET /{token}/api/v1/echo HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        assert!(said.starts_with("HTTP/1.1 403"), "{host}: {said}");
    }
    for hosts in ["", &format!("Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n")] {
        let said = raw(&proxy, &format!("GET /{token}/api/v1/echo HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"));
        assert!(said.starts_with("HTTP/1.1 400"), "{hosts}: {said}");
    }
    assert!(stage.upstream.seen().is_empty());
}

#[test]
fn a_tunnel_leads_where_it_says_and_nowhere_else() {
    let stage = Stage::new();
    let passed = crate::upstream::Upstream::start(&{
        let folder = stage.path("passed");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    });
    let list = format!("passthrough = [\"127.0.0.1:{0}\"]\npassthrough_private = [\"localhost:{0}\"]\n", passed.port);
    let proxy = stage.proxy(&(list + &stage.api()));
    let connect = |to: &str| {
        let mut stream = open(&proxy, &format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{}\r\n", credentials(&proxy)));
        let said = read_until(&mut stream, "\r\n\r\n");
        (stream, said)
    };
    for to in ["example.com:443", "localhost:1", "169.254.169.254:80", "x@localhost:443", "metadata.google.internal:80"]
    {
        let said = connect(to).1;
        assert!(said.starts_with("HTTP/1.1 40"), "{to}: {said}");
    }
    let (_, said) = connect(&format!("127.0.0.1:{}", passed.port));
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("destination_ip_prohibited"), "private: {said}");

    let (own, other) = (format!("localhost:{}", stage.upstream.port), format!("localhost:{}", passed.port));
    // A handshake for another name than the tunnel's is not answered, ended here or not.
    for to in [&own, &other] {
        for name in ["elsewhere.example", ""] {
            let (mut stream, said) = connect(to);
            assert!(said.starts_with("HTTP/1.1 200"), "{to}: {said}");
            assert!(shake(&mut stream, name).is_err(), "{to} as {name:?}");
        }
        let (mut stream, _) = connect(to);
        stream.write_all(b"GET /v1/echo HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(!read_until(&mut stream, "\0").contains("HTTP/1.1 200"), "{to}");
    }
    // The one that is passed through shows its own certificate, and gets nothing from here.
    let ca = stage.path("passed/ca.pem");
    let said = stage.curl(&proxy, &["--cacert", ca.to_str().unwrap(), &format!("https://{other}/v1/echo")]).ok();
    assert!(said.contains("GET /v1/echo") && !said.to_lowercase().contains("authorization"), "{said}");
    assert!(stage.upstream.seen().is_empty());

    // Inside of a tunnel, another host is another tunnel's.
    for host in ["elsewhere.example", "localhost", &other] {
        let said = stage.curl(&proxy, &["-H", &format!("Host: {host}"), &stage.url("/v1/echo")]).ok();
        assert!(said.contains("the tunnel is for"), "{host}: {said}");
    }
    assert!(stage.upstream.seen().is_empty());
    let words = proxy.said();
    assert!(words.contains("the handshake in it for \"elsewhere.example\""), "{words}");
}

/// A handshake for this name, or for an address.
fn shake(stream: &mut TcpStream, name: &str) -> std::io::Result<()> {
    let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let name = if name.is_empty() { "192.0.2.1" } else { name }.to_owned().try_into().unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    tls.write_tls(stream)?;
    // Whoever answers with a certificate has taken it; what is refused gets an alert or nothing.
    let mut head = [0; 1];
    match stream.read(&mut head)? {
        1 if head[0] == 0x16 => Ok(()),
        _ => Err(std::io::ErrorKind::ConnectionAborted.into()),
    }
}

#[test]
fn addresses_that_are_nobodys_upstream_are_refused() {
    let stage = Stage::new();
    let other = |name: &str, host: &str, private: bool| {
        let more = format!("variable = \"{}\"\nhost = \"{host}\"\nallow_private = {private}", name.to_uppercase());
        stage.rule(name, &more)
    };
    let hosts = [
        ("unasked", "localhost", false),
        ("loopback", "127.0.0.1", false),
        ("cloud", "169.254.169.254", true),
        ("link", "169.254.1.1", true),
        ("amazon", "fd00:ec2::254", true),
        ("linksix", "fe80::1", true),
        ("mapped", "::ffff:127.0.0.1", true),
        ("nowhere", "0.0.0.0", true),
        ("many", "224.0.0.1", true),
    ];
    let rules: String = hosts.iter().map(|(name, host, private)| other(name, host, *private)).collect();
    let proxy = stage.proxy(&(stage.api() + &rules));
    for (name, ..) in hosts {
        let said = asked(&proxy, &format!("GET /TOKEN/{name}/v1/echo"), "");
        assert!(said.starts_with("HTTP/1.1 403") && said.contains("destination_ip_prohibited"), "{name}: {said}");
        assert_holds_none(&said);
    }
    assert!(stage.upstream.seen().is_empty());
}

#[test]
fn one_request_goes_out_for_one_that_came_in() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    let inner = "GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let chunked = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    let (both, twice) =
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 4\r\nContent-Length: 5\r\n");
    for (head, body, status) in [
        (both, chunked.as_str(), 200),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunked.as_str(), 200),
        (twice, inner, 400),
        ("Content-Length: +4\r\n", inner, 400),
        ("Transfer-Encoding: chunked, identity\r\n", chunked.as_str(), 400),
        ("Transfer-Encoding: xchunked\r\n", chunked.as_str(), 400),
        ("X-A: b\rContent-Length: 4\r\n", inner, 400),
        ("X-A : b\r\n", inner, 400),
        ("X-A: b\r\n c\r\n", inner, 400),
        ("X-A: \0\r\n", inner, 400),
    ] {
        let before = stage.upstream.seen().len();
        let (port, token) = proxy.at();
        let line = format!("POST /{token}/api/v1/echo HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
        let said = raw(&proxy, &format!("{line}{head}\r\n{body}"));
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{head:?}: {said}");
        let seen = stage.upstream.seen().split_off(before);
        assert_eq!(seen.len(), usize::from(status == 200), "{head:?}: {seen:?}");
        if let [seen] = seen.as_slice() {
            assert_eq!(seen.all("content-length").len() + seen.all("transfer-encoding").len(), 1, "{seen:?}");
            assert_eq!(seen.body, inner.as_bytes(), "the body is a body: {seen:?}");
        }
    }
}

#[test]
fn headers_of_the_connection_end_here() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    let (port, token) = proxy.at();
    let sent = "Connection: close, authorization, X-Mine, content-length\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
                Proxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\nAuthorization: Bearer one\r\n\
                authorization: Bearer two\r\nX-HTTP-Method-Override: DELETE\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n\
                X_HTTP_Method_Override: DELETE\r\nX-Forwarded-Uri: /admin\r\nRequest-Range: bytes=0-3\r\n\
                Accept-Encoding: gzip, br\r\nRange: bytes=0-3\r\nExpect: 100-continue\r\nX-Kept: yes\r\nContent-Length: 5\r\n";
    let said = raw(
        &proxy,
        &format!(
            "POST /{token}/api/v1/echo HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nReferer: {}\r\n{sent}\r\nhello",
            proxy.base()
        ),
    );
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
    assert_holds_none(&said);
    let seen = stage.upstream.last();
    for gone in [
        "x-mine",
        "keep-alive",
        "te",
        "proxy-authorization",
        "proxy-connection",
        "x-http-method-override",
        "x-original-url",
        "x-rewrite-url",
        "x_http_method_override",
        "x-forwarded-uri",
        "range",
        "request-range",
        "expect",
        "referer",
        "connection",
    ] {
        assert!(seen.all(gone).is_empty(), "{gone}: {}", seen.head);
    }
    assert_eq!(seen.all("authorization"), [format!("Bearer {SECRET}")]);
    assert_eq!(
        (seen.all("x-kept"), seen.all("accept-encoding"), seen.body.as_slice()),
        (vec!["yes"], vec!["identity"], &b"hello"[..])
    );
}

#[test]
fn heads_have_a_size_and_a_time() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    let long = format!("X-Long: {}\r\n", "a".repeat(256 << 10));
    assert!(asked(&proxy, "GET /TOKEN/api/v1/echo", &long).starts_with("HTTP/1.1 431"));
    let many: String = (0..200).map(|number| format!("X-{number}: 1\r\n")).collect();
    assert!(asked(&proxy, "GET /TOKEN/api/v1/echo", &many).starts_with("HTTP/1.1 431"));
    assert!(stage.upstream.seen().is_empty());
    // Many that say nothing keep nobody else out for long: there is room, and each is closed in the end.
    let idle: Vec<_> = (0..200).map(|_| open(&proxy, "GET /")).collect();
    assert!(asked(&proxy, "GET /TOKEN/api/v1/echo", "").starts_with("HTTP/1.1 200"));
    drop(idle);
}

#[test]
fn without_a_credential_nothing_goes_out_and_the_child_learns_why() {
    let mut stage = Stage::new();
    stage.put("short", "1234567");
    stage.put("away", "asked-for-too-late");
    let rules = [
        stage.api(),
        stage.rule("away", "role = \"away\"\nvariable = \"AWAY\""),
        stage.rule("none", "role = \"never-granted\"\nvariable = \"NONE\""),
        stage.rule("short", "role = \"short\"\nvariable = \"SHORT\""),
        stage.rule("member", "value = \"Bearer {password}\"\nvariable = \"MEMBER\""),
    ];
    let proxy = stage.proxy(&rules.concat());
    for (rule, status, words) in [
        ("none", 403, "no credential of role never-granted: refused: no_grant"),
        ("short", 502, "shorter than 8 bytes"),
        ("member", 502, "has no text member \"password\"; it has: encoding, name, type, value"),
    ] {
        let said = asked(&proxy, &format!("GET /TOKEN/{rule}/v1/echo"), "");
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")) && said.contains(words), "{rule}: {said}");
        assert_holds_none(&said);
    }
    assert!(stage.upstream.seen().is_empty());
    stage.vault.kill();
    let begun = std::time::Instant::now();
    let said = asked(&proxy, "GET /TOKEN/away/v1/echo", "");
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("retry-after: 5"), "{said}");
    assert!(said.contains("no credential of role away") && begun.elapsed() < Duration::from_secs(40), "{said}");
    stage.vault.go_on();
    assert!(asked(&proxy, "GET /TOKEN/away/v1/echo", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_credential_that_was_not_taken_is_replaced_once_for_later_requests() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.api());
    for (number, issued) in [(1, 1), (2, 2), (3, 2), (4, 2)] {
        assert!(asked(&proxy, "POST /TOKEN/api/v1/denied", "").starts_with("HTTP/1.1 401"));
        assert_eq!(stage.upstream.seen().len(), number, "no body is sent twice");
        assert_eq!(stage.issued(), issued, "after {number}");
    }
}

#[test]
fn a_child_that_goes_leaves_no_request_to_the_vault_behind() {
    let stage = Stage::new();
    let proxy = stage.proxy(&stage.rule("none", "role = \"never-granted\"\nvariable = \"API_BASE_URL\""));
    let vault = rustix::process::Pid::from_raw(stage.vault.id().cast_signed()).unwrap();
    let send = |signal| rustix::process::kill_process(vault, signal).unwrap();
    send(rustix::process::Signal::STOP);
    let (port, token) = proxy.at();
    for _ in 0..40 {
        let head = format!("GET /{token}/none/v1/echo HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        let stream = open(&proxy, &head);
        std::thread::sleep(Duration::from_millis(20));
        drop(stream);
    }
    send(rustix::process::Signal::CONT);
    assert!(asked(&proxy, "GET /TOKEN/none/v1/echo", "").contains("no_grant"));
    std::thread::sleep(Duration::from_secs(2));
    let kinds = stage.vault.vaultctl(&["audit", "show", "kit", "--field", "kind"]).ok();
    let refused = kinds.lines().filter(|kind| kind.contains("den") || kind.contains("refus")).count();
    assert!((1..=4).contains(&refused), "{refused}: {kinds}");
}
