//! A small pool to test on: two assets, three price sources, a sender paid for by deposit, a receiver with a lane.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use forebay_channel::{Address, Domain, LaneId, Signature, Verified, Voucher};
use forebay_market::{Guards, SpreadPolicy};
use forebay_pool::*;
use forebay_quantity::*;
use k256::ecdsa::SigningKey;
use sha2::{Digest, Sha256};

pub const ETH: AssetId = AssetId(0);
pub const USD: AssetId = AssetId(1);
pub const ALICE: PeerId = PeerId(0);
pub const BOB: PeerId = PeerId(1);
pub const GWEI: u128 = 1_000_000_000;
pub const PREIMAGE: [u8; 32] = [7; 32];

pub struct World {
    pub sequencer: Sequencer,
    pub journal: Vec<Vec<u8>>,
    pub wall: Timestamp,
    block: u64,
    command: u64,
}

impl World {
    /// A founded pool with assets, prices and peers, but no money yet.
    pub fn founded() -> Self {
        let mut world = Self {
            sequencer: Sequencer::new(State::default()),
            journal: Vec::new(),
            wall: Timestamp(1_800_000_000_000),
            block: 0,
            command: 0,
        };
        world.admin(Admin::Found(Genesis {
            operator: "test.pool".into(),
            pool_signer: Address::new([1; 20]),
            expiry_margin_ms: 1_000,
            hold_max_ms: 30_000,
            forward_min_ms: 500,
            first_serial: ChannelSerial(100),
        }));
        world.admin(Admin::AddAsset(definition("ETH", 9, 18, 2), policy()));
        world.admin(Admin::AddAsset(definition("USD", 6, 6, 3), policy()));
        world.hear();
        for source in 0..3 {
            world.price(ETH, source, 2_000);
            world.price(USD, source, 1);
        }
        for (name, asset, allotment) in [("alice", ETH, 0), ("bob", USD, 1_000_000_000u128)] {
            let token_hash = Hash32(Sha256::digest(name.as_bytes()).into());
            world.admin(Admin::AddPeer {
                name: name.into(),
                asset,
                token_hash,
                policy: peer_policy(allotment),
            });
        }
        world
    }

    /// The same, with an LP's 10,000 USD, open channels, and 1 ETH deposited by Alice of which half is vouched for.
    pub fn funded() -> Self {
        Self::funded_under(VaultRules::default())
    }

    /// The same, with a USD vault of these rules.
    pub fn funded_under(rules: VaultRules) -> Self {
        let mut world = Self::founded();
        if rules != VaultRules::default() {
            let told = Command::VaultRules { asset: USD, rules };
            world.apply(&told).unwrap();
        }
        let note = VaultFact::NoteDeposited {
            owner: Address::new([9; 20]),
            units: Amount::new(10_000_000_000),
            amount: Amount::new(10_000_000_000),
        };
        world.fact(USD, note).unwrap();
        for peer in [ALICE, BOB] {
            let keys = PeerKeys {
                signer: signer_address(peer),
                payout: Address::new([20; 20]),
            };
            world.apply(&Command::Keys { peer, keys }).unwrap();
        }
        let effects = world.sync();
        for effect in effects {
            let Effect::Chain {
                id,
                request:
                    ChainRequest::Open {
                        asset,
                        serial,
                        peer_signer,
                        ceiling,
                        term_ends,
                        ..
                    },
            } = effect
            else {
                continue;
            };
            world
                .apply(&Command::Outcome {
                    effect: id,
                    failure: None,
                })
                .unwrap();
            world
                .fact(
                    asset,
                    VaultFact::ChannelOpened {
                        serial,
                        peer_signer,
                        pool_signer: Address::new([1; 20]),
                    },
                )
                .unwrap();
            world
                .fact(asset, VaultFact::AllotmentRaised { serial, ceiling })
                .unwrap();
            world
                .fact(asset, VaultFact::AllotmentRenewed { serial, term_ends })
                .unwrap();
        }
        let serial = world.serial(ALICE);
        world
            .fact(
                ETH,
                VaultFact::PeerDeposited {
                    serial,
                    ceiling: Amount::new(GWEI * GWEI),
                },
            )
            .unwrap();
        world.voucher(ALICE, GWEI * GWEI / 2).unwrap();
        world.sync();
        world
    }

    pub fn state(&self) -> &State {
        self.sequencer.state()
    }

    pub fn serial(&self, peer: PeerId) -> ChannelSerial {
        self.state()
            .peer(peer)
            .unwrap()
            .channel
            .as_ref()
            .unwrap()
            .serial()
    }

    pub fn apply(&mut self, command: &Command<'_>) -> Result<(), Rejection> {
        self.sequencer.apply(self.wall, command)
    }

    pub fn admin(&mut self, admin: Admin) {
        self.try_admin(admin).unwrap();
    }

    pub fn try_admin(&mut self, admin: Admin) -> Result<(), Rejection> {
        self.command += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.command.to_le_bytes());
        self.apply(&Command::Admin(CommandId(id), admin))
    }

    pub fn price(&mut self, asset: AssetId, source: u16, whole: u128) {
        let price = whole * 10u128.pow(12);
        let at = self.wall;
        self.apply(&Command::Price {
            asset,
            source: SourceId(source),
            price,
            at,
        })
        .unwrap();
    }

    pub fn fact(&mut self, asset: AssetId, fact: VaultFact) -> Result<(), Rejection> {
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

    /// Both chains have a block of now.
    pub fn hear(&mut self) {
        for asset in [ETH, USD] {
            self.sequencer.hear(asset, self.wall);
        }
    }

    /// A voucher of the peer's lane for a cumulative chain amount, really signed.
    pub fn voucher(&mut self, peer: PeerId, amount: u128) -> Result<(), Rejection> {
        let voucher = Voucher {
            serial: self.serial(peer),
            lane: LaneId::Peer,
            amount: Amount::new(amount),
        };
        self.apply(&Command::Voucher {
            peer,
            voucher: signed(voucher, peer),
        })
    }

    pub fn prepare(&mut self, request: u32, amount: u64, ttl_ms: u64) -> Result<(), Rejection> {
        let expires_at = Timestamp(self.wall.0 + ttl_ms);
        self.apply(&prepare(request, amount, expires_at, "test.pool.bob.shop"))
    }

    /// Plans, "syncs" and releases; gives the effects.
    pub fn sync(&mut self) -> Vec<Effect> {
        self.sequencer.plan(self.wall);
        if let Some(batch) = self.sequencer.batch() {
            self.journal.push(batch.to_vec());
        }
        let mut effects = Vec::new();
        self.sequencer.release(|effect| effects.push(effect));
        effects
    }

    pub fn forwarded(effects: &[Effect]) -> Vec<(PacketId, u64)> {
        let forwards = effects.iter().filter_map(|effect| match effect {
            Effect::Forward { packet, amount, .. } => Some((*packet, *amount)),
            _ => None,
        });
        forwards.collect()
    }
}

pub fn prepare(request: u32, amount: u64, expires_at: Timestamp, destination: &str) -> Command<'_> {
    let condition = Sha256::digest(PREIMAGE).into();
    let destination = destination.as_bytes();
    Command::Prepare(Prepare {
        peer: ALICE,
        request,
        amount,
        expires_at,
        condition,
        destination,
    })
}

pub fn definition(code: &str, scale: u8, chain_scale: u8, vault: u8) -> AssetDefinition {
    AssetDefinition {
        code: code.into(),
        scale,
        chain_id: 31_337,
        chain_scale,
        vault: Address::new([vault; 20]),
        token: Address::ZERO,
        floor: Bps(1_000),
        index_rate_max: 10u128.pow(24),
    }
}

pub fn policy() -> AssetPolicy {
    AssetPolicy {
        guards: Guards {
            sources_min: 3,
            age_max_ms: Milliseconds(60_000),
            deviation_max: Bps(100),
        },
        spread: SpreadPolicy {
            floor_ppm: Ppm(1_000),
            volatility_multiplier_ppm: Ppm(1_000_000),
            holding_time_ms: Milliseconds(1_000),
            size_ppm_per_depth: Ppm(0),
            depth: Amount::new(1_000_000_000_000),
            skew_ppm_max: Ppm(0),
        },
        lent_max: Amount::new(5_000_000_000),
        note_rate: 10u128.pow(24),
        index_interval_ms: 60_000,
        fee_release_ms: 3_600_000,
    }
}

pub fn peer_policy(allotment: u128) -> PeerPolicy {
    PeerPolicy {
        credit: Amount::ZERO,
        packet_max: 1_000_000_000,
        in_flight_max: 10_000,
        settle_threshold: Amount::new(1_000_000),
        settle_target: Amount::ZERO,
        allotment: Amount::new(allotment),
        allotment_term_ms: 86_400_000,
        redeem_threshold: Amount::new(100_000_000),
    }
}

fn key(peer: PeerId) -> SigningKey {
    SigningKey::from_slice(&[u8::try_from(peer.0).unwrap() + 1; 32]).unwrap()
}

pub fn signer_address(peer: PeerId) -> Address {
    forebay_channel::address_of_point(
        key(peer).verifying_key().to_encoded_point(false).as_bytes()[1..]
            .try_into()
            .unwrap(),
    )
}

fn signed(voucher: Voucher, peer: PeerId) -> Verified<Voucher> {
    let domain = Domain::new(31_337, Address::new([2; 20]));
    let digest = domain.digest(&voucher);
    let (signature, recovery) = key(peer)
        .sign_prehash_recoverable(digest.as_bytes())
        .unwrap();
    let signature = Signature::from_rs_and_parity(signature.to_bytes().into(), recovery.is_y_odd());
    Verified::verify(&domain, voucher, signature, signer_address(peer)).unwrap()
}

/// What a seeded world draws from: the same for ever from the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }
}
