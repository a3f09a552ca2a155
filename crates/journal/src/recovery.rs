//! Opening: which snapshot to start from, which frames follow, and what a crash left behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fault::{Fault, OpenFault};
use crate::format::{
    FORMAT_VERSION, Head, HeaderFlaw, SEGMENT_HEADER_BYTES, SegmentHeader, Sequence, hex,
};
use crate::journal::{Active, Journal, Options, begin_segment};
use crate::preparation::{PREPARING_NAME, Preparation};
use crate::recovered::{Recovery, Report, Snapshot, TornTail};
use crate::scan::{Scan, Stop, scan};
use crate::snapshot::{self, Parsed};
use crate::storage::{Storage, StoredFile, read_front, read_whole, write_all};
use crate::upgrade::upgrade;

pub(crate) fn segment_name(index: u64) -> String {
    format!("segment-{index:010}")
}

fn segment_index(name: &str) -> Option<u64> {
    let index = name.strip_prefix("segment-")?.parse().ok()?;
    (segment_name(index) == name).then_some(index)
}

/// The segments' numbers, in order.
pub(crate) fn segment_indexes(names: &[String]) -> Vec<u64> {
    let mut indexes: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_index(name))
        .collect();
    indexes.sort_unstable();
    indexes
}

pub(crate) fn open(
    storage: Arc<dyn Storage>,
    options: Options,
) -> Result<(Journal, Recovery), OpenFault> {
    let names = storage
        .names()
        .map_err(|error| Fault::from_io("listing the journal", error))?;
    let mut report = Report::default();
    let headers = read_headers(&*storage, &names, &options.identity)?;
    let snapshots = snapshot::newest_first(&names);
    let Some((&last_index, _)) = headers.last_key_value() else {
        return begin(storage, options, &snapshots, report);
    };
    let chosen = choose_snapshot(&*storage, &snapshots, &options.identity, &mut report)?;
    let start = start_index(&headers, chosen.as_ref())?;
    report.segments = u64::try_from(headers.len()).expect("usize fits u64");

    let (last_scan, mut last_bytes) = check_chain(&*storage, &headers, start, chosen.as_ref())?;
    let after = chosen
        .as_ref()
        .map_or(Sequence(0), |snapshot| snapshot.head.sequence);
    let head = last_scan.head;
    if head.sequence < after {
        return Err(OpenFault::BehindSnapshot {
            snapshot: snapshot::name_of(after),
            snapshot_sequence: after,
            head: head.sequence,
        });
    }
    report.frames = head.sequence.0 - after.0;
    report.torn_tail = torn_tail(&headers[&last_index], &last_scan);
    if let Some(version) = headers
        .values()
        .map(|header| header.version)
        .find(|version| *version < FORMAT_VERSION)
    {
        upgrade(&*storage, &headers, &snapshots, version)?;
        let (journal, mut recovery) = open(storage, options)?;
        recovery.report.upgraded_from = Some(version);
        recovery.report.torn_tail = report.torn_tail;
        return Ok((journal, recovery));
    }

    // From here on the journal is accepted, and written to.
    set_aside(&*storage, &report)?;
    if names.iter().any(|name| name == PREPARING_NAME) {
        storage
            .remove(PREPARING_NAME)
            .map_err(|error| Fault::from_io("clearing up", error))?;
    }
    let header = headers[&last_index].clone();
    let file = storage
        .open(&segment_name(header.index))
        .map_err(|error| Fault::from_io("opening the last segment", error))?;
    make_durable(&*file, &last_scan, &mut last_bytes)?;
    storage
        .sync_names(&segment_name(header.index))
        .map_err(|error| Fault::from_io("making the segments' names durable", error))?;
    let offset = u64::try_from(last_scan.end).expect("usize fits u64");
    let active = Active {
        header,
        file,
        offset,
    };
    let mut journal = Journal::resume(Arc::clone(&storage), options, active, head);
    if last_scan.vouched < head.sequence {
        journal.write_mark()?;
    }
    let segments = start..last_index + 1;
    let recovery = Recovery::new(storage, chosen, report, segments, head.sequence);
    Ok((journal, recovery))
}

/// Reads everything, accepts it or not, and writes nothing.
pub(crate) fn replay(storage: Arc<dyn Storage>, identity: [u8; 32]) -> Result<Recovery, OpenFault> {
    let names = storage
        .names()
        .map_err(|error| Fault::from_io("listing the journal", error))?;
    let headers = read_headers(&*storage, &names, &identity)?;
    let Some((&last_index, last)) = headers.last_key_value() else {
        let why = format!("{} holds no journal", storage.place());
        return Err(OpenFault::MissingSegment {
            missing: segment_name(0),
            why,
        });
    };
    let start = start_index(&headers, None)?;
    let (last_scan, _) = check_chain(&*storage, &headers, start, None)?;
    let report = Report {
        torn_tail: torn_tail(last, &last_scan),
        segments: u64::try_from(headers.len()).expect("usize fits u64"),
        frames: last_scan.head.sequence.0,
        ..Report::default()
    };
    let segments = start..last_index + 1;
    Ok(Recovery::new(
        storage,
        None,
        report,
        segments,
        last_scan.head.sequence,
    ))
}

fn begin(
    storage: Arc<dyn Storage>,
    options: Options,
    snapshots: &[Sequence],
    mut report: Report,
) -> Result<(Journal, Recovery), OpenFault> {
    if let Some(newest) = snapshots.first() {
        return Err(OpenFault::BehindSnapshot {
            snapshot: snapshot::name_of(*newest),
            snapshot_sequence: *newest,
            head: Sequence(0),
        });
    }
    let genesis = Head::genesis(&options.identity);
    let header = SegmentHeader {
        version: FORMAT_VERSION,
        index: 0,
        first: genesis.sequence.next(),
        bytes: options.segment_bytes,
        identity: options.identity,
        previous: genesis.hash,
    };
    let file = Preparation::new(Arc::clone(&storage), options.segment_bytes).finish()?;
    let active = begin_segment(&*storage, file, header)?;
    report.created = true;
    report.segments = 1;
    let recovery = Recovery::new(Arc::clone(&storage), None, report, 0..0, genesis.sequence);
    Ok((Journal::resume(storage, options, active, genesis), recovery))
}

/// Reads every segment's header; they must be whole, ours, and without a gap.
fn read_headers(
    storage: &dyn Storage,
    names: &[String],
    identity: &[u8; 32],
) -> Result<BTreeMap<u64, SegmentHeader>, OpenFault> {
    let mut headers = BTreeMap::new();
    let mut block = Vec::new();
    for index in names.iter().filter_map(|name| segment_index(name)) {
        let header = read_header(storage, index, identity, &mut block)?;
        headers.insert(index, header);
    }
    let indexes = headers.keys().copied();
    for (index, next) in indexes.clone().zip(indexes.skip(1)) {
        if next != index + 1 {
            return Err(OpenFault::MissingSegment {
                missing: segment_name(index + 1),
                why: format!(
                    "{} and {} are there",
                    segment_name(index),
                    segment_name(next)
                ),
            });
        }
    }
    Ok(headers)
}

fn read_header(
    storage: &dyn Storage,
    index: u64,
    identity: &[u8; 32],
    block: &mut Vec<u8>,
) -> Result<SegmentHeader, OpenFault> {
    let file = segment_name(index);
    let fault = |error| Fault::from_io(format!("reading {file}"), error);
    let stored = storage.open(&file).map_err(fault)?;
    let front = u64::try_from(SEGMENT_HEADER_BYTES).expect("usize fits u64");
    read_front(&*stored, front, block).map_err(fault)?;
    let damaged = |offset, what: String| OpenFault::Corrupt {
        file: file.clone(),
        offset,
        sequence: Sequence(0),
        what,
    };
    let header = match SegmentHeader::parse(block) {
        Ok(header) => header,
        Err(HeaderFlaw::Newer(found)) => return Err(OpenFault::NewerFormat { file, found }),
        Err(HeaderFlaw::Damaged(what)) => return Err(damaged(0, what.to_owned())),
    };
    if header.identity != *identity {
        return Err(OpenFault::OtherIdentity {
            file,
            found: hex(&header.identity),
            expected: hex(identity),
        });
    }
    let bytes = stored.bytes().map_err(fault)?;
    if header.index != index || header.bytes != bytes {
        let what = format!(
            "the header is of segment {} with {} bytes, and the file has {bytes} bytes",
            header.index, header.bytes
        );
        return Err(damaged(0, what));
    }
    Ok(header)
}

/// The newest snapshot that can be read. Those that cannot are noted.
fn choose_snapshot(
    storage: &dyn Storage,
    snapshots: &[Sequence],
    identity: &[u8; 32],
    report: &mut Report,
) -> Result<Option<Snapshot>, OpenFault> {
    for sequence in snapshots {
        let file = snapshot::name_of(*sequence);
        let mut bytes = Vec::new();
        let parsed = match read_whole(storage, &file, &mut bytes) {
            Ok(()) => snapshot::parse(bytes),
            Err(_) => Parsed::Damaged("it cannot be read"),
        };
        let why = match parsed {
            Parsed::Newer(found) => return Err(OpenFault::NewerFormat { file, found }),
            Parsed::Whole {
                identity: found, ..
            } if found != *identity => {
                return Err(OpenFault::OtherIdentity {
                    file,
                    found: hex(&found),
                    expected: hex(identity),
                });
            }
            Parsed::Whole { head, state, .. } if head.sequence == *sequence => {
                return Ok(Some(Snapshot { head, state }));
            }
            Parsed::Whole { .. } => "it stands for another frame than its name says",
            Parsed::Damaged(why) => why,
        };
        report.damaged_snapshots.push((file, why.to_owned()));
    }
    Ok(None)
}

/// The segment to start reading from: the last that begins no later than the frame after the snapshot.
fn start_index(
    headers: &BTreeMap<u64, SegmentHeader>,
    chosen: Option<&Snapshot>,
) -> Result<u64, OpenFault> {
    let next = chosen.map_or(Sequence(1), |snapshot| snapshot.head.sequence.next());
    let start = headers.values().rfind(|header| header.first <= next);
    start
        .map(|header| header.index)
        .ok_or_else(|| OpenFault::MissingSegment {
            missing: segment_name(0),
            why: format!(
                "frame {next} is the next one needed, and {} segments from {} on are there",
                headers.len(),
                segment_name(*headers.keys().next().expect("there is a segment")),
            ),
        })
}

/// Reads the segments from `start` on; returns what the last one holds.
fn check_chain(
    storage: &dyn Storage,
    headers: &BTreeMap<u64, SegmentHeader>,
    start: u64,
    chosen: Option<&Snapshot>,
) -> Result<(Scan, Vec<u8>), OpenFault> {
    let mut bytes = Vec::new();
    let mut last: Option<Scan> = None;
    for (index, header) in headers.range(start..) {
        let file = segment_name(*index);
        read_whole(storage, &file, &mut bytes)
            .map_err(|error| Fault::from_io(format!("reading {file}"), error))?;
        let before = last.as_ref().map(|scan| scan.head);
        let mut snapshot_hash = Some(header.head_before());
        let found = scan(header, &bytes, &mut |head, _| {
            if chosen.is_some_and(|snapshot| snapshot.head.sequence == head.sequence) {
                snapshot_hash = Some(head);
            }
        });
        judge_segment(header, headers.get(&(index + 1)), &found, before)?;
        if let (Some(snapshot), Some(head)) = (chosen, snapshot_hash)
            && head.sequence == snapshot.head.sequence
            && head.hash != snapshot.head.hash
        {
            let sequence = head.sequence;
            return Err(OpenFault::SnapshotDisagrees {
                snapshot: snapshot::name_of(sequence),
                sequence,
            });
        }
        last = Some(found);
    }
    Ok((last.expect("the start is one of the segments"), bytes))
}

pub(crate) fn judge_segment(
    header: &SegmentHeader,
    next: Option<&SegmentHeader>,
    found: &Scan,
    before: Option<Head>,
) -> Result<(), OpenFault> {
    let corrupt = |offset: usize, sequence, what| OpenFault::Corrupt {
        file: segment_name(header.index),
        offset: u64::try_from(offset).expect("usize fits u64"),
        sequence,
        what,
    };
    if let Some(before) = before
        && before != header.head_before()
    {
        let what = "the segment does not follow the one before it".to_owned();
        return Err(corrupt(0, header.first, what));
    }
    let expected = found.head.sequence.next();
    if let Stop::Damaged { what } = &found.stop {
        return Err(corrupt(found.end, expected, what.clone()));
    }
    match next {
        Some(next) if next.head_before() != found.head => {
            let what = format!(
                "the frame cannot be read, and the next segment, begun after it was synced, starts at frame {}",
                next.first
            );
            Err(corrupt(found.end, expected, what))
        }
        _ => Ok(()),
    }
}

fn torn_tail(header: &SegmentHeader, found: &Scan) -> Option<TornTail> {
    let Stop::Torn { bytes } = found.stop else {
        return None;
    };
    Some(TornTail {
        segment: segment_name(header.index),
        offset: u64::try_from(found.end).expect("usize fits u64"),
        bytes: u64::try_from(bytes).expect("usize fits u64"),
        sequence: found.head.sequence.next(),
    })
}

/// Zeroes a torn tail, and writes again the frames nothing vouches for: the kernel may hold them as
/// clean although an earlier sync failed to write them. Then syncs.
fn make_durable(file: &dyn StoredFile, found: &Scan, bytes: &mut [u8]) -> Result<(), Fault> {
    let fault = |error| Fault::from_io("making the recovered frames durable", error);
    let mut until = found.end;
    if let Stop::Torn { bytes: torn } = found.stop {
        bytes[found.end..found.end + torn].fill(0);
        until += torn;
    }
    let from = u64::try_from(found.unvouched_at).expect("usize fits u64");
    write_all(file, &bytes[found.unvouched_at..until], from).map_err(fault)?;
    file.sync().map_err(fault)
}

/// Renames damaged snapshots, so that they are kept for inspection and not counted as kept.
fn set_aside(storage: &dyn Storage, report: &Report) -> Result<(), Fault> {
    for (name, _) in &report.damaged_snapshots {
        let aside = format!("damaged-{name}");
        storage
            .rename(name, &aside)
            .and_then(|()| storage.sync_names(&aside))
            .map_err(|error| Fault::from_io(format!("setting {name} aside"), error))?;
    }
    Ok(())
}

/// Removes, oldest first, the segments that end before the older kept snapshot.
pub(crate) fn prune(storage: &dyn Storage) -> Result<u64, Fault> {
    let fault = |error| Fault::from_io("pruning old segments", error);
    let names = storage.names().map_err(fault)?;
    let snapshots = snapshot::newest_first(&names);
    let Some(oldest) = snapshots.get(snapshot::SNAPSHOTS_KEPT - 1) else {
        return Ok(0);
    };
    let indexes = segment_indexes(&names);
    let mut removed = 0;
    let mut block = Vec::new();
    for pair in indexes.windows(2) {
        let front = u64::try_from(SEGMENT_HEADER_BYTES).expect("usize fits u64");
        let next = storage.open(&segment_name(pair[1])).map_err(fault)?;
        read_front(&*next, front, &mut block).map_err(fault)?;
        let Ok(header) = SegmentHeader::parse(&block) else {
            break;
        };
        if header.first > *oldest {
            break;
        }
        let name = segment_name(pair[0]);
        storage
            .remove(&name)
            .and_then(|()| storage.sync_names(&name))
            .map_err(fault)?;
        removed += 1;
    }
    Ok(removed)
}
