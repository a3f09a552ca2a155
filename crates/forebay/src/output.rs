//! What users read: a table for people, one JSON value for programs.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

/// A week: whoever wants more has mistyped.
const MINUTES_MAX: f64 = 10_080.0;

/// Prints a value as JSON, or by a function that draws it.
pub(crate) fn show<T: Serialize>(json: bool, value: &T, draw: impl FnOnce(&T)) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(value)?);
    } else {
        draw(value);
    }
    Ok(())
}

/// An error and its causes in one line, each said once: an error may quote its cause already.
pub(crate) fn reason(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// Reads a span in minutes; a part of one after a point.
pub(crate) fn minutes(text: &str) -> std::result::Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|_| "a number of minutes".to_owned())?;
    let is_sound = minutes > 0.0 && minutes <= MINUTES_MAX;
    is_sound
        .then(|| Duration::from_secs(60).mul_f64(minutes))
        .ok_or_else(|| format!("more than 0 and at most {MINUTES_MAX} minutes"))
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
    use std::time::Duration;

    use anyhow::Context;

    use super::{minutes, reason, whole};

    #[test]
    fn minutes_are_read_with_parts_and_nonsense_is_not() {
        assert_eq!(minutes("0.2"), Ok(Duration::from_secs(12)));
        assert_eq!(minutes("60"), Ok(Duration::from_secs(3_600)));
        for text in ["", "0", "-1", "NaN", "inf", "1e9", "ten"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_cause_that_its_error_quotes_is_said_once() {
        let cause = || std::io::Error::other("no such file");
        let quoted = anyhow::Error::new(cause()).context("a.toml cannot be read: no such file");
        assert_eq!(reason(&quoted), "a.toml cannot be read: no such file");
        let named = Err::<(), _>(cause())
            .context("reading a.toml")
            .expect_err("it is one");
        assert_eq!(reason(&named), "reading a.toml: no such file");
    }

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
