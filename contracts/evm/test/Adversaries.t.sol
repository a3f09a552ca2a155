// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IVault} from "../src/interfaces/IVault.sol";
import {BombPayee, CautiousPayee, GasEatingPayee, ReenteringPayee, RevertingPayee} from "./Payees.sol";
import {BlacklistToken, FalseToken, FeeToken, HookToken, HookedSender, SilentToken} from "./Tokens.sol";
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
