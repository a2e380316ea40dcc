//! The published JSON Schemas under `proto/schema/` are those of the Rust types. `NOCKVAULT_REGENERATE=1` writes them
//! anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/committed.rs"]
mod committed;

use std::collections::BTreeSet;
use std::path::Path;

use nockvault::statement::schema;
use serde_json::Value;

/// Holds the files of this folder below the project's against these schemas, by their names.
fn published(folder: &str, schemas: impl IntoIterator<Item = (String, Value)>) {
    let mut wanted = BTreeSet::new();
    for (name, schema) in schemas {
        let file = format!("{name}.json");
        committed::stands(format!("{folder}/{file}"), serde_json::to_string_pretty(&schema).unwrap() + "\n");
        wanted.insert(file);
    }
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let there: BTreeSet<String> = files.map(|file| file.file_name().into_string().unwrap()).collect();
    assert_eq!(there, wanted, "{folder} holds other files than these");
}

#[test]
fn the_published_schemas_are_those_of_the_types() {
    published("proto/schema", schema::all());
}

#[cfg(feature = "daemon")]
#[test]
fn each_engine_publishes_what_it_takes_and_gives() {
    use nockvault::crypto::signature::SigningKey;
    use nockvault::engine::{all, jwt};
    use nockvault::entropy::{Entropy, OsEntropy};

    let entropy: std::sync::Arc<dyn Entropy> = std::sync::Arc::new(OsEntropy);
    let key = SigningKey::generate(&*entropy);
    let mut engines = all(&entropy, &nockvault::id::Aud::of_identity(&key.kid()));
    engines.push(Box::new(jwt::Jwt::new(jwt::TokenKeys::one(key), "https://vault.example".into())));
    let mut schemas = Vec::new();
    for engine in &engines {
        let (kind, shapes) = (engine.kind(), engine.schemas());
        for (part, shape) in [("config", &shapes.config), ("params", &shapes.params)] {
            let closed = |shape: &Value| shape["additionalProperties"] == false;
            let ways = shape["oneOf"].as_array().or_else(|| shape["anyOf"].as_array());
            let all_closed = ways.map_or_else(|| closed(shape), |ways| closed(shape) || ways.iter().all(closed));
            assert!(all_closed, "{kind}.{part} takes members that it does not know: {shape}");
        }
        assert!(shapes.secret["properties"]["type"].is_object(), "the secret of {kind} does not say what it is");
        let parts = [("config", shapes.config), ("params", shapes.params), ("secret", shapes.secret)];
        schemas.extend(parts.map(|(part, mut shape)| {
            shape["title"] = format!("{kind}.{part}").into();
            (format!("{kind}.{part}"), shape)
        }));
    }
    published("proto/schema/engine", schemas);
}

#[test]
fn every_schema_is_closed_where_agents_or_operators_sign() {
    for (name, schema) in schema::all() {
        let typ = format!("nockvault/{name}");
        assert_eq!(schema["properties"]["typ"]["const"], typ);
        if schema::accepted().contains(&typ.as_str()) {
            assert_eq!(schema["additionalProperties"], false, "{name} takes members it does not know");
            let required: BTreeSet<&str> =
                schema["required"].as_array().unwrap().iter().map(|member| member.as_str().unwrap()).collect();
            assert!(
                required.is_superset(&BTreeSet::from(["aud", "iat", "kid", "kver", "nonce", "typ", "v"])),
                "{name}"
            );
        }
    }
}
