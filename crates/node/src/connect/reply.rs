//! ILP replies that this side makes itself.

use forebay_ilp::{AmountTooLarge, ErrorCode, FulfillView, RejectView};

/// A reject in our own name: the neighbour knows us by the link, so no address is given.
pub(super) fn reject(code: ErrorCode, message: &str) -> Vec<u8> {
    reject_with(code, message, &[])
}

/// A packet above what the pool takes, with both numbers for its sender.
pub(super) fn too_large(received: u64, maximum: u64) -> Vec<u8> {
    let data = AmountTooLarge { received, maximum }.to_bytes();
    let text = "the pool takes no packet as large";
    reject_with(ErrorCode::F08AmountTooLarge, text, &data)
}

fn reject_with(code: ErrorCode, message: &str, data: &[u8]) -> Vec<u8> {
    let view = RejectView {
        code,
        triggered_by: None,
        message: message.as_bytes(),
        data,
    };
    let mut packet = Vec::with_capacity(view.encoded_size());
    view.encode(&mut packet)
        .expect("the messages here are short");
    packet
}

/// A fulfill whose data is lost: only its preimage came back from the pool's books.
pub(super) fn fulfill(preimage: &[u8; 32]) -> Vec<u8> {
    let view = FulfillView {
        fulfillment: preimage,
        data: &[],
    };
    let mut packet = Vec::with_capacity(view.encoded_size());
    view.encode(&mut packet).expect("no data is within bounds");
    packet
}
