//! `forebay backup` and `forebay restore`: a pool's folder copied and put back, checked frame by frame.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use forebay_journal::{Journal, LocalDisk, Sequence, hash_at};
use forebay_node::Config;
use forebay_pool::{Sequencer, State};
use serde::Serialize;

use crate::keys;
use crate::output::show;

/// Where the wallet, the Lightning node and the reserve keep theirs, in the data directory.
const BITCOIN: &str = "bitcoin";
/// How often the Lightning node's store was written.
const LIGHTNING_HEAD: &str = "lightning.head";
/// The identity of a pool's journal.
const IDENTITY: [u8; 32] = [0; 32];

/// Copy a pool's configuration, key file and data to a new folder, and check the copy. A pool that holds no bitcoin may run
/// meanwhile.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The folder to make.
    folder: PathBuf,
}

/// Put a backup in the place of a pool's lost data, and check it. It starts only if it is the newest.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The folder that `forebay backup` made.
    folder: PathBuf,
}

/// What a copy holds.
#[derive(Debug, Serialize)]
struct Copied {
    folder: String,
    frames: u64,
    hash: String,
}

impl Backup {
    pub(crate) fn run(self, config: &Path, json: bool) -> Result<()> {
        let folder = &self.folder;
        ensure!(
            !folder.exists(),
            "{} exists: each backup gets a folder of its own",
            folder.display()
        );
        let source = Config::load(config)?;
        let _still = standing_still(&source.data_directory)?;
        fs::create_dir_all(folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        copy_data(&source.data_directory, &folder.join("data"))?;
        copy_file(&source.keys_file, &folder.join("key.json"))?;
        write_config(&source, &folder.join("forebay.toml"))?;
        let copied = checked(folder)?;
        show(json, &copied, |copied| {
            println!(
                "{} holds {} frames, up to {}.",
                copied.folder, copied.frames, copied.hash
            );
        })
    }
}

impl Restore {
    pub(crate) fn run(self, config: &Path, json: bool) -> Result<()> {
        let home = config.parent().unwrap_or(Path::new(""));
        let (data, keys_file) = (home.join("data"), home.join("key.json"));
        for path in [&data.join("journal"), &keys_file, &config.to_path_buf()] {
            ensure!(
                !path.exists(),
                "{} exists: move it away first, and keep it",
                path.display()
            );
        }
        let kept = Config::load(&self.folder.join("forebay.toml"))?;
        checked(&self.folder)?;
        fs::create_dir_all(&data)?;
        copy_data(&kept.data_directory, &data)?;
        copy_file(&kept.keys_file, &keys_file)?;
        write_config(&kept, config)?;
        let folder = if home.as_os_str().is_empty() {
            Path::new(".")
        } else {
            home
        };
        let copied = checked(folder)?;
        show(json, &copied, |copied| {
            println!(
                "{} holds {} frames, up to {}.",
                copied.folder, copied.frames, copied.hash
            );
            println!("`forebay run` asks the witnesses whether it is the newest.");
        })
    }
}

/// Keeps a pool that holds bitcoin from being started while it is copied. Its wallet and its Lightning node write beside the
/// journal: a copy taken while they do could give away a channel's money if it ever ran.
fn standing_still(data: &Path) -> Result<Option<LocalDisk>> {
    if !data.join(BITCOIN).is_dir() {
        return Ok(None);
    }
    let journal = LocalDisk::open(data.join("journal"));
    let journal = journal.context("a pool that holds bitcoin is copied when it is stopped")?;
    Ok(Some(journal))
}

/// The paths of a copy are those of a new pool.
fn write_config(config: &Config, path: &Path) -> Result<()> {
    let config = Config {
        data_directory: "data".into(),
        keys_file: "key.json".into(),
        ..config.clone()
    };
    keys::write_private(path, toml::to_string_pretty(&config)?.as_bytes())
}

/// The record of sent transactions goes first: a journal that is newer than it asks for what was sent already, and one
/// that is older could take an old transaction for a new one's.
fn copy_data(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.join("journal"))?;
    for name in names(from)? {
        if name.starts_with("chain-") || name == LIGHTNING_HEAD {
            copy_file(&from.join(&name), &to.join(&name))?;
        }
    }
    let journal = from.join("journal");
    // Snapshots before segments: one that is newer than the frames beside it could not be used.
    for prefix in ["snapshot-0", "segment-"] {
        for name in names(&journal)? {
            if name.starts_with(prefix) {
                copy_file(&journal.join(&name), &to.join("journal").join(&name))?;
            }
        }
    }
    let bitcoin = from.join(BITCOIN);
    if bitcoin.is_dir() {
        copy_folder(&bitcoin, &to.join(BITCOIN))?;
    }
    for folder in [to, &to.join("journal")] {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&from, &to)?;
        } else {
            copy_file(&from, &to)?;
        }
    }
    File::open(to)?.sync_all()?;
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        Ok(names)
    };
    read().with_context(|| format!("{} cannot be read", folder.display()))
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let copied = || -> io::Result<()> {
        let bytes = fs::read(from)?;
        let mut file = File::options().write(true).create_new(true).open(to)?;
        file.set_permissions(fs::metadata(from)?.permissions())?;
        file.write_all(&bytes)?;
        file.sync_all()
    };
    copied().with_context(|| format!("{} to {}", from.display(), to.display()))
}

/// Reads the whole journal of a pool's folder, from its first frame, into a state: the chain of hashes and every event.
fn checked(folder: &Path) -> Result<Copied> {
    let storage = Arc::new(LocalDisk::read_only(folder.join("data/journal")));
    let mut recovery = Journal::replay(storage.clone(), IDENTITY)?;
    let mut sequencer = Sequencer::new(State::default());
    let mut last = Sequence(0);
    while let Some(frame) = recovery.next_frame()? {
        if sequencer.replay(frame.payload).is_err() {
            bail!(
                "frame {} was not written by this version's core",
                frame.sequence
            );
        }
        last = frame.sequence;
    }
    let hash = hash_at(&*storage, &IDENTITY, last)?;
    let hash = hash.context("the last frame cannot be read again")?;
    Ok(Copied {
        folder: folder.display().to_string(),
        frames: last.0,
        hash: hash.to_string(),
    })
}
