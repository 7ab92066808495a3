//! The document and the routes are one.

use axum::http::Method;
use serde_json::Value;

#[test]
fn every_operation_of_the_document_is_described_and_has_its_answers() {
    let document = serde_json::to_value(super::document()).unwrap();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(method.to_uppercase().parse::<Method>().is_ok(), "{method}");
            assert!(
                operation["summary"]
                    .as_str()
                    .is_some_and(|summary| summary.ends_with('.')),
                "{method} {path}"
            );
            assert!(
                !operation["responses"].as_object().unwrap().is_empty(),
                "{method} {path}"
            );
            operations += 1;
        }
    }
    assert_eq!(operations, 57);
}

#[test]
fn every_schema_that_the_document_names_is_in_it() {
    let document = serde_json::to_value(super::document()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut named = Vec::new();
    references(&document, &mut named);
    assert!(!named.is_empty());
    for name in named {
        assert!(schemas.contains_key(&name), "{name}");
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let reference = fields
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|text| text.rsplit('/').next());
            found.extend(reference.map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
