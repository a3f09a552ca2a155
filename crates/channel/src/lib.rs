//! Lanes, vouchers, net-offs, notices, who is who on Lightning, and every digest that is signed.
//!
//! A channel has two one-way lanes. Each lane is facts (ceiling, paid, what was promised) and rules over
//! them: what may be signed [I4] [I5], what a voucher secures, what a notice demands and until when [I13].
//! Phases are derived from those facts; `Channel::next_step` says what we would do now, [`watch_step`] what a watchtower
//! does. And what pools and witnesses make of journal heads [I14].
//!
//! This crate never reads a clock, holds no private key and does no I/O: the caller supplies time, chain
//! facts and signatures, and carries the steps out.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod address;
mod channel;
mod digest;
mod expiry;
mod finality;
mod head;
mod lane;
mod lightning;
mod message;
mod serial;
mod signature;
pub mod vault;
mod watch;

pub use address::{Address, ParseAddressError};
pub use channel::{
    Answer, Channel, ChannelPolicy, Judgement, Notice, NoticeKind, Phase, Step, UNHEARD_MAX,
    is_heard,
};
pub use digest::{
    CoopClose, CosignedRaise, Domain, Freeze, KeyChange, LaneId, MarkDown, NetOff, PeerKeys,
    Release, ShareExit, Signable, Voucher, keccak256,
};
pub use expiry::{ExpiryRefusal, outgoing_expiry};
pub use finality::{Finality, FinalityRule};
pub use head::{JournalHead, Rollback, SignedHead, is_still_ours, kept, knows_voucher, may_go_on};
pub use lane::{Lane, Lowering, SignRefusal, VoucherRefusal};
pub use lightning::{NodeId, node_claim};
pub use message::{
    GuardedLane, LightningTerms, MESSAGE_MAX, PROTOCOL, PacketName, PeerMessage, RESUME_MAX, Terms,
};
pub use serial::Serials;
pub use signature::{
    CurveVerifier, NotSigned, Signature, SignatureVerifier, Verified, address_of_point,
};
pub use watch::{LaneStanding, Standing, WatchPolicy, WatchStep, watch_step, watched};
