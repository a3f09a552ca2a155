//! Double-entry accounts with linked pending legs.
