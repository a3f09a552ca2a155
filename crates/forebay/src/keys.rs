//! Key files: one secp256k1 key, encrypted under a passphrase (Argon2id, ChaCha20-Poly1305), readable by its owner alone.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use clap::Args;
use forebay_chain_evm::Key;
use serde::{Deserialize, Serialize};

/// Where a passphrase comes from.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Passphrase {
    /// Read the passphrase from this file (its first line). Otherwise FOREBAY_PASSPHRASE, otherwise a prompt.
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    /// The first line of a file.
    pub(crate) fn in_file(path: PathBuf) -> Self {
        Self {
            passphrase_file: Some(path),
        }
    }

    fn read(&self, prompt: &str) -> Result<String> {
        if let Some(path) = &self.passphrase_file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the passphrase file {}", path.display()))?;
            return Ok(text.lines().next().unwrap_or_default().to_owned());
        }
        if let Ok(text) = std::env::var("FOREBAY_PASSPHRASE") {
            return Ok(text);
        }
        let text = rpassword::prompt_password(prompt);
        text.context("no passphrase: set FOREBAY_PASSPHRASE, or use --passphrase-file where there is no terminal")
    }
}

/// A key file as it lies on disk; all bytes in hexadecimal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u8,
    address: String,
    memory_kib: u32,
    passes: u32,
    salt: String,
    nonce: String,
    sealed: String,
}

const VERSION: u8 = 1;
/// Argon2id as RFC 9106 recommends where memory is short: 64 MiB, three passes.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
/// A file that asks for more than a gibibyte or a hundred passes is not one of ours.
const MEMORY_MAX_KIB: u32 = 1 << 20;
const PASSES_MAX: u32 = 100;

/// Makes a key and writes it, sealed, to a file that did not exist before.
pub(crate) fn create(path: &Path, passphrase: &Passphrase) -> Result<Key> {
    ensure!(
        !path.exists(),
        "{} exists: a key is never overwritten",
        path.display()
    );
    let passphrase = passphrase.read("New passphrase for the key: ")?;
    ensure!(
        !passphrase.is_empty(),
        "an empty passphrase protects nothing"
    );
    let (secret, key) = loop {
        let secret = random::<32>()?;
        if let Ok(key) = Key::from_bytes(secret) {
            break (secret, key);
        }
    };
    let (salt, nonce) = (random::<16>()?, random::<12>()?);
    let cipher = cipher(&passphrase, &salt, MEMORY_KIB, PASSES)?;
    let address = key.address().to_string();
    let payload = Payload {
        msg: &secret,
        aad: address.as_bytes(),
    };
    let sealed = cipher
        .encrypt(&Nonce::from(nonce), payload)
        .map_err(|_| anyhow::anyhow!("the key could not be sealed"))?;
    let file = KeyFile {
        version: VERSION,
        address,
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        salt: hex::encode(salt),
        nonce: hex::encode(nonce),
        sealed: hex::encode(sealed),
    };
    write_private(path, serde_json::to_string_pretty(&file)?.as_bytes())?;
    Ok(key)
}

/// Opens a key file.
pub(crate) fn open(path: &Path, passphrase: &Passphrase) -> Result<Key> {
    let name = path.display();
    let file = read(path)?;
    let mode = std::fs::metadata(path)?.permissions().mode();
    ensure!(
        mode & 0o077 == 0,
        "{name} can be read by others: run chmod 600 {name}"
    );
    ensure!(
        file.memory_kib <= MEMORY_MAX_KIB && file.passes <= PASSES_MAX,
        "{name} is not a key file of forebay"
    );
    let passphrase = passphrase.read(&format!("Passphrase for {name}: "))?;
    let cipher = cipher(
        &passphrase,
        &bytes(&file.salt)?,
        file.memory_kib,
        file.passes,
    )?;
    let nonce: [u8; 12] = bytes(&file.nonce)?
        .try_into()
        .map_err(|_| anyhow::anyhow!("{name}: the nonce has 12 bytes"))?;
    let sealed = bytes(&file.sealed)?;
    let payload = Payload {
        msg: &sealed,
        aad: file.address.as_bytes(),
    };
    let Ok(secret) = cipher.decrypt(&Nonce::from(nonce), payload) else {
        bail!("{name} does not open with this passphrase");
    };
    let secret: [u8; 32] = secret
        .try_into()
        .map_err(|_| anyhow::anyhow!("{name} holds no key"))?;
    Ok(Key::from_bytes(secret)?)
}

/// The address in a key file; needs no passphrase.
pub(crate) fn address(path: &Path) -> Result<String> {
    Ok(read(path)?.address)
}

/// Writes a new file that only its owner can read, and makes it durable.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.display();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{name} cannot be created"))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

/// Bytes from the system's random source.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    Ok(bytes)
}

fn read(path: &Path) -> Result<KeyFile> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "the key file {name} cannot be read; `forebay init` or `forebay keys new` makes one"
        )
    })?;
    let file: KeyFile = serde_json::from_str(&text)
        .with_context(|| format!("{name} is not a key file of forebay"))?;
    ensure!(
        file.version == VERSION,
        "{name} has version {}, this program reads {VERSION}",
        file.version
    );
    Ok(file)
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    hex::decode(text).map_err(|error| anyhow::anyhow!("{text} is not hexadecimal: {error}"))
}

fn cipher(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Result<ChaCha20Poly1305> {
    let params =
        Params::new(memory_kib, passes, 1, Some(32)).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut key)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(ChaCha20Poly1305::new(&key.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(folder: &Path, text: &str) -> Passphrase {
        let path = folder.join(format!("passphrase-{}", text.len()));
        std::fs::write(&path, text).expect("a temporary folder takes a file");
        Passphrase {
            passphrase_file: Some(path),
        }
    }

    #[test]
    fn a_key_opens_with_its_passphrase_alone_and_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("key.json");
        let right = from_file(folder.path(), "correct horse\n");
        let made = create(&path, &right).expect("a new file");
        assert_eq!(
            open(&path, &right).expect("the same passphrase").address(),
            made.address()
        );
        assert_eq!(
            address(&path).expect("readable"),
            made.address().to_string()
        );

        let wrong =
            open(&path, &from_file(folder.path(), "wrong")).expect_err("another passphrase");
        assert!(wrong.to_string().contains("does not open"), "{wrong}");
        let again = create(&path, &right).expect_err("the file exists");
        assert!(again.to_string().contains("never overwritten"), "{again}");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("own file");
        let open_to_all = open(&path, &right).expect_err("others can read it");
        assert!(
            open_to_all.to_string().contains("chmod 600"),
            "{open_to_all}"
        );
    }

    #[test]
    fn a_file_with_another_address_written_into_it_does_not_open() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("key.json");
        let right = from_file(folder.path(), "correct horse");
        create(&path, &right).expect("a new file");
        let mut file: KeyFile =
            serde_json::from_str(&std::fs::read_to_string(&path).expect("own file"))
                .expect("own format");
        file.address = format!("0x{}", "11".repeat(20));
        std::fs::write(&path, serde_json::to_string(&file).expect("plain data")).expect("own file");
        assert!(open(&path, &right).is_err());
    }
}
