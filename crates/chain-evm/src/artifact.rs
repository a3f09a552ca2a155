//! The contracts that this program was built with, byte for byte.

use crate::fault::Fault;
use alloy::{primitives::hex, sol_types::SolValue};
use forebay_channel::Address;
use serde_json::Value;
use std::sync::LazyLock;

struct Artifact {
    creation: Vec<u8>,
    deployed: Vec<u8>,
    /// Offset and length of each value that the constructor writes into the code.
    immutables: Vec<(usize, usize)>,
}

static VAULT: LazyLock<Artifact> =
    LazyLock::new(|| parse(include_str!("../../../contracts/evm/artifacts/Vault.json")));
static TEST_TOKEN: LazyLock<Artifact> = LazyLock::new(|| {
    parse(include_str!(
        "../../../contracts/evm/artifacts/TestToken.json"
    ))
});

/// The creation code of a vault with its constructor's argument.
pub(crate) fn vault_code(parameters: &impl SolValue) -> Vec<u8> {
    let mut code = VAULT.creation.clone();
    code.extend(parameters.abi_encode());
    code
}

/// The creation code of a plain ERC-20 whose whole supply goes to the deployer; for tests and demonstrations.
#[must_use]
pub fn test_token_code(name: &str, symbol: &str, asset_scale: u8, supply: u128) -> Vec<u8> {
    let mut code = TEST_TOKEN.creation.clone();
    let arguments = (
        name.to_owned(),
        symbol.to_owned(),
        alloy::primitives::U256::from(asset_scale),
        alloy::primitives::U256::from(supply),
    );
    code.extend(arguments.abi_encode_params());
    code
}

/// Checks that `found`, the code at `address`, is the vault's but for what its constructor wrote into it.
pub(crate) fn check_vault(address: Address, found: &[u8]) -> Result<(), Fault> {
    if found.is_empty() {
        return Err(Fault::NoContract { address });
    }
    let expected = &*VAULT;
    if found.len() != expected.deployed.len() {
        let detail = format!(
            "{} bytes instead of {}",
            found.len(),
            expected.deployed.len()
        );
        return Err(Fault::WrongCode { address, detail });
    }
    let mut masked = found.to_vec();
    for (start, length) in &expected.immutables {
        masked[*start..start + length].fill(0);
    }
    match masked
        .iter()
        .zip(&expected.deployed)
        .position(|(found, expected)| found != expected)
    {
        Some(at) => Err(Fault::WrongCode {
            address,
            detail: format!("byte {at} differs"),
        }),
        None => Ok(()),
    }
}

fn parse(text: &str) -> Artifact {
    let json: Value = serde_json::from_str(text).expect("the committed artifact is JSON");
    let code = |name: &str| {
        let digits = json[name]
            .as_str()
            .expect("the committed artifact has its code");
        hex::decode(digits).expect("code is hexadecimal")
    };
    let number = |value: &Value| {
        let number = value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        number.expect("offsets and lengths are small numbers")
    };
    let immutables = json["immutableReferences"]
        .as_array()
        .expect("a list, if an empty one");
    let immutables = immutables
        .iter()
        .map(|at| (number(&at["start"]), number(&at["length"])))
        .collect();
    Artifact {
        creation: code("bytecode"),
        deployed: code("deployedBytecode"),
        immutables,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_artifact_passes_its_own_check_and_any_other_code_does_not() {
        let address = Address::new([1; 20]);
        let mut code = VAULT.deployed.clone();
        let (start, length) = VAULT.immutables[0];
        code[start..start + length].fill(0xab);
        assert!(
            check_vault(address, &code).is_ok(),
            "immutables may be anything"
        );
        code[0] ^= 1;
        let fault = check_vault(address, &code).expect_err("another code");
        assert!(fault.to_string().contains("byte 0 differs"), "{fault}");
        let fault = check_vault(address, &code[1..]).expect_err("a shorter code");
        assert!(matches!(fault, Fault::WrongCode { .. }));
        assert!(matches!(
            check_vault(address, &[]),
            Err(Fault::NoContract { .. })
        ));
    }
}
