//! The differences of an upstream, as text.

use super::endpoint_difference::{endpoint_changes, health_changes};
use crate::route::{OutlierSettings, RetryBudgetSettings, Upstream, UpstreamLimits};

/// The changes of an upstream.
pub(super) fn upstream_changes(old: &Upstream, new: &Upstream) -> Vec<String> {
    let Upstream {
        name: _,
        revision,
        endpoints,
        balance,
        connect_timeout,
        slow_start,
        limits,
        outlier,
        health,
        retry_budget,
        proxy_protocol,
        tls,
    } = old;
    let mut words = Vec::new();
    words.extend(endpoint_changes(endpoints, &new.endpoints));
    words.extend(differing(
        "",
        &[
            ("revision", *revision == new.revision),
            ("balance", *balance == new.balance),
            ("connect_timeout", *connect_timeout == new.connect_timeout),
            ("proxy_protocol", *proxy_protocol == new.proxy_protocol),
            ("tls", *tls == new.tls),
        ],
    ));
    if *slow_start != new.slow_start {
        words.push(format!("slow_start {slow_start:?} → {:?}", new.slow_start));
    }
    words.extend(health_changes(health.as_ref(), new.health.as_ref()));
    words.extend(limit_changes(*limits, new.limits));
    words.extend(outlier_changes(*outlier, new.outlier));
    words.extend(budget_changes(*retry_budget, new.retry_budget));
    words
}

/// `x a, b changed`, for the names that are not the same.
pub(super) fn differing(subject: &str, same: &[(&str, bool)]) -> Option<String> {
    let changed: Vec<&str> = same.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
    (!changed.is_empty()).then(|| format!("{subject}{} changed", changed.join(", ")))
}

/// `x a 1 → 2, b 3 → 4`, for the values that are not the same.
fn stepped<T: PartialEq + std::fmt::Display>(subject: &str, values: &[(&str, T, T)]) -> Option<String> {
    let changed = values.iter().filter(|(_, old, new)| old != new);
    let changed: Vec<String> = changed.map(|(name, old, new)| format!("{name} {old} → {new}")).collect();
    (!changed.is_empty()).then(|| format!("{subject} {}", changed.join(", ")))
}

fn limit_changes(old: UpstreamLimits, new: UpstreamLimits) -> Option<String> {
    let UpstreamLimits { connections, requests, pending, response_headers, response_header_bytes } = old;
    stepped(
        "limits",
        &[
            ("connections", connections, new.connections),
            ("requests", requests, new.requests),
            ("pending", pending, new.pending),
            ("response_headers", response_headers, new.response_headers),
            ("response_header_bytes", response_header_bytes, new.response_header_bytes),
        ],
    )
}

fn outlier_changes(old: OutlierSettings, new: OutlierSettings) -> Option<String> {
    let OutlierSettings {
        consecutive_failures,
        failure_percent,
        base_ejection,
        max_ejected_percent,
        panic_percent,
        any_5xx,
    } = old;
    let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
    stepped(
        "outlier",
        &[
            ("consecutive_failures", text(&consecutive_failures), text(&new.consecutive_failures)),
            ("failure_percent", text(&failure_percent), text(&new.failure_percent)),
            ("base_ejection", text(&base_ejection), text(&new.base_ejection)),
            ("max_ejected_percent", text(&max_ejected_percent), text(&new.max_ejected_percent)),
            ("panic_percent", text(&panic_percent), text(&new.panic_percent)),
            ("any_5xx", text(&any_5xx), text(&new.any_5xx)),
        ],
    )
}

fn budget_changes(old: RetryBudgetSettings, new: RetryBudgetSettings) -> Option<String> {
    let RetryBudgetSettings { ratio, min_per_second } = old;
    stepped(
        "retry_budget",
        &[("ratio", ratio, new.ratio), ("min_per_second", min_per_second.into(), new.min_per_second.into())],
    )
}
