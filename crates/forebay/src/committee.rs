//! What a committee member does on a chain: looks at a vault, co-signs, and hands in what enough members have signed.
//! In a vault without committee the operator prices shares, by the same command.

use std::path::Path;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use forebay_chain_evm::{Books, Vault, VaultParameters};
use forebay_channel::vault::{Cosignature, VaultRequest};
use forebay_channel::{
    Address, CosignedRaise, CurveVerifier, Domain, Finality, Freeze, MarkDown, ShareExit, Signable,
    Signature, SignatureVerifier,
};
use forebay_quantity::{Amount, ChannelSerial, Hash32};
use serde::Serialize;

use crate::chain::{AtVault, checked, new_effect};
use crate::keys::{self, Passphrase};
use crate::output::show;
use crate::reserve::ForReserve;

/// A committee member's side of a vault.
#[derive(Debug, Subcommand)]
pub(crate) enum Committee {
    /// The reserve on Bitcoin: keys, drafts and signatures, without any node.
    #[command(subcommand)]
    Reserve(ForReserve),
    /// Show a vault's committee and what bounds its growth now.
    Show {
        #[command(flatten)]
        at: AtVault,
    },
    /// Stop raises and renewals for some days. Paying out never stops.
    Freeze {
        #[command(flatten)]
        with: With,
        /// From now on, in seconds; 7 days at most.
        #[arg(long, default_value_t = 604_800, conflicts_with = "until_s")]
        for_s: u64,
        /// Until then, Unix time in seconds; all members sign the same.
        #[arg(long)]
        until_s: Option<u64>,
    },
    /// Agree to one raise beside the operator's bucket; the operator hands it in.
    Raise {
        #[command(flatten)]
        with: With,
        /// The channel.
        #[arg(long)]
        serial: u64,
        /// Added to the allotment, in the chain's base units.
        #[arg(long)]
        amount: Amount,
        /// The new end of its term, Unix time in seconds; left out, the term stays.
        #[arg(long, default_value_t = 0)]
        term_end_s: u64,
        /// The last second at which it can be handed in, Unix time; all members sign the same.
        #[arg(long)]
        valid_until_s: u64,
    },
    /// Lower the note index because notes bear a loss; all share units are written off with it.
    MarkDown {
        #[command(flatten)]
        with: With,
        /// The new index, in ray (10^27 is par).
        #[arg(long)]
        index: Amount,
        /// The last second at which it can be handed in, Unix time; all members sign the same.
        #[arg(long)]
        valid_until_s: u64,
    },
    /// State what share units are worth, so that their holder can take them out; the holder hands it in.
    ShareExit {
        #[command(flatten)]
        with: With,
        /// Units of the share holder.
        #[arg(long)]
        units: Amount,
        /// What they are worth together, in the chain's base units.
        #[arg(long)]
        amount: Amount,
        /// The last second at which it can be handed in, Unix time; all members sign the same.
        #[arg(long)]
        valid_until_s: u64,
    },
}

/// With whose signatures.
#[derive(Debug, Args)]
pub(crate) struct With {
    #[command(flatten)]
    at: AtVault,
    /// A signature that another member's command printed; once for each.
    #[arg(long = "signature", value_name = "MEMBER:SIGNATURE")]
    signatures: Vec<Given>,
    /// Only sign and print, even when the signatures would do.
    #[arg(long)]
    sign_only: bool,
}

/// A member's signature as text: its place in the committee, a colon, and 64 bytes in hexadecimal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given(Cosignature);

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (member, signature) = text.split_once(':').ok_or("it has no colon")?;
        let member = member.parse().map_err(|_| "a place is 0 to 255")?;
        let digits = signature.strip_prefix("0x").unwrap_or(signature);
        let bytes = hex::decode(digits).map_err(|_| "a signature is hexadecimal")?;
        let bytes = <[u8; 64]>::try_from(bytes).map_err(|_| "a signature has 64 bytes")?;
        let signature = Signature::new(bytes);
        Ok(Self(Cosignature { member, signature }))
    }
}

impl std::fmt::Display for Given {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = [self.0.signature.r(), self.0.signature.vs()].concat();
        write!(out, "{}:0x{}", self.0.member, hex::encode(bytes))
    }
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Freeze(Freeze),
    Raise(CosignedRaise),
    MarkDown(MarkDown),
    ShareExit(ShareExit),
}

impl Deed {
    fn digest(&self, domain: &Domain) -> Hash32 {
        match self {
            Self::Freeze(freeze) => digest(domain, freeze),
            Self::Raise(raise) => digest(domain, raise),
            Self::MarkDown(mark_down) => digest(domain, mark_down),
            Self::ShareExit(exit) => digest(domain, exit),
        }
    }

    fn request(self, signatures: Vec<Cosignature>) -> VaultRequest {
        match self {
            Self::Freeze(freeze) => VaultRequest::Freeze(freeze, signatures),
            Self::Raise(raise) => VaultRequest::RaiseCosigned(raise, signatures),
            Self::MarkDown(mark_down) => VaultRequest::MarkDown(mark_down, signatures),
            Self::ShareExit(exit) => VaultRequest::WithdrawShare(exit, signatures),
        }
    }

    /// How many members it takes now.
    fn needed(&self, parameters: &VaultParameters, books: &Books, now_s: u64) -> u8 {
        let frozen_until_s = books.frozen_until.map_or(0, |until| until.value() / 1_000);
        match self {
            Self::Freeze(_) if now_s >= frozen_until_s.saturating_add(FREEZE_REST_S) => {
                parameters.committee_freeze
            }
            Self::Freeze(_) | Self::Raise(_) | Self::MarkDown(_) | Self::ShareExit(_) => {
                parameters.committee_spend.max(1)
            }
        }
    }

    /// Who signs: the committee, or the operator what shares are worth where there is none.
    fn signers(&self, parameters: &VaultParameters) -> Vec<Address> {
        match self {
            Self::ShareExit(_) if parameters.committee.is_empty() => vec![parameters.operator],
            Self::ShareExit(_) | Self::Freeze(_) | Self::Raise(_) | Self::MarkDown(_) => {
                parameters.committee.clone()
            }
        }
    }

    /// Who alone may hand it in; `None` for anybody.
    fn submitter(&self, parameters: &VaultParameters) -> Option<Address> {
        match self {
            Self::Raise(_) => Some(parameters.operator),
            Self::ShareExit(exit) => Some(exit.holder),
            Self::Freeze(_) | Self::MarkDown(_) => None,
        }
    }
}

/// After a freeze has ended, a minority freezes again only when this has passed (the contract's rule).
const FREEZE_REST_S: u64 = 30 * 86_400;

fn digest(domain: &Domain, message: &impl Signable) -> Hash32 {
    domain.digest(message)
}

#[derive(Debug, Serialize)]
struct Signed {
    /// Ours, when our key is a member's.
    signature: Option<String>,
    have: usize,
    needed: u8,
    transaction: Option<String>,
}

#[derive(Debug, Serialize)]
struct Standing {
    members: Vec<String>,
    spend: u8,
    freeze: u8,
    bucket: String,
    bucket_capacity: String,
    bucket_refill_per_day: String,
    frozen_until_s: Option<u64>,
    heartbeat_at_s: u64,
    heartbeat_max_s: u32,
    runs_down: bool,
    nonce: u64,
}

impl Committee {
    pub(crate) async fn run(self, passphrase: &Passphrase, json: bool) -> Result<()> {
        match self {
            Self::Reserve(reserve) => reserve.run(passphrase, json),
            Self::Show { at } => {
                let vault = at.vault(passphrase).await?;
                show(json, &standing(&vault).await?, draw)
            }
            Self::Freeze {
                with,
                for_s,
                until_s,
            } => {
                let until_s = until_s.unwrap_or(unix_time()?.saturating_add(for_s));
                let deed = |_: &Books, _: Address| Deed::Freeze(Freeze { until_s });
                with.act(passphrase, json, deed).await
            }
            Self::Raise {
                with,
                serial,
                amount,
                term_end_s,
                valid_until_s,
            } => {
                let deed = |books: &Books, _: Address| {
                    Deed::Raise(CosignedRaise {
                        serial: ChannelSerial::new(serial),
                        amount,
                        term_end_s,
                        nonce: books.committee_nonce,
                        valid_until_s,
                    })
                };
                with.act(passphrase, json, deed).await
            }
            Self::MarkDown {
                with,
                index,
                valid_until_s,
            } => {
                let deed = |books: &Books, _: Address| {
                    Deed::MarkDown(MarkDown {
                        index,
                        nonce: books.committee_nonce,
                        valid_until_s,
                    })
                };
                with.act(passphrase, json, deed).await
            }
            Self::ShareExit {
                with,
                units,
                amount,
                valid_until_s,
            } => {
                let deed = |books: &Books, holder: Address| {
                    Deed::ShareExit(ShareExit {
                        holder,
                        units,
                        amount,
                        nonce: books.share_nonce,
                        valid_until_s,
                    })
                };
                with.act(passphrase, json, deed).await
            }
        }
    }
}

impl With {
    /// Adds our signature when our key is a member's, and hands the deed in once there are enough.
    async fn act(
        self,
        passphrase: &Passphrase,
        json: bool,
        deed: impl FnOnce(&Books, Address) -> Deed,
    ) -> Result<()> {
        let vault = self.at.vault(passphrase).await?;
        let parameters = vault.parameters().await?;
        let books = vault.books(Finality::Seen).await?;
        let deed = deed(&books, parameters.share_holder.unwrap_or_default());
        let signers = deed.signers(&parameters);
        ensure!(
            !signers.is_empty(),
            "vault {} has no committee",
            vault.address()
        );
        let digest = deed.digest(vault.domain());
        let us = vault.account().address();
        let mut signatures: Vec<_> = self.signatures.iter().map(|given| given.0).collect();
        check(&signers, &signatures, &digest)?;
        let own = own_signature(&signers, us, self.at.key(), passphrase, &digest)?;
        collect(&mut signatures, own);
        let (have, needed) = (
            signatures.len(),
            deed.needed(&parameters, &books, unix_time()?),
        );
        let ours = deed
            .submitter(&parameters)
            .is_none_or(|submitter| submitter == us);
        let enough = have >= usize::from(needed) && ours && !self.sign_only;
        let mut signed = Signed {
            signature: own.map(|cosignature| Given(cosignature).to_string()),
            have,
            needed,
            transaction: None,
        };
        ensure!(
            signed.signature.is_some() || enough,
            "{us} has nothing to sign here, and {have} of {needed} signatures are not enough, or not its to hand in"
        );
        if enough {
            eprintln!("handing it in, waiting until it is final …");
            let request = deed.request(signatures);
            let done = vault
                .execute(new_effect()?, &request, Finality::Final)
                .await?;
            signed.transaction = Some(checked("it", done)?.transaction.to_string());
        }
        show(json, &signed, draw_signed)
    }
}

/// One signature a member, in the order of their places.
fn collect(signatures: &mut Vec<Cosignature>, own: Option<Cosignature>) {
    signatures.extend(own);
    signatures.sort_by_key(|cosignature| cosignature.member);
    signatures.dedup_by_key(|cosignature| cosignature.member);
}

fn own_signature(
    signers: &[Address],
    us: Address,
    key: &Path,
    passphrase: &Passphrase,
    digest: &Hash32,
) -> Result<Option<Cosignature>> {
    let mut places = (0u8..).zip(signers);
    let Some((member, _)) = places.find(|(_, signer)| **signer == us) else {
        return Ok(None);
    };
    let signature = keys::open(key, passphrase)?.sign(digest);
    Ok(Some(Cosignature { member, signature }))
}

/// Says which signature is bad, which the contract would not.
fn check(signers: &[Address], signatures: &[Cosignature], digest: &Hash32) -> Result<()> {
    for cosignature in signatures {
        let place = usize::from(cosignature.member);
        let Some(member) = signers.get(place) else {
            bail!("the committee has no place {place}");
        };
        ensure!(
            CurveVerifier.is_signed_by(digest, &cosignature.signature, *member),
            "the signature of member {place} ({member}) is not under this: it was made for other values, for another vault, or before the nonce moved on"
        );
    }
    Ok(())
}

async fn standing(vault: &Vault) -> Result<Standing> {
    let parameters = vault.parameters().await?;
    let books = vault.books(Finality::Seen).await?;
    Ok(Standing {
        members: parameters
            .committee
            .iter()
            .map(Address::to_string)
            .collect(),
        spend: parameters.committee_spend,
        freeze: parameters.committee_freeze,
        bucket: books.bucket.to_string(),
        bucket_capacity: parameters.bucket_capacity.to_string(),
        bucket_refill_per_day: parameters.bucket_refill_per_day.to_string(),
        frozen_until_s: books.frozen_until.map(|until| until.value() / 1_000),
        heartbeat_at_s: books.heartbeat_at.value() / 1_000,
        heartbeat_max_s: parameters.heartbeat_max_s,
        runs_down: books.runs_down,
        nonce: books.committee_nonce,
    })
}

fn unix_time() -> Result<u64> {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock stands before 1970")?;
    Ok(since_epoch.as_secs())
}

fn draw_signed(signed: &Signed) {
    if let Some(signature) = &signed.signature {
        println!("Signed: --signature {signature}");
    }
    match &signed.transaction {
        Some(transaction) => println!("Done, in transaction {transaction}."),
        None => println!(
            "{} of {} signatures. The next member runs the same command with them; whoever has enough hands it in.",
            signed.have, signed.needed
        ),
    }
}

fn draw(standing: &Standing) {
    for (place, member) in standing.members.iter().enumerate() {
        println!("member {place}: {member}");
    }
    if standing.members.is_empty() {
        println!("There is no committee.");
    } else {
        println!(
            "{} co-sign raises, share exits and mark-downs; {} freeze. The next nonce is {}.",
            standing.spend, standing.freeze, standing.nonce
        );
    }
    println!(
        "The operator's key may allot {} now, {} at most, and {} more each day.",
        standing.bucket, standing.bucket_capacity, standing.bucket_refill_per_day
    );
    if let Some(until) = standing.frozen_until_s {
        println!("Raises are or were frozen until {until} (Unix time).");
    }
    println!(
        "The operator was heard of at {} (Unix time); after {} seconds of silence anybody may start the run-down.",
        standing.heartbeat_at_s, standing.heartbeat_max_s
    );
    if standing.runs_down {
        println!("THE VAULT RUNS DOWN: LPs are paid in kind.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosignature(member: u8) -> Cosignature {
        let signature = Signature::new([member; 64]);
        Cosignature { member, signature }
    }

    #[test]
    fn a_signature_reads_back_and_nothing_else_does() {
        let text = Given(cosignature(7)).to_string();
        let given: Given = text.parse().expect("just printed");
        assert_eq!(given.0, cosignature(7));
        for bad in [
            "",
            "7",
            "7:",
            "300:00",
            "7:0x00",
            "x:00",
            &text[..text.len() - 1],
        ] {
            assert!(bad.parse::<Given>().is_err(), "{bad}");
        }
    }

    #[test]
    fn signatures_are_handed_in_once_each_in_the_order_of_places() {
        let mut list = vec![cosignature(2), cosignature(0), cosignature(2)];
        collect(&mut list, Some(cosignature(1)));
        assert_eq!(list, [0, 1, 2].map(cosignature));
    }
}
