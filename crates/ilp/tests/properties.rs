//! Whatever can be built is read back the same, and addresses agree with an independent reading of RFC 15.

use forebay_ilp::btp::{self, ContentType, Entry, Frame, RequestId};
use forebay_ilp::oer::{self, Reader};
use forebay_ilp::{
    Address, AddressBuf, ErrorCode, FulfillView, PacketError, PrepareView, RejectView, Scheme,
    patch_prepare,
};
use forebay_quantity::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

const LAST_MS: u64 = 253_402_300_799_999;
const ADDRESS: &str =
    "(g|private|example|peer|self|test[1-3]?|local)(\\.[a-zA-Z0-9_~-]{1,20}){1,8}";

/// RFC 15 read segment by segment, with none of the codec's tricks.
fn is_address(bytes: &[u8]) -> bool {
    const SCHEMES: [&[u8]; 10] = [
        b"g", b"private", b"example", b"peer", b"self", b"test", b"test1", b"test2", b"test3",
        b"local",
    ];
    let mut segments = bytes.split(|byte| *byte == b'.');
    let known = segments
        .next()
        .is_some_and(|scheme| SCHEMES.contains(&scheme));
    let rest: Vec<_> = segments.collect();
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_~-".contains(byte);
    let valid = |segment: &&[u8]| !segment.is_empty() && segment.iter().all(allowed);
    known && !rest.is_empty() && rest.iter().all(valid) && bytes.len() <= 1023
}

proptest! {
    #[test]
    fn prepares_come_back_the_same(
        amount: u64, ms in 0..=LAST_MS, condition: [u8; 32], address in ADDRESS,
        data in vec(any::<u8>(), 0..600), other_amount: u64, other_ms in 0..=LAST_MS,
    ) {
        let destination = Address::parse(address.as_bytes()).expect("built as one");
        let view = PrepareView {
            amount, expires_at: Timestamp(ms), condition: &condition, destination, data: &data,
        };
        let mut packet = Vec::new();
        view.encode(&mut packet).expect("within limits");
        prop_assert_eq!(packet.len(), view.encoded_size());
        prop_assert_eq!(PrepareView::parse(&packet), Ok(view));
        patch_prepare(&mut packet, other_amount, Timestamp(other_ms)).expect("a prepare");
        let patched = PrepareView { amount: other_amount, expires_at: Timestamp(other_ms), ..view };
        prop_assert_eq!(PrepareView::parse(&packet), Ok(patched));
    }

    #[test]
    fn rejects_and_fulfills_come_back_the_same(
        code in "[A-Z][0-9]{2}", address in proptest::option::of(ADDRESS),
        message in vec(any::<u8>(), 0..300), data in vec(any::<u8>(), 0..300), preimage: [u8; 32],
    ) {
        let code = ErrorCode::from_bytes(code.as_bytes().try_into().expect("three")).expect("ASCII");
        let triggered_by = address.as_ref().map(|one| Address::parse(one.as_bytes()).expect("one"));
        let reject = RejectView { code, triggered_by, message: &message, data: &data };
        let mut packet = Vec::new();
        reject.encode(&mut packet).expect("within limits");
        prop_assert_eq!(RejectView::parse(&packet), Ok(reject));

        let fulfill = FulfillView { fulfillment: &preimage, data: &data };
        packet.clear();
        fulfill.encode(&mut packet).expect("within limits");
        prop_assert_eq!(FulfillView::parse(&packet), Ok(fulfill));
    }

    #[test]
    fn frames_come_back_the_same(
        id: u32, amount: u64, parts in vec((any::<u8>(), vec(any::<u8>(), 0..300)), 0..6),
    ) {
        let names: Vec<_> = (0..parts.len()).map(|at| format!("protocol-{at}")).collect();
        let content_type = |byte| match byte {
            0 => ContentType::OctetStream,
            1 => ContentType::TextPlain,
            2 => ContentType::Json,
            other => ContentType::Unlisted(other),
        };
        let entries: Vec<_> = names
            .iter()
            .zip(&parts)
            .map(|(name, (byte, data))| Entry { name, content_type: content_type(*byte), data })
            .collect();
        let mut bytes = Vec::new();
        btp::encode_transfer(&mut bytes, RequestId(id), amount, &entries);
        let frame = Frame::parse(&bytes).expect("a frame");
        prop_assert_eq!(frame.request_id, RequestId(id));
        prop_assert_eq!(frame.body, btp::Body::Transfer { amount });
        prop_assert_eq!(frame.protocol_data.iter().collect::<Vec<_>>(), entries);
    }

    #[test]
    fn oer_values_come_back_the_same(value: u64, bytes in vec(any::<u8>(), 0..70_000)) {
        let mut out = Vec::new();
        oer::write_var_uint(&mut out, value);
        oer::write_var(&mut out, &bytes);
        let mut reader = Reader::new(&out);
        prop_assert_eq!(reader.read_var_uint(), Ok(value));
        prop_assert_eq!(reader.read_var(), Ok(&bytes[..]));
        prop_assert!(reader.rest().is_empty());
    }

    #[test]
    fn addresses_are_judged_as_rfc_15_reads(text in "(g|peer|test[0-4]?|x)?[.a-zA-Z0-9_~ /-]{0,40}") {
        prop_assert_eq!(Address::parse(text.as_bytes()).is_ok(), is_address(text.as_bytes()));
    }

    #[test]
    fn prefixes_are_compared_by_whole_segments(address in ADDRESS, cut in 0_usize..400) {
        let address = Address::parse(address.as_bytes()).expect("built as one");
        let segments: Vec<_> = address.segments().collect();
        for count in 0..=segments.len() {
            let prefix = segments[..count].join(&b'.');
            prop_assert!(address.has_prefix(&prefix));
        }
        let bytes = address.as_bytes();
        let cut = cut % bytes.len();
        let whole = cut == 0 || bytes[cut] == b'.';
        prop_assert_eq!(address.has_prefix(&bytes[..cut]), whole);
    }
}

#[test]
fn address_prefixes_schemes_and_children_are_what_they_look_like() {
    let address = |text: &str| text.parse::<AddressBuf>().expect("an address");
    let pool = address("g.pool");
    let child = pool.child("alice").expect("a segment");
    assert_eq!(child.to_string(), "g.pool.alice");
    assert!(pool.as_address().is_prefix_of(child.as_address()));
    assert!(pool.as_address().is_prefix_of(pool.as_address()));
    assert!(!child.as_address().is_prefix_of(pool.as_address()));
    assert!(
        !pool
            .as_address()
            .is_prefix_of(address("g.pools.alice").as_address())
    );
    assert!(pool.child("a.b").is_err() && pool.child("").is_err() && pool.child("a b").is_err());
    assert!(address("peer.config").as_address().is_peer());
    assert!(!address("private.peer.config").as_address().is_peer());
    assert_eq!(pool.as_address().scheme(), Scheme::Global);
    assert!(address("test2.x").as_address().scheme().is_test());
    assert!(!pool.as_address().scheme().is_test());
}

#[test]
fn what_no_packet_may_hold_is_not_written() {
    let condition = [0; 32];
    let long = vec![0; 32_768];
    let view = PrepareView {
        amount: 1,
        expires_at: Timestamp(LAST_MS),
        condition: &condition,
        destination: Address::PEER_CONFIG,
        data: &[],
    };
    let mut out = Vec::new();
    let late = PrepareView {
        expires_at: Timestamp(LAST_MS + 1),
        ..view
    };
    assert_eq!(late.encode(&mut out), Err(PacketError::InvalidExpiry));
    assert_eq!(
        PrepareView {
            data: &long,
            ..view
        }
        .encode(&mut out),
        Err(PacketError::DataTooLong)
    );
    let fulfill = FulfillView {
        fulfillment: &condition,
        data: &long,
    };
    assert_eq!(fulfill.encode(&mut out), Err(PacketError::DataTooLong));
    let reject = RejectView {
        code: ErrorCode::T00InternalError,
        triggered_by: None,
        message: &long[..8_192],
        data: &[],
    };
    assert_eq!(reject.encode(&mut out), Err(PacketError::MessageTooLong));
    assert!(out.is_empty(), "a refused packet appends nothing");
    assert!(view.encode(&mut out).is_ok());
    let before = out.clone();
    assert!(patch_prepare(&mut out, 2, Timestamp(LAST_MS + 1)).is_err());
    assert_eq!(out, before, "a refused patch changes nothing");
}
