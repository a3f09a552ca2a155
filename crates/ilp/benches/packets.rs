//! Nanoseconds a prepare costs to read, patch and write: `cargo bench -p forebay-ilp --profile dev`.

use forebay_ilp::btp::{self, FrameType, RequestId};
use forebay_ilp::{Address, FulfillView, Link, LinkEvent, PrepareView, patch_prepare};
use forebay_quantity::Timestamp;
use std::hint::black_box;
use std::time::Instant;

/// Short runs and many: some of them fit between two turns of the scheduler.
const ROUNDS: u32 = 20_000;
const RUNS: u32 = 200;

fn main() {
    let view = PrepareView {
        amount: 1_000,
        expires_at: Timestamp(1_795_354_267_042),
        condition: &[7; 32],
        destination: Address::parse(b"test.pool.receiver.4fK0-nhq_7").expect("an address"),
        data: &[9; 200],
    };
    let mut packet = Vec::new();
    view.encode(&mut packet).expect("within limits");
    let mut frame = Vec::new();
    btp::encode_ilp(&mut frame, FrameType::Message, RequestId(1), &packet);
    let mut link = open_link();
    let mut out = Vec::with_capacity(1_024);

    time("address", || {
        black_box(Address::parse(black_box(view.destination.as_bytes())).is_ok());
    });
    time("prepare, read", || {
        black_box(PrepareView::parse(black_box(&packet)).is_ok());
    });
    time("BTP frame with a prepare, read", || {
        let event = link.receive(black_box(&frame));
        black_box(matches!(event, Ok(LinkEvent::Prepare(..))));
    });
    time("prepare, amount and expiry patched", || {
        let at = Timestamp(black_box(1_795_354_266_042));
        black_box(patch_prepare(black_box(&mut packet), 998, at).is_ok());
    });
    time("BTP frame around a prepare, written", || {
        out.clear();
        btp::encode_ilp(
            &mut out,
            FrameType::Message,
            RequestId(2),
            black_box(&packet),
        );
    });
    time("BTP frame with a fulfill, written", || {
        out.clear();
        let fulfill = FulfillView {
            fulfillment: black_box(&[7; 32]),
            data: &[],
        };
        black_box(
            link.encode_fulfill(&mut out, RequestId(2), &fulfill)
                .is_ok(),
        );
    });
}

fn open_link() -> Link {
    let mut link = Link::client();
    let mut out = Vec::new();
    link.start(&mut out, RequestId(0), None, "token");
    out.clear();
    btp::encode_response(&mut out, RequestId(0), &[]);
    link.receive(&out).expect("let in");
    link
}

/// Prints the fastest run: what the work costs when nothing else disturbs it.
fn time(name: &str, mut work: impl FnMut()) {
    let run = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| work());
        start.elapsed().as_nanos() / u128::from(ROUNDS / 10)
    };
    let tenths = (0..RUNS).map(|_| run(&mut work)).min().unwrap_or_default();
    println!("{name:<40} {:>4}.{} ns", tenths / 10, tenths % 10);
}
