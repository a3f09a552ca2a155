//! Every benchmark runs briefly and prints what it says that it prints, so that none rots. How fast it is, is no matter here.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

/// Of the build, on a disk.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forebay"))
        .arg("bench")
        .args(arguments)
        .args(["--folder", FOLDER])
        .output()
        .unwrap()
}

/// What a benchmark prints, with what it was measured on.
fn report(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&report, "cores") > 0);
    assert!(report["conditions"].is_string());
    report
}

/// The runs of a benchmark, each checked for a rate that is one and percentiles in order.
fn measure(arguments: &[&str], rate: &str) -> Vec<Value> {
    let report = report(arguments);
    let runs = report["runs"].as_array().unwrap().clone();
    for run in &runs {
        assert!(number(run, rate) > 0, "{run}");
        if run.get("p50_us").is_some() {
            check_percentiles(run);
        }
    }
    runs
}

fn check_percentiles(run: &Value) {
    let [p50, p99, p999] = ["p50_us", "p99_us", "p999_us"].map(|field| number(run, field));
    assert!(p50 > 0 && p50 <= p99 && p99 <= p999, "{run}");
}

fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no {field} in {value}"))
}

fn numbers(runs: &[Value], field: &str) -> Vec<u64> {
    runs.iter().map(|run| number(run, field)).collect()
}

#[test]
fn packets_are_measured_at_windows_and_at_rates() {
    let runs = measure(
        &["packets", "--window", "1,64", "--seconds", "1"],
        "packets_per_second",
    );
    assert_eq!(numbers(&runs, "window"), [1, 64]);
    assert!(number(&runs[0], "syncs") > number(&runs[0], "packets"));
    let runs = measure(
        &["packets", "--rate", "200,1000", "--seconds", "1"],
        "packets_per_second",
    );
    assert_eq!(numbers(&runs, "rate"), [200, 1_000]);
    // Not one more and not one less than the schedule has, however busy the machine is.
    assert_eq!(numbers(&runs, "packets"), [200, 1_000]);
}

#[test]
fn connections_are_measured_each_with_an_account_of_its_own() {
    let arguments = ["conns", "--connections", "1,24", "--window", "48"];
    let runs = measure(
        &[&arguments[..], &["--seconds", "1"]].concat(),
        "packets_per_second",
    );
    assert_eq!(numbers(&runs, "connections"), [1, 24]);
    assert!(number(&runs[1], "idle_bytes_per_connection") > 0);
}

#[test]
fn growth_is_measured_in_processes_apart() {
    let arguments = ["growth", "--accounts", "10,3000", "--window", "64"];
    let runs = measure(
        &[&arguments[..], &["--seconds", "1"]].concat(),
        "packets_per_second",
    );
    assert_eq!(numbers(&runs, "accounts"), [10, 3_000]);
    assert!(number(&runs[1], "core_bytes_per_account") > 100);
    // A process with little in it is still a process.
    let [small, large] = numbers(&runs, "process_bytes_per_account")[..] else {
        panic!("two runs");
    };
    assert!(small > large);
}

#[test]
fn recovery_is_measured_with_and_without_a_snapshot() {
    let arguments = ["recovery", "--records", "10000,40000", "--accounts", "200"];
    let runs = measure(&arguments, "whole_records_per_second");
    for (run, least) in runs.iter().zip([10_000, 40_000]) {
        let records = number(run, "records");
        // A batch more at most, and its packets answered.
        assert!((least..least + 4_096).contains(&records), "{run}");
        let tail = number(run, "tail_records");
        assert!(tail >= least / 20 && tail < records / 2, "{run}");
        assert!(number(run, "snapshot_bytes") > 200 * 100, "{run}");
        assert!(number(run, "snapshot_ms") > 0 && number(run, "whole_ms") > 0);
    }
}

#[test]
fn http_is_measured_for_packets_and_for_reads() {
    let runs = measure(
        &["http", "--window", "4", "--seconds", "1"],
        "requests_per_second",
    );
    let what: Vec<&str> = runs
        .iter()
        .map(|run| run["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        what,
        [
            "prepare, sync",
            "prepare, async",
            "/v1/status",
            "/v1/books",
            "/v1/peers"
        ]
    );
}

#[test]
fn the_pool_is_measured_beside_npms_ilp_connector() {
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/ilp");
    let arguments = ["peers", "--tools", tools, "--window", "10"];
    let output = run(&[
        &arguments[..],
        &["--turns", "1", "--seconds", "1", "--json"],
    ]
    .concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = &report["runs"][0];
    for side in ["forebay", "ilp_connector"] {
        assert!(number(&run[side], "packets_per_second") > 0);
        check_percentiles(&run[side]);
    }
    assert!(run["cpu_ratio"].as_f64().unwrap() > 0.0);
}

#[test]
fn lightning_is_measured_by_settlements_by_packets_and_by_a_restart() {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/bitcoin/bitcoind");
    let bitcoind = std::env::var("FOREBAY_BITCOIND").unwrap_or_else(|_| built.into());
    let arguments = ["chains", "--bitcoind", &bitcoind, "--at-once", "1,8"];
    let counts = ["--settlements", "16", "--settle-every", "1,30"];
    let rest = ["--rounds", "2", "--channels", "6"];
    let report = report(&[&arguments[..], &counts, &rest].concat());
    let list = |field: &str| report[field].as_array().unwrap().clone();
    let float = |run: &Value, field: &str| run[field].as_f64().unwrap();
    let runs = list("runs");
    assert_eq!(numbers(&runs, "at_once"), [1, 8]);
    for run in &runs {
        assert!(float(run, "settlements_per_second") > 0.0, "{run}");
        let (p50, p99) = (number(run, "p50_us"), number(run, "p99_us"));
        assert!(p50 > 0 && p50 <= p99, "{run}");
    }
    let packets = list("packets");
    assert_eq!(numbers(&packets, "packets"), [2, 60]);
    for run in &packets {
        let settling = float(run, "settling_us_per_packet");
        assert!(settling > 0.0 && settling < float(run, "us_per_packet"));
    }
    let restart = &report["restart"];
    let (serves, usable) = (number(restart, "serves_ms"), number(restart, "usable_ms"));
    assert!(serves > 0 && serves <= usable, "{restart}");
    assert!(!list("references").is_empty());
}

#[test]
fn single_operations_are_measured_on_one_thread() {
    for (bench, operations) in [("vouchers", &["sign", "check"][..]), ("quotes", &["quote"])] {
        let output = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(["bench", bench, "--seconds", "1", "--json"])
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let runs = report["runs"].as_array().unwrap();
        let what: Vec<&str> = runs
            .iter()
            .map(|run| run["what"].as_str().unwrap())
            .collect();
        assert_eq!(what, operations);
        for run in runs {
            assert!(number(run, "operations_per_second") > 0, "{run}");
        }
    }
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_reason() {
    let rows: [(&[&str], &str); 7] = [
        (&["packets", "--window", "0"], "a window holds"),
        (&["packets", "--rate", "0"], "a rate is"),
        (
            &["packets", "--rate", "5", "--window", "5"],
            "cannot be used with",
        ),
        (
            &["conns", "--connections", "9", "--window", "8"],
            "as many connections as packets",
        ),
        (&["chains", "--at-once", "484"], "payments are under way"),
        (&["growth", "--accounts", "2000000"], "a pool holds"),
        (&["peers", "--tools", "/"], "run cargo xtask setup"),
    ];
    for (arguments, reason) in rows {
        let output = run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(errors.contains(reason), "{arguments:?}: {errors}");
    }
}
