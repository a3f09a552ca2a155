//! `forebay tokens`: who may ask the running pool over HTTP, and for what.

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use forebay_api::{AddToken, Done, Role, TOKENS, Token};
use serde::Serialize;

use crate::client::Client;
use crate::output::{show, table};

/// Who may ask the running pool over HTTP, and for what.
#[derive(Debug, Subcommand)]
pub(crate) enum Tokens {
    /// Make a token and show it, once.
    Add {
        /// What to call it: letters, digits, '_', '-', '.'.
        name: String,
        /// What it is good for.
        #[arg(long)]
        role: RoleName,
        /// For `lp` the address, for `peer` the account's name.
        #[arg(long)]
        subject: Option<String>,
    },
    /// Show the tokens, without the tokens themselves.
    List,
    /// Take a token's rights away at once.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// A role, as it is typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleName {
    /// Everything.
    Operator,
    /// Everything that can be read, save the list of tokens.
    Read,
    /// The books, the assets, and the position of one address.
    Lp,
    /// One account and its channel.
    Peer,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Operator => Self::Operator,
            RoleName::Read => Self::Read,
            RoleName::Lp => Self::Lp,
            RoleName::Peer => Self::Peer,
        }
    }
}

#[derive(Debug, Serialize)]
struct Added {
    #[serde(flatten)]
    made: Token,
    token: String,
}

impl Tokens {
    pub(crate) async fn run(self, client: &Client, json: bool) -> Result<()> {
        match self {
            Self::Add {
                name,
                role,
                subject,
            } => {
                let token = hex::encode(crate::keys::random::<32>()?);
                let asked = AddToken {
                    name,
                    role: role.into(),
                    subject,
                    token: token.clone(),
                };
                let made: Token = client.post(TOKENS, &asked).await?;
                show(json, &Added { made, token }, |added| {
                    println!("{}: {}", added.made.name, added.token);
                })
            }
            Self::List => {
                let tokens: Vec<Token> = client.read_all(TOKENS).await?;
                show(json, &tokens, |tokens| draw(tokens))
            }
            Self::Revoke { name } => {
                let done: Done = client.delete(&format!("{TOKENS}/{name}")).await?;
                show(json, &done, |_| {
                    println!("{name} is good for nothing any more.")
                })
            }
        }
    }
}

fn draw(tokens: &[Token]) {
    let head = ["token", "role", "subject"].map(str::to_owned).to_vec();
    let rows = tokens.iter().map(|token| {
        let subject = token.subject.clone().unwrap_or_else(|| "-".into());
        vec![token.name.clone(), token.role.name().into(), subject]
    });
    table(&[head].into_iter().chain(rows).collect::<Vec<_>>());
}
