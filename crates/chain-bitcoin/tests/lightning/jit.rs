//! Channels sold just in time: an ldk-node buys, another one pays it, ours stands between them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use forebay_chain_bitcoin::lightning::{
    ChannelNumber, HotWallet, LightningNode, Observation, Opening, SaleTerms,
};
use ldk_node::lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescription, Description};
use ldk_node::payment::{PaymentKind, PaymentStatus};

use crate::world::{Ours, Theirs, World, free_port, ours_at, until, until_equal};

const PAYER_CHANNEL_SAT: u64 = 2_000_000;
const SOLD: ChannelNumber = ChannelNumber(11);
const SOLD_SAT: u64 = 500_000;
const FEE_MIN_MSAT: u64 = 2_000_000;
const FEE_PPM: u32 = 10_000;
const PAYMENT_MSAT: u64 = 300_000_000;

/// What the listener of ours does with what is asked of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shop {
    Sells,
    /// It promises, and then says no.
    GivesBack,
    /// It promises, and then says nothing.
    FallsSilent,
    /// It promises what nobody can begin any more.
    Late,
    /// It wants to put more into a channel than it has.
    Overreaches,
    RefusesTerms,
    RefusesPurchase,
}

/// Ours, a payer with a channel to ours, and a buyer without any.
pub(crate) struct Market<'a> {
    pub(crate) world: &'a World,
    pub(crate) ours: Ours,
    pub(crate) address: SocketAddr,
    pub(crate) payer: Theirs,
    pub(crate) buyer: Theirs,
}

impl<'a> Market<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let ours = ours_at(world, "seller", address, true);
        world.fund(&ours, 1_000_000);
        let payer = world.theirs("payer");
        open_to_ours(world, &ours, address, &payer);
        let buyer = world.with_coins(start_buyer(world, ours.key(), address));
        Self {
            world,
            ours,
            address,
            payer,
            buyer,
        }
    }

    /// The buyer's invoice, as it comes of a purchase, while the shop is open.
    pub(crate) fn buy(&self, shop: Shop) -> Result<Bolt11Invoice, ldk_node::NodeError> {
        while_open(&self.ours, shop, || jit_invoice(&self.buyer, PAYMENT_MSAT))
    }

    /// What is ours, in channels and coins, in msat.
    pub(crate) fn wealth_msat(&self) -> u64 {
        let channels = self.ours.node.channels().expect("readable");
        let in_channels: u64 = channels.iter().map(|c| c.balance_msat).sum();
        in_channels + self.world.unspent_at(&self.ours.wallet.address()) * 1_000
    }

    pub(crate) fn payer_pays(&self, invoice: &Bolt11Invoice) -> PaymentStatus {
        let id = self.payer.node.bolt11_payment().send(invoice, None);
        let id = id.expect("it leaves");
        let mut status = PaymentStatus::Pending;
        until("the payment ends", || {
            status = self.payer.node.payment(&id).expect("it is known").status;
            status != PaymentStatus::Pending
        });
        status
    }
}

fn open_to_ours(world: &World, ours: &Ours, address: SocketAddr, payer: &Theirs) {
    world.pay(
        &payer
            .node
            .onchain_payment()
            .new_address()
            .expect("an address"),
        2 * PAYER_CHANNEL_SAT,
    );
    world.mine(1);
    until("the payer sees its coins", || {
        let synced = payer.node.sync_wallets().is_ok();
        synced && payer.node.list_balances().spendable_onchain_balance_sats > PAYER_CHANNEL_SAT
    });
    let address = address.to_string().parse().expect("an address");
    payer
        .node
        .open_channel(ours.key(), address, PAYER_CHANNEL_SAT, None, None)
        .expect("ours is there");
    ours.wait("the payer's channel is pending", |o| {
        matches!(o, Observation::ChannelPending { fee_sat: 0, .. })
    });
    world.settle(payer);
    until("the payer can use its channel", || {
        payer.node.list_channels().iter().any(|c| c.is_usable)
    });
}

fn start_buyer(
    world: &World,
    seller: bitcoin::secp256k1::PublicKey,
    address: SocketAddr,
) -> Theirs {
    let address = address.to_string().parse().expect("an address");
    Theirs::start_with(world, "buyer", |builder| {
        builder.set_liquidity_source_lsps2(seller, address, None);
    })
}

pub(crate) fn jit_invoice(
    buyer: &Theirs,
    amount_msat: u64,
) -> Result<Bolt11Invoice, ldk_node::NodeError> {
    let description = Bolt11InvoiceDescription::Direct(Description::empty());
    let buying = buyer.node.bolt11_payment();
    buying.receive_via_jit_channel(amount_msat, &description, 3_600, None)
}

pub(crate) fn terms() -> SaleTerms {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    SaleTerms {
        fee_min_msat: FEE_MIN_MSAT,
        fee_ppm: FEE_PPM,
        valid_until_s: now.expect("after 1970").as_secs() + 600,
        lifetime_blocks: 4_320,
        payment_min_msat: 10_000_000,
        payment_max_msat: 400_000_000,
    }
}

/// Runs while the shop answers whatever is asked.
pub(crate) fn while_open<T>(ours: &Ours, shop: Shop, run: impl FnOnce() -> T) -> T {
    while_open_from(ours, ours.told().len(), shop, run)
}

/// The same, from the observation with this number on.
fn while_open_from<T>(ours: &Ours, from: usize, shop: Shop, run: impl FnOnce() -> T) -> T {
    let closing = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = from;
            while !closing.load(Ordering::SeqCst) {
                let told = ours.told();
                for asked in &told[next..] {
                    ours.block_on(answer(&ours.node, shop, asked));
                }
                next = told.len();
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        closing.store(true, Ordering::SeqCst);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

async fn answer(node: &LightningNode, shop: Shop, asked: &Observation) {
    match asked {
        Observation::TermsAsked { request } if shop == Shop::RefusesTerms => {
            node.decline(request, "nothing is sold to you");
        }
        Observation::TermsAsked { request } => {
            node.offer(request, &terms()).expect("the buyer waits");
        }
        Observation::ChannelAsked { request, .. } if shop == Shop::RefusesPurchase => {
            node.decline(request, "too little is left");
        }
        Observation::ChannelAsked { request, terms, .. } => {
            let valid_until_s = match shop {
                Shop::Late => 1,
                _ => terms.valid_until_s,
            };
            let promised = node.promise(request, node.draw_sale(), valid_until_s);
            promised.await.expect("the buyer waits");
        }
        Observation::PaymentHeld { .. } if shop == Shop::FallsSilent => {}
        Observation::PaymentHeld { sale, .. } if shop == Shop::GivesBack => {
            node.give_back(*sale).await;
        }
        Observation::PaymentHeld { sale, peer, .. } => {
            let opening = Opening {
                channel: SOLD,
                peer: *peer,
                value_sat: match shop {
                    Shop::Overreaches => 3 * SOLD_SAT,
                    _ => SOLD_SAT,
                },
                public: false,
                fee_max_sat: 10_000,
            };
            let asked = node.sell(*sale, opening).await;
            asked.expect("the buyer is there");
        }
        _ => {}
    }
}

/// All that forwards have earned, as told: the whole, and what was withheld of buyers, in msat.
fn earned(ours: &Ours) -> (u64, u64) {
    let told = ours.told();
    told.iter().fold((0, 0), |(all, kept), o| match o {
        Observation::Forwarded {
            fee_msat,
            withheld_msat,
            ..
        } => (all + fee_msat, kept + withheld_msat),
        _ => (all, kept),
    })
}

#[test]
fn a_channel_is_sold_when_a_payment_comes_and_what_is_earned_is_what_our_balances_grow_by() {
    let world = World::new();
    let market = Market::new(&world);
    let before = market.wealth_msat();
    let invoice = market.buy(Shop::Sells).expect("it is sold");
    assert_eq!(market.ours.node.channels().expect("readable").len(), 1);
    let status = while_open(&market.ours, Shop::Sells, || market.payer_pays(&invoice));
    assert_eq!(status, PaymentStatus::Succeeded);

    // One percent of the payment is above the least fee.
    let fee_msat = PAYMENT_MSAT / 100;
    until("it is told what was earned", || {
        earned(&market.ours) != (0, 0)
    });
    assert_eq!(earned(&market.ours), (fee_msat, fee_msat));
    let received = market.buyer.node.list_payments_with_filter(|p| {
        matches!(p.kind, PaymentKind::Bolt11Jit { .. }) && p.status == PaymentStatus::Succeeded
    });
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].amount_msat, Some(PAYMENT_MSAT - fee_msat));

    // The funding is in a block only now.
    world.settle(&market.buyer);
    let miners = market.ours.wait(
        "the channel is pending",
        |o| matches!(o, Observation::ChannelPending { channel, .. } if *channel == SOLD),
    );
    let Observation::ChannelPending { fee_sat, .. } = miners else {
        unreachable!("it was asked for");
    };
    let after = before + fee_msat - fee_sat * 1_000;
    until_equal("what is ours", &after, || market.wealth_msat());
    let sold = market.ours.channel(SOLD).expect("it is there");
    let passed = PAYMENT_MSAT - fee_msat;
    assert_eq!(sold.balance_msat, SOLD_SAT * 1_000 - passed);
    assert_eq!(market.buyer.balance_msat(), passed);

    // A payment by the channel itself is forwarded as any other, and earns a routing fee.
    let plain = market.buyer.invoice(20_000_000);
    let plain: Bolt11Invoice = plain.parse().expect("an invoice");
    assert_eq!(market.payer_pays(&plain), PaymentStatus::Succeeded);
    until("it is told", || earned(&market.ours).0 > fee_msat);
    let (all, withheld) = earned(&market.ours);
    assert_eq!(withheld, fee_msat);
    let after = before + all - fee_sat * 1_000;
    until_equal("what is ours", &after, || market.wealth_msat());
}

/// The invoice is paid in vain, nothing is spent, and nothing stays held.
fn goes_back(market: &Market<'_>, shop: Shop, invoice: &Bolt11Invoice) {
    let before = market.wealth_msat();
    let status = while_open(&market.ours, shop, || market.payer_pays(invoice));
    assert_eq!(status, PaymentStatus::Failed);
    market.ours.quiet();
    assert_eq!(market.wealth_msat(), before);
    assert_eq!(earned(&market.ours), (0, 0));
    let channels = market.ours.node.channels().expect("readable");
    assert_eq!(channels.len(), 1, "the payer's");
}

#[test]
fn what_is_not_sold_costs_nothing_and_a_payment_for_it_goes_back() {
    let world = World::new();
    let market = Market::new(&world);
    assert!(market.buy(Shop::RefusesTerms).is_err());
    assert!(market.buy(Shop::RefusesPurchase).is_err());

    let late = market.buy(Shop::Late).expect("it is sold");
    goes_back(&market, Shop::Sells, &late);

    // The word of the listener gives it back; the sale stands, and the same invoice is paid after all.
    let refused = market.buy(Shop::Sells).expect("it is sold");
    goes_back(&market, Shop::GivesBack, &refused);

    // No channel comes of it: the sale is over.
    let large = market.buy(Shop::Sells).expect("it is sold");
    goes_back(&market, Shop::Overreaches, &large);
    market.ours.wait("the channel came to nothing", |o| {
        matches!(o, Observation::ChannelClosed { channel, funding: None, reason, .. }
            if *channel == SOLD && reason.contains("can be spent"))
    });
    goes_back(&market, Shop::Sells, &large);

    // The buyer is away.
    let offline = market.buy(Shop::Sells).expect("it is sold");
    market.buyer.node.stop().expect("it runs");
    goes_back(&market, Shop::Sells, &offline);
    market.buyer.node.start().expect("it starts again");
    come_back(&[&market.buyer], market.ours.key(), market.address);

    let status = while_open(&market.ours, Shop::Sells, || market.payer_pays(&refused));
    assert_eq!(status, PaymentStatus::Succeeded);
}

/// Blocks come while it is held: it goes back before its time lock would close the payer's channel.
#[test]
fn a_payment_that_nobody_answers_for_goes_back_before_its_time_lock_ends() {
    let world = World::new();
    let market = Market::new(&world);
    let before = market.wealth_msat();
    let invoice = market.buy(Shop::FallsSilent).expect("it is sold");
    while_open(&market.ours, Shop::FallsSilent, || {
        let id = market.payer.node.bolt11_payment().send(&invoice, None);
        let id = id.expect("it leaves");
        market.ours.wait("the payment is held", |o| {
            matches!(o, Observation::PaymentHeld { .. })
        });
        until("it has gone back", || {
            world.settle(&market.payer);
            let payment = market.payer.node.payment(&id).expect("it is known");
            assert_ne!(payment.status, PaymentStatus::Succeeded);
            payment.status == PaymentStatus::Failed
        });
    });
    market.ours.quiet();
    assert_eq!(market.wealth_msat(), before);
    assert_eq!(market.ours.node.channels().expect("readable").len(), 1);
}

/// A payment in two parts over two channels of the payer: all parts together pay the fee, and later payments pass.
#[test]
fn a_payment_in_parts_pays_for_the_channel_by_all_of_them() {
    let world = World::new();
    let market = Market::new(&world);
    let channels = market.payer.node.list_channels();
    let first = channels.first().expect("it was opened");
    // More than one of its channels can send.
    let amount_msat = 390_000_000;
    let spare = first.outbound_capacity_msat - 200_000_000;
    market.payer.pay(&market.ours.invoice(1, spare));
    market.ours.wait("it is emptied", |o| {
        matches!(o, Observation::Received { .. })
    });
    open_another(&market, 300_000);
    let invoice = while_open(&market.ours, Shop::Sells, || {
        jit_invoice(&market.buyer, amount_msat)
    });
    let invoice = invoice.expect("it is sold");
    let status = while_open(&market.ours, Shop::Sells, || market.payer_pays(&invoice));
    assert_eq!(status, PaymentStatus::Succeeded);
    let fee_msat = amount_msat / 100;
    until("all parts are told", || {
        earned(&market.ours) == (fee_msat, fee_msat)
    });
    let told = market.ours.told();
    let parts = told
        .iter()
        .filter(|o| matches!(o, Observation::Forwarded { .. }));
    assert!(parts.count() > 1, "it came in parts");
}

fn open_another(market: &Market<'_>, sat: u64) {
    let address = market.address.to_string().parse().expect("an address");
    market.payer.node.sync_wallets().expect("it sees blocks");
    market
        .payer
        .node
        .open_channel(market.ours.key(), address, sat, None, None)
        .expect("ours is there");
    until("the second channel is usable", || {
        market.world.settle(&market.payer);
        let channels = market.payer.node.list_channels();
        channels.iter().filter(|c| c.is_usable).count() == 2
    });
}

/// Connected to a seller that was started again: who has no channel does not connect by itself.
pub(crate) fn come_back(
    peers: &[&Theirs],
    seller: bitcoin::secp256k1::PublicKey,
    address: SocketAddr,
) {
    for peer in peers {
        until("the peer is back", || {
            let address = address.to_string().parse().expect("an address");
            peer.node.connect(seller, address, false).is_ok()
        });
    }
}

/// Stopped and started again between all steps: what was promised stands, what was held is asked for again.
#[test]
fn a_sale_goes_on_after_a_restart_at_each_step() {
    let world = World::new();
    let Market {
        ours,
        address,
        payer,
        buyer,
        ..
    } = Market::new(&world);
    let invoice = while_open(&ours, Shop::Sells, || jit_invoice(&buyer, PAYMENT_MSAT));
    let invoice = invoice.expect("it is sold");
    ours.stop();

    // The payment comes, and nobody hears that it is held.
    let ours = ours_at(&world, "seller", address, true);
    come_back(&[&payer, &buyer], ours.key(), address);
    until("the payer can pay", || {
        payer.node.list_channels().iter().any(|c| c.is_usable)
    });
    ours.keep_no_more();
    let id = payer.node.bolt11_payment().send(&invoice, None);
    let id = id.expect("it leaves");
    ours.wait("the payment is held", |o| {
        matches!(o, Observation::PaymentHeld { .. })
    });
    ours.stop();

    let ours = ours_at(&world, "seller", address, true);
    come_back(&[&payer, &buyer], ours.key(), address);
    until("its coins are seen", || {
        ours.wallet.spendable_sat() > SOLD_SAT
    });
    while_open_from(&ours, 0, Shop::Sells, || {
        until("the payment arrives", || {
            let payment = payer.node.payment(&id).expect("it is known");
            assert_ne!(payment.status, PaymentStatus::Failed);
            payment.status == PaymentStatus::Succeeded
        });
    });
    let fee_msat = PAYMENT_MSAT / 100;
    until("it is told what was earned", || {
        earned(&ours) == (fee_msat, fee_msat)
    });
    ours.stop();

    // What was told is not told again.
    let ours = ours_at(&world, "seller", address, true);
    come_back(&[&payer, &buyer], ours.key(), address);
    until("the sold channel is usable", || {
        ours.channel(SOLD).is_some_and(|c| c.usable)
    });
    assert_eq!(earned(&ours), (0, 0));
    assert_eq!(ours.node.channels().expect("readable").len(), 2);
}
