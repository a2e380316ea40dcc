//! Certificates under an authority that openssl's root has certified: they are known in a real handshake, and refused by
//! openssl and rustls once the list that the daemon publishes says so.

use std::fs;

use nockvault::client::agent::{Agent, Credential};
use nockvault::denial::Reason;
use nockvault::statement::reply::Revocation;
use nockvault::time::Seconds;

use crate::hostile::{self, Takes};
use crate::stage::{Stage, ask, handle, issue, life, refused, text};
use crate::tls::meet;

const ROLE: &str = "api-client";

const OF_AN_AUTHORITY: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                               subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_known_in_a_handshake_and_refused_by_the_published_list() {
    let bench = Bench::set_up();
    let stage = &bench.stage;
    let kit = stage.agent("kit", &[ROLE, "api-server"]).await;
    let session = kit.session("calls").unwrap();

    let server = session.request(&ask("api-server", 60).param("dns", vec!["localhost"])).await.unwrap();
    let client = issue(&session, ROLE, 60).await;
    let named = format!("spiffe://prod.example.com/agent/kit/session/{}", session.sid());
    assert_eq!((text(&client, "spiffe_id"), client.hdr.revocation), (named.as_str(), Revocation::Listed));
    let list = stage.http("/x509/crl/agents");
    assert_eq!(meet(&server, Some(&client), &list), Ok(()));
    assert!(meet(&server, None, &list).is_err(), "nobody comes in without a certificate");
    assert_eq!(bench.verify(&client, &list), Ok(()));
    bench.brought(&kit).await;
    assert_eq!(refused(session.renew(&client.hdr.lease, Seconds(60)).await).0, Reason::NotRenewable);

    let other = issue(&session, ROLE, 60).await;
    session.release(&client.hdr.lease).await.unwrap();
    let list = bench.list_with(&client);
    assert!(bench.verify(&client, &list).unwrap_err().contains("certificate revoked"));
    assert!(meet(&server, Some(&client), &list).is_err(), "what was given back is still taken");
    assert_eq!(meet(&server, Some(&other), &list), Ok(()), "and nothing else is refused");
    let words = stage.words(&["lease", "revoke", other.hdr.lease.as_str()]);
    assert!(words.contains("published list"), "{words}");
    let list = bench.list_with(&other);
    assert!(bench.verify(&other, &list).unwrap_err().contains("certificate revoked"));

    let short = issue(&session, ROLE, 3).await;
    assert_eq!(meet(&server, Some(&short), &list), Ok(()));
    assert_eq!(stage.ended(&short.hdr.lease)["state"], "expired");
    assert!(meet(&server, Some(&short), &list).is_err(), "what has expired is still taken");

    hostile::refused(stage, ROLE, &Takes { texts: &["csr"], lists: &["dns"] }).await;
    let chain = stage.verified("kit");
    for (credential, end) in [(&client, "release"), (&other, "revoke listed"), (&short, "expire listed")] {
        assert_eq!(life(&chain, credential), ["issue", end]);
        let subject = bench.openssl(&["x509", "-noout", "-subject"], text(credential, "certificate"));
        assert!(subject.contains(&handle(&chain, credential)), "{subject}");
    }
}

struct Bench {
    stage: Stage,
}

impl Bench {
    /// An authority made by the vault, certified by a root that stays with the operator, and two roles.
    fn set_up() -> Bench {
        let bench = Bench { stage: Stage::new() };
        let stage = &bench.stage;
        let named = "subject.common_name=Agents of prod";
        let words = stage.words(&["ca", "create", "agents", "--engine", "x509", "--set", named]);
        assert!(words.contains("its private key stays in the vault"), "{words}");
        let request = stage.field(&["ca", "show", "agents", "--engine", "x509"], "request");
        fs::write(stage.path("agents.csr"), request).unwrap();
        fs::write(stage.path("extensions"), OF_AN_AUTHORITY).unwrap();
        let root = "req -x509 -newkey ed25519 -nodes -keyout root.key -out root.pem -days 30 -subj /CN=Root -addext \
                    keyUsage=critical,keyCertSign,cRLSign";
        stage.run("openssl", &root.split(' ').collect::<Vec<_>>()).ok();
        let sign = "x509 -req -in agents.csr -CA root.pem -CAkey root.key -CAcreateserial -days 9 -extfile extensions -out agents.pem";
        stage.run("openssl", &sign.split(' ').collect::<Vec<_>>()).ok();
        let chain = ["agents.pem", "root.pem"].map(|name| fs::read_to_string(stage.path(name)).unwrap()).concat();
        fs::write(stage.path("chain.pem"), chain).unwrap();
        let words = stage.words(&["ca", "certify", "agents", "--engine", "x509", "--chain", "chain.pem"]);
        assert!(words.contains("shows this chain"), "{words}");

        stage.role(ROLE, "x509", "x509-client.toml", &[]);
        stage.role("api-server", "x509", "x509-client.toml", &["usage=[\"server\"]", "dns=[\"localhost\"]"]);
        assert!(stage.words(&["role", "check", ROLE]).contains("works"));
        let served = String::from_utf8(stage.http("/x509/ca/agents")).unwrap();
        assert_eq!(served.matches("BEGIN CERTIFICATE").count(), 2, "{served}");
        bench
    }

    /// What `openssl` says of a text that it is given.
    fn openssl(&self, arguments: &[&str], input: &str) -> String {
        fs::write(self.stage.path("input"), input).unwrap();
        self.stage.run("openssl", &[arguments, &["-in", "input"]].concat()).ok()
    }

    /// Whether `openssl verify` takes a certificate under the root and this list; what it found wrong.
    fn verify(&self, credential: &Credential, list: &[u8]) -> Result<(), String> {
        for (name, bytes) in [
            ("crl.der", list),
            ("leaf.pem", text(credential, "certificate").as_bytes()),
            ("between.pem", text(credential, "chain").as_bytes()),
        ] {
            fs::write(self.stage.path(name), bytes).unwrap();
        }
        self.stage.run("openssl", &["crl", "-inform", "DER", "-in", "crl.der", "-out", "crl.pem"]).ok();
        let line = "verify -x509_strict -crl_check -CAfile root.pem -untrusted between.pem -CRLfile crl.pem leaf.pem";
        let said = self.stage.run("openssl", &line.split(' ').collect::<Vec<_>>());
        if said.code == 0 { Ok(()) } else { Err(said.err) }
    }

    /// The list over HTTP, once it names this certificate.
    fn list_with(&self, credential: &Credential) -> Vec<u8> {
        let serial = text(credential, "serial").to_uppercase();
        self.stage.until("a list that names the certificate", || {
            let list = self.stage.http("/x509/crl/agents");
            fs::write(self.stage.path("looked.der"), &list).unwrap();
            let shown =
                self.stage.run("openssl", &["crl", "-inform", "DER", "-in", "looked.der", "-text", "-noout"]).ok();
            shown.contains(serial.trim_start_matches('0')).then_some(list)
        })
    }

    /// A key made by openssl where the agent runs; only its request is sent.
    async fn brought(&self, kit: &Agent) {
        let make = "req -new -newkey ed25519 -nodes -keyout own.key -out own.csr -subj /CN=root/O=admins";
        self.stage.run("openssl", &make.split(' ').collect::<Vec<_>>()).ok();
        let csr = fs::read_to_string(self.stage.path("own.csr")).unwrap();
        let credential = kit.session("own-key").unwrap().request(&ask(ROLE, 60).param("csr", csr)).await.unwrap();
        assert_eq!(credential.secret.expose("private_key"), None, "what was brought does not come back");
        let certified = self.openssl(&["x509", "-noout", "-pubkey", "-subject"], text(&credential, "certificate"));
        let own = self.openssl(&["pkey", "-pubout"], &fs::read_to_string(self.stage.path("own.key")).unwrap());
        assert!(certified.starts_with(&own) && !certified.contains("admins"), "{certified}");
    }
}
