//! The parts of LND's answers that are looked at.

use serde::{Deserialize, Deserializer};

use super::{InvoiceTerms, Paid};
use crate::Fault;

#[derive(Debug, Deserialize)]
pub(super) struct Info {
    pub(super) identity_pubkey: String,
    pub(super) chains: Vec<Chain>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Chain {
    pub(super) network: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Signed {
    pub(super) signature: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Added {
    pub(super) payment_request: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Invoice {
    pub(super) payment_request: String,
    pub(super) state: String,
    #[serde(deserialize_with = "number")]
    value_msat: u64,
    #[serde(rename = "amt_paid_msat", deserialize_with = "number")]
    pub(super) paid_msat: u64,
}

impl Invoice {
    pub(super) fn on_terms(self, terms: InvoiceTerms) -> Result<String, Fault> {
        if self.value_msat != terms.amount_msat {
            return Err(Fault::InvoiceDiffers {
                amount_msat: self.value_msat,
            });
        }
        Ok(self.payment_request)
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Payment {
    status: String,
    #[serde(deserialize_with = "number")]
    fee_msat: u64,
    #[serde(default)]
    failure_reason: String,
}

impl Payment {
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.status.as_str(), "SUCCEEDED" | "FAILED")
    }

    /// Of one that has ended.
    pub(super) fn standing(self) -> Paid {
        match self.status.as_str() {
            "SUCCEEDED" => Paid::Sent {
                fee_msat: self.fee_msat,
            },
            _ => Paid::Failed {
                why: self.failure_reason,
            },
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Channels {
    pub(super) channels: Vec<Channel>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Channel {
    pub(super) active: bool,
    pub(super) remote_pubkey: String,
    initiator: bool,
    #[serde(deserialize_with = "number")]
    local_balance: u64,
    #[serde(deserialize_with = "number")]
    remote_balance: u64,
    #[serde(deserialize_with = "number")]
    commit_fee: u64,
    local_constraints: Constraints,
    remote_constraints: Constraints,
}

#[derive(Debug, Deserialize)]
struct Constraints {
    #[serde(deserialize_with = "number")]
    chan_reserve_sat: u64,
}

impl Channel {
    pub(super) fn outbound_msat(&self) -> u64 {
        carried(self.local_balance, &self.local_constraints, self.fee(true))
    }

    pub(super) fn inbound_msat(&self) -> u64 {
        carried(
            self.remote_balance,
            &self.remote_constraints,
            self.fee(false),
        )
    }

    /// Whoever opened a channel pays for its commitment, and has to keep as much again for what a payment adds to it.
    fn fee(&self, is_local: bool) -> u64 {
        match self.initiator == is_local {
            true => self.commit_fee,
            false => 0,
        }
    }
}

/// In millisatoshi.
fn carried(balance: u64, constraints: &Constraints, fee: u64) -> u64 {
    let free = balance.saturating_sub(constraints.chan_reserve_sat);
    free.saturating_sub(fee).saturating_mul(1_000)
}

/// Numbers of 64 bits are strings; none of those looked at is below zero.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_channel_carries_leaves_its_reserve_and_the_commitment_s_fee() {
        let text = r#"{ "channels": [{ "active": true, "remote_pubkey": "02aa", "capacity": "500000", "initiator": true,
            "local_balance": "396530", "remote_balance": "100000", "commit_fee": "2810", "unsettled_balance": "0",
            "local_constraints": { "csv_delay": 144, "chan_reserve_sat": "5000", "dust_limit_sat": "354" },
            "remote_constraints": { "csv_delay": 144, "chan_reserve_sat": "5000", "dust_limit_sat": "354" } }] }"#;
        let read: Channels = serde_json::from_str(text).expect("a channel");
        let channel = &read.channels[0];
        assert_eq!(channel.outbound_msat(), (396_530 - 5_000 - 2_810) * 1_000);
        assert_eq!(channel.inbound_msat(), (100_000 - 5_000) * 1_000);
    }

    #[test]
    fn a_payment_has_ended_when_it_arrived_or_failed_only() {
        let read = |status: &str| -> Payment {
            let text = format!(
                r#"{{ "status": "{status}", "fee_msat": "7", "failure_reason": "FAILURE_REASON_NO_ROUTE" }}"#
            );
            serde_json::from_str(&text).expect("a payment")
        };
        for under_way in ["IN_FLIGHT", "INITIATED", "UNKNOWN"] {
            assert!(!read(under_way).is_ended());
        }
        assert!(read("SUCCEEDED").is_ended());
        assert_eq!(read("SUCCEEDED").standing(), Paid::Sent { fee_msat: 7 });
        let why = "FAILURE_REASON_NO_ROUTE".to_owned();
        assert_eq!(read("FAILED").standing(), Paid::Failed { why });
    }
}
