//! The last hour in samples, for charts that begin before their reader came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_api::{AssetSample, Sample};
use forebay_pool::State;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::core::{CoreHandle, Counted, Figures};
use crate::wall;

/// Between two samples.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Samples kept: an hour of them.
const SAMPLES_MAX: usize = 720;

/// The samples, and what the counters said at the last one.
#[derive(Debug, Default)]
pub(crate) struct History {
    samples: Mutex<VecDeque<Sample>>,
    latency: Mutex<Option<Counted>>,
}

impl History {
    /// Oldest first.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().cloned().collect()
    }

    /// What the latency histogram took since the last sample.
    pub(crate) fn latency_since(&self, now: &Counted) -> Counted {
        let before = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        before
            .as_ref()
            .map_or_else(|| now.clone(), |before| now.since(before))
    }

    fn add(&self, sample: Sample, latency: Counted) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
        *self.latency.lock().unwrap_or_else(PoisonError::into_inner) = Some(latency);
    }
}

/// Takes a sample now and then until `stop` changes.
pub(crate) async fn keep(
    history: Arc<History>,
    core: CoreHandle,
    figures: Arc<Figures>,
    mut stop: watch::Receiver<bool>,
) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut fulfilled, mut rejected) = (0, 0);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.changed() => return,
        }
        let Ok(assets) = core.query(assets).await else {
            // The core has stopped: nothing changes any more.
            return;
        };
        let (fulfilled_now, rejected_now) = (figures.fulfilled.value(), rejects(&figures));
        let latency = figures.latency.counted();
        let since = history.latency_since(&latency);
        let sample = Sample {
            at_ms: wall::now().0,
            fulfilled: fulfilled_now.saturating_sub(fulfilled),
            rejected: rejected_now.saturating_sub(rejected),
            latency_p50_us: since.quantile_us(500),
            latency_p99_us: since.quantile_us(990),
            assets,
        };
        (fulfilled, rejected) = (fulfilled_now, rejected_now);
        history.add(sample, latency);
    }
}

/// Rejects that went to packets' senders.
pub(crate) fn rejects(figures: &Figures) -> u64 {
    figures.own_rejects.sum() + figures.relayed_rejects.sum()
}

fn assets(state: &State) -> Vec<AssetSample> {
    let samples = state.assets().zip(state.coverages());
    let samples = samples.map(|((id, asset), coverage)| AssetSample {
        code: asset.definition.code.clone(),
        reserves: coverage.reserves.into(),
        stolen_key_cost: state.stolen_key_cost(id).into(),
        coverage_ppm: coverage.ratio_ppm(),
    });
    samples.collect()
}
