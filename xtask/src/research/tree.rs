//! The documents that there must be, and no other.

use std::io;
use std::path::Path;

use super::document::Document;
use crate::tidy::Finding;

/// A folder of the report and its documents, without their ending.
type Part = (&'static str, &'static [&'static str]);

const PARTS: &[Part] = &[
    (
        "",
        &["README", "executive-summary", "architecture-proposal"],
    ),
    (
        "payment-channels/",
        &[
            "bitcoin-lightning-survey",
            "ethereum-state-channels",
            "solana-channels",
            "comparison-matrix",
        ],
    ),
    (
        "offchain-swapping/",
        &[
            "htlc-atomic-swaps",
            "submarine-swaps",
            "offchain-amm-designs",
            "swap-mechanism-tradeoffs",
        ],
    ),
    (
        "pool-architectures/",
        &[
            "centralized-spoke-model",
            "decentralized-mesh-model",
            "tee-hybrid-model",
            "architecture-comparison",
        ],
    ),
    (
        "ilp-integration/",
        &[
            "connector-interface-design",
            "liquidity-provisioning",
            "debt-tracking-integration",
            "presigned-batch-compat",
        ],
    ),
    (
        "cross-chain/",
        &[
            "bridge-mechanisms",
            "settlement-finality",
            "wrapped-assets",
            "ibc-compatibility",
        ],
    ),
    (
        "security/",
        &[
            "trust-models",
            "attack-vectors",
            "tee-security-enhancement",
            "dispute-resolution",
        ],
    ),
    (
        "economics/",
        &[
            "capital-efficiency",
            "lp-incentive-design",
            "impermanent-loss-modeling",
            "rebalancing-strategies",
        ],
    ),
    (
        "implementation/",
        &[
            "existing-projects",
            "performance-benchmarks",
            "integration-roadmap",
            "prototype-recommendations",
        ],
    ),
    (
        "appendices/",
        &[
            "glossary",
            "bolt-specifications",
            "regulatory-considerations",
            "sources",
        ],
    ),
];

/// What may lie beside the documents: charts, and the data that they are drawn from.
const ENDINGS_BESIDE: &[&str] = &[".svg", ".csv", ".json"];

/// Paths of all documents, from the report's folder.
pub(super) fn required() -> impl Iterator<Item = String> {
    PARTS
        .iter()
        .flat_map(|(folder, names)| names.iter().map(move |name| format!("{folder}{name}.md")))
}

/// Paths of all files under a folder, from there, in order.
pub(super) fn files(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                folders.push((entry.path(), format!("{name}/")));
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Documents that are missing, files that have no place here, and documents that the README does not list.
pub(super) fn check(folder: &str, documents: &[Document]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for required in required() {
        if documents.iter().all(|document| document.name != required) {
            findings.push(Finding {
                path: format!("{folder}/{required}"),
                line: 1,
                message: "this document is missing: write it".to_owned(),
            });
        }
    }
    for document in documents {
        let beside = ENDINGS_BESIDE.iter().any(|e| document.name.ends_with(e));
        if !beside && required().all(|required| document.name != required) {
            let message = "this file has no place in the report's tree: remove it";
            findings.push(document.finding(0, message));
        }
    }
    findings.extend(unlisted(documents));
    findings
}

fn unlisted(documents: &[Document]) -> Vec<Finding> {
    let Some(readme) = documents.iter().find(|d| d.name == "README.md") else {
        return Vec::new();
    };
    required()
        .filter(|name| name != "README.md")
        .filter(|name| {
            let link = format!("]({name})");
            readme.prose().all(|(_, line)| !line.contains(&link))
        })
        .map(|name| readme.finding(0, format!("`{name}` is not listed: link it")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{check, required};
    use crate::research::document::Document;

    fn whole() -> Vec<Document> {
        let list: String = required().map(|name| format!("[x]({name})\n")).collect();
        required()
            .map(|name| {
                let text = if name == "README.md" {
                    list.as_str()
                } else {
                    ""
                };
                Document::new("r/", &name, text)
            })
            .collect()
    }

    fn messages(documents: &[Document]) -> Vec<String> {
        let findings = check("r", documents);
        findings
            .iter()
            .map(|f| format!("{} {}", f.path, f.message))
            .collect()
    }

    #[test]
    fn thirty_nine_documents_are_whole() {
        assert_eq!(required().count(), 39);
        assert!(messages(&whole()).is_empty());
    }

    #[test]
    fn a_missing_document_is_found() {
        let mut documents = whole();
        documents.retain(|d| d.name != "security/trust-models.md");
        let found = messages(&documents);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("r/security/trust-models.md this document is missing"));
    }

    #[test]
    fn an_extra_file_is_found_and_a_chart_is_not() {
        let mut documents = whole();
        documents.push(Document::new("r/", "economics/capital.svg", ""));
        assert!(messages(&documents).is_empty());
        documents.push(Document::new("r/", "notes.md", ""));
        assert!(messages(&documents)[0].starts_with("r/notes.md this file has no place"));
    }

    #[test]
    fn a_document_that_the_readme_leaves_out_is_found() {
        let mut documents = whole();
        documents[0] = Document::new("r/", "README.md", "[x](executive-summary.md)");
        assert_eq!(messages(&documents).len(), 37);
    }
}
