//! What leaves the pool, and what a restart must still know of it.

use forebay_pool::{ChainRequest, Effect, State};
use forebay_quantity::{AssetId, EffectId};

use super::Auditor;
use crate::actor::Actor;
use crate::books::signed;
use crate::chain::Chain;
use crate::witness::WITNESSES;

impl Auditor {
    // What leaves the pool.

    /// The next frame's number, before it is appended.
    pub(crate) fn appends(&mut self, sequence: u64) {
        self.appended = Some((sequence, self.books.clone()));
    }

    pub(crate) fn synced(&mut self) {
        if let Some(appended) = self.appended.take() {
            self.synced = appended;
        }
    }

    /// After the release of a batch: its effects are in the books now, and its replies are out.
    pub(crate) fn released_batch(&mut self) {
        self.synced.1 = self.books.clone();
        self.released.commands.extend(self.waiting.drain(..));
    }

    pub(crate) fn released(
        &mut self,
        effect: &Effect,
        chain: &Chain,
        factor: impl Fn(AssetId) -> i128,
    ) {
        match effect {
            Effect::SendVoucher { serial, amount, .. } => {
                self.voucher_released(serial.0, signed(amount.value()), chain);
            }
            Effect::Chain { id, request } => self.chain_released(*id, request, factor),
            Effect::RelayFulfill {
                peer,
                request,
                preimage,
                ..
            } => {
                self.released.preimages.insert((*peer, *request), *preimage);
            }
            Effect::Lightning(effect) => self.lightning_released(effect),
            Effect::Withdrawal(effect) => self.withdrawal_released(effect),
            Effect::Forward { .. } | Effect::RelayReject { .. } => {}
        }
    }

    pub(super) fn voucher_released(&mut self, serial: u64, amount: i128, chain: &Chain) {
        let before = self.released.vouchers.get(&serial).copied().unwrap_or(0);
        assert!(
            amount >= before,
            "[I5] channel {serial}: a voucher of {amount} after one of {before}"
        );
        self.released.vouchers.insert(serial, amount);
        self.books.signed(serial, amount);
        let channel = &self.books.channels[&serial];
        let on_chain = &chain.final_vault(channel.asset).channels[&serial].pool;
        let ceiling = signed(on_chain.ceiling);
        // What was signed before a lowering was announced may be sent again: the peer's to redeem in time.
        let fresh = amount > before;
        assert!(
            !fresh || amount <= ceiling,
            "[I4] channel {serial}: a voucher of {amount}, and the final ceiling is {ceiling}"
        );
        assert!(
            !fresh || amount <= channel.out.usable(),
            "[I4] channel {serial}: a voucher of {amount}, and {} is guaranteed",
            channel.out.usable()
        );
    }

    pub(super) fn chain_released(
        &mut self,
        id: EffectId,
        request: &ChainRequest,
        factor: impl Fn(AssetId) -> i128,
    ) {
        if let Some(known) = self.released.effects.get(&id) {
            assert_eq!(known, request, "[I11] effect {id} changed");
            if let ChainRequest::Open {
                serial,
                peer,
                asset,
                ..
            } = request
            {
                self.books.opened(serial.0, *peer, *asset, factor(*asset));
            }
            return;
        }
        self.released.effects.insert(id, request.clone());
        match request {
            ChainRequest::Open {
                serial,
                peer,
                asset,
                ..
            } => {
                assert!(
                    self.released.serials.insert(serial.0),
                    "[I5] serial {serial} is used twice"
                );
                self.books.opened(serial.0, *peer, *asset, factor(*asset));
            }
            ChainRequest::Redeem { serial, amount, .. } => {
                let most = self.released.redemptions.entry(serial.0).or_insert(0);
                *most = signed(amount.value()).max(*most);
            }
            ChainRequest::OpenLightning { .. } => self.change_released(id, request),
            ChainRequest::Raise { .. }
            | ChainRequest::RaiseIndex { .. }
            | ChainRequest::PayExits { .. }
            | ChainRequest::StartClose { .. }
            | ChainRequest::FinishNotice { .. }
            | ChainRequest::StartLower { .. }
            | ChainRequest::Heartbeat { .. }
            | ChainRequest::ToReserve { .. }
            | ChainRequest::FromReserve { .. }
            | ChainRequest::RenewReserve { .. }
            | ChainRequest::SpliceIn { .. }
            | ChainRequest::SpliceOut { .. }
            | ChainRequest::CloseLightning { .. }
            | ChainRequest::SellLightning { .. }
            | ChainRequest::CloseSold { .. } => {}
        }
    }

    /// A witness took a head of the pool's.
    pub(crate) fn witnessed(&mut self, witness: usize, sequence: u64) {
        let known = &mut self.witnessed[witness];
        *known = sequence.max(*known);
    }

    /// A started pool goes on from this frame: it is no older than what any quorum has heard of, and no peer holds a
    /// voucher that it does not know.
    pub(crate) fn goes_on<'a>(
        &self,
        sequence: u64,
        state: &State,
        actors: impl Iterator<Item = &'a Actor>,
    ) {
        let mut witnessed = self.witnessed;
        witnessed.sort_unstable();
        let known_to_most = witnessed[WITNESSES / 2];
        assert!(
            sequence >= known_to_most,
            "[I14] a pool goes on from frame {sequence}, and most witnesses have heard of frame {known_to_most}"
        );
        for actor in actors {
            let channel = state
                .peer(actor.id)
                .and_then(|account| account.channel.as_ref());
            let Some(channel) = channel else { continue };
            let (serial, promised) = (channel.serial().0, channel.outgoing.promised().value());
            let held = actor.vouchers.get(&serial).map_or(0, |(held, _)| *held);
            assert!(
                held <= promised,
                "[I14] a pool goes on from frame {sequence}, which knows of a voucher over {promised} on channel {serial}, \
                 and {} holds one over {held}",
                actor.name
            );
        }
    }

    /// After a restart: nothing that had left is forgotten [I7], and the books go on from the recovered frame.
    pub(crate) fn recovered(&mut self, sequence: u64, state: &State) {
        assert!(
            sequence >= self.synced.0,
            "[I7] frame {} was synced, and recovery ends at frame {sequence}",
            self.synced.0
        );
        let survived = self.appended.take().filter(|(at, _)| *at == sequence);
        match survived {
            Some(appended) => self.synced = appended,
            None => assert_eq!(
                sequence, self.synced.0,
                "[I10] a frame that nobody appended"
            ),
        }
        self.books = self.synced.1.clone();
        self.waiting.clear();
        for id in &self.released.commands {
            assert!(
                self.books.commands.contains(id),
                "[I7] command {id} was acknowledged and is lost"
            );
        }
        for (serial, amount) in &self.released.vouchers {
            let peer = state.channel_peer(forebay_quantity::ChannelSerial(*serial));
            let channel = peer
                .and_then(|peer| state.peer(peer))
                .and_then(|peer| peer.channel.as_ref());
            let Some(channel) = channel.filter(|channel| channel.serial().0 == *serial) else {
                continue;
            };
            assert!(
                signed(channel.outgoing.promised().value()) >= *amount,
                "[I7] a voucher of {amount} left and is forgotten"
            );
        }
        for ((peer, request), preimage) in &self.released.preimages {
            assert_eq!(
                state.answer(*peer, *request).as_ref(),
                Some(preimage),
                "[I7] a fulfil left and is forgotten"
            );
        }
    }
}
