//! Commits per second and their latency, by batch size: one append and one sync each, on the disk that holds the
//! target directory. Prints one JSON object and judges nothing.
#![allow(clippy::float_arithmetic)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_journal::{Journal, LocalDisk, Options};

const RECORD_BYTES: usize = 128;
const MEASURED: Duration = Duration::from_secs(2);

fn main() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("the target directory can be written");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let runs: Vec<String> = [1, 16, 256, 1024, 8192]
        .map(|records| run(directory.path(), records))
        .into();
    println!(
        "{{\"record_bytes\":{RECORD_BYTES},\"load_average\":\"{}\",\"runs\":[\n{}\n],\n\"recovery\":{}}}",
        load.split(' ').take(3).collect::<Vec<_>>().join(" "),
        runs.join(",\n"),
        recover(&directory.path().join("8192")),
    );
}

fn open(directory: &Path) -> (Journal, forebay_journal::Recovery) {
    let disk = LocalDisk::open(directory).expect("the directory is ours");
    Journal::open(Arc::new(disk), Options::new([0; 32])).expect("it is whole")
}

fn run(directory: &Path, records: usize) -> String {
    let (mut journal, _) = open(&directory.join(records.to_string()));
    let payload: Vec<u8> = (0..records * RECORD_BYTES)
        .map(|at| (at % 251) as u8)
        .collect();
    let mut micros = Vec::with_capacity(1 << 16);
    let began = Instant::now();
    while began.elapsed() < MEASURED {
        let start = Instant::now();
        journal.append(&payload).expect("the disk has room");
        journal.sync().expect("the disk works");
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let seconds = began.elapsed().as_secs_f64();
    let segments = journal.counts().segments;
    journal.close().expect("the disk works");
    micros.sort_by(f64::total_cmp);
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
    let commits = micros.len() as f64 / seconds;
    format!(
        "{{\"records\":{records},\"commits_per_second\":{commits:.0},\"records_per_second\":{:.0},\"p50_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\"max_us\":{:.0},\"segments\":{segments}}}",
        commits * records as f64,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
    )
}

fn recover(directory: &Path) -> String {
    let began = Instant::now();
    let (journal, mut recovery) = open(directory);
    let opened = began.elapsed().as_secs_f64();
    let mut bytes = 0;
    while let Some(frame) = recovery.next_frame().expect("the disk works") {
        bytes += frame.payload.len();
    }
    let seconds = began.elapsed().as_secs_f64();
    let records = bytes / RECORD_BYTES;
    format!(
        "{{\"frames\":{},\"records\":{records},\"open_seconds\":{opened:.3},\"seconds\":{seconds:.3},\"seconds_per_10M_records\":{:.2}}}",
        journal.head().sequence,
        seconds / records as f64 * 1e7,
    )
}
