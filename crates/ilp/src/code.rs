//! ILP error codes (RFC 27) and the data that F08 carries.

use crate::oer::{OerError, Reader};

/// Size of a code on the wire.
pub(crate) const CODE_SIZE: usize = 3;

/// Who may try again after a reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeClass {
    /// The same packet will fail again.
    Final,
    /// The same packet may pass later.
    Temporary,
    /// Another amount or expiry may pass.
    Relative,
    /// A letter that RFC 27 does not name; to be treated as final.
    Unknown,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $bytes:literal,)+) => {
        /// Why a packet was rejected.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $name,)+
            /// A code that RFC 27 does not list, to be relayed as it came; three printable ASCII characters.
            Unlisted([u8; CODE_SIZE]),
        }

        impl ErrorCode {
            /// Every code that RFC 27 lists.
            pub const LISTED: &'static [Self] = &[$(Self::$name),+];

            /// Reads a code; `None` unless it is printable ASCII.
            #[inline]
            pub fn from_bytes(bytes: [u8; CODE_SIZE]) -> Option<Self> {
                match &bytes {
                    $($bytes => Some(Self::$name),)+
                    other if other.iter().all(u8::is_ascii_graphic) => Some(Self::Unlisted(bytes)),
                    _ => None,
                }
            }

            /// The code's three characters.
            #[inline]
            pub const fn to_bytes(self) -> [u8; CODE_SIZE] {
                match self {
                    $(Self::$name => *$bytes,)+
                    Self::Unlisted(bytes) => bytes,
                }
            }
        }
    };
}

codes! {
    /// The sender's packet makes no sense to the receiver.
    F00BadRequest = b"F00",
    /// The packet could not be read.
    F01InvalidPacket = b"F01",
    /// No route to the destination.
    F02Unreachable = b"F02",
    /// The amount is one the receiver never takes.
    F03InvalidAmount = b"F03",
    /// Less arrived than the receiver expected.
    F04InsufficientDestinationAmount = b"F04",
    /// The receiver cannot fulfil this condition.
    F05WrongCondition = b"F05",
    /// The receiver was not expecting a payment.
    F06UnexpectedPayment = b"F06",
    /// The destination cannot receive.
    F07CannotReceive = b"F07",
    /// The amount passes a connector's maximum; the data is [`AmountTooLarge`].
    F08AmountTooLarge = b"F08",
    /// Defined by the application.
    F99ApplicationError = b"F99",
    /// Something failed inside a connector.
    T00InternalError = b"T00",
    /// The next hop does not answer.
    T01PeerUnreachable = b"T01",
    /// The next hop has too much to do.
    T02PeerBusy = b"T02",
    /// This connector has too much to do.
    T03ConnectorBusy = b"T03",
    /// A balance or limit on the way does not cover the packet.
    T04InsufficientLiquidity = b"T04",
    /// Too many packets from this sender.
    T05RateLimited = b"T05",
    /// Defined by the application.
    T99ApplicationError = b"T99",
    /// The packet expired before an answer came.
    R00TransferTimedOut = b"R00",
    /// Nothing would be left to forward after conversion.
    R01InsufficientSourceAmount = b"R01",
    /// Too little time is left to forward it.
    R02InsufficientTimeout = b"R02",
    /// Defined by the application.
    R99ApplicationError = b"R99",
}

impl ErrorCode {
    /// The class that the code's letter names.
    pub const fn class(self) -> CodeClass {
        match self.to_bytes() {
            [b'F', ..] => CodeClass::Final,
            [b'T', ..] => CodeClass::Temporary,
            [b'R', ..] => CodeClass::Relative,
            _ => CodeClass::Unknown,
        }
    }
}

impl core::fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let bytes = self.to_bytes();
        formatter.write_str(core::str::from_utf8(&bytes).unwrap_or("???"))
    }
}

/// The data of an F08 reject: a sender divides the two to learn what may arrive here in one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmountTooLarge {
    /// What arrived at the rejecting connector, in its base units.
    pub received: u64,
    /// What it takes at most, in the same units.
    pub maximum: u64,
}

impl AmountTooLarge {
    /// Reads the data of an F08 reject.
    ///
    /// # Errors
    /// When it is shorter than two UInt64s.
    pub fn from_bytes(data: &[u8]) -> Result<Self, OerError> {
        let mut reader = Reader::new(data);
        Ok(Self {
            received: reader.read_u64()?,
            maximum: reader.read_u64()?,
        })
    }

    /// The data for an F08 reject.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.received.to_be_bytes());
        bytes[8..].copy_from_slice(&self.maximum.to_be_bytes());
        bytes
    }
}
