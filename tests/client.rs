//! The agent's client against a vault that lies in one thing at a time. What it must not believe, it must not use.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::HashSet;
use std::sync::Arc;

use nockvault::audit::certificate::Life;
use nockvault::client::Surroundings;
use nockvault::client::agent::{Agent, Ask, Session};
use nockvault::client::fault::{Fault, Untrusted};
use nockvault::client::seen::Memory;
use nockvault::client::signer::Identity;
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::SigningKey;
use nockvault::denial::Reason;
use nockvault::entropy::SeededEntropy;
use nockvault::secret::Secret;
use nockvault::statement::card::Card;
use nockvault::statement::reply::Hdr;
use nockvault::time::{ManualClock, Seconds, Timestamp};
use serde_json::{Value, json};

#[path = "client/vault.rs"]
mod vault;

use vault::{Fake, LIFE, START, Wrongs};

fn around(clock: &ManualClock, memory: &Arc<Memory>) -> Surroundings {
    Surroundings {
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SeededEntropy::new(5)),
        memory: memory.clone(),
        directory: None,
    }
}

async fn connect_at(card: &Card, clock: &ManualClock) -> Result<Agent, Fault> {
    let key = SigningKey::from_seed(&Secret::new([4; 32]));
    let identity = Identity::held("kit".parse().unwrap(), key, 1);
    Agent::connect_in(card, identity, around(clock, &Arc::new(Memory::fleeting()))).await
}

async fn connected() -> (Fake, Session, ManualClock) {
    let (fake, card) = Fake::start().await;
    let clock = ManualClock::at(START);
    let session = connect_at(&card, &clock).await.unwrap().session("test").unwrap();
    (fake, session, clock)
}

fn ask() -> Ask {
    Ask::role("orders-read".parse().unwrap()).ttl(Seconds(60))
}

#[tokio::test]
async fn an_honest_answer_is_opened_and_remembered() {
    let (fake, session, _) = connected().await;
    let credential = session.request(&ask()).await.unwrap();
    assert_eq!(credential.secret.expose("value"), Some("demo"));
    assert_eq!((credential.entry.seq, credential.hdr.sid.as_str()), (3, session.sid().as_str()));
    assert_eq!(credential.hdr.req, credential.request.digest());
    session.request(&ask()).await.unwrap();
    let sent = fake.0.sent.lock().unwrap();
    let second: Value = serde_json::from_slice(&sent[1].payload).unwrap();
    assert_eq!(second["seen"], json!({"head": credential.entry.leaf, "size": 4}));
    assert!(!format!("{credential:?}").contains("demo"));
}

#[tokio::test]
async fn an_answer_to_something_else_is_not_believed() {
    let member = |member| Untrusted::OtherTerms { member };
    type Lie = fn(&mut Hdr);
    let lies: [(Lie, Untrusted); 10] = [
        (|hdr| hdr.req = Digest::of(b"another"), Untrusted::OtherRequest),
        (|hdr| hdr.vault = format!("nv1:{}", Digest::ZERO).parse().unwrap(), member("vault")),
        (|hdr| hdr.agent = "ada".parse().unwrap(), member("agent")),
        (|hdr| hdr.kid = Digest::ZERO.to_string().parse().unwrap(), member("kid")),
        (|hdr| hdr.role = "orders-write".parse().unwrap(), member("role")),
        (|hdr| hdr.sid = "other".parse().unwrap(), member("sid")),
        (|hdr| hdr.exp = hdr.iat.plus(Seconds(61)), member("exp")),
        (|hdr| hdr.exp = Timestamp(hdr.exp.0 + 1), member("exp")),
        (|hdr| hdr.exp = START, member("exp")),
        (|hdr| (hdr.iat, hdr.exp) = (START.minus(Seconds(60)), START), member("exp")),
    ];
    for (lie, wanted) in lies {
        let (fake, session, _) = connected().await;
        fake.wrong(Wrongs { hdr: Some(lie), ..Wrongs::default() });
        match session.request(&ask()).await {
            Err(Fault::Untrusted(found)) => assert_eq!(found, wanted),
            other => panic!("{wanted:?} was not found: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_that_the_vault_did_not_sign_is_not_believed() {
    let lies = [
        Wrongs { stranger_signs: true, ..Wrongs::default() },
        Wrongs { envelope: Some(|envelope| envelope.payload_type.push('x')), ..Wrongs::default() },
        Wrongs {
            envelope: Some(|envelope| {
                envelope.payload = String::from_utf8(envelope.payload.clone()).unwrap().replace("node1", "n").into();
                envelope.payload.push(b' ');
            }),
            ..Wrongs::default()
        },
    ];
    for lie in lies {
        let (fake, session, _) = connected().await;
        let name = format!("{lie:?}");
        fake.wrong(lie);
        let fault = session.request(&ask()).await.unwrap_err();
        let form = matches!(fault, Fault::Untrusted(Untrusted::Form { .. }));
        assert!(form || matches!(fault, Fault::Untrusted(Untrusted::Signature)), "{name}: {fault:?}");
        assert_eq!(fake.0.sent.lock().unwrap().len(), 1, "nothing is sent again for an answer that is not believed");
    }
}

#[tokio::test]
async fn an_answer_of_another_form_is_not_believed() {
    let lies: [fn(&mut Value); 5] = [
        |answer| answer["typ"] = json!("nockvault/renewed"),
        |answer| answer["v"] = json!(2),
        |answer| answer["crit"] = json!(["later"]),
        |answer| answer["crit"] = json!("hdr"),
        |answer| drop(answer.as_object_mut().unwrap().remove("entry")),
    ];
    for (index, lie) in lies.into_iter().enumerate() {
        let (fake, session, _) = connected().await;
        fake.wrong(Wrongs { answer: Some(lie), ..Wrongs::default() });
        let fault = session.request(&ask()).await.unwrap_err();
        assert!(matches!(fault, Fault::Untrusted(Untrusted::Form { .. })), "{index}: {fault:?}");
    }
    let (fake, session, _) = connected().await;
    let later = |answer: &mut Value| {
        answer["later"] = json!(1);
        answer["crit"] = json!(["hdr", "entry"]);
    };
    fake.wrong(Wrongs { answer: Some(later), ..Wrongs::default() });
    assert!(session.request(&ask()).await.is_ok(), "a member that is not known is ignored");
}

#[tokio::test]
async fn a_seal_for_another_request_does_not_open() {
    let (fake, session, _) = connected().await;
    let moved = |answer: &mut Value| {
        let end = answer["hdr"]["exp"].as_u64().unwrap();
        answer["hdr"]["exp"] = json!(end - 1);
    };
    fake.wrong(Wrongs { answer: Some(moved), ..Wrongs::default() });
    let fault = session.request(&ask()).await.unwrap_err();
    assert!(matches!(fault, Fault::Untrusted(Untrusted::Seal)), "{fault:?}");
}

#[tokio::test]
async fn history_that_was_rolled_back_is_not_believed() {
    let (fake, session, _) = connected().await;
    session.request(&ask()).await.unwrap();
    for seq in [0, 3] {
        fake.wrong(Wrongs { seq: Some(seq), ..Wrongs::default() });
        let fault = session.request(&ask()).await.unwrap_err();
        assert!(matches!(fault, Fault::Untrusted(Untrusted::OlderHistory { size: 4, .. })), "{seq}: {fault:?}");
    }
}

#[tokio::test]
async fn another_vault_is_told_apart_with_both_thumbprints() {
    let (_fake, card) = Fake::start().await;
    let other = SigningKey::from_seed(&Secret::new([9; 32])).public();
    let aud = nockvault::id::Aud::of_identity(&other.kid());
    let fault = connect_at(&Card { identity: other.clone(), aud, ..card.clone() }, &ManualClock::at(START)).await;
    let text = fault.unwrap_err().to_string();
    assert!(text.contains(other.kid().as_str()) && text.contains(card.identity.kid().as_str()), "{text}");
}

#[tokio::test]
async fn a_description_that_leads_nowhere_is_not_believed() {
    let old = Life { nbf: LIFE.nbf, exp: START };
    let young = Life { nbf: Timestamp(START.0 + 1), exp: LIFE.exp };
    let lies = [
        Wrongs { stranger_signs: true, ..Wrongs::default() },
        Wrongs { stranger_certifies: true, ..Wrongs::default() },
        Wrongs { life: Some(old), ..Wrongs::default() },
        Wrongs { life: Some(young), ..Wrongs::default() },
        Wrongs { described: Some(|described| described.req.0[0] ^= 1), ..Wrongs::default() },
        Wrongs { described: Some(|described| described.certs.clear()), ..Wrongs::default() },
    ];
    for lie in lies {
        let (fake, card) = Fake::start().await;
        let name = format!("{lie:?}");
        fake.wrong(lie);
        let fault = connect_at(&card, &ManualClock::at(START)).await.map(|_| ()).unwrap_err();
        assert!(matches!(fault, Fault::Untrusted(_)), "{name}: {fault:?}");
    }
}

#[tokio::test]
async fn an_old_response_key_brought_back_is_not_believed() {
    let (fake, card) = Fake::start().await;
    let memory = Arc::new(Memory::fleeting());
    let clock = ManualClock::at(START);
    let connect = || {
        let identity = Identity::held("kit".parse().unwrap(), SigningKey::from_seed(&Secret::new([4; 32])), 1);
        Agent::connect_in(&card, identity, around(&clock, &memory))
    };
    connect().await.unwrap();
    fake.wrong(Wrongs { life: Some(Life { nbf: Timestamp(LIFE.nbf.0 - 1), ..LIFE }), ..Wrongs::default() });
    let fault = connect().await.map(|_| ()).unwrap_err();
    assert!(matches!(&fault, Fault::Untrusted(Untrusted::OlderKey { .. })), "{fault:?}");
}

/// Two clocks that drift apart after the connection was made.
async fn drifted(wrongs: Wrongs) -> (Fake, Result<(), Fault>) {
    let (fake, session, clock) = connected().await;
    clock.set(START.minus(Seconds(900)));
    fake.wrong(wrongs);
    let done = session.request(&ask()).await.map(|_| ());
    (fake, done)
}

#[tokio::test]
async fn a_signed_refusal_corrects_the_clock_once_and_nothing_is_sent_twice() {
    let (fake, done) = drifted(Wrongs { refuse: 1, ..Wrongs::default() }).await;
    done.unwrap();
    let sent = fake.0.sent.lock().unwrap();
    let payloads: Vec<Value> = sent.iter().map(|sent| serde_json::from_slice(&sent.payload).unwrap()).collect();
    assert_eq!(payloads.len(), 2);
    assert_ne!(payloads[0]["nonce"], payloads[1]["nonce"]);
    assert_eq!(payloads[0]["iat"], json!(START.0 - 900_000));
    assert_eq!(payloads[1]["iat"], json!(START.0));
    assert_eq!(sent.iter().map(|sent| &sent.signature).collect::<HashSet<_>>().len(), 2);
}

#[tokio::test]
async fn a_vault_that_keeps_refusing_is_asked_twice_and_no_more() {
    let (fake, done) = drifted(Wrongs { refuse: 9, ..Wrongs::default() }).await;
    let fault = done.unwrap_err();
    let refusal = fault.refusal().unwrap();
    assert!(refusal.proven && refusal.limit == Some(300) && refusal.now == Some(START), "{fault:?}");
    assert_eq!(fault.reason(), Some(Reason::ClockSkew));
    assert_eq!(fake.0.sent.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_unsigned_refusal_moves_the_clock_only_where_the_challenged_vault_agrees() {
    let (fake, done) = drifted(Wrongs { refuse: 1, unsigned: true, ..Wrongs::default() }).await;
    done.unwrap();
    assert_eq!(fake.0.sent.lock().unwrap().len(), 2, "the vault's own clock said the same");

    let lies = [
        Wrongs { refuse: 1, unsigned: true, ..Wrongs::default() },
        Wrongs { refuse: 1, refuses_another: true, ..Wrongs::default() },
    ];
    for lie in lies {
        let (fake, session, _) = connected().await;
        fake.wrong(lie);
        let fault = session.request(&ask()).await.unwrap_err();
        assert!(!fault.refusal().unwrap().proven, "{fault:?}");
        assert!(fault.to_string().contains("not signed by the vault"));
        assert_eq!(fake.0.sent.lock().unwrap().len(), 1, "the clocks agree, so nothing is sent anew");
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_from_the_start_is_corrected_by_the_description() {
    let (fake, card) = Fake::start().await;
    let agent = connect_at(&card, &ManualClock::at(START.minus(Seconds(86_400)))).await.unwrap();
    agent.session("test").unwrap().request(&ask()).await.unwrap();
    let sent = fake.0.sent.lock().unwrap();
    let payload: Value = serde_json::from_slice(&sent[0].payload).unwrap();
    assert_eq!((sent.len(), payload["iat"].as_u64()), (1, Some(START.0)));
}

#[tokio::test]
async fn a_renewal_is_for_the_lease_and_the_life_that_was_asked_for() {
    let (fake, session, _) = connected().await;
    let lease = session.request(&ask()).await.unwrap().hdr.lease;
    assert_eq!(session.renew(&lease, Seconds(60)).await.unwrap(), START.plus(Seconds(60)));
    type Lie = fn(&mut Value);
    let lies: [(Lie, &str); 3] = [
        (|answer| answer["exp"] = json!(START.0 + 1_000_000), "exp"),
        (|answer| answer["exp"] = json!(START.0), "exp"),
        (|answer| answer["lease"] = json!("0197b2f0-0000-7000-8000-000000000000"), "lease"),
    ];
    for (lie, member) in lies {
        fake.wrong(Wrongs { answer: Some(lie), ..Wrongs::default() });
        match session.renew(&lease, Seconds(60)).await {
            Err(Fault::Untrusted(found)) => assert_eq!(found, Untrusted::OtherTerms { member }),
            other => panic!("{member}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_lost_answer_is_named_so_that_its_lease_can_be_released() {
    let (_fake, session, _) = connected().await;
    let lease = session.request(&ask()).await.unwrap().hdr.lease;
    let fault = session.release(&lease).await.unwrap_err();
    assert!(matches!(&fault, Fault::NoAnswer { why, .. } if why.contains("connection broke")), "{fault:?}");
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_says_where() {
    let (_fake, card) = Fake::start().await;
    let card = Card { agents: "http://127.0.0.1:1".into(), ..card };
    let fault = connect_at(&card, &ManualClock::at(START)).await.map(|_| ()).unwrap_err();
    assert!(matches!(&fault, Fault::Unreachable { address, .. } if address.ends_with(":1")), "{fault}");
}

#[tokio::test]
async fn what_cannot_be_remembered_is_not_used_and_can_be_given_back() {
    let (fake, card) = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory::kept_in(folder.path(), &card.aud, &"kit".parse().unwrap()).unwrap());
    let identity = Identity::held("kit".parse().unwrap(), SigningKey::from_seed(&Secret::new([4; 32])), 1);
    let agent = Agent::connect_in(&card, identity, around(&ManualClock::at(START), &memory)).await.unwrap();
    let session = agent.session("test").unwrap();
    // A folder in the file's way, as a full disk would be.
    std::fs::create_dir_all(folder.path().join(card.aud.as_str()).join("kit.seen.new/full")).unwrap();
    let Err(Fault::NoAnswer { req, why }) = session.request(&ask()).await else { panic!("it was used") };
    let sent = fake.0.sent.lock().unwrap()[0].clone();
    assert_eq!(req, nockvault::wire::convert::envelope(Some(sent)).unwrap().digest());
    assert!(why.contains("kit.seen"), "{why}");
}

#[cfg(feature = "launcher")]
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_vault_is_waited_for_by_the_launcher_and_no_longer() {
    let (fake, card) = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("prod.card"), card.write()).unwrap();
    let run = |wait: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_vault-agent"));
        command.env_clear().env("HOME", folder.path()).env("PATH", std::env::var_os("PATH").unwrap());
        command.env("NOCKVAULT_AGENT_KIT_ED25519_KEY", "04".repeat(32)).current_dir(folder.path());
        command.args(["exec", "--agent", "kit", "--vault", "prod.card", "--role", "orders-read", "--wait", wait]);
        command.args(["--", "sh", "-c", "printf %s \"$ORDERS_READ\""]).kill_on_drop(true).output()
    };
    fake.wrong(Wrongs { sealed: true, ..Wrongs::default() });
    let refused = run("1s").await.unwrap();
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(125) && refused.stdout.is_empty() && words.contains("sealed"), "{refused:?}");
    let unsealed = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        fake.wrong(Wrongs::default());
    };
    let (given, ()) = tokio::join!(run("60s"), unsealed);
    let given = given.unwrap();
    assert_eq!((given.status.code(), &given.stdout[..]), (Some(0), &b"demo"[..]), "{given:?}");
    assert!(String::from_utf8_lossy(&given.stderr).contains("trying for 60 s"), "{given:?}");
}
