// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "./Digests.sol";
import {Growth} from "./Growth.sol";

/// @title Channels: two one-way lanes, vouchers, net-offs, notices and closes.
/// @dev Prose and assumptions are in IVault.
abstract contract Channels is Growth {
    /// @dev Redeeming reads two slots and writes one, in either lane; raising reads and writes one.
    /// A closed channel has no poolSigner; its peerSigner stays, and says for ever that the serial is spent.
    struct Channel {
        address poolSigner; // slot 0
        uint96 poolCeiling;
        address peerPayout; // slot 1
        uint96 poolPaid;
        address peerSigner; // slot 2
        uint40 termEnd;
        uint40 closeAt;
        uint16 nonce;
        uint96 peerCeiling; // slot 3: written by the first deposit; its upper 64 bits stay 0
        uint96 peerPaid;
        Lowering[2] lowerings; // slots 4, 5: by lane, written by notices
        NewKey[2] newKeys; // slots 6, 7
    }

    struct Lowering {
        uint96 ceiling;
        uint40 deadline;
    }

    struct NewKey {
        address signer;
        uint40 deadline;
    }

    mapping(uint64 serial => Channel) private channels; // slot 9
    mapping(uint64 serial => mapping(uint256 lane => mapping(address signer => uint96))) private formerCeilings; // slot 10

    // --------------------------------------------------------------------------------------------------- opening, deposits

    function open(Opening calldata o) external payable onlyOperator {
        Channel storage c = channels[o.serial];
        _refuseIf(c.peerSigner != address(0), SerialUsed.selector);
        bool named = o.poolSigner != address(0) && o.peerSigner != address(0) && o.peerPayout != address(0);
        _refuseIf(!named || o.peerPayout == address(this), BadSigner.selector);
        _refuseIf((o.allotment == 0) != (o.termEnd == 0), BadTerm.selector);

        uint256 ceiling = _to96(o.allotment);
        _store(c, 0, uint160(o.poolSigner) | (ceiling << 160));
        _store(c, 1, uint160(o.peerPayout));
        _store(c, 2, uint160(o.peerSigner) | (uint256(o.termEnd) << 160));
        emit Opened(o.serial, o.poolSigner, o.peerSigner, o.peerPayout);
        if (ceiling != 0) {
            _spendBucket(_requireGrowth(), ceiling);
            _requireTerm(0, o.termEnd);
            _spendFree(ceiling);
            emit Raised(o.serial, uint128(ceiling));
            emit Renewed(o.serial, o.termEnd);
        }
        if (o.deposit != 0) _deposit(o.serial, c, o.deposit);
        else if (msg.value != 0) revert WrongValue();
    }

    function deposit(uint64 serial, uint128 amount, address peerPayout) external payable {
        Channel storage c = channels[serial];
        _refuseIf(c.poolSigner == address(0) || c.closeAt != 0, ChannelClosed.selector);
        _refuseIf(c.peerPayout != peerPayout, WrongPayout.selector);
        _deposit(serial, c, amount);
    }

    function _deposit(uint64 serial, Channel storage c, uint128 amount) private {
        uint128 arrived = _receive(amount);
        uint96 ceiling = _to96(uint256(c.peerCeiling) + arrived);
        c.peerCeiling = ceiling;
        emit Deposited(serial, msg.sender, arrived, ceiling);
    }

    // ---------------------------------------------------------------------------------------------------------- allotments

    function raise(Raise[] calldata raises) external onlyOperator {
        uint256 word = _requireGrowth();
        uint256 total;
        for (uint256 i = 0; i < raises.length; i = _next(i)) {
            unchecked {
                total += _raise(raises[i]); // 96 bits each
            }
        }
        if (total == 0) return;
        _spendBucket(word, total);
        _spendFree(total);
    }

    function raiseCosigned(Raise calldata more, uint40 validUntil, Cosignature[] calldata signatures)
        external
        onlyOperator
    {
        _requireGrowth();
        _requireValid(validUntil);
        uint64 nonce = committeeNonce;
        committeeNonce = nonce + 1;
        bytes32 digest =
            Digests.cosignedRaise(_separator(), more.serial, more.amount, more.termEnd, nonce, validUntil);
        _requireCosigned(digest, signatures, committeeSpend);
        _spendFree(_raise(more));
        emit Cosigned(more.serial, more.amount, nonce);
    }

    function _raise(Raise calldata more) private returns (uint256) {
        (uint256 serial, uint256 amount, uint256 termEnd) = _fields(more);
        if ((serial >> 64) | (amount >> 96) != 0) revert AmountTooLarge();
        Channel storage c = _channel(serial);
        uint256 signerWord = _load(c, 0);
        if (uint160(signerWord) == 0) revert ChannelClosed();
        if (amount != 0) {
            uint256 ceiling;
            unchecked {
                ceiling = (signerWord >> 160) + amount;
            }
            if (ceiling > type(uint96).max) revert AmountTooLarge();
            _store(c, 0, signerWord + (amount << 160));
            bytes32 topic = Raised.selector;
            assembly ("memory-safe") {
                // emit Raised(serial, ceiling)
                mstore(0, serial)
                mstore(0x20, ceiling)
                log1(0, 0x40, topic)
            }
        }
        if (termEnd != 0) _renew(uint64(serial), c, termEnd);
        return amount;
    }

    function _renew(uint64 serial, Channel storage c, uint256 termEnd) private {
        _requireTerm(c.termEnd, termEnd);
        c.termEnd = uint40(termEnd);
        emit Renewed(serial, uint40(termEnd));
    }

    function _requireTerm(uint256 current, uint256 termEnd) private view {
        _refuseIf(termEnd < current || termEnd <= block.timestamp || termEnd > block.timestamp + termMaxS, BadTerm.selector);
    }

    // ------------------------------------------------------------------------------------------------------------ vouchers

    function redeem(Redemption calldata redemption) external returns (uint128) {
        (uint256 amount, address payee, bool signed) = _redeem(_separator(), redemption);
        _refuseIf(!signed, BadSignature.selector);
        _refuseIf(amount == 0, NothingToPay.selector);
        if (payee == address(0)) _addFree(amount);
        else _pay(payee, amount);
        return uint128(amount);
    }

    function redeemMany(Redemption[] calldata redemptions) external returns (uint128) {
        bytes32 separator = _separator();
        (uint256 total, uint256 credited, uint256 due) = (0, 0, 0);
        address payee;
        // Sums of 96-bit amounts, as many as calldata can hold: none can overflow.
        unchecked {
            for (uint256 i = 0; i < redemptions.length; i++) {
                (uint256 amount, address to,) = _redeem(separator, redemptions[i]);
                if (amount == 0) continue;
                total += amount;
                if (to == address(0)) {
                    credited += amount;
                    continue;
                }
                if (to != payee) {
                    _pay(payee, due);
                    (payee, due) = (to, 0);
                }
                due += amount;
            }
        }
        if (credited != 0) _addFree(credited);
        _pay(payee, due);
        return _to128(total);
    }

    /// @dev Books a voucher. `payee` is address(0) when the pool itself is paid; `amount` is 0 when nothing is due or the signature is bad.
    function _redeem(bytes32 separator, Redemption calldata r)
        private
        returns (uint256 amount, address payee, bool signed)
    {
        (uint256 serial, uint256 lane, uint256 most) = _fields(r);
        if ((lane >> 1) | (serial >> 64) | (most >> 128) != 0) return (0, address(0), false);
        address signer = Digests.voucherSigner(separator, r);
        if (signer == address(0)) return (0, address(0), false);

        Channel storage c = _channel(serial);
        uint256 signerWord = _load(c, lane << 1);
        uint256 paidWord = _load(c, (lane << 1) | 1);
        if (signer != address(uint160(signerWord))) {
            uint256 former = formerCeilings[uint64(serial)][lane][signer];
            if (former == 0) return (0, address(0), false);
            if (most > former) most = former;
        }
        (uint256 ceiling, uint256 paid) = lane == POOL_LANE
            ? (signerWord >> 160, paidWord >> 160)
            : (paidWord & type(uint96).max, paidWord >> 96);
        if (most > ceiling) most = ceiling;
        if (most <= paid) return (0, address(0), true);
        if (lane == POOL_LANE) {
            payee = address(uint160(paidWord));
            _store(c, 1, (paidWord & type(uint160).max) | (most << 160));
        } else {
            _store(c, 3, ceiling | (most << 96));
        }
        bytes32 topic = Redeemed.selector;
        assembly ("memory-safe") {
            // emit Redeemed(serial, lane, most)
            mstore(0, lane)
            mstore(0x20, most)
            log2(0, 0x40, topic, serial)
        }
        unchecked {
            return (most - paid, payee, true);
        }
    }

    /// @dev The first three words of a redemption or a raise, unchecked: the caller holds them to their widths.
    function _fields(Redemption calldata r) private pure returns (uint256 serial, uint256 lane, uint256 amount) {
        assembly ("memory-safe") {
            serial := calldataload(r)
            lane := calldataload(add(r, 0x20))
            amount := calldataload(add(r, 0x40))
        }
    }

    function _fields(Raise calldata r) private pure returns (uint256 serial, uint256 amount, uint256 termEnd) {
        assembly ("memory-safe") {
            serial := calldataload(r)
            amount := calldataload(add(r, 0x20))
            termEnd := calldataload(add(r, 0x40))
        }
    }

    /// @dev channels[serial]
    function _channel(uint256 serial) private pure returns (Channel storage c) {
        assembly ("memory-safe") {
            mstore(0, serial)
            mstore(0x20, channels.slot)
            c.slot := keccak256(0, 0x40)
        }
    }

    /// @dev The hot paths read a slot of a channel once and write it once; `Channel` draws what is where.
    function _load(Channel storage c, uint256 slot) private view returns (uint256 word) {
        assembly ("memory-safe") {
            word := sload(add(c.slot, slot))
        }
    }

    function _store(Channel storage c, uint256 slot, uint256 word) private {
        assembly ("memory-safe") {
            sstore(add(c.slot, slot), word)
        }
    }

    function _next(uint256 i) private pure returns (uint256) {
        unchecked {
            return i + 1;
        }
    }

    // ----------------------------------------------------------------------------------------------------- lower a ceiling

    function release(uint64 serial, uint8 lane, uint128 ceiling, Signature calldata payee) external {
        Channel storage c = channels[serial];
        uint16 nonce = c.nonce;
        bytes32 digest = Digests.release(_separator(), serial, lane, ceiling, nonce);
        address signer = Digests.recover(digest, payee);
        _refuseIf(signer == address(0) || signer != _signer(c, _other(lane)), BadSignature.selector);
        c.nonce = nonce + 1;
        _refuseIf(!_lower(serial, c, lane, ceiling, true), CeilingNotLower.selector);
    }

    function startLowering(uint64 serial, uint8 lane, uint128 ceiling) external {
        Channel storage c = _openChannel(serial);
        if (lane == POOL_LANE && (block.timestamp > c.termEnd || _runsDown())) ceiling = 0;
        else _requireOwner(c, lane);
        (uint256 current, uint256 paid) = _amounts(c, lane);
        _refuseIf(ceiling >= current || paid == current, CeilingNotLower.selector);
        Lowering storage lowering = c.lowerings[lane];
        _refuseIf(lowering.deadline != 0, NoticeRuns.selector);
        uint40 deadline = _noticeEnd();
        (lowering.ceiling, lowering.deadline) = (uint96(ceiling), deadline);
        emit LoweringStarted(serial, lane, ceiling, deadline);
    }

    function finishLowering(uint64 serial, uint8 lane) external {
        Channel storage c = _openChannel(serial);
        _other(lane);
        Lowering memory lowering = c.lowerings[lane];
        _requireEnded(lowering.deadline);
        delete c.lowerings[lane];
        _lower(serial, c, lane, lowering.ceiling, false);
    }

    /// @dev Lowers to max(ceiling, paid); the difference goes back to where the ceiling came from.
    function _lower(uint64 serial, Channel storage c, uint8 lane, uint256 ceiling, bool released)
        private
        returns (bool lowered)
    {
        (uint256 current, uint256 paid) = _amounts(c, lane);
        if (ceiling < paid) ceiling = paid;
        if (ceiling > current) ceiling = current;
        uint256 freed = current - ceiling;
        emit Lowered(serial, lane, uint128(ceiling), released);
        if (freed == 0) return false;
        if (lane == POOL_LANE) {
            c.poolCeiling = uint96(ceiling);
            _addFree(freed);
        } else {
            c.peerCeiling = uint96(ceiling);
            _pay(c.peerPayout, freed);
        }
        return true;
    }

    // -------------------------------------------------------------------------------------------------- net-off and closes

    function netOff(
        uint64 serial,
        uint128 poolPaid,
        uint128 peerPaid,
        uint128 amount,
        Signature calldata pool,
        Signature calldata peer
    ) external {
        _refuseIf(amount == 0, ZeroAmount.selector);
        Channel storage c = channels[serial];
        _requireBoth(c, Digests.netOff(_separator(), serial, poolPaid, peerPaid, amount), pool, peer);
        _refuseIf(c.poolPaid != poolPaid || c.peerPaid != peerPaid, WrongPaid.selector);
        uint96 poolCeiling = _to96(uint256(c.poolCeiling) + amount);
        uint96 peerCeiling = _to96(uint256(c.peerCeiling) + amount);
        unchecked {
            // What is paid lies under its ceiling.
            (poolPaid, peerPaid) = (poolPaid + amount, peerPaid + amount);
            c.poolCeiling = poolCeiling;
            c.poolPaid = uint96(poolPaid);
            _store(c, 3, peerCeiling | (uint256(peerPaid) << 96));
        }
        _shiftLowering(c.lowerings[POOL_LANE], amount);
        _shiftLowering(c.lowerings[PEER_LANE], amount);
        emit NettedOff(serial, poolPaid, peerPaid, amount);
    }

    /// @dev A running notice announced what would remain; a net-off must not take from it.
    function _shiftLowering(Lowering storage lowering, uint256 amount) private {
        if (lowering.deadline != 0) lowering.ceiling = _to96(lowering.ceiling + amount);
    }

    function closeTogether(
        uint64 serial,
        uint128 poolPaid,
        uint128 peerPaid,
        Signature calldata pool,
        Signature calldata peer
    ) external {
        Channel storage c = channels[serial];
        _requireBoth(c, Digests.coopClose(_separator(), serial, poolPaid, peerPaid), pool, peer);
        _refuseIf(poolPaid < c.poolPaid || peerPaid < c.peerPaid, BelowPaid.selector);
        _refuseIf(poolPaid > c.poolCeiling || peerPaid > c.peerCeiling, AboveCeiling.selector);
        _close(serial, c, poolPaid, peerPaid);
    }

    function startClose(uint64 serial) external {
        Channel storage c = _openChannel(serial);
        if (msg.sender != operator) _requireOwner(c, PEER_LANE);
        _refuseIf(c.closeAt != 0, NoticeRuns.selector);
        uint40 deadline = _noticeEnd();
        c.closeAt = deadline;
        emit CloseStarted(serial, msg.sender, deadline);
    }

    function finishClose(uint64 serial) external {
        Channel storage c = _openChannel(serial);
        _requireEnded(c.closeAt);
        _close(serial, c, c.poolPaid, c.peerPaid);
    }

    function _close(uint64 serial, Channel storage c, uint256 poolPaid, uint256 peerPaid) private {
        uint256 toPeer = (poolPaid - c.poolPaid) + (c.peerCeiling - peerPaid);
        uint256 toFree = (peerPaid - c.peerPaid) + (c.poolCeiling - poolPaid);
        _store(c, 0, poolPaid << 160); // no poolSigner any more
        c.poolPaid = uint96(poolPaid);
        _store(c, 3, peerPaid | (peerPaid << 96));
        c.closeAt = 0;
        emit Closed(serial, uint128(poolPaid), uint128(peerPaid));
        if (toFree != 0) _addFree(toFree);
        _pay(c.peerPayout, toPeer);
    }

    // ---------------------------------------------------------------------------------------------------------------- keys

    function changeKey(uint64 serial, uint8 lane, address signer, Signature calldata other) external {
        Channel storage c = _openChannel(serial);
        _requireOwner(c, lane);
        uint16 nonce = c.nonce;
        bytes32 digest = Digests.keyChange(_separator(), serial, lane, signer, nonce);
        _refuseIf(Digests.recover(digest, other) != _signer(c, _other(lane)), BadSignature.selector);
        c.nonce = nonce + 1;
        _changeKey(serial, c, lane, signer, true);
    }

    function startKeyChange(uint64 serial, uint8 lane, address signer) external {
        Channel storage c = _openChannel(serial);
        _requireOwner(c, lane);
        _refuseIf(signer == address(0), BadSigner.selector);
        NewKey storage next = c.newKeys[lane];
        _refuseIf(next.deadline != 0, NoticeRuns.selector);
        uint40 deadline = _noticeEnd();
        (next.signer, next.deadline) = (signer, deadline);
        emit KeyChangeStarted(serial, lane, signer, deadline);
    }

    function finishKeyChange(uint64 serial, uint8 lane) external {
        Channel storage c = _openChannel(serial);
        _other(lane);
        NewKey memory next = c.newKeys[lane];
        _requireEnded(next.deadline);
        delete c.newKeys[lane];
        _changeKey(serial, c, lane, next.signer, false);
    }

    /// @dev The former signer's vouchers stay good up to today's ceiling: all that a payee could have counted on, and nothing allotted later.
    function _changeKey(uint64 serial, Channel storage c, uint8 lane, address signer, bool consented) private {
        _refuseIf(signer == address(0), BadSigner.selector);
        address former = _signer(c, lane);
        (uint256 ceiling,) = _amounts(c, lane);
        uint96 kept = formerCeilings[serial][lane][former];
        if (ceiling > kept) kept = uint96(ceiling);
        formerCeilings[serial][lane][former] = kept;
        if (lane == POOL_LANE) c.poolSigner = signer;
        else c.peerSigner = signer;
        emit KeyChanged(serial, lane, former, signer, kept, consented);
    }

    // --------------------------------------------------------------------------------------------------------------- rules

    function _openChannel(uint64 serial) private view returns (Channel storage c) {
        c = channels[serial];
        _refuseIf(c.poolSigner == address(0), ChannelClosed.selector);
    }

    function _other(uint8 lane) private pure returns (uint8) {
        _refuseIf(lane > PEER_LANE, BadLane.selector);
        return PEER_LANE - lane;
    }

    function _signer(Channel storage c, uint8 lane) private view returns (address) {
        return lane == POOL_LANE ? c.poolSigner : c.peerSigner;
    }

    function _amounts(Channel storage c, uint8 lane) private view returns (uint256 ceiling, uint256 paid) {
        return lane == POOL_LANE ? (c.poolCeiling, c.poolPaid) : (c.peerCeiling, c.peerPaid);
    }

    function _requireOwner(Channel storage c, uint8 lane) private view {
        _refuseIf(lane > PEER_LANE, BadLane.selector);
        if (lane == POOL_LANE) {
            _refuseIf(msg.sender != operator, NotLaneOwner.selector);
        } else if (msg.sender != c.peerPayout && msg.sender != c.peerSigner) {
            revert NotLaneOwner();
        }
    }

    function _requireBoth(Channel storage c, bytes32 digest, Signature calldata pool, Signature calldata peer)
        private
        view
    {
        address poolSigner = c.poolSigner;
        bool both = poolSigner != address(0) && Digests.recover(digest, pool) == poolSigner
            && Digests.recover(digest, peer) == c.peerSigner;
        _refuseIf(!both, BadSignature.selector);
    }

    function _noticeEnd() private view returns (uint40) {
        return uint40(block.timestamp + closePeriodS);
    }

    function _requireEnded(uint256 deadline) private view {
        _refuseIf(deadline == 0, NoNotice.selector);
        _refuseIf(block.timestamp < deadline, TooEarly.selector);
    }

    // --------------------------------------------------------------------------------------------------------------- views

    function channel(uint64 serial) external view returns (ChannelView memory) {
        Channel storage c = channels[serial];
        return ChannelView({
            opened: c.peerSigner != address(0),
            closed: c.peerSigner != address(0) && c.poolSigner == address(0),
            peerPayout: c.peerPayout,
            termEnd: c.termEnd,
            closeAt: c.closeAt,
            nonce: c.nonce,
            pool: _laneView(c, POOL_LANE),
            peer: _laneView(c, PEER_LANE)
        });
    }

    function _laneView(Channel storage c, uint8 lane) private view returns (LaneView memory) {
        (uint256 ceiling, uint256 paid) = _amounts(c, lane);
        return LaneView({
            signer: _signer(c, lane),
            ceiling: uint128(ceiling),
            paid: uint128(paid),
            loweringAt: c.lowerings[lane].deadline,
            loweringTo: c.lowerings[lane].ceiling,
            keyChangeAt: c.newKeys[lane].deadline,
            keyChangeTo: c.newKeys[lane].signer
        });
    }

    function formerCeiling(uint64 serial, uint8 lane, address signer) external view returns (uint128) {
        return formerCeilings[serial][lane][signer];
    }
}
