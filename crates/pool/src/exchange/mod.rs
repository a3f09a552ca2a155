//! The route exchange with neighbours (CCP): what they tell us, which next hop is best for each prefix, and what we tell
//! whom. Pure: messages and the time come in, messages and changes of next hops go out.
//!
//! Nothing of it is journalled. What was learned lives as long as the link and the neighbour's hold-down, and after a
//! start it is asked for anew ([ADR 11](../../../docs/adr/0011-learned-routes-are-not-journalled.md)).

pub mod bounds;
mod heard;
mod neighbour;
mod told;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use forebay_ilp::ccp::{Control, Kind, Mode, PATH_MAX, RouteView, Update, UpdateView};
use forebay_ilp::oer::var_size;
use forebay_ilp::{Address, AddressBuf};
use forebay_quantity::{Milliseconds, PeerId, Timestamp};
use sha2::{Digest, Sha256};

use crate::state::{Relation, RelationKind};
use heard::{Follows, Offer};
use neighbour::Neighbour;
use told::{Advert, Told};

/// A message to a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteMessage {
    /// Tell me your routes.
    Control(Control),
    /// These are mine.
    Update(Update),
}

impl RouteMessage {
    /// Which of the two.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Control(_) => Kind::Control,
            Self::Update(_) => Kind::Update,
        }
    }

    /// Appends the data of the prepare that carries it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Control(control) => control.encode(out),
            Self::Update(update) => update.encode(out),
        }
    }
}

/// We exchange no routes with that peer, or not in that direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotExchanged;

/// A best way to a prefix that a neighbour told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Best {
    hop: PeerId,
    kind: RelationKind,
    offer: Offer,
}

/// The exchange of one pool.
#[derive(Debug)]
pub struct RouteExchange {
    own: AddressBuf,
    neighbours: BTreeMap<PeerId, Neighbour>,
    configured: BTreeMap<Vec<u8>, (PeerId, RelationKind)>,
    best: BTreeMap<Vec<u8>, Best>,
    parent: Option<PeerId>,
    told: Told,
    /// When prefixes that flapped count again.
    held: BTreeSet<(Timestamp, PeerId, Vec<u8>)>,
    changes: VecDeque<(Vec<u8>, Option<PeerId>)>,
}

impl RouteExchange {
    /// The exchange of the pool at `own`; `secret` is random and new at each start.
    pub fn new(own: AddressBuf, secret: [u8; 32]) -> Self {
        let mut told = Told::new(secret);
        let prefix = own.as_address().as_bytes();
        let advert = Advert {
            by: None,
            path: [own.clone()].into(),
            auth: told.auth(prefix),
        };
        told.set(prefix, Some(advert));
        Self {
            own,
            neighbours: BTreeMap::new(),
            configured: BTreeMap::new(),
            best: BTreeMap::new(),
            parent: None,
            told,
            held: BTreeSet::new(),
            changes: VecDeque::new(),
        }
    }

    /// Says what a peer is, `None` once it is removed; whether that changed anything, so that its link begins anew.
    pub fn relate(&mut self, now: Timestamp, peer: PeerId, relation: Option<Relation>) -> bool {
        let relation = relation.filter(Relation::exchanges_routes);
        let before = self.neighbours.get(&peer).map(|known| known.relation);
        if before == relation {
            return false;
        }
        if let Some(gone) = self.neighbours.remove(&peer) {
            let prefixes = gone.heard.prefixes();
            self.reconsider_all(now, &prefixes);
        }
        if let Some(relation) = relation {
            self.neighbours.insert(peer, Neighbour::new(relation));
        }
        // What others may hear depends on what this peer is to us.
        self.begin_anew();
        true
    }

    /// Names the parent, where all goes that nobody else reaches.
    pub fn set_parent(&mut self, parent: Option<PeerId>) {
        if self.parent != parent {
            self.parent = parent;
            self.changes.push_back((self.scheme().to_vec(), parent));
        }
    }

    /// Takes the operator's routes, with what each next hop is; for their prefixes nobody else is asked.
    pub fn configure<'a>(
        &mut self,
        now: Timestamp,
        routes: impl Iterator<Item = (&'a str, PeerId, RelationKind)>,
    ) {
        let routes = routes.map(|(prefix, hop, kind)| (prefix.as_bytes().to_vec(), (hop, kind)));
        let before = core::mem::replace(&mut self.configured, routes.collect());
        let now_there = self.configured.iter();
        let mut changed: Vec<_> = now_there
            .filter(|(prefix, hop)| before.get(*prefix) != Some(hop))
            .map(|(prefix, _)| prefix.clone())
            .collect();
        let gone = before
            .into_keys()
            .filter(|prefix| !self.configured.contains_key(prefix));
        changed.extend(gone);
        self.reconsider_all(now, &changed);
    }

    /// A neighbour's link opened: it is asked for its routes, and asks for ours.
    pub fn link_up(&mut self, now: Timestamp, peer: PeerId) {
        self.forget(now, peer);
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.begin(now);
        }
    }

    /// A neighbour's link is gone, and with it all that it told.
    pub fn link_down(&mut self, now: Timestamp, peer: PeerId) {
        self.forget(now, peer);
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.is_up = false;
        }
    }

    /// A neighbour asks for our routes, or for none.
    ///
    /// # Errors
    /// [`NotExchanged`] when we do not tell it any.
    pub fn control(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        control: &Control,
    ) -> Result<(), NotExchanged> {
        let neighbour = self.neighbours.get_mut(&peer).ok_or(NotExchanged)?;
        // Who asks may have refused us before it was told to exchange routes.
        neighbour.ask_sooner(now);
        if !neighbour.is_up || !neighbour.relation.sends_routes {
            return Err(NotExchanged);
        }
        let known = match control.table == self.told.table {
            true => control.epoch.min(self.told.epoch),
            false => 0,
        };
        neighbour.tell(control.mode == Mode::Sync, known);
        Ok(())
    }

    /// A neighbour tells its routes.
    ///
    /// # Errors
    /// [`NotExchanged`] when we do not listen to it.
    pub fn update(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        update: &UpdateView<'_>,
    ) -> Result<(), NotExchanged> {
        let neighbour = self.neighbours.get_mut(&peer).ok_or(NotExchanged)?;
        if !neighbour.is_up || !neighbour.relation.receives_routes {
            return Err(NotExchanged);
        }
        neighbour.heard_something(now, update.span.hold_down_ms);
        match neighbour.heard.follow(&update.span) {
            Follows::NotAtAll => return Ok(()),
            Follows::AfterAGap => {
                neighbour.ask_again(now);
                return Ok(());
            }
            Follows::Directly => {}
        }
        let mut changed: Vec<Vec<u8>> = Vec::new();
        for prefix in update.withdrawn() {
            if neighbour.heard.withdraw(prefix) {
                changed.push(prefix.to_vec());
            }
        }
        for route in update.routes() {
            match usable(&self.own, &route) {
                Some(offer) => {
                    let held = neighbour.heard.take(now, route.prefix, offer);
                    self.held
                        .extend(held.map(|until| (until, peer, route.prefix.to_vec())));
                }
                // A way that now leads through us is none any more.
                None => drop(neighbour.heard.withdraw(route.prefix)),
            }
            changed.push(route.prefix.to_vec());
        }
        changed.extend(neighbour.heard.advance(&update.span));
        self.reconsider_all(now, &changed);
        Ok(())
    }

    /// A neighbour fulfilled or rejected our last message of this kind.
    pub fn answered(&mut self, now: Timestamp, peer: PeerId, kind: Kind, accepted: bool) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.answered(now, kind, accepted);
        }
    }

    /// Lets go of what was not confirmed in time, and takes back what was held down long enough.
    pub fn tick(&mut self, now: Timestamp) {
        let silent = self.neighbours.iter();
        let silent = silent.filter(|(_, neighbour)| neighbour.is_silent(now));
        for peer in silent.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.forget(now, peer);
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.wait_again(now);
            }
        }
        while self.held.first().is_some_and(|(until, ..)| *until <= now) {
            let Some((_, peer, prefix)) = self.held.pop_first() else {
                break;
            };
            let neighbour = self.neighbours.get(&peer);
            match neighbour.and_then(|it| it.heard.held_until(&prefix, now)) {
                Some(until) => drop(self.held.insert((until, peer, prefix))),
                None => self.reconsider(now, &prefix),
            }
        }
    }

    /// The next message due, if any; ask until there is none.
    pub fn poll(&mut self, now: Timestamp) -> Option<(PeerId, RouteMessage)> {
        let due = self.neighbours.iter_mut();
        let mut due = due.filter(|(_, neighbour)| neighbour.asks(now));
        if let Some((peer, neighbour)) = due.next() {
            return Some((*peer, RouteMessage::Control(neighbour.ask(now))));
        }
        let epoch = self.told.epoch;
        let waiting = self.neighbours.iter();
        let mut waiting = waiting.filter(|(_, neighbour)| neighbour.is_told(now, epoch));
        let (peer, known) = waiting.next().map(|(peer, it)| (*peer, it.known()))?;
        let known = match self.told.reaches_back_to(known) {
            true => known,
            false => {
                self.begin_anew();
                0
            }
        };
        let neighbour = self.neighbours.get_mut(&peer)?;
        let kind = neighbour.relation.kind;
        let told = &self.told;
        let update = told.update(&self.own, known, |advert| may_hear(peer, kind, advert));
        neighbour.telling(now, update.span.to_epoch);
        Some((peer, RouteMessage::Update(update)))
    }

    /// The next prefix whose learned next hop changed; `None` for the hop when there is none any more.
    pub fn take_change(&mut self) -> Option<(Vec<u8>, Option<PeerId>)> {
        self.changes.pop_front()
    }

    /// Prefixes learned, in order, with their next hops and the connectors on the way.
    pub fn learned(&self) -> impl Iterator<Item = (&[u8], PeerId, &[AddressBuf])> {
        let best = self.best.iter();
        best.map(|(prefix, best)| (&prefix[..], best.hop, &best.offer.path[..]))
    }

    fn scheme(&self) -> &[u8] {
        let scheme = self.own.as_address().segments().next();
        scheme.expect("an address starts with a scheme")
    }

    fn begin_anew(&mut self) {
        self.told.begin_anew();
        for neighbour in self.neighbours.values_mut() {
            neighbour.tell_anew();
        }
    }

    fn forget(&mut self, now: Timestamp, peer: PeerId) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else {
            return;
        };
        let prefixes = neighbour.heard.withdraw_all();
        self.reconsider_all(now, &prefixes);
    }

    fn reconsider_all(&mut self, now: Timestamp, prefixes: &[Vec<u8>]) {
        for prefix in prefixes {
            self.reconsider(now, prefix);
        }
    }

    /// Chooses the next hop for a prefix anew: the operator's word, then children before peers before the parent, then
    /// the shorter path, then the older account.
    fn reconsider(&mut self, now: Timestamp, prefix: &[u8]) {
        if !is_foreign(&self.own, prefix) {
            return;
        }
        let best = match self.configured.contains_key(prefix) {
            true => None,
            false => self.best_offer(now, prefix),
        };
        let hop = best.as_ref().map(|best| best.hop);
        let before = match best {
            Some(best) => self.best.insert(prefix.to_vec(), best),
            None => self.best.remove(prefix),
        };
        if before.map(|best| best.hop) != hop {
            self.changes.push_back((prefix.to_vec(), hop));
        }
        let advert = self.advert(prefix);
        self.told.set(prefix, advert);
    }

    fn best_offer(&self, now: Timestamp, prefix: &[u8]) -> Option<Best> {
        let offers = self.neighbours.iter().filter_map(|(peer, neighbour)| {
            let offer = neighbour.heard.offer(prefix, now)?;
            Some((neighbour.relation.kind, offer.path.len(), *peer, offer))
        });
        let best = offers.min_by_key(|(kind, hops, peer, _)| (*kind, *hops, *peer));
        best.map(|(kind, _, hop, offer)| Best {
            hop,
            kind,
            offer: offer.clone(),
        })
    }

    /// What we tell of a prefix.
    fn advert(&self, prefix: &[u8]) -> Option<Advert> {
        let (by, auth, rest) = match (self.configured.get(prefix), self.best.get(prefix)) {
            (Some(by), _) => (*by, self.told.auth(prefix), &[][..]),
            (None, Some(best)) => {
                let auth = Sha256::digest(best.offer.auth).into();
                ((best.hop, best.kind), auth, &best.offer.path[..])
            }
            (None, None) => return None,
        };
        let path = core::iter::once(&self.own).chain(rest).cloned().collect();
        let by = Some(by);
        Some(Advert { by, path, auth })
    }
}

/// Never back to where it came from; and to a parent only what lives under us.
fn may_hear(peer: PeerId, kind: RelationKind, advert: &Advert) -> bool {
    let Some((hop, hop_kind)) = advert.by else {
        return true;
    };
    hop != peer && (kind != RelationKind::Parent || hop_kind == RelationKind::Child)
}

/// Whether a prefix lies in our network, is more than a scheme, and is not ours.
fn is_foreign(own: &AddressBuf, prefix: &[u8]) -> bool {
    let Ok(prefix) = Address::parse(prefix) else {
        return false;
    };
    let own = own.as_address();
    prefix.scheme() == own.scheme() && !own.is_prefix_of(prefix)
}

/// A told route that may be used: of our network, not through us, not too long to be passed on.
fn usable(own: &AddressBuf, route: &RouteView<'_>) -> Option<Offer> {
    let is_short = route.hops() < PATH_MAX;
    let bytes: usize = route.path().map(|hop| var_size(hop.as_bytes().len())).sum();
    let fits = var_size(route.prefix.len()) + bytes <= bounds::ROUTE_BYTES_MAX;
    let through_us = route.path().any(|hop| hop == own.as_address());
    if !is_foreign(own, route.prefix) || !is_short || !fits || through_us {
        return None;
    }
    Some(Offer {
        path: route.path().map(Address::to_owned).collect(),
        auth: *route.auth,
    })
}

fn later(now: Timestamp, milliseconds: u64) -> Timestamp {
    now.saturating_add(Milliseconds(milliseconds))
}
