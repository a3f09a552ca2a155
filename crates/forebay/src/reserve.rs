//! `forebay committee reserve`: a member's side of the reserve on Bitcoin. Each command works on files and text alone: it
//! asks no node, so that a member's key may live where no network is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use forebay_chain_bitcoin::reserve::{
    Leaf, MEMBERS_ALONE_BLOCKS, ReserveKey, ReservePolicy, Review, finish, review, sign,
};
use forebay_chain_bitcoin::wallet::Seed;
use forebay_chain_bitcoin::{Network, NetworkKind, Psbt, address_of};
use serde::Serialize;
use serde_json::json;

use crate::keys::{self, Passphrase};
use crate::output::{show, whole};

/// Decimal places of a satoshi in a bitcoin.
const SATOSHI: u8 = 8;
/// Addresses that a description begins with, so that two descriptions can be compared by eye.
const ADDRESSES_SHOWN: u32 = 3;
/// How many addresses another wallet is told to look ahead.
const RANGE: u32 = 1_000;

/// A member's side of the reserve on Bitcoin.
#[derive(Debug, Subcommand)]
pub(crate) enum ForReserve {
    /// Print what the operator needs of a member's key: it spends nothing.
    Key {
        #[command(flatten)]
        signer: Signer,
        /// `bitcoin`, or any of the test networks.
        #[arg(long, default_value = "bitcoin")]
        network: Network,
    },
    /// Print who may spend the reserve, its first addresses, and what other wallets watch it by.
    Describe {
        #[command(flatten)]
        of: OfReserve,
    },
    /// Say what a draft does, who has signed it, and who has not.
    Show {
        #[command(flatten)]
        of: OfReserve,
        /// The draft: a PSBT, as text or as bytes.
        draft: PathBuf,
    },
    /// Sign a draft, after saying what it does.
    Sign {
        #[command(flatten)]
        of: OfReserve,
        #[command(flatten)]
        signer: Signer,
        /// The draft: a PSBT, as text or as bytes.
        draft: PathBuf,
        /// Where the signed copy goes; printed when left out.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make the transaction of signed copies of one draft. Whoever has it may hand it in.
    Finish {
        #[command(flatten)]
        of: OfReserve,
        /// Signed copies.
        #[arg(required = true)]
        copies: Vec<PathBuf>,
    },
}

/// With whose key.
#[derive(Debug, Args)]
pub(crate) struct Signer {
    /// The member's key file; `forebay keys new` makes one.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Which reserve.
#[derive(Debug, Args)]
pub(crate) struct OfReserve {
    /// A file with the descriptor that the operator printed (`forebay bitcoin reserve`), and nothing else.
    #[arg(long, value_name = "FILE")]
    descriptor: PathBuf,
    /// `bitcoin`, or any of the test networks.
    #[arg(long, default_value = "bitcoin")]
    network: Network,
}

impl Signer {
    fn open(&self, passphrase: &Passphrase, network: Network) -> Result<ReserveKey> {
        let key = keys::open(&self.key, passphrase)?;
        let seed = Seed(key.derive(forebay_node::RESERVE_LABEL));
        Ok(ReserveKey::new(&seed, NetworkKind::from(network))?)
    }
}

impl OfReserve {
    fn policy(&self) -> Result<ReservePolicy> {
        let text = std::fs::read_to_string(&self.descriptor)
            .with_context(|| format!("{} cannot be read", self.descriptor.display()))?;
        Ok(ReservePolicy::from_descriptor(text.trim())?)
    }
}

impl ForReserve {
    pub(crate) fn run(self, passphrase: &Passphrase, json: bool) -> Result<()> {
        match self {
            Self::Key { signer, network } => {
                let key = signer.open(passphrase, network)?.public()?;
                show(json, &json!({ "key": key }), |_| println!("{key}"))
            }
            Self::Describe { of } => {
                let described = describe(&of.policy()?, of.network)?;
                show(json, &described, draw_description)
            }
            Self::Show { of, draft } => {
                let said = say(&of, &read(&draft)?)?;
                show(json, &said, draw)
            }
            Self::Sign {
                of,
                signer,
                draft,
                out,
            } => sign_draft(&of, &signer, (&draft, out), passphrase, json),
            Self::Finish { of, copies } => {
                let copies: Result<Vec<Psbt>> = copies.iter().map(|path| read(path)).collect();
                let transaction = finish(&of.policy()?, &copies?)?;
                let made = json!({
                    "txid": transaction.compute_txid().to_string(),
                    "transaction": forebay_chain_bitcoin::to_hex(&transaction),
                });
                show(json, &made, |made| {
                    eprintln!(
                        "Transaction {}. Hand it in by any node, for example:",
                        made["txid"]
                    );
                    eprintln!("bitcoin-cli sendrawtransaction HEX");
                    println!("{}", made["transaction"].as_str().unwrap_or_default());
                })
            }
        }
    }
}

fn sign_draft(
    of: &OfReserve,
    signer: &Signer,
    (path, out): (&Path, Option<PathBuf>),
    passphrase: &Passphrase,
    json: bool,
) -> Result<()> {
    let (policy, mut draft) = (of.policy()?, read(path)?);
    let said = say(of, &draft)?;
    if !json {
        draw(&said);
    }
    sign(&policy, &mut draft, &signer.open(passphrase, of.network)?)?;
    let signed = draft.to_string();
    if let Some(out) = &out {
        ensure!(!out.exists(), "{} exists: name another file", out.display());
        std::fs::write(out, format!("{signed}\n"))
            .with_context(|| format!("{} cannot be written", out.display()))?;
    }
    let done = json!({ "signed": signed, "draft": said });
    show(json, &done, |_| match &out {
        Some(out) => println!("Signed: give {} to the operator.", out.display()),
        None => println!("{signed}"),
    })
}

/// As text (BIP 174's base64) or as bytes.
fn read(path: &Path) -> Result<Psbt> {
    let what = || format!("{} is no PSBT", path.display());
    let bytes =
        std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => text.trim().parse::<Psbt>().with_context(what),
        Err(_) => Psbt::deserialize(&bytes).with_context(what),
    }
}

/// Who may spend, and how others watch.
#[derive(Debug, Serialize)]
struct Description {
    threshold: usize,
    members: usize,
    members_alone_after_blocks: u16,
    /// For BDK and others that take a descriptor.
    descriptor: String,
    /// The first ones, in order.
    addresses: Vec<String>,
    /// The argument of Bitcoin Core's `importdescriptors`.
    importdescriptors: serde_json::Value,
}

fn describe(policy: &ReservePolicy, network: Network) -> Result<Description> {
    let addresses: Result<Vec<String>> = (0..ADDRESSES_SHOWN)
        .map(|index| {
            let script = policy.script_at(index)?;
            address_of(script.as_bytes(), network).context("a reserve's scripts have addresses")
        })
        .collect();
    let descriptor = policy.descriptor();
    Ok(Description {
        threshold: policy.threshold(),
        members: policy.members(),
        members_alone_after_blocks: MEMBERS_ALONE_BLOCKS,
        importdescriptors: json!([{
            "desc": descriptor,
            "range": [0, RANGE],
            "timestamp": "now",
        }]),
        descriptor,
        addresses: addresses?,
    })
}

fn draw_description(description: &Description) {
    println!(
        "The operator with {} of {} members; or, of an output that lay still for {} blocks, {} members alone.",
        description.threshold,
        description.members,
        description.members_alone_after_blocks,
        description.threshold
    );
    for (index, address) in description.addresses.iter().enumerate() {
        println!("address {index}: {address}");
    }
    println!("descriptor: {}", description.descriptor);
    println!(
        "Bitcoin Core: bitcoin-cli importdescriptors '{}'",
        description.importdescriptors
    );
}

/// What a draft does. Amounts are in satoshi.
#[derive(Debug, Serialize)]
struct Said {
    with_operator: bool,
    spends: u64,
    inputs: usize,
    pays: Vec<Paid>,
    back_to_reserve: u64,
    fee: u64,
    threshold: usize,
    members_signed: Vec<bool>,
    operator_signed: bool,
}

#[derive(Debug, Serialize)]
struct Paid {
    address: String,
    amount: u64,
}

fn say(of: &OfReserve, draft: &Psbt) -> Result<Said> {
    let policy = of.policy()?;
    let Review {
        leaf,
        spent,
        payments,
        back,
        fee,
        members_signed,
        operator_signed,
    } = review(&policy, draft)?;
    let pays = payments.iter().map(|payment| {
        let script = payment.script.as_bytes();
        Paid {
            address: address_of(script, of.network).unwrap_or_else(|| hex::encode(script)),
            amount: payment.amount.to_sat(),
        }
    });
    Ok(Said {
        with_operator: leaf == Leaf::WithOperator,
        spends: spent.to_sat(),
        inputs: draft.inputs.len(),
        pays: pays.collect(),
        back_to_reserve: back.to_sat(),
        fee: fee.to_sat(),
        threshold: policy.threshold(),
        members_signed,
        operator_signed,
    })
}

fn draw(said: &Said) {
    let btc = |sat: u64| whole(sat, SATOSHI);
    println!(
        "Spends {} BTC of the reserve, in {} outputs{}.",
        btc(said.spends),
        said.inputs,
        match said.with_operator {
            true => "",
            false => ", by members alone",
        }
    );
    for paid in &said.pays {
        println!("Pays {} BTC to {}.", btc(paid.amount), paid.address);
    }
    if said.pays.is_empty() {
        println!("Pays nobody: it only renews the outputs.");
    }
    println!(
        "Leaves {} BTC in the reserve, at a new address of it. Miners get {} BTC.",
        btc(said.back_to_reserve),
        btc(said.fee)
    );
    let signed = said.members_signed.iter().filter(|signed| **signed).count();
    println!(
        "Signed by {signed} of the {} members it takes{}.",
        said.threshold,
        match (said.with_operator, said.operator_signed) {
            (true, true) => ", and by the operator",
            (true, false) => ", and not yet by the operator",
            (false, _) => "",
        }
    );
}
