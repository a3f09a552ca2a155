//! Prices: each report replaces its source's last, the median is taken anew, and the pairs it touches are rebuilt.

use forebay_market::{Price, Rate, SourceReport, median};
use forebay_quantity::{AssetId, Milliseconds, Ppm, SourceId, Timestamp};

use crate::state::{Asset, Pair, State};

/// Returns are averaged over a day.
const AVERAGING: Milliseconds = Milliseconds(86_400_000);

pub(super) fn reported(
    state: &mut State,
    id: AssetId,
    source: SourceId,
    price: u128,
    at: Timestamp,
) {
    let price = Price::new(price).expect("a price was checked when it was reported");
    let now = state.now;
    let asset = state.asset_mut(id);
    let report = SourceReport { source, price, at };
    match asset
        .reports
        .iter_mut()
        .find(|known| known.source == source)
    {
        Some(known) => *known = report,
        None => asset.reports.push(report),
    }
    believe(asset, now);
    rebuild_asset(state, id);
}

/// Under other guards the same reports may make another price, or none.
pub(super) fn judge_anew(state: &mut State, id: AssetId) {
    let now = state.now;
    believe(state.asset_mut(id), now);
    rebuild_asset(state, id);
}

/// Computes every pair anew.
pub(super) fn rebuild(state: &mut State) {
    let count = state.assets.len();
    state.pairs.clear();
    state.pairs.resize(count * count, None);
    for number in 0..count {
        rebuild_asset(
            state,
            AssetId(u16::try_from(number).expect("[I12] assets are bounded")),
        );
    }
}

fn believe(asset: &mut Asset, now: Timestamp) {
    let guards = asset.policy.guards;
    let Ok(price) = median(&asset.reports, now, guards) else {
        asset.price = None;
        return;
    };
    if let Some((before, until)) = asset.price {
        let since = Timestamp(until.0.saturating_sub(guards.age_max_ms.value()));
        asset.volatility = asset
            .volatility
            .update(before, price, now.since(since), AVERAGING);
    }
    asset.price = Some((price, fresh_until(asset)));
}

/// Until when enough of the reports stay fresh.
fn fresh_until(asset: &Asset) -> Timestamp {
    let guards = asset.policy.guards;
    let needed = usize::from(guards.sources_min).max(forebay_market::SOURCES_MIN);
    let mut times = [0u64; forebay_market::SOURCES_MAX];
    for (time, report) in times.iter_mut().zip(&asset.reports) {
        *time = report.at.0;
    }
    times.sort_unstable_by(|a, b| b.cmp(a));
    Timestamp(times[needed - 1].saturating_add(guards.age_max_ms.value()))
}

fn rebuild_asset(state: &mut State, changed: AssetId) {
    let count = state.assets.len();
    let row = usize::from(changed.0);
    for other in 0..count {
        state.pairs[row * count + other] = pair(&state.assets[row], &state.assets[other]);
        state.pairs[other * count + row] = pair(&state.assets[other], &state.assets[row]);
    }
}

fn pair(paid_in: &Asset, paid_out: &Asset) -> Option<Pair> {
    let (price_in, price_out) = (paid_in.price?.0, paid_out.price?.0);
    let rate = Rate::between(
        price_in,
        paid_in.definition.scale,
        price_out,
        paid_out.definition.scale,
    )?;
    let resting: Ppm = paid_out
        .policy
        .spread
        .resting_ceil(paid_in.volatility, paid_out.volatility);
    Some(Pair { rate, resting })
}
