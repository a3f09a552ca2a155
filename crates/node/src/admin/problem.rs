//! Why not: what is no success, before it knows its request's id.

use std::time::Duration;

use forebay_api::ProblemKind;
use forebay_pool::Rejection;

use crate::chain::ChainFault;
use crate::core::CommandFault;

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct No {
    pub(super) kind: ProblemKind,
    pub(super) detail: String,
    /// For the header `Retry-After`.
    pub(super) wait: Option<Duration>,
    /// For the header `Allow`.
    pub(super) allow: Option<String>,
}

impl No {
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            wait: None,
            allow: None,
        }
    }

    pub(super) fn key_reused() -> Self {
        let text = format!(
            "this {} was sent before with another request: use a new key for a new instruction",
            forebay_api::IDEMPOTENCY_KEY
        );
        Self::new(ProblemKind::KeyReused, text)
    }

    pub(super) fn too_often(wait: Duration) -> Self {
        let milliseconds = wait.as_millis().max(1);
        Self {
            wait: Some(wait),
            ..Self::new(
                ProblemKind::RateLimited,
                format!("ask again in {milliseconds} ms, and less often"),
            )
        }
    }
}

impl From<CommandFault> for No {
    fn from(fault: CommandFault) -> Self {
        let kind = match &fault {
            CommandFault::Stopped(_) => ProblemKind::Stopped,
            CommandFault::Rejected(rejection) => kind_of(rejection),
        };
        let advice = match kind {
            ProblemKind::Stopped => "; look at the node's log",
            ProblemKind::Conflict => "; list what is there",
            _ => "",
        };
        Self::new(kind, format!("{fault}{advice}"))
    }
}

fn kind_of(rejection: &Rejection) -> ProblemKind {
    use Rejection::*;
    match rejection {
        UnknownPeer(_) | UnknownAsset(_) | Unreachable => ProblemKind::NotFound,
        AlreadyExists | PeerBusy(_) | AlreadyFounded => ProblemKind::Conflict,
        IdReused => ProblemKind::KeyReused,
        Halted => ProblemKind::Stopped,
        NotFounded
        | Full { .. }
        | BadName
        | BadPolicy(_)
        | AlreadyTaken
        | Expired { .. }
        | TimeoutTooShort { .. }
        | AmountTooLarge { .. }
        | DuplicateRequest { .. }
        | NotQuoting(_)
        | AmountTooSmall
        | NotSecured { .. }
        | LaneExhausted { .. }
        | InventoryExhausted(_)
        | Busy
        | UnknownPacket
        | WrongPreimage
        | BadVoucher(_)
        | BadInvoice(_)
        | BadClaim(_)
        | ClaimTooLarge { .. }
        | ClaimTooSmall { .. }
        | NotHeld { .. }
        | NotSold(_)
        | UnknownEffect
        | BadPrice
        | BadFact(_) => ProblemKind::Rejected,
    }
}

impl From<forebay_chain_bitcoin::Fault> for No {
    fn from(fault: forebay_chain_bitcoin::Fault) -> Self {
        Self::new(ProblemKind::Chain, fault.to_string())
    }
}

impl From<ChainFault> for No {
    fn from(fault: ChainFault) -> Self {
        Self::new(ProblemKind::Chain, fault.to_string())
    }
}
