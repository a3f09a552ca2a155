//! One document of the report, taken apart as far as the rules need it.

use crate::tidy::Finding;

/// A file of the report.
pub(super) struct Document {
    /// Path from the report's folder.
    pub(super) name: String,
    path: String,
    lines: Vec<Line>,
}

/// A line of a document.
pub(super) struct Line {
    /// As it stands there.
    pub(super) text: String,
    /// Whether it is between two fences, or is one.
    pub(super) fenced: bool,
}

/// Lines that belong to one table: first the head, then the rule under it, then the rows.
pub(super) struct Table {
    /// Index of the head's line.
    pub(super) at: usize,
    /// Cells of the head and of all rows, without the rule.
    pub(super) rows: Vec<Vec<String>>,
}

impl Document {
    /// `prefix` is the report's folder, with `/`.
    pub(super) fn new(prefix: &str, name: &str, text: &str) -> Self {
        let mut fenced = false;
        let lines = text.lines().map(|text| {
            let fence = text.trim_start().starts_with("```");
            fenced ^= fence;
            Line {
                text: text.to_owned(),
                fenced: fenced || fence,
            }
        });
        Self {
            name: name.to_owned(),
            path: format!("{prefix}{name}"),
            lines: lines.collect(),
        }
    }

    pub(super) fn is_markdown(&self) -> bool {
        self.name.ends_with(".md")
    }

    /// All lines, counted from 0.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Lines outside fences.
    pub(super) fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.lines.iter().enumerate();
        lines
            .filter(|(_, line)| !line.fenced)
            .map(|(index, line)| (index, line.text.as_str()))
    }

    /// Headings of the second level, without their marks.
    pub(super) fn headings(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose()
            .filter_map(|(index, line)| Some((index, line.strip_prefix("## ")?.trim())))
    }

    /// The lines from here to the next empty one, joined.
    pub(super) fn paragraph(&self, from: usize) -> String {
        let lines = self.lines.iter().skip(from);
        let texts: Vec<&str> = lines
            .map(|line| line.text.trim())
            .take_while(|text| !text.is_empty())
            .collect();
        texts.join(" ")
    }

    pub(super) fn tables(&self) -> Vec<Table> {
        let mut tables = Vec::new();
        let mut previous = None;
        for (index, line) in self.prose().filter(|(_, line)| line.starts_with('|')) {
            if previous.is_none_or(|last| last + 1 != index) {
                tables.push(Table {
                    at: index,
                    rows: Vec::new(),
                });
            }
            previous = Some(index);
            if let Some(table) = tables.last_mut().filter(|table| index != table.at + 1) {
                table.rows.push(cells(line));
            }
        }
        tables
    }

    /// A finding at a line counted from 0.
    pub(super) fn finding(&self, index: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line: index + 1,
            message: message.into(),
        }
    }
}

impl Table {
    /// The line of the row with this index in `rows`.
    pub(super) fn line_of(&self, row: usize) -> usize {
        self.at + if row == 0 { 0 } else { row + 1 }
    }

    /// The line after the table.
    pub(super) fn end(&self) -> usize {
        self.line_of(self.rows.len())
    }
}

/// What stands between the bars of a row; a bar in a code span, or after a backslash, parts nothing.
fn cells(row: &str) -> Vec<String> {
    let inner = row.trim().trim_start_matches('|');
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    let (mut cells, mut in_code, mut escaped) = (vec![String::new()], false, false);
    for c in inner.chars() {
        if c == '|' && !in_code && !escaped {
            cells.push(String::new());
            continue;
        }
        in_code ^= c == '`';
        escaped = c == '\\';
        if let Some(cell) = cells.last_mut() {
            cell.push(c);
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// The line with what stands in code spans taken out.
pub(super) fn without_code(line: &str) -> String {
    let parts = line.split('`').enumerate();
    parts
        .filter(|(index, _)| index % 2 == 0)
        .map(|(_, part)| part)
        .collect::<Vec<_>>()
        .join(" ")
}

/// What stands in code spans.
pub(super) fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::{Document, cells, code_spans, without_code};

    #[test]
    fn rows_are_parted_at_bars_outside_code() {
        assert_eq!(cells("| a | `b|c` | d\\|e |"), ["a", "`b|c`", "d\\|e"]);
        assert_eq!(cells("|  | x |"), ["", "x"]);
    }

    #[test]
    fn tables_know_their_lines_and_fences_hold_none() {
        let text = "# T\n\n| a |\n|---|\n| b |\n\n```\n| not |\n```\n| c |\n|---|\n";
        let document = Document::new("", "t.md", text);
        let tables = document.tables();
        assert_eq!(tables.len(), 2);
        assert_eq!(
            (tables[0].at, tables[0].line_of(1), tables[0].end()),
            (2, 4, 5)
        );
        assert_eq!(tables[1].rows, [["c"]]);
    }

    #[test]
    fn code_spans_are_told_from_text() {
        assert_eq!(without_code("a `b` c"), "a   c");
        assert_eq!(code_spans("a `b` c `d`").collect::<Vec<_>>(), ["b", "d"]);
    }
}
