//! A vault contract, called through an account.

use crate::{
    abi::{IErc20, IVault, U24, amount, evm, plain, seconds_of},
    account::{Account, Call, Inclusion, saturated, tag},
    artifact::{check_vault, vault_code},
    calls::{Encoded, encode},
    facts::number,
    fault::{Fault, VaultRefusal},
};
use alloy::{
    network::TransactionBuilder,
    primitives::{U256, hex},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use forebay_channel::{Address, Domain, Finality, LaneId, Lowering, vault::VaultRequest};
use forebay_quantity::{Amount, BlockHeight, ChannelSerial, EffectId, Timestamp};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::Mutex;

/// What a vault is built with. Nothing of it ever changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VaultParameters {
    /// The ERC-20, or `None` for ETH.
    pub asset: Option<Address>,
    /// Opens channels, makes allotments, lets the index rise.
    pub operator: Address,
    /// The one invited share holder; `None` for a vault without shares.
    pub share_holder: Option<Address>,
    /// The floor under free money, in basis points of the note claims; below 10,000.
    pub floor_bps: u16,
    /// The length of every notice on a channel, in seconds.
    pub close_period_s: u32,
    /// An exit cohort unpaid for longer stops all raises, in seconds.
    pub exit_notice_s: u32,
    /// An allotment's term ends at most this far ahead, in seconds.
    pub term_max_s: u32,
    /// The most that the index rises in a day, in ray.
    pub index_rate_max_ray_per_day: u128,
    /// The least value of a note deposit and of an exit request, in base units.
    pub note_min: Amount,
    /// What the operator's key alone may allot at once (recorded, not enforced yet), in base units.
    pub bucket_capacity: Amount,
    /// What of that comes back in a day, in base units.
    pub bucket_refill_per_day: Amount,
    /// The operator's silence after which a run-down may start (recorded, not enforced yet), in seconds.
    pub heartbeat_max_s: u32,
    /// How many of the committee may spend.
    pub committee_spend: u8,
    /// How many of the committee may freeze.
    pub committee_freeze: u8,
    /// The committee's keys.
    pub committee: Vec<Address>,
}

/// A vault that was deployed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deployment {
    /// The contract.
    pub address: Address,
    /// The block in which it was created: following starts here.
    pub block: BlockHeight,
}

/// One lane as the contract has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneView {
    /// Who signs its vouchers.
    pub signer: Address,
    /// Cumulative, in base units.
    pub ceiling: Amount,
    /// Cumulative, in base units.
    pub paid: Amount,
    /// The lowering that runs.
    pub lowering: Option<Lowering>,
    /// The signer announced, and from when it counts.
    pub key_change: Option<(Address, Timestamp)>,
}

/// A channel as the contract has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelView {
    /// True for ever once the serial was used.
    pub opened: bool,
    /// True once nothing remains.
    pub closed: bool,
    /// Where the pool's lane pays.
    pub peer_payout: Address,
    /// The end of the allotment's term.
    pub term_end: Option<Timestamp>,
    /// From when the announced close may be executed.
    pub close_at: Option<Timestamp>,
    /// To be signed into the next release or key change.
    pub nonce: u16,
    /// From the pool to the peer.
    pub pool: LaneView,
    /// From the peer to the pool.
    pub peer: LaneView,
}

/// The vault's books, in base units unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Books {
    /// Money that nothing else claims first.
    pub free: Amount,
    /// Units of notes, those in exit included.
    pub units_total: Amount,
    /// What a unit is worth, in ray.
    pub index: Amount,
    /// When the index last rose.
    pub accrued_at: Timestamp,
    /// When the oldest unpaid exit cohort passes its notice.
    pub exits_due_at: Option<Timestamp>,
    /// The oldest unpaid cohort.
    pub cohort_oldest: u32,
    /// How many cohorts there ever were.
    pub cohort_count: u32,
    /// Units of the share holder.
    pub share_units: Amount,
    /// To be signed into the next share exit.
    pub share_nonce: u64,
}

/// A vault contract whose code was checked.
pub struct Vault {
    pub(crate) account: Arc<Account>,
    address: Address,
    asset: Option<Address>,
    domain: Domain,
    channels_open: AtomicU32,
    /// Held from a token's allowance to its use, so that no other deposit uses it up.
    approving: Mutex<()>,
}

/// Where an effect's own call is recorded; the allowances before it follow.
const CALL: u8 = 0;
/// How many allowances one deposit may need: more than one only after a crash or an outside interference.
const APPROVALS_MAX: u8 = 8;

impl Account {
    /// Deploys a vault, once for this effect, and waits for the given depth.
    ///
    /// # Errors
    /// Any fault; asking again goes on where it stopped.
    pub async fn deploy_vault(
        &self,
        effect: EffectId,
        parameters: &VaultParameters,
        depth: Finality,
    ) -> Result<Deployment, Fault> {
        self.deploy(effect, vault_code(&encode_parameters(parameters)), depth)
            .await
    }

    /// Deploys any creation code, once for this effect, and waits for the given depth.
    ///
    /// # Errors
    /// Any fault; asking again goes on where it stopped.
    pub async fn deploy(
        &self,
        effect: EffectId,
        code: Vec<u8>,
        depth: Finality,
    ) -> Result<Deployment, Fault> {
        let call = Call {
            to: None,
            value: Amount::ZERO,
            data: code,
        };
        self.send_once((effect, CALL), call).await?;
        let included = self.included((effect, CALL), depth).await?;
        match included.created {
            Some(address) if included.succeeded => Ok(Deployment {
                address,
                block: included.block,
            }),
            Some(_) | None => Err(Fault::Refused {
                reason: VaultRefusal {
                    name: "creation failed".into(),
                },
            }),
        }
    }

    /// Pays ETH to an address, once for this effect.
    ///
    /// # Errors
    /// Any fault; asking again goes on where it stopped.
    pub async fn pay(
        &self,
        effect: EffectId,
        to: Address,
        wei: Amount,
        depth: Finality,
    ) -> Result<Inclusion, Fault> {
        self.send_once(
            (effect, CALL),
            Call {
                to: Some(to),
                value: wei,
                data: Vec::new(),
            },
        )
        .await?;
        self.included((effect, CALL), depth).await
    }

    /// Pays an ERC-20 to an address, once for this effect.
    ///
    /// # Errors
    /// Any fault; asking again goes on where it stopped.
    pub async fn pay_token(
        &self,
        effect: EffectId,
        token: Address,
        to: Address,
        amount: Amount,
        depth: Finality,
    ) -> Result<Inclusion, Fault> {
        let data = IErc20::transferCall {
            to: evm(to),
            amount: U256::from(amount.value()),
        }
        .abi_encode();
        self.send_once(
            (effect, CALL),
            Call {
                to: Some(token),
                value: Amount::ZERO,
                data,
            },
        )
        .await?;
        self.included((effect, CALL), depth).await
    }

    /// Anybody's balance of an ERC-20 at a depth, in base units.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn token_balance_of(
        &self,
        token: Address,
        owner: Address,
        at: Finality,
    ) -> Result<Amount, Fault> {
        self.view(token, IErc20::balanceOfCall { owner: evm(owner) }, at)
            .await
            .map(saturated)
    }

    pub(crate) async fn view<C: SolCall>(
        &self,
        to: Address,
        call: C,
        at: Finality,
    ) -> Result<C::Return, Fault> {
        let request = TransactionRequest::default()
            .with_to(evm(to))
            .with_input(call.abi_encode());
        let answer = self
            .rpc
            .ask("eth_call", |node| {
                let request = request.clone();
                async move { node.call(request).block(tag(at).into()).await }
            })
            .await
            .map_err(refusal)?;
        C::abi_decode_returns(&answer).map_err(|error| Fault::Nonsense {
            method: "eth_call",
            what: error.to_string(),
        })
    }
}

impl Vault {
    /// Takes the vault at `address`, once its code is seen to be this version's.
    ///
    /// # Errors
    /// [`Fault::NoContract`], [`Fault::WrongCode`], or no node answers.
    pub async fn connect(account: Arc<Account>, address: Address) -> Result<Self, Fault> {
        let code = account
            .rpc
            .agree("eth_getCode", |node| async move {
                node.get_code_at(evm(address)).await
            })
            .await?;
        check_vault(address, &code)?;
        let parameters = account
            .view(address, IVault::parametersCall {}, Finality::Seen)
            .await?;
        let asset = Some(plain(parameters.asset)).filter(|asset| *asset != Address::ZERO);
        let domain = Domain::new(account.settings.chain_id, address);
        let separator = account
            .view(address, IVault::domainSeparatorCall {}, Finality::Seen)
            .await?;
        if separator.0 != domain.separator().value() {
            let detail = "it signs for another domain".to_owned();
            return Err(Fault::WrongCode { address, detail });
        }
        let channels_open = AtomicU32::new(0);
        Ok(Self {
            account,
            address,
            asset,
            domain,
            channels_open,
            approving: Mutex::new(()),
        })
    }

    /// The contract's address.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// The ERC-20 that it holds, or `None` for ETH.
    #[must_use]
    pub const fn asset(&self) -> Option<Address> {
        self.asset
    }

    /// The domain that its messages are signed in.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The account that its requests are sent by.
    #[must_use]
    pub const fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Says how many channels are open, for which gas stays set aside when another is opened.
    pub fn set_channels_open(&self, channels: u32) {
        self.channels_open.store(channels, Ordering::Relaxed);
    }

    /// Sends the request's transaction, unless that was done before under this effect.
    ///
    /// # Errors
    /// Any fault; under the same effect nothing is ever carried out twice.
    pub async fn submit(&self, effect: EffectId, request: &VaultRequest) -> Result<(), Fault> {
        let Encoded { data, pays } = encode(request)?;
        let known = self.account.has_sent((effect, CALL)).await;
        if !known && matches!(request, VaultRequest::Open(_)) {
            let channels = self.channels_open.load(Ordering::Relaxed).saturating_add(1);
            self.account.check_gas_reserve(channels).await?;
        }
        let value = if self.asset.is_none() {
            pays
        } else {
            Amount::ZERO
        };
        let call = Call {
            to: Some(self.address),
            value,
            data,
        };
        match self.asset {
            Some(token) if !known && !pays.is_zero() => {
                let _held = self.approving.lock().await;
                self.approve(effect, token, pays).await?;
                self.account.send_once((effect, CALL), call).await
            }
            Some(_) | None => self.account.send_once((effect, CALL), call).await,
        }
    }

    /// Waits until the effect's transaction lies at least at `depth`.
    ///
    /// # Errors
    /// Any fault; asking again goes on waiting.
    ///
    /// # Panics
    /// When the effect was never submitted.
    pub async fn outcome(&self, effect: EffectId, depth: Finality) -> Result<Inclusion, Fault> {
        self.account.included((effect, CALL), depth).await
    }

    /// Submits and waits.
    ///
    /// # Errors
    /// Any fault; asking again, in this process or the next, goes on where it stopped.
    pub async fn execute(
        &self,
        effect: EffectId,
        request: &VaultRequest,
        depth: Finality,
    ) -> Result<Inclusion, Fault> {
        self.submit(effect, request).await?;
        self.outcome(effect, depth).await
    }

    async fn approve(&self, effect: EffectId, token: Address, amount: Amount) -> Result<(), Fault> {
        for step in 1..=APPROVALS_MAX {
            if self.account.has_sent((effect, step)).await {
                self.account
                    .included((effect, step), Finality::Seen)
                    .await?;
                continue;
            }
            if self.allowance(token).await? >= amount {
                return Ok(());
            }
            let (spender, amount) = (evm(self.address), U256::from(amount.value()));
            let data = IErc20::approveCall { spender, amount }.abi_encode();
            let call = Call {
                to: Some(token),
                value: Amount::ZERO,
                data,
            };
            self.account.send_once((effect, step), call).await?;
            self.account
                .included((effect, step), Finality::Seen)
                .await?;
        }
        Ok(())
    }

    async fn allowance(&self, token: Address) -> Result<Amount, Fault> {
        let call = IErc20::allowanceCall {
            owner: evm(self.account.address()),
            spender: evm(self.address),
        };
        self.account
            .view(token, call, Finality::Seen)
            .await
            .map(saturated)
    }

    /// A channel at a depth.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn channel(&self, serial: ChannelSerial, at: Finality) -> Result<ChannelView, Fault> {
        let view = self
            .view(
                IVault::channelCall {
                    serial: serial.value(),
                },
                at,
            )
            .await?;
        Ok(ChannelView {
            opened: view.opened,
            closed: view.closed,
            peer_payout: plain(view.peerPayout),
            term_end: set(seconds_of(view.termEnd)),
            close_at: set(seconds_of(view.closeAt)),
            nonce: view.nonce,
            pool: lane_view(&view.pool),
            peer: lane_view(&view.peer),
        })
    }

    /// The books at a depth.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn books(&self, at: Finality) -> Result<Books, Fault> {
        let books = self.view(IVault::booksCall {}, at).await?;
        Ok(Books {
            free: amount(books.free),
            units_total: amount(books.unitsTotal),
            index: amount(books.index),
            accrued_at: seconds_of(books.accruedAt),
            exits_due_at: set(seconds_of(books.exitsDueAt)),
            cohort_oldest: number(books.cohortOldest),
            cohort_count: number(books.cohortCount),
            share_units: amount(books.shareUnits),
            share_nonce: books.shareNonce,
        })
    }

    /// Units of notes that a member can still lock.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn units_of(&self, member: Address, at: Finality) -> Result<Amount, Fault> {
        self.view(
            IVault::unitsOfCall {
                member: evm(member),
            },
            at,
        )
        .await
        .map(amount)
    }

    /// A member's unpaid units in a cohort, and the money that it may claim now.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn exit_of(
        &self,
        cohort: u32,
        member: Address,
        at: Finality,
    ) -> Result<(Amount, Amount), Fault> {
        let cohort = U24::try_from(cohort).map_err(|_| Fault::BadRequest {
            what: "the cohort passes 24 bits",
        })?;
        let exit = self
            .view(
                IVault::exitOfCall {
                    cohort,
                    member: evm(member),
                },
                at,
            )
            .await?;
        Ok((amount(exit.unitsUnpaid), amount(exit.claimable)))
    }

    /// What all notes are worth, rounded up.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn note_claims(&self, at: Finality) -> Result<Amount, Fault> {
        self.view(IVault::noteClaimsCall {}, at).await.map(amount)
    }

    /// The most that a raise could allot.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn raisable(&self, at: Finality) -> Result<Amount, Fault> {
        self.view(IVault::raisableCall {}, at).await.map(amount)
    }

    /// A payee's reclaim balance.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn reclaim_of(&self, payee: Address, at: Finality) -> Result<Amount, Fault> {
        self.view(IVault::reclaimOfCall { payee: evm(payee) }, at)
            .await
            .map(amount)
    }

    /// Up to which cumulative amount a former signer's vouchers stay redeemable.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn former_ceiling(
        &self,
        serial: ChannelSerial,
        lane: LaneId,
        signer: Address,
        at: Finality,
    ) -> Result<Amount, Fault> {
        let call = IVault::formerCeilingCall {
            serial: serial.value(),
            lane: lane.number(),
            signer: evm(signer),
        };
        self.view(call, at).await.map(amount)
    }

    /// What the vault was built with.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn parameters(&self) -> Result<VaultParameters, Fault> {
        let found = self.view(IVault::parametersCall {}, Finality::Seen).await?;
        let some = |address| Some(plain(address)).filter(|address| *address != Address::ZERO);
        Ok(VaultParameters {
            asset: some(found.asset),
            operator: plain(found.operator),
            share_holder: some(found.shareHolder),
            floor_bps: found.floorBps,
            close_period_s: found.closePeriodS,
            exit_notice_s: found.exitNoticeS,
            term_max_s: found.termMaxS,
            index_rate_max_ray_per_day: found.indexRateMaxRayPerDay,
            note_min: amount(found.noteMin),
            bucket_capacity: amount(found.bucketCapacity),
            bucket_refill_per_day: amount(found.bucketRefillPerDay),
            heartbeat_max_s: found.heartbeatMaxS,
            committee_spend: found.committeeSpend,
            committee_freeze: found.committeeFreeze,
            committee: found.committee.into_iter().map(plain).collect(),
        })
    }

    async fn view<C: SolCall>(&self, call: C, at: Finality) -> Result<C::Return, Fault> {
        self.account.view(self.address, call, at).await
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Vault({} through {:?})", self.address, self.account)
    }
}

fn lane_view(view: &IVault::LaneView) -> LaneView {
    LaneView {
        signer: plain(view.signer),
        ceiling: amount(view.ceiling),
        paid: amount(view.paid),
        lowering: set(seconds_of(view.loweringAt)).map(|deadline| Lowering {
            ceiling: amount(view.loweringTo),
            deadline,
        }),
        key_change: set(seconds_of(view.keyChangeAt)).map(|at| (plain(view.keyChangeTo), at)),
    }
}

/// A time of zero means none.
fn set(time: Timestamp) -> Option<Timestamp> {
    Some(time).filter(|time| time.value() != 0)
}

fn encode_parameters(parameters: &VaultParameters) -> IVault::Parameters {
    IVault::Parameters {
        asset: evm(parameters.asset.unwrap_or_default()),
        operator: evm(parameters.operator),
        shareHolder: evm(parameters.share_holder.unwrap_or_default()),
        floorBps: parameters.floor_bps,
        closePeriodS: parameters.close_period_s,
        exitNoticeS: parameters.exit_notice_s,
        termMaxS: parameters.term_max_s,
        indexRateMaxRayPerDay: parameters.index_rate_max_ray_per_day,
        noteMin: parameters.note_min.value(),
        bucketCapacity: parameters.bucket_capacity.value(),
        bucketRefillPerDay: parameters.bucket_refill_per_day.value(),
        heartbeatMaxS: parameters.heartbeat_max_s,
        committeeSpend: parameters.committee_spend,
        committeeFreeze: parameters.committee_freeze,
        committee: parameters.committee.iter().copied().map(evm).collect(),
    }
}

/// Reads the contract's error out of a node's refusal.
pub(crate) fn refusal(fault: Fault) -> Fault {
    let data = match &fault {
        Fault::RpcRefused { source, .. } => source
            .as_error_resp()
            .and_then(|error| error.as_revert_data()),
        _ => None,
    };
    let Some(data) = data else { return fault };
    let known = data
        .first_chunk::<4>()
        .and_then(|selector| IVault::IVaultErrors::name_by_selector(*selector));
    let name = known.map_or_else(
        || format!("reverted with {}", hex::encode_prefixed(&data)),
        str::to_owned,
    );
    Fault::Refused {
        reason: VaultRefusal { name },
    }
}
