//! The client against a real chain: anvil, without which these tests fail and say how to install it.

mod faults;
mod follow;
mod life;
mod resend;
mod suite;
mod world;
