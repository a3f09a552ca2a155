//! The client against a real chain: anvil, without which these tests fail and say how to install it.

mod suite;
mod world;
