//! The bound of every table, and why it is what it is [I12].

/// Assets: a pool's basket is a handful; the rate table grows with the square.
pub const ASSETS_MAX: usize = 64;
/// Accounts with connectors: the largest size that was measured.
pub const PEERS_MAX: usize = 1 << 20;
/// Packets in flight: the slot number has 20 bits; a quarter of it is 30 s at 8,000 a second unanswered.
pub const PACKETS_MAX: usize = 1 << 18;
/// Static routes beyond the peers' own addresses.
pub const ROUTES_MAX: usize = 1 << 16;
/// Peers that exchange routes: each may bring thousands of them, and each change is told to all.
pub const NEIGHBOURS_MAX: usize = 256;
/// Instructions remembered against repetition: years of an operator's work.
pub const COMMANDS_REMEMBERED_MAX: usize = 1 << 14;
/// Price sources per asset: the median needs three, more than sixteen adds nothing.
pub const SOURCES_MAX: usize = 16;
/// An address segment: what fits a dashboard line.
pub const NAME_MAX: usize = 64;
/// Chain effects waiting for an outcome: more than a day of blocks could take.
pub const DEMANDS_MAX: usize = 1 << 14;
/// Unpaid exit cohorts, one a day: ten years.
pub const COHORTS_MAX: usize = 4_096;
/// Packets expired by one tick; the next tick takes the rest.
pub const EXPIRED_PER_TICK_MAX: usize = 4_096;
/// The longest that a packet may be held, in milliseconds: the expiry wheel's horizon, less a bucket.
pub const HOLD_MAX_MS: u64 = 60_000;
/// Invoices of one peer that may still be paid, and about as many that were: the lowest numbers are forgotten first.
pub const INVOICES_MAX: usize = 1 << 10;
/// An invoice is remembered this long after it expired, in milliseconds: longer than any HTLC that pays it can be on its way.
pub const INVOICE_KEPT_MS: u64 = 7 * 86_400_000;
/// LPs on Bitcoin: by invitation of the operator, or by an address asked for.
pub const LPS_MAX: usize = 1 << 16;
/// Withdrawals under way: a day of them fits few blocks.
pub const WITHDRAWALS_MAX: usize = 1 << 12;
/// Bytes of a payout script: the longest witness program, and what is older is shorter.
pub const SCRIPT_MAX: usize = 42;
/// Lightning channels of one peer, open ones, and closed ones whose money is on its way: one carries a peer, more are its own.
pub const LIGHTNING_CHANNELS_MAX: usize = 16;
/// Channels promised or sold that are not over: each is a demand, a wallet's coin and a node's memory.
pub const SALES_MAX: usize = 1 << 12;
/// Of them, those of one node: what a node that was paid once needs, and a few that nobody paid.
pub const SALES_OF_NODE_MAX: usize = 8;
/// Deposits on Bitcoin, each remembered for ever: 36 bytes each.
pub const DEPOSITS_MAX: usize = 1 << 20;
/// Payment hashes remembered, so that none is used twice: months of settlements.
pub const HASHES_REMEMBERED_MAX: usize = 1 << 16;
/// Fulfilled packets remembered of each peer, in case it reconnects: more than its link should have in flight.
pub const ANSWERS_MAX: usize = 1 << 13;
