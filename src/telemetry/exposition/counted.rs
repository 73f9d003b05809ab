//! The metrics that the control plane has counted, with the generation and the span counts.

use super::scrape::Scrape;
use crate::telemetry::control::{
    DRAIN_PHASE, HAND_OVERS_FAILED, LAST_RELOAD_AT, LAST_RELOAD_SUCCESS, LOOKUPS, RELOADS,
};
use crate::telemetry::family::{FamilySink, MetricKind};
use crate::telemetry::recorder::CountedFamily;

/// Families without a place here come last, in the order of their first count.
pub(super) fn expose(out: &mut impl FamilySink, scrape: Scrape<'_>) {
    let Scrape { mut counted, generation, spans, .. } = scrape;
    out.family("pointsman_config_generation", MetricKind::Gauge, "The generation of the current configuration.");
    out.sample(&[], generation);
    for name in [LAST_RELOAD_SUCCESS, LAST_RELOAD_AT, RELOADS] {
        pass_on(out, counted.take(name));
    }
    let mut lookups = counted.take(LOOKUPS);
    if let Some(family) = &mut lookups {
        family.series.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    pass_on(out, lookups);
    pass_on(out, counted.take(HAND_OVERS_FAILED));
    out.family("pointsman_trace_spans_total", MetricKind::Counter, "Spans by outcome.");
    for (outcome, count) in spans {
        out.sample(&[("outcome", outcome)], count);
    }
    pass_on(out, counted.take(DRAIN_PHASE));
    counted.into_rest().into_iter().for_each(|family| pass_on(out, Some(family)));
}

/// Passes on a counted family, if it exists.
pub(super) fn pass_on(out: &mut impl FamilySink, family: Option<CountedFamily>) {
    let Some(CountedFamily { name, kind, help, series }) = family else { return };
    out.family(name, kind, &help);
    for (key, value) in &series {
        out.counted(key, value);
    }
}
