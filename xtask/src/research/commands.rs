//! Which commands this repository has, as far as a `Reproduce:` line may name them, and which figures they make.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::SUBCOMMANDS;
use crate::process::root;
use crate::tidy::source::Checkout;

const FOREBAY: &str = "crates/forebay/src/main.rs";
const SNAPSHOTS: &str = "contracts/evm/snapshots";
const PACKETS: &str = "docs/adr/0010-what-bounds-packets.md";

/// Names that commands are looked up in, and figures that are known to be ours.
#[derive(Default)]
pub(super) struct Known {
    /// Subcommands of `cargo xtask`.
    pub(super) xtask: Vec<String>,
    /// Subcommands of `forebay`.
    pub(super) forebay: Vec<String>,
    /// Paths of text files from the root.
    pub(super) files: Vec<String>,
    /// Functions in Rust, tests among them.
    pub(super) functions: Vec<String>,
    /// Contracts in Solidity.
    pub(super) contracts: Vec<String>,
    /// Gas of the snapshots and packets a second of ADR 10, in thousands by commas; none is under a thousand.
    pub(super) figures: BTreeSet<String>,
}

/// What a code span is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A command that exists.
    Exists,
    /// A command that does not, and which part of it.
    Missing(String),
    /// No command: a file, a flag, a word.
    NoCommand,
}

impl Known {
    pub(super) fn read(checkout: &Checkout) -> Result<Self> {
        let main = checkout.source(FOREBAY).map_or("", |source| &source.text);
        let mut known = Self {
            xtask: SUBCOMMANDS.iter().map(|s| s.name.to_owned()).collect(),
            forebay: variants(main, "Command"),
            figures: gas()?,
            ..Self::default()
        };
        let packets = checkout.source(PACKETS).map_or("", |source| &source.text);
        // Without the first cell, which is the window.
        let rows = packets
            .lines()
            .filter_map(|line| line.strip_prefix('|')?.split_once('|'))
            .map(|(_, figures)| figures);
        known.figures.extend(rows.flat_map(figures));
        for source in &checkout.sources {
            if source.has_ending(&["rs"]) {
                known.functions.extend(named(&source.text, "fn "));
            }
            if source.has_ending(&["sol"]) {
                known.contracts.extend(named(&source.text, "contract "));
            }
            known.files.push(source.path.clone());
        }
        Ok(known)
    }

    /// Whether a code span is a command, and one that can be typed in the root, or in the folder of the contracts.
    pub(super) fn judge(&self, span: &str) -> Verdict {
        let words: Vec<&str> = span.split_whitespace().collect();
        match words[..] {
            ["cargo", "xtask", name, ..] => among(&self.xtask, name),
            ["cargo", "test", ..] => self.judge_test(&words[2..]),
            ["forebay", name, ..] => among(&self.forebay, name),
            ["node", "-e", ..] => Verdict::Exists,
            ["node", script, ..] => among(&self.files, script),
            ["forge", "test", ..] => match value_of("--match-contract", &words) {
                Some(contract) => beginning(&self.contracts, contract),
                None => Verdict::Exists,
            },
            ["cargo" | "node" | "forge" | "forebay" | "npm", ..] => {
                Verdict::Missing(span.to_owned())
            }
            _ => Verdict::NoCommand,
        }
    }

    /// `--test NAME` is a file or a folder of tests; a bare word is the beginning of a test's name.
    fn judge_test(&self, words: &[&str]) -> Verdict {
        if let Some(name) = value_of("--test", words) {
            let ends = [
                format!("/tests/{name}.rs"),
                format!("/tests/{name}/main.rs"),
            ];
            if !self
                .files
                .iter()
                .any(|f| ends.iter().any(|e| f.ends_with(e)))
            {
                return Verdict::Missing(name.to_owned());
            }
        }
        let filter = words.last().filter(|last| {
            let before = words.get(words.len().wrapping_sub(2));
            !last.starts_with('-')
                && before.is_none_or(|b| !["--test", "-p", "--package"].contains(b))
        });
        filter.map_or(Verdict::Exists, |filter| beginning(&self.functions, filter))
    }
}

/// Numbers of a thousand or more, as they stand in a text with commas.
pub(super) fn figures(text: &str) -> impl Iterator<Item = String> + '_ {
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != ',');
    numbers
        .map(|number| number.trim_matches(',').to_owned())
        .filter(|number| number.contains(','))
}

/// The gas that the contracts' snapshots hold.
fn gas() -> Result<BTreeSet<String>> {
    let folder = root().join(SNAPSHOTS);
    let mut gas = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {SNAPSHOTS}"))? {
        let text = std::fs::read_to_string(entry?.path())?;
        let snapshot: Value = serde_json::from_str(&text)?;
        let numbers = snapshot
            .as_object()
            .into_iter()
            .flat_map(|map| map.values());
        gas.extend(numbers.filter_map(Value::as_str).map(by_thousands));
    }
    Ok(gas)
}

/// `46035` as people write it, `46,035`.
fn by_thousands(number: &str) -> String {
    let mut written = String::new();
    for (index, digit) in number.chars().enumerate() {
        if index > 0 && (number.len() - index).is_multiple_of(3) {
            written.push(',');
        }
        written.push(digit);
    }
    written
}

fn among(names: &[String], name: &str) -> Verdict {
    if names.iter().any(|known| known == name) {
        return Verdict::Exists;
    }
    Verdict::Missing(name.to_owned())
}

fn beginning(names: &[String], start: &str) -> Verdict {
    if names.iter().any(|known| known.starts_with(start)) {
        return Verdict::Exists;
    }
    Verdict::Missing(start.to_owned())
}

fn value_of<'a>(flag: &str, words: &[&'a str]) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == flag)?;
    words.get(at + 1).copied()
}

/// Names that follow a keyword at the beginning of a line, after visibility and the like.
fn named(text: &str, keyword: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let after = line.split_once(keyword)?.1;
        let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        (end > 0).then(|| after[..end].to_owned())
    });
    names.collect()
}

/// Variants of an enum from which clap makes subcommands, as it spells them.
fn variants(text: &str, name: &str) -> Vec<String> {
    let head = format!("enum {name} {{");
    let lines = text.lines().skip_while(|line| *line != head).skip(1);
    lines
        .take_while(|line| *line != "}")
        .filter_map(|line| {
            let line = line.strip_prefix("    ")?;
            let end = line.find(['(', ',', ' '])?;
            let is_variant = line.starts_with(|c: char| c.is_ascii_uppercase());
            is_variant.then(|| line[..end].to_lowercase())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Known, Verdict, by_thousands, figures, variants};
    use crate::tidy::source::Checkout;

    fn known() -> Known {
        let checkout = Checkout::read().expect("the checkout can be read");
        Known::read(&checkout).expect("the snapshots can be read")
    }

    #[test]
    fn figures_are_numbers_of_a_thousand_or_more() {
        let found: Vec<_> = figures("46,035 / 52,631 gas, 512, and 1,").collect();
        assert_eq!(found, ["46,035", "52,631"]);
        assert_eq!(by_thousands("1234567"), "1,234,567");
        assert_eq!(by_thousands("999"), "999");
        assert!(known().figures.contains("560,537"), "ADR 10");
        assert!(known().figures.len() > 30, "snapshots");
    }

    #[test]
    fn subcommands_are_read_from_the_enum() {
        let text = "enum Command {\n    /// Found.\n    Init(x::Init),\n    #[x]\n    Run,\n}\nenum B {\n    No,\n}\n";
        assert_eq!(variants(text, "Command"), ["init", "run"]);
    }

    #[test]
    fn commands_of_this_repository_exist() {
        let known = known();
        for command in [
            "cargo xtask sim --seeds 3",
            "forebay bench packets --seconds 3",
            "node tools/research/capital.cjs flows",
            "node -e 1",
            "cargo test --workspace --test chain",
            "cargo test --workspace --lib commands_of_this_repository_exist",
            "forge test --match-contract Adversaries",
        ] {
            assert_eq!(known.judge(command), Verdict::Exists, "{command}");
        }
    }

    #[test]
    fn commands_that_nobody_has_are_missing() {
        let known = known();
        for (command, part) in [
            ("cargo xtask fly", "fly"),
            ("forebay fly", "fly"),
            ("node tools/research/fly.cjs", "tools/research/fly.cjs"),
            ("cargo test --workspace --test fly", "fly"),
            ("forge test --match-contract Fly", "Fly"),
            ("cargo bench", "cargo bench"),
        ] {
            assert_eq!(known.judge(command), Verdict::Missing(part.to_owned()));
        }
        assert_eq!(known.judge("redeem_threshold"), Verdict::NoCommand);
    }
}
