//! Just enough of a lexer for Rust and Solidity to tell code from comments, strings and tests.

use super::source::{Checkout, Source};

/// The text with comments, strings and character literals replaced by spaces; lines stay where they are.
pub(crate) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = blank_end(bytes, at);
        if end > at {
            for byte in &mut code[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            at = end;
        } else {
            at += word_end(bytes, at).max(1);
        }
    }
    String::from_utf8(code)
        .expect("whole comments and strings are blanked, so what is left is UTF-8")
}

/// Where the comment, string or character literal that starts here ends; `at` itself when none starts.
fn blank_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return find(bytes, at, b"\n");
    }
    if rest.starts_with(b"/*") {
        return block_comment_end(bytes, at);
    }
    match rest[0] {
        b'"' => quoted_end(bytes, at + 1, b'"'),
        b'r' => raw_string_end(bytes, at),
        b'\'' => character_end(bytes, at),
        _ => at,
    }
}

/// The length of the identifier that starts here, so that the `r` of `for"` starts no raw string.
fn word_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
        .count()
}

fn find(bytes: &[u8], from: usize, needle: &[u8]) -> usize {
    let found = bytes[from..]
        .windows(needle.len())
        .position(|w| w == needle);
    found.map_or(bytes.len(), |offset| from + offset)
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut index = at;
    while index < bytes.len() {
        if bytes[index..].starts_with(b"/*") {
            depth += 1;
            index += 2;
        } else if bytes[index..].starts_with(b"*/") {
            depth -= 1;
            index += 2;
            if depth == 0 {
                return index;
            }
        } else {
            index += 1;
        }
    }
    index
}

fn quoted_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut index = from;
    while index < bytes.len() {
        match bytes[index] {
            b'\\' => index += 2,
            byte if byte == quote => return index + 1,
            _ => index += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    if bytes.get(at + 1 + hashes) != Some(&b'"') {
        return at;
    }
    let mut closing = vec![b'"'];
    closing.resize(1 + hashes, b'#');
    (find(bytes, at + 2 + hashes, &closing) + closing.len()).min(bytes.len())
}

/// `'a'`, `'\n'` and `'\u{1f}'` are literals; `'a` is a lifetime.
fn character_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        return quoted_end(bytes, at + 1, b'\'');
    }
    let closing = bytes[at + 1..].iter().take(5).position(|b| *b == b'\'');
    match closing {
        Some(length)
            if std::str::from_utf8(&bytes[at + 1..at + 1 + length])
                .is_ok_and(|s| s.chars().count() == 1) =>
        {
            at + length + 2
        }
        _ => at,
    }
}

/// For each line of a Rust file, whether it is compiled for tests alone.
pub(crate) fn test_lines(checkout: &Checkout, source: &Source) -> Vec<bool> {
    let code = code_only(&source.text);
    let lines = source.text.lines().count();
    if is_test_path(&source.path) || is_test_module(checkout, &source.path) {
        return vec![true; lines];
    }
    let mut inside = vec![false; lines];
    for (start, end) in test_items(&code) {
        let first = code[..start].matches('\n').count();
        let last = code[..end].matches('\n').count();
        for line in inside.iter_mut().take(last + 1).skip(first) {
            *line = true;
        }
    }
    inside
}

fn is_test_path(path: &str) -> bool {
    ["/tests/", "/benches/", "/examples/", "/test/"]
        .iter()
        .any(|part| path.contains(part))
        || path.ends_with(".t.sol")
}

const TEST_ATTRIBUTE: &str = "#[cfg(test)]";

/// Byte ranges of items under `#[cfg(test)]` that have a body here.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    let mut items = Vec::new();
    for (start, _) in code.match_indices(TEST_ATTRIBUTE) {
        let after = start + TEST_ATTRIBUTE.len();
        let Some(offset) = code[after..].find(['{', ';']) else {
            continue;
        };
        let open = after + offset;
        let end = if code.as_bytes()[open] == b'{' {
            body_end(code, open)
        } else {
            open
        };
        items.push((start, end));
    }
    items
}

fn body_end(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return offset,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Whether a parent declares this file by `#[cfg(test)] mod name;`.
fn is_test_module(checkout: &Checkout, path: &str) -> bool {
    let Some(stem) = path.strip_suffix(".rs") else {
        return false;
    };
    let mut folder = stem.strip_suffix("/mod").unwrap_or(stem);
    while let Some((parent, name)) = folder.rsplit_once('/') {
        let candidates = [
            format!("{parent}.rs"),
            format!("{parent}/mod.rs"),
            format!("{parent}/lib.rs"),
            format!("{parent}/main.rs"),
        ];
        if candidates
            .iter()
            .filter_map(|p| checkout.source(p))
            .any(|s| declares_test_module(s, name))
        {
            return true;
        }
        folder = parent;
    }
    false
}

fn declares_test_module(parent: &Source, name: &str) -> bool {
    let code = code_only(&parent.text);
    code.match_indices(TEST_ATTRIBUTE).any(|(start, _)| {
        let after = code[start + TEST_ATTRIBUTE.len()..].trim_start();
        let after = after.strip_prefix("pub(crate) ").unwrap_or(after);
        after
            .strip_prefix("mod ")
            .and_then(|a| a.strip_prefix(name))
            .is_some_and(|a| a.trim_start().starts_with(';'))
    })
}

#[cfg(test)]
mod tests {
    use super::{code_only, test_items};

    #[test]
    fn comments_strings_and_characters_are_blanked_and_lifetimes_stay() {
        let text =
            "a /* b /* c */ d */ e // f\n\"g \\\" h\" i r#\"j \" k\"# l 'm' '\\'' <'n> 'é' o";
        let words: Vec<String> = code_only(text)
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        assert_eq!(words, ["a", "e", "i", "l", "<'n>", "o"]);
    }

    #[test]
    fn a_test_module_ends_at_its_own_brace() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { } }\nfn c() {}";
        let (start, end) = test_items(code)[0];
        assert_eq!(&code[start..=end], "#[cfg(test)]\nmod tests { fn b() { } }");
    }
}
