//! What a run has reached, by kind.

use std::collections::BTreeMap;
use std::fmt;

/// How often each kind of thing happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Per section (`fault`, `event`, `rejection`, `fact`, `effect`, `act`), per kind.
    pub sections: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

impl Counts {
    /// Counts one more.
    pub(crate) fn add(&mut self, section: &'static str, kind: impl Into<String>) {
        let kinds = self.sections.entry(section).or_default();
        *kinds.entry(kind.into()).or_insert(0) += 1;
    }

    /// Adds all of another run.
    pub fn merge(&mut self, other: &Self) {
        for (section, kinds) in &other.sections {
            let own = self.sections.entry(section).or_default();
            for (kind, count) in kinds {
                *own.entry(kind.clone()).or_insert(0) += count;
            }
        }
    }

    /// How often a kind of a section was reached.
    pub fn of(&self, section: &str, kind: &str) -> u64 {
        let kinds = self.sections.get(section);
        kinds
            .and_then(|kinds| kinds.get(kind))
            .copied()
            .unwrap_or(0)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (section, kinds) in &self.sections {
            writeln!(f, "{section}:")?;
            for (kind, count) in kinds {
                writeln!(f, "  {kind:<28} {count:>10}")?;
            }
        }
        Ok(())
    }
}
