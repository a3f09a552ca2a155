//! Twenty-byte addresses, as EVM chains write them.

use borsh::{BorshDeserialize, BorshSerialize};
use core::{fmt, str::FromStr};

/// The account of a signer, a payout or a contract on an EVM chain.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Address(pub [u8; 20]);

impl Address {
    /// Twenty zero bytes, which nobody can sign for.
    pub const ZERO: Self = Self([0; 20]);

    /// The address with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The plain bytes.
    #[must_use]
    pub const fn value(self) -> [u8; 20] {
        self.0
    }

    /// The address in the low twenty bytes of a 32-byte word, as the ABI pads it.
    #[must_use]
    pub fn to_word(self) -> [u8; 32] {
        let mut word = [0; 32];
        word[12..].copy_from_slice(&self.0);
        word
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Address({self})")
    }
}

/// A text that is not 40 hexadecimal digits, with or without `0x` before them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseAddressError;

impl fmt::Display for ParseAddressError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("not an address; write 40 hexadecimal digits, with or without 0x")
    }
}

impl core::error::Error for ParseAddressError {}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
        if digits.len() != 40 {
            return Err(ParseAddressError);
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, ParseAddressError> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
        .ok_or(ParseAddressError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_address_reads_back_what_it_writes() {
        let address = Address::new([0xab; 20]);
        assert_eq!(address.to_string().parse(), Ok(address));
        assert_eq!("ab".repeat(20).parse(), Ok(address));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "0x",
            &"ab".repeat(19),
            &"ab".repeat(21),
            &"zz".repeat(20),
            &"+1".repeat(20),
        ] {
            assert_eq!(text.parse::<Address>(), Err(ParseAddressError), "{text}");
        }
    }
}
