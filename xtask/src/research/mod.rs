//! `cargo xtask research check`: the research report is whole, cited, and says how its figures come about.
//!
//! Each rule is a pure function over the documents' text; only reading them and running Node are here and in
//! `diagrams`.

mod charts;
mod citations;
mod commands;
mod diagrams;
mod document;
mod reproduce;
mod sections;
mod tables;
mod tree;

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::root;
use crate::tidy::links;
use crate::tidy::source::Checkout;
use crate::tidy::{Finding, report};
use commands::Known;
use document::Document;

const FOLDER: &str = "docs/research/multichain-liquidity-pools";

/// `check` is all there is.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments {
        [only] if only == "check" => check(),
        _ => bail!("say `cargo xtask research check`"),
    }
}

/// Prints each broken rule as `file:line: what to do`; an error when there is any. Needs Node and `tools/research`.
pub(crate) fn check() -> Result<()> {
    let started = Instant::now();
    let checkout = Checkout::read()?;
    let documents = documents(&checkout)?;
    let mut findings = findings(&documents, &Known::read(&checkout)?);
    findings.extend(
        links::check(&checkout)
            .into_iter()
            .filter(|found| found.path.starts_with(FOLDER)),
    );
    let drawn = diagrams::check(&documents, &mut findings)?;
    findings.sort();
    report("research", &findings)?;
    charts::check()?;
    let count = documents.iter().filter(|d| d.is_markdown()).count();
    let took = started.elapsed().as_millis();
    eprintln!("research: {count} documents, {drawn} diagrams, all in order in {took} ms");
    Ok(())
}

/// The report's files, by their paths within it; Markdown is read, of others only the name is looked at.
fn documents(checkout: &Checkout) -> Result<Vec<Document>> {
    let prefix = format!("{FOLDER}/");
    let folder = root().join(FOLDER);
    let files = tree::files(&folder).with_context(|| format!("cannot list {FOLDER}"))?;
    Ok(files
        .into_iter()
        .map(|name| {
            let text = checkout.source(&format!("{prefix}{name}"));
            Document::new(&prefix, &name, text.map_or("", |source| &source.text))
        })
        .collect())
}

/// All rules but links and diagrams, which need more than the text.
fn findings(documents: &[Document], known: &Known) -> Vec<Finding> {
    let mut findings = tree::check(FOLDER, documents);
    findings.extend(citations::check(documents));
    for document in documents.iter().filter(|d| d.is_markdown()) {
        findings.extend(sections::check(document));
        findings.extend(tables::check(document));
        findings.extend(reproduce::check(document, known));
    }
    findings
}
