//! Words and types that do not occur here. This file must name them, so it is not read by its own rules.

use super::Finding;
use super::arrows;
use super::lexer::{code_only, test_lines};
use super::source::{Checkout, Source};

/// Files that list these words in order to ban them.
const FILES_EXEMPT: &[&str] = &["xtask/src/tidy/words.rs", "GLOSSARY.md", "STYLE.md"];
const ENDINGS: &[&str] = &["rs", "sol", "ts", "js", "cjs", "mjs", "md"];

/// A segment of an identifier, or a word of prose, and what to write in its place.
const WORDS: &[(&str, &str)] = &[
    ("amt", "amount"),
    ("cfg", "configuration"),
    ("mgr", "the noun it looks after"),
    ("util", "what it does"),
    ("utils", "what it does"),
    ("helper", "what it does"),
    ("helpers", "what it does"),
    ("iou", "voucher"),
    ("todo", "nothing: do it now or leave it out"),
    ("fixme", "nothing: do it now or leave it out"),
];

/// Names that others gave: taken out of a line before it is read.
const FOREIGN: &[&str] = &[
    "cfg(",
    "cfg_attr(",
    "cfg!(",
    "--cfg",
    "node:util",
    "lightning::util",
    "lightning::ln::chan_utils",
    "lightning_liquidity::utils",
    "amt_to_forward_msat",
    "futures-util",
    "futures_util",
    "tokio-util",
    "tokio_util",
    "hyper-util",
    "hyper_util",
    "http-body-util",
    "http_body_util",
    "DBUILD_UTIL",
    "amt_paid_msat",
    "lightning::util",
];

const TYPE_KEYWORDS: &[&str] = &[
    "struct",
    "enum",
    "trait",
    "type",
    "contract",
    "interface",
    "class",
];
const TYPE_ENDINGS: &[&str] = &["Manager", "Handler", "Service", "Base"];

/// Methods that traits of rust-lightning ask for by this name.
const FOREIGN_METHODS: &[&str] = &[
    "get_and_clear_pending_msg",
    "get_best_block",
    "get_block",
    "get_block_hash_by_height",
    "get_change_destination_script",
    "get_change_script",
    "get_destination_script",
    "get_est_sat_per_1000_weight",
    "get_expanded_key",
    "get_header",
    "get_node_id",
    "get_peer_storage_key",
    "get_receive_auth_key",
    "get_secure_random_bytes",
    "get_shutdown_scriptpubkey",
];

/// Names in code that the inner ring does without, and where the need belongs.
const INNER_NAMES: &[(&str, &str)] = &[
    ("f32", "use integers and `Ratio`"),
    ("f64", "use integers and `Ratio`"),
    ("std", "use `core` and `alloc`"),
    ("Instant", "take a `Timestamp`"),
    ("SystemTime", "take a `Timestamp`"),
    ("RandomState", "use a fixed hasher"),
    ("DefaultHashBuilder", "use a fixed hasher"),
    ("async", "the inner ring has no I/O"),
];

/// Integers that `as` may cut a number down to.
const NARROW: &[&str] = &["u8", "u16", "u32", "i8", "i16", "i32", "i64", "i128"];

/// Checks every source against the banned words, and the inner ring against the banned types.
pub(crate) fn check(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &checkout.sources {
        if source.has_ending(ENDINGS) && !FILES_EXEMPT.contains(&source.path.as_str()) {
            check_words(source, &mut findings);
        }
        if source.has_ending(&["rs", "sol"]) && !FILES_EXEMPT.contains(&source.path.as_str()) {
            check_names(source, &mut findings);
        }
    }
    for arrows in arrows::TABLE.iter().filter(|a| a.inner) {
        check_inner(checkout, arrows.folder, &mut findings);
    }
    findings
}

fn check_words(source: &Source, findings: &mut Vec<Finding>) {
    for (index, line) in source.text.lines().enumerate() {
        for (word, instead) in banned_words(line) {
            findings.push(source.finding(
                index,
                format!("the word `{word}` is not used here: write {instead}"),
            ));
        }
    }
}

fn banned_words(line: &str) -> Vec<(&'static str, &'static str)> {
    let mut line = without_required_path(line);
    for name in FOREIGN {
        line = line.replace(name, " ");
    }
    let mut found = Vec::new();
    for word in line.split(|c: char| !c.is_ascii_alphanumeric()) {
        for segment in segments(word) {
            found.extend(
                WORDS
                    .iter()
                    .filter(|(banned, _)| segment.eq_ignore_ascii_case(banned)),
            );
        }
    }
    found
}

/// Drops what a script names in `require('…')`: others named those files.
fn without_required_path(line: &str) -> String {
    let Some((before, rest)) = line.split_once("require('") else {
        return line.to_owned();
    };
    let after = rest.split_once('\'').map_or("", |(_, after)| after);
    format!("{before} {after}")
}

/// `sendAmtNow` is `send`, `Amt`, `Now`; `IOUs` and `todo` stay whole.
fn segments(word: &str) -> Vec<&str> {
    let bytes = word.as_bytes();
    let mut segments = Vec::new();
    let mut start = 0;
    for at in 1..bytes.len() {
        let rises = bytes[at].is_ascii_uppercase() && !bytes[at - 1].is_ascii_uppercase();
        let falls = at + 1 < bytes.len()
            && bytes[at].is_ascii_uppercase()
            && bytes[at - 1].is_ascii_uppercase()
            && bytes[at + 1].is_ascii_lowercase();
        if rises || falls {
            segments.push(&word[start..at]);
            start = at;
        }
    }
    segments.push(&word[start..]);
    segments
}

fn check_names(source: &Source, findings: &mut Vec<Finding>) {
    let code = code_only(&source.text);
    for (index, line) in code.lines().enumerate() {
        let words: Vec<&str> = names(line).collect();
        for pair in words.windows(2) {
            if let Some(message) = refused_name(pair[0], pair[1]) {
                findings.push(source.finding(index, message));
            }
        }
        if line.contains("#[ignore") {
            findings.push(source.finding(index, "no test is ignored: repair it or delete it"));
        }
        if line.contains("unimplemented!") {
            findings.push(source.finding(index, "no stubs: build it or leave it out"));
        }
    }
}

fn refused_name(keyword: &str, name: &str) -> Option<String> {
    let is_function = matches!(keyword, "fn" | "function");
    if is_function && name.starts_with("get_") && !FOREIGN_METHODS.contains(&name) {
        return Some(format!(
            "`{name}`: name the thing it returns, without `get_`"
        ));
    }
    let ending = TYPE_ENDINGS.iter().find(|e| name.ends_with(**e))?;
    TYPE_KEYWORDS
        .contains(&keyword)
        .then(|| format!("`{name}`: `{ending}` says nothing, name what it is"))
}

/// The identifiers of a line.
fn names(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|w| !w.is_empty())
}

fn check_inner(checkout: &Checkout, folder: &str, findings: &mut Vec<Finding>) {
    let root_path = format!("{folder}/src/lib.rs");
    let prefix = format!("{folder}/src/");
    for source in checkout
        .sources
        .iter()
        .filter(|s| s.path.starts_with(&prefix) && s.has_ending(&["rs"]))
    {
        let code = code_only(&source.text);
        if source.path == root_path && !code.contains("#![no_std]") {
            findings.push(source.finding(0, "a crate of the inner ring starts with `#![no_std]`"));
        }
        let tests = test_lines(checkout, source);
        for (index, line) in code.lines().enumerate().filter(|(index, _)| !tests[*index]) {
            findings.extend(refused_in_inner(line).map(|message| source.finding(index, message)));
        }
    }
}

fn refused_in_inner(line: &str) -> Option<String> {
    let words: Vec<&str> = names(line).collect();
    if let Some((name, instead)) = INNER_NAMES.iter().find(|(name, _)| words.contains(name)) {
        return Some(format!(
            "`{name}` has no place in the inner ring: {instead}"
        ));
    }
    let cast = words
        .windows(2)
        .find(|pair| pair[0] == "as" && NARROW.contains(&pair[1]))?;
    Some(format!(
        "`as {}` may cut a number: use `try_from`, or `from` where it cannot",
        cast[1]
    ))
}

#[cfg(test)]
mod tests {
    use super::{banned_words, refused_in_inner, refused_name};

    #[test]
    fn segments_of_identifiers_and_words_of_prose_are_found() {
        for line in [
            "let send_amt = 1;",
            "sendAmt()",
            "an IOU.",
            "fooUtils",
            "// TODO later",
            "struct PeerCfg;",
        ] {
            assert_eq!(banned_words(line).len(), 1, "{line}");
        }
    }

    #[test]
    fn innocent_words_pass() {
        for line in [
            "#[cfg(test)]",
            "cfg_attr(test, x)",
            "use futures_util::SinkExt;",
            "utility",
            "various",
            "amtrak",
        ] {
            assert!(banned_words(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn definitions_are_judged_and_calls_are_not() {
        assert!(refused_name("fn", "get_balance").is_some());
        assert!(refused_name("fn", "balance").is_none());
        assert!(refused_name("x", "get_mut").is_none());
        assert!(refused_name("fn", "get_header").is_none());
        assert!(refused_name("struct", "PeerManager").is_some());
        assert!(refused_name("contract", "Database").is_none());
    }
    #[test]
    fn the_inner_ring_has_no_clock_no_floats_and_no_narrowing() {
        for line in [
            "use std::fmt;",
            "let a: f64;",
            "Instant::now()",
            "len() as u32",
        ] {
            assert!(refused_in_inner(line).is_some(), "{line}");
        }
        for line in [
            "use core::fmt;",
            "let a: u64;",
            "index as usize",
            "use a as b;",
        ] {
            assert!(refused_in_inner(line).is_none(), "{line}");
        }
    }
}
