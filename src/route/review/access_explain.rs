//! The part of an explanation before the decision: which target answers, and which rate limits apply.

use std::net::IpAddr;

use super::miss_reasons::MissReasons;
use super::recorder::ExplainStep;
use crate::route::{
    AccessRule, AccessVerdict, Caller, RateKey, RateLimit, RateLimitMode, RateValue, RequestHead, Respond, Route,
    Rules, access,
};

/// A route with a request that it takes.
#[derive(Clone, Copy)]
pub(super) struct AdmittedRequest<'a> {
    pub(super) rules: &'a Rules,
    pub(super) route: &'a Route,
    pub(super) head: &'a RequestHead<'a>,
    pub(super) caller: &'a Caller<'a>,
}

/// What comes before the decision of a request.
pub(super) struct Admission<'a> {
    pub(super) steps: Vec<ExplainStep>,
    /// The target that answers, and its response.
    pub(super) answered: Option<(&'a AccessRule, &'a Respond)>,
}

impl<'a> AdmittedRequest<'a> {
    /// Checks the targets that respond, then the rate limits.
    pub(super) fn explain(self) -> Admission<'a> {
        let Self { rules, route, head, caller } = self;
        let found = access(&route.access, head, caller, &rules.segments);
        let answered = found.and_then(|(at, respond)| Some((route.access.get(at)?, respond)));
        let mut steps = self.access_steps(found.map(|(at, _)| at));
        if answered.is_none() {
            steps.extend(route.rate_limits.iter().map(|limit| step(self.limit(limit))));
        }
        Admission { steps, answered }
    }

    /// The steps up to the first target that matches. Those that serve a variant are steps of the decision.
    fn access_steps(self, answered: Option<usize>) -> Vec<ExplainStep> {
        let Self { rules, route, head, caller } = self;
        let matches = |rule: &AccessRule| rule.predicates.iter().all(|one| one.matches(head, caller, &rules.segments));
        let first = route.access.iter().position(matches);
        debug_assert!(answered.is_none() || answered == first, "the first target that matches decides");
        let mut steps = Vec::new();
        for (at, rule) in route.access.iter().enumerate().take(first.map_or(usize::MAX, |first| first + 1)) {
            let name = self.name(at, rule);
            let is_first = Some(at) == first;
            let text = match &rule.verdict {
                AccessVerdict::Answer(respond) if is_first => {
                    let status = respond.status.as_u16();
                    format!("{} by {name}: {status}", if status < 400 { "answered" } else { "denied" })
                }
                AccessVerdict::Answer(_) => {
                    let reasons = MissReasons { rules, head, caller };
                    format!("{name} does not match: {}", reasons.of(&rule.predicates))
                }
                AccessVerdict::Pass if is_first => format!("{name} matches, so that no later target answers"),
                AccessVerdict::Pass => continue,
            };
            steps.push(step(text));
        }
        steps
    }

    /// `target 2 (routes.toml:40, segment staff)`.
    fn name(self, at: usize, rule: &AccessRule) -> String {
        let segment = rule.segment.and_then(|id| self.rules.segments.get(id.0 as usize));
        let segment = segment.map(|segment| format!(", segment {}", segment.name)).unwrap_or_default();
        format!("target {} ({}{segment})", at + 1, self.route.place_of(rule.line))
    }

    /// What a rate limit counts this request by. How many requests are left is known to the running proxy only.
    fn limit(self, limit: &RateLimit) -> String {
        let Self { rules, head, caller, .. } = self;
        let RateLimit { name, line, per: _, rate, burst, except, mode, status } = limit;
        let subject = format!("rate limit {name} ({})", self.route.place_of(*line));
        let exempt = except
            .and_then(|id| rules.segments.get(id.0 as usize))
            .filter(|segment| segment.predicates.iter().all(|one| one.matches(head, caller, &rules.segments)));
        if let Some(segment) = exempt {
            return format!("{subject}: not limited, the caller is in segment {}", segment.name);
        }
        let beyond = match mode {
            RateLimitMode::Enforce => format!("beyond: {}", status.as_u16()),
            RateLimitMode::DryRun => "dry run: nothing is refused".to_owned(),
        };
        format!("{subject}: {rate}, burst {burst}, {}; {beyond}; the count is not looked at here", self.key(limit))
    }

    /// The key of a request, and where it comes from.
    fn key(self, limit: &RateLimit) -> String {
        let Self { head, caller, .. } = self;
        let address = || match caller.client_ip.to_canonical() {
            IpAddr::V4(ip) => format!("client_ip {ip}"),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                format!("client_ip {a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        };
        match limit.value(head, caller) {
            RateValue::Whole => "all requests of the route".to_owned(),
            RateValue::Of(value) => format!("by {} {:?}", limit.per, String::from_utf8_lossy(value)),
            RateValue::None if limit.per == RateKey::ClientIp => format!("by {}", address()),
            RateValue::None => format!("no {}, so by {}", limit.per, address()),
        }
    }
}

/// A step with a text only.
fn step(text: String) -> ExplainStep {
    ExplainStep { text, ..ExplainStep::default() }
}
