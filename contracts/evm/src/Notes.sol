// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "./Digests.sol";
import {Treasury} from "./Treasury.sol";

/// @title LP claims: notes, the cohorts in which they leave, and the share holder's capital.
/// @dev Prose and assumptions are in IVault.
abstract contract Notes is Treasury {
    uint256 private constant DAY = 1 days;

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
        uint128 arrived = _receive(amount);
        if (arrived < noteMin) revert TooSmall();
        minted = _to128(uint256(arrived) * RAY / index);
        if (minted == 0) revert TooSmall();
        _addFree(arrived);
        unitsTotal += minted;
        units[msg.sender] += minted;
        emit NoteDeposited(msg.sender, arrived, minted);
    }

    function accrue(uint128 to) external onlyOperator {
        uint256 from = index;
        uint256 elapsed = block.timestamp - accruedAt;
        if (elapsed > DAY) elapsed = DAY;
        uint256 riseMax = from * (indexRateMaxRayPerDay * elapsed / DAY) / RAY;
        if (to <= from || to - from > riseMax) revert IndexTooFast();
        index = to;
        accruedAt = uint40(block.timestamp);
        emit Accrued(to);
    }

    // --------------------------------------------------------------------------------------------------------------- exits

    function requestExit(uint128 locked) external returns (uint24 id) {
        uint128 held = units[msg.sender];
        if (locked == 0) revert ZeroAmount();
        if (locked > held) revert NotEnoughUnits();
        if (locked != held && uint256(locked) * index / RAY < noteMin) revert TooSmall();
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

    function payExits(uint24 cohortsMax) external returns (uint128 amount) {
        uint24 oldest = cohortOldest;
        uint24 count = cohortCount;
        uint256 paid;
        for (uint24 i = 0; i < cohortsMax && oldest < count; i++) {
            (uint256 worth, bool whole) = _payCohort(oldest);
            paid += worth;
            if (!whole) break;
            oldest++;
        }
        cohortOldest = oldest;
        exitsDueAt = oldest < count ? cohorts[oldest].dueAt : 0;
        return _to128(paid);
    }

    /// @dev Burns as many of the cohort's units as free money above the floor can pay, and sets that money aside for its members.
    function _payCohort(uint24 id) private returns (uint256 worth, bool whole) {
        Cohort storage paying = cohorts[id];
        uint256 unpaid = paying.unitsUnpaid;
        uint256 burnt = unpaid;
        worth = unpaid * index / RAY;
        uint256 payable_ = _payableToExits();
        if (worth > payable_) {
            burnt = payable_ * RAY / index;
            if (burnt == 0) return (0, false);
            worth = burnt * index / RAY;
        }
        unitsTotal -= uint128(burnt);
        _spendFree(worth);
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
        return uint128(owed);
    }

    function _owed(Cohort storage from, Membership storage membership) private view returns (uint256) {
        uint256 share = (membership.parts * (from.paidPerPart - membership.paidPerPartSeen)) >> 128;
        uint256 unclaimed = from.unclaimed;
        return share < unclaimed ? share : unclaimed;
    }

    function _takeOwed(Cohort storage from, Membership storage membership) private returns (uint256 owed) {
        owed = _owed(from, membership);
        membership.paidPerPartSeen = from.paidPerPart;
        if (owed != 0) from.unclaimed -= owed;
    }

    function _payClaim(uint24 id, address member, uint256 owed) private {
        if (owed == 0) return;
        emit ExitClaimed(id, member, uint128(owed));
        _pay(member, owed);
    }

    // -------------------------------------------------------------------------------------------------------------- shares

    modifier onlyShareHolder() {
        if (msg.sender != shareHolder) revert NotShareHolder();
        _;
    }

    function depositShare(uint128 amount) external payable onlyShareHolder returns (uint128 minted) {
        minted = _receive(amount);
        _addFree(minted);
        shareUnits += minted;
        emit ShareDeposited(minted, minted);
    }

    function withdrawShare(uint128 burnt, uint128 amount, uint40 validUntil, Signature calldata signature)
        external
        onlyShareHolder
    {
        if (block.timestamp > validUntil) revert Expired();
        _requireExitsInTime();
        if (burnt > shareUnits) revert NotEnoughUnits();
        uint64 nonce = shareNonce;
        bytes32 digest = Digests.shareExit(_separator(), msg.sender, burnt, amount, nonce, validUntil);
        if (Digests.recover(digest, signature) != operator) revert BadSignature();
        shareNonce = nonce + 1;
        shareUnits -= burnt;
        _spendFree(amount);
        emit ShareWithdrawn(burnt, amount, nonce);
        _pay(msg.sender, amount);
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
        unitsUnpaid = c.parts == 0 ? 0 : uint128(m.parts * c.unitsUnpaid / c.parts);
        claimable = uint128(_owed(c, m));
    }
}
