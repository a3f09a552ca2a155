//! Says what an event is, in words and with names.

use std::collections::BTreeMap;

use forebay_channel::Address;
use forebay_pool::{Buyers, ChainRequest, Event, NoticeKind, RelationKind, State, VaultFact};
use forebay_quantity::{Amount, AssetId, ChannelSerial, PeerId};

use super::claim::claim;
use super::reserve::reserve;
use super::sale::sale;

/// What numbers stand for.
#[derive(Debug, Default)]
pub(super) struct Names {
    assets: Vec<AssetName>,
    peers: Vec<(String, AssetId)>,
    channels: BTreeMap<ChannelSerial, PeerId>,
}

#[derive(Debug)]
struct AssetName {
    code: String,
    chain_scale: u8,
}

/// An event, said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) kind: &'static str,
    pub(super) peer: Option<String>,
    pub(super) asset: Option<String>,
    pub(super) owner: Option<Address>,
    pub(super) text: String,
}

impl Names {
    pub(super) fn of(state: &State) -> Self {
        let assets = state.assets().map(|(_, asset)| AssetName {
            code: asset.definition.code.clone(),
            chain_scale: asset.definition.chain_scale,
        });
        let channels = state.peers().filter_map(|(id, peer)| {
            let channel = peer.channel.as_ref()?;
            Some((channel.serial(), id))
        });
        Self {
            assets: assets.collect(),
            peers: state
                .peers()
                .map(|(_, peer)| (peer.name.clone(), peer.asset))
                .collect(),
            channels: channels.collect(),
        }
    }

    /// Takes in the names that an event brings.
    pub(super) fn learn(&mut self, event: &Event) {
        if let Event::AssetAdded(definition, _) = event {
            self.assets.push(AssetName {
                code: definition.code.clone(),
                chain_scale: definition.chain_scale,
            });
        }
        if let Event::BitcoinAdded(definition, _) = event {
            self.assets.push(AssetName {
                code: definition.code.clone(),
                chain_scale: forebay_pool::MILLISATOSHI_SCALE,
            });
        }
        if let Event::PeerAdded { name, asset, .. } = event {
            self.peers.push((name.clone(), *asset));
        }
        if let Event::ChainDemanded {
            request: ChainRequest::Open { peer, serial, .. },
            ..
        } = event
        {
            self.channels.insert(*serial, *peer);
        }
    }

    pub(super) fn say(&self, event: &Event) -> Said {
        match event {
            Event::PacketPrepared { in_peer, .. } => {
                self.of_peer("packet-prepared", *in_peer, "a packet is prepared".into())
            }
            Event::PacketFulfilled { in_peer, .. } => {
                self.of_peer("packet-fulfilled", *in_peer, "a packet is fulfilled".into())
            }
            Event::PacketRejected { in_peer, .. } => {
                self.of_peer("packet-rejected", *in_peer, "a packet is rejected".into())
            }
            Event::VoucherSigned {
                peer,
                serial,
                amount,
            } => {
                let amount = self.lane(*peer, *amount);
                let text = format!(
                    "signed to the peer: {amount} in all on channel {}",
                    serial.0
                );
                self.of_peer("voucher-signed", *peer, text)
            }
            Event::VoucherHeld {
                peer,
                serial,
                amount,
                ..
            } => {
                let amount = self.lane(*peer, *amount);
                let text = format!(
                    "accepted of the peer: {amount} in all on channel {}",
                    serial.0
                );
                self.of_peer("voucher-held", *peer, text)
            }
            Event::PriceReported {
                asset,
                source,
                price,
                ..
            } => {
                let price = whole(Amount::new(*price), 12);
                let text = format!("source {} says {price}", source.0);
                self.of_asset("price-reported", *asset, text)
            }
            Event::Founded(genesis) => {
                of_pool("founded", format!("the pool {} exists", genesis.operator))
            }
            Event::AssetAdded(definition, _) => Said {
                asset: Some(definition.code.clone()),
                ..of_pool(
                    "asset-added",
                    format!("listed; its vault is {}", definition.vault),
                )
            },
            Event::BitcoinAdded(definition, _) => Said {
                asset: Some(definition.code.clone()),
                ..of_pool("bitcoin-added", "listed; its money is on Bitcoin".into())
            },
            Event::IndexRaised { asset, index } => {
                let index = whole(Amount::new(*index), 27);
                self.of_asset(
                    "index-raised",
                    *asset,
                    format!("notes are worth {index} now"),
                )
            }
            Event::Lightning(happened) => self.lightning(happened),
            Event::LightningStored { generation } => {
                let text = format!("the Lightning store was written {generation} times by now");
                of_pool("lightning-stored", text)
            }
            Event::LiquiditySet(policy) => {
                let days = policy.cover_days;
                let text = format!("Lightning channels cover the flow of {days} days from now on");
                of_pool("liquidity-set", text)
            }
            Event::Sale(happened) => sale(happened),
            Event::SalesSet(policy) => {
                let whom = match policy.buyers {
                    Buyers::Nobody => "to nobody",
                    Buyers::Peers => "to nodes of accounts",
                    Buyers::Anyone => "to any node",
                };
                let text = format!("Lightning channels are sold {whom} from now on");
                of_pool("sales-set", text)
            }
            Event::BitcoinSaw(fact) => self.on_bitcoin(fact),
            Event::Claim(happened) => claim(happened),
            Event::Reserve(happened) => reserve(happened),
            Event::AssetSet(asset, policy) => {
                let floor = policy.spread.floor_ppm.value();
                let lent = policy.lent_max;
                let text = format!("policy replaced: spread from {floor} ppm, lent at most {lent}");
                self.of_asset("asset-set", *asset, text)
            }
            Event::VaultRulesKnown(asset, rules) => {
                let text = match rules.has_committee {
                    true => "the vault's rules are read: it has a committee",
                    false => "the vault's rules are read: it has no committee",
                };
                self.of_asset("vault-rules-known", *asset, text.into())
            }
            Event::BookHalted { asset, deep_reorg } => {
                let why = match deep_reorg {
                    true => "quoting stopped: the chain dropped a final block",
                    false => "quoting stopped",
                };
                self.of_asset("book-halted", *asset, why.into())
            }
            Event::BookResumed(asset) => {
                self.of_asset("book-resumed", *asset, "quoting goes on".into())
            }
            Event::PeerAdded { name, asset, .. } => Said {
                peer: Some(name.clone()),
                ..self.of_asset("peer-added", *asset, "account opened".into())
            },
            Event::PeerSet(peer, policy) => {
                let text = format!(
                    "limits replaced: credit {}, packets up to {}, allotment {}",
                    policy.credit, policy.packet_max, policy.allotment
                );
                self.of_peer("peer-set", *peer, text)
            }
            Event::RelationSet(peer, relation) => {
                let kind = match relation.kind {
                    RelationKind::Child => "child",
                    RelationKind::Peer => "peer",
                    RelationKind::Parent => "parent",
                };
                let text = format!(
                    "is a {kind} now; may be owed {} uncovered",
                    relation.debt_max
                );
                self.of_peer("relation-set", *peer, text)
            }
            Event::PeerRemoved(peer) => self.of_peer(
                "peer-removed",
                *peer,
                "takes part no more; its channel closes".into(),
            ),
            Event::RouteAdded { prefix, peer } => {
                self.of_peer("route-added", *peer, format!("{prefix} leads to it"))
            }
            Event::RouteRemoved { prefix } => {
                of_pool("route-removed", format!("{prefix} leads nowhere"))
            }
            Event::KeysNamed { peer, keys } => {
                let text = format!("signs with {}, is paid at {}", keys.signer, keys.payout);
                self.of_peer("keys-named", *peer, text)
            }
            Event::ChainDemanded { id, request } => self.demanded(id.0, request),
            Event::ChainSettled { id, failed } => {
                let text = match failed {
                    true => format!("demand {} failed; planned anew", id.0),
                    false => format!("demand {} is on the chain", id.0),
                };
                of_pool("chain-settled", text)
            }
            Event::ChainSaw { asset, fact, .. } => self.saw(*asset, fact),
            Event::CommandTaken(id) | Event::InstructionTaken { id, .. } => {
                let text = format!("instruction {} was carried out", hex::encode(id.0));
                of_pool("instruction-taken", text)
            }
        }
    }

    fn demanded(&self, id: u64, request: &ChainRequest) -> Said {
        let amount = |amount: &Amount| self.chain(request.asset(), *amount);
        let text = match request {
            ChainRequest::Open { ceiling, .. } => format!("open with {} allotted", amount(ceiling)),
            ChainRequest::Raise { ceiling, .. } => {
                format!("raise the allotment to {} in all", amount(ceiling))
            }
            ChainRequest::Redeem { amount: all, .. } => {
                format!("redeem vouchers for {} in all", amount(all))
            }
            ChainRequest::RaiseIndex { index, .. } => {
                format!("raise the note index to {}", whole(Amount::new(*index), 27))
            }
            ChainRequest::PayExits { cohort, .. } => format!("pay exits from cohort {cohort}"),
            ChainRequest::Heartbeat { .. } => "show that the operator is there".into(),
            ChainRequest::OpenLightning { amount: ours, .. } => {
                format!("open a Lightning channel with {}", amount(ours))
            }
            ChainRequest::ToReserve { amount: swept, .. } => {
                format!("sweep {} to the reserve", amount(swept))
            }
            ChainRequest::FromReserve { amount: back, .. } => {
                format!("ask {} back from the reserve", amount(back))
            }
            ChainRequest::RenewReserve { .. } => "renew old outputs of the reserve".into(),
            ChainRequest::SpliceIn {
                channel,
                amount: more,
                ..
            } => format!("add {} to the Lightning channel {channel}", amount(more)),
            ChainRequest::SpliceOut {
                channel,
                amount: less,
                ..
            } => format!(
                "take {} out of the Lightning channel {channel}",
                amount(less)
            ),
            ChainRequest::CloseLightning { channel, .. } => {
                format!("close the Lightning channel {channel}")
            }
            ChainRequest::SellLightning { amount: ours, .. } => {
                format!(
                    "open a Lightning channel that was sold, with {}",
                    amount(ours)
                )
            }
            ChainRequest::CloseSold { channel, .. } => {
                format!("close the Lightning channel {channel}, which was sold")
            }
            ChainRequest::StartClose { .. } => "announce the close".into(),
            ChainRequest::FinishNotice { kind, .. } => format!("finish the {}", notice(*kind)),
            ChainRequest::StartLower { ceiling, .. } => {
                format!("announce that the allotment sinks to {}", amount(ceiling))
            }
        };
        let peer = match request {
            ChainRequest::Open { peer, .. }
            | ChainRequest::OpenLightning { peer, .. }
            | ChainRequest::SpliceIn { peer, .. }
            | ChainRequest::SpliceOut { peer, .. }
            | ChainRequest::CloseLightning { peer, .. } => Some(*peer),
            ChainRequest::Raise { .. }
            | ChainRequest::Redeem { .. }
            | ChainRequest::RaiseIndex { .. }
            | ChainRequest::PayExits { .. }
            | ChainRequest::Heartbeat { .. }
            | ChainRequest::ToReserve { .. }
            | ChainRequest::FromReserve { .. }
            | ChainRequest::RenewReserve { .. }
            | ChainRequest::SellLightning { .. }
            | ChainRequest::CloseSold { .. }
            | ChainRequest::StartClose { .. }
            | ChainRequest::FinishNotice { .. }
            | ChainRequest::StartLower { .. } => request
                .serial()
                .and_then(|serial| self.channels.get(&serial).copied()),
        };
        Said {
            peer: peer.and_then(|peer| self.peer(peer)),
            ..self.of_asset(
                "chain-demanded",
                request.asset(),
                format!("demand {id}: {text}"),
            )
        }
    }

    fn saw(&self, asset: AssetId, fact: &VaultFact) -> Said {
        let amount = |amount: &Amount| self.chain(asset, *amount);
        let of_owner = |kind, owner: &Address, text: String| Said {
            owner: Some(*owner),
            ..self.of_asset(kind, asset, text)
        };
        let on = |kind, serial: &ChannelSerial, text: String| Said {
            peer: self.channels.get(serial).and_then(|peer| self.peer(*peer)),
            ..self.of_asset(kind, asset, format!("channel {}: {text}", serial.0))
        };
        match fact {
            VaultFact::NoteDeposited {
                owner,
                units,
                amount: paid,
            } => {
                let text = format!("{owner} paid in {} for {units} units", amount(paid));
                of_owner("note-deposited", owner, text)
            }
            VaultFact::ExitRequested {
                owner,
                cohort,
                units,
            } => {
                let text = format!("{owner} leaves with {units} units, in cohort {cohort}");
                of_owner("exit-requested", owner, text)
            }
            VaultFact::ExitPaid {
                cohort,
                amount: paid,
                ..
            } => {
                let text = format!("cohort {cohort} is paid {}", amount(paid));
                self.of_asset("exit-paid", asset, text)
            }
            VaultFact::IndexRaised { index } => {
                let text = format!("notes are worth {}", whole(Amount::new(*index), 27));
                self.of_asset("index-raised", asset, text)
            }
            VaultFact::SharesDeposited { amount: paid } => {
                let text = format!("{} of first-loss capital came", amount(paid));
                self.of_asset("shares-deposited", asset, text)
            }
            VaultFact::SharesWithdrawn { amount: paid } => {
                let text = format!("{} of first-loss capital left", amount(paid));
                self.of_asset("shares-withdrawn", asset, text)
            }
            VaultFact::ChannelOpened { serial, .. } => on("channel-opened", serial, "open".into()),
            VaultFact::PeerDeposited { serial, ceiling } => {
                let text = format!("the peer has deposited {} in all", amount(ceiling));
                on("peer-deposited", serial, text)
            }
            VaultFact::PeerWithdrew {
                serial, ceiling, ..
            } => {
                let text = format!("the peer withdrew down to {}", amount(ceiling));
                on("peer-withdrew", serial, text)
            }
            VaultFact::AllotmentRaised { serial, ceiling } => {
                let text = format!("{} allotted in all", amount(ceiling));
                on("allotment-raised", serial, text)
            }
            VaultFact::AllotmentRenewed { serial, .. } => {
                on("allotment-renewed", serial, "the term is renewed".into())
            }
            VaultFact::AllotmentLowered {
                serial, ceiling, ..
            } => {
                let text = format!("the allotment sank to {}", amount(ceiling));
                on("allotment-lowered", serial, text)
            }
            VaultFact::PoolPaid { serial, paid } => {
                let text = format!("the peer redeemed {} in all", amount(paid));
                on("pool-paid", serial, text)
            }
            VaultFact::PeerPaid { serial, paid } => {
                let text = format!("the pool redeemed {} in all", amount(paid));
                on("peer-paid", serial, text)
            }
            VaultFact::NoticeGiven { serial, kind, .. } => {
                let text = format!("notice of the {}", notice(*kind));
                on("notice-given", serial, text)
            }
            VaultFact::NoticeDropped { serial, kind } => {
                let text = format!("the notice of the {} is gone", notice(*kind));
                on("notice-dropped", serial, text)
            }
            VaultFact::KeyChanged { serial, signer, .. } => {
                on("key-changed", serial, format!("{signer} signs now"))
            }
            VaultFact::NettedOff {
                serial,
                amount: netted,
            } => {
                let text = format!("{} paid each way without moving", amount(netted));
                on("netted-off", serial, text)
            }
            VaultFact::ChannelClosed { serial, .. } => {
                on("channel-closed", serial, "closed".into())
            }
            VaultFact::RaiseCosigned {
                serial,
                amount: signed,
            } => {
                let text = format!("the committee co-signed {} of the raise", amount(signed));
                on("raise-cosigned", serial, text)
            }
            VaultFact::HeartbeatSeen { .. } => {
                self.of_asset("heartbeat-seen", asset, "the operator is there".into())
            }
            VaultFact::Frozen { until } => {
                let text = format!(
                    "the committee froze raises and renewals until {} ms since 1970",
                    until.0
                );
                self.of_asset("frozen", asset, text)
            }
            VaultFact::MarkedDown { index } => {
                let text = format!(
                    "the committee marked notes down to {} and wrote off the shares",
                    whole(Amount::new(*index), 27)
                );
                self.of_asset("marked-down", asset, text)
            }
            VaultFact::RunDownStarted => {
                self.of_asset("run-down-started", asset, "the vault runs down".into())
            }
            VaultFact::DeepReorg => {
                let text = "the chain dropped a block that was final";
                self.of_asset("deep-reorg", asset, text.into())
            }
        }
    }

    pub(super) fn of_peer(&self, kind: &'static str, peer: PeerId, text: String) -> Said {
        let asset = self.peers.get(peer.0 as usize).map(|(_, asset)| *asset);
        Said {
            peer: self.peer(peer),
            asset: asset.and_then(|asset| self.code(asset)),
            ..of_pool(kind, text)
        }
    }

    fn of_asset(&self, kind: &'static str, asset: AssetId, text: String) -> Said {
        Said {
            asset: self.code(asset),
            ..of_pool(kind, text)
        }
    }

    fn peer(&self, peer: PeerId) -> Option<String> {
        let known = self.peers.get(peer.0 as usize);
        known.map(|(name, _)| name.clone())
    }

    fn code(&self, asset: AssetId) -> Option<String> {
        let known = self.assets.get(usize::from(asset.0));
        known.map(|asset| asset.code.clone())
    }

    /// An amount of a peer's channel.
    pub(super) fn lane(&self, peer: PeerId, amount: Amount) -> String {
        let known = self.peers.get(peer.0 as usize);
        known.map_or_else(
            || amount.to_string(),
            |(_, asset)| self.chain(*asset, amount),
        )
    }

    /// A chain amount in whole units, with the asset's code.
    fn chain(&self, asset: AssetId, amount: Amount) -> String {
        match self.assets.get(usize::from(asset.0)) {
            Some(known) => format!("{} {}", whole(amount, known.chain_scale), known.code),
            None => amount.to_string(),
        }
    }
}

pub(super) fn of_pool(kind: &'static str, text: String) -> Said {
    Said {
        kind,
        peer: None,
        asset: None,
        owner: None,
        text,
    }
}

fn notice(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Close => "close",
        NoticeKind::AllotmentLowering => "lowering of the allotment",
        NoticeKind::DepositWithdrawal => "withdrawal of the deposit",
        NoticeKind::PeerKeyChange => "change of the peer's key",
        NoticeKind::PoolKeyChange => "change of the pool's key",
    }
}

/// Base units as whole ones, exact: 1500000 at scale 6 is 1.5.
pub(crate) fn whole(amount: Amount, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", amount.value(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    let part = part.trim_end_matches('0');
    match part.is_empty() {
        true => whole.to_owned(),
        false => format!("{whole}.{part}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_said_with_names_and_whole_units() {
        let mut names = Names::default();
        names.assets.push(AssetName {
            code: "ETH".into(),
            chain_scale: 18,
        });
        names.peers.push(("alice".into(), AssetId(0)));
        names.channels.insert(ChannelSerial(4), PeerId(0));
        let said = names.say(&Event::VoucherSigned {
            peer: PeerId(0),
            serial: ChannelSerial(4),
            amount: Amount::new(1_500_000_000_000_000_000),
        });
        assert_eq!(said.text, "signed to the peer: 1.5 ETH in all on channel 4");
        let fact = VaultFact::NoticeGiven {
            serial: ChannelSerial(4),
            kind: NoticeKind::Close,
            ceiling: Amount::ZERO,
            deadline: forebay_quantity::Timestamp(9),
        };
        let said = names.saw(AssetId(0), &fact);
        assert_eq!(said.peer.as_deref(), Some("alice"));
        assert_eq!(said.text, "channel 4: notice of the close");
    }

    #[test]
    fn whole_units_are_exact() {
        for (units, scale, expected) in
            [(0, 9, "0"), (1, 3, "0.001"), (1_500, 3, "1.5"), (7, 0, "7")]
        {
            assert_eq!(whole(Amount::new(units), scale), expected);
        }
    }
}
