//! What a world begins with: a founded pool, assets, peers, LPs and prices, all drawn from the seed.

use forebay_channel::{Address, Domain, NodeId};
use forebay_market::{Guards, SpreadPolicy};
use forebay_pool::{
    Admin, AssetDefinition, AssetPolicy, BitcoinDefinition, Command, Genesis, PeerKeys, PeerPolicy,
    Rejection, ReserveRules, VaultRules,
};
use forebay_quantity::{
    Amount, AssetId, Bps, ChannelSerial, CommandId, Hash32, Milliseconds, PeerId, Ppm, SourceId,
};
use sha2::{Digest, Sha256};

use crate::actions;
use crate::actor::Actor;
use crate::chain::{Chain, FINALITY_DEPTH};
use crate::growth::GrowthRules;
use crate::lightning::Lightning;
use crate::random::Random;
use crate::vault::{Call, Sender, Vault, VaultParameters};
use crate::world::{OnBitcoin, START_MS, World};

pub(crate) const CHAIN_ID: u64 = 31_337;
/// Price units in one unit of reference.
pub(crate) const PRICE_ONE: u128 = 1_000_000_000_000;
/// Code, ledger scale, chain scale, price in units of reference.
const ASSETS: [(&str, u8, u8, u128); 3] = [
    ("ETH", 9, 18, 2_000),
    ("USD", 6, 6, 1),
    ("BTC", 8, 8, 60_000),
];
const CLOSE_PERIOD_S: u64 = 6 * 3_600;

pub(crate) fn genesis(random: &mut Random) -> Genesis {
    Genesis {
        operator: "test.pool".into(),
        pool_signer: address(b"pool", 0),
        expiry_margin_ms: random.pick(&[0, 500, 1_000]),
        hold_max_ms: random.pick(&[10_000, 30_000, 60_000]),
        forward_min_ms: random.pick(&[0, 500]),
        first_serial: ChannelSerial(random.below(1_000)),
    }
}

/// An address that nobody else has.
pub(crate) fn address(what: &[u8], number: u64) -> Address {
    let mut hasher = Sha256::new();
    hasher.update(what);
    hasher.update(number.to_le_bytes());
    let hash: [u8; 32] = hasher.finalize().into();
    let mut bytes = [0; 20];
    bytes.copy_from_slice(&hash[..20]);
    Address::new(bytes)
}

pub(crate) fn definition(number: usize, random: &mut Random) -> AssetDefinition {
    let (code, scale, chain_scale, _) = ASSETS[number];
    AssetDefinition {
        code: code.into(),
        scale,
        chain_id: CHAIN_ID,
        chain_scale,
        vault: address(b"vault", u64::try_from(number).expect("few")),
        token: Address::ZERO,
        floor: Bps(random.pick(&[0, 1_000, 3_000])),
        index_rate_max: 10u128.pow(24),
    }
}

pub(crate) fn asset_policy(random: &mut Random) -> AssetPolicy {
    AssetPolicy {
        guards: Guards {
            sources_min: random.pick(&[3, 3, 4]),
            age_max_ms: Milliseconds(random.pick(&[20_000, 60_000, 600_000])),
            deviation_max: Bps(random.pick(&[100, 300])),
        },
        spread: SpreadPolicy {
            floor_ppm: Ppm(random.pick(&[0, 1_000, 3_333])),
            volatility_multiplier_ppm: Ppm(random.pick(&[0, 1_000_000])),
            holding_time_ms: Milliseconds(1_000),
            size_ppm_per_depth: Ppm(random.pick(&[0, 500])),
            depth: Amount::new(10u128.pow(10)),
            skew_ppm_max: Ppm(random.pick(&[0, 2_000])),
        },
        lent_max: Amount::new(u128::from(random.between(1, 100)) * 10u128.pow(9)),
        note_rate: random.pick(&[0, 10u128.pow(23), 10u128.pow(24)]),
        index_interval_ms: random.pick(&[60_000, 3_600_000]),
        fee_release_ms: 3_600_000,
    }
}

pub(crate) fn peer_policy(random: &mut Random, receives: bool) -> PeerPolicy {
    let allotment = if receives {
        u128::from(random.between(1, 30)) * 10u128.pow(9)
    } else {
        0
    };
    let threshold = random.pick(&[0, 1_000, 1_000_000, 200_000_000]);
    PeerPolicy {
        credit: Amount::new(random.pick(&[0, 0, 0, 50_000_000, 2_000_000_000])),
        packet_max: random.pick(&[10u64.pow(9), 10u64.pow(10)]),
        in_flight_max: random.pick(&[3, 20, 10_000]),
        settle_threshold: Amount::new(threshold),
        settle_target: Amount::new(random.pick(&[0, threshold / 2])),
        allotment: Amount::new(allotment),
        allotment_term_ms: random.pick(&[12, 24, 48]) * 3_600_000,
        redeem_threshold: Amount::new(random.pick(&[0, 10u128.pow(8), 10u128.pow(10)])),
    }
}

pub(crate) fn populate(world: &mut World, has_bitcoin: bool) {
    before_founding(world);
    let genesis = world.genesis.clone();
    world.admin(Admin::Found(genesis)).expect("the first");
    let assets = 2 + world.random.index(2) - usize::from(has_bitcoin);
    let mut vaults = Vec::new();
    for (number, (_, _, _, price)) in ASSETS.into_iter().enumerate().take(assets) {
        let definition = definition(number, &mut world.random);
        let mut policy = asset_policy(&mut world.random);
        policy.guards.sources_min = 3;
        let domain = Domain::new(CHAIN_ID, definition.vault);
        let steps = u32::from(definition.chain_scale - definition.scale);
        let growth = growth_rules(world, 10u128.pow(steps));
        let rules = VaultRules {
            bucket_capacity: Amount::new(growth.bucket_capacity),
            bucket_refill_per_day: Amount::new(growth.bucket_refill_per_day),
            heartbeat_max_ms: growth.heartbeat_max_s * 1_000,
            has_committee: true,
        };
        vaults.push(Vault::new(
            VaultParameters {
                growth,
                domain,
                floor_bps: u128::from(definition.floor.0),
                close_period_s: CLOSE_PERIOD_S,
                exit_notice_s: 12 * 3_600,
                term_max_s: 72 * 3_600,
                index_rate_max: definition.index_rate_max,
                note_min: 1_000,
            },
            START_MS / 1_000,
        ));
        world.domains.push(domain);
        world.factors.push(10u128.pow(steps));
        world.true_prices.push(price * PRICE_ONE);
        world
            .admin(Admin::AddAsset(definition, policy))
            .expect("a sound asset");
        let asset = AssetId(u16::try_from(number).expect("few"));
        world
            .apply(&Command::VaultRules { asset, rules })
            .expect("news");
    }
    world.chain = Chain::new(vaults, START_MS / 1_000, FINALITY_DEPTH);
    let vaults = assets;
    let assets = assets + usize::from(has_bitcoin);
    if has_bitcoin {
        list_bitcoin(world, vaults);
    }
    let peers = 3 + world.random.index(4);
    for number in 0..peers {
        let asset = AssetId(u16::try_from(number % assets).expect("few"));
        let (sends, receives) = match number {
            0 => (true, false),
            1 => (false, true),
            _ => world
                .random
                .pick(&[(true, true), (true, true), (true, false), (false, true)]),
        };
        add_peer(world, asset, sends, receives);
    }
    for number in 0..3 {
        world.lps.push(address(b"lp", number));
    }
    for number in 0..vaults {
        let factor = world.factors[number];
        let asset = AssetId(u16::try_from(number).expect("few"));
        let owner = world.lps[number % 3];
        let amount = u128::from(world.random.between(10, 300)) * 10u128.pow(9) * factor + 7;
        submit(
            world,
            asset,
            Sender::Account(owner),
            Call::DepositNote { owner, amount },
        );
        if world.random.chance(600) {
            let amount = u128::from(world.random.between(1, 30)) * 10u128.pow(9) * factor + 3;
            submit(
                world,
                asset,
                Sender::Account(owner),
                Call::DepositShare { amount },
            );
        }
        quote_round(world, asset);
    }
    world.end_batch(None);
    if has_bitcoin {
        fund_bitcoin(world, AssetId(u16::try_from(vaults).expect("few")));
    }
}

/// Lists bitcoin after the vaults, in sat or in msat.
fn list_bitcoin(world: &mut World, vaults: usize) {
    let scale = world.random.pick(&[8, 11]);
    let definition = BitcoinDefinition {
        code: "BTC".into(),
        scale,
        genesis: Hash32([6; 32]),
        index_rate_max: 10u128.pow(24),
    };
    let mut policy = asset_policy(&mut world.random);
    policy.guards.sources_min = 3;
    world.factors.push(10u128.pow(u32::from(11 - scale)));
    world.true_prices.push(60_000 * PRICE_ONE);
    let listed = world.admin(Admin::AddBitcoin(definition, policy));
    listed.expect("a sound asset");
    let node = node_of(u64::MAX);
    let lightning = Lightning::new(world.random.next(), node);
    let asset = AssetId(u16::try_from(vaults).expect("few"));
    let factor = world.factors[vaults];
    let rules = ReserveRules {
        hot_max: Amount::new(u128::from(world.random.between(100, 400)) * 10u128.pow(9) * factor),
        descriptor: Hash32([5; 32]),
    };
    world.bitcoin = Some(OnBitcoin::new(asset, lightning, rules));
    let policy = actions::liquidity(world);
    world.admin(Admin::SetLiquidity(policy)).expect("sound");
}

/// The node that settles for a peer.
pub(crate) fn node_of(number: u64) -> NodeId {
    let mut bytes = [2; 33];
    bytes[1..21].copy_from_slice(&address(b"node", number).value());
    NodeId(bytes)
}

/// Before anything goes wrong: capital and a first LP, and channels with all peers.
fn fund_bitcoin(world: &mut World, asset: AssetId) {
    let factor = world.factors[usize::from(asset.0)];
    let sat = |units: u64| u64::try_from(u128::from(units) * factor * 1_000_000).expect("few");
    let capital = sat(world.random.between(100, 300));
    let mut openers = Vec::new();
    for actor in &world.actors {
        openers.extend(actor.node.filter(|_| actor.sends));
    }
    world.calm = true;
    let lightning = &mut world.bitcoin.as_mut().expect("just listed").lightning;
    lightning.calm = true;
    lightning.deposit(None, capital);
    for node in openers {
        let value_sat = sat(world.random.between(2, 40));
        lightning.be_opened(node, value_sat);
    }
    for _ in 0..24 {
        let lightning = &mut world.bitcoin.as_mut().expect("just listed").lightning;
        lightning.mine();
        world.move_world();
        world.end_batch(None);
    }
    world.calm = false;
    let bitcoin = world.bitcoin.as_mut().expect("just listed");
    bitcoin.lightning.calm = false;
    bitcoin.next_block = START_MS + 300_000;
    quote_round(world, asset);
}

/// Three named keys, of which two co-sign and one freezes.
pub(crate) fn committee() -> Vec<Address> {
    (0..3).map(|number| address(b"member", number)).collect()
}

/// A bucket that is sometimes small; it fills again within the hours that a healed world has.
fn growth_rules(world: &mut World, factor: u128) -> GrowthRules {
    let capacity = world.random.pick(&[20, 60, 1_000]) * 10u128.pow(9) * factor;
    GrowthRules {
        bucket_capacity: capacity,
        bucket_refill_per_day: capacity * 24,
        heartbeat_max_s: world.random.pick(&[6, 30 * 24]) * 3_600,
        committee: committee(),
        committee_spend: 2,
        committee_freeze: 1,
    }
}

/// What a pool that does not exist yet must refuse.
fn before_founding(world: &mut World) {
    let refused = world.admin(Admin::HaltBook(AssetId(0)));
    assert_eq!(refused, Err(Rejection::NotFounded));
    let id = CommandId([0xff; 16]);
    let bad = Genesis {
        hold_max_ms: 0,
        ..world.genesis.clone()
    };
    let refused = world.apply(&Command::Admin(id, Admin::Found(bad)));
    assert!(matches!(refused, Err(Rejection::BadPolicy(_))));
}

pub(crate) fn submit(world: &mut World, asset: AssetId, sender: Sender, call: Call) {
    world.chain.submit(crate::chain::Transaction {
        asset,
        sender,
        call,
        effect: None,
    });
}

/// Three honest sources report, close to the true price.
pub(crate) fn quote_round(world: &mut World, asset: AssetId) {
    let price = world.true_prices[usize::from(asset.0)];
    for source in 0..4 {
        let off = u128::from(world.random.below(20));
        let price = price - price * off / 10_000;
        report(world, asset, source, price, world.wall().0);
    }
}

pub(crate) fn report(world: &mut World, asset: AssetId, source: u16, price: u128, at: u64) {
    let _taken_or_not = world.apply(&Command::Price {
        asset,
        source: SourceId(source),
        price,
        at: forebay_quantity::Timestamp(at),
    });
}

/// Asks for a new account, and plays its peer once the pool has it for certain.
pub(crate) fn add_peer(world: &mut World, asset: AssetId, sends: bool, receives: bool) {
    let number = world.actors.len();
    let name = format!("peer{number}");
    let policy = peer_policy(&mut world.random, receives);
    let token_hash = Hash32(Sha256::digest(name.as_bytes()).into());
    let added = world.admin(Admin::AddPeer {
        name: name.clone(),
        asset,
        token_hash,
        policy,
    });
    if added.is_err() {
        return;
    }
    world.end_batch(None);
    if world.is_up() && !world.halted {
        let id = PeerId(u32::try_from(number).expect("few"));
        let actor = actor(world, id, name, asset, sends, receives);
        world.actors.push(actor);
        name_keys(world, number);
    }
}

pub(crate) fn actor(
    world: &World,
    id: PeerId,
    name: String,
    asset: AssetId,
    sends: bool,
    receives: bool,
) -> Actor {
    let number = u64::from(id.0);
    let bitcoin = world.bitcoin.as_ref();
    let is_on_bitcoin = bitcoin.is_some_and(|bitcoin| bitcoin.asset == asset);
    Actor {
        id,
        name,
        asset,
        factor: world.factors[usize::from(asset.0)],
        signer: address(b"signer", number),
        payout: address(b"payout", number),
        former: Vec::new(),
        sends,
        receives,
        next_request: 1,
        sent: Default::default(),
        answered: Default::default(),
        vouchers: Default::default(),
        given: Default::default(),
        removed: false,
        node: is_on_bitcoin.then(|| node_of(number)),
        next_settlement: 1,
        came: Default::default(),
        disowned: Default::default(),
    }
}

pub(crate) fn name_keys(world: &mut World, number: usize) {
    if world.actors[number].node.is_some() {
        return world.reconnect_on_bitcoin(number);
    }
    let actor = &world.actors[number];
    let (peer, keys) = (
        actor.id,
        PeerKeys {
            signer: actor.signer,
            payout: actor.payout,
        },
    );
    let _taken_or_not = world.apply(&Command::Keys { peer, keys });
}

/// After a restart: an account that was asked for in the last batch may exist after all.
pub(crate) fn match_actors(world: &mut World) {
    while let Some((id, account)) = world.process.state().peers().nth(world.actors.len()) {
        let (name, asset) = (account.name.clone(), account.asset);
        let actor = actor(world, id, name, asset, true, true);
        world.actors.push(actor);
    }
}
