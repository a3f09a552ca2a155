//! Links in Markdown resolve: files and anchors. Addresses outside the checkout are not visited.

use std::path::{Component, Path, PathBuf};

use super::Finding;
use super::source::{Checkout, Source};
use crate::process::root;

/// Checks the links of every Markdown file.
pub(crate) fn check(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in checkout.sources.iter().filter(|s| s.has_ending(&["md"])) {
        for (index, line) in prose(&source.text) {
            for target in targets(line) {
                if let Some(message) = broken(checkout, source, target) {
                    findings.push(source.finding(index, message));
                }
            }
        }
    }
    findings
}

/// Lines outside fenced code, counted from 0.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return false;
        }
        !fenced
    })
}

/// What stands in `](…)` on this line, outside code spans.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("](") {
        let in_code_span = line[..at].matches('`').count() % 2 == 1 && line[at..].contains('`');
        if in_code_span {
            continue;
        }
        let rest = &line[at + 2..];
        if let Some(end) = rest.find(')') {
            found.push(rest[..end].trim());
        }
    }
    found
}

fn broken(checkout: &Checkout, source: &Source, target: &str) -> Option<String> {
    if ["http://", "https://", "mailto:"]
        .iter()
        .any(|scheme| target.starts_with(scheme))
    {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() {
        source.path.clone()
    } else {
        resolve(&source.path, file)
    };
    if !root().join(&path).exists() {
        return Some(format!(
            "the link `{target}` leads nowhere: there is no {path}"
        ));
    }
    let pointed_at = checkout.source(&path)?;
    if anchor.is_empty() || headings(&pointed_at.text).iter().any(|h| h == anchor) {
        return None;
    }
    Some(format!(
        "the link `{target}` leads nowhere: {path} has no heading `#{anchor}`"
    ))
}

fn resolve(from: &str, relative: &str) -> String {
    let mut path = PathBuf::from(from);
    path.pop();
    for part in Path::new(relative).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path.to_string_lossy().into_owned()
}

/// Anchors of all headings, as GitHub and mdBook spell them.
fn headings(text: &str) -> Vec<String> {
    prose(text)
        .filter_map(|(_, line)| line.strip_prefix('#'))
        .map(|line| anchor_of(line.trim_start_matches('#')))
        .collect()
}

fn anchor_of(heading: &str) -> String {
    let kept = heading
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c })
        .collect::<String>()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{anchor_of, resolve, targets};

    #[test]
    fn targets_outside_code_are_found() {
        assert_eq!(
            targets("see [a](b.md), `[c](d)` and [e](f.md#g)"),
            ["b.md", "f.md#g"]
        );
    }

    #[test]
    fn relative_paths_go_up_and_down() {
        assert_eq!(resolve("docs/adr/0001.md", "../../README.md"), "README.md");
    }

    #[test]
    fn anchors_are_spelt_as_on_github() {
        assert_eq!(
            anchor_of(" What a stolen key costs, now?"),
            "what-a-stolen-key-costs-now"
        );
    }
}
