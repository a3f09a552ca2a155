// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IVault} from "../src/interfaces/IVault.sol";

contract RevertingPayee {
    error Never();

    receive() external payable {
        revert Never();
    }

    function reclaim(IVault vault, address to) external {
        vault.reclaim(to);
    }
}

contract GasEatingPayee {
    receive() external payable {
        for (uint256 i = 0; gasleft() > 0; i++) {}
    }
}

/// @dev Reverts with a megabyte, to make the caller pay for copying it.
contract BombPayee {
    receive() external payable {
        assembly {
            revert(0, 1000000)
        }
    }
}

/// @dev Tries the same redemption again while it is being paid.
contract ReenteringPayee {
    IVault private vault;
    IVault.Redemption private again;
    uint256 public entered;
    bool public gotThrough;

    function arm(IVault vault_, IVault.Redemption calldata redemption) external {
        (vault, again) = (vault_, redemption);
    }

    receive() external payable {
        entered++;
        try vault.redeem(again) {
            gotThrough = true;
        } catch {}
    }
}

/// @dev Takes the money only when it has gas to spare, and gives the rest back when not: the payee that a caller could starve.
contract CautiousPayee {
    error TooLittleGas();

    receive() external payable {
        if (gasleft() < 29_000) revert TooLittleGas();
    }
}
