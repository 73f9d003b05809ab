//! What happens if a request fails at its upstream: the settings that decide about further tries and about rescue, as
//! far as they concern this request. Which failure comes, and what is left of the budget, is not known here.

use crate::route::{
    RequestHead, Rescue, RetryCondition, RetryConditions, RetryMethods, Route, Rules, Split, Upstream, Variant,
    VariantId, Weight, is_grpc,
};

/// What happens if a request fails at its upstream, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureExplanation {
    /// Further tries within the upstream.
    pub retry: Vec<String>,
    /// When stable answers instead of the variant; empty for stable.
    pub rescue: Vec<String>,
}

/// A request and its route.
#[derive(Clone, Copy)]
pub(super) struct FailingRequest<'a> {
    pub(super) rules: &'a Rules,
    pub(super) route: &'a Route,
    pub(super) split: &'a Split,
    pub(super) head: &'a RequestHead<'a>,
}

impl FailingRequest<'_> {
    /// Explains failures at the upstream of a variant. `per_request` has the share of each variant if each request is
    /// decided on its own, and is empty otherwise.
    pub(super) fn explain(&self, chosen: VariantId, per_request: &[(String, Weight)]) -> FailureExplanation {
        let variants = (0..).map(VariantId).zip(&self.split.variants).skip(1);
        let is_served = |id: VariantId, variant: &Variant| match per_request {
            [] => id == chosen,
            shares => shares.iter().any(|(name, _)| *name == variant.name),
        };
        let mut rescue = Vec::new();
        for (_, variant) in variants.filter(|(id, variant)| is_served(*id, variant)) {
            let name = if per_request.is_empty() { String::new() } else { format!("{}: ", variant.name) };
            rescue.push(format!("{name}{}", self.rescue(variant)));
        }
        let variant = self.split.variants.get(usize::from(chosen.0));
        let upstream = variant.and_then(|variant| self.upstream(variant)).filter(|_| per_request.is_empty());
        debug_assert!(variant.is_some(), "a decision is for a variant of the split");
        FailureExplanation { retry: self.retry(upstream), rescue }
    }

    fn upstream(&self, variant: &Variant) -> Option<&Upstream> {
        self.rules.upstreams.get(variant.upstream.0 as usize)
    }

    /// Further tries within an upstream; `None` if the upstream depends on the request.
    fn retry(&self, upstream: Option<&Upstream>) -> Vec<String> {
        let policy = &self.route.retry;
        if policy.on.is_empty() {
            return vec!["never: retry.on is empty".to_owned()];
        }
        let mut lines = Vec::new();
        let elsewhere: RetryConditions = policy.on.all().filter(|condition| condition.is_unprocessed()).collect();
        if !elsewhere.is_empty() {
            lines.push(format!("at other endpoints after {elsewhere}"));
        }
        let method = self.head.method;
        let sent = self.after_sending(&policy.on);
        // The status of a gRPC response says itself whether the call may be repeated: its method does not count.
        let is_listed = policy.methods.contains(method);
        let may = |condition: &RetryCondition| is_listed || matches!(condition, RetryCondition::Grpc(_));
        let after: RetryConditions = sent.all().filter(may).collect();
        let line = if sent.is_empty() {
            "not after it was sent: retry.on has no condition for that".to_owned()
        } else if policy.attempts == 0 {
            "not after it was sent: retry.attempts is 0".to_owned()
        } else if after.is_empty() {
            format!("not after it was sent: {}", unlisted(method, &policy.methods, "retry"))
        } else {
            let times = if policy.attempts == 1 { "once".to_owned() } else { format!("{} times", policy.attempts) };
            let budget = upstream.map(budget).unwrap_or_default();
            format!("{times} after {after}{budget}")
        };
        lines.push(line);
        lines
    }

    /// The conditions that can follow upon sending this request.
    fn after_sending(&self, on: &RetryConditions) -> RetryConditions {
        let is_call = is_grpc(self.head.fields);
        let can = |condition: &RetryCondition| match condition {
            RetryCondition::Connect | RetryCondition::RefusedStream => false,
            RetryCondition::Timeout => self.route.timeouts.per_try.is_some(),
            RetryCondition::Grpc(_) => is_call,
            RetryCondition::ResetBeforeHead | RetryCondition::Status(_) => true,
        };
        on.all().filter(can).collect()
    }

    /// When stable answers instead of a variant.
    fn rescue(&self, variant: &Variant) -> String {
        let Rescue { on, methods } = &variant.rescue;
        let Some(stable) = self.split.variants.first() else { return String::new() };
        if variant.rescue.is_off() {
            return "off: stable does not answer".to_owned();
        }
        if stable.upstream == variant.upstream {
            return "none: stable has the same upstream".to_owned();
        }
        let method = self.head.method;
        let sent = self.after_sending(on);
        let may = |condition: &RetryCondition| {
            condition.is_unprocessed() || sent.contains(*condition) && methods.contains(method)
        };
        let after: RetryConditions = on.all().filter(may).collect();
        let name = self.upstream(stable).map_or("?", |upstream| upstream.name.as_str());
        if !after.is_empty() {
            return format!("stable ({name}) answers after {after}");
        }
        if sent.is_empty() {
            return "none: rescue.on has no condition for this request".to_owned();
        }
        format!("none: {}", unlisted(method, methods, "rescue"))
    }
}

/// Why a method is not repeated.
fn unlisted(method: &http::Method, methods: &RetryMethods, key: &str) -> String {
    if *methods == RetryMethods::idempotent() {
        format!("{method} is not idempotent")
    } else {
        format!("{method} is not in {key}.methods")
    }
}

/// The budget of an upstream.
fn budget(upstream: &Upstream) -> String {
    let (budget, name) = (upstream.retry_budget, &upstream.name);
    let percent = (budget.ratio * 1e6).round() / 1e4;
    format!("; budget: {percent} % of the requests of {name}, and {} a second", budget.min_per_second)
}
