//! The numbers of the route exchange, and why they are what they are [I12].

/// Prefixes kept of one neighbour, withdrawn ones that are remembered counted: more than the whole network has today.
pub const PREFIXES_PER_NEIGHBOUR_MAX: usize = 4_096;
/// Bytes that a route may take: some thirty hops of usual length. What is longer is not taken.
pub const ROUTE_BYTES_MAX: usize = 2_048;
/// Bytes of one update: the least of what software in use takes in a packet (32,767), less the packet around it.
pub const UPDATE_BYTES_MAX: usize = 28_000;
/// Withdrawn prefixes that are told to whoever has not heard yet; with more, all neighbours begin anew.
pub const WITHDRAWN_MAX: usize = 4_096;
/// What we tell may be used this long without hearing more, in milliseconds: as ilp-connector has it.
pub const HOLD_DOWN_MS: u32 = 45_000;
/// A neighbour that hears nothing new hears that much, in milliseconds: two of them fit the hold-down, with room.
pub const HEARTBEAT_MS: u64 = 20_000;
/// What a neighbour tells is used no longer than this without hearing more, whatever it says, in milliseconds.
pub const HOLD_DOWN_MAX_MS: u64 = 120_000;
/// And no shorter than this, in milliseconds, so that a hold-down of nothing asks for no answers in a row.
pub const HOLD_DOWN_MIN_MS: u64 = 5_000;
/// Updates to one neighbour are this far apart, in milliseconds, so that changes gather.
pub const UPDATE_INTERVAL_MS: u64 = 150;
/// An unanswered request is given up, and a refused one repeated, after this long, in milliseconds.
pub const RETRY_MS: u64 = 30_000;
/// A gap in a neighbour's updates is asked about no more often than this, in milliseconds.
pub const ASK_INTERVAL_MS: u64 = 1_000;
/// A neighbour may bring a prefix back, or change its path, this often in [`FLAP_WINDOW_MS`].
pub const FLAPS_MAX: u32 = 5;
/// The time over which flaps are counted, in milliseconds.
pub const FLAP_WINDOW_MS: u64 = 60_000;
/// A prefix that flapped more is not taken from that neighbour until it was quiet for this long, in milliseconds.
pub const FLAP_HOLD_MS: u64 = 60_000;
