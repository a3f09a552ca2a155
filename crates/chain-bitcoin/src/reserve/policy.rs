//! Who may spend the reserve: the operator with *t* of the members, or *t* of the members after 90 days.

use std::str::FromStr;

use bdk_wallet::miniscript::descriptor::{DescriptorPublicKey, DescriptorXKey, Wildcard};
use bdk_wallet::miniscript::{DefiniteDescriptorKey, Descriptor, ForEachKey};
use bitcoin::bip32::{DerivationPath, Fingerprint, Xpriv, Xpub};
use bitcoin::secp256k1::Secp256k1;
use bitcoin::taproot::LeafVersion;
use bitcoin::{NetworkKind, ScriptBuf, TapLeafHash};

use super::MEMBERS_ALONE_BLOCKS;
use crate::Fault;
use crate::wallet::Seed;

/// A point whose discrete logarithm nobody knows, so that the taproot key spends nothing: the x coordinate is the SHA-256
/// of the generator's uncompressed encoding (BIP 341, "Constructing and spending Taproot outputs").
const NOBODY: &str = "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0";

/// Each signature check is an opcode and 32 bytes of script, and a committee meets.
const MEMBERS_MAX: usize = 15;

/// One party's keys in a reserve: BIP 87, `m/87'/coin'/0'/0/*`.
pub struct ReserveKey {
    pub(super) master: Xpriv,
}

impl ReserveKey {
    /// From a seed of 32 bytes, for mainnet or for all other networks.
    ///
    /// # Errors
    /// Never for a seed that is random: one in 2^127 makes no key.
    pub fn new(seed: &Seed, network: NetworkKind) -> Result<Self, Fault> {
        let master = Xpriv::new_master(network, &seed.0).map_err(bad_reserve)?;
        Ok(Self { master })
    }

    /// What the others put into the descriptor: `[fingerprint/87'/coin'/0']xpub…/0/*`. It spends nothing.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn public(&self) -> Result<String, Fault> {
        let secp = Secp256k1::new();
        let coin = match self.master.network {
            NetworkKind::Main => 0,
            NetworkKind::Test => 1,
        };
        let path = DerivationPath::from_str(&format!("87'/{coin}'/0'")).map_err(bad_reserve)?;
        let account = self.master.derive_priv(&secp, &path).map_err(bad_reserve)?;
        let key = DescriptorPublicKey::XPub(DescriptorXKey {
            origin: Some((self.fingerprint(), path)),
            xkey: Xpub::from_priv(&secp, &account),
            derivation_path: DerivationPath::from_str("0").map_err(bad_reserve)?,
            wildcard: Wildcard::Unhardened,
        });
        Ok(key.to_string())
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.master.fingerprint(&Secp256k1::new())
    }
}

/// By which of the two leaves an output is spent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaf {
    /// The operator and *t* of the members.
    WithOperator,
    /// *t* of the members, of an output that is 90 days old.
    MembersAlone,
}

/// A reserve's keys and its threshold; the same for all of its addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReservePolicy {
    operator: DescriptorPublicKey,
    members: Vec<DescriptorPublicKey>,
    threshold: usize,
    descriptor: Descriptor<DescriptorPublicKey>,
}

impl ReservePolicy {
    /// From what [`ReserveKey::public`] says of each, the members in the order of their places.
    ///
    /// # Errors
    /// When a text is no such key, a key occurs twice, or the threshold does not fit.
    pub fn new(operator: &str, members: &[String], threshold: usize) -> Result<Self, Fault> {
        let operator = parse_key(operator)?;
        let members: Result<Vec<_>, Fault> = members.iter().map(|text| parse_key(text)).collect();
        Self::of(operator, members?, threshold)
    }

    /// From the descriptor that somebody else exported: it is taken only when it is exactly one that [`Self::new`] makes.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_descriptor(text: &str) -> Result<Self, Fault> {
        let given: Descriptor<DescriptorPublicKey> = text.parse().map_err(bad_reserve)?;
        // The operator's, and the members' in each of the two leaves; nobody's key is of another kind.
        let mut keys = Vec::new();
        given.for_each_key(|key| {
            if matches!(key, DescriptorPublicKey::XPub(_)) {
                keys.push(key.clone());
            }
            true
        });
        // Other addresses of the same people are not the reserve's.
        for key in &keys {
            parse_key(&key.to_string())?;
        }
        let members = keys.len().saturating_sub(1) / 2;
        let Some((operator, members)) = keys
            .get(..=members)
            .and_then(<[DescriptorPublicKey]>::split_first)
        else {
            return Err(bad_reserve("it has too few keys"));
        };
        (1..=members.len())
            .filter_map(|threshold| Self::of(operator.clone(), members.to_vec(), threshold).ok())
            .find(|policy| policy.descriptor == given)
            .ok_or_else(|| {
                bad_reserve(
                    "the descriptor is not one of operator and t of n, then t of n after 90 days",
                )
            })
    }

    fn of(
        operator: DescriptorPublicKey,
        members: Vec<DescriptorPublicKey>,
        threshold: usize,
    ) -> Result<Self, Fault> {
        if members.is_empty() || members.len() > MEMBERS_MAX {
            return Err(bad_reserve(format!(
                "a reserve has 1 to {MEMBERS_MAX} members"
            )));
        }
        if threshold == 0 || threshold > members.len() {
            return Err(bad_reserve(format!(
                "of {} members, {threshold} cannot sign",
                members.len()
            )));
        }
        let mut all: Vec<_> = members.iter().chain([&operator]).collect();
        all.sort();
        if all.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(bad_reserve("a key occurs twice"));
        }
        let list: Vec<_> = members.iter().map(ToString::to_string).collect();
        let committee = format!("multi_a({threshold},{})", list.join(","));
        let text = format!(
            "tr({NOBODY},{{and_v(v:pk({operator}),{committee}),and_v(v:{committee},older({MEMBERS_ALONE_BLOCKS}))}})"
        );
        let descriptor = Descriptor::from_str(&text).map_err(bad_reserve)?;
        Ok(Self {
            operator,
            members,
            threshold,
            descriptor,
        })
    }

    /// The watch-only export, with its checksum: whoever has it sees all addresses and spends nothing.
    #[must_use]
    pub fn descriptor(&self) -> String {
        self.descriptor.to_string()
    }

    /// How many members sign.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// How many members there are.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members.len()
    }

    pub(super) fn ranged(&self) -> &Descriptor<DescriptorPublicKey> {
        &self.descriptor
    }

    /// The descriptor of one address.
    pub(super) fn at(&self, index: u32) -> Result<Descriptor<DefiniteDescriptorKey>, Fault> {
        self.descriptor
            .at_derivation_index(index)
            .map_err(bad_reserve)
    }

    /// The output script of one address.
    ///
    /// # Errors
    /// When there is no such address.
    pub fn script_at(&self, index: u32) -> Result<ScriptBuf, Fault> {
        Ok(self.at(index)?.script_pubkey())
    }

    /// What a signature for that leaf of that address commits to.
    pub(super) fn leaf_at(&self, index: u32, leaf: Leaf) -> Result<TapLeafHash, Fault> {
        let Descriptor::Tr(taproot) = self.at(index)? else {
            return Err(bad_reserve("it is no taproot descriptor"));
        };
        let place = match leaf {
            Leaf::WithOperator => 0,
            Leaf::MembersAlone => 1,
        };
        let (_, script) = taproot
            .iter_scripts()
            .nth(place)
            .ok_or_else(|| bad_reserve("it has no such leaf"))?;
        Ok(TapLeafHash::from_script(
            &script.encode(),
            LeafVersion::TapScript,
        ))
    }

    pub(super) fn operator_fingerprint(&self) -> Fingerprint {
        self.operator.master_fingerprint()
    }

    pub(super) fn member_fingerprints(&self) -> impl Iterator<Item = Fingerprint> + '_ {
        self.members
            .iter()
            .map(DescriptorPublicKey::master_fingerprint)
    }
}

/// One that is derived for each address, and says from which key: else nobody could tell whose signature lacks.
fn parse_key(text: &str) -> Result<DescriptorPublicKey, Fault> {
    let key = DescriptorPublicKey::from_str(text).map_err(bad_reserve)?;
    match &key {
        DescriptorPublicKey::XPub(inner)
            if inner.wildcard == Wildcard::Unhardened
                && inner.origin.is_some()
                && text.ends_with("/0/*") =>
        {
            Ok(key)
        }
        _ => Err(bad_reserve(format!(
            "`{text}` is not of the form [fingerprint/path]xpub/0/*"
        ))),
    }
}

pub(super) fn bad_reserve(what: impl ToString) -> Fault {
    Fault::BadReserve {
        what: what.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::{Hash, sha256};
    use bitcoin::secp256k1::constants::{GENERATOR_X, GENERATOR_Y};

    use super::*;

    fn key(number: u8) -> ReserveKey {
        ReserveKey::new(&Seed([number; 32]), NetworkKind::Test).expect("it makes a key")
    }

    fn public(number: u8) -> String {
        key(number).public().expect("it has a public side")
    }

    fn policy(members: u8, threshold: usize) -> Result<ReservePolicy, Fault> {
        let members: Vec<_> = (1..=members).map(public).collect();
        ReservePolicy::new(&public(0), &members, threshold)
    }

    #[test]
    fn nobody_knows_the_key_that_could_spend_past_the_leaves() {
        let encoded = [&[4], &GENERATOR_X[..], &GENERATOR_Y[..]].concat();
        assert_eq!(sha256::Hash::hash(&encoded).to_string(), NOBODY);
        let x = NOBODY.parse::<bitcoin::XOnlyPublicKey>();
        assert!(x.is_ok(), "it is on the curve");
    }

    #[test]
    fn an_exported_descriptor_reads_back_and_one_that_was_tampered_with_does_not() {
        let policy = policy(3, 2).expect("it is one");
        let text = policy.descriptor();
        let read = ReservePolicy::from_descriptor(&text).expect("just exported");
        assert_eq!(read, policy);
        assert_eq!((read.threshold(), read.members()), (2, 3));
        let (bare, _checksum) = text.split_once('#').expect("it has a checksum");
        for (from, to) in [
            ("older(12960)", "older(1296)"),
            ("multi_a(2", "multi_a(1"),
            ("and_v(v:pk(", "and_v(v:pkh("),
            (
                NOBODY,
                "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            ),
            ("/0/*", "/1/*"),
        ] {
            let other = bare.replacen(from, to, 1);
            assert_ne!(other, bare, "{from}");
            let read = ReservePolicy::from_descriptor(&other);
            assert!(matches!(read, Err(Fault::BadReserve { .. })), "{other}");
        }
        let damaged = text.replacen("older(12960)", "older(12961)", 1);
        assert!(
            ReservePolicy::from_descriptor(&damaged).is_err(),
            "the checksum"
        );
        let other = format!("wpkh({})", public(1));
        assert!(ReservePolicy::from_descriptor(&other).is_err());
    }

    #[test]
    fn a_reserve_has_members_that_can_sign_and_keys_that_differ() {
        assert!(policy(1, 1).is_ok());
        assert!(policy(15, 15).is_ok());
        for (members, threshold) in [(0, 0), (3, 0), (3, 4), (16, 2)] {
            assert!(
                policy(members, threshold).is_err(),
                "{threshold} of {members}"
            );
        }
        let twice = ReservePolicy::new(&public(0), &[public(1), public(1)], 2);
        assert!(twice.is_err());
        let operator_sits = ReservePolicy::new(&public(0), &[public(0), public(1)], 2);
        assert!(operator_sits.is_err());
        let fixed = public(1).replace("/*", "");
        assert!(ReservePolicy::new(&public(0), &[fixed, public(2)], 1).is_err());
        let nameless = public(1).split_once(']').expect("an origin").1.to_owned();
        assert!(ReservePolicy::new(&public(0), &[nameless, public(2)], 1).is_err());
    }

    #[test]
    fn addresses_of_a_reserve_differ_and_so_do_their_leaves() {
        let policy = policy(3, 2).expect("it is one");
        let script = |index| policy.script_at(index).expect("an address");
        assert!(script(0) != script(1) && script(0).is_p2tr());
        let leaf = |index, leaf| policy.leaf_at(index, leaf).expect("a leaf");
        assert_ne!(leaf(0, Leaf::WithOperator), leaf(0, Leaf::MembersAlone));
        assert_ne!(leaf(0, Leaf::WithOperator), leaf(1, Leaf::WithOperator));
    }
}
