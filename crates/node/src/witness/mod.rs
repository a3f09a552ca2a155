//! Witnesses: a pool proves to them that its journal is the newest before it signs anything, and tells them where it
//! stands while it runs [I14]. What is made of their answers is decided in [`forebay_channel`].

mod heads;
mod prove;
mod tell;

use std::sync::Arc;

use forebay_chain_evm::{FastVerifier, Key};
use forebay_channel::{
    Address, JournalHead, PeerMessage, Rollback, SignedHead, is_still_ours, may_go_on,
};
use forebay_journal::{Head, Sequence, Storage, hash_at};
use forebay_quantity::Hash32;
use serde::{Deserialize, Serialize};

use crate::ask::{AskFault, Asker};

pub(crate) use heads::{FILE, Heads};
pub(crate) use prove::prove;
pub(crate) use tell::{Heard, LAST_WORD_MAX, Telling, tell};

/// Who remembers where this pool's journal stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Witness {
    /// A process that is dialled: `forebay watch`.
    Dialled {
        /// `ws://` or `wss://`.
        url: String,
        /// The token that it knows us by.
        token: String,
    },
    /// A peer's own side, asked over its link.
    Peer {
        /// The peer's name.
        peer: String,
    },
}

/// The journal whose head is proved.
#[derive(Clone)]
pub(crate) struct Journalled {
    pub(crate) pool: Address,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) identity: [u8; 32],
}

impl Journalled {
    /// What this journal makes of a witness's word, when it ends at `head`. The witness is not believed about anything
    /// that the pool did not sign.
    fn compare(&self, head: Head, known: Option<&SignedHead>) -> Result<(), Refuted> {
        let Some(known) = known else { return Ok(()) };
        if known.head.pool != self.pool || !known.is_genuine(&FastVerifier) {
            return Err(Refuted::Nonsense);
        }
        let sequence = Sequence(known.head.sequence);
        let ours = hash_at(&*self.storage, &self.identity, sequence).map_err(|fault| {
            tracing::warn!("frame {sequence} cannot be looked up: {fault}");
            Refuted::Nonsense
        })?;
        let ours = ours.map(|hash| Hash32::new(hash.0));
        may_go_on(head.sequence.0, ours, Some(&known.head)).map_err(Refuted::Rollback)
    }
}

/// Why an answer is not an agreement.
#[derive(Debug)]
enum Refuted {
    /// It cannot be made sense of, which proves nothing.
    Nonsense,
    /// It proves that nothing may be signed.
    Rollback(Rollback),
}

/// Who this process is to its witnesses.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) key: Key,
    pub(crate) start: u64,
    pub(crate) process: [u8; 16],
}

impl Place {
    fn at(&self, head: Head) -> SignedHead {
        let head = JournalHead {
            pool: self.key.address(),
            start: self.start,
            process: self.process,
            sequence: head.sequence.0,
            hash: Hash32::new(head.hash.0),
        };
        SignedHead {
            head,
            signature: self.key.sign(&head.digest()),
        }
    }
}

async fn asked(asker: &mut Asker, pool: Address) -> Result<Option<SignedHead>, AskFault> {
    head_known(asker.ask(&PeerMessage::HeadAsked { pool }).await?, pool)
}

async fn told(asker: &mut Asker, head: SignedHead) -> Result<Option<SignedHead>, AskFault> {
    let pool = head.head.pool;
    head_known(asker.ask(&PeerMessage::HeadTold(head)).await?, pool)
}

fn head_known(answer: PeerMessage, pool: Address) -> Result<Option<SignedHead>, AskFault> {
    match answer {
        PeerMessage::HeadKnown { pool: of, known } if of == pool => Ok(known),
        _ => Err(AskFault::Refused("it answered something else".into())),
    }
}

/// Whether a witness that was just told `told` agrees: it does when it answers with the very same.
fn agrees(told: &SignedHead, known: Option<&SignedHead>) -> Result<bool, Rollback> {
    let genuine =
        known.filter(|known| known.head.pool == told.head.pool && known.is_genuine(&FastVerifier));
    let Some(known) = genuine else {
        return Ok(false);
    };
    is_still_ours(&told.head, &known.head)?;
    Ok(known.head == told.head)
}
