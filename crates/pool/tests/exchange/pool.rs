//! One pool, whose neighbours are played by hand.

use forebay_ilp::ccp::{Control, Mode, Route, Span, TableId, Update, UpdateView};
use forebay_pool::{
    NotExchanged, Relation, RelationKind, RouteExchange, RouteMessage, exchange_bounds,
};
use forebay_quantity::{Amount, PeerId, Timestamp};

pub(crate) const ANN: PeerId = PeerId(1);
pub(crate) const BEN: PeerId = PeerId(2);
pub(crate) const EVE: PeerId = PeerId(3);

pub(crate) const ALL: Relation = Relation {
    kind: RelationKind::Peer,
    sends_routes: true,
    receives_routes: true,
    debt_max: Amount::ZERO,
};

pub(crate) struct Pool {
    pub(crate) exchange: RouteExchange,
    pub(crate) now: Timestamp,
    pub(crate) epochs: [u32; 4],
    pub(crate) changes: Vec<(String, Option<PeerId>)>,
}

impl Pool {
    pub(crate) fn with(neighbours: &[(PeerId, RelationKind)]) -> Self {
        let mut pool = Self {
            exchange: RouteExchange::new("test.pool".parse().unwrap(), [7; 32]),
            now: Timestamp(1_000_000),
            epochs: [0; 4],
            changes: Vec::new(),
        };
        for (peer, kind) in neighbours {
            let relation = Relation { kind: *kind, ..ALL };
            pool.exchange.relate(pool.now, *peer, Some(relation));
            pool.exchange.link_up(pool.now, *peer);
        }
        pool
    }

    pub(crate) fn peers() -> Self {
        Self::with(&[(ANN, RelationKind::Peer), (BEN, RelationKind::Peer)])
    }

    /// A neighbour tells routes by their paths, each from the speaker to the prefix's owner, and withdraws others.
    pub(crate) fn hears(&mut self, from: PeerId, routes: &[(&str, &[&str])], withdrawn: &[&str]) {
        let epoch = self.epochs[from.0 as usize];
        let told = u32::try_from(routes.len() + withdrawn.len()).unwrap();
        self.epochs[from.0 as usize] = epoch + told;
        let span = Span {
            table: TableId([u8::try_from(from.0).unwrap(); 16]),
            current_epoch: epoch + told,
            from_epoch: epoch,
            to_epoch: epoch + told,
            hold_down_ms: exchange_bounds::HOLD_DOWN_MS,
        };
        self.hears_of(from, span, routes, withdrawn).unwrap();
    }

    pub(crate) fn hears_of(
        &mut self,
        from: PeerId,
        span: Span,
        routes: &[(&str, &[&str])],
        withdrawn: &[&str],
    ) -> Result<(), NotExchanged> {
        let route = |(prefix, path): &(&str, &[&str])| Route {
            prefix: prefix.as_bytes().to_vec(),
            path: path.iter().map(|hop| hop.parse().unwrap()).collect(),
            auth: [9; 32],
        };
        let update = Update {
            span,
            speaker: "test.speaker".parse().unwrap(),
            routes: routes.iter().map(route).collect(),
            withdrawn: withdrawn
                .iter()
                .map(|prefix| prefix.as_bytes().to_vec())
                .collect(),
        };
        let mut data = Vec::new();
        update.encode(&mut data);
        let update = UpdateView::parse(&data).unwrap();
        let taken = self.exchange.update(self.now, from, &update);
        self.look();
        taken
    }

    pub(crate) fn look(&mut self) {
        while let Some((prefix, hop)) = self.exchange.take_change() {
            self.changes.push((String::from_utf8(prefix).unwrap(), hop));
        }
    }

    pub(crate) fn passes(&mut self, milliseconds: u64) {
        let until = self.now.0 + milliseconds;
        while self.now.0 < until {
            self.now.0 = (self.now.0 + 1_000).min(until);
            self.exchange.tick(self.now);
            while self.exchange.poll(self.now).is_some() {}
            self.look();
        }
    }

    pub(crate) fn hop(&self, prefix: &str) -> Option<PeerId> {
        let mut learned = self.exchange.learned();
        let found = learned.find(|(known, ..)| *known == prefix.as_bytes());
        found.map(|(_, hop, _)| hop)
    }

    /// All that a neighbour is told from the beginning: prefixes with the path's length.
    pub(crate) fn tells(&mut self, to: PeerId) -> Vec<(String, usize)> {
        let ask = Control {
            mode: Mode::Sync,
            table: TableId([0; 16]),
            epoch: 0,
        };
        self.exchange.control(self.now, to, &ask).unwrap();
        self.now.0 += exchange_bounds::RETRY_MS + 1;
        let mut told = Vec::new();
        while let Some((peer, message)) = self.exchange.poll(self.now) {
            let kind = message.kind();
            if let (RouteMessage::Update(update), true) = (message, peer == to) {
                let routes = update.routes.into_iter();
                told.extend(
                    routes
                        .map(|route| (String::from_utf8(route.prefix).unwrap(), route.path.len())),
                );
                self.exchange.answered(self.now, to, kind, true);
                self.now.0 += exchange_bounds::UPDATE_INTERVAL_MS;
                if update.span.to_epoch == update.span.current_epoch {
                    break;
                }
            }
        }
        told.sort();
        told
    }
}

pub(crate) fn span(epochs: (u32, u32), table: u8) -> Span {
    Span {
        table: TableId([table; 16]),
        current_epoch: epochs.1,
        from_epoch: epochs.0,
        to_epoch: epochs.1,
        hold_down_ms: exchange_bounds::HOLD_DOWN_MS,
    }
}
