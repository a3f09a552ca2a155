//! Amounts, ratios, timestamps and typed ids with checked arithmetic.
//!
//! This crate holds the words that every other crate counts in. It never rounds without saying so in a
//! name, never wraps, never reads a clock and never does I/O: whoever calls it supplies time and bytes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod amount;
mod hash;
mod ids;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod ratio;
mod time;
mod wide;

pub use amount::{Amount, ParseAmountError, SCALE_MAX, rescale_floor};
pub use hash::{Hash32, ParseHexError};
pub use ids::{
    AccountId, AssetId, BlockHeight, ChannelSerial, CommandId, EffectId, LpId, PacketId, PeerId,
    SourceId,
};
pub use ratio::{Bps, PPM_ONE, Ppm};
pub use time::{Milliseconds, Timestamp};
pub use wide::{mul_div_ceil, mul_div_floor, widening_mul};
