//! The software behind both peers: plain BTP, packets from A to B.
#![allow(clippy::unwrap_used)]

use forebay_ilp::btp::RequestId;
use forebay_ilp::{Address, FulfillView, Link, LinkEvent, PrepareView};
use forebay_quantity::Timestamp;
use futures_util::{SinkExt, StreamExt};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const PREIMAGE: [u8; 32] = [7; 32];

/// A connector's link to its peer's side.
pub struct Software {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    link: Link,
}

impl Software {
    pub async fn connect(listen: &str) -> Self {
        let (socket, _) = connect_async(format!("ws://{listen}/")).await.unwrap();
        let mut software = Self {
            socket,
            link: Link::client(),
        };
        let mut frame = Vec::new();
        software
            .link
            .start(&mut frame, RequestId(1), None, "software");
        software.send(frame).await;
        let bytes = software.read().await;
        assert!(matches!(
            software.link.receive(&bytes),
            Ok(LinkEvent::Authenticated)
        ));
        software
    }

    /// Sends a packet to B's software.
    pub async fn prepare(&mut self, id: u32, amount: u64) {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let condition: [u8; 32] = Sha256::digest(PREIMAGE).into();
        let prepare = PrepareView {
            amount,
            expires_at: Timestamp(u64::try_from(now.as_millis()).unwrap() + 20_000),
            condition: &condition,
            destination: Address::parse(b"test.pool.b.shop").unwrap(),
            data: b"",
        };
        let mut frame = Vec::new();
        self.link
            .encode_prepare(&mut frame, RequestId(id), &prepare)
            .unwrap();
        self.send(frame).await;
    }

    /// The packet that this software is asked to fulfil next.
    pub async fn asked(&mut self) -> RequestId {
        let bytes = self.read().await;
        let Ok(LinkEvent::Prepare(arrived, _)) = self.link.receive(&bytes) else {
            panic!("a prepare was expected");
        };
        arrived
    }

    pub async fn fulfill(&mut self, arrived: RequestId) {
        let mut frame = Vec::new();
        let fulfill = FulfillView {
            fulfillment: &PREIMAGE,
            data: b"",
        };
        self.link
            .encode_fulfill(&mut frame, arrived, &fulfill)
            .unwrap();
        self.send(frame).await;
    }

    /// How the packet with this id ended: the code of its reject, or nothing for a fulfill.
    pub async fn ending(&mut self, id: u32) -> Option<String> {
        let bytes = self.read().await;
        match self.link.receive(&bytes) {
            Ok(LinkEvent::Fulfill(ended, _)) if ended == RequestId(id) => None,
            Ok(LinkEvent::Reject(ended, reject)) if ended == RequestId(id) => {
                Some(reject.view.code.to_string())
            }
            other => panic!("the end of packet {id} was expected: {other:?}"),
        }
    }

    async fn send(&mut self, frame: Vec<u8>) {
        self.socket
            .send(Message::Binary(frame.into()))
            .await
            .unwrap();
    }

    async fn read(&mut self) -> Vec<u8> {
        loop {
            if let Message::Binary(bytes) = self.socket.next().await.unwrap().unwrap() {
                return bytes.to_vec();
            }
        }
    }
}

/// Sends one packet from A's software to B's, which fulfils it.
pub async fn pay(a: &mut Software, b: &mut Software, id: u32, amount: u64) {
    a.prepare(id, amount).await;
    let arrived = b.asked().await;
    b.fulfill(arrived).await;
    assert_eq!(a.ending(id).await, None);
}
