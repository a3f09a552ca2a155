//! Invoices whose preimages others chose: kept in a file, so that what comes after a restart can be claimed.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::{DisplayHex, FromHex};
use serde::{Deserialize, Serialize};

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Invoice {
    preimage: String,
    pub(crate) text: String,
    pub(crate) amount_msat: u64,
    /// Unix time from which on it cannot be paid.
    pub(crate) expires_at_s: u64,
}

impl Invoice {
    pub(crate) fn new(
        preimage: [u8; 32],
        text: String,
        amount_msat: u64,
        expires_at_s: u64,
    ) -> Self {
        Self {
            preimage: preimage.to_lower_hex_string(),
            text,
            amount_msat,
            expires_at_s,
        }
    }

    pub(crate) fn preimage(&self) -> Result<[u8; 32]> {
        Ok(<[u8; 32]>::from_hex(&self.preimage)?)
    }

    pub(crate) fn hash(&self) -> Result<[u8; 32]> {
        Ok(hash_of(self.preimage()?))
    }
}

pub(crate) fn hash_of(preimage: [u8; 32]) -> [u8; 32] {
    sha256::Hash::hash(&preimage).to_byte_array()
}

/// All of them, by payment hash.
pub(crate) struct Invoices(Mutex<(HashMap<[u8; 32], Invoice>, File)>);

impl Invoices {
    /// Reads the file, one invoice a line.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut known = HashMap::new();
        let text = match path.exists() {
            true => std::fs::read_to_string(path)?,
            false => String::new(),
        };
        for line in text.lines() {
            let invoice: Invoice =
                serde_json::from_str(line).with_context(|| format!("{}", path.display()))?;
            known.insert(invoice.hash()?, invoice);
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(Mutex::new((known, file))))
    }

    pub(crate) fn find(&self, hash: [u8; 32]) -> Option<Invoice> {
        self.lock().0.get(&hash).cloned()
    }

    /// Keeps one, once it is on disk.
    pub(crate) fn keep(&self, invoice: Invoice) -> Result<()> {
        let mut kept = self.lock();
        let line = serde_json::to_string(&invoice)?;
        writeln!(kept.1, "{line}")?;
        kept.1.sync_data()?;
        kept.0.insert(invoice.hash()?, invoice);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, (HashMap<[u8; 32], Invoice>, File)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
