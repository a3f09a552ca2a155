//! Whether what a chain source says can be acted on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::{BlockHash, Network};

use super::{BlockPlace, ChainSource, SourceKind};
use crate::Fault;

/// How a source sees its chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChainInfo {
    /// The hash of block 0, which tells networks apart.
    pub genesis: BlockHash,
    /// The highest block it has checked.
    pub tip: BlockPlace,
    /// The highest header it knows.
    pub headers: u32,
    /// What the tip says of its time, Unix seconds.
    pub tip_time_s: u64,
    /// It is still fetching old blocks.
    pub downloading: bool,
}

/// When a source counts as lagging.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthLimits {
    /// The longest since its tip was made. Of 10-minute blocks, one in 160,000 takes two hours.
    pub tip_age_max: Duration,
    /// How many headers it may know without their blocks.
    pub headers_ahead_max: u32,
}

impl Default for HealthLimits {
    fn default() -> Self {
        Self {
            tip_age_max: Duration::from_secs(2 * 3_600),
            headers_ahead_max: 3,
        }
    }
}

/// # Errors
/// [`Fault::WrongNetwork`], or [`Fault::SourceLags`] with the reason.
pub(crate) fn judge(
    kind: SourceKind,
    info: &ChainInfo,
    network: Network,
    expected_genesis: BlockHash,
    limits: &HealthLimits,
    now_s: u64,
) -> Result<(), Fault> {
    if info.genesis != expected_genesis {
        return Err(Fault::WrongNetwork {
            kind,
            expected: network.to_string(),
            found: network_of(info.genesis),
        });
    }
    let lags = |reason: String| Err(Fault::SourceLags { kind, reason });
    let age_s = now_s.saturating_sub(info.tip_time_s);
    let missing = info.headers.saturating_sub(info.tip.height);
    if age_s > limits.tip_age_max.as_secs() {
        return lags(format!("its newest block is {} minutes old", age_s / 60));
    }
    if missing > limits.headers_ahead_max {
        return lags(format!("it has yet to fetch {missing} blocks"));
    }
    if info.downloading {
        return lags("it is still fetching the chain".to_owned());
    }
    Ok(())
}

fn network_of(genesis: BlockHash) -> String {
    [
        Network::Bitcoin,
        Network::Testnet,
        Network::Testnet4,
        Network::Signet,
        Network::Regtest,
    ]
    .into_iter()
    .find(|network| bitcoin::constants::genesis_block(*network).block_hash() == genesis)
    .map_or_else(
        || format!("a chain that begins with {genesis}"),
        |network| network.to_string(),
    )
}

/// That all nodes have the same block `depth` below the lowest of their tips, and that no tip is more than `depth`
/// below another.
///
/// # Errors
/// [`Fault::NodesDisagree`] at that height; [`Fault::SourceLags`] of the lowest; as [`ChainSource::tip`].
pub async fn agree(nodes: &[&ChainSource], depth: u32) -> Result<(), Fault> {
    let mut tips = Vec::new();
    for node in nodes {
        tips.push((node.kind(), node.tip().await?));
    }
    let Some(height) = common_height(&tips, depth)? else {
        return Ok(());
    };
    let mut hashes = Vec::new();
    for node in nodes {
        hashes.push(node.block_hash(height).await?);
    }
    if hashes.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    Err(Fault::NodesDisagree { height })
}

/// The height at which they have to have the same block; none for no nodes.
fn common_height(tips: &[(SourceKind, BlockPlace)], depth: u32) -> Result<Option<u32>, Fault> {
    let lowest = tips.iter().min_by_key(|(_, tip)| tip.height);
    let highest = tips.iter().map(|(_, tip)| tip.height).max();
    let (Some((kind, lowest)), Some(highest)) = (lowest, highest) else {
        return Ok(None);
    };
    let (kind, lowest) = (*kind, lowest.height);
    if highest - lowest > depth {
        let reason = format!(
            "it is at height {lowest} and another node at {highest}, more than {depth} apart"
        );
        return Err(Fault::SourceLags { kind, reason });
    }
    Ok(Some(lowest.saturating_sub(depth)))
}

pub(crate) fn unix_time_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use bitcoin::constants::genesis_block;
    use bitcoin::hashes::Hash;

    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn healthy() -> ChainInfo {
        ChainInfo {
            genesis: genesis_block(Network::Bitcoin).block_hash(),
            tip: BlockPlace {
                height: 900_000,
                hash: BlockHash::all_zeros(),
            },
            headers: 900_000,
            tip_time_s: NOW_S - 1_200,
            downloading: false,
        }
    }

    fn said(info: &ChainInfo) -> String {
        let genesis = genesis_block(Network::Bitcoin).block_hash();
        let limits = HealthLimits::default();
        match judge(
            SourceKind::Bitcoind,
            info,
            Network::Bitcoin,
            genesis,
            &limits,
            NOW_S,
        ) {
            Ok(()) => "healthy".to_owned(),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn a_node_on_another_chain_or_behind_is_told_and_its_neighbour_passes() {
        let with = |change: fn(&mut ChainInfo)| {
            let mut info = healthy();
            change(&mut info);
            said(&info)
        };
        assert_eq!(with(|_| {}), "healthy");
        assert_eq!(with(|info| info.headers += 3), "healthy");
        assert!(with(|info| info.headers += 4).contains("yet to fetch 4 blocks"));
        assert_eq!(with(|info| info.tip_time_s = NOW_S - 7_200), "healthy");
        assert!(with(|info| info.tip_time_s = NOW_S - 7_201).contains("120 minutes old"));
        // A miner's clock may be ahead.
        assert_eq!(with(|info| info.tip_time_s = NOW_S + 3_600), "healthy");
        assert!(with(|info| info.downloading = true).contains("still fetching"));
        let regtest = with(|info| info.genesis = genesis_block(Network::Regtest).block_hash());
        assert!(
            regtest.contains("is on regtest") && regtest.contains("says bitcoin"),
            "{regtest}"
        );
        assert!(with(|info| info.genesis = BlockHash::all_zeros()).contains("begins with 0000"));
    }

    #[test]
    fn nodes_are_compared_below_the_lowest_tip() {
        let at = |height| {
            let hash = BlockHash::all_zeros();
            (SourceKind::Bitcoind, BlockPlace { height, hash })
        };
        let height = |tips: &[u32]| {
            common_height(
                &tips.iter().map(|height| at(*height)).collect::<Vec<_>>(),
                6,
            )
        };
        assert_eq!(height(&[]).expect("nobody"), None);
        assert_eq!(height(&[100, 106, 103]).expect("near"), Some(94));
        assert_eq!(height(&[3, 5]).expect("near"), Some(0));
        assert!(height(&[100, 107]).is_err());
    }
}
