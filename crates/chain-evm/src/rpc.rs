//! RPC nodes: the first that answers is asked; where a lie would cost money, several must agree.

use crate::fault::Fault;
use alloy::{
    providers::{Provider, RootProvider},
    rpc::client::RpcClient,
    transports::{RpcError, TransportError, http::Http},
};
use std::{future::Future, sync::Once, time::Duration};

/// How to reach the chain.
#[derive(Clone, Debug)]
pub struct RpcNodes {
    /// `http` or `https` URLs, in the order in which they are asked.
    pub urls: Vec<String>,
    /// How many nodes have to agree on what the vault reports: one for an own node, two of three otherwise.
    pub agreeing_min: usize,
    /// How long one question may take.
    pub timeout: Duration,
}

impl RpcNodes {
    /// One node that is trusted.
    #[must_use]
    pub fn own(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            agreeing_min: 1,
            timeout: Duration::from_secs(10),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    url: String,
    provider: RootProvider,
}

#[derive(Clone, Debug)]
pub(crate) struct Rpc {
    nodes: Vec<Node>,
    agreeing_min: usize,
}

impl Rpc {
    pub(crate) fn new(settings: &RpcNodes) -> Result<Self, Fault> {
        install_tls();
        let client = reqwest::Client::builder().timeout(settings.timeout).build();
        let client = client.map_err(|error| Fault::BadUrl {
            url: error.to_string(),
        })?;
        let nodes: Result<Vec<Node>, Fault> = settings
            .urls
            .iter()
            .map(|url| node(url, client.clone()))
            .collect();
        let nodes = nodes?;
        if nodes.is_empty() {
            return Err(Fault::BadUrl { url: String::new() });
        }
        let agreeing_min = settings.agreeing_min.clamp(1, nodes.len());
        Ok(Self {
            nodes,
            agreeing_min,
        })
    }

    /// How many nodes have to agree; at least one.
    pub(crate) fn agreeing_min(&self) -> usize {
        self.agreeing_min
    }

    /// The nodes, in the order in which they are asked.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Asks the nodes in turn until one answers. A revert is an answer; any other refusal may be the node's alone.
    pub(crate) async fn ask<T, F>(
        &self,
        method: &'static str,
        question: impl Fn(RootProvider) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, TransportError>>,
    {
        let mut last = None;
        for node in &self.nodes {
            match question(node.provider.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) if is_revert(&error) => return Err(node.fault(method, error)),
                Err(error) => last = Some(node.fault(method, error)),
            }
        }
        Err(last.expect("there is at least one node"))
    }

    /// Hands a transaction to every node. [`Fault::RpcRefused`] only when all of them said no, so that none can
    /// have passed it on.
    pub(crate) async fn send(&self, raw: &[u8]) -> Result<(), Fault> {
        const METHOD: &str = "eth_sendRawTransaction";
        let (mut taken, mut refused, mut unknown) = (false, None, None);
        for node in &self.nodes {
            match node.provider.send_raw_transaction(raw).await {
                Ok(_) => taken = true,
                Err(error) if is_refusal(&error) => refused = Some(node.fault(METHOD, error)),
                Err(error) => unknown = Some(node.fault(METHOD, error)),
            }
        }
        match unknown.or(refused) {
            Some(fault) if !taken => Err(fault),
            Some(_) | None => Ok(()),
        }
    }

    /// Asks until as many nodes as have to agree gave the same answer.
    pub(crate) async fn agree<T, F>(
        &self,
        method: &'static str,
        question: impl Fn(RootProvider) -> F,
    ) -> Result<T, Fault>
    where
        T: PartialEq,
        F: Future<Output = Result<T, TransportError>>,
    {
        if self.agreeing_min == 1 {
            return self.ask(method, question).await;
        }
        let mut answers: Vec<(T, usize)> = Vec::new();
        let mut last = None;
        for node in &self.nodes {
            match question(node.provider.clone()).await {
                Ok(answer) => {
                    let at = answers.iter().position(|(known, _)| *known == answer);
                    let at = at.unwrap_or_else(|| {
                        answers.push((answer, 0));
                        answers.len() - 1
                    });
                    answers[at].1 += 1;
                    if answers[at].1 >= self.agreeing_min {
                        return Ok(answers.swap_remove(at).0);
                    }
                }
                Err(error) => last = Some(node.fault(method, error)),
            }
        }
        match last {
            Some(fault) if answers.is_empty() => Err(fault),
            Some(_) | None => Err(Fault::NodesDisagree {
                method,
                needed: self.agreeing_min,
            }),
        }
    }
}

impl Node {
    /// Asks this node alone.
    pub(crate) async fn ask<T, F>(
        &self,
        method: &'static str,
        question: impl FnOnce(RootProvider) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, TransportError>>,
    {
        let answer = question(self.provider.clone()).await;
        answer.map_err(|error| self.fault(method, error))
    }

    fn fault(&self, method: &'static str, source: TransportError) -> Fault {
        let url = self.url.clone();
        if is_refusal(&source) {
            Fault::RpcRefused {
                url,
                method,
                source,
            }
        } else {
            Fault::RpcDown { url, source }
        }
    }
}

fn node(url: &str, client: reqwest::Client) -> Result<Node, Fault> {
    let parsed = reqwest::Url::parse(url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    let parsed = parsed.ok_or_else(|| Fault::BadUrl {
        url: url.to_owned(),
    })?;
    let transport = Http::with_client(client, parsed);
    // "Not local": alloy's own polling is not used, so its interval does not matter.
    Ok(Node {
        url: url.to_owned(),
        provider: RootProvider::new(RpcClient::new(transport, false)),
    })
}

/// True when the contract said no: every node would say the same.
fn is_revert(error: &TransportError) -> bool {
    error
        .as_error_resp()
        .is_some_and(|response| response.as_revert_data().is_some())
}

/// True when the node itself said no, as against not answering in its protocol at all.
fn is_refusal(error: &TransportError) -> bool {
    matches!(error, RpcError::ErrorResp(_))
}

/// Chooses ring as the process's TLS provider, unless one was chosen before.
pub fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the process chose one already, which serves as well.
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
    });
}
