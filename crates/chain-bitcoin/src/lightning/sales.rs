//! Channels sold just in time (LSPS2): to a node without inbound capacity, at the moment when a payment for it arrives.
//!
//! The library speaks the protocol and holds the payment's parts; whoever listens says what is sold to whom, and at what
//! price. A sale is known by the short channel id that stands in the buyer's invoice. What is held for one, and the channel
//! that it led to, lie in our store: a part that is not forwarded goes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::secp256k1::PublicKey;
use lightning::events::{Event, HTLCHandlingFailureType};
use lightning::ln::channelmanager::InterceptId;
use lightning::ln::types::ChannelId;
use lightning_liquidity::events::LiquidityEvent;
use lightning_liquidity::lsps0::ser::{LSPSDateTime, LSPSRequestId};
use lightning_liquidity::lsps2::event::LSPS2ServiceEvent;
use lightning_liquidity::lsps2::msgs::{LSPS2OpeningFeeParams, LSPS2RawOpeningFeeParams};

use super::channel::{Opening, public_key};
use super::node::{Inner, LightningNode};
use super::observation::{ChannelNumber, Observation, SaleNumber, SaleRequest, SaleTerms};
use super::sale_records::{Sale, entry_of, is_past};
use crate::Fault;

const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How long a payment waits for a buyer that is not connected: after a start of ours it connects again.
const OFFLINE_PATIENCE: Duration = Duration::from_secs(10);
/// Blocks that the payer leaves us: a channel that its buyer takes only once it is confirmed is ready within them.
const CLTV_DELTA: u32 = 144;
/// The longest that a buyer may keep our money after a closing of our own, in blocks.
const DELAY_MAX: u32 = 2_016;

/// A transaction with one of the wallet's inputs, a channel and change; and one that closes it, in weight units.
const OPENING_WEIGHT: u64 = 700;
const CLOSING_WEIGHT: u64 = 800;

impl LightningNode {
    /// What opening a channel and closing it again costs at the rates of now, in sat.
    #[must_use]
    pub fn opening_cost_sat(&self) -> u64 {
        let rate = u64::from(self.inner.fee_rates.funding());
        (OPENING_WEIGHT + CLOSING_WEIGHT)
            .saturating_mul(rate)
            .div_ceil(1_000)
    }

    /// What the hot wallet can put into one more channel, its reserve for all of them left, in sat.
    #[must_use]
    pub fn spendable_sat(&self) -> u64 {
        self.inner.spendable_sat()
    }

    /// Answers a question for terms.
    ///
    /// # Errors
    ///
    /// [`Fault::Channel`] when nobody waits for the answer any more.
    pub fn offer(&self, request: &SaleRequest, terms: &SaleTerms) -> Result<(), Fault> {
        let peer = public_key(&request.peer)?;
        let offered = LSPS2RawOpeningFeeParams {
            min_fee_msat: terms.fee_min_msat,
            proportional: terms.fee_ppm,
            valid_until: LSPSDateTime::new_from_duration_since_epoch(Duration::from_secs(
                terms.valid_until_s,
            )),
            min_lifetime: terms.lifetime_blocks,
            max_client_to_self_delay: DELAY_MAX,
            min_payment_size_msat: terms.payment_min_msat,
            max_payment_size_msat: terms.payment_max_msat,
        };
        let lsps = &self.inner.lsps;
        let service = lsps.service().ok_or_else(sells_none)?;
        let request = LSPSRequestId(request.id.clone());
        service
            .opening_fee_params_generated(&peer, request, vec![offered])
            .map_err(|_| nobody_waits())?;
        self.inner.peers.process_events();
        Ok(())
    }

    /// Refuses a question for terms, or a purchase, with a reason.
    pub fn decline(&self, request: &SaleRequest, why: &str) {
        let Ok(peer) = public_key(&request.peer) else {
            return;
        };
        match request.is_purchase {
            true => self.inner.lsps.refuse_purchase(peer, &request.id, why),
            false => self.inner.lsps.refuse_terms(&peer, &request.id, why),
        }
        self.inner.peers.process_events();
    }

    /// A number for a sale, never used before.
    #[must_use]
    pub fn draw_sale(&self) -> SaleNumber {
        SaleNumber(self.inner.channels.get_intercept_scid())
    }

    /// Takes a purchase, under a number that was drawn for it: a payment that arrives for it before this time, in seconds, is
    /// reported as held.
    ///
    /// # Errors
    ///
    /// [`Fault::Channel`] when nobody waits for the answer any more.
    pub async fn promise(
        &self,
        request: &SaleRequest,
        sale: SaleNumber,
        valid_until_s: u64,
    ) -> Result<(), Fault> {
        let peer = public_key(&request.peer)?;
        let inner = &self.inner;
        let service = inner.lsps.service().ok_or_else(sells_none)?;
        let promised = Sale {
            node: request.peer,
            valid_until_s,
            asked: None,
            channel: None,
            held: Vec::new(),
            earned_msat: 0,
        };
        inner.sales.put(sale.0, promised)?;
        let id = LSPSRequestId(request.id.clone());
        let number = u128::from(sale.0);
        let answered =
            service.invoice_parameters_generated(&peer, id, sale.0, CLTV_DELTA, false, number);
        if answered.await.is_err() {
            inner.sales.forget(sale.0);
            return Err(nobody_waits());
        }
        // Known here for good before the buyer makes an invoice of it.
        inner.store.durable().await?;
        inner.peers.process_events();
        Ok(())
    }

    /// Opens the channel that a sale promised, while its payment is held; the payment goes through it, less the fee, once it
    /// can be used. What comes of it is reported, as of any channel. A sale leads to one channel at most.
    ///
    /// # Errors
    ///
    /// [`Fault::UnknownSale`] when there is no such sale, or its payment has gone back; those of [`Self::open_channel`]: the
    /// payment has gone back then.
    pub async fn sell(&self, sale: SaleNumber, opening: Opening) -> Result<(), Fault> {
        let inner = &self.inner;
        let known = inner.sales.find(sale.0);
        let known = known.filter(|known| known.node == opening.peer);
        let known = known.ok_or(Fault::UnknownSale)?;
        let is_there = inner.details(opening.channel).is_ok();
        let is_other = known
            .channel
            .is_some_and(|channel| channel != opening.channel.0);
        if !is_there && (is_other || !known.held.iter().any(|part| inner.is_held(part))) {
            inner.end_sale(sale.0).await;
            return Err(Fault::UnknownSale);
        }
        inner
            .sales
            .change(sale.0, |sale| sale.channel = Some(opening.channel.0));
        let asked = self.open_channel(opening);
        if asked.is_err() {
            inner.end_sale(sale.0).await;
        }
        asked
    }

    /// Sends back what is held for a sale. Another payment may still begin it.
    pub async fn give_back(&self, sale: SaleNumber) {
        self.inner.return_payment(sale.0).await;
    }
}

impl Inner {
    fn spendable_sat(&self) -> u64 {
        let reserve = self.reserve_of(self.channels.list_channels().len() + 1);
        self.wallet.spendable_sat().saturating_sub(reserve)
    }

    fn is_held(&self, part: &[u8; 32]) -> bool {
        let held = self
            .channels
            .intercepted_htlc_inbound_amount_msat(InterceptId(*part));
        held.is_some()
    }

    fn send_back(&self, parts: &[[u8; 32]]) {
        for part in parts {
            // What LDK does not hold any more went back, or through.
            let _unless_gone = self.channels.fail_intercepted_htlc(InterceptId(*part));
        }
    }

    /// A part of a payment to a number that was drawn for a sale.
    pub(crate) async fn intercepted(&self, event: Event) {
        let Event::HTLCIntercepted {
            intercept_id,
            requested_next_hop_scid: number,
            payment_hash,
            expected_outbound_amount_msat,
            ..
        } = event
        else {
            return;
        };
        let part = intercept_id.0;
        let (Some(service), Some(sale)) = (self.lsps.service(), self.sales.find(number)) else {
            return self.send_back(&[part]);
        };
        let Ok(peer) = public_key(&sale.node) else {
            return self.send_back(&[part]);
        };
        let is_late = sale.channel.is_none() && is_past(sale.valid_until_s);
        let is_known = service.channel_needs_manual_broadcast(u128::from(number), &peer);
        if is_late || is_known.is_err() {
            return self.send_back(&[part]);
        }
        self.sales.change(number, |sale| {
            if !sale.held.contains(&part) {
                sale.held.push(part);
            }
        });
        let taken = service
            .htlc_intercepted(
                number,
                intercept_id,
                expected_outbound_amount_msat,
                payment_hash,
            )
            .await;
        if let Err(error) = taken {
            tracing::info!(target: "lightning", sale = number, ?error, "a payment for a sale goes back");
            self.send_back(&[part]);
        }
        self.drop_what_left(number);
        self.keep_protocol().await;
    }

    /// Forgets parts that LDK holds no more.
    fn drop_what_left(&self, number: u64) {
        let Some(sale) = self.sales.find(number) else {
            return;
        };
        let left: Vec<_> = sale
            .held
            .iter()
            .filter(|part| self.is_held(part))
            .copied()
            .collect();
        if left.len() < sale.held.len() {
            self.sales.change(number, |sale| sale.held = left);
        }
    }

    async fn keep_protocol(&self) {
        if let Err(error) = self.lsps.protocol().persist().await {
            tracing::error!(target: "lightning", %error, "sales cannot be kept");
        }
    }

    /// A channel can be used: what was held for it goes through.
    pub(crate) async fn sale_ready(
        &self,
        channel: ChannelNumber,
        id: &ChannelId,
        peer: &PublicKey,
    ) {
        let (Some(service), Some((number, sale))) =
            (self.lsps.service(), self.sales.by_channel(channel))
        else {
            return;
        };
        let ready = service.channel_ready(u128::from(number), id, peer).await;
        if let Err(error) = ready
            && sale.held.iter().any(|part| self.is_held(part))
        {
            tracing::warn!(target: "lightning", sale = number, ?error, "a payment does not go through the channel that it was to open");
            self.send_back(&sale.held);
            // The next payment goes through, and pays for the channel.
            let failed = HTLCHandlingFailureType::Forward {
                node_id: Some(*peer),
                channel_id: *id,
            };
            self.sale_failed(failed).await;
        }
        self.drop_what_left(number);
    }

    /// A payment that went on to a buyer came back.
    pub(crate) async fn sale_failed(&self, failed: HTLCHandlingFailureType) {
        if let Some(service) = self.lsps.service()
            && let Err(error) = service.htlc_handling_failed(failed).await
        {
            tracing::warn!(target: "lightning", ?error, "a sale does not know of a payment that failed");
        }
    }

    /// A part of a payment went through a channel. The library asks for one part that pays the whole fee; a payment in parts
    /// pays it by all of them.
    pub(crate) async fn sale_forwarded(
        &self,
        channel: ChannelNumber,
        id: ChannelId,
        withheld_msat: u64,
    ) {
        let (Some(service), Some((_, sale))) =
            (self.lsps.service(), self.sales.by_channel(channel))
        else {
            return;
        };
        let earned_msat = sale.earned_msat.saturating_add(withheld_msat);
        if let Err(error) = service.payment_forwarded(id, earned_msat).await {
            tracing::debug!(target: "lightning", ?error, "a forwarded payment was no sale's first");
        }
    }

    /// What a sale has earned, to be written with the forward that did.
    pub(crate) fn sale_earned(
        &self,
        channel: ChannelNumber,
        withheld_msat: u64,
    ) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let (number, _) = self.sales.by_channel(channel)?;
        let changed = self.sales.change_unwritten(number, |sale| {
            sale.earned_msat = sale.earned_msat.saturating_add(withheld_msat);
        })?;
        Some(entry_of(number, &changed))
    }

    /// A channel is gone, or never came to be: nothing more goes through it.
    pub(crate) async fn sale_closed(&self, channel: ChannelNumber) {
        if let Some((number, _)) = self.sales.by_channel(channel) {
            self.end_sale(number).await;
        }
    }

    async fn return_payment(&self, number: u64) {
        let (Some(service), Some(sale)) = (self.lsps.service(), self.sales.find(number)) else {
            return;
        };
        let Ok(peer) = public_key(&sale.node) else {
            return;
        };
        self.send_back(&sale.held);
        self.sales.change(number, |sale| sale.asked = None);
        // Some parts alone end the sale, as the library has it: another payment could not be told from them.
        let failed = service.channel_open_failed(&peer, u128::from(number)).await;
        match failed {
            Ok(()) => self.drop_what_left(number),
            Err(_) => self.end_sale(number).await,
        }
    }

    async fn end_sale(&self, number: u64) {
        let Some(sale) = self.sales.find(number) else {
            return;
        };
        self.send_back(&sale.held);
        if let (Some(service), Ok(peer)) = (self.lsps.service(), public_key(&sale.node)) {
            let ended = service.channel_open_abandoned(&peer, u128::from(number));
            // What has led to a channel stays with the library, which asks us about nothing of it any more.
            let _unless_opened = ended.await;
        }
        self.sales.forget(number);
    }

    async fn sale_event(self: &Arc<Self>, event: LSPS2ServiceEvent) {
        match event {
            LSPS2ServiceEvent::GetInfo {
                request_id,
                counterparty_node_id,
                ..
            } => {
                let request = SaleRequest {
                    peer: counterparty_node_id.serialize(),
                    id: request_id.0,
                    is_purchase: false,
                };
                // Whoever is not answered asks again.
                let _unless_unheard = self.tell(Observation::TermsAsked { request }).await;
            }
            LSPS2ServiceEvent::BuyRequest {
                request_id,
                counterparty_node_id,
                opening_fee_params,
                payment_size_msat,
            } => {
                let request = SaleRequest {
                    peer: counterparty_node_id.serialize(),
                    id: request_id.0,
                    is_purchase: true,
                };
                let asked = Observation::ChannelAsked {
                    request,
                    terms: terms_of(&opening_fee_params),
                    payment_msat: payment_size_msat,
                };
                let _unless_unheard = self.tell(asked).await;
            }
            LSPS2ServiceEvent::OpenChannel {
                amt_to_forward_msat,
                opening_fee_msat,
                intercept_scid,
                ..
            } => {
                let amount_msat = amt_to_forward_msat.saturating_add(opening_fee_msat);
                let asked = Some((amount_msat, opening_fee_msat));
                self.sales.change(intercept_scid, |sale| sale.asked = asked);
                self.begin_asking(intercept_scid);
            }
        }
    }

    fn begin_asking(self: &Arc<Self>, number: u64) {
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            inner.ask_for_channel(number).await;
        });
    }

    /// Tells of a payment that waits for its channel, until that was heard or the payment is gone.
    async fn ask_for_channel(&self, number: u64) {
        let began = Instant::now();
        while let Some(sale) = self.sales.find(number) {
            let Some((amount_msat, fee_msat)) = sale.asked else {
                return;
            };
            if self.has_ended() || sale.channel.is_some() || sale.held.is_empty() {
                return;
            }
            let is_online =
                public_key(&sale.node).is_ok_and(|key| self.peers.peer_by_node_id(&key).is_some());
            if !is_online && began.elapsed() < OFFLINE_PATIENCE {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            if !is_online {
                tracing::info!(target: "lightning", sale = number, "a payment goes back: its buyer is not connected");
                return self.return_payment(number).await;
            }
            let held = Observation::PaymentHeld {
                sale: SaleNumber(number),
                peer: sale.node,
                amount_msat,
                fee_msat,
                spendable_sat: self.spendable_sat(),
            };
            if self.tell(held).await.is_ok() {
                return;
            }
        }
    }
}

/// Hands on what the library asks, and first what it had asked before a restart.
pub(crate) async fn sale_events(inner: Arc<Inner>) {
    for number in inner.sales.asked() {
        inner.begin_asking(number);
    }
    loop {
        let event = inner.lsps.protocol().next_event_async().await;
        if let LiquidityEvent::LSPS2Service(event) = event {
            inner.sale_event(event).await;
        }
    }
}

/// Sends back what waits too long, and forgets what nobody paid for.
pub(crate) async fn look_after_sales(inner: Arc<Inner>) {
    loop {
        tokio::time::sleep(LOOK_PERIOD).await;
        let is_there = |channel| inner.details(channel).is_ok();
        let (held, stale) = inner.sales.overdue(is_there);
        for number in held {
            inner.return_payment(number).await;
        }
        if !stale.is_empty() {
            for number in stale {
                inner.sales.forget(number);
            }
            inner.keep_protocol().await;
        }
    }
}

fn terms_of(params: &LSPS2OpeningFeeParams) -> SaleTerms {
    SaleTerms {
        fee_min_msat: params.min_fee_msat,
        fee_ppm: params.proportional,
        valid_until_s: u64::try_from(params.valid_until.0.timestamp()).unwrap_or(0),
        lifetime_blocks: params.min_lifetime,
        payment_min_msat: params.min_payment_size_msat,
        payment_max_msat: params.max_payment_size_msat,
    }
}

fn sells_none() -> Fault {
    Fault::Channel {
        why: "this node sells no channels".to_owned(),
    }
}

fn nobody_waits() -> Fault {
    Fault::Channel {
        why: "its buyer does not wait for an answer any more".to_owned(),
    }
}
