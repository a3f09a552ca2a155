//! The node's keys, all derived from one seed.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use bitcoin::secp256k1::ecdh::SharedSecret;
use bitcoin::secp256k1::ecdsa::{RecoverableSignature, Signature};
use bitcoin::secp256k1::{All, PublicKey, Scalar, Secp256k1, schnorr};
use bitcoin::{ScriptBuf, Transaction, TxOut, absolute::LockTime};
use lightning::ln::inbound_payment::ExpandedKey;
use lightning::ln::msgs::UnsignedGossipMessage;
use lightning::ln::script::ShutdownScript;
use lightning::offers::invoice::UnsignedBolt12Invoice;
use lightning::sign::{
    ChangeDestinationSourceSync, EntropySource, InMemorySigner, KeysManager, NodeSigner,
    OutputSpender, PeerStorageKey, ReceiveAuthKey, Recipient, SignerProvider,
    SpendableOutputDescriptor,
};
use lightning_invoice::RawBolt11Invoice;

use super::wallet::HotWallet;

/// The 32 secret bytes that all of a node's keys come from. Never shown.
#[derive(Clone)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Takes the bytes as they are.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A secret of its own for each purpose: HMAC-SHA256 of the purpose, keyed by the seed.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        hmac(&self.0, purpose.as_bytes())
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Seed(secret)")
    }
}

/// LDK's keys, with the hot wallet's scripts where a channel pays out.
pub(crate) struct Keys {
    ldk: KeysManager,
    preimages: [u8; 32],
    keysends: [u8; 32],
    promises: [u8; 32],
    wallet: Arc<dyn HotWallet>,
}

impl Keys {
    pub(crate) fn new(seed: &Seed, wallet: Arc<dyn HotWallet>) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // Ephemeral keys differ from start to start; so do they when the clock is set back, by the nanoseconds.
        let ldk = KeysManager::new(
            &seed.derive("forebay lightning keys"),
            now.as_secs(),
            now.subsec_nanos(),
            true,
        );
        Self {
            ldk,
            preimages: seed.derive("forebay settlement preimages"),
            keysends: seed.derive("forebay keysend preimages"),
            promises: seed.derive("forebay channel terms"),
            wallet,
        }
    }

    /// Where a peer's closing may pay us: what the seed finds again without any store.
    pub(crate) fn closed_scripts(&self) -> Vec<ScriptBuf> {
        self.ldk
            .possible_v2_counterparty_closed_balance_spks(&Secp256k1::new())
    }

    pub(crate) fn signer_of(&self, channel_keys: [u8; 32]) -> InMemorySigner {
        self.ldk.derive_channel_keys(&channel_keys)
    }

    /// By which terms that we offered are known again.
    pub(crate) fn promises(&self) -> [u8; 32] {
        self.promises
    }

    /// The preimage of a settlement id: HMAC-SHA256 keyed by a secret of the seed, so that nobody guesses it from the id.
    pub(crate) fn preimage(&self, settlement: [u8; 16]) -> [u8; 32] {
        hmac(&self.preimages, &settlement)
    }

    /// The preimage under which a settlement of ours is paid without an invoice: by a secret of its own, so that neither a
    /// hop nor one who was paid or paid us under the same id guesses it.
    pub(crate) fn keysend_preimage(&self, settlement: [u8; 16]) -> [u8; 32] {
        hmac(&self.keysends, &settlement)
    }
}

/// The SHA-256 of a preimage.
pub(crate) fn hash_of(preimage: &[u8; 32]) -> [u8; 32] {
    sha256::Hash::hash(preimage).to_byte_array()
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    engine.input(message);
    Hmac::from_engine(engine).to_byte_array()
}

impl EntropySource for Keys {
    fn get_secure_random_bytes(&self) -> [u8; 32] {
        self.ldk.get_secure_random_bytes()
    }
}

impl NodeSigner for Keys {
    fn get_expanded_key(&self) -> ExpandedKey {
        self.ldk.get_expanded_key()
    }

    fn get_peer_storage_key(&self) -> PeerStorageKey {
        self.ldk.get_peer_storage_key()
    }

    fn get_receive_auth_key(&self) -> ReceiveAuthKey {
        self.ldk.get_receive_auth_key()
    }

    fn get_node_id(&self, recipient: Recipient) -> Result<PublicKey, ()> {
        self.ldk.get_node_id(recipient)
    }

    fn ecdh(
        &self,
        recipient: Recipient,
        other_key: &PublicKey,
        tweak: Option<&Scalar>,
    ) -> Result<SharedSecret, ()> {
        self.ldk.ecdh(recipient, other_key, tweak)
    }

    fn sign_invoice(
        &self,
        invoice: &RawBolt11Invoice,
        recipient: Recipient,
    ) -> Result<RecoverableSignature, ()> {
        self.ldk.sign_invoice(invoice, recipient)
    }

    fn sign_bolt12_invoice(
        &self,
        invoice: &UnsignedBolt12Invoice,
    ) -> Result<schnorr::Signature, ()> {
        self.ldk.sign_bolt12_invoice(invoice)
    }

    fn sign_gossip_message(&self, message: UnsignedGossipMessage) -> Result<Signature, ()> {
        self.ldk.sign_gossip_message(message)
    }

    fn sign_message(&self, message: &[u8]) -> Result<String, ()> {
        self.ldk.sign_message(message)
    }
}

impl SignerProvider for Keys {
    type EcdsaSigner = InMemorySigner;

    fn generate_channel_keys_id(&self, inbound: bool, user_channel_id: u128) -> [u8; 32] {
        self.ldk.generate_channel_keys_id(inbound, user_channel_id)
    }

    fn derive_channel_signer(&self, channel_keys_id: [u8; 32]) -> InMemorySigner {
        self.ldk.derive_channel_signer(channel_keys_id)
    }

    fn get_destination_script(&self, _channel_keys_id: [u8; 32]) -> Result<ScriptBuf, ()> {
        self.wallet.script().map_err(|_| ())
    }

    fn get_shutdown_scriptpubkey(&self) -> Result<ShutdownScript, ()> {
        let script = self.wallet.script().map_err(|_| ())?;
        ShutdownScript::try_from(script).map_err(|_| ())
    }
}

impl OutputSpender for Keys {
    fn spend_spendable_outputs(
        &self,
        descriptors: &[&SpendableOutputDescriptor],
        outputs: Vec<TxOut>,
        change_destination_script: ScriptBuf,
        feerate_sat_per_1000_weight: u32,
        locktime: Option<LockTime>,
        secp_ctx: &Secp256k1<All>,
    ) -> Result<Transaction, ()> {
        self.ldk.spend_spendable_outputs(
            descriptors,
            outputs,
            change_destination_script,
            feerate_sat_per_1000_weight,
            locktime,
            secp_ctx,
        )
    }
}

impl ChangeDestinationSourceSync for Keys {
    fn get_change_destination_script(&self) -> Result<ScriptBuf, ()> {
        self.wallet.script().map_err(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::{Seed, hmac};

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let expected = [
            0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95,
            0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9,
            0x64, 0xec, 0x38, 0x43,
        ];
        assert_eq!(hmac(b"Jefe", b"what do ya want for nothing?"), expected);
    }

    #[test]
    fn a_seed_is_not_shown() {
        assert_eq!(format!("{:?}", Seed::new([7; 32])), "Seed(secret)");
    }
}
