//! What may happen in a step: what peers, LPs, price sources, the operator, the chain and the disk do, rightly and wrongly.

use forebay_channel::vault::Cosignature;
use forebay_channel::{CosignedRaise, Domain, Freeze, LaneId, MarkDown, Signable, Voucher};
use forebay_journal::testing::Faults;
use forebay_pool::{
    Admin, ChainFact, Command, Depth, FactAt, PeerKeys, Prepare, Rejection, Relation, RelationKind,
    VaultFact,
};
use forebay_quantity::{
    Amount, AssetId, ChannelSerial, EffectId, Hash32, PacketId, PeerId, Timestamp,
};

use crate::adapter::Adapter;
use crate::chain::FINALITY_DEPTH;
use crate::setup::{self, address, quote_round, report, submit};
use crate::signing::{sign, signed};
use crate::vault::{Call, Sender};
use crate::world::{Mail, World};

/// One random thing.
pub(crate) fn act(world: &mut World) {
    match world.random.below(1_000) {
        0..=379 => send(world),
        380..=449 => send_oddly(world),
        450..=549 => vouch(world),
        550..=589 => vouch_falsely(world),
        590..=639 => deposit(world),
        640..=719 => quote_all(world),
        720..=749 => quote_oddly(world),
        750..=799 => redeem(world),
        800..=839 => provide(world),
        840..=869 => give_notice(world),
        870..=884 => finish_notices(world),
        885..=909 => instruct(world),
        910..=929 => instruct_badly(world),
        930..=939 => repeat_instruction(world),
        940..=949 => pester(world),
        950..=957 => fail_disk(world),
        958..=963 => world.crash_if_up(),
        964..=971 => jump_clock(world),
        972..=982 => reorganise(world),
        983 => world.start_second(),
        988..=991 => meet(world),
        984..=987 => world.poll_limit = world.random.pick(&[0, 1, 3, usize::MAX, usize::MAX]),
        _ => {
            for number in 0..world.actors.len() {
                world.end_batch(None);
                world.resume(number);
            }
        }
    }
}

impl World {
    fn crash_if_up(&mut self) {
        if self.is_up() {
            self.crash("crash between batches");
        }
    }

    fn some_actor(&mut self, fit: impl Fn(&crate::actor::Actor) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.actors.len())
            .filter(|number| fit(&self.actors[*number]))
            .collect();
        (!fitting.is_empty()).then(|| self.random.pick(&fitting))
    }

    /// The open channel of a peer, as the chain has it for certain.
    fn serial_of(&self, number: usize) -> Option<u64> {
        let actor = &self.actors[number];
        let vault = self.chain.final_vault(actor.asset);
        let mut own = vault
            .channels
            .iter()
            .filter(|(_, channel)| channel.payout == actor.payout && !channel.closed);
        own.next_back().map(|(serial, _)| *serial)
    }
}

fn send(world: &mut World) {
    let Some(from) = world.some_actor(|actor| actor.sends && !actor.removed) else {
        return;
    };
    let sender = world.actors[from].id;
    let Some(to) = world.some_actor(|actor| actor.receives && actor.id != sender) else {
        return;
    };
    let destination = format!("test.pool.{}.shop", world.actors[to].name);
    for _ in 0..world.random.between(1, 4) {
        let amount = world.random.magnitude(9);
        let span = world.random.pick(&[2_000, 10_000, 30_000, 60_000]);
        let expires_at = world.wall().0 + span;
        let request = world.actors[from].next_request;
        world.actors[from].next_request += 1;
        let done = world.prepare(from, request, amount, expires_at, &destination);
        if matches!(done, Err(Rejection::NotSecured { .. })) {
            if world.random.chance(500) {
                return vouch_from(world, from);
            }
            return deposit_from(world, from);
        }
    }
}

fn send_oddly(world: &mut World) {
    let Some(from) = world.some_actor(|actor| actor.sends) else {
        return;
    };
    let to = world.random.index(world.actors.len());
    let known = format!("test.pool.{}", world.actors[to].name);
    let own = format!("test.pool.{}.x", world.actors[from].name);
    let wall = world.wall().0;
    let margin = world.genesis.expiry_margin_ms;
    let usual = wall + 20_000;
    let in_flight = world.actors[from].sent.keys().next().copied();
    let request = world.actors[from].next_request;
    world.actors[from].next_request += 1;
    let choice = world.random.below(10);
    let _refused_or_not = match choice {
        0 => world.prepare(from, request, 0, usual, &known),
        1 => world.prepare(from, request, u64::MAX, usual, &known),
        2 => world.prepare(from, request, 5, wall, &known),
        3 => world.prepare(from, request, 5, wall.saturating_sub(9_999), &known),
        4 => world.prepare(from, request, 5, wall + margin, &known),
        5 => world.prepare(from, request, 5, wall + margin + 501, &known),
        6 => world.prepare(from, request, 5, usual, "g.nowhere.at.all"),
        7 => world.prepare(from, request, 5, usual, &own),
        8 => match in_flight {
            Some(request) if waits(world, from, request) => {
                let done = world.apply(&Command::Prepare(Prepare {
                    peer: world.actors[from].id,
                    request,
                    amount: 7,
                    expires_at: Timestamp(usual),
                    condition: [0; 32],
                    destination: known.as_bytes(),
                }));
                assert!(done.is_err(), "[I11] one request is in flight twice");
                done
            }
            Some(_) | None => Ok(()),
        },
        _ => world.apply(&Command::Prepare(Prepare {
            peer: PeerId(9_999),
            request,
            amount: 1,
            expires_at: Timestamp(usual),
            condition: [0; 32],
            destination: b"test.pool.peer0",
        })),
    };
}

fn waits(world: &World, number: usize, request: u32) -> bool {
    let peer = world.actors[number].id;
    world.is_up() && !world.halted && world.process.state().waits(peer, request)
}

/// How a peer answers a packet that was forwarded to it.
pub(crate) fn answer(world: &mut World, peer: PeerId, packet: PacketId, condition: [u8; 32]) {
    let preimage = world.preimages[&condition];
    let fulfill = Mail::Fulfill {
        peer,
        packet,
        preimage,
    };
    let choice = if world.calm {
        0
    } else {
        world.random.below(40)
    };
    match choice {
        36 => {
            let preimage = [0xaa; 32];
            world.post(Mail::Fulfill {
                peer,
                packet,
                preimage,
            });
        }
        37 => {
            let code = world.random.pick(&[*b"F99", *b"T04", *b"F02"]);
            world.post(Mail::Reject { peer, packet, code });
        }
        38 => world.counts.add("fault", "answer never given"),
        39 => {
            // Both at once, twice.
            world.post(fulfill.clone());
            world.post(fulfill);
            let code = *b"F99";
            world.post(Mail::Reject { peer, packet, code });
        }
        _ => world.post(fulfill),
    }
}

fn vouch(world: &mut World) {
    if let Some(number) = world.some_actor(|actor| actor.sends) {
        vouch_from(world, number);
    }
}

fn vouch_from(world: &mut World, number: usize) {
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let actor = &world.actors[number];
    let channel = &world.chain.final_vault(actor.asset).channels[&serial];
    let announced = channel.peer.lowering.map_or(u128::MAX, |(to, _)| to);
    let most = channel.peer.ceiling.min(announced);
    let given = actor.given.get(&serial).copied().unwrap_or(0);
    let Some(room) = most.checked_sub(given).filter(|room| *room > 0) else {
        return;
    };
    let part = u128::from(world.random.between(1, 1_000));
    let amount = given + (room * part).div_ceil(1_000);
    give_voucher(world, number, serial, LaneId::Peer, amount);
}

fn give_voucher(world: &mut World, number: usize, serial: u64, lane: LaneId, amount: u128) {
    let actor = &mut world.actors[number];
    // The signer that the chain knows signs.
    let known = world.chain.final_vault(actor.asset).channels.get(&serial);
    let signer = known.map_or(actor.signer, |channel| channel.peer_signer);
    let given = actor.given.entry(serial).or_insert(0);
    *given = amount.max(*given);
    let peer = actor.id;
    let message = Voucher {
        serial: ChannelSerial(serial),
        lane,
        amount: Amount::new(amount),
    };
    let voucher = signed(&world.domains[usize::from(actor.asset.0)], message, signer);
    world.post(Mail::Voucher { peer, voucher });
}

fn vouch_falsely(world: &mut World) {
    let number = world.random.index(world.actors.len());
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let (peer, asset) = (world.actors[number].id, world.actors[number].asset);
    let signer = world.actors[number].signer;
    let given = world.actors[number]
        .given
        .get(&serial)
        .copied()
        .unwrap_or(0);
    let held = world.auditor.books.channels.get(&serial);
    let held = held.map_or(0, |channel| channel.held.promised.unsigned_abs());
    let choice = world.random.below(5);
    let (serial, lane, amount, signer) = match choice {
        0 => (serial, LaneId::Peer, given.min(held), signer),
        1 => (serial, LaneId::Pool, given + 1, signer),
        2 => (serial + 1, LaneId::Peer, given + 1, signer),
        3 => (serial, LaneId::Peer, u128::from(u64::MAX) << 20, signer),
        _ => (serial, LaneId::Peer, given + 5, address(b"stranger", 1)),
    };
    world.counts.add("fault", "false voucher");
    let message = Voucher {
        serial: ChannelSerial(serial),
        lane,
        amount: Amount::new(amount),
    };
    let voucher = signed(&world.domains[usize::from(asset.0)], message, signer);
    let done = world.apply(&Command::Voucher { peer, voucher });
    assert!(
        done.is_err() || !world.is_up(),
        "[I5] a false voucher was accepted"
    );
}

fn deposit(world: &mut World) {
    if let Some(number) = world.some_actor(|actor| actor.sends) {
        deposit_from(world, number);
    }
}

fn deposit_from(world: &mut World, number: usize) {
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let actor = &world.actors[number];
    let (asset, factor, payout) = (actor.asset, actor.factor, actor.payout);
    let dust = u128::from(world.random.below(1_000_000)) % factor;
    let amount = u128::from(world.random.magnitude(10)) * factor + dust;
    submit(
        world,
        asset,
        Sender::Account(payout),
        Call::Deposit {
            serial,
            amount,
            payout,
        },
    );
}

pub(crate) fn quote_all(world: &mut World) {
    for number in 0..world.true_prices.len() {
        let move_ppm = u128::from(world.random.between(998_000, 1_002_000));
        world.true_prices[number] = world.true_prices[number] * move_ppm / 1_000_000;
        quote_round(world, AssetId(u16::try_from(number).expect("few")));
    }
}

fn quote_oddly(world: &mut World) {
    let number = world.random.index(world.true_prices.len());
    let asset = AssetId(u16::try_from(number).expect("few"));
    let (price, wall) = (world.true_prices[number], world.wall().0);
    let source = u16::try_from(world.random.below(5)).expect("few");
    match world.random.below(8) {
        0 => report(world, asset, source, price * 2, wall),
        1 => report(
            world,
            asset,
            source,
            price / 3,
            wall.saturating_sub(100_000),
        ),
        2 => report(world, asset, source, 0, wall),
        3 => report(world, asset, source, price, wall + 60_000),
        4 => report(world, AssetId(77), source, price, wall),
        5 => {
            for source in 0..20 {
                report(world, asset, source, price, wall);
            }
        }
        6 => {
            // Sources drift apart until the guard trips.
            for source in 0..4 {
                let price = price * (100 + 10 * u128::from(source)) / 100;
                report(world, asset, source, price, wall);
            }
        }
        _ => report(world, asset, source, price * 1_001 / 1_000, wall + 4_000),
    }
}

fn redeem(world: &mut World) {
    let number = world.random.index(world.actors.len());
    redeem_for(world, number);
}

/// A peer redeems the best voucher that it holds of its open channel.
pub(crate) fn redeem_for(world: &mut World, number: usize) {
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let actor = &world.actors[number];
    let Some((amount, signature)) = actor.vouchers.get(&serial).copied() else {
        return;
    };
    let (asset, payout) = (actor.asset, actor.payout);
    let paid = world
        .chain
        .vault(asset)
        .channels
        .get(&serial)
        .map_or(0, |c| c.pool.paid);
    if amount <= paid {
        return;
    }
    let call = Call::Redeem {
        serial,
        lane: LaneId::Pool,
        amount,
        signature,
    };
    submit(world, asset, Sender::Account(payout), call);
}

/// LPs come and go.
fn provide(world: &mut World) {
    let number = world.random.index(world.factors.len());
    let asset = AssetId(u16::try_from(number).expect("few"));
    let factor = world.factors[number];
    let owner = world.random.pick(&world.lps.clone());
    let amount =
        u128::from(world.random.magnitude(11)) * factor + u128::from(world.random.below(99));
    let sender = Sender::Account(owner);
    let held = world
        .chain
        .vault(asset)
        .units
        .get(&owner)
        .copied()
        .unwrap_or(0);
    let shares = world.chain.vault(asset).share_units;
    let part = u128::from(world.random.between(1, 100));
    let call = match world.random.below(6) {
        0 | 1 => Call::DepositNote { owner, amount },
        2 | 3 => Call::RequestExit {
            owner,
            units: held * part / 100,
        },
        4 => Call::DepositShare { amount },
        _ => match world.random.below(3) {
            0 => Call::WithdrawShare {
                amount: shares * part / 200,
            },
            _ => Call::PayExits,
        },
    };
    submit(world, asset, sender, call);
}

fn give_notice(world: &mut World) {
    let number = world.random.index(world.actors.len());
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let actor = &world.actors[number];
    let (asset, payout) = (actor.asset, actor.payout);
    let channel = world.chain.final_vault(asset).channels[&serial].clone();
    let part = u128::from(world.random.below(100));
    let own = Sender::Account(payout);
    let (sender, call) = match world.random.below(10) {
        0 => (own, Call::StartClose { serial }),
        1 | 2 => {
            let ceiling = channel.peer.paid + channel.peer.remaining() * part / 100;
            let lane = LaneId::Peer;
            (
                own,
                Call::StartLowering {
                    serial,
                    lane,
                    ceiling,
                },
            )
        }
        3 | 4 => {
            let signer = address(b"signer", world.random.next());
            let actor = &mut world.actors[number];
            actor.former.push(actor.signer);
            actor.signer = signer;
            (own, Call::StartKeyChange { serial, signer })
        }
        5 => {
            // Anybody, who may once the term has ended.
            let lane = LaneId::Pool;
            (
                Sender::Account(address(b"stranger", 1)),
                Call::StartLowering {
                    serial,
                    lane,
                    ceiling: 0,
                },
            )
        }
        _ => {
            // The operator's own hand, outside the pool; often down to little more than what is signed.
            let signed = world.auditor.books.channels.get(&serial);
            let signed = signed.map_or(0, |channel| channel.out.promised.unsigned_abs());
            let (above, share) = if part < 40 {
                (channel.pool.paid, 100)
            } else {
                (signed.clamp(channel.pool.paid, channel.pool.ceiling), 2_000)
            };
            let ceiling = above + (channel.pool.ceiling - above) * (part % 50) / share;
            let lane = LaneId::Pool;
            (
                Sender::Operator,
                Call::StartLowering {
                    serial,
                    lane,
                    ceiling,
                },
            )
        }
    };
    submit(world, asset, sender, call);
}

/// What the committee signs, and now and then what it did not.
fn meet(world: &mut World) {
    let number = world.random.index(world.factors.len());
    let asset = AssetId(u16::try_from(number).expect("few"));
    let domain = world.domains[number];
    let now_s = world.chain.time_s();
    let vault = world.chain.vault(asset);
    let (nonce, index) = (vault.growth.committee_nonce, vault.index);
    let open = vault.channels.iter().filter(|(_, channel)| !channel.closed);
    let serial = open.map(|(serial, _)| *serial).next_back();
    let valid_until_s = now_s + 3_600;
    let signers = world.random.pick(&[1, 2, 2, 3]);
    let (sender, call) = match world.random.below(5) {
        0 | 1 => {
            let freeze = Freeze {
                until_s: now_s + world.random.between(60, 2 * 3_600),
            };
            let list = cosigned(&domain, &freeze, signers);
            (stranger(), Call::Freeze(freeze, list))
        }
        2 => {
            let mark_down = MarkDown {
                index: Amount::new(index - index / u128::from(world.random.between(1_000, 9_999))),
                nonce,
                valid_until_s,
            };
            let list = cosigned(&domain, &mark_down, signers);
            (stranger(), Call::MarkDown(mark_down, list))
        }
        _ => {
            let Some(serial) = serial else { return };
            let raise = CosignedRaise {
                serial: ChannelSerial(serial),
                amount: Amount::new(
                    u128::from(world.random.magnitude(9)) * world.factors[number] + 1,
                ),
                term_end_s: 0,
                nonce,
                valid_until_s,
            };
            let list = cosigned(&domain, &raise, signers);
            (Sender::Operator, Call::RaiseCosigned(raise, list))
        }
    };
    submit(world, asset, sender, call);
}

fn cosigned(domain: &Domain, message: &impl Signable, signers: usize) -> Vec<Cosignature> {
    let digest = domain.digest(message);
    let members = (0u8..).zip(setup::committee()).take(signers);
    let one = |(member, signer)| Cosignature {
        member,
        signature: sign(&digest, signer),
    };
    members.map(one).collect()
}

fn stranger() -> Sender {
    Sender::Account(address(b"stranger", 3))
}

/// Anybody executes what notices have run out; a watchful peer redeems before.
fn finish_notices(world: &mut World) {
    for number in 0..world.actors.len() {
        redeem_for(world, number);
        finish_for(world, number);
    }
}

pub(crate) fn finish_for(world: &mut World, number: usize) {
    let Some(serial) = world.serial_of(number) else {
        return;
    };
    let asset = world.actors[number].asset;
    let now_s = world.chain.time_s();
    let channel = &world.chain.final_vault(asset).channels[&serial];
    let ended = |deadline: Option<u64>| deadline.is_some_and(|at| at <= now_s);
    let mut calls = Vec::new();
    for (lane, books) in [(LaneId::Pool, channel.pool), (LaneId::Peer, channel.peer)] {
        if ended(books.lowering.map(|(_, at)| at)) {
            calls.push(Call::FinishLowering { serial, lane });
        }
    }
    if ended(channel.new_key.map(|(_, at)| at)) {
        calls.push(Call::FinishKeyChange { serial });
    }
    if ended(channel.close_at_s) {
        calls.push(Call::FinishClose { serial });
    }
    for call in calls {
        submit(world, asset, Sender::Account(address(b"stranger", 2)), call);
    }
}

fn instruct(world: &mut World) {
    let asset = AssetId(u16::try_from(world.random.index(world.factors.len())).expect("few"));
    let number = world.random.index(world.actors.len());
    let peer = world.actors[number].id;
    let prefix = format!("g.route{}", world.random.below(4));
    match world.random.below(12) {
        0 | 1 => {
            let policy = setup::asset_policy(&mut world.random);
            let _taken_or_not = world.admin(Admin::SetAsset(asset, policy));
        }
        2 | 3 => {
            let receives = world.actors[number].receives;
            let policy = setup::peer_policy(&mut world.random, receives);
            let _taken_or_not = world.admin(Admin::SetPeer(peer, policy));
        }
        4 => {
            let _taken_or_not = world.admin(Admin::HaltBook(asset));
        }
        5..=7 => {
            for number in 0..world.factors.len() {
                let asset = AssetId(u16::try_from(number).expect("few"));
                let _taken_or_not = world.admin(Admin::ResumeBook(asset));
            }
        }
        8 => {
            let relation = Relation {
                kind: RelationKind::Peer,
                sends_routes: prefix.ends_with('0'),
                ..Relation::CHILD
            };
            let _taken_or_not = world.admin(Admin::AddRoute { prefix, peer });
            let _taken_or_not = world.admin(Admin::SetRelation(peer, relation));
        }
        9 => {
            let _taken_or_not = world.admin(Admin::RemoveRoute { prefix });
        }
        10 => {
            if world.actors.len() < 9 {
                setup::add_peer(world, asset, true, true);
            }
        }
        _ => {
            if world.random.chance(300)
                && number > 1
                && world.admin(Admin::RemovePeer(peer)).is_ok()
            {
                world.end_batch(None);
                world.actors[number].removed = true;
            }
        }
    }
}

fn instruct_badly(world: &mut World) {
    let peer = PeerId(0);
    let mut random = world.random.clone();
    let asset_policy = setup::asset_policy(&mut random);
    let peer_policy = setup::peer_policy(&mut random, true);
    let definition = setup::definition(0, &mut random);
    let token_hash = Hash32([9; 32]);
    let name = |name: &str| Admin::AddPeer {
        name: name.into(),
        asset: AssetId(0),
        token_hash,
        policy: peer_policy.clone(),
    };
    let no_credit = forebay_pool::PeerPolicy {
        credit: Amount::ZERO,
        ..peer_policy.clone()
    };
    let no_packets = forebay_pool::PeerPolicy {
        packet_max: 0,
        ..peer_policy.clone()
    };
    let admin = match world.random.below(11) {
        0 => Admin::Found(world.genesis.clone()),
        1 => Admin::SetAsset(AssetId(50), asset_policy),
        2 => Admin::SetPeer(PeerId(50), peer_policy),
        3 => Admin::SetPeer(peer, no_packets),
        4 => Admin::AddAsset(definition, asset_policy),
        5 => name("no spaces, please"),
        6 => name("peer1"),
        7 => Admin::RemoveRoute {
            prefix: "g.never".into(),
        },
        8 => Admin::AddRoute {
            prefix: "not an address!".into(),
            peer,
        },
        9 => Admin::RemovePeer(PeerId(51)),
        _ => {
            // Refused while the credit is drawn, and fine otherwise.
            let number = world.random.index(world.actors.len());
            let _taken_or_not = world.admin(Admin::SetPeer(world.actors[number].id, no_credit));
            return;
        }
    };
    let done = world.admin(admin);
    assert!(done.is_err(), "a bad instruction was taken");
}

fn repeat_instruction(world: &mut World) {
    if world.commands_sent.is_empty() || !world.is_up() || world.halted {
        return;
    }
    let number = world.random.index(world.commands_sent.len());
    let (id, admin) = world.commands_sent[number].clone();
    let known = world.auditor.books.commands.contains(&id);
    if !known {
        return;
    }
    let done = world.apply(&Command::Admin(id, admin));
    assert_eq!(
        done,
        Err(Rejection::AlreadyTaken),
        "[I11] command {id} is taken again"
    );
    let other = Admin::RemoveRoute {
        prefix: "test.never.sent".into(),
    };
    let done = world.apply(&Command::Admin(id, other));
    assert_eq!(
        done,
        Err(Rejection::IdReused),
        "[I11] command {id} stands for two instructions"
    );
}

/// Answers to nothing, facts that cannot be, keys that are none.
fn pester(world: &mut World) {
    tell_old_notices(world);
    let asset = AssetId(0);
    let at = FactAt {
        block: u64::MAX,
        log: 0,
    };
    let lie = |depth, fact| {
        Command::Chain(ChainFact {
            asset,
            at,
            depth,
            fact,
        })
    };
    let peer = world.actors[0].id;
    let command = match world.random.below(8) {
        0 => Command::Fulfill {
            peer,
            packet: PacketId(u32::MAX),
            preimage: [0; 32],
        },
        1 => Command::Reject {
            peer,
            packet: PacketId(12_345_678),
            code: *b"F00",
        },
        2 => Command::Outcome {
            effect: EffectId(u64::MAX),
            failure: None,
        },
        3 => lie(
            Depth::Final,
            VaultFact::ExitPaid {
                cohort: 0,
                units: Amount::new(1),
                amount: Amount::MAX,
            },
        ),
        4 => {
            // A node that has lost its chain: the book halts until the operator resumes it.
            if world.random.chance(300) {
                world.counts.add("fault", "deep reorg");
                lie(Depth::Seen, VaultFact::DeepReorg)
            } else {
                return;
            }
        }
        5 => Command::Keys {
            peer,
            keys: PeerKeys {
                signer: forebay_channel::Address::ZERO,
                payout: forebay_channel::Address::ZERO,
            },
        },
        6 => Command::Keys {
            peer: PeerId(77),
            keys: PeerKeys {
                signer: address(b"x", 1),
                payout: address(b"x", 2),
            },
        },
        _ => lie(
            Depth::Final,
            VaultFact::SharesWithdrawn {
                amount: Amount::MAX,
            },
        ),
    };
    let deep = matches!(&command, Command::Chain(fact) if fact.depth == Depth::Seen);
    let done = world.apply(&command);
    assert!(done.is_err() || deep, "nonsense was taken: {command:?}");
}

/// Old notices as new ones, but only such as the pool has had for certain.
fn tell_old_notices(world: &mut World) {
    for _ in 0..40 {
        let Some(fact) = Adapter::old_notice(&world.chain, &mut world.random) else {
            continue;
        };
        if !world.is_up() || world.halted {
            return;
        }
        let asset = world.process.state().asset(fact.asset);
        let cursor = asset.and_then(|asset| asset.vault.cursor);
        if cursor.is_none_or(|last| last < fact.at) {
            continue;
        }
        world.counts.add("fault", "old notice told again");
        let done = world.apply(&Command::Chain(fact));
        assert_eq!(
            done,
            Err(Rejection::AlreadyTaken),
            "[I11] an old notice is taken for a new one"
        );
    }
}

fn fail_disk(world: &mut World) {
    let soon = Some(world.random.below(3));
    let mut faults = Faults::default();
    match world.random.below(5) {
        0 => faults.sync_fails_in = soon,
        1 => faults.write_fails_in = soon,
        2 => faults.write_short_in = soon,
        3 => faults.capacity_bytes = Some(0),
        _ => faults.capacity_bytes = Some(world.random.below(1 << 18)),
    }
    world.process.storage.set_faults(faults);
}

fn jump_clock(world: &mut World) {
    let (kind, skew) = match world.random.below(6) {
        0 => (
            "clock forward",
            1_000 * i64::try_from(world.random.below(20)).expect("small"),
        ),
        1 => (
            "clock forward",
            60_000 * i64::try_from(world.random.below(10)).expect("small"),
        ),
        2 => (
            "clock back",
            -1_000 * i64::try_from(world.random.below(60)).expect("small"),
        ),
        // The core's time stands still as long; further back, the node does not start.
        3 => ("clock back", -600_000),
        _ => ("clock right again", 0),
    };
    world.counts.add("fault", kind);
    world.skew = skew;
}

fn reorganise(world: &mut World) {
    let depth = 1 + world.random.index(FINALITY_DEPTH);
    let dropped = world.chain.reorganise(depth, &mut world.random, 300);
    if dropped > 0 {
        world.counts.add("fault", "reorg");
    }
}
