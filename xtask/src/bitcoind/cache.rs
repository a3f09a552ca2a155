//! Built files that are whole or not there, shared by all checkouts of this machine.

use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// Written last: the digest of each file, as `sha256sum` prints it.
const SUMS: &str = "SHA256SUMS";

/// One built thing in a cache folder.
pub(crate) struct Cache {
    folder: PathBuf,
    name: String,
}

impl Cache {
    /// What is called `name` in this folder; the name says how it was built.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let (folder, name) = (folder.to_path_buf(), name.to_owned());
        Self { folder, name }
    }

    /// The folder with the files, built into an empty folder first when any is missing or damaged.
    ///
    /// Whoever comes second waits for the first, and then finds it built.
    pub(crate) fn ensure(
        &self,
        files: &[&str],
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let place = self.folder.join(&self.name);
        if is_whole(&place, files) {
            return Ok(place);
        }
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let lock = File::create(self.sibling("lock"))?;
        if lock.try_lock().is_err() {
            eprintln!("{}: another process builds it, waiting", self.name);
            lock.lock()?;
        }
        if !is_whole(&place, files) {
            self.fill(&place, files, build)?;
        }
        Ok(place)
    }

    /// Under the lock, so a half build that lies there is nobody's.
    fn fill(
        &self,
        place: &Path,
        files: &[&str],
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let half = self.sibling("half");
        remove(&half)?;
        std::fs::create_dir(&half)?;
        build(&half)?;
        for name in files {
            ensure!(half.join(name).is_file(), "the build made no {name}");
        }
        std::fs::write(half.join(SUMS), sums(&half, files)?)?;
        sync(&half, files)?;
        remove(place)?;
        std::fs::rename(&half, place)
            .with_context(|| format!("cannot put {} in place", place.display()))
    }

    fn sibling(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }
}

fn is_whole(place: &Path, files: &[&str]) -> bool {
    let Ok(noted) = std::fs::read_to_string(place.join(SUMS)) else {
        return false;
    };
    sums(place, files).is_ok_and(|found| found == noted)
}

fn sums(folder: &Path, files: &[&str]) -> Result<String> {
    let mut text = String::new();
    for name in files {
        let bytes = std::fs::read(folder.join(name))?;
        writeln!(text, "{}  {name}", hexadecimal(&Sha256::digest(bytes)))?;
    }
    Ok(text)
}

/// Bytes as lower-case digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sync(folder: &Path, files: &[&str]) -> Result<()> {
    for name in files.iter().chain([&SUMS]) {
        File::open(folder.join(name))?.sync_all()?;
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A folder of a test's own, gone when it ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Self {
            let name = format!("forebay-xtask-{test}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            remove(&folder).expect("nobody else uses it");
            Self(folder)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _gone = remove(&self.0);
        }
    }

    const FILES: &[&str] = &["one", "two"];

    /// Ensures with a build that counts itself; returns what file `one` holds.
    fn ensure_counting(cache: &Cache, builds: &AtomicU32) -> String {
        let place = cache
            .ensure(FILES, |folder| {
                let number = builds.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
                std::fs::write(folder.join("one"), format!("build {number}"))?;
                Ok(std::fs::write(folder.join("two"), "2")?)
            })
            .expect("the build succeeds");
        std::fs::read_to_string(place.join("one")).expect("the build wrote it")
    }

    #[test]
    fn the_second_time_nothing_is_built() {
        let scratch = Scratch::new("twice");
        let (cache, builds) = (Cache::new(&scratch.0, "thing"), AtomicU32::new(0));
        assert_eq!(ensure_counting(&cache, &builds), "build 1");
        assert_eq!(ensure_counting(&cache, &builds), "build 1");
        let other = Cache::new(&scratch.0, "thing-by-another-recipe");
        assert_eq!(ensure_counting(&other, &builds), "build 2");
    }

    #[test]
    fn what_is_cut_short_changed_or_missing_is_built_again() {
        let scratch = Scratch::new("damage");
        let (cache, builds) = (Cache::new(&scratch.0, "thing"), AtomicU32::new(0));
        ensure_counting(&cache, &builds);
        let place = scratch.0.join("thing");
        std::fs::write(place.join("one"), "build").expect("it can be cut short");
        assert_eq!(ensure_counting(&cache, &builds), "build 2");
        std::fs::remove_file(place.join("two")).expect("it is there");
        assert_eq!(ensure_counting(&cache, &builds), "build 3");
        std::fs::remove_file(place.join(SUMS)).expect("it is there");
        assert_eq!(ensure_counting(&cache, &builds), "build 4");
    }

    #[test]
    fn a_build_that_fails_or_makes_half_leaves_nothing_to_be_taken_for_whole() {
        let scratch = Scratch::new("half");
        let (cache, builds) = (Cache::new(&scratch.0, "thing"), AtomicU32::new(0));
        let failed = cache.ensure(FILES, |folder| {
            std::fs::write(folder.join("one"), "half")?;
            anyhow::bail!("the compiler said no")
        });
        assert_eq!(
            failed.expect_err("it failed").to_string(),
            "the compiler said no"
        );
        let half = cache.ensure(FILES, |folder| {
            Ok(std::fs::write(folder.join("one"), "half")?)
        });
        assert_eq!(
            half.expect_err("it is half").to_string(),
            "the build made no two"
        );
        assert!(!scratch.0.join("thing").exists());
        assert_eq!(ensure_counting(&cache, &builds), "build 1");
    }

    #[test]
    fn of_many_at_once_one_builds_and_all_find_it() {
        let scratch = Scratch::new("at-once");
        let builds = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let found: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| ensure_counting(&Cache::new(&scratch.0, "thing"), &builds)))
                .collect();
            for thread in found {
                assert_eq!(thread.join().expect("it does not panic"), "build 1");
            }
        });
        assert_eq!(builds.load(Ordering::SeqCst), 1);
    }
}
