//! Amounts as text.

use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;

use forebay_quantity::Amount;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount in base units, written as a decimal string; a whole JSON number is understood as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Units(pub Amount);

impl From<Amount> for Units {
    fn from(amount: Amount) -> Self {
        Self(amount)
    }
}

impl From<Units> for Amount {
    fn from(units: Units) -> Self {
        units.0
    }
}

impl fmt::Display for Units {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl FromStr for Units {
    type Err = forebay_quantity::ParseAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl JsonSchema for Units {
    fn schema_name() -> Cow<'static, str> {
        "Units".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]{1,39}$",
            "description": "An amount in base units, as a decimal string, because JSON numbers lose digits above 2^53.",
            "examples": ["1500000"]
        })
    }
}

impl Serialize for Units {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Visitor)
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = Units;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a whole number of base units, best as a decimal string")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Units, E> {
        Ok(Units(Amount::from(number)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Units, E> {
        u64::try_from(number)
            .map(|number| Units(Amount::from(number)))
            .map_err(|_| E::custom("an amount is never negative"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Units, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_strings_and_read_from_strings_and_whole_numbers() {
        let large = Units(Amount::MAX);
        let text = serde_json::to_string(&large).expect("written");
        assert_eq!(text, "\"340282366920938463463374607431768211455\"");
        assert_eq!(serde_json::from_str::<Units>(&text).expect("read"), large);
        assert_eq!(
            serde_json::from_str::<Units>("12").expect("read"),
            Units(Amount::new(12))
        );
    }

    #[test]
    fn fractions_signs_and_words_are_no_amounts() {
        for text in ["-1", "1.5", "\"-1\"", "\"1e3\"", "\"\"", "null"] {
            assert!(serde_json::from_str::<Units>(text).is_err(), "{text}");
        }
    }
}
