//! Who may ask: bearer tokens by role, of which only the SHA-256 is kept.
//!
//! They lie in a file of their own and not in the journal, because no token but an operator's can change anything, and
//! what an operator's changes is journalled by itself.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use forebay_api::{AddToken, ProblemKind, Role, Token};
use forebay_channel::Address;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::limit::{Bucket, OF_A_TOKEN};
use super::problem::No;
use crate::wall;

/// Tokens at a time: one for each LP, peer and program that looks.
const TOKENS_MAX: usize = 4_096;
/// Revocations remembered, so that a repeated one gets the same answer.
const REVOKED_MAX: usize = 256;
/// The shortest token: 128 bits in hexadecimal digits.
const TOKEN_CHARACTERS_MIN: usize = 32;
/// The file in the data directory.
const FILE: &str = "tokens.json";
/// What the operator's first token is called.
const FIRST: &str = "admin.token";

/// Who asks.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) token: Token,
    /// Set when the token is revoked.
    revoked: AtomicBool,
    pub(super) bucket: Bucket,
}

impl Caller {
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }

    /// Whether it may see everything that can be read.
    pub(crate) fn sees_all(&self) -> bool {
        matches!(self.token.role, Role::Operator | Role::Read)
    }

    /// The account that a peer's token is for.
    pub(crate) fn peer(&self) -> Option<&str> {
        let subject = self.token.subject.as_deref();
        subject.filter(|_| self.token.role == Role::Peer)
    }

    /// The address that an LP's token is for.
    pub(crate) fn owner(&self) -> Option<&str> {
        let subject = self.token.subject.as_deref();
        subject.filter(|_| self.token.role == Role::Lp)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    token: Token,
    sha256: String,
    /// The idempotency key of the request that made it.
    made_by: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    tokens: Vec<Entry>,
    /// Keys of revocations and the names revoked, oldest first.
    revoked: Vec<(String, String)>,
}

/// All tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    path: PathBuf,
    kept: Mutex<Kept>,
    callers: RwLock<HashMap<[u8; 32], Arc<Caller>>>,
}

impl Tokens {
    /// Reads the tokens of a data directory, and makes the operator's first one if there is none.
    ///
    /// # Errors
    /// When a file can be neither read nor written, or is none of ours.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let kept: Kept = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(error),
        };
        let first = Token {
            name: FIRST.into(),
            role: Role::Operator,
            subject: None,
            made_at_ms: 0,
        };
        let mut callers = HashMap::new();
        callers.insert(hash(&open_first(folder)?), caller(first));
        for entry in &kept.tokens {
            let mut sha256 = [0; 32];
            hex::decode_to_slice(&entry.sha256, &mut sha256)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            callers.insert(sha256, caller(entry.token.clone()));
        }
        Ok(Self {
            path,
            kept: Mutex::new(kept),
            callers: RwLock::new(callers),
        })
    }

    /// Who knows this token. Looked up by its hash, of which a response time tells nothing that helps to find it.
    pub(super) fn caller(&self, token: &str) -> Option<Arc<Caller>> {
        let callers = self.callers.read().unwrap_or_else(PoisonError::into_inner);
        callers.get(&hash(token)).cloned()
    }

    /// Those after a name, in order of name, the operator's first one not among them.
    pub(super) fn list(&self) -> Vec<Token> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Token> = kept
            .tokens
            .iter()
            .map(|entry| entry.token.clone())
            .collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }

    /// Makes a token known; the same request again gets the same answer.
    pub(super) fn add(&self, key: &str, asked: AddToken) -> Result<Token, No> {
        let subject = subject(&asked)?;
        let sha256 = hash(&asked.token);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = kept.tokens.iter().find(|entry| entry.made_by == key) {
            let is_same = made.sha256 == hex::encode(sha256)
                && made.token.name == asked.name
                && made.token.role == asked.role
                && made.token.subject == subject;
            return match is_same {
                true => Ok(made.token.clone()),
                false => Err(No::key_reused()),
            };
        }
        if self.caller(&asked.token).is_some()
            || kept
                .tokens
                .iter()
                .any(|entry| entry.token.name == asked.name)
        {
            let text = "a token of this name, or with this text, is there: choose another, or revoke that one first";
            return Err(No::new(ProblemKind::Conflict, text));
        }
        if kept.tokens.len() >= TOKENS_MAX {
            let text = format!("there are {TOKENS_MAX} tokens: revoke some first");
            return Err(No::new(ProblemKind::Rejected, text));
        }
        let token = Token {
            name: asked.name,
            role: asked.role,
            subject,
            made_at_ms: wall::now().0,
        };
        kept.tokens.push(Entry {
            token: token.clone(),
            sha256: hex::encode(sha256),
            made_by: key.to_owned(),
        });
        if let Err(error) = self.write(&kept) {
            kept.tokens.pop();
            return Err(unwritten(&error));
        }
        let mut callers = self.callers.write().unwrap_or_else(PoisonError::into_inner);
        callers.insert(sha256, caller(token.clone()));
        Ok(token)
    }

    /// Revokes a token; the same request again gets the same answer.
    pub(super) fn remove(&self, key: &str, name: &str) -> Result<(), No> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, revoked)) = kept.revoked.iter().find(|(made_by, _)| made_by == key) {
            return match revoked == name {
                true => Ok(()),
                false => Err(No::key_reused()),
            };
        }
        let Some(at) = kept
            .tokens
            .iter()
            .position(|entry| entry.token.name == name)
        else {
            let text = match name == FIRST {
                true => "the first token is revoked by removing the file admin.token and restarting the pool".into(),
                false => format!("no token is named {name}: list them"),
            };
            return Err(No::new(ProblemKind::NotFound, text));
        };
        let gone = kept.tokens.remove(at);
        if kept.revoked.len() >= REVOKED_MAX {
            kept.revoked.remove(0);
        }
        kept.revoked.push((key.to_owned(), name.to_owned()));
        if let Err(error) = self.write(&kept) {
            kept.revoked.pop();
            kept.tokens.insert(at, gone);
            return Err(unwritten(&error));
        }
        let mut callers = self.callers.write().unwrap_or_else(PoisonError::into_inner);
        callers.retain(|_, caller| {
            let stays = caller.token.name != name;
            if !stays {
                caller.revoked.store(true, Ordering::Relaxed);
            }
            stays
        });
        Ok(())
    }

    /// Replaces the file at one stroke.
    fn write(&self, kept: &Kept) -> io::Result<()> {
        let fresh = self.path.with_extension("fresh");
        let mut file = private(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(kept)?)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

fn unwritten(error: &io::Error) -> No {
    let text = format!("the file {FILE} cannot be written, so nothing has changed: {error}");
    No::new(ProblemKind::Internal, text)
}

fn caller(token: Token) -> Arc<Caller> {
    Arc::new(Caller {
        token,
        revoked: AtomicBool::new(false),
        bucket: Bucket::new(OF_A_TOKEN),
    })
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Checks what no type can; the subject in its one form.
fn subject(asked: &AddToken) -> Result<Option<String>, No> {
    let bad = |text: &str| Err(No::new(ProblemKind::BadRequest, text));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if asked.name.is_empty() || asked.name.len() > 64 || !asked.name.bytes().all(allowed) {
        return bad("a token's name is 1 to 64 letters, digits, '_', '-' or '.'");
    }
    if asked.token.len() < TOKEN_CHARACTERS_MIN {
        return bad("a token is at least 32 characters, taken at random");
    }
    match (asked.role, asked.subject.as_deref()) {
        (Role::Operator | Role::Read, None) => Ok(None),
        (Role::Operator | Role::Read, Some(_)) => {
            bad("only an `lp` or a `peer` token has a subject: leave it out")
        }
        (Role::Peer, Some(name)) if !name.is_empty() => Ok(Some(name.to_owned())),
        (Role::Lp, Some(text)) => match Address::from_str(text) {
            Ok(address) => Ok(Some(address.to_string())),
            Err(error) => bad(&format!("{text}: {error}")),
        },
        (Role::Peer, Some(_) | None) => bad("name the account as the subject of a `peer` token"),
        (Role::Lp, None) => bad("name the LP's address as the subject of an `lp` token"),
    }
}

/// Reads the operator's first token, or makes one that only its owner may read.
fn open_first(folder: &Path) -> io::Result<String> {
    let path = folder.join(forebay_api::TOKEN_FILE);
    match std::fs::read_to_string(&path) {
        Ok(token) if !token.trim().is_empty() => return Ok(token.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let token = hex::encode(random()?);
    private(&path)?.write_all(token.as_bytes())?;
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

/// A file, empty, that only its owner may read.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}
