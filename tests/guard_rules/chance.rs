//! Random numbers and quantiles.

use fastrand::Rng;
use pointsman::stats::{Evidence, Kernel, Stratum, Tally};

/// A number of arrivals by the Poisson distribution.
pub fn poisson(random: &mut Rng, mean: f64) -> u64 {
    let mut arrivals = 0;
    let mut left = mean;
    // The time between two arrivals is exponential.
    loop {
        left += (1.0 - random.f64()).ln();
        if left < 0.0 {
            return arrivals;
        }
        arrivals += 1;
    }
}

/// How many of `count` happen, each with probability `chance`.
pub fn binomial(random: &mut Rng, count: u64, chance: f64) -> u64 {
    if chance >= 1.0 {
        return count;
    }
    if chance <= 0.0 {
        return 0;
    }
    // From one that happens to the next: much faster than one by one, where few happen.
    let (mut happened, mut at) = (0, 0.0);
    let scale = (1.0 - chance).ln();
    loop {
        at += ((1.0 - random.f64()).ln() / scale).floor() + 1.0;
        if at > count as f64 {
            return happened;
        }
        happened += 1;
    }
}

/// The value that a part of the values is not above, 0 to 1.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len() - 1;
    sorted[(0..last).find(|at| *at as f64 >= part * last as f64).unwrap_or(last)]
}

/// The exposures and events of a stratum.
pub fn stratum(exposures: [u64; 2], events: [u64; 2]) -> Stratum {
    let [control, tested] = [0, 1].map(|arm: usize| Tally { exposures: exposures[arm], events: events[arm] });
    Stratum { tested, control }
}

/// Evidence of events under a constant share: it depends on the counts only.
pub struct Counted {
    kernel: Kernel,
    share: [u64; 2],
    /// The logarithms of `E` with so many events, of the tested arm first.
    memory: Vec<Vec<Option<f64>>>,
}

impl Counted {
    /// `percent` is the tested arm's share of the exposures.
    pub fn new(percent: u64) -> Self {
        Self { kernel: Kernel::new(1.1).unwrap(), share: [100 - percent, percent], memory: Vec::new() }
    }

    /// The natural logarithm of E.
    pub fn ln(&mut self, tested: usize, control: usize) -> f64 {
        if self.memory.len() <= tested {
            self.memory.resize(tested + 1, Vec::new());
        }
        let row = &mut self.memory[tested];
        if row.len() <= control {
            row.resize(control + 1, None);
        }
        let (kernel, share) = (&self.kernel, self.share);
        *row[control].get_or_insert_with(|| {
            let mut evidence = Evidence::default();
            kernel.add(&mut evidence, &stratum(share, [control as u64, tested as u64]));
            kernel.ln(&evidence)
        })
    }
}
