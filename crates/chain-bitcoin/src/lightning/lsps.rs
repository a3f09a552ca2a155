//! LSPS2 (bLIP-52): its library among the messages of peers, and its state in our store.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use bitcoin::secp256k1::PublicKey;
use lightning::chain::Filter;
use lightning::io::{Error, ErrorKind};
use lightning::ln::msgs::{DecodeError, Init, LightningError};
use lightning::ln::peer_handler::CustomMessageHandler;
use lightning::ln::wire::CustomMessageReader;
use lightning::types::features::{InitFeatures, NodeFeatures};
use lightning::util::async_poll::AsyncResult;
use lightning::util::persist::KVStore;
use lightning::util::ser::LengthLimitedRead;
use lightning_liquidity::lsps0::ser::{LSPSRequestId, RawLSPSMessage};
use lightning_liquidity::lsps2::service::{LSPS2ServiceConfig, LSPS2ServiceHandler};
use lightning_liquidity::utils::time::DefaultTimeProvider;
use lightning_liquidity::{LiquidityManager, LiquidityServiceConfig};

use super::chain::Broadcaster;
use super::keys::Keys;
use super::store::Store;
use super::types::Channels;
use crate::Fault;

const LSPS: &[u8] = b"lsps/";
/// LSPS0: the request is understood, and refused.
const REFUSED: i32 = 1;

type Protocol = LiquidityManager<
    Arc<Keys>,
    Arc<Keys>,
    Arc<Channels>,
    Arc<dyn Filter + Send + Sync>,
    Arc<Kept>,
    DefaultTimeProvider,
    Arc<Broadcaster>,
>;
pub(crate) type Seller = LSPS2ServiceHandler<Arc<Channels>, Arc<Kept>, Arc<Broadcaster>>;

/// The library, and the words by which we refuse: it has none of its own.
pub(crate) struct Lsps {
    protocol: Protocol,
    refusals: Mutex<Refusals>,
}

#[derive(Default)]
struct Refusals {
    /// To be sent as they are.
    whole: Vec<(PublicKey, RawLSPSMessage)>,
    /// By request, what takes the place of the library's own answer.
    instead: BTreeMap<String, String>,
}

impl Lsps {
    /// With the service that sells channels, if this node sells any.
    pub(crate) async fn new(
        sells: bool,
        keys: &Arc<Keys>,
        channels: &Arc<Channels>,
        store: &Arc<Store>,
        broadcaster: &Arc<Broadcaster>,
    ) -> Result<Self, Fault> {
        let service = sells.then(|| LiquidityServiceConfig {
            lsps2_service_config: Some(LSPS2ServiceConfig {
                promise_secret: keys.promises(),
            }),
            lsps5_service_config: None,
            advertise_service: true,
        });
        let protocol = Protocol::new(
            Arc::clone(keys),
            Arc::clone(keys),
            Arc::clone(channels),
            None,
            None,
            Arc::new(Kept(Arc::clone(store))),
            Arc::clone(broadcaster),
            service,
            None,
        );
        let protocol = protocol.await.map_err(|error| Fault::Store {
            detail: format!("channels that were sold cannot be read: {error}"),
        })?;
        Ok(Self {
            protocol,
            refusals: Mutex::default(),
        })
    }

    pub(crate) fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// None where no channels are sold.
    pub(crate) fn service(&self) -> Option<&Seller> {
        self.protocol.lsps2_service_handler()
    }

    /// Answers a question for terms with a no.
    pub(crate) fn refuse_terms(&self, peer: &PublicKey, request: &str, why: &str) {
        let Some(service) = self.service() else {
            return;
        };
        let refusal = refusal(request, why);
        self.lock().instead.insert(request.to_owned(), refusal);
        let request = LSPSRequestId(request.to_owned());
        if service
            .invalid_token_provided(peer, request.clone())
            .is_err()
        {
            // It was answered before, or its asker is gone.
            self.lock().instead.remove(&request.0);
        }
    }

    /// Answers a purchase with a no. The library keeps it until the peer leaves, ten of a peer at most.
    pub(crate) fn refuse_purchase(&self, peer: PublicKey, request: &str, why: &str) {
        let payload = refusal(request, why);
        self.lock().whole.push((peer, RawLSPSMessage { payload }));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(request: &str, why: &str) -> String {
    let error = serde_json::json!({ "code": REFUSED, "message": why });
    serde_json::json!({ "jsonrpc": "2.0", "id": request, "error": error }).to_string()
}

fn request_of(payload: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(payload).ok()?;
    Some(message.get("id")?.as_str()?.to_owned())
}

impl CustomMessageReader for Lsps {
    type CustomMessage = RawLSPSMessage;

    fn read<R: LengthLimitedRead>(
        &self,
        message_type: u16,
        buffer: &mut R,
    ) -> Result<Option<RawLSPSMessage>, DecodeError> {
        self.protocol.read(message_type, buffer)
    }
}

impl CustomMessageHandler for Lsps {
    fn handle_custom_message(
        &self,
        message: RawLSPSMessage,
        sender: PublicKey,
    ) -> Result<(), LightningError> {
        self.protocol.handle_custom_message(message, sender)
    }

    fn get_and_clear_pending_msg(&self) -> Vec<(PublicKey, RawLSPSMessage)> {
        let mut messages = self.protocol.get_and_clear_pending_msg();
        let mut refusals = self.lock();
        if !refusals.instead.is_empty() {
            for (_, message) in &mut messages {
                let request = request_of(&message.payload);
                let instead = request.and_then(|request| refusals.instead.remove(&request));
                if let Some(payload) = instead {
                    message.payload = payload;
                }
            }
        }
        messages.append(&mut refusals.whole);
        messages
    }

    fn peer_disconnected(&self, peer: PublicKey) {
        self.protocol.peer_disconnected(peer);
    }

    fn peer_connected(&self, peer: PublicKey, init: &Init, inbound: bool) -> Result<(), ()> {
        self.protocol.peer_connected(peer, init, inbound)
    }

    fn provided_node_features(&self) -> NodeFeatures {
        self.protocol.provided_node_features()
    }

    fn provided_init_features(&self, peer: PublicKey) -> InitFeatures {
        self.protocol.provided_init_features(peer)
    }
}

/// The library's state in our store. What is queued is as good as written: LDK forgets no event before the record that the
/// event led to is queued.
pub(crate) struct Kept(Arc<Store>);

impl Kept {
    fn key(primary: &str, secondary: &str, key: &str) -> Vec<u8> {
        let names = [primary, secondary, key].join("/");
        [LSPS, names.as_bytes()].concat()
    }
}

impl KVStore for Kept {
    fn read(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
    ) -> AsyncResult<'static, Vec<u8>, Error> {
        let found = match self.0.read(&Self::key(primary, secondary, key)) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Error::new(ErrorKind::NotFound, "there is none")),
            Err(fault) => Err(Error::new(ErrorKind::Other, fault.to_string())),
        };
        Box::pin(ready(found))
    }

    fn write(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        value: Vec<u8>,
    ) -> AsyncResult<'static, (), Error> {
        self.0.put(Self::key(primary, secondary, key), value);
        Box::pin(ready(Ok(())))
    }

    fn remove(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        _lazy: bool,
    ) -> AsyncResult<'static, (), Error> {
        self.0.write([(Self::key(primary, secondary, key), None)]);
        Box::pin(ready(Ok(())))
    }

    fn list(&self, primary: &str, secondary: &str) -> AsyncResult<'static, Vec<String>, Error> {
        let found = self.0.written_under(&Self::key(primary, secondary, ""));
        let names = found.map_err(|fault| Error::new(ErrorKind::Other, fault.to_string()));
        let names = names.map(|entries| {
            let names = entries.into_iter();
            names
                .filter_map(|(name, _)| String::from_utf8(name).ok())
                .collect()
        });
        Box::pin(ready(names))
    }
}
