// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "../src/Digests.sol";
import {Vault} from "../src/Vault.sol";
import {IVault} from "../src/interfaces/IVault.sol";
import {TestToken} from "./TestToken.sol";
import {VaultTest} from "./VaultTest.sol";

/// @dev Every rule of a channel; run for ETH and for a token.
contract ChannelsTest is VaultTest {
    uint256 private constant OTHER_KEY = 0xC0FFEE;

    function setUp() public virtual override {
        super.setUp();
        note(ann, 100 * ONE);
    }

    function lane(uint64 serial, uint8 which) private view returns (IVault.LaneView memory) {
        IVault.ChannelView memory c = vault.channel(serial);
        return which == POOL ? c.pool : c.peer;
    }

    // ------------------------------------------------------------------------------------------------------------ open

    function test_openNamesBothSidesAndAllots() public {
        open(1, 10 * ONE);
        IVault.ChannelView memory c = vault.channel(1);
        ok(c.opened && !c.closed, "open");
        eq(c.pool.signer, vm.addr(POOL_KEY), "pool signer");
        eq(c.peer.signer, vm.addr(PEER_KEY), "peer signer");
        eq(c.peerPayout, payout, "payout");
        eq(c.pool.ceiling, 10 * ONE, "ceiling");
        eq(c.termEnd, START + 30 days, "term");
        eq(free(), 90 * ONE, "free");
        requireBooksEqualBalance(1);
    }

    function test_openTakesADepositAlong() public {
        IVault.Opening memory o = opening(1, 10 * ONE);
        o.deposit = 2 * ONE;
        vm.prank(operator);
        vault.open{value: value(2 * ONE)}(o);
        eq(lane(1, PEER).ceiling, 2 * ONE, "deposit");
        requireBooksEqualBalance(1);
    }

    function test_onlyTheOperatorOpens() public {
        IVault.Opening memory o = opening(1, 0);
        vm.expectRevert(IVault.NotOperator.selector);
        vm.prank(stranger);
        vault.open(o);
    }

    function test_aSerialIsUsedOnceEvenAfterAClose() public {
        open(1, ONE);
        IVault.Opening memory o = opening(1, ONE);
        vm.expectRevert(IVault.SerialUsed.selector);
        vm.prank(operator);
        vault.open(o);
        closeTogether(1, 0, 0);
        vm.expectRevert(IVault.SerialUsed.selector);
        vm.prank(operator);
        vault.open(o);
    }

    function refuseOpening(IVault.Opening memory o, bytes4 why) private {
        vm.expectRevert(why);
        vm.prank(operator);
        vault.open(o);
    }

    function test_openRefusesMissingNamesAndBadTerms() public {
        IVault.Opening memory o = opening(1, ONE);
        o.poolSigner = address(0);
        refuseOpening(o, IVault.BadSigner.selector);
        o = opening(1, ONE);
        o.peerSigner = address(0);
        refuseOpening(o, IVault.BadSigner.selector);
        o = opening(1, ONE);
        o.peerPayout = address(0);
        refuseOpening(o, IVault.BadSigner.selector);
        o.peerPayout = address(vault);
        refuseOpening(o, IVault.BadSigner.selector);
        o = opening(1, ONE);
        o.termEnd = 0;
        refuseOpening(o, IVault.BadTerm.selector);
        o.termEnd = uint40(block.timestamp);
        refuseOpening(o, IVault.BadTerm.selector);
        o.termEnd = uint40(block.timestamp + 30 days + 1);
        refuseOpening(o, IVault.BadTerm.selector);
        o = opening(1, 0);
        o.termEnd = uint40(block.timestamp + 1);
        refuseOpening(o, IVault.BadTerm.selector);
        o = opening(1, uint128(1) << 96);
        refuseOpening(o, IVault.AmountTooLarge.selector);
        o = opening(1, 80 * ONE + 1); // of 100 free, 20 are the floor
        refuseOpening(o, IVault.BelowFloor.selector);
        refuseOpening(opening(1, 101 * ONE), IVault.NotEnoughFree.selector);
        open(1, 80 * ONE);
    }

    // -------------------------------------------------------------------------------------------------------- deposits

    function test_anybodyDepositsForAPeer() public {
        open(1, 0);
        deposit(1, ONE);
        vm.prank(stranger);
        vault.deposit{value: value(ONE)}(1, ONE, payout);
        eq(lane(1, PEER).ceiling, 2 * ONE, "both count");
        requireBooksEqualBalance(1);
    }

    function test_aDepositNamesThePayoutItCountsOn() public {
        open(1, 0);
        vm.expectRevert(IVault.WrongPayout.selector);
        vm.prank(payout);
        vault.deposit{value: value(ONE)}(1, ONE, stranger);
    }

    function test_noDepositIntoNothingNorIntoAClose() public {
        vm.expectRevert(IVault.ChannelClosed.selector);
        vm.prank(payout);
        vault.deposit{value: value(ONE)}(1, ONE, payout);
        open(1, 0);
        vm.prank(operator);
        vault.startClose(1);
        vm.expectRevert(IVault.ChannelClosed.selector);
        vm.prank(payout);
        vault.deposit{value: value(ONE)}(1, ONE, payout);
    }

    function test_depositsAreNeverLent() public {
        open(1, 0);
        deposit(1, 500 * ONE);
        vm.expectRevert(IVault.NotEnoughFree.selector);
        raise(1, 101 * ONE);
    }

    // ------------------------------------------------------------------------------------------------------------ raise

    function test_raiseComesFromFreeMoneyAboveTheFloor() public {
        open(1, ONE);
        raise(1, 79 * ONE);
        eq(lane(1, POOL).ceiling, 80 * ONE, "ceiling");
        eq(vault.raisable(), 0, "nothing more");
        vm.expectRevert(IVault.BelowFloor.selector);
        raise(1, 1);
        requireBooksEqualBalance(1);
    }

    function testFuzz_raisableIsExact(uint128 lent, uint128 more) public {
        open(1, ONE);
        lent = uint128(bound(lent, 1, 79 * ONE));
        raise(1, lent);
        uint128 most = vault.raisable();
        more = uint128(bound(more, uint256(most) + 1, most + 50 * ONE));
        vm.expectRevert();
        raise(1, more);
        if (most != 0) raise(1, most);
        eq(vault.raisable(), 0, "all used");
    }

    function test_raiseIsAllOrNothing() public {
        open(1, ONE);
        IVault.Raise[] memory list = new IVault.Raise[](2);
        list[0] = IVault.Raise(1, ONE, 0);
        list[1] = IVault.Raise(2, ONE, 0);
        vm.expectRevert(IVault.ChannelClosed.selector);
        vm.prank(operator);
        vault.raise(list);
        eq(lane(1, POOL).ceiling, ONE, "untouched");
    }

    function test_twoRaisesOfOneChannelInABatchBothCount() public {
        open(1, ONE);
        IVault.Raise[] memory list = new IVault.Raise[](2);
        list[0] = IVault.Raise(1, ONE, 0);
        list[1] = IVault.Raise(1, 2 * ONE, 0);
        vm.prank(operator);
        vault.raise(list);
        eq(lane(1, POOL).ceiling, 4 * ONE, "1 + 1 + 2");
        requireBooksEqualBalance(1);
    }

    function test_onlyTheOperatorRaises() public {
        open(1, ONE);
        IVault.Raise[] memory list = new IVault.Raise[](1);
        list[0] = IVault.Raise(1, ONE, 0);
        vm.expectRevert(IVault.NotOperator.selector);
        vault.raise(list);
    }

    function test_aTermOnlyGrowsAndHasALongest() public {
        open(1, ONE);
        vm.warp(START + 1 days);
        IVault.Raise[] memory list = new IVault.Raise[](1);
        list[0] = IVault.Raise(1, 0, uint40(START + 30 days - 1));
        vm.startPrank(operator);
        vm.expectRevert(IVault.BadTerm.selector);
        vault.raise(list);
        list[0].termEnd = uint40(START + 31 days + 1);
        vm.expectRevert(IVault.BadTerm.selector);
        vault.raise(list);
        list[0].termEnd = uint40(START + 31 days);
        vault.raise(list);
        vm.stopPrank();
        eq(vault.channel(1).termEnd, START + 31 days, "renewed");
    }

    function test_raiseRefusesFieldsThatOverflowTheirWidth() public {
        open(1, ONE);
        IVault.Raise[] memory list = new IVault.Raise[](1);
        list[0] = IVault.Raise(1, type(uint96).max, 0);
        vm.startPrank(operator);
        vm.expectRevert(IVault.AmountTooLarge.selector);
        vault.raise(list);
        // A dirty word where the ABI has a uint64: serial 1 with a bit above.
        bytes memory data = abi.encodeCall(IVault.raise, list);
        assembly {
            mstore(add(data, 0x64), add(shl(64, 1), 1))
        }
        (bool done,) = address(vault).call(data);
        ok(!done, "dirty serial refused");
        vm.stopPrank();
    }

    // ----------------------------------------------------------------------------------------------------------- redeem

    function test_aVoucherPaysThePeerOnce() public {
        open(1, 10 * ONE);
        uint256 before = balance(payout);
        eq(redeem(1, POOL, 3 * ONE), 3 * ONE, "paid");
        eq(balance(payout) - before, 3 * ONE, "arrived");
        IVault.Redemption memory again = voucher(1, POOL, 3 * ONE);
        vm.expectRevert(IVault.NothingToPay.selector);
        vault.redeem(again);
        eq(redeem(1, POOL, 5 * ONE), 2 * ONE, "only the difference");
        again = voucher(1, POOL, 4 * ONE);
        vm.expectRevert(IVault.NothingToPay.selector);
        vault.redeem(again);
        requireBooksEqualBalance(1);
    }

    function test_aVoucherPaysNoMoreThanTheCeiling() public {
        open(1, 10 * ONE);
        eq(redeem(1, POOL, type(uint128).max), 10 * ONE, "the ceiling");
        raise(1, 5 * ONE);
        eq(redeem(1, POOL, type(uint128).max), 5 * ONE, "the same voucher, after a raise");
        requireBooksEqualBalance(1);
    }

    function test_thePeersVoucherCreditsFreeMoney() public {
        open(1, 0);
        deposit(1, 4 * ONE);
        eq(redeem(1, PEER, 3 * ONE), 3 * ONE, "credited");
        eq(free(), 103 * ONE, "free");
        eq(redeem(1, PEER, 9 * ONE), ONE, "up to the deposit");
        requireBooksEqualBalance(1);
    }

    function testFuzz_anyOrderOfVouchersPaysTheLargestUnderTheCeiling(uint96[8] memory amounts, bool[8] memory toPool)
        public
    {
        open(1, 10 * ONE);
        deposit(1, 10 * ONE);
        uint256[2] memory largest;
        uint256 before = balance(payout);
        for (uint256 i = 0; i < 8; i++) {
            uint128 amount = uint128(bound(amounts[i], 1, 15 * ONE));
            uint8 which = toPool[i] ? PEER : POOL;
            if (amount > largest[which]) largest[which] = amount;
            try vault.redeem(voucher(1, which, amount)) {} catch {}
        }
        for (uint256 i = 0; i < 2; i++) if (largest[i] > 10 * ONE) largest[i] = 10 * ONE;
        eq(balance(payout) - before, largest[POOL], "peer has the largest");
        eq(free(), 90 * ONE + largest[PEER], "pool has the largest");
        requireBooksEqualBalance(1);
    }

    function test_aVoucherOfAnotherLaneSerialChainContractOrKeyIsRefused() public {
        open(1, 10 * ONE);
        open(2, 10 * ONE);
        deposit(1, 10 * ONE);
        IVault.Redemption memory v = voucher(1, POOL, ONE);
        v.lane = PEER;
        refuse(v);
        v = voucher(1, POOL, ONE);
        v.serial = 2;
        refuse(v);
        v = voucher(1, POOL, ONE);
        v.amount = ONE + 1;
        refuse(v);
        refuse(voucherBy(PEER_KEY, 1, POOL, ONE));
        refuse(voucherBy(POOL_KEY, 1, PEER, ONE));
        refuse(voucherBy(OTHER_KEY, 1, POOL, ONE));
        refuse(voucher(3, POOL, ONE)); // never opened
        v = voucher(1, POOL, ONE);
        v.lane = 2;
        refuse(v);
        Vault twin = new Vault(rules(asset));
        bytes32 elsewhere = Digests.voucher(twin.domainSeparator(), 1, POOL, ONE);
        refuse(IVault.Redemption(1, POOL, ONE, compact(POOL_KEY, elsewhere)));
        v = voucher(1, POOL, ONE);
        vm.chainId(777);
        refuse(v);
        vm.chainId(31337);
        vault.redeem(v);
    }

    function refuse(IVault.Redemption memory v) private {
        vm.expectRevert(IVault.BadSignature.selector);
        vault.redeem(v);
    }

    function test_aSignatureOfNobodyIsNobodys() public {
        open(1, 10 * ONE);
        closeTogether(1, 0, 0); // poolSigner is 0 now, as is what a failed recovery returns
        refuse(IVault.Redemption(1, POOL, ONE, IVault.Signature(0, 0)));
        open(2, ONE);
        refuse(IVault.Redemption(2, POOL, ONE, IVault.Signature(0, 0)));
        refuse(IVault.Redemption(9, POOL, ONE, IVault.Signature(0, 0)));
        refuse(IVault.Redemption(9, PEER, ONE, IVault.Signature(0, 0)));
    }

    function test_signaturesOfOtherPurposesAreNoVouchers() public {
        open(1, 10 * ONE);
        bytes32[3] memory others = [
            Digests.release(separator(), 1, POOL, ONE, 0),
            Digests.coopClose(separator(), 1, 0, ONE),
            Digests.netOff(separator(), 1, 0, 0, ONE)
        ];
        for (uint256 i = 0; i < 3; i++) {
            refuse(IVault.Redemption(1, POOL, ONE, compact(POOL_KEY, others[i])));
        }
    }

    function test_manyAreRedeemedAndBadOnesSkipped() public {
        for (uint64 i = 1; i <= 4; i++) {
            open(i, ONE);
            deposit(i, ONE);
        }
        redeem(4, POOL, ONE);
        IVault.Redemption[] memory list = new IVault.Redemption[](7);
        list[0] = voucher(1, POOL, ONE);
        list[1] = voucherBy(OTHER_KEY, 2, POOL, ONE); // bad key
        list[2] = voucher(4, POOL, ONE); // paid already
        list[3] = voucher(3, PEER, ONE / 2);
        list[4] = voucher(2, POOL, ONE);
        list[5] = voucher(1, POOL, ONE); // twice in one batch
        list[6] = voucher(1, 2, ONE); // no such lane
        (uint256 before, uint256 freeBefore) = (balance(payout), free());
        eq(vault.redeemMany(list), 2 * ONE + ONE / 2, "sum");
        eq(balance(payout) - before, 2 * ONE, "to the peer");
        eq(free() - freeBefore, ONE / 2, "to the pool");
    }

    function test_redeemManySkipsDirtyWords() public {
        open(1, ONE);
        IVault.Redemption[] memory list = new IVault.Redemption[](1);
        list[0] = voucher(1, POOL, ONE);
        bytes memory data = abi.encodeCall(IVault.redeemMany, list);
        assembly {
            mstore(add(data, 0x64), add(shl(64, 1), 1))
        }
        uint256 before = balance(payout);
        (bool done,) = address(vault).call(data);
        ok(done, "skipped, not reverted");
        eq(balance(payout), before, "nothing paid");
    }

    // -------------------------------------------------------------------------------------------------- lower a ceiling

    function test_aReleaseLowersAtOnce() public {
        open(1, 10 * ONE);
        vault.release(1, POOL, 4 * ONE, released(PEER_KEY, 1, POOL, 4 * ONE, 0));
        eq(lane(1, POOL).ceiling, 4 * ONE, "ceiling");
        eq(free(), 96 * ONE, "free");
        requireBooksEqualBalance(1);
    }

    function test_thePoolReleasesThePeersDeposit() public {
        open(1, 0);
        deposit(1, 5 * ONE);
        uint256 before = balance(payout);
        vault.release(1, PEER, ONE, released(POOL_KEY, 1, PEER, ONE, 0));
        eq(balance(payout) - before, 4 * ONE, "returned");
        requireBooksEqualBalance(1);
    }

    function test_raiseReleaseRaiseDoesNotReplayTheRelease() public {
        open(1, 10 * ONE);
        IVault.Signature memory signature = released(PEER_KEY, 1, POOL, 4 * ONE, 0);
        vault.release(1, POOL, 4 * ONE, signature);
        raise(1, 6 * ONE);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.release(1, POOL, 4 * ONE, signature);
    }

    function test_aReleaseNeedsThePayeesOwnSignature() public {
        open(1, 10 * ONE);
        IVault.Signature memory signature = released(POOL_KEY, 1, POOL, ONE, 0);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.release(1, POOL, ONE, signature);
        signature = released(PEER_KEY, 1, PEER, ONE, 0);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.release(1, POOL, ONE, signature);
        signature = released(PEER_KEY, 1, 2, ONE, 0);
        vm.expectRevert(IVault.BadLane.selector);
        vault.release(1, 2, ONE, signature);
    }

    function test_aReleaseNeverGoesUnderPaidNorUp() public {
        open(1, 10 * ONE);
        redeem(1, POOL, 3 * ONE);
        vault.release(1, POOL, ONE, released(PEER_KEY, 1, POOL, ONE, 0));
        eq(lane(1, POOL).ceiling, 3 * ONE, "paid");
        IVault.Signature memory signature = released(PEER_KEY, 1, POOL, 9 * ONE, 1);
        vm.expectRevert(IVault.CeilingNotLower.selector);
        vault.release(1, POOL, 9 * ONE, signature);
        requireBooksEqualBalance(1);
    }

    function test_theOperatorLowersByNoticeAndVouchersCountUntilThen() public {
        open(1, 10 * ONE);
        vm.prank(operator);
        vault.startLowering(1, POOL, 4 * ONE);
        vm.expectRevert(IVault.TooEarly.selector);
        vault.finishLowering(1, POOL);
        vm.warp(START + 1 days - 1);
        vm.expectRevert(IVault.TooEarly.selector);
        vault.finishLowering(1, POOL);
        eq(redeem(1, POOL, 7 * ONE), 7 * ONE, "in full");
        vm.warp(START + 1 days);
        vault.finishLowering(1, POOL);
        eq(lane(1, POOL).ceiling, 7 * ONE, "not under paid");
        eq(free(), 93 * ONE, "free");
        vm.expectRevert(IVault.NoNotice.selector);
        vault.finishLowering(1, POOL);
        requireBooksEqualBalance(1);
    }

    function test_aDeadlineIsSetOnce() public {
        open(1, 10 * ONE);
        deposit(1, ONE);
        vm.prank(operator);
        vault.startLowering(1, POOL, 4 * ONE);
        vm.prank(operator);
        vault.startClose(1);
        vm.prank(operator);
        vault.startKeyChange(1, POOL, stranger);
        vm.prank(payout);
        vault.startLowering(1, PEER, 0);
        vm.warp(START + 1 hours);
        bytes4 runs = IVault.NoticeRuns.selector;
        vm.startPrank(operator);
        vm.expectRevert(runs);
        vault.startLowering(1, POOL, ONE);
        vm.expectRevert(runs);
        vault.startClose(1);
        vm.expectRevert(runs);
        vault.startKeyChange(1, POOL, ann);
        vm.stopPrank();
        vm.startPrank(payout);
        vm.expectRevert(runs);
        vault.startLowering(1, PEER, 0);
        vm.expectRevert(runs);
        vault.startClose(1);
        vm.stopPrank();
        IVault.ChannelView memory c = vault.channel(1);
        eq(c.closeAt, START + 1 days, "close");
        eq(c.pool.loweringAt, START + 1 days, "pool lowering");
        eq(c.peer.loweringAt, START + 1 days, "peer lowering");
        eq(c.pool.keyChangeAt, START + 1 days, "key");
    }

    function test_onlyTheOwnerLowersWithinTheTerm() public {
        open(1, 10 * ONE);
        deposit(1, ONE);
        vm.expectRevert(IVault.NotLaneOwner.selector);
        vm.prank(payout);
        vault.startLowering(1, POOL, 0);
        vm.warp(START + 30 days);
        vm.expectRevert(IVault.NotLaneOwner.selector);
        vm.prank(stranger);
        vault.startLowering(1, POOL, 0);
        vm.expectRevert(IVault.NotLaneOwner.selector);
        vm.prank(operator);
        vault.startLowering(1, PEER, 0);
        vm.expectRevert(IVault.BadLane.selector);
        vm.prank(operator);
        vault.startLowering(1, 2, 0);
    }

    function test_afterTheTermAnybodyLowersAllTheWay() public {
        open(1, 10 * ONE);
        redeem(1, POOL, ONE);
        vm.warp(START + 30 days + 1);
        vm.prank(stranger);
        vault.startLowering(1, POOL, 9 * ONE); // whatever is asked for
        vm.warp(START + 31 days + 1);
        vault.finishLowering(1, POOL);
        eq(remaining(1, POOL), 0, "all of it");
        requireBooksEqualBalance(1);
    }

    function test_afterTheTermTheOperatorCannotOccupyTheNoticeWithAWei() public {
        open(1, 10 * ONE);
        vm.warp(START + 30 days + 1);
        vm.prank(operator);
        vault.startLowering(1, POOL, 10 * ONE - 1);
        eq(lane(1, POOL).loweringTo, 0, "down to paid");
    }

    function test_thePeerWithdrawsItsDepositByNotice() public {
        open(1, 0);
        deposit(1, 5 * ONE);
        vm.prank(vm.addr(PEER_KEY)); // its signer may ask, its payout address gets it
        vault.startLowering(1, PEER, 2 * ONE);
        redeem(1, PEER, 3 * ONE);
        vm.warp(START + 1 days);
        uint256 before = balance(payout);
        vault.finishLowering(1, PEER);
        eq(balance(payout) - before, 2 * ONE, "what was not redeemed");
        requireBooksEqualBalance(1);
    }

    function test_nothingToLowerIsRefused() public {
        open(1, ONE);
        vm.startPrank(operator);
        vm.expectRevert(IVault.CeilingNotLower.selector);
        vault.startLowering(1, POOL, ONE);
        vm.stopPrank();
        redeem(1, POOL, ONE);
        vm.prank(operator);
        vm.expectRevert(IVault.CeilingNotLower.selector);
        vault.startLowering(1, POOL, 0);
    }

    // ---------------------------------------------------------------------------------------------------------- net-off

    function test_aNetOffMovesNoMoneyAndLeavesWhatRemains() public {
        open(1, 10 * ONE);
        deposit(1, 5 * ONE);
        redeem(1, POOL, ONE);
        netOff(1, ONE, 0, 4 * ONE);
        eq(lane(1, POOL).paid, 5 * ONE, "pool paid");
        eq(lane(1, PEER).paid, 4 * ONE, "peer paid");
        eq(remaining(1, POOL), 9 * ONE, "pool remaining");
        eq(remaining(1, PEER), 5 * ONE, "peer remaining");
        IVault.Redemption memory netted = voucher(1, POOL, 5 * ONE);
        vm.expectRevert(IVault.NothingToPay.selector);
        vault.redeem(netted);
        requireBooksEqualBalance(1);
    }

    function test_aNetOffCountsOnce() public {
        open(1, 10 * ONE);
        netOff(1, 0, 0, ONE);
        bytes32 digest = Digests.netOff(separator(), 1, 0, 0, ONE);
        (IVault.Signature memory pool, IVault.Signature memory peer) =
            (compact(POOL_KEY, digest), compact(PEER_KEY, digest));
        vm.expectRevert(IVault.WrongPaid.selector);
        vault.netOff(1, 0, 0, ONE, pool, peer);
    }

    function test_aRedeemInBetweenVoidsANetOff() public {
        open(1, 10 * ONE);
        bytes32 digest = Digests.netOff(separator(), 1, 0, 0, ONE);
        (IVault.Signature memory pool, IVault.Signature memory peer) =
            (compact(POOL_KEY, digest), compact(PEER_KEY, digest));
        redeem(1, POOL, 1);
        vm.expectRevert(IVault.WrongPaid.selector);
        vault.netOff(1, 0, 0, ONE, pool, peer);
    }

    function test_aNetOffNeedsBothAndAnAmount() public {
        open(1, 10 * ONE);
        bytes32 digest = Digests.netOff(separator(), 1, 0, 0, ONE);
        (IVault.Signature memory pool, IVault.Signature memory peer) =
            (compact(POOL_KEY, digest), compact(PEER_KEY, digest));
        vm.expectRevert(IVault.BadSignature.selector);
        vault.netOff(1, 0, 0, ONE, pool, pool);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.netOff(1, 0, 0, ONE, peer, peer);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.netOff(1, 0, 0, ONE, peer, pool);
        vm.expectRevert(IVault.ZeroAmount.selector);
        vault.netOff(1, 0, 0, 0, pool, peer);
    }

    function test_aNetOffTakesNothingFromWhatALoweringAnnounced() public {
        open(1, 10 * ONE);
        deposit(1, 10 * ONE);
        vm.prank(operator);
        vault.startLowering(1, POOL, 6 * ONE);
        vm.prank(payout);
        vault.startLowering(1, PEER, 5 * ONE);
        netOff(1, 0, 0, 3 * ONE);
        vm.warp(START + 1 days);
        vault.finishLowering(1, POOL);
        vault.finishLowering(1, PEER);
        eq(remaining(1, POOL), 6 * ONE, "pool lane as announced");
        eq(remaining(1, PEER), 5 * ONE, "peer lane as announced");
        requireBooksEqualBalance(1);
    }

    function test_aNetOffBeyondTheWidthIsRefused() public {
        open(1, 10 * ONE);
        uint128 most = type(uint96).max;
        bytes32 digest = Digests.netOff(separator(), 1, 0, 0, most);
        (IVault.Signature memory pool, IVault.Signature memory peer) =
            (compact(POOL_KEY, digest), compact(PEER_KEY, digest));
        vm.expectRevert(IVault.AmountTooLarge.selector);
        vault.netOff(1, 0, 0, most, pool, peer);
    }

    // ----------------------------------------------------------------------------------------------------------- closes

    function test_bothCloseAtOnce() public {
        open(1, 10 * ONE);
        deposit(1, 5 * ONE);
        redeem(1, POOL, ONE);
        uint256 before = balance(payout);
        closeTogether(1, 4 * ONE, 2 * ONE);
        eq(balance(payout) - before, 3 * ONE + 3 * ONE, "3 on its lane, 3 of its deposit");
        eq(free(), 100 * ONE - 4 * ONE + 2 * ONE, "free");
        IVault.ChannelView memory c = vault.channel(1);
        ok(c.opened && c.closed, "closed");
        requireBooksEqualBalance(1);
    }

    function test_aCloseTogetherStaysWithinPaidAndCeiling() public {
        open(1, 10 * ONE);
        deposit(1, 5 * ONE);
        redeem(1, POOL, 2 * ONE);
        redeem(1, PEER, 2 * ONE);
        refuseClose(2 * ONE - 1, 2 * ONE, IVault.BelowPaid.selector);
        refuseClose(2 * ONE, 2 * ONE - 1, IVault.BelowPaid.selector);
        refuseClose(10 * ONE + 1, 2 * ONE, IVault.AboveCeiling.selector);
        refuseClose(2 * ONE, 5 * ONE + 1, IVault.AboveCeiling.selector);
        closeTogether(1, 10 * ONE, 5 * ONE);
        requireBooksEqualBalance(1);
    }

    function refuseClose(uint128 poolPaid, uint128 peerPaid, bytes4 why) private {
        bytes32 digest = Digests.coopClose(separator(), 1, poolPaid, peerPaid);
        (IVault.Signature memory pool, IVault.Signature memory peer) =
            (compact(POOL_KEY, digest), compact(PEER_KEY, digest));
        vm.expectRevert(why);
        vault.closeTogether(1, poolPaid, peerPaid, pool, peer);
    }

    function test_aCloseTogetherNeedsBoth() public {
        open(1, 10 * ONE);
        bytes32 digest = Digests.coopClose(separator(), 1, ONE, 0);
        (IVault.Signature memory pool, IVault.Signature memory peer) =
            (compact(POOL_KEY, digest), compact(PEER_KEY, digest));
        vm.expectRevert(IVault.BadSignature.selector);
        vault.closeTogether(1, ONE, 0, pool, pool);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.closeTogether(1, ONE, 0, peer, peer);
    }

    function test_eitherSideClosesAloneByNotice() public {
        open(1, 10 * ONE);
        open(2, 10 * ONE);
        deposit(1, 5 * ONE);
        vm.expectRevert(IVault.NotLaneOwner.selector);
        vm.prank(stranger);
        vault.startClose(1);
        vm.prank(payout);
        vault.startClose(1);
        vm.prank(operator);
        vault.startClose(2);
        vm.expectRevert(IVault.TooEarly.selector);
        vault.finishClose(1);
        redeem(1, POOL, 3 * ONE);
        vm.warp(START + 1 days);
        redeem(1, PEER, 2 * ONE); // the deadline has passed, the close is not executed: a claim still counts
        uint256 before = balance(payout);
        vault.finishClose(1);
        vault.finishClose(2);
        eq(balance(payout) - before, 3 * ONE, "rest of the deposit");
        eq(free(), 100 * ONE - 3 * ONE + 2 * ONE, "free");
    }

    function test_noNoticeNoFinish() public {
        open(1, ONE);
        bytes4 none = IVault.NoNotice.selector;
        vm.expectRevert(none);
        vault.finishClose(1);
        vm.expectRevert(none);
        vault.finishLowering(1, POOL);
        vm.expectRevert(none);
        vault.finishKeyChange(1, PEER);
    }

    function test_nothingLivesInAClosedChannel() public {
        open(1, 10 * ONE);
        deposit(1, ONE);
        vm.prank(operator);
        vault.startLowering(1, POOL, ONE);
        vm.prank(operator);
        vault.startKeyChange(1, POOL, stranger);
        closeTogether(1, 0, 0);
        vm.warp(START + 2 days);
        bytes4 closed = IVault.ChannelClosed.selector;
        vm.expectRevert(closed);
        vault.finishLowering(1, POOL);
        vm.expectRevert(closed);
        vault.finishKeyChange(1, POOL); // would put a signer back
        vm.expectRevert(closed);
        vault.finishClose(1);
        vm.startPrank(operator);
        vm.expectRevert(closed);
        vault.startClose(1);
        vm.expectRevert(closed);
        vault.startLowering(1, POOL, 0);
        vm.expectRevert(closed);
        vault.startKeyChange(1, POOL, ann);
        vm.stopPrank();
        vm.expectRevert(closed);
        raise(1, ONE);
        IVault.Redemption memory v = voucher(1, PEER, ONE);
        vm.expectRevert(IVault.NothingToPay.selector);
        vault.redeem(v);
        refuse(voucher(1, POOL, ONE));
        refuseClose(0, 0, IVault.BadSignature.selector);
        requireBooksEqualBalance(1);
    }

    // ------------------------------------------------------------------------------------------------------------- keys

    function consent(uint256 key, uint8 which, address signer, uint16 nonce) private view returns (IVault.Signature memory) {
        return compact(key, Digests.keyChange(separator(), 1, which, signer, nonce));
    }

    function test_aKeyChangesWithTheOtherSidesConsent() public {
        open(1, 10 * ONE);
        address next = vm.addr(OTHER_KEY);
        IVault.Signature memory yes = consent(PEER_KEY, POOL, next, 0);
        vm.prank(operator);
        vault.changeKey(1, POOL, next, yes);
        eq(lane(1, POOL).signer, next, "changed");
        eq(vault.redeem(voucherBy(OTHER_KEY, 1, POOL, ONE)), ONE, "the new key signs");
        eq(redeem(1, POOL, 2 * ONE), ONE, "what the old key signed stays redeemable");
    }

    function test_anOldKeyReachesNothingAllottedLater() public {
        open(1, 4 * ONE);
        vm.prank(operator);
        vault.startKeyChange(1, POOL, vm.addr(OTHER_KEY));
        vm.warp(START + 1 days);
        vault.finishKeyChange(1, POOL);
        eq(vault.formerCeiling(1, POOL, vm.addr(POOL_KEY)), 4 * ONE, "kept");
        raise(1, 6 * ONE);
        eq(redeem(1, POOL, 9 * ONE), 4 * ONE, "the old key's reach");
        IVault.Redemption memory old = voucher(1, POOL, 10 * ONE);
        vm.expectRevert(IVault.NothingToPay.selector);
        vault.redeem(old);
        eq(vault.redeem(voucherBy(OTHER_KEY, 1, POOL, 9 * ONE)), 5 * ONE, "the new key's");
    }

    function test_twoKeyChangesLeaveTheFirstKeysVouchersGood() public {
        open(1, 4 * ONE);
        for (uint16 i = 0; i < 2; i++) {
            address next = vm.addr(OTHER_KEY + i);
            IVault.Signature memory yes = consent(PEER_KEY, POOL, next, i);
            vm.prank(operator);
            vault.changeKey(1, POOL, next, yes);
        }
        eq(redeem(1, POOL, ONE), ONE, "the first");
        eq(vault.redeem(voucherBy(OTHER_KEY, 1, POOL, 2 * ONE)), ONE, "the second");
        eq(vault.redeem(voucherBy(OTHER_KEY + 1, 1, POOL, 3 * ONE)), ONE, "the third");
    }

    function test_aConsentCountsOnceAndOnlyForTheOwner() public {
        open(1, 4 * ONE);
        address next = vm.addr(OTHER_KEY);
        IVault.Signature memory yes = consent(PEER_KEY, POOL, next, 0);
        vm.expectRevert(IVault.NotLaneOwner.selector);
        vm.prank(payout); // the other side alone must not change our key
        vault.changeKey(1, POOL, next, yes);
        IVault.Signature memory own = consent(POOL_KEY, POOL, next, 0);
        vm.startPrank(operator);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.changeKey(1, POOL, next, own);
        vault.changeKey(1, POOL, next, yes);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.changeKey(1, POOL, next, yes);
        vm.stopPrank();
    }

    function test_thePeerChangesItsKey() public {
        open(1, 0);
        deposit(1, 3 * ONE);
        address next = vm.addr(OTHER_KEY);
        IVault.Signature memory yes = consent(POOL_KEY, PEER, next, 0);
        vm.prank(payout);
        vault.changeKey(1, PEER, next, yes);
        eq(vault.redeem(voucherBy(OTHER_KEY, 1, PEER, ONE)), ONE, "new");
        eq(redeem(1, PEER, 2 * ONE), ONE, "old");
        vm.expectRevert(IVault.NotLaneOwner.selector);
        vm.prank(operator);
        vault.startKeyChange(1, PEER, stranger);
        vm.expectRevert(IVault.BadSigner.selector);
        vm.prank(payout);
        vault.startKeyChange(1, PEER, address(0));
    }

    function test_aFormerKeySignsVouchersOnly() public {
        open(1, 4 * ONE);
        deposit(1, ONE);
        IVault.Signature memory yes = consent(POOL_KEY, PEER, vm.addr(OTHER_KEY), 0);
        vm.prank(payout);
        vault.changeKey(1, PEER, vm.addr(OTHER_KEY), yes);
        IVault.Signature memory signature = released(PEER_KEY, 1, POOL, 0, 1);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.release(1, POOL, 0, signature);
        refuseClose(0, 0, IVault.BadSignature.selector);
    }
}

contract ChannelsErc20Test is ChannelsTest {
    function setUp() public override {
        vm.warp(START);
        build(address(new TestToken("Test", "TEST", 18, 1e30)));
        note(ann, 100 * ONE);
    }
}
