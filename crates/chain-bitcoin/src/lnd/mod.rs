//! A Lightning node that is somebody's own: asked by the REST interface of LND, which others speak as well.
//!
//! It has its own keys, coins and channels. We ask it for no more than invoices, payments, a signature, and what its channels
//! with one peer carry. An invoice is known by the preimage that we choose for it, and a payment by its hash, to the node too:
//! asked again after a crash of either, neither is made twice.
//!
//! Bytes are base64 in bodies and in the path of a payment, hexadecimal elsewhere; numbers of 64 bits are strings (proto3 JSON).

mod http;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use bitcoin::Network;
use bitcoin::base64::Engine;
use bitcoin::base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::DisplayHex;
use serde_json::json;

use crate::Fault;
use crate::lightning::{InvoiceTerms, NodeId, PaymentHash, PaymentTerms};
use http::{Answered, Http};
use wire::{Added, Channels, Info, Invoice, Payment, Signed};

/// How the node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LndSettings {
    /// Its REST interface: `https://`, or `http://` on this machine.
    pub url: String,
    /// The file with the macaroon that lets us ask; none where the node wants none.
    pub macaroon_file: Option<PathBuf>,
    /// Which Bitcoin it has to be on.
    pub network: Network,
}

/// A client of one node.
pub struct Lnd {
    http: Http,
    network: Network,
}

/// How a payment stands with the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paid {
    /// It was never asked for it.
    Unknown,
    /// It arrived; routing cost so much, in msat.
    Sent {
        /// In msat.
        fee_msat: u64,
    },
    /// It failed for certain: no part of it is under way.
    Failed {
        /// The node's reason.
        why: String,
    },
}

/// How an invoice stands with the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvoiceStanding {
    /// It knows none.
    Unknown,
    /// It can be paid.
    Open,
    /// It was paid so much, in msat, which is the node's for good.
    Settled {
        /// In msat.
        amount_msat: u64,
    },
    /// It can be paid no more.
    Cancelled,
}

impl Lnd {
    /// Reaches nobody yet.
    ///
    /// # Errors
    /// [`Fault::BadUrl`]; [`Fault::LndDown`] when the macaroon cannot be read.
    pub fn new(settings: &LndSettings) -> Result<Self, Fault> {
        Ok(Self {
            http: Http::new(&settings.url, settings.macaroon_file.as_deref())?,
            network: settings.network,
        })
    }

    /// Who the node is, once it is on the network that it has to be on.
    ///
    /// # Errors
    /// [`Fault::LndNetwork`], [`Fault::LndDown`] and its kin.
    pub async fn identity(&self) -> Result<NodeId, Fault> {
        let info: Info = self
            .http
            .get("/v1/getinfo")
            .await?
            .or_fault("/v1/getinfo")?;
        let found = info.chains.first().map_or("", |chain| &chain.network);
        // LND's word for it.
        let expected = match self.network {
            Network::Bitcoin => "mainnet".to_owned(),
            other => other.to_string(),
        };
        if found != expected {
            return Err(Fault::LndNetwork {
                expected,
                found: found.to_owned(),
            });
        }
        node_id(&info.identity_pubkey)
    }

    /// The node's signature over a text, in zbase32, as Lightning nodes sign messages.
    ///
    /// # Errors
    /// [`Fault::LndDown`] and its kin.
    pub async fn sign_message(&self, text: &str) -> Result<String, Fault> {
        let (path, body) = ("/v1/signmessage", json!({ "msg": STANDARD.encode(text) }));
        let signed: Signed = self.http.post(path, &body).await?.or_fault(path)?;
        Ok(signed.signature)
    }

    /// Has the node connect to a peer, and keep connecting. One that is connected already is what was wanted.
    ///
    /// # Errors
    /// [`Fault::LndDown`] and its kin.
    pub async fn connect(&self, peer: NodeId, host: &str) -> Result<(), Fault> {
        let pubkey = peer.to_lower_hex_string();
        let body = json!({ "addr": { "pubkey": pubkey, "host": host }, "perm": true });
        let path = "/v1/peers";
        match self.http.post::<serde_json::Value>(path, &body).await? {
            Answered::Refused { message, .. } if message.contains("already connected") => Ok(()),
            answered => answered.or_fault(path).map(drop),
        }
    }

    /// The invoice with this preimage: the same text for the same preimage, for as long as the node keeps it.
    ///
    /// # Errors
    /// [`Fault::InvoiceDiffers`] when the preimage was used for another amount; [`Fault::LndDown`] and its kin.
    pub async fn invoice(&self, preimage: [u8; 32], terms: InvoiceTerms) -> Result<String, Fault> {
        let hash = sha256::Hash::hash(&preimage).to_byte_array();
        if let Some(known) = self.find(hash).await? {
            return known.on_terms(terms);
        }
        let body = json!({
            "r_preimage": STANDARD.encode(preimage),
            "value_msat": terms.amount_msat.to_string(),
            "expiry": terms.expiry_s.to_string(),
            "cltv_expiry": terms.final_cltv.to_string(),
        });
        let path = "/v1/invoices";
        let added = self.http.post::<Added>(path, &body).await?;
        if let Answered::Refused { .. } = &added
            // Refused since an earlier attempt, whose answer was lost, had come through.
            && let Some(known) = self.find(hash).await?
        {
            return known.on_terms(terms);
        }
        Ok(added.or_fault(path)?.payment_request)
    }

    /// How the invoice with this hash stands.
    ///
    /// # Errors
    /// [`Fault::LndDown`] and its kin.
    pub async fn standing(&self, hash: PaymentHash) -> Result<InvoiceStanding, Fault> {
        let Some(invoice) = self.find(hash).await? else {
            return Ok(InvoiceStanding::Unknown);
        };
        Ok(match invoice.state.as_str() {
            "SETTLED" => InvoiceStanding::Settled {
                amount_msat: invoice.paid_msat,
            },
            "CANCELED" => InvoiceStanding::Cancelled,
            // OPEN, or ACCEPTED while its parts come.
            _ => InvoiceStanding::Open,
        })
    }

    async fn find(&self, hash: PaymentHash) -> Result<Option<Invoice>, Fault> {
        let path = format!("/v1/invoice/{}", hash.to_lower_hex_string());
        // LND has had several codes for an invoice that it does not know.
        Ok(match self.http.get(&path).await? {
            Answered::Said(invoice) => Some(invoice),
            Answered::Refused { .. } => None,
        })
    }

    /// Pays an invoice, and waits for the end. Asked again for a hash that is being paid or was paid, the node pays nothing.
    ///
    /// # Errors
    /// [`Fault::LndRefused`] when the node does not begin it, perhaps since it has begun it before: [`Self::payment`] tells. With any
    /// other the payment may be under way.
    pub async fn pay(&self, terms: &PaymentTerms) -> Result<Paid, Fault> {
        let path = "/v2/router/send";
        let body = json!({
            "payment_request": terms.invoice,
            "timeout_seconds": terms.timeout.as_secs(),
            "fee_limit_msat": terms.fee_max_msat.to_string(),
            "no_inflight_updates": true,
        });
        let end = self
            .http
            .follow_post(path, &body, Payment::is_ended)
            .await?;
        Ok(end.or_fault(path)?.standing())
    }

    /// How a payment stands, once it is not under way any more.
    ///
    /// # Errors
    /// [`Fault::LndDown`] and its kin: then nothing is known.
    pub async fn payment(&self, hash: PaymentHash) -> Result<Paid, Fault> {
        let encoded = URL_SAFE.encode(hash);
        let path = format!("/v2/router/track/{encoded}?no_inflight_updates=true");
        let end = self.http.follow(&path, Payment::is_ended).await?;
        if let Answered::Refused { code, .. } = &end
            && *code == http::NOT_FOUND
        {
            return Ok(Paid::Unknown);
        }
        Ok(end.or_fault("/v2/router/track")?.standing())
    }

    /// What the usable channels with a peer can carry now, to it and from it, in msat.
    ///
    /// # Errors
    /// [`Fault::LndDown`] and its kin.
    pub async fn capacity(&self, peer: NodeId) -> Result<(u64, u64), Fault> {
        let path = "/v1/channels";
        let all: Channels = self.http.get(path).await?.or_fault(path)?;
        let peer = peer.to_lower_hex_string();
        let usable = all
            .channels
            .iter()
            .filter(|channel| channel.active && channel.remote_pubkey == peer);
        Ok(usable.fold((0, 0), |(outbound, inbound), channel| {
            (
                channel.outbound_msat().saturating_add(outbound),
                channel.inbound_msat().saturating_add(inbound),
            )
        }))
    }
}

fn node_id(text: &str) -> Result<NodeId, Fault> {
    use bitcoin::hex::FromHex;
    NodeId::from_hex(text).map_err(|_| Fault::BadNodeId)
}

/// How long one question may take; what is waited for until its end is not bounded.
const TIMEOUT: Duration = Duration::from_secs(20);
