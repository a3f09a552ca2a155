// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IVault} from "../src/interfaces/IVault.sol";
import {Vault} from "../src/Vault.sol";
import {TestToken} from "./TestToken.sol";
import {VaultTest} from "./VaultTest.sol";

/// @dev What becomes of everybody when the operator is gone, or exits stay unpaid; run for ETH and for a token.
contract RunDownTest is VaultTest {
    function silence() private {
        vm.warp(vault.books().heartbeatAt + 30 days + 1);
    }

    function claim(uint24 id, address member) private returns (uint256 gained) {
        uint256 before = balance(member);
        vault.claimExit(id, member);
        return balance(member) - before;
    }

    // -------------------------------------------------------------------------------------------------------- its start

    function test_anybodyStartsItOnceTheOperatorIsSilent() public {
        note(ann, 10 * ONE);
        vm.warp(START + 30 days);
        vm.expectRevert(IVault.TooEarly.selector);
        vault.startRunDown();
        vm.warp(START + 30 days + 1);
        vm.prank(stranger);
        vault.startRunDown();
        ok(vault.books().runsDown, "for ever");
        vm.expectRevert(IVault.RunsDown.selector);
        vault.startRunDown();
    }

    function test_everySignOfLifePutsItOff() public {
        note(ann, 100 * ONE);
        vm.warp(START + 30 days);
        heartbeat();
        vm.warp(START + 60 days);
        open(1, ONE);
        vm.warp(START + 90 days);
        raise(1, ONE);
        vm.warp(START + 120 days);
        vm.expectRevert(IVault.TooEarly.selector);
        vault.startRunDown();
    }

    /// @dev 7 days of notice, 30 of the longest term, 1 of the close period.
    function test_anUnpaidCohortStartsItAfterNoticeTermAndClose() public {
        note(ann, 100 * ONE);
        open(1, 80 * ONE);
        requestExit(ann, 50 * ONE);
        vm.warp(START + 20 days);
        heartbeat();
        vm.warp(START + 38 days);
        vm.expectRevert(IVault.TooEarly.selector);
        vault.startRunDown();
        vm.warp(START + 38 days + 1);
        vault.startRunDown();
    }

    /// @dev Somebody who merely waits while nobody calls payExits must not end a healthy vault.
    function test_anExitThatFreeMoneyCanPayStartsNothing() public {
        note(ann, 100 * ONE);
        for (uint256 i = 0; i < 20; i++) {
            vm.warp(START + i * 1 days);
            requestExit(ann, ONE);
        }
        vm.warp(START + 60 days);
        heartbeat();
        vm.expectRevert(IVault.TooEarly.selector);
        vault.startRunDown();
        share(ONE);
        vault.payExits(32);
        vm.expectRevert(IVault.TooEarly.selector);
        vault.startRunDown();
    }

    /// @dev No allotment outlives the span: what was allotted on the last day before a cohort went past its notice is home by then.
    function test_withinNoticeTermAndCloseEveryAllotmentCanBeHome() public {
        note(ann, 100 * ONE);
        open(1, ONE);
        requestExit(ann, 100 * ONE);
        vm.warp(START + 7 days);
        raise(1, 0);
        IVault.Raise[] memory last = new IVault.Raise[](1);
        last[0] = IVault.Raise(1, 0, uint40(START + 37 days));
        vm.prank(operator);
        vault.raise(last);
        vm.warp(START + 37 days + 1);
        vm.prank(stranger);
        vault.startLowering(1, POOL, 0);
        vm.warp(START + 38 days + 1);
        vault.finishLowering(1, POOL);
        vault.payExits(1);
        eq(claim(0, ann), 100 * ONE, "paid, and no run-down was needed");
    }

    // ------------------------------------------------------------------------------------------------------ what it stops

    function test_nothingComesInAndNothingGrows() public {
        note(ann, 100 * ONE);
        share(10 * ONE);
        open(1, ONE);
        silence();
        vault.startRunDown();
        bytes4 why = IVault.RunsDown.selector;
        vm.expectRevert(why);
        note(ben, ONE);
        vm.expectRevert(why);
        share(ONE);
        vm.expectRevert(why);
        requestExit(ann, ONE);
        vm.expectRevert(why);
        raise(1, 1);
        vm.expectRevert(why);
        accrue(uint128(RAY + 1));
        vm.expectRevert(why);
        heartbeat();
        IVault.Opening memory o = opening(2, 1);
        vm.expectRevert(why);
        vm.prank(operator);
        vault.open(o);
        vm.expectRevert(why);
        this.raiseBy(2);
        vm.expectRevert(why);
        this.markDownBy(2);
        IVault.Cosignature[] memory priced = shareExit(ONE, ONE, 0);
        vm.expectRevert(why);
        vm.prank(holder);
        vault.withdrawShare(ONE, ONE, uint40(block.timestamp), priced);
        eq(vault.raisable(), 0, "and the view says so");
    }

    function raiseBy(uint256 count) external {
        raiseCosigned(count, 1, 1, uint40(block.timestamp + 1));
    }

    function markDownBy(uint256 count) external {
        markDown(count, uint128(RAY - 1));
    }

    function test_signedClaimsAreGoodAsEver() public {
        note(ann, 100 * ONE);
        open(1, 10 * ONE);
        deposit(1, 10 * ONE);
        silence();
        vault.startRunDown();
        uint256 before = balance(payout);
        redeem(1, POOL, 4 * ONE);
        eq(balance(payout) - before, 4 * ONE, "the peer is paid");
        redeem(1, PEER, 3 * ONE);
        netOff(1, 4 * ONE, 3 * ONE, ONE);
        vm.prank(payout);
        vault.startLowering(1, PEER, 0);
        vm.warp(block.timestamp + 1 days);
        vault.finishLowering(1, PEER);
        eq(balance(payout) - before, 4 * ONE + 7 * ONE, "and has its deposit back");
    }

    function test_allTermsEndWithIt() public {
        note(ann, 100 * ONE);
        open(1, ONE);
        vm.warp(START + 29 days);
        IVault.Raise[] memory list = new IVault.Raise[](1);
        list[0] = IVault.Raise(1, 0, uint40(START + 59 days));
        vm.prank(operator);
        vault.raise(list); // a renewal is not a sign of life: no money was allotted
        silence();
        vm.expectRevert(IVault.NotLaneOwner.selector);
        vm.prank(stranger);
        vault.startLowering(1, POOL, 0);
        vault.startRunDown();
        vm.prank(stranger);
        vault.startLowering(1, POOL, 77);
        vm.warp(block.timestamp + 1 days);
        vault.finishLowering(1, POOL);
        eq(remaining(1, POOL), 0, "all the way");
    }

    // ------------------------------------------------------------------------------------------------------ who gets what

    function test_notesArePaidAlikeThenShares() public {
        note(ann, 60 * ONE);
        note(ben, 40 * ONE);
        share(30 * ONE);
        open(1, 110 * ONE); // free 20, the floor
        uint24 id = requestExit(ann, 30 * ONE);
        silence();
        vault.startRunDown();
        eq(vault.payExits(0), 20 * ONE, "the floor was kept for this");
        eq(claim(RUN_DOWN, ben), 8 * ONE, "40 of 100");
        eq(claim(RUN_DOWN, ann), 6 * ONE, "30 of 100 that were free");
        eq(claim(id, ann), 6 * ONE, "30 of 100 that were locked: nobody was first");
        eq(claim(id, ann) + claim(RUN_DOWN, ann) + claim(RUN_DOWN, ben), 0, "once");
        vault.startLowering(1, POOL, 0);
        vm.warp(block.timestamp + 1 days);
        redeem(1, POOL, 25 * ONE);
        vault.finishLowering(1, POOL); // 85 come home: notes get 80
        uint256 before = balance(holder);
        eq(vault.payExits(0), 85 * ONE, "notes, then shares");
        eq(balance(holder) - before, 5 * ONE, "the holder bore what the pool lost");
        eq(claim(RUN_DOWN, ann), 48 * ONE, "the rest");
        eq(claim(RUN_DOWN, ben), 32 * ONE, "the rest");
        eq(vault.books().unitsTotal, 0, "no units");
        eq(free(), 0, "empty");
        eq(balance(address(vault)), remaining(1, POOL), "to the last unit");
    }

    /// @dev Rounding may leave a unit free that buys no whole unit of a note: it is not the share holder's either.
    function testFuzz_noteUnitsUnpaidMeanNothingForShares(uint128 lent) public {
        note(ann, 60 * ONE);
        share(ONE);
        vm.warp(START + 1 days);
        accrue(uint128(RAY + RAY / 1001));
        lent = uint128(bound(lent, 2 * ONE, vault.raisable()));
        open(1, lent);
        silence();
        vault.startRunDown();
        uint256 before = balance(holder);
        vault.payExits(0);
        ok(vault.books().unitsTotal != 0, "not all is paid");
        eq(balance(holder), before, "notes first");
    }

    function test_whatIsLostIsLostByAllNotesAlike() public {
        note(ann, 60 * ONE);
        note(ben, 40 * ONE);
        open(1, 80 * ONE);
        redeem(1, POOL, 80 * ONE); // by a thief
        requestExit(ben, 40 * ONE);
        silence();
        vault.startRunDown();
        vault.payExits(0);
        eq(claim(RUN_DOWN, ann), 12 * ONE, "a fifth");
        eq(claim(0, ben), 8 * ONE, "a fifth");
        eq(vault.noteClaims(), 80 * ONE, "the rest stays owed");
    }

    function test_aLateClaimMissesNothing() public {
        note(ann, 50 * ONE);
        note(ben, 50 * ONE);
        open(1, 80 * ONE);
        uint24 id = requestExit(ben, 25 * ONE);
        silence();
        vault.startRunDown();
        vault.payExits(0); // 20
        eq(claim(RUN_DOWN, ann), 10 * ONE, "early");
        vault.startLowering(1, POOL, 0);
        vm.warp(block.timestamp + 1 days);
        vault.finishLowering(1, POOL);
        vault.payExits(0); // 80
        eq(claim(RUN_DOWN, ann), 40 * ONE, "and again");
        (uint128 unpaid, uint128 claimable) = vault.exitOf(RUN_DOWN, ben);
        eq(unpaid, 0, "all units are paid");
        eq(claimable, 25 * ONE, "the free ones");
        eq(claim(id, ben), 50 * ONE, "free and locked ones, in one call");
        eq(claim(RUN_DOWN, ben), 0, "once");
    }

    function test_whatACohortHadBeforeIsClaimedAsBefore() public {
        note(ann, 50 * ONE);
        note(ben, 50 * ONE);
        open(1, 80 * ONE);
        uint24 id = requestExit(ann, 40 * ONE);
        requestExit(ben, 40 * ONE);
        share(8 * ONE);
        vault.payExits(1); // 10: 5 each, 35 left each
        eq(claim(id, ann), 5 * ONE, "before");
        silence();
        vault.startRunDown(); // pays what the floor leaves: nothing more
        eq(vault.payExits(0), 18 * ONE, "20 + 8 - 10");
        eq(claim(id, ben), 5 * ONE + 9 * ONE, "what it had, and half of 18");
        eq(claim(id, ann), 9 * ONE, "half of 18");
        eq(vault.cohort(id).unitsUnpaid, 0, "all moved");
    }

    function testFuzz_nobodyGetsMoreThanItsPart(uint128[3] memory units, uint128 locked, uint128 lent, uint128 stolen)
        public
    {
        address[3] memory members = [ann, ben, stranger];
        for (uint256 i = 0; i < 3; i++) units[i] = note(members[i], uint128(bound(units[i], 1e15, 1000 * ONE)));
        vm.warp(START + 1 days);
        accrue(uint128(RAY + RAY / 1001));
        lent = uint128(bound(lent, 2, vault.raisable()));
        open(1, lent);
        requestExit(ann, uint128(bound(locked, 1e15, units[0])));
        vault.payExits(1);
        claim(0, ann); // what free money paid before is another story
        IVault.Books memory b = vault.books();
        units[0] -= uint128(units[0] + units[1] + units[2] - b.unitsTotal);
        redeem(1, POOL, uint128(bound(stolen, 1, lent - 1)));

        vm.warp(START + 32 days);
        vault.startRunDown();
        vault.payExits(0);
        uint256 got = claim(0, ann);
        vault.startLowering(1, POOL, 0);
        vm.warp(START + 33 days);
        vault.finishLowering(1, POOL);
        uint256 left = balance(address(vault)) + got;
        vault.payExits(0);
        requireParts(members, units, b, got, left);
        ok(free() <= 2 || vault.books().unitsTotal == 0, "all was paid out");
        ok(vault.cohort(RUN_DOWN).unclaimed <= 6, "nothing is left behind but dust");
    }

    /// @dev Against plain division of all the money by all the units.
    function requireParts(
        address[3] memory members,
        uint128[3] memory units,
        IVault.Books memory b,
        uint256 got,
        uint256 left
    ) private {
        uint256 claims = b.unitsTotal * b.index / RAY;
        if (left > claims) left = claims;
        for (uint256 i = 0; i < 3; i++) {
            uint256 part = b.unitsTotal == 0 ? 0 : left * units[i] / b.unitsTotal;
            got = claim(RUN_DOWN, members[i]) + (i == 0 ? got : 0);
            ok(got <= part + 4 && got + 4 >= part, "its part");
        }
    }

    function test_withNoNotesItIsTheShareHoldersAlone() public {
        share(10 * ONE);
        open(1, 4 * ONE);
        silence();
        vault.startRunDown();
        uint256 before = balance(holder);
        eq(vault.payExits(0), 6 * ONE, "what is free");
        vault.startLowering(1, POOL, 0);
        vm.warp(block.timestamp + 1 days);
        vault.finishLowering(1, POOL);
        vault.payExits(0);
        eq(balance(holder) - before, 10 * ONE, "and what comes home");
        eq(vault.payExits(0), 0, "an empty vault pays nothing and refuses nothing");
    }

    function test_whatNobodyHasAClaimOnStays() public {
        IVault.Parameters memory p = rules(asset);
        p.shareHolder = address(0);
        vault = new Vault(p);
        fund(ann);
        fund(payout);
        note(ann, 10 * ONE);
        open(1, ONE);
        deposit(1, ONE);
        redeem(1, PEER, ONE); // the pool earned one
        silence();
        vault.startRunDown();
        vault.payExits(0);
        eq(free(), 0, "ten of ten that were free");
        eq(claim(RUN_DOWN, ann), 10 * ONE, "no more than notes are worth");
        vault.startLowering(1, POOL, 0);
        vm.warp(block.timestamp + 1 days);
        vault.finishLowering(1, POOL);
        eq(vault.payExits(0), 0, "nobody has shares");
        eq(free(), ONE, "it stays");
    }
}

contract RunDownErc20Test is RunDownTest {
    function setUp() public override {
        vm.warp(START);
        build(address(new TestToken("Test", "TEST", 18, 1e30)));
    }
}
