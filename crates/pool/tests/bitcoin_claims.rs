//! Claims of LPs on Bitcoin: paid in and out by outputs and by invoices, once each, with the books whole at each step.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use forebay_channel::{Address, NodeId};
use forebay_pool::*;
use forebay_quantity::*;

const BTC: AssetId = AssetId(2);
/// Millisatoshi in a satoshi.
const SAT: u128 = 1_000;
const CAPITAL: u128 = 50_000_000 * SAT;
const PAID_IN: u128 = 1_000_000 * SAT;
const DAY_MS: u64 = 86_400_000;

fn script(byte: u8) -> Script {
    [vec![0x51, 0x20], vec![byte; 32]].concat()
}

/// What miners ask, and the least output.
fn cost(fee_sat: u128) -> OutputCost {
    OutputCost {
        fee: Amount::new(fee_sat * SAT),
        min: Amount::new(330 * SAT),
    }
}

fn claim(world: &mut World, order: ClaimOrder) -> Result<(), Rejection> {
    world.try_admin(Admin::Claim(order))
}

fn deposit(world: &mut World, output: u8, owner: Option<Address>, amount: u128) {
    let outpoint = Outpoint {
        txid: Hash32([output; 32]),
        index: 0,
    };
    let fact = BitcoinFact::Deposited {
        outpoint,
        owner,
        amount: Amount::new(amount),
    };
    world.apply(&Command::Bitcoin(fact)).unwrap();
}

/// A pool with 0.5 BTC of the share holder's and an LP's 0.01 BTC.
fn with_lp_at(scale: u8) -> (World, Address) {
    let mut world = World::funded();
    let bitcoin = BitcoinDefinition {
        code: "BTC".into(),
        scale,
        genesis: Hash32([6; 32]),
        index_rate_max: 10u128.pow(24),
    };
    world.admin(Admin::AddBitcoin(bitcoin, policy()));
    deposit(&mut world, 1, None, CAPITAL);
    let payout = script(1);
    claim(&mut world, ClaimOrder::Add { payout }).unwrap();
    let owner = world.state().lp_paid_at(&script(1)).unwrap();
    deposit(&mut world, 2, Some(owner), PAID_IN);
    world.sync();
    (world, owner)
}

fn with_lp() -> (World, Address) {
    with_lp_at(11)
}

fn units(world: &World, owner: Address) -> u128 {
    let asset = world.state().asset(BTC).unwrap();
    let held = asset.vault.holders.get(&owner);
    held.map_or(0, |held| held.units.value())
}

fn held(world: &World) -> u128 {
    world.state().ledger().check_balanced().unwrap();
    let accounts = world.state().asset(BTC).unwrap().accounts;
    world.state().balance(accounts.vault).debit().value()
}

fn notes(world: &World) -> u128 {
    let accounts = world.state().asset(BTC).unwrap().accounts;
    world.state().balance(accounts.notes).credit().value()
}

fn shares(world: &World) -> u128 {
    let accounts = world.state().asset(BTC).unwrap().accounts;
    world.state().balance(accounts.shares).credit().value()
}

fn losses(world: &World) -> u128 {
    let accounts = world.state().asset(BTC).unwrap().accounts;
    world.state().balance(accounts.losses).debit().value()
}

fn withdraw(owner: Address, amount: Option<u128>, cost: OutputCost) -> ClaimOrder {
    let amount = amount.map(Amount::new);
    let way = Way::OnChain { amount, cost };
    ClaimOrder::Withdraw { owner, way }
}

fn invoice(world: &World, hash: u8, amount: u128) -> InvoiceTerms {
    InvoiceTerms {
        hash: Hash32([hash; 32]),
        amount: Amount::new(amount),
        payee: NodeId([2; 33]),
        expires_at: Timestamp(world.wall.0 + 3_600_000),
    }
}

fn by_invoice(world: &mut World, owner: Address, terms: InvoiceTerms) -> Result<(), Rejection> {
    let way = Way::Lightning(terms);
    claim(world, ClaimOrder::Withdraw { owner, way })
}

fn due(effects: &[Effect]) -> Vec<WithdrawalEffect> {
    let due = effects.iter().filter_map(|effect| match effect {
        Effect::Withdrawal(withdrawal) => Some(withdrawal.clone()),
        _ => None,
    });
    due.collect()
}

fn paid(world: &mut World, id: EffectId, fee_sat: u128) -> Result<(), Rejection> {
    let fee = Amount::new(fee_sat * SAT);
    let txid = Hash32([u8::try_from(id.0 % 200).unwrap(); 32]);
    world.apply(&Command::PaymentFinal { id, txid, fee })
}

/// The journal alone makes the same state, at whatever point it ends.
fn replays(world: &World) {
    let mut again = Sequencer::new(State::default());
    for batch in &world.journal {
        again.replay(batch).unwrap();
    }
    assert_eq!(again.state().digest(), world.state().digest(), "[I10]");
    let owed = outstanding(again.state());
    assert_eq!(due(&owed), due(&outstanding(world.state())));
}

#[test]
fn a_withdrawal_is_paid_by_one_output_and_leaves_the_books_when_it_is_final() {
    let (mut world, owner) = with_lp();
    assert_eq!(units(&world, owner), PAID_IN);
    claim(
        &mut world,
        withdraw(owner, Some(400_000 * SAT), cost(1_000)),
    )
    .unwrap();
    assert_eq!(units(&world, owner), 600_000 * SAT);
    let effects = due(&world.sync());
    let [effect] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(effect.amount, Amount::new(399_000 * SAT));
    assert_eq!(effect.payout, Payout::Output(script(1)));
    // Until it is final the money is in the books, and the claim on it too.
    assert_eq!(held(&world), CAPITAL + PAID_IN);
    assert_eq!(notes(&world), PAID_IN);
    replays(&world);
    // Miners took less than the LP was told: the rest is its own again.
    paid(&mut world, effect.id, 700).unwrap();
    world.sync();
    assert_eq!(held(&world), CAPITAL + PAID_IN - 399_700 * SAT);
    assert_eq!(notes(&world), PAID_IN - 399_700 * SAT);
    assert_eq!(units(&world, owner), 600_300 * SAT);
    assert_eq!(shares(&world), CAPITAL);
    let lp = world.state().lp_on_bitcoin(owner).unwrap();
    assert_eq!(lp.withdrawn, Amount::new(399_000 * SAT));
    assert_eq!(world.state().withdrawals().count(), 0);
    replays(&world);
    // Told again, after a crash or a deep reorg, it counts no more.
    assert_eq!(
        paid(&mut world, effect.id, 900),
        Err(Rejection::UnknownEffect)
    );
}

#[test]
fn a_payment_that_was_raised_above_what_the_lp_was_told_is_the_pool_s_cost() {
    let (mut world, owner) = with_lp();
    claim(&mut world, withdraw(owner, None, cost(1_000))).unwrap();
    let effect = due(&world.sync()).remove(0);
    assert_eq!(effect.amount, Amount::new(PAID_IN - 1_000 * SAT));
    assert_eq!(units(&world, owner), 0);
    paid(&mut world, effect.id, 2_500).unwrap();
    assert_eq!(held(&world), CAPITAL - 1_500 * SAT);
    assert_eq!((notes(&world), losses(&world)), (0, 0));
    assert_eq!(shares(&world), CAPITAL - 1_500 * SAT);
}

#[test]
fn what_can_never_be_paid_comes_back_as_notes() {
    let (mut world, owner) = with_lp();
    claim(&mut world, withdraw(owner, None, cost(1_000))).unwrap();
    let effect = due(&world.sync()).remove(0);
    let refused = Command::PaymentRefused { id: effect.id };
    world.apply(&refused).unwrap();
    world.sync();
    assert_eq!(units(&world, owner), PAID_IN);
    let asset = world.state().asset(BTC).unwrap();
    assert_eq!(asset.vault.holders[&owner].paid_in.value(), PAID_IN);
    assert_eq!(notes(&world), PAID_IN);
    assert_eq!(world.apply(&refused), Err(Rejection::UnknownEffect));
    assert!(due(&outstanding(world.state())).is_empty());
    replays(&world);
}

#[test]
fn an_lp_takes_out_what_it_has_and_no_more_than_a_payment_can_carry() {
    let (mut world, owner) = with_lp();
    let (needed, has) = (Amount::new(PAID_IN + 1), Amount::new(PAID_IN));
    let too_much = claim(&mut world, withdraw(owner, Some(PAID_IN + 1), cost(1_000)));
    assert_eq!(too_much, Err(Rejection::ClaimTooLarge { has, needed }));
    let small = |amount, fee| Rejection::ClaimTooSmall {
        amount: Amount::new(amount * SAT),
        fee: Amount::new(fee * SAT),
        min: Amount::new(330 * SAT),
    };
    for (amount, fee) in [(900, 1_000), (1_000, 1_000), (1_329, 1_000)] {
        let refused = claim(&mut world, withdraw(owner, Some(amount * SAT), cost(fee)));
        assert_eq!(refused, Err(small(amount, fee)));
    }
    claim(&mut world, withdraw(owner, Some(1_330 * SAT), cost(1_000))).unwrap();
    let stranger = Address::new([9; 20]);
    let unknown = claim(&mut world, withdraw(stranger, None, cost(1)));
    assert!(
        matches!(unknown, Err(Rejection::BadClaim(_))),
        "{unknown:?}"
    );
    // Of parts of a satoshi none is paid, and none is lost.
    claim(
        &mut world,
        withdraw(owner, Some(5_000 * SAT + 999), cost(1_000)),
    )
    .unwrap();
    let effect = due(&world.sync()).remove(1);
    assert_eq!(effect.amount, Amount::new(4_000 * SAT));
    paid(&mut world, effect.id, 1_000).unwrap();
    assert_eq!(units(&world, owner), PAID_IN - 1_330 * SAT - 5_000 * SAT);
}

#[test]
fn what_others_have_spoken_for_is_not_paid_out_twice() {
    let (mut world, owner) = with_lp();
    // All but 0.003 BTC has left by the miners, as a pool that lost it would show.
    let fact = BitcoinFact::MinersPaid {
        txid: Hash32([40; 32]),
        amount: Amount::new(CAPITAL + PAID_IN - 300_000 * SAT),
    };
    world.apply(&Command::Bitcoin(fact)).unwrap();
    claim(&mut world, withdraw(owner, Some(200_000 * SAT), cost(500))).unwrap();
    let refused = claim(&mut world, withdraw(owner, Some(200_000 * SAT), cost(500)));
    let (free, needed) = (Amount::new(100_000 * SAT), Amount::new(200_000 * SAT));
    assert_eq!(refused, Err(Rejection::NotHeld { free, needed }));
    claim(&mut world, withdraw(owner, Some(100_000 * SAT), cost(500))).unwrap();
}

#[test]
fn an_lp_is_paid_at_one_address_which_is_nobody_else_s() {
    let (mut world, owner) = with_lp();
    let add = |byte| ClaimOrder::Add {
        payout: script(byte),
    };
    assert_eq!(claim(&mut world, add(1)), Err(Rejection::AlreadyExists));
    claim(&mut world, add(2)).unwrap();
    let second = world.state().lp_paid_at(&script(2)).unwrap();
    assert_eq!(world.state().lp_numbered(0), Some(owner));
    assert_eq!(world.state().lp_numbered(1), Some(second));
    assert_eq!(world.state().lp_numbered(2), None);
    let set = |owner, byte| ClaimOrder::SetPayout {
        owner,
        payout: script(byte),
    };
    let taken = claim(&mut world, set(owner, 2));
    assert_eq!(taken, Err(Rejection::AlreadyExists));
    // What is under way goes where it was sent; what comes after goes to the new address.
    claim(&mut world, withdraw(owner, Some(10_000 * SAT), cost(500))).unwrap();
    claim(&mut world, set(owner, 3)).unwrap();
    claim(&mut world, withdraw(owner, Some(10_000 * SAT), cost(500))).unwrap();
    let payouts: Vec<_> = due(&world.sync())
        .into_iter()
        .map(|due| due.payout)
        .collect();
    assert_eq!(
        payouts,
        [Payout::Output(script(1)), Payout::Output(script(3))]
    );
    // Its first address stays its name in the books: nobody else is ever made known by it.
    let again = claim(&mut world, add(1));
    assert!(matches!(again, Err(Rejection::BadClaim(_))), "{again:?}");
    for payout in [vec![], vec![0; 43]] {
        let refused = claim(&mut world, ClaimOrder::Add { payout });
        assert!(
            matches!(refused, Err(Rejection::BadClaim(_))),
            "{refused:?}"
        );
    }
    replays(&world);
}

#[test]
fn an_lp_is_paid_by_its_invoice_once_and_pays_for_the_way() {
    let (mut world, owner) = with_lp();
    let terms = invoice(&world, 7, 100_000 * SAT);
    by_invoice(&mut world, owner, terms).unwrap();
    let fee_max = lightning_fee_max(terms.amount).value();
    assert_eq!(units(&world, owner), PAID_IN - 100_000 * SAT - fee_max);
    let effect = due(&world.sync()).remove(0);
    assert_eq!(effect.payout, Payout::Invoice(terms.hash));
    assert!(
        world.state().is_paying(terms.hash),
        "[I16] before it is sent"
    );
    replays(&world);
    let again = by_invoice(&mut world, owner, terms);
    assert!(matches!(again, Err(Rejection::BadInvoice(_))), "{again:?}");
    let sent = Command::Lightning(LightningCommand::Sent {
        hash: terms.hash,
        fee: Amount::new(3 * SAT),
    });
    world.apply(&sent).unwrap();
    assert_eq!(units(&world, owner), PAID_IN - 100_003 * SAT);
    assert_eq!(held(&world), CAPITAL + PAID_IN - 100_003 * SAT);
    assert_eq!(notes(&world), PAID_IN - 100_003 * SAT);
    assert_eq!(world.apply(&sent), Err(Rejection::UnknownEffect));
    // Arrived or not, a hash is never paid again.
    let again = by_invoice(&mut world, owner, terms);
    assert!(matches!(again, Err(Rejection::BadInvoice(_))), "{again:?}");
    world.sync();
    replays(&world);
}

#[test]
fn an_invoice_that_failed_for_certain_gives_the_notes_back_and_a_bad_one_takes_none() {
    let (mut world, owner) = with_lp();
    let terms = invoice(&world, 7, 100_000 * SAT);
    by_invoice(&mut world, owner, terms).unwrap();
    world.sync();
    let failed = Command::Lightning(LightningCommand::Failed { hash: terms.hash });
    world.apply(&failed).unwrap();
    assert_eq!(units(&world, owner), PAID_IN);
    assert_eq!(world.apply(&failed), Err(Rejection::UnknownEffect));
    let late = InvoiceTerms {
        expires_at: Timestamp(world.wall.0 + 59_000),
        ..invoice(&world, 8, 1_000 * SAT)
    };
    for bad in [late, invoice(&world, 8, 0), terms] {
        let refused = by_invoice(&mut world, owner, bad);
        assert!(
            matches!(refused, Err(Rejection::BadInvoice(_))),
            "{refused:?}"
        );
    }
    let all = invoice(&world, 8, PAID_IN);
    let refused = by_invoice(&mut world, owner, all);
    assert!(
        matches!(refused, Err(Rejection::ClaimTooLarge { .. })),
        "{refused:?}"
    );
    assert_eq!(units(&world, owner), PAID_IN);
}

#[test]
fn an_lp_pays_in_over_lightning_and_each_invoice_counts_once() {
    let (mut world, owner) = with_lp();
    let give = |amount| ClaimOrder::GiveInvoice {
        owner,
        invoice: [5; 16],
        amount: Amount::new(amount),
    };
    claim(&mut world, give(70_000 * SAT)).unwrap();
    let again = claim(&mut world, give(70_000 * SAT));
    assert_eq!(again, Err(Rejection::AlreadyTaken));
    let told = |lp, amount| {
        Command::ClaimPaid(ClaimPaid {
            lp,
            invoice: [5; 16],
            amount: Amount::new(amount),
        })
    };
    assert_eq!(
        world.apply(&told(1, 70_000 * SAT)),
        Err(Rejection::AlreadyTaken)
    );
    let in_part = world.apply(&told(0, 69_999 * SAT));
    assert!(matches!(in_part, Err(Rejection::BadFact(_))), "{in_part:?}");
    world.apply(&told(0, 70_000 * SAT)).unwrap();
    assert_eq!(units(&world, owner), PAID_IN + 70_000 * SAT);
    assert_eq!(notes(&world), PAID_IN + 70_000 * SAT);
    assert_eq!(held(&world), CAPITAL + PAID_IN + 70_000 * SAT);
    let again = world.apply(&told(0, 70_000 * SAT));
    assert_eq!(again, Err(Rejection::AlreadyTaken));
    world.sync();
    replays(&world);
    // Invoices that nobody pays are forgotten long after they can be, and make room.
    let mut name = 0u16;
    let mut fill = |world: &mut World| -> Result<(), Rejection> {
        loop {
            name += 1;
            let mut invoice = [1; 16];
            invoice[..2].copy_from_slice(&name.to_le_bytes());
            let amount = Amount::new(1);
            let order = ClaimOrder::GiveInvoice {
                owner,
                invoice,
                amount,
            };
            claim(world, order)?;
        }
    };
    let bound = bounds::INVOICES_MAX as u64;
    assert_eq!(fill(&mut world), Err(Rejection::Full { bound }));
    world.wall = Timestamp(world.wall.0 + 9 * DAY_MS);
    assert_eq!(fill(&mut world), Err(Rejection::Full { bound }));
}

#[test]
fn units_that_earned_are_worth_more_when_they_leave_and_rounding_is_never_the_lp_s_gain() {
    for scale in [11, 8] {
        let (mut world, owner) = with_lp_at(scale);
        for _ in 0..3 {
            world.wall = Timestamp(world.wall.0 + DAY_MS);
            world.sync();
        }
        let asset = world.state().asset(BTC).unwrap();
        let index = asset.vault.index;
        assert!(index > 10u128.pow(27), "notes earned something");
        let before = notes(&world);
        let mut took = 0;
        for (at, amount) in [10_001u128, 33_333, 77_777].into_iter().enumerate() {
            let order = withdraw(owner, Some(amount * SAT + 7), cost(500));
            claim(&mut world, order).unwrap();
            let effect = due(&world.sync()).remove(0);
            if at == 1 {
                world
                    .apply(&Command::PaymentRefused { id: effect.id })
                    .unwrap();
                continue;
            }
            paid(&mut world, effect.id, 499).unwrap();
            took += effect.amount.value() + 499 * SAT;
        }
        let factor = 10u128.pow(u32::from(11 - scale));
        let worth = units(&world, owner) * index / 10u128.pow(27);
        assert!(worth + took <= (before + 1) * factor, "scale {scale}");
        assert!(
            worth + took + 20 * factor > before * factor,
            "scale {scale}"
        );
        let claims = world.state().coverages()[2];
        assert!(claims.ratio_ppm() >= Some(1_000_000));
        // The last unit takes nothing of others with it, and leaves nothing in the notes.
        claim(&mut world, withdraw(owner, None, cost(500))).unwrap();
        let effect = due(&world.sync()).remove(0);
        paid(&mut world, effect.id, 600).unwrap();
        assert_eq!(
            (units(&world, owner), notes(&world), losses(&world)),
            (0, 0, 0)
        );
    }
}
