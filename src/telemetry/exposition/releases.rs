//! The metrics of releases: the state of each, and the evidence of its guards.

use super::counted::pass_on;
use super::scrape::{GuardFigures, ReleaseFigures, Scrape};
use crate::telemetry::family::{FamilySink, MetricKind};
use crate::telemetry::guards::{GUARD_EVENTS_LOST, GUARD_LATE_EVENTS, GUARD_TABLES_REFUSED, GUARD_TRIPS, LATCHES};

/// A family of gauges: name, help text, and the value.
type GaugeFamily = (&'static str, &'static str, fn(&GuardFigures) -> f64);

pub(super) fn expose(out: &mut impl FamilySink, scrape: &mut Scrape<'_>) {
    out.family("pointsman_release_state", MetricKind::Gauge, "1 for the current state of a release.");
    for ReleaseFigures { route, variant, states, .. } in &scrape.releases {
        for (state, is_current) in states {
            out.sample(&[("route", route), ("state", state), ("variant", variant)], u8::from(*is_current));
        }
    }
    let gauges: [GaugeFamily; 2] = [
        ("pointsman_guard_evidence_log10", "The evidence of a guard, as a power of ten.", |guard| guard.evidence_log10),
        ("pointsman_guard_threshold_log10", "The evidence at which a guard trips, as a power of ten.", |guard| {
            guard.threshold_log10
        }),
    ];
    for (name, help, of) in gauges {
        out.family(name, MetricKind::Gauge, help);
        for ReleaseFigures { route, variant, guards, .. } in &scrape.releases {
            for guard in guards {
                out.sample(&[("guard", &guard.guard), ("route", route), ("variant", variant)], of(guard));
            }
        }
    }
    out.family("pointsman_guard_state", MetricKind::Gauge, "1 for the current state of a guard.");
    for ReleaseFigures { route, variant, guards, .. } in &scrape.releases {
        for GuardFigures { guard, states, .. } in guards {
            for (state, is_current) in states {
                let labels = [("guard", guard.as_str()), ("route", route), ("state", state), ("variant", variant)];
                out.sample(&labels, u8::from(*is_current));
            }
        }
    }
    for name in [GUARD_TRIPS, LATCHES, GUARD_EVENTS_LOST, GUARD_LATE_EVENTS, GUARD_TABLES_REFUSED] {
        pass_on(out, scrape.counted.take(name));
    }
}
