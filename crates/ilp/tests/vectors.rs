//! What Interledger's npm packages encode is read as they meant it and written byte for byte as they wrote it.

mod common;

use common::{bytes, cases, hash, number, text, vectors};
use forebay_ilp::btp::{self, Body, ContentType, Entry, ErrorKind, Frame, RequestId};
use forebay_ilp::{
    Address, AmountTooLarge, Dialect, ErrorCode, FulfillView, Link, LinkEvent, PacketType,
    PacketView, PrepareView, RejectView, ildcp, patch_prepare,
};
use forebay_quantity::Timestamp;
use serde_json::Value;

const PACKETS: &str = "ilp-packets.json";
const BTP: &str = "ilp-btp.json";
const ILDCP: &str = "ilp-ildcp.json";

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0xaa];
    encode(&mut out);
    assert_eq!(
        out.remove(0),
        0xaa,
        "encoders append and leave what is there"
    );
    out
}

fn prepare_of<'a>(case: &'a Value, condition: &'a [u8; 32], data: &'a [u8]) -> PrepareView<'a> {
    PrepareView {
        amount: number(case, "amount"),
        expires_at: Timestamp(number(case, "expires_at_ms")),
        condition,
        destination: Address::parse(text(case, "destination").as_bytes()).expect("an address"),
        data,
    }
}

#[test]
fn prepares_match_ilp_packet() {
    let file = vectors(PACKETS);
    for case in cases(&file, "prepares") {
        let (condition, data, packet) = (
            hash(case, "condition"),
            bytes(case, "data"),
            bytes(case, "packet"),
        );
        let expected = prepare_of(case, &condition, &data);
        let view = PrepareView::parse(&packet).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(view, expected, "{case}");
        assert_eq!(
            PacketView::parse(&packet),
            Ok(PacketView::Prepare(expected))
        );
        assert_eq!(expected.encoded_size(), packet.len(), "{case}");
        assert_eq!(
            encoded(|out| expected.encode(out).expect("encodable")),
            packet,
            "{case}"
        );
    }
}

#[test]
fn a_patched_prepare_is_what_ilp_packet_would_have_written() {
    let file = vectors(PACKETS);
    let last = Timestamp(253_402_300_799_999);
    for case in cases(&file, "prepares") {
        let packet = bytes(case, "packet");
        let mut patched = packet.clone();
        patch_prepare(&mut patched, u64::MAX, last).expect("patchable");
        let original = PrepareView::parse(&packet).expect("a prepare");
        let expected = PrepareView {
            amount: u64::MAX,
            expires_at: last,
            ..original
        };
        assert_eq!(
            patched,
            encoded(|out| expected.encode(out).expect("encodable"))
        );
        patch_prepare(&mut patched, original.amount, original.expires_at).expect("patchable");
        assert_eq!(patched, packet, "patching back restores every byte");
    }
}

#[test]
fn fulfills_match_ilp_packet() {
    let file = vectors(PACKETS);
    for case in cases(&file, "fulfills") {
        let (fulfillment, data, packet) = (
            hash(case, "fulfillment"),
            bytes(case, "data"),
            bytes(case, "packet"),
        );
        let expected = FulfillView {
            fulfillment: &fulfillment,
            data: &data,
        };
        assert_eq!(FulfillView::parse(&packet), Ok(expected), "{case}");
        assert_eq!(
            PacketView::parse(&packet),
            Ok(PacketView::Fulfill(expected))
        );
        assert_eq!(expected.encoded_size(), packet.len());
        assert_eq!(
            encoded(|out| expected.encode(out).expect("encodable")),
            packet,
            "{case}"
        );
    }
}

#[test]
fn rejects_match_ilp_packet_code_by_code() {
    let file = vectors(PACKETS);
    let mut listed = 0;
    for case in cases(&file, "rejects") {
        let (message, data, packet) = (
            bytes(case, "message"),
            bytes(case, "data"),
            bytes(case, "packet"),
        );
        let code: [u8; 3] = text(case, "code")
            .as_bytes()
            .try_into()
            .expect("three characters");
        let code = ErrorCode::from_bytes(code).expect("a code");
        let origin = text(case, "triggered_by");
        let triggered_by =
            (!origin.is_empty()).then(|| Address::parse(origin.as_bytes()).expect("an address"));
        let expected = RejectView {
            code,
            triggered_by,
            message: &message,
            data: &data,
        };
        assert_eq!(RejectView::parse(&packet), Ok(expected), "{case}");
        assert_eq!(expected.encoded_size(), packet.len());
        assert_eq!(
            encoded(|out| expected.encode(out).expect("encodable")),
            packet,
            "{case}"
        );
        assert_eq!(code.to_string(), text(case, "code"));
        listed += usize::from(names(text(case, "name"), code));
    }
    assert_eq!(
        listed,
        ErrorCode::LISTED.len(),
        "each code that ilp-packet lists is listed here"
    );
}

/// Whether `name`, as ilp-packet spells it (`F00_BAD_REQUEST`), is this variant's name (`F00BadRequest`).
fn names(name: &str, code: ErrorCode) -> bool {
    format!("{code:?}").eq_ignore_ascii_case(&name.replace('_', ""))
}

#[test]
fn the_data_of_f08_matches_ilp_packet() {
    let file = vectors(PACKETS);
    for case in cases(&file, "amounts_too_large") {
        let packet = bytes(case, "packet");
        let reject = RejectView::parse(&packet).expect("a reject");
        let expected = AmountTooLarge {
            received: number(case, "received"),
            maximum: number(case, "maximum"),
        };
        assert_eq!(reject.code, ErrorCode::F08AmountTooLarge);
        assert_eq!(AmountTooLarge::from_bytes(reject.data), Ok(expected));
        assert_eq!(expected.to_bytes(), reject.data);
        assert!(AmountTooLarge::from_bytes(&reject.data[..15]).is_err());
    }
}

#[test]
fn uncommon_encodings_read_as_what_they_mean_and_are_not_taken_for_canonical() {
    let file = vectors(PACKETS);
    for case in cases(&file, "variants") {
        let meant = cases(&file, "prepares")
            .iter()
            .find(|one| one["name"] == case["reads_as"])
            .expect("a prepare of that name");
        let (condition, data, packet) = (
            hash(meant, "condition"),
            bytes(meant, "data"),
            bytes(case, "packet"),
        );
        let expected = prepare_of(meant, &condition, &data);
        assert_eq!(PrepareView::parse(&packet), Ok(expected), "{case}");
        assert_ne!(expected.encoded_size(), packet.len(), "{case}");

        let mut patched = packet.clone();
        patch_prepare(&mut patched, 5, Timestamp(1_000)).expect("patchable");
        let patched = PrepareView::parse(&patched).expect("still a prepare");
        assert_eq!(
            patched,
            PrepareView {
                amount: 5,
                expires_at: Timestamp(1_000),
                ..expected
            }
        );
    }
}

#[test]
fn refused_packets_are_refused() {
    let file = vectors(PACKETS);
    for case in cases(&file, "refused") {
        assert!(PacketView::parse(&bytes(case, "packet")).is_err(), "{case}");
    }
}

#[test]
fn addresses_are_judged_as_ilp_packet_judges_them() {
    let file = vectors(PACKETS);
    for case in cases(&file, "addresses") {
        let valid = Address::parse(text(case, "address").as_bytes()).is_ok();
        assert_eq!(Some(valid), case["valid"].as_bool(), "{case}");
    }
}

#[test]
fn expiries_match_ilp_packets_dates() {
    let file = vectors(PACKETS);
    let condition = [0; 32];
    for case in cases(&file, "times") {
        let prepare = PrepareView {
            amount: 0,
            expires_at: Timestamp(number(case, "ms")),
            condition: &condition,
            destination: Address::PEER_CONFIG,
            data: &[],
        };
        let packet = encoded(|out| prepare.encode(out).expect("encodable"));
        assert_eq!(&packet[10..27], text(case, "digits").as_bytes(), "{case}");
        let read = PrepareView::parse(&packet).expect("a prepare");
        assert_eq!(read.expires_at, prepare.expires_at, "{case}");
    }
}

struct OwnedEntry {
    name: String,
    content_type: ContentType,
    data: Vec<u8>,
}

fn entries_of(case: &Value) -> Vec<OwnedEntry> {
    let content_type = |entry: &Value| match entry["content_type"].as_u64() {
        Some(0) => ContentType::OctetStream,
        Some(1) => ContentType::TextPlain,
        Some(2) => ContentType::Json,
        other => ContentType::Unlisted(
            other
                .and_then(|number| number.try_into().ok())
                .expect("a content type"),
        ),
    };
    let entries = case["entries"].as_array().expect("entries");
    entries
        .iter()
        .map(|entry| OwnedEntry {
            name: text(entry, "name").into(),
            content_type: content_type(entry),
            data: bytes(entry, "data"),
        })
        .collect()
}

fn request_id_of(case: &Value) -> RequestId {
    let id = case["request_id"]
        .as_u64()
        .and_then(|id| id.try_into().ok());
    RequestId(id.expect("a request id"))
}

#[test]
fn frames_match_btp_packet() {
    let file = vectors(BTP);
    for case in cases(&file, "frames") {
        let bytes = bytes(case, "frame");
        let owned = entries_of(case);
        let entries: Vec<_> = owned
            .iter()
            .map(|one| Entry {
                name: &one.name,
                content_type: one.content_type,
                data: &one.data,
            })
            .collect();
        let frame = Frame::parse(&bytes).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(frame.request_id, request_id_of(case));
        assert_eq!(
            Some(u64::from(frame.body.frame_type().to_byte())),
            case["type"].as_u64()
        );
        assert_eq!(
            frame.protocol_data.iter().collect::<Vec<_>>(),
            entries,
            "{case}"
        );
        assert_eq!(
            encoded(|out| encode(out, case, &frame, &entries)),
            bytes,
            "{case}"
        );
    }
}

fn encode(out: &mut Vec<u8>, case: &Value, frame: &Frame<'_>, entries: &[Entry<'_>]) {
    match frame.body {
        Body::Message => btp::encode_message(out, frame.request_id, entries),
        Body::Response => btp::encode_response(out, frame.request_id, entries),
        Body::Transfer { amount } => {
            assert_eq!(amount, number(case, "amount"));
            btp::encode_transfer(out, frame.request_id, amount, entries);
        }
        Body::Error(error) => {
            let case = &case["error"];
            assert_eq!(error.code, text(case, "code").as_bytes());
            assert_eq!(error.name, text(case, "name").as_bytes());
            assert_eq!(error.data, text(case, "data").as_bytes());
            let kind = error_kind(text(case, "code"));
            let at = Timestamp(number(case, "triggered_at_ms"));
            btp::encode_error(out, frame.request_id, kind, at, text(case, "data"))
                .expect("encodable");
        }
    }
}

fn error_kind(code: &str) -> ErrorKind {
    use ErrorKind::*;
    let kinds = [
        Unreachable,
        NotAccepted,
        InvalidFields,
        TransferNotFound,
        InvalidFulfillment,
        DuplicateId,
        AlreadyRolledBack,
        AlreadyFulfilled,
        InsufficientBalance,
    ];
    let found = kinds
        .into_iter()
        .find(|kind| kind.code_and_name().0 == code.as_bytes());
    found.expect("a kind with this code")
}

#[test]
fn the_fast_encoder_writes_what_btp_packet_writes() {
    let file = vectors(BTP);
    let mut seen = 0;
    for case in cases(&file, "frames") {
        let expected = bytes(case, "frame");
        let frame = Frame::parse(&expected).expect("a frame");
        let (Some(packet), 1) = (frame.protocol_data.ilp(), frame.protocol_data.len()) else {
            continue;
        };
        let frame_type = frame.body.frame_type();
        let fast = encoded(|out| btp::encode_ilp(out, frame_type, frame.request_id, packet));
        assert_eq!(fast, expected, "{case}");
        assert_eq!(btp::ilp_frame_size(packet.len()), expected.len(), "{case}");
        let range = btp::packet_range(&expected, packet).expect("the packet is in the frame");
        assert_eq!(&expected[range], packet);
        seen += 1;
    }
    assert!(seen >= 20, "{seen} frames with one packet");
}

#[test]
fn refused_frames_are_refused() {
    let file = vectors(BTP);
    for case in cases(&file, "refused") {
        assert!(Frame::parse(&bytes(case, "frame")).is_err(), "{case}");
    }
}

fn frame_named(file: &Value, name: &str) -> Vec<u8> {
    let case = cases(file, "frames")
        .iter()
        .find(|case| case["name"] == name);
    bytes(case.unwrap_or_else(|| panic!("no frame {name}")), "frame")
}

#[test]
fn a_server_lets_a_client_in_and_answers_in_the_dialect_it_is_spoken_to() {
    let file = vectors(BTP);
    let mut link = Link::server();
    let auth = frame_named(&file, "auth");
    let event = link.receive(&auth).expect("readable");
    let LinkEvent::AuthRequested {
        username: Some("alice"),
        token: "open sesame",
    } = event
    else {
        panic!("{event:?}")
    };
    let mut out = Vec::new();
    link.accept(&mut out);
    assert_eq!(
        out,
        encoded(|out| btp::encode_response(out, RequestId(0), &[]))
    );
    assert!(link.is_open());

    for (prepare, fulfill, dialect) in [
        (
            "prepare in a message",
            "fulfill in a response",
            Dialect::Rfc,
        ),
        (
            "inverted: prepare in a response",
            "inverted: fulfill in a message",
            Dialect::Inverted,
        ),
        (
            "prepare in a message",
            "fulfill in a response",
            Dialect::Rfc,
        ),
    ] {
        let bytes = frame_named(&file, prepare);
        let event = link.receive(&bytes).expect("readable");
        let LinkEvent::Prepare(id, arrived) = event else {
            panic!("{event:?}")
        };
        assert!(arrived.relayable);
        assert_eq!((arrived.view.amount, link.dialect()), (107, dialect));

        let expected = frame_named(&file, fulfill);
        let packet = Frame::parse(&expected)
            .expect("a frame")
            .protocol_data
            .ilp()
            .expect("ILP");
        let view = FulfillView::parse(packet).expect("a fulfill");
        let ours = encoded(|out| link.encode_fulfill(out, id, &view).expect("encodable"));
        assert_eq!(ours, expected);
        assert_eq!(
            encoded(|out| link.encode_ilp(out, PacketType::Fulfill, id, packet)),
            expected
        );
    }
}

#[test]
fn a_client_learns_the_dialect_from_replies_and_prepares_alike() {
    let file = vectors(BTP);
    let mut link = Link::client();
    let mut out = Vec::new();
    link.start(&mut out, RequestId(0), Some("alice"), "open sesame");
    assert_eq!(out, frame_named(&file, "auth"));
    let answer = encoded(|out| btp::encode_response(out, RequestId(0), &[]));
    assert!(matches!(
        link.receive(&answer),
        Ok(LinkEvent::Authenticated)
    ));
    assert_eq!(link.dialect(), Dialect::Rfc);

    let bytes = frame_named(&file, "inverted: reject in a message");
    let event = link.receive(&bytes).expect("readable");
    let LinkEvent::Reject(RequestId(7), arrived) = event else {
        panic!("{event:?}")
    };
    assert_eq!(arrived.view.code, ErrorCode::F02Unreachable);
    assert_eq!(link.dialect(), Dialect::Inverted);

    let expected = frame_named(&file, "inverted: prepare in a response");
    let packet = Frame::parse(&expected)
        .expect("a frame")
        .protocol_data
        .ilp()
        .expect("ILP");
    let prepare = PrepareView::parse(packet).expect("a prepare");
    let ours = encoded(|out| {
        link.encode_prepare(out, RequestId(7), &prepare)
            .expect("encodable")
    });
    assert_eq!(ours, expected);
}

#[test]
fn a_frame_with_more_than_its_packet_is_not_relayed_as_it_is() {
    let file = vectors(BTP);
    let mut link = open_link(&file);
    let bytes = frame_named(&file, "ilp and another");
    let event = link.receive(&bytes).expect("readable");
    let LinkEvent::Prepare(RequestId(14), arrived) = event else {
        panic!("{event:?}")
    };
    assert!(!arrived.relayable);

    let mut trailing = frame_named(&file, "prepare in a message");
    trailing.push(0);
    let event = link.receive(&trailing).expect("readable");
    let LinkEvent::Prepare(_, arrived) = event else {
        panic!("{event:?}")
    };
    assert!(!arrived.relayable);
}

fn open_link(file: &Value) -> Link {
    let mut link = Link::server();
    let auth = frame_named(file, "auth without a name");
    let event = link.receive(&auth);
    assert!(
        matches!(event, Ok(LinkEvent::AuthRequested { username: None, .. })),
        "{event:?}"
    );
    link.accept(&mut Vec::new());
    link
}

#[test]
fn a_prepare_is_relayed_in_place_as_btp_packet_would_write_it() {
    let file = vectors(BTP);
    let mut link = open_link(&file);
    let mut bytes = frame_named(&file, "prepare in a message");
    let event = link.receive(&bytes).expect("readable");
    let LinkEvent::Prepare(_, arrived) = event else {
        panic!("{event:?}")
    };
    let range = btp::packet_range(&bytes, arrived.packet).expect("the packet is in the frame");
    let (amount, expires_at) = (arrived.view.amount, arrived.view.expires_at);
    patch_prepare(&mut bytes[range], amount, expires_at).expect("patchable");
    let frame_type = Dialect::Inverted.frame_type(PacketType::Prepare);
    assert!(btp::patch_header(&mut bytes, frame_type, RequestId(7)));
    assert_eq!(bytes, frame_named(&file, "inverted: prepare in a response"));
}

#[test]
fn ildcp_requests_match_ilp_protocol_ildcp() {
    let file = vectors(ILDCP);
    for case in cases(&file, "requests") {
        let packet = bytes(case, "packet");
        let request = ildcp::request(Timestamp(number(case, "expires_at_ms")));
        assert_eq!(
            encoded(|out| request.encode(out).expect("encodable")),
            packet
        );
        let prepare = PrepareView::parse(&packet).expect("a prepare");
        assert!(ildcp::is_request(&prepare));
        assert!(!ildcp::is_request(&PrepareView {
            condition: &[0; 32],
            ..prepare
        }));
    }
}

#[test]
fn ildcp_responses_match_ilp_protocol_ildcp() {
    let file = vectors(ILDCP);
    for case in cases(&file, "responses") {
        let packet = bytes(case, "packet");
        let expected = ildcp::Response {
            address: Address::parse(text(case, "address").as_bytes()).expect("an address"),
            asset_scale: case["asset_scale"]
                .as_u64()
                .and_then(|n| n.try_into().ok())
                .expect("u8"),
            asset_code: text(case, "asset_code"),
        };
        let fulfill = FulfillView::parse(&packet).expect("a fulfill");
        assert!(fulfill.fulfills(&ildcp::CONDITION));
        assert_eq!(
            ildcp::Response::from_fulfill(&fulfill),
            Ok(expected),
            "{case}"
        );
        assert_eq!(
            encoded(|out| expected.encode_fulfill(out).expect("encodable")),
            packet
        );
    }
    for case in cases(&file, "refused") {
        let packet = bytes(case, "packet");
        let fulfill = FulfillView::parse(&packet).expect("a fulfill");
        assert!(ildcp::Response::from_fulfill(&fulfill).is_err(), "{case}");
    }
}
