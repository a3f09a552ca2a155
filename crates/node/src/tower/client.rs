//! The principal's side: hands a watchtower its best vouchers as they grow, and all of them again on each new link.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_channel::{GuardedLane, LaneId, PeerMessage, Phase};
use forebay_pool::State;
use forebay_quantity::Amount;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::ask::{ASKED_MAX, AskFault, Asker};
use crate::core::CoreHandle;

const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// What was refused is told again this much later: the watchtower's node may not have seen the channel yet.
const AGAIN: Duration = Duration::from_secs(5);
/// What grows within this time is told at once.
const TOGETHER: Duration = Duration::from_millis(50);
/// How often a pool looks which of its peers' vouchers have grown.
const LOOK: Duration = Duration::from_millis(250);

/// A watchtower that this process hands its vouchers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tower {
    /// `ws://` or `wss://`.
    pub url: String,
    /// The token that it knows us by.
    pub token: String,
}

/// The best voucher held on each lane: amount and signature. Only the newest map matters.
pub(crate) type Guarded = Arc<BTreeMap<GuardedLane, (Amount, [u8; 64])>>;

/// Keeps one watchtower told until the source ends.
pub(crate) async fn keep_guarded(tower: Tower, mut source: watch::Receiver<Guarded>) {
    let mut pause = PAUSE_FIRST;
    loop {
        match Asker::dial(&tower.url, None, &tower.token).await {
            Ok(asker) => {
                info!(url = %tower.url, "the watchtower is connected");
                pause = PAUSE_FIRST;
                match keep_told(asker, &mut source).await {
                    Ok(()) => return,
                    Err(fault) => warn!(url = %tower.url, "the watchtower is lost: {fault}"),
                }
            }
            Err(fault) => warn!(url = %tower.url, "no watchtower guards this process: {fault}"),
        }
        tokio::select! {
            () = sleep(pause) => {}
            // Nobody has any more to tell.
            () = ended(source.clone()) => return,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Hands a pool's best vouchers to its watchtowers until the pool ends.
pub(crate) fn guard_pool(towers: Vec<Tower>, core: CoreHandle) {
    if towers.is_empty() {
        return;
    }
    let (sender, source) = watch::channel(Guarded::default());
    for tower in towers {
        tokio::spawn(keep_guarded(tower, source.clone()));
    }
    tokio::spawn(async move {
        while let Ok(held) = core.query(held).await {
            sender.send_if_modified(|told| {
                let grown = **told != held;
                if grown {
                    *told = Arc::new(held);
                }
                grown
            });
            sleep(LOOK).await;
        }
    });
}

/// The best voucher of each peer whose channel is not closed.
fn held(state: &State) -> BTreeMap<GuardedLane, (Amount, [u8; 64])> {
    let mut held = BTreeMap::new();
    for (_, peer) in state.peers() {
        let channel = peer.channel.as_ref();
        let channel = channel.filter(|channel| channel.phase() != Phase::Closed);
        let (Some(channel), Some(asset)) = (channel, state.asset(peer.asset)) else {
            continue;
        };
        if peer.best_amount.is_zero() {
            continue;
        }
        let lane = GuardedLane {
            chain_id: asset.definition.chain_id,
            vault: asset.definition.vault,
            serial: channel.serial(),
            lane: LaneId::Peer,
        };
        held.insert(lane, (peer.best_amount, peer.best_signature.0));
    }
    held
}

async fn ended(mut source: watch::Receiver<Guarded>) {
    while source.changed().await.is_ok() {}
}

/// Tells all on one link; returns once the source has ended.
async fn keep_told(
    mut asker: Asker,
    source: &mut watch::Receiver<Guarded>,
) -> Result<(), AskFault> {
    let mut told: BTreeMap<GuardedLane, Amount> = BTreeMap::new();
    loop {
        let guarded = Arc::clone(&source.borrow_and_update());
        told.retain(|lane, _| guarded.contains_key(lane));
        let news: Vec<PeerMessage> = guarded
            .iter()
            .filter(|(lane, (amount, _))| told.get(lane).is_none_or(|told| told < amount))
            .map(|(lane, (amount, signature))| PeerMessage::Guard {
                lane: *lane,
                amount: *amount,
                signature: *signature,
            })
            .collect();
        let mut all_taken = true;
        for part in news.chunks(ASKED_MAX) {
            for answer in asker.ask_all(part).await? {
                all_taken &= taken(answer, &mut told);
            }
        }
        tokio::select! {
            changed = source.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            () = sleep(AGAIN), if !all_taken => {}
            () = asker.lost() => return Err(AskFault::NoAnswer),
        }
        sleep(TOGETHER).await;
    }
}

fn taken(answer: Result<PeerMessage, AskFault>, told: &mut BTreeMap<GuardedLane, Amount>) -> bool {
    match answer {
        Ok(PeerMessage::Guarded {
            lane,
            amount,
            refused: None,
        }) => {
            told.insert(lane, amount);
            true
        }
        Ok(PeerMessage::Guarded {
            lane,
            refused: Some(why),
            ..
        }) => {
            warn!(
                serial = lane.serial.value(),
                "the watchtower does not guard this lane: {why}"
            );
            false
        }
        Ok(_) => false,
        Err(why) => {
            warn!("the watchtower did not take a voucher: {why}");
            false
        }
    }
}
