//! A chain of its own for each test, and accounts on it.

use alloy::providers::{Provider, RootProvider};
use forebay_chain_evm::{
    Account, AccountSettings, EffectStore, FeePolicy, Follower, FollowerSettings, Key, MemoryStore,
    RpcNodes, Vault, VaultParameters,
    anvil::{AnvilProcess, AnvilSettings, FUNDED_KEYS},
    test_token_code,
};
use forebay_channel::{
    Address, Finality, LaneId, Signable, Signature, Voucher,
    vault::{Opening, SignedVoucher, VaultObservation},
};
use forebay_quantity::{Amount, BlockHeight, ChannelSerial, EffectId, Timestamp};
use std::{path::Path, sync::Arc, time::Duration};

pub(crate) const OPERATOR: usize = 0;
pub(crate) const PEER: usize = 1;
pub(crate) const LP: usize = 2;
pub(crate) const STRANGER: usize = 3;
pub(crate) const CLOSE_PERIOD_S: u64 = 3_600;
pub(crate) const ETHER: u128 = 1_000_000_000_000_000_000;

pub(crate) struct Chain {
    pub(crate) anvil: AnvilProcess,
    pub(crate) node: RootProvider,
}

pub(crate) fn settings() -> AnvilSettings {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    AnvilSettings {
        block_time_s: None,
        ..AnvilSettings::new(AnvilSettings::binary_in(&root))
    }
}

pub(crate) fn key(number: usize) -> Key {
    Key::from_bytes(FUNDED_KEYS[number]).expect("anvil's keys are keys")
}

pub(crate) fn effect(number: u64) -> EffectId {
    EffectId::new(number)
}

pub(crate) fn units(number: u128) -> Amount {
    Amount::new(number)
}

pub(crate) const SERIAL: ChannelSerial = ChannelSerial::new(1);

impl Chain {
    pub(crate) fn start() -> Self {
        Self::with(&settings())
    }

    pub(crate) fn with(settings: &AnvilSettings) -> Self {
        let anvil = AnvilProcess::start(settings).expect("anvil runs");
        forebay_chain_evm::install_tls();
        let node = RootProvider::new_http(anvil.url().parse().expect("a URL"));
        Self { anvil, node }
    }

    pub(crate) fn account_settings(&self) -> AccountSettings {
        AccountSettings {
            poll_interval: Duration::from_millis(10),
            wait_max: Duration::from_secs(30),
            fees: FeePolicy {
                stuck_after: Duration::from_secs(3),
                ..FeePolicy::default()
            },
            ..AccountSettings::new(RpcNodes::own(self.anvil.url()), 31_337)
        }
    }

    pub(crate) async fn account(&self, number: usize) -> Arc<Account> {
        self.account_with(number, Box::new(MemoryStore::default()))
            .await
    }

    pub(crate) async fn account_with(
        &self,
        number: usize,
        store: Box<dyn EffectStore>,
    ) -> Arc<Account> {
        let account = Account::connect(self.account_settings(), key(number), store).await;
        Arc::new(account.expect("the chain is there"))
    }

    pub(crate) async fn rpc(
        &self,
        method: &'static str,
        parameters: impl serde::Serialize + Clone + std::fmt::Debug + Send + Sync + Unpin,
    ) -> serde_json::Value {
        self.node
            .client()
            .request(method, parameters)
            .await
            .expect("anvil knows the method")
    }

    pub(crate) async fn mine(&self, blocks: u64) {
        self.rpc("anvil_mine", (blocks,)).await;
    }

    pub(crate) async fn pass(&self, seconds: u64) {
        self.rpc("evm_increaseTime", (seconds,)).await;
        self.mine(1).await;
    }

    /// Drops the newest blocks with their transactions; makes as many empty ones and one more.
    pub(crate) async fn reorg(&self, blocks: u64) {
        self.rpc("anvil_reorg", (blocks, Vec::<u8>::new())).await;
        self.mine(1).await;
    }

    pub(crate) async fn height(&self) -> u64 {
        self.node.get_block_number().await.expect("anvil answers")
    }

    pub(crate) async fn now(&self) -> Timestamp {
        let block = self
            .node
            .get_block_by_number(alloy::eips::BlockNumberOrTag::Latest)
            .await;
        let block = block
            .expect("anvil answers")
            .expect("there is a latest block");
        Timestamp::new(block.header.timestamp * 1_000)
    }

    /// A vault for ETH, or for a token of which every account has a million.
    pub(crate) async fn vault(&self, with_token: bool) -> (Address, BlockHeight) {
        self.vault_with(with_token, |_| {}).await
    }

    /// The same with other parameters.
    pub(crate) async fn vault_with(
        &self,
        with_token: bool,
        change: impl FnOnce(&mut VaultParameters),
    ) -> (Address, BlockHeight) {
        let operator = self.account(OPERATOR).await;
        let mut asset = None;
        if with_token {
            let code = test_token_code("Test Dollar", "TUSD", 6, 10_000_000 * ETHER);
            let token = operator
                .deploy(effect(90_000), code, Finality::Seen)
                .await
                .expect("deployed");
            for number in [PEER, LP, STRANGER] {
                let to = key(number).address();
                let sent = effect(90_000 + u64::try_from(number).expect("small"));
                let amount = units(1_000_000 * ETHER);
                operator
                    .pay_token(sent, token.address, to, amount, Finality::Seen)
                    .await
                    .expect("paid");
            }
            asset = Some(token.address);
        }
        let mut parameters = parameters(asset);
        change(&mut parameters);
        let made = operator
            .deploy_vault(effect(90_010), &parameters, Finality::Seen)
            .await;
        let made = made.expect("deployed");
        (made.address, made.block)
    }

    pub(crate) async fn connect(&self, vault: Address, number: usize) -> Vault {
        Vault::connect(self.account(number).await, vault)
            .await
            .expect("it is the vault")
    }

    pub(crate) async fn catch_up(&self, follower: &mut Follower) -> Vec<VaultObservation> {
        let height = self.height().await;
        let mut seen = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), follower.next()).await;
            let next = next
                .expect("news in time")
                .expect("it goes on")
                .expect("the chain is there");
            seen.push(next);
            match next {
                VaultObservation::Head(head) if head.latest.value() >= height => return seen,
                VaultObservation::DeepReorg { .. } => return seen,
                _ => {}
            }
        }
    }
}

pub(crate) fn parameters(asset: Option<Address>) -> VaultParameters {
    VaultParameters {
        asset,
        operator: key(OPERATOR).address(),
        share_holder: Some(key(STRANGER).address()),
        floor_bps: 0,
        close_period_s: u32::try_from(CLOSE_PERIOD_S).expect("fits"),
        exit_notice_s: 7 * 86_400,
        term_max_s: 86_400,
        index_rate_max_ray_per_day: 1_000_000_000_000_000_000_000_000,
        note_min: units(1),
        bucket_capacity: Amount::MAX,
        bucket_refill_per_day: Amount::ZERO,
        heartbeat_max_s: 30 * 86_400,
        committee_spend: 0,
        committee_freeze: 0,
        committee: Vec::new(),
    }
}

pub(crate) fn follower_settings(from: BlockHeight) -> FollowerSettings {
    FollowerSettings {
        poll_interval: Duration::from_millis(10),
        ..FollowerSettings::from(from)
    }
}

pub(crate) fn opening(allotment: u128, term_end: Timestamp) -> Opening {
    Opening {
        serial: SERIAL,
        pool_signer: key(OPERATOR).address(),
        peer_signer: key(PEER).address(),
        peer_payout: key(PEER).address(),
        allotment: units(allotment),
        term_end: (allotment > 0).then_some(term_end),
        deposit: Amount::ZERO,
    }
}

pub(crate) fn signed_voucher(vault: &Vault, lane: LaneId, amount: u128) -> SignedVoucher {
    let voucher = Voucher {
        serial: SERIAL,
        lane,
        amount: units(amount),
    };
    let payer = match lane {
        LaneId::Pool => OPERATOR,
        LaneId::Peer => PEER,
    };
    SignedVoucher {
        voucher,
        signature: signed(vault, payer, &voucher),
    }
}

pub(crate) fn signed(vault: &Vault, number: usize, message: &impl Signable) -> Signature {
    key(number).sign_message(vault.domain(), message)
}
