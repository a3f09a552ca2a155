//! Which crate may depend on which. This table is the law: a new arrow, or a new third-party crate in the inner ring,
//! needs an ADR in `docs/adr/` and a line here.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;
use super::source::Checkout;
use crate::process::{capture, cargo};

/// What one of our crates may depend on.
pub(crate) struct Arrows {
    /// The package.
    pub(crate) package: &'static str,
    /// Folder from the root.
    pub(crate) folder: &'static str,
    /// In the inner ring: `no_std`, no I/O, third-party crates as listed only.
    pub(crate) inner: bool,
    /// Our crates that it may know.
    pub(crate) ours: &'static [&'static str],
    /// Third-party crates that it may know, for the inner ring.
    pub(crate) others: &'static [&'static str],
}

const fn inner(
    package: &'static str,
    folder: &'static str,
    ours: &'static [&'static str],
    others: &'static [&'static str],
) -> Arrows {
    Arrows {
        package,
        folder,
        inner: true,
        ours,
        others,
    }
}

const fn outer(
    package: &'static str,
    folder: &'static str,
    ours: &'static [&'static str],
) -> Arrows {
    Arrows {
        package,
        folder,
        inner: false,
        ours,
        others: &[],
    }
}

/// All our crates, from the inside to the outside.
pub(crate) const TABLE: &[Arrows] = &[
    inner("forebay-quantity", "crates/quantity", &[], &["borsh"]),
    inner("forebay-ledger", "crates/ledger", &[QUANTITY], &["borsh"]),
    inner("forebay-market", "crates/market", &[QUANTITY], &["borsh"]),
    inner(
        "forebay-channel",
        "crates/channel",
        &[QUANTITY],
        &["borsh", "sha3", "k256"],
    ),
    inner("forebay-ilp", "crates/ilp", &[QUANTITY], &["sha2"]),
    inner(
        "forebay-pool",
        "crates/pool",
        &[
            QUANTITY,
            "forebay-ledger",
            "forebay-market",
            "forebay-channel",
            "forebay-ilp",
        ],
        &["borsh", "sha2", "hashbrown"],
    ),
    outer("forebay-journal", "crates/journal", &[]),
    outer(
        "forebay-chain-evm",
        "crates/chain-evm",
        &[QUANTITY, "forebay-channel"],
    ),
    outer(
        "forebay-chain-bitcoin",
        "crates/chain-bitcoin",
        &[QUANTITY, "forebay-channel"],
    ),
    outer("forebay-api", "crates/api", &[QUANTITY]),
    outer("forebay-node", "crates/node", NODE_KNOWS),
    outer("forebay", "crates/forebay", BINARY_KNOWS),
    // Somebody else's node: it knows nothing of ours, and nothing of ours knows it.
    outer("forebay-lightning-peer", "crates/lightning-peer", &[]),
    outer("forebay-sim", "crates/sim", SIM_KNOWS),
    outer(
        "forebay-adapter-suite",
        "crates/adapter-suite",
        &[QUANTITY, "forebay-channel"],
    ),
    outer(
        "forebay-model",
        "crates/model",
        &[QUANTITY, "forebay-channel", "forebay-pool"],
    ),
    outer("xtask", "xtask", &[]),
];

const QUANTITY: &str = "forebay-quantity";

const NODE_KNOWS: &[&str] = &[
    QUANTITY,
    "forebay-ledger",
    "forebay-market",
    "forebay-channel",
    "forebay-ilp",
    "forebay-pool",
    "forebay-journal",
    "forebay-chain-evm",
    "forebay-chain-bitcoin",
    "forebay-api",
];

const BINARY_KNOWS: &[&str] = &[
    QUANTITY,
    "forebay-ledger",
    "forebay-market",
    "forebay-channel",
    "forebay-ilp",
    "forebay-pool",
    "forebay-journal",
    "forebay-chain-evm",
    "forebay-chain-bitcoin",
    "forebay-api",
    "forebay-node",
];

const SIM_KNOWS: &[&str] = &[
    QUANTITY,
    "forebay-ledger",
    "forebay-market",
    "forebay-channel",
    "forebay-ilp",
    "forebay-pool",
    "forebay-journal",
];

/// Crates that tests of the inner ring may use, beside all that its crates use.
const INNER_TESTS_KNOW: &[&str] = &["proptest", "serde_json", "hex", "num-bigint"];

/// Crates of ours that exist for tests alone.
const TESTS_ONLY: &[&str] = &["forebay-adapter-suite", "forebay-lightning-peer"];

/// Checks each member of the workspace against the table.
pub(crate) fn check(checkout: &Checkout) -> Result<Vec<Finding>> {
    let text = capture(&mut cargo(&[
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has no name")?;
        match TABLE.iter().find(|a| a.package == name) {
            Some(arrows) => check_package(arrows, package, checkout, &mut findings),
            None => findings.push(Finding {
                path: "Cargo.toml".to_owned(),
                line: 1,
                message: format!("crate `{name}` has no row in xtask/src/tidy/arrows.rs: write an ADR and add one"),
            }),
        }
    }
    Ok(findings)
}

fn check_package(
    arrows: &Arrows,
    package: &Value,
    checkout: &Checkout,
    findings: &mut Vec<Finding>,
) {
    let path = format!("{}/Cargo.toml", arrows.folder);
    if !checkout
        .source(&path)
        .is_some_and(|s| s.text.contains("[lints]\nworkspace = true"))
    {
        let message =
            "this crate must take the workspace's lints: add `[lints]` with `workspace = true`"
                .to_owned();
        findings.push(Finding {
            path: path.clone(),
            line: 1,
            message,
        });
    }
    let dependencies = package["dependencies"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    for dependency in dependencies {
        let name = dependency["name"].as_str().unwrap_or_default();
        let for_tests = dependency["kind"].as_str() == Some("dev");
        if let Some(message) = refusal(arrows, name, for_tests) {
            let line = checkout.source(&path).map_or(1, |s| s.line_of(name));
            findings.push(Finding {
                path: path.clone(),
                line,
                message,
            });
        }
    }
}

/// Why this dependency is not allowed, if it is not.
fn refusal(arrows: &Arrows, dependency: &str, for_tests: bool) -> Option<String> {
    let package = arrows.package;
    let is_ours = TABLE.iter().any(|a| a.package == dependency);
    if is_ours {
        let allowed = arrows.ours.contains(&dependency)
            || (for_tests && (TESTS_ONLY.contains(&dependency) || dependency == package));
        return (!allowed).then(|| {
            format!("`{package}` may not know `{dependency}`: arrows point inwards; a new arrow needs an ADR and a row in xtask/src/tidy/arrows.rs")
        });
    }
    let allowed = !arrows.inner
        || arrows.others.contains(&dependency)
        || (for_tests && inner_tests_may_use(dependency));
    (!allowed).then(|| {
        format!("`{package}` is in the inner ring and may not use `{dependency}`: move the need outwards, or write an ADR and add it to xtask/src/tidy/arrows.rs")
    })
}

fn inner_tests_may_use(dependency: &str) -> bool {
    INNER_TESTS_KNOW.contains(&dependency) || TABLE.iter().any(|a| a.others.contains(&dependency))
}

#[cfg(test)]
mod tests {
    use super::{TABLE, refusal};

    fn refused(package: &str, dependency: &str, for_tests: bool) -> bool {
        let arrows = TABLE
            .iter()
            .find(|a| a.package == package)
            .expect("named in the table");
        refusal(arrows, dependency, for_tests).is_some()
    }

    #[test]
    fn arrows_that_point_inwards_pass_and_others_do_not() {
        assert!(!refused("forebay-pool", "forebay-ledger", false));
        assert!(refused("forebay-ledger", "forebay-pool", false));
        assert!(refused("forebay-chain-evm", "forebay-pool", false));
        assert!(refused("forebay-sim", "forebay-node", false));
    }

    #[test]
    fn the_inner_ring_takes_listed_third_party_crates_only() {
        assert!(!refused("forebay-pool", "borsh", false));
        assert!(refused("forebay-pool", "serde_json", false));
        assert!(!refused("forebay-pool", "serde_json", true));
        assert!(refused("forebay-pool", "tokio", true));
        assert!(refused("forebay-pool", "k256", false));
        assert!(!refused("forebay-pool", "k256", true));
        assert!(!refused("forebay-node", "tokio", false));
    }
}
