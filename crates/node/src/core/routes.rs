//! The route exchange on the core thread: relations from the state, messages from links, next hops into the routing table.

use forebay_ilp::AddressBuf;
use forebay_ilp::ccp::{Control, Kind, UpdateView};
use forebay_pool::{NotExchanged, RelationKind, RouteExchange, Sequencer, State};
use forebay_quantity::{PeerId, Timestamp};
use tokio::sync::OwnedSemaphorePermit;

use super::post::Post;

/// A route message of a neighbour, checked by its link to be one.
#[derive(Debug)]
pub(crate) struct RouteRequest {
    pub(crate) peer: PeerId,
    /// What to answer.
    pub(crate) request: u32,
    pub(crate) kind: Kind,
    pub(crate) data: Vec<u8>,
    /// Held while the message waits.
    pub(crate) place: OwnedSemaphorePermit,
}

/// The exchange, once the pool is founded and has an address.
pub(super) struct Routes {
    exchange: Option<RouteExchange>,
    secret: [u8; 32],
    now: Timestamp,
}

impl Routes {
    /// `secret` is random and new at each start.
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self {
            exchange: None,
            secret,
            now: Timestamp(0),
        }
    }

    /// Takes in what the operator said of peers and routes.
    pub(super) fn follow(&mut self, wall: Timestamp, state: &State, post: &Post) {
        let now = self.at(wall);
        let Some(own) = state
            .genesis()
            .and_then(|genesis| genesis.operator.parse::<AddressBuf>().ok())
        else {
            return;
        };
        let secret = self.secret;
        let exchange = self
            .exchange
            .get_or_insert_with(|| RouteExchange::new(own, secret));
        for (peer, account) in state.peers() {
            let relation = (!account.removed).then_some(account.relation);
            if exchange.relate(now, peer, relation) && post.is_linked(peer) {
                exchange.link_up(now, peer);
            }
        }
        let mut live = state.peers().filter(|(_, account)| !account.removed);
        let parent = live.find(|(_, account)| account.relation.kind == RelationKind::Parent);
        exchange.set_parent(parent.map(|(peer, _)| peer));
        let configured = state.configured_routes().filter_map(|(prefix, hop)| {
            let account = state.peer(hop)?;
            Some((prefix, hop, account.relation.kind))
        });
        exchange.configure(now, configured);
    }

    pub(super) fn link_up(&mut self, wall: Timestamp, peer: PeerId) {
        let now = self.at(wall);
        if let Some(exchange) = &mut self.exchange {
            exchange.link_up(now, peer);
        }
    }

    pub(super) fn link_down(&mut self, wall: Timestamp, peer: PeerId) {
        let now = self.at(wall);
        if let Some(exchange) = &mut self.exchange {
            exchange.link_down(now, peer);
        }
    }

    /// Takes a neighbour's message and answers it.
    pub(super) fn take(&mut self, wall: Timestamp, asked: &RouteRequest, post: &mut Post) {
        let taken = self.hear(wall, asked);
        post.answer_route_message(asked.peer, asked.request, taken.is_ok());
    }

    fn hear(&mut self, wall: Timestamp, asked: &RouteRequest) -> Result<(), NotExchanged> {
        let now = self.at(wall);
        let exchange = self.exchange.as_mut().ok_or(NotExchanged)?;
        match asked.kind {
            Kind::Control => {
                let control = Control::parse(&asked.data).map_err(|_| NotExchanged)?;
                exchange.control(now, asked.peer, &control)
            }
            Kind::Update => {
                let update = UpdateView::parse(&asked.data).map_err(|_| NotExchanged)?;
                exchange.update(now, asked.peer, &update)
            }
        }
    }

    /// A neighbour answered a message of ours.
    pub(super) fn answered(&mut self, wall: Timestamp, peer: PeerId, kind: Kind, accepted: bool) {
        let now = self.at(wall);
        if let Some(exchange) = &mut self.exchange {
            exchange.answered(now, peer, kind, accepted);
        }
    }

    /// Sends what is due, and brings new next hops into the routing table.
    pub(super) fn turn(&mut self, wall: Timestamp, sequencer: &mut Sequencer, post: &mut Post) {
        let now = self.at(wall);
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        exchange.tick(now);
        while let Some((peer, message)) = exchange.poll(now) {
            post.send_route_message(now, peer, &message);
        }
        while let Some((prefix, hop)) = exchange.take_change() {
            sequencer.learn(prefix, hop);
        }
    }

    /// The wall clock, without its steps back.
    fn at(&mut self, wall: Timestamp) -> Timestamp {
        self.now = self.now.max(wall);
        self.now
    }
}
