//! Route messages on their way to neighbours and back: prepares of our own, answered under our own request ids.

use forebay_ilp::btp::{self, RequestId};
use forebay_ilp::ccp::{self, Kind};
use forebay_ilp::{Address, ErrorCode, FulfillView, PacketType, RejectView, ildcp};
use forebay_pool::{RouteMessage, exchange_bounds};
use forebay_quantity::{Milliseconds, PeerId, Timestamp};

use super::{Post, side_of};
use crate::link::{Item, ItemKind};

/// The last request of each kind on a link; an earlier one is given up.
#[derive(Debug, Default)]
pub(super) struct RouteRequests {
    control: Option<u32>,
    update: Option<u32>,
}

impl RouteRequests {
    fn place(&mut self, kind: Kind) -> &mut Option<u32> {
        match kind {
            Kind::Control => &mut self.control,
            Kind::Update => &mut self.update,
        }
    }
}

impl Post {
    /// Whether the peer's link is open.
    pub(crate) fn is_linked(&self, peer: PeerId) -> bool {
        self.links.get(peer.0 as usize).is_some_and(Option::is_some)
    }

    /// Sends a neighbour a route message.
    pub(crate) fn send_route_message(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        message: &RouteMessage,
    ) {
        let request = self.next_request();
        let Self { links, touched, .. } = self;
        let Some(side) = side_of(links, touched, peer) else {
            return;
        };
        let mut data = Vec::new();
        message.encode(&mut data);
        let expires_at = now.saturating_add(Milliseconds(exchange_bounds::RETRY_MS));
        let prepare = ccp::request(message.kind(), expires_at, &data);
        let frame_type = side.dialect.frame_type(PacketType::Prepare);
        side.frames.push(|out| {
            btp::encode_ilp_head(out, frame_type, request, prepare.encoded_size());
            prepare
                .encode(out)
                .expect("an update is bounded below a packet's data");
        });
        *side.routes.place(message.kind()) = Some(request.0);
    }

    /// Takes the answer to a route message of ours: which kind, and whether it was accepted.
    pub(crate) fn route_answer(&mut self, peer: PeerId, item: Item) -> Option<(Kind, bool)> {
        let (request, accepted) = match item.kind {
            ItemKind::Fulfill { packet, preimage } => (packet.0, preimage == ildcp::FULFILLMENT),
            ItemKind::Reject { packet, .. } => (packet.0, false),
            ItemKind::Prepare { .. } => return None,
        };
        let side = self.links.get_mut(peer.0 as usize)?.as_mut()?;
        let kinds = [Kind::Control, Kind::Update].into_iter();
        let mut asked = kinds.filter(|kind| *side.routes.place(*kind) == Some(request));
        let kind = asked.next()?;
        *side.routes.place(kind) = None;
        Some((kind, accepted))
    }

    /// Answers a neighbour's route message.
    pub(crate) fn answer_route_message(&mut self, peer: PeerId, request: u32, is_taken: bool) {
        let Self {
            links,
            touched,
            operator,
            ..
        } = self;
        let Some(side) = side_of(links, touched, peer) else {
            return;
        };
        let dialect = side.dialect;
        let fulfill = FulfillView {
            fulfillment: &ildcp::FULFILLMENT,
            data: &[],
        };
        let reject = RejectView {
            code: ErrorCode::F00BadRequest,
            triggered_by: Address::parse(operator).ok(),
            message: b"no such routes are exchanged with this account",
            data: &[],
        };
        side.frames.push(|out| {
            let (packet_type, size) = match is_taken {
                true => (PacketType::Fulfill, fulfill.encoded_size()),
                false => (PacketType::Reject, reject.encoded_size()),
            };
            let frame_type = dialect.frame_type(packet_type);
            btp::encode_ilp_head(out, frame_type, RequestId(request), size);
            let encoded = match is_taken {
                true => fulfill.encode(out),
                false => reject.encode(out),
            };
            encoded.expect("no data, and a short message");
        });
    }
}
