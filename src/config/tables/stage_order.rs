//! Checks of the stages of a rollout together: names, rising weights, ramps, conditions.

use super::rollout_stage::ReadStage;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::route::{Stage, Weight};

/// Checks the stages that were compiled.
pub(super) fn check(context: &mut Context<'_>, stages: &[ReadStage<'_>], ceiling: Weight) {
    // The condition of a stage may be what has an error.
    let warns = context.errors() == 0;
    for (at, one) in stages.iter().enumerate() {
        unique_name(context, &stages[..at], one);
        if let Some(before) = at.checked_sub(1).and_then(|before| stages.get(before)) {
            rises(context, before, one);
        } else if one.stage.ramp_ms > 0 {
            let message = "the first stage has no stage before it to rise from, so `ramp` has no effect";
            let finding = Finding::error("useless-key", one.reader.place("ramp"), message);
            context.report(finding.help("put a stage with `weight = 0` before it, or remove `ramp`"));
        }
        if warns {
            conditions(context, one);
        }
    }
    if let Some(above) = stages.iter().find(|one| one.stage.weight() > ceiling) {
        let (name, weight) = (&above.stage.name, above.stage.weight());
        let message = format!("stage `{name}` has a weight of {weight}, but `max_weight` ends the rise at {ceiling}");
        let finding = Finding::warning("above-max-weight", above.reader.place("weight"), message);
        context.report(finding.help("raise `max_weight`, or remove the stages above it"));
    }
}

fn unique_name(context: &mut Context<'_>, before: &[ReadStage<'_>], one: &ReadStage<'_>) {
    if let Some(first) = before.iter().find(|known| known.stage.name == one.stage.name) {
        let message = format!("stage `{}` is defined twice", one.stage.name);
        let finding = Finding::error("duplicate-name", one.name_at, message);
        context.report(finding.label("and again here").also(first.name_at, "first defined here"));
    }
}

/// A weight must be above that of the stage before; several stages may begin at 0.
fn rises(context: &mut Context<'_>, before: &ReadStage<'_>, one: &ReadStage<'_>) {
    let (last, weight) = (before.stage.weight(), one.stage.weight());
    if weight > last {
        return;
    }
    if weight == last && weight == Weight::ZERO {
        if one.stage.ramp_ms > 0 {
            let message = "the weight stays at 0, so `ramp` has no effect";
            let finding = Finding::error("useless-key", one.reader.place("ramp"), message);
            context.report(finding.help("remove it"));
        }
        return;
    }
    let (name, name_before) = (&one.stage.name, &before.stage.name);
    let message = if weight == last {
        format!("stage `{name}` has the weight of `{name_before}`: {weight}")
    } else {
        format!("stage `{name}` has a weight of {weight}, below that of `{name_before}`: {last}")
    };
    let finding = Finding::error("falling-weight", one.reader.place("weight"), message);
    let finding = finding.also(before.reader.place("weight"), "the stage before");
    let help = "each stage has a higher weight than the one before; to wait longer at a weight, raise `min_duration`";
    context.report(finding.help(help));
}

/// Warns of a stage that is left as soon as it is entered.
fn conditions(context: &mut Context<'_>, one: &ReadStage<'_>) {
    let Stage { min_duration_ms, min_requests, min_keys, require, gates, approve, ramp_ms, .. } = &one.stage;
    let evidence = [require.non_inferior, require.or_rate_below, require.shadow_mismatch];
    let waits = *min_duration_ms > 0 || *ramp_ms > 0 || evidence.iter().any(Option::is_some);
    let counts = min_requests.is_some_and(|least| least > 0) || min_keys.is_some_and(|least| least > 0);
    if waits || counts || !gates.is_empty() || !approve.is_empty() {
        return;
    }
    let message = format!("stage `{}` has no condition: it is left as soon as it is entered", one.stage.name);
    let finding = Finding::warning("no-condition", one.name_at, message);
    context.report(finding.help("add `min_duration = \"30m\"`, `min_requests`, `require`, `approve` or a gate"));
}
