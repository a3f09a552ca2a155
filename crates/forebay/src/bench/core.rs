//! The core without sockets: sequencer and journal on one thread, as the node's core thread has them. It founds the pools
//! that are measured, and takes packets itself where sockets are no matter or cannot be so many.
//!
//! There is no chain: what the vaults would report is handed to the core here, through the same command that the chain
//! adapter uses. Senders have credit, receivers a lane with an allotment; fees, spread, limits, vouchers and the
//! journal are as anywhere.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use forebay_chain_evm::Key;
use forebay_channel::Address;
use forebay_journal::{Head, Journal, LocalDisk, Options};
use forebay_market::{Guards, SpreadPolicy};
use forebay_pool::{
    Admin, AssetDefinition, AssetPolicy, ChainFact, ChainRequest, Command, Depth, Effect, FactAt,
    Genesis, PeerKeys, PeerPolicy, Sequencer, State, VaultFact,
};
use forebay_quantity::{
    Amount, AssetId, Bps, ChannelSerial, CommandId, EffectId, Hash32, Milliseconds, PeerId, Ppm,
    SourceId,
};
use sha2::{Digest, Sha256};

use super::generator::now;

const BTC: AssetId = AssetId(0);
const ETH: AssetId = AssetId(1);
const DAY_MS: u64 = 86_400_000;
/// More than any run moves.
const PLENTY: u128 = 10_u128.pow(24);
/// What a receiver's lane covers at most; with many receivers they share what an LP has put in.
const ALLOTMENT_MAX: u128 = 10_u128.pow(19);
/// A voucher follows every so many base units of the receiver's asset: a thousand packets of the generator.
const SETTLE_THRESHOLD: u128 = 200_000_000;
/// Commands of a founding that share a sync; fewer than the chain effects that may be outstanding.
const COMMANDS_PER_BATCH: usize = 1_024;

/// The accounts of a pool to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accounts {
    /// In BTC, on credit.
    pub(super) senders: u32,
    /// In ETH, each with a channel.
    pub(super) receivers: u32,
}

impl Accounts {
    /// One of each, as the generator knows them.
    pub(super) const PAIR: Self = Self {
        senders: 1,
        receivers: 1,
    };

    /// The first of each come first, so that they have the same numbers however many follow.
    pub(super) fn sender(self, number: u32) -> PeerId {
        PeerId(if number == 0 { 0 } else { number + 1 })
    }

    fn receiver(self, number: u32) -> PeerId {
        PeerId(if number == 0 {
            1
        } else {
            self.senders + number
        })
    }
}

/// The name of a sender, which is its token as well.
pub(super) fn sender_name(number: u32) -> String {
    match number {
        0 => "sender".to_owned(),
        _ => format!("sender-{number}"),
    }
}

/// The name of a receiver, which is its token as well.
pub(super) fn receiver_name(number: u32) -> String {
    match number {
        0 => "receiver".to_owned(),
        _ => format!("receiver-{number}"),
    }
}

/// The key of every pool that is measured.
pub(super) fn pool_key() -> Result<Key> {
    Key::from_bytes([7; 32]).context("a fixed key is a key")
}

/// A sequencer with its journal.
pub(super) struct Core {
    pub(super) sequencer: Sequencer,
    journal: Journal,
    signer: Address,
    block: u64,
    instruction: u64,
}

impl Core {
    /// Whether a folder holds a pool already.
    pub(super) fn is_founded(folder: &Path) -> bool {
        folder.join("journal").exists()
    }

    /// Founds a pool in a folder, where the node will look for it.
    pub(super) fn found(folder: &Path, accounts: Accounts) -> Result<Self> {
        let mut core = Self::begin(folder)?;
        core.list_assets()?;
        core.add_peers(accounts)?;
        core.open_channels(accounts)?;
        Ok(core)
    }

    /// Founds a pool that has no asset and no account yet.
    pub(super) fn begin(folder: &Path) -> Result<Self> {
        let storage = Arc::new(LocalDisk::open(folder.join("journal"))?);
        let (journal, _) = Journal::open(storage, Options::new([0; 32]))?;
        let mut core = Self {
            sequencer: Sequencer::new(State::default()),
            journal,
            signer: pool_key()?.address(),
            block: 0,
            instruction: 0,
        };
        core.admin(Admin::Found(Genesis {
            operator: "test.pool".into(),
            pool_signer: core.signer,
            expiry_margin_ms: 1_000,
            hold_max_ms: 30_000,
            forward_min_ms: 500,
            first_serial: ChannelSerial(1),
        }))?;
        Ok(core)
    }

    /// Writes a snapshot of an earlier state beside a pool that has ended.
    pub(super) fn add_snapshot(folder: &Path, head: Head, state: &[u8]) -> Result<()> {
        let storage = Arc::new(LocalDisk::open(folder.join("journal"))?);
        let (mut journal, _) = Journal::open(storage, Options::new([0; 32]))?;
        journal.snapshot(head, state)?;
        journal.close()?;
        Ok(())
    }

    /// Has a command decided.
    pub(super) fn apply(&mut self, command: &Command<'_>) -> Result<()> {
        let decided = self.sequencer.apply(now(), command);
        decided.map_err(|rejection| anyhow::anyhow!("{rejection}"))
    }

    /// Makes all that was decided durable, then hands out its effects; returns how many events that were.
    pub(super) fn commit(&mut self, each: impl FnMut(Effect)) -> Result<u64> {
        self.sequencer.plan(now());
        let records = self.sequencer.records();
        if let Some(payload) = self.sequencer.batch() {
            self.journal.append(payload)?;
            self.journal.sync()?;
        }
        self.sequencer.release(each);
        Ok(u64::from(records))
    }

    /// The state now and the frame that it stands for.
    pub(super) fn snapshot(&self) -> (Head, Vec<u8>) {
        (self.journal.head(), self.sequencer.state().snapshot())
    }

    /// Ends the journal in order.
    pub(super) fn close(self) -> Result<()> {
        self.journal.close()?;
        Ok(())
    }

    fn list_assets(&mut self) -> Result<()> {
        self.admin(Admin::AddAsset(definition("BTC", 8, 2), policy()))?;
        self.admin(Admin::AddAsset(definition("ETH", 9, 3), policy()))?;
        for source in 0..3 {
            for (asset, whole) in [(BTC, 65_000), (ETH, 3_250)] {
                self.apply(&Command::Price {
                    asset,
                    source: SourceId(source),
                    price: whole * 10_u128.pow(12),
                    at: now(),
                })?;
            }
        }
        let amount = Amount::new(PLENTY);
        let owner = Address::new([9; 20]);
        let deposited = VaultFact::NoteDeposited {
            owner,
            units: amount,
            amount,
        };
        self.fact(ETH, deposited)
    }

    fn add_peers(&mut self, accounts: Accounts) -> Result<()> {
        let Accounts { senders, receivers } = accounts;
        let allotment = ALLOTMENT_MAX.min(PLENTY / 2 / u128::from(receivers.max(1)));
        self.add_peer(sender_name(0), BTC, PLENTY, 0)?;
        self.add_peer(receiver_name(0), ETH, 0, allotment)?;
        for number in 1..senders {
            self.add_peer(sender_name(number), BTC, PLENTY, 0)?;
        }
        for number in 1..receivers {
            self.add_peer(receiver_name(number), ETH, 0, allotment)?;
        }
        self.commit(drop)?;
        Ok(())
    }

    fn add_peer(
        &mut self,
        name: String,
        asset: AssetId,
        credit: u128,
        allotment: u128,
    ) -> Result<()> {
        let policy = PeerPolicy {
            credit: Amount::new(credit),
            packet_max: 1_000_000_000,
            in_flight_max: 100_000,
            settle_threshold: Amount::new(SETTLE_THRESHOLD),
            settle_target: Amount::ZERO,
            allotment: Amount::new(allotment),
            allotment_term_ms: DAY_MS,
            redeem_threshold: Amount::new(PLENTY),
        };
        let token_hash = Hash32(Sha256::digest(name.as_bytes()).into());
        self.admin(Admin::AddPeer {
            name,
            asset,
            token_hash,
            policy,
        })
    }

    /// The receivers name their keys, the core asks for channels, and the vault reports them open.
    fn open_channels(&mut self, accounts: Accounts) -> Result<()> {
        let keys = PeerKeys {
            signer: Address::new([5; 20]),
            payout: Address::new([6; 20]),
        };
        let numbers: Vec<u32> = (0..accounts.receivers).collect();
        for batch in numbers.chunks(COMMANDS_PER_BATCH) {
            for &number in batch {
                let peer = accounts.receiver(number);
                self.apply(&Command::Keys { peer, keys })?;
            }
            let mut asked = Vec::new();
            self.commit(|effect| {
                if let Effect::Chain { id, request } = effect {
                    asked.push((id, request));
                }
            })?;
            for (effect, request) in asked {
                self.open_channel(effect, request)?;
            }
            self.commit(drop)?;
        }
        Ok(())
    }

    fn open_channel(&mut self, effect: EffectId, request: ChainRequest) -> Result<()> {
        let ChainRequest::Open {
            asset,
            serial,
            peer_signer,
            ceiling,
            term_ends,
            ..
        } = request
        else {
            return Ok(());
        };
        let failure = None;
        self.apply(&Command::Outcome { effect, failure })?;
        let opened = VaultFact::ChannelOpened {
            serial,
            peer_signer,
            pool_signer: self.signer,
        };
        self.fact(asset, opened)?;
        self.fact(asset, VaultFact::AllotmentRaised { serial, ceiling })?;
        self.fact(asset, VaultFact::AllotmentRenewed { serial, term_ends })
    }

    /// Instructions share a sync like everything else.
    pub(super) fn admin(&mut self, admin: Admin) -> Result<()> {
        self.instruction += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.instruction.to_le_bytes());
        self.apply(&Command::Admin(CommandId(id), admin))?;
        if self.sequencer.records() as usize >= COMMANDS_PER_BATCH {
            self.commit(drop)?;
        }
        Ok(())
    }

    fn fact(&mut self, asset: AssetId, fact: VaultFact) -> Result<()> {
        self.block += 1;
        let at = FactAt {
            block: self.block,
            log: 0,
        };
        self.apply(&Command::Chain(ChainFact {
            asset,
            at,
            depth: Depth::Final,
            fact,
        }))
    }
}

fn definition(code: &str, scale: u8, vault: u8) -> AssetDefinition {
    AssetDefinition {
        code: code.into(),
        scale,
        chain_id: 1,
        chain_scale: scale,
        vault: Address::new([vault; 20]),
        token: Address::ZERO,
        floor: Bps(1_000),
        index_rate_max: 0,
    }
}

pub(super) fn policy() -> AssetPolicy {
    AssetPolicy {
        guards: Guards {
            sources_min: 3,
            age_max_ms: Milliseconds(DAY_MS),
            deviation_max: Bps(100),
        },
        spread: SpreadPolicy {
            floor_ppm: Ppm(2_000),
            volatility_multiplier_ppm: Ppm(1_000_000),
            holding_time_ms: Milliseconds(1_000),
            size_ppm_per_depth: Ppm(100),
            depth: Amount::new(PLENTY),
            skew_ppm_max: Ppm(0),
        },
        lent_max: Amount::new(PLENTY),
        note_rate: 0,
        index_interval_ms: DAY_MS,
        fee_release_ms: DAY_MS,
    }
}
