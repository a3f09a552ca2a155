//! Whatever bytes come in: no panic, no allocation by decoders, and what is accepted survives being written again.
#![allow(unsafe_code, reason = "an allocator that counts")]

mod common;

use common::owned_update;
use forebay_ilp::btp::{self, Body, Frame, RequestId};
use forebay_ilp::{
    Address, AmountTooLarge, FulfillView, Link, LinkEvent, PacketView, PrepareView, RejectView,
    ccp, ildcp, is_valid_prefix, oer, patch_prepare,
};
use forebay_quantity::Timestamp;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get().saturating_add(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The bytes that `work` allocates.
fn allocated(work: impl FnOnce()) -> usize {
    let before = ALLOCATED.get();
    work();
    ALLOCATED.get() - before
}

/// A fixed generator, so that a failure comes back with its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("64 bits");
        usize::try_from(self.next() % end).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        let [byte, ..] = self.next().to_le_bytes();
        byte
    }
}

fn corpus(folder: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(folder);
    let mut inputs: Vec<_> = std::fs::read_dir(&path)
        .expect("the corpus is committed")
        .map(|file| {
            let path = file.expect("readable").path();
            (
                path.display().to_string(),
                std::fs::read(&path).expect("readable"),
            )
        })
        .collect();
    inputs.sort();
    assert!(inputs.len() > 20, "{} inputs in {path:?}", inputs.len());
    inputs
}

fn everything() -> Vec<(String, Vec<u8>)> {
    ["packets", "frames", "routes"]
        .into_iter()
        .flat_map(corpus)
        .collect()
}

/// Reads the bytes in every way that the node does, none of which may allocate; true when one of them accepts.
fn decode(bytes: &[u8]) -> bool {
    let mut accepted = false;
    let used =
        allocated(|| accepted = decode_packet(bytes) | decode_frame(bytes) | decode_routes(bytes));
    assert_eq!(
        used,
        0,
        "decoding {} allocated {used} bytes",
        hex::encode(bytes)
    );
    accepted
}

fn decode_packet(bytes: &[u8]) -> bool {
    let _ = Address::parse(bytes).map(|address| (address.as_str(), address.scheme()));
    let _ = is_valid_prefix(bytes);
    let _ = AmountTooLarge::from_bytes(bytes);
    match PacketView::parse(bytes) {
        Ok(PacketView::Prepare(prepare)) => {
            let _ = ildcp::is_request(&prepare);
            let _ = ccp::kind(&prepare);
            decode_routes(prepare.data);
            true
        }
        Ok(PacketView::Fulfill(fulfill)) => {
            let _ = ildcp::Response::from_fulfill(&fulfill);
            true
        }
        Ok(PacketView::Reject(_)) => true,
        Err(_) => false,
    }
}

/// The data of a prepare to a neighbour, and that of each prepare found.
fn decode_routes(bytes: &[u8]) -> bool {
    if let Ok(update) = ccp::UpdateView::parse(bytes) {
        let paths: usize = update.routes().map(|route| route.path().count()).sum();
        let hops: usize = update.routes().map(|route| route.hops()).sum();
        assert_eq!(paths, hops);
        assert!(update.withdrawn().all(is_valid_prefix));
        return true;
    }
    ccp::Control::parse(bytes).is_ok()
}

fn decode_frame(bytes: &[u8]) -> bool {
    let Ok(frame) = Frame::parse(bytes) else {
        return false;
    };
    assert_eq!(
        frame.protocol_data.iter().count(),
        frame.protocol_data.len()
    );
    if let Some(packet) = frame.protocol_data.ilp() {
        assert!(btp::packet_range(bytes, packet).is_some());
        decode_packet(packet);
    }
    true
}

/// What was accepted is written, read again, and found the same; a patch keeps every other field.
fn survives(bytes: &[u8]) {
    match PacketView::parse(bytes) {
        Ok(PacketView::Prepare(view)) => {
            let mut out = Vec::new();
            view.encode(&mut out)
                .expect("an accepted prepare can be written");
            assert_eq!(PrepareView::parse(&out), Ok(view));
            let mut patched = bytes.to_vec();
            patch_prepare(&mut patched, 1, Timestamp(2))
                .expect("an accepted prepare can be patched");
            let expected = PrepareView {
                amount: 1,
                expires_at: Timestamp(2),
                ..view
            };
            assert_eq!(PrepareView::parse(&patched), Ok(expected));
        }
        Ok(PacketView::Fulfill(view)) => {
            let mut out = Vec::new();
            view.encode(&mut out)
                .expect("an accepted fulfill can be written");
            assert_eq!(FulfillView::parse(&out), Ok(view));
        }
        Ok(PacketView::Reject(view)) => {
            let mut out = Vec::new();
            view.encode(&mut out)
                .expect("an accepted reject can be written");
            assert_eq!(RejectView::parse(&out), Ok(view));
        }
        Err(_) => {
            let mut patched = bytes.to_vec();
            if patch_prepare(&mut patched, 1, Timestamp(2)).is_err() {
                assert_eq!(patched, bytes, "a refused patch changes nothing");
            }
        }
    }
    if let Ok(frame) = Frame::parse(bytes) {
        frame_survives(&frame);
    }
    if let Ok(update) = ccp::UpdateView::parse(bytes) {
        update_survives(&update);
    }
    if let Ok(control) = ccp::Control::parse(bytes) {
        let mut out = Vec::new();
        control.encode(&mut out);
        assert_eq!(ccp::Control::parse(&out), Ok(control));
    }
}

/// Written again without its properties, an update says the same.
fn update_survives(update: &ccp::UpdateView<'_>) {
    let owned = owned_update(update);
    let mut out = Vec::new();
    owned.encode(&mut out);
    let again = ccp::UpdateView::parse(&out).expect("an accepted update can be written");
    assert_eq!(owned_update(&again), owned);
    let routes: usize = owned.routes.iter().map(ccp::Route::size).sum();
    let withdrawn = owned
        .withdrawn
        .iter()
        .map(|prefix| oer::var_size(prefix.len()));
    let speaker = oer::var_size(owned.speaker.to_string().len());
    let most = ccp::Update::HEAD_SIZE_MAX + speaker + routes + withdrawn.sum::<usize>();
    assert!(
        (most - 2..=most).contains(&out.len()),
        "sizes are told in advance"
    );
}

fn frame_survives(frame: &Frame<'_>) {
    let entries: Vec<_> = frame.protocol_data.iter().collect();
    let mut out = Vec::new();
    match frame.body {
        Body::Message => btp::encode_message(&mut out, frame.request_id, &entries),
        Body::Response => btp::encode_response(&mut out, frame.request_id, &entries),
        Body::Transfer { amount } => {
            btp::encode_transfer(&mut out, frame.request_id, amount, &entries);
        }
        Body::Error(_) => return,
    }
    let again = Frame::parse(&out).expect("an accepted frame can be written");
    assert_eq!(
        (again.request_id, again.body),
        (frame.request_id, frame.body)
    );
    assert_eq!(again.protocol_data.iter().collect::<Vec<_>>(), entries);
}

/// A link takes the bytes in each of its phases.
fn feed_links(bytes: &[u8]) {
    let used = allocated(|| {
        let mut fresh = Link::server();
        if let Err(error) = fresh.receive(bytes) {
            assert!(
                error.is_fatal(),
                "nothing but auth is borne before auth: {error}"
            );
            assert!(!fresh.is_open());
        }
    });
    assert_eq!(used, 0);
    let mut out = Vec::with_capacity(256);
    let mut waiting = Link::client();
    waiting.start(&mut out, RequestId(1), None, "token");
    let mut open = open_link();
    let used = allocated(|| {
        let _ = waiting.receive(bytes);
        let _ = open.receive(bytes);
    });
    assert_eq!(used, 0);
}

fn open_link() -> Link {
    let mut out = Vec::new();
    let mut client = Link::client();
    client.start(&mut out, RequestId(1), None, "token");
    out.clear();
    btp::encode_response(&mut out, RequestId(1), &[]);
    assert!(matches!(client.receive(&out), Ok(LinkEvent::Authenticated)));
    client
}

fn check(bytes: &[u8]) -> bool {
    let accepted = decode(bytes);
    survives(bytes);
    feed_links(bytes);
    accepted
}

#[test]
fn every_input_of_the_corpus_is_borne() {
    for folder in ["packets", "frames", "routes"] {
        let accepted = corpus(folder)
            .iter()
            .filter(|(_, bytes)| check(bytes))
            .count();
        assert!(
            accepted > 5,
            "{accepted} of {folder} accepted: the corpus reaches nothing"
        );
    }
}

#[test]
fn inputs_named_refused_or_oversized_are_refused() {
    for folder in ["packets", "frames", "routes"] {
        for (name, bytes) in corpus(folder) {
            let file = name.rsplit('/').next().expect("a name");
            if ["refused-", "gib-", "huge-"]
                .iter()
                .any(|start| file.starts_with(start))
            {
                assert!(!decode(&bytes), "{name}");
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_borne() {
    for (_, original) in everything().iter() {
        for at in 0..original.len().min(160) {
            for flip in [0x01, 0x02, 0x20, 0x7f, 0x80, 0xff] {
                let mut bytes = original.clone();
                bytes[at] ^= flip;
                check(&bytes);
            }
        }
    }
}

#[test]
fn every_truncation_is_borne_and_refused() {
    for folder in ["packets", "frames", "routes"] {
        for (name, bytes) in corpus(folder) {
            let whole = decode(&bytes);
            for end in 0..bytes.len() {
                let accepted = check(&bytes[..end]);
                let may_lack_its_tail = name.contains("after-the-packet") || !whole;
                assert!(
                    !accepted || may_lack_its_tail,
                    "{name} cut to {end} is accepted"
                );
            }
        }
    }
}

#[test]
fn a_gib_prefix_anywhere_allocates_nothing() {
    for (_, original) in everything().iter() {
        for at in 0..original.len().min(160) {
            for prefix in [
                &[0x84, 0x40, 0, 0, 0][..],
                &[0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            ] {
                let mut bytes = original[..at].to_vec();
                bytes.extend_from_slice(prefix);
                bytes.extend_from_slice(&original[at..]);
                check(&bytes);
            }
        }
    }
}

#[test]
fn seeded_mutations_and_splices_are_borne() {
    let inputs = everything();
    let mut accepted = 0;
    for seed in 0..40_000 {
        let mut random = Random(seed);
        let mut bytes = inputs[random.below(inputs.len())].1.clone();
        for _ in 0..=random.below(4) {
            mutate(&mut bytes, &mut random, &inputs);
        }
        accepted += u32::from(check(&bytes));
    }
    assert!(
        accepted > 1_000,
        "{accepted} accepted: the mutations reach nothing"
    );
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random, inputs: &[(String, Vec<u8>)]) {
    let at = random.below(bytes.len());
    match random.below(5) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, random.byte()),
        2 => {
            let other = &inputs[random.below(inputs.len())].1;
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len())..]);
        }
        3 => {
            let other = &inputs[random.below(inputs.len())].1;
            let start = random.below(other.len());
            let end = start + random.below(other.len() - start);
            bytes.splice(at..at, other[start..end].iter().copied());
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.byte();
            }
        }
    }
}

#[test]
fn encoding_into_a_buffer_with_room_allocates_nothing() {
    let bytes = corpus("frames")
        .into_iter()
        .find(|(name, _)| name.ends_with("prepare-in-a-message"));
    let (_, bytes) = bytes.expect("a prepare in a message");
    let mut link = open_link();
    let mut out = Vec::with_capacity(1_024);
    let used = allocated(|| {
        let Ok(LinkEvent::Prepare(id, arrived)) = link.receive(&bytes) else {
            panic!("a prepare")
        };
        link.encode_prepare(&mut out, id, &arrived.view)
            .expect("encodable");
        let fulfill = FulfillView {
            fulfillment: &[7; 32],
            data: b"thanks",
        };
        link.encode_fulfill(&mut out, id, &fulfill)
            .expect("encodable");
    });
    assert_eq!(used, 0);
    assert!(out.starts_with(&bytes));
}
