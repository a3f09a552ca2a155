//! The route exchange: rules one by one, and whole networks of pools that tell each other.
#![allow(clippy::unwrap_used)]

mod limits;
mod network;
mod pool;
mod rules;
