//! The bytes under a signature: RFC 8785 with its authors' documents and numbers, and the encoding of DSSE.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nockvault::crypto::envelope::pae;
use nockvault::crypto::json::{Admission, admit, canonical};
use serde_json::Value;

use crate::folder::{each_json, files, flip, from_hex, list, some_bits, string, text};

#[test]
fn rfc8785_documents() {
    for input in files("rfc8785/input", "", ".json") {
        let beside = |folder: &str, end: &str| {
            let name = input.file_stem().unwrap().to_string_lossy().into_owned() + end;
            text(&input.parent().unwrap().parent().unwrap().join(folder).join(name))
        };
        let value: Value = serde_json::from_str(&text(&input)).unwrap();
        let expected: String = beside("outhex", ".txt").split_whitespace().collect();
        let expected = from_hex(&expected);
        let written = canonical(&value);
        assert_eq!(written, expected, "{}", input.display());
        assert_eq!(written, beside("output", ".json").trim_end_matches('\n').as_bytes(), "{}", input.display());
        for bit in some_bits(&expected) {
            assert_ne!(written, flip(&expected, bit));
        }
        // What is canonical is a fixed point; what was not is refused, by its form or earlier.
        assert_eq!(canonical(&serde_json::from_slice::<Value>(&written).unwrap()), written);
        let input = text(&input);
        assert!(input.as_bytes() == written || admit(input.as_bytes(), &Admission::OPERATOR).is_err(), "{input}");
    }
}

#[test]
fn rfc8785_numbers() {
    for file in files("rfc8785", "es6_numbers", ".txt") {
        let text = text(&file);
        let numbers = text.lines().map(|line| line.split_once(',').expect("bits,number"));
        let count = numbers
            .map(|(bits, number)| {
                let bits = u64::from_str_radix(bits, 16).unwrap();
                let written = canonical(&f64::from_bits(bits));
                assert_eq!(written, number.as_bytes(), "{bits:016x}");
                // The neighbour is another number, so it is written otherwise.
                let neighbour = f64::from_bits(bits ^ 1);
                assert!(!neighbour.is_finite() || canonical(&neighbour) != number.as_bytes(), "{bits:016x}");
            })
            .count();
        assert!(count > 0, "{} is empty", file.display());
    }
}

#[test]
fn dsse_pae() {
    each_json("dsse", "", |file| {
        let vectors = list(&file["vectors"]);
        for vector in vectors {
            let body = STANDARD.decode(string(&vector["body_b64"])).unwrap();
            let (payload_type, expected) = (string(&vector["type"]), string(&vector["pae_utf8"]).as_bytes());
            assert_eq!(pae(payload_type, &body), expected);
            for bit in some_bits(&body) {
                assert_ne!(pae(payload_type, &flip(&body, bit)), expected);
            }
            assert_ne!(pae(&format!("{payload_type} "), &body), expected);
        }
        vectors.len()
    });
}
