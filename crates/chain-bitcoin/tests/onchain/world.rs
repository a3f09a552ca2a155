//! A bitcoind of a test's own.

use std::path::Path;

use bitcoin::hashes::Hash;
use bitcoin::{Address, Network, ScriptBuf, WScriptHash};
use forebay_chain_bitcoin::bitcoind::regtest::{Regtest, RegtestSettings};
use tempfile::TempDir;

/// A running bitcoind and its folder, which goes when it does.
pub(crate) struct World {
    pub(crate) node: Regtest,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let binary = RegtestSettings::binary_in(&root);
        let settings = RegtestSettings::new(binary, folder.path().join("bitcoind"));
        let node = Regtest::start(settings).await.expect("bitcoind starts");
        Self {
            node,
            _folder: folder,
        }
    }

    pub(crate) async fn mine(&self, blocks: u32) {
        self.node.mine(blocks).await.expect("blocks are made");
    }

    pub(crate) async fn height(&self) -> u32 {
        self.node.client().tip().await.expect("it answers").height
    }
}

/// An address that is nobody's here.
pub(crate) fn elsewhere() -> Address {
    Address::from_script(
        &ScriptBuf::new_p2wsh(&WScriptHash::all_zeros()),
        Network::Regtest,
    )
    .expect("a script with an address")
}
