//! The text files of the checkout, read once, with comments, strings and tests of Rust told apart.

use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use crate::process::root;

const FOLDERS_SKIPPED: &[&str] = &["target", "node_modules", ".git", ".forebay", "out", "cache"];
const ENDINGS_READ: &[&str] = &["rs", "sol", "ts", "js", "cjs", "mjs", "md", "toml"];

/// One text file.
pub(crate) struct Source {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// As it lies on disk.
    pub(crate) text: String,
}

/// All text files that tidy looks at.
pub(crate) struct Checkout {
    /// In order of path.
    pub(crate) sources: Vec<Source>,
}

impl Checkout {
    /// Reads the checkout that this program was built from.
    pub(crate) fn read() -> Result<Self> {
        let mut sources = Vec::new();
        collect(&root(), &mut sources)?;
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { sources })
    }

    /// The file at this path.
    pub(crate) fn source(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|s| s.path == path)
    }
}

impl Source {
    /// Whether the file ends in one of these.
    pub(crate) fn has_ending(&self, endings: &[&str]) -> bool {
        let ending = self.path.rsplit('.').next().unwrap_or_default();
        endings.contains(&ending)
    }

    /// A finding at a line counted from 0.
    pub(crate) fn finding(&self, line_index: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line: line_index + 1,
            message: message.into(),
        }
    }

    /// The number of the first line that contains `needle`, or 1.
    pub(crate) fn line_of(&self, needle: &str) -> usize {
        let found = self.text.lines().position(|l| l.contains(needle));
        found.map_or(1, |index| index + 1)
    }
}

fn collect(folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir() && !FOLDERS_SKIPPED.contains(&name.as_str()) {
            collect(&path, sources)?;
        } else if kind.is_file()
            && ENDINGS_READ
                .iter()
                .any(|e| name.ends_with(&format!(".{e}")))
        {
            let shown = path.strip_prefix(root()).unwrap_or(&path);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            sources.push(Source {
                path: shown.to_string_lossy().into_owned(),
                text,
            });
        }
    }
    Ok(())
}
