//! PEM (RFC 7468), read and written in buffers that are erased: a bundle brought by an operator holds a private key,
//! and so does a secret whose key was made here. Text outside the blocks is passed over, as `openssl req -text` and
//! bundles of many tools have it; headers inside a block (RFC 1421), which announce encryption, are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The label of a certificate.
pub(super) const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a private key in PKCS #8.
pub(super) const PRIVATE_KEY: &str = "PRIVATE KEY";
/// The label of a certification request.
pub(super) const REQUEST: &str = "CERTIFICATE REQUEST";

/// Bytes of a full line: 64 characters.
const LINE: usize = 48;

/// What stands between two marks.
pub(super) struct Block<'a> {
    /// What it is.
    pub(super) label: &'a str,
    /// Its bytes.
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// All blocks of a text, in order.
pub(super) fn blocks(text: &str) -> Result<Vec<Block<'_>>, &'static str> {
    let mut found = Vec::new();
    let mut open: Option<&str> = None;
    let mut body = Zeroizing::new(String::with_capacity(text.len()));
    for line in text.lines().map(str::trim) {
        match (open, mark(line, "-----BEGIN "), mark(line, "-----END ")) {
            (None, Some(label), _) => open = Some(label),
            (None, _, Some(_)) => return Err("a PEM block ends that never began"),
            (None, None, None) => {}
            (Some(label), None, Some(end)) if end == label => {
                let der = Zeroizing::new(STANDARD.decode(body.as_bytes()).map_err(|_| "a PEM block is not base64")?);
                found.push(Block { label, der });
                body.clear();
                open = None;
            }
            (Some(_), None, None) => body.push_str(line),
            (Some(_), _, _) => return Err("a PEM block does not end as it began"),
        }
    }
    if open.is_some() { Err("a PEM block is cut off") } else { Ok(found) }
}

fn mark<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    line.strip_prefix(begin)?.strip_suffix("-----")
}

/// The block of `der`, in one buffer that never has to grow.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let lines = der.len().div_ceil(LINE);
    let mut text = Zeroizing::new(String::with_capacity(lines * 65 + 2 * label.len() + 40));
    let mut characters = Zeroizing::new([0u8; 64]);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in der.chunks(LINE) {
        let written = STANDARD.encode_slice(line, characters.as_mut()).expect("48 bytes are 64 characters");
        text.push_str(std::str::from_utf8(&characters[..written]).expect("base64 is ASCII"));
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Certificates one after the other.
pub(super) fn certificates<'a>(ders: impl IntoIterator<Item = &'a Vec<u8>>) -> String {
    ders.into_iter().map(|der| encode(CERTIFICATE, der).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_never_grows() {
        for length in [0, 1, 47, 48, 49, 96, 1000] {
            let der: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let text = encode(PRIVATE_KEY, &der);
            assert!(text.lines().all(|line| line.len() <= 64));
            let bundle = format!("a comment\r\n{}\nmore\n{}", text.replace('\n', "\r\n"), *text);
            let found = blocks(&bundle).unwrap();
            assert_eq!(found.len(), 2);
            assert!(found.iter().all(|block| block.label == PRIVATE_KEY && *block.der == der));
        }
    }

    #[test]
    fn what_is_broken_is_refused() {
        for text in [
            "-----BEGIN A-----\nAAAA\n",
            "-----BEGIN A-----\nAAAA\n-----END B-----\n",
            "-----END A-----\n",
            "-----BEGIN A-----\n-----BEGIN A-----\nAAAA\n-----END A-----\n",
            "-----BEGIN A-----\nAAA\n-----END A-----\n",
            "-----BEGIN A-----\nAA=A\n-----END A-----\n",
            "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END A-----\n",
            "-----BEGIN A-----\nAA\u{a0}AA\n-----END A-----\n",
        ] {
            assert!(blocks(text).is_err(), "{text:?}");
        }
        assert!(blocks("nothing here").unwrap().is_empty());
    }
}
