//! Prices, spreads, guards and LP claim maths as pure integer functions.
//!
//! Everything here is a function of its arguments, in integers: no floats, no clock, no state of its own and no
//! I/O. Whoever calls it polls the price sources, stamps the time and books the amounts. Every rounding favours
//! the pool, and its direction is in the name or the first line.
#![no_std]
#![forbid(unsafe_code)]

mod fees;
mod notes;
mod price;
mod quote;
mod rate;
mod shares;
mod sources;
mod spread;
mod volatility;
mod waterfall;

pub use fees::FeeRelease;
pub use notes::{DAY, Index, RAY, floor_holds, floor_needed, payable_to_exits};
pub use price::{PRICE_MAX, PRICE_SCALE, ParsePriceError, Price};
pub use quote::{Quote, STREAM_PRECISION_MIN, quote, stream_precision_ok};
pub use rate::Rate;
pub use shares::{share_claim, share_units_for_deposit};
pub use sources::{GuardTripped, Guards, SOURCES_MAX, SOURCES_MIN, SourceReport, median};
pub use spread::{Flow, Inventory, Skew, SpreadPolicy, skew};
pub use volatility::Volatility;
pub use waterfall::{LossSplit, NoteRate, Notes, pay_note_rate, waterfall};
