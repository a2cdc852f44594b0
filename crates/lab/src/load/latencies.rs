//! How long many operations took. Every one is kept: a round of a benchmark is short.

use std::time::Duration;

/// Latencies, in whole nanoseconds; those above 4.2 s count as that.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// One more.
    pub fn note(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
    }

    /// Those of another one, too.
    pub fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Nearest-rank quantiles in microseconds, in the order of `percents`; none of nothing.
    pub fn quantiles_us<const N: usize>(&mut self, percents: [usize; N]) -> Option<[f64; N]> {
        self.0.sort_unstable();
        let last = self.0.len().checked_sub(1)?;
        let at = |percent: usize| {
            let rank = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
            f64::from(self.0[rank.min(last)]) / 1000.0
        };
        Some(percents.map(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        for micros in micros {
            latencies.note(Duration::from_micros(micros));
        }
        latencies
    }

    #[test]
    fn a_quantile_is_a_latency_that_was_measured() {
        let mut hundred = of((1..=100).rev());
        hundred.add(of(101..=200));
        assert_eq!(hundred.count(), 200);
        assert_eq!(hundred.quantiles_us([0, 50, 99, 100]), Some([1.0, 100.0, 198.0, 200.0]));
        assert_eq!(of([7]).quantiles_us([50, 99]), Some([7.0, 7.0]));
        assert_eq!(of([]).quantiles_us([50]), None);
    }

    #[test]
    fn a_latency_of_minutes_counts_as_four_seconds() {
        assert!(of([600_000_000]).quantiles_us([50]).unwrap()[0] > 4.2e6);
    }
}
