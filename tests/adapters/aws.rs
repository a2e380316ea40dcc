//! The AWS CLI signs a request with keys from `credential_process`; the endpoint works the signature out for itself
//! (Signature Version 4).

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::loopback::{Asked, Loopback, Told};
use crate::programs::{Said, said};
use crate::stage::Stage;

const ID: &str = "AKIAEXAMPLE";
const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "a//session+token==";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Whether this request is signed with the keys.
fn is_signed(asked: &Asked) -> bool {
    let shown = asked.header("authorization").unwrap_or_default();
    let Some(shown) = shown.strip_prefix("AWS4-HMAC-SHA256 ") else { return false };
    let part = |name: &str| shown.split(", ").find_map(|part| part.strip_prefix(name)).unwrap();
    let (credential, names) = (part("Credential="), part("SignedHeaders="));
    let (id, scope) = credential.split_once('/').unwrap();
    let headers: String = names.split(';').map(|name| format!("{name}:{}\n", asked.header(name).unwrap())).collect();
    let body = hex(&Sha256::digest(&asked.body));
    let request = format!("{}\n{}\n{}\n{headers}\n{names}\n{body}", asked.method, asked.path, asked.query);
    let at = asked.header("x-amz-date").unwrap();
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(request)));
    let key = scope.split('/').fold(format!("AWS4{KEY}").into_bytes(), |key, part| hmac(&key, part));
    let token = asked.header("x-amz-security-token") == Some(TOKEN) && names.contains("x-amz-security-token");
    id == ID && token && part("Signature=") == hex(&hmac(&key, &text))
}

fn endpoint() -> Loopback {
    Loopback::start(|asked| {
        if !is_signed(asked) {
            return Told::new(
                403,
                "text/xml",
                "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>",
            );
        }
        Told::new(
            200,
            "text/xml",
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>arn:aws:iam::1:user/kit</Arn><UserId>kit</UserId><Account>1</Account></GetCallerIdentityResult>\
             </GetCallerIdentityResponse>",
        )
    })
}

fn caller(stage: &Stage, endpoint: &Loopback) -> Said {
    let program = env!("CARGO_BIN_EXE_vault-agent");
    let config = format!("[profile agent]\nregion = eu-central-1\ncredential_process = {program} aws aws-deploy\n");
    std::fs::create_dir_all(stage.path(".aws")).unwrap();
    std::fs::write(stage.path(".aws/config"), config).unwrap();
    let url = format!("http://127.0.0.1:{}", endpoint.port());
    let mut aws = stage.tool("aws");
    said(aws.args(["--profile", "agent", "--endpoint-url", &url, "--output", "text", "sts", "get-caller-identity"]))
}

#[test]
fn a_request_is_signed_with_keys_from_the_vault() {
    let secret = format!(r#"{{"access_key_id":"{ID}","secret_access_key":"{KEY}","session_token":"{TOKEN}"}}"#);
    let (stage, endpoint) = (Stage::with("aws-deploy", secret.as_bytes()), endpoint());
    assert!(caller(&stage, &endpoint).ok().contains("arn:aws:iam::1:user/kit"));
    assert!(!endpoint.asked().is_empty());

    // Other keys are noticed: the endpoint looks.
    let other = secret.replace("EXAMPLEKEY", "OTHERKEYXX");
    stage.vault.vaultctl_fed(&["secret", "put", "aws-deploy", "-"], other.as_bytes()).ok();
    let refused = caller(&stage, &endpoint);
    assert!(refused.code != 0 && refused.err.contains("SignatureDoesNotMatch"), "{refused:?}");
}

#[test]
fn what_lacks_a_key_or_a_grant_is_said_and_says_nothing_secret() {
    let stage = Stage::with("aws-deploy", b"{\"access_key_id\":\"AKIAEXAMPLE\",\"password\":\"hunter2\"}");
    let lacks = said(&mut stage.agent(&["aws", "aws-deploy"]));
    assert!((lacks.code, lacks.out.as_str()) == (1, "") && lacks.err.contains("secret_access_key"), "{lacks:?}");
    assert!(!lacks.err.contains("hunter2") && !lacks.err.contains("AKIA"), "{lacks:?}");
    let refused = said(&mut stage.agent(&["aws", "aws-admin"])).fails(2);
    assert!(refused.contains("no_grant"), "{refused}");
}
