//! Draws the OpenAPI 3.1 document from the table of operations and the wire types.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::operation::{Answer, OPERATIONS, Row};
use crate::{IDEMPOTENCY_KEY, PAGE_DEFAULT, PAGE_MAX, Problem, ProblemKind, REQUEST_ID, Role};

/// The document, as committed in `spec/openapi.json`.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for row in OPERATIONS {
        let methods = paths.entry(row.path).or_insert_with(|| json!({}));
        methods[row.method.name().to_ascii_lowercase()] = operation(row, &mut generator);
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Forebay",
            "description": "A pool's interface for its operator, and by narrower tokens for its LPs, its peers and whoever only reads. Amounts are decimal strings in base units; codes and names stand for numbers. Whatever is no success is a problem (RFC 9457) whose `detail` says what to do. Rules that concern every request are in docs/book/api.md.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" }
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Problem": {
                    "description": format!("Why not, and what to do. Kinds: {}.", ProblemKind::ALL.map(ProblemKind::name).join(", ")),
                    "headers": { (REQUEST_ID): { "schema": { "type": "string" } } },
                    "content": { "application/problem+json": { "schema": problem } }
                }
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made by `forebay tokens add`; the operator's first one lies in the data directory."
                }
            }
        }
    })
}

fn operation(row: &Row, generator: &mut SchemaGenerator) -> Value {
    let mut drawn = json!({
        "operationId": format!("{:?}", row.operation),
        "summary": row.about,
        "parameters": parameters(row),
        "responses": {
            "200": success(row, generator),
            "default": { "$ref": "#/components/responses/Problem" }
        },
        "security": security(row),
        "x-roles": row.roles.iter().map(|role| Role::name(*role)).collect::<Vec<_>>()
    });
    if let Some(body) = row.body {
        drawn["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": body(generator) } }
        });
    }
    drawn
}

fn security(row: &Row) -> Value {
    match row.roles.is_empty() {
        true => json!([]),
        false => json!([{ "token": [] }]),
    }
}

fn parameters(row: &Row) -> Vec<Value> {
    let mut all = Vec::new();
    if let Some((_, rest)) = row.path.split_once('{') {
        all.push(json!({
            "name": rest.split('}').next(), "in": "path", "required": true,
            "schema": { "type": "string" }
        }));
    }
    if row.is_write() {
        all.push(json!({
            "name": IDEMPOTENCY_KEY, "in": "header", "required": true,
            "description": "New for each instruction; the same key with the same request takes effect once and gets the same answer, after a restart too.",
            "schema": { "type": "string", "pattern": "^[0-9a-fA-F]{32}$" }
        }));
    }
    match row.answer {
        Answer::Pages(_) => all.extend([
            json!({
                "name": "limit", "in": "query", "description": "Entries of a page.",
                "schema": { "type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT }
            }),
            json!({
                "name": "after", "in": "query",
                "description": "Where the page before ended, taken from its header `Link`.",
                "schema": { "type": "string" }
            }),
        ]),
        Answer::Stream(_) => all.extend([
            json!({
                "name": "Last-Event-ID", "in": "header", "description": "Resume after this event.",
                "schema": { "type": "string" }
            }),
            json!({
                "name": "after", "in": "query",
                "description": "The same; `0.0` for everything that is kept.",
                "schema": { "type": "string" }
            }),
        ]),
        Answer::One(_) | Answer::List(_) | Answer::Text(_) => {}
    }
    all
}

fn success(row: &Row, generator: &mut SchemaGenerator) -> Value {
    let mut headers = json!({ (REQUEST_ID): {
        "description": "The request's id, as in the node's log; the caller's own if it sent one.",
        "schema": { "type": "string" }
    } });
    let content = match row.answer {
        Answer::One(shape) => json!({ "application/json": { "schema": shape(generator) } }),
        Answer::List(shape) => {
            json!({ "application/json": { "schema": { "type": "array", "items": shape(generator) } } })
        }
        Answer::Pages(shape) => {
            headers["Link"] = json!({
                "description": "With `rel=\"next\"` where more follows (RFC 8288).",
                "schema": { "type": "string" }
            });
            json!({ "application/json": { "schema": { "type": "array", "items": shape(generator) } } })
        }
        Answer::Text(media) => json!({ (media): { "schema": { "type": "string" } } }),
        Answer::Stream(shape) => {
            let item = shape(generator);
            json!({ "text/event-stream": { "schema": { "type": "string" }, "x-data": item } })
        }
    };
    json!({ "description": "Done.", "headers": headers, "content": content })
}
