// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IVault} from "./interfaces/IVault.sol";

/// @title The digests that are signed: EIP-712, one struct type a purpose. Drawn in spec/voucher.md.
/// @dev Pure: the domain separator comes from the caller, so one vector file can test many chains and contracts.
library Digests {
    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 internal constant NAME_HASH = keccak256("Forebay Vault");
    bytes32 internal constant VERSION_HASH = keccak256("1");

    bytes32 internal constant VOUCHER_TYPEHASH = keccak256("Voucher(uint64 serial,uint8 lane,uint128 amount)");
    bytes32 internal constant RELEASE_TYPEHASH =
        keccak256("Release(uint64 serial,uint8 lane,uint128 ceiling,uint16 nonce)");
    bytes32 internal constant NET_OFF_TYPEHASH =
        keccak256("NetOff(uint64 serial,uint128 poolPaid,uint128 peerPaid,uint128 amount)");
    bytes32 internal constant COOP_CLOSE_TYPEHASH =
        keccak256("CoopClose(uint64 serial,uint128 poolPaid,uint128 peerPaid)");
    bytes32 internal constant KEY_CHANGE_TYPEHASH =
        keccak256("KeyChange(uint64 serial,uint8 lane,address signer,uint16 nonce)");
    bytes32 internal constant SHARE_EXIT_TYPEHASH =
        keccak256("ShareExit(address holder,uint128 units,uint128 amount,uint64 nonce,uint40 validUntil)");

    bytes32 internal constant COSIGNED_RAISE_TYPEHASH =
        keccak256("CosignedRaise(uint64 serial,uint128 amount,uint40 termEnd,uint64 nonce,uint40 validUntil)");
    bytes32 internal constant FREEZE_TYPEHASH = keccak256("Freeze(uint40 until)");
    bytes32 internal constant MARK_DOWN_TYPEHASH =
        keccak256("MarkDown(uint128 index,uint64 nonce,uint40 validUntil)");

    /// @dev Half the order of secp256k1: a larger s has a smaller twin, and only the smaller is accepted.
    uint256 private constant S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
    uint256 private constant S_MASK = type(uint256).max >> 1;

    function domain(uint256 chainId, address verifyingContract) internal pure returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, chainId, verifyingContract));
    }

    function voucher(bytes32 separator, uint64 serial, uint8 lane, uint128 amount) internal pure returns (bytes32) {
        return seal(separator, hash(4, VOUCHER_TYPEHASH, serial, lane, amount, 0, 0));
    }

    /// @dev recover(voucher(…), …) on the hot path: one block of memory past what is allocated, for struct, digest and recovery.
    /// The caller has held serial, lane and amount to their widths.
    function voucherSigner(bytes32 separator, IVault.Redemption calldata redemption)
        internal
        view
        returns (address signer)
    {
        bytes32 typehash = VOUCHER_TYPEHASH;
        uint256 sMax = S_MAX;
        assembly ("memory-safe") {
            let scratch := mload(0x40)
            mstore(scratch, typehash)
            calldatacopy(add(scratch, 0x20), redemption, 0x60)
            mstore(add(scratch, 0x42), keccak256(scratch, 0x80))
            mstore(add(scratch, 0x22), separator)
            mstore(add(scratch, 0x02), 0x1901)
            mstore(scratch, keccak256(add(scratch, 0x20), 0x42))
            let vs := calldataload(add(redemption, 0x80))
            mstore(add(scratch, 0x20), add(27, shr(255, vs)))
            mstore(add(scratch, 0x40), calldataload(add(redemption, 0x60)))
            let s := shr(1, shl(1, vs))
            mstore(add(scratch, 0x60), s)
            mstore(0, 0)
            if iszero(gt(s, sMax)) { pop(staticcall(gas(), 1, scratch, 0x80, 0, 0x20)) }
            signer := mload(0)
        }
    }

    function release(bytes32 separator, uint64 serial, uint8 lane, uint128 ceiling, uint16 nonce)
        internal
        pure
        returns (bytes32)
    {
        return seal(separator, hash(5, RELEASE_TYPEHASH, serial, lane, ceiling, nonce, 0));
    }

    function netOff(bytes32 separator, uint64 serial, uint128 poolPaid, uint128 peerPaid, uint128 amount)
        internal
        pure
        returns (bytes32)
    {
        return seal(separator, hash(5, NET_OFF_TYPEHASH, serial, poolPaid, peerPaid, amount, 0));
    }

    function coopClose(bytes32 separator, uint64 serial, uint128 poolPaid, uint128 peerPaid)
        internal
        pure
        returns (bytes32)
    {
        return seal(separator, hash(4, COOP_CLOSE_TYPEHASH, serial, poolPaid, peerPaid, 0, 0));
    }

    function keyChange(bytes32 separator, uint64 serial, uint8 lane, address signer, uint16 nonce)
        internal
        pure
        returns (bytes32)
    {
        return seal(separator, hash(5, KEY_CHANGE_TYPEHASH, serial, lane, uint160(signer), nonce, 0));
    }

    function shareExit(
        bytes32 separator,
        address holder,
        uint128 units,
        uint128 amount,
        uint64 nonce,
        uint40 validUntil
    ) internal pure returns (bytes32) {
        return seal(separator, hash(6, SHARE_EXIT_TYPEHASH, uint160(holder), units, amount, nonce, validUntil));
    }

    function cosignedRaise(
        bytes32 separator,
        uint64 serial,
        uint128 amount,
        uint40 termEnd,
        uint64 nonce,
        uint40 validUntil
    ) internal pure returns (bytes32) {
        return seal(separator, hash(6, COSIGNED_RAISE_TYPEHASH, serial, amount, termEnd, nonce, validUntil));
    }

    function freeze(bytes32 separator, uint40 until) internal pure returns (bytes32) {
        return seal(separator, hash(2, FREEZE_TYPEHASH, until, 0, 0, 0, 0));
    }

    function markDown(bytes32 separator, uint128 index, uint64 nonce, uint40 validUntil)
        internal
        pure
        returns (bytes32)
    {
        return seal(separator, hash(4, MARK_DOWN_TYPEHASH, index, nonce, validUntil, 0, 0));
    }

    /// @dev keccak256 of the first `words` of the type's hash and its fields, one word each, past the end of what is allocated.
    function hash(uint256 words, bytes32 typehash, uint256 a, uint256 b, uint256 c, uint256 d, uint256 e)
        private
        pure
        returns (bytes32 structHash)
    {
        assembly ("memory-safe") {
            let scratch := mload(0x40)
            mstore(scratch, typehash)
            mstore(add(scratch, 0x20), a)
            mstore(add(scratch, 0x40), b)
            mstore(add(scratch, 0x60), c)
            mstore(add(scratch, 0x80), d)
            mstore(add(scratch, 0xa0), e)
            structHash := keccak256(scratch, shl(5, words))
        }
    }

    /// @dev keccak256(0x1901 ‖ separator ‖ structHash), in scratch memory.
    function seal(bytes32 separator, bytes32 structHash) internal pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(0x00, 0x1901)
            mstore(0x20, separator)
            mstore(0x40, structHash)
            digest := keccak256(0x1e, 0x42)
            mstore(0x40, free)
        }
    }

    /// @dev The signer of a digest; address(0), which is no signer of anything, when the signature is bad.
    function recover(bytes32 digest, IVault.Signature calldata signature) internal view returns (address signer) {
        uint256 vs = uint256(signature.vs);
        uint256 s = vs & S_MASK;
        if (s > S_MAX) return address(0);
        bytes32 r = signature.r;
        // `ecrecover` at address 1, from and to memory past the end of what is allocated: it returns nothing on a bad signature.
        assembly ("memory-safe") {
            let scratch := mload(0x40)
            mstore(scratch, digest)
            mstore(add(scratch, 0x20), add(27, shr(255, vs)))
            mstore(add(scratch, 0x40), r)
            mstore(add(scratch, 0x60), s)
            mstore(0, 0)
            pop(staticcall(gas(), 1, scratch, 0x80, 0, 0x20))
            signer := mload(0)
        }
    }
}
