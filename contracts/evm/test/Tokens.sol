// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "./TestToken.sol";

/// @dev Takes one part in a hundred of every transfer.
contract FeeToken is TestToken("Fee", "FEE", 18, 1e30) {
    function _move(address from, address to, uint256 value) internal override {
        super._move(from, to, value);
        balanceOf[to] -= value / 100;
    }
}

/// @dev Says no by returning false, and moves nothing, for those it has listed.
contract FalseToken is TestToken("False", "FALSE", 18, 1e30) {
    mapping(address account => bool) public listed;

    function list(address account) external {
        listed[account] = true;
    }

    function transfer(address to, uint256 value) external override returns (bool) {
        if (listed[to]) return false;
        _move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external override returns (bool) {
        if (listed[from]) return false;
        _move(from, to, value);
        return true;
    }
}

/// @dev Reverts for those it has listed, as issuers do.
contract BlacklistToken is TestToken("Blacklist", "BLACK", 18, 1e30) {
    mapping(address account => bool) public listed;

    error Blacklisted();

    function list(address account) external {
        listed[account] = true;
    }

    function unlist(address account) external {
        listed[account] = false;
    }

    function _move(address from, address to, uint256 value) internal override {
        if (listed[to] || listed[from]) revert Blacklisted();
        super._move(from, to, value);
    }
}

/// @dev Returns nothing, like the oldest tokens.
contract SilentToken {
    mapping(address account => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    constructor() {
        balanceOf[msg.sender] = 1e30;
    }

    function approve(address spender, uint256 value) external {
        allowance[msg.sender][spender] = value;
    }

    function transfer(address to, uint256 value) external {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
    }

    function transferFrom(address from, address to, uint256 value) external {
        allowance[from][msg.sender] -= value;
        balanceOf[from] -= value;
        balanceOf[to] += value;
    }
}

/// @dev Calls the sender back in the middle of transferFrom, as ERC-777 does.
contract HookToken is TestToken("Hook", "HOOK", 18, 1e30) {
    function transferFrom(address from, address to, uint256 value) external override returns (bool) {
        if (from.code.length != 0) HookedSender(from).tokensToSend();
        _move(from, to, value);
        return true;
    }
}

interface HookedSender {
    function tokensToSend() external;
}

/// @dev Every balance is a part of what was moved, and the part changes overnight.
contract RebasingToken is TestToken("Rebasing", "REBASE", 18, 1e30) {
    function rebase(address holder, uint256 percent) external {
        balanceOf[holder] = balanceOf[holder] * percent / 100;
    }
}
