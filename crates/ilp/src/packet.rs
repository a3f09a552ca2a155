//! ILPv4 packets (RFC 27): views that borrow, encoders that append, and patches in place.

use crate::address::{Address, AddressError};
use crate::civil;
use crate::code::{CODE_SIZE, ErrorCode};
use crate::oer::{OerError, Reader, length_prefix_size, var_size, write_length, write_var};
use alloc::vec::Vec;
use forebay_quantity::{Hash32, Timestamp};

/// Longest data field of any packet, in bytes (RFC 27).
pub const DATA_SIZE_MAX: usize = 32_767;
/// Longest message of a reject, in bytes (RFC 27).
pub const MESSAGE_SIZE_MAX: usize = 8_191;

const AMOUNT_SIZE: usize = 8;
const HASH_SIZE: usize = 32;
const PREPARE_FIXED_SIZE: usize = AMOUNT_SIZE + civil::DIGITS + HASH_SIZE;

/// Why bytes are not the ILP packet they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// The encoding itself is broken.
    Encoding(OerError),
    /// The first byte names no ILP packet, or another than the one asked for.
    UnexpectedType(u8),
    /// The expiry is not 17 digits that name a moment from 1970 to 9999.
    InvalidExpiry,
    /// The destination of a prepare is no address.
    InvalidDestination(AddressError),
    /// The origin of a reject is neither empty nor an address.
    InvalidTriggeredBy(AddressError),
    /// The code of a reject is not three printable characters.
    InvalidCode,
    /// The data passes [`DATA_SIZE_MAX`].
    DataTooLong,
    /// The message passes [`MESSAGE_SIZE_MAX`].
    MessageTooLong,
}

impl PacketError {
    /// What to say of bytes that do not begin as they should.
    pub(crate) fn unexpected(packet: &[u8]) -> Self {
        packet
            .first()
            .map_or(Self::Encoding(OerError::Truncated), |byte| {
                Self::UnexpectedType(*byte)
            })
    }
}

impl From<OerError> for PacketError {
    fn from(error: OerError) -> Self {
        Self::Encoding(error)
    }
}

impl core::fmt::Display for PacketError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Encoding(error) => write!(formatter, "malformed ILP packet: {error}"),
            Self::UnexpectedType(byte) => {
                write!(
                    formatter,
                    "type {byte} is not the ILP packet expected: 12 is prepare, 13 fulfill, 14 reject"
                )
            }
            Self::InvalidExpiry => formatter.write_str(
                "the expiry is no moment from 1970 to 9999: write YYYYMMDDHHmmSSfff in UTC",
            ),
            Self::InvalidDestination(error) => write!(formatter, "invalid destination: {error}"),
            Self::InvalidTriggeredBy(error) => write!(formatter, "invalid triggeredBy: {error}"),
            Self::InvalidCode => {
                formatter.write_str("the error code is not three printable ASCII characters")
            }
            Self::DataTooLong => write!(formatter, "the data is longer than {DATA_SIZE_MAX} bytes"),
            Self::MessageTooLong => {
                write!(
                    formatter,
                    "the message is longer than {MESSAGE_SIZE_MAX} bytes"
                )
            }
        }
    }
}

impl core::error::Error for PacketError {}

/// The three packets, by their first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// An offer of money against a preimage.
    Prepare = 12,
    /// The preimage.
    Fulfill = 13,
    /// The offer is off.
    Reject = 14,
}

impl PacketType {
    /// The type that a packet's first byte claims; the rest may still be malformed.
    #[inline]
    pub fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? {
            12 => Some(Self::Prepare),
            13 => Some(Self::Fulfill),
            14 => Some(Self::Reject),
            _ => None,
        }
    }

    #[inline]
    fn byte(self) -> u8 {
        match self {
            Self::Prepare => 12,
            Self::Fulfill => 13,
            Self::Reject => 14,
        }
    }
}

/// Any of the three packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketView<'a> {
    /// See [`PrepareView`].
    Prepare(PrepareView<'a>),
    /// See [`FulfillView`].
    Fulfill(FulfillView<'a>),
    /// See [`RejectView`].
    Reject(RejectView<'a>),
}

impl<'a> PacketView<'a> {
    /// Reads whichever packet the first byte names.
    ///
    /// # Errors
    /// [`PacketError`], as the packet's own `parse`.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<Self, PacketError> {
        match PacketType::of(packet) {
            Some(PacketType::Prepare) => PrepareView::parse(packet).map(Self::Prepare),
            Some(PacketType::Fulfill) => FulfillView::parse(packet).map(Self::Fulfill),
            Some(PacketType::Reject) => RejectView::parse(packet).map(Self::Reject),
            None => Err(PacketError::unexpected(packet)),
        }
    }
}

/// A prepare: borrowed when parsed, or filled in by hand to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareView<'a> {
    /// Base units of the asset of the account it travels on.
    pub amount: u64,
    /// When the offer ends.
    pub expires_at: Timestamp,
    /// SHA-256 of the fulfillment.
    pub condition: &'a [u8; HASH_SIZE],
    /// Where it goes.
    pub destination: Address<'a>,
    /// For the receiver; connectors pass it on untouched.
    pub data: &'a [u8],
}

impl<'a> PrepareView<'a> {
    /// Reads a prepare without allocating; bytes after its end are ignored.
    ///
    /// # Errors
    /// [`PacketError`] says which field is wrong.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = contents(packet, PacketType::Prepare)?;
        let amount = reader.read_u64()?;
        let digits = reader.read_array::<{ civil::DIGITS }>()?;
        let expires_at = civil::parse(digits).ok_or(PacketError::InvalidExpiry)?;
        let condition = reader.read_array::<HASH_SIZE>()?;
        let destination =
            Address::parse(reader.read_var()?).map_err(PacketError::InvalidDestination)?;
        let data = bounded_data(reader.read_var()?)?;
        Ok(Self {
            amount,
            expires_at: Timestamp(expires_at),
            condition,
            destination,
            data,
        })
    }

    /// The condition as a digest.
    #[inline]
    pub fn condition_hash(&self) -> Hash32 {
        Hash32(*self.condition)
    }

    /// Size of the canonical encoding; a packet of this size is canonical and may be relayed after [`patch_prepare`].
    #[inline]
    pub fn encoded_size(&self) -> usize {
        1 + var_size(self.contents_size())
    }

    /// Appends the canonical encoding.
    ///
    /// # Errors
    /// When the expiry lies after the year 9999 or the data is too long; nothing is appended then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), PacketError> {
        let digits = civil::format(self.expires_at.0).ok_or(PacketError::InvalidExpiry)?;
        bounded_data(self.data)?;
        out.reserve(self.encoded_size());
        out.push(PacketType::Prepare.byte());
        write_length(out, self.contents_size());
        out.extend_from_slice(&self.amount.to_be_bytes());
        out.extend_from_slice(&digits);
        out.extend_from_slice(self.condition);
        write_var(out, self.destination.as_bytes());
        write_var(out, self.data);
        Ok(())
    }

    #[inline]
    fn contents_size(&self) -> usize {
        PREPARE_FIXED_SIZE + var_size(self.destination.as_bytes().len()) + var_size(self.data.len())
    }
}

/// Overwrites the amount and the expiry of an encoded prepare where they stand; all else stays.
///
/// # Errors
/// When `packet` does not begin as a prepare does or `expires_at` lies after the year 9999; nothing is changed then.
#[inline]
pub fn patch_prepare(
    packet: &mut [u8],
    amount: u64,
    expires_at: Timestamp,
) -> Result<(), PacketError> {
    let digits = civil::format(expires_at.0).ok_or(PacketError::InvalidExpiry)?;
    let body = contents(packet, PacketType::Prepare)?.rest().len();
    let start = body_start(packet)?;
    let fields = packet
        .get_mut(start..start + body)
        .and_then(|contents| contents.first_chunk_mut::<PREPARE_FIXED_SIZE>())
        .ok_or(PacketError::Encoding(OerError::Truncated))?;
    fields[..AMOUNT_SIZE].copy_from_slice(&amount.to_be_bytes());
    fields[AMOUNT_SIZE..AMOUNT_SIZE + civil::DIGITS].copy_from_slice(&digits);
    Ok(())
}

/// A fulfill: borrowed when parsed, or filled in by hand to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FulfillView<'a> {
    /// The preimage of the condition.
    pub fulfillment: &'a [u8; HASH_SIZE],
    /// For the sender; connectors pass it on untouched.
    pub data: &'a [u8],
}

impl<'a> FulfillView<'a> {
    /// Reads a fulfill without allocating; bytes after its end are ignored.
    ///
    /// # Errors
    /// [`PacketError`] says which field is wrong.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = contents(packet, PacketType::Fulfill)?;
        let fulfillment = reader.read_array::<HASH_SIZE>()?;
        let data = bounded_data(reader.read_var()?)?;
        Ok(Self { fulfillment, data })
    }

    /// Whether the fulfillment is the preimage of `condition`.
    pub fn fulfills(&self, condition: &[u8; HASH_SIZE]) -> bool {
        use sha2::{Digest, Sha256};
        Sha256::digest(self.fulfillment)[..] == condition[..]
    }

    /// Size of the canonical encoding.
    #[inline]
    pub fn encoded_size(&self) -> usize {
        1 + var_size(self.contents_size())
    }

    /// Appends the canonical encoding.
    ///
    /// # Errors
    /// When the data is too long; nothing is appended then.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), PacketError> {
        bounded_data(self.data)?;
        out.reserve(self.encoded_size());
        out.push(PacketType::Fulfill.byte());
        write_length(out, self.contents_size());
        out.extend_from_slice(self.fulfillment);
        write_var(out, self.data);
        Ok(())
    }

    #[inline]
    fn contents_size(&self) -> usize {
        HASH_SIZE + var_size(self.data.len())
    }
}

/// A reject: borrowed when parsed, or filled in by hand to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectView<'a> {
    /// Why.
    pub code: ErrorCode,
    /// Who rejected; `None` when the packet leaves it empty.
    pub triggered_by: Option<Address<'a>>,
    /// For people to read; meant to be UTF-8, not checked, so that a bad byte cannot hide a reject.
    pub message: &'a [u8],
    /// What the code defines.
    pub data: &'a [u8],
}

impl<'a> RejectView<'a> {
    /// Reads a reject without allocating; bytes after its end are ignored.
    ///
    /// # Errors
    /// [`PacketError`] says which field is wrong.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = contents(packet, PacketType::Reject)?;
        let code = ErrorCode::from_bytes(*reader.read_array::<CODE_SIZE>()?)
            .ok_or(PacketError::InvalidCode)?;
        let origin = reader.read_var()?;
        let triggered_by = match origin {
            [] => None,
            bytes => Some(Address::parse(bytes).map_err(PacketError::InvalidTriggeredBy)?),
        };
        let message = bounded_message(reader.read_var()?)?;
        let data = bounded_data(reader.read_var()?)?;
        Ok(Self {
            code,
            triggered_by,
            message,
            data,
        })
    }

    /// Size of the canonical encoding.
    #[inline]
    pub fn encoded_size(&self) -> usize {
        1 + var_size(self.contents_size())
    }

    /// Appends the canonical encoding.
    ///
    /// # Errors
    /// When the message or the data is too long; nothing is appended then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), PacketError> {
        bounded_message(self.message)?;
        bounded_data(self.data)?;
        out.reserve(self.encoded_size());
        out.push(PacketType::Reject.byte());
        write_length(out, self.contents_size());
        out.extend_from_slice(&self.code.to_bytes());
        write_var(out, self.origin());
        write_var(out, self.message);
        write_var(out, self.data);
        Ok(())
    }

    #[inline]
    fn origin(&self) -> &'a [u8] {
        self.triggered_by.map_or(&[], Address::as_bytes)
    }

    #[inline]
    fn contents_size(&self) -> usize {
        CODE_SIZE
            + var_size(self.origin().len())
            + var_size(self.message.len())
            + var_size(self.data.len())
    }
}

#[inline]
fn contents(packet: &[u8], expected: PacketType) -> Result<Reader<'_>, PacketError> {
    let mut reader = Reader::new(packet);
    if reader.read_u8()? != expected.byte() {
        return Err(PacketError::unexpected(packet));
    }
    Ok(Reader::new(reader.read_var()?))
}

/// Where an envelope's contents begin: after the type and the length prefix, however that is written.
#[inline]
fn body_start(packet: &[u8]) -> Result<usize, PacketError> {
    match packet.get(1) {
        None => Err(PacketError::Encoding(OerError::Truncated)),
        Some(first) if *first < 0x80 => Ok(1 + length_prefix_size(0)),
        Some(first) => Ok(1 + length_prefix_size(0) + usize::from(first & 0x7f)),
    }
}

#[inline]
fn bounded_data(data: &[u8]) -> Result<&[u8], PacketError> {
    if data.len() > DATA_SIZE_MAX {
        Err(PacketError::DataTooLong)
    } else {
        Ok(data)
    }
}

#[inline]
fn bounded_message(message: &[u8]) -> Result<&[u8], PacketError> {
    if message.len() > MESSAGE_SIZE_MAX {
        Err(PacketError::MessageTooLong)
    } else {
        Ok(message)
    }
}
