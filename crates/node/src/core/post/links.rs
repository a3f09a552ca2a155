//! Which links there are, and what they are told of their own accord.

use forebay_channel::PeerMessage;
use forebay_ilp::Dialect;
use forebay_ilp::btp::{self, RequestId};
use forebay_pool::{Command, LightningCommand, State};
use forebay_quantity::{Amount, ChannelSerial, PeerId};

use super::routes::RouteRequests;
use super::{LinkSide, OWN_REQUEST, OWN_REQUEST_MASK, Post, side_of};
use crate::link::{LinkId, OutFrames, OutSender, terms};
use crate::signer::VoucherOrder;

impl Post {
    pub(crate) fn link_up(
        &mut self,
        state: &State,
        peer: PeerId,
        link: LinkId,
        dialect: Dialect,
        out: OutSender,
    ) {
        self.learn_operator(state);
        let place = peer.0 as usize;
        if self.links.len() <= place {
            self.links.resize_with(place + 1, || None);
        }
        let is_touched = self.links[place]
            .as_ref()
            .is_some_and(|side| side.is_touched);
        // The link before it, if any, sees its queue closed and ends.
        self.links[place] = Some(LinkSide {
            link,
            dialect,
            out,
            frames: OutFrames::default(),
            is_touched,
            routes: RouteRequests::default(),
            speaks: false,
            is_asked: false,
        });
        self.figures.connected.note(peer, true);
        let owed = state
            .peer(peer)
            .and_then(|account| account.voucher_owed(peer));
        if let Some(effect) = owed {
            self.carry_out(effect);
        }
    }

    /// Whether the peer has no link any more; it may have a newer one.
    pub(crate) fn link_down(&mut self, peer: PeerId, link: LinkId) -> bool {
        let Some(place) = self.links.get_mut(peer.0 as usize) else {
            return true;
        };
        if place.as_ref().is_some_and(|side| side.link == link) {
            *place = None;
            self.figures.connected.note(peer, false);
        }
        place.is_none()
    }

    pub(crate) fn speaks(&mut self, peer: PeerId, dialect: Dialect) {
        if let Some(Some(side)) = self.links.get_mut(peer.0 as usize) {
            side.dialect = dialect;
        }
    }

    /// Frames made off the core thread.
    pub(crate) fn deliver(&mut self, peer: PeerId, frames: &OutFrames) {
        let request = self.next_request();
        let Self { links, touched, .. } = self;
        let Some(side) = side_of(links, touched, peer) else {
            return;
        };
        let mut start = 0;
        for &end in &frames.ends {
            let end = end as usize;
            let at = side.frames.bytes.len();
            side.frames
                .bytes
                .extend_from_slice(&frames.bytes[start..end]);
            btp::patch_header(
                &mut side.frames.bytes[at..],
                btp::FrameType::Message,
                request,
            );
            side.frames.close_frame();
            start = end;
        }
    }

    pub(super) fn next_request(&mut self) -> RequestId {
        self.own_request = (self.own_request + 1) & OWN_REQUEST_MASK;
        RequestId(OWN_REQUEST | self.own_request)
    }

    /// Of channels that were there at the start: their peers first say which voucher of ours they hold [I14].
    pub(crate) fn must_hear(&mut self, state: &State) {
        let channels = state
            .peers()
            .filter_map(|(_, account)| account.channel.as_ref());
        self.unheard = channels.map(|channel| channel.serial()).collect();
    }

    /// The peer holds nothing that this journal does not know: what it is owed may be signed.
    pub(crate) fn heard(&mut self, state: &State, peer: PeerId, serial: ChannelSerial) {
        if !self.unheard.remove(&serial) {
            return;
        }
        let account = state.peer(peer);
        if let Some(effect) = account.and_then(|account| account.voucher_owed(peer)) {
            self.carry_out(effect);
        }
    }

    pub(super) fn order_voucher(&mut self, peer: PeerId, serial: ChannelSerial, amount: Amount) {
        if self.unheard.contains(&serial) {
            // It is owed again once the peer was heard.
            return;
        }
        let Some(facts) = self.directory.peer(peer) else {
            return;
        };
        // Without a signer the node is stopping; the voucher is owed again when the link opens.
        let _ = self.outside.vouchers.send(VoucherOrder {
            peer,
            serial,
            amount,
            domain: facts.domain,
        });
    }

    /// Notes whose terms an accepted command may have changed.
    pub(crate) fn terms_may_change(&mut self, state: &State, command: &Command<'_>) {
        let peer = match command {
            Command::Chain(fact) => {
                crate::chain::serial_of(&fact.fact).and_then(|serial| state.channel_peer(serial))
            }
            Command::Admin(_, forebay_pool::Admin::SetPeer(peer, _)) => Some(*peer),
            Command::Keys { peer, .. } => {
                self.came(*peer);
                Some(*peer)
            }
            Command::Admin(..)
            | Command::Prepare(_)
            | Command::Fulfill { .. }
            | Command::Reject { .. }
            | Command::Voucher { .. }
            | Command::Outcome { .. }
            | Command::Price { .. }
            | Command::Tick
            | Command::VaultRules { .. }
            | Command::Bitcoin(_)
            | Command::Reserve(_)
            | Command::Sale(_)
            | Command::ClaimPaid(_)
            | Command::PaymentFinal { .. }
            | Command::PaymentRefused { .. } => None,
            Command::Lightning(command) => self.lightning_may_change(state, command),
        };
        self.terms_due.extend(peer);
    }

    /// Sends the terms that changed to the peers that speak of them.
    pub(crate) fn send_terms(&mut self, state: &State) {
        for peer in std::mem::take(&mut self.terms_due) {
            if let Some(terms) = terms(state, peer) {
                let message = self.terms_message(state, peer, terms);
                self.say(peer, &message);
            }
        }
    }

    /// Says something to a peer that speaks the sub-protocol on its link, behind all packets sent there before.
    pub(super) fn say(&mut self, peer: PeerId, message: &PeerMessage) {
        let request = self.next_request();
        let Self { links, touched, .. } = self;
        let Some(side) = side_of(links, touched, peer).filter(|side| side.speaks) else {
            return;
        };
        let message = message.encode();
        side.frames
            .push(|out| crate::link::encode_message(out, request, &message));
    }

    /// Whose terms a settlement over Lightning changed.
    fn lightning_may_change(
        &mut self,
        state: &State,
        command: &LightningCommand,
    ) -> Option<PeerId> {
        match *command {
            LightningCommand::NodeNamed { peer, .. } => {
                self.came(peer);
                self.lightning_came(state, peer);
                // The hello is answered by them.
                None
            }
            LightningCommand::Received { peer, .. } | LightningCommand::Capacity { peer, .. } => {
                Some(peer)
            }
            LightningCommand::InvoiceAsked { .. }
            | LightningCommand::InvoiceTold { .. }
            | LightningCommand::InvoiceRefused { .. }
            | LightningCommand::Sent { .. }
            | LightningCommand::Failed { .. }
            | LightningCommand::Funded { .. }
            | LightningCommand::ChannelStands { .. }
            | LightningCommand::Spliced { .. }
            | LightningCommand::ChannelClosed { .. }
            | LightningCommand::Started
            | LightningCommand::Stored { .. }
            | LightningCommand::ClosingPaid { .. }
            | LightningCommand::ChannelReturned { .. } => None,
        }
    }

    /// A peer that has said hello speaks the sub-protocol.
    fn came(&mut self, peer: PeerId) {
        if let Some(Some(side)) = self.links.get_mut(peer.0 as usize) {
            side.speaks = true;
            if !std::mem::replace(&mut side.is_asked, true) {
                self.ask_due.insert(peer);
            }
        }
        self.return_fulfills(peer);
    }
}
