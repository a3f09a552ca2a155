//! How Bitcoin is reached, and how the Lightning node is found.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use forebay_chain_bitcoin::Network;
use forebay_chain_bitcoin::bitcoind::{BitcoindSettings, Credentials};
use forebay_chain_bitcoin::chain::SourceSettings;
use forebay_chain_bitcoin::esplora::EsploraSettings;
use serde::{Deserialize, Serialize};

use crate::config::ConfigFault;

/// The section `[bitcoin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitcoinConfig {
    /// `bitcoin`, `testnet4`, `signet` or `regtest`.
    pub network: String,
    /// JSON-RPC of one own bitcoind; or `esplora_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc_url: Option<String>,
    /// The API of an Esplora server, in place of a bitcoind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub esplora_url: Option<String>,
    /// The file `.cookie` in its data folder; or `rpc_user` and `rpc_password_file`.
    #[serde(default)]
    pub cookie_file: Option<PathBuf>,
    /// As in bitcoind's own configuration.
    #[serde(default)]
    pub rpc_user: Option<String>,
    /// A file that holds the password alone.
    #[serde(default)]
    pub rpc_password_file: Option<PathBuf>,
    /// Where the Lightning node listens; left out, nobody can connect to it.
    #[serde(default)]
    pub lightning_listen: Option<SocketAddr>,
    /// Where peers reach it, as host:port; `lightning_listen` when left out.
    #[serde(default)]
    pub lightning_address: Option<String>,
    /// Its name on the network.
    #[serde(default = "default_alias")]
    pub alias: String,
    /// How deep the funding of a channel that a peer opens has to lie, in blocks.
    #[serde(default = "default_confirmations")]
    pub confirmations: u32,
    /// Whether channels are sold just in time (LSPS2), to whom `forebay bitcoin liquidity` says. Payments of others then pass to
    /// channels that the network is not told of, as those sold are.
    #[serde(default)]
    pub sells_channels: bool,
    /// The most that the operator's key alone should hold, hot wallet and channels together, in satoshi: what is above goes
    /// to the reserve.
    #[serde(default)]
    pub hot_max_sat: Option<u64>,
    /// Who guards what is not hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve: Option<ReserveConfig>,
}

/// The section `[bitcoin.reserve]`: the operator and t of n members spend it, or t members alone after 90 days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReserveConfig {
    /// How many members sign.
    pub threshold: usize,
    /// What `forebay committee reserve key` prints of each member's key, in the order of their places.
    pub members: Vec<String>,
    /// From which block on it is looked for; from the tip when left out, for a reserve that is new.
    #[serde(default)]
    pub birthday_height: Option<u32>,
}

fn default_alias() -> String {
    "forebay".into()
}

fn default_confirmations() -> u32 {
    3
}

impl BitcoinConfig {
    /// Of a bitcoind on a network, with nothing else said.
    #[must_use]
    pub fn new(network: &str, rpc_url: &str) -> Self {
        Self {
            network: network.into(),
            rpc_url: Some(rpc_url.into()),
            esplora_url: None,
            cookie_file: None,
            rpc_user: None,
            rpc_password_file: None,
            lightning_listen: None,
            lightning_address: None,
            alias: default_alias(),
            confirmations: default_confirmations(),
            sells_channels: false,
            hot_max_sat: None,
            reserve: None,
        }
    }

    /// Of an Esplora server on a network, with nothing else said.
    #[must_use]
    pub fn on_esplora(network: &str, esplora_url: &str) -> Self {
        Self {
            rpc_url: None,
            esplora_url: Some(esplora_url.into()),
            ..Self::new(network, "")
        }
    }

    /// Takes relative paths from this folder.
    pub(crate) fn within(&mut self, folder: &Path) {
        let paths = [&mut self.cookie_file, &mut self.rpc_password_file];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// # Errors
    /// [`ConfigFault::BadValue`].
    pub(crate) fn network(&self) -> Result<Network, ConfigFault> {
        network("bitcoin.network", &self.network)
    }

    /// Where blocks come from; what an Esplora server's are checked by lies in the folder.
    ///
    /// # Errors
    /// [`ConfigFault`].
    pub(crate) fn source(&self, folder: &Path) -> Result<SourceSettings, ConfigFault> {
        let network = self.network()?;
        match (&self.rpc_url, &self.esplora_url) {
            (Some(url), None) => {
                let credentials = self.credentials()?;
                let settings = BitcoindSettings::new(url.clone(), credentials, network);
                Ok(SourceSettings::Bitcoind(settings))
            }
            (None, Some(url)) => {
                let headers = folder.join("headers");
                let settings = EsploraSettings::new(url.clone(), network, headers);
                Ok(SourceSettings::Esplora(settings))
            }
            (Some(_), Some(_)) | (None, None) => Err(one_source()),
        }
    }

    fn names_credentials(&self) -> bool {
        self.cookie_file.is_some() || self.rpc_user.is_some() || self.rpc_password_file.is_some()
    }

    fn credentials(&self) -> Result<Credentials, ConfigFault> {
        let credentials = match (&self.cookie_file, &self.rpc_user, &self.rpc_password_file) {
            (Some(cookie), None, None) => Credentials::Cookie(cookie.clone()),
            (None, Some(name), Some(file)) => {
                let password = std::fs::read_to_string(file);
                let password = password.map_err(|source| ConfigFault::Unreadable {
                    path: file.display().to_string(),
                    source,
                })?;
                Credentials::User {
                    name: name.clone(),
                    password: password.trim_end().to_owned(),
                }
            }
            _ => {
                return Err(bad(
                    "bitcoin.cookie_file",
                    "name either cookie_file, or rpc_user and rpc_password_file",
                ));
            }
        };
        Ok(credentials)
    }

    /// # Errors
    /// [`ConfigFault::BadValue`].
    pub(super) fn hot_max_sat(&self) -> Result<u64, ConfigFault> {
        let named = self.hot_max_sat.filter(|most| *most > 0);
        named.ok_or_else(|| {
            bad(
                "bitcoin.hot_max_sat",
                "with a reserve, say what the operator's key alone should hold at most",
            )
        })
    }

    /// # Errors
    /// The first [`ConfigFault`] found.
    pub(crate) fn check(&self) -> Result<(), ConfigFault> {
        self.network()?;
        let is_http = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        match (&self.rpc_url, &self.esplora_url) {
            (Some(url), None) if !is_http(url) => {
                return Err(bad("bitcoin.rpc_url", "use an http:// or https:// URL"));
            }
            (None, Some(url)) if !is_http(url) => {
                return Err(bad("bitcoin.esplora_url", "use an http:// or https:// URL"));
            }
            (None, Some(_)) if self.names_credentials() => {
                return Err(bad(
                    "bitcoin.esplora_url",
                    "leave out cookie_file, rpc_user and rpc_password_file, which are a bitcoind's",
                ));
            }
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) | (None, None) => {
                return Err(one_source());
            }
        }
        if self.reserve.is_some() {
            self.hot_max_sat()?;
        }
        Ok(())
    }
}

fn one_source() -> ConfigFault {
    bad(
        "bitcoin.rpc_url",
        "name either rpc_url, of a bitcoind, or esplora_url",
    )
}

/// The network of a name.
///
/// # Errors
/// [`ConfigFault::BadValue`] for this field.
pub(crate) fn network(field: &str, name: &str) -> Result<Network, ConfigFault> {
    let known = [
        Network::Bitcoin,
        Network::Testnet4,
        Network::Signet,
        Network::Regtest,
    ];
    let named = known
        .into_iter()
        .find(|network| network.to_string() == name);
    named.ok_or_else(|| bad(field, "use bitcoin, testnet4, signet or regtest"))
}

fn bad(field: &str, why: &'static str) -> ConfigFault {
    ConfigFault::BadValue {
        field: field.into(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> String {
        let config: BitcoinConfig = toml::from_str(text).expect("it is TOML");
        config
            .check()
            .map_or_else(|fault| fault.to_string(), |()| String::new())
    }

    #[test]
    fn one_chain_source_is_named_and_a_bitcoinds_credentials_for_a_bitcoind_alone() {
        let on = |source: &str| checked(&format!("network = \"signet\"\n{source}"));
        assert_eq!(
            on("rpc_url = \"http://127.0.0.1:38332\"\ncookie_file = \"c\""),
            ""
        );
        assert_eq!(on("esplora_url = \"https://esplora.example/api\""), "");
        let refused = [
            ("", "either rpc_url"),
            (
                "rpc_url = \"http://a\"\nesplora_url = \"http://b\"",
                "either rpc_url",
            ),
            ("rpc_url = \"a\"", "rpc_url"),
            ("esplora_url = \"esplora.example\"", "esplora_url"),
            (
                "esplora_url = \"http://a\"\ncookie_file = \"c\"",
                "leave out cookie_file",
            ),
        ];
        for (source, why) in refused {
            assert!(on(source).contains(why), "{source}: {}", on(source));
        }
    }

    #[test]
    fn headers_lie_in_the_folder_and_are_no_concern_of_a_bitcoind() {
        let esplora = BitcoinConfig::on_esplora("bitcoin", "https://esplora.example/api");
        let source = esplora
            .source(Path::new("data/bitcoin"))
            .expect("it is one");
        let SourceSettings::Esplora(settings) = source else {
            panic!("{source:?}");
        };
        assert_eq!(settings.headers, Path::new("data/bitcoin/headers"));
        assert_eq!(settings.network, Network::Bitcoin);
    }
}
