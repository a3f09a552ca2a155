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

    uint256 internal immutable bucketCapacity;
    uint256 internal immutable bucketRefillPerDay;
    uint256 internal immutable heartbeatMaxS;
    uint256 internal immutable committeeSpend;
    uint256 internal immutable committeeFreeze;

    // ------------------------------------------------------------------------------------------------------------ storage
    // Slots 0 and 1 are read together by every raise and exit payment, slot 2 by every raise.

    uint128 internal free; // slot 0
    uint128 internal unitsTotal;

    uint128 internal index; // slot 1
    uint40 internal accruedAt;
    uint40 internal exitsDueAt;
    uint24 internal cohortOldest;
    uint24 internal cohortCount;

    uint256 internal growth; // slot 2: what bounds growth, packed as Growth.sol draws it

    uint128 internal shareUnits; // slot 3
    uint64 internal shareNonce;
    uint64 internal committeeNonce;

    address[] internal committee; // slot 4

    mapping(address payee => uint256) private reclaims; // slot 5

    bool private transient receiving;

    // -------------------------------------------------------------------------------------------------------- construction

    constructor(Parameters memory p) {
        bool bounded = p.operator != address(0) && p.floorBps < BPS && p.closePeriodS != 0 && p.exitNoticeS != 0
            && p.termMaxS != 0 && p.indexRateMaxRayPerDay <= RAY && p.noteMin != 0 && p.heartbeatMaxS != 0;
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
        growth = p.bucketCapacity | (block.timestamp << 128) | (block.timestamp << 208);
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

    /// @dev `if (refused) revert …();` in one place, which is what keeps the contract under the 24,576 bytes of EIP-170.
    function _refuseIf(bool refused, bytes4 why) internal pure {
        assembly ("memory-safe") {
            if refused {
                mstore(0, why)
                revert(0, 4)
            }
        }
    }

    modifier onlyOperator() {
        _requireOperator();
        _;
    }

    function _requireOperator() private view {
        _refuseIf(msg.sender != operator, NotOperator.selector);
    }

    /// @dev After a fork of the chain the separator changes with the chain id, and no voucher counts on both sides.
    function _separator() internal view returns (bytes32) {
        if (block.chainid == builtChainId) return builtSeparator;
        return Digests.domain(block.chainid, address(this));
    }

    /// @dev Takes from free money and holds it to the floor.
    function _spendFree(uint256 amount) internal {
        uint256 before = free;
        _refuseIf(amount > before, NotEnoughFree.selector);
        uint256 left = before - amount;
        _refuseIf(left * BPS < floorBps * _noteClaims(), BelowFloor.selector);
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
        _refuseIf(amount == 0, ZeroAmount.selector);
        bool ether_ = asset == address(0);
        _refuseIf(msg.value != (ether_ ? amount : 0), WrongValue.selector);
        if (ether_) return amount;
        _refuseIf(receiving, Reentered.selector);
        receiving = true;
        uint256 before = _balance();
        bytes memory call = abi.encodeWithSignature("transferFrom(address,address,uint256)", msg.sender, address(this), amount);
        _refuseIf(!_callToken(call, gasleft()), TransferFailed.selector);
        uint256 gained = _balance() - before;
        receiving = false;
        _refuseIf(gained == 0, TransferFailed.selector);
        return gained < amount ? uint128(gained) : amount;
    }

    function _balance() private view returns (uint256) {
        return IERC20(asset).balanceOf(address(this));
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
        _refuseIf(receiving, Reentered.selector);
        bool ether_ = asset == address(0);
        uint256 gasCap = ether_ ? ETH_PAYOUT_GAS : TOKEN_PAYOUT_GAS;
        _refuseIf(gasleft() < gasCap + gasCap / 63 + CALL_GAS, GasTooLow.selector);
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
        _refuseIf(owed == 0, NothingToReclaim.selector);
        reclaims[msg.sender] = 0;
        amount = _to128(owed);
        emit Reclaimed(msg.sender, to, amount);
        _refuseIf(!_send(to, owed), TransferFailed.selector);
    }

    function _to128(uint256 value) internal pure returns (uint128) {
        _refuseIf(value > type(uint128).max, AmountTooLarge.selector);
        return uint128(value);
    }

    function _to96(uint256 value) internal pure returns (uint96) {
        _refuseIf(value > type(uint96).max, AmountTooLarge.selector);
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
            bucketCapacity: uint128(bucketCapacity),
            bucketRefillPerDay: uint128(bucketRefillPerDay),
            heartbeatMaxS: uint32(heartbeatMaxS),
            committeeSpend: uint8(committeeSpend),
            committeeFreeze: uint8(committeeFreeze),
            committee: committee
        });
    }

    function domainSeparator() external view returns (bytes32) {
        return _separator();
    }

    function noteClaims() external view returns (uint128) {
        return _to128(_noteClaims());
    }

    function reclaimOf(address payee) external view returns (uint128) {
        return _to128(reclaims[payee]);
    }
}
