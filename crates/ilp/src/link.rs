//! One BTP link after its socket is open: who must speak first, which dialect the peer speaks, and what a frame means.
//!
//! Bytes in, events and bytes out. The caller owns the socket, the clock, the tokens and all request ids.

use crate::btp::{
    self, Body, BtpError, Entry, ErrorBody, ErrorKind, Frame, FrameType, ProtocolData, RequestId,
};
use crate::packet::{FulfillView, PacketError, PacketType, PrepareView, RejectView};
use alloc::vec::Vec;
use forebay_quantity::Timestamp;

/// Sub-protocol that opens a link.
pub const AUTH: &str = "auth";
/// Sub-protocol that carries the token.
pub const AUTH_TOKEN: &str = "auth_token";
/// Sub-protocol that carries the name, which RFC 23 leaves optional.
pub const AUTH_USERNAME: &str = "auth_username";

/// Which frame type carries which ILP packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// RFC 23: prepares in messages, replies in responses.
    #[default]
    Rfc,
    /// interledger-rs: prepares in responses, replies in messages.
    Inverted,
}

impl Dialect {
    /// The frame that carries an ILP packet of this type.
    #[inline]
    pub fn frame_type(self, packet: PacketType) -> FrameType {
        match (self, packet) {
            (Self::Rfc, PacketType::Prepare) => FrameType::Message,
            (Self::Rfc, PacketType::Fulfill | PacketType::Reject) => FrameType::Response,
            (Self::Inverted, PacketType::Prepare) => FrameType::Response,
            (Self::Inverted, PacketType::Fulfill | PacketType::Reject) => FrameType::Message,
        }
    }

    /// The dialect in which this frame carries this packet; `None` for frames that carry no ILP in either.
    #[inline]
    pub fn of(frame: FrameType, packet: PacketType) -> Option<Self> {
        match frame {
            FrameType::Error | FrameType::Transfer => None,
            FrameType::Message | FrameType::Response => {
                Some(if Self::Rfc.frame_type(packet) == frame {
                    Self::Rfc
                } else {
                    Self::Inverted
                })
            }
        }
    }
}

/// An ILP packet as it came: what it says, and its bytes, for relaying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived<'a, V> {
    /// The parsed packet.
    pub view: V,
    /// The packet's bytes within the frame.
    pub packet: &'a [u8],
    /// Whether the frame is canonical and holds this packet alone, so that it may be relayed after
    /// [`btp::patch_header`] and [`crate::patch_prepare`] instead of being encoded anew.
    pub relayable: bool,
}

/// What a frame from the peer means.
#[derive(Clone, Copy, Debug)]
pub enum LinkEvent<'a> {
    /// A client wants in: check the credentials, then [`Link::accept`] or [`Link::refuse`].
    AuthRequested {
        /// `None` when the client names none.
        username: Option<&'a str>,
        /// The shared secret; empty when the client sends none.
        token: &'a str,
    },
    /// The server let us in.
    Authenticated,
    /// The server refused us; close the socket.
    AuthRefused(ErrorBody<'a>),
    /// The peer asks us to forward.
    Prepare(RequestId, Arrived<'a, PrepareView<'a>>),
    /// The peer fulfilled the prepare that we sent under this id.
    Fulfill(RequestId, Arrived<'a, FulfillView<'a>>),
    /// The peer rejected the prepare that we sent under this id.
    Reject(RequestId, Arrived<'a, RejectView<'a>>),
    /// A prepare that cannot be read: answer it with a reject F01.
    InvalidPrepare(RequestId, PacketError),
    /// A reply that cannot be read, to a prepare of ours, which is as good as rejected.
    InvalidReply(RequestId, PacketError),
    /// A message of other sub-protocols: answer with a response or an error.
    Message(RequestId, ProtocolData<'a>),
    /// A response without ILP, to a message or a transfer of ours.
    Response(RequestId, ProtocolData<'a>),
    /// A message, transfer or prepare of ours could not be handled.
    Error(RequestId, ErrorBody<'a>),
    /// Value offered in base units: answer with a response or an error.
    Transfer(RequestId, u64, ProtocolData<'a>),
}

/// Why a frame has no meaning here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// It cannot be read. RFC 23: no answer; the link may go on.
    Unreadable(BtpError),
    /// It came before the link was authenticated: close the socket.
    NotAuthenticated,
    /// Credentials that are no UTF-8: close the socket.
    InvalidCredentials,
    /// The link has been refused or closed.
    Closed,
}

impl LinkError {
    /// Whether the socket must be closed.
    pub fn is_fatal(self) -> bool {
        match self {
            Self::NotAuthenticated | Self::InvalidCredentials | Self::Closed => true,
            Self::Unreadable(_) => false,
        }
    }
}

impl core::fmt::Display for LinkError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(formatter),
            Self::NotAuthenticated => {
                formatter.write_str("the peer must send its auth message before anything else")
            }
            Self::InvalidCredentials => {
                formatter.write_str("auth_token and auth_username must be UTF-8 text")
            }
            Self::Closed => formatter.write_str("the link is closed: open a new one"),
        }
    }
}

impl core::error::Error for LinkError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Server: the first message has to be auth.
    AwaitingAuth,
    /// Server: the caller is to accept or refuse this request.
    Judging(RequestId),
    /// Client: `start` has not been called.
    Idle,
    /// Client: this request is to be answered.
    AwaitingVerdict(RequestId),
    Open,
    Closed,
}

/// The state of one link.
#[derive(Clone, Debug)]
pub struct Link {
    phase: Phase,
    dialect: Dialect,
}

impl Link {
    /// The side that accepted the socket.
    pub fn server() -> Self {
        Self {
            phase: Phase::AwaitingAuth,
            dialect: Dialect::default(),
        }
    }

    /// The side that opened the socket; call [`Link::start`] next.
    pub fn client() -> Self {
        Self {
            phase: Phase::Idle,
            dialect: Dialect::default(),
        }
    }

    /// Whether ILP may flow.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// What the peer spoke last; RFC 23 until it has sent ILP.
    #[inline]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Client: appends the auth message.
    pub fn start(
        &mut self,
        out: &mut Vec<u8>,
        request_id: RequestId,
        username: Option<&str>,
        token: &str,
    ) {
        assert!(self.phase == Phase::Idle, "only a fresh client starts");
        let name = username.unwrap_or_default();
        let entries = [
            Entry::bytes(AUTH, &[]),
            Entry::text(AUTH_USERNAME, name),
            Entry::text(AUTH_TOKEN, token),
        ];
        match username {
            Some(_) => btp::encode_message(out, request_id, &entries),
            None => btp::encode_message(out, request_id, &[entries[0], entries[2]]),
        }
        self.phase = Phase::AwaitingVerdict(request_id);
    }

    /// Server: appends the answer that lets the client in.
    pub fn accept(&mut self, out: &mut Vec<u8>) {
        let Phase::Judging(request_id) = self.phase else {
            panic!("nobody asked to be let in")
        };
        btp::encode_response(out, request_id, &[]);
        self.phase = Phase::Open;
    }

    /// Server: appends the answer that turns the client away; close the socket once it is sent.
    ///
    /// # Errors
    /// When `now` lies after the year 9999.
    pub fn refuse(
        &mut self,
        out: &mut Vec<u8>,
        now: Timestamp,
        text: &str,
    ) -> Result<(), BtpError> {
        let Phase::Judging(request_id) = self.phase else {
            panic!("nobody asked to be let in")
        };
        self.phase = Phase::Closed;
        btp::encode_error(out, request_id, ErrorKind::NotAccepted, now, text)
    }

    /// Appends a frame with an ILP packet of ours in the peer's dialect.
    #[inline]
    pub fn encode_ilp(
        &self,
        out: &mut Vec<u8>,
        packet_type: PacketType,
        request_id: RequestId,
        packet: &[u8],
    ) {
        btp::encode_ilp(
            out,
            self.dialect.frame_type(packet_type),
            request_id,
            packet,
        );
    }

    /// Appends a frame with a prepare.
    ///
    /// # Errors
    /// As [`PrepareView::encode`]; nothing is appended then.
    pub fn encode_prepare(
        &self,
        out: &mut Vec<u8>,
        request_id: RequestId,
        prepare: &PrepareView<'_>,
    ) -> Result<(), PacketError> {
        let before = out.len();
        let frame_type = self.dialect.frame_type(PacketType::Prepare);
        btp::encode_ilp_head(out, frame_type, request_id, prepare.encoded_size());
        prepare.encode(out).inspect_err(|_| out.truncate(before))
    }

    /// Appends a frame with a fulfill.
    ///
    /// # Errors
    /// As [`FulfillView::encode`]; nothing is appended then.
    pub fn encode_fulfill(
        &self,
        out: &mut Vec<u8>,
        request_id: RequestId,
        fulfill: &FulfillView<'_>,
    ) -> Result<(), PacketError> {
        let before = out.len();
        let frame_type = self.dialect.frame_type(PacketType::Fulfill);
        btp::encode_ilp_head(out, frame_type, request_id, fulfill.encoded_size());
        fulfill.encode(out).inspect_err(|_| out.truncate(before))
    }

    /// Appends a frame with a reject.
    ///
    /// # Errors
    /// As [`RejectView::encode`]; nothing is appended then.
    pub fn encode_reject(
        &self,
        out: &mut Vec<u8>,
        request_id: RequestId,
        reject: &RejectView<'_>,
    ) -> Result<(), PacketError> {
        let before = out.len();
        let frame_type = self.dialect.frame_type(PacketType::Reject);
        btp::encode_ilp_head(out, frame_type, request_id, reject.encoded_size());
        reject.encode(out).inspect_err(|_| out.truncate(before))
    }

    /// Reads one frame from the peer.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::is_fatal`] says whether to close the socket. No answer is due to the peer.
    #[inline]
    pub fn receive<'a>(&mut self, bytes: &'a [u8]) -> Result<LinkEvent<'a>, LinkError> {
        match self.phase {
            Phase::Open => self.receive_open(bytes),
            Phase::AwaitingAuth => self.receive_auth(bytes),
            Phase::AwaitingVerdict(request_id) => self.receive_verdict(bytes, request_id),
            Phase::Idle | Phase::Judging(_) => Err(LinkError::NotAuthenticated),
            Phase::Closed => Err(LinkError::Closed),
        }
    }

    #[inline]
    fn receive_open<'a>(&mut self, bytes: &'a [u8]) -> Result<LinkEvent<'a>, LinkError> {
        let frame = Frame::parse(bytes).map_err(LinkError::Unreadable)?;
        let frame_type = frame.body.frame_type();
        let carries_ilp = matches!(frame_type, FrameType::Message | FrameType::Response);
        let Some(packet) = frame.protocol_data.ilp().filter(|_| carries_ilp) else {
            return Ok(without_ilp(&frame));
        };
        let Some(packet_type) = PacketType::of(packet) else {
            return Ok(self.unknown_ilp(&frame, packet));
        };
        if let Some(dialect) = Dialect::of(frame_type, packet_type) {
            self.dialect = dialect;
        }
        Ok(with_ilp(bytes, &frame, packet, packet_type))
    }

    /// An `ilp` entry that is no packet still asks or answers, by the frame that a prepare would come in.
    fn unknown_ilp<'a>(&self, frame: &Frame<'a>, packet: &[u8]) -> LinkEvent<'a> {
        let error = PacketError::unexpected(packet);
        match frame.body.frame_type() == self.dialect.frame_type(PacketType::Prepare) {
            true => LinkEvent::InvalidPrepare(frame.request_id, error),
            false => LinkEvent::InvalidReply(frame.request_id, error),
        }
    }

    fn receive_auth<'a>(&mut self, bytes: &'a [u8]) -> Result<LinkEvent<'a>, LinkError> {
        self.phase = Phase::Closed;
        let frame = Frame::parse(bytes).map_err(|_| LinkError::NotAuthenticated)?;
        let primary = frame.protocol_data.iter().next().map(|entry| entry.name);
        if frame.body != Body::Message || primary != Some(AUTH) {
            return Err(LinkError::NotAuthenticated);
        }
        let username = text(&frame.protocol_data, AUTH_USERNAME)?;
        let token = text(&frame.protocol_data, AUTH_TOKEN)?.unwrap_or_default();
        self.phase = Phase::Judging(frame.request_id);
        Ok(LinkEvent::AuthRequested { username, token })
    }

    fn receive_verdict<'a>(
        &mut self,
        bytes: &'a [u8],
        request_id: RequestId,
    ) -> Result<LinkEvent<'a>, LinkError> {
        let frame = Frame::parse(bytes).map_err(LinkError::Unreadable)?;
        match frame.body {
            Body::Response if frame.request_id == request_id => {
                self.phase = Phase::Open;
                Ok(LinkEvent::Authenticated)
            }
            Body::Error(error) if frame.request_id == request_id => {
                self.phase = Phase::Closed;
                Ok(LinkEvent::AuthRefused(error))
            }
            Body::Response | Body::Error(_) | Body::Message | Body::Transfer { .. } => {
                Err(LinkError::NotAuthenticated)
            }
        }
    }
}

fn text<'a>(protocol_data: &ProtocolData<'a>, name: &str) -> Result<Option<&'a str>, LinkError> {
    let Some(entry) = protocol_data.find(name) else {
        return Ok(None);
    };
    core::str::from_utf8(entry.data)
        .map(Some)
        .map_err(|_| LinkError::InvalidCredentials)
}

#[inline]
fn without_ilp<'a>(frame: &Frame<'a>) -> LinkEvent<'a> {
    match frame.body {
        Body::Message => LinkEvent::Message(frame.request_id, frame.protocol_data),
        Body::Response => LinkEvent::Response(frame.request_id, frame.protocol_data),
        Body::Error(error) => LinkEvent::Error(frame.request_id, error),
        Body::Transfer { amount } => {
            LinkEvent::Transfer(frame.request_id, amount, frame.protocol_data)
        }
    }
}

#[inline]
fn with_ilp<'a>(
    bytes: &[u8],
    frame: &Frame<'a>,
    packet: &'a [u8],
    packet_type: PacketType,
) -> LinkEvent<'a> {
    let id = frame.request_id;
    let alone = frame.protocol_data.len() == 1 && btp::ilp_frame_size(packet.len()) == bytes.len();
    match packet_type {
        PacketType::Prepare => match PrepareView::parse(packet) {
            Ok(view) => LinkEvent::Prepare(
                id,
                arrived(view, packet, alone && view.encoded_size() == packet.len()),
            ),
            Err(error) => LinkEvent::InvalidPrepare(id, error),
        },
        PacketType::Fulfill => match FulfillView::parse(packet) {
            Ok(view) => LinkEvent::Fulfill(
                id,
                arrived(view, packet, alone && view.encoded_size() == packet.len()),
            ),
            Err(error) => LinkEvent::InvalidReply(id, error),
        },
        PacketType::Reject => match RejectView::parse(packet) {
            Ok(view) => LinkEvent::Reject(
                id,
                arrived(view, packet, alone && view.encoded_size() == packet.len()),
            ),
            Err(error) => LinkEvent::InvalidReply(id, error),
        },
    }
}

#[inline]
fn arrived<'a, V>(view: V, packet: &'a [u8], relayable: bool) -> Arrived<'a, V> {
    Arrived {
        view,
        packet,
        relayable,
    }
}
