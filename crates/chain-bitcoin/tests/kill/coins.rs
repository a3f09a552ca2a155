//! The simplest hot wallet: one key, whose outputs are looked for in each block.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bitcoin::hashes::Hash;
use bitcoin::key::CompressedPublicKey;
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{
    Address, Amount, KnownHrp, OutPoint, Psbt, Script, ScriptBuf, Sequence, Transaction, TxIn,
    TxOut, Txid, Witness, absolute, ecdsa, transaction,
};
use forebay_chain_bitcoin::Fault;
use forebay_chain_bitcoin::bitcoind::Bitcoind;
use forebay_chain_bitcoin::lightning::{Belonging, HotWallet};
use lightning::events::bump_transaction::{Utxo, WalletSource};
use lightning::ln::funding::FundingTxInput;
use lightning::util::async_poll::AsyncResult;

/// What each transaction pays to miners, in sat: generous where nobody bids.
const FEE_SAT: u64 = 2_000;

/// The wallet. All its coins are of one script.
pub(crate) struct TestCoins {
    key: SecretKey,
    coins: Mutex<BTreeMap<OutPoint, Coin>>,
    /// What each coin is or was worth, in sat.
    worth: Mutex<BTreeMap<OutPoint, u64>>,
    /// The last block that it looked at.
    height: AtomicU32,
    /// Whether it cannot remember what was handed in: as if its process were killed at that moment.
    forgets: AtomicBool,
    /// What each transaction that was signed here spends.
    signed: Mutex<BTreeMap<Txid, Vec<OutPoint>>>,
}

struct Coin {
    parent: Transaction,
    set_aside: bool,
}

impl TestCoins {
    /// Starts looking at the chain from its first block.
    pub(crate) fn start(key: [u8; 32], bitcoind: Arc<Bitcoind>) -> Arc<Self> {
        let wallet = Arc::new(Self {
            key: SecretKey::from_slice(&key).expect("it is below the order of the group"),
            coins: Mutex::default(),
            worth: Mutex::default(),
            height: AtomicU32::new(0),
            forgets: AtomicBool::new(false),
            signed: Mutex::default(),
        });
        let weak = Arc::downgrade(&wallet);
        tokio::spawn(async move {
            let mut height = 1;
            while let Some(wallet) = weak.upgrade() {
                while let Ok(Some(hash)) = bitcoind.block_hash(height).await {
                    let Ok(block) = bitcoind.block(hash).await else {
                        break;
                    };
                    block.txdata.iter().for_each(|t| wallet.see(t));
                    wallet.height.store(height, Ordering::SeqCst);
                    height += 1;
                }
                drop(wallet);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        wallet
    }

    /// From now on nothing that is handed in is remembered.
    #[allow(dead_code, reason = "the program that is killed needs it not")]
    pub(crate) fn forget(&self) {
        self.forgets.store(true, Ordering::SeqCst);
    }

    /// The last block that it looked at.
    #[allow(dead_code, reason = "the program that is killed needs it not")]
    pub(crate) fn height(&self) -> u32 {
        self.height.load(Ordering::SeqCst)
    }

    /// Where it is paid.
    pub(crate) fn address(&self) -> Address {
        Address::p2wpkh(&self.public_key(), KnownHrp::Regtest)
    }

    fn public_key(&self) -> CompressedPublicKey {
        CompressedPublicKey(self.key.public_key(&Secp256k1::new()))
    }

    fn see(&self, transaction: &Transaction) {
        let script = self.address().script_pubkey();
        let txid = transaction.compute_txid();
        let mut coins = self.lock();
        for input in &transaction.input {
            coins.remove(&input.previous_output);
        }
        for (vout, output) in (0u32..).zip(&transaction.output) {
            if output.script_pubkey == script {
                let coin = Coin {
                    parent: transaction.clone(),
                    set_aside: false,
                };
                let place = OutPoint { txid, vout };
                coins.insert(place, coin);
                let mut worth = self.worth.lock().expect("nothing panics under this lock");
                worth.insert(place, output.value.to_sat());
            }
        }
    }

    /// Coins of at least this value together, with it; they are set aside.
    fn pick(&self, needed_sat: u64) -> Result<(Vec<OutPoint>, u64), Fault> {
        let mut coins = self.lock();
        let (mut picked, mut have) = (Vec::new(), 0);
        for (place, coin) in coins.iter().filter(|(_, coin)| !coin.set_aside) {
            if have < needed_sat {
                have += coin.output(place).value.to_sat();
                picked.push(*place);
            }
        }
        if have < needed_sat {
            return Err(Fault::NotEnoughCoins {
                needed: Amount::from_sat(needed_sat),
                have: Amount::from_sat(have),
            });
        }
        for place in &picked {
            if let Some(coin) = coins.get_mut(place) {
                coin.set_aside = true;
            }
        }
        Ok((picked, have))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<OutPoint, Coin>> {
        self.coins.lock().expect("nothing panics under this lock")
    }
}

impl Coin {
    fn output(&self, place: &OutPoint) -> &TxOut {
        &self.parent.output[place.vout as usize]
    }
}

impl HotWallet for TestCoins {
    fn script(&self) -> Result<ScriptBuf, Fault> {
        Ok(self.address().script_pubkey())
    }

    fn spendable_sat(&self) -> u64 {
        let coins = self.lock();
        coins
            .iter()
            .filter(|(_, coin)| !coin.set_aside)
            .map(|(place, coin)| coin.output(place).value.to_sat())
            .sum()
    }

    fn fund(&self, mut outputs: Vec<TxOut>, _rate: u32) -> Result<(Transaction, u64), Fault> {
        let paid: u64 = outputs.iter().map(|output| output.value.to_sat()).sum();
        let (places, have) = self.pick(paid + 2 * FEE_SAT)?;
        outputs.push(TxOut {
            value: Amount::from_sat(have - paid - FEE_SAT),
            script_pubkey: self.script()?,
        });
        let input = places
            .into_iter()
            .map(|previous_output| TxIn {
                previous_output,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            })
            .collect();
        let unsigned = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input,
            output: outputs,
        };
        let inputs = unsigned.input.iter().map(|i| i.previous_output).collect();
        let mut signed = self.signed.lock().expect("nothing panics under this lock");
        signed.insert(unsigned.compute_txid(), inputs);
        Ok((self.sign_own_inputs(unsigned), FEE_SAT))
    }

    /// It forgets all that it signed when it ends, so that nothing waits after a start.
    fn waiting(&self) -> Vec<(Txid, bool)> {
        Vec::new()
    }

    fn handed_in(&self, _txid: Txid) -> Result<(), Fault> {
        match self.forgets.load(Ordering::SeqCst) {
            true => Err(Fault::Stopped),
            false => Ok(()),
        }
    }

    fn give_up(&self, txid: Txid) -> Result<(), Fault> {
        let signed = self.signed.lock().expect("nothing panics under this lock");
        self.give_back(signed.get(&txid).map_or(&[], Vec::as_slice))
    }

    fn give_back(&self, inputs: &[OutPoint]) -> Result<(), Fault> {
        let mut coins = self.lock();
        for place in inputs {
            if let Some(coin) = coins.get_mut(place) {
                coin.set_aside = false;
            }
        }
        Ok(())
    }

    fn splice_inputs(&self, value_sat: u64, _rate: u32) -> Result<Vec<FundingTxInput>, Fault> {
        let (places, _) = self.pick(value_sat + 2 * FEE_SAT)?;
        let coins = self.lock();
        Ok(places
            .iter()
            .filter_map(|place| {
                FundingTxInput::new_p2wpkh(coins[place].parent.clone(), place.vout).ok()
            })
            .collect())
    }

    fn spent_sat(&self, transaction: &Transaction) -> u64 {
        let worth = self.worth.lock().expect("nothing panics under this lock");
        let places = transaction.input.iter().map(|input| input.previous_output);
        places.filter_map(|place| worth.get(&place)).sum()
    }

    fn belonging(&self, script: &Script) -> Belonging {
        match *script == *self.address().script_pubkey() {
            true => Belonging::Channels,
            false => Belonging::Nobody,
        }
    }

    fn sign_splice(&self, transaction: Transaction, _shared: TxOut) -> Result<Transaction, Fault> {
        Ok(self.sign_own_inputs(transaction))
    }
}

impl TestCoins {
    fn sign_own_inputs(&self, mut transaction: Transaction) -> Transaction {
        let coins = self.lock();
        let own: Vec<_> = (0..)
            .zip(&transaction.input)
            .filter_map(|(number, input)| {
                let coin = coins.get(&input.previous_output)?;
                Some((number, coin.output(&input.previous_output).clone()))
            })
            .collect();
        for (number, coin) in own {
            let kind = EcdsaSighashType::All;
            let hash = SighashCache::new(&transaction)
                .p2wpkh_signature_hash(number, &coin.script_pubkey, coin.value, kind)
                .expect("the coin is P2WPKH and the transaction has the input");
            let message = Message::from_digest(hash.to_byte_array());
            let signature = ecdsa::Signature {
                signature: Secp256k1::new().sign_ecdsa(&message, &self.key),
                sighash_type: kind,
            };
            transaction.input[number].witness = Witness::p2wpkh(&signature, &self.public_key().0);
        }
        transaction
    }
}

impl WalletSource for TestCoins {
    fn list_confirmed_utxos<'a>(&'a self) -> AsyncResult<'a, Vec<Utxo>, ()> {
        let hash = self.public_key().wpubkey_hash();
        let coins = self.lock();
        let found = coins
            .iter()
            .filter(|(_, coin)| !coin.set_aside)
            .map(|(place, coin)| Utxo::new_v0_p2wpkh(*place, coin.output(place).value, &hash))
            .collect();
        Box::pin(async move { Ok(found) })
    }

    fn get_change_script<'a>(&'a self) -> AsyncResult<'a, ScriptBuf, ()> {
        Box::pin(async move { Ok(self.address().script_pubkey()) })
    }

    fn sign_psbt<'a>(&'a self, psbt: Psbt) -> AsyncResult<'a, Transaction, ()> {
        Box::pin(async move { Ok(self.sign_own_inputs(psbt.extract_tx_unchecked_fee_rate())) })
    }
}
