//! Lightning of the peer's side: a node of our own, or somebody's that runs already.

mod external;
mod own;

use std::sync::Arc;
use std::time::Duration;

use forebay_chain_bitcoin::lightning::{FINAL_CLTV_MIN, InvoiceTerms as Asked, read_invoice};
use forebay_chain_bitcoin::{Fault, Network, Retry};
use forebay_chain_evm::Key;
use forebay_channel::{NodeId, PeerMessage};
use forebay_pool::InvoiceTerms;
use forebay_quantity::{Amount, Hash32, Milliseconds, Timestamp};

use super::ConnectFault;
use super::config::{Config, LightningConfig, NodeConfig};
use super::core::{LightningCommand, LightningEffect};
use super::shell::Inputs;
use super::state::State;
use external::External;
use own::Own;

/// Other ways are looked for this long when one fails.
const PAYMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Before the node or the pool's address is asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// Blocks that the pool leaves us to claim what it pays: we claim at once, and a day passes before it could be lost.
const FINAL_CLTV: u16 = if FINAL_CLTV_MIN > 144 {
    FINAL_CLTV_MIN
} else {
    144
};

/// The node that the account settles through.
#[derive(Clone)]
pub(super) enum Lightning {
    /// Inside this process.
    Own(Arc<Own>),
    /// Another program's.
    External(Arc<External>),
}

/// A node, and the tasks beside it.
pub(super) enum Running {
    Own(own::Running),
    External(external::Running),
}

/// Starts our own node, or reaches the other one.
pub(super) async fn start(
    config: &Config,
    (node, account): (&NodeConfig<'_>, &LightningConfig),
    (key, state): (&Key, &State),
    inputs: Inputs,
) -> Result<Running, ConnectFault> {
    Ok(match node {
        NodeConfig::Own(bitcoin) => {
            Running::Own(own::start(config, (bitcoin, account), key, inputs).await?)
        }
        NodeConfig::External(lnd) => {
            Running::External(external::start((lnd, account), (key, state), inputs).await?)
        }
    })
}

impl Running {
    pub(super) fn lightning(&self) -> Lightning {
        match self {
            Self::Own(own) => Lightning::Own(own.node()),
            Self::External(external) => Lightning::External(external.node()),
        }
    }

    /// Ends what runs. What was not taken is told again after the next start.
    pub(super) async fn stop(self) {
        match self {
            Self::Own(own) => own.stop().await,
            Self::External(external) => external.stop().await,
        }
    }
}

impl Lightning {
    /// Who we are on Lightning.
    pub(super) fn identity(&self) -> NodeId {
        match self {
            Self::Own(own) => own.identity(),
            Self::External(external) => external.identity(),
        }
    }

    /// Where coins for channels may be sent to; empty when they are no business of ours.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Own(own) => own.address(),
            Self::External(_) => String::new(),
        }
    }

    /// Reads an invoice of the pool, without asking anybody.
    pub(super) fn read(&self, settlement: u64, invoice: String) -> LightningCommand {
        let network = match self {
            Self::Own(own) => own.network(),
            Self::External(external) => external.network(),
        };
        read(network, settlement, invoice)
    }

    /// Carries out what takes its time. What comes of it is told as a command, or said to the pool.
    pub(super) async fn carry_out(self, effect: LightningEffect) {
        match self {
            Self::Own(own) => own.carry_out(effect).await,
            Self::External(external) => external.carry_out(effect).await,
        }
    }
}

fn read(network: Network, settlement: u64, invoice: String) -> LightningCommand {
    let unreadable = |why: String| LightningCommand::InvoiceUnreadable { settlement, why };
    match read_invoice(&invoice, network) {
        Ok(read) => match read.amount_msat {
            Some(amount) => LightningCommand::InvoiceTold {
                settlement,
                invoice,
                terms: InvoiceTerms {
                    hash: Hash32(read.hash),
                    amount: Amount::from(amount),
                    payee: NodeId(read.payee),
                    expires_at: Timestamp(read.expires_at_s.saturating_mul(1_000)),
                },
            },
            None => unreadable("its invoice names no amount".into()),
        },
        Err(fault) => unreadable(fault.to_string()),
    }
}

/// The invoice that is to be made for the pool.
fn asked(amount: Amount, expiry: Milliseconds) -> Asked {
    Asked {
        amount_msat: amount.to_u64().unwrap_or(u64::MAX),
        expiry_s: u32::try_from(expiry.0 / 1_000).unwrap_or(u32::MAX),
        final_cltv: FINAL_CLTV,
        payer: 0,
    }
}

/// What the pool is told of an invoice that was asked for.
fn told(settlement: u64, made: Result<String, Fault>) -> PeerMessage {
    let (invoice, refused) = match made {
        Ok(invoice) => (Some(invoice), None),
        Err(fault) => {
            tracing::warn!(settlement, "no invoice could be made for the pool: {fault}");
            (None, Some(fault.to_string()))
        }
    };
    PeerMessage::InvoiceTold {
        settlement,
        invoice,
        refused,
    }
}

/// Whether something may be under way all the same, or may be soon.
fn is_unsure(fault: &Fault) -> bool {
    let is_unheard = matches!(
        fault,
        Fault::Store { .. } | Fault::Stopped | Fault::LndDown { .. } | Fault::LndNonsense { .. }
    );
    fault.retry() == Retry::Now || is_unheard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_is_given_up_only_when_nothing_can_be_under_way() {
        let busy = Fault::Busy {
            what: "an earlier attempt",
        };
        let store = Fault::Store {
            detail: "full".into(),
        };
        let silent = Fault::LndDown {
            url: "http://127.0.0.1:8080".into(),
            detail: "it ended its answer early".into(),
        };
        for unsure in [busy, store, Fault::Stopped, silent] {
            assert!(is_unsure(&unsure), "{unsure}");
        }
        for sure in [Fault::NoRoute, Fault::InvoiceExpired] {
            assert!(!is_unsure(&sure), "{sure}");
        }
    }
}
