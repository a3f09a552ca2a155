// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Channels} from "./Channels.sol";
import {Notes} from "./Notes.sol";
import {Treasury} from "./Treasury.sol";

/// @title The vault of one asset, ETH or an ERC-20. What it promises and assumes is said in IVault.
contract Vault is Notes, Channels {
    constructor(Parameters memory p) Treasury(p) {}
}
