//! The published request vectors under `tests/vectors/requests/`: what an agent's client signs, byte for byte, and what
//! it makes of each answer. They come out of the client of this crate, which is held against them here; each client in
//! another language runs the same files (`tests/sdk.rs`). `NOCKVAULT_REGENERATE=1` writes them anew.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::sync::{Arc, Mutex};

use nockvault::client::Surroundings;
use nockvault::client::agent::{Agent, Ask, Session};
use nockvault::client::fault::{Fault, Refusal, Untrusted};
use nockvault::client::keyfile::hex;
use nockvault::client::seen::Memory;
use nockvault::client::signer::{Held, Identity};
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::{Entropy, SeededEntropy};
use nockvault::secret::Secret;
use nockvault::statement::card::Card;
use nockvault::time::{ManualClock, Seconds};
use serde_json::{Value, json};

#[path = "support/committed.rs"]
mod committed;
#[path = "requests/conversations.rs"]
mod conversations;
#[path = "requests/statements.rs"]
mod statements;
#[path = "requests/vault.rs"]
mod vault;

use conversations::Plan;
use vault::Scripted;

/// Randomness that writes down what it gave.
#[derive(Debug)]
struct Recorded(SeededEntropy, Mutex<Vec<Vec<u8>>>);

impl Entropy for Recorded {
    fn fill(&self, out: &mut [u8]) {
        self.0.fill(out);
        self.1.lock().unwrap().push(out.to_vec());
    }
}

impl Recorded {
    /// What was drawn, by what it was drawn for: lengths tell, and the key of a session is drawn after its sid.
    fn told(&self) -> Value {
        let (mut challenges, mut nonces, mut sids, mut sessions) = (vec![], vec![], vec![], vec![]);
        let drawn = self.1.lock().unwrap();
        for (i, bytes) in drawn.iter().enumerate() {
            match bytes.len() {
                8 => sids.push(hex(bytes)),
                24 => nonces.push(hex(bytes)),
                32 if i > 0 && drawn[i - 1].len() == 8 => sessions.push(hex(bytes)),
                32 => challenges.push(hex(bytes)),
                other => panic!("{other} bytes are drawn for nothing"),
            }
        }
        json!({"challenge": challenges, "nonce": nonces, "sid": sids, "session_key": sessions})
    }
}

fn signing_key(seed: &str) -> SigningKey {
    nockvault::client::keyfile::parse_secret(seed).unwrap()
}

/// What a fault is called in the vectors.
fn told(fault: &Fault) -> Value {
    match fault {
        Fault::Refused(refusal) => {
            json!({"refused": {"reason": refusal.code, "limit": refusal.limit, "proven": refusal.proven}})
        }
        Fault::Unreachable { .. } => json!({"unreachable": {}}),
        Fault::NoAnswer { .. } => json!({"no_answer": {}}),
        Fault::Untrusted(Untrusted::OtherTerms { member }) => {
            json!({"untrusted": {"why": "other_terms", "member": member}})
        }
        Fault::Untrusted(why) => json!({"untrusted": {"why": match why {
            Untrusted::OtherVault { .. } | Untrusted::Tls { .. } => "other_vault",
            Untrusted::Certificate(_) | Untrusted::OlderKey { .. } => "certificate",
            Untrusted::NotListed { .. } => "not_listed",
            Untrusted::Signature => "signature",
            Untrusted::Form { .. } => "form",
            Untrusted::OtherRequest => "other_request",
            Untrusted::OtherTerms { .. } => "other_terms",
            Untrusted::OlderHistory { .. } => "older_history",
            Untrusted::Seal => "seal",
        }}}),
        Fault::Local(_) => json!({"local": {}}),
    }
}

/// A client in the middle of a conversation.
struct Talk {
    card: Card,
    clock: ManualClock,
    entropy: Arc<Recorded>,
    memory: Arc<Memory>,
    agent: Option<Agent>,
    session: Option<Session>,
    /// The vault's last no.
    refusal: Option<Refusal>,
}

impl Talk {
    async fn connect(&mut self) -> Result<Value, Fault> {
        let around = Surroundings {
            clock: Arc::new(self.clock.clone()),
            entropy: self.entropy.clone(),
            memory: self.memory.clone(),
            directory: None,
        };
        let key = SigningKey::from_seed(&Secret::new([0x42; 32]));
        let agent = Agent::connect_in(&self.card, Identity::held("kit".parse().unwrap(), key, 1), around).await?;
        self.agent = Some(agent);
        Ok(json!({}))
    }

    async fn carry_out(&mut self, act: &Value) -> Result<Value, Fault> {
        let text = |name: &str| act[name].as_str().unwrap();
        let number = |name: &str| Seconds(act[name].as_u64().unwrap());
        if text("do") == "connect" {
            return self.connect().await;
        }
        if text("do") == "wait" {
            self.clock.advance(number("seconds"));
            return Ok(json!({}));
        }
        let agent = self.agent.clone().unwrap();
        if text("do") == "accept_restore" {
            let lost = agent.accept_restore(self.refusal.as_ref().unwrap())?;
            return Ok(json!({"head": lost.head, "size": lost.size}));
        }
        if text("do") == "hello" {
            let (session, opened) = agent.open_session("sdk").await?;
            self.session = Some(session);
            return Ok(json!({"ends": opened.ends, "idle": opened.idle}));
        }
        let session = self.session.get_or_insert_with(|| agent.session("sdk").unwrap()).clone();
        match text("do") {
            "request" => {
                let credential = session.request(&asked(&act["ask"])).await?;
                let secret: Value = serde_json::from_slice(credential.secret.expose_json()).unwrap();
                let hdr = &credential.hdr;
                Ok(json!({
                    "secret": secret, "lease": hdr.lease, "exp": hdr.exp, "renewable": hdr.renewable,
                    "revocation": hdr.revocation,
                }))
            }
            "renew" => Ok(json!({"exp": session.renew(&text("lease").parse().unwrap(), number("ttl")).await?})),
            "release" => session.release(&text("lease").parse().unwrap()).await.map(|()| json!({})),
            "release_unanswered" => {
                let req = serde_json::from_value(act["req"].clone()).unwrap();
                Ok(json!({"lease": session.release_unanswered(req).await?}))
            }
            "close" => Ok(json!({"leases": session.close().await?})),
            "rotate_key" => {
                let grace = session.rotate_key(Arc::new(Held::new(signing_key(text("seed"))))).await?;
                Ok(json!({"grace": grace}))
            }
            other => panic!("nobody knows how to {other}"),
        }
    }
}

fn asked(ask: &Value) -> Ask {
    let purpose = ask["purpose"].as_str().unwrap().to_owned();
    let ttl = Seconds(ask["ttl"].as_u64().unwrap());
    let wish = Ask::role(ask["role"].as_str().unwrap().parse().unwrap()).ttl(ttl).purpose(purpose.try_into().unwrap());
    let params = ask["params"].as_object().unwrap().clone();
    params.into_iter().fold(wish, |wish, (name, value)| wish.param(name, value))
}

/// Holds the conversation with the client of this crate, and writes down what was said.
async fn held(n: u64, plan: Plan) -> Value {
    let Plan { name, clock, memory, acts, turns } = plan;
    let (vault, card) = Scripted::start(turns).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(card.aud.as_str()).join("kit.seen");
    let memory = memory.unwrap_or_else(|| json!({"cert_nbf": 0, "head": "A".repeat(43), "size": 0}));
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::write(&file, format!("{memory}\n")).unwrap();
    let mut talk = Talk {
        memory: Arc::new(Memory::kept_in(folder.path(), &card.aud, &"kit".parse().unwrap()).unwrap()),
        card,
        clock: ManualClock::at(clock),
        entropy: Arc::new(Recorded(SeededEntropy::new(n), Mutex::default())),
        agent: None,
        session: None,
        refusal: None,
    };
    for act in &acts {
        let came = match talk.carry_out(act).await {
            Ok(ok) => json!({ "ok": ok }),
            Err(fault) => {
                talk.refusal = fault.refusal().cloned();
                told(&fault)
            }
        };
        assert_eq!(came, act["expect"], "{name}: {act}");
    }
    assert!(vault.done(), "{name}: the vault had more to say");
    let remembers: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let tape = vault.tape.lock().unwrap().clone();
    json!({
        "name": name, "clock": clock, "memory": memory, "random": talk.entropy.told(), "acts": acts, "tape": tape,
        "remembers": remembers,
    })
}

/// Holds a published file against what it must be.
fn published(name: &str, value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    committed::stands(format!("tests/vectors/requests/{name}"), text);
}

#[test]
fn the_published_requests_are_what_this_crate_signs() {
    published("requests.json", &statements::all(&vault::aud()));
}

#[tokio::test]
async fn the_published_conversations_are_what_this_client_holds() {
    let mut conversations = Vec::new();
    for (n, plan) in conversations::all().into_iter().enumerate() {
        conversations.push(held(n as u64, plan).await);
    }
    let card = vault::card("https://vault.example:7447");
    let agent = json!({"name": "kit", "seed": "42".repeat(32), "kver": 1});
    let whole = json!({
        "card": {"aud": card.aud, "identity": card.identity, "name": card.name, "agents": card.agents},
        "agent": agent,
        "label": "sdk",
        "conversations": conversations,
    });
    published("conversations.json", &whole);
}
