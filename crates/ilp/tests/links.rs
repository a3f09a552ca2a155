//! What a link makes of frames that are no plain prepare or reply.

use forebay_ilp::btp::{self, BtpError, Entry, ErrorKind, FrameType, RequestId};
use forebay_ilp::{AUTH, AUTH_TOKEN, Dialect, Link, LinkError, LinkEvent, PacketError, PacketType};
use forebay_quantity::Timestamp;

const NOW: Timestamp = Timestamp(1_795_354_267_042);

fn auth() -> Vec<u8> {
    let mut bytes = Vec::new();
    Link::client().start(&mut bytes, RequestId(9), Some("alice"), "token");
    bytes
}

fn open() -> Link {
    let mut link = Link::server();
    assert!(link.receive(&auth()).is_ok());
    link.accept(&mut Vec::new());
    link
}

fn message(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    btp::encode_message(&mut bytes, RequestId(4), entries);
    bytes
}

#[test]
fn ilp_before_auth_closes_the_link_for_good() {
    for early in [
        message(&[Entry::bytes("ilp", b"\x0c\x00")]),
        message(&[]),
        b"garbage".to_vec(),
    ] {
        let mut link = Link::server();
        let error = link.receive(&early).expect_err("not authenticated");
        assert_eq!(
            (error, error.is_fatal()),
            (LinkError::NotAuthenticated, true)
        );
        assert_eq!(
            link.receive(&auth()).expect_err("closed"),
            LinkError::Closed
        );
    }
}

#[test]
fn auth_must_be_the_primary_entry_of_a_message() {
    let second = message(&[Entry::text(AUTH_TOKEN, "token"), Entry::bytes(AUTH, b"")]);
    assert_eq!(
        Link::server().receive(&second).expect_err("second"),
        LinkError::NotAuthenticated
    );
    let mut response = Vec::new();
    btp::encode_response(&mut response, RequestId(4), &[Entry::bytes(AUTH, b"")]);
    assert_eq!(
        Link::server().receive(&response).expect_err("no message"),
        LinkError::NotAuthenticated
    );
}

#[test]
fn credentials_that_are_no_text_close_the_link() {
    let bytes = message(&[Entry::bytes(AUTH, b""), Entry::bytes(AUTH_TOKEN, b"\xff")]);
    let error = Link::server().receive(&bytes).expect_err("no text");
    assert_eq!(
        (error, error.is_fatal()),
        (LinkError::InvalidCredentials, true)
    );
}

#[test]
fn a_missing_token_reads_as_an_empty_one_for_the_caller_to_refuse() {
    let bytes = message(&[Entry::bytes(AUTH, b"")]);
    let event = Link::server().receive(&bytes);
    assert!(
        matches!(
            event,
            Ok(LinkEvent::AuthRequested {
                username: None,
                token: ""
            })
        ),
        "{event:?}"
    );
}

#[test]
fn nothing_is_read_while_credentials_are_judged() {
    let mut link = Link::server();
    assert!(link.receive(&auth()).is_ok());
    assert!(!link.is_open());
    assert_eq!(
        link.receive(&message(&[])).expect_err("early"),
        LinkError::NotAuthenticated
    );
}

#[test]
fn a_refused_client_hears_why_and_is_closed() {
    let mut client = Link::client();
    let mut server = Link::server();
    let mut bytes = Vec::new();
    client.start(&mut bytes, RequestId(9), None, "wrong");
    assert!(server.receive(&bytes).is_ok());
    bytes.clear();
    server
        .refuse(&mut bytes, NOW, "unknown token")
        .expect("a date within four digits");
    let event = client.receive(&bytes).expect("readable");
    let LinkEvent::AuthRefused(error) = event else {
        panic!("{event:?}")
    };
    assert_eq!((error.code, error.data), (*b"F00", &b"unknown token"[..]));
    for link in [&mut client, &mut server] {
        assert_eq!(link.receive(&bytes).expect_err("closed"), LinkError::Closed);
    }
}

#[test]
fn a_client_takes_no_answer_but_the_one_to_its_auth() {
    let mut client = Link::client();
    client.start(&mut Vec::new(), RequestId(9), None, "token");
    let mut bytes = Vec::new();
    btp::encode_response(&mut bytes, RequestId(8), &[]);
    assert_eq!(
        client.receive(&bytes).expect_err("another id"),
        LinkError::NotAuthenticated
    );
    assert!(!client.is_open());
}

#[test]
fn unreadable_frames_get_no_answer_and_leave_the_link_open() {
    let mut link = open();
    let error = link
        .receive(b"\x03\x00\x00\x00\x01\x02\x01\x00")
        .expect_err("a dead type");
    assert_eq!(error, LinkError::Unreadable(BtpError::UnknownType(3)));
    assert!(!error.is_fatal() && link.is_open());
    assert!(matches!(
        link.receive(&message(&[])),
        Ok(LinkEvent::Message(RequestId(4), _))
    ));
}

#[test]
fn broken_packets_are_told_apart_as_questions_and_answers() {
    let mut link = open();
    for (frame_type, packet, question) in [
        (FrameType::Message, &b"\x0c\x00"[..], true),
        (FrameType::Message, b"\x63", true),
        (FrameType::Message, b"", true),
        (FrameType::Response, b"\x0d\x00", false),
        (FrameType::Response, b"\x0e\x00", false),
        (FrameType::Response, b"\x63", false),
    ] {
        let mut bytes = Vec::new();
        btp::encode_ilp(&mut bytes, frame_type, RequestId(6), packet);
        match link.receive(&bytes).expect("a readable frame") {
            LinkEvent::InvalidPrepare(RequestId(6), _) => assert!(question, "{packet:?}"),
            LinkEvent::InvalidReply(RequestId(6), _) => assert!(!question, "{packet:?}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(link.dialect(), Dialect::Rfc);
    }
}

#[test]
fn a_broken_packet_of_a_known_type_is_answered_in_its_own_dialect() {
    let mut link = open();
    let mut bytes = Vec::new();
    btp::encode_ilp(&mut bytes, FrameType::Response, RequestId(6), b"\x0c\x00");
    let event = link.receive(&bytes);
    assert!(
        matches!(
            event,
            Ok(LinkEvent::InvalidPrepare(_, PacketError::Encoding(_)))
        ),
        "{event:?}"
    );
    assert_eq!(
        link.dialect().frame_type(PacketType::Reject),
        FrameType::Message
    );
}

#[test]
fn answers_without_ilp_and_errors_reach_the_request_they_belong_to() {
    let mut link = open();
    let mut bytes = Vec::new();
    btp::encode_response(&mut bytes, RequestId(5), &[]);
    assert!(
        matches!(link.receive(&bytes), Ok(LinkEvent::Response(RequestId(5), data)) if data.is_empty())
    );
    bytes.clear();
    btp::encode_error(
        &mut bytes,
        RequestId(5),
        ErrorKind::Unreachable,
        NOW,
        "busy",
    )
    .expect("a date");
    let event = link.receive(&bytes).expect("readable");
    let LinkEvent::Error(RequestId(5), error) = event else {
        panic!("{event:?}")
    };
    assert_eq!((error.code, error.triggered_at.len()), (*b"T00", 19));
}

#[test]
fn a_transfer_stays_a_transfer_whatever_it_carries() {
    let mut link = open();
    let mut bytes = Vec::new();
    let entries = [Entry::bytes("ilp", b"\x0c\x00"), Entry::text("claim", "{}")];
    btp::encode_transfer(&mut bytes, RequestId(5), 77, &entries);
    let event = link.receive(&bytes).expect("readable");
    let LinkEvent::Transfer(RequestId(5), 77, data) = event else {
        panic!("{event:?}")
    };
    assert_eq!(data.find("claim").map(|entry| entry.data), Some(&b"{}"[..]));
}

#[test]
fn a_sub_protocol_of_its_own_arrives_as_a_message() {
    let mut link = open();
    let bytes = message(&[Entry::bytes("forebay", b"\x01\x02")]);
    let Ok(LinkEvent::Message(RequestId(4), data)) = link.receive(&bytes) else {
        panic!("a message")
    };
    assert_eq!(
        data.find("forebay").map(|entry| entry.data),
        Some(&b"\x01\x02"[..])
    );
    assert_eq!(data.len(), 1);
}

#[test]
fn frames_over_the_limit_and_crowded_ones_are_refused() {
    let mut link = open();
    let long = vec![0; btp::FRAME_SIZE_MAX];
    let bytes = message(&[Entry::bytes("x", &long)]);
    assert_eq!(
        link.receive(&bytes).expect_err("long"),
        LinkError::Unreadable(BtpError::FrameTooLong)
    );
    let names: Vec<_> = (0..=btp::PROTOCOL_DATA_MAX)
        .map(|at| format!("p{at}"))
        .collect();
    let entries: Vec<_> = names.iter().map(|name| Entry::bytes(name, b"")).collect();
    let crowded = message(&entries);
    let error = link.receive(&crowded).expect_err("crowded");
    assert_eq!(error, LinkError::Unreadable(BtpError::TooManyEntries));
    assert!(link.receive(&message(&entries[1..])).is_ok());
}
