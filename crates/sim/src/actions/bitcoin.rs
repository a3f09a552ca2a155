//! What peers, LPs, members, routes and blocks do on Bitcoin and on Lightning.

use forebay_channel::{Address, NodeId};
use forebay_pool::{
    Admin, ClaimOrder, ClaimPaid, Command, InvoiceTerms, LightningCommand, LiquidityPolicy,
    OutputCost, Way,
};
use forebay_quantity::{Amount, EffectId, Hash32, PeerId, Ppm, Timestamp};
use sha2::{Digest, Sha256};

use crate::lightning::{Invoice, Lightning, Outcome};
use crate::setup;
use crate::world::{LPS_FROM, Mail, World};

const HOUR_MS: u64 = 3_600_000;
const LPS_MAX: usize = 4;

/// One random thing.
pub(crate) fn act(world: &mut World) {
    match world.random.below(200) {
        0..=29 => resolve_one(world),
        30..=39 => {
            if let Some(number) = world.some_actor(|actor| actor.node.is_some()) {
                pay_ahead(world, number);
            }
        }
        40..=59 => pay_invoice(world),
        60..=63 => lp_pays_in(world),
        64..=68 => lp_withdraws(world),
        69..=73 => lp_withdraws_over_lightning(world),
        74..=76 => lp_asks_for_invoice(world),
        77..=78 => lp_comes_or_moves(world),
        79..=82 => come_or_go(world),
        83 => peer_closes(world),
        84 => peer_opens(world),
        85..=88 => members_sign(world),
        89 => members_spend(world),
        90..=92 => reorganise(world),
        93 => {
            let policy = liquidity(world);
            let _taken_or_not = world.admin(Admin::SetLiquidity(policy));
        }
        94..=95 => pester(world),
        96 => {
            let sat = some_sat(world, 10);
            lightning(world).deposit(None, sat);
        }
        97 => {
            // The operator keeps more hot, or less.
            let units = world.random.pick(&[50, 200, 1_500]) * 10u128.pow(9);
            cap(world, units);
        }
        _ => {}
    }
}

fn lightning(world: &mut World) -> &mut Lightning {
    let bitcoin = world.bitcoin.as_mut().expect("this world has Bitcoin");
    &mut bitcoin.lightning
}

fn works(world: &World) -> bool {
    world.is_up() && !world.halted
}

fn factor(world: &World) -> u128 {
    let bitcoin = world.bitcoin.as_ref().expect("this world has Bitcoin");
    world.factors[usize::from(bitcoin.asset.0)]
}

fn some_sat(world: &mut World, digits: u64) -> u64 {
    let units = u128::from(world.random.magnitude(digits));
    u64::try_from(units * factor(world) / 1_000).expect("few") + 1_000
}

/// How channels are kept in a world whose months are hours.
pub(crate) fn liquidity(world: &mut World) -> LiquidityPolicy {
    LiquidityPolicy {
        cover_days: 1,
        channel_max: Amount::new(10u128.pow(10) * factor(world)),
        change_min: Amount::new(100_000_000),
        fee_base: Amount::new(world.random.pick(&[400_000, 5_000_000, 5_000_000])),
        fee_ppm: Ppm(5_000),
        rest_ms: world.random.pick(&[1, 2, 4]) * HOUR_MS,
        idle_ms: world.random.pick(&[2, 6, 48]) * HOUR_MS,
        capital_ppm_per_day: Ppm(world.random.pick(&[100, 100_000])),
    }
}

fn cap(world: &mut World, units: u128) {
    let hot_max = Amount::new(units * factor(world));
    let bitcoin = world.bitcoin.as_mut().expect("this world has Bitcoin");
    bitcoin.rules.hot_max = hot_max;
}

// Payments.

/// Some payment under way arrives, fails, or goes on hanging.
fn resolve_one(world: &mut World) {
    if !works(world) {
        return;
    }
    let now = world.now;
    let lightning = lightning(world);
    let mut pending = Vec::new();
    for (hash, payment) in lightning.payments() {
        let carries = payment
            .parts()
            .all(|(channel, _)| lightning.carries(channel));
        if payment.is_pending() && carries {
            pending.push((hash, payment.invoice.expires_at < now));
        }
    }
    if pending.is_empty() {
        return;
    }
    let (hash, is_late) = world.random.pick(&pending);
    let outcome = match world.random.below(10) {
        0..=6 if !is_late => Outcome::Arrived,
        0..=8 => Outcome::Failed,
        _ => {
            world.counts.add("lightning", "payment hangs");
            return;
        }
    };
    world
        .counts
        .add("lightning", format!("payment {outcome:?}"));
    self::lightning(world).resolve(hash, outcome);
}

/// A peer asks for an invoice, to pay ahead.
pub(super) fn pay_ahead(world: &mut World, number: usize) {
    let Some(node) = world.actors[number].node else {
        return;
    };
    let (_, inbound) = lightning(world).capacity(node);
    let settlement = world.actors[number].next_settlement;
    world.actors[number].next_settlement += 1;
    let part = world.random.between(1, 1_100);
    let amount_msat = (u128::from(inbound) * u128::from(part) / 1_000).max(1);
    let peer = world.actors[number].id;
    world.post(Mail::InvoiceAsked {
        peer,
        settlement,
        amount_msat: u64::try_from(amount_msat).expect("few"),
    });
}

/// Somebody pays an invoice of the pool's, late, too much or twice now and then.
fn pay_invoice(world: &mut World) {
    let (now, late) = (world.now, world.random.chance(100));
    let waiting: Vec<(Hash32, u64, u64)> = lightning(world)
        .unpaid()
        .filter(|own| (own.invoice.expires_at <= now) == late)
        .map(|own| (own.invoice.hash, own.payer, own.invoice.amount_msat))
        .collect();
    if waiting.is_empty() || !works(world) {
        return;
    }
    let (hash, payer, amount_msat) = world.random.pick(&waiting);
    let number = usize::try_from(payer.min(LPS_FROM)).expect("few");
    let own = world.actors.get(number).and_then(|actor| actor.node);
    let by = match own {
        Some(node) => node,
        None => {
            let Some(any) = world.some_actor(|actor| actor.node.is_some()) else {
                return;
            };
            world.actors[any].node.expect("it has one")
        }
    };
    let amount_msat = match world.random.below(10) {
        0 => amount_msat + world.random.between(1, 9_999),
        _ => amount_msat,
    };
    let paid = lightning(world).be_paid(hash, by, amount_msat, now);
    world
        .counts
        .add("lightning", format!("invoice paid: {paid:?}"));
}

/// The pool wants to pay a peer, which tells an invoice: a right one, a wrong one, or none.
pub(crate) fn invoice_wanted(
    world: &mut World,
    peer: PeerId,
    settlement: EffectId,
    amount: Amount,
) {
    let number = usize::try_from(peer.0).expect("few");
    let Some(node) = world.actors[number].node else {
        return;
    };
    let right = Invoice {
        hash: hash_of(peer, settlement.0),
        amount_msat: u64::try_from(amount.value()).expect("few"),
        payee: node,
        expires_at: world.now + HOUR_MS,
    };
    let choice = match world.calm {
        true => 99,
        false => world.random.below(24),
    };
    let invoice = match choice {
        0 => None,
        // Under the same hash, so that it looks like the one that was told before.
        1..=3 => Some(Invoice {
            amount_msat: right.amount_msat + 1 + world.random.below(9_999_999),
            ..right
        }),
        4 => Some(Invoice {
            payee: stranger(),
            ..right
        }),
        5 => Some(Invoice {
            hash: hash_of(peer, settlement.0.saturating_sub(1)),
            ..right
        }),
        6 => Some(Invoice {
            hash: hash_of(peer, settlement.0 + (1 << 40)),
            ..right
        }),
        7 => Some(Invoice {
            expires_at: world.now + 70_000,
            ..right
        }),
        8 => return world.counts.add("fault", "invoice never told"),
        _ => Some(right),
    };
    world.post(Mail::InvoiceTold {
        peer,
        settlement,
        invoice,
    });
    if choice == 9 {
        // A second one, while the first is paid.
        let other = Invoice {
            hash: hash_of(peer, settlement.0 + (1 << 41)),
            ..right
        };
        world.post(Mail::InvoiceTold {
            peer,
            settlement,
            invoice: Some(other),
        });
    }
}

/// The payee's secret makes it, so that the same number has the same hash for ever.
fn hash_of(peer: PeerId, settlement: u64) -> Hash32 {
    let mut hasher = Sha256::new();
    hasher.update(b"their invoice");
    hasher.update(peer.0.to_le_bytes());
    hasher.update(settlement.to_le_bytes());
    Hash32(hasher.finalize().into())
}

fn stranger() -> NodeId {
    NodeId([9; 33])
}

// LPs.

fn lp_comes_or_moves(world: &mut World) {
    let known: Vec<Address> = bitcoin_lps(world);
    let is_new = known.len() < LPS_MAX;
    let place = setup::address(b"lp script", world.random.next());
    let payout = place.value().to_vec();
    let order = match is_new {
        _ if world.random.chance(200) => ClaimOrder::SetPayout {
            owner: place,
            payout,
        },
        true => ClaimOrder::Add { payout },
        false => ClaimOrder::SetPayout {
            owner: world.random.pick(&known),
            payout,
        },
    };
    let _taken_or_not = world.admin(Admin::Claim(order));
    world.end_batch(None);
}

/// LPs that the journal knows for certain, by number.
fn bitcoin_lps(world: &mut World) -> Vec<Address> {
    world.end_batch(None);
    if !works(world) {
        return Vec::new();
    }
    let state = world.process.state();
    let mut known: Vec<(u32, Address)> = state
        .lps_on_bitcoin()
        .map(|(owner, lp)| (lp.number, owner))
        .collect();
    known.sort_unstable();
    known.into_iter().map(|(_, owner)| owner).collect()
}

fn some_lp(world: &mut World) -> Option<(u32, Address)> {
    let known = bitcoin_lps(world);
    if known.is_empty() {
        return None;
    }
    let number = world.random.index(known.len());
    Some((u32::try_from(number).expect("few"), known[number]))
}

pub(crate) fn lp_pays_in(world: &mut World) {
    if let Some((number, _)) = some_lp(world) {
        let sat = some_sat(world, 11);
        lightning(world).deposit(Some(number), sat);
    }
}

fn claim_of(world: &World, owner: Address) -> u128 {
    let bitcoin = world.bitcoin.as_ref().expect("this world has Bitcoin");
    let asset = world.process.state().asset(bitcoin.asset).expect("listed");
    let holding = asset.vault.holders.get(&owner);
    holding.map_or(0, |holding| holding.units.value())
}

fn lp_withdraws(world: &mut World) {
    let Some((_, owner)) = some_lp(world) else {
        return;
    };
    let most = claim_of(world, owner);
    let part = u128::from(world.random.between(1, 1_050));
    let amount = (!world.random.chance(150)).then(|| Amount::new(most * part / 2_000));
    let cost = OutputCost {
        fee: Amount::new(1_000 * u128::from(world.random.below(3_000))),
        min: Amount::new(330_000),
    };
    let way = Way::OnChain { amount, cost };
    let asked = world.admin(Admin::Claim(ClaimOrder::Withdraw { owner, way }));
    world
        .counts
        .add("lightning", format!("withdrawal asked: {}", asked.is_ok()));
}

fn lp_withdraws_over_lightning(world: &mut World) {
    let Some((number, owner)) = some_lp(world) else {
        return;
    };
    let most = claim_of(world, owner);
    let part = u128::from(world.random.between(1, 400));
    let amount_msat = u64::try_from(most * part / 2_000).expect("few").max(1);
    let used = world.random.chance(50);
    let fresh = if used { 7 } else { world.random.next() };
    let invoice = Invoice {
        hash: hash_of(PeerId(1_000_000 + number), fresh),
        amount_msat,
        payee: NodeId([7; 33]),
        expires_at: world.now + world.random.pick(&[30_000, HOUR_MS, HOUR_MS]),
    };
    world.withdraw_by_invoice(owner, invoice);
}

fn lp_asks_for_invoice(world: &mut World) {
    let Some((number, owner)) = some_lp(world) else {
        return;
    };
    let amount_msat = some_sat(world, 9) * 1_000 - world.random.below(1_000);
    let mut invoice = [0; 16];
    invoice[..8].copy_from_slice(&world.random.next().to_le_bytes());
    // A settlement's name begins with zeros.
    invoice[0] |= 0x80;
    let amount = Amount::from(amount_msat);
    let given = world.admin(Admin::Claim(ClaimOrder::GiveInvoice {
        owner,
        invoice,
        amount,
    }));
    world.end_batch(None);
    if given.is_ok() && works(world) {
        let payer = LPS_FROM + u64::from(number);
        let expires_at = world.now + HOUR_MS;
        let given = lightning(world).invoice(invoice, amount_msat, payer, expires_at);
        given.expect("the core gives a number one amount");
    }
}

// Peers' nodes and channels.

fn come_or_go(world: &mut World) {
    if let Some(number) = world.some_actor(|actor| actor.node.is_some()) {
        let node = world.actors[number].node.expect("it has one");
        let was_online = lightning(world).is_online(node);
        // Mostly there.
        let is_online = !was_online || world.random.chance(400);
        lightning(world).connect(node, is_online);
        if !is_online {
            world.counts.add("fault", "node offline");
        }
    }
}

fn peer_closes(world: &mut World) {
    let open = lightning(world).channels();
    if open.is_empty() || !works(world) {
        return;
    }
    let channel = world.random.pick(&open).channel;
    lightning(world).be_closed(channel);
}

fn peer_opens(world: &mut World) {
    let Some(number) = world.some_actor(|actor| actor.node.is_some() && !actor.removed) else {
        return;
    };
    let node = world.actors[number].node.expect("it has one");
    let open = lightning(world).channels();
    let own = open.iter().filter(|standing| standing.peer == node);
    if own.count() < 4 && works(world) {
        let value_sat = 100_000 + some_sat(world, 10);
        lightning(world).be_opened(node, value_sat);
    }
}

// The chain and the reserve.

fn members_sign(world: &mut World) {
    let waiting: Vec<EffectId> = lightning(world)
        .drafts()
        .map(|(demand, _)| demand)
        .collect();
    for demand in waiting {
        lightning(world).members_sign(demand);
    }
}

fn members_spend(world: &mut World) {
    let strange_sat = match world.random.below(3) {
        0 => 1_000,
        _ => 0,
    };
    lightning(world).members_spend(strange_sat);
}

fn reorganise(world: &mut World) {
    let blocks = 1 + u32::try_from(world.random.below(7)).expect("few");
    if lightning(world).reorganise(blocks) > 0 {
        world.counts.add("fault", "reorg on Bitcoin");
    }
}

/// What never happened, which the core must not take.
fn pester(world: &mut World) {
    let hash = Hash32([0xee; 32]);
    let fee = Amount::new(1);
    let amount = Amount::new(5);
    let Some(number) = world.some_actor(|actor| actor.node.is_some()) else {
        return;
    };
    let peer = world.actors[number].id;
    let settlement = EffectId(u64::MAX);
    let invoice = InvoiceTerms {
        hash,
        amount,
        payee: stranger(),
        expires_at: Timestamp(u64::MAX),
    };
    let never = match world.random.below(9) {
        0 => Command::Lightning(LightningCommand::Sent { hash, fee }),
        1 => Command::Lightning(LightningCommand::Failed { hash }),
        2 => Command::Lightning(LightningCommand::Received {
            peer,
            settlement: u64::MAX,
            amount,
        }),
        3 => Command::Lightning(LightningCommand::Funded {
            demand: settlement,
            fee,
        }),
        4 => Command::Lightning(LightningCommand::InvoiceTold {
            peer,
            settlement,
            invoice,
        }),
        5 => Command::Lightning(LightningCommand::InvoiceAsked {
            peer,
            settlement: u64::MAX - 1,
            amount: Amount::MAX,
        }),
        6 => Command::ClaimPaid(ClaimPaid {
            lp: 0,
            invoice: [0xff; 16],
            amount,
        }),
        7 => Command::PaymentFinal {
            id: settlement,
            txid: hash,
            fee,
        },
        _ => Command::PaymentRefused { id: settlement },
    };
    let done = world.apply(&never);
    assert!(
        done.is_err(),
        "[I16] what never happened was taken: {never:?}"
    );
}

// Healing.

/// Nothing goes wrong on Bitcoin any more, and the operator pays in enough.
pub(crate) fn heal(world: &mut World) {
    let factor = factor(world);
    let sat = u64::try_from(10u128.pow(13) * factor / 1_000).expect("few");
    cap(world, 300 * 10u128.pow(9));
    let nodes: Vec<NodeId> = world.actors.iter().filter_map(|actor| actor.node).collect();
    let lightning = lightning(world);
    lightning.calm = true;
    for node in nodes {
        lightning.connect(node, true);
    }
    lightning.deposit(None, sat);
}

/// What is under way arrives, and members sign.
pub(crate) fn tend(world: &mut World) {
    for _ in 0..3 {
        let pending: Vec<Hash32> = lightning(world)
            .payments()
            .filter(|(_, payment)| payment.is_pending())
            .map(|(hash, _)| hash)
            .collect();
        for hash in pending {
            lightning(world).resolve(hash, Outcome::Arrived);
        }
        members_sign(world);
        world.now += 1_000;
        world.move_world();
        world.end_batch(None);
    }
}
