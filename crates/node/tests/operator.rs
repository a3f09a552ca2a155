//! The operator's interface and the price sources, over HTTP.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use common::*;
use forebay_node::{Node, PriceSource, RunningNode};
use reqwest::{Client as Http, Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn ask(
    node: &RunningNode,
    token: &str,
    method: Method,
    path: &str,
    key: &str,
    body: &str,
) -> (StatusCode, String) {
    let request = Http::new()
        .request(method, format!("http://{}{path}", node.admin_address()))
        .header("Authorization", format!("Bearer {token}"))
        .header(forebay_api::IDEMPOTENCY_KEY, key)
        .body(body.to_owned());
    let answer = request.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test]
async fn the_operator_reads_and_changes_accounts_with_the_token_alone_and_each_change_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let path = folder.path().join(forebay_api::TOKEN_FILE);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let token = std::fs::read_to_string(path).unwrap();
    let (status, _) = ask(&node, "wrong", Method::GET, "/v1/peers", "", "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);

    let (status, text) = ask(&node, &token, Method::GET, "/v1/peers", "", "").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let peers: Vec<forebay_api::Peer> = serde_json::from_str(&text).unwrap();
    assert_eq!(
        peers
            .iter()
            .map(|peer| peer.address.as_str())
            .collect::<Vec<_>>(),
        ["test.pool.alice", "test.pool.bob"]
    );

    let body = r#"{"name":"carol","asset":"ETH","token":"t0ken"}"#;
    let key = "000102030405060708090a0b0c0d0e0f";
    let (status, _) = ask(&node, &token, Method::POST, "/v1/peers", "short", body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, text) = ask(&node, &token, Method::POST, "/v1/peers", key, body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let carol: forebay_api::Peer = serde_json::from_str(&text).unwrap();
    assert_eq!(
        carol.policy.credit,
        forebay_api::Units::default(),
        "credit is zero unless granted"
    );
    let repeated = ask(&node, &token, Method::POST, "/v1/peers", key, body).await;
    assert_eq!(repeated, (StatusCode::OK, text), "[I11]");
    Client::try_connect(
        &format!("ws://{}", node.btp_address()),
        Some("carol"),
        "t0ken",
    )
    .await
    .unwrap();

    let (status, text) = ask(&node, &token, Method::GET, "/v1/books", "", "").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let books: forebay_api::Books = serde_json::from_str(&text).unwrap();
    assert!(books.balanced);
    let (status, _) = ask(&node, &token, Method::GET, "/v1/nothing", "", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    node.stop().await;
}

#[tokio::test]
async fn the_operator_says_what_a_peer_is_and_sees_where_packets_go() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let token = std::fs::read_to_string(folder.path().join(forebay_api::TOKEN_FILE)).unwrap();
    let put = |key: &'static str, name: &str, body: &'static str| {
        let path = format!("/v1/peers/{name}/relation");
        let (node, token) = (&node, &token);
        async move { ask(node, token, Method::PUT, &path, key, body).await }
    };
    let related = r#"{"kind":"parent","routes":"both","debt_max":"7"}"#;
    let first = "00000000000000000000000000000001";
    let (status, text) = put(first, "bob", related).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let bob: forebay_api::Peer = serde_json::from_str(&text).unwrap();
    let expected = forebay_api::Relation {
        kind: forebay_api::RelationKind::Parent,
        routes: forebay_api::Routes::Both,
        debt_max: forebay_quantity::Amount::new(7).into(),
    };
    assert_eq!(bob.relation, expected);
    let refused = [
        ("00000000000000000000000000000002", "alice", related, 422),
        (
            "00000000000000000000000000000003",
            "alice",
            r#"{"kind":"aunt"}"#,
            400,
        ),
        ("00000000000000000000000000000004", "nobody", related, 404),
    ];
    for (key, name, body, expected) in refused {
        assert_eq!(
            put(key, name, body).await.0.as_u16(),
            expected,
            "{name} {body}"
        );
    }
    let route = r#"{"prefix":"test.elsewhere","peer":"alice"}"#;
    let key = "00000000000000000000000000000005";
    let (status, text) = ask(&node, &token, Method::POST, "/v1/routes", key, route).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    // The parent's route is learned in the round after.
    let (_, text) = ask(&node, &token, Method::GET, "/v1/routes", "", "").await;
    let routes: Vec<forebay_api::RouteView> = serde_json::from_str(&text).unwrap();
    let routes: Vec<_> = routes
        .iter()
        .map(|route| (route.prefix.as_str(), route.peer.as_str(), route.learned))
        .collect();
    assert_eq!(
        routes,
        [("test.elsewhere", "alice", false), ("test", "bob", true)]
    );
    node.stop().await;
}

/// Answers every request with the same body.
async fn source(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let size = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn prices_are_polled_and_a_source_that_talks_nonsense_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    funded(folder.path()).await.stop().await;
    let mut config = config(folder.path());
    let pointer = "/data/price".to_owned();
    let mut sources = Vec::new();
    for body in [
        r#"{"data":{"price":"2001.5"}}"#,
        r#"{"data":{"price":2001.5}}"#,
        "<html>",
    ] {
        sources.push(PriceSource {
            url: source(body).await,
            pointer: pointer.clone(),
            poll_ms: 100,
        });
    }
    config.prices = BTreeMap::from([("ETH".to_owned(), sources)]);
    let node = Node::start(config, keys()).await.unwrap();
    let deadline = now().0 + 5_000;
    loop {
        let reports = node.core().query(|state| {
            let reports = &state.asset(ETH).unwrap().reports;
            reports
                .iter()
                .map(|report| report.price.value())
                .collect::<Vec<_>>()
        });
        let reports = reports.await.unwrap();
        let is_counted = node.figures().bad_prices.value() > 0;
        if is_counted
            && reports
                == [
                    2_001_500_000_000_000,
                    2_001_500_000_000_000,
                    2_000_000_000_000_000,
                ]
        {
            break;
        }
        assert!(now().0 < deadline, "{reports:?}");
        tokio::task::yield_now().await;
    }
    node.stop().await;
}
