//! The wallet beside the core: follows the chain, and tells the core of what is final.

use std::sync::Arc;
use std::time::Duration;

use forebay_chain_bitcoin::wallet::{DepositTag, Observation, Purpose, Wallet};
use forebay_chain_bitcoin::{Fault, bytes_of, script_of};
use forebay_channel::Address;
use forebay_pool::{BitcoinFact, Command, Outpoint, Rejection};
use forebay_quantity::{Amount, Hash32};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tracing::{info, warn};

use super::Lightning;
use crate::core::CommandFault;
use crate::wall;

/// How often bitcoind is asked for a new block.
const POLL: Duration = Duration::from_secs(1);
/// The operator's own capital.
const OPERATOR: DepositTag = DepositTag(0);

/// Follows the chain until the node stops.
pub(crate) async fn follow_wallet(lightning: Arc<Lightning>, mut stop: watch::Receiver<bool>) {
    let mut is_down = false;
    loop {
        match lightning.wallet.sync().await {
            Ok(_) if is_down => {
                info!("the wallet follows the chain again");
                is_down = false;
            }
            Ok(_) => {}
            Err(fault) if !is_down => {
                warn!("the wallet cannot follow the chain for now: {fault}");
                is_down = true;
            }
            Err(_) => {}
        }
        if !is_down {
            lightning.chain_heard().await;
        }
        lightning.tell_what_is_final().await;
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = stop.changed() => return,
        }
    }
}

impl Lightning {
    /// bitcoind answers, and says that it is caught up.
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
            let fact = match fact(&observation) {
                Some(fact) => self.core.command(Command::Bitcoin(fact)).await,
                None => Ok(()),
            };
            match fact {
                Ok(()) | Err(CommandFault::Rejected(Rejection::AlreadyTaken)) => {}
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

    /// An address for the operator's own capital, or for an LP that is paid back at `payout`.
    pub(crate) fn new_address(&self, payout: Option<&str>) -> Result<String, Fault> {
        let tag = match payout {
            Some(payout) => tag_of(&script_of(payout, self.network)?),
            None => OPERATOR,
        };
        let address = self.wallet.address(Purpose::Deposit(tag))?;
        Ok(address.to_string())
    }
}

/// What of it concerns the core.
fn fact(observation: &Observation) -> Option<BitcoinFact> {
    match observation {
        Observation::Final { deposit } => Some(BitcoinFact::Deposited {
            outpoint: Outpoint {
                txid: Hash32(bytes_of(deposit.outpoint.txid)),
                index: deposit.outpoint.vout,
            },
            owner: owner_of(deposit.tag),
            amount: millisatoshi(deposit.amount.to_sat()),
        }),
        // A channel's own report names what its funding cost.
        Observation::Settled { id, .. } if Wallet::is_for_channels(*id) => None,
        Observation::Settled { txid, fee, .. } => Some(BitcoinFact::MinersPaid {
            txid: Hash32(bytes_of(*txid)),
            amount: millisatoshi(fee.to_sat()),
        }),
        Observation::DeepReorg { .. } => Some(BitcoinFact::DeepReorg),
        Observation::Received { deposit, needed } => {
            info!(outpoint = %deposit.outpoint, "a deposit of {} waits for {needed} confirmations", deposit.amount);
            None
        }
        Observation::Undone { deposit } => {
            warn!(outpoint = %deposit.outpoint, "the chain dropped a deposit that was not final");
            None
        }
    }
}

fn millisatoshi(satoshi: u64) -> Amount {
    Amount::new(u128::from(satoshi) * 1_000)
}

/// The first bytes of the SHA-256 of the script that an LP is paid back at; never the operator's tag.
fn tag_of(script: &[u8]) -> DepositTag {
    let hash: [u8; 32] = Sha256::digest(script).into();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    DepositTag(u64::from_be_bytes(first).max(1))
}

/// What stands for an LP in the books: its tag, at the end of twenty bytes.
fn owner_of(tag: DepositTag) -> Option<Address> {
    let mut bytes = [0; 20];
    bytes[12..].copy_from_slice(&tag.0.to_be_bytes());
    (tag != OPERATOR).then(|| Address::new(bytes))
}
