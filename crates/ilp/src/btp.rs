//! BTP 2.0 frames (RFC 23), one per WebSocket binary message.

use crate::civil;
use crate::oer::{
    OerError, Reader, length_prefix_size, var_size, write_length, write_var, write_var_uint,
};
use alloc::vec::Vec;
use core::ops::Range;
use forebay_quantity::Timestamp;

/// Name of the sub-protocol that carries an ILP packet.
pub const ILP: &str = "ilp";
/// Entries read in one frame; software in use sends at most four.
pub const PROTOCOL_DATA_MAX: usize = 32;
/// Longest frame worth reading, in bytes: the longest ILP packet with room for entries beside it.
pub const FRAME_SIZE_MAX: usize = 65_536;

const HEADER_SIZE: usize = 1 + 4;
const ILP_ENTRY_OVERHEAD: usize = 1 + ILP.len() + 1;
const COUNT_SIZE: usize = 2;

/// Why bytes are no BTP frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BtpError {
    /// The encoding itself is broken.
    Encoding(OerError),
    /// The first byte names no BTP 2.0 frame.
    UnknownType(u8),
    /// The frame passes [`FRAME_SIZE_MAX`].
    FrameTooLong,
    /// More entries than [`PROTOCOL_DATA_MAX`].
    TooManyEntries,
    /// An entry's name is not printable ASCII, or appears twice.
    InvalidName,
    /// The moment an error was triggered lies after the year 9999.
    InvalidTime,
}

impl From<OerError> for BtpError {
    fn from(error: OerError) -> Self {
        Self::Encoding(error)
    }
}

impl core::fmt::Display for BtpError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Encoding(error) => write!(formatter, "malformed BTP frame: {error}"),
            Self::UnknownType(byte) => write!(
                formatter,
                "BTP type {byte} is unknown: 1 is response, 2 error, 6 message, 7 transfer"
            ),
            Self::FrameTooLong => {
                write!(
                    formatter,
                    "the BTP frame is longer than {FRAME_SIZE_MAX} bytes"
                )
            }
            Self::TooManyEntries => {
                write!(
                    formatter,
                    "the BTP frame has more than {PROTOCOL_DATA_MAX} entries"
                )
            }
            Self::InvalidName => formatter.write_str(
                "a sub-protocol name is not printable ASCII or appears twice in its frame",
            ),
            Self::InvalidTime => {
                formatter.write_str("the moment of an error must lie before the year 10000")
            }
        }
    }
}

impl core::error::Error for BtpError {}

/// Pairs a request with its answer on one link; chosen by who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

impl core::fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The four frames of BTP 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// Answers a message or a transfer.
    Response,
    /// Answers that it could not be handled.
    Error,
    /// Asks for an answer.
    Message,
    /// Carries value beside its entries.
    Transfer,
}

impl FrameType {
    /// Reads the type byte.
    #[inline]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Response),
            2 => Some(Self::Error),
            6 => Some(Self::Message),
            7 => Some(Self::Transfer),
            _ => None,
        }
    }

    /// The type byte.
    #[inline]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Response => 1,
            Self::Error => 2,
            Self::Message => 6,
            Self::Transfer => 7,
        }
    }
}

/// What an entry's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// Bytes.
    OctetStream,
    /// UTF-8 text.
    TextPlain,
    /// JSON.
    Json,
    /// A number that RFC 23 does not name.
    Unlisted(u8),
}

impl ContentType {
    #[inline]
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::OctetStream,
            1 => Self::TextPlain,
            2 => Self::Json,
            other => Self::Unlisted(other),
        }
    }

    #[inline]
    const fn to_byte(self) -> u8 {
        match self {
            Self::OctetStream => 0,
            Self::TextPlain => 1,
            Self::Json => 2,
            Self::Unlisted(byte) => byte,
        }
    }
}

/// One sub-protocol's part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The sub-protocol.
    pub name: &'a str,
    /// What the data is.
    pub content_type: ContentType,
    /// The data.
    pub data: &'a [u8],
}

impl<'a> Entry<'a> {
    /// An entry of bytes.
    pub fn bytes(name: &'a str, data: &'a [u8]) -> Self {
        Self {
            name,
            content_type: ContentType::OctetStream,
            data,
        }
    }

    /// An entry of text.
    pub fn text(name: &'a str, text: &'a str) -> Self {
        Self {
            name,
            content_type: ContentType::TextPlain,
            data: text.as_bytes(),
        }
    }

    fn size(&self) -> usize {
        var_size(self.name.len()) + 1 + var_size(self.data.len())
    }

    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, BtpError> {
        let name = match reader.read_var()? {
            b"ilp" => ILP, // nearly every entry: spared the check
            name if name.iter().all(u8::is_ascii_graphic) => {
                core::str::from_utf8(name).map_err(|_| BtpError::InvalidName)?
            }
            _ => return Err(BtpError::InvalidName),
        };
        let content_type = ContentType::from_byte(reader.read_u8()?);
        Ok(Self {
            name,
            content_type,
            data: reader.read_var()?,
        })
    }
}

/// The entries of a frame, checked when the frame was parsed and borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct ProtocolData<'a> {
    count: usize,
    bytes: &'a [u8],
    ilp: Option<&'a [u8]>,
}

impl<'a> ProtocolData<'a> {
    /// Number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries in order; the first is the primary one.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| Entry::read(&mut reader).ok())
    }

    /// The entry of the sub-protocol `name`.
    #[inline]
    pub fn find(&self, name: &str) -> Option<Entry<'a>> {
        self.iter().find(|entry| entry.name == name)
    }

    /// The ILP packet, when an entry carries one.
    #[inline]
    pub fn ilp(&self) -> Option<&'a [u8]> {
        self.ilp
    }

    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, BtpError> {
        let count = reader.read_var_uint()?;
        let count = usize::try_from(count).map_err(|_| BtpError::TooManyEntries)?;
        if count > PROTOCOL_DATA_MAX {
            return Err(BtpError::TooManyEntries);
        }
        let mut data = Self {
            count,
            bytes: reader.rest(),
            ilp: None,
        };
        for _ in 0..count {
            let entry = Entry::read(reader)?;
            if entry.name == ILP {
                data.ilp = Some(entry.data);
            }
        }
        if count > 1 && data.has_duplicates() {
            return Err(BtpError::InvalidName);
        }
        Ok(data)
    }

    fn has_duplicates(&self) -> bool {
        self.iter().enumerate().any(|(at, entry)| {
            self.iter()
                .take(at)
                .any(|earlier| earlier.name == entry.name)
        })
    }
}

/// What a BTP error says beside its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorBody<'a> {
    /// Three characters, such as `F00`.
    pub code: [u8; 3],
    /// The code's name, such as `NotAcceptedError`.
    pub name: &'a [u8],
    /// GeneralizedTime as the sender wrote it.
    pub triggered_at: &'a [u8],
    /// For people to read.
    pub data: &'a [u8],
}

/// The part of a frame that depends on its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Nothing beside the entries.
    Response,
    /// Why the request failed.
    Error(ErrorBody<'a>),
    /// Nothing beside the entries.
    Message,
    /// Value carried, in base units of the link's asset.
    Transfer {
        /// The value.
        amount: u64,
    },
}

impl Body<'_> {
    /// The frame's type.
    #[inline]
    pub fn frame_type(&self) -> FrameType {
        match self {
            Self::Response => FrameType::Response,
            Self::Error(_) => FrameType::Error,
            Self::Message => FrameType::Message,
            Self::Transfer { .. } => FrameType::Transfer,
        }
    }
}

/// A frame in borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Pairs request and answer.
    pub request_id: RequestId,
    /// By type.
    pub body: Body<'a>,
    /// The entries.
    pub protocol_data: ProtocolData<'a>,
}

impl<'a> Frame<'a> {
    /// Reads a frame without allocating; bytes after its end are ignored.
    ///
    /// # Errors
    /// [`BtpError`]; RFC 23 asks that unreadable frames get no answer.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Result<Self, BtpError> {
        if frame.len() > FRAME_SIZE_MAX {
            return Err(BtpError::FrameTooLong);
        }
        let mut envelope = Reader::new(frame);
        let type_byte = envelope.read_u8()?;
        let frame_type = FrameType::from_byte(type_byte).ok_or(BtpError::UnknownType(type_byte))?;
        let request_id = RequestId(envelope.read_u32()?);
        let mut reader = Reader::new(envelope.read_var()?);
        let body = match frame_type {
            FrameType::Response => Body::Response,
            FrameType::Message => Body::Message,
            FrameType::Transfer => Body::Transfer {
                amount: reader.read_u64()?,
            },
            FrameType::Error => Body::Error(ErrorBody {
                code: *reader.read_array()?,
                name: reader.read_var()?,
                triggered_at: reader.read_var()?,
                data: reader.read_var()?,
            }),
        };
        let protocol_data = ProtocolData::read(&mut reader)?;
        Ok(Self {
            request_id,
            body,
            protocol_data,
        })
    }
}

/// Size of a response or message whose only entry is an ILP packet of `packet_size` bytes.
#[inline]
pub fn ilp_frame_size(packet_size: usize) -> usize {
    HEADER_SIZE + var_size(ilp_contents_size(packet_size))
}

/// Where `packet`, found in `frame` by parsing it, stands in it.
///
/// Returns `None` when `packet` is not a part of `frame`.
#[inline]
pub fn packet_range(frame: &[u8], packet: &[u8]) -> Option<Range<usize>> {
    let start = packet.as_ptr().addr().checked_sub(frame.as_ptr().addr())?;
    let end = start.checked_add(packet.len())?;
    (end <= frame.len()).then_some(start..end)
}

/// Overwrites the type and the request id of an encoded frame where they stand; false when it is too short to have them.
///
/// The rest of the frame stays valid only between a response and a message.
#[inline]
pub fn patch_header(frame: &mut [u8], frame_type: FrameType, request_id: RequestId) -> bool {
    let Some(header) = frame.first_chunk_mut::<HEADER_SIZE>() else {
        return false;
    };
    header[0] = frame_type.to_byte();
    header[1..].copy_from_slice(&request_id.0.to_be_bytes());
    true
}

/// Appends a response or message whose only entry is an ILP packet.
#[inline]
pub fn encode_ilp(out: &mut Vec<u8>, frame_type: FrameType, request_id: RequestId, packet: &[u8]) {
    encode_ilp_head(out, frame_type, request_id, packet.len());
    out.extend_from_slice(packet);
}

/// Appends such a frame up to where its ILP packet begins, of which exactly `packet_size` bytes must follow.
#[inline]
pub fn encode_ilp_head(
    out: &mut Vec<u8>,
    frame_type: FrameType,
    request_id: RequestId,
    packet_size: usize,
) {
    out.reserve(ilp_frame_size(packet_size));
    write_header(out, frame_type, request_id, ilp_contents_size(packet_size));
    out.extend_from_slice(&[1, 1, 3, b'i', b'l', b'p', 0]);
    write_length(out, packet_size);
}

/// Appends a response with these entries, which may be none.
pub fn encode_response(out: &mut Vec<u8>, request_id: RequestId, entries: &[Entry<'_>]) {
    write_header(out, FrameType::Response, request_id, entries_size(entries));
    write_entries(out, entries);
}

/// Appends a message with these entries.
pub fn encode_message(out: &mut Vec<u8>, request_id: RequestId, entries: &[Entry<'_>]) {
    write_header(out, FrameType::Message, request_id, entries_size(entries));
    write_entries(out, entries);
}

/// Appends a transfer of `amount` base units with these entries.
pub fn encode_transfer(
    out: &mut Vec<u8>,
    request_id: RequestId,
    amount: u64,
    entries: &[Entry<'_>],
) {
    write_header(
        out,
        FrameType::Transfer,
        request_id,
        8 + entries_size(entries),
    );
    out.extend_from_slice(&amount.to_be_bytes());
    write_entries(out, entries);
}

/// The errors of BTP 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// `T00`: try again in a minute or so.
    Unreachable,
    /// `F00`: refused, such as a wrong token.
    NotAccepted,
    /// `F01`: a field makes no sense.
    InvalidFields,
    /// `F03`
    TransferNotFound,
    /// `F04`
    InvalidFulfillment,
    /// `F05`: the request id is in use.
    DuplicateId,
    /// `F06`
    AlreadyRolledBack,
    /// `F07`
    AlreadyFulfilled,
    /// `F08`
    InsufficientBalance,
}

impl ErrorKind {
    /// The code and the name that RFC 23 gives it.
    pub const fn code_and_name(self) -> ([u8; 3], &'static str) {
        match self {
            Self::Unreachable => (*b"T00", "UnreachableError"),
            Self::NotAccepted => (*b"F00", "NotAcceptedError"),
            Self::InvalidFields => (*b"F01", "InvalidFieldsError"),
            Self::TransferNotFound => (*b"F03", "TransferNotFoundError"),
            Self::InvalidFulfillment => (*b"F04", "InvalidFulfillmentError"),
            Self::DuplicateId => (*b"F05", "DuplicateIdError"),
            Self::AlreadyRolledBack => (*b"F06", "AlreadyRolledBackError"),
            Self::AlreadyFulfilled => (*b"F07", "AlreadyFulfilledError"),
            Self::InsufficientBalance => (*b"F08", "InsufficientBalanceError"),
        }
    }
}

/// Appends an error frame without entries.
///
/// # Errors
/// When `triggered_at` lies after the year 9999; nothing is appended then.
pub fn encode_error(
    out: &mut Vec<u8>,
    request_id: RequestId,
    kind: ErrorKind,
    triggered_at: Timestamp,
    text: &str,
) -> Result<(), BtpError> {
    let time = generalized_time(triggered_at).ok_or(BtpError::InvalidTime)?;
    let (code, name) = kind.code_and_name();
    let size = code.len() + var_size(name.len()) + var_size(time.len()) + var_size(text.len());
    write_header(out, FrameType::Error, request_id, size + entries_size(&[]));
    out.extend_from_slice(&code);
    write_var(out, name.as_bytes());
    write_var(out, &time);
    write_var(out, text.as_bytes());
    write_entries(out, &[]);
    Ok(())
}

/// `YYYYMMDDHHmmSS.fffZ`
fn generalized_time(at: Timestamp) -> Option<[u8; civil::DIGITS + 2]> {
    let digits = civil::format(at.0)?;
    let (seconds, milliseconds) = digits.split_at(14);
    let mut time = [b'Z'; civil::DIGITS + 2];
    time[..14].copy_from_slice(seconds);
    time[14] = b'.';
    time[15..18].copy_from_slice(milliseconds);
    Some(time)
}

#[inline]
fn ilp_contents_size(packet_size: usize) -> usize {
    COUNT_SIZE + ILP_ENTRY_OVERHEAD + length_prefix_size(packet_size) + packet_size
}

#[inline]
fn write_header(
    out: &mut Vec<u8>,
    frame_type: FrameType,
    request_id: RequestId,
    contents_size: usize,
) {
    out.push(frame_type.to_byte());
    out.extend_from_slice(&request_id.0.to_be_bytes());
    write_length(out, contents_size);
}

fn entries_size(entries: &[Entry<'_>]) -> usize {
    let mut count = Vec::with_capacity(9);
    write_entry_count(&mut count, entries.len());
    count.len() + entries.iter().map(Entry::size).sum::<usize>()
}

fn write_entries(out: &mut Vec<u8>, entries: &[Entry<'_>]) {
    write_entry_count(out, entries.len());
    for entry in entries {
        write_var(out, entry.name.as_bytes());
        out.push(entry.content_type.to_byte());
        write_var(out, entry.data);
    }
}

fn write_entry_count(out: &mut Vec<u8>, count: usize) {
    write_var_uint(
        out,
        u64::try_from(count).expect("usize has at most 64 bits"),
    );
}
