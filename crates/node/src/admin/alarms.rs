//! What needs somebody, in words that say what to do.

use forebay_api::Alarm;
use forebay_channel::NoticeKind;
use forebay_pool::{Alarm as CoreAlarm, State};

use super::Office;
use crate::feed::whole;
use crate::wall;

/// The core's alarms, and those of what is around it.
pub(super) async fn all(office: &Office) -> Vec<Alarm> {
    let told = office.core.query(|state| {
        let now = wall::now();
        let alarms = state.alarms(now).take(ALARMS_MAX);
        alarms.map(|alarm| say(state, alarm)).collect::<Vec<_>>()
    });
    let mut alarms = match told.await {
        Ok(alarms) => alarms,
        Err(fault) => {
            let stopped = office.figures.stopped.get();
            let why = stopped.map_or_else(
                || fault.to_string(),
                |why| format!("the pool has stopped: {why}"),
            );
            vec![Alarm {
                kind: "stopped".into(),
                subject: "pool".into(),
                detail: format!("{why}: look at the log, then `recover` in the book"),
            }]
        }
    };
    for (chain_id, has, needs) in office.gas().await {
        if has < needs {
            alarms.push(Alarm {
                kind: "gas-low".into(),
                subject: format!("chain {chain_id}"),
                detail: format!(
                    "{has} wei are there and {needs} are set aside for open channels: send gas money to the pool's key"
                ),
            });
        }
    }
    alarms
}

/// Alarms shown at a time; somebody is needed long before.
const ALARMS_MAX: usize = 1_000;

fn say(state: &State, alarm: CoreAlarm) -> Alarm {
    let code = |id| {
        let asset = state.asset(id);
        asset.map_or_else(String::new, |asset| asset.definition.code.clone())
    };
    let (kind, subject, detail) = match alarm {
        CoreAlarm::RunsDown(id) => (
            "runs-down",
            code(id),
            format!(
                "{}'s vault runs down: LPs claim in kind, peers redeem; nothing else can be done with it",
                code(id)
            ),
        ),
        CoreAlarm::Frozen(id) => (
            "frozen",
            code(id),
            format!("{}'s committee froze raises and renewals: ask it why", code(id)),
        ),
        CoreAlarm::Halted(id) => (
            "halted",
            code(id),
            format!("{} is halted: find out why, then resume it", code(id)),
        ),
        CoreAlarm::NotQuoted(id) => (
            "not-quoted",
            code(id),
            format!(
                "{} has no believed price and is not quoted: see what its sources say",
                code(id)
            ),
        ),
        CoreAlarm::UnderCovered(id, ppm) => (
            "under-covered",
            code(id),
            format!(
                "{}: of what is claimed, {ppm} millionths are covered; halt it, and see which loss fell on the notes",
                code(id)
            ),
        ),
        CoreAlarm::Silent(id) => (
            "chain-silent",
            code(id),
            format!(
                "no block of {}'s chain has come for two hours: vouchers of its peers are not taken; see to the chain's nodes",
                code(id)
            ),
        ),
        CoreAlarm::Unbalanced => (
            "unbalanced",
            "pool".into(),
            "the books do not balance, which only a bug can do: stop, keep the data directory, report it".into(),
        ),
        CoreAlarm::Notice(id, notice) => {
            let peer = state.peer(id).map_or("", |peer| &peer.name);
            let what = match notice.kind {
                NoticeKind::Close => "close",
                NoticeKind::Lowering => "withdrawal of its deposit",
                NoticeKind::KeyChange => "change of its key",
            };
            (
                "notice",
                peer.to_owned(),
                format!(
                    "{peer}: the {what} is announced and may be executed from {} ms since 1970; the pool answers by itself while it runs",
                    notice.deadline.0
                ),
            )
        }
        CoreAlarm::ReserveLate(id, days) => (
            "reserve-late",
            code(id),
            format!(
                "the reserve has an output that is {days} days old, and after 90 days members can spend it alone: have them sign the draft (`forebay bitcoin reserve show`)"
            ),
        ),
        CoreAlarm::AboveCap(id, hot) => (
            "above-cap",
            code(id),
            format!(
                "the operator's key alone holds {} {}, more than hot_max_sat: what the wallet can spend is swept to the reserve by itself, and what channels hold beyond their peers' wants is spliced out; lower allotments or close channels if it stays so",
                whole(hot, state.asset(id).map_or(0, |asset| asset.definition.scale)),
                code(id)
            ),
        ),
    };
    Alarm {
        kind: kind.into(),
        subject,
        detail,
    }
}
