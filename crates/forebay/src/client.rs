//! Asks a running node through its operator's interface.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use forebay_api::{IDEMPOTENCY_KEY, PAGE_MAX, Problem, TOKEN_FILE};
use forebay_node::Config;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A way to one node.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// The node of a configuration file.
    pub(crate) fn of(config: &Path) -> Result<Self> {
        let config = Config::load(config)?;
        let path = config.data_directory.join(TOKEN_FILE);
        let token = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "{} cannot be read: has `forebay run` been started, by this user?",
                path.display()
            )
        })?;
        forebay_chain_evm::install_tls();
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self {
            http,
            base: format!("http://{}", config.admin_listen),
            token: token.trim().to_owned(),
        })
    }

    /// A node's interface, by a token of one's own.
    pub(crate) fn at(url: &str, token_file: &Path) -> Result<Self> {
        let token = std::fs::read_to_string(token_file)
            .with_context(|| format!("{} cannot be read", token_file.display()))?;
        forebay_chain_evm::install_tls();
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build()?,
            base: url.trim_end_matches('/').to_owned(),
            token: token.trim().to_owned(),
        })
    }

    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    /// All pages of a list.
    pub(crate) async fn read_all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut next = Some(format!("{path}?limit={PAGE_MAX}"));
        while let Some(page) = next.take() {
            let response = self.send(Method::GET, &page, None::<&()>).await?;
            next = next_page(response.headers());
            let entries: Vec<T> = decode(response).await?;
            all.extend(entries);
        }
        Ok(all)
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::DELETE, path, None::<&()>).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        decode(self.send(method, path, body).await?).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base))
            .bearer_auth(&self.token);
        if method != Method::GET {
            request = request.header(IDEMPOTENCY_KEY, hex::encode(crate::keys::random::<16>()?));
        }
        if let Some(body) = body {
            request = request
                .header("Content-Type", "application/json")
                .body(serde_json::to_vec(body)?);
        }
        request.send().await.with_context(|| {
            format!(
                "no node answers at {}: is `forebay run` running?",
                self.base
            )
        })
    }
}

async fn decode<T: DeserializeOwned>(response: Response) -> Result<T> {
    let status = response.status();
    let bytes = response.bytes().await?;
    if status.is_success() {
        return Ok(serde_json::from_slice(&bytes)?);
    }
    let problem: Result<Problem, _> = serde_json::from_slice(&bytes);
    Err(problem.map_or_else(
        |_| anyhow!("the node answered {status}"),
        |problem| anyhow!(problem.detail),
    ))
}

/// The path of the page after this one (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get("Link")?.to_str().ok()?;
    let (path, relation) = link.strip_prefix('<')?.split_once('>')?;
    relation.contains("rel=\"next\"").then(|| path.to_owned())
}
