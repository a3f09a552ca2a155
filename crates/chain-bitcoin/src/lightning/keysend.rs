//! Payments without an invoice (keysend, bLIP 3): the payer makes the preimage and sends it along.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use lightning::ln::channelmanager::{RecipientOnionFields, Retry};
use lightning::routing::router::{PaymentParameters, RouteParameters};
use lightning::types::payment::PaymentPreimage;

use super::channel::public_key;
use super::keys::hash_of;
use super::node::{Inner, LightningNode};
use super::observation::{NodeId, PaymentHash};
use super::payment::{PaymentStanding, sending_fault};
use super::record;
use crate::Fault;

/// The blocks that the payee has to claim, of which no invoice tells: a day, more than any usual node asks for.
const FINAL_CLTV: u32 = 144;

/// A payment without an invoice that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeysendTerms {
    /// Who is paid.
    pub payee: NodeId,
    /// What arrives, in msat.
    pub amount_msat: u64,
    /// The most that routing may cost, in msat.
    pub fee_max_msat: u64,
    /// How long to look for other ways when one fails. What is under way by then may take longer.
    pub timeout: Duration,
    /// The most blocks, over all hops, that our money may be locked; none for LDK's limit of 1,008.
    pub cltv_max: Option<u32>,
}

/// What is kept of one, under its hash. The first payee that it was sent to has its preimage, whatever became of it, and
/// as a hop could keep what is sent to another one.
#[derive(PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct KeysendRecord {
    payee: NodeId,
    amount_msat: u64,
}

impl LightningNode {
    /// The hash under which a settlement is paid without an invoice: the same one for the same id for ever.
    ///
    /// Its preimage is made of the id and a secret of this node's. Who keeps books writes the hash down before it is paid.
    #[must_use]
    pub fn keysend_hash(&self, settlement: [u8; 16]) -> PaymentHash {
        hash_of(&self.inner.keys.keysend_preimage(settlement))
    }

    /// Pays a settlement without an invoice, under [`Self::keysend_hash`]. The outcome is reported as that of
    /// [`Self::pay`], and asking again changes as little. A payee that takes no such payments sends it back.
    ///
    /// # Errors
    ///
    /// With each, nothing is under way: [`Fault::BadNodeId`]; [`Fault::PaymentDiffers`] when the id was to pay another payee or
    /// amount before; [`Fault::NoRoute`]; [`Fault::Busy`] while an earlier attempt is being put away.
    pub fn keysend(
        &self,
        settlement: [u8; 16],
        terms: &KeysendTerms,
    ) -> Result<PaymentStanding, Fault> {
        let route = route_parameters(terms)?;
        let preimage = self.inner.keys.keysend_preimage(settlement);
        let hash = hash_of(&preimage);
        self.inner.bind_keysend(&hash, terms)?;
        self.inner.begin(&hash, |id| {
            let channels = &self.inner.channels;
            channels
                .send_spontaneous_payment(
                    Some(PaymentPreimage(preimage)),
                    RecipientOnionFields::spontaneous_empty(),
                    id,
                    route,
                    Retry::Timeout(terms.timeout),
                )
                .map(drop)
                .map_err(sending_fault)
        })
    }
}

impl Inner {
    /// Keeps what a hash pays, for ever; LDK hears of it only after this was queued.
    fn bind_keysend(&self, hash: &PaymentHash, terms: &KeysendTerms) -> Result<(), Fault> {
        let _one_at_a_time = self.lock_payments();
        let asked = KeysendRecord {
            payee: terms.payee,
            amount_msat: terms.amount_msat,
        };
        let key = [b"keysend/".as_slice(), hash].concat();
        let Some(bytes) = self.store.read(&key)? else {
            self.store.put(key, record::write(&asked));
            return Ok(());
        };
        let kept: KeysendRecord = record::read(&bytes)?;
        if kept != asked {
            return Err(Fault::PaymentDiffers {
                amount_msat: kept.amount_msat,
            });
        }
        Ok(())
    }
}

fn route_parameters(terms: &KeysendTerms) -> Result<RouteParameters, Fault> {
    let payee = public_key(&terms.payee)?;
    let mut payment = PaymentParameters::for_keysend(payee, FINAL_CLTV, false);
    if let Some(blocks) = terms.cltv_max {
        payment = payment.with_max_total_cltv_expiry_delta(blocks);
    }
    let mut route = RouteParameters::from_payment_params_and_value(payment, terms.amount_msat);
    route.max_total_routing_fee_msat = Some(terms.fee_max_msat);
    Ok(route)
}
