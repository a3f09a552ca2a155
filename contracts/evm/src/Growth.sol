// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "./Digests.sol";
import {Treasury} from "./Treasury.sol";

/// @title What bounds growth: the operator's token bucket, the committee, the freeze, the heartbeat, overdue exits, the run-down.
/// @dev Prose and assumptions are in IVault.
abstract contract Growth is Treasury {
    uint256 internal constant DAY = 1 days;
    uint256 private constant FREEZE_MAX = 7 days;
    uint256 private constant FREEZE_REST = 30 days;

    // The word `growth`, which a raise reads once and writes once:
    //   bits   0 … 127  what was in the bucket …
    //        128 … 167  … at this time
    //        168 … 207  raises and renewals are frozen until then
    //        208 … 247  the operator's last sign of life
    //        248        the vault runs down
    uint256 private constant BUCKET_AT = 128;
    uint256 private constant FROZEN_UNTIL = 168;
    uint256 private constant HEARTBEAT_AT = 208;
    uint256 private constant RUNS_DOWN = 1 << 248;
    uint256 private constant TIME_MASK = type(uint40).max;

    // -------------------------------------------------------------------------------------------------- may the vault grow

    /// @dev Refuses while frozen, running down, or with a cohort past its notice. Returns the word, for `_spendBucket`.
    function _requireGrowth() internal view returns (uint256 word) {
        word = growth;
        _requireRunning(word);
        _refuseIf(block.timestamp < _time(word, FROZEN_UNTIL), Frozen.selector);
        _requireExitsInTime();
    }

    function _requireRunning(uint256 word) internal pure {
        _refuseIf(word & RUNS_DOWN != 0, RunsDown.selector);
    }

    /// @dev While a cohort is past its notice, nothing may grow.
    function _requireExitsInTime() internal view {
        uint256 dueAt = exitsDueAt;
        _refuseIf(dueAt != 0 && block.timestamp > dueAt, ExitsOverdue.selector);
    }

    function _runsDown() internal view returns (bool) {
        return growth & RUNS_DOWN != 0;
    }

    function _time(uint256 word, uint256 place) private pure returns (uint256) {
        return (word >> place) & TIME_MASK;
    }

    function _withTime(uint256 word, uint256 place, uint256 time) private pure returns (uint256) {
        return (word & ~(TIME_MASK << place)) | (time << place);
    }

    // ---------------------------------------------------------------------------------------------- bucket and heartbeat

    /// @dev Takes from the bucket what the operator's key allots on its own; that it allots is a sign of life as well.
    function _spendBucket(uint256 word, uint256 amount) internal {
        uint256 level = _bucketLevel(word);
        _refuseIf(amount > level, BucketEmpty.selector);
        word = _withTime(_withTime(word, BUCKET_AT, block.timestamp), HEARTBEAT_AT, block.timestamp);
        growth = ((word >> 128) << 128) | (level - amount);
    }

    function _bucketLevel(uint256 word) private view returns (uint256 level) {
        level = uint128(word) + bucketRefillPerDay * (block.timestamp - _time(word, BUCKET_AT)) / DAY;
        if (level > bucketCapacity) level = bucketCapacity;
    }

    function heartbeat() external onlyOperator {
        uint256 word = growth;
        _requireRunning(word);
        growth = _withTime(word, HEARTBEAT_AT, block.timestamp);
        emit Heartbeat(uint40(block.timestamp));
    }

    // --------------------------------------------------------------------------------------------------------- committee

    /// @dev At least `needed` members signed. They sign in the order of their places, so that none counts twice.
    function _requireCosigned(bytes32 digest, Cosignature[] calldata signatures, uint256 needed) internal view {
        _refuseIf(needed == 0 || signatures.length < needed, NotEnoughSignatures.selector);
        uint256 next;
        for (uint256 i = 0; i < signatures.length; i++) {
            uint256 member = signatures[i].member;
            _refuseIf(member < next || member >= committee.length, BadSignature.selector);
            _refuseIf(Digests.recover(digest, signatures[i].signature) != committee[member], BadSignature.selector);
            next = member + 1;
        }
    }

    function _requireValid(uint256 validUntil) internal view {
        _refuseIf(block.timestamp > validUntil, Expired.selector);
    }

    function freeze(uint40 until, Cosignature[] calldata signatures) external {
        uint256 word = growth;
        uint256 frozenUntil = _time(word, FROZEN_UNTIL);
        _refuseIf(until <= block.timestamp || until > block.timestamp + FREEZE_MAX || until <= frozenUntil, BadTerm.selector);
        uint256 needed = committeeFreeze;
        if (block.timestamp < frozenUntil + FREEZE_REST) needed = committeeSpend;
        _requireCosigned(Digests.freeze(_separator(), until), signatures, needed);
        growth = _withTime(word, FROZEN_UNTIL, until);
        emit FrozenUntil(until);
    }

    function markDown(uint128 to, uint40 validUntil, Cosignature[] calldata signatures) external {
        _requireRunning(growth);
        _requireValid(validUntil);
        _refuseIf(to == 0 || to >= index, IndexNotLower.selector);
        uint64 nonce = committeeNonce;
        bytes32 digest = Digests.markDown(_separator(), to, nonce, validUntil);
        _requireCosigned(digest, signatures, committeeSpend);
        emit MarkedDown(to, shareUnits, nonce);
        (shareUnits, committeeNonce) = (0, nonce + 1);
        (index, accruedAt) = (to, uint40(block.timestamp));
    }

    // ---------------------------------------------------------------------------------------------------------- run-down

    /// @dev True once the operator is silent for too long, or the oldest cohort was not paid in all the time that it takes to bring
    /// every allotment home: its notice, the longest term, a close period.
    function _mayRunDown(uint256 word) internal view returns (bool) {
        uint256 dueAt = exitsDueAt;
        bool unpaid = dueAt != 0 && block.timestamp > dueAt + termMaxS + closePeriodS;
        return unpaid || block.timestamp > _time(word, HEARTBEAT_AT) + heartbeatMaxS;
    }

    function _setRunsDown(uint256 word) internal {
        growth = word | RUNS_DOWN;
    }

    // ------------------------------------------------------------------------------------------------------------- views

    function books() external view returns (Books memory b) {
        uint256 word = growth;
        b.free = free;
        b.unitsTotal = unitsTotal;
        b.index = index;
        b.accruedAt = accruedAt;
        b.exitsDueAt = exitsDueAt;
        b.cohortOldest = cohortOldest;
        b.cohortCount = cohortCount;
        b.shareUnits = shareUnits;
        b.shareNonce = shareNonce;
        b.committeeNonce = committeeNonce;
        b.bucket = _bucketLevel(word);
        b.frozenUntil = _time(word, FROZEN_UNTIL);
        b.heartbeatAt = _time(word, HEARTBEAT_AT);
        b.runsDown = word & RUNS_DOWN != 0;
    }

    function raisable() external view returns (uint128) {
        uint256 word = growth;
        uint256 dueAt = exitsDueAt;
        bool stopped = word & RUNS_DOWN != 0 || block.timestamp < _time(word, FROZEN_UNTIL)
            || (dueAt != 0 && block.timestamp > dueAt);
        if (stopped) return 0;
        uint256 kept = (floorBps * _noteClaims() + BPS - 1) / BPS;
        uint256 level = _bucketLevel(word);
        uint256 above = free > kept ? free - kept : 0;
        return uint128(above < level ? above : level);
    }
}
