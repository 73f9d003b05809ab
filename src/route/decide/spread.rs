//! Sequences that spread decisions evenly over requests, for decisions without a sticky key.

use crate::route::Bucket;

/// The low-discrepancy sequence that spreads requests of a route with `sticky = []`: one per worker and route.
/// The additive recurrence of the golden ratio, in integers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread(pub u64);

impl Spread {
    /// The golden ratio's fraction in 2^64ths, as the nearest odd number.
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// The next bucket. Any run of consecutive draws is spread evenly over all buckets.
    pub fn draw(&mut self) -> Bucket {
        self.0 = self.0.wrapping_add(Self::STEP);
        Bucket::from_hash(self.0)
    }
}

/// The low-discrepancy sequence that spreads copies over the requests of a route: one per worker and route. The
/// additive recurrence of the square root of ½, which is independent of the golden ratio's ([`Spread`]), so all
/// variants of a route with `sticky = []` are copied at the same rate.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShadowSpread(pub u64);

impl ShadowSpread {
    /// √½ in 2^64ths, as the nearest odd number.
    const STEP: u64 = 0xb504_f333_f9de_6485;

    /// The next bucket of the sequence.
    pub fn draw(&mut self) -> Bucket {
        self.0 = self.0.wrapping_add(Self::STEP);
        Bucket::from_hash(self.0)
    }
}
