//! Set-up, checks, demo and CI of this repository.
fn main() {}
