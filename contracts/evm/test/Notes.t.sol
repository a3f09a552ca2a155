// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "../src/Digests.sol";
import {Vault} from "../src/Vault.sol";
import {IVault} from "../src/interfaces/IVault.sol";
import {TestToken} from "./TestToken.sol";
import {VaultTest} from "./VaultTest.sol";

/// @dev Notes, exits, shares and the floor; run for ETH and for a token.
contract NotesTest is VaultTest {
    function claim(uint24 id, address member) private returns (uint256 gained) {
        uint256 before = balance(member);
        vault.claimExit(id, member);
        return balance(member) - before;
    }

    // --------------------------------------------------------------------------------------------------- construction

    function test_badParametersAreRefused() public {
        for (uint256 i = 0; i < 13; i++) {
            IVault.Parameters memory p = rules(asset);
            if (i == 0) p.operator = address(0);
            if (i == 1) p.floorBps = 10_000;
            if (i == 2) p.closePeriodS = 0;
            if (i == 3) p.exitNoticeS = 0;
            if (i == 4) p.termMaxS = 0;
            if (i == 5) p.indexRateMaxRayPerDay = uint128(RAY + 1);
            if (i == 6) p.noteMin = 0;
            if (i == 7) p.asset = stranger; // no code there
            if (i == 8) p.committeeSpend = 1; // not more than half of three
            if (i == 9) p.committeeFreeze = 2; // not fewer than t
            if (i == 10) p.committee[2] = p.committee[0];
            if (i == 11) p.committee = new address[](0); // t without members
            if (i == 12) p.heartbeatMaxS = 0;
            vm.expectRevert(IVault.BadParameters.selector);
            new Vault(p);
        }
    }

    function test_parametersAreReadBack() public view {
        IVault.Parameters memory p = vault.parameters();
        eq(keccak256(abi.encode(p)), keccak256(abi.encode(rules(asset))), "parameters");
    }

    // ---------------------------------------------------------------------------------------------------------- notes

    function test_unitsAreMintedAtTheIndexRoundedDown() public {
        eq(note(ann, 3 * ONE), 3 * ONE, "at par");
        vm.warp(START + 1 days);
        accrue(uint128(RAY + RAY / 1000));
        uint128 units = note(ben, ONE);
        eq(units, uint256(ONE) * 1000 / 1001, "fewer units for the same money");
        ok(uint256(units) * vault.books().index / RAY <= ONE, "never worth more than what was paid");
        eq(vault.unitsOf(ben), units, "units");
        eq(free(), 4 * ONE, "free");
    }

    function test_aSmallNoteIsRefused() public {
        vm.expectRevert(IVault.TooSmall.selector);
        note(ann, 1e15 - 1);
        vm.expectRevert(IVault.ZeroAmount.selector);
        note(ann, 0);
        note(ann, 1e15);
    }

    function test_moneySentPastTheBooksInflatesNothing() public {
        note(ann, 1e15);
        if (asset == address(0)) vm.deal(address(vault), 1_000_000 * ONE);
        else TestToken(asset).transfer(address(vault), 1_000_000 * ONE);
        eq(note(ben, ONE), ONE, "the second depositor gets its units at par");
        eq(vault.noteClaims(), ONE + 1e15, "claims");
        eq(free(), ONE + 1e15, "free");
    }

    function test_ethMustMatchTheAmount() public {
        vm.deal(ann, 10 * ONE);
        vm.prank(ann);
        vm.expectRevert(IVault.WrongValue.selector);
        vault.depositNote{value: ONE}(asset == address(0) ? ONE + 1 : ONE);
    }

    // ----------------------------------------------------------------------------------------------------------- index

    function test_theIndexRisesAtMostByItsDailyCap() public {
        vm.warp(START + 12 hours);
        vm.expectRevert(IVault.IndexTooFast.selector);
        accrue(uint128(RAY + RAY / 2000 + 1));
        accrue(uint128(RAY + RAY / 2000));
        vm.expectRevert(IVault.IndexTooFast.selector);
        accrue(uint128(RAY + RAY / 2000 + 1)); // no time has passed
    }

    function test_unusedDaysAreNotSavedUp() public {
        vm.warp(START + 10 days);
        vm.expectRevert(IVault.IndexTooFast.selector);
        accrue(uint128(RAY + RAY / 1000 + 1));
        accrue(uint128(RAY + RAY / 1000));
    }

    function test_theIndexNeverFallsAndOnlyTheOperatorLifts() public {
        vm.warp(START + 1 days);
        vm.expectRevert(IVault.IndexTooFast.selector);
        accrue(uint128(RAY));
        vm.expectRevert(IVault.IndexTooFast.selector);
        accrue(uint128(RAY - 1));
        vm.expectRevert(IVault.NotOperator.selector);
        vault.accrue(uint128(RAY + 1));
    }

    // ----------------------------------------------------------------------------------------------------------- exits

    function test_withFreeMoneyAnExitIsPaidAtOnceWithEarnings() public {
        note(ann, 100 * ONE);
        share(10 * ONE);
        vm.warp(START + 1 days);
        accrue(uint128(RAY + RAY / 1000));
        uint24 id = requestExit(ann, 50 * ONE);
        eq(vault.payExits(10), 50 * ONE + 50 * ONE / 1000, "principal and earnings");
        eq(claim(id, ann), 50 * ONE + 50 * ONE / 1000, "claimed");
        eq(claim(id, ann), 0, "once");
        eq(vault.books().exitsDueAt, 0, "nothing is due");
    }

    function test_exitingUnitsEarnAndLoseUntilPaid() public {
        note(ann, 100 * ONE);
        share(10 * ONE);
        uint24 id = requestExit(ann, 50 * ONE);
        vm.warp(START + 1 days);
        accrue(uint128(RAY + RAY / 1000));
        vault.payExits(1);
        eq(claim(id, ann), 50 * ONE + 50 * ONE / 1000, "at the index of the payment");
    }

    function test_lockedUnitsCannotLeaveTwice() public {
        note(ann, 10 * ONE);
        requestExit(ann, 6 * ONE);
        vm.expectRevert(IVault.NotEnoughUnits.selector);
        requestExit(ann, 5 * ONE);
        vm.expectRevert(IVault.NotEnoughUnits.selector);
        requestExit(ben, 1e15);
        vm.expectRevert(IVault.ZeroAmount.selector);
        requestExit(ann, 0);
    }

    function test_exitsHaveALeastSizeExceptTheLast() public {
        note(ann, 1e15 + 5);
        vm.expectRevert(IVault.TooSmall.selector);
        requestExit(ann, 1e15 - 1);
        requestExit(ann, 1e15);
        requestExit(ann, 5); // all that is left
    }

    function test_oldestCohortFirst() public {
        note(ann, 50 * ONE);
        note(ben, 50 * ONE);
        open(1, 80 * ONE); // free 20, all of it under the floor
        uint24 first = requestExit(ann, 30 * ONE);
        vm.warp(START + 1 days);
        uint24 second = requestExit(ben, 30 * ONE);
        ok(second == first + 1, "a day, a cohort");
        eq(vault.payExits(9), 0, "no money above the floor: nothing is paid, nothing reverts");
        share(20 * ONE); // free 40, floor 20
        vault.payExits(9);
        eq(claim(first, ann), 25 * ONE, "(40 - 20) / 0.8");
        eq(claim(second, ben), 0, "waits");
        (uint128 unpaid,) = vault.exitOf(first, ann);
        eq(unpaid, 5 * ONE, "the rest stays locked");
        share(20 * ONE);
        vault.payExits(9);
        eq(claim(first, ann), 5 * ONE, "the rest");
        eq(claim(second, ben), 20 * ONE, "and what is over");
    }

    function test_membersOfACohortArePaidProRata() public {
        note(ann, 60 * ONE);
        note(ben, 40 * ONE);
        open(1, 80 * ONE);
        uint24 id = requestExit(ann, 60 * ONE);
        requestExit(ben, 30 * ONE);
        share(8 * ONE); // pays 8 / 0.8 = 10
        vault.payExits(1);
        eq(claim(id, ann), 10 * ONE * 6 / 9, "6 of 9");
        eq(claim(id, ben), 10 * ONE * 3 / 9, "3 of 9");
    }

    function test_aLateJoinerOfTheSameDayIsNeitherPaidForNorChargedForThePast() public {
        note(ann, 50 * ONE);
        note(ben, 50 * ONE);
        open(1, 80 * ONE);
        uint24 id = requestExit(ann, 40 * ONE);
        share(8 * ONE);
        vault.payExits(1); // ann: 10 paid, 30 left
        eq(requestExit(ben, 30 * ONE), id, "same day, same cohort");
        (uint128 unpaid, uint128 claimable) = vault.exitOf(id, ben);
        eq(unpaid, 30 * ONE, "all of it");
        eq(claimable, 0, "nothing of what was paid before");
        share(8 * ONE);
        vault.payExits(1); // 10 more: 5 each
        (, uint128 annClaim) = vault.exitOf(id, ann);
        eq(annClaim, 15 * ONE, "10 + 5");
        eq(claim(id, ann), 15 * ONE, "10 + 5");
        eq(claim(id, ben), 5 * ONE, "5");
        requestExit(ben, 20 * ONE); // joins again; what it had stays
        (unpaid,) = vault.exitOf(id, ben);
        eq(unpaid, 45 * ONE, "25 + 20");
        share(60 * ONE);
        vault.payExits(1);
        eq(claim(id, ann), 25 * ONE, "the rest");
        eq(claim(id, ben), 45 * ONE, "the rest");
    }

    function test_whatAMemberHasComingIsPaidWhenItJoinsAgain() public {
        note(ann, 50 * ONE);
        note(ben, 50 * ONE);
        open(1, 80 * ONE);
        requestExit(ann, 40 * ONE);
        share(8 * ONE);
        vault.payExits(1);
        uint256 before = balance(ann);
        requestExit(ann, 10 * ONE);
        eq(balance(ann) - before, 10 * ONE, "10 of the first 40");
    }

    function test_aPaidCohortTakesNoNewcomers() public {
        note(ann, 50 * ONE);
        uint24 id = requestExit(ann, 10 * ONE);
        vault.payExits(1);
        ok(requestExit(ann, 10 * ONE) == id + 1, "a new one the same day");
        vault.payExits(1);
        eq(claim(id, ann), 10 * ONE, "first");
        eq(claim(id + 1, ann), 10 * ONE, "second");
    }

    function test_payExitsPaysNoMoreCohortsThanAsked() public {
        note(ann, 50 * ONE);
        for (uint256 i = 0; i < 3; i++) {
            vm.warp(START + i * 1 days);
            requestExit(ann, 10 * ONE);
        }
        vault.payExits(2);
        eq(vault.books().cohortOldest, 2, "two are paid");
        eq(vault.books().exitsDueAt, vault.cohort(2).dueAt, "the third is due next");
    }

    function test_everybodyCanLeaveDownToTheLastUnit() public {
        note(ann, 50 * ONE);
        note(ben, 7 * ONE);
        uint24 id = requestExit(ann, 50 * ONE);
        requestExit(ben, 7 * ONE);
        vault.payExits(1);
        eq(claim(id, ann) + claim(id, ben), 57 * ONE, "all");
        eq(free(), 0, "empty");
        eq(vault.books().unitsTotal, 0, "no units");
    }

    function testFuzz_exitPaymentsKeepTheFloorAndStopOnlyThere(uint128 lent, uint128 wanted, uint16 days_) public {
        note(ann, 100 * ONE);
        open(1, ONE);
        raise(1, uint128(bound(lent, 1, 79 * ONE)));
        vm.warp(START + 1 days);
        accrue(uint128(RAY + bound(days_, 1, RAY / 1000)));
        uint128 units = uint128(bound(wanted, 1e15, 100 * ONE));
        requestExit(ann, units);
        vault.payExits(1);
        (uint256 have, uint256 claims) = (free(), vault.noteClaims());
        ok(have * 10_000 >= 2000 * claims, "floor");
        uint256 unpaid = vault.cohort(0).unitsUnpaid;
        if (unpaid != 0) ok(have * 10_000 < 2000 * claims + 20_000, "paid to within two base units of the floor");
    }

    // -------------------------------------------------------------------------------------------------- overdue exits

    function test_whileACohortIsOverdueNothingGrows() public {
        note(ann, 100 * ONE);
        share(2 * ONE);
        open(1, 80 * ONE);
        requestExit(ann, 90 * ONE);
        vault.payExits(1);
        vm.warp(START + 7 days);
        raise(1, 0); // due, not overdue
        vm.warp(START + 7 days + 1);
        share(80 * ONE);
        vm.expectRevert(IVault.ExitsOverdue.selector);
        raise(1, 1);
        IVault.Raise[] memory renewal = new IVault.Raise[](1);
        renewal[0] = IVault.Raise(1, 0, uint40(START + 35 days));
        vm.expectRevert(IVault.ExitsOverdue.selector);
        vm.prank(operator);
        vault.raise(renewal);
        IVault.Opening memory o = opening(2, 1);
        vm.expectRevert(IVault.ExitsOverdue.selector);
        vm.prank(operator);
        vault.open(o);
        IVault.Cosignature[] memory signature = shareExit(ONE, ONE, 0);
        vm.expectRevert(IVault.ExitsOverdue.selector);
        vm.prank(holder);
        vault.withdrawShare(ONE, ONE, uint40(block.timestamp), signature);
        eq(vault.raisable(), 0, "and the view says so");
        open(3, 0); // without an allotment
        redeem(1, POOL, ONE); // never stops
        vault.payExits(1);
        raise(1, 1); // paid: goes on
    }

    // ---------------------------------------------------------------------------------------------------------- shares

    function test_onlyTheInvitedOneHoldsShares() public {
        vm.expectRevert(IVault.NotShareHolder.selector);
        vm.prank(ann);
        vault.depositShare{value: value(ONE)}(ONE);
        share(5 * ONE);
        eq(vault.books().shareUnits, 5 * ONE, "units");
        eq(free(), 5 * ONE, "free");
        IVault.Cosignature[] memory signature = shareExit(ONE, ONE, 0);
        vm.expectRevert(IVault.NotShareHolder.selector);
        vm.prank(ann);
        vault.withdrawShare(ONE, ONE, uint40(block.timestamp), signature);
    }

    function test_sharesLeaveWithBothTheHoldersCallAndTheCommitteesSignatures() public {
        share(5 * ONE);
        IVault.Cosignature[] memory signature = shareExit(2 * ONE, 3 * ONE, 0);
        uint40 until = uint40(block.timestamp);
        vm.startPrank(holder);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.withdrawShare(2 * ONE, 3 * ONE + 1, until, signature);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.withdrawShare(2 * ONE + 1, 3 * ONE, until, signature);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.withdrawShare(2 * ONE, 3 * ONE, until + 1, signature);
        uint256 before = balance(holder);
        vault.withdrawShare(2 * ONE, 3 * ONE, until, signature);
        eq(balance(holder) - before, 3 * ONE, "paid what was signed");
        vm.expectRevert(IVault.BadSignature.selector);
        vault.withdrawShare(2 * ONE, 3 * ONE, until, signature); // once
        vm.stopPrank();
        eq(vault.books().shareUnits, 3 * ONE, "units");
        signature = shareExit(4 * ONE, ONE, 1);
        vm.expectRevert(IVault.NotEnoughUnits.selector);
        vm.prank(holder);
        vault.withdrawShare(4 * ONE, ONE, until, signature);
        vm.warp(START + 1);
        signature = shareExit(ONE, ONE, 1);
        vm.expectRevert(IVault.Expired.selector);
        vm.prank(holder);
        vault.withdrawShare(ONE, ONE, until, signature);
    }

    function test_withoutACommitteeTheOperatorPricesShares() public {
        IVault.Parameters memory p = rules(asset);
        (p.committee, p.committeeSpend, p.committeeFreeze) = (new address[](0), 0, 0);
        vault = new Vault(p);
        fund(holder);
        share(5 * ONE);
        bytes32 digest = Digests.shareExit(separator(), holder, ONE, ONE, 0, uint40(block.timestamp));
        IVault.Cosignature[] memory list = new IVault.Cosignature[](1);
        list[0] = IVault.Cosignature(0, compact(COMMITTEE_KEY, digest));
        vm.startPrank(holder);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.withdrawShare(ONE, ONE, uint40(block.timestamp), list);
        vm.expectRevert(IVault.NotEnoughSignatures.selector);
        vault.withdrawShare(ONE, ONE, uint40(block.timestamp), new IVault.Cosignature[](0));
        list[0] = IVault.Cosignature(0, compact(OPERATOR_KEY, digest));
        vault.withdrawShare(ONE, ONE, uint40(block.timestamp), list);
        vm.stopPrank();
        eq(vault.books().shareUnits, 4 * ONE, "units");
    }

    function test_sharesLeaveTheFloorToTheNotes() public {
        note(ann, 10 * ONE);
        share(5 * ONE);
        IVault.Cosignature[] memory signature = shareExit(5 * ONE, 13 * ONE + 1, 0);
        vm.expectRevert(IVault.BelowFloor.selector);
        vm.prank(holder);
        vault.withdrawShare(5 * ONE, 13 * ONE + 1, uint40(block.timestamp), signature);
        signature = shareExit(5 * ONE, 13 * ONE, 0);
        vm.prank(holder);
        vault.withdrawShare(5 * ONE, 13 * ONE, uint40(block.timestamp), signature);
    }
}

contract NotesErc20Test is NotesTest {
    function setUp() public override {
        vm.warp(START);
        build(address(new TestToken("Test", "TEST", 18, 1e30)));
    }
}
