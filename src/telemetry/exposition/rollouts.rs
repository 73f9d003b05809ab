//! The metrics of rollouts: where each is, the weight that is set and the measured one, and what stands in its way.

use super::scrape::{RolloutFigures, Scrape};
use crate::telemetry::family::{FamilySink, MetricKind};

pub(super) fn expose(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    let all = || scrape.rollouts.iter();
    out.family("pointsman_rollout_weight_ratio", MetricKind::Gauge, "The weight of a rollout that is set.");
    for RolloutFigures { rollout, weight, .. } in all() {
        out.sample(&[("rollout", rollout)], *weight);
    }
    let help = "The share of the requests that the variants of a rollout get, as measured since the weight changed.";
    out.family("pointsman_rollout_weight_actual_ratio", MetricKind::Gauge, help);
    for RolloutFigures { rollout, weight_actual, .. } in all() {
        if let Some(weight) = weight_actual {
            out.sample(&[("rollout", rollout)], *weight);
        }
    }
    let help = "The number of the stage where a rollout is, from 1; its name is in the label.";
    out.family("pointsman_rollout_stage", MetricKind::Gauge, help);
    for RolloutFigures { rollout, stage, stage_number, .. } in all() {
        out.sample(&[("rollout", rollout), ("stage", stage)], *stage_number);
    }
    out.family("pointsman_rollout_state", MetricKind::Gauge, "1 for the current state of a rollout.");
    for RolloutFigures { rollout, states, .. } in all() {
        for (state, is_current) in states {
            out.sample(&[("rollout", rollout), ("state", state)], u8::from(*is_current));
        }
    }
    let help = "1 when the last day of the plan of a rollout is over: it raises no weight.";
    out.family("pointsman_rollout_expired", MetricKind::Gauge, help);
    for RolloutFigures { rollout, is_expired, .. } in all() {
        out.sample(&[("rollout", rollout)], u8::from(*is_expired));
    }
    out.family("pointsman_gate_blocked", MetricKind::Gauge, "1 when this stands in the way of a rollout.");
    for RolloutFigures { rollout, gates, .. } in all() {
        for (kind, is_blocked) in gates {
            out.sample(&[("kind", kind), ("rollout", rollout)], u8::from(*is_blocked));
        }
    }
}
