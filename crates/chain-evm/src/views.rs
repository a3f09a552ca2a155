//! What a vault says of itself when asked, at any depth.

use crate::{
    abi::{IErc20, IVault, U24, amount, evm, plain, seconds_of, time},
    account::{Account, tag},
    fault::Fault,
    parameters::VaultParameters,
    vault::{Vault, refusal},
};
use alloy::{
    network::TransactionBuilder, primitives::U256, providers::Provider,
    rpc::types::TransactionRequest, sol_types::SolCall,
};
use forebay_channel::{Address, Finality, LaneId, Lowering};
use forebay_quantity::{Amount, ChannelSerial, Timestamp};

/// Wei are what every EVM chain counts its coin in.
const COIN_SCALE: u8 = 18;

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
    /// To be signed into the next co-signed raise or mark-down.
    pub committee_nonce: u64,
    /// What the operator's key alone may allot now, if free money is there.
    pub bucket: Amount,
    /// No raise and no renewal before; in the past when nothing is frozen.
    pub frozen_until: Option<Timestamp>,
    /// The operator's last sign of life.
    pub heartbeat_at: Timestamp,
    /// All notes alike are paid in kind, and nothing else is begun.
    pub runs_down: bool,
}

impl Account {
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
    /// Decimal places of what it holds: of its token, as the token says, or of the chain's own coin.
    ///
    /// # Errors
    /// When no node answers, or the token does not.
    pub async fn scale(&self) -> Result<u8, Fault> {
        match self.asset() {
            None => Ok(COIN_SCALE),
            Some(token) => {
                let call = IErc20::decimalsCall {};
                self.account().view(token, call, Finality::Seen).await
            }
        }
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
            free: amount(narrow(books.free)?),
            units_total: amount(narrow(books.unitsTotal)?),
            index: amount(narrow(books.index)?),
            accrued_at: time(narrow(books.accruedAt)?),
            exits_due_at: set(time(narrow(books.exitsDueAt)?)),
            cohort_oldest: narrow(books.cohortOldest)?,
            cohort_count: narrow(books.cohortCount)?,
            share_units: amount(narrow(books.shareUnits)?),
            share_nonce: narrow(books.shareNonce)?,
            committee_nonce: narrow(books.committeeNonce)?,
            bucket: amount(narrow(books.bucket)?),
            frozen_until: set(time(narrow(books.frozenUntil)?)),
            heartbeat_at: time(narrow(books.heartbeatAt)?),
            runs_down: books.runsDown,
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
        self.account.view(self.address(), call, at).await
    }
}

/// Books are given as whole words; what does not fit is no answer of the vault's.
fn narrow<T: TryFrom<U256>>(word: U256) -> Result<T, Fault> {
    T::try_from(word).map_err(|_| Fault::Nonsense {
        method: "eth_call",
        what: format!("{word} in the books"),
    })
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
