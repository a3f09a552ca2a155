// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "../src/Digests.sol";
import {Vault} from "../src/Vault.sol";
import {IVault} from "../src/interfaces/IVault.sol";
import {Test} from "./Vm.sol";

interface Token {
    function balanceOf(address) external view returns (uint256);
    function approve(address, uint256) external;
    function transfer(address, uint256) external;
}

/// @dev A vault with its people. Subclasses choose the asset.
abstract contract VaultTest is Test {
    uint256 internal constant RAY = 1e27;
    uint8 internal constant POOL = 0;
    uint8 internal constant PEER = 1;
    uint128 internal constant ONE = 1e18;
    uint256 internal constant POOL_KEY = 0xA11CE;
    uint256 internal constant PEER_KEY = 0xB0B;
    uint256 internal constant OPERATOR_KEY = 0x0DD;
    uint256 internal constant COMMITTEE_KEY = 0xC0; // and the two after it
    uint24 internal constant RUN_DOWN = type(uint24).max;
    uint256 internal constant START = 1_800_000_000;

    address internal operator = vm.addr(OPERATOR_KEY);
    address internal holder = address(0x5A7E);
    address internal ann = address(0xA0A0);
    address internal ben = address(0xBEBE);
    address internal payout = address(0x9A9A);
    address internal stranger = address(0x5757);
    Vault internal vault;
    address internal asset;

    function setUp() public virtual {
        vm.warp(START);
        build(address(0));
    }

    function rules(address asset_) internal view virtual returns (IVault.Parameters memory p) {
        p.asset = asset_;
        p.operator = operator;
        p.shareHolder = holder;
        p.floorBps = 2000;
        p.closePeriodS = 1 days;
        p.exitNoticeS = 7 days;
        p.termMaxS = 30 days;
        p.indexRateMaxRayPerDay = uint128(RAY / 1000);
        p.noteMin = 1e15;
        p.bucketCapacity = 1000 * ONE;
        p.bucketRefillPerDay = 100 * ONE;
        p.heartbeatMaxS = 30 days;
        p.committeeSpend = 2;
        p.committeeFreeze = 1;
        p.committee = new address[](3);
        for (uint160 i = 0; i < 3; i++) p.committee[i] = vm.addr(COMMITTEE_KEY + i);
    }

    function build(address asset_) internal {
        asset = asset_;
        vault = new Vault(rules(asset_));
        address[6] memory people = [operator, holder, ann, ben, payout, stranger];
        for (uint256 i = 0; i < people.length; i++) fund(people[i]);
    }

    function fund(address who) internal {
        if (asset == address(0)) return vm.deal(who, 1_000_000 * ONE);
        Token(asset).transfer(who, 1_000_000 * ONE);
        vm.prank(who);
        Token(asset).approve(address(vault), type(uint256).max);
    }

    function balance(address who) internal view returns (uint256) {
        return asset == address(0) ? who.balance : Token(asset).balanceOf(who);
    }

    function value(uint128 amount) internal view returns (uint256) {
        return asset == address(0) ? amount : 0;
    }

    // ------------------------------------------------------------------------------------------------------ steps

    function note(address member, uint128 amount) internal returns (uint128) {
        vm.prank(member);
        return vault.depositNote{value: value(amount)}(amount);
    }

    function share(uint128 amount) internal {
        vm.prank(holder);
        vault.depositShare{value: value(amount)}(amount);
    }

    function opening(uint64 serial, uint128 allotment) internal view returns (IVault.Opening memory) {
        return IVault.Opening({
            serial: serial,
            poolSigner: vm.addr(POOL_KEY),
            peerSigner: vm.addr(PEER_KEY),
            peerPayout: payout,
            allotment: allotment,
            termEnd: allotment == 0 ? 0 : uint40(block.timestamp + 30 days),
            deposit: 0
        });
    }

    function open(uint64 serial, uint128 allotment) internal {
        IVault.Opening memory o = opening(serial, allotment);
        vm.prank(operator);
        vault.open(o);
    }

    function deposit(uint64 serial, uint128 amount) internal {
        vm.prank(payout);
        vault.deposit{value: value(amount)}(serial, amount, payout);
    }

    function raise(uint64 serial, uint128 amount) internal {
        IVault.Raise[] memory raises = new IVault.Raise[](1);
        raises[0] = IVault.Raise(serial, amount, 0);
        vm.prank(operator);
        vault.raise(raises);
    }

    function accrue(uint128 to) internal {
        vm.prank(operator);
        vault.accrue(to);
    }

    function requestExit(address member, uint128 units) internal returns (uint24) {
        vm.prank(member);
        return vault.requestExit(units);
    }

    // ------------------------------------------------------------------------------------------------- signatures

    function compact(uint256 key, bytes32 digest) internal pure returns (IVault.Signature memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return IVault.Signature(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    function separator() internal view returns (bytes32) {
        return vault.domainSeparator();
    }

    function voucher(uint64 serial, uint8 lane, uint128 amount) internal view returns (IVault.Redemption memory) {
        return voucherBy(lane == POOL ? POOL_KEY : PEER_KEY, serial, lane, amount);
    }

    function voucherBy(uint256 key, uint64 serial, uint8 lane, uint128 amount)
        internal
        view
        returns (IVault.Redemption memory)
    {
        bytes32 digest = Digests.voucher(separator(), serial, lane, amount);
        return IVault.Redemption(serial, lane, amount, compact(key, digest));
    }

    function redeem(uint64 serial, uint8 lane, uint128 amount) internal returns (uint128) {
        return vault.redeem(voucher(serial, lane, amount));
    }

    function released(uint256 key, uint64 serial, uint8 lane, uint128 ceiling, uint16 nonce)
        internal
        view
        returns (IVault.Signature memory)
    {
        return compact(key, Digests.release(separator(), serial, lane, ceiling, nonce));
    }

    function netOff(uint64 serial, uint128 poolPaid, uint128 peerPaid, uint128 amount) internal {
        bytes32 digest = Digests.netOff(separator(), serial, poolPaid, peerPaid, amount);
        (IVault.Signature memory pool, IVault.Signature memory peer) =
            (compact(POOL_KEY, digest), compact(PEER_KEY, digest));
        vault.netOff(serial, poolPaid, peerPaid, amount, pool, peer);
    }

    function closeTogether(uint64 serial, uint128 poolPaid, uint128 peerPaid) internal {
        bytes32 digest = Digests.coopClose(separator(), serial, poolPaid, peerPaid);
        (IVault.Signature memory pool, IVault.Signature memory peer) =
            (compact(POOL_KEY, digest), compact(PEER_KEY, digest));
        vault.closeTogether(serial, poolPaid, peerPaid, pool, peer);
    }

    /// @dev The first `count` of the committee.
    function cosigned(uint256 count, bytes32 digest) internal pure returns (IVault.Cosignature[] memory list) {
        list = new IVault.Cosignature[](count);
        for (uint8 i = 0; i < count; i++) list[i] = IVault.Cosignature(i, compact(COMMITTEE_KEY + i, digest));
    }

    function shareExit(uint128 units, uint128 amount, uint64 nonce) internal view returns (IVault.Cosignature[] memory) {
        bytes32 digest = Digests.shareExit(separator(), holder, units, amount, nonce, uint40(block.timestamp));
        return cosigned(2, digest);
    }

    function freeze(uint256 count, uint256 until) internal {
        vault.freeze(uint40(until), cosigned(count, Digests.freeze(separator(), uint40(until))));
    }

    function markDown(uint256 count, uint128 to) internal {
        uint40 validUntil = uint40(block.timestamp);
        bytes32 digest = Digests.markDown(separator(), to, uint64(vault.books().committeeNonce), validUntil);
        vault.markDown(to, validUntil, cosigned(count, digest));
    }

    function raiseCosigned(uint256 count, uint64 serial, uint128 amount, uint40 termEnd) internal {
        uint40 validUntil = uint40(block.timestamp);
        uint64 nonce = uint64(vault.books().committeeNonce);
        bytes32 digest = Digests.cosignedRaise(separator(), serial, amount, termEnd, nonce, validUntil);
        IVault.Cosignature[] memory list = cosigned(count, digest);
        vm.prank(operator);
        vault.raiseCosigned(IVault.Raise(serial, amount, termEnd), validUntil, list);
    }

    function heartbeat() internal {
        vm.prank(operator);
        vault.heartbeat();
    }

    // ------------------------------------------------------------------------------------------------------ books

    function free() internal view returns (uint128) {
        return uint128(vault.books().free);
    }

    function remaining(uint64 serial, uint8 lane) internal view returns (uint256) {
        IVault.ChannelView memory c = vault.channel(serial);
        return lane == POOL ? c.pool.ceiling - c.pool.paid : c.peer.ceiling - c.peer.paid;
    }

    /// @dev For vaults with one channel and all exits claimed: books against the chain's own balance.
    function requireBooksEqualBalance(uint64 serial) internal view {
        uint256 tracked = free() + remaining(serial, POOL) + remaining(serial, PEER) + vault.reclaimOf(payout);
        eq(tracked, balance(address(vault)), "tracked = balance");
    }
}
