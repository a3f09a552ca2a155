//! The simulated world and its independent auditor.
