//! LPs on Bitcoin: invoices that they pay, invoices by which they are paid, and whose an address is.

use forebay_chain_bitcoin::lightning::{InvoiceTerms as Asked, read_invoice};
use forebay_chain_bitcoin::wallet::{DepositTag, Purpose};
use forebay_chain_bitcoin::{Fault, script_of};
use forebay_channel::{Address, NodeId};
use forebay_pool::{ClaimPaid, Command, InvoiceId, InvoiceTerms};
use forebay_quantity::{Amount, CommandId, Hash32, Milliseconds, Timestamp};
use sha2::{Digest, Sha256};

use super::wallet::{OPERATOR, lp_tag};
use super::{FINAL_CLTV, INVOICE_EXPIRY_S, Lightning};

/// Payers from here on are LPs, and peers below.
const LPS_FROM: u64 = 1 << 32;

/// An invoice for an LP.
pub(crate) struct InvoiceAsked {
    /// The LP's number.
    pub(crate) lp: u32,
    pub(crate) invoice: InvoiceId,
    /// In millisatoshi.
    pub(crate) amount: Amount,
}

impl Lightning {
    /// The script of an LP's address on this network.
    ///
    /// # Errors
    /// When it is no such address.
    pub(crate) fn payout_script(&self, address: &str) -> Result<Vec<u8>, Fault> {
        script_of(address, self.network)
    }

    /// An address for the LP with this number, or for the operator's own capital.
    ///
    /// # Errors
    /// When the wallet's file fails.
    pub(crate) fn new_address(&self, lp: Option<u32>) -> Result<String, Fault> {
        let tag: DepositTag = lp.map_or(OPERATOR, lp_tag);
        let address = self.wallet.address(Purpose::Deposit(tag))?;
        Ok(address.to_string())
    }

    /// The invoice that the core has journalled for an LP: the same text for ever.
    ///
    /// # Errors
    /// In words for the LP.
    pub(crate) async fn lp_invoice(&self, asked: InvoiceAsked) -> Result<String, String> {
        let amount_msat = asked.amount.to_u64();
        let terms = Asked {
            amount_msat: amount_msat
                .ok_or("no invoice is over more than 64 bits of millisatoshi")?,
            expiry_s: INVOICE_EXPIRY_S,
            final_cltv: FINAL_CLTV,
            payer: LPS_FROM + u64::from(asked.lp),
        };
        let invoice = self.node.invoice(asked.invoice, terms).await;
        invoice.map_err(|fault| fault.to_string())
    }

    /// What an LP's own invoice says.
    ///
    /// # Errors
    /// In words for the LP.
    pub(crate) fn read_lp_invoice(&self, text: &str) -> Result<InvoiceTerms, String> {
        let read = read_invoice(text, self.network).map_err(|fault| fault.to_string())?;
        if NodeId(read.payee) == self.face.node {
            return Err("it is an invoice of the pool's own node".into());
        }
        Ok(InvoiceTerms {
            hash: Hash32(read.hash),
            amount: Amount::from(read.amount_msat.ok_or("it names no amount")?),
            payee: NodeId(read.payee),
            expires_at: Timestamp(0).saturating_add(Milliseconds::from_seconds(read.expires_at_s)),
        })
    }

    /// Keeps the text while `order` asks the core to pay it: by the time it may be paid, the text is here.
    ///
    /// # Errors
    /// As the core answers.
    pub(crate) async fn with_invoice<E>(
        &self,
        hash: Hash32,
        text: String,
        order: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let is_new = self.told().insert(hash, text).is_none();
        let taken = order.await;
        let is_paid = self.core.query(move |state| state.is_paying(hash)).await;
        if is_new && !is_paid.unwrap_or(false) {
            self.told().remove(&hash);
        }
        taken
    }

    pub(super) async fn invoice_paid(&self, lp: u32, invoice: InvoiceId, amount_msat: u64) -> bool {
        let paid = Command::ClaimPaid(ClaimPaid {
            lp,
            invoice,
            amount: Amount::from(amount_msat),
        });
        self.tell_core(paid).await
    }
}

/// Names an LP's invoice among all of the node's: whose number comes second hand chooses no other's name.
pub(crate) fn invoice_id(owner: Address, key: CommandId) -> InvoiceId {
    let mut hasher = Sha256::new();
    hasher.update(b"forebay lp invoice v1");
    hasher.update(owner.value());
    hasher.update(key.0);
    let hash: [u8; 32] = hasher.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    // A settlement's name begins with zeros.
    id[0] |= 0x80;
    id
}

/// The LP's number, from what an invoice was labelled with.
pub(super) fn lp_of(payer: u64) -> Option<u32> {
    u32::try_from(payer.checked_sub(LPS_FROM)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lightning::settlement_id;
    use forebay_quantity::PeerId;

    #[test]
    fn an_lp_s_invoice_has_a_name_of_its_own_and_its_label_gives_the_lp_back() {
        let owner = |byte| Address::new([byte; 20]);
        let key = CommandId([7; 16]);
        let name = invoice_id(owner(1), key);
        assert_eq!(name, invoice_id(owner(1), key));
        assert_ne!(name, invoice_id(owner(2), key));
        assert_ne!(name, invoice_id(owner(1), CommandId([8; 16])));
        let of_peer = settlement_id(PeerId(u32::MAX), u64::MAX);
        assert_ne!(name[0] & 0x80, of_peer[0] & 0x80);
        assert_eq!(lp_of(LPS_FROM + 9), Some(9));
        assert_eq!(lp_of(u64::from(u32::MAX)), None);
    }
}
