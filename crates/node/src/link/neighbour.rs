//! Prepares to `peer.` addresses, which are for this pool itself: ILDCP is answered here, route messages by the core.

use forebay_ilp::ccp::{self, Control, Kind, UpdateView};
use forebay_ilp::{Address, ErrorCode, PrepareView, RejectView, ildcp};

use super::directory::PeerFacts;
use super::server::Shared;

/// How a prepare to a `peer.` address is answered.
pub(crate) enum PeerAnswer {
    /// By this packet, a fulfill or a reject.
    Packet(Vec<u8>),
    /// By the core, under the same request.
    ByTheCore,
}

/// Answers a peer, or asks the core to.
pub(crate) fn answer_peer(
    shared: &Shared,
    facts: &PeerFacts,
    request: u32,
    prepare: &PrepareView<'_>,
) -> PeerAnswer {
    if ildcp::is_request(prepare) {
        return PeerAnswer::Packet(describe(shared, facts));
    }
    let Some(kind) = ccp::kind(prepare) else {
        let text = "nothing here answers to this peer address";
        return refuse(shared, ErrorCode::F02Unreachable, text);
    };
    if let Err(error) = check(kind, prepare.data) {
        return refuse(shared, ErrorCode::F01InvalidPacket, &error.to_string());
    }
    let data = prepare.data.to_vec();
    match shared.core.take_routes(facts.peer, request, kind, data) {
        Ok(()) => PeerAnswer::ByTheCore,
        Err(_) => refuse(shared, ErrorCode::T03ConnectorBusy, "too much at once"),
    }
}

fn check(kind: Kind, data: &[u8]) -> Result<(), ccp::CcpError> {
    match kind {
        Kind::Control => Control::parse(data).map(drop),
        Kind::Update => UpdateView::parse(data).map(drop),
    }
}

/// Address and asset of the account [RFC 31].
fn describe(shared: &Shared, facts: &PeerFacts) -> Vec<u8> {
    let address = Address::parse(facts.address.as_bytes());
    let response = address.map(|address| ildcp::Response {
        address,
        asset_scale: facts.asset_scale,
        asset_code: &facts.asset_code,
    });
    let mut packet = Vec::new();
    match response {
        Ok(response) if response.encode_fulfill(&mut packet).is_ok() => packet,
        Ok(_) | Err(_) => reject(
            &shared.directory.operator(),
            ErrorCode::F02Unreachable,
            "this account's address is too long for ILDCP",
        ),
    }
}

fn refuse(shared: &Shared, code: ErrorCode, text: &str) -> PeerAnswer {
    PeerAnswer::Packet(reject(&shared.directory.operator(), code, text))
}

/// A reject of ours.
pub(crate) fn reject(operator: &str, code: ErrorCode, text: &str) -> Vec<u8> {
    let reject = RejectView {
        code,
        triggered_by: Address::parse(operator.as_bytes()).ok(),
        message: text.as_bytes(),
        data: &[],
    };
    let mut packet = Vec::with_capacity(reject.encoded_size());
    reject.encode(&mut packet).expect("our messages are short");
    packet
}
