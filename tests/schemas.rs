//! The published JSON Schemas under `proto/schema/` are those of the Rust types. `NOCKVAULT_REGENERATE=1` writes them
//! anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::Path;

use nockvault::statement::schema;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/schema")
}

#[test]
fn the_published_schemas_are_those_of_the_types() {
    let regenerate = std::env::var_os("NOCKVAULT_REGENERATE").is_some();
    let mut wanted = BTreeSet::new();
    for (name, schema) in schema::all() {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let file = folder().join(format!("{name}.json"));
        wanted.insert(format!("{name}.json"));
        if regenerate {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let there = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(there == text, "{} is not the schema of its type; run with NOCKVAULT_REGENERATE=1", file.display());
    }
    let there: BTreeSet<String> =
        std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, wanted, "proto/schema holds exactly the schemas of the statements");
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
