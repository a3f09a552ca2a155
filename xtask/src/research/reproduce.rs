//! Figures of ours say by which command they come about.
//!
//! What is decidable of that: a picture, and a table that is *ours*, are followed by a line with `Reproduce:` before the
//! next table or heading; and each such line names a command that exists. A table is ours when its section's heading says
//! `measured`; when a column with a figure, or a row with one, begins its head with `ours`, `Forebay`, `this repository`
//! or, for columns, `measured`; when a cell says `measured` after a figure, and not that it is not; or when a number of the
//! gas snapshots or of ADR 10 stands in it.

use super::commands::{Known, Verdict, figures};
use super::document::{Document, Table, code_spans, without_code};
use crate::tidy::Finding;

const MARK: &str = "Reproduce:";
const OURS: &[&str] = &["ours", "forebay", "this repository"];
const MEASURED: &str = "measured";

pub(super) fn check(document: &Document, known: &Known) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in document
        .tables()
        .iter()
        .filter(|table| is_ours(document, table, known))
    {
        if !is_followed(document, table.end()) {
            let message = "a table with figures of ours and no `Reproduce:` under it";
            findings.push(document.finding(table.at, message));
        }
    }
    for (index, line) in document.prose() {
        let line = without_code(line);
        if line.contains("![") && !is_followed(document, index + 1) {
            findings.push(document.finding(index, "a picture and no `Reproduce:` under it"));
        }
        if line.contains(MARK) {
            findings.extend(unnamed(document, index, known));
        }
    }
    findings
}

fn is_ours(document: &Document, table: &Table, known: &Known) -> bool {
    quotes_us(table, known)
        || is_under_measured(document, table)
        || has_column_of_ours(table)
        || table.rows.iter().skip(1).any(|row| is_row_of_ours(row))
}

fn quotes_us(table: &Table, known: &Known) -> bool {
    let mut figures = table.rows.iter().flatten().flat_map(|cell| figures(cell));
    figures.any(|figure| known.figures.contains(&figure))
}

fn is_under_measured(document: &Document, table: &Table) -> bool {
    let above = document.headings().take_while(|(at, _)| *at < table.at);
    let heading = above.last();
    heading.is_some_and(|(_, heading)| is_measured(&words(heading)))
        && table
            .rows
            .iter()
            .skip(1)
            .flatten()
            .any(|cell| has_figure(cell))
}

fn has_column_of_ours(table: &Table) -> bool {
    let head = table.rows.first().into_iter().flatten();
    let is_ours = |cell: &str| begins_with(cell, OURS) || begins_with(cell, &[MEASURED]);
    head.enumerate().any(|(column, cell)| {
        let mut below = table.rows.iter().skip(1).filter_map(|row| row.get(column));
        is_ours(cell) && below.any(|cell| has_figure(cell))
    })
}

fn is_row_of_ours(row: &[String]) -> bool {
    let named = row.first().is_some_and(|cell| begins_with(cell, OURS));
    (named && row.iter().skip(1).any(|cell| has_figure(cell)))
        || row.iter().any(|cell| says_measured(cell))
}

fn has_figure(cell: &str) -> bool {
    cell.contains(|c: char| c.is_ascii_digit())
}

/// Small letters, one space between words, at both ends too.
fn words(text: &str) -> String {
    let text = without_code(text).to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!(" {} ", words.join(" "))
}

fn begins_with(cell: &str, wanted: &[&str]) -> bool {
    let words = words(cell);
    wanted
        .iter()
        .any(|wanted| words.starts_with(&format!(" {wanted} ")))
}

/// Of words as [`words`] makes them.
fn is_measured(words: &str) -> bool {
    let denied = [" not measured ", " be measured ", " never measured "];
    words.contains(" measured ") && !denied.iter().any(|denied| words.contains(denied))
}

fn says_measured(cell: &str) -> bool {
    let words = words(cell);
    let before = words.split(" measured ").next().unwrap_or_default();
    is_measured(&words) && has_figure(before)
}

fn is_followed(document: &Document, from: usize) -> bool {
    let lines = document.lines().iter().skip(from);
    lines
        .take_while(|line| !line.text.starts_with(['|', '#']) && !line.text.starts_with("!["))
        .any(|line| without_code(&line.text).contains(MARK))
}

/// What follows the mark names one command at least, and none that does not exist.
fn unnamed(document: &Document, index: usize, known: &Known) -> Option<Finding> {
    let paragraph = document.paragraph(index);
    let (_, named) = paragraph.split_once(MARK)?;
    let mut exists = false;
    for span in code_spans(named) {
        match known.judge(span) {
            Verdict::Exists => exists = true,
            Verdict::Missing(part) => {
                let message = format!("there is no `{part}`, which `{span}` names");
                return Some(document.finding(index, message));
            }
            Verdict::NoCommand => {}
        }
    }
    (!exists).then(|| document.finding(index, "`Reproduce:` names no command of this repository"))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::research::commands::Known;
    use crate::research::document::Document;

    fn messages(text: &str) -> Vec<String> {
        let known = Known {
            xtask: vec!["sim".to_owned()],
            figures: ["46,035".to_owned()].into(),
            ..Known::default()
        };
        let findings = check(&Document::new("r/", "a.md", text), &known);
        findings.into_iter().map(|f| f.message).collect()
    }

    const UNDER: &str = "\nReproduce: `cargo xtask sim`\n";

    #[test]
    fn a_table_of_ours_asks_for_a_command_wherever_it_says_so() {
        for table in [
            "| system | ours |\n|---|---|\n| a | 1 |\n",
            "| system | speed |\n|---|---|\n| Forebay | 1 |\n",
            "| system | speed |\n|---|---|\n| a | 17 measured |\n",
            "| system | gas |\n|---|---|\n| a | 1 / 46,035 |\n",
            "## What we measured\n\n| a | b |\n|---|---|\n| a | 1 |\n",
        ] {
            assert_eq!(messages(table).len(), 1, "{table}");
            assert!(messages(&format!("{table}{UNDER}")).is_empty(), "{table}");
        }
    }

    #[test]
    fn tables_of_others_and_without_figures_ask_for_none() {
        for table in [
            "| system | speed |\n|---|---|\n| courses | 1 |\n",
            "| system | speed |\n|---|---|\n| Forebay | fast |\n",
            "| system | how it will be measured |\n|---|---|\n| a | 1 |\n",
            "| system | speed |\n|---|---|\n| a | 50, not measured |\n",
            "| system | ours |\n|---|---|\n| 1 | as theirs |\n",
            "| system | gas |\n|---|---|\n| a | 146,035 |\n",
            "## To be measured\n\n| a | b |\n|---|---|\n| a | 1 |\n",
        ] {
            assert!(messages(table).is_empty(), "{table}");
        }
    }

    #[test]
    fn a_command_under_the_next_table_is_no_command_for_this_one() {
        let table = "| system | ours |\n|---|---|\n| a | 1 |\n";
        assert_eq!(messages(&format!("{table}\n{table}{UNDER}")).len(), 1);
        assert_eq!(messages(&format!("{table}\n## Next\n{UNDER}")).len(), 1);
    }

    #[test]
    fn a_picture_asks_for_a_command() {
        assert_eq!(messages("![a](a.svg)\n").len(), 1);
        assert!(messages(&format!("![a](a.svg)\n{UNDER}")).is_empty());
    }

    #[test]
    fn a_line_that_names_no_command_or_one_that_is_not_there_is_found() {
        assert_eq!(
            messages("Reproduce: as above, by `hand`\n"),
            ["`Reproduce:` names no command of this repository"]
        );
        assert_eq!(
            messages("Reproduce: `cargo xtask sim` and `cargo xtask fly`\n"),
            ["there is no `fly`, which `cargo xtask fly` names"]
        );
    }
}
