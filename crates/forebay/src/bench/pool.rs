//! The pool process under measurement: the product's own node, on a folder that is founded first if it is empty.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use forebay_node::{Config, HttpMode, HttpUplink, Keys, Limits, Node};

use super::core::{Accounts, Core, pool_key, sender_name};
use super::process::Listening;

/// The pool process; told to end by the end of its input.
#[derive(Debug, Args)]
pub(crate) struct Pool {
    /// Where its journal goes.
    #[arg(long)]
    folder: PathBuf,
    /// Threads for sockets.
    #[arg(long, default_value_t = 1)]
    socket_threads: usize,
    /// Accounts that send, in a pool founded now; one receives.
    #[arg(long, default_value_t = 1)]
    senders: u32,
    /// Serves HTTP as well, and calls the sender back there.
    #[arg(long)]
    sender_url: Option<String>,
}

impl Pool {
    pub(super) fn run(self) -> Result<()> {
        if !Core::is_founded(&self.folder) {
            let accounts = Accounts {
                senders: self.senders,
                ..Accounts::PAIR
            };
            Core::found(&self.folder, accounts)?.close()?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.socket_threads)
            .enable_all()
            .build()?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> Result<()> {
        let pool = pool_key()?;
        let node = Node::start(self.config(), Keys { pool }).await?;
        let listening = Listening {
            btp: node.btp_address(),
            http: node.http_address(),
            admin: node.admin_address(),
        };
        println!("{}", serde_json::to_string(&listening)?);
        let figures = Arc::clone(node.figures());
        let answering = tokio::task::spawn_blocking(move || {
            for line in std::io::stdin().lock().lines() {
                if line.is_err() {
                    break;
                }
                println!("{} {}", figures.syncs.value(), figures.records.value());
                // A parent that is gone closes the input as well.
                let _ = std::io::stdout().flush();
            }
        });
        answering.await?;
        node.stop().await;
        Ok(())
    }

    fn config(&self) -> Config {
        let sender = self.sender_url.clone().map(|url| HttpUplink {
            peer: sender_name(0),
            url,
            token: "pool".into(),
            mode: HttpMode::Sync,
        });
        Config {
            data_directory: self.folder.clone(),
            btp_listen: anywhere(),
            admin_listen: anywhere(),
            keys_file: PathBuf::new(),
            chains: BTreeMap::new(),
            bitcoin: None,
            prices: BTreeMap::new(),
            uplinks: Vec::new(),
            http_listen: sender.as_ref().map(|_| anywhere()),
            http_url: None,
            http_uplinks: sender.into_iter().collect(),
            watchtowers: Vec::new(),
            witnesses: Vec::new(),
            witness_quorum: None,
            limits: Limits::default(),
        }
    }
}

/// A port of this machine that is free.
fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
