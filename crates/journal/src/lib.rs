//! Hash-chained segments, snapshots and group commit.
