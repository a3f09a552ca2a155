//! Licences and duplicates of all third-party crates, judged by `deny.toml`, which `cargo deny` reads too.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::Finding;
use super::arrows;
use super::source::{Checkout, Source};
use crate::process::{capture, cargo};

const POLICY: &str = "deny.toml";

/// Checks what is locked for this platform.
pub(crate) fn check(checkout: &Checkout) -> Result<Vec<Finding>> {
    let policy = checkout.source(POLICY).context("deny.toml is missing")?;
    let rules = Rules::parse(&policy.text)?;
    let packages = third_party_packages()?;
    let mut findings = Vec::new();
    for package in &packages {
        if !is_allowed(&package.licence, &rules.licences) {
            let Package {
                name,
                version,
                licence,
            } = package;
            let message = format!(
                "{name} {version} has the licence `{licence}`, which is not allowed: do without the crate, or add the licence"
            );
            findings.push(policy.finding(0, message));
        }
    }
    check_duplicates(policy, &rules, &packages, &mut findings);
    Ok(findings)
}

struct Rules {
    licences: BTreeSet<String>,
    /// Crates that may occur more than once, each with its reason.
    skipped: BTreeMap<String, String>,
}

impl Rules {
    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().context("deny.toml is not TOML")?;
        let licences = table["licenses"]["allow"]
            .as_array()
            .context("deny.toml: [licenses] allow is missing")?;
        let licences = licences
            .iter()
            .filter_map(|l| l.as_str().map(str::to_owned))
            .collect();
        let mut skipped = BTreeMap::new();
        let skips = table["bans"]
            .get("skip")
            .and_then(toml::Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        for skip in skips {
            let name = skip["crate"]
                .as_str()
                .context("deny.toml: a skip has no `crate`")?;
            let reason = skip
                .get("reason")
                .and_then(toml::Value::as_str)
                .unwrap_or_default();
            skipped.insert(name.to_owned(), reason.to_owned());
        }
        Ok(Self { licences, skipped })
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

/// What is compiled for this platform, tests and build scripts counted. `cargo tree` is asked, since `cargo metadata`
/// also lists optional crates that no feature turns on.
fn third_party_packages() -> Result<BTreeSet<Package>> {
    let text = capture(&mut cargo(&[
        "tree",
        "--workspace",
        "--locked",
        "--prefix=none",
        "--edges=normal,build,dev",
        "--format={p}|{l}",
    ]))?;
    let ours = |package: &Package| arrows::TABLE.iter().any(|a| a.package == package.name);
    Ok(text
        .lines()
        .filter_map(package_of)
        .filter(|p| !ours(p))
        .collect())
}

/// Reads a line such as `serde v1.0.229 (proc-macro)|MIT OR Apache-2.0 (*)`.
fn package_of(line: &str) -> Option<Package> {
    let (package, licence) = line.split_once('|')?;
    let mut words = package.split_whitespace();
    Some(Package {
        name: words.next()?.to_owned(),
        version: words.next()?.trim_start_matches('v').to_owned(),
        licence: licence.trim_end_matches("(*)").trim().to_owned(),
    })
}

/// Reads an SPDX expression: one side of each OR and both sides of each AND must be allowed.
fn is_allowed(expression: &str, licences: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let allowed = any_of(&words, &mut at, licences);
    allowed && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, licences: &BTreeSet<String>) -> bool {
    let mut allowed = all_of(words, at, licences);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        allowed |= all_of(words, at, licences);
    }
    allowed
}

fn all_of(words: &[&str], at: &mut usize, licences: &BTreeSet<String>) -> bool {
    let mut allowed = one(words, at, licences);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        allowed &= one(words, at, licences);
    }
    allowed
}

fn one(words: &[&str], at: &mut usize, licences: &BTreeSet<String>) -> bool {
    let Some(word) = words.get(*at) else {
        return false;
    };
    *at += 1;
    if *word == "(" {
        let allowed = any_of(words, at, licences);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return allowed && closed;
    }
    let mut licence = (*word).to_owned();
    if let [with @ "WITH", exception, ..] = &words[*at..] {
        licence = format!("{licence} {with} {exception}");
        *at += 2;
    }
    licences.contains(&licence)
}

fn check_duplicates(
    policy: &Source,
    rules: &Rules,
    packages: &BTreeSet<Package>,
    findings: &mut Vec<Finding>,
) {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions
            .entry(&package.name)
            .or_default()
            .insert(compatible_part(&package.version));
    }
    for (name, versions) in versions.iter().filter(|(_, v)| v.len() > 1) {
        let shown = versions.iter().copied().collect::<Vec<_>>().join(", ");
        match rules.skipped.get(*name) {
            Some(reason) if !reason.is_empty() => {}
            Some(_) => findings.push(policy.finding(policy.line_of(name) - 1, format!("say why `{name}` may occur twice"))),
            None => findings.push(policy.finding(
                0,
                format!("`{name}` occurs as {shown}: bring them together, or add it to [[bans.skip]] with a reason (`cargo tree -d` shows who wants which)"),
            )),
        }
    }
    for name in rules.skipped.keys() {
        if versions.get(name.as_str()).is_none_or(|v| v.len() < 2) {
            findings.push(policy.finding(
                policy.line_of(&format!("\"{name}\"")) - 1,
                format!("`{name}` occurs once: delete its skip"),
            ));
        }
    }
}

/// What cargo takes as compatible: `1.2.3` is `1`, `0.4.5` is `0.4`, `0.0.6` is `0.0.6`.
fn compatible_part(version: &str) -> &str {
    let core = version.split(['-', '+']).next().unwrap_or(version);
    let numbers: Vec<&str> = core.split('.').collect();
    match numbers.as_slice() {
        ["0", "0", _] => core,
        ["0", minor, _] => &core[..2 + minor.len()],
        [major, ..] => major,
        [] => core,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{compatible_part, is_allowed};

    #[test]
    fn licence_expressions_are_read_as_spdx_has_them() {
        let licences: BTreeSet<String> = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
            .map(str::to_owned)
            .into();
        for allowed in [
            "MIT",
            "MIT/GPL-3.0",
            "GPL-3.0 OR (MIT AND Apache-2.0)",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(is_allowed(allowed, &licences), "{allowed}");
        }
        for refused in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT",
            "MIT WITH x",
            "none named",
        ] {
            assert!(!is_allowed(refused, &licences), "{refused}");
        }
    }

    #[test]
    fn versions_are_compatible_as_cargo_has_it() {
        let parts =
            ["1.2.3", "0.4.5", "0.0.6", "2.0.0-rc.1", "0.9.12+spec-1.1.0"].map(compatible_part);
        assert_eq!(parts, ["1", "0.4", "0.0.6", "2", "0.9"]);
    }
}
