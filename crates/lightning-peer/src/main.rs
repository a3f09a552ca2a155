//! `forebay-lightning-peer`: an `ldk-node` as a process of its own.
//!
//! Its first line on standard output says who and where it is. To each line on standard input it answers with one line, its
//! own numbers. It ends on SIGTERM.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use forebay_lightning_peer::{Peer, Settings};
use tokio::signal::unix::{SignalKind, signal};

/// An ldk-node behind LND's REST interface.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where it keeps its keys and channels.
    #[arg(long)]
    folder: PathBuf,
    /// bitcoind on regtest, as host:port.
    #[arg(long)]
    bitcoind: SocketAddr,
    /// A file with a user of it and the password, a colon between them.
    #[arg(long)]
    bitcoind_cookie: PathBuf,
    /// Where other Lightning nodes connect.
    #[arg(long)]
    listen: SocketAddr,
    /// Where it is asked; a free port when left out.
    #[arg(long, default_value = "127.0.0.1:0")]
    rest: SocketAddr,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cookie = std::fs::read_to_string(&arguments.bitcoind_cookie)
        .with_context(|| format!("{} cannot be read", arguments.bitcoind_cookie.display()))?;
    let (user, password) = cookie
        .trim()
        .split_once(':')
        .context("the cookie has no colon")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let peer = Peer::start(Settings {
        folder: arguments.folder,
        bitcoind: arguments.bitcoind,
        user: user.to_owned(),
        password: password.to_owned(),
        listen: arguments.listen,
    })?;
    let rest = runtime.block_on(peer.serve(arguments.rest))?;
    say(&serde_json::json!({
        "node": peer.id(),
        "listen": arguments.listen.to_string(),
        "rest": format!("http://{rest}"),
        "macaroon": peer.macaroon_file().display().to_string(),
    }))?;
    let asked = peer.clone();
    std::thread::spawn(move || {
        for _line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let state = serde_json::to_value(asked.state()).unwrap_or_default();
            // Nobody reads it any more.
            let _ = say(&state);
        }
    });
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        terminate.recv().await;
        anyhow::Ok(())
    })?;
    peer.stop()
}

fn say(line: &serde_json::Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
