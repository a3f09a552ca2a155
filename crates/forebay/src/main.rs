//! The forebay command: a pool's node, a peer's own side, and what their operators and LPs type.
//!
//! Here are arguments, messages and exit codes. What money does is decided in `forebay-pool` and in
//! `forebay_node::connect`; servers listen on this machine unless a configuration says otherwise.
#![forbid(unsafe_code)]

mod backup;
mod bench;
mod bitcoin;
mod chain;
mod check;
mod claim;
mod client;
mod committee;
mod connect;
mod crash;
mod demo;
mod founding;
mod fuzz;
mod keys;
mod operator;
mod output;
mod reserve;
mod run;
mod soak;
mod tokens;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use client::Client;
use keys::Passphrase;

/// Liquidity for Interledger: one pool, payment channels to each connector, swaps in between.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, arg_required_else_help = true)]
struct Cli {
    /// Configuration file of the pool.
    #[arg(
        long,
        global = true,
        env = "FOREBAY_CONFIG",
        default_value = "forebay.toml"
    )]
    config: PathBuf,
    /// Answer with exactly one JSON object or list on standard output.
    #[arg(long, global = true)]
    json: bool,
    /// How the log on standard error is written.
    #[arg(
        long,
        global = true,
        env = "FOREBAY_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,
    #[command(flatten)]
    passphrase: Passphrase,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// One line of text for people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Found a pool: key, configuration, data directory.
    Init(founding::Init),
    /// Run the pool until SIGTERM or Ctrl-C.
    Run,
    Backup(backup::Backup),
    Restore(backup::Restore),
    /// A peer's own side: stand in line between its connector and a pool.
    Connect(connect::Connect),
    /// A watchtower: redeem for a pool or a peer that is down when a notice threatens its vouchers.
    Watch(watch::Watch),
    /// Accounts with connectors.
    #[command(subcommand)]
    Peers(operator::Peers),
    /// Assets of the pool.
    #[command(subcommand)]
    Assets(operator::Assets),
    /// The pool's bitcoin wallet and Lightning node.
    #[command(subcommand)]
    Bitcoin(bitcoin::OnBitcoin),
    /// Who may ask the running pool over HTTP, and for what.
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Print the OpenAPI document of the HTTP interface.
    Openapi,
    /// How the running pool is.
    Status,
    /// Balances, reserves, and what a stolen key would cost now.
    Books,
    /// An LP's side of a vault, with the LP's own key; or of a claim on Bitcoin.
    #[command(subcommand)]
    Lp(chain::Lp),
    /// Vault contracts.
    #[command(subcommand)]
    Vault(chain::Vaults),
    /// A committee member's side of a vault or of the reserve on Bitcoin, with the member's own key.
    #[command(subcommand)]
    Committee(committee::Committee),
    /// Key files.
    #[command(subcommand)]
    Keys(Keys),
    /// Is what was configured fit to run?
    #[command(subcommand)]
    Config(check::Check),
    /// Measure: speed, and what it costs.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Kill a pool process under load and hold its journal to every reply received.
    #[command(hide = true)]
    Crash(crash::Crash),
    /// Mix load, faults and kills for as long as told, and end with the auditor's verdict.
    #[command(hide = true)]
    Soak(soak::Soak),
    /// Hand mutated inputs to every decoder for as long as told.
    #[command(hide = true)]
    Fuzz(fuzz::Fuzz),
    /// The main job on a local chain, from deposit to exit, with a crash in the middle.
    Demo(demo::Demo),
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Make a key file for an LP or a peer.
    New {
        /// The file to make.
        file: PathBuf,
    },
    /// Show a key file's address; needs no passphrase.
    Show {
        /// The file.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What is measured must not be slowed by telling of it.
    let level = match cli.command {
        Command::Bench(_) => "error",
        _ => "info",
    };
    start_log(cli.log_format, level);
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forebay: {}", output::reason(&error));
            ExitCode::FAILURE
        }
    }
}

fn start_log(format: LogFormat, level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FOREBAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        // A log that cannot be written, on a full disk say, must not stop the pool.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

fn dispatch(cli: Cli) -> Result<()> {
    let Cli {
        config,
        json,
        log_format: _,
        passphrase,
        command,
    } = cli;
    let threads = 2;
    match command {
        Command::Init(init) => init.run(&passphrase),
        Command::Run => run::run(&config, &passphrase),
        Command::Backup(backup) => backup.run(&config, json),
        Command::Restore(restore) => restore.run(&config, json),
        Command::Connect(connect) => connect.run(&passphrase, json),
        Command::Watch(watch) => watch.run(&passphrase, json),
        Command::Peers(peers) => {
            runtime(1)?.block_on(async { peers.run(&Client::of(&config)?, json).await })
        }
        Command::Assets(assets) => {
            runtime(1)?.block_on(async { assets.run(&Client::of(&config)?, json).await })
        }
        Command::Bitcoin(bitcoin) => {
            runtime(threads)?.block_on(bitcoin.run(&config, &passphrase, json))
        }
        Command::Tokens(tokens) => {
            runtime(1)?.block_on(async { tokens.run(&Client::of(&config)?, json).await })
        }
        Command::Openapi => {
            println!("{:#}", forebay_api::document());
            Ok(())
        }
        Command::Status => {
            runtime(1)?.block_on(async { operator::status(&Client::of(&config)?, json).await })
        }
        Command::Books => {
            runtime(1)?.block_on(async { operator::books(&Client::of(&config)?, json).await })
        }
        Command::Lp(lp) => runtime(threads)?.block_on(lp.run(&config, &passphrase, json)),
        Command::Vault(vault) => runtime(threads)?.block_on(vault.run(&passphrase, json)),
        Command::Committee(committee) => {
            runtime(threads)?.block_on(committee.run(&passphrase, json))
        }
        Command::Keys(keys) => keys.run(&passphrase, json),
        Command::Config(check) => runtime(1)?.block_on(check.run(&config, json)),
        Command::Bench(bench) => bench.run(json),
        Command::Crash(crash) => crash.run(json),
        Command::Soak(soak) => soak.run(json),
        Command::Fuzz(fuzz) => fuzz.run(json),
        Command::Demo(demo) => runtime(threads)?.block_on(demo.run(json)),
    }
}

impl Keys {
    fn run(self, passphrase: &Passphrase, json: bool) -> Result<()> {
        let address = match self {
            Self::New { file } => keys::create(&file, passphrase)?.address().to_string(),
            Self::Show { file } => keys::address(&file)?,
        };
        output::show(json, &serde_json::json!({ "address": address }), |_| {
            println!("{address}")
        })
    }
}

/// A runtime for commands and processes.
pub(crate) fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .enable_all()
        .build()?)
}

/// Waits for SIGTERM or Ctrl-C.
pub(crate) async fn stop_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
