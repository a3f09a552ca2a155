//! From format version 1 to the current one: segment by segment, each replaced whole, a copy kept first.
//!
//! A crash at any point leaves segments of both versions, which form one chain (hashes do not depend on the
//! version); opening again goes on with the rest.

use std::collections::BTreeMap;

use crate::fault::{Fault, OpenFault};
use crate::format::{
    FORMAT_VERSION, FRAME_HEADER_BYTES, Head, SegmentHeader, Sequence, frame_bytes, seal_batch,
};
use crate::recovery::{judge_segment, segment_name};
use crate::scan::scan;
use crate::snapshot;
use crate::storage::{Storage, read_whole, write_all};

/// Copies, then replaces, every segment of an older version. Snapshots are copied and stay as they are.
pub(crate) fn upgrade(
    storage: &dyn Storage,
    headers: &BTreeMap<u64, SegmentHeader>,
    snapshots: &[Sequence],
    version: u32,
) -> Result<(), OpenFault> {
    let folder = format!("before-upgrade-v{version}");
    let mut bytes = Vec::new();
    for sequence in snapshots {
        let name = snapshot::name_of(*sequence);
        // One that cannot be read is set aside under another name, not lost.
        if read_whole(storage, &name, &mut bytes).is_ok() {
            write_synced(storage, &format!("{folder}/{name}"), &bytes)?;
        }
    }
    for header in headers.values().filter(|header| header.version == version) {
        let name = segment_name(header.index);
        read_whole(storage, &name, &mut bytes)
            .map_err(|error| Fault::from_io(format!("reading {name}"), error))?;
        let rewritten = rewrite(header, headers.get(&(header.index + 1)), &bytes)?;
        write_synced(storage, &format!("{folder}/{name}"), &bytes)?;
        let upgrading = format!("{name}.upgrading");
        write_synced(storage, &upgrading, &rewritten)?;
        storage
            .rename(&upgrading, &name)
            .and_then(|()| storage.sync_names(&name))
            .map_err(|error| Fault::from_io(format!("upgrading {name}"), error))?;
    }
    Ok(())
}

fn write_synced(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Result<(), Fault> {
    let fault = |error| Fault::from_io(format!("writing {name} for the upgrade"), error);
    let file = storage.create(name).map_err(fault)?;
    write_all(&*file, bytes, 0).map_err(fault)?;
    file.sync().map_err(fault)?;
    storage.sync_names(name).map_err(fault)
}

/// The same frames in the current version; the segment grows where the larger headers need it.
fn rewrite(
    header: &SegmentHeader,
    next: Option<&SegmentHeader>,
    bytes: &[u8],
) -> Result<Vec<u8>, OpenFault> {
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    let found = scan(header, bytes, &mut |_, payload| {
        payloads.push(payload.to_vec())
    });
    judge_segment(header, next, &found, None)?;

    let mut segment = header.encode();
    let used: usize = payloads
        .iter()
        .map(|payload| frame_bytes(payload.len()))
        .sum();
    let whole = bytes.len().max(segment.len() + used).next_multiple_of(4096);
    let current = SegmentHeader {
        version: FORMAT_VERSION,
        bytes: u64::try_from(whole).expect("usize fits u64"),
        ..header.clone()
    };
    segment.copy_from_slice(&current.encode());
    let mut head = current.head_before();
    for payload in &payloads {
        head = push_frame(&mut segment, payload, current.seed(), head);
    }
    assert_eq!(head, found.head, "[I10] an upgrade keeps the chain");
    segment.resize(whole, 0);
    Ok(segment)
}

fn push_frame(segment: &mut Vec<u8>, payload: &[u8], seed: u32, head: Head) -> Head {
    let start = segment.len();
    segment.resize(start + FRAME_HEADER_BYTES, 0);
    segment.extend_from_slice(payload);
    segment.resize(start + frame_bytes(payload.len()), 0);
    seal_batch(
        &mut segment[start..],
        payload.len(),
        seed,
        head,
        head.sequence,
    )
}
