//! Every decoder of bytes that others send or that a disk returns: where its inputs begin, and what must hold for each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use forebay_channel::{Address as ChainAddress, PacketName, PeerMessage};
use forebay_ilp::btp::{self, Frame, RequestId};
use forebay_ilp::ccp::{Control, UpdateView};
use forebay_ilp::{
    Address, AmountTooLarge, FulfillView, Link, PacketView, PrepareView, RejectView, ildcp,
    is_valid_prefix, patch_prepare,
};
use forebay_journal::testing::FaultyStorage;
use forebay_journal::{Journal, Options};
use forebay_market::Price;
use forebay_pool::events_of;
use forebay_quantity::{Amount, ChannelSerial, PacketId, Timestamp};

/// One decoder.
pub(super) struct Decoder {
    pub(super) name: &'static str,
    /// How many times as dear as the cheapest an input is.
    pub(super) cost: u64,
    pub(super) seeds: fn(&Path) -> Result<Vec<Vec<u8>>>,
    /// Whether the bytes are accepted; what is broken, in words.
    pub(super) decode: fn(&[u8]) -> Result<bool, &'static str>,
}

/// All of them.
pub(super) const DECODERS: &[Decoder] = &[
    Decoder {
        name: "ILP packet",
        cost: 1,
        seeds: |root| folder(&root.join("crates/ilp/tests/corpus/packets")),
        decode: packet,
    },
    Decoder {
        name: "BTP frame",
        cost: 1,
        seeds: |root| folder(&root.join("crates/ilp/tests/corpus/frames")),
        decode: frame,
    },
    Decoder {
        name: "BTP link",
        cost: 1,
        seeds: |root| folder(&root.join("crates/ilp/tests/corpus/frames")),
        decode: link,
    },
    Decoder {
        name: "routes (CCP)",
        cost: 1,
        seeds: |root| folder(&root.join("crates/ilp/tests/corpus/routes")),
        decode: routes,
    },
    Decoder {
        name: "ILP address",
        cost: 1,
        seeds: |_| {
            Ok(texts(&[
                "test.pool.alice",
                "g.a.b-c_d~e",
                "peer.config",
                "private.x",
            ]))
        },
        decode: address,
    },
    Decoder {
        name: "peer message",
        cost: 1,
        seeds: |_| Ok(messages()),
        decode: message,
    },
    Decoder {
        name: "journal events",
        cost: 1,
        seeds: |root| events(&root.join("spec/vectors/events.json")),
        decode: batch,
    },
    Decoder {
        name: "journal files",
        cost: 50,
        seeds: journals,
        decode: journal,
    },
    Decoder {
        name: "price",
        cost: 1,
        seeds: |_| {
            Ok(texts(&[
                "3512.25",
                "0.000000000001",
                "1",
                "99999999999999999999",
            ]))
        },
        decode: price,
    },
    Decoder {
        name: "operator's JSON",
        cost: 10,
        seeds: |_| Ok(texts(&[PEER_JSON])),
        decode: operator_json,
    },
];

const PEER_JSON: &str = r#"{"name":"alice","asset":"ETH","token":"secret","policy":{"credit":"0","packet_max":1000,"in_flight_max":10,"settle_threshold":"1","settle_target":"0","allotment":"5","allotment_term_ms":86400000,"redeem_threshold":"9"}}"#;

fn folder(path: &Path) -> Result<Vec<Vec<u8>>> {
    let files = std::fs::read_dir(path).with_context(|| {
        format!(
            "{} cannot be read: name the repository's root with --repository",
            path.display()
        )
    })?;
    let mut paths = files
        .map(|file| Ok(file?.path()))
        .collect::<Result<Vec<_>>>()?;
    // In the same order everywhere, or a seed would not be a run.
    paths.sort();
    paths
        .into_iter()
        .map(|path| Ok(std::fs::read(path)?))
        .collect()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn packet(bytes: &[u8]) -> Result<bool, &'static str> {
    let _ = AmountTooLarge::from_bytes(bytes);
    let mut out = Vec::new();
    match PacketView::parse(bytes) {
        Ok(PacketView::Prepare(view)) => {
            let _ = ildcp::is_request(&view);
            view.encode(&mut out)
                .map_err(|_| "an accepted prepare cannot be written")?;
            if PrepareView::parse(&out) != Ok(view) {
                return Err("a prepare is another one after being written");
            }
            let mut patched = bytes.to_vec();
            patch_prepare(&mut patched, 1, Timestamp(2))
                .map_err(|_| "an accepted prepare cannot be patched")?;
            let expected = PrepareView {
                amount: 1,
                expires_at: Timestamp(2),
                ..view
            };
            if PrepareView::parse(&patched) != Ok(expected) {
                return Err("a patch changes something else");
            }
        }
        Ok(PacketView::Fulfill(view)) => {
            let _ = ildcp::Response::from_fulfill(&view);
            view.encode(&mut out)
                .map_err(|_| "an accepted fulfill cannot be written")?;
            if FulfillView::parse(&out) != Ok(view) {
                return Err("a fulfill is another one after being written");
            }
        }
        Ok(PacketView::Reject(view)) => {
            view.encode(&mut out)
                .map_err(|_| "an accepted reject cannot be written")?;
            if RejectView::parse(&out) != Ok(view) {
                return Err("a reject is another one after being written");
            }
        }
        Err(_) => {
            let mut patched = bytes.to_vec();
            if patch_prepare(&mut patched, 1, Timestamp(2)).is_err() && patched != bytes {
                return Err("a refused patch changed something");
            }
            return Ok(false);
        }
    }
    Ok(true)
}

fn frame(bytes: &[u8]) -> Result<bool, &'static str> {
    let Ok(frame) = Frame::parse(bytes) else {
        return Ok(false);
    };
    if frame.protocol_data.iter().count() != frame.protocol_data.len() {
        return Err("a frame counts its entries wrongly");
    }
    if let Some(inner) = frame.protocol_data.ilp() {
        if btp::packet_range(bytes, inner).is_none() {
            return Err("a packet does not lie in its own frame");
        }
        packet(inner)?;
    }
    Ok(true)
}

fn link(bytes: &[u8]) -> Result<bool, &'static str> {
    let mut out = Vec::new();
    let mut fresh = Link::server();
    let heard = fresh.receive(bytes);
    if heard.is_err() && fresh.is_open() {
        return Err("a link opened on a frame that it refused");
    }
    let mut client = Link::client();
    client.start(&mut out, RequestId(1), None, "token");
    let _ = client.receive(bytes);
    out.clear();
    btp::encode_response(&mut out, RequestId(1), &[]);
    let mut open = Link::client();
    open.start(&mut Vec::new(), RequestId(1), None, "token");
    open.receive(&out)
        .map_err(|_| "a link refuses its authentication")?;
    Ok(open.receive(bytes).is_ok())
}

fn routes(bytes: &[u8]) -> Result<bool, &'static str> {
    let control = Control::parse(bytes).is_ok();
    let Ok(update) = UpdateView::parse(bytes) else {
        return Ok(control);
    };
    for route in update.routes() {
        if route.path().count() != route.hops() {
            return Err("a route counts its hops wrongly");
        }
    }
    let _ = update.withdrawn().count();
    Ok(true)
}

fn address(bytes: &[u8]) -> Result<bool, &'static str> {
    let _ = is_valid_prefix(bytes);
    let Ok(address) = Address::parse(bytes) else {
        return Ok(false);
    };
    match address.as_str().as_bytes() == bytes {
        true => Ok(true),
        false => Err("an address is other than it was written"),
    }
}

fn messages() -> Vec<Vec<u8>> {
    let (signer, payout) = (ChainAddress::new([1; 20]), ChainAddress::new([2; 20]));
    let serial = ChannelSerial::new(7);
    [
        PeerMessage::Hello {
            signer,
            payout,
            proof: [3; 64],
        },
        PeerMessage::Voucher {
            serial,
            amount: Amount::new(1_000),
            signature: [9; 64],
        },
        PeerMessage::VoucherHeld {
            serial,
            secured: Amount::new(5),
            refused: Some("why".to_owned()),
        },
        PeerMessage::Resume {
            requests: (0..40).collect(),
        },
        PeerMessage::Resumed {
            fulfilled: vec![(1, [7; 32]), (2, [8; 32])],
            pending: vec![3, 4],
        },
        PeerMessage::PacketsAsked { packets: named() },
        PeerMessage::PacketsUnknown { packets: named() },
    ]
    .iter()
    .map(PeerMessage::encode)
    .collect()
}

fn named() -> Vec<PacketName> {
    let name = |packet| PacketName {
        expires_at: Timestamp(1_800_000_000_000),
        packet: PacketId(packet),
    };
    (0..3).map(name).collect()
}

fn message(bytes: &[u8]) -> Result<bool, &'static str> {
    match PeerMessage::decode(bytes) {
        None => Ok(false),
        Some(message) if message.encode() == bytes => Ok(true),
        Some(_) => Err("a message is written in two ways"),
    }
}

/// Each event of the committed vectors as a batch of its own.
fn events(path: &Path) -> Result<Vec<Vec<u8>>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let vectors: Vec<String> = serde_json::from_str(&text)?;
    let batch = |event: &String| -> Result<Vec<u8>> {
        let mut bytes = 1_800_000_000_000_u64.to_le_bytes().to_vec();
        bytes.extend(hex::decode(event).map_err(|error| anyhow::anyhow!("{error}"))?);
        Ok(bytes)
    };
    vectors.iter().map(batch).collect()
}

fn batch(bytes: &[u8]) -> Result<bool, &'static str> {
    let Some((stamp, rest)) = bytes.split_first_chunk::<8>() else {
        return Ok(false);
    };
    let mut again = stamp.to_vec();
    for event in events_of(bytes) {
        let Some(event) = event else {
            return Ok(false);
        };
        again.extend(borsh::to_vec(&event).map_err(|_| "an event cannot be written")?);
    }
    match again[8..] == *rest {
        true => Ok(true),
        false => Err("an event is written in two ways"),
    }
}

/// The golden journals: all files of one in a row, each after its name and length.
fn journals(root: &Path) -> Result<Vec<Vec<u8>>> {
    ["v1", "v2"]
        .iter()
        .map(|version| {
            let folder = root.join("spec/journals").join(version);
            let mut paths = std::fs::read_dir(folder)?
                .map(|file| Ok(file?.path()))
                .collect::<Result<Vec<_>>>()?;
            paths.sort();
            let mut bytes = Vec::new();
            for path in paths {
                let name = path.file_name().context("a file has a name")?;
                let name = name.to_string_lossy().into_owned();
                let content = std::fs::read(&path)?;
                bytes.push(u8::try_from(name.len())?);
                bytes.extend(name.as_bytes());
                bytes.extend(u32::try_from(content.len())?.to_le_bytes());
                bytes.extend(content);
            }
            Ok(bytes)
        })
        .collect()
}

fn journal(bytes: &[u8]) -> Result<bool, &'static str> {
    let (mut files, mut rest) = (BTreeMap::new(), bytes);
    while let Some((name, content, after)) = next_file(rest) {
        files.insert(name, content);
        rest = after;
    }
    let storage = Arc::new(FaultyStorage::from_files(1, files));
    let options = Options {
        segment_bytes: 8_192,
        ..Options::new(*b"golden journal of the test pool!")
    };
    let Ok((_, mut recovery)) = Journal::open(storage, options) else {
        return Ok(false);
    };
    let mut before = None;
    while let Ok(Some(frame)) = recovery.next_frame() {
        let sequence = frame.sequence;
        if before.is_some_and(|before| before >= sequence) {
            return Err("a journal's frames come out of order");
        }
        before = Some(sequence);
    }
    Ok(before.is_some())
}

fn next_file(bytes: &[u8]) -> Option<(String, Vec<u8>, &[u8])> {
    let (&size, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(size))?;
    let name = std::str::from_utf8(name).ok()?.to_owned();
    let (size, rest) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
    let (content, after) = rest.split_at(size.min(rest.len()));
    Some((name, content.to_vec(), after))
}

fn price(bytes: &[u8]) -> Result<bool, &'static str> {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<Price>() {
        Ok(price) if price.value() == 0 => Err("a price of nothing"),
        Ok(_) => Ok(true),
        Err(_) => Ok(false),
    }
}

fn operator_json(bytes: &[u8]) -> Result<bool, &'static str> {
    Ok(serde_json::from_slice::<forebay_api::AddPeer>(bytes).is_ok())
}
