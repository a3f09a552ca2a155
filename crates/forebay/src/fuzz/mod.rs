//! `forebay fuzz`: mutates what is known to be good and bad, for as long as it is told, and hands it to every decoder that
//! reads bytes of others. A seed is a run: the same inputs in the same order.

mod decoders;
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use crate::output::{minutes, show};
use decoders::{DECODERS, Decoder};
use mutate::{Random, mutated};

/// Inputs of one decoder before the next has its turn.
const TURN: u64 = 1_000;
/// No mutation grows an input beyond this: longer than any decoder takes.
pub(crate) const INPUT_SIZE_MAX: usize = 70_000;

/// Mutates inputs for every decoder of bytes that come from outside.
#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// For how long; 0.2 are twelve seconds.
    #[arg(long, value_parser = minutes, default_value = "10")]
    minutes: Duration,
    /// Chooses the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The root of the repository, where the committed inputs lie.
    #[arg(long, default_value = ".")]
    repository: PathBuf,
}

/// What one decoder was given.
#[derive(Debug, Serialize)]
struct Line {
    decoder: &'static str,
    seeds: usize,
    inputs: u64,
    accepted: u64,
}

impl Fuzz {
    /// Runs to the end; it blocks.
    pub(crate) fn run(self, json: bool) -> Result<()> {
        let mut lines = Vec::new();
        let mut corpora = Vec::new();
        for decoder in DECODERS {
            let seeds = (decoder.seeds)(&self.repository)
                .with_context(|| format!("the inputs of {}", decoder.name))?;
            ensure!(
                !seeds.is_empty(),
                "{} has no inputs to begin with",
                decoder.name
            );
            lines.push(Line {
                decoder: decoder.name,
                seeds: seeds.len(),
                inputs: 0,
                accepted: 0,
            });
            corpora.push(seeds);
        }
        let (began, mut turn) = (Instant::now(), 0);
        while turn == 0 || began.elapsed() < self.minutes {
            for ((decoder, line), seeds) in DECODERS.iter().zip(&mut lines).zip(&corpora) {
                self.take_turn(decoder, line, seeds, turn)?;
            }
            turn += 1;
        }
        for line in &lines {
            ensure!(
                line.accepted > 0,
                "{} accepted nothing: the mutations reach nothing in it",
                line.decoder
            );
        }
        show(json, &lines, |lines| print(lines, began.elapsed()))
    }

    fn take_turn(
        &self,
        decoder: &Decoder,
        line: &mut Line,
        seeds: &[Vec<u8>],
        turn: u64,
    ) -> Result<()> {
        for number in 0..TURN / decoder.cost {
            let input_seed = self.seed.wrapping_add(turn * TURN + number);
            let input = mutated(seeds, &mut Random(input_seed));
            let decoded = catch_unwind(AssertUnwindSafe(|| (decoder.decode)(&input)));
            match decoded {
                Ok(Ok(accepted)) => line.accepted += u64::from(accepted),
                Ok(Err(why)) => return self.report(decoder, &input, why),
                Err(_) => return self.report(decoder, &input, "it panicked"),
            }
            line.inputs += 1;
        }
        Ok(())
    }

    fn report(&self, decoder: &Decoder, input: &[u8], why: &str) -> Result<()> {
        let file = std::env::temp_dir().join(format!("forebay-fuzz-{}", std::process::id()));
        std::fs::write(&file, input)?;
        bail!(
            "{}: {why}; the input is kept in {}: {}",
            decoder.name,
            file.display(),
            hex::encode(&input[..input.len().min(200)])
        )
    }
}

fn print(lines: &[Line], took: Duration) {
    println!("decoder          seeds      inputs    accepted");
    for line in lines {
        let Line {
            decoder,
            seeds,
            inputs,
            accepted,
        } = line;
        println!("{decoder:<16} {seeds:>5} {inputs:>11} {accepted:>11}");
    }
    let inputs: u64 = lines.iter().map(|line| line.inputs).sum();
    println!(
        "{inputs} inputs in {} s, none of them broke anything",
        took.as_secs()
    );
}
