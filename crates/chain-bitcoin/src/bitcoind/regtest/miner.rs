//! Who is paid for blocks on regtest: bitcoind has no wallet, so its coins are kept and signed for here.

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa;
use bitcoin::hashes::Hash;
use bitcoin::key::CompressedPublicKey;
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, KnownHrp, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness,
};

use crate::Fault;
use crate::bitcoind::Bitcoind;

/// Blocks after which the reward of a block can be spent.
pub(super) const MATURITY: u32 = 100;

/// Generous on a chain where nobody bids.
const FEE: Amount = Amount::from_sat(2_000);
/// Below this, change goes to the fee.
const DUST: Amount = Amount::from_sat(1_000);

/// One key, known to everybody, and its outputs.
pub(super) struct Miner {
    key: SecretKey,
    coins: Vec<(OutPoint, TxOut)>,
    /// Blocks below this are in `coins`.
    looked_to: u32,
}

impl Miner {
    pub(super) fn new() -> Self {
        Self {
            key: SecretKey::from_slice(&[0x42; 32]).expect("it is below the order of the group"),
            coins: Vec::new(),
            looked_to: 1,
        }
    }

    pub(super) fn address(&self) -> Address {
        Address::p2wpkh(&self.public_key(), KnownHrp::Regtest)
    }

    fn public_key(&self) -> CompressedPublicKey {
        CompressedPublicKey(self.key.public_key(&Secp256k1::new()))
    }

    fn script(&self) -> ScriptBuf {
        self.address().script_pubkey()
    }

    pub(super) fn can_pay(&self, amount: Amount) -> bool {
        self.place_of(amount).is_some()
    }

    fn place_of(&self, amount: Amount) -> Option<usize> {
        let needed = amount + FEE;
        self.coins
            .iter()
            .position(|(_, output)| output.value >= needed)
    }

    /// Finds the rewards that have matured.
    pub(super) async fn look(&mut self, client: &Bitcoind) -> Result<(), Fault> {
        let matured = client.tip().await?.height.saturating_sub(MATURITY);
        for height in self.looked_to..=matured {
            let Some(hash) = client.block_hash(height).await? else {
                break;
            };
            let block = client.block(hash).await?;
            if let Some(reward) = block.coinbase() {
                let outputs = outputs_to(reward, &self.script());
                self.coins.extend(outputs);
            }
            self.looked_to = height + 1;
        }
        // A reorg may have undone a reward, and a second miner in the same folder may have spent one.
        let mut kept = Vec::new();
        for (outpoint, output) in self.coins.drain(..) {
            if client.unspent(outpoint).await?.is_some() {
                kept.push((outpoint, output));
            }
        }
        self.coins = kept;
        Ok(())
    }

    /// Spends one coin: the payment, and change.
    pub(super) fn pay(&mut self, address: &Address, amount: Amount) -> Result<Transaction, Fault> {
        let Some(place) = self.place_of(amount) else {
            return Err(Fault::NotEnoughCoins {
                needed: amount,
                have: self
                    .coins
                    .iter()
                    .map(|(_, output)| output.value)
                    .max()
                    .unwrap_or_default(),
            });
        };
        let (outpoint, coin) = self.coins.swap_remove(place);
        let mut output = vec![TxOut {
            value: amount,
            script_pubkey: address.script_pubkey(),
        }];
        let change = coin.value - amount - FEE;
        if change >= DUST {
            output.push(TxOut {
                value: change,
                script_pubkey: self.script(),
            });
        }
        let mut transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: outpoint,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            }],
            output,
        };
        self.sign(&mut transaction, &coin);
        self.coins.extend(outputs_to(&transaction, &self.script()));
        Ok(transaction)
    }

    fn sign(&self, transaction: &mut Transaction, coin: &TxOut) {
        let kind = EcdsaSighashType::All;
        let hash = SighashCache::new(&*transaction)
            .p2wpkh_signature_hash(0, &coin.script_pubkey, coin.value, kind)
            .expect("the coin is P2WPKH and the transaction has an input");
        let message = Message::from_digest(hash.to_byte_array());
        let signature = ecdsa::Signature {
            signature: Secp256k1::new().sign_ecdsa(&message, &self.key),
            sighash_type: kind,
        };
        transaction.input[0].witness = Witness::p2wpkh(&signature, &self.public_key().0);
    }
}

fn outputs_to(transaction: &Transaction, script: &ScriptBuf) -> Vec<(OutPoint, TxOut)> {
    let txid = transaction.compute_txid();
    (0u32..)
        .zip(&transaction.output)
        .filter(|(_, output)| output.script_pubkey == *script)
        .map(|(vout, output)| (OutPoint { txid, vout }, output.clone()))
        .collect()
}
