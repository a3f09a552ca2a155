//! What a buyer says that does not keep to the protocol, said by hand: a bare peer that knows nothing of LSPS2 but its JSON.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bitcoin::secp256k1::PublicKey;
use forebay_chain_bitcoin::lightning::Observation;
use ldk_node::lightning::io;
use ldk_node::lightning::ln::msgs::{DecodeError, Init, LightningError};
use ldk_node::lightning::ln::peer_handler::{
    CustomMessageHandler, ErroringMessageHandler, IgnoringMessageHandler, MessageHandler,
    PeerManager,
};
use ldk_node::lightning::ln::wire::{CustomMessageReader, Type};
use ldk_node::lightning::sign::KeysManager;
use ldk_node::lightning::types::features::{InitFeatures, NodeFeatures};
use ldk_node::lightning::util::logger::{Logger, Record};
use ldk_node::lightning::util::ser::{LengthLimitedRead, Writeable, Writer};
use serde_json::{Value, json};

use crate::jit::{Shop, while_open};
use crate::world::{World, free_port, ours_at, until};

const LSPS_MESSAGE: u16 = 37_913;

#[derive(Debug)]
struct Said(String);

impl Type for Said {
    fn type_id(&self) -> u16 {
        LSPS_MESSAGE
    }
}

impl Writeable for Said {
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), io::Error> {
        writer.write_all(self.0.as_bytes())
    }
}

#[derive(Default)]
struct Mouth {
    to_say: Mutex<Vec<(PublicKey, Said)>>,
    heard: Mutex<Vec<Value>>,
}

impl CustomMessageReader for Mouth {
    type CustomMessage = Said;

    fn read<R: LengthLimitedRead>(
        &self,
        message_type: u16,
        buffer: &mut R,
    ) -> Result<Option<Said>, DecodeError> {
        if message_type != LSPS_MESSAGE {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let mut byte = [0];
        while buffer.remaining_bytes() > 0 {
            buffer.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        let text = String::from_utf8(bytes).map_err(|_| DecodeError::InvalidValue)?;
        Ok(Some(Said(text)))
    }
}

impl CustomMessageHandler for Mouth {
    fn handle_custom_message(&self, said: Said, _from: PublicKey) -> Result<(), LightningError> {
        let value = serde_json::from_str(&said.0).expect("it is JSON");
        self.heard.lock().expect("lock").push(value);
        Ok(())
    }

    fn get_and_clear_pending_msg(&self) -> Vec<(PublicKey, Said)> {
        std::mem::take(&mut self.to_say.lock().expect("lock"))
    }

    fn peer_disconnected(&self, _peer: PublicKey) {}

    fn peer_connected(&self, _peer: PublicKey, _init: &Init, _inbound: bool) -> Result<(), ()> {
        Ok(())
    }

    fn provided_node_features(&self) -> NodeFeatures {
        NodeFeatures::empty()
    }

    fn provided_init_features(&self, _peer: PublicKey) -> InitFeatures {
        InitFeatures::empty()
    }
}

struct Silent;

impl Logger for Silent {
    fn log(&self, _record: Record) {}
}

type Links = PeerManager<
    lightning_net_tokio::SocketDescriptor,
    Arc<ErroringMessageHandler>,
    Arc<IgnoringMessageHandler>,
    Arc<IgnoringMessageHandler>,
    Arc<Silent>,
    Arc<Mouth>,
    Arc<KeysManager>,
    Arc<IgnoringMessageHandler>,
>;

struct Bare<'a> {
    world: &'a World,
    links: Arc<Links>,
    mouth: Arc<Mouth>,
    to: PublicKey,
    asked: u32,
}

impl<'a> Bare<'a> {
    fn connect(world: &'a World, to: PublicKey, address: SocketAddr, seed: u8) -> Self {
        let mouth = Arc::new(Mouth::default());
        let handlers = MessageHandler {
            chan_handler: Arc::new(ErroringMessageHandler::new()),
            route_handler: Arc::new(IgnoringMessageHandler {}),
            onion_message_handler: Arc::new(IgnoringMessageHandler {}),
            custom_message_handler: Arc::clone(&mouth),
            send_only_message_handler: Arc::new(IgnoringMessageHandler {}),
        };
        let keys = Arc::new(KeysManager::new(&[seed; 32], 1, 1, true));
        let links = Arc::new(Links::new(handlers, 1, &[seed; 32], Arc::new(Silent), keys));
        let dialled = {
            let links = Arc::clone(&links);
            world.runtime.block_on(async move {
                lightning_net_tokio::connect_outbound(links, to, address).await
            })
        };
        let gone = dialled.expect("it listens");
        world.runtime.spawn(gone);
        until("it is connected", || links.peer_by_node_id(&to).is_some());
        Self {
            world,
            links,
            mouth,
            to,
            asked: 0,
        }
    }

    /// What is answered to one request.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = format!("question {}", self.asked);
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let said = (self.to, Said(request.to_string()));
        self.mouth.to_say.lock().expect("lock").push(said);
        let links = Arc::clone(&self.links);
        let _on = self.world.runtime.enter();
        links.process_events();
        let mut answer = None;
        until("it is answered", || {
            let heard = self.mouth.heard.lock().expect("lock");
            answer = heard.iter().find(|value| value["id"] == *id).cloned();
            answer.is_some()
        });
        answer.expect("it was found")
    }

    fn buy(&mut self, terms: &Value, payment_msat: u64) -> Value {
        let payment = payment_msat.to_string();
        let params = json!({"opening_fee_params": terms, "payment_size_msat": payment});
        self.ask("lsps2.buy", params)
    }
}

#[test]
fn only_terms_that_were_offered_to_this_buyer_and_still_stand_are_sold() {
    let world = World::new();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let ours = ours_at(&world, "seller", address, true);
    let mut buyer = Bare::connect(&world, ours.key(), address, 1);
    let mut other = Bare::connect(&world, ours.key(), address, 2);
    while_open(&ours, Shop::Sells, || {
        let answer = buyer.ask("lsps2.get_info", json!({}));
        let terms = answer["result"]["opening_fee_params_menu"][0].clone();
        assert_eq!(terms["min_fee_msat"], "2000000", "{answer}");

        let code = |answer: &Value| answer["error"]["code"].as_i64();
        let changed = |field: &str, value: Value| {
            let mut changed = terms.clone();
            changed[field] = value;
            changed
        };
        // bLIP-52: 201 for terms that are not ours or stand no more, 202 and 203 for a payment out of their bounds.
        let forged = changed("min_fee_msat", "1".into());
        assert_eq!(code(&buyer.buy(&forged, 100_000_000)), Some(201));
        let promise = changed("promise", "00".repeat(32).into());
        assert_eq!(code(&buyer.buy(&promise, 100_000_000)), Some(201));
        let expired = changed("valid_until", "2020-01-01T00:00:00Z".into());
        assert_eq!(code(&buyer.buy(&expired, 100_000_000)), Some(201));
        assert_eq!(code(&other.buy(&terms, 100_000_000)), Some(201));
        assert_eq!(code(&buyer.buy(&terms, 9_000_000)), Some(202));
        assert_eq!(code(&buyer.buy(&terms, 500_000_000)), Some(203));
        assert!(
            !ours
                .told()
                .iter()
                .any(|o| matches!(o, Observation::ChannelAsked { .. })),
            "the listener heard of none of them"
        );

        // The same terms twice are two sales, each with a number of its own.
        let sold = [(); 2].map(|()| buyer.buy(&terms, 100_000_000)["result"].clone());
        let number = |sale: &Value| sale["jit_channel_scid"].clone();
        assert!(number(&sold[0]).is_string(), "{sold:?}");
        assert_ne!(number(&sold[0]), number(&sold[1]));
        assert_eq!(sold[0]["client_trusts_lsp"].as_bool(), Some(false));
    });
}

#[test]
fn a_no_of_the_listener_is_told_with_its_reason() {
    let world = World::new();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let ours = ours_at(&world, "seller", address, true);
    let mut buyer = Bare::connect(&world, ours.key(), address, 1);
    let refused = while_open(&ours, Shop::RefusesTerms, || {
        buyer.ask("lsps2.get_info", json!({}))
    });
    assert_eq!(refused["error"]["code"].as_i64(), Some(1));
    assert_eq!(refused["error"]["message"], "nothing is sold to you");
    let refused = while_open(&ours, Shop::RefusesPurchase, || {
        let answer = buyer.ask("lsps2.get_info", json!({}));
        let terms = answer["result"]["opening_fee_params_menu"][0].clone();
        buyer.buy(&terms, 100_000_000)
    });
    assert_eq!(refused["error"]["message"], "too little is left");
}
