//! The endpoints that get requests, as a list from which a choice draws. A worker makes it anew only when the upstream
//! says that the endpoints in rotation have changed, or while the share of one grows.

/// The resolution of weights in draws: a thousandth.
const PARTS: f64 = 1_000.0;

/// An endpoint, for the making of a [`Rotation`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotationPlace {
    /// Its weight, from 1.
    pub weight: u32,
    /// Whether it gets requests now.
    pub serves: bool,
    /// The part of its share that it gets, above 0 up to 1.
    pub ramp: f64,
}

/// Endpoints with their weights, by their index in the upstream.
#[derive(Debug, Default)]
pub struct Members {
    at: Box<[u32]>,
    /// Cumulative weights in thousandths; empty where all weights are equal.
    sums: Box<[u64]>,
    /// The weights of all endpoints of the upstream, by index; 0 for those that are not in the list.
    weights: Box<[f64]>,
    total: f64,
}

/// The endpoints in rotation.
#[derive(Debug, Default)]
pub struct Rotation {
    /// The number of the change that it was made after.
    pub number: u64,
    /// Those that get requests.
    pub members: Members,
    /// The indexes of the others.
    pub outside: Box<[u32]>,
    /// Whether the share of a member grows.
    pub ramps: bool,
}

impl Members {
    /// The endpoints at these indexes; `weights` are by index, 0 for those that are not in the list.
    #[must_use]
    pub fn new(at: Box<[u32]>, weights: Box<[f64]>) -> Self {
        debug_assert!(at.iter().all(|at| weights[*at as usize] > 0.0), "each has a weight");
        debug_assert_eq!(weights.iter().filter(|weight| **weight > 0.0).count(), at.len(), "no other one has");
        let of = |at: &u32| weights[*at as usize];
        let total = at.iter().map(of).sum();
        let is_even = at.windows(2).all(|two| of(&two[0]).to_bits() == of(&two[1]).to_bits());
        let mut sum = 0_u64;
        let mut add = |at: &u32| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and far below")]
            let parts = (of(at) * PARTS).round() as u64;
            sum = sum.saturating_add(parts.max(1));
            sum
        };
        let sums = if is_even { Box::default() } else { at.iter().map(&mut add).collect() };
        Self { at, sums, weights, total }
    }

    /// All endpoints with these weights.
    #[must_use]
    pub fn all(weights: Box<[f64]>) -> Self {
        let count = u32::try_from(weights.len()).unwrap_or(u32::MAX);
        Self::new((0..count).collect(), weights)
    }

    /// How many there are.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// Their indexes in the upstream.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.at.iter().map(|at| *at as usize)
    }

    /// The same from a random place on, and around.
    pub(super) fn iter_from(&self, word: u64) -> impl Iterator<Item = usize> {
        let from = usize::try_from(scaled(word, self.at.len() as u64)).unwrap_or(0);
        self.at[from..].iter().chain(&self.at[..from]).map(|at| *at as usize)
    }

    /// The first one, if there is one.
    #[must_use]
    #[inline]
    pub fn first(&self) -> Option<usize> {
        self.at.first().map(|at| *at as usize)
    }

    /// The weight of an endpoint; 0 when it is not in the list.
    #[must_use]
    #[inline]
    pub fn weight(&self, at: usize) -> f64 {
        self.weights.get(at).copied().unwrap_or(0.0)
    }

    /// The sum of the weights of the list.
    #[must_use]
    #[inline]
    pub fn total(&self) -> f64 {
        self.total
    }

    /// The number of endpoints of the upstream.
    #[must_use]
    pub fn endpoints(&self) -> usize {
        self.weights.len()
    }

    /// The endpoint that a random word draws, by weight. The list is not empty.
    #[inline]
    pub(super) fn draw(&self, word: u64) -> usize {
        debug_assert!(!self.at.is_empty(), "there is one to draw");
        let drawn = match self.sums.last() {
            None => scaled(word, self.at.len() as u64),
            Some(total) => {
                let parts = scaled(word, *total);
                self.sums.partition_point(|sum| *sum <= parts) as u64
            }
        };
        #[expect(clippy::cast_possible_truncation, reason = "below the length of the list")]
        self.at.get(drawn as usize).map_or(0, |at| *at as usize)
    }
}

impl Rotation {
    /// The list of the endpoints that serve.
    #[must_use]
    pub fn new(number: u64, places: impl Iterator<Item = RotationPlace>) -> Self {
        let (mut inside, mut outside, mut weights, mut ramps) = (Vec::new(), Vec::new(), Vec::new(), false);
        for (at, place) in (0..).zip(places) {
            let list = if place.serves { &mut inside } else { &mut outside };
            list.push(at);
            ramps |= place.serves && place.ramp < 1.0;
            let weight = f64::from(place.weight.max(1)) * place.ramp.clamp(0.01, 1.0);
            weights.push(if place.serves { weight } else { 0.0 });
        }
        Self { number, members: Members::new(inside.into(), weights.into()), outside: outside.into(), ramps }
    }
}

/// A random word as a number below `count`.
#[inline]
pub(super) fn scaled(word: u64, count: u64) -> u64 {
    ((u128::from(word) * u128::from(count)) >> 64) as u64
}
