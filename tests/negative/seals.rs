//! A credential is sealed to a point that only its session knows the secret of. For a point of small order everyone
//! would know it; for one with two encodings a session could be pinned twice.

use nockvault::base64url;
use nockvault::denial::Reason::*;
use nockvault::statement::session::{Hello, Seal};
use serde_json::json;

use crate::stage::Leaves::*;
use crate::stage::Stage;
use crate::support::agent::Rpc;

/// The prime `2^255 - 19`.
const PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    (prime[0], prime[31]) = (0xed, 0x7f);
    prime
};

/// `a + b`, where it has 256 bits.
fn sum(a: [u8; 32], b: [u8; 32]) -> Option<[u8; 32]> {
    let (mut out, mut carry) = ([0; 32], 0u16);
    for index in 0..32 {
        let digit = u16::from(a[index]) + u16::from(b[index]) + carry;
        (out[index], carry) = ((digit & 0xff) as u8, digit >> 8);
    }
    (carry == 0).then_some(out)
}

fn small(number: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = number;
    bytes
}

fn from_hex(hex: &str) -> [u8; 32] {
    std::array::from_fn(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
}

/// The five u-coordinates of points of order 1, 2, 4 and 8, on the curve and its twist.
fn small_order() -> Vec<[u8; 32]> {
    let mut minus_one = PRIME;
    minus_one[0] -= 1;
    vec![
        small(0),
        small(1),
        minus_one,
        from_hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        from_hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    ]
}

/// Every encoding of these: as they are, with the prime or its double on top, with the bit that nobody reads.
fn all_encodings(points: &[[u8; 32]]) -> Vec<[u8; 32]> {
    let double = sum(PRIME, PRIME).unwrap();
    let mut all = Vec::new();
    for point in points {
        for encoding in [Some(*point), sum(*point, PRIME), sum(*point, double)].into_iter().flatten() {
            let mut flagged = encoding;
            flagged[31] |= 0x80;
            all.extend([encoding, flagged]);
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

#[tokio::test]
async fn no_encoding_of_a_point_of_small_order_is_sealed_to() {
    let stage = Stage::set().await;
    let points = all_encodings(&small_order());
    assert!(points.len() >= 12, "the published lists have twelve: {}", points.len());
    for point in points {
        let pk = base64url::encode(&point);
        let mut request = stage.kit.issue_value("orders");
        request["sid"] = json!("fresh");
        request["seal"]["pk"] = json!(pk);
        stage.judge(&format!("seal key {pk}"), stage.kit.sign(&request), SealKey, Denial).await;
    }
}

#[tokio::test]
async fn a_point_in_another_encoding_is_refused() {
    let stage = Stage::set().await;
    let good = *stage.kit.seal.public().as_bytes();
    let mut flagged = good;
    flagged[31] |= 0x80;
    // 2 to 18 have a second encoding above the prime; 2 is not of small order.
    for point in [flagged, sum(PRIME, small(2)).unwrap(), sum(PRIME, small(9)).unwrap(), [0xff; 32]] {
        let pk = base64url::encode(&point);
        let mut request = stage.kit.issue_value("orders");
        request["sid"] = json!("fresh");
        request["seal"]["pk"] = json!(pk);
        stage.judge(&format!("seal key {pk}"), stage.kit.sign(&request), SealKey, Denial).await;
    }
}

#[tokio::test]
async fn a_hello_is_held_to_the_same_seals() {
    let stage = Stage::set().await;
    let good = stage.kit.seal_statement();
    let hello = |seal: Seal| stage.kit.signed(Hello { seal });
    let low = Seal { pk: nockvault::crypto::hpke::SealKeyBytes::from_bytes(small(1)), ..good.clone() };
    let other = Seal { suite: "none".into(), ..good.clone() };
    for (name, seal, wanted) in [
        ("of small order", low, SealKey),
        ("another suite", other, SealSuite),
        ("another session's", stage.other_seal.clone(), SealMismatch),
    ] {
        stage.judge_at(Rpc::OpenSession, name, hello(seal), wanted, Denial).await;
    }
    let mut closed = stage.kit.request(Hello { seal: good });
    closed.common.sid = "closed".parse().unwrap();
    stage.judge_at(Rpc::OpenSession, "a closed session", stage.kit.sign(&closed), SessionEnded, Denial).await;
}
