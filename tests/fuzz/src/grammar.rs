//! Names, identifiers and times.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use nockvault::audit::entry::Origin;
use nockvault::audit::shown::printable;
use nockvault::base64url;
use nockvault::crypto::hash::Digest;
use nockvault::denial::Reason;
use nockvault::id::*;
use nockvault::statement::grant::Rate;
use nockvault::statement::issue::Purpose;
use nockvault::time::{Seconds, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::world::NOW;

/// What is taken as an identifier is that text and no other, so that two that were taken are equal exactly where their
/// bytes are.
fn is_itself<T>(text: &str) -> bool
where
    T: FromStr<Err: Display> + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    let json = serde_json::to_vec(text).expect("a text is JSON");
    let (parsed, read) = (text.parse::<T>(), serde_json::from_slice::<T>(&json));
    assert_eq!(parsed.is_ok(), read.is_ok(), "a statement takes another name than a command line");
    match parsed {
        Ok(id) => {
            assert_eq!(id.to_string(), text, "it is another text");
            assert_eq!(serde_json::to_vec(&id).expect("it is JSON"), json);
            assert_eq!(read.ok(), Some(id));
            true
        }
        Err(why) => {
            super::told(why);
            false
        }
    }
}

/// Every kind of identifier.
pub(super) fn ids(data: &[u8]) -> bool {
    let Some(text) = super::text(data) else { return false };
    let known: &[fn(&str) -> bool] = &[
        is_itself::<AgentName>,
        is_itself::<OperatorName>,
        is_itself::<CustodianName>,
        is_itself::<VaultName>,
        is_itself::<RoleName>,
        is_itself::<SecretName>,
        is_itself::<Sid>,
        is_itself::<Kid>,
        is_itself::<Aud>,
        is_itself::<Nonce>,
        is_itself::<SetId>,
        is_itself::<LeaseId>,
        is_itself::<ChainName>,
        is_itself::<Digest>,
    ];
    let mut taken = known.iter().filter(|is| is(text)).count() > 0;
    if let Some((one, other)) = text.split_once('\n') {
        same::<AgentName>(one, other);
        same::<RoleName>(one, other);
        same::<Sid>(one, other);
    }
    if let Some(bytes) = base64url::decode(text) {
        assert_eq!(base64url::encode(&bytes), text);
    }
    if let Some((agent, lease)) = of_handle(text) {
        assert_eq!(handle(&agent, &lease), text, "two handles name one lease");
        taken = true;
    }
    if let Some(origin) = Origin::parse(text) {
        assert_eq!(origin.to_string(), text);
        taken = true;
    }
    if let Ok(lease) = text.parse::<LeaseId>() {
        assert_eq!(LeaseId::from_bytes(lease.bytes()), Some(lease));
    }
    if let Ok(purpose) = Purpose::try_from(text.to_owned()) {
        super::told(purpose.as_str());
    }
    if let Some(reason) = Reason::from_code(text) {
        assert_eq!(reason.code(), text);
    }
    super::told(printable(text).replace('\n', ""));
    taken
}

fn same<T: FromStr + PartialEq>(one: &str, other: &str) {
    if let (Ok(a), Ok(b)) = (one.parse::<T>(), other.parse::<T>()) {
        assert_eq!(a == b, one == other, "two names are one, or one is two");
    }
}

/// Durations, rates and instants.
pub(super) fn times(data: &[u8]) -> bool {
    let Some(text) = super::text(data) else { return false };
    let seconds = text.parse::<Seconds>();
    match &seconds {
        Ok(span) => {
            assert_eq!(span.to_string().parse(), Ok(*span), "a duration is written as another");
            assert!(
                text.bytes().all(|byte| byte.is_ascii_digit() || b"dhms".contains(&byte)),
                "{text:?} is a duration"
            );
            assert!(NOW.plus(*span) >= NOW);
        }
        Err(why) => super::told(why),
    }
    let rate = text.parse::<Rate>();
    if let Ok(rate) = &rate {
        assert_eq!(rate.to_string().parse(), Ok(*rate), "a rate is written as another");
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'/'), "{text:?} is a rate");
    }
    let instant = Timestamp::from_rfc3339(text);
    if let Some(instant) = instant {
        assert_eq!(Timestamp::from_rfc3339(&instant.to_string()), Some(instant), "an instant is written as another");
    }
    if let Some(ms) = data.first_chunk::<8>().map(|bytes| Timestamp(u64::from_be_bytes(*bytes))) {
        let _ = (ms.to_string(), ms.minute(), ms.plus(Seconds(u64::MAX)), ms.minus(Seconds(u64::MAX)));
    }
    seconds.is_ok() || rate.is_ok() || instant.is_some()
}
