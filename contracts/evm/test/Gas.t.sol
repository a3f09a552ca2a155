// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "../src/Digests.sol";
import {IVault} from "../src/interfaces/IVault.sol";
import {TestToken} from "./TestToken.sol";
import {VaultTest} from "./VaultTest.sol";

/// @dev One call a test, measured as a transaction of its own (`--isolate`): 21,000, calldata and refunds included.
/// The figures are those of a running channel: slots that are written once in its life are warm in value, not in access.
abstract contract GasTest is VaultTest {
    uint64 internal constant MANY = 20;

    function group() internal pure virtual returns (string memory);

    function measure(string memory name) private {
        vm.snapshotGasLastCall(group(), name);
    }

    function setUp() public virtual override {
        super.setUp();
        prepare();
    }

    function prepare() internal {
        note(ann, 1000 * ONE);
        share(1000 * ONE);
        for (uint64 i = 1; i <= MANY; i++) {
            open(i, 10 * ONE);
            deposit(i, 10 * ONE);
            redeem(i, POOL, 1);
            redeem(i, PEER, 1);
        }
        // Channels of distinct peers.
        for (uint64 i = 101; i <= 100 + MANY; i++) {
            IVault.Opening memory o = opening(i, 10 * ONE);
            o.peerPayout = address(uint160(0xD0000) + i);
            vm.prank(operator);
            vault.open(o);
            redeem(i, POOL, 1);
        }
    }

    function many(uint64 from, uint8 lane) private view returns (IVault.Redemption[] memory list) {
        list = new IVault.Redemption[](MANY);
        for (uint64 i = 0; i < MANY; i++) list[i] = voucher(from + i, lane, ONE + 12345678901234567);
    }

    function test_open() public {
        IVault.Opening memory o = opening(999, 0);
        vm.prank(operator);
        vault.open(o);
        measure("open");
    }

    function test_openWithAllotment() public {
        IVault.Opening memory o = opening(999, ONE);
        vm.prank(operator);
        vault.open(o);
        measure("open with allotment");
    }

    function test_depositFirst() public {
        open(999, 0);
        deposit(999, ONE);
        measure("deposit, first");
    }

    function test_depositMore() public {
        deposit(1, ONE);
        measure("deposit, further");
    }

    function raises(uint64 count, uint40 termEnd) private {
        IVault.Raise[] memory list = new IVault.Raise[](count);
        for (uint64 i = 0; i < count; i++) list[i] = IVault.Raise(i + 1, 12345678901234567, termEnd);
        vm.prank(operator);
        vault.raise(list);
    }

    function test_raiseOne() public {
        raises(1, 0);
        measure("raise, 1");
    }

    function test_raiseTwenty() public {
        raises(MANY, 0);
        measure("raise, 20");
    }

    function test_raiseAndRenewTwenty() public {
        vm.warp(START + 1 days);
        raises(MANY, uint40(START + 31 days));
        measure("raise and renew, 20");
    }

    function test_raiseCosigned() public {
        raiseCosigned(2, 1, 12345678901234567, 0);
        measure("raise co-signed by 2, 1");
    }

    function test_heartbeat() public {
        vm.warp(START + 1 days);
        heartbeat();
        measure("heartbeat");
    }

    function test_freeze() public {
        freeze(1, START + 7 days);
        measure("freeze by 1");
    }

    function test_markDown() public {
        markDown(2, uint128(RAY - 1));
        measure("mark down by 2");
    }

    function test_startRunDown() public {
        vm.warp(START + 31 days);
        vault.startRunDown();
        measure("start run-down");
    }

    function test_payRunDown() public {
        vm.warp(START + 31 days);
        vault.startRunDown();
        vault.payExits(0);
        measure("pay run-down");
    }

    function test_claimRunDown() public {
        vm.warp(START + 31 days);
        vault.startRunDown();
        vault.payExits(0);
        vault.claimExit(RUN_DOWN, ann);
        measure("claim in run-down");
    }

    function test_redeemOne() public {
        vault.redeem(voucher(1, POOL, ONE + 12345678901234567));
        measure("redeem to peer, 1");
    }

    function test_redeemOneToPool() public {
        vault.redeem(voucher(1, PEER, ONE + 12345678901234567));
        measure("redeem to pool, 1");
    }

    function test_redeemManyToPool() public {
        vault.redeemMany(many(1, PEER));
        measure("redeem to pool, 20 in one");
    }

    function test_redeemManyToOnePeer() public {
        vault.redeemMany(many(1, POOL));
        measure("redeem to one peer, 20 in one");
    }

    function test_redeemManyToManyPeers() public {
        vault.redeemMany(many(101, POOL));
        measure("redeem to 20 peers, 20 in one");
    }

    function test_release() public {
        IVault.Signature memory signature = released(PEER_KEY, 1, POOL, ONE, 0);
        vault.release(1, POOL, ONE, signature);
        measure("release");
    }

    function test_startLowering() public {
        vm.prank(operator);
        vault.startLowering(1, POOL, ONE);
        measure("start lowering");
    }

    function test_finishLowering() public {
        vm.prank(operator);
        vault.startLowering(1, POOL, ONE);
        vm.warp(START + 1 days);
        vault.finishLowering(1, POOL);
        measure("finish lowering");
    }

    function test_netOff() public {
        netOff(1, 1, 1, ONE);
        measure("net-off");
    }

    function test_closeTogether() public {
        closeTogether(1, ONE, ONE);
        measure("close together");
    }

    function test_startClose() public {
        vm.prank(payout);
        vault.startClose(1);
        measure("start close");
    }

    function test_finishClose() public {
        vm.prank(payout);
        vault.startClose(1);
        vm.warp(START + 1 days);
        vault.finishClose(1);
        measure("finish close");
    }

    function test_depositNote() public {
        note(ann, ONE);
        measure("note deposit, further");
    }

    function test_requestExit() public {
        requestExit(ann, ONE);
        measure("request exit");
    }

    function test_payExits() public {
        requestExit(ann, ONE);
        vault.payExits(1);
        measure("pay exits, 1 cohort");
    }

    function test_claimExit() public {
        requestExit(ann, ONE);
        vault.payExits(1);
        vault.claimExit(0, ann);
        measure("claim exit");
    }

    function test_accrue() public {
        vm.warp(START + 1 days);
        accrue(uint128(RAY + RAY / 2000));
        measure("accrue");
    }
}

contract GasEthTest is GasTest {
    function group() internal pure override returns (string memory) {
        return "VaultEth";
    }
}

contract GasErc20Test is GasTest {
    function group() internal pure override returns (string memory) {
        return "VaultErc20";
    }

    function setUp() public override {
        vm.warp(START);
        build(address(new TestToken("Test", "TEST", 18, 1e30)));
        prepare();
    }
}
