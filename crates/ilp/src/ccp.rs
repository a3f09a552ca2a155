//! The Connector-to-Connector Protocol: neighbours tell each other which address prefixes they reach, by prepares to
//! `peer.route.control` and `peer.route.update`.
//!
//! No RFC fixes its bytes; npm's `ilp-protocol-ccp` does, and `spec/protocol.md` draws them.

use crate::address::{Address, AddressBuf, AddressError, is_valid_prefix};
use crate::ildcp::CONDITION;
use crate::oer::{OerError, Reader, var_size, write_var, write_var_uint};
use crate::packet::PrepareView;
use alloc::vec::Vec;
use forebay_quantity::Timestamp;

/// Features read in one control request; none is defined.
pub const FEATURES_MAX: usize = 16;
/// Hops read in one path: more than any route worth taking has.
pub const PATH_MAX: usize = 32;
/// Properties read of one route; none is defined.
pub const PROPERTIES_MAX: usize = 16;
/// Routes or withdrawn prefixes read in one update: more than the shortest ones that a packet's data holds.
pub const ENTRIES_MAX: usize = 32_768;

const TABLE_SIZE: usize = 16;
const AUTH_SIZE: usize = 32;
/// A count below 256: its length, and one byte.
const SMALL_COUNT_SIZE: usize = 2;
/// The largest count that fits a packet's data.
const COUNT_SIZE_MAX: usize = 3;

/// Why the data of a prepare is no message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CcpError {
    /// The encoding itself is broken.
    Encoding(OerError),
    /// A mode that is neither idle nor sync.
    UnknownMode(u8),
    /// More features, hops, properties or routes than the bound named.
    TooMany(usize),
    /// The speaker or a hop is no address.
    InvalidAddress(AddressError),
    /// A prefix is neither empty, nor a bare scheme, nor an address.
    InvalidPrefix,
    /// An update ends before it begins, or beyond the speaker's current epoch.
    EpochsOutOfOrder,
}

impl From<OerError> for CcpError {
    fn from(error: OerError) -> Self {
        Self::Encoding(error)
    }
}

impl core::fmt::Display for CcpError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Encoding(error) => write!(formatter, "malformed route message: {error}"),
            Self::UnknownMode(mode) => {
                write!(formatter, "mode {mode} is unknown: 0 is idle, 1 is sync")
            }
            Self::TooMany(bound) => {
                write!(
                    formatter,
                    "a list in the route message has more than {bound} entries"
                )
            }
            Self::InvalidAddress(error) => {
                write!(formatter, "invalid address in a route message: {error}")
            }
            Self::InvalidPrefix => {
                formatter.write_str("a prefix is neither empty, nor a bare scheme, nor an address")
            }
            Self::EpochsOutOfOrder => formatter.write_str(
                "the update's epochs are out of order: from, to and current must not fall",
            ),
        }
    }
}

impl core::error::Error for CcpError {}

/// Names one life of a speaker's table: when it changes, epochs start again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub [u8; TABLE_SIZE]);

/// Whether the sender of a control request wants updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// None from now on.
    Idle,
    /// All from the epoch named.
    Sync,
}

/// Which message a prepare carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Control`].
    Control,
    /// [`UpdateView`].
    Update,
}

/// What a prepare to a peer address carries, if it is a message of this protocol.
pub fn kind(prepare: &PrepareView<'_>) -> Option<Kind> {
    let kind = if prepare.destination == Address::PEER_ROUTE_CONTROL {
        Kind::Control
    } else if prepare.destination == Address::PEER_ROUTE_UPDATE {
        Kind::Update
    } else {
        return None;
    };
    (*prepare.condition == CONDITION).then_some(kind)
}

/// The prepare that carries an encoded message; encode it as any other.
pub fn request(kind: Kind, expires_at: Timestamp, data: &[u8]) -> PrepareView<'_> {
    PrepareView {
        amount: 0,
        expires_at,
        condition: &CONDITION,
        destination: match kind {
            Kind::Control => Address::PEER_ROUTE_CONTROL,
            Kind::Update => Address::PEER_ROUTE_UPDATE,
        },
        data,
    }
}

/// Asks a neighbour for updates, or for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// Whether updates are wanted.
    pub mode: Mode,
    /// The neighbour's table that the sender last saw; zero when it saw none.
    pub table: TableId,
    /// The epoch up to which the sender knows it.
    pub epoch: u32,
}

impl Control {
    /// Reads the data of a prepare to `peer.route.control`; features are passed over.
    ///
    /// # Errors
    /// [`CcpError`] says what is wrong with it.
    pub fn parse(data: &[u8]) -> Result<Self, CcpError> {
        let mut reader = Reader::new(data);
        let mode = match reader.read_u8()? {
            0 => Mode::Idle,
            1 => Mode::Sync,
            other => return Err(CcpError::UnknownMode(other)),
        };
        let table = TableId(*reader.read_array()?);
        let epoch = reader.read_u32()?;
        for _ in 0..read_count(&mut reader, FEATURES_MAX)? {
            reader.read_var()?;
        }
        Ok(Self { mode, table, epoch })
    }

    /// Appends the data of the prepare, without features.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.mode {
            Mode::Idle => 0,
            Mode::Sync => 1,
        });
        out.extend_from_slice(&self.table.0);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        write_count(out, 0);
    }
}

/// Which part of which table an update tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The speaker's table.
    pub table: TableId,
    /// The speaker's last epoch.
    pub current_epoch: u32,
    /// The first epoch told here: what the hearer must know already.
    pub from_epoch: u32,
    /// The epoch up to which the hearer knows the table now.
    pub to_epoch: u32,
    /// How long the hearer may use what it learned without hearing more, in milliseconds.
    pub hold_down_ms: u32,
}

impl Span {
    const SIZE: usize = TABLE_SIZE + 4 * 4;

    fn read(reader: &mut Reader<'_>) -> Result<Self, CcpError> {
        let span = Self {
            table: TableId(*reader.read_array()?),
            current_epoch: reader.read_u32()?,
            from_epoch: reader.read_u32()?,
            to_epoch: reader.read_u32()?,
            hold_down_ms: reader.read_u32()?,
        };
        if span.from_epoch > span.to_epoch || span.to_epoch > span.current_epoch {
            return Err(CcpError::EpochsOutOfOrder);
        }
        Ok(span)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.table.0);
        for field in [
            self.current_epoch,
            self.from_epoch,
            self.to_epoch,
            self.hold_down_ms,
        ] {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }
}

/// An update in borrowed bytes, checked when it was parsed.
#[derive(Clone, Copy, Debug)]
pub struct UpdateView<'a> {
    /// Which part of which table.
    pub span: Span,
    /// The neighbour's own address.
    pub speaker: Address<'a>,
    routes: List<'a>,
    withdrawn: List<'a>,
}

#[derive(Clone, Copy, Debug)]
struct List<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> UpdateView<'a> {
    /// Reads the data of a prepare to `peer.route.update` without allocating; bytes after its end are ignored.
    ///
    /// # Errors
    /// [`CcpError`] says what is wrong with it.
    pub fn parse(data: &'a [u8]) -> Result<Self, CcpError> {
        let mut reader = Reader::new(data);
        let span = Span::read(&mut reader)?;
        let speaker = read_address(&mut reader)?;
        let routes = read_list(&mut reader, |reader| RouteView::read(reader).map(drop))?;
        let withdrawn = read_list(&mut reader, |reader| read_prefix(reader).map(drop))?;
        Ok(Self {
            span,
            speaker,
            routes,
            withdrawn,
        })
    }

    /// Prefixes that the speaker reaches, in order.
    pub fn routes(&self) -> impl Iterator<Item = RouteView<'a>> + use<'a> {
        let mut reader = Reader::new(self.routes.bytes);
        (0..self.routes.count).map_while(move |_| RouteView::read(&mut reader).ok())
    }

    /// Prefixes that it reaches no more, in order.
    pub fn withdrawn(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.withdrawn.bytes);
        (0..self.withdrawn.count).map_while(move |_| read_prefix(&mut reader).ok())
    }
}

/// A prefix that a neighbour reaches, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct RouteView<'a> {
    /// Empty, a bare scheme, or an address.
    pub prefix: &'a [u8],
    /// Meant to prove the origin; passed on by its digest, never checked by anybody yet.
    pub auth: &'a [u8; AUTH_SIZE],
    path: List<'a>,
}

impl<'a> RouteView<'a> {
    /// The connectors on the way, the speaker first.
    pub fn path(&self) -> impl Iterator<Item = Address<'a>> + use<'a> {
        let mut reader = Reader::new(self.path.bytes);
        (0..self.path.count).map_while(move |_| read_address(&mut reader).ok())
    }

    /// Number of connectors on the way.
    pub fn hops(&self) -> usize {
        self.path.count
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, CcpError> {
        let prefix = read_prefix(reader)?;
        let count = read_count(reader, PATH_MAX)?;
        let path = List {
            count,
            bytes: reader.rest(),
        };
        for _ in 0..count {
            read_address(reader)?;
        }
        let auth = reader.read_array()?;
        for _ in 0..read_count(reader, PROPERTIES_MAX)? {
            reader.read_u8()?;
            reader.read_array::<2>()?;
            reader.read_var()?;
        }
        Ok(Self { prefix, auth, path })
    }
}

/// A route as we tell it, without properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Empty, a bare scheme, or an address.
    pub prefix: Vec<u8>,
    /// The connectors on the way, the speaker first.
    pub path: Vec<AddressBuf>,
    /// Meant to prove the origin.
    pub auth: [u8; AUTH_SIZE],
}

impl Route {
    /// Bytes that this route takes in an update, with a path within [`PATH_MAX`].
    pub fn size(&self) -> usize {
        let hops = self.path.iter().map(|hop| hop.as_address().as_bytes());
        let path: usize = hops.map(|hop| var_size(hop.len())).sum();
        var_size(self.prefix.len()) + path + AUTH_SIZE + 2 * SMALL_COUNT_SIZE
    }
}

/// An update as we tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Which part of which table.
    pub span: Span,
    /// Our own address.
    pub speaker: AddressBuf,
    /// Prefixes that we reach.
    pub routes: Vec<Route>,
    /// Prefixes that we reach no more.
    pub withdrawn: Vec<Vec<u8>>,
}

impl Update {
    /// Bytes that an update takes at most beside its speaker, routes and withdrawn prefixes.
    pub const HEAD_SIZE_MAX: usize = Span::SIZE + 2 * COUNT_SIZE_MAX;

    /// Appends the data of the prepare.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.span.write(out);
        write_var(out, self.speaker.as_address().as_bytes());
        write_count(out, self.routes.len());
        for route in &self.routes {
            write_var(out, &route.prefix);
            write_count(out, route.path.len());
            for hop in &route.path {
                write_var(out, hop.as_address().as_bytes());
            }
            out.extend_from_slice(&route.auth);
            write_count(out, 0);
        }
        write_count(out, self.withdrawn.len());
        for prefix in &self.withdrawn {
            write_var(out, prefix);
        }
    }
}

fn read_list<'a>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<(), CcpError>,
) -> Result<List<'a>, CcpError> {
    let count = read_count(reader, ENTRIES_MAX)?;
    let bytes = reader.rest();
    for _ in 0..count {
        read(reader)?;
    }
    Ok(List { count, bytes })
}

fn read_count(reader: &mut Reader<'_>, bound: usize) -> Result<usize, CcpError> {
    let count = usize::try_from(reader.read_var_uint()?).ok();
    count
        .filter(|count| *count <= bound)
        .ok_or(CcpError::TooMany(bound))
}

fn read_address<'a>(reader: &mut Reader<'a>) -> Result<Address<'a>, CcpError> {
    Address::parse(reader.read_var()?).map_err(CcpError::InvalidAddress)
}

fn read_prefix<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], CcpError> {
    let prefix = reader.read_var()?;
    if is_valid_prefix(prefix) {
        Ok(prefix)
    } else {
        Err(CcpError::InvalidPrefix)
    }
}

fn write_count(out: &mut Vec<u8>, count: usize) {
    write_var_uint(
        out,
        u64::try_from(count).expect("usize has at most 64 bits"),
    );
}
