//! `forebay-model --depth N`: walks through the mixed world, in which everything may happen, as far as N deeds reach.

use std::process::ExitCode;

use forebay_model::scenarios::MIXED;
use forebay_model::{tell, walk};

/// What a minute reaches.
const DEPTH: usize = 8;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let depth = match arguments[..] {
        [] => Some(DEPTH),
        ["--depth", depth] => depth.parse().ok(),
        _ => None,
    };
    let Some(depth) = depth else {
        eprintln!("forebay-model [--depth N]: walk through the mixed world, N deeds deep");
        return ExitCode::FAILURE;
    };
    let walk = walk(MIXED.model, Some(depth));
    print!("{}", tell(&MIXED, &walk));
    if walk.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
