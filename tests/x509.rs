//! X.509 certificates as OpenSSL and rustls see them: what is minted is taken where it should be, for as long as it
//! should be, and what does not fit is refused before anything is signed.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nockvault::denial::Reason;
use nockvault::engine::Engine;
use nockvault::engine::ca::{CertificateAuthority, Document};
use nockvault::engine::x509::BACKDATED;
use nockvault::statement::reply::Revocation;
use nockvault::time::{Clock as _, Seconds, SystemClock, Timestamp};
use serde_json::{Map, Value, json};

#[path = "x509/authorities.rs"]
mod authorities;
#[path = "x509/bench.rs"]
mod bench;
#[path = "x509/tls.rs"]
mod tls;

use bench::{Bench, LIFE, Leaf, leave, object, role, show, told, with};

const SPIFFE_ID: &str = "spiffe://prod.example/agent/kit/session/nightly-1";

fn look(bench: &Bench, leaf: &Leaf) -> String {
    bench.openssl(&format!("x509 -in {} -noout -text", show(&leaf.certificate)))
}

/// The serial number as `openssl x509 -text` writes it.
fn colons(serial: &str) -> String {
    serial.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect::<Vec<_>>().join(":")
}

#[test]
fn a_certificate_names_its_session_and_its_lease_and_nothing_else() {
    for algorithm in ["ecdsa-p256", "ed25519"] {
        let bench = Bench::wish(json!({ "subject": { "common_name": "Agents" }, "algorithm": algorithm, "days": 30 }));
        let config = json!({ "algorithm": algorithm, "crl": "http://vault.example/crl", "organisation": "Exämple" });
        let leaf = bench.leaf(with(role(), config), json!({ "dns": ["a.svc.example"] }));
        let shown = look(&bench, &leaf);
        let lease = leaf.ended.lease.as_str().replace('-', "");
        for wanted in [
            format!("Serial Number:\n            {}\n", colons(&lease)),
            "Issuer: CN = Agents\n".into(),
            format!("Subject: O = Ex\\C3\\A4mple, CN = {}\n", leaf.ended.handle),
            format!("X509v3 Subject Alternative Name: \n                URI:{SPIFFE_ID}, DNS:a.svc.example\n"),
            "X509v3 Key Usage: critical\n                Digital Signature\n".into(),
            "X509v3 Extended Key Usage: \n                TLS Web Client Authentication\n".into(),
            "X509v3 Basic Constraints: critical\n                CA:FALSE\n".into(),
            "URI:http://vault.example/crl\n".into(),
            "X509v3 Authority Key Identifier".into(),
            "X509v3 Subject Key Identifier".into(),
        ] {
            assert!(shown.contains(&wanted), "{wanted:?} is not in {shown}");
        }
        // Seven, and their heading.
        assert_eq!(shown.matches("X509v3").count(), 8, "{shown}");
        assert_eq!((&leaf.told["serial"], &leaf.told["spiffe_id"]), (&json!(lease), &json!(SPIFFE_ID)));
        assert_eq!((&leaf.told["type"], &leaf.told["dns"]), (&json!("x509"), &json!(["a.svc.example"])));
        bench.verify(&leaf, "-purpose sslclient").unwrap();
        assert!(bench.verify(&leaf, "-purpose sslserver").unwrap_err().contains("unsuitable certificate purpose"));
        // The key that came with it is its key.
        let of_key = bench.openssl(&format!("pkey -in {} -pubout", show(&leaf.key)));
        assert_eq!(bench.openssl(&format!("x509 -in {} -noout -pubkey", show(&leaf.certificate))), of_key);
    }
}

#[test]
fn a_server_certificate_stands_for_its_names_alone() {
    let bench = Bench::new();
    let config = json!({ "ca": "agents-ca", "dns": ["*.svc.example"], "usage": ["server"], "wildcards": true });
    let leaf = bench.leaf(config.clone(), json!({ "dns": ["*.svc.example"] }));
    assert!(leaf.told.get("spiffe_id").is_none() && !look(&bench, &leaf).contains("spiffe"));
    bench.verify(&leaf, "-purpose sslserver -verify_hostname a.svc.example").unwrap();
    for name in ["svc.example", "a.b.svc.example", "localhost"] {
        let why = bench.verify(&leaf, &format!("-purpose sslserver -verify_hostname {name}")).unwrap_err();
        assert!(why.contains("hostname mismatch"), "{why}");
    }
    assert!(bench.verify(&leaf, "-purpose sslclient").is_err());
    let both = bench.leaf(with(config, json!({ "usage": ["server", "client"] })), json!({ "dns": ["a.svc.example"] }));
    bench.verify(&both, "-purpose sslserver").unwrap();
    bench.verify(&both, "-purpose sslclient").unwrap();
}

#[test]
fn a_certificate_lives_no_longer_than_its_lease_and_its_authority() {
    let bench = Bench::wish(json!({ "subject": { "common_name": "Short" }, "days": 2 }));
    let now = SystemClock.now();
    let permit = leave(role(), LIFE, now);
    let minted = bench.mint(&permit, json!({})).unwrap();
    assert_eq!((minted.until, &told(&minted)["expires"]), (None, &json!(permit.expires().whole_seconds() * 1000)));
    let leaf = bench.leaf(role(), json!({}));
    let ends = leaf.ended.expires.whole_seconds();
    let begins = leaf.ended.ended.minus(BACKDATED).whole_seconds();
    bench.verify(&leaf, &format!("-attime {begins}")).unwrap();
    // OpenSSL ends with the beginning of the second that notAfter names, rustls with its end.
    bench.verify(&leaf, &format!("-attime {}", ends - 2)).unwrap();
    assert!(bench.verify(&leaf, &format!("-attime {ends}")).unwrap_err().contains("expired"));
    assert!(bench.verify(&leaf, &format!("-attime {}", begins - 1)).unwrap_err().contains("not yet valid"));

    // An authority that ends first ends its certificates.
    let permit = leave(role(), Seconds(86_400 * 9), now);
    let minted = bench.mint(&permit, json!({})).unwrap();
    let until = minted.until.unwrap();
    assert!(until < permit.expires() && told(&minted)["expires"] == json!(until));
    let own = Timestamp(bench.shown()["not_after"].as_u64().unwrap());
    assert_eq!(until, own.plus(Seconds(1)));
    let late = leave(role(), LIFE, own.plus(Seconds(1)));
    assert_eq!(bench.mint(&late, json!({})).unwrap_err().reason, Reason::SecretExpired);
}

#[test]
fn a_request_gives_its_key_and_nothing_else() {
    let bench = Bench::new();
    let greedy = " -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign,cRLSign \
                  -addext extendedKeyUsage=serverAuth -addext 1.2.3.4=ASN1:UTF8String:x -addext \
                  subjectAltName=URI:spiffe://prod.example/agent/root/session/x,DNS:evil.example,IP:127.0.0.1";
    for (key, more) in [
        ("-algorithm ed25519", greedy),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", greedy),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-384", ""),
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", greedy),
    ] {
        let csr = bench.csr(key, &more.replace("                  ", ""));
        let leaf = bench.leaf(with(role(), json!({ "key": "brought" })), json!({ "csr": csr }));
        assert!(leaf.told.get("private_key").is_none());
        bench.verify(&leaf, "-purpose sslclient").unwrap();
        let shown = look(&bench, &leaf);
        for absent in ["evil", "CA:TRUE", "Certificate Sign", "Server Auth", "127.0.0.1", "root", "1.2.3.4"] {
            assert!(!shown.contains(absent), "{absent} is in {shown}");
        }
        assert!(shown.contains(&format!("                URI:{SPIFFE_ID}\n")));
        let own = bench.openssl("pkey -in session.key -pubout");
        assert_eq!(bench.openssl(&format!("x509 -in {} -noout -pubkey", show(&leaf.certificate))), own);
    }
}

#[test]
fn a_request_that_proves_nothing_is_refused() {
    let bench = Bench::new();
    let good = bench.csr("-algorithm ed25519", "");
    let der = STANDARD.decode(good.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    let wrap = |der: &[u8]| {
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", STANDARD.encode(der))
    };
    let accepted = |csr: &str| bench.engine.check_params(&object(role()), &object(json!({ "csr": csr })));
    accepted(&wrap(&der)).unwrap();
    let flip = |at: usize| {
        let mut broken = der.clone();
        broken[at] ^= 1;
        wrap(&broken)
    };
    // What is signed follows three bytes of the frame; the signature is the last 64.
    let signed = 5 + usize::from(der[4]);
    let mut bad: Vec<String> = (3..signed).chain(der.len() - 64..der.len()).map(flip).collect();
    bad.extend((0..der.len()).map(|length| wrap(&der[..length])));
    bad.extend([
        String::new(),
        "garbage\0\n".into(),
        wrap(&[&der[..], &[0]].concat()),
        format!("{good}{good}"),
        good.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        good.replace("\n-----END", "\n"),
        format!("{good}{}", " ".repeat(8192)),
        "A".repeat(1 << 20),
        bench.openssl("genpkey -algorithm ed25519"),
        bench.csr("-algorithm RSA -pkeyopt rsa_keygen_bits:1024", ""),
        bench.csr("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", " -sha1"),
        bench.csr("-algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3", ""),
        bench.csr("-algorithm EC -pkeyopt ec_paramgen_curve:P-521", ""),
        bench.csr("-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1", ""),
        bench.csr("-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit", ""),
        bench.csr("-algorithm ed448", ""),
    ]);
    for (at, csr) in bad.iter().enumerate() {
        let Err(denial) = accepted(csr) else { panic!("{at} was taken: {csr}") };
        assert_eq!(denial.reason, Reason::ParamsRefused);
        assert!(denial.detail.starts_with("csr: ") && denial.detail.len() < 200, "{}", denial.detail);
    }
    let refusal = accepted(&flip(der.len() - 1)).unwrap_err();
    assert!(refusal.detail.contains("signature does not verify"), "{refusal}");
}

#[test]
fn the_public_request_of_an_authority_is_no_sessions_key() {
    let bench = Bench::new();
    let permit = leave(role(), LIFE, SystemClock.now());
    let denial = bench.mint(&permit, json!({ "csr": bench.shown()["request"] })).unwrap_err();
    assert_eq!(denial.reason, Reason::ParamsRefused);
    assert!(denial.detail.contains("has a role already"), "{denial}");
}

#[test]
fn params_that_do_not_fit_are_refused_with_a_clear_text() {
    let bench = Bench::new();
    let long = "a".repeat(1 << 20);
    let names_only = json!({ "ca": "agents-ca", "dns": ["localhost"] });
    let csr = bench.csr("-algorithm ed25519", "");
    for (config, params, said) in [
        (role(), json!({ "dns": ["other.example"] }), "the role does not allow this name"),
        (role(), json!({ "dns": ["localhost", "localhost"] }), "stands twice"),
        (role(), json!({ "dns": ["localhost."] }), "a DNS name has labels"),
        (role(), json!({ "dns": ["LOCALHOST"] }), "a DNS name has labels"),
        (role(), json!({ "dns": ["localhost\0.evil.example"] }), "a DNS name has labels"),
        (role(), json!({ "dns": ["a.svc.example\n"] }), "a DNS name has labels"),
        (role(), json!({ "dns": ["a.svc.exаmple"] }), "a DNS name has labels"),
        (role(), json!({ "dns": ["'; DROP TABLE x; --"] }), "a DNS name has labels"),
        (role(), json!({ "dns": ["*.svc.example"] }), "no certificates for wildcards"),
        (role(), json!({ "dns": ["a.b.svc.example"] }), "does not allow"),
        (role(), json!({ "dns": ["127.0.0.1"] }), "IP address"),
        (role(), json!({ "dns": ["2130706433"] }), "IP address"),
        (role(), json!({ "dns": [long] }), "1 to 253 bytes"),
        (role(), json!({ "dns": vec!["localhost"; 65] }), "at most 64 names"),
        (role(), json!({ "dns": "localhost" }), "expected a list"),
        (role(), json!({ "uri": "spiffe://prod.example/agent/root" }), "unknown field"),
        (names_only.clone(), json!({}), "name at least one"),
        (with(role(), json!({ "key": "brought" })), json!({}), "keys that sessions bring"),
        (with(role(), json!({ "key": "made" })), json!({ "csr": csr }), "keys that are made here"),
    ] {
        let denial = bench.engine.check_params(&object(config), &object(params.clone())).unwrap_err();
        assert_eq!(denial.reason, Reason::ParamsRefused);
        assert!(denial.detail.contains(said) && denial.detail.len() < 500, "{said}: {}", denial.detail);
        assert!(denial.detail.chars().all(|c| !c.is_control()), "{:?}", denial.detail);
    }
    bench.engine.check_params(&object(names_only), &object(json!({ "dns": ["localhost"] }))).unwrap();
}

#[test]
fn roles_that_do_not_fit_are_refused() {
    let engine = Bench::new().engine;
    for bad in [
        json!({}),
        json!({ "ca": "agents-ca" }),
        json!({ "ca": "../etc", "trust_domain": "prod.example" }),
        json!({ "ca": "agents-ca", "dns": [] }),
        json!({ "ca": "agents-ca", "dns": ["*"] }),
        json!({ "ca": "agents-ca", "dns": ["a.*.b"] }),
        json!({ "ca": "agents-ca", "dns": ["Db.example"] }),
        json!({ "ca": "agents-ca", "dns": vec!["a"; 65] }),
        json!({ "ca": "agents-ca", "trust_domain": "Prod" }),
        json!({ "ca": "agents-ca", "trust_domain": "prod:80" }),
        json!({ "ca": "agents-ca", "trust_domain": "" }),
        with(role(), json!({ "usage": [] })),
        with(role(), json!({ "usage": ["client", "client"] })),
        with(role(), json!({ "usage": ["ca"] })),
        with(role(), json!({ "key": "any" })),
        with(role(), json!({ "algorithm": "rsa" })),
        with(role(), json!({ "crl": "ftp://vault.example/crl" })),
        with(role(), json!({ "crl": "http://" })),
        with(role(), json!({ "crl": "http://vault.example/a b" })),
        with(role(), json!({ "crl": format!("http://{}", "a".repeat(1024)) })),
        with(role(), json!({ "organisation": "a\nb" })),
        with(role(), json!({ "organisation": "a".repeat(65) })),
        with(role(), json!({ "more": 1 })),
    ] {
        let denial = engine.check_role(&object(bad.clone())).unwrap_err();
        assert!(denial.reason == Reason::BadRole && !denial.detail.is_empty(), "{bad}");
    }
    engine.check_role(&object(role())).unwrap();
    assert_eq!(engine.of_role(&object(role())).unwrap().as_str(), "agents-ca");
    assert_eq!(engine.capabilities().revocation, Revocation::Listed);
    assert!(!engine.capabilities().renewable && engine.authority().is_some());
}

#[tokio::test]
async fn a_probe_tells_of_the_authority_and_shows_no_key() {
    let bench = Bench::new();
    let found = bench.engine.probe(&object(role()), &bench).await.unwrap();
    let own = &bench.shown()["certificates"][0];
    for member in ["subject", "fingerprint", "not_after"] {
        assert_eq!(found[member], own[member]);
    }
    let other = with(role(), json!({ "ca": "other-ca" }));
    assert_eq!(bench.engine.probe(&object(other), &bench).await.unwrap_err().reason, Reason::SecretMissing);
    let kept: Value = serde_json::from_slice(bench.authority.expose()).unwrap();
    let public = format!("{}{}", json!(bench.shown()), json!(found));
    assert!(!public.contains(kept["private_key"].as_str().unwrap()) && !public.contains("PRIVATE"));
    assert_eq!(format!("{:?}", bench.authority), "Secret(..)");
}

#[test]
fn a_revoked_certificate_stands_in_the_list_until_it_would_have_expired() {
    for algorithm in ["ecdsa-p256", "ed25519"] {
        let bench = Bench::wish(json!({ "subject": { "common_name": "Agents" }, "algorithm": algorithm }));
        let (one, other) = (bench.leaf(role(), json!({})), bench.leaf(role(), json!({})));
        let empty = bench.list("empty.pem", &[]);
        let check = |list: &std::path::Path| format!("-crl_check -CRLfile {}", show(list));
        bench.verify(&one, &check(&empty)).unwrap();
        let list = bench.list("list.pem", std::slice::from_ref(&one.ended));
        assert!(bench.verify(&one, &check(&list)).unwrap_err().contains("certificate revoked"));
        bench.verify(&other, &check(&list)).unwrap();

        let shown = bench.openssl(&format!("crl -in {} -noout -text", show(&list)));
        let serial = one.ended.lease.as_str().replace('-', "").to_uppercase();
        for wanted in ["Version 2", "X509v3 Authority Key Identifier", "X509v3 CRL Number", &serial] {
            assert!(shown.contains(wanted), "{wanted} is not in {shown}");
        }
        let updates = bench.openssl(&format!("crl -in {} -noout -lastupdate -nextupdate", show(&list)));
        assert_eq!(updates.lines().count(), 2);
        assert_eq!(bench.publish(Document::Revoked, &[]).0, "application/pkix-crl");
        let (kind, chain) = bench.publish(Document::Authority, &[]);
        assert_eq!(kind, "application/pem-certificate-chain");
        assert_eq!(chain, bench.shown()["chain"].as_str().unwrap().as_bytes());
    }
}

#[test]
fn a_server_knows_its_caller_by_the_spiffe_id_and_refuses_who_has_none() {
    for algorithm in ["ecdsa-p256", "ed25519"] {
        let bench = Bench::wish(json!({ "subject": { "common_name": "Agents" }, "algorithm": algorithm }));
        let config = with(role(), json!({ "algorithm": algorithm }));
        let serving = with(config.clone(), json!({ "usage": ["server"] }));
        let server = bench.leaf(serving.clone(), json!({ "dns": ["localhost"] }));
        let client = bench.leaf(config.clone(), json!({}));
        let none = bench.publish(Document::Revoked, &[]).1;
        assert_eq!(tls::meet(&server, Some(&client), &none).unwrap(), [SPIFFE_ID]);

        let refused = |client: Option<&Leaf>, list: &[u8]| tls::meet(&server, client, list).unwrap_err();
        let listed = bench.publish(Document::Revoked, std::slice::from_ref(&client.ended)).1;
        let why = refused(Some(&client), &listed);
        assert!(why.contains("Revoked"), "{why}");
        assert!(refused(None, &none).contains("no certificates"));
        // One for servers is none for a client, and another authority's is nobody's here.
        assert!(refused(Some(&bench.leaf(serving, json!({ "dns": ["localhost"] }))), &none).contains("invalid peer"));
        assert!(refused(Some(&Bench::new().leaf(config, json!({}))), &none).contains("invalid peer"));
    }
}

#[test]
fn openssl_peers_meet() {
    let bench = Bench::new();
    let usage = with(role(), json!({ "usage": ["server"] }));
    let server = tls::Server::start(&bench, &bench.leaf(usage, json!({ "dns": ["localhost"] })));
    let client = bench.leaf(role(), json!({}));
    let (ca, certificate, key) = (show(&client.ca), show(&client.certificate), show(&client.key));
    let said = server.called_by(&bench, &["-CAfile", ca, "-cert", certificate, "-key", key]);
    assert!(said.contains("ping"), "{said}");
    let said = server.called_by(&bench, &["-CAfile", ca]);
    assert!(said.contains("alert") && !said.contains("ping"), "{said}");
    let stranger = bench.write("other.pem", Bench::new().shown()["chain"].as_str().unwrap());
    let said = server.called_by(&bench, &["-CAfile", show(&stranger), "-cert", certificate, "-key", key]);
    assert!(said.contains("verify error") && !said.contains("ping"), "{said}");
}

#[test]
fn schemas_document_every_member() {
    let schemas = Bench::new().engine.schemas();
    for schema in [schemas.config, schemas.params] {
        assert_eq!(schema["additionalProperties"], json!(false));
        let members: &Map<String, Value> = schema["properties"].as_object().unwrap();
        for (name, member) in members {
            assert!(member["description"].as_str().is_some_and(|text| text.len() > 20), "{name}");
        }
    }
    // What is minted has the members that the schema names.
    let bench = Bench::new();
    let leaf = bench.leaf(role(), json!({}));
    let named: Vec<_> = schemas.secret["properties"].as_object().unwrap().keys().collect();
    assert_eq!(named, leaf.told.as_object().unwrap().keys().collect::<Vec<_>>());
}
