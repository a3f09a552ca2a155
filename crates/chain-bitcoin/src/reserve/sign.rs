//! What operator and members do with a drafted spend: look, sign, bring together. No I/O.

use bdk_wallet::miniscript::psbt::PsbtExt;
use bitcoin::bip32::{ChildNumber, DerivationPath, Fingerprint};
use bitcoin::hashes::Hash;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{Message, Secp256k1};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::Signature;
use bitcoin::{Amount, Psbt, TapLeafHash, TapSighashType, Transaction, TxOut, XOnlyPublicKey};

use super::MEMBERS_ALONE_BLOCKS;
use super::policy::{Leaf, ReserveKey, ReservePolicy, bad_reserve};
use crate::Fault;
use crate::wallet::Payment;

/// A spend as a member reads it before signing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Review {
    /// By which leaf.
    pub leaf: Leaf,
    /// What the inputs hold together.
    pub spent: Amount,
    /// What leaves the reserve.
    pub payments: Vec<Payment>,
    /// What goes back to an address of the reserve.
    pub back: Amount,
    /// What the miners get.
    pub fee: Amount,
    /// For each member, in the order of their places: whether it has signed all inputs.
    pub members_signed: Vec<bool>,
    /// Whether the operator has.
    pub operator_signed: bool,
}

/// Reads a spend; each input must be an output of this reserve, all by one leaf.
///
/// # Errors
/// When it is not such a spend.
pub fn review(policy: &ReservePolicy, psbt: &Psbt) -> Result<Review, Fault> {
    let inputs = inputs(policy, psbt)?;
    let leaf = leaf(psbt)?;
    let spent: Amount = inputs.iter().map(|input| input.output.value).sum();
    let (mut payments, mut back) = (Vec::new(), Amount::ZERO);
    for (output, known) in psbt.unsigned_tx.output.iter().zip(&psbt.outputs) {
        let index = known
            .tap_key_origins
            .values()
            .find_map(|(_, source)| index_of(&source.1));
        let ours = match index {
            Some(index) => policy.script_at(index)? == output.script_pubkey,
            None => false,
        };
        if ours {
            back += output.value;
        } else {
            payments.push(Payment {
                script: output.script_pubkey.clone(),
                amount: output.value,
            });
        }
    }
    let paid: Amount = payments.iter().map(|payment| payment.amount).sum();
    let fee = spent
        .checked_sub(paid + back)
        .ok_or_else(|| bad_reserve("it pays more than it spends"))?;
    let signed = |fingerprint| {
        inputs
            .iter()
            .all(|input| input.is_signed(psbt, leaf, fingerprint))
    };
    Ok(Review {
        leaf,
        spent,
        payments,
        back,
        fee,
        members_signed: policy.member_fingerprints().map(signed).collect(),
        operator_signed: signed(policy.operator_fingerprint()),
    })
}

/// Signs all inputs with one party's key, for the leaf by which they are spent.
///
/// # Errors
/// When it is not a spend of this reserve, or the key is nobody's in it.
pub fn sign(policy: &ReservePolicy, psbt: &mut Psbt, key: &ReserveKey) -> Result<(), Fault> {
    let inputs = inputs(policy, psbt)?;
    let leaf = leaf(psbt)?;
    let outputs: Vec<TxOut> = inputs.iter().map(|input| input.output.clone()).collect();
    let secp = Secp256k1::new();
    let mut signatures = Vec::new();
    let mut cache = SighashCache::new(&psbt.unsigned_tx);
    for input in &inputs {
        let leaf_hash = input.leaf_hash(leaf);
        let (public, path) = input
            .key_of(psbt, leaf_hash, key.fingerprint())
            .ok_or_else(|| {
                bad_reserve(match leaf {
                    Leaf::WithOperator => "this key is neither the operator's nor a member's",
                    Leaf::MembersAlone => {
                        "this key is no member's, and this spend is by members alone"
                    }
                })
            })?;
        let private = key.master.derive_priv(&secp, &path).map_err(bad_reserve)?;
        let pair = Keypair::from_secret_key(&secp, &private.private_key);
        if pair.x_only_public_key().0 != public {
            return Err(bad_reserve(
                "this key is another's with the same fingerprint",
            ));
        }
        let prevouts = Prevouts::All(&outputs);
        let kind = TapSighashType::Default;
        let hash = cache
            .taproot_script_spend_signature_hash(input.place, &prevouts, leaf_hash, kind)
            .map_err(bad_reserve)?;
        let message = Message::from_digest(hash.to_byte_array());
        let signature = Signature {
            signature: secp.sign_schnorr(&message, &pair),
            sighash_type: kind,
        };
        signatures.push((input.place, (public, leaf_hash), signature));
    }
    for (place, whose, signature) in signatures {
        psbt.inputs[place].tap_script_sigs.insert(whose, signature);
    }
    Ok(())
}

/// Brings the signed copies of one spend together.
///
/// # Errors
/// When they are not of one spend of this reserve.
pub fn combine(policy: &ReservePolicy, signed: &[Psbt]) -> Result<Psbt, Fault> {
    let Some((first, others)) = signed.split_first() else {
        return Err(bad_reserve("there is nothing to bring together"));
    };
    let mut all = first.clone();
    for other in others {
        all.combine(other.clone()).map_err(bad_reserve)?;
    }
    inputs(policy, &all)?;
    Ok(all)
}

/// Brings the signed copies of one spend together and makes the transaction of them.
///
/// # Errors
/// When they are not of one spend of this reserve; [`Fault::NotEnoughSignatures`].
pub fn finish(policy: &ReservePolicy, signed: &[Psbt]) -> Result<Transaction, Fault> {
    let mut all = combine(policy, signed)?;
    let leaf = leaf(&all)?;
    for input in inputs(policy, &all)? {
        let members = policy.member_fingerprints();
        let have = members
            .filter(|member| input.is_signed(&all, leaf, *member))
            .count();
        let operator = policy.operator_fingerprint();
        let operator_missing = leaf == Leaf::WithOperator && !input.is_signed(&all, leaf, operator);
        if have < policy.threshold() || operator_missing {
            return Err(Fault::NotEnoughSignatures {
                input: input.place,
                have,
                needed: policy.threshold(),
                operator_missing,
            });
        }
    }
    all.finalize_mut(&Secp256k1::verification_only())
        .map_err(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            bad_reserve(errors.join("; "))
        })?;
    all.extract_tx().map_err(bad_reserve)
}

/// An input that was held against the policy.
struct Input {
    place: usize,
    output: TxOut,
    with_operator: TapLeafHash,
    members_alone: TapLeafHash,
}

impl Input {
    fn leaf_hash(&self, leaf: Leaf) -> TapLeafHash {
        match leaf {
            Leaf::WithOperator => self.with_operator,
            Leaf::MembersAlone => self.members_alone,
        }
    }

    /// The key of that party in this leaf, and how it is derived.
    fn key_of(
        &self,
        psbt: &Psbt,
        leaf_hash: TapLeafHash,
        whose: Fingerprint,
    ) -> Option<(XOnlyPublicKey, DerivationPath)> {
        let origins = psbt.inputs[self.place].tap_key_origins.iter();
        origins
            .filter(|(_, (leaves, _))| leaves.contains(&leaf_hash))
            .find(|(_, (_, (fingerprint, _)))| *fingerprint == whose)
            .map(|(public, (_, (_, path)))| (*public, path.clone()))
    }

    fn is_signed(&self, psbt: &Psbt, leaf: Leaf, whose: Fingerprint) -> bool {
        let leaf_hash = self.leaf_hash(leaf);
        let key = self.key_of(psbt, leaf_hash, whose);
        key.is_some_and(|(public, _)| {
            psbt.inputs[self.place]
                .tap_script_sigs
                .contains_key(&(public, leaf_hash))
        })
    }
}

fn inputs(policy: &ReservePolicy, psbt: &Psbt) -> Result<Vec<Input>, Fault> {
    if psbt.inputs.is_empty() {
        return Err(bad_reserve("it spends nothing"));
    }
    let known = psbt.inputs.iter().enumerate();
    known
        .map(|(place, input)| {
            let foreign = || bad_reserve(format!("input {place} is no output of the reserve"));
            let output = input.witness_utxo.clone().ok_or_else(foreign)?;
            let mut origins = input.tap_key_origins.values();
            let index = origins
                .find_map(|(_, source)| index_of(&source.1))
                .ok_or_else(foreign)?;
            if policy.script_at(index)? != output.script_pubkey {
                return Err(foreign());
            }
            Ok(Input {
                place,
                output,
                with_operator: policy.leaf_at(index, Leaf::WithOperator)?,
                members_alone: policy.leaf_at(index, Leaf::MembersAlone)?,
            })
        })
        .collect()
}

/// The last step of a key's path is the place of its address.
fn index_of(path: &DerivationPath) -> Option<u32> {
    match path.into_iter().last()? {
        ChildNumber::Normal { index } => Some(*index),
        ChildNumber::Hardened { .. } => None,
    }
}

/// By the sequence of the inputs, which a signature commits to.
fn leaf(psbt: &Psbt) -> Result<Leaf, Fault> {
    let alone = |sequence: bitcoin::Sequence| {
        sequence == bitcoin::Sequence::from_height(MEMBERS_ALONE_BLOCKS)
    };
    let mut inputs = psbt
        .unsigned_tx
        .input
        .iter()
        .map(|input| alone(input.sequence));
    let first = inputs.next().unwrap_or(false);
    if inputs.any(|other| other != first) {
        return Err(bad_reserve("its inputs are spent by different leaves"));
    }
    Ok(if first {
        Leaf::MembersAlone
    } else {
        Leaf::WithOperator
    })
}
