//! Every request that the node answers: one table, from which it routes, judges roles and draws the OpenAPI document.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::*;

/// A request, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Is the process alive?
    Health,
    /// Does the pool take packets?
    Ready,
    /// Figures for Prometheus.
    Metrics,
    /// The OpenAPI document.
    OpenApi,
    /// How the node is.
    Status,
    /// Balances, reserves, coverage.
    Books,
    /// Listed assets.
    Assets,
    /// Lists an asset.
    AddAsset,
    /// Changes an asset's policy, halts or resumes it.
    SetAsset,
    /// The wallet and the Lightning node.
    Bitcoin,
    /// Lists the asset on Bitcoin.
    AddBitcoin,
    /// Says how large Lightning channels are kept.
    SetBitcoin,
    /// An address to pay to.
    NewAddress,
    /// The reserve on Bitcoin.
    Reserve,
    /// A signed copy of a draft on it.
    TakeCopy,
    /// LPs on Bitcoin.
    BitcoinLps,
    /// Pays an LP on Bitcoin elsewhere.
    SetPayout,
    /// Pays an LP on Bitcoin out of its claim.
    Withdraw,
    /// An invoice by which an LP pays in.
    NewInvoice,
    /// Accounts.
    Peers,
    /// One account.
    Peer,
    /// Opens an account.
    AddPeer,
    /// Changes an account's limits.
    SetPeer,
    /// Closes an account.
    RemovePeer,
    /// Says what a peer is to the pool.
    SetRelation,
    /// Where packets go.
    Routes,
    /// Adds a route.
    AddRoute,
    /// Forgets a route.
    RemoveRoute,
    /// Channels.
    Channels,
    /// What LPs hold.
    Lps,
    /// What needs somebody.
    Alarms,
    /// Rates and latency.
    Live,
    /// The journal's events as they are synced.
    Events,
    /// The caller's own token.
    OwnToken,
    /// All tokens.
    Tokens,
    /// Makes a token known.
    AddToken,
    /// Revokes a token.
    RemoveToken,
}

/// HTTP methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Adds.
    Post,
    /// Replaces.
    Put,
    /// Removes.
    Delete,
}

impl Method {
    /// As HTTP has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// Draws the schema of a type.
pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What comes back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// One JSON value.
    One(Shape),
    /// A JSON list, by pages.
    Pages(Shape),
    /// A JSON list, whole.
    List(Shape),
    /// Something else, by its media type.
    Text(&'static str),
    /// Server-sent events, each with such a value.
    Stream(Shape),
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Which.
    pub operation: Operation,
    /// How.
    pub method: Method,
    /// Where; `{…}` stands for one step.
    pub path: &'static str,
    /// Who may; empty when no token is needed.
    pub roles: &'static [Role],
    /// What for.
    pub about: &'static str,
    pub(crate) body: Option<Shape>,
    pub(crate) answer: Answer,
}

impl Row {
    /// Whether it changes anything, and so needs an idempotency key.
    pub const fn is_write(&self) -> bool {
        !matches!(self.method, Method::Get)
    }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const NOBODY: &[Role] = &[];
const OPERATOR: &[Role] = &[Role::Operator];
const READERS: &[Role] = &[Role::Operator, Role::Read];
const LPS: &[Role] = &[Role::Operator, Role::Read, Role::Lp];
const PEERS_TOO: &[Role] = &[Role::Operator, Role::Read, Role::Peer];
const ITSELF: &[Role] = &[Role::Lp];
const FOR_LPS: &[Role] = &[Role::Operator, Role::Lp];
const EVERYBODY: &[Role] = &Role::ALL;

const fn get(
    operation: Operation,
    path: &'static str,
    roles: &'static [Role],
    answer: Answer,
    about: &'static str,
) -> Row {
    Row {
        operation,
        method: Method::Get,
        path,
        roles,
        about,
        body: None,
        answer,
    }
}

const fn write(
    operation: Operation,
    (method, path): (Method, &'static str),
    body: Option<Shape>,
    answer: Shape,
    about: &'static str,
) -> Row {
    Row {
        operation,
        method,
        path,
        roles: OPERATOR,
        about,
        body,
        answer: Answer::One(answer),
    }
}

impl Row {
    /// Asked for by others than the operator.
    const fn by(mut self, roles: &'static [Role]) -> Self {
        self.roles = roles;
        self
    }
}

use Answer::{List, One, Pages, Stream, Text};
use Method::{Delete, Post, Put};

/// All of it.
pub const OPERATIONS: &[Row] = &[
    get(
        Operation::Health,
        HEALTH,
        NOBODY,
        Text("text/plain"),
        "The process is alive.",
    ),
    get(
        Operation::Ready,
        READY,
        NOBODY,
        Text("text/plain"),
        "The pool takes packets: its journal can be written, its chains are caught up with, it does not drain.",
    ),
    get(
        Operation::Metrics,
        METRICS,
        READERS,
        Text("text/plain"),
        "Figures for Prometheus.",
    ),
    get(
        Operation::OpenApi,
        OPENAPI,
        NOBODY,
        Text("application/json"),
        "This document.",
    ),
    get(
        Operation::Status,
        STATUS,
        EVERYBODY,
        One(of::<Status>),
        "How the node is. Alarms are shown to `operator` and `read` only.",
    ),
    get(
        Operation::Books,
        BOOKS,
        LPS,
        One(of::<Books>),
        "Balances, reserves, coverage, and what a stolen key would cost now.",
    ),
    get(
        Operation::Assets,
        ASSETS,
        LPS,
        Pages(of::<Asset>),
        "Listed assets, their policies, prices and sources.",
    ),
    write(
        Operation::AddAsset,
        (Post, ASSETS),
        Some(of::<AddAsset>),
        of::<Asset>,
        "Lists an asset whose vault is deployed.",
    ),
    write(
        Operation::SetAsset,
        (Put, "/v1/assets/{code}"),
        Some(of::<SetAsset>),
        of::<Asset>,
        "Replaces an asset's policy, or halts or resumes quoting it.",
    ),
    get(
        Operation::Bitcoin,
        BITCOIN,
        READERS,
        One(of::<Bitcoin>),
        "The pool's wallet and Lightning node as they are now.",
    ),
    write(
        Operation::AddBitcoin,
        (Post, BITCOIN),
        Some(of::<AddBitcoin>),
        of::<Asset>,
        "Lists the asset on Bitcoin.",
    ),
    write(
        Operation::SetBitcoin,
        (Put, BITCOIN),
        Some(of::<SetBitcoin>),
        of::<Bitcoin>,
        "Says when Lightning channels are opened, enlarged, made smaller and closed, and what that may cost.",
    ),
    write(
        Operation::NewAddress,
        (Post, BITCOIN_ADDRESSES),
        Some(of::<NewAddress>),
        of::<Address>,
        "An address that was never used, for the operator's capital or an LP's; with an `lp` token its own alone.",
    )
    .by(FOR_LPS),
    get(
        Operation::Reserve,
        BITCOIN_RESERVE,
        LPS,
        One(of::<Reserve>),
        "The reserve on Bitcoin: who guards it, what lies in it, and which drafts wait for members.",
    ),
    write(
        Operation::TakeCopy,
        (Post, BITCOIN_RESERVE_COPIES),
        Some(of::<SignedCopy>),
        of::<CopyTaken>,
        "Takes a copy of a draft that a member has signed, and hands the spend in once enough have.",
    ),
    get(
        Operation::BitcoinLps,
        BITCOIN_LPS,
        LPS,
        Pages(of::<BitcoinLp>),
        "LPs on Bitcoin, where they are paid, and what is under way to them; with an `lp` token itself alone.",
    ),
    write(
        Operation::SetPayout,
        (Put, "/v1/bitcoin/lps/{owner}/payout"),
        Some(of::<SetPayout>),
        of::<BitcoinLp>,
        "Pays an LP at another address from now on; only with its own token. What is under way goes where it was sent.",
    )
    .by(ITSELF),
    write(
        Operation::Withdraw,
        (Post, "/v1/bitcoin/lps/{owner}/withdrawals"),
        Some(of::<Withdraw>),
        of::<BitcoinLp>,
        "Pays an LP out of its claim: by an output to its payout address, or, only with its own token, by an invoice.",
    )
    .by(FOR_LPS),
    write(
        Operation::NewInvoice,
        (Post, "/v1/bitcoin/lps/{owner}/invoices"),
        Some(of::<NewInvoice>),
        of::<Invoice>,
        "An invoice for an LP: what is paid on it becomes its notes. The same key has the same invoice.",
    )
    .by(FOR_LPS),
    get(
        Operation::Peers,
        PEERS,
        PEERS_TOO,
        Pages(of::<Peer>),
        "Accounts with connectors; with a `peer` token its own alone.",
    ),
    get(
        Operation::Peer,
        "/v1/peers/{name}",
        PEERS_TOO,
        One(of::<Peer>),
        "One account.",
    ),
    write(
        Operation::AddPeer,
        (Post, PEERS),
        Some(of::<AddPeer>),
        of::<Peer>,
        "Opens an account.",
    ),
    write(
        Operation::SetPeer,
        (Put, "/v1/peers/{name}"),
        Some(of::<SetPeer>),
        of::<Peer>,
        "Replaces an account's limits.",
    ),
    write(
        Operation::RemovePeer,
        (Delete, "/v1/peers/{name}"),
        None,
        of::<Done>,
        "Takes no more packets of a peer and closes its channel.",
    ),
    write(
        Operation::SetRelation,
        (Put, "/v1/peers/{name}/relation"),
        Some(of::<Relation>),
        of::<Peer>,
        "Says what a peer is to the pool, which way routes pass, and what it may be owed without a lane.",
    ),
    get(
        Operation::Routes,
        ROUTES,
        READERS,
        Pages(of::<RouteView>),
        "Where packets go: the operator's routes, then those told by neighbours.",
    ),
    write(
        Operation::AddRoute,
        (Post, ROUTES),
        Some(of::<Route>),
        of::<Done>,
        "Routes an address prefix to a peer.",
    ),
    write(
        Operation::RemoveRoute,
        (Delete, "/v1/routes/{prefix}"),
        None,
        of::<Done>,
        "Forgets a route.",
    ),
    get(
        Operation::Channels,
        CHANNELS,
        PEERS_TOO,
        Pages(of::<PeerChannel>),
        "Channels that are open or on their way; with a `peer` token its own alone.",
    ),
    get(
        Operation::Lps,
        LPS_PATH,
        LPS,
        Pages(of::<Position>),
        "What LPs hold in notes, have earned, and wait for; with an `lp` token its own address alone.",
    ),
    get(
        Operation::Alarms,
        ALARMS,
        READERS,
        List(of::<Alarm>),
        "What needs somebody, and what to do.",
    ),
    get(
        Operation::Live,
        LIVE,
        READERS,
        One(of::<Live>),
        "Packet rates and latency, with the last hour in samples.",
    ),
    get(
        Operation::Events,
        EVENTS,
        EVERYBODY,
        Stream(of::<EventView>),
        "The journal's events as they are synced, save those of single packets; a `peer` or `lp` token sees its own. The header `Last-Event-ID`, or the parameter `after`, resumes; what is older than is kept is announced by an event `gap`.",
    ),
    get(
        Operation::OwnToken,
        OWN_TOKEN,
        EVERYBODY,
        One(of::<Token>),
        "The token that this request carries.",
    ),
    get(
        Operation::Tokens,
        TOKENS,
        OPERATOR,
        Pages(of::<Token>),
        "All tokens, without the tokens themselves.",
    ),
    write(
        Operation::AddToken,
        (Post, TOKENS),
        Some(of::<AddToken>),
        of::<Token>,
        "Makes a token known.",
    ),
    write(
        Operation::RemoveToken,
        (Delete, "/v1/tokens/{name}"),
        None,
        of::<Done>,
        "Revokes a token at once; streams that it opened end.",
    ),
];

/// What a method and path ask for, with the steps that stand for `{…}`.
#[derive(Debug)]
pub enum Found<'a> {
    /// This, with the step in place of `{…}`.
    Row(&'static Row, Option<&'a str>),
    /// The path, with these methods.
    Methods(Vec<Method>),
    /// Nothing.
    Nothing,
}

/// Finds the row for a request.
pub fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    let mut methods = Vec::new();
    for row in OPERATIONS {
        let Some(step) = matches(row.path, path) else {
            continue;
        };
        if row.method.name() == method {
            return Found::Row(row, step);
        }
        methods.push(row.method);
    }
    match methods.is_empty() {
        true => Found::Nothing,
        false => Found::Methods(methods),
    }
}

/// `Some` when the path fits; inside, the step in place of `{…}`, if there is one.
fn matches<'a>(pattern: &str, path: &'a str) -> Option<Option<&'a str>> {
    match pattern.split_once('{') {
        None => (pattern == path).then_some(None),
        Some((start, rest)) => {
            let end = rest.split_once('}').map_or("", |(_, end)| end);
            let step = path.strip_prefix(start)?.strip_suffix(end)?;
            (!step.is_empty() && !step.contains('/')).then_some(Some(step))
        }
    }
}
