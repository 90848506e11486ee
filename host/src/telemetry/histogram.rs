//! A histogram that many threads add to without waiting for each other; that of `prometheus-client` takes a lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Counts values by size. Values are whole numbers of some small unit, of which `scale` make one unit of what is shown.
#[derive(Clone, Debug)]
pub(super) struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Upper bounds, rising, and how many values are at most that and above the one before.
    buckets: Vec<(u64, AtomicU64)>,
    /// Values above all bounds.
    above: AtomicU64,
    sum: AtomicU64,
    scale: f64,
}

impl Histogram {
    pub(super) fn new(bounds: &[u64], scale: f64) -> Self {
        let buckets = bounds.iter().map(|bound| (*bound, AtomicU64::new(0))).collect();
        Self(Arc::new(Inner { buckets, above: AtomicU64::new(0), sum: AtomicU64::new(0), scale }))
    }

    pub(super) fn observe(&self, value: u64) {
        let bucket = self.0.buckets.iter().find(|(bound, _)| value <= *bound).map_or(&self.0.above, |(_, count)| count);
        bucket.fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(value, Ordering::Relaxed);
    }
}

impl Histogram {
    /// Returns about which value so large a part of all is below, `None` where there are none: within a bucket values are taken to lie evenly.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of a positive number"
    )]
    pub(super) fn quantile(&self, part: f64) -> Option<u64> {
        let counts: Vec<(u64, u64)> = self.0.buckets.iter().map(|(bound, count)| (*bound, count.load(Ordering::Relaxed))).collect();
        let total: u64 = counts.iter().map(|(_, count)| count).sum::<u64>() + self.0.above.load(Ordering::Relaxed);
        let wanted = part * total as f64;
        let (mut below, mut lower) = (0.0, 0);
        for (bound, count) in counts {
            let count = count as f64;
            if count > 0.0 && below + count >= wanted {
                return Some(lower + ((bound - lower) as f64 * ((wanted - below) / count)) as u64);
            }
            (below, lower) = (below + count, bound);
        }
        // Above all bounds, all that is known is the last of them.
        (total > 0).then_some(lower)
    }
}

impl EncodeMetric for Histogram {
    #[expect(clippy::cast_precision_loss, reason = "a float is what the format has")]
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let Inner { buckets, above, sum, scale } = &*self.0;
        let counts = buckets.iter().map(|(bound, count)| (*bound as f64 / scale, count.load(Ordering::Relaxed)));
        let buckets: Vec<(f64, u64)> = counts.chain([(f64::INFINITY, above.load(Ordering::Relaxed))]).collect();
        // The count is what the buckets say, also while others add to them.
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum.load(Ordering::Relaxed) as f64 / scale, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}
