//! A document answers first, argues, and ends with what is to be done.

use super::document::{Document, without_code};
use crate::tidy::Finding;

const OPENING_SENTENCES_MIN: usize = 3;
const LAST: &str = "Decision";

/// Sections that a document has beside its decision.
const REQUIRED: &[(&str, &[&str])] = &[
    (
        "README.md",
        &[
            "Reading order",
            "All documents",
            "Conventions",
            "To be measured",
        ],
    ),
    (
        "executive-summary.md",
        &[
            "Proceed, pivot or table",
            "Five findings",
            "Surprises",
            "Recommended architecture",
            "Blockers",
            "Risks",
            "Next steps",
        ],
    ),
    (
        "architecture-proposal.md",
        &[
            "Components",
            "Data flows",
            "Interfaces between components",
            "Protocols, by chain",
            "Contracts and programs",
            "Watchtowers and monitoring",
            "Connector interface and pre-signed batches",
            "Threat model",
            "LP onboarding, rebalancing, alerts",
        ],
    ),
    (
        "pool-architectures/architecture-comparison.md",
        &["Weights, and why", "Scores out of ten", "Sensitivity"],
    ),
    ("payment-channels/comparison-matrix.md", &["The matrix"]),
    (
        "implementation/integration-roadmap.md",
        &["Phases", "Gates that fail today", "Time, team, capital"],
    ),
    (
        "appendices/regulatory-considerations.md",
        &[
            "Five jurisdictions",
            "Money transmission, point by point",
            "KYC and AML: where in the software",
            "Disclosures that an operator owes its LPs and peers",
        ],
    ),
    ("appendices/sources.md", &["All sources"]),
];

pub(super) fn check(document: &Document) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(untitled(document));
    findings.extend(unopened(document));
    findings.extend(undecided(document));
    let required = REQUIRED.iter().find(|(name, _)| *name == document.name);
    for heading in required.map_or(&[] as &[_], |(_, headings)| headings) {
        if document.headings().all(|(_, found)| found != *heading) {
            findings.push(document.finding(0, format!("the section `## {heading}` is missing")));
        }
    }
    findings
}

fn untitled(document: &Document) -> Option<Finding> {
    let titles: Vec<usize> = document
        .prose()
        .filter(|(_, line)| line.starts_with("# "))
        .map(|(index, _)| index)
        .collect();
    match titles[..] {
        [0] => None,
        [] | [_] => Some(document.finding(0, "a document starts with its title, `# …`")),
        [_, second, ..] => Some(document.finding(second, "a document has one title")),
    }
}

/// The paragraph under the title answers the document's question.
fn unopened(document: &Document) -> Option<Finding> {
    let (index, first) = document
        .prose()
        .find(|(index, line)| *index > 0 && !line.trim().is_empty())
        .unwrap_or((0, ""));
    if first.starts_with(['#', '|', '>', '!']) || first.is_empty() {
        return Some(document.finding(index, "a paragraph stands between title and sections"));
    }
    let count = sentences(&document.paragraph(index));
    (count < OPENING_SENTENCES_MIN).then(|| {
        let message = format!(
            "the opening paragraph has {count} sentences: answer the document's question in {OPENING_SENTENCES_MIN} or more"
        );
        document.finding(index, message)
    })
}

/// A sentence ends with a full stop, a question or an exclamation mark, where the next word is no small letter.
fn sentences(paragraph: &str) -> usize {
    let text = without_code(paragraph);
    let words: Vec<&str> = text.split_whitespace().collect();
    let ends = |word: &&str| {
        word.trim_end_matches([')', '"', '*', '_', '”'])
            .ends_with(['.', '?', '!'])
    };
    let continued =
        |next: Option<&&str>| next.is_some_and(|next| next.starts_with(|c: char| c.is_lowercase()));
    words
        .iter()
        .enumerate()
        .filter(|(index, word)| ends(word) && !continued(words.get(index + 1)))
        .count()
}

fn undecided(document: &Document) -> Option<Finding> {
    let last = document.headings().last();
    let Some((index, _)) = last.filter(|(_, heading)| *heading == LAST) else {
        let index = last.map_or(0, |(index, _)| index);
        return Some(document.finding(index, format!("the last section is `## {LAST}`")));
    };
    let mut rest = document.prose().skip_while(|(at, _)| *at <= index);
    let empty = rest.all(|(_, line)| line.trim().is_empty());
    empty.then(|| document.finding(index, "the decision is empty"))
}

#[cfg(test)]
mod tests {
    use super::{check, sentences};
    use crate::research::document::Document;

    fn messages(name: &str, text: &str) -> Vec<String> {
        let findings = check(&Document::new("r/", name, text));
        findings.into_iter().map(|f| f.message).collect()
    }

    const WHOLE: &str = "# T\n\nOne. Two\nends. Three.\n\n## A\n\nx\n\n## Decision\n\nDo it.\n";

    #[test]
    fn a_whole_document_passes() {
        assert!(messages("a.md", WHOLE).is_empty());
    }

    #[test]
    fn each_missing_section_is_found() {
        for (from, to, message) in [
            ("# T", "T", "starts with its title"),
            ("## A", "# A", "one title"),
            ("Three.", "", "has 2 sentences"),
            (
                "One. Two\nends. Three.",
                "| a |",
                "a paragraph stands between",
            ),
            ("## Decision", "## End", "last section is `## Decision`"),
            ("Do it.", "", "decision is empty"),
        ] {
            let found = messages("a.md", &WHOLE.replace(from, to));
            assert!(
                found.iter().any(|m| m.contains(message)),
                "{message}: {found:?}"
            );
        }
    }

    #[test]
    fn a_decision_that_is_not_last_is_found() {
        let text = format!("{WHOLE}\n## More\n\nx\n");
        assert_eq!(
            messages("a.md", &text),
            ["the last section is `## Decision`"]
        );
    }

    #[test]
    fn sections_of_the_summary_are_asked_for() {
        let found = messages("executive-summary.md", WHOLE);
        assert_eq!(found.len(), 7);
        assert_eq!(
            found[0],
            "the section `## Proceed, pivot or table` is missing"
        );
    }

    #[test]
    fn sentences_are_told_from_points_in_numbers_and_short_words() {
        assert_eq!(sentences("It costs 1.5 ETH (approx. two). Is it? Yes!"), 3);
        assert_eq!(sentences("See `a. B. C` there."), 1);
    }
}
