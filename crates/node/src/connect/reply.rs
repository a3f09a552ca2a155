//! ILP replies that this side makes itself.

use forebay_ilp::{ErrorCode, FulfillView, RejectView};

/// A reject in our own name: the neighbour knows us by the link, so no address is given.
pub(super) fn reject(code: ErrorCode, message: &str) -> Vec<u8> {
    let view = RejectView {
        code,
        triggered_by: None,
        message: message.as_bytes(),
        data: &[],
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
