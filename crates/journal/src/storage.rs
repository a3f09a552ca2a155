//! Where the bytes go: a flat folder of named files.

use std::io;

/// A folder that one journal owns. Names may have one level of folder (`before-upgrade-v1/…`).
pub trait Storage: Send + Sync {
    /// Names of the files directly in the folder, in any order.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>>;

    /// Creates an empty file, emptying one that exists; creates its folder when missing.
    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>>;

    /// Renames a file, replacing another. Atomic; durable only after [`Storage::sync_names`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable only after [`Storage::sync_names`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable in the folder that holds `name`.
    fn sync_names(&self, name: &str) -> io::Result<()>;

    /// Whether the next segment may be filled with zeros on another thread, at times nobody can foretell.
    fn allows_threads(&self) -> bool;

    /// What to call this place in a message.
    fn place(&self) -> String;
}

/// One file of a [`Storage`].
pub trait StoredFile: Send {
    /// Its length in bytes.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads at an offset; may be short; 0 only at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at an offset; may be short. Durable only after [`StoredFile::sync`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Sets space aside for `bytes` from the start, extending the file with zeros.
    fn reserve(&self, bytes: u64) -> io::Result<()>;

    /// Makes the written bytes and the length durable.
    fn sync(&self) -> io::Result<()>;
}

/// Writes all of `bytes`, going on after short writes.
pub(crate) fn write_all(
    file: &dyn StoredFile,
    mut bytes: &[u8],
    mut offset: u64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += u64::try_from(count).expect("usize fits u64");
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the first `bytes_max` bytes, or all there are, into `buffer`, replacing what it held.
pub(crate) fn read_front(
    file: &dyn StoredFile,
    bytes_max: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    let wanted = file.bytes()?.min(bytes_max);
    let wanted = usize::try_from(wanted).map_err(|_| io::ErrorKind::FileTooLarge)?;
    buffer.resize(wanted, 0);
    let mut filled = 0;
    while filled < wanted {
        let offset = u64::try_from(filled).expect("usize fits u64");
        match file.read_at(&mut buffer[filled..], offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a whole file.
pub(crate) fn read_whole(
    storage: &dyn Storage,
    name: &str,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    read_front(&*storage.open(name)?, u64::MAX, buffer)
}
