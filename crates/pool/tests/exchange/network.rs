//! Several pools exchange routes over links that lag, lose messages, break and come back. Where each packet would end up is
//! compared with the shortest ways in the graph, found by breadth-first search.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forebay_ilp::ccp::{Control, Kind, UpdateView};
use forebay_pool::{NotExchanged, Relation, RelationKind, RouteExchange, exchange_bounds};
use forebay_quantity::{Amount, PeerId, Timestamp};

/// A fixed generator, so that a failure comes back with its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Mail {
    from: usize,
    to: usize,
    kind: Kind,
    data: Vec<u8>,
}

enum Due {
    Arrives(Mail),
    Answered {
        who: usize,
        by: usize,
        kind: Kind,
        accepted: bool,
    },
}

struct Network {
    pools: Vec<RouteExchange>,
    /// What each pool's core would be told: prefix to next hop.
    hops: Vec<BTreeMap<Vec<u8>, usize>>,
    links: BTreeSet<(usize, usize)>,
    /// A mail of an earlier link does not arrive on a later one.
    lives: BTreeMap<(usize, usize), u64>,
    due: BTreeMap<(u64, u64), (u64, Due)>,
    serial: u64,
    now: u64,
    loss_percent: u64,
    changes: u64,
    random: Random,
}

fn address(pool: usize) -> String {
    format!("test.pool{pool}")
}

fn peer(pool: usize) -> PeerId {
    PeerId(u32::try_from(pool).unwrap())
}

fn sorted(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

/// The exchange of a pool that has started for the `life`th time.
fn started(pool: usize, size: usize, life: u64) -> RouteExchange {
    let everything = Relation {
        kind: RelationKind::Peer,
        sends_routes: true,
        receives_routes: true,
        debt_max: Amount::ZERO,
    };
    let mut secret = [u8::try_from(pool).unwrap(); 32];
    secret[..8].copy_from_slice(&life.to_le_bytes());
    let mut exchange = RouteExchange::new(address(pool).parse().unwrap(), secret);
    for other in (0..size).filter(|other| *other != pool) {
        exchange.relate(Timestamp(0), peer(other), Some(everything));
    }
    exchange
}

impl Network {
    fn new(size: usize, seed: u64) -> Self {
        Self {
            pools: (0..size).map(|pool| started(pool, size, 0)).collect(),
            hops: vec![BTreeMap::new(); size],
            links: BTreeSet::new(),
            lives: BTreeMap::new(),
            due: BTreeMap::new(),
            serial: 0,
            now: 1_000_000,
            loss_percent: 0,
            changes: 0,
            random: Random(seed),
        }
    }

    fn connect(&mut self, one: usize, other: usize) {
        if one == other || !self.links.insert(sorted(one, other)) {
            return;
        }
        *self.lives.entry(sorted(one, other)).or_default() += 1;
        let now = Timestamp(self.now);
        self.pools[one].link_up(now, peer(other));
        self.pools[other].link_up(now, peer(one));
    }

    fn cut(&mut self, one: usize, other: usize) {
        if self.links.remove(&sorted(one, other)) {
            let now = Timestamp(self.now);
            self.pools[one].link_down(now, peer(other));
            self.pools[other].link_down(now, peer(one));
        }
    }

    /// The pool forgets all it learned, and its links open again.
    fn restart(&mut self, pool: usize) {
        let linked = self.links.iter();
        let linked = linked.filter(|(one, other)| *one == pool || *other == pool);
        let linked: Vec<_> = linked.copied().collect();
        for (one, other) in &linked {
            self.cut(*one, *other);
        }
        self.serial += 1;
        self.pools[pool] = started(pool, self.pools.len(), self.serial);
        self.hops[pool].clear();
        for (one, other) in linked {
            self.connect(one, other);
        }
    }

    fn post(&mut self, one: usize, other: usize, due: Due) {
        let life = self
            .lives
            .get(&sorted(one, other))
            .copied()
            .unwrap_or_default();
        let at = self.now + 1 + self.random.below(200);
        self.serial += 1;
        self.due.insert((at, self.serial), (life, due));
    }

    fn run(&mut self, milliseconds: u64) {
        let until = self.now + milliseconds;
        while self.now < until {
            self.now += 50;
            self.deliver();
            for pool in 0..self.pools.len() {
                self.turn(pool);
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let (life, due) = entry.remove();
            let (one, other) = match &due {
                Due::Arrives(mail) => (mail.from, mail.to),
                Due::Answered { who, by, .. } => (*who, *by),
            };
            let link = sorted(one, other);
            let is_lost = self.random.chance(self.loss_percent);
            if is_lost || !self.links.contains(&link) || self.lives.get(&link) != Some(&life) {
                continue;
            }
            self.take(due);
        }
    }

    fn take(&mut self, due: Due) {
        let now = Timestamp(self.now);
        match due {
            Due::Answered {
                who,
                by,
                kind,
                accepted,
            } => {
                self.pools[who].answered(now, peer(by), kind, accepted);
            }
            Due::Arrives(Mail {
                from,
                to,
                kind,
                data,
            }) => {
                let taken = self.hear(from, to, kind, &data);
                let answer = Due::Answered {
                    who: from,
                    by: to,
                    kind,
                    accepted: taken.is_ok(),
                };
                self.post(to, from, answer);
            }
        }
    }

    fn hear(
        &mut self,
        from: usize,
        to: usize,
        kind: Kind,
        data: &[u8],
    ) -> Result<(), NotExchanged> {
        let now = Timestamp(self.now);
        match kind {
            Kind::Control => {
                let control = Control::parse(data).unwrap();
                self.pools[to].control(now, peer(from), &control)
            }
            Kind::Update => {
                let update = UpdateView::parse(data).unwrap();
                self.pools[to].update(now, peer(from), &update)
            }
        }
    }

    fn turn(&mut self, pool: usize) {
        let now = Timestamp(self.now);
        self.pools[pool].tick(now);
        while let Some((to, message)) = self.pools[pool].poll(now) {
            let mut data = Vec::new();
            message.encode(&mut data);
            assert!(data.len() <= 32_767, "a packet's data is no longer");
            let to = to.0 as usize;
            let mail = Mail {
                from: pool,
                to,
                kind: message.kind(),
                data,
            };
            self.post(pool, to, Due::Arrives(mail));
        }
        while let Some((prefix, hop)) = self.pools[pool].take_change() {
            self.changes += 1;
            match hop {
                Some(hop) => self.hops[pool].insert(prefix, hop.0 as usize),
                None => self.hops[pool].remove(&prefix),
            };
        }
    }

    /// Links from one pool to any, by the naive search.
    fn distances(&self, from: usize) -> BTreeMap<usize, usize> {
        let mut found = BTreeMap::from([(from, 0)]);
        let mut queue = VecDeque::from([from]);
        while let Some(pool) = queue.pop_front() {
            for other in 0..self.pools.len() {
                if self.links.contains(&sorted(pool, other)) && !found.contains_key(&other) {
                    found.insert(other, found[&pool] + 1);
                    queue.push_back(other);
                }
            }
        }
        found
    }

    /// Links that a packet crosses from one pool to another; `None` when it gets lost on the way.
    fn walk(&self, from: usize, to: usize) -> Option<usize> {
        let (mut at, mut links, mut came_from) = (from, 0, None);
        while at != to {
            let next = *self.hops[at].get(address(to).as_bytes())?;
            assert_ne!(
                Some(next),
                came_from,
                "no packet goes back where it came from"
            );
            assert!(
                self.links.contains(&sorted(at, next)),
                "next hops are connected"
            );
            (came_from, at) = (Some(at), next);
            links += 1;
            assert!(
                links <= self.pools.len(),
                "the way from {from} to {to} goes in a circle"
            );
        }
        Some(links)
    }

    fn assert_shortest(&self, story: &str) {
        for from in 0..self.pools.len() {
            let distances = self.distances(from);
            for to in (0..self.pools.len()).filter(|to| *to != from) {
                let walked = self.walk(from, to);
                assert_eq!(
                    walked.as_ref(),
                    distances.get(&to),
                    "{story}: from {from} to {to}"
                );
            }
        }
    }
}

/// Long enough for every flap to be forgiven, every silence to be noticed and every retry to be made.
const QUIET_MS: u64 = exchange_bounds::FLAP_HOLD_MS + 2 * exchange_bounds::HOLD_DOWN_MAX_MS;

#[test]
fn every_pool_finds_the_shortest_way_to_every_other() {
    for seed in 0..20 {
        let size = 3 + usize::try_from(seed % 6).unwrap();
        let mut network = Network::new(size, seed);
        for pool in 1..size {
            let earlier = usize::try_from(network.random.below(pool as u64)).unwrap();
            network.connect(pool, earlier);
        }
        for _ in 0..size / 2 {
            let one = usize::try_from(network.random.below(size as u64)).unwrap();
            let other = usize::try_from(network.random.below(size as u64)).unwrap();
            network.connect(one, other);
        }
        network.run(10_000);
        network.assert_shortest(&format!("seed {seed}"));
        let settled = network.changes;
        network.run(QUIET_MS);
        assert_eq!(
            network.changes, settled,
            "seed {seed}: what has settled stays"
        );
        network.assert_shortest(&format!("seed {seed} later"));
    }
}

#[test]
fn a_partition_forgets_the_other_side_and_a_healed_one_finds_it_again() {
    for seed in 0..10 {
        // Two triangles and one bridge.
        let mut network = Network::new(6, seed);
        for (one, other) in [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (2, 3)] {
            network.connect(one, other);
        }
        network.run(10_000);
        network.assert_shortest("whole");
        network.cut(2, 3);
        network.run(30_000);
        network.assert_shortest("in two");
        assert_eq!(network.walk(0, 5), None, "seed {seed}");
        network.connect(2, 3);
        network.run(QUIET_MS);
        network.assert_shortest("healed");
        assert_eq!(network.walk(0, 5), Some(3), "seed {seed}");
    }
}

#[test]
fn lost_messages_flapping_links_and_restarts_end_in_the_shortest_ways_all_the_same() {
    for seed in 0..12 {
        let mut network = Network::new(6, 1_000 + seed);
        network.loss_percent = 20;
        for _ in 0..120 {
            let one = usize::try_from(network.random.below(6)).unwrap();
            let other = usize::try_from(network.random.below(6)).unwrap();
            match network.random.below(20) {
                0 => network.restart(one),
                1..=11 => network.connect(one, other),
                _ => network.cut(one, other),
            }
            network.run(500);
        }
        network.loss_percent = 0;
        network.run(QUIET_MS);
        network.assert_shortest(&format!("seed {seed}"));
    }
}
