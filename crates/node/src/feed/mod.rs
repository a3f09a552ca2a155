//! The live feed: what the journal took, told to those who look. The core hands over what is synced, and goes on at once;
//! words are found here, and readers that are too slow are let go.

mod claim;
mod lightning;
mod reserve;
mod sale;
mod words;

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use forebay_api::EventView;
use forebay_pool::{Event, State};
use forebay_quantity::Timestamp;
use tokio::sync::{broadcast, mpsc};
use words::Names;
pub(crate) use words::whole;

/// Events kept for those who come back: some megabytes; hours of an ordinary day, prices included.
pub(crate) const KEPT_MAX: usize = 16_384;
/// Of those, price reports: they come by the thousand, and shall push out nothing else.
const PRICES_KEPT_MAX: usize = 1_024;
/// Batches on their way from the core: a second of the busiest journal.
const WAITING_MAX: usize = 4_096;
/// Events that a reader may be behind before it is let go.
const BEHIND_MAX: usize = 1_024;

/// The told events of one frame.
#[derive(Debug)]
pub(crate) struct Told {
    frame: u64,
    at: Timestamp,
    events: Vec<(u32, Event)>,
    /// Some before it did not fit into the queue.
    is_after_gap: bool,
}

/// The core's end.
#[derive(Debug)]
pub(crate) struct FeedSender {
    sender: mpsc::Sender<Told>,
    has_gap: bool,
}

impl FeedSender {
    /// Hands over what a synced batch tells, if anything; `false` when the feed is too slow and it is left out.
    pub(crate) fn tell(&mut self, frame: u64, at: Timestamp, events: &[(u32, Event)]) -> bool {
        if events.is_empty() {
            return true;
        }
        let told = Told {
            frame,
            at,
            events: events.to_vec(),
            is_after_gap: self.has_gap,
        };
        self.has_gap = self.sender.try_send(told).is_err();
        !self.has_gap
    }
}

/// Where an event stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    frame: u64,
    place: u32,
}

impl Place {
    /// Reads `frame.place`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (frame, place) = text.split_once('.')?;
        Some(Self {
            frame: frame.parse().ok()?,
            place: place.parse().ok()?,
        })
    }
}

/// An event in words.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) place: Place,
    pub(crate) view: EventView,
    is_price: bool,
}

/// What was told lately, and the way to what will be.
#[derive(Debug)]
pub(crate) struct Feed {
    kept: RwLock<Kept>,
    live: broadcast::Sender<Arc<Line>>,
}

/// What was told lately, in order.
#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Arc<Line>>,
    prices: usize,
}

impl Kept {
    fn add(&mut self, line: Arc<Line>) {
        if line.is_price {
            self.prices += 1;
        }
        self.lines.push_back(line);
        if self.prices > PRICES_KEPT_MAX {
            let oldest = self.lines.iter().position(|line| line.is_price);
            self.forget(oldest.unwrap_or(0));
        }
        if self.lines.len() > KEPT_MAX {
            self.forget(0);
        }
    }

    fn forget(&mut self, at: usize) {
        if self.lines.remove(at).is_some_and(|line| line.is_price) {
            self.prices -= 1;
        }
    }
}

/// A reader's start.
pub(crate) struct Reading {
    /// What was told since it left, oldest first.
    pub(crate) backlog: VecDeque<Arc<Line>>,
    /// Something between is not kept any more.
    pub(crate) has_gap: bool,
    /// What is told from now on.
    pub(crate) live: broadcast::Receiver<Arc<Line>>,
}

/// Events read back at a start, not more than are kept.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<(u64, Timestamp, u32, Event)>);

impl History {
    /// Takes what a replayed frame tells.
    pub(crate) fn add(&mut self, frame: u64, at: Timestamp, events: &[(u32, Event)]) {
        let fresh = events
            .iter()
            .map(|(place, event)| (frame, at, *place, event.clone()));
        self.0.extend(fresh);
        let beyond = self.0.len().saturating_sub(KEPT_MAX);
        self.0.drain(..beyond);
    }
}

/// Starts the feed of a recovered pool.
pub(crate) fn start(state: &State, history: History) -> (FeedSender, Arc<Feed>) {
    let (sender, mut receiver) = mpsc::channel::<Told>(WAITING_MAX);
    let mut names = Names::of(state);
    let (live, _) = broadcast::channel(BEHIND_MAX);
    let mut kept = Kept::default();
    for (frame, at, place, event) in history.0 {
        kept.add(line(&names, Place { frame, place }, at, &event));
    }
    let feed = Arc::new(Feed {
        kept: RwLock::new(kept),
        live,
    });
    let telling = Arc::clone(&feed);
    tokio::spawn(async move {
        while let Some(told) = receiver.recv().await {
            telling.tell(&mut names, told);
        }
    });
    let sender = FeedSender {
        sender,
        has_gap: false,
    };
    (sender, feed)
}

impl Feed {
    fn tell(&self, names: &mut Names, told: Told) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if told.is_after_gap {
            // Whoever resumes from before learns that something is missing.
            *kept = Kept::default();
        }
        for (place, event) in &told.events {
            names.learn(event);
            let place = Place {
                frame: told.frame,
                place: *place,
            };
            let line = line(names, place, told.at, event);
            kept.add(Arc::clone(&line));
            // Without readers nobody takes it.
            let _ = self.live.send(line);
        }
    }

    /// Begins after a place, or with what is told from now on.
    pub(crate) fn read(&self, after: Option<Place>) -> Reading {
        // Held while the reader subscribes, so that nothing falls between.
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.subscribe();
        let Some(after) = after else {
            return Reading {
                backlog: VecDeque::new(),
                has_gap: false,
                live,
            };
        };
        let from = kept.lines.partition_point(|line| line.place <= after);
        let is_known = from > 0 || after == Place { frame: 0, place: 0 };
        Reading {
            backlog: kept.lines.iter().skip(from).cloned().collect(),
            has_gap: !is_known,
            live,
        }
    }
}

fn line(names: &Names, place: Place, at: Timestamp, event: &Event) -> Arc<Line> {
    let said = names.say(event);
    let view = EventView {
        id: format!("{}.{}", place.frame, place.place),
        at_ms: at.0,
        kind: said.kind.to_owned(),
        peer: said.peer,
        asset: said.asset,
        owner: said.owner.map(|owner| owner.to_string()),
        text: said.text,
    };
    Arc::new(Line {
        place,
        view,
        is_price: matches!(event, Event::PriceReported { .. }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resumed() -> Event {
        Event::BookResumed(forebay_quantity::AssetId(0))
    }

    fn ids(reading: &Reading) -> Vec<&str> {
        let lines = reading.backlog.iter();
        lines.map(|line| line.view.id.as_str()).collect()
    }

    #[tokio::test]
    async fn a_reader_that_returns_gets_what_it_missed_and_hears_of_what_is_gone() {
        let mut history = History::default();
        history.add(7, Timestamp(1), &[(0, resumed()), (2, resumed())]);
        let (mut sender, feed) = start(&State::default(), history);
        let mut live = feed.read(None).live;
        assert!(sender.tell(9, Timestamp(2), &[(1, resumed())]));
        assert_eq!(live.recv().await.expect("told").view.id, "9.1");
        let after = |text| feed.read(Place::read(text));
        assert_eq!(ids(&after("7.0")), ["7.2", "9.1"]);
        assert!(!after("7.0").has_gap && !after("0.0").has_gap);
        assert_eq!(ids(&after("0.0")), ["7.0", "7.2", "9.1"]);
        assert!(after("3.4").has_gap);
    }

    #[tokio::test]
    async fn price_reports_push_out_older_price_reports_and_nothing_else() {
        let price = || Event::PriceReported {
            asset: forebay_quantity::AssetId(0),
            source: forebay_quantity::SourceId(0),
            price: 1,
            at: Timestamp(1),
        };
        let mut history = History::default();
        history.add(1, Timestamp(1), &[(0, resumed())]);
        for frame in 2..2 + 2 * PRICES_KEPT_MAX as u64 {
            history.add(frame, Timestamp(1), &[(0, price())]);
        }
        let (_sender, feed) = start(&State::default(), history);
        let reading = feed.read(Place::read("0.0"));
        assert_eq!(reading.backlog.len(), 1 + PRICES_KEPT_MAX);
        assert_eq!(reading.backlog[0].view.kind, "book-resumed");
    }

    #[tokio::test]
    async fn what_did_not_fit_is_a_gap_for_those_who_come_back() {
        let (mut sender, feed) = start(&State::default(), History::default());
        // The feed's task cannot run before this one waits.
        let taken = (0..=WAITING_MAX).filter(|frame| {
            let frame = u64::try_from(*frame).expect("small") + 1;
            sender.tell(frame, Timestamp(1), &[(0, resumed())])
        });
        assert_eq!(taken.count(), WAITING_MAX);
        let mut live = feed.read(None).live;
        let _first = live.recv().await;
        assert!(sender.tell(9_000, Timestamp(2), &[(0, resumed())]));
        while !feed
            .read(Place::read("0.0"))
            .backlog
            .iter()
            .any(|line| line.place.frame == 9_000)
        {
            tokio::task::yield_now().await;
        }
        assert!(feed.read(Place::read("2.0")).has_gap);
    }
}
