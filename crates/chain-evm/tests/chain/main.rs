//! The client against a real chain: anvil, without which these tests fail and say how to install it.

mod faults;
mod follow;
mod liars;
mod life;
mod proxy;
mod resend;
mod suite;
mod world;
