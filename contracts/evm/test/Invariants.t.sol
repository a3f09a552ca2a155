// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Vault} from "../src/Vault.sol";
import {IVault} from "../src/interfaces/IVault.sol";
import {Actor} from "./Actor.sol";
import {TestToken} from "./TestToken.sol";
import {Test} from "./Vm.sol";

interface Balances {
    function balanceOf(address) external view returns (uint256);
}

/// @dev After any sequence of calls the vault's books, the actor's own books and the chain's balance say the same.
contract InvariantsTest is Test {
    Actor internal actor;
    Vault internal vault;
    address internal asset;

    error Reverted(bytes4 call, bytes why);

    function setUp() public virtual {
        begin(address(0));
    }

    function begin(address asset_) internal {
        asset = asset_;
        actor = new Actor();
        if (asset_ != address(0)) TestToken(asset_).transfer(address(actor), 1e30);
        actor.begin(asset_);
        vault = actor.theVault();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actor);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(actor), selectors());
    }

    function selectors() private pure returns (bytes4[] memory chosen) {
        bytes4[32] memory list = [
            Actor.pass.selector,
            Actor.depositNote.selector,
            bytes4(keccak256("requestExit(uint256,uint128)")),
            Actor.payExits.selector,
            Actor.claimExit.selector,
            bytes4(keccak256("accrue(uint256)")),
            Actor.depositShare.selector,
            Actor.withdrawShare.selector,
            Actor.openOne.selector,
            bytes4(keccak256("deposit(uint256,uint128)")),
            bytes4(keccak256("raise(uint256,uint128,bool)")),
            bytes4(keccak256("redeem(uint256,bool,uint128)")),
            Actor.redeemFormer.selector,
            Actor.redeemMany.selector,
            Actor.release.selector,
            Actor.startLowering.selector,
            Actor.finishLowering.selector,
            bytes4(keccak256("netOff(uint256,uint128)")),
            bytes4(keccak256("closeTogether(uint256,uint256,uint256)")),
            Actor.startClose.selector,
            Actor.finishClose.selector,
            Actor.changeKey.selector,
            Actor.startKeyChange.selector,
            Actor.finishKeyChange.selector,
            Actor.reclaim.selector,
            Actor.pass.selector,
            Actor.beat.selector,
            Actor.raiseMore.selector,
            Actor.freezeSome.selector,
            bytes4(keccak256("markDown(uint256,uint256)")),
            Actor.startRunDown.selector,
            Actor.pass.selector
        ];
        chosen = new bytes4[](list.length);
        for (uint256 i = 0; i < list.length; i++) chosen[i] = list[i];
    }

    /// @dev The same world on a walk that is the same everywhere, long enough that every call, and every outcome with a name, happened.
    function test_everyCallSucceedsOnALongWalk() public {
        bytes4[] memory chosen = selectors();
        uint256 seed = uint256(keccak256("forebay walk"));
        actor.beginRunDownAfter(800);
        for (uint256 i = 0; i < 3500; i++) {
            seed = uint256(keccak256(abi.encode(seed)));
            // Every argument is a word of the seed, cut to its width: 1 bit for flags, 24 for the narrowest number.
            (uint256 a, uint256 b, uint256 c) = (seed >> 232, (seed >> 96) & 1, (seed >> 64) & 1);
            bytes4 call = chosen[seed % chosen.length];
            if (call == bytes4(keccak256("deposit(uint256,uint128)")) || numbers(call)) (b, c) = (seed >> 128, seed >> 192);
            if (call == bytes4(keccak256("redeem(uint256,bool,uint128)"))) c = seed >> 128;
            if (call == bytes4(keccak256("raise(uint256,uint128,bool)"))) b = seed >> 128;
            if (call == Actor.release.selector || call == Actor.startLowering.selector) c = seed >> 128;
            if (wide(call)) a = seed >> 128;
            (bool done, bytes memory why) = address(actor).call(abi.encodePacked(call, a, b, c));
            if (!done) revert Reverted(call, why);
            if (i % 50 == 49) invariant_theBooksAgree();
        }
        for (uint256 i = 0; i < actor.callsCount(); i++) {
            string memory name = actor.callName(i);
            bool cannot = asset != address(0) && (same(name, "payoutRefused") || same(name, "reclaim"));
            ok(cannot || actor.succeeded(name) != 0, string.concat("never succeeded: ", name));
        }
    }

    /// @dev Calls whose second and third arguments are amounts.
    function numbers(bytes4 call) private pure returns (bool) {
        return call == Actor.depositNote.selector || call == bytes4(keccak256("requestExit(uint256,uint128)"))
            || call == Actor.claimExit.selector || call == Actor.withdrawShare.selector || call == Actor.openOne.selector
            || call == Actor.redeemFormer.selector || call == Actor.redeemMany.selector
            || call == bytes4(keccak256("netOff(uint256,uint128)")) || call == Actor.raiseMore.selector
            || call == Actor.freezeSome.selector || call == bytes4(keccak256("markDown(uint256,uint256)"))
            || call == bytes4(keccak256("closeTogether(uint256,uint256,uint256)"));
    }

    /// @dev Calls whose first argument is an amount.
    function wide(bytes4 call) private pure returns (bool) {
        return call == Actor.depositShare.selector || call == Actor.withdrawShare.selector
            || call == bytes4(keccak256("accrue(uint256)"));
    }

    function invariant_theBooksAgree() public view {
        uint256 remaining = requireLanes();
        uint256 unclaimed = requireExits();
        uint256 owed = requireReclaims();
        IVault.Books memory b = vault.books();
        eq(b.free, actor.freeHere(), "free");
        requireBucket(b);
        eq(b.frozenUntil, actor.frozenUntil(), "frozen");
        ok(b.runsDown == actor.runsDown(), "runs down");
        uint256 tracked = b.free + remaining + unclaimed + owed;
        eq(tracked, actor.moneyIn() - actor.moneyOut(), "tracked = in - out");
        uint256 held = asset == address(0) ? address(vault).balance : Balances(asset).balanceOf(address(vault));
        eq(tracked, held, "tracked = the chain's balance");
    }

    /// @dev Against a bucket that is not rounded: never fuller, and at most a unit emptier for each use.
    function requireBucket(IVault.Books memory b) private view {
        (uint256 exact, uint256 uses) = actor.bucketNow();
        ok(b.bucket * 1 days <= exact, "never fuller than time allows");
        ok((b.bucket + uses + 1) * 1 days >= exact, "rounded by less than a unit each time");
    }

    function requireLanes() private view returns (uint256 remaining) {
        for (uint64 serial = 1; serial <= actor.serials(); serial++) {
            IVault.ChannelView memory c = vault.channel(serial);
            Actor.Line memory l = actor.line(serial);
            ok(c.opened && c.closed == l.closed, "open or closed");
            eq(c.pool.ceiling, l.lanes[0].ceiling, "pool ceiling");
            eq(c.pool.paid, l.lanes[0].paid, "pool paid");
            eq(c.peer.ceiling, l.lanes[1].ceiling, "peer ceiling");
            eq(c.peer.paid, l.lanes[1].paid, "peer paid");
            ok(c.pool.paid <= c.pool.ceiling && c.peer.paid <= c.peer.ceiling, "paid <= ceiling");
            if (!l.closed) {
                eq(c.pool.signer, vm.addr(l.lanes[0].key), "pool key");
                eq(c.peer.signer, vm.addr(l.lanes[1].key), "peer key");
            }
            remaining += (c.pool.ceiling - c.pool.paid) + (c.peer.ceiling - c.peer.paid);
        }
    }

    function requireExits() private view returns (uint256 unclaimed) {
        IVault.Books memory b = vault.books();
        uint256 units;
        for (uint256 i = 0; i < 3; i++) units += vault.unitsOf(actor.members(i));
        bool waiting;
        if (b.runsDown) {
            // The cohort of all holds every unit, those that nobody has moved yet as well.
            IVault.CohortView memory all = vault.cohort(type(uint24).max);
            eq(all.unitsUnpaid, b.unitsTotal, "all units run down together");
            requireDust(type(uint24).max, all.unclaimed, false);
            unclaimed = all.unclaimed;
        }
        for (uint24 id = 0; id < b.cohortCount; id++) {
            IVault.CohortView memory c = vault.cohort(id);
            units += c.unitsUnpaid;
            unclaimed += c.unclaimed;
            if (b.runsDown) {
                requireDust(id, c.unclaimed, true);
                continue;
            }
            ok(!waiting || c.paidPerPart == 0, "nobody jumps the queue");
            if (c.unitsUnpaid != 0 && !waiting) {
                waiting = true;
                eq(b.cohortOldest, id, "oldest");
                eq(b.exitsDueAt, c.dueAt, "due");
            }
            requireDust(id, c.unclaimed, true);
        }
        if (!waiting && !b.runsDown) eq(b.exitsDueAt, 0, "nothing due");
        if (!b.runsDown) eq(units, b.unitsTotal, "units");
        eq(unclaimed, actor.unclaimed(), "set aside");
    }

    /// @dev What members may claim is what was set aside, but for what rounding leaves; while units wait to be moved, it may be more.
    function requireDust(uint24 id, uint256 setAside, bool whole) private view {
        uint256 members;
        for (uint256 i = 0; i < 3; i++) {
            (, uint128 claimable) = vault.exitOf(id, actor.members(i));
            members += claimable;
        }
        ok(members <= setAside + 3, "members' claims are covered");
        if (whole) ok(setAside <= members + actor.claims(id) + 3, "and nothing else is set aside");
    }

    function requireReclaims() private view returns (uint256 owed) {
        for (uint256 i = 0; i < 3; i++) {
            address payee = actor.payees(i);
            eq(vault.reclaimOf(payee), actor.owedTo(payee), "reclaim");
            owed += vault.reclaimOf(payee);
        }
    }

    function same(string memory a, string memory b) private pure returns (bool) {
        return keccak256(bytes(a)) == keccak256(bytes(b));
    }
}

contract InvariantsErc20Test is InvariantsTest {
    function setUp() public override {
        begin(address(new TestToken("Test", "TEST", 18, 1e30)));
    }
}
