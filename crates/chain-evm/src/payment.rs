//! What an account does besides calling vaults: it deploys contracts and pays.

use crate::{
    abi::{IErc20, evm},
    account::{Account, Call, Inclusion, saturated},
    artifact::vault_code,
    fault::{Fault, VaultRefusal},
    parameters::{VaultParameters, encode_parameters},
    vault::CALL,
};
use alloy::{primitives::U256, sol_types::SolCall};
use forebay_channel::{Address, Finality};
use forebay_quantity::{Amount, BlockHeight, EffectId};

/// A vault that was deployed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deployment {
    /// The contract.
    pub address: Address,
    /// The block in which it was created: following starts here.
    pub block: BlockHeight,
}

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
}
