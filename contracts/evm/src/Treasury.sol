// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "./Digests.sol";
import {IVault} from "./interfaces/IVault.sol";

interface IERC20 {
    function balanceOf(address account) external view returns (uint256);
}

/// @title What notes and channels share: parameters, free money, the floor, money in and money out.
/// @dev Prose and assumptions are in IVault.
abstract contract Treasury is IVault {
    uint256 internal constant RAY = 1e27;
    uint256 internal constant BPS = 10_000;
    uint8 internal constant POOL_LANE = 0;
    uint8 internal constant PEER_LANE = 1;

    /// @dev What a payee may spend. A plain account needs none, a smart account a few thousand, a token with a proxy about 60,000.
    uint256 private constant ETH_PAYOUT_GAS = 30_000;
    uint256 private constant TOKEN_PAYOUT_GAS = 120_000;
    /// @dev What the call itself may cost before its gas is handed over: value, cold and new account.
    uint256 private constant CALL_GAS = 40_000;

    address internal immutable asset;
    address internal immutable operator;
    address internal immutable shareHolder;
    uint256 internal immutable floorBps;
    uint256 internal immutable closePeriodS;
    uint256 internal immutable exitNoticeS;
    uint256 internal immutable termMaxS;
    uint256 internal immutable indexRateMaxRayPerDay;
    uint256 internal immutable noteMin;
    uint256 private immutable builtChainId;
    bytes32 private immutable builtSeparator;

    // Parameters of the rules that are recorded but not enforced in this version.
    uint128 internal immutable bucketCapacity;
    uint128 internal immutable bucketRefillPerDay;
    uint32 internal immutable heartbeatMaxS;
    uint8 internal immutable committeeSpend;
    uint8 internal immutable committeeFreeze;

    // ------------------------------------------------------------------------------------------------------------ storage
    // Slots 0 and 1 are read together by every raise and exit payment; slot 2 belongs to rules not enforced in this version.

    uint128 internal free; // slot 0
    uint128 internal unitsTotal;

    uint128 internal index; // slot 1
    uint40 internal accruedAt;
    uint40 internal exitsDueAt;
    uint24 internal cohortOldest;
    uint24 internal cohortCount;

    uint128 internal bucketLevel; // slot 2: token bucket, freeze and run-down
    uint40 internal bucketAt;
    uint40 internal frozenUntil;
    uint40 internal heartbeatAt;
    bool internal runsDown;

    uint128 internal shareUnits; // slot 3
    uint64 internal shareNonce;

    address[] internal committee; // slot 4

    mapping(address payee => uint256) private reclaims; // slot 5

    bool private transient receiving;

    // -------------------------------------------------------------------------------------------------------- construction

    constructor(Parameters memory p) {
        bool bounded = p.operator != address(0) && p.floorBps < BPS && p.closePeriodS != 0 && p.exitNoticeS != 0
            && p.termMaxS != 0 && p.indexRateMaxRayPerDay <= RAY && p.noteMin != 0;
        if (!bounded || !_committeeFits(p)) revert BadParameters();
        if (p.asset != address(0) && p.asset.code.length == 0) revert BadParameters();

        asset = p.asset;
        operator = p.operator;
        shareHolder = p.shareHolder;
        floorBps = p.floorBps;
        closePeriodS = p.closePeriodS;
        exitNoticeS = p.exitNoticeS;
        termMaxS = p.termMaxS;
        indexRateMaxRayPerDay = p.indexRateMaxRayPerDay;
        noteMin = p.noteMin;
        bucketCapacity = p.bucketCapacity;
        bucketRefillPerDay = p.bucketRefillPerDay;
        heartbeatMaxS = p.heartbeatMaxS;
        committeeSpend = p.committeeSpend;
        committeeFreeze = p.committeeFreeze;
        committee = p.committee;
        builtChainId = block.chainid;
        builtSeparator = Digests.domain(block.chainid, address(this));

        index = uint128(RAY);
        accruedAt = uint40(block.timestamp);
        bucketLevel = p.bucketCapacity;
        bucketAt = uint40(block.timestamp);
        heartbeatAt = uint40(block.timestamp);
        emit Built(p.asset, p.operator, p.shareHolder);
    }

    /// @dev n/2 < t ≤ n, f < t, members distinct and not zero; or no committee at all.
    function _committeeFits(Parameters memory p) private pure returns (bool) {
        uint256 n = p.committee.length;
        if (n == 0) return p.committeeSpend == 0 && p.committeeFreeze == 0;
        if (p.committeeSpend > n || 2 * uint256(p.committeeSpend) <= n) return false;
        if (p.committeeFreeze >= p.committeeSpend || p.committeeFreeze == 0) return false;
        for (uint256 i = 0; i < n; i++) {
            if (p.committee[i] == address(0)) return false;
            for (uint256 j = 0; j < i; j++) {
                if (p.committee[i] == p.committee[j]) return false;
            }
        }
        return true;
    }

    // --------------------------------------------------------------------------------------------------------------- rules

    modifier onlyOperator() {
        if (msg.sender != operator) revert NotOperator();
        _;
    }

    /// @dev After a fork of the chain the separator changes with the chain id, and no voucher counts on both sides.
    function _separator() internal view returns (bytes32) {
        if (block.chainid == builtChainId) return builtSeparator;
        return Digests.domain(block.chainid, address(this));
    }

    /// @dev While a cohort is past its notice, nothing may grow.
    function _requireExitsInTime() internal view {
        uint256 dueAt = exitsDueAt;
        if (dueAt != 0 && block.timestamp > dueAt) revert ExitsOverdue();
    }

    /// @dev Takes from free money and holds it to the floor.
    function _spendFree(uint256 amount) internal {
        uint256 before = free;
        if (amount > before) revert NotEnoughFree();
        uint256 left = before - amount;
        if (left * BPS < floorBps * _noteClaims()) revert BelowFloor();
        free = uint128(left);
    }

    function _addFree(uint256 amount) internal {
        free = _to128(uint256(free) + amount);
    }

    /// @dev What notes are worth, rounded up, in their favour.
    function _noteClaims() internal view returns (uint256) {
        return (uint256(unitsTotal) * index + RAY - 1) / RAY;
    }

    // --------------------------------------------------------------------------------------------------- money in and out

    /// @dev Takes a deposit from the caller and returns what arrived of it.
    function _receive(uint128 amount) internal returns (uint128 arrived) {
        if (amount == 0) revert ZeroAmount();
        if (asset == address(0)) {
            if (msg.value != amount) revert WrongValue();
            return amount;
        }
        if (msg.value != 0) revert WrongValue();
        if (receiving) revert Reentered();
        receiving = true;
        uint256 before = IERC20(asset).balanceOf(address(this));
        bytes memory call = abi.encodeWithSignature("transferFrom(address,address,uint256)", msg.sender, address(this), amount);
        if (!_callToken(call, gasleft())) revert TransferFailed();
        uint256 gained = IERC20(asset).balanceOf(address(this)) - before;
        receiving = false;
        if (gained == 0) revert TransferFailed();
        return gained < amount ? uint128(gained) : amount;
    }

    /// @dev Pays, or books a reclaim balance when the payee or the token refuses. Callers have written their books before.
    function _pay(address payee, uint256 amount) internal {
        if (amount == 0) return;
        if (_send(payee, amount)) return;
        reclaims[payee] += amount;
        emit PayoutFailed(payee, _to128(amount));
    }

    /// @dev The payee gets a fixed amount of gas, and the caller must have brought it: nobody can make a payout fail by calling with too little.
    function _send(address payee, uint256 amount) private returns (bool sent) {
        if (receiving) revert Reentered();
        bool ether_ = asset == address(0);
        uint256 gasCap = ether_ ? ETH_PAYOUT_GAS : TOKEN_PAYOUT_GAS;
        if (gasleft() < gasCap + gasCap / 63 + CALL_GAS) revert GasTooLow();
        if (!ether_) return _callToken(abi.encodeWithSignature("transfer(address,uint256)", payee, amount), gasCap);
        // In assembly, so that nothing the payee returns is copied at the caller's cost.
        assembly ("memory-safe") {
            sent := call(gasCap, payee, amount, 0, 0, 0, 0)
        }
    }

    /// @dev True when the token did not revert, and returned nothing or true. Never reverts itself.
    function _callToken(bytes memory data, uint256 gasCap) private returns (bool done) {
        address token = asset;
        assembly ("memory-safe") {
            done := call(gasCap, token, 0, add(data, 32), mload(data), 0, 32)
            if returndatasize() { done := and(done, and(gt(returndatasize(), 31), gt(mload(0), 0))) }
        }
    }

    function reclaim(address to) external returns (uint128 amount) {
        uint256 owed = reclaims[msg.sender];
        if (owed == 0) revert NothingToReclaim();
        reclaims[msg.sender] = 0;
        amount = _to128(owed);
        emit Reclaimed(msg.sender, to, amount);
        if (!_send(to, owed)) revert TransferFailed();
    }

    function _to128(uint256 value) internal pure returns (uint128) {
        if (value > type(uint128).max) revert AmountTooLarge();
        return uint128(value);
    }

    function _to96(uint256 value) internal pure returns (uint96) {
        if (value > type(uint96).max) revert AmountTooLarge();
        return uint96(value);
    }

    // --------------------------------------------------------------------------------------------------------------- views

    function parameters() external view returns (Parameters memory) {
        return Parameters({
            asset: asset,
            operator: operator,
            shareHolder: shareHolder,
            floorBps: uint16(floorBps),
            closePeriodS: uint32(closePeriodS),
            exitNoticeS: uint32(exitNoticeS),
            termMaxS: uint32(termMaxS),
            indexRateMaxRayPerDay: uint128(indexRateMaxRayPerDay),
            noteMin: uint128(noteMin),
            bucketCapacity: bucketCapacity,
            bucketRefillPerDay: bucketRefillPerDay,
            heartbeatMaxS: heartbeatMaxS,
            committeeSpend: committeeSpend,
            committeeFreeze: committeeFreeze,
            committee: committee
        });
    }

    function domainSeparator() external view returns (bytes32) {
        return _separator();
    }

    function books() external view returns (Books memory) {
        return Books({
            free: free,
            unitsTotal: unitsTotal,
            index: index,
            accruedAt: accruedAt,
            exitsDueAt: exitsDueAt,
            cohortOldest: cohortOldest,
            cohortCount: cohortCount,
            shareUnits: shareUnits,
            shareNonce: shareNonce
        });
    }

    function noteClaims() external view returns (uint128) {
        return _to128(_noteClaims());
    }

    function raisable() external view returns (uint128) {
        uint256 dueAt = exitsDueAt;
        if (dueAt != 0 && block.timestamp > dueAt) return 0;
        uint256 kept = (floorBps * _noteClaims() + BPS - 1) / BPS;
        return free > kept ? uint128(free - kept) : 0;
    }

    function reclaimOf(address payee) external view returns (uint128) {
        return _to128(reclaims[payee]);
    }
}
