//! `forebay lp bitcoin`: an LP's claim on Bitcoin, by the LP's own token of the pool's interface, or by the operator's.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use forebay_api::{
    Address, BITCOIN_ADDRESSES, BITCOIN_LPS, BitcoinLp, Invoice, NewAddress, NewInvoice, OWN_TOKEN,
    SetPayout, Token, Units, Withdraw,
};
use forebay_quantity::Amount;

use crate::client::Client;
use crate::output::{show, whole};

/// Decimal places of a millisatoshi in a bitcoin.
const MILLISATOSHI: u8 = 11;

/// Whose pool, and which LP.
#[derive(Debug, Args)]
pub(crate) struct OfPool {
    /// The pool's interface; left out, that of the pool of `--config`, with the operator's token.
    #[arg(long, requires = "token_file", env = "FOREBAY_URL")]
    url: Option<String>,
    /// A file that holds the LP's token and nothing else.
    #[arg(long, requires = "url", env = "FOREBAY_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The LP as the books name it; an `lp` token says it by itself.
    #[arg(long)]
    lp: Option<String>,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub(crate) enum OnClaim {
    /// Show the claim, where it is paid, and what is under way.
    Show,
    /// Print an address to pay in at, that was never used.
    Address,
    /// Print an invoice to pay in by, over Lightning.
    Invoice {
        /// In millisatoshi.
        amount: Amount,
    },
    /// Be paid at another address from now on; only with the LP's own token.
    Payout {
        /// An address of the pool's network.
        address: String,
    },
    /// Be paid out of the claim: by an output to the payout address, or by an invoice.
    Withdraw {
        /// What the claim sinks by, in millisatoshi, the miners' fee in it; all of it when left out.
        amount: Option<Amount>,
        /// An invoice that names an amount; only with the LP's own token. Routing is paid beyond it.
        #[arg(long, conflicts_with = "amount")]
        invoice: Option<String>,
    },
}

impl OnClaim {
    pub(crate) async fn run(self, of: OfPool, config: &Path, json: bool) -> Result<()> {
        let client = match (&of.url, &of.token_file) {
            (Some(url), Some(file)) => Client::at(url, file)?,
            _ => Client::of(config)?,
        };
        let owner = owner(&client, of.lp).await?;
        let path = |what: &str| format!("{BITCOIN_LPS}/{owner}/{what}");
        let lp: BitcoinLp = match self {
            Self::Show => {
                let all: Vec<BitcoinLp> = client.read_all(BITCOIN_LPS).await?;
                let found = all.into_iter().find(|lp| lp.owner == owner);
                found.with_context(|| format!("{owner} is no LP on Bitcoin"))?
            }
            Self::Address => {
                let asked = NewAddress {
                    payout: None,
                    lp: Some(owner),
                };
                let address: Address = client.post(BITCOIN_ADDRESSES, &asked).await?;
                return show(json, &address, |address| println!("{}", address.address));
            }
            Self::Invoice { amount } => {
                let asked = NewInvoice {
                    amount: Units(amount),
                };
                let invoice: Invoice = client.post(&path("invoices"), &asked).await?;
                return show(json, &invoice, |invoice| println!("{}", invoice.invoice));
            }
            Self::Payout { address } => {
                let asked = SetPayout { payout: address };
                client.put(&path("payout"), &asked).await?
            }
            Self::Withdraw { amount, invoice } => {
                let amount = amount.map(Units);
                let asked = Withdraw { amount, invoice };
                client.post(&path("withdrawals"), &asked).await?
            }
        };
        show(json, &lp, draw)
    }
}

/// As said, or as the token says.
async fn owner(client: &Client, said: Option<String>) -> Result<String> {
    if let Some(owner) = said {
        return Ok(owner);
    }
    let token: Token = client.read(OWN_TOKEN).await?;
    match token.subject {
        Some(owner) => Ok(owner),
        None => {
            bail!("the token is no LP's: name one by --lp, as `forebay books` and the interface do")
        }
    }
}

fn draw(lp: &BitcoinLp) {
    let btc = |units: Units| whole(units, MILLISATOSHI);
    println!(
        "{} claims {} BTC and was paid {} BTC; it is paid at {}",
        lp.owner,
        btc(lp.worth),
        btc(lp.withdrawn),
        lp.payout
    );
    for withdrawal in &lp.withdrawals {
        let to = withdrawal.address.as_ref().map_or_else(
            || "by its invoice".to_owned(),
            |address| format!("to {address}"),
        );
        println!(
            "withdrawal {}: {} BTC {to} under way; the way costs {} BTC at most",
            withdrawal.number,
            btc(withdrawal.amount),
            btc(withdrawal.fee_max)
        );
    }
}
