// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "../src/Digests.sol";
import {Vault} from "../src/Vault.sol";
import {IVault} from "../src/interfaces/IVault.sol";
import {RevertingPayee} from "./Payees.sol";
import {VaultTest} from "./VaultTest.sol";

/// @dev Everybody at once: LPs, share holder, operator, peers and strangers, doing whatever the rules allow at random. It keeps books of
/// its own, from what it asked for and never from what the vault says, except where noted. No call it makes may revert.
contract Actor is VaultTest {
    uint64 public constant SERIALS_MAX = 24;
    uint256 private constant CAPACITY = 4 * uint256(ONE);
    uint256 private constant REFILL = 2 * uint256(ONE);

    struct Lane {
        uint256 ceiling;
        uint256 paid;
        uint256 key;
        uint256 loweringTo;
        uint256 loweringAt;
        uint256 keyChangeAt;
    }

    struct Line {
        bool closed;
        address payout;
        uint256 closeAt;
        uint256 termEnd;
        uint16 nonce;
        Lane[2] lanes;
    }

    uint64 public serials; // 1 … serials were opened
    mapping(uint64 serial => Line) private lines;
    mapping(uint64 serial => mapping(uint256 lane => mapping(uint256 key => uint256 ceiling))) private former;
    uint256 public freeHere;
    uint256 public moneyIn;
    uint256 public moneyOut;
    mapping(address payee => uint256) public owedTo; // reclaim
    uint256 public unclaimed;
    mapping(uint24 cohort => uint256) public claims; // how many were made: each leaves less than one base unit behind
    uint128 public indexBefore = uint128(RAY);
    mapping(string call => uint256) public succeeded;
    uint256 public steps;
    uint256 public runDownAfter = 200; // steps that succeeded
    bool public runsDown;
    uint256 public bucketHere; // exact, × 1 day
    uint256 private bucketAt;
    uint256 public bucketUses; // each may cost the operator less than one unit by rounding
    uint256 public frozenUntil;
    address[] public members;
    address[] public payees;
    address private sink = address(0x517C);

    string[] private calls = [
        "depositNote", "requestExit", "payExits", "claimExit", "accrue", "depositShare", "withdrawShare", "open", "deposit",
        "raise", "renew", "redeemToPeer", "redeemToPool", "redeemFormer", "redeemMany", "release", "startLowering",
        "finishLowering", "netOff", "closeTogether", "startClose", "finishClose", "changeKey", "startKeyChange",
        "finishKeyChange", "reclaim", "payoutRefused", "exitPaidInPart", "bucketEmptied", "heartbeat", "raiseCosigned",
        "freezeByF", "freezeByT", "refusedWhileFrozen", "markDown", "startRunDown", "payRunDown", "payRunDownShares",
        "claimRunDown", "claimOlderInRunDown", "lowerInRunDown"
    ];

    function rules(address asset_) internal view override returns (IVault.Parameters memory p) {
        p = super.rules(asset_);
        (p.bucketCapacity, p.bucketRefillPerDay) = (uint128(CAPACITY), uint128(REFILL));
    }

    function beginRunDownAfter(uint256 count) external {
        runDownAfter = count;
    }

    function begin(address asset_) external {
        vm.warp(START);
        build(asset_);
        RevertingPayee refusing = new RevertingPayee();
        (bucketHere, bucketAt) = (CAPACITY * 1 days, START);
        members = [ann, ben, address(refusing)];
        payees = [payout, stranger, address(refusing)];
        if (asset == address(0)) vm.deal(address(refusing), 1_000_000 * ONE);
        else fund(address(refusing));
    }

    function setUp() public override {}

    // ------------------------------------------------------------------------------------------------------- accounts

    function callsCount() external view returns (uint256) {
        return calls.length;
    }

    function callName(uint256 i) external view returns (string memory) {
        return calls[i];
    }

    function theVault() external view returns (Vault) {
        return vault;
    }

    function line(uint64 serial) external view returns (Line memory) {
        return lines[serial];
    }

    function done(string memory call) private {
        succeeded[call]++;
        steps++;
        IVault.Books memory b = vault.books();
        ok(b.index >= indexBefore || same(call, "markDown"), "the index never falls but by the committee");
        ok(b.index <= indexBefore || same(call, "accrue"), "nor rises but by an accrual");
        indexBefore = uint128(b.index);
    }

    function same(string memory a, string memory b) private pure returns (bool) {
        return keccak256(bytes(a)) == keccak256(bytes(b));
    }

    /// @dev Time alone refills it.
    function refilled() private {
        bucketHere += REFILL * (block.timestamp - bucketAt);
        if (bucketHere > CAPACITY * 1 days) bucketHere = CAPACITY * 1 days;
        bucketAt = block.timestamp;
    }

    function allotted(uint256 amount) private {
        freeHere -= amount;
        if (amount == 0) return;
        refilled();
        bucketHere -= amount * 1 days; // reverts when it went through with too little
        bucketUses++;
        requireFloor();
        ok(block.timestamp >= frozenUntil, "nothing is allotted while frozen");
        ok(!runsDown, "nothing is allotted in a run-down");
        ok(!overdue(), "nothing is allotted while a cohort is overdue");
        if (vault.books().bucket == 0) succeeded["bucketEmptied"]++;
    }

    function bucketNow() external view returns (uint256 exact, uint256 uses) {
        exact = bucketHere + REFILL * (block.timestamp - bucketAt);
        if (exact > CAPACITY * 1 days) exact = CAPACITY * 1 days;
        return (exact, bucketUses);
    }

    function frozen() private view returns (bool) {
        return block.timestamp < frozenUntil;
    }

    function requireFloor() private view {
        ok(uint256(free()) * 10_000 >= 2000 * uint256(vault.noteClaims()), "floor");
    }

    /// @dev Books a payout: it left, or it is owed.
    function paidOut(address to, uint256 amount) private {
        if (amount == 0) return;
        if (asset == address(0) && to == payees[2]) {
            owedTo[to] += amount;
            succeeded["payoutRefused"]++;
        } else {
            moneyOut += amount;
        }
    }

    function pick(uint256 seed) private view returns (uint64 serial, Line storage l) {
        serial = serials == 0 ? 0 : uint64(1 + seed % serials);
        l = lines[serial];
        if (serial != 0 && l.closed) {
            // Prefer one that lives, so that closed channels do not absorb all calls.
            for (uint64 s = 1; s <= serials; s++) if (!lines[s].closed) return (s, lines[s]);
        }
    }

    function overdue() private view returns (bool) {
        uint256 dueAt = vault.books().exitsDueAt;
        return dueAt != 0 && block.timestamp > dueAt;
    }

    // ----------------------------------------------------------------------------------------------------------- time

    function pass(uint32 seconds_) external {
        vm.warp(block.timestamp + seconds_ % 2 days);
    }

    // ------------------------------------------------------------------------------------ operator, committee, run-down

    function beat() external {
        if (runsDown) return;
        heartbeat();
        done("heartbeat");
    }

    function raiseMore(uint256 seed, uint128 amount) external {
        (uint64 serial, Line storage l) = pick(seed);
        if (serial == 0 || l.closed || overdue() || frozen() || runsDown) return;
        uint256 floor = (2000 * uint256(vault.noteClaims()) + 9_999) / 10_000;
        if (freeHere <= floor) return;
        amount = uint128(bound(amount, 1, freeHere - floor));
        l.termEnd = l.termEnd > block.timestamp + 1 days ? l.termEnd : block.timestamp + 1 days;
        raiseCosigned(2 + seed % 2, serial, amount, uint40(l.termEnd));
        l.lanes[0].ceiling += amount;
        freeHere -= amount;
        requireFloor();
        done("raiseCosigned");
    }

    function freezeSome(uint256 seed, uint128 seconds_) external {
        if (seed % 16 != 0) return; // seldom, or nothing is ever allotted
        uint256 until = block.timestamp + 1 + seconds_ % 1 days;
        if (until <= frozenUntil) return;
        bool rested = block.timestamp >= frozenUntil + 30 days;
        freeze(rested ? 1 : 2, until);
        frozenUntil = until;
        done(rested ? "freezeByF" : "freezeByT");
        if (serials == 0 || runsDown) return;
        IVault.Raise[] memory list = new IVault.Raise[](1);
        list[0] = IVault.Raise(1, 1, 0);
        vm.expectRevert(IVault.Frozen.selector);
        vm.prank(operator);
        vault.raise(list);
        succeeded["refusedWhileFrozen"]++;
    }

    function markDown(uint256 seed, uint256 fall) external {
        if (seed % 32 != 0 || runsDown) return;
        uint128 to = uint128(indexBefore - bound(fall, 1, indexBefore / 50));
        markDown(2, to);
        eq(vault.books().shareUnits, 0, "shares bear losses before notes");
        done("markDown");
    }

    function startRunDown() external {
        if (runsDown || steps < runDownAfter) return;
        uint256 silentAt = vault.books().heartbeatAt + 30 days + 1;
        if (block.timestamp < silentAt) vm.warp(silentAt);
        uint256 before = vault.books().free;
        vault.startRunDown();
        exitsPaid(before - vault.books().free);
        runsDown = true;
        done("startRunDown");
    }

    function exitsPaid(uint256 amount) private {
        freeHere -= amount;
        unclaimed += amount;
    }

    function payRunDown() private {
        IVault.Books memory b = vault.books();
        uint256 held = balance(holder);
        uint256 amount = vault.payExits(0);
        uint256 toHolder = balance(holder) - held;
        ok(toHolder == 0 || vault.books().unitsTotal == 0, "shares are paid after the last note");
        ok(amount - toHolder <= (b.unitsTotal - vault.books().unitsTotal) * b.index / RAY, "no unit gets more than the index says");
        freeHere -= toHolder;
        moneyOut += toHolder;
        exitsPaid(amount - toHolder);
        if (amount != toHolder) done("payRunDown");
        if (toHolder != 0) done("payRunDownShares");
    }

    // ------------------------------------------------------------------------------------------------------------- LPs

    function depositNote(uint256 who, uint128 amount) external {
        if (runsDown) return;
        amount = uint128(bound(amount, 1e15, 3 * ONE));
        note(members[who % 3], amount);
        moneyIn += amount;
        freeHere += amount;
        done("depositNote");
    }

    function requestExit(uint256 who, uint128 units) external {
        if (runsDown) return;
        address member = members[who % 3];
        uint128 held = vault.unitsOf(member);
        if (held == 0) return;
        uint256 least = 1e15 * RAY / indexBefore + 1;
        units = held < 2 * least ? held : uint128(bound(units, least, held));
        uint24 count = uint24(vault.books().cohortCount);
        uint128 coming;
        if (count != 0) (, coming) = vault.exitOf(count - 1, member);
        uint256 before = vault.reclaimOf(member) + balance(member);
        uint24 id = requestExit(member, units);
        uint256 got = vault.reclaimOf(member) + balance(member) - before;
        ok(got == 0 || (id == count - 1 && got == coming), "what it had coming is paid when it joins again");
        unclaimed -= got;
        claims[id]++;
        paidOut(member, got);
        done("requestExit");
    }

    function payExits(uint24 cohortsMax) external {
        if (runsDown) return payRunDown();
        uint256 before = vault.books().unitsTotal;
        uint256 amount = vault.payExits(1 + cohortsMax % 4);
        ok(amount <= (before - vault.books().unitsTotal) * indexBefore / RAY, "no unit gets more than the index says");
        exitsPaid(amount);
        if (amount == 0) return;
        requireFloor();
        if (vault.books().exitsDueAt != 0) succeeded["exitPaidInPart"]++;
        done("payExits");
    }

    function claimExit(uint256 id, uint256 who) external {
        uint24 count = uint24(vault.books().cohortCount);
        uint24 cohort = count == 0 || (runsDown && id % 2 == 0) ? RUN_DOWN : uint24(id % count);
        if (cohort == RUN_DOWN && !runsDown) return;
        for (uint256 i = 0; i < (runsDown ? 1 : 3); i++) {
            address member = members[(who % 3 + i) % 3];
            (, uint128 claimable) = vault.exitOf(cohort, member);
            uint256 paid = vault.claimExit(cohort, member);
            ok(paid == claimable || (runsDown && paid > claimable), "the view knows");
            if (paid == 0) continue;
            unclaimed -= paid;
            claims[cohort]++;
            claims[RUN_DOWN]++;
            // Two transfers, one for what the cohort had before: a refusing member is owed both.
            paidOut(member, paid);
            done("claimExit");
            if (runsDown) succeeded[cohort == RUN_DOWN ? "claimRunDown" : "claimOlderInRunDown"]++;
        }
    }

    function accrue(uint256 rise) external {
        if (runsDown) return;
        IVault.Books memory b = vault.books();
        uint256 elapsed = block.timestamp - b.accruedAt;
        if (elapsed > 1 days) elapsed = 1 days;
        uint256 most = uint256(b.index) * (RAY / 1000 * elapsed / 1 days) / RAY;
        if (most == 0) return;
        accrue(uint128(b.index + bound(rise, 1, most)));
        done("accrue");
    }

    function depositShare(uint128 amount) external {
        if (runsDown) return;
        amount = uint128(bound(amount, 1, 3 * ONE));
        share(amount);
        moneyIn += amount;
        freeHere += amount;
        done("depositShare");
    }

    function withdrawShare(uint128 units, uint128 amount) external {
        IVault.Books memory b = vault.books();
        uint256 most = vault.raisable();
        if (b.shareUnits == 0 || most == 0) return;
        units = uint128(bound(units, 1, b.shareUnits));
        amount = uint128(bound(amount, 1, most < ONE ? most : ONE));
        IVault.Cosignature[] memory signature = shareExit(units, amount, uint64(b.shareNonce));
        vm.prank(holder);
        vault.withdrawShare(units, amount, uint40(block.timestamp), signature);
        freeHere -= amount;
        moneyOut += amount;
        requireFloor();
        done("withdrawShare");
    }

    // ------------------------------------------------------------------------------------------------ channels, money

    function openOne(uint256 who, uint128 allotment) external {
        if (serials == SERIALS_MAX) return;
        uint64 serial = ++serials;
        uint256 most = vault.raisable() / 4;
        allotment = most == 0 ? 0 : uint128(bound(allotment, 0, most));
        Line storage l = lines[serial];
        l.payout = payees[who % 3];
        l.lanes[0].key = 1000 + serial;
        l.lanes[1].key = 2000 + serial;
        l.lanes[0].ceiling = allotment;
        l.termEnd = allotment == 0 ? 0 : block.timestamp + 10 days;
        IVault.Opening memory o = IVault.Opening(
            serial, vm.addr(1000 + serial), vm.addr(2000 + serial), l.payout, allotment, uint40(l.termEnd), 0
        );
        vm.prank(operator);
        vault.open(o);
        allotted(allotment);
        done("open");
    }

    function deposit(uint256 seed, uint128 amount) external {
        (uint64 serial, Line storage l) = pick(seed);
        if (serial == 0 || l.closed || l.closeAt != 0) return;
        amount = uint128(bound(amount, 1, 3 * ONE));
        vm.prank(holder);
        vault.deposit{value: value(amount)}(serial, amount, l.payout);
        l.lanes[1].ceiling += amount;
        moneyIn += amount;
        done("deposit");
    }

    function raise(uint256 seed, uint128 amount, bool renew) external {
        (uint64 serial, Line storage l) = pick(seed);
        if (serial == 0 || l.closed || overdue()) return;
        uint256 most = vault.raisable();
        if (most == 0) return;
        amount = amount % 4 == 0 ? uint128(most) : uint128(bound(amount, 1, most));
        uint256 termEnd = renew ? block.timestamp + 20 days : 0;
        if (renew) l.termEnd = termEnd;
        IVault.Raise[] memory list = new IVault.Raise[](1);
        list[0] = IVault.Raise(serial, amount, uint40(termEnd));
        vm.prank(operator);
        vault.raise(list);
        l.lanes[0].ceiling += amount;
        allotted(amount);
        done(renew ? "renew" : "raise");
    }

    function signed(uint64 serial, uint256 lane, uint256 key, uint128 amount)
        private
        view
        returns (IVault.Redemption memory)
    {
        return voucherBy(key, serial, uint8(lane), amount);
    }

    /// @dev What the books say a voucher pays.
    function due(Lane storage l, uint256 amount) private view returns (uint256) {
        uint256 most = amount < l.ceiling ? amount : l.ceiling;
        return most > l.paid ? most - l.paid : 0;
    }

    function booked(Line storage l, uint256 lane, uint256 amount) private {
        l.lanes[lane].paid += amount;
        if (lane == 0) paidOut(l.payout, amount);
        else freeHere += amount;
    }

    function redeem(uint256 seed, bool toPool, uint128 amount) external {
        (uint64 serial, Line storage l) = pick(seed);
        if (serial == 0 || l.closed) return;
        uint256 lane = toPool ? 1 : 0;
        amount = uint128(bound(amount, l.lanes[lane].paid + 1, l.lanes[lane].paid + 2 * ONE));
        uint256 pays = due(l.lanes[lane], amount);
        if (pays == 0) return;
        eq(vault.redeem(signed(serial, lane, l.lanes[lane].key, amount)), pays, "pays");
        booked(l, lane, pays);
        done(toPool ? "redeemToPool" : "redeemToPeer");
    }

    function redeemFormer(uint256 seed, uint128 amount) external {
        for (uint256 i = 0; i < 2 * serials; i++) {
            uint64 serial = uint64(1 + (seed % serials + i / 2) % serials);
            Line storage l = lines[serial];
            uint256 key = 1000 * (1 + i % 2) + serial; // the first key of the lane
            if (l.closed || l.lanes[i % 2].key == key) continue;
            amount = uint128(bound(amount, 1, 3 * ONE));
            uint256 reach = former[serial][i % 2][key];
            uint256 pays = due(l.lanes[i % 2], amount < reach ? amount : reach);
            if (pays == 0) continue;
            eq(vault.redeem(signed(serial, i % 2, key, amount)), pays, "pays within its reach");
            booked(l, i % 2, pays);
            return done("redeemFormer");
        }
    }

    /// @dev Good, stale, doubled and forged vouchers in one batch: it never reverts.
    function redeemMany(uint256 seed, uint128 amount) external {
        if (serials == 0) return;
        IVault.Redemption[] memory list = new IVault.Redemption[](6);
        uint256 sum;
        for (uint256 i = 0; i < 6; i++) {
            uint64 serial = uint64(1 + (seed % serials + i / 3) % serials);
            uint256 lane = i % 2;
            Line storage l = lines[serial];
            uint128 asked = uint128(bound(amount, 1, l.lanes[lane].paid + ONE));
            bool forged = i == 4;
            list[i] = signed(serial, lane, forged ? 1 : l.lanes[lane].key, asked);
            if (forged || l.closed) continue;
            uint256 pays = due(l.lanes[lane], asked);
            booked(l, lane, pays);
            sum += pays;
        }
        eq(vault.redeemMany(list), sum, "sum");
        if (sum != 0) done("redeemMany");
    }

    // ------------------------------------------------------------------------------------------ channels, agreements

    function release(uint256 seed, bool deposits, uint256 ceiling) external {
        (uint64 serial, Line storage l) = pick(seed);
        if (serial == 0 || l.closed) return;
        uint256 lane = deposits ? 1 : 0;
        Lane storage a = l.lanes[lane];
        if (a.ceiling == a.paid) return;
        ceiling = bound(ceiling, 0, a.ceiling - 1);
        IVault.Signature memory s =
            released(l.lanes[1 - lane].key, serial, uint8(lane), uint128(ceiling), l.nonce++);
        vault.release(serial, uint8(lane), uint128(ceiling), s);
        lowered(l, lane, ceiling);
        done("release");
    }

    function lowered(Line storage l, uint256 lane, uint256 ceiling) private {
        Lane storage a = l.lanes[lane];
        if (ceiling < a.paid) ceiling = a.paid;
        if (ceiling >= a.ceiling) return;
        uint256 freed = a.ceiling - ceiling;
        a.ceiling = ceiling;
        if (lane == 0) freeHere += freed;
        else paidOut(l.payout, freed);
    }

    function startLowering(uint256 seed, bool deposits, uint256 ceiling) external {
        (uint64 serial, Line storage l) = pick(seed);
        if (serial == 0 || l.closed) return;
        uint256 lane = deposits ? 1 : 0;
        Lane storage a = l.lanes[lane];
        if (a.loweringAt != 0 || a.ceiling == a.paid) return;
        ceiling = bound(ceiling, 0, a.ceiling - 1);
        bool past = lane == 0 && (block.timestamp > l.termEnd || runsDown);
        if (past && runsDown) succeeded["lowerInRunDown"]++;
        vm.prank(lane == 1 ? l.payout : past ? stranger : operator);
        vault.startLowering(serial, uint8(lane), uint128(ceiling));
        (a.loweringTo, a.loweringAt) = (past ? 0 : ceiling, block.timestamp + 1 days);
        done("startLowering");
    }

    function finishLowering(uint256 seed) external {
        for (uint256 i = 0; i < 2 * serials; i++) {
            uint64 serial = uint64(1 + (seed % serials + i / 2) % serials);
            Line storage l = lines[serial];
            Lane storage a = l.lanes[i % 2];
            if (l.closed || a.loweringAt == 0 || block.timestamp < a.loweringAt) continue;
            vault.finishLowering(serial, uint8(i % 2));
            a.loweringAt = 0;
            lowered(l, i % 2, a.loweringTo);
            return done("finishLowering");
        }
    }

    function both(Line storage l, bytes32 digest)
        private
        view
        returns (IVault.Signature memory, IVault.Signature memory)
    {
        return (compact(l.lanes[0].key, digest), compact(l.lanes[1].key, digest));
    }

    function netOff(uint256 seed, uint128 amount) external {
        (uint64 serial, Line storage l) = pick(seed);
        if (serial == 0 || l.closed) return;
        amount = uint128(bound(amount, 1, 2 * ONE));
        (uint128 pool, uint128 peer) = (uint128(l.lanes[0].paid), uint128(l.lanes[1].paid));
        (IVault.Signature memory a, IVault.Signature memory b) =
            both(l, Digests.netOff(separator(), serial, pool, peer, amount));
        vault.netOff(serial, pool, peer, amount, a, b);
        for (uint256 i = 0; i < 2; i++) {
            l.lanes[i].paid += amount;
            l.lanes[i].ceiling += amount;
            l.lanes[i].loweringTo += amount;
        }
        done("netOff");
    }

    function closeTogether(uint256 seed, uint256 pool, uint256 peer) external {
        if (seed % 8 != 0) return; // seldom, or no channel gets old
        (uint64 serial, Line storage l) = pick(seed / 8);
        if (serial == 0 || l.closed) return;
        pool = bound(pool, l.lanes[0].paid, l.lanes[0].ceiling);
        peer = bound(peer, l.lanes[1].paid, l.lanes[1].ceiling);
        (IVault.Signature memory a, IVault.Signature memory b) =
            both(l, Digests.coopClose(separator(), serial, uint128(pool), uint128(peer)));
        vault.closeTogether(serial, uint128(pool), uint128(peer), a, b);
        closed(l, pool, peer);
        done("closeTogether");
    }

    function closed(Line storage l, uint256 pool, uint256 peer) private {
        l.closed = true;
        freeHere += (peer - l.lanes[1].paid) + (l.lanes[0].ceiling - pool);
        paidOut(l.payout, (pool - l.lanes[0].paid) + (l.lanes[1].ceiling - peer));
        (l.lanes[0].ceiling, l.lanes[0].paid) = (pool, pool);
        (l.lanes[1].ceiling, l.lanes[1].paid) = (peer, peer);
    }

    function startClose(uint256 seed, bool byPeer) external {
        if (seed % 8 != 0) return;
        (uint64 serial, Line storage l) = pick(seed / 8);
        if (serial == 0 || l.closed || l.closeAt != 0) return;
        vm.prank(byPeer ? l.payout : operator);
        vault.startClose(serial);
        l.closeAt = block.timestamp + 1 days;
        done("startClose");
    }

    function finishClose(uint256 seed) external {
        for (uint256 i = 0; i < serials; i++) {
            uint64 serial = uint64(1 + (seed % serials + i) % serials);
            Line storage l = lines[serial];
            if (l.closed || l.closeAt == 0 || block.timestamp < l.closeAt) continue;
            vault.finishClose(serial);
            closed(l, l.lanes[0].paid, l.lanes[1].paid);
            return done("finishClose");
        }
    }

    // ---------------------------------------------------------------------------------------------------------- keys

    function keyChanged(uint64 serial, Line storage l, uint256 lane, uint256 key) private {
        Lane storage a = l.lanes[lane];
        uint256 kept = former[serial][lane][a.key];
        former[serial][lane][a.key] = a.ceiling > kept ? a.ceiling : kept;
        a.key = key;
    }

    function changeKey(uint256 seed, bool ofPeer) external {
        (uint64 serial, Line storage l) = pick(seed);
        if (serial == 0 || l.closed) return;
        uint256 lane = ofPeer ? 1 : 0;
        uint256 key = l.lanes[lane].key + 10_000;
        bytes32 digest = Digests.keyChange(separator(), serial, uint8(lane), vm.addr(key), l.nonce++);
        IVault.Signature memory s = compact(l.lanes[1 - lane].key, digest);
        vm.prank(ofPeer ? l.payout : operator);
        vault.changeKey(serial, uint8(lane), vm.addr(key), s);
        keyChanged(serial, l, lane, key);
        done("changeKey");
    }

    function startKeyChange(uint256 seed, bool ofPeer) external {
        (uint64 serial, Line storage l) = pick(seed);
        uint256 lane = ofPeer ? 1 : 0;
        if (serial == 0 || l.closed || l.lanes[lane].keyChangeAt != 0) return;
        vm.prank(ofPeer ? l.payout : operator);
        vault.startKeyChange(serial, uint8(lane), vm.addr(500_000 + serial));
        l.lanes[lane].keyChangeAt = block.timestamp + 1 days;
        done("startKeyChange");
    }

    function finishKeyChange(uint256 seed) external {
        for (uint256 i = 0; i < 2 * serials; i++) {
            uint64 serial = uint64(1 + (seed % serials + i / 2) % serials);
            Line storage l = lines[serial];
            uint256 deadline = l.lanes[i % 2].keyChangeAt;
            if (l.closed || deadline == 0 || block.timestamp < deadline) continue;
            vault.finishKeyChange(serial, uint8(i % 2));
            l.lanes[i % 2].keyChangeAt = 0;
            keyChanged(serial, l, i % 2, 500_000 + serial);
            return done("finishKeyChange");
        }
    }

    function reclaim(uint256 who) external {
        address owner = payees[2 - who % 2];
        uint256 owed = owedTo[owner];
        if (owed == 0) return;
        vm.prank(owner);
        eq(vault.reclaim(sink), owed, "all of it");
        owedTo[owner] = 0;
        moneyOut += owed;
        done("reclaim");
    }
}
