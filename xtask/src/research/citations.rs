//! Every `[key]` has a source, every source is cited, and the list of sources is in order.

use std::collections::BTreeSet;

use super::document::{Document, Table, without_code};
use crate::tidy::Finding;

const LIST: &str = "appendices/sources.md";
const COLUMNS: &[&str] = &[
    "key",
    "authors",
    "title",
    "venue",
    "year",
    "identifier",
    "date read",
    "opened",
    "relied on for",
];
const OPENED: usize = 7;
const RELIED_ON: usize = 8;
const RELIED_ON_WORDS_MAX: usize = 20;

pub(super) fn check(documents: &[Document]) -> Vec<Finding> {
    let Some(list) = documents.iter().find(|d| d.name == LIST) else {
        return Vec::new();
    };
    let Some(table) = list.tables().into_iter().find(|t| t.rows[0] == COLUMNS) else {
        let message = format!("there is no table with the columns {}", COLUMNS.join(", "));
        return vec![list.finding(0, message)];
    };
    let mut findings = disorder(list, &table);
    let sources: Vec<&str> = table.rows[1..].iter().map(|row| row[0].as_str()).collect();
    let mut cited = BTreeSet::new();
    for document in documents.iter().filter(|d| d.name != LIST) {
        for (index, line) in document.prose() {
            for key in keys(line) {
                if !sources.contains(&key.as_str()) {
                    let message = format!("`[{key}]` is not in {LIST}");
                    findings.push(document.finding(index, message));
                }
                cited.insert(key);
            }
        }
    }
    for (row, key) in sources.iter().enumerate() {
        if !cited.contains(*key) {
            let message = format!("no document cites `[{key}]`: remove it");
            findings.push(list.finding(table.line_of(row + 1), message));
        }
    }
    findings
}

/// Keys sorted and single, each source said to be opened or not, in few words.
fn disorder(list: &Document, table: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut previous = "";
    for (row, cells) in table.rows.iter().enumerate().skip(1) {
        let mut find = |message: String| findings.push(list.finding(table.line_of(row), message));
        let key = cells[0].as_str();
        if key <= previous {
            find(format!(
                "`{key}` stands after `{previous}`: sort by key, one row each"
            ));
        }
        previous = key;
        let opened = cells.get(OPENED).map_or("", String::as_str);
        if !["yes", "no"].contains(&opened.split([' ', ',']).next().unwrap_or_default()) {
            find("`opened` starts with yes or no".to_owned());
        }
        let relied_on = cells.get(RELIED_ON).map_or("", String::as_str);
        let words = relied_on.split_whitespace().count();
        if words > RELIED_ON_WORDS_MAX {
            find(format!(
                "{words} words say what it is relied on for: {RELIED_ON_WORDS_MAX} at most"
            ));
        }
    }
    findings
}

/// Keys in brackets, outside code: small letters, digits and hyphens, not followed by a link's address.
fn keys(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut keys = Vec::new();
    let mut rest = line.as_str();
    while let Some((_, after)) = rest.split_once('[') {
        rest = after;
        let Some((inside, behind)) = after.split_once(']') else {
            continue;
        };
        if is_key(inside) && !behind.starts_with('(') {
            keys.push(inside.to_owned());
        }
    }
    keys
}

fn is_key(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, check, keys};
    use crate::research::document::Document;

    fn messages(text: &str, rows: &str) -> Vec<String> {
        let head = format!(
            "| {} |\n|{}\n",
            COLUMNS.join(" | "),
            "---|".repeat(COLUMNS.len())
        );
        let documents = [
            Document::new("r/", "a.md", text),
            Document::new("r/", "appendices/sources.md", &format!("{head}{rows}")),
        ];
        check(&documents).into_iter().map(|f| f.message).collect()
    }

    fn row(key: &str) -> String {
        format!("| {key} | a | t | v | 2026 | i | 2026-11-26 | yes (abstract) | this |\n")
    }

    #[test]
    fn keys_are_told_from_links_invariants_and_code() {
        let line = "a [lvr22], [link](x.md), [I7], `[code]`, [two words] and [sol-fees].";
        assert_eq!(keys(line), ["lvr22", "sol-fees"]);
    }

    #[test]
    fn a_list_in_order_passes() {
        assert!(messages("[a1] [b1]", &(row("a1") + &row("b1"))).is_empty());
    }

    #[test]
    fn a_citation_without_source_is_found() {
        let found = messages("[a1] [c1]", &row("a1"));
        assert_eq!(found, ["`[c1]` is not in appendices/sources.md"]);
    }

    #[test]
    fn a_source_without_citation_is_found() {
        let found = messages("[a1]", &(row("a1") + &row("b1")));
        assert_eq!(found, ["no document cites `[b1]`: remove it"]);
    }

    #[test]
    fn rows_out_of_order_or_doubled_are_found() {
        let text = "[a1] [b1]";
        assert!(messages(text, &(row("b1") + &row("a1")))[0].contains("sort by key"));
        assert!(messages(text, &(row("a1") + &row("a1") + &row("b1")))[0].contains("sort by key"));
    }

    #[test]
    fn an_unsaid_opened_and_many_words_are_found() {
        let unsaid = row("a1").replace("yes (abstract)", "abstract");
        assert_eq!(
            messages("[a1]", &unsaid),
            ["`opened` starts with yes or no"]
        );
        let long = row("a1").replace("this", &"word ".repeat(21));
        assert!(messages("[a1]", &long)[0].starts_with("21 words"));
    }

    #[test]
    fn a_missing_table_is_found() {
        let documents = [Document::new("r/", "appendices/sources.md", "# Sources\n")];
        assert!(
            check(&documents)[0]
                .message
                .starts_with("there is no table")
        );
    }
}
