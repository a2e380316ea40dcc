//! Logins to a real PostgreSQL: made for a session, prolonged, and gone with the lease, however it ends.

use std::fs;

use nockvault::client::agent::{Agent, Credential, Session};
use nockvault::denial::Reason;
use nockvault::statement::reply::Revocation;
use nockvault::time::{Seconds, Timestamp};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::hostile::{self, Takes};
use crate::postgres_server::{ADMIN, Server};
use crate::stage::{Stage, ask, handle, issue, life, refused, role_file, text};

const ROLE: &str = "orders-login";

/// A vault, a server, and the role between them.
struct Bench {
    stage: Stage,
    server: Server,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_login_lives_and_dies_with_its_lease() {
    let bench = Bench::set_up().await;
    let kit = bench.stage.agent("kit", &[ROLE]).await;

    let given_back = bench.used_renewed_released(&kit).await;
    let mut lives = Vec::new();
    lives.push((
        bench.revoked(&kit, "one", |credential| vec![credential.hdr.lease.to_string()]).await,
        "revoke pending",
    ));
    let of_agent = |_: &Credential| vec!["--agent".to_owned(), "kit".to_owned()];
    lives.push((bench.revoked(&kit, "agent", of_agent).await, "revoke pending"));
    let of_session = |credential: &Credential| {
        vec!["--agent".to_owned(), "kit".to_owned(), "--session".to_owned(), credential.hdr.sid.to_string()]
    };
    lives.push((bench.revoked(&kit, "session", of_session).await, "revoke pending"));
    let of_role = |_: &Credential| vec!["--role".to_owned(), ROLE.to_owned()];
    lives.push((bench.revoked(&kit, "role", of_role).await, "revoke pending"));
    lives.push((bench.expired(&kit).await, "expire pending"));
    lives.push((bench.closed(&kit).await, "close"));
    lives.push((bench.unanswered(&kit).await, "release"));
    bench.rotated(&kit).await;
    bench.cut_off().await;
    hostile::refused(&bench.stage, ROLE, &Takes { texts: &[], lists: &[] }).await;

    let chain = bench.stage.verified("kit");
    assert_eq!(life(&chain, &given_back), ["issue", "renew", "release", "undone revoked"]);
    for (credential, end) in &lives {
        let told = life(&chain, credential);
        // A session's end is its own entry and names no lease.
        let ends =
            if *end == "close" { vec!["issue", "undone revoked"] } else { vec!["issue", *end, "undone revoked"] };
        assert_eq!(told, ends);
        assert_eq!(handle(&chain, credential), text(credential, "username"), "the entry's handle is the login's name");
    }
    assert_eq!(bench.logins().await, Vec::<String>::new(), "nothing is left at the server");
    let log = bench.server.log();
    let name = text(&given_back, "username");
    assert!(log.contains(&format!("connection authorized: user={name} database=orders")), "{log}");
    assert!(!log.contains(text(&given_back, "password")));
    let status = bench.stage.json(&["status"]);
    assert_eq!((&status["leases"], &status["undoing"]), (&json!(0), &json!(0)), "{status}");
}

impl Bench {
    /// As an operator does it: look, and be told what is missing; store the password; look again; make the role.
    async fn set_up() -> Bench {
        let (stage, server) = (Stage::new(), Server::start().await);
        fs::write(stage.path("server-ca.pem"), server.ca_pem()).unwrap();
        let (file, port) = (role_file("postgres-readonly.toml"), format!("port={}", server.port()));
        let set = ["host=127.0.0.1", &port, "ca=@server-ca.pem"];
        let mut check =
            vec!["role", "create", ROLE, "--engine", "postgres", "--config", file.to_str().unwrap(), "--check"];
        check.extend(set.iter().flat_map(|one| ["--set", one]));

        let missing = stage.ctl(&check).fails(1);
        assert!(missing.contains("it would not work") && missing.contains("orders-admin"), "{missing}");
        let put = ["secret", "put", "orders-admin", "--use", "backend"];
        stage.vault.vaultctl_fed(&put, b"not the password").ok();
        let wrong = stage.ctl(&check).fails(1);
        assert!(wrong.contains("password") && !wrong.contains("not the password"), "{wrong}");
        stage.vault.vaultctl_fed(&put, server.admin_password().as_bytes()).ok();
        let found = stage.json(&check);
        assert!(found["server"].as_str().unwrap().starts_with("PostgreSQL "), "{found}");
        assert_eq!((&found["tls"], &found["superuser"]), (&json!("TLSv1.3"), &json!(false)));
        assert_eq!(stage.json(&["role", "list"]), json!([]), "nothing was created");

        stage.role(ROLE, "postgres", "postgres-readonly.toml", &set);
        assert!(stage.words(&["role", "check", ROLE]).contains("works"));
        Bench { stage, server }
    }

    /// The roles at the server that the vault made.
    async fn logins(&self) -> Vec<String> {
        let rows = self.server.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'nv\\_%' ORDER BY 1").await;
        rows.into_iter().flatten().collect()
    }

    async fn login(&self, credential: &Credential) -> Result<Client, tokio_postgres::Error> {
        self.server.client(text(credential, "username"), text(credential, "password")).await
    }

    /// When the server will no longer let it log in.
    async fn valid_until(&self, credential: &Credential) -> Timestamp {
        let name = text(credential, "username");
        let look =
            format!("SELECT (extract(epoch FROM rolvaliduntil) * 1000)::int8 FROM pg_roles WHERE rolname = '{name}'");
        Timestamp(self.server.sql(&look).await[0][0].parse().unwrap())
    }

    /// Nothing of it is left: its session has ended, its login is refused, and its name is gone.
    async fn gone(&self, credential: &Credential, open: Client) {
        assert!(!self.logins().await.contains(&text(credential, "username").to_owned()), "the role is still there");
        assert!(open.simple_query("SELECT 1").await.is_err(), "its session goes on");
        let why = self.login(credential).await.expect_err("its login is refused");
        assert_eq!(why.code(), Some(&tokio_postgres::error::SqlState::INVALID_PASSWORD), "{why}");
    }

    async fn used_renewed_released(&self, kit: &Agent) -> Credential {
        let session = kit.session("nightly").unwrap();
        let credential = issue(&session, ROLE, 60).await;
        assert_eq!((credential.hdr.revocation, credential.hdr.renewable), (Revocation::Backend, true));
        assert_eq!((credential.secret.kind(), text(&credential, "sslmode")), (Some("postgres"), "verify-full"));
        let open = self.login(&credential).await.unwrap();
        assert_eq!(open.query("SELECT name FROM public.item", &[]).await.unwrap().len(), 2);
        assert!(open.query("SELECT amount FROM public.salary", &[]).await.is_err(), "more than its grants");
        assert_eq!(self.valid_until(&credential).await, credential.hdr.exp);

        let later = session.renew(&credential.hdr.lease, Seconds(600)).await.unwrap();
        assert!(later > credential.hdr.exp && self.valid_until(&credential).await == later);
        let (reason, limit) = refused(session.renew(&credential.hdr.lease, Seconds(3601)).await);
        assert!(reason == Reason::TtlExceedsGrant && limit.unwrap() <= 3600, "{reason} {limit:?}");
        assert_eq!(self.valid_until(&credential).await, later, "what is refused moves nothing");

        session.release(&credential.hdr.lease).await.unwrap();
        assert_eq!(self.stage.ended(&credential.hdr.lease)["state"], "released");
        self.gone(&credential, open).await;
        credential
    }

    /// Has the operator take it back, by these words.
    async fn revoked(&self, kit: &Agent, label: &str, scope: impl Fn(&Credential) -> Vec<String>) -> Credential {
        let session = kit.session(label).unwrap();
        let credential = issue(&session, ROLE, 0).await;
        let open = self.login(&credential).await.unwrap();
        let scope = scope(&credential);
        let mut arguments = vec!["lease", "revoke"];
        arguments.extend(scope.iter().map(String::as_str));
        let words = self.stage.words(&arguments);
        assert!(words.contains("revoked 1 lease\n"), "{words}");
        // The command waits for the backend.
        self.gone(&credential, open).await;
        assert_eq!(self.stage.ended(&credential.hdr.lease)["state"], "revoked");
        let again = session.renew(&credential.hdr.lease, Seconds(0)).await;
        let ended = if label == "session" { Reason::SessionEnded } else { Reason::LeaseEnded };
        assert_eq!(refused(again).0, ended);
        credential
    }

    async fn expired(&self, kit: &Agent) -> Credential {
        let session = kit.session("short").unwrap();
        let credential = issue(&session, ROLE, 2).await;
        let open = self.login(&credential).await.unwrap();
        assert_eq!(self.stage.ended(&credential.hdr.lease)["state"], "expired");
        self.gone(&credential, open).await;
        credential
    }

    async fn closed(&self, kit: &Agent) -> Credential {
        let session: Session = kit.session("closing").unwrap();
        let credential = issue(&session, ROLE, 0).await;
        let open = self.login(&credential).await.unwrap();
        assert_eq!(session.close().await.unwrap(), 1);
        assert_eq!(self.stage.ended(&credential.hdr.lease)["state"], "released");
        self.gone(&credential, open).await;
        credential
    }

    /// The answer was lost, and the agent gives back what its request may have made.
    async fn unanswered(&self, kit: &Agent) -> Credential {
        let session = kit.session("lost").unwrap();
        let credential = issue(&session, ROLE, 0).await;
        let open = self.login(&credential).await.unwrap();
        let lease = session.release_unanswered(credential.request.digest()).await.unwrap();
        assert_eq!(lease, credential.hdr.lease);
        self.stage.ended(&lease);
        self.gone(&credential, open).await;
        credential
    }

    /// An agent that is not trusted any more: its grant and then its key are taken away, and its logins with them.
    async fn cut_off(&self) {
        let ada = self.stage.agent("ada", &[ROLE]).await;
        let session = ada.session("last").unwrap();
        for command in [&["revoke", "ada", ROLE][..], &["agent", "end-key", "ada"]] {
            self.stage.ctl(&["grant", "ada", ROLE, "--ttl", "1m"]);
            let credential = issue(&session, ROLE, 0).await;
            let open = self.login(&credential).await.unwrap();
            self.stage.ctl(command).ok();
            assert_eq!(self.stage.ended(&credential.hdr.lease)["state"], "revoked", "{command:?}");
            self.gone(&credential, open).await;
        }
        let fault = session.request(&ask(ROLE, 0)).await.expect_err("its key has ended");
        assert_eq!(fault.reason(), Some(Reason::KeyRetired), "{fault}");
        self.stage.verified("ada");
    }

    /// The vault's own password is exchanged: what an operator typed opens nothing any more, and minting goes on.
    async fn rotated(&self, kit: &Agent) {
        self.server.client(ADMIN, self.server.admin_password()).await.unwrap();
        let words = self.stage.words(&["role", "rotate", ROLE]);
        assert!(words.contains("has taken a new password"), "{words}");
        assert!(self.server.client(ADMIN, self.server.admin_password()).await.is_err(), "the old password still opens");
        let credential = issue(&kit.session("after").unwrap(), ROLE, 0).await;
        let open = self.login(&credential).await.unwrap();
        self.stage.ctl(&["lease", "revoke", "--all"]).ok();
        self.gone(&credential, open).await;
        let uses = self.stage.json(&["secret", "versions", "orders-admin"]);
        let version = |item: &Value| item["version"].as_u64().unwrap();
        assert_eq!(uses.as_array().unwrap().iter().map(version).max(), Some(3), "{uses}");
    }
}
