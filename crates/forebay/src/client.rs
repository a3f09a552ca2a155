//! Asks a running node through its operator's interface.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use forebay_api::{IDEMPOTENCY_KEY, Refusal, TOKEN_FILE};
use forebay_node::Config;
use reqwest::Method;
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

    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::GET, path, None::<&()>).await
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
        let response = request.send().await;
        let response = response.with_context(|| {
            format!(
                "no node answers at {}: is `forebay run` running?",
                self.base
            )
        })?;
        let is_success = response.status().is_success();
        let status = response.status();
        let bytes = response.bytes().await?;
        if is_success {
            return Ok(serde_json::from_slice(&bytes)?);
        }
        let refusal: Result<Refusal, _> = serde_json::from_slice(&bytes);
        Err(refusal.map_or_else(
            |_| anyhow!("the node answered {status}"),
            |refusal| anyhow!(refusal.error),
        ))
    }
}
