//! Tables have no holes: what is not known is `n.f.`, what cannot be is a dash.

use super::document::Document;
use crate::tidy::Finding;

pub(super) fn check(document: &Document) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in document.tables() {
        let columns = table.rows.first().map_or(0, Vec::len);
        for (row, cells) in table.rows.iter().enumerate() {
            let line = table.line_of(row);
            if let Some(empty) = cells.iter().position(String::is_empty) {
                let message = format!("cell {} is empty: fill it, or write `n.f.`", empty + 1);
                findings.push(document.finding(line, message));
            }
            if cells.len() != columns {
                let message = format!("{} cells under {columns} headings", cells.len());
                findings.push(document.finding(line, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::research::document::Document;

    fn messages(text: &str) -> Vec<String> {
        let findings = check(&Document::new("r/", "a.md", text));
        findings
            .iter()
            .map(|f| format!("{} {}", f.line, f.message))
            .collect()
    }

    #[test]
    fn full_tables_pass() {
        assert!(messages("| a | b |\n|---|--:|\n| 1 | n.f. |\n").is_empty());
    }

    #[test]
    fn an_empty_cell_is_found_in_row_and_head() {
        let row = messages("| a | b |\n|---|---|\n| 1 | |\n");
        assert_eq!(row, ["3 cell 2 is empty: fill it, or write `n.f.`"]);
        assert_eq!(messages("| | b |\n|---|---|\n| 1 | 2 |\n").len(), 1);
    }

    #[test]
    fn a_row_with_a_cell_too_few_is_found() {
        assert_eq!(
            messages("| a | b |\n|---|---|\n| 1 |\n"),
            ["3 1 cells under 2 headings"]
        );
    }
}
