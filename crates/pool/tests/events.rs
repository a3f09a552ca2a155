//! Every event keeps the bytes it was published with: journals of this release replay for ever.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use forebay_channel::{Address, NodeId, Signature};
use forebay_pool::*;
use forebay_quantity::*;

fn events() -> Vec<Event> {
    let (peer, asset, at) = (PeerId(2), AssetId(3), FactAt { block: 4, log: 5 });
    let (serial, amount, key) = (ChannelSerial(6), Amount::new(7), Address::new([8; 20]));
    let (in_peer, in_request, packet) = (PeerId(9), 10, PacketId(11));
    let (stamp, kind) = (Timestamp(12), NoticeKind::PeerKeyChange);
    let genesis = Genesis {
        operator: "test.pool".into(),
        pool_signer: key,
        expiry_margin_ms: 1,
        hold_max_ms: 2,
        forward_min_ms: 3,
        first_serial: serial,
    };
    let mut all = vec![
        Event::PacketPrepared {
            packet,
            in_peer,
            in_request,
            out_peer: peer,
            amount_in: 13,
            amount_out: 14,
            fee: 15,
            expires_in: stamp,
            expires_out: Timestamp(16),
            condition: [17; 32],
        },
        Event::PacketFulfilled {
            packet,
            in_peer,
            in_request,
            preimage: [18; 32],
        },
        Event::PacketRejected {
            packet,
            in_peer,
            in_request,
            code: *b"R00",
        },
        Event::VoucherSigned {
            peer,
            serial,
            amount,
        },
        Event::VoucherHeld {
            peer,
            serial,
            amount,
            signature: Signature::new([19; 64]),
        },
        Event::PriceReported {
            asset,
            source: SourceId(20),
            price: 21,
            at: stamp,
        },
        Event::Founded(Box::new(genesis)),
        Event::AssetAdded(Box::new(definition("ETH", 9, 18, 2)), Box::new(policy())),
        Event::AssetSet(asset, Box::new(policy())),
        Event::BookHalted {
            asset,
            deep_reorg: true,
        },
        Event::BookResumed(asset),
        Event::PeerAdded {
            name: "alice".into(),
            asset,
            token_hash: Hash32([22; 32]),
            policy: Box::new(peer_policy(23)),
        },
        Event::PeerSet(peer, Box::new(peer_policy(24))),
        Event::PeerRemoved(peer),
        Event::RouteAdded {
            prefix: "g.other".into(),
            peer,
        },
        Event::RouteRemoved {
            prefix: "g.other".into(),
        },
        Event::KeysNamed {
            peer,
            keys: PeerKeys {
                signer: key,
                payout: key,
            },
        },
        Event::ChainSettled {
            id: EffectId(25),
            failed: true,
        },
        Event::CommandTaken(CommandId([26; 16])),
    ];
    let rules = VaultRules {
        bucket_capacity: amount,
        bucket_refill_per_day: Amount::new(34),
        heartbeat_max_ms: 35,
        has_committee: true,
    };
    let requests = [
        ChainRequest::Open {
            peer,
            asset,
            serial,
            peer_signer: key,
            peer_payout: key,
            ceiling: amount,
            term_ends: stamp,
        },
        ChainRequest::Raise {
            asset,
            serial,
            ceiling: amount,
            term_ends: stamp,
        },
        ChainRequest::Redeem {
            asset,
            serial,
            amount,
            signature: Signature::new([27; 64]),
        },
        ChainRequest::RaiseIndex { asset, index: 28 },
        ChainRequest::PayExits { asset, cohort: 29 },
        ChainRequest::StartClose { asset, serial },
        ChainRequest::FinishNotice {
            asset,
            serial,
            kind,
        },
        ChainRequest::StartLower {
            asset,
            serial,
            ceiling: amount,
        },
        ChainRequest::Heartbeat { asset },
    ];
    all.extend(requests.map(|request| Event::ChainDemanded {
        id: EffectId(30),
        request,
    }));
    let facts = [
        VaultFact::NoteDeposited {
            owner: key,
            units: amount,
            amount,
        },
        VaultFact::ExitRequested {
            owner: key,
            cohort: 31,
            units: amount,
        },
        VaultFact::ExitPaid {
            cohort: 32,
            units: amount,
            amount,
        },
        VaultFact::IndexRaised { index: 33 },
        VaultFact::SharesDeposited { amount },
        VaultFact::SharesWithdrawn { amount },
        VaultFact::ChannelOpened {
            serial,
            peer_signer: key,
            pool_signer: key,
        },
        VaultFact::PeerDeposited {
            serial,
            ceiling: amount,
        },
        VaultFact::PeerWithdrew {
            serial,
            ceiling: amount,
            released: true,
        },
        VaultFact::AllotmentRaised {
            serial,
            ceiling: amount,
        },
        VaultFact::AllotmentRenewed {
            serial,
            term_ends: stamp,
        },
        VaultFact::AllotmentLowered {
            serial,
            ceiling: amount,
            released: true,
        },
        VaultFact::PoolPaid {
            serial,
            paid: amount,
        },
        VaultFact::PeerPaid {
            serial,
            paid: amount,
        },
        VaultFact::NoticeGiven {
            serial,
            kind,
            ceiling: amount,
            deadline: stamp,
        },
        VaultFact::NoticeDropped { serial, kind },
        VaultFact::KeyChanged {
            serial,
            of_peer: true,
            signer: key,
        },
        VaultFact::NettedOff { serial, amount },
        VaultFact::ChannelClosed {
            serial,
            pool_paid: amount,
            peer_paid: amount,
        },
        VaultFact::DeepReorg,
        VaultFact::RaiseCosigned { serial, amount },
        VaultFact::HeartbeatSeen { at: stamp },
        VaultFact::Frozen { until: stamp },
        VaultFact::MarkedDown { index: 36 },
        VaultFact::RunDownStarted,
    ];
    all.extend(facts.map(|fact| Event::ChainSaw {
        asset,
        at,
        depth: Depth::Final,
        fact,
    }));
    all.push(Event::InstructionTaken {
        id: CommandId([34; 16]),
        digest: Hash32([35; 32]),
    });
    for kind in [
        RelationKind::Child,
        RelationKind::Peer,
        RelationKind::Parent,
    ] {
        all.push(Event::RelationSet(
            peer,
            Relation {
                kind,
                sends_routes: true,
                receives_routes: false,
                debt_max: Amount::new(32),
            },
        ));
    }
    all.push(Event::VaultRulesKnown(asset, rules));
    let bitcoin = BitcoinDefinition {
        code: "BTC".into(),
        scale: 11,
        genesis: Hash32([41; 32]),
        index_rate_max: 42,
    };
    all.push(Event::BitcoinAdded(Box::new(bitcoin), Box::new(policy())));
    all.push(Event::IndexRaised { asset, index: 43 });
    let outpoint = Outpoint {
        txid: Hash32([50; 32]),
        index: 51,
    };
    let deposited = |owner| BitcoinFact::Deposited {
        outpoint,
        owner,
        amount,
    };
    let facts = [
        deposited(Some(key)),
        deposited(None),
        BitcoinFact::MinersPaid {
            txid: Hash32([52; 32]),
            amount,
        },
        BitcoinFact::DeepReorg,
    ];
    all.extend(facts.map(Event::BitcoinSaw));
    let node = NodeId([45; 33]);
    all.push(Event::ChainDemanded {
        id: EffectId(44),
        request: ChainRequest::OpenLightning {
            peer,
            asset,
            node,
            amount,
        },
    });
    all.extend(lightning(peer, node, amount).map(Event::Lightning));
    all.extend(claims(key, amount).map(Event::Claim));
    let moves = [
        ChainRequest::ToReserve { asset, amount },
        ChainRequest::FromReserve { asset, amount },
        ChainRequest::RenewReserve { asset },
    ];
    all.extend(moves.map(|request| Event::ChainDemanded {
        id: EffectId(62),
        request,
    }));
    let reserve = [
        ReserveEvent::RulesSet(ReserveRules {
            hot_max: amount,
            descriptor: Hash32([63; 32]),
        }),
        ReserveEvent::Found(Whereabouts {
            spendable: amount,
            waiting: Amount::new(64),
            wanted: Amount::new(65),
            reserve: Amount::new(66),
            oldest_days: 67,
        }),
        ReserveEvent::Lost {
            txid: Hash32([68; 32]),
            amount,
        },
    ];
    all.extend(reserve.map(Event::Reserve));
    all.extend(liquidity(peer, asset, amount));
    all.extend(sales(peer, asset, node, amount));
    all
}

fn sales(peer: PeerId, asset: AssetId, node: NodeId, amount: Amount) -> Vec<Event> {
    let (sale, channel) = (SaleId(70), LightningChannelId(1 << 127 | 71));
    let terms = SaleTerms {
        fee_min: Amount::new(72),
        fee_ppm: 73,
        valid_until: Timestamp(74),
        lifetime_ms: 75,
        payment_min: Amount::new(76),
        payment_max: Amount::new(77),
    };
    let requests = [
        ChainRequest::SellLightning {
            asset,
            sale,
            node,
            amount,
        },
        ChainRequest::CloseSold {
            asset,
            sale,
            channel,
            amount,
        },
    ];
    let happened = [
        SaleEvent::Promised { sale, node, terms },
        SaleEvent::Funded { sale, fee: amount },
        SaleEvent::Forwarded {
            number: 78,
            fee: amount,
            withheld: Amount::new(79),
            sale: Some(sale),
            peer: Some(peer),
        },
        SaleEvent::Closed {
            sale,
            balance: amount,
        },
        SaleEvent::Returned {
            sale,
            cost: amount,
            gain: Amount::new(88),
        },
        SaleEvent::ClosingPaid {
            sale,
            txid: Hash32([89; 32]),
            fee: amount,
        },
    ];
    let policy = SalePolicy {
        buyers: Buyers::Anyone,
        payment_min: Amount::new(80),
        channel_max: Amount::new(81),
        sold_max: Amount::new(82),
        fee_min: Amount::new(83),
        fee_ppm: Ppm(84),
        room_ppm: Ppm(85),
        lifetime_ms: 86,
        valid_ms: 87,
    };
    let demanded = requests.map(|request| Event::ChainDemanded {
        id: EffectId(44),
        request,
    });
    let mut all = demanded.to_vec();
    all.extend(happened.map(Event::Sale));
    all.push(Event::SalesSet(Box::new(policy)));
    all
}

fn liquidity(peer: PeerId, asset: AssetId, amount: Amount) -> Vec<Event> {
    let channel = LightningChannelId(1 << 127 | 53);
    let (value, txid) = (Amount::new(54), Hash32([55; 32]));
    let requests = [
        ChainRequest::SpliceIn {
            peer,
            asset,
            channel,
            value,
            amount,
        },
        ChainRequest::SpliceOut {
            peer,
            asset,
            channel,
            value,
            amount,
        },
        ChainRequest::CloseLightning {
            peer,
            asset,
            channel,
            amount,
        },
    ];
    let happened = [
        LightningEvent::ChannelStands {
            peer,
            channel,
            value,
            is_ours: true,
            splices: false,
        },
        LightningEvent::ChannelSpliced {
            peer,
            channel,
            txid,
            fee: amount,
        },
        LightningEvent::ChannelClosed {
            peer,
            channel,
            balance: amount,
        },
        LightningEvent::ChannelReturned {
            peer,
            channel,
            cost: amount,
        },
        LightningEvent::Woken { peer },
        LightningEvent::ClosingPaid {
            peer,
            channel,
            txid: Hash32([0x38; 32]),
            fee: amount,
        },
        LightningEvent::ChannelGained {
            peer,
            channel,
            gain: amount,
        },
    ];
    let policy = LiquidityPolicy {
        cover_days: 56,
        channel_max: Amount::new(57),
        change_min: Amount::new(58),
        fee_base: Amount::new(59),
        fee_ppm: Ppm(60),
        rest_ms: 61,
        idle_ms: 62,
        capital_ppm_per_day: Ppm(63),
    };
    let demanded = requests.map(|request| Event::ChainDemanded {
        id: EffectId(44),
        request,
    });
    let mut all = demanded.to_vec();
    all.extend(happened.map(Event::Lightning));
    all.push(Event::LiquiditySet(Box::new(policy)));
    all.push(Event::LightningStored {
        generation: 0x0102_0304,
    });
    all.push(Event::Reserve(ReserveEvent::Given {
        outpoint: Outpoint {
            txid,
            index: 0x0506,
        },
        amount,
    }));
    all
}

fn claims(owner: Address, amount: Amount) -> [ClaimEvent; 8] {
    let (id, invoice, payout) = (EffectId(55), [56; 16], vec![57; 22]);
    let begun = |payout| ClaimEvent::WithdrawalBegun {
        id,
        owner,
        units: Amount::new(58),
        amount,
        fee_max: Amount::new(59),
        payout,
    };
    [
        ClaimEvent::LpAdded {
            owner,
            payout: payout.clone(),
        },
        ClaimEvent::PayoutSet {
            owner,
            payout: payout.clone(),
        },
        begun(Payout::Output(payout)),
        begun(Payout::Invoice(Hash32([60; 32]))),
        ClaimEvent::WithdrawalPaid {
            id,
            owner,
            fee: amount,
        },
        ClaimEvent::WithdrawalFailed { id, owner },
        ClaimEvent::InvoiceGiven {
            owner,
            invoice,
            amount,
            expires_at: Timestamp(61),
        },
        ClaimEvent::InvoicePaid {
            owner,
            invoice,
            amount,
        },
    ]
}

fn lightning(peer: PeerId, node: NodeId, amount: Amount) -> [LightningEvent; 9] {
    let settlement = EffectId(44);
    [
        LightningEvent::NodeNamed { peer, node },
        LightningEvent::InvoiceGiven {
            peer,
            settlement: 46,
            amount,
            expires_at: Timestamp(47),
        },
        LightningEvent::Received {
            peer,
            settlement: 46,
            amount,
        },
        LightningEvent::SettlementBegun {
            peer,
            settlement,
            amount,
        },
        LightningEvent::SettlementHashed {
            peer,
            settlement,
            hash: Hash32([48; 32]),
        },
        LightningEvent::SettlementPaid {
            peer,
            settlement,
            fee: amount,
        },
        LightningEvent::SettlementFailed { peer, settlement },
        LightningEvent::CapacityKnown {
            peer,
            outbound: amount,
            inbound: Amount::new(49),
        },
        LightningEvent::ChannelFunded { peer, fee: amount },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_event_encodes_to_the_committed_bytes_and_back() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../spec/vectors/events.json"
    );
    let ours: Vec<String> = events()
        .iter()
        .map(|event| hex(&borsh::to_vec(event).unwrap()))
        .collect();
    let text = std::fs::read_to_string(path).unwrap();
    let committed: Vec<String> = serde_json::from_str(&text).unwrap();
    assert_eq!(
        ours, committed,
        "an event's bytes changed: old journals would not replay"
    );
    for (event, bytes) in events().iter().zip(ours) {
        let bytes: Vec<u8> = (0..bytes.len() / 2)
            .map(|at| u8::from_str_radix(&bytes[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert_eq!(&borsh::from_slice::<Event>(&bytes).unwrap(), event);
    }
}

/// The first bytes of two events written out by hand from `spec/events.md`, so that the vectors are not only our own echo.
#[test]
fn the_layout_is_the_one_in_the_specification() {
    let fulfilled = &borsh::to_vec(&events()[1]).unwrap();
    let mut expected = vec![1u8, 11, 0, 0, 0, 9, 0, 0, 0, 10, 0, 0, 0];
    expected.extend([18u8; 32]);
    assert_eq!(fulfilled, &expected);
    let named = &borsh::to_vec(&events()[14]).unwrap();
    let mut expected = vec![14u8, 7, 0, 0, 0];
    expected.extend(b"g.other");
    expected.extend([2, 0, 0, 0]);
    assert_eq!(named, &expected);
}
