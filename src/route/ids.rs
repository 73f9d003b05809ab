//! Ids and units. A value of these types is always valid.

use std::fmt;
use std::num::NonZeroU64;

/// A share of traffic, in millionths: `5 %` is `50_000`, `100 %` is `1_000_000`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u32);

impl Weight {
    /// No traffic.
    pub const ZERO: Self = Self(0);
    /// All traffic.
    pub const FULL: Self = Self(1_000_000);

    /// A weight of `millionths`; `None` above 100 %.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths <= 1_000_000 { Some(Self(millionths)) } else { None }
    }

    /// The weight in millionths, which is also its width in buckets.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// The weight in percent, for output.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.percent())
    }
}

/// The bucket of a sticky key, `0..=999_999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub(super) u32);

impl Bucket {
    /// The bucket's number, `0..=999_999`.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// The hash of a sticky key with the salt of the route. The bucket depends on the highest bits, so the lower bits are
/// independent of the variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(NonZeroU64);

impl KeyHash {
    /// From a hash; 0 becomes 1.
    #[must_use]
    pub const fn of(hash: u64) -> Self {
        match NonZeroU64::new(hash) {
            Some(hash) => Self(hash),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// The hash.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0.get()
    }
}

/// The number of a publication: starts at 1, and each published snapshot adds one. A reload, a kill and a DNS answer
/// publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edition(pub u64);

/// The number of a configuration: starts at 1, and each applied reload adds one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The index of a route in [`Rules::routes`](super::Rules::routes), which is file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u32);

/// The index of an upstream in [`Rules::upstreams`](super::Rules::upstreams).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(pub u32);

/// The index of a segment in [`Rules::segments`](super::Rules::segments).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// The index of a rollout in [`Rules::rollouts`](super::Rules::rollouts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RolloutId(pub u32);

/// The index of a variant in [`Split::variants`](super::Split::variants); stable is always 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariantId(pub u16);

impl VariantId {
    /// The stable variant.
    pub const STABLE: Self = Self(0);
}
