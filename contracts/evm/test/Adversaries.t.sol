// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IVault} from "../src/interfaces/IVault.sol";
import {BombPayee, CautiousPayee, GasEatingPayee, ReenteringPayee, RevertingPayee} from "./Payees.sol";
import {BlacklistToken, FalseToken, FeeToken, HookToken, HookedSender, RebasingToken, SilentToken} from "./Tokens.sol";
import {Token, VaultTest} from "./VaultTest.sol";

/// @dev Payees that refuse, eat or call back, and tokens that are not plain.
contract AdversariesTest is VaultTest {
    function openFor(uint64 serial, address to) private {
        IVault.Opening memory o = opening(serial, ONE);
        o.peerPayout = to;
        vm.prank(operator);
        vault.open(o);
    }

    // --------------------------------------------------------------------------------------------------------- payees

    function test_aRevertingPayeeGetsAReclaimBalanceAndStopsNobody() public {
        note(ann, 100 * ONE);
        RevertingPayee bad = new RevertingPayee();
        openFor(1, address(bad));
        openFor(2, payout);
        IVault.Redemption[] memory list = new IVault.Redemption[](2);
        list[0] = voucher(1, POOL, ONE);
        list[1] = voucher(2, POOL, ONE);
        uint256 before = balance(payout);
        eq(vault.redeemMany(list), 2 * ONE, "both count");
        eq(balance(payout) - before, ONE, "the other is paid");
        eq(vault.reclaimOf(address(bad)), ONE, "booked");
        vm.expectRevert(IVault.TransferFailed.selector);
        bad.reclaim(vault, address(bad));
        bad.reclaim(vault, stranger);
        eq(vault.reclaimOf(address(bad)), 0, "reclaimed");
        vm.expectRevert(IVault.NothingToReclaim.selector);
        bad.reclaim(vault, stranger);
    }

    function test_payeesThatEatGasOrReturnAMegabyteCostTheCallerLittle() public {
        note(ann, 100 * ONE);
        address[2] memory bad = [address(new GasEatingPayee()), address(new BombPayee())];
        for (uint64 i = 0; i < 2; i++) {
            openFor(i + 1, bad[i]);
            IVault.Redemption memory v = voucher(i + 1, POOL, ONE);
            uint256 gas = gasleft();
            vault.redeem(v);
            ok(gas - gasleft() < 120_000, "bounded");
            eq(vault.reclaimOf(bad[i]), ONE, "booked");
        }
    }

    function test_aCallerCannotStarveAPayeeOfGas() public {
        note(ann, 100 * ONE);
        address cautious = address(new CautiousPayee());
        openFor(1, cautious);
        IVault.Redemption memory v = voucher(1, POOL, ONE);
        uint256 refused;
        for (uint256 gas = 40_000; vault.channel(1).pool.paid == 0; gas += 500) {
            try vault.redeem{gas: gas}(v) {}
            catch {
                refused++;
            }
        }
        ok(refused != 0, "too little gas reverts the whole call");
        eq(cautious.balance, ONE, "the first call that counts is one that pays");
    }

    function test_aPayeeThatCallsBackIsPaidOnce() public {
        note(ann, 100 * ONE);
        ReenteringPayee bad = new ReenteringPayee();
        openFor(1, address(bad));
        bad.arm(vault, voucher(1, POOL, ONE));
        vault.redeem(voucher(1, POOL, ONE / 2));
        eq(address(bad).balance + vault.reclaimOf(address(bad)), vault.channel(1).pool.paid, "paid = books");
        ok(vault.channel(1).pool.paid <= ONE, "within the voucher");
    }

    function test_anExitOfARefusingMemberIsBooked() public {
        RevertingPayee bad = new RevertingPayee();
        vm.deal(address(bad), 10 * ONE);
        note(address(bad), 10 * ONE);
        requestExit(address(bad), 10 * ONE);
        vault.payExits(1);
        vault.claimExit(0, address(bad));
        eq(vault.reclaimOf(address(bad)), 10 * ONE, "booked");
    }

    function test_aCloseWithARefusingPeerStillFreesThePool() public {
        note(ann, 100 * ONE);
        RevertingPayee bad = new RevertingPayee();
        openFor(1, address(bad));
        vm.prank(stranger);
        vault.deposit{value: 2 * ONE}(1, 2 * ONE, address(bad));
        closeTogether(1, ONE / 2, ONE);
        eq(vault.reclaimOf(address(bad)), ONE + ONE / 2, "booked");
        eq(free(), 100 * ONE - ONE / 2 + ONE, "free");
    }

    // ------------------------------------------------------------------------------------------------- one at a time, races

    function test_oneUnitAtATimeIsPaidOnceEach() public {
        note(ann, 100 * ONE);
        open(1, 100);
        deposit(1, 100);
        uint256 before = balance(payout);
        for (uint128 i = 1; i <= 120; i++) {
            IVault.Redemption memory v = voucher(1, POOL, i);
            if (i > 100) vm.expectRevert(IVault.NothingToPay.selector);
            vault.redeem(v);
            if (i <= 100) redeem(1, PEER, i);
        }
        eq(balance(payout) - before, 100, "a hundred units in a hundred calls");
        eq(free(), 100 * ONE, "100 went out by allotment, 100 came in");
        requireBooksEqualBalance(1);
    }

    function test_leavingInTheSmallestPiecesPaysNoMoreThanLeavingAtOnce() public {
        note(ann, 10 * ONE);
        note(ben, 10 * ONE);
        vm.warp(START + 1 days);
        accrue(uint128(RAY + RAY / 1001));
        uint128 whole = vault.unitsOf(ann);
        uint256 before = balance(ann);
        for (uint256 i = 0; i < 40; i++) {
            uint24 id = requestExit(ann, 1e15 + 7);
            vault.payExits(1);
            vault.claimExit(id, ann);
        }
        uint256 pieces = balance(ann) - before;
        ok(pieces <= 40 * (1e15 + 7) * (RAY + RAY / 1001) / RAY, "rounded in the vault's favour each time");
        eq(vault.unitsOf(ann), whole - 40 * (1e15 + 7), "units");
        ok(vault.noteClaims() >= 20 * ONE + 20 * ONE / 1001 - pieces, "nobody else paid for it");
    }

    function test_aCloseRacingALoweringPaysOnceWhicheverIsFirst() public {
        note(ann, 100 * ONE);
        for (uint64 serial = 1; serial <= 3; serial++) {
            open(serial, 10 * ONE);
            deposit(serial, 10 * ONE);
            vm.prank(payout);
            vault.startLowering(serial, PEER, 2 * ONE);
            vm.prank(operator);
            vault.startLowering(serial, POOL, 3 * ONE);
            vm.prank(payout);
            vault.startClose(serial);
            redeem(serial, POOL, ONE);
            redeem(serial, PEER, ONE);
        }
        uint256 before = balance(payout);
        vm.warp(START + 1 days);
        vault.finishLowering(1, PEER);
        vault.finishLowering(1, POOL);
        vault.finishClose(1);
        vault.finishClose(2);
        closeTogether(3, ONE, ONE);
        eq(balance(payout) - before, 27 * ONE, "three times nine, whichever was first");
        eq(free(), 100 * ONE, "and the pool has its own");
        eq(balance(address(vault)), 100 * ONE, "nothing else is there");
        for (uint64 serial = 1; serial <= 3; serial++) {
            vm.expectRevert(IVault.ChannelClosed.selector);
            vault.finishLowering(serial, PEER);
            vm.expectRevert(IVault.ChannelClosed.selector);
            vault.finishClose(serial);
        }
    }

    function test_ethSentWithoutACallIsRefused() public {
        vm.deal(ann, ONE);
        vm.prank(ann);
        (bool sent,) = address(vault).call{value: ONE}("");
        ok(!sent, "refused");
    }

    // --------------------------------------------------------------------------------------------------------- tokens

    function test_aTokenThatTakesAFeeIsCreditedWithWhatArrived() public {
        build(address(new FeeToken()));
        eq(note(ann, 100 * ONE), 99 * ONE, "units");
        share(100 * ONE);
        open(1, 10 * ONE);
        deposit(1, 10 * ONE);
        eq(vault.channel(1).peer.ceiling, 9 * ONE + 9 * ONE / 10, "deposit");
        requireCovered();
        redeem(1, POOL, 10 * ONE);
        requireCovered();
    }

    function requireCovered() private view {
        eq(free() + remaining(1, POOL) + remaining(1, PEER), balance(address(vault)), "covered");
    }

    function test_aTokenThatReturnsFalseIsARefusedDepositAndABookedPayout() public {
        FalseToken token = new FalseToken();
        build(address(token));
        note(ann, 100 * ONE);
        open(1, 10 * ONE);
        token.list(payout);
        vm.expectRevert(IVault.TransferFailed.selector);
        deposit(1, ONE);
        redeem(1, POOL, ONE);
        eq(vault.reclaimOf(payout), ONE, "booked");
        vm.prank(payout);
        vm.expectRevert(IVault.TransferFailed.selector);
        vault.reclaim(payout);
        vm.prank(payout);
        vault.reclaim(stranger);
        requireCovered();
    }

    function test_aTokenThatShrinksPaysWhileItCanAndOwesTheRest() public {
        RebasingToken token = new RebasingToken();
        build(address(token));
        note(ann, 100 * ONE);
        open(1, 80 * ONE);
        token.rebase(address(vault), 50);
        redeem(1, POOL, 40 * ONE);
        eq(free(), 20 * ONE, "books are kept, not read from the token");
        redeem(1, POOL, 80 * ONE); // 10 are left: it fails as a payout, not as a call
        eq(vault.reclaimOf(payout), 40 * ONE, "owed");
        token.rebase(address(vault), 400);
        vm.prank(payout);
        vault.reclaim(payout);
        eq(vault.reclaimOf(payout), 0, "paid when it can");
    }

    function test_aTokenThatGrowsGivesNobodyTheGrowth() public {
        RebasingToken token = new RebasingToken();
        build(address(token));
        note(ann, 100 * ONE);
        token.rebase(address(vault), 300);
        eq(note(ben, ONE), ONE, "at par");
        requestExit(ann, 100 * ONE);
        eq(vault.payExits(1), 100 * ONE, "no more than the books say");
    }

    function test_aBlacklistedPayeeStopsNobodyAndIsPaidWhenUnlisted() public {
        BlacklistToken token = new BlacklistToken();
        build(address(token));
        note(ann, 100 * ONE);
        open(1, 10 * ONE);
        deposit(1, 5 * ONE);
        token.list(payout);
        vm.prank(operator);
        vault.startClose(1);
        redeem(1, POOL, 2 * ONE);
        vm.warp(START + 1 days);
        vault.finishClose(1);
        eq(vault.reclaimOf(payout), 7 * ONE, "2 redeemed, 5 deposited");
        eq(free(), 98 * ONE, "the pool has its own");
        token.unlist(payout);
        vm.prank(payout);
        vault.reclaim(payout);
        eq(balance(address(vault)), 98 * ONE, "all went");
    }

    function test_aTokenThatReturnsNothingWorks() public {
        build(address(new SilentToken()));
        note(ann, 100 * ONE);
        open(1, 10 * ONE);
        deposit(1, ONE);
        uint256 before = balance(payout);
        redeem(1, POOL, ONE);
        eq(balance(payout) - before, ONE, "paid");
        requireCovered();
    }

    function test_noAllowanceNoDeposit() public {
        build(address(new SilentToken()));
        vm.prank(address(0xDEAD));
        vm.expectRevert(IVault.TransferFailed.selector);
        vault.depositNote(ONE);
    }

    function test_aDepositInsideADepositIsRefused() public {
        build(address(new HookToken()));
        NestingDepositor bad = new NestingDepositor(vault, asset);
        Token(asset).transfer(address(bad), 10 * ONE);
        vm.expectRevert(IVault.TransferFailed.selector);
        bad.deposit(ONE);
        eq(free(), 0, "nothing was credited");
    }
}

/// @dev Deposits again while its first deposit is being measured: the outer one would be credited with both.
contract NestingDepositor is HookedSender {
    IVault private immutable vault;
    uint128 private amount;
    bool private nested;

    constructor(IVault vault_, address asset) {
        vault = vault_;
        Token(asset).approve(address(vault_), type(uint256).max);
    }

    function deposit(uint128 amount_) external {
        amount = amount_;
        vault.depositNote(amount_);
    }

    function tokensToSend() external {
        if (nested) return;
        nested = true;
        vault.depositNote(amount);
    }
}
