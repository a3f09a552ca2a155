// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Digests} from "../src/Digests.sol";
import {Vault} from "../src/Vault.sol";
import {IVault} from "../src/interfaces/IVault.sol";
import {VaultTest} from "./VaultTest.sol";

/// @dev What bounds growth: token bucket, committee, freeze, mark-down, heartbeat.
contract GrowthTest is VaultTest {
    uint128 private constant CAPACITY = 50 * ONE;
    uint128 private constant REFILL = 10 * ONE;

    function rules(address asset_) internal view override returns (IVault.Parameters memory p) {
        p = super.rules(asset_);
        (p.bucketCapacity, p.bucketRefillPerDay) = (CAPACITY, REFILL);
    }

    function setUp() public override {
        super.setUp();
        note(ann, 1000 * ONE);
        share(100 * ONE);
    }

    function bucket() private view returns (uint256) {
        return vault.books().bucket;
    }

    function refuse(bytes4 why) private {
        vm.expectRevert(why);
    }

    // ---------------------------------------------------------------------------------------------------------- bucket

    function test_raisesAndOpeningsDrainOneBucket() public {
        open(1, 20 * ONE);
        eq(bucket(), 30 * ONE, "an opening drains it");
        raise(1, 25 * ONE);
        eq(bucket(), 5 * ONE, "a raise drains it");
        eq(vault.raisable(), 5 * ONE, "and the view says so");
        refuse(IVault.BucketEmpty.selector);
        raise(1, 5 * ONE + 1);
        IVault.Opening memory o = opening(2, 5 * ONE + 1);
        refuse(IVault.BucketEmpty.selector);
        vm.prank(operator);
        vault.open(o);
        open(2, 5 * ONE);
        eq(bucket(), 0, "to the last unit");
        open(3, 0);
        raise(1, 0); // an empty bucket does not keep a channel from being opened, nor a term from being renewed
    }

    function test_aBatchIsOneSumToTheBucket() public {
        open(1, 0);
        open(2, 0);
        IVault.Raise[] memory list = new IVault.Raise[](2);
        list[0] = IVault.Raise(1, 30 * ONE, uint40(START + 1 days));
        list[1] = IVault.Raise(2, 20 * ONE + 1, uint40(START + 1 days));
        refuse(IVault.BucketEmpty.selector);
        vm.prank(operator);
        vault.raise(list);
        list[1].amount = 20 * ONE;
        vm.prank(operator);
        vault.raise(list);
        eq(bucket(), 0, "drained");
    }

    function test_onlyTimeRefillsTheBucketAndOnlyToTheBrim() public {
        open(1, 50 * ONE);
        vm.warp(START + 12 hours);
        eq(bucket(), 5 * ONE, "half a day");
        vm.warp(START + 5 days);
        eq(bucket(), 50 * ONE, "five days");
        vm.warp(START + 500 days);
        eq(bucket(), 50 * ONE, "never above its capacity");
    }

    function test_raiseReleaseRaiseDrainsTwice() public {
        open(1, 0);
        for (uint16 i = 0; i < 2; i++) {
            raise(1, 25 * ONE);
            vault.release(1, POOL, 0, released(PEER_KEY, 1, POOL, 0, i));
        }
        eq(free(), 1100 * ONE, "all came back");
        eq(bucket(), 0, "but not into the bucket");
        refuse(IVault.BucketEmpty.selector);
        raise(1, 1);
    }

    function test_noWayBackRefillsTheBucket() public {
        open(1, 25 * ONE);
        open(2, 25 * ONE);
        redeem(1, POOL, 10 * ONE);
        deposit(1, 10 * ONE);
        redeem(1, PEER, 10 * ONE);
        closeTogether(1, 10 * ONE, 10 * ONE);
        vm.prank(operator);
        vault.startLowering(2, POOL, 0);
        vm.warp(START + 1 days);
        vault.finishLowering(2, POOL);
        eq(remaining(2, POOL), 0, "lowered");
        eq(bucket(), REFILL, "a day's refill and no more");
    }

    function test_oneUnitAtATimeGainsNothing() public {
        open(1, 50 * ONE);
        // So many small raises that each refill in between is rounded: what is lost by rounding, the operator loses.
        uint256 got;
        for (uint256 i = 1; i <= 200; i++) {
            vm.warp(START + i);
            uint128 most = uint128(bucket());
            raise(1, most);
            got += most;
        }
        ok(got <= uint256(REFILL) * 200 / 1 days, "no more than time gave");
        ok(got + 200 >= uint256(REFILL) * 200 / 1 days, "less than one unit is lost each time");
    }

    function testFuzz_noWindowAllotsMoreThanBucketAndRefill(uint64[12] memory waits, uint96[12] memory wants) public {
        open(1, 0);
        uint256 allotted;
        for (uint256 i = 0; i < 12; i++) {
            vm.warp(block.timestamp + waits[i] % 3 days);
            uint128 most = vault.raisable();
            uint128 amount = uint128(bound(wants[i], 0, most));
            if (amount == 0) continue;
            raise(1, amount);
            allotted += amount;
            ok(allotted <= CAPACITY + uint256(REFILL) * (block.timestamp - START) / 1 days, "rate");
        }
    }

    function test_aBucketWithoutEndNeverOverflows() public {
        IVault.Parameters memory p = super.rules(asset);
        (p.bucketCapacity, p.bucketRefillPerDay) = (type(uint128).max, type(uint128).max);
        vault = new Vault(p);
        note(ann, 100 * ONE);
        vm.warp(START + 3650 days);
        open(1, 80 * ONE);
        eq(bucket(), type(uint128).max - 80 * ONE, "and counts all the same");
    }

    // -------------------------------------------------------------------------------------------------- co-signed raises

    function test_aboveTheBucketTheCommitteeCosigns() public {
        open(1, 50 * ONE);
        uint40 termEnd = uint40(START + 30 days);
        raiseCosigned(2, 1, 100 * ONE, termEnd);
        eq(vault.channel(1).pool.ceiling, 150 * ONE, "raised");
        eq(bucket(), 0, "beside the bucket");
        vm.warp(START + 1 days);
        eq(bucket(), REFILL, "which it neither drains nor fills");
    }

    function test_aCosignedRaiseTakesTAndTheOperator() public {
        open(1, 0);
        uint40 termEnd = uint40(START + 1 days);
        refuse(IVault.NotEnoughSignatures.selector);
        this.raiseBy(1, 1, ONE, termEnd);
        bytes32 digest = Digests.cosignedRaise(separator(), 1, ONE, termEnd, 0, uint40(START));
        IVault.Cosignature[] memory list = cosigned(2, digest);
        refuse(IVault.NotOperator.selector);
        vault.raiseCosigned(IVault.Raise(1, ONE, termEnd), uint40(START), list);
        list[1] = list[0];
        refuse(IVault.BadSignature.selector);
        this.raiseWith(IVault.Raise(1, ONE, termEnd), list); // the same member twice
        list[1] = IVault.Cosignature(1, list[0].signature);
        refuse(IVault.BadSignature.selector);
        this.raiseWith(IVault.Raise(1, ONE, termEnd), list); // one member in two places
        list = cosigned(2, digest);
        (list[0], list[1]) = (list[1], list[0]);
        refuse(IVault.BadSignature.selector);
        this.raiseWith(IVault.Raise(1, ONE, termEnd), list); // not in order
        list = cosigned(2, digest);
        list[1] = IVault.Cosignature(3, compact(COMMITTEE_KEY + 3, digest));
        refuse(IVault.BadSignature.selector);
        this.raiseWith(IVault.Raise(1, ONE, termEnd), list); // no such place
        list[1] = IVault.Cosignature(2, compact(OPERATOR_KEY, digest));
        refuse(IVault.BadSignature.selector);
        this.raiseWith(IVault.Raise(1, ONE, termEnd), list); // the operator is no member
        list[1] = IVault.Cosignature(2, compact(COMMITTEE_KEY + 2, digest));
        this.raiseWith(IVault.Raise(1, ONE, termEnd), list); // any two
        refuse(IVault.BadSignature.selector);
        this.raiseWith(IVault.Raise(1, ONE, termEnd), list); // once
    }

    function raiseBy(uint256 count, uint64 serial, uint128 amount, uint40 termEnd) external {
        raiseCosigned(count, serial, amount, termEnd);
    }

    function raiseWith(IVault.Raise calldata more, IVault.Cosignature[] calldata list) external {
        vm.prank(operator);
        vault.raiseCosigned(more, uint40(START), list);
    }

    function test_whatWasCosignedIsWhatIsRaised() public {
        open(1, 0);
        open(2, 0);
        uint40 termEnd = uint40(START + 1 days);
        IVault.Cosignature[] memory list =
            cosigned(2, Digests.cosignedRaise(separator(), 1, ONE, termEnd, 0, uint40(START)));
        refuse(IVault.BadSignature.selector);
        this.raiseWith(IVault.Raise(2, ONE, termEnd), list);
        refuse(IVault.BadSignature.selector);
        this.raiseWith(IVault.Raise(1, ONE + 1, termEnd), list);
        refuse(IVault.BadSignature.selector);
        this.raiseWith(IVault.Raise(1, ONE, termEnd + 1), list);
        vm.warp(START + 1);
        refuse(IVault.Expired.selector);
        this.raiseWith(IVault.Raise(1, ONE, termEnd), list);
        vm.warp(START);
        this.raiseWith(IVault.Raise(1, ONE, termEnd), list);
    }

    function test_aCosignedRaiseKeepsEveryOtherRule() public {
        open(1, 0);
        refuse(IVault.BelowFloor.selector);
        this.raiseBy(2, 1, 900 * ONE + 1, uint40(START + 1 days)); // of 1100 free, 200 are the floor
        refuse(IVault.BadTerm.selector);
        this.raiseBy(2, 1, ONE, uint40(START + 31 days));
        freeze(1, START + 7 days);
        refuse(IVault.Frozen.selector);
        this.raiseBy(2, 1, ONE, uint40(START + 1 days));
        vm.warp(START + 7 days);
        this.raiseBy(2, 1, 900 * ONE, uint40(START + 8 days));
        requestExit(ann, 1000 * ONE);
        vault.payExits(1);
        vm.warp(START + 14 days + 1);
        refuse(IVault.ExitsOverdue.selector);
        this.raiseBy(2, 1, 1, uint40(START + 15 days));
    }

    // ---------------------------------------------------------------------------------------------------------- freeze

    function test_fFreezeRaisesAndRenewals() public {
        open(1, 10 * ONE);
        freeze(1, START + 7 days);
        eq(vault.books().frozenUntil, START + 7 days, "shown");
        eq(vault.raisable(), 0, "and the view says so");
        refuse(IVault.Frozen.selector);
        raise(1, 1);
        IVault.Raise[] memory renewal = new IVault.Raise[](1);
        renewal[0] = IVault.Raise(1, 0, uint40(START + 30 days));
        refuse(IVault.Frozen.selector);
        vm.prank(operator);
        vault.raise(renewal);
        IVault.Opening memory o = opening(2, 1);
        refuse(IVault.Frozen.selector);
        vm.prank(operator);
        vault.open(o);
        vm.warp(START + 7 days - 1);
        refuse(IVault.Frozen.selector);
        raise(1, 1);
        vm.warp(START + 7 days);
        raise(1, 1);
    }

    function test_aFreezeNeverStopsMoneyOnItsWayOut() public {
        open(1, 10 * ONE);
        deposit(1, 10 * ONE);
        open(2, 10 * ONE);
        freeze(1, START + 7 days);
        redeem(1, POOL, 2 * ONE);
        redeem(1, PEER, 2 * ONE);
        netOff(1, 2 * ONE, 2 * ONE, ONE);
        vault.release(1, POOL, 5 * ONE, released(PEER_KEY, 1, POOL, 5 * ONE, 0));
        uint24 id = requestExit(ann, 10 * ONE);
        eq(vault.payExits(1), 10 * ONE, "exits are paid");
        eq(vault.claimExit(id, ann), 10 * ONE, "and claimed");
        IVault.Cosignature[] memory priced = shareExit(ONE, ONE, 0);
        vm.prank(holder);
        vault.withdrawShare(ONE, ONE, uint40(block.timestamp), priced);
        vm.prank(payout);
        vault.startLowering(1, PEER, 0);
        vm.prank(payout);
        vault.startClose(2);
        vm.warp(START + 1 days);
        vault.finishLowering(1, PEER);
        vault.finishClose(2);
        note(ben, ONE);
        accrue(uint128(RAY + 1));
    }

    function test_aFreezeLastsSevenDaysAtMost() public {
        refuse(IVault.BadTerm.selector);
        this.freezeBy(1, START + 7 days + 1);
        refuse(IVault.BadTerm.selector);
        this.freezeBy(1, START);
        this.freezeBy(1, START + 1);
    }

    function freezeBy(uint256 count, uint256 until) external {
        freeze(count, until);
    }

    function test_afterAFreezeFRestForThirtyDaysButTNeedNot() public {
        freeze(1, START + 7 days);
        vm.warp(START + 1 days);
        refuse(IVault.NotEnoughSignatures.selector);
        this.freezeBy(1, START + 8 days); // no prolonging
        vm.warp(START + 37 days - 1);
        refuse(IVault.NotEnoughSignatures.selector);
        this.freezeBy(1, START + 38 days);
        freeze(2, START + 37 days); // t, at any time
        refuse(IVault.NotEnoughSignatures.selector);
        this.freezeBy(1, START + 38 days);
        freeze(2, START + 38 days); // and again
        vm.warp(START + 68 days - 1);
        refuse(IVault.NotEnoughSignatures.selector);
        this.freezeBy(1, START + 69 days);
        vm.warp(START + 68 days);
        freeze(1, START + 75 days);
    }

    function test_aFreezeIsUsedOnce() public {
        bytes32 digest = Digests.freeze(separator(), uint40(START + 1 days));
        vault.freeze(uint40(START + 1 days), cosigned(2, digest));
        refuse(IVault.BadTerm.selector);
        vault.freeze(uint40(START + 1 days), cosigned(2, digest));
        freeze(2, START + 2 days);
        refuse(IVault.BadTerm.selector);
        vault.freeze(uint40(START + 1 days), cosigned(2, digest)); // nor does an old one shorten a newer
    }

    function test_nobodyElseFreezes() public {
        refuse(IVault.NotEnoughSignatures.selector);
        this.freezeBy(0, START + 1 days);
        bytes32 digest = Digests.freeze(separator(), uint40(START + 1 days));
        IVault.Cosignature[] memory list = cosigned(1, digest);
        list[0].signature = compact(OPERATOR_KEY, digest);
        refuse(IVault.BadSignature.selector);
        vault.freeze(uint40(START + 1 days), list);
        list = cosigned(1, Digests.freeze(Digests.domain(block.chainid, stranger), uint40(START + 1 days)));
        refuse(IVault.BadSignature.selector);
        vault.freeze(uint40(START + 1 days), list); // of another vault
    }

    function test_withoutACommitteeNobodyFreezesMarksDownOrCosigns() public {
        IVault.Parameters memory p = rules(asset);
        (p.committee, p.committeeSpend, p.committeeFreeze) = (new address[](0), 0, 0);
        vault = new Vault(p);
        note(ann, 100 * ONE);
        open(1, 0);
        for (uint256 count = 0; count < 3; count++) {
            refuse(IVault.NotEnoughSignatures.selector);
            this.freezeBy(count, START + 1 days);
            refuse(IVault.NotEnoughSignatures.selector);
            this.markDownBy(count, uint128(RAY - 1));
            refuse(IVault.NotEnoughSignatures.selector);
            this.raiseBy(count, 1, ONE, uint40(START + 1 days));
        }
    }

    // -------------------------------------------------------------------------------------------------------- mark-down

    function markDownBy(uint256 count, uint128 to) external {
        markDown(count, to);
    }

    function test_tMarkNotesDownAndSharesAreGoneFirst() public {
        requestExit(ann, 400 * ONE);
        markDown(2, uint128(RAY * 9 / 10));
        eq(vault.noteClaims(), 900 * ONE, "notes bear it alike");
        eq(vault.books().shareUnits, 0, "shares bore it first");
        IVault.Cosignature[] memory priced = shareExit(1, ONE, 0);
        refuse(IVault.NotEnoughUnits.selector);
        vm.prank(holder);
        vault.withdrawShare(1, ONE, uint40(block.timestamp), priced);
        eq(vault.payExits(1), 360 * ONE, "locked units bear losses until they are paid");
        refuse(IVault.IndexTooFast.selector);
        accrue(uint128(RAY * 9 / 10 + 1)); // no time has passed since
        vm.warp(START + 1 days);
        refuse(IVault.IndexTooFast.selector);
        accrue(uint128(RAY * 9 / 10 + RAY * 9 / 10_000 + 1)); // and then it rises no faster than ever
        accrue(uint128(RAY * 9 / 10 + RAY * 9 / 10_000));
    }

    function test_lessThanTOrTheOperatorMarkNothingDown() public {
        refuse(IVault.NotEnoughSignatures.selector);
        this.markDownBy(1, uint128(RAY - 1));
        bytes32 digest = Digests.markDown(separator(), uint128(RAY - 1), 0, uint40(START));
        IVault.Cosignature[] memory list = cosigned(2, digest);
        list[1] = IVault.Cosignature(1, compact(OPERATOR_KEY, digest));
        refuse(IVault.BadSignature.selector);
        vault.markDown(uint128(RAY - 1), uint40(START), list);
    }

    function test_aMarkDownOnlyLowersAndNotToNothing() public {
        refuse(IVault.IndexNotLower.selector);
        this.markDownBy(2, uint128(RAY));
        refuse(IVault.IndexNotLower.selector);
        this.markDownBy(2, 0);
    }

    function test_aMarkDownIsUsedOnceAndInTime() public {
        IVault.Cosignature[] memory list =
            cosigned(2, Digests.markDown(separator(), uint128(RAY - 5), 0, uint40(START + 5)));
        vm.warp(START + 6);
        refuse(IVault.Expired.selector);
        vault.markDown(uint128(RAY - 5), uint40(START + 5), list);
        vm.warp(START + 5);
        vault.markDown(uint128(RAY - 5), uint40(START + 5), list);
        vm.warp(START + 10);
        list = cosigned(2, Digests.markDown(separator(), uint128(RAY - 7), 0, uint40(START + 10)));
        refuse(IVault.BadSignature.selector);
        vault.markDown(uint128(RAY - 7), uint40(START + 10), list);
    }

    function test_aRaiseAndAMarkDownShareTheirNonce() public {
        open(1, 0);
        IVault.Cosignature[] memory list =
            cosigned(2, Digests.markDown(separator(), uint128(RAY - 5), 0, uint40(START)));
        raiseCosigned(2, 1, ONE, uint40(START + 1));
        refuse(IVault.BadSignature.selector);
        vault.markDown(uint128(RAY - 5), uint40(START), list);
    }

    function test_newNotesAfterAMarkDownBuyAtTheNewIndex() public {
        markDown(2, uint128(RAY / 2));
        eq(note(ben, ONE), 2 * ONE, "twice the units");
        markDown(2, 1); // as good as nothing: no number of units is worth a note any more
        refuse(IVault.AmountTooLarge.selector);
        note(ben, ONE);
        eq(vault.payExits(1), 0, "and nothing else is stopped by it");
    }

    // -------------------------------------------------------------------------------------------------------- heartbeat

    function test_theOperatorShowsThatItLives() public {
        vm.warp(START + 5);
        refuse(IVault.NotOperator.selector);
        vault.heartbeat();
        eq(vault.books().heartbeatAt, START, "built");
        vm.prank(operator);
        vault.heartbeat();
        eq(vault.books().heartbeatAt, START + 5, "by a heartbeat");
        vm.warp(START + 6);
        open(1, ONE);
        eq(vault.books().heartbeatAt, START + 6, "by an allotment");
        vm.warp(START + 7);
        raise(1, ONE);
        eq(vault.books().heartbeatAt, START + 7, "by a raise");
        eq(vault.books().frozenUntil, 0, "nothing else changed");
        ok(!vault.books().runsDown, "nothing else changed");
    }
}
