//! `forebay bitcoin`: the pool's wallet and Lightning node.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use forebay_api::{
    AddBitcoin, Address, Asset, AssetPolicy, BITCOIN, BITCOIN_ADDRESSES, BITCOIN_RESERVE,
    BITCOIN_RESERVE_COPIES, Bitcoin, Buyers, CopyTaken, Liquidity, NewAddress, Reserve, SalePolicy,
    SetBitcoin, SignedCopy, Units,
};
use forebay_chain_bitcoin::lightning::Recovered;
use forebay_node::{Config, recover_channels};
use forebay_quantity::Amount;

use crate::client::Client;
use crate::keys::{self, Passphrase};
use crate::operator::Changes;
use crate::output::{show, table, whole};
use crate::stop_signal;

/// Decimal places of a satoshi, and of a millisatoshi, in a bitcoin.
const SATOSHI: u8 = 8;
const MILLISATOSHI: u8 = 11;

/// The pool's wallet and Lightning node.
#[derive(Debug, Subcommand)]
pub(crate) enum OnBitcoin {
    #[command(flatten)]
    Running(OnRunning),
    /// Fetch what the channels of a stopped pool held whose Lightning store is lost, as its peers close them; runs until
    /// Ctrl-C.
    Recover {
        /// Where it is sent to.
        #[arg(long, value_name = "ADDRESS")]
        to: String,
    },
}

impl OnBitcoin {
    pub(crate) async fn run(
        self,
        config: &Path,
        passphrase: &Passphrase,
        json: bool,
    ) -> Result<()> {
        match self {
            Self::Running(asked) => asked.run(&Client::of(config)?, json).await,
            Self::Recover { to } => recover(config, passphrase, &to, json).await,
        }
    }
}

async fn recover(config: &Path, passphrase: &Passphrase, to: &str, json: bool) -> Result<()> {
    let config = Config::load(config)?;
    let key = keys::open(&config.keys_file, passphrase)?;
    let told = |recovered: &Recovered| {
        let found = serde_json::json!({
            "outputs": recovered.outputs,
            "satoshi": recovered.value_sat.to_string(),
            "transaction": recovered.transaction.compute_txid(),
        });
        // Whoever reads this may be gone; the money is on its way all the same.
        let _ = show(json, &found, |_| {
            println!(
                "{} sat of {} channels are on their way, in transaction {}",
                recovered.value_sat,
                recovered.outputs,
                recovered.transaction.compute_txid()
            );
        });
    };
    tokio::select! {
        ended = recover_channels(&config, &key, to, told) => Ok(ended?),
        stopped = stop_signal() => stopped,
    }
}

/// What is asked of a pool that runs.
#[derive(Debug, Subcommand)]
pub(crate) enum OnRunning {
    /// List the asset on Bitcoin.
    Add {
        /// Code, e.g. BTC.
        code: String,
        /// Decimal places of packet amounts, at most 11, that of a millisatoshi.
        #[arg(long, default_value_t = MILLISATOSHI)]
        scale: u8,
        #[command(flatten)]
        changes: Changes,
    },
    /// Show the wallet, the node and its channels.
    Show,
    /// The reserve that the committee guards with the operator.
    #[command(subcommand)]
    Reserve(OnReserve),
    /// Say when channels are opened, enlarged, made smaller and closed, and what that may cost. Amounts are in satoshi; what
    /// is left out stays.
    Liquidity(LiquidityChanges),
    /// Print an address that was never used.
    Address {
        /// Where an LP is paid back: what arrives becomes its notes. Left out, it is the operator's own capital.
        #[arg(long)]
        payout: Option<String>,
    },
}

/// The reserve, from the operator's side.
#[derive(Debug, Subcommand)]
pub(crate) enum OnReserve {
    /// Show what lies in it, and which drafts wait for members.
    Show,
    /// Print the descriptor, for the members' files and for other wallets: it spends nothing.
    Descriptor,
    /// Write a draft to a file, for members to sign.
    Draft {
        /// Its number, as `show` says.
        number: u64,
        /// The file to make.
        file: PathBuf,
    },
    /// Take copies that members have signed; the spend is handed in once enough have.
    Take {
        /// Signed copies.
        #[arg(required = true)]
        copies: Vec<PathBuf>,
    },
}

impl OnReserve {
    async fn run(self, client: &Client, json: bool) -> Result<()> {
        if let Self::Take { copies } = &self {
            for path in copies {
                let psbt = std::fs::read_to_string(path)
                    .with_context(|| format!("{} cannot be read", path.display()))?;
                let taken: CopyTaken = client
                    .post(BITCOIN_RESERVE_COPIES, &SignedCopy { psbt })
                    .await?;
                show(json, &taken, |taken| match &taken.transaction {
                    Some(txid) => println!(
                        "{}: enough have signed; handed in as {txid}.",
                        path.display()
                    ),
                    None => println!("{}: taken; more have to sign.", path.display()),
                })?;
            }
            return Ok(());
        }
        let reserve: Reserve = client.read(BITCOIN_RESERVE).await?;
        match self {
            Self::Show | Self::Take { .. } => show(json, &reserve, draw_reserve),
            Self::Descriptor => {
                let text = serde_json::json!({ "descriptor": reserve.descriptor });
                show(json, &text, |_| println!("{}", reserve.descriptor))
            }
            Self::Draft { number, file } => {
                let found = reserve.drafts.iter().find(|draft| draft.number == number);
                let draft = found.with_context(|| format!("no draft {number} waits"))?;
                ensure!(
                    !file.exists(),
                    "{} exists: name another file",
                    file.display()
                );
                std::fs::write(&file, format!("{}\n", draft.psbt))
                    .with_context(|| format!("{} cannot be written", file.display()))?;
                show(json, draft, |_| {
                    println!("{} is for the members to sign.", file.display())
                })
            }
        }
    }
}

fn draw_reserve(reserve: &Reserve) {
    let btc = |units: Units| whole(units, SATOSHI);
    println!(
        "{} BTC in the reserve; the operator with {} of {} members spends it. At most {} BTC are to be hot.",
        btc(reserve.total),
        reserve.threshold,
        reserve.members,
        btc(reserve.hot_max)
    );
    for output in &reserve.outputs {
        println!(
            "{}: {} BTC, {} days old",
            output.outpoint,
            btc(output.amount),
            output.blocks / 144
        );
    }
    for draft in &reserve.drafts {
        let signed = draft
            .members_signed
            .iter()
            .filter(|signed| **signed)
            .count();
        println!(
            "draft {}: {} BTC to the hot wallet, {} BTC to miners; {signed} of {} members have signed",
            draft.number,
            btc(draft.pays),
            btc(draft.fee),
            reserve.threshold
        );
    }
}

impl OnRunning {
    async fn run(self, client: &Client, json: bool) -> Result<()> {
        match self {
            Self::Add {
                code,
                scale,
                changes,
            } => {
                let asset = AddBitcoin {
                    code,
                    scale,
                    policy: changes.on(&AssetPolicy::default())?,
                };
                let asset: Asset = client.post(BITCOIN, &asset).await?;
                show(json, &asset, |asset| println!("{} is listed.", asset.code))
            }
            Self::Reserve(reserve) => reserve.run(client, json).await,
            Self::Show => {
                let bitcoin: Bitcoin = client.read(BITCOIN).await?;
                show(json, &bitcoin, draw)
            }
            Self::Liquidity(changes) => {
                let now: Bitcoin = client.read(BITCOIN).await?;
                let sales = Some(changes.sales.on(now.sales));
                let liquidity = changes.on(now.liquidity);
                let told = SetBitcoin { liquidity, sales };
                let bitcoin: Bitcoin = client.put(BITCOIN, &told).await?;
                show(json, &bitcoin, |bitcoin| {
                    draw_liquidity(&bitcoin.liquidity);
                    draw_sales(bitcoin);
                })
            }
            Self::Address { payout } => {
                let address: Address = client
                    .post(BITCOIN_ADDRESSES, &NewAddress { payout, lp: None })
                    .await?;
                show(json, &address, |address| {
                    println!("{}", address.address);
                    if let Some(owner) = &address.owner {
                        eprintln!("It is for the LP {owner}.");
                    }
                })
            }
        }
    }
}

/// What is said anew of how channels are kept.
#[derive(Debug, Args)]
pub(crate) struct LiquidityChanges {
    /// A peer's channels should carry what flows to it on so many days, at least its allotment.
    #[arg(long)]
    cover_days: Option<u32>,
    /// Flow makes no channel larger than this; an allotment may.
    #[arg(long)]
    channel_max: Option<u64>,
    /// Less than this is left where it is.
    #[arg(long)]
    change_min: Option<u64>,
    /// The most that one change may pay to miners, whatever it moves.
    #[arg(long)]
    fee_base: Option<u64>,
    /// And beyond that, in millionths of what it moves.
    #[arg(long)]
    fee_ppm: Option<u32>,
    /// After a change nothing is taken out or closed for so many milliseconds.
    #[arg(long)]
    rest_ms: Option<u64>,
    /// A channel that nothing flowed through for so many milliseconds may be closed.
    #[arg(long)]
    idle_ms: Option<u64>,
    /// What money in a channel could earn elsewhere, in millionths a day.
    #[arg(long)]
    capital_ppm_per_day: Option<u32>,
    #[command(flatten)]
    sales: SaleChanges,
}

/// What is said anew of channels sold just in time.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct SaleChanges {
    /// Who may buy a channel just in time (LSPS2), where the configuration says that channels are sold.
    #[arg(long, value_enum)]
    buyers: Option<BuyersNamed>,
    /// A smaller payment opens no channel.
    #[arg(long)]
    sale_payment_min: Option<u64>,
    /// No channel sold is larger.
    #[arg(long)]
    sale_channel_max: Option<u64>,
    /// All channels sold together hold no more.
    #[arg(long)]
    sold_max: Option<u64>,
    /// What a channel costs at least; what miners would take, if that is more.
    #[arg(long)]
    sale_fee_min: Option<u64>,
    /// What it costs beyond the rent of its money, in millionths of the payment.
    #[arg(long)]
    sale_fee_ppm: Option<u32>,
    /// What a channel holds beyond the payment, in millionths of it.
    #[arg(long)]
    sale_room_ppm: Option<u32>,
    /// For how many milliseconds a channel sold is kept open at least.
    #[arg(long)]
    sale_lifetime_ms: Option<u64>,
    /// For how many milliseconds terms stand.
    #[arg(long)]
    sale_valid_ms: Option<u64>,
}

/// Who may buy a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BuyersNamed {
    /// Nobody.
    Nobody,
    /// Nodes that settle for an account here.
    Peers,
    /// Any node.
    Anyone,
}

impl SaleChanges {
    fn on(self, now: SalePolicy) -> SalePolicy {
        let units = |changed: Option<u64>, now: Units| {
            changed.map_or(now, |satoshi| Units(Amount::from(satoshi)))
        };
        SalePolicy {
            buyers: match self.buyers {
                None => now.buyers,
                Some(BuyersNamed::Nobody) => Buyers::Nobody,
                Some(BuyersNamed::Peers) => Buyers::Peers,
                Some(BuyersNamed::Anyone) => Buyers::Anyone,
            },
            payment_min: units(self.sale_payment_min, now.payment_min),
            channel_max: units(self.sale_channel_max, now.channel_max),
            sold_max: units(self.sold_max, now.sold_max),
            fee_min: units(self.sale_fee_min, now.fee_min),
            fee_ppm: self.sale_fee_ppm.unwrap_or(now.fee_ppm),
            room_ppm: self.sale_room_ppm.unwrap_or(now.room_ppm),
            lifetime_ms: self.sale_lifetime_ms.unwrap_or(now.lifetime_ms),
            valid_ms: self.sale_valid_ms.unwrap_or(now.valid_ms),
        }
    }
}

impl LiquidityChanges {
    fn on(self, now: Liquidity) -> Liquidity {
        let units = |changed: Option<u64>, now: Units| {
            changed.map_or(now, |satoshi| Units(Amount::from(satoshi)))
        };
        Liquidity {
            cover_days: self.cover_days.unwrap_or(now.cover_days),
            channel_max: units(self.channel_max, now.channel_max),
            change_min: units(self.change_min, now.change_min),
            fee_base: units(self.fee_base, now.fee_base),
            fee_ppm: self.fee_ppm.unwrap_or(now.fee_ppm),
            rest_ms: self.rest_ms.unwrap_or(now.rest_ms),
            idle_ms: self.idle_ms.unwrap_or(now.idle_ms),
            capital_ppm_per_day: self.capital_ppm_per_day.unwrap_or(now.capital_ppm_per_day),
        }
    }
}

fn draw_liquidity(liquidity: &Liquidity) {
    println!(
        "Channels cover {} days' flow, up to {} BTC each; a change moves at least {} BTC and costs at most {} BTC and {} ppm.",
        liquidity.cover_days,
        whole(liquidity.channel_max, SATOSHI),
        whole(liquidity.change_min, SATOSHI),
        whole(liquidity.fee_base, SATOSHI),
        liquidity.fee_ppm
    );
    println!(
        "Nothing is taken out or closed within {} ms after a change; idle is a channel after {} ms, and its money is worth {} ppm a day.",
        liquidity.rest_ms, liquidity.idle_ms, liquidity.capital_ppm_per_day
    );
}

fn draw_sales(bitcoin: &Bitcoin) {
    let (sales, sold) = (&bitcoin.sales, &bitcoin.sold);
    let whom = match sales.buyers {
        Buyers::Nobody => "to nobody",
        Buyers::Peers => "to nodes of accounts",
        Buyers::Anyone => "to any node",
    };
    println!(
        "Channels are sold {whom}, where the configuration says so: for payments from {} BTC on, up to {} BTC each and {} BTC in all, \
         for {} BTC at least, and {} ppm above the rent of {} days.",
        whole(sales.payment_min, SATOSHI),
        whole(sales.channel_max, SATOSHI),
        whole(sales.sold_max, SATOSHI),
        whole(sales.fee_min, SATOSHI),
        sales.fee_ppm,
        sales.lifetime_ms / 86_400_000
    );
    println!(
        "{} BTC are in channels sold. They brought {} BTC and cost {} BTC; payments passing through left {} BTC.",
        whole(sold.held, MILLISATOSHI),
        whole(sold.earned, MILLISATOSHI),
        whole(sold.cost, MILLISATOSHI),
        whole(sold.routed, MILLISATOSHI)
    );
}

fn draw(bitcoin: &Bitcoin) {
    println!(
        "{} at block {}: {} BTC confirmed, {} BTC on their way",
        bitcoin.network,
        bitcoin.height,
        whole(bitcoin.confirmed, SATOSHI),
        whole(bitcoin.pending, SATOSHI)
    );
    println!("node {}@{}", bitcoin.node, bitcoin.address);
    let msat = |units: Units| whole(units, MILLISATOSHI);
    let none = Units(Amount::ZERO);
    let mut rows = vec![
        [
            "peer",
            "value",
            "ours",
            "can send",
            "can receive",
            "usable",
            "cost",
            "sold for",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(bitcoin.channels.iter().map(|channel| {
        let peer = channel.peer.clone().unwrap_or_else(|| channel.node.clone());
        let usable = if channel.usable { "yes" } else { "no" };
        vec![
            peer,
            whole(channel.value, SATOSHI),
            msat(channel.balance),
            msat(if channel.usable {
                channel.outbound
            } else {
                none
            }),
            msat(if channel.usable {
                channel.inbound
            } else {
                none
            }),
            usable.into(),
            msat(channel.cost),
            channel.earned.map(msat).unwrap_or_default(),
        ]
    }));
    table(&rows);
    draw_liquidity(&bitcoin.liquidity);
    draw_sales(bitcoin);
}
