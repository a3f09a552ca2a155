//! Octet Encoding Rules (RFC 30) on borrowed bytes: canonical on send, non-canonical lengths accepted, nothing allocated
//! from a length prefix.

use alloc::vec::Vec;

/// Why bytes are not the OER they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OerError {
    /// Fewer bytes remain than the value or its length prefix needs.
    Truncated,
    /// A length prefix of no bytes (`0x80`) or one that does not fit 64 bits.
    InvalidLength,
    /// An unsigned integer of no bytes or of more than 64 bits.
    InvalidInteger,
}

impl core::fmt::Display for OerError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::Truncated => "the bytes end before the value does: send the whole of it",
            Self::InvalidLength => {
                "the length prefix is malformed: use the shortest form of RFC 30"
            }
            Self::InvalidInteger => "the integer is empty or wider than 64 bits",
        })
    }
}

impl core::error::Error for OerError {}

/// Reads values from the front of borrowed bytes; what is left behind at the end is ignored, as RFC 30 asks.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads a fixed-length octet string.
    #[inline]
    pub fn read_array<const N: usize>(&mut self) -> Result<&'a [u8; N], OerError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(OerError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// Reads a UInt8.
    #[inline]
    pub fn read_u8(&mut self) -> Result<u8, OerError> {
        self.read_array::<1>().map(|[byte]| *byte)
    }

    /// Reads a UInt32, big-endian.
    #[inline]
    pub fn read_u32(&mut self) -> Result<u32, OerError> {
        self.read_array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// Reads a UInt64, big-endian.
    #[inline]
    pub fn read_u64(&mut self) -> Result<u64, OerError> {
        self.read_array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// Reads a variable-length octet string.
    #[inline]
    pub fn read_var(&mut self) -> Result<&'a [u8], OerError> {
        let length = self.read_length()?;
        let (head, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(OerError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// Reads a variable-length unsigned integer of up to 64 bits; leading zeros are accepted.
    #[inline]
    pub fn read_var_uint(&mut self) -> Result<u64, OerError> {
        let bytes = self.read_var()?;
        if bytes.is_empty() {
            return Err(OerError::InvalidInteger);
        }
        big_endian(bytes).ok_or(OerError::InvalidInteger)
    }

    #[inline]
    fn read_length(&mut self) -> Result<usize, OerError> {
        let first = self.read_u8()?;
        if first < 0x80 {
            return Ok(usize::from(first));
        }
        let (bytes, rest) = self
            .rest
            .split_at_checked(usize::from(first & 0x7f))
            .ok_or(OerError::Truncated)?;
        if bytes.is_empty() {
            return Err(OerError::InvalidLength);
        }
        self.rest = rest;
        let length = big_endian(bytes).ok_or(OerError::InvalidLength)?;
        usize::try_from(length).map_err(|_| OerError::Truncated)
    }
}

fn big_endian(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0_u64, |value, byte| {
        let shifted = if value >> 56 == 0 {
            value << 8
        } else {
            return None;
        };
        Some(shifted | u64::from(*byte))
    })
}

/// Bytes that the canonical length prefix of a string of `length` bytes takes.
#[inline]
pub const fn length_prefix_size(length: usize) -> usize {
    if length < 0x80 {
        1
    } else {
        1 + significant_bytes(length)
    }
}

/// Bytes that a variable-length octet string of `length` bytes takes with its prefix.
#[inline]
pub const fn var_size(length: usize) -> usize {
    length_prefix_size(length) + length
}

/// Appends a canonical length prefix.
#[inline]
pub fn write_length(out: &mut Vec<u8>, length: usize) {
    let bytes = length.to_be_bytes();
    let [.., last] = bytes;
    if length < 0x80 {
        out.push(last);
        return;
    }
    let count = significant_bytes(length);
    let [.., count_byte] = count.to_be_bytes();
    out.push(0x80 | count_byte);
    out.extend_from_slice(&bytes[bytes.len() - count..]);
}

/// Appends a variable-length octet string.
#[inline]
pub fn write_var(out: &mut Vec<u8>, bytes: &[u8]) {
    write_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a variable-length unsigned integer in its shortest form.
#[inline]
pub fn write_var_uint(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let skipped = bytes
        .iter()
        .take(bytes.len() - 1)
        .take_while(|byte| **byte == 0)
        .count();
    write_var(out, &bytes[skipped..]);
}

const fn significant_bytes(value: usize) -> usize {
    let mut count = 1;
    let mut rest = value >> 8;
    while rest > 0 {
        count += 1;
        rest >>= 8;
    }
    count
}
