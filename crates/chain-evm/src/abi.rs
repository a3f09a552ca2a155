//! The contracts' interfaces as Rust types, and conversions between their words and ours.

use alloy::{
    primitives::{Address as EvmAddress, B256, Uint},
    sol,
};
use forebay_channel::{Address, Signature};
use forebay_quantity::{Amount, Hash32, Timestamp};

sol! {
    #![sol(all_derives)]
    "../../contracts/evm/src/interfaces/IVault.sol"
}

sol! {
    #[allow(missing_docs)]
    interface IErc20 {
        function approve(address spender, uint256 amount) external returns (bool);
        function allowance(address owner, address spender) external view returns (uint256);
        function balanceOf(address owner) external view returns (uint256);
        function transfer(address to, uint256 amount) external returns (bool);
        function decimals() external view returns (uint8);
    }
}

pub(crate) type U24 = Uint<24, 1>;
pub(crate) type U40 = Uint<40, 1>;

pub(crate) fn evm(address: Address) -> EvmAddress {
    EvmAddress::from(address.value())
}

pub(crate) fn plain(address: EvmAddress) -> Address {
    Address::new(address.into_array())
}

pub(crate) fn hash(word: B256) -> Hash32 {
    Hash32::new(word.0)
}

pub(crate) fn signature(signature: Signature) -> IVault::Signature {
    IVault::Signature {
        r: signature.r().into(),
        vs: signature.vs().into(),
    }
}

/// The chain's seconds as milliseconds.
pub(crate) fn time(seconds: u64) -> Timestamp {
    Timestamp::new(seconds.saturating_mul(1_000))
}

/// Milliseconds as the chain's seconds, rounded down; `None` past 40 bits.
pub(crate) fn seconds(time: Timestamp) -> Option<U40> {
    U40::try_from(time.value() / 1_000).ok()
}

pub(crate) fn seconds_of(word: U40) -> Timestamp {
    time(word.to::<u64>())
}

pub(crate) fn amount(units: u128) -> Amount {
    Amount::new(units)
}
