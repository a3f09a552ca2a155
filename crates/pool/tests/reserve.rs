//! The reserve on Bitcoin: what is swept to it, asked back from it and renewed in it, each rule a row.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use forebay_channel::Address;
use forebay_pool::*;
use forebay_quantity::*;

const BTC: AssetId = AssetId(2);
/// Millisatoshi in a thousandth of a bitcoin: what all rows count in.
const MILLI: u128 = 100_000_000;
/// The cap, in such thousandths.
const HOT_MAX: u128 = 160;

/// A pool that holds so much on Bitcoin, all of it the share holder's.
fn pool(total: u128) -> World {
    let mut world = World::funded();
    let bitcoin = BitcoinDefinition {
        code: "BTC".into(),
        scale: 11,
        genesis: Hash32([6; 32]),
        index_rate_max: 0,
    };
    world.admin(Admin::AddBitcoin(bitcoin, policy()));
    deposit(&mut world, 1, None, total);
    world.sync();
    world
}

fn deposit(world: &mut World, output: u8, owner: Option<Address>, milli: u128) {
    let outpoint = Outpoint {
        txid: Hash32([output; 32]),
        index: 0,
    };
    let deposited = BitcoinFact::Deposited {
        outpoint,
        owner,
        amount: Amount::new(milli * MILLI),
    };
    world.apply(&Command::Bitcoin(deposited)).unwrap();
}

/// An LP has so much of it, and takes it out.
fn leave(world: &mut World, milli: u128) {
    let payout = vec![0x51; 34];
    let add = ClaimOrder::Add {
        payout: payout.clone(),
    };
    world.admin(Admin::Claim(add));
    let owner = world.state().lp_paid_at(&payout).unwrap();
    deposit(world, 2, Some(owner), milli);
    let way = Way::OnChain {
        amount: None,
        cost: OutputCost::default(),
    };
    world.admin(Admin::Claim(ClaimOrder::Withdraw { owner, way }));
    world.sync();
}

fn tell(world: &mut World, command: ReserveCommand) {
    world.apply(&Command::Reserve(command)).unwrap();
}

fn with_reserve(total: u128) -> World {
    let mut world = pool(total);
    let rules = ReserveRules {
        hot_max: Amount::new(HOT_MAX * MILLI),
        descriptor: Hash32([7; 32]),
    };
    tell(&mut world, ReserveCommand::Rules(rules));
    world
}

fn found(
    spendable: u128,
    waiting: u128,
    wanted: u128,
    reserve: u128,
    oldest_days: u32,
) -> Whereabouts {
    let amount = |milli| Amount::new(milli * MILLI);
    Whereabouts {
        spendable: amount(spendable),
        waiting: amount(waiting),
        wanted: amount(wanted),
        reserve: amount(reserve),
        oldest_days,
    }
}

/// What is demanded of the reserve, in words and thousandths.
fn demanded(effects: &[Effect]) -> Vec<String> {
    let requests = effects.iter().filter_map(|effect| match effect {
        Effect::Chain { request, .. } if request.is_of_reserve() => Some(request),
        _ => None,
    });
    let said = requests.map(|request| match request {
        ChainRequest::ToReserve { amount, .. } => format!("sweep {}", amount.value() / MILLI),
        ChainRequest::FromReserve { amount, .. } => format!("return {}", amount.value() / MILLI),
        ChainRequest::RenewReserve { .. } => "renew".into(),
        other => format!("{other:?}"),
    });
    said.collect()
}

fn demand(effects: &[Effect]) -> EffectId {
    let mut ids = effects.iter().filter_map(|effect| match effect {
        Effect::Chain { id, request } if request.is_of_reserve() => Some(*id),
        _ => None,
    });
    ids.next().unwrap()
}

#[test]
fn what_is_above_the_cap_is_swept_and_what_is_missing_is_asked_back() {
    // The cap is 160: a sweep leaves 120, below 40 a return brings it to 80, and less than 10 is not worth a transaction.
    for (total, (spendable, waiting, wanted, reserve, days), expected) in [
        (160, (160, 0, 0, 0, 0), ""),
        (161, (161, 0, 0, 0, 0), "sweep 41"),
        (400, (400, 0, 0, 0, 0), "sweep 280"),
        // What lies in channels, or is promised, cannot be swept.
        (400, (50, 0, 0, 0, 0), "sweep 50"),
        (400, (50, 0, 41, 0, 0), ""),
        (400, (52, 0, 41, 0, 0), "sweep 11"),
        (400, (9, 90, 0, 0, 0), ""),
        // What lies in the reserve is not hot.
        (400, (160, 0, 0, 240, 0), ""),
        (400, (161, 0, 0, 239, 0), "sweep 41"),
        // Too little is hot.
        (400, (40, 0, 0, 360, 0), ""),
        (400, (39, 0, 0, 361, 0), "return 41"),
        // What LPs are being paid leaves 50, then 39, then nothing and lacks 30 besides.
        (400, (100, 0, 50, 300, 0), ""),
        (400, (100, 0, 61, 300, 0), "return 41"),
        (400, (100, 0, 130, 300, 0), "return 110"),
        // Enough is hot, but in channels; or comes by itself.
        (400, (20, 0, 60, 300, 0), "return 40"),
        (400, (20, 80, 60, 300, 0), ""),
        // A sweep leaves what LPs are being paid.
        (500, (200, 0, 40, 300, 0), ""),
        (500, (201, 0, 40, 299, 0), "sweep 41"),
        // Never more than the reserve can pay and bear the miners.
        (420, (20, 0, 390, 400, 0), "return 393"),
        (64, (0, 0, 64, 64, 0), "return 63"),
        // Nothing is there to ask for.
        (60, (30, 0, 60, 0, 0), ""),
        // From day 50 on outputs are renewed; a return goes first, since both may spend the same outputs.
        (400, (100, 0, 0, 300, 49), ""),
        (400, (100, 0, 0, 300, 50), "renew"),
        (400, (100, 0, 0, 300, 80), "renew"),
        (400, (39, 0, 0, 361, 50), "return 41"),
    ] {
        let mut world = with_reserve(total - wanted);
        if wanted > 0 {
            leave(&mut world, wanted);
        }
        let place = found(spendable, waiting, wanted, reserve, days);
        tell(&mut world, ReserveCommand::Found(place));
        let effects = world.sync();
        assert_eq!(demanded(&effects).join(", "), expected, "{total} {place:?}");
        // Asked once: until it ends nothing else is.
        assert!(demanded(&world.sync()).is_empty());
    }
    let mut world = pool(400);
    tell(&mut world, ReserveCommand::Found(found(400, 0, 0, 0, 0)));
    assert!(
        demanded(&world.sync()).is_empty(),
        "without a reserve nothing is moved"
    );
}

#[test]
fn a_sweep_is_hot_until_it_is_buried_and_its_fee_is_booked_once() {
    let mut world = with_reserve(400);
    tell(&mut world, ReserveCommand::Found(found(400, 0, 0, 0, 0)));
    let id = demand(&world.sync());
    let hot = |world: &World| world.state().stolen_key_cost(BTC).value() / MILLI;
    assert_eq!(hot(&world), 400, "a thief could still pay it elsewhere");
    let is_above = |world: &World| {
        let mut alarms = world.state().alarms(world.wall);
        alarms.any(|alarm| matches!(alarm, Alarm::AboveCap(BTC, _)))
    };
    assert!(!is_above(&world), "it is on its way out");
    // Found in the reserve before its end is told: it is not counted twice, or some of it would be asked back at once.
    tell(&mut world, ReserveCommand::Found(found(120, 0, 0, 280, 0)));
    assert!(demanded(&world.sync()).is_empty());
    let fee = Amount::new(MILLI);
    let txid = Hash32([9; 32]);
    let paid = Command::PaymentFinal { id, txid, fee };
    world.apply(&paid).unwrap();
    assert_eq!(hot(&world), 119);
    assert_eq!(world.state().reserved(BTC).value() / MILLI, 280);
    assert!(matches!(
        world.apply(&paid),
        Err(Rejection::UnknownEffect | Rejection::AlreadyTaken)
    ));
    let accounts = world.state().asset(BTC).unwrap().accounts;
    let held = |world: &World| world.state().balance(accounts.vault).debit().value() / MILLI;
    assert_eq!(held(&world), 399, "what is in the reserve is the pool's");
    assert!(demanded(&world.sync()).is_empty());
    // One that cannot be paid is planned anew after a while.
    tell(&mut world, ReserveCommand::Found(found(300, 0, 0, 0, 0)));
    let id = demand(&world.sync());
    world.apply(&Command::PaymentRefused { id }).unwrap();
    assert!(demanded(&world.sync()).is_empty());
    world.wall = Timestamp(world.wall.0 + 30_000);
    assert_eq!(demanded(&world.sync()), ["sweep 279"]);
}

#[test]
fn a_draft_waits_for_members_and_ends_with_its_transaction() {
    let mut world = with_reserve(400);
    tell(&mut world, ReserveCommand::Found(found(39, 0, 0, 361, 0)));
    let id = demand(&world.sync());
    let owed = outstanding(world.state());
    assert_eq!(
        demanded(&owed),
        ["return 41"],
        "asked again after a restart"
    );
    // Whatever changes meanwhile, one draft waits at a time.
    tell(&mut world, ReserveCommand::Found(found(20, 0, 0, 380, 70)));
    assert!(demanded(&world.sync()).is_empty());
    let spent = ReserveCommand::Spent {
        txid: Hash32([9; 32]),
        demand: Some(id),
        fee: Amount::new(MILLI),
        lost: Amount::ZERO,
    };
    tell(&mut world, ReserveCommand::Found(found(80, 0, 0, 319, 0)));
    tell(&mut world, spent);
    let again = world.apply(&Command::Reserve(spent));
    assert_eq!(again, Err(Rejection::AlreadyTaken));
    assert!(demanded(&outstanding(world.state())).is_empty());
    let accounts = world.state().asset(BTC).unwrap().accounts;
    let held = world.state().balance(accounts.vault).debit().value() / MILLI;
    assert_eq!(held, 399);
}

#[test]
fn what_members_took_alone_is_a_loss_that_stops_the_book_and_age_is_an_alarm() {
    let mut world = with_reserve(400);
    tell(&mut world, ReserveCommand::Found(found(100, 0, 0, 300, 60)));
    let late = world.state().alarms(world.wall);
    let late = late.filter(|alarm| matches!(alarm, Alarm::ReserveLate(BTC, 60)));
    assert_eq!(late.count(), 1);
    tell(&mut world, ReserveCommand::Found(found(100, 0, 0, 0, 0)));
    let spent = ReserveCommand::Spent {
        txid: Hash32([9; 32]),
        demand: None,
        fee: Amount::new(MILLI),
        lost: Amount::new(299 * MILLI),
    };
    tell(&mut world, spent);
    let state = world.state();
    state.ledger().check_balanced().unwrap();
    let asset = state.asset(BTC).unwrap();
    assert!(asset.halted);
    assert_eq!(
        state.balance(asset.accounts.vault).debit().value(),
        100 * MILLI
    );
    assert_eq!(
        state.balance(asset.accounts.shares).credit().value(),
        100 * MILLI
    );
    world.sync();
    let mut again = Sequencer::new(State::default());
    for batch in &world.journal {
        again.replay(batch).unwrap();
    }
    assert_eq!(again.state().digest(), world.state().digest(), "[I10]");
}

/// What is demanded of channels, in words and thousandths.
fn channels_demanded(effects: &[Effect]) -> Vec<String> {
    let requests = effects.iter().filter_map(|effect| match effect {
        Effect::Chain { request, .. } => Some(request),
        _ => None,
    });
    let said = requests.filter_map(|request| match request {
        ChainRequest::OpenLightning { amount, .. } => {
            Some(format!("open {}", amount.value() / MILLI))
        }
        ChainRequest::SpliceIn { amount, .. } => Some(format!("in {}", amount.value() / MILLI)),
        ChainRequest::SpliceOut {
            channel, amount, ..
        } => Some(format!("out {} of {channel}", amount.value() / MILLI)),
        ChainRequest::CloseLightning { channel, .. } => Some(format!("close {channel}")),
        _ => None,
    });
    said.collect()
}

fn lightning(world: &mut World, command: LightningCommand) {
    world.apply(&Command::Lightning(command)).unwrap();
}

/// A peer with that allotment, whose node is known.
fn add_peer(world: &mut World, number: u32, allotment: u128) -> PeerId {
    let peer = PeerId(number);
    let byte = u8::try_from(number).unwrap();
    world.admin(Admin::AddPeer {
        name: format!("peer{number}"),
        asset: BTC,
        token_hash: Hash32([byte; 32]),
        policy: peer_policy(allotment * MILLI),
    });
    let node = forebay_channel::NodeId([byte; 33]);
    lightning(world, LightningCommand::NodeNamed { peer, node });
    peer
}

/// A channel of the peer's that carries so much of ours.
fn stands(world: &mut World, peer: PeerId, channel: u128, value: u128, splices: bool) {
    lightning(
        world,
        LightningCommand::Capacity {
            peer,
            outbound: Amount::new(value * MILLI),
            inbound: Amount::ZERO,
        },
    );
    lightning(
        world,
        LightningCommand::ChannelStands {
            peer,
            channel: LightningChannelId(channel),
            value: Amount::new(value * MILLI),
            is_ours: false,
            splices,
        },
    );
}

fn pass(world: &mut World, hours: u64) -> Vec<Effect> {
    world.wall = Timestamp(world.wall.0 + hours * 3_600_000);
    world.sync()
}

#[test]
fn a_channel_takes_no_more_than_the_wallet_has_and_than_leaves_room_for_a_sweep() {
    // Of the cap of 160, 120 may lie in channels.
    for (total, (spendable, waiting, wanted, reserve), allotment, expected) in [
        (400, (160, 0, 0, 240), 120, "open 120"),
        (400, (160, 0, 0, 240), 121, ""),
        // What lies in the reserve, is not confirmed, or is to be paid to LPs, funds no channel.
        (400, (119, 0, 0, 281), 120, ""),
        (400, (119, 41, 0, 240), 120, ""),
        (400, (160, 0, 41, 240), 120, ""),
        (400, (160, 0, 40, 240), 120, "open 120"),
        // Sixty lie in channels already.
        (400, (100, 0, 0, 240), 60, "open 60"),
        (400, (100, 0, 0, 240), 61, ""),
    ] {
        let mut world = with_reserve(total - wanted);
        if wanted > 0 {
            leave(&mut world, wanted);
        }
        let place = found(spendable, waiting, wanted, reserve, 0);
        tell(&mut world, ReserveCommand::Found(place));
        world.sync();
        add_peer(&mut world, 2, allotment);
        let demanded = channels_demanded(&world.sync()).join(", ");
        assert_eq!(demanded, expected, "{place:?} {allotment}");
        assert!(channels_demanded(&world.sync()).is_empty(), "asked once");
    }
}

#[test]
fn what_is_to_go_into_channels_is_neither_swept_nor_promised_twice() {
    let mut world = with_reserve(400);
    tell(&mut world, ReserveCommand::Found(found(160, 0, 0, 240, 0)));
    for (number, expected) in [(2, vec!["open 70"]), (3, vec![])] {
        add_peer(&mut world, number, 70);
        assert_eq!(channels_demanded(&world.sync()), expected, "{number}");
    }
    // A deposit puts it above the cap: of 250, 70 are to go into a channel, and 120 stay hot.
    deposit(&mut world, 9, None, 90);
    tell(&mut world, ReserveCommand::Found(found(250, 0, 0, 240, 0)));
    assert_eq!(demanded(&world.sync()), ["sweep 130"]);
}

#[test]
fn above_the_cap_with_all_of_it_in_channels_the_least_used_gives_it_back() {
    let is_above = |world: &World| {
        let mut alarms = world.state().alarms(world.wall);
        alarms.any(|alarm| matches!(alarm, Alarm::AboveCap(BTC, _)))
    };
    // Three times what is wanted is not reached: left alone, all would stay as it is.
    let begin = |splices: bool, total: u128| {
        let mut world = with_reserve(total);
        tell(&mut world, ReserveCommand::Found(found(5, 0, 0, 240, 0)));
        for (number, channel, value) in [(2, 71, 75), (3, 72, total - 320)] {
            let peer = add_peer(&mut world, number, 40);
            stands(&mut world, peer, channel, value, splices);
            world.wall = Timestamp(world.wall.0 + 1_000);
            world.sync();
        }
        world
    };
    // 160 in all: at the cap.
    let mut world = begin(true, 400);
    assert!(channels_demanded(&pass(&mut world, 25)).is_empty());
    assert!(channels_demanded(&outstanding(world.state())).is_empty());
    assert!(!is_above(&world));
    // 161: of 156 in channels 36 are too much. The older one has 35 beyond its wants, less what that may cost.
    let mut world = begin(true, 401);
    assert!(is_above(&world), "and an operator is told");
    let asked = channels_demanded(&outstanding(world.state()));
    assert_eq!(asked, ["out 34 of 71"]);
    assert!(
        channels_demanded(&pass(&mut world, 99)).is_empty(),
        "one at a time"
    );
    // It came about: what is on its way to the wallet is not asked for again, and is swept once it is there.
    let out = Amount::new(34 * MILLI);
    let rest = Amount::new(75 * MILLI).saturating_sub(out);
    lightning(
        &mut world,
        LightningCommand::Spliced {
            channel: LightningChannelId(71),
            txid: Hash32([9; 32]),
            fee: Amount::ZERO,
        },
    );
    assert!(channels_demanded(&pass(&mut world, 1)).is_empty());
    lightning(
        &mut world,
        LightningCommand::ChannelStands {
            peer: PeerId(2),
            channel: LightningChannelId(71),
            value: rest,
            is_ours: false,
            splices: true,
        },
    );
    tell(&mut world, ReserveCommand::Found(found(39, 0, 0, 240, 0)));
    let effects = world.sync();
    assert_eq!(demanded(&effects), ["sweep 39"]);
    assert!(channels_demanded(&effects).is_empty());
    // Where nothing can be spliced, the one that was of use longest ago is closed.
    let mut world = begin(false, 401);
    assert_eq!(channels_demanded(&pass(&mut world, 25)), ["close 71"]);
    assert!(channels_demanded(&pass(&mut world, 99)).is_empty());
    lightning(
        &mut world,
        LightningCommand::ChannelClosed {
            channel: LightningChannelId(71),
            balance: Amount::new(75 * MILLI),
        },
    );
    assert!(
        channels_demanded(&pass(&mut world, 99)).is_empty(),
        "it is on its way"
    );
}

#[test]
fn what_strangers_pay_into_the_reserve_is_earned_once() {
    let mut world = with_reserve(400);
    let hot = |world: &World| world.state().stolen_key_cost(BTC).value() / MILLI;
    tell(&mut world, ReserveCommand::Found(found(100, 0, 0, 307, 0)));
    assert_eq!(hot(&world), 93, "until it is booked, too little seems hot");
    let given = ReserveCommand::Given {
        outpoint: Outpoint {
            txid: Hash32([9; 32]),
            index: 1,
        },
        amount: Amount::new(7 * MILLI),
    };
    tell(&mut world, given);
    let again = world.apply(&Command::Reserve(given));
    assert_eq!(again, Err(Rejection::AlreadyTaken));
    assert_eq!(hot(&world), 100);
    let state = world.state();
    state.ledger().check_balanced().unwrap();
    let accounts = state.asset(BTC).unwrap().accounts;
    let milli = |amount: Amount| amount.value() / MILLI;
    assert_eq!(milli(state.balance(accounts.vault).debit()), 407);
    assert_eq!(milli(state.balance(accounts.fees).credit()), 7);
    assert_eq!(milli(state.balance(accounts.shares).credit()), 400);
    assert!(!state.asset(BTC).unwrap().halted);
}

#[test]
fn rules_are_told_once_and_whereabouts_only_when_they_change() {
    let mut world = with_reserve(400);
    let rules = world.state().reserve().rules.unwrap();
    world.sync();
    let before = world.journal.len();
    tell(&mut world, ReserveCommand::Rules(rules));
    tell(&mut world, ReserveCommand::Found(Whereabouts::default()));
    world.sync();
    assert_eq!(world.journal.len(), before);
    let none = ReserveRules {
        hot_max: Amount::ZERO,
        ..rules
    };
    let refused = world.apply(&Command::Reserve(ReserveCommand::Rules(none)));
    assert!(
        matches!(refused, Err(Rejection::BadPolicy(_))),
        "{refused:?}"
    );
}
