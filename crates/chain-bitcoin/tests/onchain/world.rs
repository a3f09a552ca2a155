//! A bitcoind of a test's own.

use std::path::Path;

use bitcoin::hashes::Hash;
use bitcoin::{Address, Network, ScriptBuf, WScriptHash};
use forebay_chain_bitcoin::bitcoind::regtest::{Regtest, RegtestSettings};
use tempfile::TempDir;

/// A running bitcoind and its folder, which goes when it does.
pub(crate) struct World {
    pub(crate) node: Regtest,
    pub(crate) folder: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Vec::new()).await
    }

    /// With an index of all transactions, which an Esplora server has.
    pub(crate) async fn indexed() -> Self {
        Self::with(vec!["-txindex=1".to_owned()]).await
    }

    async fn with(arguments: Vec<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let binary = RegtestSettings::binary_in(&root);
        let settings = RegtestSettings {
            arguments,
            ..RegtestSettings::new(binary, folder.path().join("bitcoind"))
        };
        let node = Regtest::start(settings).await.expect("bitcoind starts");
        Self { node, folder }
    }

    pub(crate) async fn mine(&self, blocks: u32) {
        self.node.mine(blocks).await.expect("blocks are made");
    }

    /// Puts empty blocks in place of the newest, and one more.
    pub(crate) async fn reorg(&self, depth: u32) {
        let height = self.height().await - depth + 1;
        let first = self.node.client().block_hash(height).await;
        let first = first.expect("it answers").expect("there is one");
        self.node.invalidate(first).await.expect("it is taken out");
        for _ in 0..=depth {
            self.node.mine_only(&[]).await.expect("an empty block");
        }
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
