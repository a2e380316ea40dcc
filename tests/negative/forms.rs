//! The same statement in other bytes. Its agent signs each of them, and still there is one form that is taken: what is
//! canonical, and not a byte too long.

use nockvault::crypto::json::canonical;
use nockvault::denial::Reason::*;
use serde_json::{Value, json};

use crate::stage::Leaves::*;
use crate::stage::Stage;

type Rewrite = fn(&str) -> String;

/// What is done to the text of a good request.
const REWRITTEN: &[(&str, Rewrite)] = &[
    ("a space at the end", |text| format!("{text} ")),
    ("an end of line at the end", |text| format!("{text}\n")),
    ("a space at the beginning", |text| format!(" {text}")),
    ("a space within", |text| text.replacen(':', ": ", 1)),
    ("a tab within", |text| text.replacen(',', ",\t", 1)),
    ("a byte order mark", |text| format!("\u{feff}{text}")),
    ("a zero byte at the end", |text| format!("{text}\0")),
    ("a second object behind it", |text| format!("{text}{{}}")),
    ("it twice", |text| format!("{text}{text}")),
    ("without its end", |text| text[..text.len() - 1].to_owned()),
    ("a comma at the end", |text| format!("{},}}", &text[..text.len() - 1])),
    ("a comment", |text| text.replacen('{', "{/* */", 1)),
    ("in an array", |text| format!("[{text}]")),
    ("as a text", |text| serde_json::to_string(text).unwrap()),
    ("1.0 for 1", |text| text.replace("\"kver\":1,", "\"kver\":1.0,")),
    ("1e0 for 1", |text| text.replace("\"kver\":1,", "\"kver\":1e0,")),
    ("01 for 1", |text| text.replace("\"kver\":1,", "\"kver\":01,")),
    ("+1 for 1", |text| text.replace("\"kver\":1,", "\"kver\":+1,")),
    ("-0 for 0", |text| text.replace("\"ttl\":0,", "\"ttl\":-0,")),
    ("0.0 for 0", |text| text.replace("\"ttl\":0,", "\"ttl\":0.0,")),
    ("2^53", |text| text.replace("\"ttl\":0,", "\"ttl\":9007199254740992,")),
    ("2^53 + 1, which a float rounds", |text| text.replace("\"ttl\":0,", "\"ttl\":9007199254740993,")),
    ("2^64", |text| text.replace("\"ttl\":0,", "\"ttl\":18446744073709551616,")),
    ("-2^53", |text| text.replace("\"ttl\":0,", "\"ttl\":-9007199254740992,")),
    ("1e400", |text| text.replace("\"ttl\":0,", "\"ttl\":1e400,")),
    ("not a number", |text| text.replace("\"ttl\":0,", "\"ttl\":NaN,")),
    ("a member in capitals", |text| text.replace("\"params\":{}", "\"params\":{\"A\":1}")),
    ("a member with a capital within", |text| text.replace("\"params\":{}", "\"params\":{\"aB\":1}")),
    ("a member without a name", |text| text.replace("\"params\":{}", "\"params\":{\"\":1}")),
    ("a member that begins with a digit", |text| text.replace("\"params\":{}", "\"params\":{\"1a\":1}")),
    ("a member with a hyphen", |text| text.replace("\"params\":{}", "\"params\":{\"a-b\":1}")),
    ("a member of other letters", |text| text.replace("\"params\":{}", "\"params\":{\"\u{e4}\":1}")),
    ("a member twice, deep inside", |text| text.replace("\"params\":{}", "\"params\":{\"a\":1,\"a\":1}")),
    ("a member twice, once escaped", |text| text.replace("\"params\":{}", "\"params\":{\"a\":1,\"\\u0061\":1}")),
    ("an escaped letter in a value", |text| text.replace("\"kit\"", "\"\\u006bit\"")),
    ("an escaped letter in a name", |text| text.replace("\"agent\"", "\"\\u0061gent\"")),
    ("an escaped slash", |text| text.replace("nockvault/issue", "nockvault\\/issue")),
    ("an escape in capitals", |text| text.replace("a test", "a\\u001Ftest")),
    ("a lone surrogate", |text| text.replace("a test", "\\ud800")),
    ("a bare control character", |text| text.replace("a test", "a\u{1}test")),
    ("nine deep", |text| text.replace("\"params\":{}", "\"params\":{\"a\":[[[[[[[1]]]]]]]}")),
    ("a thousand deep", |text| {
        text.replace("\"params\":{}", &format!("\"params\":{{\"a\":{}1{}}}", "[".repeat(1000), "]".repeat(1000)))
    }),
];

#[tokio::test]
async fn other_bytes_of_the_same_statement_are_not_canonical() {
    let stage = Stage::set().await;
    for (name, rewrite) in REWRITTEN {
        let good = String::from_utf8(stage.kit.issue("orders").payload).unwrap();
        let other = rewrite(&good);
        assert_ne!(other, good, "{name} changes nothing");
        stage.judge(name, stage.kit.sign_bytes(other.into_bytes()), NotCanonical, Nothing).await;
    }
    for bytes in [&b"\xff\xfe"[..], b"{", b"}", b"null", b"1", b"\"\"", b"\0", b"{\"a\":\"\xc0\x80\"}", b"\x08\x01"] {
        let name = format!("the bytes {bytes:?}");
        stage.judge(&name, stage.kit.sign_bytes(bytes.to_vec()), NotCanonical, Nothing).await;
    }
}

/// The members as `"name":value`, in order.
fn members(statement: &Value) -> Vec<String> {
    let member =
        |(name, value): (&String, &Value)| format!("\"{name}\":{}", String::from_utf8(canonical(value)).unwrap());
    statement.as_object().unwrap().iter().map(member).collect()
}

fn object(members: &[String]) -> Vec<u8> {
    format!("{{{}}}", members.join(",")).into_bytes()
}

#[tokio::test]
async fn members_doubled_or_out_of_order_are_not_canonical() {
    let stage = Stage::set().await;
    let good = stage.kit.issue_value("orders");
    let members = members(&good);
    assert_eq!(object(&members), canonical(&good), "written by hand, it is the same");
    for index in 0..members.len() {
        let mut doubled = members.clone();
        doubled.insert(index, members[index].clone());
        let name = format!("{} twice", members[index]);
        stage.judge(&name, stage.kit.sign_bytes(object(&doubled)), NotCanonical, Nothing).await;

        // The second one says something else: whoever takes the first and whoever takes the last would not agree.
        let mut other = members.clone();
        other.insert(index + 1, members[index].split_once(':').unwrap().0.to_owned() + ":0");
        let name = format!("{} and then 0", members[index]);
        stage.judge(&name, stage.kit.sign_bytes(object(&other)), NotCanonical, Nothing).await;
    }
    for index in 1..members.len() {
        let mut swapped = members.clone();
        swapped.swap(index - 1, index);
        let name = format!("{} before its place", members[index]);
        stage.judge(&name, stage.kit.sign_bytes(object(&swapped)), NotCanonical, Nothing).await;
    }
    let backwards: Vec<String> = members.iter().rev().cloned().collect();
    stage.judge("backwards", stage.kit.sign_bytes(object(&backwards)), NotCanonical, Nothing).await;
}

#[tokio::test]
async fn one_byte_too_many_is_oversize() {
    let stage = Stage::set().await;
    let mut request = stage.kit.issue_value("orders");
    request["params"] = json!({"pad": ""});
    let room = 8192 - canonical(&request).len();
    request["params"]["pad"] = json!("x".repeat(room));
    let fits = stage.kit.sign(&request);
    assert_eq!(fits.payload.len(), 8192);
    stage.judge("as large as may be", fits, ParamsRefused, Denial).await;
    request["params"]["pad"] = json!("x".repeat(room + 1));
    stage.judge_unsigned("one byte more", stage.kit.sign(&request), Oversize).await;
    stage.judge_unsigned("a megabyte", stage.kit.sign_bytes(vec![b'x'; 1 << 20]), Oversize).await;
    stage.judge_unsigned("nothing", stage.kit.sign_bytes(Vec::new()), Malformed).await;
}
