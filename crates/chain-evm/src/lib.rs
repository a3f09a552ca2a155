//! Client of the vault contracts on EVM chains.
