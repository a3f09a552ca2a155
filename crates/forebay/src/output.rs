//! What users read: a table for people, one JSON value for programs.

use anyhow::Result;
use serde::Serialize;

/// Prints a value as JSON, or by a function that draws it.
pub(crate) fn show<T: Serialize>(json: bool, value: &T, draw: impl FnOnce(&T)) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(value)?);
    } else {
        draw(value);
    }
    Ok(())
}

/// Prints rows with columns as wide as their widest cell; the first column to the left, the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells =
            row.iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// An amount in base units as whole units, e.g. 1500000 at scale 6 is 1.5.
pub(crate) fn whole(units: impl ToString, scale: u8) -> String {
    let digits = units.to_string();
    let scale = usize::from(scale);
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = padded.split_at(padded.len() - scale);
    let part = part.trim_end_matches('0');
    if part.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{part}")
    }
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn base_units_are_shown_as_whole_ones() {
        let rows = [
            ("0", 9, "0"),
            ("1", 9, "0.000000001"),
            ("1500000", 6, "1.5"),
            ("12", 0, "12"),
            ("1000000", 6, "1"),
        ];
        for (units, scale, expected) in rows {
            assert_eq!(whole(units, scale), expected);
        }
    }
}
