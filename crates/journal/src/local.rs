//! A folder on a local file system, locked against a second process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::fault::{Fault, OpenFault};
use crate::storage::{Storage, StoredFile};

const LOCK_NAME: &str = "lock";

/// A directory that this process owns as long as the value lives, or only reads.
#[derive(Debug)]
pub struct LocalDisk {
    directory: PathBuf,
    /// Held for its `flock`, which the system releases even when the process is killed. `None`: only reads.
    lock: Option<File>,
}

impl LocalDisk {
    /// Creates the directory when missing and locks it.
    ///
    /// # Errors
    /// [`OpenFault::InUse`] when another process (or another value in this one) holds it.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, OpenFault> {
        let directory = directory.into();
        let fault = |error| Fault::from_io(format!("opening {}", directory.display()), error);
        create_directories(&directory).map_err(fault)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join(LOCK_NAME))
            .map_err(fault)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let pid = lock
                    .read_to_string(&mut holder)
                    .ok()
                    .and(holder.trim().parse().ok());
                return Err(OpenFault::InUse {
                    place: directory.display().to_string(),
                    pid,
                });
            }
            Err(TryLockError::Error(error)) => return Err(fault(error).into()),
        }
        // The pid is a courtesy to whoever is refused; a full disk must not keep us from opening.
        let _ = lock
            .set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self {
            directory,
            lock: Some(lock),
        })
    }

    /// Reads a directory, also one that another process writes to; takes no lock and refuses to write.
    pub fn read_only(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            lock: None,
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.lock {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }
}

fn create_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        create_directories(parent)?;
    }
    fs::create_dir(directory)?;
    sync_directory(parent_of(directory))
}

fn parent_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Storage for LocalDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(
                    entry
                        .file_name()
                        .into_string()
                        .ok()
                        .filter(|name| name != LOCK_NAME),
                );
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(self.lock.is_some())
            .open(self.directory.join(name))?;
        Ok(Box::new(LocalFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        self.check_writable()?;
        let path = self.directory.join(name);
        create_directories(parent_of(&path))?;
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(true);
        Ok(Box::new(LocalFile(how.open(path)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_writable()?;
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check_writable()?;
        fs::remove_file(self.directory.join(name))
    }

    fn sync_names(&self, name: &str) -> io::Result<()> {
        sync_directory(parent_of(&self.directory.join(name)))
    }

    fn allows_threads(&self) -> bool {
        true
    }

    fn place(&self) -> String {
        self.directory.display().to_string()
    }
}

struct LocalFile(File);

impl StoredFile for LocalFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // Some file systems cannot set space aside; the zeros written afterwards claim it.
            Err(rustix::io::Errno::OPNOTSUPP) => self.0.set_len(bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: it also writes the length when that has changed.
        self.0.sync_data()
    }
}
