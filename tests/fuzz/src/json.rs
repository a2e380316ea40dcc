//! Admission, and the one form of RFC 8785.

use nockvault::crypto::json::{Admission, admit, canonical, canonical_value, depth};
use serde_json::Value;

/// What is admitted is the one writing of its value; and the quick writer writes what the plain one does, whatever JSON it
/// is given.
pub(super) fn json(data: &[u8]) -> bool {
    let mut taken = false;
    let all =
        [Admission::AGENT, Admission::OPERATOR, Admission::AUDIT_LINE, Admission::OPERATORS_LINE, Admission::RESPONSE];
    for rules in all {
        match admit(data, &rules) {
            Ok(value) => {
                assert_eq!(canonical(&value), data, "what was admitted is written otherwise");
                assert!(data.len() <= rules.max_bytes && depth(&value) <= rules.max_depth);
                taken = true;
            }
            Err(why) => super::told(why),
        }
    }
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        let written = canonical_value(&value);
        assert_eq!(written, canonical(&value), "the two writers differ");
        let again: Value = serde_json::from_slice(&written).expect("what is written is JSON");
        assert_eq!(canonical_value(&again), written, "what is written is written otherwise");
    }
    taken
}
