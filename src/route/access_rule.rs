//! Which callers a route answers at once, such as with 403: `respond` in `[[route.target]]`.
//!
//! The rules are the targets of a route in their order, up to the last one that responds. The first one that matches
//! decides. Kills, latches and weights have no part in it, so a kill never opens what is closed.

use super::matching::all_match;
use super::{Caller, Predicate, RequestHead, Respond, RouteLine, Segment, SegmentId};

/// One target, as far as access is concerned.
#[derive(Clone, Debug)]
pub struct AccessRule {
    /// Where it is in its route.
    pub line: RouteLine,
    /// All must match.
    pub predicates: Vec<Predicate>,
    /// The segment that it names, for output.
    pub segment: Option<SegmentId>,
    /// What follows for a caller that matches.
    pub verdict: AccessVerdict,
}

/// What follows for a caller that matches.
#[derive(Clone, Debug)]
pub enum AccessVerdict {
    /// The route decides as usual: the target serves a variant.
    Pass,
    /// The proxy answers.
    Answer(Box<Respond>),
}

/// The answer for a caller, and the place of its rule; `None`: the route decides as usual.
#[must_use]
pub fn access<'a>(
    rules: &'a [AccessRule],
    head: &RequestHead<'_>,
    caller: &Caller<'_>,
    segments: &[Segment],
) -> Option<(usize, &'a Respond)> {
    let matches = |rule: &&AccessRule| all_match(&rule.predicates, head, caller, segments);
    let (at, rule) = rules.iter().enumerate().find(|(_, rule)| matches(rule))?;
    match &rule.verdict {
        AccessVerdict::Pass => None,
        AccessVerdict::Answer(respond) => Some((at, respond)),
    }
}
