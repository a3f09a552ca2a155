//! `spec/invariants.md` and the code agree: each invariant in force is asserted and tested where the page says, and
//! every number that is quoted exists.

use super::Finding;
use super::lexer::{code_only, test_lines};
use super::source::{Checkout, Source};

const PAGE: &str = "spec/invariants.md";
const NUMBERS: std::ops::RangeInclusive<u32> = 1..=16;
/// A citation belongs to an assertion that starts or ends this near.
const ASSERTION_DISTANCE_LINES_MAX: usize = 6;
const ASSERTIONS: &[&str] = &[
    "assert",
    "panic!",
    "unreachable!",
    ".expect(",
    "require(",
    "revert ",
];

/// One section of the page.
struct Invariant {
    number: u32,
    line_index: usize,
    status: Status,
    asserted: Vec<String>,
    tested: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Missing,
    InForce,
    Arrives,
}

/// Checks the page against the code and the code against the page.
pub(crate) fn check(checkout: &Checkout) -> Vec<Finding> {
    let Some(page) = checkout.source(PAGE) else {
        return vec![Finding {
            path: PAGE.to_owned(),
            line: 1,
            message: "this page is missing".to_owned(),
        }];
    };
    let invariants = parse(&page.text);
    let mut findings = Vec::new();
    for number in NUMBERS {
        match invariants.iter().filter(|i| i.number == number).count() {
            1 => {}
            count => findings.push(page.finding(
                0,
                format!("`## I{number}` occurs {count} times: it must occur once"),
            )),
        }
    }
    for invariant in &invariants {
        check_section(checkout, page, invariant, &mut findings);
    }
    check_numbers_quoted(checkout, &mut findings);
    findings
}

fn parse(text: &str) -> Vec<Invariant> {
    let mut invariants: Vec<Invariant> = Vec::new();
    for (line_index, line) in text.lines().enumerate() {
        if let Some(number) = heading_number(line) {
            invariants.push(Invariant {
                number,
                line_index,
                status: Status::Missing,
                asserted: Vec::new(),
                tested: Vec::new(),
            });
            continue;
        }
        let Some(invariant) = invariants.last_mut() else {
            continue;
        };
        if let Some(status) = line.strip_prefix("Status: ") {
            invariant.status = status_of(status);
        } else if let Some(links) = line.strip_prefix("Asserted: ") {
            invariant.asserted = linked_files(links);
        } else if let Some(links) = line.strip_prefix("Tested: ") {
            invariant.tested = linked_files(links);
        }
    }
    invariants
}

fn heading_number(line: &str) -> Option<u32> {
    let rest = line.strip_prefix("## I")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn status_of(text: &str) -> Status {
    if text.starts_with("in force") {
        Status::InForce
    } else if text.starts_with("arrives with ") {
        Status::Arrives
    } else {
        Status::Missing
    }
}

/// Paths from the root, of links written as `](../path)`.
fn linked_files(text: &str) -> Vec<String> {
    text.split("](../")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .map(str::to_owned)
        .collect()
}

fn check_section(
    checkout: &Checkout,
    page: &Source,
    invariant: &Invariant,
    findings: &mut Vec<Finding>,
) {
    let Invariant {
        number,
        line_index,
        status,
        asserted,
        tested,
    } = invariant;
    let mut report = |message: String| findings.push(page.finding(*line_index, message));
    match status {
        Status::Missing => report(format!(
            "I{number} needs a line `Status: in force` or `Status: arrives with …`"
        )),
        Status::Arrives => {
            let is_asserted = checkout
                .sources
                .iter()
                .find(|s| asserts(checkout, s, *number));
            let is_tested = checkout
                .sources
                .iter()
                .find(|s| tests(checkout, s, *number));
            if let (Some(asserted), Some(tested)) = (is_asserted, is_tested) {
                report(format!(
                    "I{number} is asserted in {} and tested in {}: write `Status: in force` and link them",
                    asserted.path, tested.path
                ));
            }
        }
        Status::InForce => {
            if asserted.is_empty() || tested.is_empty() {
                report(format!(
                    "I{number} is in force: link files under `Asserted:` and `Tested:`"
                ));
            }
            for path in asserted {
                if !checkout
                    .source(path)
                    .is_some_and(|s| asserts(checkout, s, *number))
                {
                    report(format!(
                        "{path} has no assertion outside tests that cites [I{number}]"
                    ));
                }
            }
            for path in tested {
                if !checkout
                    .source(path)
                    .is_some_and(|s| tests(checkout, s, *number))
                {
                    report(format!("{path} has no test that cites [I{number}]"));
                }
            }
        }
    }
}

/// Crates whose whole purpose is to test the others.
const TEST_CRATES: &[&str] = &[
    "crates/sim/",
    "crates/model/",
    "crates/adapter-suite/",
    "xtask/",
];

fn is_code(source: &Source) -> bool {
    source.has_ending(&["rs", "sol"]) && !source.path.starts_with("xtask/")
}

/// Whether the file has an assertion outside tests that cites this number.
fn asserts(checkout: &Checkout, source: &Source, number: u32) -> bool {
    if !is_code(source)
        || TEST_CRATES.iter().any(|c| source.path.starts_with(c))
        || !cites(&source.text, number)
    {
        return false;
    }
    let tests = test_lines(checkout, source);
    let code = code_only(&source.text);
    let code_lines: Vec<&str> = code.lines().collect();
    let mut lines = source.text.lines().enumerate();
    lines.any(|(index, line)| {
        !tests[index] && cites(line, number) && assertion_near(&code_lines, index)
    })
}

fn assertion_near(code_lines: &[&str], index: usize) -> bool {
    let first = index.saturating_sub(ASSERTION_DISTANCE_LINES_MAX);
    let last = (index + ASSERTION_DISTANCE_LINES_MAX + 1).min(code_lines.len());
    code_lines[first..last]
        .iter()
        .any(|line| ASSERTIONS.iter().any(|a| line.contains(a)))
}

/// Whether the file has a test, or a check of the simulator, that cites this number.
fn tests(checkout: &Checkout, source: &Source, number: u32) -> bool {
    if !is_code(source) || !cites(&source.text, number) {
        return false;
    }
    if TEST_CRATES.iter().any(|c| source.path.starts_with(c)) {
        return true;
    }
    let tests = test_lines(checkout, source);
    let mut lines = source.text.lines().enumerate();
    lines.any(|(index, line)| tests[index] && cites(line, number))
}

fn cites(text: &str, number: u32) -> bool {
    citations(text).any(|n| n == number)
}

/// Numbers n of all `[In]` in the text; `[I1, I3]` counts for both.
fn citations(text: &str) -> impl Iterator<Item = u32> {
    text.split('[')
        .skip(1)
        .filter_map(|rest| rest.split(']').next())
        .flat_map(|inside| {
            let all: Option<Vec<u32>> = inside
                .split(',')
                .map(|part| part.trim().strip_prefix('I')?.parse().ok())
                .collect();
            all.unwrap_or_default()
        })
}

fn check_numbers_quoted(checkout: &Checkout, findings: &mut Vec<Finding>) {
    for source in checkout
        .sources
        .iter()
        .filter(|s| is_code(s) || s.has_ending(&["md"]))
    {
        for (index, line) in source.text.lines().enumerate() {
            for number in citations(line).filter(|n| !NUMBERS.contains(n)) {
                findings.push(
                    source.finding(index, format!("there is no invariant I{number} in {PAGE}")),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{assertion_near, citations, linked_files};

    #[test]
    fn citations_are_read_alone_and_in_lists() {
        let numbers: Vec<u32> = citations("// [I4] and [I1, I3], not [Index] nor [I]").collect();
        assert_eq!(numbers, [4, 1, 3]);
    }

    #[test]
    fn a_citation_counts_beside_an_assertion_only() {
        assert!(assertion_near(&["assert!(", "    a == b,", "", ");"], 2));
        assert!(!assertion_near(&["let a = 1;", ""], 1));
    }

    #[test]
    fn links_of_the_page_are_paths_from_the_root() {
        assert_eq!(
            linked_files("[a](../crates/a.rs), [b](../c/d.rs#e)"),
            ["crates/a.rs", "c/d.rs"]
        );
    }
}
