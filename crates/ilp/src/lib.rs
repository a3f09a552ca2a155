//! OER, ILPv4, BTP, ILDCP and CCP codecs on borrowed bytes.
//!
//! What another connector may send is read here without copying or allocating, and what we send is appended to a
//! caller's buffer in canonical form. [`Link`] says what a frame means on one BTP connection, in either dialect in
//! use. This crate never opens a socket, reads a clock, draws a number or keeps a packet: the node does.
//!
//! Decoders take hostile bytes: they return an error, never panic, and size nothing by a length that was sent.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod address;
pub mod btp;
pub mod ccp;
mod civil;
mod code;
pub mod ildcp;
mod link;
pub mod oer;
mod packet;

pub use address::{ADDRESS_SIZE_MAX, Address, AddressBuf, AddressError, Scheme, is_valid_prefix};
pub use code::{AmountTooLarge, CodeClass, ErrorCode};
pub use link::{AUTH, AUTH_TOKEN, AUTH_USERNAME, Arrived, Dialect, Link, LinkError, LinkEvent};
pub use oer::OerError;
pub use packet::{
    DATA_SIZE_MAX, FulfillView, MESSAGE_SIZE_MAX, PacketError, PacketType, PacketView, PrepareView,
    RejectView, patch_prepare,
};
