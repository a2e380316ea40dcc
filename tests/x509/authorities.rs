//! Authorities: made here, signed by a higher one, brought from elsewhere; and what is refused of each.

use nockvault::denial::Reason;
use nockvault::engine::ca::CertificateAuthority as _;
use nockvault::entropy::OsEntropy;
use nockvault::secret::SecretBytes;
use nockvault::time::{Clock as _, Seconds, SystemClock};
use serde_json::{Value, json};

use super::bench::{Bench, object, role, show};
use super::tls;

const OURS: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                    subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";

impl Bench {
    /// A root made by `openssl`, as `NAME.key` and `NAME.pem`.
    fn root(&self, name: &str, more: &str) {
        self.openssl(&format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {name}.key"));
        self.openssl(&format!(
            "req -x509 -new -key {name}.key -subj /O=Example/CN={name} -days 30 -out {name}.pem -addext \
             keyUsage=critical,keyCertSign,cRLSign{more}"
        ));
    }

    /// A certificate for a request, signed by NAME.
    fn sign(&self, request: &str, name: &str, extensions: &str, more: &str) -> String {
        self.write("extensions.cnf", extensions);
        self.openssl(&format!(
            "x509 -req -in {request} -CA {name}.pem -CAkey {name}.key -CAcreateserial -days 9 -extfile \
             extensions.cnf{more}"
        ))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes the request of the authority.
    fn request(&self) {
        self.write("ours.csr", self.shown()["request"].as_str().unwrap());
    }
}

#[test]
fn an_authority_made_here_says_what_it_is() {
    let bench = Bench::new();
    let shown = bench.shown();
    let path = bench.write("own.pem", shown["chain"].as_str().unwrap());
    let text = bench.openssl(&format!("x509 -in {} -noout -text", show(&path)));
    for wanted in ["O = Example, CN = Agents", "CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "ecdsa-with-SHA256"]
    {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    let print = bench.openssl(&format!("x509 -in {} -noout -fingerprint -sha256", show(&path)));
    let print = print.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase();
    assert_eq!((&shown["fingerprint"], &shown["algorithm"]), (&json!(print), &json!("ecdsa-p256")));
    bench.request();
    let request = bench.openssl("req -in ours.csr -noout -text -verify");
    for wanted in ["O = Example, CN = Agents", "CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign"] {
        assert!(request.contains(wanted), "{wanted} is not in {request}");
    }
    for bad in [
        json!({}),
        json!({ "subject": {} }),
        json!({ "subject": { "common_name": "" } }),
        json!({ "subject": { "common_name": "a\nb" } }),
        json!({ "subject": { "common_name": "a".repeat(65) } }),
        json!({ "subject": { "common_name": "a" }, "days": 0 }),
        json!({ "subject": { "common_name": "a" }, "days": 3651 }),
        json!({ "subject": { "common_name": "a" }, "algorithm": "rsa" }),
        json!({ "subject": { "common_name": "a" }, "more": 1 }),
    ] {
        let made = bench.engine.make(&object(bad.clone()), SystemClock.now(), &OsEntropy);
        assert_eq!(made.unwrap_err().reason, Reason::BadRole, "{bad}");
    }
    let foreign = SecretBytes::from(br#"{"type":"ssh","private_key":"","chain":["AAAA"]}"#.to_vec());
    assert_eq!(bench.engine.public(&foreign).unwrap_err().reason, Reason::Internal);
}

#[test]
fn an_authority_signed_by_a_higher_one_signs_up_to_that_root() {
    for algorithm in ["ecdsa-p256", "ed25519"] {
        let subject = json!({ "common_name": "Agents", "organisation": "Example" });
        let mut bench = Bench::wish(json!({ "subject": subject, "algorithm": algorithm }));
        bench.root("root", "");
        bench.request();
        let own = bench.sign("ours.csr", "root", OURS, "");
        let chain = format!("{own}{}", bench.read("root.pem"));
        bench.authority = bench.engine.certify(&bench.authority, &chain, SystemClock.now()).unwrap();
        assert_eq!(bench.shown()["certificates"].as_array().unwrap().len(), 2);

        let leaf = bench.leaf(role(), json!({}));
        assert_eq!((&leaf.told["ca"], &leaf.told["chain"]), (&json!(bench.read("root.pem")), &json!(own)));
        bench.verify(&leaf, "-purpose sslclient").unwrap();
        let list = bench.list("list.pem", std::slice::from_ref(&leaf.ended));
        let none = bench.list("none.pem", &[]);
        bench.verify(&leaf, &format!("-crl_check -CRLfile {}", show(&none))).unwrap();
        let why = bench.verify(&leaf, &format!("-crl_check -CRLfile {}", show(&list))).unwrap_err();
        assert!(why.contains("certificate revoked"), "{why}");

        let serving = json!({ "ca": "agents-ca", "dns": ["localhost"], "usage": ["server"] });
        let server = bench.leaf(serving, json!({ "dns": ["localhost"] }));
        let none = bench.publish(nockvault::engine::ca::Document::Revoked, &[]).1;
        assert_eq!(tls::meet(&server, Some(&leaf), &none).unwrap().len(), 1);
    }
}

#[test]
fn a_chain_that_others_would_refuse_is_refused() {
    let bench = Bench::new();
    bench.root("root", "");
    bench.root("other", "");
    bench.root("narrow", " -addext basicConstraints=critical,CA:TRUE,pathlen:0");
    bench.request();
    let root = bench.read("root.pem");
    let own = bench.sign("ours.csr", "root", OURS, "");
    let with = |extensions: &str| format!("{}{root}", bench.sign("ours.csr", "root", extensions, ""));
    let narrow = bench.sign("ours.csr", "narrow", OURS, "") + &bench.read("narrow.pem");
    let twice = OURS.to_owned() + "[names]\n";
    let doubled = bench.sign("ours.csr", "root", &twice, " -subj /O=a/CN=b/O=c/DC=x/DC=y");
    bench.openssl("req -new -key other.key -subj /CN=thief -out thief.csr");
    let thief = bench.sign("thief.csr", "root", OURS, "");
    let renamed = bench.sign("ours.csr", "root", OURS, " -subj /CN=Others");
    let weak = bench.sign("ours.csr", "root", OURS, " -sha1");
    let later = SystemClock.now().plus(Seconds(86_400 * 10));

    let now = SystemClock.now();
    bench.engine.certify(&bench.authority, &format!("{own}{root}"), now).unwrap();
    for (chain, when, said) in [
        (String::new(), now, "0 certificates"),
        ("garbage".into(), now, "0 certificates"),
        (format!("{own}{root}").replace("-----END", ""), now, "PEM"),
        (own.clone(), now, "append it"),
        (format!("{root}{own}"), now, "not for the key"),
        (format!("{own}{}", bench.read("other.pem")), now, "its issuer is"),
        (format!("{own}{root}{root}"), now, "before the end"),
        (format!("{thief}{root}"), now, "not for the key"),
        (with("basicConstraints=CA:FALSE\nkeyUsage=keyCertSign,cRLSign\nsubjectKeyIdentifier=hash"), now, "CA:TRUE"),
        (with("basicConstraints=CA:TRUE\nkeyUsage=digitalSignature\nsubjectKeyIdentifier=hash"), now, "keyCertSign"),
        (with("basicConstraints=CA:TRUE\nkeyUsage=keyCertSign\nsubjectKeyIdentifier=hash"), now, "cRLSign"),
        (with("basicConstraints=CA:TRUE\nkeyUsage=keyCertSign,cRLSign\nsubjectKeyIdentifier=none"), now, "identifier"),
        (narrow, now, "path length"),
        (format!("{doubled}{root}"), now, "cannot be repeated"),
        (format!("{renamed}{root}"), now, "another subject"),
        (format!("{weak}{root}"), now, "SHA-256 or stronger"),
        (format!("{own}{root}"), later, "expired"),
        (format!("{own}{root}{}", bench.read("root.key")), now, "only CERTIFICATE"),
        (own.repeat(9), now, "wanted are 1 to 8"),
        ("x".repeat(1 << 20), now, "64 KiB"),
    ] {
        let denial = bench.engine.certify(&bench.authority, &chain, when).unwrap_err();
        assert_eq!(denial.reason, Reason::BadRole);
        assert!(denial.detail.contains(said), "{said}: {}", denial.detail);
    }
}

#[test]
fn a_root_of_the_same_name_and_another_key_is_found_out() {
    let bench = Bench::new();
    bench.root("root", "");
    bench.request();
    let own = bench.sign("ours.csr", "root", OURS, "");
    bench.root("root", "");
    let denial = bench.engine.certify(&bench.authority, &(own + &bench.read("root.pem")), SystemClock.now());
    assert!(denial.unwrap_err().detail.contains("signature does not verify"));
}

#[test]
fn an_authority_brought_from_elsewhere_signs_as_one_made_here() {
    for key in [
        "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        "-algorithm ed25519",
    ] {
        let mut bench = Bench::new();
        bench.root("root", "");
        bench.openssl(&format!("genpkey {key} -out own.key"));
        bench.openssl("req -new -key own.key -subj /C=DE/O=Example/OU=Agents/CN=Issuing -out own.csr");
        let bundle = bench.read("own.key") + &bench.sign("own.csr", "root", OURS, "") + &bench.read("root.pem");
        bench.authority = bench.engine.import(&SecretBytes::from(bundle.into_bytes()), SystemClock.now()).unwrap();
        let leaf = bench.leaf(role(), json!({}));
        bench.verify(&leaf, "-purpose sslclient").unwrap();
        let list = bench.list("list.pem", std::slice::from_ref(&leaf.ended));
        let why = bench.verify(&leaf, &format!("-crl_check -CRLfile {}", show(&list))).unwrap_err();
        assert!(why.contains("certificate revoked"), "{why}");
        bench.request();
        let request = bench.openssl("req -in ours.csr -noout -subject -verify");
        assert!(request.contains("C = DE, O = Example, OU = Agents, CN = Issuing"), "{request}");
    }
}

#[test]
fn a_bundle_that_is_none_is_refused_and_not_repeated() {
    let bench = Bench::new();
    bench.root("root", " -addext basicConstraints=critical,CA:TRUE");
    let (key, root) = (bench.read("root.key"), bench.read("root.pem"));
    bench.openssl("ecparam -name prime256v1 -genkey -noout -out sec1.key");
    bench.openssl("pkcs8 -topk8 -in root.key -passout pass:x -out locked.key");
    bench.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small.key");
    for (bundle, said) in [
        (String::new(), "0 private keys"),
        (root.clone(), "0 private keys"),
        (key.clone(), "0 certificates"),
        (format!("{key}{key}{root}"), "2 private keys"),
        (format!("{}{root}", bench.read("sec1.key")), "openssl pkcs8"),
        (format!("{}{root}", bench.read("locked.key")), "openssl pkcs8"),
        (format!("{}{root}", bench.read("small.key")), "no Ed25519"),
        (format!("{}{root}", bench.openssl("genpkey -algorithm ed25519")), "not for the key"),
        (format!("{key}{root}").replace("MII", "!!!"), "base64"),
    ] {
        let import = |bundle: String| bench.engine.import(&SecretBytes::from(bundle.into_bytes()), SystemClock.now());
        let denial = import(bundle).unwrap_err();
        assert_eq!(denial.reason, Reason::BadSealedInput);
        assert!(denial.detail.contains(said), "{said}: {}", denial.detail);
        let line = key.lines().nth(1).unwrap();
        assert!(!format!("{denial:?}").contains(line));
    }
    let whole = SecretBytes::from(format!("{key}{root}").into_bytes());
    let kept = bench.engine.import(&whole, SystemClock.now()).unwrap();
    let kept: Value = serde_json::from_slice(kept.expose()).unwrap();
    assert_eq!((&kept["type"], kept["chain"].as_array().unwrap().len()), (&json!("x509"), 1));
}
