//! Route messages as npm's `ilp-protocol-ccp` writes them are read as meant, and written byte for byte as it wrote them.

mod common;

use common::{bytes, cases, number, owned_update, text, vectors};
use forebay_ilp::ccp::{self, Control, Kind, Mode, Span, TableId, UpdateView};
use forebay_ilp::{Address, FulfillView, PrepareView, ildcp};
use forebay_quantity::Timestamp;
use serde_json::Value;

const CCP: &str = "ilp-ccp.json";

fn whole(case: &Value, field: &str) -> u32 {
    let number = case[field]
        .as_u64()
        .and_then(|number| number.try_into().ok());
    number.unwrap_or_else(|| panic!("no number {field} in {case}"))
}

fn list<'a>(case: &'a Value, field: &str) -> &'a [Value] {
    case[field]
        .as_array()
        .unwrap_or_else(|| panic!("no list {field} in {case}"))
}

fn table(case: &Value) -> TableId {
    TableId(bytes(case, "table").try_into().expect("16 bytes"))
}

fn strings(list: &[Value]) -> Vec<String> {
    list.iter()
        .map(|one| one.as_str().expect("text").to_owned())
        .collect()
}

#[test]
fn control_requests_match_ilp_protocol_ccp() {
    let file = vectors(CCP);
    for case in cases(&file, "controls") {
        let data = bytes(case, "data");
        let expected = Control {
            mode: if whole(case, "mode") == 1 {
                Mode::Sync
            } else {
                Mode::Idle
            },
            table: table(case),
            epoch: whole(case, "epoch"),
        };
        assert_eq!(Control::parse(&data), Ok(expected), "{case}");
        let mut out = Vec::new();
        expected.encode(&mut out);
        match whole(case, "features") {
            0 => assert_eq!(out, data, "{case}"),
            _ => assert_eq!(out[..21], data[..21], "we ask for no features: {case}"),
        }
    }
}

#[test]
fn updates_match_ilp_protocol_ccp() {
    let file = vectors(CCP);
    for case in cases(&file, "updates") {
        let data = bytes(case, "data");
        let update = UpdateView::parse(&data).unwrap_or_else(|error| panic!("{case}: {error}"));
        let span = Span {
            table: table(case),
            current_epoch: whole(case, "current_epoch"),
            from_epoch: whole(case, "from_epoch"),
            to_epoch: whole(case, "to_epoch"),
            hold_down_ms: whole(case, "hold_down_ms"),
        };
        assert_eq!(update.span, span, "{case}");
        assert_eq!(update.speaker.as_str(), text(case, "speaker"));
        let routes = list(case, "routes");
        assert_eq!(update.routes().count(), routes.len(), "{case}");
        for (read, meant) in update.routes().zip(routes) {
            assert_eq!(read.prefix, text(meant, "prefix").as_bytes(), "{case}");
            assert_eq!(read.auth.to_vec(), bytes(meant, "auth"), "{case}");
            let path: Vec<_> = read.path().map(|hop| hop.to_string()).collect();
            assert_eq!(path, strings(list(meant, "path")), "{case}");
            assert_eq!(read.hops(), path.len());
        }
        let withdrawn: Vec<_> = update.withdrawn().map(<[u8]>::to_vec).collect();
        let meant: Vec<_> = strings(list(case, "withdrawn"))
            .into_iter()
            .map(String::into_bytes)
            .collect();
        assert_eq!(withdrawn, meant, "{case}");
        if routes.iter().all(|route| whole(route, "properties") == 0) {
            let mut out = Vec::new();
            owned_update(&update).encode(&mut out);
            assert_eq!(out, data, "{case}");
        }
    }
}

#[test]
fn the_prepares_that_carry_them_match_ilp_protocol_ccp() {
    let file = vectors(CCP);
    for case in cases(&file, "prepares") {
        let (data, packet) = (bytes(case, "data"), bytes(case, "packet"));
        let kind = match text(case, "kind") {
            "control" => Kind::Control,
            _ => Kind::Update,
        };
        let request = ccp::request(kind, Timestamp(number(case, "expires_at_ms")), &data);
        let mut out = Vec::new();
        request.encode(&mut out).expect("encodable");
        assert_eq!(out, packet, "{case}");
        assert_eq!(ccp::kind(&request), Some(kind));
        let elsewhere = PrepareView {
            destination: Address::PEER_CONFIG,
            ..request
        };
        assert_eq!(ccp::kind(&elsewhere), None);
        let paid = PrepareView {
            condition: &[7; 32],
            ..request
        };
        assert_eq!(ccp::kind(&paid), None, "anybody could fulfil it otherwise");
    }
    let response = bytes(&file, "response");
    let fulfill = FulfillView::parse(&response).expect("a fulfill");
    assert_eq!(
        (fulfill.fulfillment, fulfill.data),
        (&ildcp::FULFILLMENT, &[][..])
    );
}

/// The package takes some of them: it checks no address, no mode and no order of epochs.
#[test]
fn refused_route_messages_are_refused() {
    let file = vectors(CCP);
    let mut stricter = 0;
    for case in cases(&file, "refused") {
        let data = bytes(case, "data");
        let refused = match text(case, "kind") {
            "control" => Control::parse(&data).is_err(),
            _ => UpdateView::parse(&data).is_err(),
        };
        assert!(refused, "{case}");
        stricter += usize::from(text(case, "ilp_protocol_ccp") == "accepts");
    }
    assert_eq!(
        stricter, 8,
        "where we are stricter than the package is known"
    );
}
