//! Answers to nothing, and facts that cannot be.

use forebay_pool::{ChainFact, Command, Depth, FactAt, PeerKeys, Rejection, VaultFact};
use forebay_quantity::{Amount, AssetId, EffectId, PacketId, PeerId};

use crate::adapter::Adapter;
use crate::setup::address;
use crate::world::World;

/// Answers to nothing, facts that cannot be, keys that are none.
pub(super) fn pester(world: &mut World) {
    tell_old_notices(world);
    let asset = AssetId(0);
    let at = FactAt {
        block: u64::MAX,
        log: 0,
    };
    let lie = |depth, fact| {
        Command::Chain(ChainFact {
            asset,
            at,
            depth,
            fact,
        })
    };
    let peer = world.actors[0].id;
    let command = match world.random.below(8) {
        0 => Command::Fulfill {
            peer,
            packet: PacketId(u32::MAX),
            preimage: [0; 32],
        },
        1 => Command::Reject {
            peer,
            packet: PacketId(12_345_678),
            code: *b"F00",
        },
        2 => Command::Outcome {
            effect: EffectId(u64::MAX),
            failure: None,
        },
        3 => lie(
            Depth::Final,
            VaultFact::ExitPaid {
                cohort: 0,
                units: Amount::new(1),
                amount: Amount::MAX,
            },
        ),
        4 => {
            // A node that has lost its chain: the book halts until the operator resumes it.
            if world.random.chance(300) {
                world.counts.add("fault", "deep reorg");
                lie(Depth::Seen, VaultFact::DeepReorg)
            } else {
                return;
            }
        }
        5 => Command::Keys {
            peer,
            keys: PeerKeys {
                signer: forebay_channel::Address::ZERO,
                payout: forebay_channel::Address::ZERO,
            },
        },
        6 => Command::Keys {
            peer: PeerId(77),
            keys: PeerKeys {
                signer: address(b"x", 1),
                payout: address(b"x", 2),
            },
        },
        _ => lie(
            Depth::Final,
            VaultFact::SharesWithdrawn {
                amount: Amount::MAX,
            },
        ),
    };
    let deep = matches!(&command, Command::Chain(fact) if fact.depth == Depth::Seen);
    let done = world.apply(&command);
    assert!(done.is_err() || deep, "nonsense was taken: {command:?}");
}

/// Old notices as new ones, but only such as the pool has had for certain.
fn tell_old_notices(world: &mut World) {
    for _ in 0..40 {
        let Some(fact) = Adapter::old_notice(&world.chain, &mut world.random) else {
            continue;
        };
        if !world.is_up() || world.halted {
            return;
        }
        let asset = world.process.state().asset(fact.asset);
        let cursor = asset.and_then(|asset| asset.vault.cursor);
        if cursor.is_none_or(|last| last < fact.at) {
            continue;
        }
        world.counts.add("fault", "old notice told again");
        let done = world.apply(&Command::Chain(fact));
        assert_eq!(
            done,
            Err(Rejection::AlreadyTaken),
            "[I11] an old notice is taken for a new one"
        );
    }
}
