//! The HTTP interface as its users meet it: roles, problems, idempotency, pages, limits, the live feed and the figures.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use common::*;
use forebay_api::{
    Alarm, IDEMPOTENCY_KEY, Live, OPERATIONS, Operation, Peer, PeerChannel, Position, Problem,
    REPLAYED, REQUEST_ID, Role, Token,
};
use forebay_node::{Node, RunningNode};
use reqwest::{Client as Http, Method, Response, StatusCode};
use serde::de::DeserializeOwned;

const LP: &str = "0x0909090909090909090909090909090909090909";
const BEARER: &str = "0123456789abcdef0123456789abcdef";

/// A caller with a token.
struct Asker {
    http: Http,
    base: String,
    token: String,
}

impl Asker {
    fn operator(node: &RunningNode, folder: &Path) -> Self {
        let token = std::fs::read_to_string(folder.join(forebay_api::TOKEN_FILE)).unwrap();
        Self::with(node, &token)
    }

    fn with(node: &RunningNode, token: &str) -> Self {
        Self {
            http: Http::new(),
            base: format!("http://{}", node.admin_address()),
            token: token.to_owned(),
        }
    }

    async fn send(&self, method: Method, path: &str, key: u32, body: &str) -> Response {
        let request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token)
            .header(IDEMPOTENCY_KEY, format!("{key:032x}"))
            .body(body.to_owned());
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, 0, "").await
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> T {
        decode(self.get(path).await).await
    }

    /// Makes a token known, and gives its caller.
    async fn add(&self, node: &RunningNode, role: Role, subject: Option<&str>) -> Asker {
        let (name, bearer) = (role.name(), format!("{BEARER}-{}", role.name()));
        let subject = subject.map_or("null".into(), |subject| format!("{subject:?}"));
        let body = format!(
            r#"{{"name":"{name}","role":"{name}","subject":{subject},"token":"{bearer}"}}"#
        );
        let key = 900 + role as u32;
        let made: Token = decode(self.send(Method::POST, "/v1/tokens", key, &body).await).await;
        assert_eq!(made.role, role);
        Asker::with(node, &bearer)
    }
}

async fn decode<T: DeserializeOwned>(response: Response) -> T {
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The problem that a response carries, which must be whole.
async fn problem(response: Response) -> Problem {
    let (status, headers) = (response.status(), response.headers().clone());
    assert_eq!(headers["content-type"], "application/problem+json");
    let problem: Problem = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(problem.status, status.as_u16());
    assert_eq!(problem.request_id, headers[REQUEST_ID].to_str().unwrap());
    assert!(problem.detail.len() > 10, "{problem:?}");
    problem
}

fn kind(problem: &Problem) -> &str {
    problem.kind.split_once('#').unwrap().1
}

fn link(response: &Response) -> Option<String> {
    let link = response.headers().get("link")?.to_str().unwrap();
    Some(link[1..link.find('>').unwrap()].to_owned())
}

#[tokio::test]
async fn each_role_may_ask_exactly_what_the_table_says_and_nobody_anything_without_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let operator = Asker::operator(&node, folder.path());
    let mut callers = vec![
        (Role::Read, operator.add(&node, Role::Read, None).await),
        (Role::Lp, operator.add(&node, Role::Lp, Some(LP)).await),
        (
            Role::Peer,
            operator.add(&node, Role::Peer, Some("bob")).await,
        ),
    ];
    callers.push((Role::Operator, operator));
    let stranger = Asker::with(&node, "wrong");
    for row in OPERATIONS {
        let path = row.path.replace("{name}", "bob").replace("{code}", "ETH");
        let path = path.replace("{prefix}", "test.x");
        let method = Method::from_bytes(row.method.name().as_bytes()).unwrap();
        for (role, caller) in &callers {
            let status = caller.send(method.clone(), &path, 0, "").await.status();
            let may = row.roles.is_empty() || row.roles.contains(role);
            let is_forbidden = status == StatusCode::FORBIDDEN;
            assert_eq!(
                may, !is_forbidden,
                "{:?} as {role:?}: {status}",
                row.operation
            );
            assert_ne!(status, StatusCode::UNAUTHORIZED);
        }
        let status = stranger.send(method, &path, 0, "").await.status();
        let expected = match row.roles.is_empty() {
            true => StatusCode::OK,
            false => StatusCode::UNAUTHORIZED,
        };
        if row.operation != Operation::OpenApi {
            assert!(status == expected || status == StatusCode::TOO_MANY_REQUESTS);
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn an_lp_sees_its_own_position_and_a_peer_its_own_account() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let operator = Asker::operator(&node, folder.path());
    let another = forebay_channel::Address::new([10; 20]);
    let units = forebay_quantity::Amount::new(77);
    let deposited = forebay_pool::VaultFact::NoteDeposited {
        owner: another,
        units,
        amount: units,
    };
    fact(node.core(), USD, deposited).await;
    let index = 15 * 10_u128.pow(26);
    fact(
        node.core(),
        USD,
        forebay_pool::VaultFact::IndexRaised { index },
    )
    .await;
    let all: Vec<Position> = operator.read("/v1/lps").await;
    assert_eq!(all.len(), 2);
    let lp = operator.add(&node, Role::Lp, Some(LP)).await;
    let own: Vec<Position> = lp.read("/v1/lps").await;
    assert_eq!(own.len(), 1);
    assert_eq!((own[0].owner.as_str(), own[0].asset.as_str()), (LP, "USD"));
    let figures = [
        &own[0].units,
        &own[0].worth,
        &own[0].paid_in,
        &own[0].earned,
    ];
    assert_eq!(
        figures.map(|units| units.to_string()),
        ["10000000000", "15000000000", "10000000000", "5000000000"]
    );
    let peer = operator.add(&node, Role::Peer, Some("bob")).await;
    let own: Vec<Peer> = peer.read("/v1/peers").await;
    assert_eq!(
        own.iter()
            .map(|peer| peer.name.as_str())
            .collect::<Vec<_>>(),
        ["bob"]
    );
    let own: Vec<PeerChannel> = peer.read("/v1/channels").await;
    assert_eq!(own.len(), 1);
    assert_eq!(
        kind(&problem(peer.get("/v1/peers/alice").await).await),
        "not-found"
    );
    assert_eq!(own[0].peer, "bob");
    node.stop().await;
}

#[tokio::test]
async fn tokens_are_kept_hashed_and_a_revoked_one_is_good_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let operator = Asker::operator(&node, folder.path());
    let reader = operator.add(&node, Role::Read, None).await;
    let path = folder.path().join("tokens.json");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&path).unwrap().contains(BEARER));
    let own: Token = reader.read("/v1/token").await;
    assert_eq!((own.name.as_str(), own.role), ("read", Role::Read));
    node.stop().await;

    let node = Node::start(config(folder.path()), keys()).await.unwrap();
    let operator = Asker::operator(&node, folder.path());
    let reader = Asker::with(&node, &reader.token);
    assert_eq!(reader.get("/v1/status").await.status(), StatusCode::OK);
    for _ in 0..2 {
        let gone = operator
            .send(Method::DELETE, "/v1/tokens/read", 5, "")
            .await;
        assert_eq!(
            gone.status(),
            StatusCode::OK,
            "the same key, the same answer"
        );
    }
    let refused = problem(reader.get("/v1/status").await).await;
    assert_eq!(kind(&refused), "unauthorized");
    let gone = operator
        .send(Method::DELETE, "/v1/tokens/read", 6, "")
        .await;
    assert_eq!(kind(&problem(gone).await), "not-found");
    node.stop().await;
}

#[tokio::test]
async fn the_same_key_gets_the_same_answer_after_a_restart_too_and_another_request_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = funded(folder.path()).await;
    let body = r#"{"name":"carol","asset":"ETH","token":"t0ken"}"#;
    let mut answers = Vec::new();
    for round in 0..2 {
        let operator = Asker::operator(&node, folder.path());
        for repeat in 0..2 {
            let response = operator.send(Method::POST, "/v1/peers", 1, body).await;
            assert_eq!(response.status(), StatusCode::OK);
            let is_kept = response.headers().contains_key(REPLAYED);
            assert_eq!(is_kept, repeat == 1, "round {round}");
            answers.push(response.text().await.unwrap());
        }
        let other = body.replace("t0ken", "t1ken");
        let response = operator.send(Method::POST, "/v1/peers", 1, &other).await;
        assert_eq!(
            kind(&problem(response).await),
            "key-reused",
            "round {round}"
        );
        let elsewhere = operator.send(Method::DELETE, "/v1/peers/bob", 1, "").await;
        assert_eq!(
            kind(&problem(elsewhere).await),
            "key-reused",
            "round {round}"
        );
        if round == 0 {
            node.stop().await;
            node = Node::start(config(folder.path()), keys()).await.unwrap();
        }
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:#?}"
    );
    let operator = Asker::operator(&node, folder.path());
    let taken = operator.send(Method::POST, "/v1/peers", 2, body).await;
    assert_eq!(kind(&problem(taken).await), "conflict");
    node.stop().await;
}

#[tokio::test]
async fn an_account_that_was_removed_is_removed_once_more_under_the_same_key_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let operator = Asker::operator(&node, folder.path());
    let gone = operator
        .send(Method::DELETE, "/v1/peers/alice", 1, "")
        .await;
    assert_eq!(gone.status(), StatusCode::OK);
    node.stop().await;
    let node = Node::start(config(folder.path()), keys()).await.unwrap();
    let operator = Asker::operator(&node, folder.path());
    let again = operator
        .send(Method::DELETE, "/v1/peers/alice", 1, "")
        .await;
    assert_eq!(again.status(), StatusCode::OK);
    let anew = operator
        .send(Method::DELETE, "/v1/peers/alice", 2, "")
        .await;
    assert_eq!(kind(&problem(anew).await), "not-found");
    node.stop().await;
}

#[tokio::test]
async fn problems_say_what_to_do_and_carry_the_request_id() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let operator = Asker::operator(&node, folder.path());
    assert_eq!(
        kind(&problem(operator.get("/v1/nothing").await).await),
        "not-found"
    );
    let wrong = operator.send(Method::PUT, "/v1/status", 1, "").await;
    assert_eq!(wrong.headers()["allow"], "GET");
    assert_eq!(kind(&problem(wrong).await), "method-not-allowed");
    let nonsense = operator.send(Method::POST, "/v1/peers", 2, "{").await;
    assert_eq!(kind(&problem(nonsense).await), "bad-request");
    let long = "x".repeat(100_000);
    let long = operator.send(Method::POST, "/v1/peers", 3, &long).await;
    assert_eq!(kind(&problem(long).await), "too-large");
    let body = r#"{"name":"dora","asset":"ETH","token":"t","policy":{"in_flight_max":0}}"#;
    let refused = operator.send(Method::POST, "/v1/peers", 4, body).await;
    assert_eq!(kind(&problem(refused).await), "rejected");
    for (brought, expected) in [("my-id.7", true), ("no spaces", false)] {
        let request = operator.http.get(format!("{}/v1/status", operator.base));
        let response = request.header(REQUEST_ID, brought).send().await.unwrap();
        let id = response.headers()[REQUEST_ID].to_str().unwrap().to_owned();
        assert_eq!(id == brought, expected);
        assert_eq!(kind(&problem(response).await), "unauthorized");
    }
    node.stop().await;
}

#[tokio::test]
async fn lists_come_by_pages() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let operator = Asker::operator(&node, folder.path());
    for (path, field, expected) in [
        ("/v1/peers", "name", vec!["alice", "bob"]),
        ("/v1/assets", "code", vec!["ETH", "USD"]),
    ] {
        let mut next = Some(format!("{path}?limit=1"));
        let mut seen = Vec::new();
        while let Some(page) = next {
            let response = operator.get(&page).await;
            next = link(&response);
            let entries: Vec<serde_json::Value> = decode(response).await;
            assert_eq!(entries.len(), 1);
            seen.push(entries[0][field].as_str().unwrap().to_owned());
        }
        assert_eq!(seen, expected);
    }
    let bad = operator.get("/v1/peers?limit=0").await;
    assert_eq!(kind(&problem(bad).await), "bad-request");
    node.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_waits_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let operator = Asker::operator(&node, folder.path());
    let reader = operator.add(&node, Role::Read, None).await;
    let mut limited = None;
    for _ in 0..2_000 {
        let response = reader.get("/v1/token").await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            limited = Some(response);
            break;
        }
    }
    let limited = limited.expect("2,000 requests at once are too many");
    assert_eq!(limited.headers()["retry-after"], "1");
    assert_eq!(kind(&problem(limited).await), "rate-limited");
    assert_eq!(operator.get("/v1/token").await.status(), StatusCode::OK);
    let stranger = Asker::with(&node, "wrong");
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(stranger.get("/v1/token").await.status());
    }
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(operator.get("/v1/token").await.status(), StatusCode::OK);
    node.stop().await;
}

#[tokio::test]
async fn health_needs_no_token_and_readiness_ends_when_the_pool_drains() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let stranger = Asker::with(&node, "");
    assert_eq!(stranger.get("/healthz").await.status(), StatusCode::OK);
    assert_eq!(stranger.get("/readyz").await.status(), StatusCode::OK);
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    alice.prepare(1, 1_000_000, 20_000).await;
    bob.hear_prepare().await;
    let draining = tokio::spawn(node.drain());
    loop {
        let response = stranger.get("/readyz").await;
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(kind(&problem(response).await), "not-ready");
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(stranger.get("/healthz").await.status(), StatusCode::OK);
    draining.await.unwrap();
}

/// The next event of a stream: its fields by name.
async fn hear(response: &mut Response, text: &mut String) -> BTreeMap<String, String> {
    loop {
        if let Some((block, rest)) = text.split_once("\n\n") {
            let lines = block.lines().filter_map(|line| line.split_once(": "));
            let fields: BTreeMap<String, String> = lines
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            *text = rest.to_owned();
            if fields.contains_key("data") {
                return fields;
            }
            continue;
        }
        let chunk = tokio::time::timeout(Duration::from_secs(5), response.chunk());
        let chunk = chunk.await.expect("something is told").unwrap();
        text.push_str(std::str::from_utf8(&chunk.expect("the stream goes on")).unwrap());
    }
}

#[tokio::test]
async fn events_are_told_as_they_are_synced_and_resumed_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let operator = Asker::operator(&node, folder.path());
    let mut stream = operator.get("/v1/events").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    admin(node.core(), forebay_pool::Admin::HaltBook(USD)).await;
    let (mut text, mut last) = (String::new(), String::new());
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let event = hear(&mut stream, &mut text).await;
        let data: serde_json::Value = serde_json::from_str(&event["data"]).unwrap();
        assert_eq!(data["id"], event["id"].as_str());
        kinds.push(data["kind"].as_str().unwrap().to_owned());
        last = event["id"].clone();
    }
    assert_eq!(kinds, ["book-halted", "instruction-taken"]);
    admin(node.core(), forebay_pool::Admin::ResumeBook(USD)).await;
    node.stop().await;
    assert!(
        stream.chunk().await.is_ok(),
        "the stream ends with the node"
    );

    let node = Node::start(config(folder.path()), keys()).await.unwrap();
    let operator = Asker::operator(&node, folder.path());
    let mut stream = operator.get(&format!("/v1/events?after={last}")).await;
    let event = hear(&mut stream, &mut String::new()).await;
    assert!(event["data"].contains("book-resumed"), "{event:?}");
    let mut stream = operator.get("/v1/events?after=0.0").await;
    let event = hear(&mut stream, &mut String::new()).await;
    assert!(event["data"].contains("founded"), "{event:?}");
    let peer = operator.add(&node, Role::Peer, Some("bob")).await;
    let mut stream = peer.get("/v1/events?after=0.0").await;
    let mut text = String::new();
    for _ in 0..4 {
        let event = hear(&mut stream, &mut text).await;
        assert!(event["data"].contains("\"peer\":\"bob\""), "{event:?}");
    }
    let bad = operator.get("/v1/events?after=x").await;
    assert_eq!(kind(&problem(bad).await), "bad-request");
    node.stop().await;
}

/// The samples of a text in Prometheus's format: name with labels, and value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

#[tokio::test]
async fn figures_count_what_happened_and_every_query_of_the_dashboard_names_one() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let operator = Asker::operator(&node, folder.path());
    let mut bob = Client::connect(node.btp_address(), "bob").await;
    let mut alice = Client::connect(node.btp_address(), "alice").await;
    for request in 0..3 {
        alice.prepare(request, 1_000_000, 20_000).await;
        let (id, ..) = bob.hear_prepare().await;
        match request {
            0 => {
                bob.reject(id, forebay_ilp::ErrorCode::F99ApplicationError, b"no", b"")
                    .await
            }
            _ => bob.fulfill(id, &PREIMAGE, b"").await,
        }
        alice.hear().await;
    }
    alice
        .prepare_to("test.nowhere", 9, 1_000_000, 20_000, b"")
        .await;
    alice.hear_reject().await;
    let text = operator.get("/metrics").await.text().await.unwrap();
    let samples = samples(&text);
    let expected = [
        ("forebay_packets_accepted_total", 3.0),
        ("forebay_packets_fulfilled_total", 2.0),
        ("forebay_packets_in_flight", 0.0),
        ("forebay_rejects_total{code=\"F02\",origin=\"pool\"}", 1.0),
        (
            "forebay_rejects_total{code=\"F99\",origin=\"next_hop\"}",
            1.0,
        ),
        ("forebay_packet_latency_seconds_count", 7.0),
        ("forebay_packet_latency_seconds_bucket{le=\"+Inf\"}", 7.0),
        ("forebay_links_up", 2.0),
        ("forebay_ready", 1.0),
        ("forebay_asset_price{asset=\"ETH\"}", 2_000.0),
        ("forebay_asset_free{asset=\"USD\"}", 9_000.0),
        ("forebay_asset_allotted{asset=\"USD\"}", 1_000.0),
        ("forebay_peer_link_up{peer=\"alice\",asset=\"ETH\"}", 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(samples.get(name), Some(&value), "{name} in\n{text}");
    }
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tools/grafana/forebay.json"
    );
    let board: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(page).unwrap()).unwrap();
    let mut queries = Vec::new();
    collect(&board, &mut queries);
    assert!(queries.len() > 15, "{}", queries.len());
    let printed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    for query in &queries {
        let names: Vec<&str> = query
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("forebay_"))
            .collect();
        assert!(!names.is_empty(), "{query} asks for nothing of ours");
        for name in names {
            assert!(
                is_printed(&printed, name),
                "{query}: nothing is printed as {name}"
            );
        }
    }
    let live: Live = operator.read("/v1/live").await;
    assert_eq!((live.packets_fulfilled, live.packets_rejected), (2, 2));
    let alarms: Vec<Alarm> = operator.read("/v1/alarms").await;
    assert_eq!(alarms, []);
    node.stop().await;
}

/// Whether a metric of this name is printed; a histogram has three.
fn is_printed(printed: &[&str], name: &str) -> bool {
    printed.iter().any(|line| {
        let (base, kind) = line.split_once(' ').unwrap();
        let parts = ["_bucket", "_sum", "_count"].map(|part| format!("{base}{part}"));
        match kind {
            "histogram" => parts.iter().any(|part| part == name),
            _ => base == name,
        }
    })
}

fn collect(value: &serde_json::Value, queries: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            queries.extend(
                fields
                    .get("expr")
                    .and_then(|q| q.as_str())
                    .map(str::to_owned),
            );
            fields.values().for_each(|value| collect(value, queries));
        }
        serde_json::Value::Array(values) => {
            values.iter().for_each(|value| collect(value, queries));
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[tokio::test]
async fn the_dashboard_is_served_under_a_strict_policy_and_asks_for_documented_paths_alone() {
    let folder = tempfile::tempdir().unwrap();
    let node = funded(folder.path()).await;
    let stranger = Asker::with(&node, "");
    let document: serde_json::Value = stranger.read("/v1/openapi.json").await;
    let documented: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let web = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web");
    let mut asked = 0;
    for entry in std::fs::read_dir(web).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let at = if name == "index.html" {
            "/".into()
        } else {
            format!("/{name}")
        };
        let response = stranger.get(&at).await;
        assert_eq!(response.status(), StatusCode::OK, "{at}");
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(response.text().await.unwrap(), text, "{at}");
        for word in text
            .split(['\'', '"', '`'])
            .filter(|word| word.starts_with("/v1/"))
        {
            let is_documented = documented.iter().any(|path| *path == word);
            assert!(is_documented, "{name} asks for {word}");
            asked += 1;
        }
        assert!(!text.contains("//cdn"), "{name} asks somebody else");
    }
    assert!(asked >= 10, "{asked} paths");
    node.stop().await;
}
