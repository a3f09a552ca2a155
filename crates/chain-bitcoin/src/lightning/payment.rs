//! Payments of ours, each under its hash, so that no hash is ever paid twice.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use lightning::events::PaymentFailureReason;
use lightning::ln::channelmanager::{
    Bolt11PaymentError, PaymentId, RecentPaymentDetails, Retry, RetryableSendFailure,
};
use lightning::routing::router::RouteParametersConfig;

use super::invoice::{has_expired, parse};
use super::node::{Inner, LightningNode};
use super::observation::{Observation, PaymentFailure, PaymentHash};
use super::record;
use crate::Fault;
use bitcoin::hashes::Hash;

/// A payment that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PaymentTerms {
    /// BOLT 11, with an amount.
    pub invoice: String,
    /// The most that routing may cost, in msat.
    pub fee_max_msat: u64,
    /// How long to look for other ways when one fails. What is under way by then may take longer.
    pub timeout: Duration,
    /// The most blocks, over all hops, that our money may be locked; none for LDK's limit of 1,008.
    pub cltv_max: Option<u32>,
}

/// How a payment stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum PaymentStanding {
    /// Never asked for, as far as stable storage knows: nothing left.
    Unknown,
    /// Under way; it may still arrive or fail.
    Pending,
    /// Arrived.
    Sent {
        /// The proof.
        preimage: [u8; 32],
        /// What routing cost, in msat.
        fee_msat: u64,
    },
    /// Failed for certain: no part of it is under way. It may be asked for again.
    Failed,
}

const PAYMENTS: &[u8] = b"payment/";
/// The hashes of those that are pending, so that a restart need not read all.
const PENDING: &[u8] = b"pending/";

impl LightningNode {
    /// Pays an invoice. The outcome is reported as [`Sent`](Observation::Sent) or [`Failed`](Observation::Failed).
    ///
    /// Asked again for the same hash, it pays nothing while the payment is pending or sent, and only says how it stands;
    /// one that has failed for certain is tried anew.
    ///
    /// # Errors
    ///
    /// With each, nothing is under way: [`Fault::BadInvoice`]; [`Fault::InvoiceExpired`]; [`Fault::NoRoute`] when no
    /// channel has room now; [`Fault::Busy`] while an earlier attempt is being put away.
    pub fn pay(&self, terms: &PaymentTerms) -> Result<PaymentStanding, Fault> {
        let invoice = parse(&terms.invoice)?;
        if invoice.network() != self.inner.network {
            return Err(Fault::BadInvoice {
                why: format!("it is for {}", invoice.network()),
            });
        }
        self.inner
            .begin(&invoice.payment_hash().to_byte_array(), |id| {
                if has_expired(&invoice) {
                    return Err(Fault::InvoiceExpired);
                }
                let channels = &self.inner.channels;
                channels
                    .pay_for_bolt11_invoice(
                        &invoice,
                        id,
                        None,
                        route_parameters(terms),
                        Retry::Timeout(terms.timeout),
                    )
                    .map_err(payment_fault)
            })
    }

    /// How a payment stands.
    ///
    /// # Errors
    ///
    /// [`Fault::Store`].
    pub fn payment(&self, hash: PaymentHash) -> Result<PaymentStanding, Fault> {
        let _one_at_a_time = self.inner.lock_payments();
        self.inner.standing(&hash)
    }
}

fn route_parameters(terms: &PaymentTerms) -> RouteParametersConfig {
    let mut parameters = RouteParametersConfig {
        max_total_routing_fee_msat: Some(terms.fee_max_msat),
        ..RouteParametersConfig::default()
    };
    if let Some(blocks) = terms.cltv_max {
        parameters.max_total_cltv_expiry_delta = blocks;
    }
    parameters
}

fn payment_fault(error: Bolt11PaymentError) -> Fault {
    match error {
        Bolt11PaymentError::InvalidAmount => Fault::BadInvoice {
            why: "it names no amount".to_owned(),
        },
        Bolt11PaymentError::SendingFailed(failure) => sending_fault(failure),
    }
}

pub(crate) fn sending_fault(failure: RetryableSendFailure) -> Fault {
    match failure {
        RetryableSendFailure::PaymentExpired => Fault::InvoiceExpired,
        RetryableSendFailure::RouteNotFound => Fault::NoRoute,
        RetryableSendFailure::DuplicatePayment => Fault::Busy {
            what: "an earlier attempt at this payment",
        },
        RetryableSendFailure::OnionPacketSizeExceeded => Fault::BadInvoice {
            why: "it does not fit into a payment".to_owned(),
        },
    }
}

/// A standing as it is written, alone or with other records.
fn payment_changes(
    hash: &PaymentHash,
    standing: PaymentStanding,
) -> [(Vec<u8>, Option<Vec<u8>>); 2] {
    let pending = (standing == PaymentStanding::Pending).then(Vec::new);
    let value = (standing != PaymentStanding::Unknown).then(|| record::write(&standing));
    [
        (payment_key(hash), value),
        ([PENDING, hash].concat(), pending),
    ]
}

fn payment_key(hash: &PaymentHash) -> Vec<u8> {
    [PAYMENTS, hash].concat()
}

impl Inner {
    /// Begins a payment, unless it is under way or has arrived. With an error nothing is under way.
    pub(crate) fn begin(
        &self,
        hash: &PaymentHash,
        attempt: impl FnOnce(PaymentId) -> Result<(), Fault>,
    ) -> Result<PaymentStanding, Fault> {
        let _one_at_a_time = self.lock_payments();
        let standing = self.standing(hash)?;
        match standing {
            PaymentStanding::Pending | PaymentStanding::Sent { .. } => return Ok(standing),
            PaymentStanding::Unknown | PaymentStanding::Failed => {}
        }
        // Before LDK knows of it, so that what LDK's own record says is never more than ours.
        self.put_payment(hash, PaymentStanding::Pending);
        match attempt(PaymentId(*hash)) {
            Ok(()) => Ok(PaymentStanding::Pending),
            Err(fault) => {
                self.put_payment(hash, standing);
                Err(fault)
            }
        }
    }

    /// A payment that our record calls pending and LDK does not know never left, or has failed: LDK keeps each until the
    /// event of its end was handled, and that writes our record.
    fn standing(&self, hash: &PaymentHash) -> Result<PaymentStanding, Fault> {
        let value = self.store.read(&payment_key(hash))?;
        let standing = match value {
            Some(bytes) => record::read(&bytes)?,
            None => PaymentStanding::Unknown,
        };
        if standing == PaymentStanding::Pending && !self.is_with_ldk(hash) {
            return Ok(PaymentStanding::Failed);
        }
        Ok(standing)
    }

    fn put_payment(&self, hash: &PaymentHash, standing: PaymentStanding) {
        self.store.write(payment_changes(hash, standing));
    }

    fn is_with_ldk(&self, hash: &PaymentHash) -> bool {
        self.channels
            .list_recent_payments()
            .iter()
            .any(|payment| match payment {
                RecentPaymentDetails::Pending { payment_id, .. }
                | RecentPaymentDetails::Fulfilled { payment_id, .. }
                | RecentPaymentDetails::Abandoned { payment_id, .. }
                | RecentPaymentDetails::AwaitingInvoice { payment_id } => payment_id.0 == *hash,
            })
    }

    /// Our payment arrived.
    pub(crate) async fn payment_sent(
        &self,
        hash: PaymentHash,
        preimage: [u8; 32],
        (amount_msat, fee_msat): (u64, u64),
    ) -> Result<(), Unheard> {
        self.tell(Observation::Sent {
            hash,
            preimage,
            fee_msat,
        })
        .await?;
        let _one_at_a_time = self.lock_payments();
        let sent = PaymentStanding::Sent { preimage, fee_msat };
        let mut changes = payment_changes(&hash, sent).to_vec();
        // After a kill the event may come again.
        if self.standing(&hash).map_err(|_| Unheard)? != sent {
            let left = amount_msat.saturating_add(fee_msat);
            let height = self.channels.current_best_block().height;
            changes.push(self.closings.arrived(hash, left, height));
        }
        self.store.write(changes);
        Ok(())
    }

    /// LDK says that a payment failed. When it knows one under this hash all the same, that is a newer attempt, and the
    /// event, told before, came again after a restart.
    pub(crate) async fn payment_failed(
        &self,
        hash: PaymentHash,
        reason: PaymentFailure,
    ) -> Result<(), Unheard> {
        if self.is_with_ldk(&hash) {
            return Ok(());
        }
        self.tell(Observation::Failed { hash, reason }).await?;
        let _one_at_a_time = self.lock_payments();
        if !self.is_with_ldk(&hash) {
            self.put_payment(&hash, PaymentStanding::Failed);
        }
        Ok(())
    }

    /// Payments that a crash kept from leaving.
    pub(crate) fn never_left(&self) -> Result<Vec<PaymentHash>, Fault> {
        let mut found = Vec::new();
        for (key, _) in self.store.written_under(PENDING)? {
            let hash = PaymentHash::try_from(key.as_slice()).map_err(|_| Fault::Store {
                detail: "a payment's hash cannot be read".to_owned(),
            })?;
            if !self.is_with_ldk(&hash) {
                found.push(hash);
            }
        }
        Ok(found)
    }
}

/// The listener did not acknowledge: the event comes again.
#[derive(Debug)]
pub(crate) struct Unheard;

pub(crate) fn failure_of(reason: Option<PaymentFailureReason>) -> PaymentFailure {
    match reason {
        Some(PaymentFailureReason::RecipientRejected) => PaymentFailure::Refused,
        Some(PaymentFailureReason::RouteNotFound) => PaymentFailure::NoRoute,
        Some(PaymentFailureReason::RetriesExhausted | PaymentFailureReason::UserAbandoned) => {
            PaymentFailure::TimeUp
        }
        Some(
            PaymentFailureReason::PaymentExpired | PaymentFailureReason::InvoiceRequestExpired,
        ) => PaymentFailure::InvoiceExpired,
        Some(
            PaymentFailureReason::UnexpectedError
            | PaymentFailureReason::UnknownRequiredFeatures
            | PaymentFailureReason::InvoiceRequestRejected
            | PaymentFailureReason::BlindedPathCreationFailed,
        )
        | None => PaymentFailure::Other,
    }
}
