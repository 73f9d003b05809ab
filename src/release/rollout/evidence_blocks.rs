//! What stands in the way of leaving a stage by what was counted and asked: requests, keys, evidence, shadows, gates.

use super::decision::{Block, BlockKind};
use super::facts::{GateVerdict, PROMOTION_LOG10, PromotionTest};
use super::view::View;
use super::weight::top;
use super::words::{share, span};
use crate::release::sentence::grouped;
use crate::route::{Gate, Require, Stage};

/// The default of `min_requests` is at most this.
const REQUESTS_MAX: u64 = 5_000;
/// The default of `min_keys`.
const KEYS: u64 = 100;
/// Less than a rate changes when it is written and read again.
const ROUNDING: f64 = 1e-6;
/// So many copies are always enough to judge their share.
const COPIES_MAX: u64 = 1_000;
/// An answer of a gate counts for so many of its intervals.
const INTERVALS: u64 = 3;

/// Whether `require` names a rate of errors.
const fn names_rate(require: &Require) -> bool {
    require.non_inferior.is_some() || require.or_rate_below.is_some()
}

/// `min_requests` with its default: 5 errors are expected at stable's rate.
fn requests_needed(view: View<'_>, stage: &Stage) -> u64 {
    let default = || match view.facts.evidence.stable_rate {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 and 5 000")]
        Some(rate) if rate > 0.0 => (5.0 / rate - ROUNDING).ceil().clamp(1.0, 5_000.0) as u64,
        Some(_) | None => REQUESTS_MAX,
    };
    let is_rated = names_rate(&stage.require) && top(stage) > 0;
    stage.min_requests.unwrap_or_else(|| if is_rated { default() } else { 0 })
}

/// `min_keys` with its default.
#[must_use]
pub fn keys_needed(stage: &Stage) -> u64 {
    let is_rated = names_rate(&stage.require) && top(stage) > 0;
    stage.min_keys.unwrap_or(if is_rated { KEYS } else { 0 })
}

/// `min_requests` and `min_keys`.
pub(super) fn requests(view: View<'_>, stage: &Stage) -> Option<Block> {
    let progress = &view.state.progress;
    let mut missing = Vec::new();
    for (counted, needed, what) in [
        (progress.answered, requests_needed(view, stage), "answered requests"),
        (progress.keys, keys_needed(stage), "callers"),
    ] {
        if counted < needed {
            missing.push(format!("{} of {} {what}", grouped(counted), grouped(needed)));
        }
    }
    (!missing.is_empty()).then(|| {
        let says = format!("the canary has {} in stage `{}`", missing.join(" and "), stage.name);
        Block::new(BlockKind::Requests, says, "more traffic, or time")
    })
}

/// Whether a test of this bound passes.
fn passes(test: Option<&PromotionTest>, bound: Option<f64>) -> bool {
    test.zip(bound).is_some_and(|(test, bound)| {
        // Numbers in JSON may differ in the last bit.
        let is_of_plan = (test.bound - bound).abs() <= 1e-9 * bound.abs();
        is_of_plan && test.evidence_log10 + 1e-9 >= PROMOTION_LOG10
    })
}

/// `require`: one of the tests of errors passes.
pub(super) fn evidence(view: View<'_>, stage: &Stage) -> Option<Block> {
    let (require, found) = (&stage.require, &view.facts.evidence);
    let is_passed = passes(found.non_inferior.as_ref(), require.non_inferior)
        || passes(found.rate_below.as_ref(), require.or_rate_below);
    if !names_rate(require) || is_passed {
        return None;
    }
    let shown = |test: Option<&PromotionTest>| {
        let log10 = test.map_or(0.0, |test| test.evidence_log10.max(0.0));
        format!("evidence {log10:.2} of {PROMOTION_LOG10:.2}")
    };
    let mut parts = Vec::new();
    if let Some(ratio) = require.non_inferior {
        parts.push(format!("errors below {ratio} × stable: {}", shown(found.non_inferior.as_ref())));
    }
    if let Some(rate) = require.or_rate_below {
        parts.push(format!("a rate of errors below {}: {}", share(rate), shown(found.rate_below.as_ref())));
    }
    let says = format!("there is too little evidence of {}", parts.join(", or of "));
    Some(Block::new(BlockKind::Evidence, says, "more traffic without errors, or time"))
}

/// `require.shadow_mismatch`. With fewer copies than one in the bound, one difference would be above it.
pub(super) fn shadow(view: View<'_>, stage: &Stage) -> Option<Block> {
    let bound = stage.require.shadow_mismatch?;
    let facts = view.facts.evidence.shadow.unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 and 1 000")]
    let needed = if bound > 0.0 { (1.0 / bound).ceil().clamp(1.0, 1_000.0) as u64 } else { COPIES_MAX };
    if facts.compared < needed {
        let says = format!("{} of {} copies of the shadows were compared", grouped(facts.compared), grouped(needed));
        return Some(Block::new(BlockKind::Shadow, says, "more traffic, or time"));
    }
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let rate = facts.different as f64 / facts.compared as f64;
    (rate > bound).then(|| {
        let says = format!(
            "{} of {} copies of the shadows differ: {}, `shadow_mismatch` is {}",
            grouped(facts.different),
            grouped(facts.compared),
            share(rate),
            share(bound)
        );
        Block::new(BlockKind::Shadow, says, "`pointsman shadow` shows what differs")
    })
}

/// The gates that do not let it go: webhooks, then queries.
pub(super) fn gates(view: View<'_>, stage: &Stage) -> Vec<Block> {
    let each = stage.gates.iter().enumerate().filter_map(|(at, gate)| ask(view, at, gate));
    let mut found: Vec<Block> = each.collect();
    found.sort_by_key(|block| block.kind);
    found
}

fn ask(view: View<'_>, at: usize, gate: &Gate) -> Option<Block> {
    let (kind, every_ms, what) = match gate {
        Gate::Webhook { url, every_ms, .. } => (BlockKind::Webhook, *every_ms, format!("the webhook {url}")),
        Gate::Prometheus { query, every_ms, .. } => (BlockKind::Prometheus, *every_ms, format!("the query `{query}`")),
    };
    let every = format!("it is asked every {}", span(every_ms));
    let Some(answer) = view.facts.gates.get(at) else {
        return Some(Block::new(kind, format!("{what} was not asked yet"), every));
    };
    let age = view.facts.now_ms.saturating_sub(answer.asked_ms);
    let says = match answer.verdict {
        GateVerdict::Pass if age <= every_ms.saturating_mul(INTERVALS) => return None,
        GateVerdict::Pass => format!("{what} passed {} ago, and has not answered since", span(age)),
        GateVerdict::Block => format!("{what} does not pass: {}", answer.sentence),
        GateVerdict::NotAsked => format!("{what} was not asked yet"),
        GateVerdict::Failed => format!("{what} did not answer: {}", answer.sentence),
    };
    Some(Block::new(kind, says, every))
}
