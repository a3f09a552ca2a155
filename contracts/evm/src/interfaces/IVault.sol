// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title One asset's vault: LP notes, share capital and payment channels with collateral that is shared, not locked.
///
/// @notice The words
/// - *free*: money of the vault that nothing else claims first. Notes and shares are paid from it, allotments are made from it.
/// - *note*: units of an LP. A unit is worth `index / 1e27` base units of the asset. The operator cannot mint, move or burn them.
/// - *share*: first-loss capital of one invited holder. Its net asset value lives off chain; here only units are counted.
/// - *channel*: a peer and the pool under one *serial*, which is never used again, not even after a close.
/// - *lane*: one direction of a channel. `POOL_LANE` (0) pays from the pool to the peer, `PEER_LANE` (1) from the peer to the pool.
/// - *ceiling*, *paid*: both cumulative over the channel's whole life; *remaining* = ceiling − paid is the collateral of the lane.
///   The ceiling of `POOL_LANE` is the sum of allotments made, that of `PEER_LANE` the sum of the peer's deposits.
/// - *voucher*: the payer's signature under a lane's cumulative amount. It has no version, so no older one can do harm.
///
/// @notice The books. `tracked = free + Σ remaining (both lanes) + exit money not yet claimed + Σ reclaim`. Every function keeps that sum
/// equal to what came in less what went out. The balance of the token is never read, except around a deposit, to credit what arrived.
/// The vault never knows Σ remaining; nobody needs it, since each payment lowers the vault and one lane alike.
///
/// @notice The floor. After every raise, exit payment and share withdrawal, `free ≥ floorBps / 10000 × note claims that remain`.
///
/// @notice What is assumed
/// - The asset is ETH (`address(0)`) or an ERC-20 that moves exactly what it is asked to move. A token that takes a fee on the way in
///   is credited with what arrived; a token that rebases, or can be frozen by its issuer, endangers only the vault of that token.
/// - Amounts of lanes fit into 96 bits over a channel's life (79 thousand million tokens of 18 decimals); everything else into 128.
/// - Whoever counts on a ceiling counts the lesser of the current one and the one announced by a running notice, at finality depth.
/// - The watch on notices is kept: a voucher not redeemed before a notice is executed is lost to the payee from then on.
/// - Cohorts are numbered in 24 bits: one a day, and one more each time that a day's cohort was paid and somebody asks again.
/// - The operator accrues often and in small steps: whoever deposits just before a rise earns it, at the cost of the shares.
/// - Signing keys are ordinary accounts (secp256k1). Signatures are compact (EIP-2098), which leaves one form of each.
///
/// @notice Growth. What the operator's key allots on its own drains a token bucket, which only time refills; above it *t* of the committee
/// co-sign. *f* of the committee can freeze raises and renewals for 7 days, not again within 30 days of the end. While an exit cohort is past its
/// notice nothing grows; when it stays unpaid, or the operator is silent for too long, anybody may start the *run-down*, in which all notes,
/// then shares, are paid in kind. Redeeming, closing, exits and refunds never stop.
///
/// @notice The contract is immutable and has no owner. The operator opens channels, makes allotments and lets the index rise; it can
/// void no signed claim. Anybody may redeem, pay exits and execute a notice whose deadline has passed: money only ever goes to the
/// payee that the claim names. What cannot be paid (a payee that reverts) becomes a reclaim balance of that payee and stops nobody else.
///
/// @notice EIP-712. Domain: `EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)` with the name
/// "Forebay Vault" and the version "1". One struct type a purpose; see spec/voucher.md and spec/vectors/evm-digests.json:
///   Voucher(uint64 serial,uint8 lane,uint128 amount)                            signed by the lane's payer
///   Release(uint64 serial,uint8 lane,uint128 ceiling,uint16 nonce)              signed by the lane's payee
///   NetOff(uint64 serial,uint128 poolPaid,uint128 peerPaid,uint128 amount)      signed by both
///   CoopClose(uint64 serial,uint128 poolPaid,uint128 peerPaid)                  signed by both
///   KeyChange(uint64 serial,uint8 lane,address signer,uint16 nonce)             signed by the other side
///   ShareExit(address holder,uint128 units,uint128 amount,uint64 nonce,uint40 validUntil)   signed by t of the committee
///   CosignedRaise(uint64 serial,uint128 amount,uint40 termEnd,uint64 nonce,uint40 validUntil)   signed by t of the committee
///   Freeze(uint40 until)                                                        signed by f of the committee, or t
///   MarkDown(uint128 index,uint64 nonce,uint40 validUntil)                      signed by t of the committee
interface IVault {
    // ------------------------------------------------------------------------------------------------------------ structs

    /// @dev What a vault is built with; none of it ever changes. Times in seconds, amounts in base units, rates in ray (1e27 = 100 %).
    struct Parameters {
        address asset; // ERC-20, or 0 for ETH
        address operator; // opens, raises, accrues, signs ShareExit
        address shareHolder; // the invited one; 0: no shares in this vault
        uint16 floorBps; // below 10000
        uint32 closePeriodS; // length of every notice on a channel; ≥ 24 h in earnest, ≥ 48 h on a rollup
        uint32 exitNoticeS; // an exit cohort unpaid for longer stops all raises
        uint32 termMaxS; // an allotment's term ends at most this far ahead
        uint128 indexRateMaxRayPerDay; // the most the index rises in a day
        uint128 noteMin; // least value of a note deposit and of an exit request
        uint128 bucketCapacity; // the most that the operator's key alone may allot at once; all bits set: as much as there is
        uint128 bucketRefillPerDay; // what of it comes back in a day, evenly; nothing else refills it
        uint32 heartbeatMaxS; // silence of the operator after which anybody may start the run-down
        uint8 committeeSpend; // t: more than half of the committee
        uint8 committeeFreeze; // f: fewer than t
        address[] committee; // n named keys; empty only with t = f = 0
    }

    /// @dev EIP-2098: `vs` is s with the parity of y in its highest bit, so s is low by construction.
    struct Signature {
        bytes32 r;
        bytes32 vs;
    }

    /// @dev A committee member's. Lists of them are in strictly ascending order of `member`.
    struct Cosignature {
        uint8 member; // its place in Parameters.committee, from 0; 0 for the operator of a vault without committee
        Signature signature;
    }

    struct Opening {
        uint64 serial; // never used before in this vault
        address poolSigner; // signs vouchers of POOL_LANE
        address peerSigner; // signs vouchers of PEER_LANE
        address peerPayout; // where POOL_LANE pays, and where the rest of the peer's deposit returns
        uint128 allotment; // first allotment; 0: none yet
        uint40 termEnd; // end of its term, Unix seconds; 0 only without an allotment
        uint128 deposit; // the peer's deposit, paid by the caller of `open`; 0: none yet
    }

    struct Raise {
        uint64 serial;
        uint128 amount; // added to the ceiling; 0: only the term is renewed
        uint40 termEnd; // Unix seconds, never earlier than before; 0: the term stays (and the raise is cheaper)
    }

    struct Redemption {
        uint64 serial;
        uint8 lane;
        uint128 amount; // cumulative
        Signature signature;
    }

    struct LaneView {
        address signer;
        uint128 ceiling;
        uint128 paid;
        uint40 loweringAt; // when the running lowering may be executed; 0: none runs
        uint128 loweringTo; // the ceiling announced by it
        uint40 keyChangeAt; // when the running key change may be executed; 0: none runs
        address keyChangeTo;
    }

    struct ChannelView {
        bool opened; // once true, true for ever: the serial is spent
        bool closed; // nothing remains in either lane, and nothing can come
        address peerPayout;
        uint40 termEnd; // of the allotment
        uint40 closeAt; // when the running close may be executed; 0: none runs
        uint16 nonce; // to be signed into the next Release or KeyChange
        LaneView pool; // POOL_LANE
        LaneView peer; // PEER_LANE
    }

    /// @dev Each fits into the width that functions and events give it: 128 bits, 40 for times, 24 for cohorts, 64 for nonces.
    struct Books {
        uint256 free;
        uint256 unitsTotal; // notes, those in exit included
        uint256 index; // ray
        uint256 accruedAt;
        uint256 exitsDueAt; // when the oldest unpaid cohort passes its notice; 0: all cohorts are paid
        uint256 cohortOldest; // the oldest unpaid cohort; = cohortCount when all are paid
        uint256 cohortCount;
        uint256 shareUnits;
        uint256 shareNonce; // to be signed into the next ShareExit
        uint256 committeeNonce; // to be signed into the next CosignedRaise or MarkDown
        uint256 bucket; // what the operator's key alone may allot now, if free money is there
        uint256 frozenUntil; // no raise and no renewal before; in the past: nothing is frozen
        uint256 heartbeatAt; // the operator's last sign of life: a heartbeat or an allotment
        bool runsDown;
    }

    struct CohortView {
        uint32 day; // Unix time / 86400
        uint40 dueAt; // its first request + exitNoticeS
        uint128 unitsUnpaid;
        uint128 unclaimed; // money set aside for its members
        uint256 parts; // members' parts of the cohort: a member's unpaid units are unitsUnpaid × its parts / parts
        uint256 paidPerPart; // money paid so far, × 2^128, rounded up
    }

    // ------------------------------------------------------------------------------------------------------------- errors

    error BadParameters();
    error NotOperator();
    error NotShareHolder();
    error NotPeer(); // the caller is neither the peer's payout address nor its signer
    error NotLaneOwner(); // the caller does not own the payer's side of that lane
    error BadLane();
    error BadSignature();
    error BadSigner(); // a signer or payout address of zero
    error WrongValue(); // ETH sent differs from the amount, or ETH sent to a vault of a token
    error TransferFailed(); // a deposit did not arrive, or a reclaim could not be paid
    error Reentered();
    error AmountTooLarge(); // does not fit into the bits the books have for it
    error ZeroAmount();
    error TooSmall(); // below noteMin
    error NotEnoughFree(); // more than free money
    error BelowFloor(); // free money would fall under the floor
    error ExitsOverdue(); // a cohort is past its notice: no raise, no renewal, no share withdrawal
    error NotEnoughUnits();
    error IndexTooFast(); // above the daily cap, or not a rise
    error SerialUsed();
    error ChannelClosed(); // not open: never opened, closing, or closed
    error WrongPayout(); // the channel pays out elsewhere than the depositor expected
    error BadTerm(); // in the past, too far ahead, or earlier than the current one
    error NothingToPay(); // the voucher pays nothing above what was paid
    error BelowPaid();
    error AboveCeiling();
    error CeilingNotLower();
    error NoticeRuns(); // a notice of that kind runs already: deadlines are set once
    error NoNotice();
    error TooEarly(); // the notice has not ended, or the allotment's term has not
    error WrongPaid(); // net-off signed for other paid amounts than those that stand
    error Expired(); // past validUntil
    error BucketEmpty(); // more than the operator's key alone may allot now
    error Frozen(); // the committee stopped raises and renewals for some days
    error RunsDown(); // the vault runs down: nothing comes in, and notes and shares are paid in kind
    error NotEnoughSignatures(); // fewer of the committee than this needs, or there is no committee
    error IndexNotLower();
    error GasTooLow(); // too little gas left to give the payee its fair try
    error NothingToReclaim();

    // ------------------------------------------------------------------------------------------------------------- events
    // A mirror built from events alone is complete. Changes of free money: +NoteDeposited, +ShareDeposited, +Redeemed and +Closed
    // (PEER_LANE's new paid − its old), +Lowered and +Closed (POOL_LANE's old ceiling − its new); −Raised (new ceiling − old),
    // −ExitsPaid, −ShareWithdrawn. Nothing else touches it.
    // In a run-down ExitsPaid and ExitClaimed name the cohort 2^24 − 1, and ShareWithdrawn burns no units and uses no nonce.

    /// A vault was built; its parameters are read by `parameters()`.
    event Built(address asset, address operator, address shareHolder);

    event NoteDeposited(address indexed member, uint128 amount, uint128 units);
    event ExitRequested(address indexed member, uint24 indexed cohort, uint128 units, uint40 dueAt);
    /// Units of a cohort were burnt, and their money set aside for its members. `unitsLeft` = 0: the cohort is paid.
    event ExitsPaid(uint24 indexed cohort, uint128 units, uint128 amount, uint128 unitsLeft);
    event ExitClaimed(uint24 indexed cohort, address indexed member, uint128 amount);
    event Accrued(uint128 index);
    event ShareDeposited(uint128 amount, uint128 units);
    event ShareWithdrawn(uint128 units, uint128 amount, uint64 nonce);

    /// The operator's key is alive.
    event Heartbeat(uint40 seenAt);
    /// No raise and no renewal before that time.
    event FrozenUntil(uint40 until);
    /// The committee lowered the index, and with that wrote off all share units.
    event MarkedDown(uint128 index, uint128 shareUnits, uint64 nonce);
    /// A raise of this size was co-signed, and did not count against the bucket; a Raised stands beside it.
    event Cosigned(uint64 indexed serial, uint128 amount, uint64 nonce);
    /// From now on all units alike are paid, in the cohort 2^24 − 1.
    event RunDownStarted(uint128 units);

    event Opened(uint64 indexed serial, address poolSigner, address peerSigner, address peerPayout);
    /// The allotment's new ceiling, cumulative. Raises come in large batches, so the serial is not indexed: it is cheaper.
    event Raised(uint64 serial, uint128 ceiling);
    event Renewed(uint64 indexed serial, uint40 termEnd);
    /// The peer lane's new ceiling, cumulative; `amount` is what arrived.
    event Deposited(uint64 indexed serial, address indexed from, uint128 amount, uint128 ceiling);
    /// A lane's new paid, cumulative.
    event Redeemed(uint64 indexed serial, uint8 lane, uint128 paid);
    event LoweringStarted(uint64 indexed serial, uint8 lane, uint128 ceiling, uint40 deadline);
    /// A lane's new ceiling, by release or at the end of a notice. A nonce was used up exactly when `released`.
    event Lowered(uint64 indexed serial, uint8 lane, uint128 ceiling, bool released);
    /// Both lanes' new paid; both ceilings, and those announced by running lowerings, rose by `amount` too.
    event NettedOff(uint64 indexed serial, uint128 poolPaid, uint128 peerPaid, uint128 amount);
    event CloseStarted(uint64 indexed serial, address by, uint40 deadline);
    /// Final paid of both lanes; both ceilings are equal to them from now on.
    event Closed(uint64 indexed serial, uint128 poolPaid, uint128 peerPaid);
    event KeyChangeStarted(uint64 indexed serial, uint8 lane, address signer, uint40 deadline);
    /// `formerCeiling`: up to this cumulative amount, what the former signer signed stays redeemable. A nonce was used up exactly when `consented`.
    event KeyChanged(uint64 indexed serial, uint8 lane, address former, address signer, uint128 formerCeiling, bool consented);
    /// A payout failed; the payee's reclaim balance rose by `amount`.
    event PayoutFailed(address indexed payee, uint128 amount);
    event Reclaimed(address indexed payee, address to, uint128 amount);

    // --------------------------------------------------------------------------------------------------------- LP: notes

    /// Mints `units = amount × 1e27 / index`, rounded down, to the caller, for what arrived of `amount`.
    function depositNote(uint128 amount) external payable returns (uint128 units);

    /// Locks units of the caller in today's cohort. Locked units are worth what the index says until they are paid.
    /// The least size is noteMin; all units one has may leave whatever their worth.
    function requestExit(uint128 units) external returns (uint24 cohort);

    /// Pays unpaid cohorts from free money above the floor, the oldest first, at most `cohortsMax` of them; by anybody. Within a cohort
    /// every unpaid unit gets the same. Never reverts for want of money. In a run-down it pays all units alike, then the share holder.
    function payExits(uint24 cohortsMax) external returns (uint128 amount);

    /// Pays out what a member has coming from a cohort; by anybody, to the member. Returns 0 when there is nothing. A claim is rounded
    /// down, so each may leave less than one base unit behind in the cohort. In a run-down it also moves the member's units, those it holds and
    /// those unpaid in this cohort, to cohort 2^24 − 1 and pays what they have coming there: one call for each cohort that one waits in.
    function claimExit(uint24 cohort, address member) external returns (uint128 amount);

    /// Lets the index rise, at most by indexRateMaxRayPerDay of itself a day, for the time since it last changed, at most one day of it.
    /// Operator only.
    function accrue(uint128 index) external;

    // -------------------------------------------------------------------------------------------------------- LP: shares

    /// First-loss capital of the share holder, who alone may call. One unit for each base unit that arrived.
    function depositShare(uint128 amount) external payable returns (uint128 units);

    /// Burns units of the share holder for `amount`, which t of the committee signed as their worth; in a vault without committee the operator.
    /// Share holder only; floor; no overdue cohort.
    function withdrawShare(uint128 units, uint128 amount, uint40 validUntil, Cosignature[] calldata signatures) external;

    // ------------------------------------------------------------------------------------- operator, committee, run-down

    /// Shows that the operator is there. Operator only. Allotting shows it as well.
    function heartbeat() external;

    /// Raises one allotment, whatever is in the bucket, with the signatures of t of the committee. Operator only; floor; no overdue cohort.
    function raiseCosigned(Raise calldata more, uint40 validUntil, Cosignature[] calldata signatures) external;

    /// Stops raises and renewals until then: at most 7 days ahead, and later than what is frozen already. By f of the committee, if 30 days
    /// have passed since the last freeze ended; by t of it at any time. By anybody who has the signatures. Nothing else ever freezes.
    function freeze(uint40 until, Cosignature[] calldata signatures) external;

    /// Lowers the index, with the signatures of t of the committee; by anybody who has them. Shares bear losses before notes, so all share
    /// units are written off with it. Fee buffer and shares have to be used up before: what they still cover is off chain, and t vouch for it.
    function markDown(uint128 index, uint40 validUntil, Cosignature[] calldata signatures) external;

    /// Starts the run-down, for ever; by anybody. It takes an operator silent for more than heartbeatMaxS, or a cohort that is still unpaid
    /// exitNoticeS + termMaxS + closePeriodS after its first request. All terms end with it; nothing can be allotted, deposited by LPs or
    /// accrued any more. What is free, and what becomes free, goes to all notes pro rata, locked or not, then to the share holder.
    function startRunDown() external;

    // ---------------------------------------------------------------------------------------------------------- channels

    /// Opens a channel. Operator only. The peer checks what was opened, at finality depth, before it deposits.
    function open(Opening calldata opening) external payable;

    /// Adds to the peer's deposit, for what arrived of `amount`; by anybody. `peerPayout` must be the channel's, so that a deposit
    /// cannot fall to a channel which took the serial after a reorganisation. Refused once a close has started.
    function deposit(uint64 serial, uint128 amount, address peerPayout) external payable;

    /// Raises allotments from free money and renews terms. Operator only; bucket; floor; not while frozen, running down or with an overdue
    /// cohort. All or nothing.
    function raise(Raise[] calldata raises) external;

    /// Pays min(amount, ceiling) − paid of a lane to its payee (POOL_LANE: peerPayout; PEER_LANE: free money); by anybody.
    /// Reverts with NothingToPay or BadSignature.
    function redeem(Redemption calldata redemption) external returns (uint128 amount);

    /// The same for many, skipping without a trace each one that `redeem` would refuse: a voucher that somebody else
    /// redeemed a moment before must not stop the rest. Neighbours with the same payee are paid in one transfer. Returns the sum paid.
    function redeemMany(Redemption[] calldata redemptions) external returns (uint128 amount);

    /// Lowers a lane's ceiling at once to max(ceiling, paid) with the payee's signed Release for the channel's nonce; by anybody.
    function release(uint64 serial, uint8 lane, uint128 ceiling, Signature calldata payee) external;

    /// Starts the notice after which a lane's ceiling falls to max(ceiling, paid). POOL_LANE: the operator, at any time; after the term
    /// or in a run-down anybody, and then always down to paid, whatever `ceiling` says. PEER_LANE: the peer (its payout address or its signer).
    function startLowering(uint64 serial, uint8 lane, uint128 ceiling) external;

    /// Executes it once its deadline has passed; by anybody. POOL_LANE: the difference becomes free. PEER_LANE: it goes to peerPayout.
    function finishLowering(uint64 serial, uint8 lane) external;

    /// Both signed: both paid, which must stand at poolPaid and peerPaid, and both ceilings rise by `amount`, with
    /// those that running lowerings announced. No money moves; by anybody.
    function netOff(
        uint64 serial,
        uint128 poolPaid,
        uint128 peerPaid,
        uint128 amount,
        Signature calldata pool,
        Signature calldata peer
    ) external;

    /// Both signed: closes at once with these final paid amounts, not under what was paid, nor above the ceilings; by anybody.
    function closeTogether(
        uint64 serial,
        uint128 poolPaid,
        uint128 peerPaid,
        Signature calldata pool,
        Signature calldata peer
    ) external;

    /// Starts the notice of a unilateral close. Operator or peer. Redeeming goes on until the close is executed.
    function startClose(uint64 serial) external;

    /// Executes it once its deadline has passed; by anybody. What remains of the allotment becomes free, the rest of the deposit goes to peerPayout.
    function finishClose(uint64 serial) external;

    /// Changes the signer of a lane with the other side's signed KeyChange. Only by the lane's owner: the operator (POOL_LANE) or the peer.
    /// Vouchers of the former signer stay redeemable for ever, up to the ceiling as it is now.
    function changeKey(uint64 serial, uint8 lane, address signer, Signature calldata other) external;

    /// Starts the notice after which the signer of a lane changes. Only by the lane's owner.
    function startKeyChange(uint64 serial, uint8 lane, address signer) external;

    /// Executes it once its deadline has passed; by anybody.
    function finishKeyChange(uint64 serial, uint8 lane) external;

    /// Pays the caller's whole reclaim balance to `to`; reverts when that fails.
    function reclaim(address to) external returns (uint128 amount);

    // ------------------------------------------------------------------------------------------------------------- views

    function parameters() external view returns (Parameters memory);
    function domainSeparator() external view returns (bytes32);
    function books() external view returns (Books memory);
    function channel(uint64 serial) external view returns (ChannelView memory);
    /// Up to which cumulative amount vouchers of a former signer of the lane stay redeemable; 0: never was one.
    function formerCeiling(uint64 serial, uint8 lane, address signer) external view returns (uint128);
    function cohort(uint24 id) external view returns (CohortView memory);
    /// Units that a member can still lock; those in exit are not among them.
    function unitsOf(address member) external view returns (uint128);
    /// A member's unpaid units in a cohort (rounded down) and the money it may claim now.
    function exitOf(uint24 cohort, address member) external view returns (uint128 unitsUnpaid, uint128 claimable);
    /// unitsTotal × index, rounded up.
    function noteClaims() external view returns (uint128);
    /// The most that `raise` would allot now.
    function raisable() external view returns (uint128);
    function reclaimOf(address payee) external view returns (uint128);
}
