//! `[[route.rate_limit]]` as plain data.

use std::fmt;
use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::matching::all_match;
use super::{Caller, RequestHead, RouteLine, Segment, SegmentId};

/// One `[[route.rate_limit]]`. Its identity is its route, `per` and `name`: with these unchanged, a reload keeps its
/// counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The name, unique in its route; by default that of `per`.
    pub name: String,
    /// Where it is in its route.
    pub line: RouteLine,
    /// What has a count of its own.
    pub per: RateKey,
    /// How many requests are let through in the long run.
    pub rate: Rate,
    /// How many are let through at once after a pause, from 1.
    pub burst: u32,
    /// Callers in this segment are not limited.
    pub except: Option<SegmentId>,
    /// What happens to a request beyond the limit.
    pub mode: RateLimitMode,
    /// The status of the answer.
    pub status: StatusCode,
}

/// What has a count of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// All requests of the route together.
    Route,
    /// The client's address; an IPv6 address by its /64 network.
    ClientIp,
    /// The user; a request without one falls to the client's address.
    User,
    /// The tenant; a request without one falls to the client's address.
    Tenant,
    /// The value of this field; a request without it falls to the client's address.
    Header(HeaderName),
}

/// A number of requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// The requests, from 1.
    pub requests: u32,
    /// The time, more than zero.
    pub per: Duration,
}

/// What happens to a request beyond a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateLimitMode {
    /// It is refused.
    #[default]
    Enforce,
    /// It is counted and let through: `dry_run = true`.
    DryRun,
}

/// Which requests are refused first when the proxy is short of memory or places: `priority = "low"` of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadPriority {
    /// Not before the limits are reached.
    #[default]
    Normal,
    /// From 80 % of a limit on.
    Low,
}

/// What a request has that a limit counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateValue<'a> {
    /// Nothing: all requests are counted together.
    Whole,
    /// This value.
    Of(&'a [u8]),
    /// It counts by the client's address, or the request lacks the value.
    None,
}

impl RateLimit {
    /// Whether the limit holds for this caller: `except` does not match.
    #[must_use]
    pub fn holds(&self, head: &RequestHead<'_>, caller: &Caller<'_>, segments: &[Segment]) -> bool {
        let is_in = |segment: &Segment| all_match(&segment.predicates, head, caller, segments);
        !self.except.and_then(|id| segments.get(id.0 as usize)).is_some_and(is_in)
    }

    /// What the request is counted by.
    #[must_use]
    pub fn value<'a>(&self, head: &'a RequestHead<'_>, caller: &'a Caller<'_>) -> RateValue<'a> {
        let value = match &self.per {
            RateKey::Route => return RateValue::Whole,
            RateKey::ClientIp => None,
            RateKey::User => caller.user.as_deref().map(str::as_bytes),
            RateKey::Tenant => caller.tenant.as_deref().map(str::as_bytes),
            RateKey::Header(name) => head.fields.get(name),
        };
        value.filter(|value| !value.is_empty()).map_or(RateValue::None, RateValue::Of)
    }
}

impl Rate {
    /// The time between two requests at this rate, in nanoseconds, rounded up, so that the rate is not exceeded.
    #[must_use]
    pub fn interval_ns(self) -> u64 {
        debug_assert!(self.requests > 0 && !self.per.is_zero(), "a rate is more than zero");
        let per = u64::try_from(self.per.as_nanos()).unwrap_or(u64::MAX);
        per.div_ceil(u64::from(self.requests.max(1))).max(1)
    }

    /// Requests a second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        f64::from(self.requests) / self.per.as_secs_f64()
    }
}

impl fmt::Display for Rate {
    /// Such as `100/s`, `6000/min`, `10/h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            60 => "min".to_owned(),
            3600 => "h".to_owned(),
            86_400 => "d".to_owned(),
            1 => "s".to_owned(),
            _ => format!("{:?}", self.per),
        };
        write!(f, "{}/{unit}", self.requests)
    }
}

impl fmt::Display for RateKey {
    /// As in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route => f.write_str("route"),
            Self::ClientIp => f.write_str("client_ip"),
            Self::User => f.write_str("user"),
            Self::Tenant => f.write_str("tenant"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}
