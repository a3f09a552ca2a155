//! The wallet beside the core: follows the chain, and tells the core of what is final.

use std::sync::Arc;
use std::time::Duration;

use forebay_chain_bitcoin::bytes_of;
use forebay_chain_bitcoin::wallet::{Deposit, DepositTag, Observation, Wallet};
use forebay_pool::{BitcoinFact, Command, Outpoint, Rejection};
use forebay_quantity::{Amount, Hash32};
use tokio::sync::watch;
use tracing::{info, warn};

use super::Lightning;
use crate::core::CommandFault;
use crate::wall;

/// How often the chain source is asked for a new block.
const POLL: Duration = Duration::from_secs(1);
/// The operator's own capital.
pub(super) const OPERATOR: DepositTag = DepositTag(0);

/// Follows the chain until the node stops.
pub(crate) async fn follow_wallet(lightning: Arc<Lightning>, mut stop: watch::Receiver<bool>) {
    let mut is_down = false;
    loop {
        // The reserve first: what is told of the wallet counts on what was told of it.
        let followed = match lightning.wallet.sync().await {
            Ok(_) => lightning.follow_reserve().await,
            Err(fault) => Err(fault),
        };
        match followed {
            Ok(()) if is_down => {
                info!("the wallet follows the chain again");
                is_down = false;
            }
            Ok(()) => {}
            Err(fault) if !is_down => {
                warn!("the wallet cannot follow the chain for now: {fault}");
                is_down = true;
            }
            Err(_) => {}
        }
        if !is_down {
            lightning.chain_heard().await;
            lightning.tell_what_is_final().await;
            lightning.pay_out().await;
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = stop.changed() => return,
        }
    }
}

impl Lightning {
    /// The chain source answers, and says that it is caught up.
    async fn chain_heard(&self) {
        let listed = self.core.query(|state| state.asset_on_bitcoin()).await;
        if let Ok(Some(asset)) = listed {
            // A core that has stopped hears nothing any more.
            let _ = self.core.chain_heard(asset, wall::now());
        }
    }

    /// Hands over what the wallet saw, in order; what the core does not take yet stays with the wallet.
    async fn tell_what_is_final(&self) {
        for (number, observation) in self.wallet.observations() {
            let told = match self.command_of(&observation).await {
                Ok(Some(command)) => self.core.command(command).await,
                Ok(None) => Ok(()),
                Err(why) => {
                    tracing::error!("what the wallet saw is not booked: {why}");
                    return;
                }
            };
            match told {
                Ok(())
                | Err(CommandFault::Rejected(Rejection::AlreadyTaken | Rejection::UnknownEffect)) =>
                    {}
                Err(fault) => {
                    warn!(
                        "the core does not take what the wallet saw, which is told again: {fault}"
                    );
                    return;
                }
            }
            if let Err(fault) = self.wallet.forget_below(number + 1) {
                warn!("the wallet's file: {fault}");
                return;
            }
        }
    }

    /// What of it concerns the core.
    ///
    /// # Errors
    /// When a deposit is for an LP that the journal does not know.
    async fn command_of(
        &self,
        observation: &Observation,
    ) -> Result<Option<Command<'static>>, String> {
        Ok(match observation {
            Observation::Final { deposit } => Some(self.deposited(deposit).await?),
            // A channel's own report names what its funding cost.
            Observation::Settled { id, .. } if Wallet::is_for_channels(*id) => None,
            Observation::Settled { id, txid, fee, .. } => Some(Command::PaymentFinal {
                id: *id,
                txid: Hash32(bytes_of(*txid)),
                fee: millisatoshi(fee.to_sat()),
            }),
            Observation::DeepReorg { .. } => Some(Command::Bitcoin(BitcoinFact::DeepReorg)),
            Observation::Received { deposit, needed } => {
                info!(outpoint = %deposit.outpoint, "a deposit of {} waits for {needed} confirmations", deposit.amount);
                None
            }
            Observation::Undone { deposit } => {
                warn!(outpoint = %deposit.outpoint, "the chain dropped a deposit that was not final");
                None
            }
        })
    }

    async fn deposited(&self, deposit: &Deposit) -> Result<Command<'static>, String> {
        let owner = match lp_of(deposit.tag) {
            None => None,
            Some(number) => {
                let known = self.core.query(move |state| state.lp_numbered(number));
                let known = known.await.map_err(|fault| fault.to_string())?;
                Some(known.ok_or_else(|| {
                    format!("the journal knows no LP {number}: is the wallet's file this pool's?")
                })?)
            }
        };
        let outpoint = Outpoint {
            txid: Hash32(bytes_of(deposit.outpoint.txid)),
            index: deposit.outpoint.vout,
        };
        Ok(Command::Bitcoin(BitcoinFact::Deposited {
            outpoint,
            owner,
            amount: millisatoshi(deposit.amount.to_sat()),
        }))
    }
}

pub(super) fn millisatoshi(satoshi: u64) -> Amount {
    Amount::new(u128::from(satoshi) * 1_000)
}

/// What the addresses of the LP with this number are labelled with.
pub(super) fn lp_tag(number: u32) -> DepositTag {
    DepositTag(u64::from(number) + 1)
}

fn lp_of(tag: DepositTag) -> Option<u32> {
    u32::try_from(tag.0.checked_sub(1)?).ok()
}
