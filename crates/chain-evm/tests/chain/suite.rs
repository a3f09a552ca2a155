//! The adapter suite on the real chain.

use crate::world::{CLOSE_PERIOD_S, Chain, ETHER, follower_settings, key};
use forebay_adapter_suite::{
    Answer, BUCKET_CAPACITY, CLOSE_PERIOD, COMMITTEE, COMMITTEE_FREEZE, COMMITTEE_SPEND,
    Digestible, HEARTBEAT_MAX, Party, Rail, run,
};
use forebay_chain_evm::{Account, Fault, Follower, Vault, VaultParameters};
use forebay_channel::{
    Address, Domain, Finality, Signature,
    vault::{VaultObservation, VaultRequest},
};
use forebay_quantity::{Amount, BlockHeight, ChannelSerial, EffectId, Milliseconds, Timestamp};
use std::collections::BTreeMap;
use tokio::runtime::Runtime;

const PARTIES: [Party; 4] = [Party::Operator, Party::Peer, Party::Lp, Party::Stranger];

struct AnvilRail {
    runtime: Runtime,
    chain: Chain,
    address: Address,
    vaults: Vec<Vault>,
    follower: Follower,
    height_reported: BlockHeight,
    fees: BTreeMap<(Party, EffectId), Amount>,
}

fn number(party: Party) -> usize {
    PARTIES
        .iter()
        .position(|known| *known == party)
        .expect("all parties are listed")
}

impl AnvilRail {
    fn new(with_token: bool) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let chain = Chain::start();
        let bounded = |parameters: &mut VaultParameters| {
            parameters.bucket_capacity = BUCKET_CAPACITY;
            parameters.bucket_refill_per_day = Amount::ZERO;
            parameters.heartbeat_max_s =
                u32::try_from(HEARTBEAT_MAX.value() / 1_000).expect("a month");
            parameters.committee = COMMITTEE.map(|party| key(number(party)).address()).to_vec();
            parameters.committee_spend = COMMITTEE_SPEND;
            parameters.committee_freeze = COMMITTEE_FREEZE;
        };
        let (address, block) = runtime.block_on(chain.vault_with(with_token, bounded));
        let vaults = runtime.block_on(connect_all(&chain, address));
        let follower = {
            let _entered = runtime.enter();
            vaults[0].follow(follower_settings(block))
        };
        let height_reported = BlockHeight::new(0);
        Self {
            runtime,
            chain,
            address,
            vaults,
            follower,
            height_reported,
            fees: BTreeMap::new(),
        }
    }

    fn account(&self) -> &Account {
        self.vaults[0].account()
    }
}

async fn connect_all(chain: &Chain, address: Address) -> Vec<Vault> {
    let mut vaults = Vec::new();
    for party in PARTIES {
        vaults.push(chain.connect(address, number(party)).await);
    }
    vaults
}

impl Rail for AnvilRail {
    fn address(&self, party: Party) -> Address {
        key(number(party)).address()
    }

    fn sign(&self, party: Party, domain: &Domain, message: &dyn Digestible) -> Signature {
        key(number(party)).sign(&message.digest_in(domain))
    }

    fn domain(&self) -> Domain {
        *self.vaults[0].domain()
    }

    fn request(&mut self, party: Party, effect: EffectId, request: &VaultRequest) -> Answer {
        let vault = &self.vaults[number(party)];
        match self
            .runtime
            .block_on(vault.execute(effect, request, Finality::Seen))
        {
            Ok(included) => {
                assert!(
                    included.succeeded,
                    "it would have been refused before it was sent"
                );
                self.fees.insert((party, effect), included.fee);
                Answer::Done
            }
            Err(Fault::Refused { reason }) => Answer::Refused(reason.name),
            Err(fault) => panic!("{fault}"),
        }
    }

    fn mine(&mut self, blocks: u32) {
        self.runtime.block_on(self.chain.mine(u64::from(blocks)));
    }

    fn pass(&mut self, span: Milliseconds) {
        self.runtime.block_on(self.chain.pass(span.value() / 1_000));
    }

    fn reorg(&mut self, blocks: u32) {
        self.runtime.block_on(self.chain.reorg(u64::from(blocks)));
        // The suite wants the transactions to be lost; accounts that remember them would send them again.
        self.vaults = self
            .runtime
            .block_on(connect_all(&self.chain, self.address));
    }

    fn now(&self) -> Timestamp {
        self.runtime.block_on(self.chain.now())
    }

    fn observations(&mut self) -> Vec<VaultObservation> {
        if self.height_reported.value() >= self.runtime.block_on(self.chain.height()) {
            return Vec::new();
        }
        let seen = self
            .runtime
            .block_on(self.chain.catch_up(&mut self.follower));
        if let Some(VaultObservation::Head(head)) = seen.last() {
            self.height_reported = head.latest;
        }
        seen
    }

    fn balance(&self, owner: Address) -> Amount {
        let account = self.account();
        match self.vaults[0].asset() {
            Some(token) => self
                .runtime
                .block_on(account.token_balance_of(token, owner, Finality::Seen))
                .expect("the chain is there"),
            None => {
                let held = self
                    .runtime
                    .block_on(account.balance_of(owner, Finality::Seen));
                let of_owner = self
                    .fees
                    .iter()
                    .filter(|((party, _), _)| self.address(*party) == owner);
                of_owner.fold(held.expect("the chain is there"), |sum, (_, fee)| {
                    sum.saturating_add(*fee)
                })
            }
        }
    }
}

#[test]
fn a_token_vault_keeps_every_claim_of_the_suite() {
    assert_eq!(CLOSE_PERIOD.value(), CLOSE_PERIOD_S * 1_000);
    let mut rail = AnvilRail::new(true);
    assert!(rail.balance(rail.address(Party::Peer)).value() >= 1_000_000 * ETHER);
    run(&mut rail, ChannelSerial::new(1));
}

#[test]
fn an_eth_vault_keeps_every_claim_of_the_suite() {
    run(&mut AnvilRail::new(false), ChannelSerial::new(1));
}
