//! One key's account on one chain: it sends each effect's transaction once, whatever happens in between.
//!
//! A transaction is signed and recorded before it is sent, so a killed process finds it again and sends the
//! very same one. All versions of it carry one nonce, of which the chain includes one at most.

use crate::{
    abi::{evm, hash, plain},
    fault::Fault,
    fees::{FeePolicy, Offer, gas_reserve_needed},
    key::Key,
    record::{Attempt, Record, Slot},
    rpc::{Rpc, RpcNodes},
    store::{EffectStore, Entry, Sending},
};
use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    eips::{BlockNumberOrTag, eip2718::Encodable2718},
    network::TransactionBuilder,
    primitives::{B256, Bytes, Signature as EvmSignature, TxKind, U256},
    providers::Provider,
    rpc::types::{TransactionReceipt, TransactionRequest},
};
use forebay_channel::{Address, Finality};
use forebay_quantity::{Amount, BlockHeight, Bps, EffectId, Hash32};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How an account reaches its chain, and what it pays.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// The nodes.
    pub nodes: RpcNodes,
    /// The EVM chain id that the nodes must be on.
    pub chain_id: u64,
    /// What it pays for gas.
    pub fees: FeePolicy,
    /// How often nodes are asked for news.
    pub poll_interval: Duration,
    /// How long one call waits for its transaction before it gives [`Fault::NotIncluded`].
    pub wait_max: Duration,
}

impl AccountSettings {
    /// Settings for one trusted node, polled once a second.
    #[must_use]
    pub fn new(nodes: RpcNodes, chain_id: u64) -> Self {
        Self {
            nodes,
            chain_id,
            fees: FeePolicy::default(),
            poll_interval: Duration::from_secs(1),
            wait_max: Duration::from_secs(600),
        }
    }
}

/// A transaction in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inclusion {
    /// The transaction's hash.
    pub transaction: Hash32,
    /// The block's height.
    pub block: BlockHeight,
    /// False when it was included and reverted, so that nothing happened but the fee.
    pub succeeded: bool,
    /// The gas used.
    pub gas_used: u64,
    /// The fee paid, in wei.
    pub fee: Amount,
    /// The contract that it created.
    pub created: Option<Address>,
}

/// What a transaction does.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) to: Option<Address>,
    pub(crate) value: Amount,
    pub(crate) data: Vec<u8>,
}

/// A key's account on one chain.
pub struct Account {
    pub(crate) rpc: Rpc,
    pub(crate) settings: AccountSettings,
    key: Key,
    record: Mutex<Record>,
    /// In basis points; above them all while nobody has said how urgent it is.
    urgency_bps: AtomicU32,
}

/// Nobody has said how urgent the account's transactions are: they may offer all that the policy allows.
const NO_URGENCY: u32 = u32::MAX;

impl Account {
    /// Connects, checks the chain id, and reads the record of what was sent before.
    ///
    /// # Errors
    /// When no node answers, the chain is another one, or the record cannot be read or is another account's.
    pub async fn connect(
        settings: AccountSettings,
        key: Key,
        store: Box<dyn EffectStore>,
    ) -> Result<Self, Fault> {
        let rpc = Rpc::new(&settings.nodes)?;
        let found = rpc
            .ask(
                "eth_chainId",
                |node| async move { node.get_chain_id().await },
            )
            .await?;
        if found != settings.chain_id {
            return Err(Fault::WrongChain {
                expected: settings.chain_id,
                found,
            });
        }
        let record = Record::open(store, key.address(), settings.chain_id)?;
        Ok(Self {
            rpc,
            settings,
            key,
            record: Mutex::new(record),
            urgency_bps: AtomicU32::new(NO_URGENCY),
        })
    }

    /// Says how urgent the most urgent of its transactions is. One account's transactions are included in the order of
    /// their nonces, so that the most urgent sets what all may offer.
    pub fn set_urgency(&self, urgency: Bps) {
        self.urgency_bps.store(urgency.value(), Ordering::Relaxed);
    }

    fn fees(&self) -> FeePolicy {
        match self.urgency_bps.load(Ordering::Relaxed) {
            NO_URGENCY => self.settings.fees,
            urgency => self.settings.fees.at(Bps::new(urgency)),
        }
    }

    /// The effects whose transactions were made, and whose outcome nobody has said to be durable.
    pub async fn effects_under_way(&self) -> Vec<EffectId> {
        let record = self.record.lock().await;
        let mut effects: Vec<_> = record.attempts.keys().map(|(effect, _)| *effect).collect();
        effects.dedup();
        effects
    }

    /// The account's address.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.key.address()
    }

    /// The account's balance, in wei.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn balance(&self) -> Result<Amount, Fault> {
        self.balance_of(self.address(), Finality::Seen).await
    }

    /// Anybody's balance at a depth, in wei.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn balance_of(&self, owner: Address, at: Finality) -> Result<Amount, Fault> {
        let balance = self
            .rpc
            .ask("eth_getBalance", |node| async move {
                node.get_balance(evm(owner)).block_id(tag(at).into()).await
            })
            .await?;
        Ok(saturated(balance))
    }

    /// Checks that gas for the whole life of `channels` channels is there.
    ///
    /// # Errors
    /// [`Fault::NoGasMoney`] when it is not.
    pub async fn check_gas_reserve(&self, channels: u32) -> Result<(), Fault> {
        let need = gas_reserve_needed(channels, &self.settings.fees);
        self.check_balance(need).await
    }

    async fn check_balance(&self, need: Amount) -> Result<(), Fault> {
        let have = self.balance().await?;
        if have < need {
            return Err(Fault::NoGasMoney {
                have,
                need,
                address: self.address(),
            });
        }
        Ok(())
    }

    /// True when the effect was asked for before, so that it goes on rather than starts.
    pub async fn knows(&self, effect: EffectId) -> bool {
        self.record.lock().await.attempts.contains_key(&(effect, 0))
    }

    /// Drops an effect whose outcome the caller has made durable.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub async fn forget(&self, effect: EffectId) -> Result<(), Fault> {
        self.record.lock().await.forget(effect)
    }

    /// Notes what an effect is asked for, as a digest of the journalled request; durable before anything is signed for it.
    ///
    /// # Errors
    /// [`Fault::OtherRequest`] when the effect was asked for as something else, or when the record cannot be written.
    pub async fn claim(&self, effect: EffectId, request: Hash32) -> Result<(), Fault> {
        self.record.lock().await.claim(effect, request)
    }

    /// Checks that the record is that of a journal which has come to effect `last` and waits for the outcome of
    /// `outstanding`. Outcomes are journalled before their effects are forgotten, so that the record may know more of them.
    ///
    /// # Errors
    /// [`Fault::RecordAhead`] or [`Fault::OtherRequest`] when it is not.
    pub async fn check_record(
        &self,
        last: EffectId,
        outstanding: &BTreeMap<EffectId, Hash32>,
    ) -> Result<(), Fault> {
        let record = self.record.lock().await;
        for effect in record.effects() {
            if effect > last {
                return Err(Fault::RecordAhead { effect, last });
            }
            if let Some(request) = outstanding.get(&effect) {
                record.check(effect, *request)?;
            }
        }
        Ok(())
    }

    /// True when this step of the effect was sent, or is about to be.
    pub(crate) async fn has_sent(&self, slot: Slot) -> bool {
        self.record.lock().await.attempts.contains_key(&slot)
    }

    /// Sends `call` for this step of the effect unless that was done before.
    pub(crate) async fn send_once(&self, slot: Slot, call: Call) -> Result<(), Fault> {
        if self.has_sent(slot).await {
            return match self.broadcast(slot).await {
                // It may be underpriced by now: waiting for it offers more.
                Err(Fault::RpcRefused { .. }) => Ok(()),
                other => other,
            };
        }
        let gas = self.estimate(&call).await?;
        let offer = self.fees().offer(&self.rpc).await?;
        let cost = Amount::new(u128::from(gas).saturating_mul(offer.fee_max));
        self.check_balance(cost.saturating_add(call.value)).await?;
        self.reserve(slot, &call, gas, offer).await?;
        self.broadcast(slot).await
    }

    /// The gas limit: the estimate and a quarter, since the state may change before inclusion.
    async fn estimate(&self, call: &Call) -> Result<u64, Fault> {
        let request = self.request(call);
        let estimate = self
            .rpc
            .ask("eth_estimateGas", |node| {
                let request = request.clone();
                async move {
                    node.estimate_gas(request)
                        .block(BlockNumberOrTag::Pending.into())
                        .await
                }
            })
            .await
            .map_err(crate::vault::refusal)?;
        Ok(estimate.saturating_add(estimate / 4))
    }

    fn request(&self, call: &Call) -> TransactionRequest {
        let request = TransactionRequest::default()
            .with_from(evm(self.address()))
            .with_value(U256::from(call.value.value()))
            .with_input(call.data.clone());
        match call.to {
            Some(to) => request.with_to(evm(to)),
            None => request.into_create(),
        }
    }

    async fn reserve(&self, slot: Slot, call: &Call, gas: u64, offer: Offer) -> Result<(), Fault> {
        let mut record = self.record.lock().await;
        if record.attempts.contains_key(&slot) {
            return Ok(());
        }
        let pending = self.nonce(BlockNumberOrTag::Pending).await?;
        let nonce = record.unused(pending);
        let transaction = TxEip1559 {
            chain_id: self.settings.chain_id,
            nonce,
            gas_limit: gas,
            max_fee_per_gas: offer.fee_max,
            max_priority_fee_per_gas: offer.tip_max,
            to: call.to.map_or(TxKind::Create, |to| TxKind::Call(evm(to))),
            value: U256::from(call.value.value()),
            access_list: Default::default(),
            input: Bytes::from(call.data.clone()),
        };
        let sending = self.sign(slot, transaction);
        record.store.append(&Entry::Sending(sending.clone()))?;
        let attempt = Attempt {
            nonce,
            versions: vec![sending],
            may_be_known: false,
        };
        record.attempts.insert(slot, attempt);
        Ok(())
    }

    fn sign(&self, (effect, step): Slot, transaction: TxEip1559) -> Sending {
        let signature = self.key.sign(&hash(transaction.signature_hash()));
        let (rs, odd) = signature.to_rs_and_parity();
        let (nonce, fee_max, tip_max) = (
            transaction.nonce,
            transaction.max_fee_per_gas,
            transaction.max_priority_fee_per_gas,
        );
        let signed = transaction.into_signed(EvmSignature::from_bytes_and_parity(&rs, odd));
        let raw = signed.encoded_2718();
        Sending {
            effect,
            step,
            nonce,
            hash: hash(*signed.hash()),
            fee_max,
            tip_max,
            raw,
        }
    }

    async fn nonce(&self, block: BlockNumberOrTag) -> Result<u64, Fault> {
        let address = evm(self.address());
        self.rpc
            .ask("eth_getTransactionCount", |node| async move {
                node.get_transaction_count(address)
                    .block_id(block.into())
                    .await
            })
            .await
    }

    /// Sends the newest version. A refusal counts only when the node does not know the transaction already.
    async fn broadcast(&self, slot: Slot) -> Result<(), Fault> {
        let (sending, first) = {
            let mut record = self.record.lock().await;
            let attempt = record
                .attempts
                .get_mut(&slot)
                .ok_or(Fault::NotSubmitted { effect: slot.0 })?;
            let first = !attempt.may_be_known;
            (attempt.newest().clone(), first)
        };
        let sent = self.rpc.send(&sending.raw).await;
        match sent {
            Err(refused @ Fault::RpcRefused { .. }) => {
                self.refused(slot, &sending, first, refused).await
            }
            Ok(()) | Err(_) => {
                self.may_be_known(slot).await;
                sent
            }
        }
    }

    async fn may_be_known(&self, slot: Slot) {
        if let Some(attempt) = self.record.lock().await.attempts.get_mut(&slot) {
            attempt.may_be_known = true;
        }
    }

    async fn refused(
        &self,
        slot: Slot,
        sending: &Sending,
        first: bool,
        refused: Fault,
    ) -> Result<(), Fault> {
        let transaction = B256::from(sending.hash.value());
        let known = self
            .rpc
            .ask("eth_getTransactionByHash", |node| async move {
                node.get_transaction_by_hash(transaction).await
            })
            .await?;
        if known.is_some() || self.nonce(BlockNumberOrTag::Latest).await? > sending.nonce {
            self.may_be_known(slot).await;
            return Ok(());
        }
        if first {
            self.abandon(slot, sending.nonce).await?;
        }
        Err(refused)
    }

    /// Lets go of an attempt that can never be included.
    async fn abandon(&self, (effect, step): Slot, nonce: u64) -> Result<(), Fault> {
        let mut record = self.record.lock().await;
        record.store.append(&Entry::Abandoned {
            effect,
            step,
            nonce,
        })?;
        record.attempts.remove(&(effect, step));
        Ok(())
    }

    /// Waits until the transaction lies at least at `depth`, sending it again and dearer where needed.
    ///
    /// `Seen` gives an inclusion that a reorg may still undo; asking again with `Final` sees to it that the
    /// transaction gets back into the chain.
    pub(crate) async fn included(&self, slot: Slot, depth: Finality) -> Result<Inclusion, Fault> {
        let started = Instant::now();
        let mut touched = Instant::now();
        let (mut refusal, mut is_doubted) = (None, false);
        while started.elapsed() < self.settings.wait_max {
            match self.inclusion(slot, depth).await? {
                Look::Included(inclusion) => return Ok(inclusion),
                // A node that has just taken a block in may know the nonce before the receipts.
                Look::NonceUsed(nonce) if is_doubted => {
                    self.abandon(slot, nonce).await?;
                    let effect = slot.0;
                    return Err(Fault::NonceTaken { effect, nonce });
                }
                Look::NonceUsed(_) => is_doubted = true,
                Look::Waiting => is_doubted = false,
            }
            if touched.elapsed() >= self.fees().stuck_after {
                refusal = self.push(slot).await?;
                touched = Instant::now();
            }
            tokio::time::sleep(self.settings.poll_interval).await;
        }
        let waited_s = started.elapsed().as_secs();
        Err(refusal.unwrap_or(Fault::NotIncluded {
            effect: slot.0,
            waited_s,
        }))
    }

    async fn inclusion(&self, slot: Slot, depth: Finality) -> Result<Look, Fault> {
        let (nonce, versions) = {
            let record = self.record.lock().await;
            let attempt = record
                .attempts
                .get(&slot)
                .ok_or(Fault::NotSubmitted { effect: slot.0 })?;
            (
                attempt.nonce,
                attempt
                    .versions
                    .iter()
                    .map(|version| B256::from(version.hash.value()))
                    .collect::<Vec<_>>(),
            )
        };
        let (used_for_good, found) = self.look_up(&versions).await?;
        if let Some(found) = found {
            let deep = self.height(depth).await?;
            let inclusion = inclusion(&found).filter(|inclusion| inclusion.block <= deep);
            return Ok(inclusion.map_or(Look::Waiting, Look::Included));
        }
        Ok(match used_for_good > nonce {
            true => Look::NonceUsed(nonce),
            false => Look::Waiting,
        })
    }

    /// The account's nonce at finality, then the receipt of any version: of one node and in this order, else a
    /// version included in between would seem never to have been, and the effect would be carried out twice.
    async fn look_up(&self, versions: &[B256]) -> Result<(u64, Option<TransactionReceipt>), Fault> {
        let address = evm(self.address());
        self.rpc
            .ask("eth_getTransactionReceipt", |node| {
                let versions = versions.to_vec();
                async move {
                    let finalized = BlockNumberOrTag::Finalized;
                    let nonce = node
                        .get_transaction_count(address)
                        .block_id(finalized.into())
                        .await?;
                    for version in versions {
                        let receipt = node.get_transaction_receipt(version).await?;
                        if receipt.is_some() {
                            return Ok((nonce, receipt));
                        }
                    }
                    Ok((nonce, None))
                }
            })
            .await
    }

    async fn receipt(&self, version: Hash32) -> Result<Option<TransactionReceipt>, Fault> {
        let transaction = B256::from(version.value());
        self.rpc
            .ask("eth_getTransactionReceipt", |node| async move {
                node.get_transaction_receipt(transaction).await
            })
            .await
    }

    /// The height of the newest block at a depth.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn height(&self, depth: Finality) -> Result<BlockHeight, Fault> {
        let block = self
            .rpc
            .ask("eth_getBlockByNumber", |node| async move {
                node.get_block_by_number(tag(depth)).await
            })
            .await?;
        Ok(BlockHeight::new(
            block.map_or(0, |block| block.header.number),
        ))
    }

    /// Sends again what is not included; replaces it when it is next in line and so waits for its price alone.
    /// Gives the nodes' refusal, which the next round may overcome by offering more.
    async fn push(&self, slot: Slot) -> Result<Option<Fault>, Fault> {
        let newest = {
            let record = self.record.lock().await;
            record
                .attempts
                .get(&slot)
                .ok_or(Fault::NotSubmitted { effect: slot.0 })?
                .newest()
                .clone()
        };
        if self.receipt(newest.hash).await?.is_some() {
            return Ok(None);
        }
        if self.nonce(BlockNumberOrTag::Latest).await? == newest.nonce {
            let old = Offer {
                fee_max: newest.fee_max,
                tip_max: newest.tip_max,
            };
            let fees = self.fees();
            let market = fees.offer(&self.rpc).await?;
            if let Some(offer) = fees.dearer(old, market) {
                self.replace(slot, &newest, offer).await?;
            }
        }
        match self.broadcast(slot).await {
            Err(refused @ Fault::RpcRefused { .. }) => Ok(Some(refused)),
            other => other.map(|()| None),
        }
    }

    async fn replace(&self, slot: Slot, newest: &Sending, offer: Offer) -> Result<(), Fault> {
        let mut transaction = decode(&newest.raw)?;
        transaction.max_fee_per_gas = offer.fee_max;
        transaction.max_priority_fee_per_gas = offer.tip_max;
        let sending = self.sign(slot, transaction);
        tracing::info!(
            effect = slot.0.value(),
            nonce = sending.nonce,
            fee = offer.fee_max,
            "replacing a stuck transaction"
        );
        let mut record = self.record.lock().await;
        record.store.append(&Entry::Sending(sending.clone()))?;
        if let Some(attempt) = record.attempts.get_mut(&slot) {
            attempt.versions.push(sending);
        }
        Ok(())
    }
}

/// What the chain says of a transaction.
enum Look {
    Included(Inclusion),
    Waiting,
    /// Up to finality, and by none of ours: only another holder of the key can have done that.
    NonceUsed(u64),
}

impl std::fmt::Debug for Account {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "Account({} on chain {})",
            self.address(),
            self.settings.chain_id
        )
    }
}

fn decode(raw: &[u8]) -> Result<TxEip1559, Fault> {
    use alloy::{consensus::TxEnvelope, eips::eip2718::Decodable2718};
    let nonsense = |what: String| Fault::Store {
        source: std::io::Error::other(what),
    };
    match TxEnvelope::decode_2718(&mut &*raw).map_err(|error| nonsense(error.to_string()))? {
        TxEnvelope::Eip1559(signed) => Ok(signed.strip_signature()),
        _ => Err(nonsense("a recorded transaction is not of type 2".into())),
    }
}

fn inclusion(receipt: &TransactionReceipt) -> Option<Inclusion> {
    let gas_used = receipt.gas_used;
    Some(Inclusion {
        transaction: hash(receipt.transaction_hash),
        block: BlockHeight::new(receipt.block_number?),
        succeeded: receipt.status(),
        gas_used,
        fee: Amount::new(u128::from(gas_used).saturating_mul(receipt.effective_gas_price)),
        created: receipt.contract_address.map(plain),
    })
}

pub(crate) fn tag(depth: Finality) -> BlockNumberOrTag {
    match depth {
        Finality::Seen => BlockNumberOrTag::Latest,
        Finality::Safe => BlockNumberOrTag::Safe,
        Finality::Final => BlockNumberOrTag::Finalized,
    }
}

pub(crate) fn saturated(word: U256) -> Amount {
    Amount::new(u128::try_from(word).unwrap_or(u128::MAX))
}
