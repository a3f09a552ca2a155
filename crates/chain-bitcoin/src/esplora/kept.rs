//! The newest headers on disk.
//!
//! An Esplora server forgets a block that a reorg dropped. If that happens while the node is stopped, what stood at that block
//! has to be led back to where the chains part, by headers that nobody else has any more. So each header is on disk before it is used.
//! The form is in `spec/headers.md`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bitcoin::Network;
use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::constants::genesis_block;

use super::headers::Headers;
use crate::Fault;

const MAGIC: &[u8; 16] = b"forebay headers\x01";
const HEAD_BYTES: usize = 48;
const RECORD_BYTES: usize = 84;
/// Some ten weeks: no channel's monitor stands further back than it was stopped, and no reorg is as deep.
const KEPT_MAX: u32 = 10_000;

pub(super) struct Kept {
    path: PathBuf,
    file: File,
}

impl Kept {
    /// Reads what is there, forgets what is old, and makes the file when there is none.
    ///
    /// # Errors
    /// [`Fault::HeaderFile`]; also when it is another network's.
    pub(super) fn open(path: &Path, network: Network) -> Result<(Self, Headers), Fault> {
        let failed = |source: io::Error| fault(path, &source);
        std::fs::create_dir_all(folder_of(path)).map_err(failed)?;
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => head(network),
            Err(error) => return Err(failed(error)),
        };
        let Some(records) = bytes.strip_prefix(head(network).as_slice()) else {
            return Err(Fault::HeaderFile {
                path: path.to_owned(),
                what: format!("it is not one of headers on {network}; move it away"),
            });
        };
        let headers = replay(network, &newest(network, records));
        write_whole(path, network, &headers).map_err(failed)?;
        let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
        let path = path.to_owned();
        Ok((Self { path, file }, headers.tree))
    }

    /// Adds a header, durably.
    ///
    /// # Errors
    /// [`Fault::HeaderFile`].
    pub(super) fn add(&mut self, header: &Header, height: u32) -> Result<(), Fault> {
        let written = self.file.write_all(&record(header, height));
        let synced = written.and_then(|()| self.file.sync_data());
        synced.map_err(|error| fault(&self.path, &error))
    }
}

/// A tree, and its headers in an order in which it can be built again.
struct Replayed {
    tree: Headers,
    order: Vec<(u32, Header)>,
}

/// What was torn off at the end, or fits nowhere, is left out.
fn replay(network: Network, records: &[(u32, Header)]) -> Replayed {
    let mut replayed = Replayed {
        tree: Headers::new(network),
        order: Vec::new(),
    };
    for (height, header) in records {
        let tree = &mut replayed.tree;
        let fits = match tree.below_lowest() {
            None => tree.first(*header, *height),
            Some(below) if below == header.block_hash() => tree.below(*header),
            Some(_) => tree.above(*header),
        };
        if let Ok(data) = fits {
            tree.insert(data);
            replayed.order.push((data.height, *header));
        }
    }
    replayed
}

/// The records of the newest [`KEPT_MAX`] heights, from below.
fn newest(network: Network, records: &[u8]) -> Vec<(u32, Header)> {
    let read: Vec<_> = records.chunks_exact(RECORD_BYTES).map_while(read).collect();
    let all = replay(network, &read);
    let Some((highest, top)) = all.order.iter().max_by_key(|(height, _)| *height) else {
        return Vec::new();
    };
    let chain = all.tree.downwards(top.block_hash());
    let lowest = chain.take_while(|place| highest - place.height < KEPT_MAX);
    let Some(lowest) = lowest.last() else {
        return Vec::new();
    };
    let is_first = |header: &Header| header.block_hash() == lowest.hash;
    let mut kept = all.order;
    kept.retain(|(height, header)| *height > lowest.height || is_first(header));
    kept.sort_by_key(|(height, _)| *height);
    kept
}

fn write_whole(path: &Path, network: Network, headers: &Replayed) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut bytes = head(network);
    for (height, header) in &headers.order {
        bytes.extend_from_slice(&record(header, *height));
    }
    let mut file = File::create(&fresh)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn head(network: Network) -> Vec<u8> {
    let genesis = genesis_block(network).block_hash();
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(AsRef::<[u8; 32]>::as_ref(&genesis));
    head
}

fn record(header: &Header, height: u32) -> Vec<u8> {
    let mut record = height.to_le_bytes().to_vec();
    record.extend_from_slice(&serialize(header));
    record
}

fn read(record: &[u8]) -> Option<(u32, Header)> {
    let (height, header) = record.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*height), deserialize(header).ok()?))
}

fn fault(path: &Path, error: &io::Error) -> Fault {
    Fault::HeaderFile {
        path: path.to_owned(),
        what: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::{mainnet, mined};
    use super::*;

    #[test]
    fn headers_come_back_and_a_torn_end_or_another_network_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("made/headers");
        let [zero, one, two] = mainnet();
        let (mut kept, _) = Kept::open(&path, Network::Bitcoin).expect("it is made");
        // As they are fetched: one in the middle, one that stands on nothing, one below, one above.
        let misfit = genesis_block(Network::Regtest).header;
        for (header, height) in [(one, 1), (misfit, 2), (zero, 0), (two, 2), (two, 2)] {
            kept.add(&header, height).expect("it is written");
        }
        let bytes = std::fs::read(&path).expect("it is there");
        assert_eq!(bytes.len(), HEAD_BYTES + 5 * RECORD_BYTES);
        // By hand, as in spec/headers.md.
        assert_eq!(&bytes[..16], b"forebay headers\x01");
        assert_eq!(bytes[48..52], 1_u32.to_le_bytes());
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("it is torn");
        for _ in 0..2 {
            let (_, headers) = Kept::open(&path, Network::Bitcoin).expect("it is read");
            let places: Vec<_> = headers.downwards(two.block_hash()).collect();
            assert!(places.iter().map(|place| place.height).eq([2, 1, 0]));
            assert_eq!(headers.lowest().map(|place| place.height), Some(0));
        }
        let other = Kept::open(&path, Network::Signet)
            .err()
            .expect("another network's");
        assert!(other.to_string().contains("headers on signet"), "{other}");
    }

    #[test]
    fn old_headers_are_forgotten_and_forks_among_the_new_ones_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("headers");
        let zero = genesis_block(Network::Regtest).header;
        let (mut kept, _) = Kept::open(&path, Network::Regtest).expect("it is made");
        kept.add(&zero, 0).expect("it is written");
        let mut bytes = std::fs::read(&path).expect("it is there");
        let mut top = zero;
        for height in 1..KEPT_MAX + 5 {
            top = mined(&top, top.bits, 1);
            bytes.extend_from_slice(&record(&top, height));
        }
        let below = deserialize::<Header>(&bytes[bytes.len() - 2 * RECORD_BYTES + 4..][..80]);
        let fork = mined(&below.expect("a header"), top.bits, 2);
        bytes.extend_from_slice(&record(&fork, KEPT_MAX + 4));
        std::fs::write(&path, bytes).expect("it is written");
        let (_, headers) = Kept::open(&path, Network::Regtest).expect("it is read");
        assert_eq!(headers.lowest().map(|place| place.height), Some(5));
        assert_eq!(headers.downwards(top.block_hash()).count(), 10_000);
        assert_eq!(headers.downwards(fork.block_hash()).count(), 10_000);
        let length = std::fs::metadata(&path).expect("it is there").len();
        assert_eq!(length, 48 + 84 * 10_001);
    }
}
