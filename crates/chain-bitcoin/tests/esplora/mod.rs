//! An Esplora server before a test's bitcoind: a gateway of ours, that can be made to lie; or, by hand, a real one.
//!
//! No registry that CI reaches has an Esplora server, so that the gateway stands in for it there. `FOREBAY_ESPLORA` names
//! the binary of a real one (Blockstream's or mempool.space's `electrs`), and then the tests that do not lie run on that.

#![allow(dead_code, reason = "each test binary uses its own part")]

mod answer;
mod electrs;
mod gateway;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_chain_bitcoin::bitcoind::regtest::Regtest;
use forebay_chain_bitcoin::bitcoind::{Bitcoind, BitcoindSettings};
use forebay_chain_bitcoin::esplora::{Esplora, EsploraSettings};

use electrs::Electrs;
#[allow(unused_imports, reason = "only the on-chain tests lie")]
pub(crate) use gateway::{Gateway, Reply};

/// The binary of a real server, when the tests are to run on one.
fn real() -> Option<PathBuf> {
    std::env::var_os("FOREBAY_ESPLORA").map(PathBuf::from)
}

/// A server that does not lie.
pub(crate) enum Server {
    Gateway(Gateway),
    Real(Electrs),
}

impl Server {
    pub(crate) async fn start(node: &Regtest, folder: &Path) -> Self {
        match real() {
            None => Self::Gateway(Gateway::start(node.client_settings()).await),
            Some(binary) => Self::Real(Electrs::start(&binary, node, folder).await),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Gateway(gateway) => gateway.url(),
            Self::Real(electrs) => electrs.url(),
        }
    }

    /// Goes away, as a server that crashed.
    pub(crate) async fn stop(&mut self) {
        match self {
            Self::Gateway(gateway) => gateway.stop().await,
            Self::Real(electrs) => electrs.stop(),
        }
    }

    pub(crate) async fn start_again(&mut self) {
        match self {
            Self::Gateway(gateway) => gateway.start_again().await,
            Self::Real(electrs) => electrs.start_again().await,
        }
    }

    /// Waits until it has the block that bitcoind has on top, and what bitcoind has in its mempool.
    pub(crate) async fn caught_up(&self, node: &Regtest) {
        match self {
            // It asks bitcoind itself.
            Self::Gateway(_) => {}
            Self::Real(electrs) => electrs.caught_up(node.client()).await,
        }
    }
}

/// A client for a chain that a test makes, whose headers are in this file.
pub(crate) fn settings(url: String, node: &BitcoindSettings, headers: PathBuf) -> EsploraSettings {
    let mut settings = EsploraSettings::new(url, node.network, headers);
    settings.pause = Duration::from_millis(50);
    settings.limits = node.limits;
    settings
}

pub(crate) fn client(settings: EsploraSettings) -> Arc<Esplora> {
    Arc::new(Esplora::new(settings).expect("the URL is one"))
}

fn bitcoind(settings: BitcoindSettings) -> Bitcoind {
    Bitcoind::new(settings).expect("the URL is one")
}
