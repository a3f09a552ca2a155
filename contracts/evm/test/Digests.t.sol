// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "../src/Digests.sol";
import {Vault} from "../src/Vault.sol";
import {IVault} from "../src/interfaces/IVault.sol";
import {VaultTest} from "./VaultTest.sol";

/// @dev Reads spec/vectors/evm-digests.json, which was made by npm ethers.
contract DigestsTest is VaultTest {
    string private json;

    function setUp() public override {
        super.setUp();
        json = vm.readFile("../../spec/vectors/evm-digests.json");
    }

    function number(string memory place, string memory field) private view returns (uint256) {
        return vm.parseJsonUint(json, string.concat(place, field));
    }

    function word(string memory place, string memory field) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat(place, field));
    }

    function who(string memory place, string memory field) private view returns (address) {
        return vm.parseJsonAddress(json, string.concat(place, field));
    }

    function test_everyDigestAndSignatureIsThatOfEthers() public view {
        uint256 count = number(".count", "");
        ok(count >= 100, "vectors are there");
        for (uint256 i = 0; i < count; i++) {
            string memory place = string.concat(".vectors[", vm.toString(i), "]");
            bytes32 digest = digestOf(place);
            eq(digest, word(place, ".digest"), "digest");
            address signer = who(".keys.", string.concat(vm.parseJsonString(json, string.concat(place, ".signer")), ".address"));
            eq(this.recover(digest, IVault.Signature(word(place, ".r"), word(place, ".vs"))), signer, "signer");
        }
    }

    function test_everyTypehashIsThatOfEthers() public view {
        eq(Digests.VOUCHER_TYPEHASH, word(".types.Voucher", ".typehash"), "Voucher");
        eq(Digests.RELEASE_TYPEHASH, word(".types.Release", ".typehash"), "Release");
        eq(Digests.NET_OFF_TYPEHASH, word(".types.NetOff", ".typehash"), "NetOff");
        eq(Digests.COOP_CLOSE_TYPEHASH, word(".types.CoopClose", ".typehash"), "CoopClose");
        eq(Digests.KEY_CHANGE_TYPEHASH, word(".types.KeyChange", ".typehash"), "KeyChange");
        eq(Digests.SHARE_EXIT_TYPEHASH, word(".types.ShareExit", ".typehash"), "ShareExit");
        eq(Digests.COSIGNED_RAISE_TYPEHASH, word(".types.CosignedRaise", ".typehash"), "CosignedRaise");
        eq(Digests.FREEZE_TYPEHASH, word(".types.Freeze", ".typehash"), "Freeze");
        eq(Digests.MARK_DOWN_TYPEHASH, word(".types.MarkDown", ".typehash"), "MarkDown");
    }

    function recover(bytes32 digest, IVault.Signature calldata signature) external view returns (address) {
        return Digests.recover(digest, signature);
    }

    function digestOf(string memory place) private view returns (bytes32) {
        bytes32 domain = Digests.domain(number(place, ".chainId"), who(place, ".contract"));
        bytes32 kind = keccak256(bytes(vm.parseJsonString(json, string.concat(place, ".type"))));
        string memory m = string.concat(place, ".message");
        if (kind == keccak256("ShareExit")) {
            return Digests.shareExit(
                domain,
                who(m, ".holder"),
                uint128(number(m, ".units")),
                uint128(number(m, ".amount")),
                uint64(number(m, ".nonce")),
                uint40(number(m, ".validUntil"))
            );
        }
        if (kind == keccak256("Freeze")) return Digests.freeze(domain, uint40(number(m, ".until")));
        if (kind == keccak256("MarkDown")) {
            (uint64 used, uint40 until) = (uint64(number(m, ".nonce")), uint40(number(m, ".validUntil")));
            return Digests.markDown(domain, uint128(number(m, ".index")), used, until);
        }
        uint64 serial = uint64(number(m, ".serial"));
        if (kind == keccak256("CosignedRaise")) {
            (uint128 more, uint40 termEnd) = (uint128(number(m, ".amount")), uint40(number(m, ".termEnd")));
            (uint64 used, uint40 until) = (uint64(number(m, ".nonce")), uint40(number(m, ".validUntil")));
            return Digests.cosignedRaise(domain, serial, more, termEnd, used, until);
        }
        if (kind == keccak256("NetOff") || kind == keccak256("CoopClose")) {
            (uint128 pool, uint128 peer) = (uint128(number(m, ".poolPaid")), uint128(number(m, ".peerPaid")));
            if (kind == keccak256("CoopClose")) return Digests.coopClose(domain, serial, pool, peer);
            return Digests.netOff(domain, serial, pool, peer, uint128(number(m, ".amount")));
        }
        uint8 lane = uint8(number(m, ".lane"));
        if (kind == keccak256("Voucher")) return Digests.voucher(domain, serial, lane, uint128(number(m, ".amount")));
        uint16 nonce = uint16(number(m, ".nonce"));
        if (kind == keccak256("Release")) {
            return Digests.release(domain, serial, lane, uint128(number(m, ".ceiling")), nonce);
        }
        ok(kind == keccak256("KeyChange"), "a known type");
        return Digests.keyChange(domain, serial, lane, who(m, ".signer"), nonce);
    }

    // -------------------------------------------------------------------------------------------------- the fast path

    function fastSigner(IVault.Redemption calldata r) external view returns (address) {
        return Digests.voucherSigner(separator(), r);
    }

    function slowSigner(IVault.Redemption calldata r) external view returns (address) {
        return Digests.recover(Digests.voucher(separator(), r.serial, r.lane, r.amount), r.signature);
    }

    function testFuzz_theFastPathIsTheSlowPath(uint64 serial, uint8 lane, uint128 amount, bytes32 r, bytes32 vs) public view {
        IVault.Redemption memory any = IVault.Redemption(serial, lane, amount, IVault.Signature(r, vs));
        eq(this.fastSigner(any), this.slowSigner(any), "any signature");
        IVault.Redemption memory good = voucher(serial, lane, amount);
        eq(this.fastSigner(good), vm.addr(lane == POOL ? POOL_KEY : PEER_KEY), "a good signature");
    }

    /// @dev Any r of the curve and any s recover to somebody. So a channel can be opened for whoever signed with an s just above the
    /// bound, which still fits into the compact form; the same signature at the bound is good.
    function test_theHigherTwinOfASignatureIsRefused() public {
        note(ann, 10 * ONE);
        uint256 n = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        uint256 sMax = n / 2;
        for (uint64 serial = 1; serial <= 4; serial++) {
            (uint256 parity, bool high) = (serial % 2, serial > 2);
            uint256 s = high ? sMax + 1 : sMax;
            bytes32 digest = Digests.voucher(separator(), serial, POOL, ONE);
            uint256 r = 1;
            while (ecrecover(digest, uint8(27 + parity), bytes32(r), bytes32(s)) == address(0)) r++;
            IVault.Opening memory o = opening(serial, ONE);
            o.poolSigner = ecrecover(digest, uint8(27 + parity), bytes32(r), bytes32(s));
            vm.prank(operator);
            vault.open(o);
            IVault.Signature memory signature = IVault.Signature(bytes32(r), bytes32((parity << 255) | s));
            if (high) vm.expectRevert(IVault.BadSignature.selector);
            vault.redeem(IVault.Redemption(serial, POOL, ONE, signature));
            eq(this.recover(digest, signature), high ? address(0) : o.poolSigner, "elsewhere too");
        }
    }

    function test_theDomainFollowsTheChainId() public {
        eq(vault.domainSeparator(), Digests.domain(block.chainid, address(vault)), "at home");
        vm.chainId(777);
        eq(vault.domainSeparator(), Digests.domain(777, address(vault)), "after a fork");
    }

    function test_storageIsLaidOutAsTheHotPathsRead() public {
        note(ann, 10 * ONE);
        open(1, 3 * ONE);
        deposit(1, 2 * ONE);
        redeem(1, POOL, ONE);
        redeem(1, PEER, ONE / 2);
        uint256 place = uint256(keccak256(abi.encode(uint256(1), uint256(9))));
        eq(uint256(vm.load(address(vault), bytes32(place))), uint160(vm.addr(POOL_KEY)) | (uint256(3 * ONE) << 160), "0");
        eq(uint256(vm.load(address(vault), bytes32(place + 1))), uint160(payout) | (uint256(ONE) << 160), "1");
        eq(uint256(vm.load(address(vault), bytes32(place + 3))), (2 * ONE) | (uint256(ONE / 2) << 96), "3");
    }
}
