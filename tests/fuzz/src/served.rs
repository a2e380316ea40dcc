//! What the launcher serves to its child, over real sockets: the agent socket, the ssh-agent and the proxy. The vault behind
//! them is not there, so that nothing is ever given.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use nockvault::client::Surroundings;
use nockvault::client::signer::Identity;
use nockvault::client::sshagent::SshAgent;
use nockvault::launcher::proxy::{self, Rules};
use nockvault::launcher::wallet::{Owner, Silent, Wallet};
use nockvault::launcher::want::{Roles, Want};
use nockvault::launcher::{socket, sshagent as agent};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::client::answering;
use super::world;

/// No answer here takes longer, since nobody is asked.
const PATIENCE: Duration = Duration::from_secs(20);

struct Stage {
    runtime: Runtime,
    socket: socket::Serving,
    ssh: agent::Serving,
    proxy: proxy::Serving,
    token: String,
    /// What the other side of [`SshAgent`] says.
    said: Arc<std::sync::Mutex<Vec<u8>>>,
    client: SshAgent,
    _folder: TempDir,
}

const RULES: &str = r#"
[[rule]]
name = "api"
role = "orders-read"
host = "localhost"
port = 1
methods = ["GET", "POST"]
paths = ["/v1/*"]
value = "Bearer {}"
allow_private = true
variable = "API_BASE_URL"
base = "/v1"
connect = true
"#;

impl Stage {
    fn set() -> Stage {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::Builder::new().prefix("nockvault-fuzz-").tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
        let role: nockvault::id::RoleName = "orders-read".parse().expect("it is a name");
        let wallet = Wallet::new(Owner {
            card: answering(),
            identity: Identity::held("kit".parse().expect("it is a name"), world::kit(), 1),
            around: Surroundings::default(),
            label: "launcher".to_owned(),
            roles: Roles::Only([role.clone()].into()),
            reporter: Arc::new(Silent),
            orphans: None,
        });
        fs::write(folder.path().join("rules.toml"), RULES).expect("a temporary file");
        let rules = Rules::read(&folder.path().join("rules.toml")).expect("they are rules");
        let said: Arc<std::sync::Mutex<Vec<u8>>> = Arc::default();
        let inside = runtime.enter();
        let options = socket::Options { dir: Some(folder.path().to_owned()), uid: None, token: None };
        let socket = socket::serve(wallet.clone(), options).expect("a socket");
        let silent: agent::Words = Arc::new(|_: &str| {});
        let ssh = agent::serve(wallet.clone(), vec![Want::role(role)], folder.path(), None, silent.clone());
        let ssh = ssh.expect("an ssh-agent");
        let proxy = runtime.block_on(proxy::serve(wallet, rules, 0, &|_| None, silent)).expect("a proxy");
        let base = proxy.variables().iter().find(|(name, _)| name == "API_BASE_URL").expect("the rule has a variable");
        let token = base.1.to_str().and_then(|url| url.split('/').nth(3)).expect("a token stands in it").to_owned();
        let lies = folder.path().join("lies.sock");
        runtime.spawn(lie(UnixListener::bind(&lies).expect("a socket"), said.clone()));
        let client = SshAgent::at(lies);
        drop(inside);
        Stage { runtime, socket, ssh, proxy, token, said, client, _folder: folder }
    }
}

/// Says the same to everybody.
async fn lie(listener: UnixListener, said: Arc<std::sync::Mutex<Vec<u8>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let words = said.lock().expect("nobody panicked").clone();
        let mut asked = [0; 5];
        let _ = stream.read_exact(&mut asked).await;
        let _ = stream.write_all(&words).await;
    }
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

fn on<T>(run: impl FnOnce(&Stage) -> T) -> T {
    STAGE.with_borrow_mut(|stage| run(stage.get_or_insert_with(Stage::set)))
}

/// Ends what is served, and takes its folder away.
pub(super) fn end() {
    STAGE.with_borrow_mut(|stage| *stage = None);
}

/// Says it, and reads what comes until the other side ends.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    let exchange = async {
        let _ = stream.write_all(words).await;
        let _ = stream.shutdown().await;
        let _ = (&mut stream).take(1 << 20).read_to_end(&mut heard).await;
    };
    timeout(PATIENCE, exchange).await.expect("what is served answers or hangs up");
    heard
}

/// A line on the agent socket: one answer, which is one line of JSON and holds no credential.
pub(super) fn question(data: &[u8]) -> bool {
    on(|stage| {
        let line = if data.ends_with(b"\n") { data.to_vec() } else { [data, b"\n"].concat() };
        let heard = stage.runtime.block_on(async {
            let stream = UnixStream::connect(stage.socket.path()).await.expect("it is served");
            exchange(stream, &line).await
        });
        // Who says more than a line may be cut off before hearing the answer.
        if heard.is_empty() {
            return false;
        }
        let answer: Value = serde_json::from_slice(&heard).expect("an answer is a line of JSON");
        assert!(heard.ends_with(b"\n") && answer["ok"].get("secret").is_none());
        let code = answer["error"]["code"].as_str();
        assert!(code.is_some() != answer.get("ok").is_some(), "an answer is one of two");
        code != Some("bad_request")
    })
}

/// What a client says to the launcher's ssh-agent; and the same, said by an ssh-agent to the launcher's client.
pub(super) fn sshagent(data: &[u8]) -> bool {
    on(|stage| {
        let heard = stage.runtime.block_on(async {
            let stream = UnixStream::connect(stage.ssh.path()).await.expect("it is served");
            exchange(stream, data).await
        });
        let mut rest = heard.as_slice();
        while let Some((length, more)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            assert!(length >= 1 && length <= more.len() && matches!(more[0], 5 | 6 | 12), "nothing is signed here");
            rest = &more[length..];
        }
        assert!(rest.is_empty(), "an answer breaks off");
        *stage.said.lock().expect("nobody panicked") = data.to_vec();
        let listed = stage.runtime.block_on(stage.client.list());
        match &listed {
            Ok(keys) => keys.iter().for_each(|key| super::told(key)),
            Err(why) => super::told(why),
        }
        if let Err(why) = stage.runtime.block_on(stage.client.find(Some("kit"))) {
            super::told(why);
        }
        listed.is_ok() || !heard.is_empty()
    })
}

/// A connection to the proxy. `{token}` stands for the one that lets a child in.
pub(super) fn proxy(data: &[u8]) -> bool {
    on(|stage| {
        let words = replaced(data, b"{token}", stage.token.as_bytes());
        let heard = stage.runtime.block_on(async {
            // Where all ports are waiting for their end, there is nothing to try.
            let stream = TcpStream::connect(stage.proxy.at()).await.ok()?;
            Some(exchange(stream, &words).await)
        });
        let Some(heard) = heard else { return false };
        let answered = heard.starts_with(b"HTTP/1.");
        assert!(heard.is_empty() || answered, "the proxy answers something else than HTTP");
        let done = heard.get(8..10) == Some(b" 2") && !words.starts_with(b"CONNECT ");
        assert!(!done, "nobody is there who could have answered this");
        answered && heard.get(8..12) != Some(b" 400")
    })
}

fn replaced(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(with);
        rest = &rest[at + what.len()..];
    }
    out.extend_from_slice(rest);
    out
}
