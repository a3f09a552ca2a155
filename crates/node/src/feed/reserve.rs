//! What happened to the reserve on Bitcoin, said.

use forebay_pool::ReserveEvent;

use super::words::{Said, of_pool};

pub(super) fn reserve(happened: &ReserveEvent) -> Said {
    match happened {
        ReserveEvent::RulesSet(rules) => {
            let text = format!(
                "the operator's key alone holds {} msat at most; the reserve's descriptor has the SHA-256 {}",
                rules.hot_max, rules.descriptor
            );
            of_pool("reserve-rules-set", text)
        }
        ReserveEvent::Found(found) => {
            let text = format!(
                "{} msat lie in the reserve, the oldest output {} days old; the wallet can spend {} msat",
                found.reserve, found.oldest_days, found.spendable
            );
            of_pool("reserve-found", text)
        }
        ReserveEvent::Given { outpoint, amount } => {
            let text = format!(
                "somebody paid {amount} msat into the reserve, by output {} of {}",
                outpoint.index, outpoint.txid
            );
            of_pool("reserve-given", text)
        }
        ReserveEvent::Lost { txid, amount } => {
            let text = format!("the reserve paid {amount} msat to strangers, by {txid}");
            of_pool("reserve-lost", text)
        }
    }
}
