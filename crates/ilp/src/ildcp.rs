//! ILDCP (RFC 31): a child asks its parent for its address and asset by a prepare to `peer.config`.

use crate::address::{Address, AddressError};
use crate::oer::{OerError, Reader, write_var};
use crate::packet::{FulfillView, PacketError, PrepareView};
use alloc::vec::Vec;
use forebay_quantity::Timestamp;

/// The condition of every peer protocol request: SHA-256 of [`FULFILLMENT`].
pub const CONDITION: [u8; 32] = [
    0x66, 0x68, 0x7a, 0xad, 0xf8, 0x62, 0xbd, 0x77, 0x6c, 0x8f, 0xc1, 0x8b, 0x8e, 0x9f, 0x8e, 0x20,
    0x08, 0x97, 0x14, 0x85, 0x6e, 0xe2, 0x33, 0xb3, 0x90, 0x2a, 0x59, 0x1d, 0x0d, 0x5f, 0x29, 0x25,
];
/// The fulfillment of every peer protocol reply.
pub const FULFILLMENT: [u8; 32] = [0; 32];
/// Longest asset code that is read, in bytes: longer than any in use, short enough to log.
pub const ASSET_CODE_SIZE_MAX: usize = 64;

/// Why a fulfill is no ILDCP response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IldcpError {
    /// The data is malformed.
    Encoding(OerError),
    /// The fulfillment is not the 32 zero bytes of a peer protocol.
    WrongFulfillment,
    /// The address handed out is none.
    InvalidAddress(AddressError),
    /// The asset code is not UTF-8 or passes [`ASSET_CODE_SIZE_MAX`].
    InvalidAssetCode,
}

impl From<OerError> for IldcpError {
    fn from(error: OerError) -> Self {
        Self::Encoding(error)
    }
}

impl core::fmt::Display for IldcpError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Encoding(error) => write!(formatter, "malformed ILDCP response: {error}"),
            Self::WrongFulfillment => formatter
                .write_str("an ILDCP response is fulfilled with 32 zero bytes, this is not"),
            Self::InvalidAddress(error) => {
                write!(
                    formatter,
                    "the parent handed out an invalid address: {error}"
                )
            }
            Self::InvalidAssetCode => {
                write!(
                    formatter,
                    "the asset code is not UTF-8 of at most {ASSET_CODE_SIZE_MAX} bytes"
                )
            }
        }
    }
}

impl core::error::Error for IldcpError {}

/// Whether a prepare asks for its sender's address and asset.
pub fn is_request(prepare: &PrepareView<'_>) -> bool {
    prepare.destination == Address::PEER_CONFIG && *prepare.condition == CONDITION
}

/// The prepare that asks for our address and asset; encode it as any other.
pub fn request(expires_at: Timestamp) -> PrepareView<'static> {
    PrepareView {
        amount: 0,
        expires_at,
        condition: &CONDITION,
        destination: Address::PEER_CONFIG,
        data: &[],
    }
}

/// What a parent tells its child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The child's own address.
    pub address: Address<'a>,
    /// Decimal places of one base unit.
    pub asset_scale: u8,
    /// The asset's code, such as `ETH`.
    pub asset_code: &'a str,
}

impl<'a> Response<'a> {
    /// Reads the response from the fulfill that carries it.
    ///
    /// # Errors
    /// [`IldcpError`] says what is wrong with it.
    pub fn from_fulfill(fulfill: &FulfillView<'a>) -> Result<Self, IldcpError> {
        if *fulfill.fulfillment != FULFILLMENT {
            return Err(IldcpError::WrongFulfillment);
        }
        let mut reader = Reader::new(fulfill.data);
        let address = Address::parse(reader.read_var()?).map_err(IldcpError::InvalidAddress)?;
        let asset_scale = reader.read_u8()?;
        let code = reader.read_var()?;
        if code.len() > ASSET_CODE_SIZE_MAX {
            return Err(IldcpError::InvalidAssetCode);
        }
        let asset_code = core::str::from_utf8(code).map_err(|_| IldcpError::InvalidAssetCode)?;
        Ok(Self {
            address,
            asset_scale,
            asset_code,
        })
    }

    /// Appends the whole fulfill packet that carries this response.
    ///
    /// # Errors
    /// When the asset code is so long that no packet can carry it.
    pub fn encode_fulfill(&self, out: &mut Vec<u8>) -> Result<(), PacketError> {
        let mut data =
            Vec::with_capacity(self.address.as_bytes().len() + self.asset_code.len() + 8);
        write_var(&mut data, self.address.as_bytes());
        data.push(self.asset_scale);
        write_var(&mut data, self.asset_code.as_bytes());
        FulfillView {
            fulfillment: &FULFILLMENT,
            data: &data,
        }
        .encode(out)
    }
}
