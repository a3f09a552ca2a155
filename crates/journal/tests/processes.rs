//! What needs a second process: the lock, a kill, and a real file-size limit.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use forebay_journal::{Fault, Journal, LocalDisk, OpenFault, Options, Recovery};

const ROLE: &str = "FOREBAY_JOURNAL_TEST_ROLE";
const DIRECTORY: &str = "FOREBAY_JOURNAL_TEST_DIRECTORY";

fn options(segment_bytes: u64) -> Options {
    Options {
        identity: [5; 32],
        segment_bytes,
    }
}

fn open(directory: &Path, segment_bytes: u64) -> Result<(Journal, Recovery), OpenFault> {
    Journal::open(
        Arc::new(LocalDisk::open(directory)?),
        options(segment_bytes),
    )
}

/// This same test binary, running only [`a_child_does_what_its_role_says`], behind a shell command.
fn child(shell: &str, role: &str, directory: &Path) -> Child {
    let binary = env::current_exe().expect("the test knows its binary");
    Command::new("sh")
        .args([
            "-c",
            &format!(
                "{shell} exec \"$0\" a_child_does_what_its_role_says --exact --nocapture --quiet"
            ),
        ])
        .arg(binary)
        .env(ROLE, role)
        .env(DIRECTORY, directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh is there")
}

fn line_after(child: &mut Child, word: &str) -> String {
    let output = BufReader::new(child.stdout.as_mut().expect("piped"));
    let lines = output.lines().map(|line| line.expect("text"));
    let line = lines.into_iter().find(|line| line.starts_with(word));
    line.unwrap_or_else(|| panic!("the child never said {word}"))[word.len()..]
        .trim()
        .to_owned()
}

#[test]
fn a_child_does_what_its_role_says() {
    let Ok(role) = env::var(ROLE) else { return };
    let directory = env::var(DIRECTORY).expect("set with the role");
    match role.as_str() {
        "hold" => hold(Path::new(&directory)),
        "fill" => fill(Path::new(&directory)),
        other => panic!("no such role: {other}"),
    }
}

/// Syncs three frames, leaves a fourth unsynced, and waits to be killed.
fn hold(directory: &Path) {
    let (mut journal, _) = open(directory, 65_536).expect("opens");
    for frame in 0..3_u8 {
        journal.append(&[frame; 100]).expect("appends");
    }
    journal.sync().expect("syncs");
    journal.append(&[3; 100]).expect("appends");
    println!("\nholding {}", std::process::id());
    std::io::stdout().flush().expect("piped");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Appends and syncs until the limit on the size of a file stops it.
fn fill(directory: &Path) {
    let (mut journal, _) = open(directory, 1 << 20).expect("the old segment is below the limit");
    let mut warned_at = None;
    let fault = loop {
        match journal.append(&[9; 1000]).and_then(|_| journal.sync()) {
            Ok(()) => warned_at = warned_at.or(journal.shortage().map(|_| journal.synced().0)),
            Err(fault) => break fault,
        }
    };
    assert!(matches!(&fault, Fault::Full { .. }), "{fault}");
    assert!(matches!(
        journal.append(b"more"),
        Err(Fault::Poisoned { .. })
    ));
    println!(
        "\nsynced {} warned {}",
        journal.synced(),
        warned_at.expect("warned before")
    );
}

#[test]
fn a_second_process_is_refused_with_the_pid_of_the_first_and_a_kill_frees_the_directory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut holder = child("", "hold", directory.path());
    let pid: u32 = line_after(&mut holder, "holding").parse().expect("a pid");

    let refusal = open(directory.path(), 65_536).expect_err("refused");
    assert!(
        matches!(refusal, OpenFault::InUse { pid: Some(holder), .. } if holder == pid),
        "{refusal}"
    );
    assert!(
        refusal.to_string().contains(&format!("pid {pid}")),
        "{refusal}"
    );

    let reader = Arc::new(LocalDisk::read_only(directory.path()));
    let replay = Journal::replay(reader.clone(), [5; 32]).expect("reading needs no lock");
    assert_eq!(replay.report.frames, 4);
    assert!(
        Journal::open(reader, options(65_536)).is_err(),
        "and does not allow writing"
    );

    holder.kill().expect("it is ours and running");
    holder.wait().expect("it ends");
    let (journal, recovery) = open(directory.path(), 65_536).expect("free again");
    assert_eq!(recovery.report.torn_tail, None);
    assert_eq!(
        journal.head().sequence.0,
        4,
        "a killed process loses nothing that it wrote"
    );
}

#[test]
fn the_same_process_is_refused_a_second_time_too() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let first = LocalDisk::open(directory.path()).expect("opens");
    assert!(matches!(
        LocalDisk::open(directory.path()),
        Err(OpenFault::InUse { .. })
    ));
    drop(first);
    LocalDisk::open(directory.path()).expect("free again");
}

#[test]
fn a_real_file_size_limit_warns_then_stops_and_loses_nothing_synced() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    drop(open(directory.path(), 65_536).expect("opens"));

    // 512 blocks of 512 bytes: the old segment fits, the next one of 1 MiB does not.
    let limited = "trap '' XFSZ; ulimit -f 512;";
    let mut filler = child(limited, "fill", directory.path());
    let said = line_after(&mut filler, "synced");
    assert!(filler.wait().expect("it ends").success());
    let numbers: Vec<u64> = said
        .split(" warned ")
        .map(|text| text.parse().expect("a number"))
        .collect();
    assert!(
        numbers[1] == 1 && numbers[0] > 40,
        "warned early, then used what was left: {numbers:?}"
    );

    let (mut journal, mut recovery) = open(directory.path(), 65_536).expect("opens");
    let mut frames = 0;
    while let Some(frame) = recovery.next_frame().expect("the disk works") {
        assert_eq!(frame.payload, [9; 1000]);
        frames += 1;
    }
    assert_eq!(frames, numbers[0]);
    journal.append(b"more").expect("the limit is gone");
}

#[test]
fn a_file_in_the_place_of_the_directory_is_a_clear_fault() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("not-a-directory");
    std::fs::write(&file, b"").expect("writes");
    let fault = open(&file, 65_536).expect_err("refused");
    assert!(fault.to_string().contains("not-a-directory"), "{fault}");
}
