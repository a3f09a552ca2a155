//! `forebay run`: the pool's process.

use std::path::Path;

use anyhow::{Result, bail};
use forebay_node::{Config, Ending, Keys, Node};

use crate::keys::{self, Passphrase};
use crate::{runtime, stop_signal};

/// Runs until SIGTERM, then drains.
pub(crate) fn run(config: &Path, passphrase: &Passphrase) -> Result<()> {
    let config = Config::load(config)?;
    let pool = keys::open(&config.keys_file, passphrase)?;
    runtime(config.limits.socket_threads)?.block_on(async {
        let node = tokio::select! {
            node = Node::start(config, Keys { pool }) => node?,
            // Witnesses or chains that do not answer must not keep it from ending.
            stopped = stop_signal() => return stopped,
        };
        tokio::select! {
            stopped = stop_signal() => stopped?,
            // A core that has ended takes nothing any more: better to stop and say why.
            () = node.ended() => {}
        }
        eprintln!("draining: new packets are refused, those in flight are waited for");
        match node.drain().await {
            Ending::Drained | Ending::Stopped => Ok(()),
            Ending::Failed(why) => bail!("{why}"),
        }
    })
}
