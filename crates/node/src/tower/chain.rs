//! The vaults as the watchtower sees them: through its own nodes, by its own gas key.

use std::sync::Arc;
use std::time::Duration;

use forebay_chain_evm::{
    ChannelView, Fault, FollowerSettings, LaneView, Retry, Vault, VaultParameters,
};
use forebay_channel::vault::{VaultObservation, VaultRequest};
use forebay_channel::{Address, Finality, LaneId, LaneStanding, Standing};
use forebay_quantity::{Amount, ChannelSerial, EffectId};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use super::keeper::{Input, VaultKey};

const PAUSE: Duration = Duration::from_secs(2);

/// A channel as it was read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// At finality depth.
    pub(super) last_final: Standing,
    /// In the newest block.
    pub(super) newest: Standing,
    /// Up to where vouchers of former signers count, by lane and signer.
    pub(super) former: Vec<(LaneId, Address, Amount)>,
}

/// Reads a channel at both depths; `former` are signers of kept vouchers that may have been replaced.
pub(super) async fn read(
    vault: &Vault,
    serial: ChannelSerial,
    signers: Vec<(LaneId, Address)>,
) -> Result<Reading, Fault> {
    let last_final = standing(&vault.channel(serial, Finality::Final).await?);
    let newest = standing(&vault.channel(serial, Finality::Seen).await?);
    let mut former = Vec::new();
    for (lane, signer) in signers {
        if newest.lane(lane).payer != signer {
            let ceiling = vault.former_ceiling(serial, lane, signer, Finality::Seen);
            former.push((lane, signer, ceiling.await?));
        }
    }
    Ok(Reading {
        last_final,
        newest,
        former,
    })
}

fn standing(view: &ChannelView) -> Standing {
    Standing {
        opened: view.opened,
        closed: view.closed,
        close_at: view.close_at,
        pool: lane_standing(&view.pool),
        peer: lane_standing(&view.peer),
    }
}

fn lane_standing(view: &LaneView) -> LaneStanding {
    LaneStanding {
        payer: view.signer,
        ceiling: view.ceiling,
        paid: view.paid,
        lowering: view.lowering,
        key_change: view.key_change.map(|(_, deadline)| deadline),
    }
}

/// How long the vault's notices run.
pub(super) fn notice_of(parameters: &VaultParameters) -> forebay_quantity::Milliseconds {
    forebay_quantity::Milliseconds::from_seconds(u64::from(parameters.close_period_s))
}

/// Tells of what the vault says from now on, for as long as anybody listens. What it said before is in the readings.
pub(super) async fn follow(
    vault: Arc<Vault>,
    key: VaultKey,
    poll: Duration,
    inputs: mpsc::Sender<Input>,
) {
    loop {
        let from = match vault.account().height(Finality::Seen).await {
            Ok(height) => height,
            Err(fault) => {
                warn!(vault = %key.vault, "the chain cannot be followed now: {fault}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let settings = FollowerSettings {
            poll_interval: poll,
            ..FollowerSettings::from(from)
        };
        let mut follower = vault.follow(settings);
        // Whatever happened before the first block that is followed is read once.
        if inputs.send(Input::ReadAll(key)).await.is_err() {
            return;
        }
        while let Some(report) = follower.next().await {
            let input = match report {
                Ok(
                    VaultObservation::Fact { fact, .. } | VaultObservation::Retracted { fact, .. },
                ) => match fact.serial() {
                    Some(serial) => Input::Moved(key, serial),
                    None => continue,
                },
                Ok(VaultObservation::Head(head)) => Input::Head(key, head.time),
                Ok(VaultObservation::DeepReorg { block }) => {
                    warn!(vault = %key.vault, "the chain dropped block {block}, which was final: everything is read anew");
                    break;
                }
                Err(fault) => {
                    warn!(vault = %key.vault, "the chain cannot be followed now: {fault}");
                    continue;
                }
            };
            if inputs.send(input).await.is_err() {
                return;
            }
        }
        sleep(PAUSE).await;
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is final and did what it should.
    Done,
    /// The vault has nothing more to pay, or somebody else was first: nothing was sent, or what was sent did nothing.
    Void,
}

/// Carries out one transaction, once, however long it takes; with `None` the one that is recorded is seen to its end.
pub(super) async fn carry_out(
    vault: Arc<Vault>,
    effect: EffectId,
    request: Option<VaultRequest>,
) -> Outcome {
    loop {
        let ended = match &request {
            Some(request) => vault.execute(effect, request, Finality::Final).await,
            None => vault.outcome(effect, Finality::Final).await,
        };
        match ended {
            Ok(inclusion) => {
                info!(
                    effect = effect.value(),
                    gas_used = inclusion.gas_used,
                    succeeded = inclusion.succeeded,
                    "transaction {}",
                    inclusion.transaction
                );
                return if inclusion.succeeded {
                    Outcome::Done
                } else {
                    Outcome::Void
                };
            }
            Err(Fault::Refused { reason }) => {
                info!(effect = effect.value(), "the vault says {reason}");
                return Outcome::Void;
            }
            // A recorded transaction that was given up on: whoever still wants it asks for it anew.
            Err(Fault::NotSubmitted { .. }) if request.is_none() => return Outcome::Void,
            Err(fault) => match fault.retry() {
                Retry::Now => {}
                Retry::Later => {
                    warn!(effect = effect.value(), "a transaction waits: {fault}");
                    sleep(PAUSE).await;
                }
                Retry::Never => {
                    warn!(
                        effect = effect.value(),
                        "a transaction cannot be made: {fault}"
                    );
                    return Outcome::Void;
                }
            },
        }
    }
}
