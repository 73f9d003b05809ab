//! Random numbers from a seed: the same ones on each machine.

/// So large a mean is drawn as of a normal distribution.
const NORMAL_FROM: f64 = 30.0;

/// A sequence of random numbers (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The sequence of a run.
    pub fn new(seed: u64, run: u32) -> Self {
        let mut random = Self { state: seed ^ u64::from(run).wrapping_mul(0xD134_2543_DE82_EF95) };
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// From 0 to below 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// From 0 to below `count`; 0 when that is 0.
    #[expect(clippy::cast_possible_truncation, reason = "below count")]
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// The whole number below or above, so that the mean is right.
    pub fn round(&mut self, count: f64) -> u64 {
        let floor = count.max(0.0).floor();
        whole(floor) + u64::from(self.happens(count - floor))
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// How many events of this mean.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean > NORMAL_FROM {
            return whole((mean + mean.sqrt() * self.normal()).round());
        }
        if mean <= 0.0 {
            return 0;
        }
        let least = (-mean).exp();
        let (mut count, mut product) = (0, self.unit());
        while product > least {
            count += 1;
            product *= self.unit();
        }
        count
    }

    /// How many of `count` have what each has with a probability.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn binomial(&mut self, count: u64, probability: f64) -> u64 {
        if count == 0 || probability <= 0.0 {
            return 0;
        }
        if probability > 0.5 {
            return count - self.binomial(count, 1.0 - probability);
        }
        let mean = count as f64 * probability;
        if mean > NORMAL_FROM {
            let drawn = mean + (mean * (1.0 - probability)).sqrt() * self.normal();
            return whole(drawn.round()).min(count);
        }
        // From one to the next: the gaps are geometric.
        let gap = (-probability).ln_1p();
        let (mut found, mut at) = (0, 0.0);
        loop {
            at += ((1.0 - self.unit()).ln() / gap).floor() + 1.0;
            if at > count as f64 {
                return found;
            }
            found += 1;
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count is not negative, and fits")]
fn whole(count: f64) -> u64 {
    count.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    fn means_and_spreads_are_those_of_the_distributions() {
        const DRAWS: u64 = 20_000;
        let mut random = Random::new(7, 1);
        for (count, probability) in [(10, 0.1), (400, 0.01), (5_000, 0.5), (90, 0.9), (1_000, 0.04)] {
            let drawn: Vec<f64> = (0..DRAWS).map(|_| random.binomial(count, probability) as f64).collect();
            let mean = drawn.iter().sum::<f64>() / DRAWS as f64;
            let spread = drawn.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / DRAWS as f64;
            let (wanted, variance) = (count as f64 * probability, count as f64 * probability * (1.0 - probability));
            assert!(
                (mean - wanted).abs() < 4.0 * (variance / DRAWS as f64).sqrt() + 1e-3,
                "{count} {probability}: {mean}"
            );
            assert!((spread / variance - 1.0).abs() < 0.1, "{count} {probability}: {spread} of {variance}");
        }
        for wanted in [0.3, 7.0, 200.0] {
            let mean = (0..DRAWS).map(|_| random.poisson(wanted) as f64).sum::<f64>() / DRAWS as f64;
            assert!((mean - wanted).abs() < 4.0 * (wanted / DRAWS as f64).sqrt(), "{wanted}: {mean}");
        }
        let rounded = (0..DRAWS).map(|_| random.round(2.25) as f64).sum::<f64>() / DRAWS as f64;
        assert!((rounded - 2.25).abs() < 0.02, "{rounded}");
        assert!((0..1_000).all(|_| random.below(3) < 3) && random.below(0) == 0);
        let words = |seed, run| Random::new(seed, run).next();
        assert!(words(1, 2) == words(1, 2) && words(1, 2) != words(1, 3) && words(1, 2) != words(2, 2));
    }
}
