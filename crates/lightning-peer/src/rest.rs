//! The requests that are answered, in LND's words (api.lightning.community).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::Result;
use bitcoin::hex::FromHex;
use bitcoin::secp256k1::PublicKey;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use ldk_node::ChannelDetails;
use ldk_node::payment::{PaymentDetails, PaymentDirection, PaymentStatus};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::answer::{
    ALREADY_EXISTS, Answer, NOT_FOUND, Refusal, UNAUTHENTICATED, UNKNOWN, answer, bad, bytes,
    hash_in_path, number, read,
};
use crate::node::{POLL, Peer};
use crate::state::{ANCHORS_SAT, Channel};

/// Larger than any request that is understood.
const BODY_MAX: usize = 65_536;

impl Peer {
    /// Answers for as long as the runtime lives; returns where.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn serve(&self, address: SocketAddr) -> Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let peer = self.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let peer = peer.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| respond(peer.clone(), request));
                    let http = hyper::server::conn::http1::Builder::new();
                    // A client that left needs no answer.
                    let _ = http.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Ok(bound)
    }
}

async fn respond(peer: Peer, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let is_line = head.uri.path().starts_with("/v2/router/");
    let macaroon = head.headers.get("Grpc-Metadata-macaroon");
    let macaroon = macaroon.and_then(|macaroon| macaroon.to_str().ok());
    if !macaroon.is_some_and(|macaroon| peer.is_known(macaroon)) {
        let refusal = Refusal::new(UNAUTHENTICATED, "verification failed: no such macaroon");
        return Ok(answer(Err(refusal), is_line));
    }
    let result = match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => route(&peer, &head.method, head.uri.path(), &body.to_bytes()).await,
        Err(error) => Err(bad(&error.to_string())),
    };
    Ok(answer(result, is_line))
}

async fn route(peer: &Peer, method: &Method, path: &str, body: &[u8]) -> Result<Value, Refusal> {
    let is_get = *method == Method::GET;
    match (is_get, path) {
        (true, "/v1/getinfo") => Ok(json!({
            "identity_pubkey": peer.id(),
            "chains": [{ "chain": "bitcoin", "network": "regtest" }],
        })),
        (true, "/v1/newaddress") => Ok(json!({ "address": blocking(|| peer.new_address())? })),
        (true, "/v1/balance/blockchain") => {
            let (total, confirmed) = peer.balance();
            Ok(json!({
                "total_balance": total.to_string(),
                "confirmed_balance": confirmed.to_string(),
            }))
        }
        (true, "/v1/channels") => {
            let all: Vec<_> = peer.channels().iter().map(channel).collect();
            Ok(json!({ "channels": all }))
        }
        (false, "/v1/channels") => open_channel(peer, &read(body)?),
        (false, "/v1/peers") => connect(peer, &read(body)?),
        (false, "/v1/signmessage") => {
            let Message { msg } = read(body)?;
            Ok(json!({ "signature": peer.sign(&bytes(&msg)?) }))
        }
        (false, "/v1/invoices") => add_invoice(peer, &read(body)?),
        (false, "/v2/router/send") => pay(peer, &read(body)?).await,
        (true, path) => match path.rsplit_once('/') {
            Some(("/v1/invoice", hash)) => invoice(peer, hash),
            Some(("/v2/router/track", hash)) => ended(peer, hash_in_path(hash)?).await,
            _ => Err(Refusal::new(NOT_FOUND, "Not Found")),
        },
        _ => Err(Refusal::new(NOT_FOUND, "Not Found")),
    }
}

/// `ldk-node` waits within some of its calls.
fn blocking<T>(call: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(call)
}

#[derive(Deserialize)]
struct Message {
    msg: String,
}

#[derive(Deserialize)]
struct Connect {
    addr: At,
}

#[derive(Deserialize)]
struct At {
    pubkey: String,
    host: String,
}

fn connect(peer: &Peer, asked: &Connect) -> Result<Value, Refusal> {
    let key = PublicKey::from_str(&asked.addr.pubkey).map_err(|error| bad(&error.to_string()))?;
    if peer.is_connected(key) {
        return Err(Refusal::new(
            UNKNOWN,
            format_args!("already connected to peer: {}", asked.addr.pubkey),
        ));
    }
    blocking(|| peer.connect(key, &asked.addr.host))?;
    Ok(json!({}))
}

#[derive(Deserialize)]
struct Open {
    node_pubkey: String,
    local_funding_amount: String,
}

fn open_channel(peer: &Peer, asked: &Open) -> Result<Value, Refusal> {
    let key = PublicKey::from_slice(&bytes(&asked.node_pubkey)?);
    let key = key.map_err(|error| bad(&error.to_string()))?;
    let value_sat = number(&asked.local_funding_amount)?;
    blocking(|| peer.open_channel(key, value_sat))?;
    Ok(json!({}))
}

#[derive(Deserialize)]
struct AddInvoice {
    r_preimage: String,
    value_msat: String,
    expiry: String,
}

fn add_invoice(peer: &Peer, asked: &AddInvoice) -> Result<Value, Refusal> {
    let preimage = bytes(&asked.r_preimage)?;
    let preimage = preimage
        .try_into()
        .map_err(|_| bad("a preimage has 32 bytes"))?;
    let amount_msat = number(&asked.value_msat)?;
    let expiry_s = u32::try_from(number(&asked.expiry)?).map_err(|_| bad("expiry is too long"))?;
    let made = blocking(|| peer.make_invoice(preimage, amount_msat, expiry_s))?;
    match made {
        Some(made) => Ok(json!({ "payment_request": made.text })),
        None => Err(Refusal::new(
            ALREADY_EXISTS,
            "invoice with payment hash already exists",
        )),
    }
}

fn invoice(peer: &Peer, hash: &str) -> Result<Value, Refusal> {
    let hash = <[u8; 32]>::from_hex(hash).map_err(|error| bad(&error.to_string()))?;
    let (invoice, state, came_msat) = peer
        .invoice(hash)
        .ok_or_else(|| Refusal::new(NOT_FOUND, "unable to locate invoice"))?;
    Ok(json!({
        "payment_request": invoice.text,
        "value_msat": invoice.amount_msat.to_string(),
        "state": state,
        "amt_paid_msat": came_msat.to_string(),
    }))
}

#[derive(Deserialize)]
struct Pay {
    payment_request: String,
    fee_limit_msat: String,
}

async fn pay(peer: &Peer, asked: &Pay) -> Result<Value, Refusal> {
    let fee_max_msat = number(&asked.fee_limit_msat)?;
    match blocking(|| peer.pay(&asked.payment_request, fee_max_msat))? {
        Some(hash) => ended(peer, hash).await,
        None => Err(Refusal::new(
            ALREADY_EXISTS,
            "invoice is already paid, or its payment is in transition",
        )),
    }
}

/// How a payment of this node ended, once it has.
async fn ended(peer: &Peer, hash: [u8; 32]) -> Result<Value, Refusal> {
    while !peer.has_stopped() {
        let payment = peer.payment(hash);
        let payment = payment.filter(|known| known.direction == PaymentDirection::Outbound);
        let payment = payment.ok_or_else(|| Refusal::new(NOT_FOUND, "payment isn't initiated"))?;
        match payment.status {
            PaymentStatus::Pending => tokio::time::sleep(POLL).await,
            PaymentStatus::Succeeded => return Ok(described(&payment, "SUCCEEDED", "NONE")),
            PaymentStatus::Failed => return Ok(described(&payment, "FAILED", "ERROR")),
        }
    }
    Err(Refusal::new(UNKNOWN, "the node is stopping"))
}

fn described(payment: &PaymentDetails, status: &str, reason: &str) -> Value {
    json!({
        "status": status,
        "value_msat": payment.amount_msat.unwrap_or(0).to_string(),
        "fee_msat": payment.fee_paid_msat.unwrap_or(0).to_string(),
        "failure_reason": format!("FAILURE_REASON_{reason}"),
    })
}

fn channel(details: &ChannelDetails) -> Value {
    let seen = Channel::of(details);
    // Of a part of a satoshi neither end has all; who opened the channel pays for its commitment.
    let (ours, theirs) = (
        seen.ours_msat / 1_000,
        seen.value_sat - seen.ours_msat.div_ceil(1_000),
    );
    let fee = commit_fee(details);
    let (ours, theirs) = match seen.is_ours {
        true => (ours.saturating_sub(fee), theirs),
        false => (ours, theirs.saturating_sub(fee)),
    };
    let constraints = |reserve: u64| json!({ "chan_reserve_sat": reserve.to_string() });
    json!({
        "active": seen.is_usable,
        "remote_pubkey": seen.peer,
        "channel_point": seen.funding,
        "capacity": seen.value_sat.to_string(),
        "initiator": seen.is_ours,
        "local_balance": ours.to_string(),
        "remote_balance": theirs.to_string(),
        "commit_fee": fee.to_string(),
        "local_constraints": constraints(details.unspendable_punishment_reserve.unwrap_or(0)),
        "remote_constraints": constraints(details.counterparty_unspendable_punishment_reserve),
    })
}

/// Of a commitment with anchors, in satoshi: 1,124 weight units, and the anchors (BOLT 3).
fn commit_fee(details: &ChannelDetails) -> u64 {
    u64::from(details.feerate_sat_per_1000_weight) * 1_124 / 1_000 + ANCHORS_SAT
}
