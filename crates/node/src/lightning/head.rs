//! How often the Lightning store was written, remembered so that an old copy of it is refused: each second in a file beside it,
//! and now and then in a pool's journal, whose signed head its witnesses know.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::Lightning;

/// What was written since is not noticed when it is lost with the file.
const EVERY: Duration = Duration::from_secs(1);
/// How often the journal is told: an event a minute is little beside what a pool that settles writes, and a pool that does not
/// has nothing new to say.
const JOURNAL_EVERY: Duration = Duration::from_secs(60);

/// The file in a data directory.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join("lightning.head")
}

/// What is remembered; 0 where nothing is yet.
///
/// # Errors
/// When the file cannot be read as a number.
pub(crate) fn read(path: &Path) -> std::io::Result<u64> {
    match std::fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let what = format!("{} is not a number in decimal digits", path.display());
            std::io::Error::new(ErrorKind::InvalidData, what)
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Remembers it from now on, until there is none any more.
pub(crate) async fn keep(path: PathBuf, generation: impl Fn() -> Option<u64>) {
    let mut kept = None;
    while let Some(now) = generation() {
        if kept != Some(now) {
            match write(&path, now) {
                Ok(()) => kept = Some(now),
                Err(error) => warn!("{} cannot be written: {error}", path.display()),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Has it journalled from now on, until the pool stops.
pub(super) async fn journal(lightning: Arc<Lightning>, mut stop: watch::Receiver<bool>) {
    loop {
        lightning.tell_stored().await;
        tokio::select! {
            () = tokio::time::sleep(JOURNAL_EVERY) => {}
            _ = stop.changed() => return,
        }
    }
}

fn write(path: &Path, generation: u64) -> std::io::Result<()> {
    let fresh = path.with_extension("fresh");
    let mut file = File::create(&fresh)?;
    writeln!(file, "{generation}")?;
    file.sync_data()?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::{path, read, write};

    #[test]
    fn what_was_written_is_read_and_what_is_no_number_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path(folder.path());
        assert_eq!(read(&path).expect("nothing yet"), 0);
        for generation in [7, 1 << 40] {
            write(&path, generation).expect("the disk has room");
            assert_eq!(read(&path).expect("a number"), generation);
        }
        std::fs::write(&path, "seven").expect("the disk has room");
        assert!(read(&path).is_err());
    }
}
