//! `cargo xtask tidy`: rules about this repository that the compiler cannot check.

mod arrows;
mod dependencies;
mod invariants;
mod lexer;
pub(crate) mod links;
pub(crate) mod source;
mod words;

use std::time::Instant;

use anyhow::{Result, bail};

use source::Checkout;

/// One broken rule: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the root.
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

/// Prints each broken rule as `file:line: what to do`; an error when there is any.
pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let started = Instant::now();
    let findings = check()?;
    report("tidy", &findings)?;
    eprintln!("tidy: clean in {} ms", started.elapsed().as_millis());
    Ok(())
}

/// Prints each finding as `file:line: what to do`; an error when there is any.
pub(crate) fn report(rules: &str, findings: &[Finding]) -> Result<()> {
    for Finding {
        path,
        line,
        message,
    } in findings
    {
        eprintln!("{path}:{line}: {message}");
    }
    if !findings.is_empty() {
        bail!("{rules}: {} findings", findings.len());
    }
    Ok(())
}

fn check() -> Result<Vec<Finding>> {
    let checkout = Checkout::read()?;
    let mut findings = arrows::check(&checkout)?;
    findings.extend(dependencies::check(&checkout)?);
    findings.extend(words::check(&checkout));
    findings.extend(links::check(&checkout));
    findings.extend(invariants::check(&checkout));
    findings.sort();
    findings.dedup();
    Ok(findings)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_checkout_is_tidy() {
        let findings = super::check().expect("the checkout can be read");
        assert!(findings.is_empty(), "{findings:#?}");
    }
}
