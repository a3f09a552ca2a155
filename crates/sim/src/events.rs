//! Reads a journalled payload back, to count what it holds (`spec/events.md`).

use borsh::BorshDeserialize;
use forebay_pool::Event;

use crate::auditor::variant;

/// The names of the events of one payload; a chain's facts and demands go under their own names too.
pub(crate) fn names(payload: &[u8]) -> Vec<String> {
    let mut rest = payload.get(8..).expect("a payload begins with its stamp");
    let mut names = Vec::new();
    while !rest.is_empty() {
        let event = Event::deserialize(&mut rest).expect("[I10] our own events are readable");
        names.push(variant(&format!("{event:?}")));
        let inner = match &event {
            Event::Lightning(happened) => Some(format!("{happened:?}")),
            Event::Claim(happened) => Some(format!("{happened:?}")),
            Event::Reserve(happened) => Some(format!("{happened:?}")),
            Event::BitcoinSaw(happened) => Some(format!("{happened:?}")),
            _ => None,
        };
        names.extend(
            inner.map(|inner| format!("{} {}", variant(&format!("{event:?}")), variant(&inner))),
        );
        if let Event::ChainDemanded { request, .. } = &event {
            names.push(format!(
                "ChainDemanded {}",
                variant(&format!("{request:?}"))
            ));
        }
    }
    names
}
