//! Whether a rule about callers answers a request: an access rule or a rate limit of its route.

use crate::route::{AccessRule, RateLimit, Route};

/// Whether a rule about callers answers the request, by its number in the route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Screening {
    /// None does.
    #[default]
    Passed,
    /// An access rule.
    Access(u16),
    /// A rate limit.
    Limit(u16),
}

impl Screening {
    /// The rate limit that refuses the request.
    pub(super) fn limit(self, route: &Route) -> Option<&RateLimit> {
        match self {
            Self::Limit(at) => route.rate_limits.get(usize::from(at)),
            Self::Passed | Self::Access(_) => None,
        }
    }

    /// The access rule that answers the request.
    pub(super) fn rule(self, route: &Route) -> Option<&AccessRule> {
        match self {
            Self::Access(at) => route.access.get(usize::from(at)),
            Self::Passed | Self::Limit(_) => None,
        }
    }
}
