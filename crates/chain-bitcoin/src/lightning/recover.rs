//! What the seed alone brings back when a node's store is lost.
//!
//! A peer that closes a channel by itself pays our part to one of a thousand keys of the seed, so that the chain can be
//! searched for it. What it pays with us together goes to the hot wallet at once. Payments that were under way are lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::secp256k1::{All, Secp256k1};
use bitcoin::{OutPoint, ScriptBuf, Transaction, TxOut};
use lightning::chain::transaction::OutPoint as LdkOutPoint;
use lightning::ln::chan_utils::{ChannelTransactionParameters, get_countersigner_payment_script};
use lightning::sign::{
    ChannelSigner, OutputSpender, SpendableOutputDescriptor, StaticPaymentOutputDescriptor,
};
use lightning::types::features::ChannelTypeFeatures;

use super::chain::FeeRates;
use super::keys::{Keys, Seed};
use super::wallet::HotWallet;
use crate::Fault;
use crate::chain::ChainSource;

/// Channels to look for the key of an output among: each has one of a thousand, so that none is missed.
const CHANNELS_TRIED_MAX: u64 = 100_000;

/// What was found, and what fetches it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// How many outputs.
    pub outputs: usize,
    /// What is in them, in sat.
    pub value_sat: u64,
    /// Pays it to the script, less its fee. It was handed in.
    pub transaction: Transaction,
}

/// Fetches to a script what peers paid to this seed when they closed channels. None when there is nothing.
///
/// The source looks through all that is unspent, which on the main network takes minutes: a bitcoind's timeout has to be as
/// long.
///
/// # Errors
///
/// As [`ChainSource::tip`]; what the wallet says.
pub async fn recover(
    seed: &Seed,
    chain: &ChainSource,
    wallet: Arc<dyn HotWallet>,
    to: Vec<u8>,
) -> Result<Option<Recovered>, Fault> {
    let keys = Keys::new(seed, wallet);
    let found = chain.unspent_of(&keys.closed_scripts()).await?;
    if found.is_empty() {
        return Ok(None);
    }
    let value_sat = found.iter().map(|(_, output)| output.value.to_sat()).sum();
    let described = describe(&keys, &found)?;
    let rate = FeeRates::start(chain).await?.funding();
    let transaction = keys
        .spend_spendable_outputs(
            &described.iter().collect::<Vec<_>>(),
            Vec::new(),
            ScriptBuf::from_bytes(to),
            rate,
            None,
            &Secp256k1::new(),
        )
        .map_err(|()| Fault::BadPayment {
            what: format!("{value_sat} sat were found, which do not pay for fetching them"),
        })?;
    chain.broadcast(&transaction).await?;
    Ok(Some(Recovered {
        outputs: found.len(),
        value_sat,
        transaction,
    }))
}

/// As LDK describes what it can spend: with a channel whose key it is, any of them.
fn describe(
    keys: &Keys,
    found: &[(OutPoint, TxOut)],
) -> Result<Vec<SpendableOutputDescriptor>, Fault> {
    let secp = Secp256k1::new();
    let mut waiting: BTreeMap<&ScriptBuf, Vec<&(OutPoint, TxOut)>> = BTreeMap::new();
    for one in found {
        waiting.entry(&one.1.script_pubkey).or_default().push(one);
    }
    let mut described = Vec::new();
    for number in 0..CHANNELS_TRIED_MAX {
        if waiting.is_empty() {
            return Ok(described);
        }
        for parameters in channels(keys, number, &secp) {
            let point = &parameters.holder_pubkeys.payment_point;
            let script = get_countersigner_payment_script(&parameters.channel_type_features, point);
            for (place, output) in waiting.remove(&script).into_iter().flatten() {
                described.push(descriptor(number, *place, output, parameters.clone()));
            }
        }
    }
    Err(Fault::Nonsense {
        method: "scantxoutset",
        what: "it found an output that was not asked for".to_owned(),
    })
}

/// A channel with this number, of either kind that pays a peer's closing to a key of the seed.
fn channels(keys: &Keys, number: u64, secp: &Secp256k1<All>) -> [ChannelTransactionParameters; 2] {
    let signer = keys.signer_of(channel_keys(number));
    let plain = ChannelTypeFeatures::only_static_remote_key();
    let with_anchors = ChannelTypeFeatures::anchors_zero_htlc_fee_and_dependencies();
    [plain, with_anchors].map(|channel_type_features| ChannelTransactionParameters {
        holder_pubkeys: signer.pubkeys(secp),
        holder_selected_contest_delay: 0,
        is_outbound_from_holder: true,
        counterparty_parameters: None,
        funding_outpoint: None,
        splice_parent_funding_txid: None,
        channel_type_features,
        channel_value_satoshis: 0,
    })
}

fn descriptor(
    number: u64,
    place: OutPoint,
    output: &TxOut,
    parameters: ChannelTransactionParameters,
) -> SpendableOutputDescriptor {
    SpendableOutputDescriptor::StaticPaymentOutput(StaticPaymentOutputDescriptor {
        outpoint: LdkOutPoint {
            txid: place.txid,
            index: u16::try_from(place.vout).expect("a closing has fewer outputs"),
        },
        output: output.clone(),
        channel_keys_id: channel_keys(number),
        channel_value_satoshis: 0,
        channel_transaction_parameters: Some(parameters),
    })
}

fn channel_keys(number: u64) -> [u8; 32] {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}
