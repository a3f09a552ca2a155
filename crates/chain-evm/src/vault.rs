//! A vault contract, called through an account.

use crate::{
    abi::{IErc20, IVault, evm, plain},
    account::{Account, Call, Inclusion, saturated},
    artifact::check_vault,
    calls::{Encoded, encode},
    fault::{Fault, VaultRefusal},
};
use alloy::{
    primitives::{U256, hex},
    providers::Provider,
    sol_types::SolCall,
};
use forebay_channel::{Address, Domain, Finality, vault::VaultRequest};
use forebay_quantity::{Amount, EffectId};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::Mutex;

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
pub(crate) const CALL: u8 = 0;
/// How many allowances one deposit may need: more than one only after a crash or an outside interference.
const APPROVALS_MAX: u8 = 8;

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
    /// [`Fault::NotSubmitted`] for an effect without a transaction; any other fault, after which asking again
    /// goes on waiting.
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
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Vault({} through {:?})", self.address, self.account)
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
