//! One secret in every spelling in which it could lie about: as it is, in hex, in base64 of either alphabet at each of
//! the three places it can begin at, escaped as JSON and as Rust write texts, as a list of numbers.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// The spellings, each with its name.
#[derive(Debug)]
pub(crate) struct Needles(Vec<(&'static str, Vec<u8>)>);

impl Needles {
    pub(crate) fn of(secret: &[u8]) -> Needles {
        let mut all = vec![("as it is", secret.to_vec())];
        let hex = secret.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        all.push(("in hex", hex.clone().into_bytes()));
        all.push(("in hex", hex.to_uppercase().into_bytes()));
        for (alphabet, engine) in [("in base64", &STANDARD), ("in base64url", &URL_SAFE)] {
            for shift in 0..3 {
                // What stands before and after it changes the characters at both ends; those between are its own.
                let text = engine.encode([&vec![0; shift], secret].concat());
                let begin = [0, 2, 3][shift];
                let whole = (shift + secret.len()) / 3 * 4;
                all.push((alphabet, text.as_bytes()[begin..whole].to_vec()));
            }
        }
        let text = String::from_utf8_lossy(secret);
        all.push(("as JSON", inside(&serde_json::to_string(&text).unwrap())));
        all.push(("as Debug", inside(&format!("{text:?}"))));
        all.push(("escaped", secret.escape_ascii().to_string().into_bytes()));
        all.push(("as numbers", inside(&format!("{secret:?}"))));
        all.push(("as numbers", inside(&serde_json::to_string(secret).unwrap())));
        all.push(("backwards", secret.iter().rev().copied().collect()));
        Needles(all)
    }

    /// The spelling in which it is there, if it is.
    pub(crate) fn found_in(&self, hay: &[u8]) -> Option<&'static str> {
        let mut begins = [false; 256];
        self.0.iter().for_each(|(_, needle)| begins[usize::from(needle[0])] = true);
        let places = hay.iter().enumerate().filter(|(_, byte)| begins[usize::from(**byte)]);
        let stands = |at: usize| self.0.iter().find(|(_, needle)| hay[at..].starts_with(needle));
        places.filter_map(|(at, _)| stands(at)).map(|(name, _)| *name).next()
    }
}

/// The text without its first and last character.
fn inside(quoted: &str) -> Vec<u8> {
    quoted.as_bytes()[1..quoted.len() - 1].to_vec()
}

#[test]
fn every_spelling_is_found_wherever_it_begins() {
    let secret = b"a \"secret\" of / this <length>";
    let needles = Needles::of(secret);
    for shift in 0..7 {
        let whole = [&b"0123456"[..shift], secret, &b"789"[..shift % 4]].concat();
        for hay in [
            whole.clone(),
            STANDARD.encode(&whole).into_bytes(),
            URL_SAFE.encode(&whole).into_bytes(),
            serde_json::to_vec(std::str::from_utf8(&whole).unwrap()).unwrap(),
            format!("{:?}", std::str::from_utf8(&whole).unwrap()).into_bytes(),
            format!("{whole:?}").into_bytes(),
            whole.iter().map(|byte| format!("{byte:02X}")).collect::<String>().into_bytes(),
        ] {
            assert!(needles.found_in(&hay).is_some(), "{}", String::from_utf8_lossy(&hay));
        }
    }
    assert_eq!(needles.found_in(b"a \"secret\" of / this <lengt"), None);
    assert_eq!(needles.found_in(b""), None);
}
