//! Invoices: one for each settlement id, for ever; and hold invoices for hashes that others chose.

use std::str::FromStr;
use std::time::Duration;

use bitcoin::Network;
use bitcoin::hashes::Hash;
use borsh::{BorshDeserialize, BorshSerialize};
use lightning::ln::channelmanager::Bolt11InvoiceParameters;
use lightning::types::payment::{PaymentHash as LdkHash, PaymentPreimage};
use lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescription, Description};

use super::keys::hash_of;
use super::node::LightningNode;
use super::observation::{NodeId, PaymentHash};
use super::record;
use crate::Fault;

/// LDK fails a held payment back this many blocks before it expires on chain, and takes none that leaves it fewer.
/// With the 3 blocks that may be found while a payment is under way.
pub const FINAL_CLTV_MIN: u16 = 42;

const LDK_CLTV_BUFFER: u16 = 3;

/// An invoice that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvoiceTerms {
    /// What is to be paid, in msat.
    pub amount_msat: u64,
    /// How long it can be paid, in seconds from now.
    pub expiry_s: u32,
    /// How many blocks the payer has to leave us; at least [`FINAL_CLTV_MIN`].
    pub final_cltv: u16,
    /// Whatever the caller wants back when it is paid, such as who is to pay.
    pub payer: u64,
}

/// What an invoice says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvoiceView {
    /// What locks the payment.
    pub hash: PaymentHash,
    /// In msat; none when the payer may choose.
    pub amount_msat: Option<u64>,
    /// Who is paid.
    pub payee: NodeId,
    /// Unix time, in seconds, from which on it is not to be paid.
    pub expires_at_s: u64,
    /// Blocks that the payee has, at least, to claim.
    pub final_cltv: u64,
}

/// Reads an invoice. Asks nobody.
///
/// # Errors
///
/// [`Fault::BadInvoice`] when it is none, its signature is wrong, or it is for another network.
pub fn read_invoice(text: &str, network: Network) -> Result<InvoiceView, Fault> {
    let invoice = parse(text)?;
    if invoice.network() != network {
        return Err(Fault::BadInvoice {
            why: format!("it is for {}, not {network}", invoice.network()),
        });
    }
    let since_epoch = invoice
        .duration_since_epoch()
        .saturating_add(invoice.expiry_time());
    Ok(InvoiceView {
        hash: invoice.payment_hash().to_byte_array(),
        amount_msat: invoice.amount_milli_satoshis(),
        payee: invoice.get_payee_pub_key().serialize(),
        expires_at_s: since_epoch.as_secs(),
        final_cltv: invoice.min_final_cltv_expiry_delta(),
    })
}

pub(crate) fn parse(text: &str) -> Result<Bolt11Invoice, Fault> {
    Bolt11Invoice::from_str(text).map_err(|error| Fault::BadInvoice {
        why: error.to_string(),
    })
}

/// What is kept of an invoice of ours, under its hash.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub(crate) struct InvoiceRecord {
    pub(crate) settlement: Option<[u8; 16]>,
    pub(crate) payer: u64,
    pub(crate) amount_msat: u64,
    pub(crate) text: String,
    /// Whether it was paid and claimed: it is not paid twice.
    pub(crate) received: bool,
}

/// What is kept of a payment that is held for us, until it is ours or went back.
#[derive(Clone, Copy, BorshSerialize, BorshDeserialize)]
pub(crate) struct HeldRecord {
    /// From this height on LDK sends it back by itself.
    deadline_height: u32,
    /// Its owner wants it sent back.
    returning: bool,
}

fn held_key(hash: &PaymentHash) -> Vec<u8> {
    [b"held/".as_slice(), hash].concat()
}

pub(crate) fn invoice_key(hash: &PaymentHash) -> Vec<u8> {
    [b"invoice/".as_slice(), hash].concat()
}

impl LightningNode {
    /// The invoice of a settlement: the same text for the same id for ever.
    ///
    /// It is on stable storage before it is answered. Its preimage is made of the id and a secret of this node's, and
    /// the payment is claimed as soon as it comes.
    ///
    /// # Errors
    ///
    /// [`Fault::InvoiceDiffers`] when the id was used for another amount before.
    pub async fn invoice(
        &self,
        settlement: [u8; 16],
        terms: InvoiceTerms,
    ) -> Result<String, Fault> {
        let hash = hash_of(&self.inner.keys.preimage(settlement));
        self.invoice_of(hash, Some(settlement), terms).await
    }

    /// A hold invoice for a hash whose preimage is not known here: a payment to it is reported as
    /// [`Claimable`](super::Observation::Claimable), then claimed or failed.
    ///
    /// # Errors
    ///
    /// [`Fault::InvoiceDiffers`] when the hash was used for another amount, or for a settlement.
    pub async fn invoice_for_hash(
        &self,
        hash: PaymentHash,
        terms: InvoiceTerms,
    ) -> Result<String, Fault> {
        self.invoice_of(hash, None, terms).await
    }

    /// Takes a payment that is held, by its preimage. That it is ours for good is reported as
    /// [`Received`](super::Observation::Received); asking again changes nothing.
    ///
    /// # Errors
    ///
    /// [`Fault::UnknownInvoice`] when no invoice was made for the preimage's hash.
    pub fn claim(&self, preimage: [u8; 32]) -> Result<(), Fault> {
        self.inner.invoice_record(&hash_of(&preimage))?;
        self.inner.channels.claim_funds(PaymentPreimage(preimage));
        Ok(())
    }

    /// Sends back a payment that is held; reported as [`Returned`](super::Observation::Returned).
    ///
    /// # Errors
    ///
    /// [`Fault::UnknownInvoice`] when no invoice was made for the hash.
    pub fn fail(&self, hash: PaymentHash) -> Result<(), Fault> {
        self.inner.invoice_record(&hash)?;
        self.inner.let_go(&hash)?;
        self.inner.channels.fail_htlc_backwards(&LdkHash(hash));
        Ok(())
    }

    async fn invoice_of(
        &self,
        hash: PaymentHash,
        settlement: Option<[u8; 16]>,
        terms: InvoiceTerms,
    ) -> Result<String, Fault> {
        let text = {
            let _one_at_a_time = self.inner.lock_invoices();
            match self.inner.find_invoice(&hash)? {
                Some(record) => same_terms(record, settlement, terms)?,
                None => self.make_invoice(hash, settlement, terms)?,
            }
        };
        self.inner.store.durable().await?;
        Ok(text)
    }

    fn make_invoice(
        &self,
        hash: PaymentHash,
        settlement: Option<[u8; 16]>,
        terms: InvoiceTerms,
    ) -> Result<String, Fault> {
        if terms.final_cltv < FINAL_CLTV_MIN {
            return Err(Fault::BadInvoice {
                why: format!(
                    "a final CLTV of {} blocks is too short: {FINAL_CLTV_MIN} is the least",
                    terms.final_cltv
                ),
            });
        }
        let parameters = Bolt11InvoiceParameters {
            amount_msats: Some(terms.amount_msat),
            description: Bolt11InvoiceDescription::Direct(Description::empty()),
            invoice_expiry_delta_secs: Some(terms.expiry_s),
            min_final_cltv_expiry_delta: Some(terms.final_cltv.saturating_sub(LDK_CLTV_BUFFER)),
            payment_hash: Some(LdkHash(hash)),
        };
        let invoice = self
            .inner
            .channels
            .create_bolt11_invoice(parameters)
            .map_err(|error| Fault::BadInvoice {
                why: error.to_string(),
            })?;
        let record = InvoiceRecord {
            settlement,
            payer: terms.payer,
            amount_msat: terms.amount_msat,
            text: invoice.to_string(),
            received: false,
        };
        self.inner.put_invoice(&hash, &record);
        Ok(record.text)
    }
}

impl super::node::Inner {
    pub(crate) fn find_invoice(&self, hash: &PaymentHash) -> Result<Option<InvoiceRecord>, Fault> {
        let value = self.store.read(&invoice_key(hash))?;
        value.as_deref().map(record::read).transpose()
    }

    pub(crate) fn invoice_record(&self, hash: &PaymentHash) -> Result<InvoiceRecord, Fault> {
        self.find_invoice(hash)?.ok_or(Fault::UnknownInvoice)
    }

    pub(crate) fn put_invoice(&self, hash: &PaymentHash, invoice: &InvoiceRecord) {
        self.store.write([invoice_change(hash, invoice)]);
    }

    fn find_held(&self, hash: &PaymentHash) -> Result<Option<HeldRecord>, Fault> {
        let value = self.store.read(&held_key(hash))?;
        value.as_deref().map(record::read).transpose()
    }

    /// A payment is held from now on. Told again, it changes nothing.
    pub(crate) fn hold(&self, hash: &PaymentHash, deadline_height: u32) -> Result<(), Fault> {
        let _one_at_a_time = self.lock_invoices();
        if self.find_held(hash)?.is_none() {
            let held = HeldRecord {
                deadline_height,
                returning: false,
            };
            self.store.put(held_key(hash), record::write(&held));
        }
        Ok(())
    }

    /// Its owner wants a payment sent back, if it is held.
    fn let_go(&self, hash: &PaymentHash) -> Result<(), Fault> {
        let _one_at_a_time = self.lock_invoices();
        if let Some(held) = self.find_held(hash)? {
            let returning = HeldRecord {
                returning: true,
                ..held
            };
            self.store.put(held_key(hash), record::write(&returning));
        }
        Ok(())
    }

    /// Whether what went back under a hash is the payment that was held: by its owner's wish, or by its deadline. What is
    /// paid while another payment is held goes back at once, and that one stays.
    pub(crate) fn went_back(&self, hash: &PaymentHash) -> Result<bool, Fault> {
        let height = self.channels.current_best_block().height;
        let held = self.find_held(hash)?;
        Ok(held.is_some_and(|held| held.returning || height >= held.deadline_height))
    }

    /// A payment is held no more.
    pub(crate) fn release(&self, hash: &PaymentHash) {
        self.store.write([(held_key(hash), None)]);
    }
}

/// A record as it is written, alone or with others.
pub(crate) fn invoice_change(
    hash: &PaymentHash,
    invoice: &InvoiceRecord,
) -> (Vec<u8>, Option<Vec<u8>>) {
    (invoice_key(hash), Some(record::write(invoice)))
}

fn same_terms(
    record: InvoiceRecord,
    settlement: Option<[u8; 16]>,
    terms: InvoiceTerms,
) -> Result<String, Fault> {
    if record.settlement != settlement || record.amount_msat != terms.amount_msat {
        return Err(Fault::InvoiceDiffers {
            amount_msat: record.amount_msat,
        });
    }
    Ok(record.text)
}

/// Whether an invoice can be paid no more, by the clock of this machine.
pub(crate) fn has_expired(invoice: &Bolt11Invoice) -> bool {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    invoice.would_expire(now)
}

#[cfg(test)]
mod tests {
    use bitcoin::Network;

    use super::read_invoice;

    /// "Please send $3 for a cup of coffee to the same peer, within 1 minute", of BOLT 11.
    const COFFEE: &str = "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh";

    #[test]
    fn the_example_of_bolt_11_is_read() {
        let view = read_invoice(COFFEE, Network::Bitcoin).expect("the example is right");
        let mut hash = [0; 32];
        for (place, byte) in hash.iter_mut().enumerate() {
            *byte = u8::try_from(place % 10).expect("below 10");
        }
        // 0001020304050607080900010203040506070809000102030405060708090102
        hash[30] = 1;
        hash[31] = 2;
        assert_eq!(view.hash, hash);
        assert_eq!(view.amount_msat, Some(250_000_000));
        assert_eq!(view.expires_at_s, 1_496_314_658 + 60);
        assert_eq!(view.final_cltv, 18);
        assert_eq!(view.payee[..4], [0x03, 0xe7, 0x15, 0x6a]);
    }

    #[test]
    fn an_invoice_of_another_network_or_with_a_wrong_letter_is_refused() {
        assert!(read_invoice(COFFEE, Network::Regtest).is_err());
        assert!(read_invoice(&COFFEE.replace("2500u", "2501u"), Network::Bitcoin).is_err());
        assert!(read_invoice("", Network::Bitcoin).is_err());
    }
}
