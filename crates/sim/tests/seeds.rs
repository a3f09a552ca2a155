//! Many small worlds, all sound; and together they reach everything that can happen.

use std::thread;

use forebay_sim::{Case, Counts, STEPS, explain, run};

const SEEDS: u64 = 300;

/// Every kind that a run can reach. What is missing cannot occur yet: the pool signs no net-off.
const REACHED: [(&str, &[&str]); 6] = [
    (
        "event",
        &[
            "PacketPrepared",
            "PacketFulfilled",
            "PacketRejected",
            "VoucherSigned",
            "VoucherHeld",
            "PriceReported",
            "Founded",
            "AssetAdded",
            "AssetSet",
            "BookHalted",
            "BookResumed",
            "PeerAdded",
            "PeerSet",
            "PeerRemoved",
            "RouteAdded",
            "RouteRemoved",
            "KeysNamed",
            "ChainDemanded",
            "ChainSettled",
            "ChainSaw",
            "InstructionTaken",
            "RelationSet",
            "VaultRulesKnown",
            "ChainDemanded Open",
            "ChainDemanded Raise",
            "ChainDemanded Redeem",
            "ChainDemanded RaiseIndex",
            "ChainDemanded PayExits",
            "ChainDemanded StartClose",
            "ChainDemanded FinishNotice",
            "ChainDemanded Heartbeat",
            "ChainDemanded OpenLightning",
            "ChainDemanded SpliceIn",
            "ChainDemanded SpliceOut",
            "ChainDemanded CloseLightning",
            "ChainDemanded ToReserve",
            "ChainDemanded FromReserve",
            "LiquiditySet",
            "BitcoinAdded",
            "BitcoinSaw Deposited",
            "BitcoinSaw MinersPaid",
            "IndexRaised",
            "Lightning NodeNamed",
            "Lightning InvoiceGiven",
            "Lightning Received",
            "Lightning SettlementBegun",
            "Lightning SettlementHashed",
            "Lightning SettlementPaid",
            "Lightning SettlementFailed",
            "Lightning CapacityKnown",
            "Lightning ChannelFunded",
            "Lightning ChannelStands",
            "Lightning ChannelSpliced",
            "Lightning ChannelClosed",
            "Lightning ChannelReturned",
            "Lightning Woken",
            "Claim LpAdded",
            "Claim PayoutSet",
            "Claim WithdrawalBegun",
            "Claim WithdrawalPaid",
            "Claim WithdrawalFailed",
            "Claim InvoiceGiven",
            "Claim InvoicePaid",
            "Reserve RulesSet",
            "Reserve Found",
            "Reserve Lost",
        ],
    ),
    (
        "rejection",
        &[
            "NotFounded",
            "AlreadyFounded",
            "UnknownPeer",
            "UnknownAsset",
            "AlreadyExists",
            "Full",
            "BadName",
            "BadPolicy",
            "PeerBusy",
            "AlreadyTaken",
            "IdReused",
            "Expired",
            "TimeoutTooShort",
            "AmountTooLarge",
            "DuplicateRequest",
            "Unreachable",
            "NotQuoting",
            "AmountTooSmall",
            "NotSecured",
            "LaneExhausted",
            "InventoryExhausted",
            "Busy",
            "Halted",
            "UnknownPacket",
            "WrongPreimage",
            "BadVoucher",
            "UnknownEffect",
            "BadPrice",
            "BadFact",
            "BadInvoice",
            "BadClaim",
            "ClaimTooLarge",
            "ClaimTooSmall",
        ],
    ),
    (
        "fact",
        &[
            "NoteDeposited Final",
            "ExitRequested Final",
            "ExitPaid Final",
            "IndexRaised Final",
            "SharesDeposited Final",
            "SharesWithdrawn Final",
            "ChannelOpened Final",
            "PeerDeposited Final",
            "PeerWithdrew Final",
            "AllotmentRaised Final",
            "AllotmentRenewed Final",
            "AllotmentLowered Final",
            "PoolPaid Final",
            "PeerPaid Final",
            "NoticeGiven Seen",
            "NoticeGiven Final",
            "NoticeDropped Seen",
            "KeyChanged Final",
            "ChannelClosed Final",
            "DeepReorg Seen",
            "RaiseCosigned Final",
            "HeartbeatSeen Final",
            "Frozen Final",
            "MarkedDown Final",
        ],
    ),
    (
        "fault",
        &[
            "crash before append",
            "crash before sync",
            "crash before release",
            "crash after release",
            "crash between batches",
            "power lost",
            "killed",
            "down for hours",
            "disk failed",
            "disk full",
            "sync failed",
            "write failed",
            "write short",
            "write without space",
            "sector lost",
            "sector torn",
            "restart after a halt",
            "too few witnesses",
            "old copy put back",
            "old copy refused by a witness",
            "old copy refused by a peer",
            "old copy as good as the newest",
            "second process",
            "second process noticed",
            "mail lost",
            "packet lost with its link",
            "answer never given",
            "false voucher",
            "fact told twice",
            "old notice told again",
            "reorg",
            "deep reorg",
            "no gas",
            "clock back",
            "clock forward",
            "invoice never told",
            "observation told twice",
            "node offline",
            "reorg on Bitcoin",
        ],
    ),
    (
        "lightning",
        &[
            "payment left",
            "payment Arrived",
            "payment Failed",
            "payment hangs",
            "not paid: None",
            "not paid: Some(NoRoute)",
            "not paid: Some(InvoiceExpired)",
            "invoice paid: Ok(())",
            "invoice paid: Err(InvoiceExpired)",
            "invoice refused",
            "no change: PeerOffline",
            "no change: Busy",
            "no change: FeeTooHigh",
            "output signed",
            "output waits",
            "output given up",
        ],
    ),
    (
        "effect",
        &[
            "Forward",
            "RelayFulfill",
            "RelayReject",
            "SendVoucher",
            "Chain",
            "Lightning",
            "Withdrawal",
        ],
    ),
];

/// Seeds that found a bug once: seed, steps, story.
const NAMED: [(u64, u64, &str); 1] = [(
    229,
    2_500,
    "a payout of no whole ledger unit left one unit promised, which the close credited to the peer",
)];

/// Runs seeds and adds up what they reached.
fn seeds(first: u64, count: u64) -> Counts {
    let mut counts = Counts::default();
    for seed in first..first + count {
        let case = Case { seed, steps: STEPS };
        match run(case) {
            Ok(reached) => counts.merge(&reached),
            Err(failure) => panic!("{failure}"),
        }
    }
    counts
}

#[test]
fn many_worlds_keep_every_invariant_and_reach_everything() {
    let half = SEEDS / 2;
    let other = thread::spawn(move || seeds(1 + half, half));
    let mut counts = seeds(1, half);
    counts.merge(&other.join().expect("the other half of the seeds passes"));
    let missing: Vec<String> = REACHED
        .iter()
        .flat_map(|(section, kinds)| kinds.iter().map(move |kind| (section, kind)))
        .filter(|(section, kind)| counts.of(section, kind) == 0)
        .map(|(section, kind)| format!("{section} {kind}"))
        .collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
}

#[test]
fn seeds_that_found_a_bug_pass() {
    for (seed, steps, story) in NAMED {
        let outcome = run(Case { seed, steps });
        assert!(outcome.is_ok(), "{story}: {outcome:?}");
    }
}

#[test]
fn a_seed_always_makes_the_same_world() {
    let case = Case {
        seed: 77,
        steps: STEPS,
    };
    let (first, second) = (explain(case), explain(case));
    assert!(first.1.is_ok(), "{:?}", first.1);
    assert!(first.0.len() > 1_000, "the steps are told");
    assert_eq!(first, second);
}
