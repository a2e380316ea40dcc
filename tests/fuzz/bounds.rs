//! What the schemas say of numbers is what their readers hold to: a number within the bounds is read, and one beyond them is
//! not. Tried with the seeds, one statement of each kind, and one number of it exchanged at a time.

use std::ops::RangeInclusive;

use nockvault::crypto::json::canonical_value;
use nockvault::statement::schema;
use serde_json::{Value, json};

use crate::{corpus, find};

/// The largest number that JSON carries the same everywhere.
const LARGEST: u64 = (1 << 53) - 1;

/// Numbers that are tried beside the ends of what a schema says.
const TRIED: [u64; 12] = [0, 1, 2, 10, 60, 100, 1001, 100_000, 2_592_001, 1 << 31, 1 << 40, LARGEST];

/// Numbers that hang on another member, which a schema cannot say, by how their places end.
const HANG: [&str; 3] = ["register/kver", "/set/of", "/set/part"];

/// This schema, what it refers to, and what it leaves open.
fn ways<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let named = schema["$ref"].as_str().and_then(|path| root.pointer(path.trim_start_matches('#')));
    let several = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|word| schema[word].as_array()).flatten();
    let further = named.into_iter().chain(several).flat_map(|one| ways(root, one));
    [schema].into_iter().chain(further).collect()
}

/// Each number of a value that is not the only one, by its place, with the bounds that the schema gives it.
fn numbers(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<(String, RangeInclusive<u64>)>) {
    let ways = ways(root, schema);
    let said = |word: &str| ways.iter().find_map(|way| way.get(word));
    let mut within = |schema: Option<&Value>, value: &Value, name: &str| {
        if let Some(schema) = schema {
            numbers(root, schema, value, &format!("{at}/{name}"), found);
        }
    };
    match value {
        Value::Number(_) if said("const").is_none() => {
            let bound = |word: &str, otherwise: u64| said(word).map_or(otherwise, |bound| bound.as_u64().unwrap());
            found.push((at.to_owned(), bound("minimum", 0)..=bound("maximum", LARGEST)));
        }
        Value::Object(members) => {
            for (name, member) in members {
                let own = ways.iter().find_map(|way| way["properties"].get(name));
                within(own.or(said("additionalProperties").filter(|any| any.is_object())), member, name);
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                within(said("items"), item, &place.to_string());
            }
        }
        _ => {}
    }
}

#[test]
fn a_number_is_read_exactly_where_its_schema_allows_it() {
    let reader = find("statement").unwrap();
    let seeds = corpus(reader);
    let (mut tried, mut wrong) = (0, Vec::new());
    for (kind, schema) in schema::all() {
        let (_, seed) = seeds.iter().find(|(name, _)| *name == kind).unwrap();
        let whole: Value = serde_json::from_slice(seed).unwrap();
        let mut found = Vec::new();
        numbers(&schema, &schema, &whole, "", &mut found);
        for (place, bounds) in found {
            let whose = format!("{kind}{place}");
            if HANG.iter().any(|end| whose.ends_with(end)) {
                continue;
            }
            let ends =
                [bounds.start().saturating_sub(1), *bounds.start(), *bounds.end(), (bounds.end() + 1).min(LARGEST)];
            for number in TRIED.into_iter().chain(ends) {
                let mut changed = whole.clone();
                *changed.pointer_mut(&place).unwrap() = json!(number);
                let taken = (reader.run)(&canonical_value(&changed));
                tried += 1;
                if taken != bounds.contains(&number) {
                    wrong.push(format!("{whose} = {number}: {bounds:?} by its schema, and read: {taken}"));
                }
            }
        }
    }
    assert!(tried > 1000, "{tried} numbers were tried");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
