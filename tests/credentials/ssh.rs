//! Certificates for a real sshd: a login with a key that the session brought and with one that was made, refused once the
//! list that the daemon publishes says so, and refused when its time is over.

use std::fs;
use std::path::PathBuf;

use nockvault::client::agent::{Agent, Credential};
use nockvault::denial::Reason;
use nockvault::statement::reply::Revocation;
use nockvault::time::Seconds;

use crate::hostile::{self, Takes};
use crate::ssh_server::{Sshd, keygen, text as shown, user, write_private};
use crate::stage::{Stage, ask, handle, issue, life, refused, text};

const ROLE: &str = "deploy-login";

/// A vault, and a host that trusts its authority.
struct Bench {
    stage: Stage,
    host: Sshd,
}

/// What a session holds, as files.
struct Held {
    credential: Credential,
    key: PathBuf,
    certificate: PathBuf,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_by_certificate_ends_with_the_published_list_or_its_time() {
    let bench = Bench::set_up();
    let kit = bench.stage.agent("kit", &[ROLE]).await;
    let session = kit.session("rollout").unwrap();

    let brought = bench.brought(&kit).await;
    let made = bench.held("made", issue(&session, ROLE, 60).await);
    for held in [&brought, &made] {
        assert_eq!(bench.login(held), Ok("in\n".to_owned()));
        assert_eq!((held.credential.hdr.revocation, held.credential.hdr.renewable), (Revocation::Listed, false));
    }
    assert_eq!(refused(session.renew(&made.credential.hdr.lease, Seconds(60)).await).0, Reason::NotRenewable);

    // Given back: the host knows with the next list that it fetches.
    session.release(&made.credential.hdr.lease).await.unwrap();
    bench.fetch_list_of(&made);
    assert!(bench.login(&made).is_err(), "what was given back still lets in");
    assert_eq!(bench.login(&brought), Ok("in\n".to_owned()), "and nothing else is refused");
    // Taken back by the operator.
    let words = bench.stage.words(&["lease", "revoke", brought.credential.hdr.lease.as_str()]);
    assert!(words.contains("revoked 1 lease") && words.contains("published list"), "{words}");
    bench.fetch_list_of(&brought);
    assert!(bench.login(&brought).is_err(), "what was taken back still lets in");

    // Its time alone: the certificate counts whole seconds.
    let short = bench.held("short", issue(&session, ROLE, 4).await);
    assert_eq!(bench.login(&short), Ok("in\n".to_owned()));
    assert_eq!(bench.stage.ended(&short.credential.hdr.lease)["state"], "expired");
    assert!(bench.login(&short).is_err(), "what has expired still lets in");

    hostile::refused(&bench.stage, ROLE, &Takes { texts: &["public_key"], lists: &["principals"] }).await;
    let chain = bench.stage.verified("kit");
    assert_eq!(life(&chain, &made.credential), ["issue", "release"]);
    assert_eq!(life(&chain, &brought.credential), ["issue", "revoke listed"]);
    assert_eq!(life(&chain, &short.credential), ["issue", "expire listed"]);
    let log = bench.host.log();
    for held in [&made, &brought, &short] {
        let handle = handle(&chain, &held.credential);
        assert_eq!(handle, text(&held.credential, "key_id"));
        assert!(log.contains(&handle), "the host's log does not name {handle}");
    }
}

impl Bench {
    fn set_up() -> Bench {
        let stage = Stage::new();
        let words = stage.words(&["ca", "create", "users", "--engine", "ssh", "--set", "comment=users of prod"]);
        assert!(words.contains("its private key stays in the vault"), "{words}");
        stage.role(ROLE, "ssh", "ssh-deploy.toml", &[&format!("principals=[\"{}\",\"deploy\"]", user())]);
        assert!(stage.words(&["role", "check", ROLE]).contains("works"));
        let published = String::from_utf8(stage.http("/ssh/ca/users")).unwrap();
        let told = stage.field(&["ca", "show", "users", "--engine", "ssh"], "public_key");
        assert_eq!(published.trim_end(), told);
        let host = Sshd::start(&published);
        Bench { stage, host }
    }

    fn held(&self, name: &str, credential: Credential) -> Held {
        let key = self.stage.path(name);
        write_private(&key, text(&credential, "private_key"));
        self.certified(key, credential)
    }

    fn certified(&self, key: PathBuf, credential: Credential) -> Held {
        let certificate = key.with_extension("cert");
        fs::write(&certificate, text(&credential, "certificate")).unwrap();
        Held { credential, key, certificate }
    }

    /// A key made by `ssh-keygen` where the agent runs; only its public line is sent.
    async fn brought(&self, kit: &Agent) -> Held {
        let key = self.stage.path("brought");
        keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "kit's own", "-f", shown(&key)]);
        let line = fs::read_to_string(key.with_extension("pub")).unwrap();
        let wish = ask(ROLE, 60).param("public_key", line.trim_end()).param("principals", vec![user()]);
        let credential = kit.session("own-key").unwrap().request(&wish).await.unwrap();
        assert_eq!(credential.secret.expose("private_key"), None, "what was brought does not come back");
        self.certified(key, credential)
    }

    fn login(&self, held: &Held) -> Result<String, String> {
        let output = self.host.login(&held.key, &held.certificate, &user(), "echo in");
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        if output.status.success() { Ok(out) } else { Err(err) }
    }

    /// Fetches the list over HTTP, as a host's timer does, until it names this certificate, and puts it in place.
    fn fetch_list_of(&self, held: &Held) {
        let serial = text(&held.credential, "serial").to_owned();
        let list = self.stage.until("a list that names the certificate", || {
            let list = self.stage.http("/ssh/krl/users");
            fs::write(self.stage.path("krl"), &list).unwrap();
            keygen(&["-Q", "-l", "-f", shown(&self.stage.path("krl"))]).contains(&serial).then_some(list)
        });
        self.host.set_krl(&list);
    }
}
