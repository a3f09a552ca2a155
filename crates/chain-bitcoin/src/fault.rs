//! What can go wrong between us and Bitcoin.

use thiserror::Error;

/// Whether, and when, asking again may help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// At once.
    Now,
    /// After a while, or once somebody has acted.
    Later,
    /// Not without a change of what is asked.
    Never,
}

/// The world failed, or said no.
#[derive(Debug, Error)]
pub enum Fault {
    /// bitcoind does not answer.
    #[error("bitcoind does not answer at {url}: {detail}; check the URL and that it runs")]
    BitcoindDown {
        /// Where it was asked.
        url: String,
        /// Why there was no answer.
        detail: String,
    },
    /// bitcoind answered with an error.
    #[error("bitcoind refused {method}: {message} (code {code})")]
    BitcoindRefused {
        /// What was asked.
        method: &'static str,
        /// Its error code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// bitcoind's answer makes no sense.
    #[error("bitcoind's answer to {method} makes no sense: {what}")]
    Nonsense {
        /// What was asked.
        method: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// bitcoind follows another network than the configuration names.
    #[error(
        "bitcoind is on {found}, but the configuration says {expected}; use a bitcoind on {expected}"
    )]
    WrongNetwork {
        /// As configured.
        expected: String,
        /// As bitcoind says.
        found: String,
    },
}

impl Fault {
    /// Whether asking again may help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::BitcoindDown { .. } | Self::BitcoindRefused { .. } | Self::Nonsense { .. } => {
                Retry::Later
            }
            Self::WrongNetwork { .. } => Retry::Never,
        }
    }
}
