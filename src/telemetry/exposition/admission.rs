//! The metrics of rate limits, access rules and priorities.

use super::scrape::{LimitFigures, RouteRefusals, Scrape};
use crate::telemetry::family::{FamilySink, MetricKind};

/// A family of one figure a limit: name, kind, help text, and the figure.
type OfLimit = (&'static str, MetricKind, &'static str, fn(&LimitFigures) -> u64);

pub(super) fn expose(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    let help = "Requests beyond a rate limit: refused, or counted and let through by a dry run.";
    out.family("pointsman_rate_limited_total", MetricKind::Counter, help);
    for LimitFigures { route, limit, dry_run, refused, .. } in &scrape.limits {
        for (outcome, count) in [("dry_run", *dry_run), ("refused", *refused)] {
            out.sample(&[("limit", limit), ("outcome", outcome), ("route", route)], count);
        }
    }
    let families: [OfLimit; 2] = [
        (
            "pointsman_rate_limit_keys",
            MetricKind::Gauge,
            "Keys of a rate limit that have a place, also those that have used nothing for long.",
            |one| one.keys,
        ),
        ("pointsman_rate_limit_evictions_total", MetricKind::Counter, "Keys forgotten for others.", |one| {
            one.evictions
        }),
    ];
    for (name, kind, help, of) in families {
        out.family(name, kind, help);
        for one in &scrape.limits {
            out.sample(&[("limit", &one.limit), ("route", &one.route)], of(one));
        }
    }
    refusals(out, scrape);
}

fn refusals(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    out.family("pointsman_denied_total", MetricKind::Counter, "Requests that an access rule of their route answered.");
    for RouteRefusals { route, denied, .. } in &scrape.refusals {
        if let Some(count) = denied {
            out.sample(&[("route", route)], *count);
        }
    }
    out.family("pointsman_shed_total", MetricKind::Counter, "Requests of low routes that were refused under load.");
    for RouteRefusals { route, shed, .. } in &scrape.refusals {
        if let Some(count) = shed {
            out.sample(&[("route", route)], *count);
        }
    }
}
