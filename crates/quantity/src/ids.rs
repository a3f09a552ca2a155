//! Typed ids: one newtype for each thing that is numbered, so that two of them cannot be confused.

use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

macro_rules! id {
    ($(#[doc = $doc:literal])+ $name:ident($inner:ty)) => {
        $(#[doc = $doc])+
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize,
            BorshDeserialize,
        )]
        pub struct $name(pub $inner);

        impl $name {
            /// The id with this number.
            #[inline]
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The plain number.
            #[inline]
            #[must_use]
            pub const fn value(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, out)
            }
        }
    };
}

id!(/// An asset of the registry.
    AssetId(u16));
id!(/// An ILP connector that we peer with.
    PeerId(u32));
id!(/// A ledger account, dense from zero.
    AccountId(u32));
id!(/// A packet in flight: slot and generation, equal to the outgoing BTP request id.
    PacketId(u32));
id!(/// An effect that an adapter carries out; asking twice under one id takes effect once.
    EffectId(u64));
id!(/// A channel's serial, never used again, even after a close.
    ChannelSerial(u64));
id!(/// A liquidity provider.
    LpId(u32));
id!(/// A price source.
    SourceId(u16));
id!(/// A block's height on its chain.
    BlockHeight(u64));

impl AccountId {
    /// The position in a dense table of accounts.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        // Widening on every target this runs on: usize has at least 32 bits.
        self.0 as usize
    }
}

/// A caller's name for a command; the same id never takes effect twice.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct CommandId(pub [u8; 16]);

impl CommandId {
    /// The id with these bytes.
    #[inline]
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The plain bytes.
    #[inline]
    #[must_use]
    pub const fn value(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::hash::write_hex(out, &self.0)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CommandId({self})")
    }
}
