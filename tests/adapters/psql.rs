//! psql logs in with the line that `vault-agent pgpass` gives, to a real PostgreSQL.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::postgres_server::Server;
use crate::programs::said;
use crate::stage::Stage;

const ROLE: &str = "orders-login";

#[tokio::test(flavor = "multi_thread")]
async fn psql_logs_in_with_the_line_and_not_once_it_was_given_back() {
    let (stage, server) = (Stage::new(), Server::start().await);
    fs::write(stage.path("server-ca.pem"), server.ca_pem()).unwrap();
    let put = ["secret", "put", "orders-admin", "--use", "backend", "-"];
    stage.vault.vaultctl_fed(&put, server.admin_password().as_bytes()).ok();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/roles/postgres-readonly.toml");
    let port = format!("port={}", server.port());
    let create =
        ["role", "create", ROLE, "--engine", "postgres", "--config", file, "--set", "host=127.0.0.1", "--set", &port];
    stage.vault.vaultctl(&[&create[..], &["--set", "ca=@server-ca.pem"]].concat()).ok();
    stage.grant(ROLE);

    let (wallet, serving) = stage.launcher(&[ROLE], None);
    let (name, path) = serving.variable();
    let agent = |arguments: &[&str]| {
        let mut agent = stage.bare(env!("CARGO_BIN_EXE_vault-agent"));
        said(agent.args(arguments).env(name, path))
    };
    agent(&["pgpass", ROLE, "--file", "pass"]).ok();
    let pass = stage.path("pass");
    assert_eq!(fs::metadata(&pass).unwrap().permissions().mode() & 0o777, 0o600);
    let user = agent(&["get", ROLE, "--member", "username"]).ok().trim_end().to_owned();
    let line = agent(&["pgpass", ROLE]).ok();
    assert_eq!(line, fs::read_to_string(&pass).unwrap(), "one lease serves both");
    assert!(line.starts_with(&format!("127.0.0.1:{}:orders:{user}:", server.port())));

    let psql = || {
        let to = format!(
            "host=127.0.0.1 port={} dbname=orders user={user} sslmode=verify-full sslrootcert=server-ca.pem",
            server.port()
        );
        said(stage.bare("psql").args(["-w", "-At", &to, "-c", "SELECT count(*) FROM item"]).env("PGPASSFILE", &pass))
    };
    assert_eq!(psql().ok(), "2\n");
    assert_eq!(wallet.held().len(), 1);
    agent(&["release", ROLE]).ok();
    let refused = psql().fails(2);
    assert!(refused.contains(&user) && !refused.contains("item"), "{refused}");
}
