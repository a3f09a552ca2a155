//! The pool's hot wallet and its reserve: payments that are made once, deposits that count when they are buried, drafts that
//! wait for members. Each call is durable when it returns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forebay_pool::Outpoint;
use forebay_quantity::{EffectId, Hash32};

use super::{Coin, DUST_SAT, Lightning, Money, Owner, Refused};

/// Something buried that concerns the hot wallet; told until it is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WalletObservation {
    /// Somebody paid in, at an address made for this LP, or for the operator.
    Deposited {
        /// Which output.
        outpoint: Outpoint,
        /// For whom the address was made.
        lp: Option<u32>,
        /// How much.
        sat: u64,
    },
    /// A payment of ours.
    Settled {
        /// For which effect.
        id: EffectId,
        /// The transaction that made it.
        txid: Hash32,
        /// What it paid to miners.
        fee_sat: u64,
    },
}

/// What is in the hot wallet, in sat.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WalletStanding {
    /// Free to be spent.
    pub spendable_sat: u64,
    /// Not buried, or change of what is in no block yet.
    pub waiting_sat: u64,
}

/// A spend of the reserve that waits for members, or for the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    inputs: Vec<Outpoint>,
    outputs: Vec<Coin>,
    /// What it pays to miners, in sat.
    pub fee_sat: u64,
    /// Once members have signed.
    pub txid: Option<Hash32>,
}

/// What is buried of the reserve.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reserved {
    /// What lies in it, in sat.
    pub sat: u64,
    /// How old its oldest output is, in days of blocks.
    pub oldest_days: u32,
    /// What was spent of it: the transaction, its fee, and what went to strangers, in sat.
    pub spends: Vec<(Hash32, u64, u64)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Wallet {
    /// What was signed, by effect.
    signed: BTreeMap<EffectId, Hash32>,
    told: BTreeSet<Hash32>,
    observations: VecDeque<(u64, WalletObservation)>,
    observed: u64,
}

impl Lightning {
    // The hot wallet.

    /// Somebody pays the wallet at an address made for an LP or for the operator.
    pub fn deposit(&mut self, lp: Option<u32>, sat: u64) -> Hash32 {
        self.chain.pay_in(Owner::Deposit(lp), sat)
    }

    /// What is in the wallet.
    pub fn wallet(&self) -> WalletStanding {
        let mut standing = WalletStanding::default();
        for (outpoint, coin) in self.chain.unspent() {
            let depth = self.chain.depth(outpoint.txid);
            match coin.owner {
                Owner::Wallet if depth > 0 => standing.spendable_sat += coin.sat,
                Owner::Deposit(_) if self.chain.is_buried(outpoint.txid) => {
                    standing.spendable_sat += coin.sat;
                }
                Owner::Wallet => standing.waiting_sat += coin.sat,
                Owner::Deposit(_) if depth > 0 => standing.waiting_sat += coin.sat,
                Owner::Deposit(_) | Owner::Reserve | Owner::Channel(_) | Owner::Stranger => {}
            }
        }
        standing
    }

    /// Whether a payment for an effect was signed.
    pub fn is_signed(&self, id: EffectId) -> bool {
        self.wallet.signed.contains_key(&id)
    }

    /// Payments that were signed, with their transactions.
    pub fn signed(&self) -> impl Iterator<Item = (EffectId, Hash32)> {
        self.wallet.signed.iter().map(|(id, txid)| (*id, *txid))
    }

    /// Pays a stranger or the reserve under an effect's number, once.
    ///
    /// # Errors
    /// Why nothing is signed yet.
    pub fn send(&mut self, id: EffectId, to: Owner, sat: u64) -> Result<(), Refused> {
        if self.is_signed(id) {
            return Ok(());
        }
        if sat < DUST_SAT {
            return Err(Refused::Dust);
        }
        let fee_sat = self.fee_sat();
        let coins = self.select(sat + fee_sat).ok_or(Refused::TooFewCoins)?;
        let txid = self.spend_wallet(&coins, Vec::new(), to, sat, fee_sat);
        let fee_sat = self.chain.transaction(txid).map_or(0, |made| made.fee_sat);
        let left_sat = if to == Owner::Reserve { 0 } else { sat };
        let gone = i128::from(left_sat + fee_sat) * 1_000;
        self.truth.moved(Money::Paid(id), -gone);
        self.wallet.signed.insert(id, txid);
        Ok(())
    }

    /// Coins that can be spent now and come to this much, the largest first.
    pub(super) fn select(&self, sat: u64) -> Option<Vec<Outpoint>> {
        let mut free: Vec<(Outpoint, u64)> = self
            .chain
            .unspent()
            .filter(|(outpoint, coin)| match coin.owner {
                Owner::Wallet => self.chain.depth(outpoint.txid) > 0,
                Owner::Deposit(_) => self.chain.is_buried(outpoint.txid),
                Owner::Reserve | Owner::Channel(_) | Owner::Stranger => false,
            })
            .map(|(outpoint, coin)| (outpoint, coin.sat))
            .collect();
        free.sort_by_key(|(outpoint, sat)| (std::cmp::Reverse(*sat), *outpoint));
        let mut taken = Vec::new();
        let mut sum = 0;
        for (outpoint, worth) in free {
            if sum >= sat {
                break;
            }
            sum += worth;
            taken.push(outpoint);
        }
        (sum >= sat).then_some(taken)
    }

    /// Spends these; change goes back to the wallet.
    pub(super) fn spend_wallet(
        &mut self,
        coins: &[Outpoint],
        mut outputs: Vec<Coin>,
        to: Owner,
        sat: u64,
        fee_sat: u64,
    ) -> Hash32 {
        outputs.push(Coin { owner: to, sat });
        let worth = |wanted: &Outpoint| {
            let mut unspent = self.chain.unspent();
            let coin = unspent.find(|(outpoint, _)| outpoint == wanted);
            coin.map_or(0, |(_, coin)| coin.sat)
        };
        let came: u64 = coins.iter().map(worth).sum();
        let goes: u64 = outputs.iter().map(|coin| coin.sat).sum();
        let change = came - goes - fee_sat;
        if change > 0 {
            // Dust too: else the fee would be another one than was said.
            let owner = Owner::Wallet;
            outputs.push(Coin { owner, sat: change });
        }
        self.chain.spend(coins, outputs)
    }

    /// What the wallet saw and was not told to forget, in order, each with its number.
    pub fn wallet_observations(&self) -> Vec<(u64, WalletObservation)> {
        self.wallet.observations.iter().copied().collect()
    }

    /// Forgets what is on the listener's stable storage.
    pub fn forget_below(&mut self, number: u64) {
        self.wallet.observations.retain(|(told, _)| *told >= number);
    }

    pub(super) fn chain_moved(&mut self) {
        let buried: Vec<Hash32> = self
            .chain
            .transactions()
            .map(|(txid, _)| txid)
            .filter(|txid| self.chain.is_buried(*txid) && !self.wallet.told.contains(txid))
            .collect();
        for txid in buried {
            self.wallet.told.insert(txid);
            self.buried(txid);
        }
        self.channels_moved();
    }

    fn buried(&mut self, txid: Hash32) {
        let transaction = self.chain.transaction(txid).expect("it is buried");
        let (outputs, fee_sat) = (transaction.outputs.clone(), transaction.fee_sat);
        for (index, coin) in (0..).zip(outputs) {
            let Owner::Deposit(lp) = coin.owner else {
                continue;
            };
            let outpoint = Outpoint { txid, index };
            let sat = coin.sat;
            self.truth
                .moved(Money::Deposited(outpoint), i128::from(sat) * 1_000);
            self.wallet_saw(WalletObservation::Deposited { outpoint, lp, sat });
        }
        let mut signed = self.wallet.signed.iter();
        let payment = signed.find(|(_, of)| **of == txid).map(|(id, _)| *id);
        if let Some(id) = payment {
            self.wallet_saw(WalletObservation::Settled { id, txid, fee_sat });
        }
    }

    fn wallet_saw(&mut self, observation: WalletObservation) {
        self.wallet.observed += 1;
        let number = self.wallet.observed;
        self.wallet.observations.push_back((number, observation));
    }

    // The reserve.

    /// What is buried of the reserve.
    pub fn reserved(&self) -> Reserved {
        let mut reserved = Reserved::default();
        for (txid, transaction) in self.chain.transactions() {
            if !self.chain.is_buried(txid) {
                continue;
            }
            let of_reserve = |coin: &Coin| coin.owner == Owner::Reserve;
            if transaction.inputs.iter().any(|(_, coin)| of_reserve(coin)) {
                let strange = transaction.outputs.iter();
                let strange = strange.filter(|coin| coin.owner == Owner::Stranger);
                let lost_sat = strange.map(|coin| coin.sat).sum();
                reserved.spends.push((txid, transaction.fee_sat, lost_sat));
            }
            for (index, coin) in (0..).zip(&transaction.outputs) {
                // What is spent only by what is not buried still lies there.
                if of_reserve(coin) && !self.is_spent_for_good(&Outpoint { txid, index }) {
                    reserved.sat += coin.sat;
                    reserved.oldest_days = reserved.oldest_days.max(self.chain.days(txid));
                }
            }
        }
        reserved
    }

    fn is_spent_for_good(&self, outpoint: &Outpoint) -> bool {
        if self.chain.is_unspent(outpoint) {
            return false;
        }
        let mut all = self.chain.transactions();
        all.any(|(txid, transaction)| {
            let mut inputs = transaction.inputs.iter();
            inputs.any(|(spent, _)| spent == outpoint) && self.chain.is_buried(txid)
        })
    }

    /// Drafts a spend of the reserve under a demand's number: so much back to the hot wallet, or all of it to new outputs.
    ///
    /// # Errors
    /// When it has too little.
    pub fn draft(&mut self, demand: EffectId, back_sat: Option<u64>) -> Result<(), Refused> {
        if self.drafts.contains_key(&demand) {
            return Ok(());
        }
        let fee_sat = self.fee_sat();
        let coins: Vec<(Outpoint, Coin)> = self
            .chain
            .unspent()
            .filter(|(outpoint, coin)| {
                coin.owner == Owner::Reserve && self.chain.is_buried(outpoint.txid)
            })
            .collect();
        let held: u64 = coins.iter().map(|(_, coin)| coin.sat).sum();
        let back_sat = back_sat.unwrap_or(0);
        let stays = held
            .checked_sub(back_sat + fee_sat)
            .ok_or(Refused::TooFewCoins)?;
        let outputs = [(Owner::Wallet, back_sat), (Owner::Reserve, stays)];
        let outputs = outputs.into_iter().filter(|(_, sat)| *sat > 0);
        self.drafts.insert(
            demand,
            Draft {
                inputs: coins.into_iter().map(|(outpoint, _)| outpoint).collect(),
                outputs: outputs.map(|(owner, sat)| Coin { owner, sat }).collect(),
                fee_sat,
                txid: None,
            },
        );
        Ok(())
    }

    /// Drafts that wait, for members or to be buried.
    pub fn drafts(&self) -> impl Iterator<Item = (EffectId, &Draft)> {
        self.drafts.iter().map(|(demand, draft)| (*demand, draft))
    }

    /// Whether another transaction spends what a draft would.
    pub fn is_overtaken(&self, demand: EffectId) -> bool {
        let Some(draft) = self.drafts.get(&demand) else {
            return false;
        };
        let mut inputs = draft.inputs.iter();
        draft.txid.is_none() && inputs.any(|input| self.is_spent_for_good(input))
    }

    /// A draft is done, or was given up.
    pub fn forget_draft(&mut self, demand: EffectId) {
        self.drafts.remove(&demand);
    }

    /// Enough members sign what waits, and it is handed in.
    pub fn members_sign(&mut self, demand: EffectId) {
        let Some(draft) = self.drafts.get_mut(&demand) else {
            return;
        };
        let is_free = draft
            .inputs
            .iter()
            .all(|input| self.chain.is_unspent(input));
        if draft.txid.is_some() || !is_free {
            return;
        }
        let txid = self.chain.spend(&draft.inputs, draft.outputs.clone());
        draft.txid = Some(txid);
        let fee_sat = draft.fee_sat;
        self.truth
            .moved(Money::Spent(txid), -i128::from(fee_sat) * 1_000);
    }

    /// Members move the whole reserve to new outputs without the operator, paying a stranger this much out of it.
    pub fn members_spend(&mut self, strange_sat: u64) {
        let coins: Vec<(Outpoint, Coin)> = self
            .chain
            .unspent()
            .filter(|(_, coin)| coin.owner == Owner::Reserve)
            .collect();
        let held: u64 = coins.iter().map(|(_, coin)| coin.sat).sum();
        let fee_sat = self.fee_sat();
        let Some(stays) = held
            .checked_sub(strange_sat + fee_sat)
            .filter(|stays| *stays >= DUST_SAT)
        else {
            return;
        };
        let outputs = [(Owner::Reserve, stays), (Owner::Stranger, strange_sat)];
        let outputs = outputs.into_iter().filter(|(_, sat)| *sat > 0);
        let outputs = outputs.map(|(owner, sat)| Coin { owner, sat }).collect();
        let inputs: Vec<Outpoint> = coins.into_iter().map(|(outpoint, _)| outpoint).collect();
        let txid = self.chain.spend(&inputs, outputs);
        let gone = i128::from(strange_sat + fee_sat) * 1_000;
        self.truth.moved(Money::Spent(txid), -gone);
    }
}
