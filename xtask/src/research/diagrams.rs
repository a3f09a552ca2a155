//! Every Mermaid diagram is parsed by Mermaid itself, in Node.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::document::Document;
use crate::process::root;
use crate::tidy::Finding;

const FOLDER: &str = "tools/research";
const SCRIPT: &str = "mermaid.mjs";
const FENCE: &str = "```";

/// A diagram's text, and where it begins.
struct Diagram<'a> {
    document: &'a Document,
    at: usize,
    text: String,
}

/// Adds what does not parse to the findings; returns how many diagrams there are.
pub(super) fn check(documents: &[Document], findings: &mut Vec<Finding>) -> Result<usize> {
    let diagrams: Vec<Diagram<'_>> = documents.iter().flat_map(diagrams).collect();
    let texts: Vec<&str> = diagrams.iter().map(|d| d.text.as_str()).collect();
    let verdicts = parse(&texts)?;
    for (diagram, verdict) in diagrams.iter().zip(&verdicts) {
        if let Some(error) = verdict {
            let message = format!("this diagram does not parse: {}", error.replace('\n', " "));
            findings.push(diagram.document.finding(diagram.at, message));
        }
    }
    Ok(diagrams.len())
}

fn diagrams(document: &Document) -> Vec<Diagram<'_>> {
    let mut diagrams = Vec::new();
    let mut open: Option<Diagram<'_>> = None;
    for (at, line) in document.lines().iter().enumerate() {
        let text = line.text.trim();
        match open.as_mut() {
            Some(_) if text == FENCE => diagrams.extend(open.take()),
            Some(diagram) => {
                diagram.text.push_str(&line.text);
                diagram.text.push('\n');
            }
            None if text == "```mermaid" => {
                open = Some(Diagram {
                    document,
                    at,
                    text: String::new(),
                });
            }
            None => {}
        }
    }
    diagrams.extend(open);
    diagrams
}

/// One verdict for each text: nothing, or what Mermaid says against it.
fn parse(texts: &[&str]) -> Result<Vec<Option<String>>> {
    let folder = root().join(FOLDER);
    if !folder.join("node_modules").is_dir() {
        bail!("{FOLDER} is not installed: run `cargo xtask setup`");
    }
    let mut child = Command::new("node")
        .arg(SCRIPT)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("no Node: run `cargo xtask setup`")?;
    let mut input = child.stdin.take().context("standard input was piped")?;
    let written = input.write_all(serde_json::to_string(texts)?.as_bytes());
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{FOLDER}/{SCRIPT} ended with {}", output.status);
    }
    written.with_context(|| format!("{FOLDER}/{SCRIPT} did not read the diagrams"))?;
    let verdicts: Vec<Option<String>> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{FOLDER}/{SCRIPT} answered no list of verdicts"))?;
    if verdicts.len() != texts.len() {
        bail!("{} verdicts on {} diagrams", verdicts.len(), texts.len());
    }
    Ok(verdicts)
}

#[cfg(test)]
mod tests {
    use super::{check, diagrams};
    use crate::research::document::Document;

    const GOOD: &str =
        "# T\n\n```mermaid\nflowchart LR\n    a --> b\n```\n\n```\nno diagram\n```\n";

    #[test]
    fn diagrams_are_told_from_other_fences() {
        let document = Document::new("r/", "a.md", GOOD);
        let found = diagrams(&document);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "flowchart LR\n    a --> b\n");
    }

    #[test]
    fn a_diagram_that_does_not_parse_is_found_at_its_line() {
        let broken = GOOD.replace("b\n", "b[\n");
        let documents = [
            Document::new("r/", "a.md", GOOD),
            Document::new("r/", "b.md", &broken),
        ];
        let mut findings = Vec::new();
        assert_eq!(check(&documents, &mut findings).expect("Node runs"), 2);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].path.as_str(), findings[0].line), ("r/b.md", 3));
    }
}
