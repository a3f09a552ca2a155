//! What the operator instructs, well, badly and again.

use forebay_pool::{Admin, Command, Rejection, Relation, RelationKind};
use forebay_quantity::{Amount, AssetId, Hash32, PeerId};

use crate::setup;
use crate::world::World;

pub(super) fn instruct(world: &mut World) {
    let asset = AssetId(u16::try_from(world.random.index(world.factors.len())).expect("few"));
    let number = world.random.index(world.actors.len());
    let peer = world.actors[number].id;
    let prefix = format!("g.route{}", world.random.below(4));
    match world.random.below(12) {
        0 | 1 => {
            let policy = setup::asset_policy(&mut world.random);
            let _taken_or_not = world.admin(Admin::SetAsset(asset, policy));
        }
        2 | 3 => {
            let receives = world.actors[number].receives;
            let policy = setup::peer_policy(&mut world.random, receives);
            let _taken_or_not = world.admin(Admin::SetPeer(peer, policy));
        }
        4 => {
            let _taken_or_not = world.admin(Admin::HaltBook(asset));
        }
        5..=7 => {
            for number in 0..world.factors.len() {
                let asset = AssetId(u16::try_from(number).expect("few"));
                let _taken_or_not = world.admin(Admin::ResumeBook(asset));
            }
        }
        8 => {
            let relation = Relation {
                kind: RelationKind::Peer,
                sends_routes: prefix.ends_with('0'),
                ..Relation::CHILD
            };
            let _taken_or_not = world.admin(Admin::AddRoute { prefix, peer });
            let _taken_or_not = world.admin(Admin::SetRelation(peer, relation));
        }
        9 => {
            let _taken_or_not = world.admin(Admin::RemoveRoute { prefix });
        }
        10 => {
            if world.actors.len() < 9 {
                setup::add_peer(world, asset, true, true);
            }
        }
        _ => {
            if world.random.chance(300)
                && number > 1
                && world.admin(Admin::RemovePeer(peer)).is_ok()
            {
                world.end_batch(None);
                world.actors[number].removed = true;
            }
        }
    }
}

pub(super) fn instruct_badly(world: &mut World) {
    let peer = PeerId(0);
    let mut random = world.random.clone();
    let asset_policy = setup::asset_policy(&mut random);
    let peer_policy = setup::peer_policy(&mut random, true);
    let definition = setup::definition(0, &mut random);
    let token_hash = Hash32([9; 32]);
    let name = |name: &str| Admin::AddPeer {
        name: name.into(),
        asset: AssetId(0),
        token_hash,
        policy: peer_policy.clone(),
    };
    let no_credit = forebay_pool::PeerPolicy {
        credit: Amount::ZERO,
        ..peer_policy.clone()
    };
    let no_packets = forebay_pool::PeerPolicy {
        packet_max: 0,
        ..peer_policy.clone()
    };
    let admin = match world.random.below(11) {
        0 => Admin::Found(world.genesis.clone()),
        1 => Admin::SetAsset(AssetId(50), asset_policy),
        2 => Admin::SetPeer(PeerId(50), peer_policy),
        3 => Admin::SetPeer(peer, no_packets),
        4 => Admin::AddAsset(definition, asset_policy),
        5 => name("no spaces, please"),
        6 => name("peer1"),
        7 => Admin::RemoveRoute {
            prefix: "g.never".into(),
        },
        8 => Admin::AddRoute {
            prefix: "not an address!".into(),
            peer,
        },
        9 => Admin::RemovePeer(PeerId(51)),
        _ => {
            // Refused while the credit is drawn, and fine otherwise.
            let number = world.random.index(world.actors.len());
            let _taken_or_not = world.admin(Admin::SetPeer(world.actors[number].id, no_credit));
            return;
        }
    };
    let done = world.admin(admin);
    assert!(done.is_err(), "a bad instruction was taken");
}

pub(super) fn repeat_instruction(world: &mut World) {
    if world.commands_sent.is_empty() || !world.is_up() || world.halted {
        return;
    }
    let number = world.random.index(world.commands_sent.len());
    let (id, admin) = world.commands_sent[number].clone();
    let known = world.auditor.books.commands.contains(&id);
    if !known {
        return;
    }
    let done = world.apply(&Command::Admin(id, admin));
    assert_eq!(
        done,
        Err(Rejection::AlreadyTaken),
        "[I11] command {id} is taken again"
    );
    let other = Admin::RemoveRoute {
        prefix: "test.never.sent".into(),
    };
    let done = world.apply(&Command::Admin(id, other));
    assert_eq!(
        done,
        Err(Rejection::IdReused),
        "[I11] command {id} stands for two instructions"
    );
}
