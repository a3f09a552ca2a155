// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "./Digests.sol";
import {Growth} from "./Growth.sol";

/// @title LP claims: notes, the cohorts in which they leave, the share holder's capital, and what becomes of all when the vault runs down.
/// @dev Prose and assumptions are in IVault.
abstract contract Notes is Growth {
    /// @dev The cohort of all units that are not paid when the vault begins to run down.
    uint24 private constant RUN_DOWN = type(uint24).max;
    /// @dev Cohorts that are paid before a run-down is judged: more than a day each for all the time that one waits.
    uint24 private constant COHORTS_TRIED_MAX = 32;

    /// @dev A cohort takes newcomers as long as at least one part in this many is unpaid; beyond, `parts` would outgrow its bits.
    uint256 private constant DILUTION_MAX = 1e9;

    /// @dev A cohort is itself a small fund: members hold parts of its unpaid units, newcomers buy in at the current units per part.
    /// So a payment is one step for all members, pro rata, and whoever joins later is neither paid from nor charged for what was before.
    struct Cohort {
        uint128 unitsUnpaid;
        uint32 day;
        uint40 dueAt;
        uint256 parts;
        uint256 paidPerPart; // × 2^128, rounded up: so that a member's share, rounded down, is not a unit short
        uint256 unclaimed; // what rounding up could promise beyond the money set aside, this refuses
    }

    struct Membership {
        uint256 parts;
        uint256 paidPerPartSeen;
    }

    mapping(address member => uint128) private units; // slot 6
    mapping(uint24 id => Cohort) private cohorts; // slot 7
    mapping(uint24 id => mapping(address member => Membership)) private memberships; // slot 8

    // --------------------------------------------------------------------------------------------------------------- notes

    function depositNote(uint128 amount) external payable returns (uint128 minted) {
        _requireRunning(growth);
        uint128 arrived = _receive(amount);
        _refuseIf(arrived < noteMin, TooSmall.selector);
        minted = _to128(uint256(arrived) * RAY / index);
        _refuseIf(minted == 0, TooSmall.selector);
        _addFree(arrived);
        unitsTotal += minted;
        units[msg.sender] += minted;
        emit NoteDeposited(msg.sender, arrived, minted);
    }

    function accrue(uint128 to) external onlyOperator {
        _requireRunning(growth);
        uint256 from = index;
        uint256 elapsed = block.timestamp - accruedAt;
        if (elapsed > DAY) elapsed = DAY;
        uint256 riseMax = from * (indexRateMaxRayPerDay * elapsed / DAY) / RAY;
        _refuseIf(to <= from || to - from > riseMax, IndexTooFast.selector);
        index = to;
        accruedAt = uint40(block.timestamp);
        emit Accrued(to);
    }

    // --------------------------------------------------------------------------------------------------------------- exits

    function requestExit(uint128 locked) external returns (uint24 id) {
        _requireRunning(growth);
        uint128 held = units[msg.sender];
        _refuseIf(locked == 0, ZeroAmount.selector);
        _refuseIf(locked > held, NotEnoughUnits.selector);
        _refuseIf(locked != held && uint256(locked) * index / RAY < noteMin, TooSmall.selector);
        units[msg.sender] = held - locked;

        id = _cohortOfToday();
        Cohort storage joined = cohorts[id];
        Membership storage membership = memberships[id][msg.sender];
        uint256 owed = _takeOwed(joined, membership);
        uint256 parts = joined.parts == 0 ? locked : locked * joined.parts / joined.unitsUnpaid;
        membership.parts += parts;
        joined.parts += parts;
        joined.unitsUnpaid += locked;
        emit ExitRequested(msg.sender, id, locked, joined.dueAt);
        _payClaim(id, msg.sender, owed);
    }

    function _cohortOfToday() private returns (uint24 id) {
        uint32 today = uint32(block.timestamp / DAY);
        uint24 count = cohortCount;
        if (count != 0) {
            Cohort storage last = cohorts[count - 1];
            uint256 unpaid = last.unitsUnpaid;
            if (last.day == today && unpaid != 0 && last.parts <= unpaid * DILUTION_MAX) return count - 1;
        }
        uint40 dueAt = uint40(block.timestamp + exitNoticeS);
        cohorts[count].day = today;
        cohorts[count].dueAt = dueAt;
        if (exitsDueAt == 0) exitsDueAt = dueAt;
        cohortCount = count + 1;
        return count;
    }

    function payExits(uint24 cohortsMax) public returns (uint128 amount) {
        if (_runsDown()) return _payRunDown();
        uint24 oldest = cohortOldest;
        uint24 count = cohortCount;
        uint256 paid;
        for (uint24 i = 0; i < cohortsMax && oldest < count; i++) {
            (uint256 worth, bool whole) = _payCohort(oldest, _payableToExits());
            paid += worth;
            if (!whole) break;
            oldest++;
        }
        cohortOldest = oldest;
        exitsDueAt = oldest < count ? cohorts[oldest].dueAt : 0;
        return _to128(paid);
    }

    /// @dev Burns as many of the cohort's units as `payable_` of the free money can pay, and sets that money aside for its members.
    function _payCohort(uint24 id, uint256 payable_) private returns (uint256 worth, bool whole) {
        Cohort storage paying = cohorts[id];
        uint256 unpaid = paying.unitsUnpaid;
        uint256 burnt = unpaid;
        worth = unpaid * index / RAY;
        if (worth > payable_) {
            burnt = payable_ * RAY / index;
            if (burnt == 0) return (0, false);
            worth = burnt * index / RAY;
        }
        unitsTotal -= uint128(burnt);
        free -= uint128(worth);
        paying.unitsUnpaid = uint128(unpaid - burnt);
        uint256 parts = paying.parts;
        paying.paidPerPart += ((worth << 128) + parts - 1) / parts;
        paying.unclaimed += worth;
        emit ExitsPaid(id, uint128(burnt), uint128(worth), uint128(unpaid - burnt));
        return (worth, burnt == unpaid);
    }

    /// @dev The largest m with free − m ≥ floor × (claims − m).
    function _payableToExits() private view returns (uint256) {
        uint256 have = uint256(free) * BPS;
        uint256 kept = floorBps * _noteClaims();
        if (have <= kept) return 0;
        uint256 most = (have - kept) / (BPS - floorBps);
        return most < free ? most : free;
    }

    function claimExit(uint24 id, address member) external returns (uint128 amount) {
        uint256 owed = _takeOwed(cohorts[id], memberships[id][member]);
        _payClaim(id, member, owed);
        if (_runsDown()) {
            uint256 more = _joinRunDown(id, member);
            _payClaim(RUN_DOWN, member, more);
            owed += more;
        }
        return uint128(owed);
    }

    /// @dev What `parts` have coming since `seen`.
    function _owed(Cohort storage from, uint256 parts, uint256 seen) private view returns (uint256) {
        uint256 share = (parts * (from.paidPerPart - seen)) >> 128;
        uint256 unclaimed = from.unclaimed;
        return share < unclaimed ? share : unclaimed;
    }

    function _takeOwed(Cohort storage from, Membership storage membership) private returns (uint256 owed) {
        owed = _owed(from, membership.parts, membership.paidPerPartSeen);
        membership.paidPerPartSeen = from.paidPerPart;
        if (owed != 0) from.unclaimed -= owed;
    }

    function _payClaim(uint24 id, address member, uint256 owed) private {
        if (owed == 0) return;
        emit ExitClaimed(id, member, uint128(owed));
        _pay(member, owed);
    }

    // ------------------------------------------------------------------------------------------------------------ run-down

    function startRunDown() external {
        uint256 word = growth;
        _requireRunning(word);
        payExits(COHORTS_TRIED_MAX);
        _refuseIf(!_mayRunDown(word), TooEarly.selector);
        _setRunsDown(word);
        uint128 unpaid = unitsTotal;
        (cohorts[RUN_DOWN].unitsUnpaid, cohorts[RUN_DOWN].parts) = (unpaid, unpaid);
        emit RunDownStarted(unpaid);
    }

    /// @dev All notes alike from all free money, without a floor: it was there for them. Once they are paid, the share holder.
    function _payRunDown() private returns (uint128 amount) {
        if (unitsTotal != 0) {
            (uint256 worth,) = _payCohort(RUN_DOWN, free);
            amount = uint128(worth);
        }
        uint128 rest = free;
        if (unitsTotal == 0 && shareUnits != 0 && rest != 0) {
            free = 0;
            emit ShareWithdrawn(0, rest, shareNonce);
            _pay(shareHolder, rest);
            amount += rest;
        }
    }

    /// @dev Moves a member's units, free ones or those unpaid in an older cohort, into the cohort of all, with what they missed there.
    function _joinRunDown(uint24 id, address member) private returns (uint256 owed) {
        Cohort storage all = cohorts[RUN_DOWN];
        Membership storage joined = memberships[RUN_DOWN][member];
        owed = _takeOwed(all, joined);
        uint256 moved = units[member];
        units[member] = 0;
        if (id != RUN_DOWN) moved += _leaveCohort(cohorts[id], memberships[id][member]);
        joined.parts += moved;
        uint256 missed = _owed(all, moved, 0);
        all.unclaimed -= missed;
        owed += missed;
    }

    function _leaveCohort(Cohort storage from, Membership storage membership) private returns (uint256 moved) {
        uint256 parts = membership.parts;
        if (parts == 0) return 0;
        moved = parts * from.unitsUnpaid / from.parts;
        membership.parts = 0;
        from.parts -= parts;
        from.unitsUnpaid -= uint128(moved);
    }

    // -------------------------------------------------------------------------------------------------------------- shares

    function _requireShareHolder() private view {
        _refuseIf(msg.sender != shareHolder, NotShareHolder.selector);
    }

    function depositShare(uint128 amount) external payable returns (uint128 minted) {
        _requireShareHolder();
        _requireRunning(growth);
        minted = _receive(amount);
        _addFree(minted);
        shareUnits += minted;
        emit ShareDeposited(minted, minted);
    }

    function withdrawShare(uint128 burnt, uint128 amount, uint40 validUntil, Cosignature[] calldata signatures)
        external
    {
        _requireShareHolder();
        _requireRunning(growth);
        _requireValid(validUntil);
        _requireExitsInTime();
        _refuseIf(burnt > shareUnits, NotEnoughUnits.selector);
        uint64 nonce = shareNonce;
        bytes32 digest = Digests.shareExit(_separator(), msg.sender, burnt, amount, nonce, validUntil);
        _requirePriced(digest, signatures);
        shareNonce = nonce + 1;
        shareUnits -= burnt;
        _spendFree(amount);
        emit ShareWithdrawn(burnt, amount, nonce);
        _pay(msg.sender, amount);
    }

    /// @dev The committee says what shares are worth; where there is none, the operator does.
    function _requirePriced(bytes32 digest, Cosignature[] calldata signatures) private view {
        if (committeeSpend != 0) return _requireCosigned(digest, signatures, committeeSpend);
        _refuseIf(signatures.length != 1, NotEnoughSignatures.selector);
        _refuseIf(Digests.recover(digest, signatures[0].signature) != operator, BadSignature.selector);
    }

    // --------------------------------------------------------------------------------------------------------------- views

    function cohort(uint24 id) external view returns (CohortView memory) {
        Cohort storage c = cohorts[id];
        return CohortView(c.day, c.dueAt, c.unitsUnpaid, uint128(c.unclaimed), c.parts, c.paidPerPart);
    }

    function unitsOf(address member) external view returns (uint128) {
        return units[member];
    }

    function exitOf(uint24 id, address member) external view returns (uint128 unitsUnpaid, uint128 claimable) {
        Cohort storage c = cohorts[id];
        Membership storage m = memberships[id][member];
        uint256 parts = m.parts;
        uint256 owed = _owed(c, parts, m.paidPerPartSeen);
        if (id == RUN_DOWN && _runsDown()) {
            uint256 held = units[member];
            parts += held;
            owed += _owed(c, held, 0);
        }
        unitsUnpaid = c.parts == 0 ? 0 : uint128(parts * c.unitsUnpaid / c.parts);
        claimable = uint128(owed < c.unclaimed ? owed : c.unclaimed);
    }
}
