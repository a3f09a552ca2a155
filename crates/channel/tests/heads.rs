//! What witnesses keep of journal heads, and what a pool makes of their answers [I14].

use forebay_channel::{
    Address, CurveVerifier, JournalHead, Rollback, Signature, SignedHead, is_still_ours, kept,
    knows_voucher, may_go_on,
};
use forebay_quantity::{Amount, ChannelSerial, Hash32};
use proptest::prelude::*;

fn head(start: u64, process: u8, sequence: u64, history: u8) -> JournalHead {
    JournalHead {
        pool: Address::new([9; 20]),
        start,
        process: [process; 16],
        sequence,
        hash: Hash32::new([history; 32]),
    }
}

fn signed(head: JournalHead) -> SignedHead {
    SignedHead {
        head,
        signature: Signature::new([0; 64]),
    }
}

#[test]
fn a_witness_keeps_the_higher_head_and_the_later_start() {
    let known = head(3, 1, 10, 7);
    for (told, wins) in [
        (head(3, 1, 11, 8), true),
        (head(3, 1, 10, 7), true),
        (head(3, 1, 9, 7), false),
        (head(3, 1, 10, 8), false),
        // A later start takes over where the former stopped, or goes on from there.
        (head(4, 2, 10, 7), true),
        (head(4, 2, 11, 8), true),
        // It may not take over with less, or with another history.
        (head(4, 2, 9, 7), false),
        (head(4, 2, 10, 8), false),
        // The same number from another process, or an earlier one, never wins, however much it has.
        (head(3, 2, 99, 8), false),
        (head(2, 2, 99, 8), false),
    ] {
        let kept = kept(Some(signed(known)), signed(told)).head;
        assert_eq!(kept, if wins { told } else { known }, "{told:?}");
    }
    let other_pool = JournalHead {
        pool: Address::new([8; 20]),
        ..head(4, 2, 11, 8)
    };
    assert_eq!(kept(Some(signed(known)), signed(other_pool)).head, known);
    assert_eq!(kept(None, signed(known)).head, known);
}

#[test]
fn a_pool_goes_on_only_with_a_journal_that_holds_what_the_witness_knows() {
    let known = head(3, 1, 10, 7);
    let hash = |history: u8| Some(Hash32::new([history; 32]));
    assert_eq!(may_go_on(0, None, None), Ok(()));
    assert_eq!(may_go_on(10, hash(7), Some(&known)), Ok(()));
    assert_eq!(may_go_on(12, hash(7), Some(&known)), Ok(()));
    let older = Err(Rollback::Older { ours: 9, known: 10 });
    assert_eq!(may_go_on(9, None, Some(&known)), older);
    let forked = Err(Rollback::Forked { sequence: 10 });
    assert_eq!(may_go_on(12, hash(8), Some(&known)), forked);
    assert_eq!(
        may_go_on(12, None, Some(&known)),
        forked,
        "not there to be compared"
    );
}

#[test]
fn a_running_pool_learns_from_the_answer_that_its_place_is_taken() {
    let told = head(3, 1, 10, 7);
    assert_eq!(is_still_ours(&told, &told), Ok(()));
    // A witness that could not write yet answers with what it had; that is no contradiction.
    assert_eq!(is_still_ours(&told, &head(3, 1, 8, 5)), Ok(()));
    assert_eq!(is_still_ours(&told, &head(2, 2, 8, 5)), Ok(()));
    let replaced = |start| Err(Rollback::Replaced { start });
    assert_eq!(is_still_ours(&told, &head(4, 2, 10, 7)), replaced(4));
    assert_eq!(is_still_ours(&told, &head(3, 2, 5, 7)), replaced(3));
    let older = Err(Rollback::Older {
        ours: 10,
        known: 11,
    });
    assert_eq!(is_still_ours(&told, &head(2, 2, 11, 7)), older);
    let forked = Err(Rollback::Forked { sequence: 10 });
    assert_eq!(is_still_ours(&told, &head(2, 2, 10, 8)), forked);
}

#[test]
fn a_peer_that_holds_more_than_was_promised_shows_an_old_journal() {
    let serial = ChannelSerial::new(4);
    let units = Amount::new;
    assert_eq!(knows_voucher(serial, units(5), units(5)), Ok(()));
    assert_eq!(
        knows_voucher(serial, units(6), units(5)),
        Err(Rollback::Promised {
            serial,
            held: units(6),
            known: units(5)
        })
    );
}

#[test]
fn every_field_of_a_head_is_signed() {
    let heads = [
        head(3, 1, 10, 7),
        head(4, 1, 10, 7),
        head(3, 2, 10, 7),
        head(3, 1, 11, 7),
        head(3, 1, 10, 8),
        JournalHead {
            pool: Address::new([8; 20]),
            ..head(3, 1, 10, 7)
        },
    ];
    let digests: std::collections::BTreeSet<_> =
        heads.iter().map(|head| head.digest().value()).collect();
    assert_eq!(digests.len(), heads.len());
    assert!(
        !signed(heads[0]).is_genuine(&CurveVerifier),
        "an empty signature is nobody's"
    );
}

proptest! {
    /// [I14] whatever a witness is told, in whatever order: what it knows never goes back.
    #[test]
    fn a_witness_never_goes_back(
        told in prop::collection::vec((0_u64..4, 0_u8..3, 0_u64..6, 0_u8..3), 1..60),
    ) {
        let mut known: Option<SignedHead> = None;
        for (start, process, sequence, history) in told {
            let now = kept(known, signed(head(start, process, sequence, history)));
            if let Some(before) = known {
                prop_assert!(now.head.sequence >= before.head.sequence);
                prop_assert!(now.head.start >= before.head.start);
                let same_length = now.head.sequence == before.head.sequence;
                prop_assert!(!same_length || now.head.hash == before.head.hash);
            }
            known = Some(now);
        }
    }

    /// [I14] of two processes that go on from one journal, at least one learns it as soon as both have told a witness.
    #[test]
    fn of_two_copies_one_halts(first in 0_u64..5, second in 0_u64..5, order in any::<bool>()) {
        let begun = signed(head(1, 0, 10, 0));
        let (a, b) = (head(2, 1, 10 + first, 1), head(3, 2, 10 + second, 2));
        let told = if order { [a, b, a, b] } else { [b, a, b, a] };
        let mut known = begun;
        let mut halted = false;
        for head in told {
            known = kept(Some(known), signed(head));
            halted |= is_still_ours(&head, &known.head).is_err();
        }
        prop_assert!(halted);
    }
}
