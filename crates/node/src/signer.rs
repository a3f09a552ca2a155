//! Vouchers of ours are signed here, off the core thread.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use forebay_chain_evm::Key;
use forebay_channel::{Domain, LaneId, PeerMessage, Voucher};
use forebay_ilp::btp::RequestId;
use forebay_quantity::{Amount, ChannelSerial, PeerId};

use crate::core::{CoreHandle, Input};
use crate::link::{OutFrames, encode_message};

/// A voucher to be signed and sent.
#[derive(Debug, Clone)]
pub(crate) struct VoucherOrder {
    pub(crate) peer: PeerId,
    pub(crate) serial: ChannelSerial,
    pub(crate) amount: Amount,
    pub(crate) domain: Domain,
}

/// Starts the thread that signs; it ends when the core thread does.
pub(crate) fn start(
    key: Key,
    core: CoreHandle,
) -> std::io::Result<(Sender<VoucherOrder>, JoinHandle<()>)> {
    let (sender, orders) = channel();
    let thread = std::thread::Builder::new()
        .name("signer".into())
        .spawn(move || run(&key, &core, &orders))?;
    Ok((sender, thread))
}

fn run(key: &Key, core: &CoreHandle, orders: &Receiver<VoucherOrder>) {
    while let Ok(first) = orders.recv() {
        // Of several vouchers on one lane only the highest matters [I5].
        let mut best = BTreeMap::new();
        for order in std::iter::once(first).chain(orders.try_iter()) {
            let place = best.entry(order.serial).or_insert_with(|| order.clone());
            if order.amount > place.amount {
                *place = order;
            }
        }
        for order in best.into_values() {
            let input = Input::Deliver {
                peer: order.peer,
                frames: signed(key, &order),
            };
            if core.give(input).is_err() {
                return;
            }
        }
    }
}

fn signed(key: &Key, order: &VoucherOrder) -> OutFrames {
    let VoucherOrder { serial, amount, .. } = *order;
    let signature = key.sign_message(
        &order.domain,
        &Voucher {
            serial,
            lane: LaneId::Pool,
            amount,
        },
    );
    let message = PeerMessage::Voucher {
        serial,
        amount,
        signature: signature.0,
    }
    .encode();
    let mut frames = OutFrames::default();
    // The core puts a request id of its own here.
    frames.push(|out| encode_message(out, RequestId(0), &message));
    frames
}
