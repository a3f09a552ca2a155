//! The committed OpenAPI document is the one that the code draws, and it hangs together.

use std::collections::BTreeSet;

use forebay_api::{Found, OPERATIONS, ProblemKind, document, find};
use serde_json::Value;

fn read(path: &str) -> String {
    let path = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_committed_document_is_the_one_that_the_code_draws() {
    let committed: Value =
        serde_json::from_str(&read("spec/openapi.json")).expect("spec/openapi.json is JSON");
    assert!(
        committed == document(),
        "the interface changed: run `cargo run -p forebay -- openapi > spec/openapi.json`, and read the difference"
    );
}

#[test]
fn every_operation_is_found_by_its_own_path_and_once() {
    let mut seen = BTreeSet::new();
    for row in OPERATIONS {
        assert!(seen.insert(row.operation), "{:?} twice", row.operation);
        let path = match row.path.split_once('{') {
            None => row.path.to_owned(),
            Some((start, rest)) => {
                let (_, end) = rest.split_once('}').expect("closed");
                format!("{start}x{end}")
            }
        };
        let Found::Row(found, _) = find(row.method.name(), &path) else {
            panic!("{path} is not found");
        };
        assert_eq!(found.operation, row.operation, "{path}");
    }
    assert!(matches!(find("PUT", "/v1/status"), Found::Methods(_)));
    assert!(matches!(find("GET", "/v1/peers/a/b"), Found::Nothing));
}

#[test]
fn every_reference_of_the_document_leads_somewhere_and_every_schema_is_used() {
    let document = document();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in &references {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let schemas = document["components"]["schemas"].as_object();
    for name in schemas.expect("schemas").keys() {
        let reference = format!("#/components/schemas/{name}");
        assert!(references.contains(&reference), "{name} is never used");
    }
}

fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                into.insert(reference.clone());
            }
            fields.values().for_each(|value| collect(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_kind_of_problem_is_explained_where_its_type_points() {
    let page = read("docs/book/api.md");
    for kind in ProblemKind::ALL {
        let problem = kind.with("", "");
        let heading = format!("\n### {}\n", kind.name());
        assert!(page.contains(&heading), "docs/book/api.md lacks {heading}");
        assert!(problem.kind.ends_with(&format!("#{}", kind.name())));
    }
}
