//! `credential_process` of the AWS SDKs and CLI: the program's standard output is one JSON object with `Version` 1, and
//! its standard error holds nothing secret. `Expiration` is the lease's end, or the keys' own where that is earlier, in
//! whole seconds: an SDK asks again some minutes before.

use serde::Serialize;
use zeroize::Zeroizing;

use super::{instant, json};
use crate::client::fault::Fault;
use crate::launcher::ask::Given;
use crate::time::Timestamp;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    version: u64,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_token: Option<&'a str>,
    expiration: String,
}

/// What an SDK is told.
///
/// # Errors
/// [`Fault::Local`] where the secret lacks a key.
pub fn answer(given: &Given) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let id = given.needed(&["access_key_id", "AccessKeyId", "aws_access_key_id", "AWS_ACCESS_KEY_ID"])?;
    let key =
        given.needed(&["secret_access_key", "SecretAccessKey", "aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"])?;
    let token = given.field(&["session_token", "SessionToken", "aws_session_token", "AWS_SESSION_TOKEN"])?;
    let own = match given.field(&["expiration", "Expiration"])? {
        Some(text) => Timestamp::from_rfc3339(&text)
            .ok_or_else(|| Fault::local("the expiration that is stored with the keys is not in RFC 3339"))?,
        None => given.exp,
    };
    Ok(json(&Answer {
        version: 1,
        access_key_id: &id,
        secret_access_key: &key,
        session_token: token.as_ref().map(|token| token.as_str()),
        expiration: instant(own.min(given.exp)),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::launcher::ask::tests::given;

    fn told(secret: &Value) -> Value {
        serde_json::from_slice(&answer(&given(secret)).unwrap()).unwrap()
    }

    #[test]
    fn keys_come_from_members_or_from_a_stored_object() {
        let wanted = json!({
            "Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": "s", "SessionToken": "t",
            "Expiration": "2026-05-28T20:26:40Z",
        });
        let members = json!({"type": "aws", "access_key_id": "AKIA", "secret_access_key": "s", "session_token": "t"});
        assert_eq!(told(&members), wanted);
        let value =
            r#"{"AccessKeyId":"AKIA","SecretAccessKey":"s","SessionToken":"t","Expiration":"2027-01-01T00:00:00Z"}"#;
        assert_eq!(told(&json!({"type": "kv", "encoding": "utf8", "value": value})), wanted);
        let sooner =
            value.replace("2027-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00").replace(r#","SessionToken":"t""#, "");
        let sooner = told(&json!({"type": "kv", "encoding": "utf8", "value": sooner}));
        assert_eq!((&sooner["Expiration"], sooner.get("SessionToken")), (&json!("2026-01-01T00:00:00Z"), None));
    }

    #[test]
    fn a_secret_that_lacks_a_key_is_told_of() {
        let why =
            answer(&given(&json!({"type": "kv", "encoding": "utf8", "value": "AKIA:s"}))).unwrap_err().to_string();
        assert!(why.contains("access_key_id") && !why.contains("AKIA"), "{why}");
    }
}
