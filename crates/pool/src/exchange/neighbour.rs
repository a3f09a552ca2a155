//! Where the exchange with one neighbour stands.

use forebay_ilp::ccp::{Control, Kind, Mode};
use forebay_quantity::Timestamp;

use super::heard::Heard;
use super::{bounds, later};
use crate::state::Relation;

/// A message that waits for its answer.
#[derive(Debug, Clone, Copy)]
struct OnTheWay {
    /// The epoch up to which the neighbour knows us once it takes it.
    to_epoch: u32,
    given_up_at: Timestamp,
}

/// One neighbour.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) relation: Relation,
    pub(super) is_up: bool,
    pub(super) heard: Heard,
    /// What it told counts until then.
    expires_at: Timestamp,
    /// When to ask for its routes; `None` while it tells them by itself.
    ask_at: Option<Timestamp>,
    asked_at: Timestamp,
    /// Whether it wants to be told.
    wants: bool,
    known: u32,
    on_the_way: Option<OnTheWay>,
    told_at: Timestamp,
    paused_until: Timestamp,
}

impl Neighbour {
    pub(super) fn new(relation: Relation) -> Self {
        Self {
            relation,
            is_up: false,
            heard: Heard::default(),
            expires_at: Timestamp(0),
            ask_at: None,
            asked_at: Timestamp(0),
            wants: false,
            known: 0,
            on_the_way: None,
            told_at: Timestamp(0),
            paused_until: Timestamp(0),
        }
    }

    /// Its link opened.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.is_up = true;
        self.wants = false;
        self.on_the_way = None;
        self.wait_again(now);
        self.ask_at = Some(now);
    }

    /// It told nothing in time: asks, and waits as long again.
    pub(super) fn wait_again(&mut self, now: Timestamp) {
        self.expires_at = later(now, bounds::HOLD_DOWN_MAX_MS);
        self.ask_again(now);
    }

    /// Whether it is time to ask it.
    pub(super) fn asks(&self, now: Timestamp) -> bool {
        self.is_up && self.relation.receives_routes && self.ask_at.is_some_and(|at| at <= now)
    }

    /// Asks for its routes; asked again unless it answers.
    pub(super) fn ask(&mut self, now: Timestamp) -> Control {
        self.asked_at = now;
        self.ask_at = Some(later(now, bounds::RETRY_MS));
        Control {
            mode: Mode::Sync,
            table: self.heard.table,
            epoch: self.heard.epoch,
        }
    }

    /// Something is missing: asks soon, but not in a row.
    pub(super) fn ask_again(&mut self, now: Timestamp) {
        let soonest = later(self.asked_at, bounds::ASK_INTERVAL_MS);
        self.ask_at = Some(now.max(soonest));
    }

    /// What was to be asked again later is asked now, but not in a row.
    pub(super) fn ask_sooner(&mut self, now: Timestamp) {
        if self.ask_at.is_some() {
            self.ask_again(now);
        }
    }

    /// It lives, and vouches for what it told for as long as it says.
    pub(super) fn heard_something(&mut self, now: Timestamp, hold_down_ms: u32) {
        let (least, most) = (bounds::HOLD_DOWN_MIN_MS, bounds::HOLD_DOWN_MAX_MS);
        self.expires_at = later(now, u64::from(hold_down_ms).clamp(least, most));
    }

    /// Whether what it told may not be used any more.
    pub(super) fn is_silent(&self, now: Timestamp) -> bool {
        self.is_up && self.relation.receives_routes && self.expires_at <= now
    }

    /// It wants to be told from an epoch on, or no more.
    pub(super) fn tell(&mut self, wants: bool, known: u32) {
        self.wants = wants;
        self.known = known;
        self.on_the_way = None;
        self.paused_until = Timestamp(0);
    }

    /// Our table has begun anew.
    pub(super) fn tell_anew(&mut self) {
        self.known = 0;
        self.on_the_way = None;
    }

    pub(super) fn known(&self) -> u32 {
        self.known
    }

    /// Whether it is time to tell it what it does not know, or that there is nothing new.
    pub(super) fn is_told(&self, now: Timestamp, epoch: u32) -> bool {
        let interval = match self.known < epoch {
            true => bounds::UPDATE_INTERVAL_MS,
            false => bounds::HEARTBEAT_MS,
        };
        let waits = self.on_the_way.is_some_and(|sent| sent.given_up_at > now);
        self.is_up
            && self.relation.sends_routes
            && self.wants
            && !waits
            && self.paused_until <= now
            && later(self.told_at, interval) <= now
    }

    /// It is being told up to an epoch.
    pub(super) fn telling(&mut self, now: Timestamp, to_epoch: u32) {
        self.told_at = now;
        self.on_the_way = Some(OnTheWay {
            to_epoch,
            given_up_at: later(now, bounds::RETRY_MS),
        });
    }

    pub(super) fn answered(&mut self, now: Timestamp, kind: Kind, accepted: bool) {
        match (kind, accepted) {
            (Kind::Control, true) => self.ask_at = None,
            (Kind::Control, false) => self.ask_at = Some(later(now, bounds::RETRY_MS)),
            (Kind::Update, true) => {
                if let Some(sent) = self.on_the_way.take() {
                    self.known = sent.to_epoch;
                }
            }
            (Kind::Update, false) => {
                if self.on_the_way.take().is_some() {
                    self.paused_until = later(now, bounds::RETRY_MS);
                }
            }
        }
    }
}
