//! ILP addresses (RFC 15): validated once, compared by whole segments.

use alloc::vec::Vec;

/// Longest address in bytes (RFC 15).
pub const ADDRESS_SIZE_MAX: usize = 1023;

/// Why bytes are not an ILP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Longer than [`ADDRESS_SIZE_MAX`] bytes.
    TooLong,
    /// The first segment is none of RFC 15's allocation schemes.
    UnknownScheme,
    /// A segment is empty or missing, or holds a byte other than letters, digits, `_`, `~` and `-`.
    InvalidSegment,
}

impl core::fmt::Display for AddressError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "the address is longer than 1023 bytes",
            Self::UnknownScheme => {
                "the address starts with no known scheme: use g, private, example, peer, self, test, test1, test2, test3 or local"
            }
            Self::InvalidSegment => {
                "a segment of the address is empty or has a character other than letters, digits, _, ~ and -"
            }
        })
    }
}

impl core::error::Error for AddressError {}

/// The first segment of an address: who allots what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `g`: the live network.
    Global,
    /// `private`
    Private,
    /// `example`
    Example,
    /// `peer`: between two neighbours, never forwarded.
    Peer,
    /// `self`
    Own,
    /// `test`
    Test,
    /// `test1`
    Test1,
    /// `test2`
    Test2,
    /// `test3`
    Test3,
    /// `local`
    Local,
}

impl Scheme {
    /// Reads a scheme's name.
    #[inline]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"g" => Self::Global,
            b"private" => Self::Private,
            b"example" => Self::Example,
            b"peer" => Self::Peer,
            b"self" => Self::Own,
            b"test" => Self::Test,
            b"test1" => Self::Test1,
            b"test2" => Self::Test2,
            b"test3" => Self::Test3,
            b"local" => Self::Local,
            _ => return None,
        })
    }

    /// Whether addresses under it belong to a test network (RFC 34: a node is on test or live, never both).
    pub fn is_test(self) -> bool {
        matches!(self, Self::Test | Self::Test1 | Self::Test2 | Self::Test3)
    }
}

/// A valid address in borrowed bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address<'a>(&'a [u8]);

impl<'a> Address<'a> {
    /// `peer.config`, where ILDCP requests go (RFC 31).
    pub const PEER_CONFIG: Address<'static> = Address(b"peer.config");
    /// `peer.route.control`, where a neighbour asks for our routes.
    pub const PEER_ROUTE_CONTROL: Address<'static> = Address(b"peer.route.control");
    /// `peer.route.update`, where a neighbour tells us its routes.
    pub const PEER_ROUTE_UPDATE: Address<'static> = Address(b"peer.route.update");

    /// Validates bytes as an address.
    ///
    /// # Errors
    /// [`AddressError`] says which rule of RFC 15 is broken.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, AddressError> {
        if bytes.len() > ADDRESS_SIZE_MAX {
            return Err(AddressError::TooLong);
        }
        let scheme_size = bytes
            .iter()
            .take(8)
            .position(|byte| *byte == b'.')
            .ok_or(AddressError::UnknownScheme)?;
        let (scheme, rest) = bytes
            .split_at_checked(scheme_size)
            .ok_or(AddressError::UnknownScheme)?;
        Scheme::from_name(scheme).ok_or(AddressError::UnknownScheme)?;
        if !are_segments(rest) {
            return Err(AddressError::InvalidSegment);
        }
        Ok(Self(bytes))
    }

    /// The address as bytes, all ASCII.
    #[inline]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The address as text.
    pub fn as_str(self) -> &'a str {
        core::str::from_utf8(self.0).expect("an address was validated as ASCII")
    }

    /// The first segment.
    pub fn scheme(self) -> Scheme {
        let name = self.segments().next().and_then(Scheme::from_name);
        name.expect("an address was validated to start with a scheme")
    }

    /// All segments, the scheme first.
    pub fn segments(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|byte| *byte == b'.')
    }

    /// Whether this is a `peer.` address, meant for the neighbour itself and never forwarded.
    #[inline]
    pub fn is_peer(self) -> bool {
        self.0.starts_with(b"peer.")
    }

    /// Whether `other` is this address or lies below it, compared by whole segments.
    #[inline]
    pub fn is_prefix_of(self, other: Address<'_>) -> bool {
        other.has_prefix(self.0)
    }

    /// Whether `prefix`, which may be a bare scheme or empty (the default route), covers this address by whole segments.
    #[inline]
    pub fn has_prefix(self, prefix: &[u8]) -> bool {
        let Some(rest) = self.0.strip_prefix(prefix) else {
            return false;
        };
        prefix.is_empty() || rest.first().is_none_or(|next| *next == b'.')
    }

    /// An owned copy.
    pub fn to_owned(self) -> AddressBuf {
        AddressBuf(self.0.into())
    }
}

impl core::fmt::Display for Address<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl core::fmt::Debug for Address<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A valid address that owns its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressBuf(Vec<u8>);

impl AddressBuf {
    /// Borrows it.
    #[inline]
    pub fn as_address(&self) -> Address<'_> {
        Address(&self.0)
    }

    /// The address one segment below this one.
    ///
    /// # Errors
    /// When `segment` has a character that a segment may not have, or the result is too long.
    pub fn child(&self, segment: &str) -> Result<Self, AddressError> {
        if segment.contains('.') {
            return Err(AddressError::InvalidSegment);
        }
        let mut bytes = self.0.clone();
        bytes.push(b'.');
        bytes.extend_from_slice(segment.as_bytes());
        Address::parse(&bytes).map(Address::to_owned)
    }
}

impl core::str::FromStr for AddressBuf {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Address::parse(text.as_bytes()).map(Address::to_owned)
    }
}

impl core::fmt::Display for AddressBuf {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.as_address().as_str())
    }
}

impl core::fmt::Debug for AddressBuf {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.as_address().as_str())
    }
}

/// Whether `bytes` may stand as a routing prefix: empty, a bare scheme, or an address.
pub fn is_valid_prefix(bytes: &[u8]) -> bool {
    bytes.is_empty() || Scheme::from_name(bytes).is_some() || Address::parse(bytes).is_ok()
}

/// Whether `rest` is one or more of `.segment`. One look-up a byte and no branch on it: every prepare passes here.
#[inline]
fn are_segments(rest: &[u8]) -> bool {
    let (seen, last) = rest.iter().fold((0, 0), |(seen, before), byte| {
        let class = CLASSES[usize::from(*byte)];
        (seen | class | ((before & class) << 1), class)
    });
    // `rest` starts with a dot, since the scheme ended there; a dot after a dot has set INVALID.
    !rest.is_empty() && seen & INVALID == 0 && last != DOT
}

const DOT: u8 = 1;
const INVALID: u8 = 2;
const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [INVALID; 256];
    let mut byte = 0_u8;
    loop {
        // Widening: a const fn has no From.
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'~' | b'-' => 0,
            b'.' => DOT,
            _ => INVALID,
        };
        if byte == u8::MAX {
            return classes;
        }
        byte += 1;
    }
}
