//! git clones over HTTP from `git http-backend`, which lets in who shows the secret.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::loopback::{Asked, Loopback, Told};
use crate::programs::{fed, program, said};
use crate::stage::Stage;

const SECRET: &str = "hunter2:with colon";

/// A repository with one commit, and the server before it. `bearer` is what it takes besides user and password.
struct Host {
    stage: Stage,
    server: Loopback,
}

impl Host {
    fn new(secret: &'static str) -> Host {
        let stage = Stage::with("git-read", secret.as_bytes());
        let make = "git init -q --bare repos/team/x.git && git init -q work && cd work && git config user.name a && \
                    git config user.email a@b && echo hello > file && git add file && git commit -qm one && \
                    git push -q ../repos/team/x.git HEAD:refs/heads/main && cd .. && \
                    git --git-dir repos/team/x.git symbolic-ref HEAD refs/heads/main";
        said(program("sh", stage.vault.path()).args(["-c", make])).ok();
        let root = stage.path("repos");
        let server = Loopback::start(move |asked| {
            let shown = asked.header("authorization").unwrap_or_default();
            let plain = shown.strip_prefix("Basic ").map(|basic| STANDARD.decode(basic).unwrap());
            let basic = plain.as_deref() == Some(format!("x-access-token:{SECRET}").as_bytes());
            if !basic && shown != "Bearer a.b.c" {
                let refused = Told::new(401, "text/plain", "no\n");
                return refused.with("WWW-Authenticate", "Basic realm=\"git\"");
            }
            backend(&root, asked)
        });
        Host { stage, server }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/team/x.git", self.server.port())
    }

    /// git with the helper in its configuration, as users paste it, and nobody to ask.
    fn git(&self, mut git: Command, more: &str) -> Command {
        let host = format!("127.0.0.1:{}", self.server.port());
        let config = format!(
            "[credential \"http://{host}\"]\n\thelper =\n\thelper = !vault-agent git --host {host}=git-read {more}\n"
        );
        std::fs::write(self.stage.path(".gitconfig"), config).unwrap();
        git.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1");
        git
    }

    fn logins(&self) -> usize {
        self.server.asked().iter().filter(|asked| asked.header("authorization").is_some()).count()
    }
}

/// git's own program behind HTTP, called as a web server calls it (RFC 3875).
fn backend(root: &std::path::Path, asked: &Asked) -> Told {
    let mut cgi = Command::new("git");
    cgi.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    cgi.env("REQUEST_METHOD", &asked.method).env("PATH_INFO", &asked.path).env("QUERY_STRING", &asked.query);
    cgi.env("CONTENT_LENGTH", asked.body.len().to_string()).env("REMOTE_USER", "agent");
    for (header, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        cgi.env(variable, asked.header(header).unwrap_or_default());
    }
    let mut running = cgi.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    running.stdin.take().unwrap().write_all(&asked.body).unwrap();
    let out = running.wait_with_output().unwrap().stdout;
    let end = out.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut told = Told { status: 200, headers: Vec::new(), body: out[end + 4..].to_vec() };
    for line in std::str::from_utf8(&out[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "Status" => told.status = value[..3].parse().unwrap(),
            _ => told.headers.push((name.into(), value.into())),
        }
    }
    told
}

#[test]
fn a_clone_goes_through_with_the_agents_own_key() {
    let host = Host::new(SECRET);
    let url = host.url();
    let mut clone = host.git(host.stage.tool("git"), "");
    said(clone.args(["clone", "-q", &url, "copy"])).ok();
    assert_eq!(std::fs::read_to_string(host.stage.path("copy/file")).unwrap(), "hello\n");
    assert!(host.logins() > 0);
    let kept = std::fs::read_to_string(host.stage.path("copy/.git/config")).unwrap();
    assert!(!kept.contains("hunter2") && !host.stage.path(".git-credentials").exists());

    // Another user of this machine who has no key is not asked for a password, and gets nothing.
    let mut stranger = host.git(host.stage.bare("git"), "");
    let text = said(stranger.args(["clone", &url, "other"])).fails(128);
    assert!(text.contains("vault-agent: ") && !text.contains("hunter2"), "{text}");
    // Nor is the credential given to a host that is not written down.
    let elsewhere = b"protocol=https\nhost=other.example\n\n";
    let given = fed(&mut host.stage.agent(&["git", "--host", "git.example=git-read", "get"]), elsewhere);
    assert_eq!((given.code, given.out.as_str()), (0, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_is_given_back_to_the_launcher() {
    let host = Host::new("not what the server wants");
    let (wallet, serving) = host.stage.launcher(&["git-read"], None);
    let (name, path) = serving.variable();
    let fetch = |times: usize| {
        for _ in 0..times {
            let mut git = host.git(host.stage.bare("git"), "");
            let text = said(git.env(name, path).args(["ls-remote", &host.url()])).fails(128);
            assert!(text.contains("Authentication failed") || text.contains("could not read"), "{text}");
        }
    };
    fetch(1);
    assert!(wallet.held().is_empty(), "the launcher still holds what was refused");
    fetch(1);
    assert_eq!(wallet.held().len(), 0);

    // What the server takes stays, and is asked for once.
    host.stage.vault.vaultctl_fed(&["secret", "put", "git-read", "-"], SECRET.as_bytes()).ok();
    for _ in 0..3 {
        let mut git = host.git(host.stage.bare("git"), "");
        said(git.env(name, path).args(["ls-remote", &host.url()])).ok();
    }
    assert_eq!(wallet.held().len(), 1);
    let issued = host.stage.vault.vaultctl(&["audit", "show", "kit", "--kind", "issue", "--field", "kind"]).ok();
    assert_eq!(issued.lines().count(), 3, "two that were refused, and one that serves all");
    wallet.close().await.unwrap();
    assert_eq!(host.stage.leases(), 0);
}

#[test]
fn a_bearer_token_goes_where_git_can_send_one() {
    let host = Host::new("a.b.c");
    let can = said(program("git", host.stage.vault.path()).args(["credential", "capability"])).out.contains("authtype");
    let mut git = host.git(host.stage.tool("git"), "--bearer");
    let listed = said(git.args(["ls-remote", &host.url()]));
    let sent: Vec<_> =
        host.server.asked().iter().filter_map(|asked| asked.header("authorization").map(String::from)).collect();
    if can {
        assert!(listed.ok().contains("refs/heads/main"));
        assert!(sent.iter().all(|shown| shown == "Bearer a.b.c"), "{sent:?}");
    } else {
        listed.fails(128);
        assert!(sent.iter().all(|shown| shown.starts_with("Basic ")), "{sent:?}");
    }
}

#[test]
fn a_secret_that_would_tell_git_another_host_is_not_handed_on() {
    let stage = Stage::with("git-read", b"x\nhost=evil.example\n");
    let ask = b"protocol=https\nhost=git.example\n\n";
    let said = fed(&mut stage.agent(&["git", "--host", "git.example=git-read", "get"]), ask);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("control character") && !said.err.contains("evil"), "{said:?}");
    let clear =
        fed(&mut stage.agent(&["git", "--host", "git.example=git-read", "get"]), b"protocol=http\nhost=git.example\n");
    assert!((clear.code, clear.out.as_str()) == (1, "") && clear.err.contains("https alone"), "{clear:?}");
}
