//! Another server under the same load: HTTP/1.1 with JSON, on connections that stay open. A round is a list of requests
//! in order, of which one may bring the token that the next ones show; each round has a fresh JWT, signed with Ed25519
//! as it is sent.

use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Context as _;
use clap::Args;
use nockvault::base64url;
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::secret::Secret;
use nockvault::time::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::measure::{Plan, Work};

/// What `http` is told.
#[derive(Args)]
pub(crate) struct Load {
    #[command(flatten)]
    plan: Plan,
    /// Where the server is: HOST:PORT.
    #[arg(long)]
    address: String,
    /// A request, `METHOD PATH BODY`; several make a round. `@JWT@` becomes a fresh token, `@AGENT@` the session's number.
    #[arg(long = "step", required = true)]
    steps: Vec<String>,
    /// A file of 32 bytes: the seed of the key that signs tokens.
    #[arg(long)]
    seed: PathBuf,
    /// The value of `X-Vault-Token` where no answer has brought one.
    #[arg(long)]
    token: Option<String>,
}

struct About {
    steps: Vec<(String, String, String)>,
    key: SigningKey,
    token: Option<String>,
}

impl Load {
    pub(crate) async fn run(self) -> anyhow::Result<Value> {
        let seed: [u8; 32] = std::fs::read(&self.seed)?.try_into().ok().context("--seed is not of 32 bytes")?;
        let steps = self.steps.iter().map(|step| {
            let mut parts = step.splitn(3, ' ').map(str::to_owned);
            let mut next = || parts.next().unwrap_or_default();
            (next(), next(), next())
        });
        let about = Rc::new(About {
            steps: steps.collect(),
            key: SigningKey::from_seed(&Secret::new(seed)),
            token: self.token,
        });
        let mut callers = Vec::new();
        for number in 0..self.plan.sessions {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            callers.push(Caller { about: Rc::clone(&about), number, stream, taken: Vec::new() });
        }
        Ok(self.plan.drive(callers).await)
    }
}

struct Caller {
    about: Rc<About>,
    number: usize,
    stream: TcpStream,
    taken: Vec<u8>,
}

impl About {
    fn jwt(&self, agent: usize) -> String {
        let (now, entropy) = (SystemClock.now().0 / 1000, &OsEntropy as &dyn Entropy);
        let claims = json!({
            "iss": "bench", "aud": "bench", "sub": format!("agent-{agent}"), "iat": now, "nbf": now - 5,
            "exp": now + 60, "jti": base64url::encode(&entropy.bytes::<16>()),
        });
        let head = base64url::encode(br#"{"alg":"EdDSA","typ":"JWT"}"#);
        let signed = format!("{head}.{}", base64url::encode(claims.to_string().as_bytes()));
        let signature = self.key.sign_raw(signed.as_bytes());
        format!("{signed}.{}", base64url::encode(signature.as_bytes()))
    }
}

impl Work for Caller {
    async fn once(&mut self) -> Result<(), String> {
        let about = Rc::clone(&self.about);
        let (jwt, agent) = (about.jwt(self.number), self.number.to_string());
        let mut token = about.token.clone();
        for (method, path, body) in &about.steps {
            let (path, body) =
                (path.replace("@AGENT@", &agent), body.replace("@JWT@", &jwt).replace("@AGENT@", &agent));
            let shown = token.as_ref().map(|token| format!("X-Vault-Token: {token}\r\n")).unwrap_or_default();
            let length = body.len();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{shown}Content-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            );
            let (status, body) = self.exchange(&request).await.map_err(|why| why.to_string())?;
            let text = String::from_utf8_lossy(&body);
            if !(200..300).contains(&status) {
                return Err(format!("{method} {path}: {status} {text}"));
            }
            if let Some((_, rest)) = text.split_once("\"client_token\":\"") {
                token = rest.split('"').next().map(str::to_owned);
            }
        }
        Ok(())
    }
}

impl Caller {
    async fn more(&mut self) -> std::io::Result<()> {
        match self.stream.read_buf(&mut self.taken).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The bytes up to a mark that ends them, without it.
    async fn up_to(&mut self, mark: &[u8]) -> std::io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.taken.windows(mark.len()).position(|window| window == mark) {
                let rest = self.taken.split_off(at + mark.len());
                let mut found = std::mem::replace(&mut self.taken, rest);
                found.truncate(at);
                return Ok(found);
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        while self.taken.len() < length {
            self.more().await?;
        }
        let rest = self.taken.split_off(length);
        Ok(std::mem::replace(&mut self.taken, rest))
    }

    /// Sends a request and reads its answer whole, by its length or in chunks.
    async fn exchange(&mut self, request: &str) -> std::io::Result<(u16, Vec<u8>)> {
        self.stream.write_all(request.as_bytes()).await?;
        let head = String::from_utf8_lossy(&self.up_to(b"\r\n\r\n").await?).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length = |text: &str, radix| usize::from_str_radix(text.trim(), radix).map_err(std::io::Error::other);
        if let Some(text) = header("content-length:") {
            return Ok((status, self.exactly(length(text, 10)?).await?));
        }
        let mut body = Vec::new();
        while header("transfer-encoding:") == Some("chunked") {
            let text = String::from_utf8_lossy(&self.up_to(b"\r\n").await?).into_owned();
            let chunk = length(&text, 16)?;
            body.extend(self.exactly(chunk).await?);
            self.exactly(2).await?;
            if chunk == 0 {
                break;
            }
        }
        Ok((status, body))
    }
}
