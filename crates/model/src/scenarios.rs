//! Small worlds, each of them walked to its last state.

use forebay_channel::LaneId;

use crate::actor::Who;
use crate::properties::{
    CLOSED_TOGETHER, HELD_DESPITE_LOSS, LOST_IN_SLEEP, LOWERED_AFTER_PAYING,
    LOWERED_UNDER_A_VOUCHER, NET_OFF_VOID, NETTED_AND_CLOSED, NEVER_ARRIVED, OLD_KEY_PAID,
    OVERPROMISE_PAYS_THE_CEILING, PAID_AFTER_REORG, PEER_PAID_AND_CLOSED, POOL_PAID_AND_CLOSED,
    TOWER_PAID,
};
use crate::world::{Bounds, Budget, ChannelModel};

/// A world with a name.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it is called by.
    pub name: &'static str,
    /// What it is.
    pub model: ChannelModel,
}

const POOL: &[LaneId] = &[LaneId::Pool];
const PEER: &[LaneId] = &[LaneId::Peer];
const BOTH: &[LaneId] = &[LaneId::Pool, LaneId::Peer];

/// A transaction sent at the last moment is in the next block; a dropped block sends it there once more.
pub const MARGIN: u8 = 2;
/// The same when the newest block may be dropped: the transaction then waits anew.
pub const MARGIN_WITH_REORG: u8 = 4;

const QUIET: Bounds = Bounds {
    lanes: POOL,
    ceilings: [3, 0],
    vouchers: 2,
    voucher_steps: &[1],
    wakeful: Some(Who::Pool),
    tower: None,
    threshold: None,
    period: 4,
    margin: MARGIN,
    horizon: 8,
    budget: Budget {
        overpromises: 0,
        drops: 0,
        duplicates: 0,
        crashes: 0,
        reorgs: 0,
        failures: 0,
        net_offs: 0,
        closes_together: 0,
        closes: 0,
        lowerings: 0,
        key_changes: 0,
        raises: 0,
    },
};

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "network",
        model: ChannelModel {
            bounds: Bounds {
                budget: Budget {
                    drops: 1,
                    duplicates: 1,
                    crashes: 1,
                    closes: 1,
                    ..QUIET.budget
                },
                ..QUIET
            },
            endings: &[
                PEER_PAID_AND_CLOSED,
                LOST_IN_SLEEP,
                HELD_DESPITE_LOSS,
                NEVER_ARRIVED,
            ],
        },
    },
    Scenario {
        name: "tower",
        model: ChannelModel {
            bounds: Bounds {
                tower: Some(LaneId::Pool),
                budget: Budget {
                    drops: 1,
                    closes: 1,
                    ..QUIET.budget
                },
                ..QUIET
            },
            endings: &[PEER_PAID_AND_CLOSED, TOWER_PAID, LOST_IN_SLEEP],
        },
    },
    Scenario {
        name: "reorg",
        model: ChannelModel {
            bounds: Bounds {
                period: 6,
                margin: MARGIN_WITH_REORG,
                horizon: 9,
                budget: Budget {
                    reorgs: 1,
                    failures: 1,
                    closes: 2,
                    ..QUIET.budget
                },
                ..QUIET
            },
            endings: &[PEER_PAID_AND_CLOSED, PAID_AFTER_REORG, LOST_IN_SLEEP],
        },
    },
    Scenario {
        name: "lowering",
        model: ChannelModel {
            bounds: Bounds {
                ceilings: [2, 0],
                vouchers: 1,
                voucher_steps: &[1, 2],
                period: 6,
                margin: MARGIN_WITH_REORG,
                horizon: 9,
                budget: Budget {
                    reorgs: 1,
                    lowerings: 2,
                    raises: 1,
                    ..QUIET.budget
                },
                ..QUIET
            },
            endings: &[LOWERED_AFTER_PAYING, LOWERED_UNDER_A_VOUCHER],
        },
    },
    Scenario {
        name: "withdrawal",
        model: ChannelModel {
            bounds: Bounds {
                lanes: PEER,
                wakeful: Some(Who::Peer),
                ceilings: [0, 2],
                period: 3,
                horizon: 7,
                vouchers: 1,
                budget: Budget {
                    overpromises: 1,
                    lowerings: 1,
                    closes: 1,
                    ..QUIET.budget
                },
                ..QUIET
            },
            endings: &[
                POOL_PAID_AND_CLOSED,
                LOWERED_AFTER_PAYING,
                LOWERED_UNDER_A_VOUCHER,
            ],
        },
    },
    Scenario {
        name: "keys",
        model: ChannelModel {
            bounds: Bounds {
                ceilings: [1, 0],
                vouchers: 1,
                threshold: Some(1),
                period: 3,
                horizon: 7,
                budget: Budget {
                    overpromises: 1,
                    key_changes: 1,
                    raises: 1,
                    ..QUIET.budget
                },
                ..QUIET
            },
            endings: &[OLD_KEY_PAID, OVERPROMISE_PAYS_THE_CEILING],
        },
    },
    Scenario {
        name: "net-off",
        model: ChannelModel {
            bounds: Bounds {
                lanes: BOTH,
                wakeful: None,
                ceilings: [2, 2],
                vouchers: 1,
                voucher_steps: &[1, 2],
                threshold: Some(2),
                budget: Budget {
                    net_offs: 1,
                    closes_together: 1,
                    ..QUIET.budget
                },
                ..QUIET
            },
            endings: &[CLOSED_TOGETHER, NETTED_AND_CLOSED, NET_OFF_VOID],
        },
    },
];

/// Everything may happen in it: too large to be walked to its end.
pub const MIXED: Scenario = Scenario {
    name: "mixed",
    model: ChannelModel {
        bounds: Bounds {
            lanes: BOTH,
            ceilings: [2, 2],
            vouchers: 2,
            voucher_steps: &[1, 2],
            wakeful: None,
            tower: Some(LaneId::Pool),
            threshold: Some(2),
            period: 6,
            margin: MARGIN_WITH_REORG,
            horizon: 12,
            budget: Budget {
                overpromises: 1,
                drops: 1,
                duplicates: 1,
                crashes: 1,
                reorgs: 1,
                failures: 1,
                net_offs: 1,
                closes_together: 1,
                closes: 1,
                lowerings: 2,
                key_changes: 1,
                raises: 1,
            },
        },
        endings: &[],
    },
};

/// The scenario of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
