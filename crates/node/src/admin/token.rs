//! The bearer token of the operator's interface.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads the token, or makes one that only its owner may read.
///
/// # Errors
/// When the file can be neither read nor written.
pub(crate) fn open_token(folder: &Path) -> io::Result<String> {
    let path = folder.join(forebay_api::TOKEN_FILE);
    match std::fs::read_to_string(&path) {
        Ok(token) if !token.trim().is_empty() => return Ok(token.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let token = hex::encode(random()?);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(token.as_bytes())?;
    Ok(token)
}

/// Bytes that nobody can guess.
///
/// # Errors
/// When the system gives none.
pub(crate) fn random() -> io::Result<[u8; 32]> {
    let mut random = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random)
}

/// Compares in a time that tells nothing but the length.
pub(super) fn is_same(sent: &str, token: &str) -> bool {
    let difference = sent
        .bytes()
        .zip(token.bytes())
        .fold(0, |all, (left, right)| all | (left ^ right));
    sent.len() == token.len() && std::hint::black_box(difference) == 0
}
