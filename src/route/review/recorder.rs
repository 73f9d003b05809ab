//! Records the steps of a decision as text.

use std::ops::Range;

use super::miss_reasons::MissReasons;
use crate::route::{
    BUCKETS, Bucket, EffectiveConfig, Routed, Rules, Salt, Split, SplitState, Step, Stop, Target, Trace, VariantId,
    Weight,
};

/// One step of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainStep {
    /// The text.
    pub text: String,
    /// The bucket, if one was computed.
    pub bucket: Option<u32>,
    /// The salt of the bucket.
    pub salt: Option<String>,
    /// The buckets of the variant or target.
    pub range: Option<Range<u32>>,
}

/// Records each step of a decision.
pub(super) struct StepRecorder<'a> {
    rules: &'a Rules,
    request: &'a Routed<'a>,
    split: &'a Split,
    state: &'a SplitState,
    /// The recorded steps.
    pub(super) steps: Vec<ExplainStep>,
    /// The share of each variant, if each request is decided on its own.
    pub(super) per_request: Vec<(String, Weight)>,
}

impl<'a> StepRecorder<'a> {
    pub(super) fn new(config: EffectiveConfig<'a>, request: &'a Routed<'a>) -> Self {
        let (rules, state) = (config.rules, config.overlay.split(request.route));
        Self { rules, request, split: request.split, state, steps: Vec::new(), per_request: Vec::new() }
    }

    /// `target 2 (routes.toml:40)`.
    fn name(&self, target: &Target) -> String {
        let number = self.split.targets.iter().position(|own| std::ptr::eq(own, target));
        let route = self.rules.route(self.request.route);
        let number = number.map_or(0, |at| route.target_number(at));
        let segment = target.segment.and_then(|id| self.rules.segments.get(id.0 as usize));
        let segment = segment.map(|segment| format!(", segment {}", segment.name)).unwrap_or_default();
        format!("target {number} ({}{segment})", route.place_of(target.line))
    }

    fn variant(&self, id: VariantId) -> &'a str {
        self.split.variants.get(usize::from(id.0)).map_or("?", |variant| variant.name.as_str())
    }

    /// The buckets of a variant.
    fn range(&self, owner: VariantId) -> Option<Range<u32>> {
        let arm = self.state.arms().get(usize::from(owner.0))?;
        debug_assert!(arm.start + arm.weight.millionths() <= BUCKETS, "a range ends at the last bucket");
        Some(arm.start..arm.start + arm.weight.millionths())
    }

    /// Records the shares: these variants without stopped ones, and stable with the rest.
    fn shares(&mut self, arms: impl IntoIterator<Item = (VariantId, Weight)>) {
        let is_served = |id: VariantId| id != VariantId::STABLE && self.state.stopped(id).is_none();
        let served = arms.into_iter().filter(|(id, weight)| is_served(*id) && *weight > Weight::ZERO);
        let mut per_request: Vec<_> = served.map(|(id, weight)| (self.variant(id).to_owned(), weight)).collect();
        let taken: u32 = per_request.iter().map(|(_, weight)| weight.millionths()).sum();
        debug_assert!(taken <= BUCKETS, "the shares of the variants sum to at most 100 %");
        let rest = Weight::FULL.millionths().checked_sub(taken).and_then(Weight::from_millionths).unwrap_or_default();
        if rest > Weight::ZERO {
            per_request.push((self.variant(VariantId::STABLE).to_owned(), rest));
        }
        self.per_request = per_request;
    }

    /// The weights of a route without sticky keys.
    fn by_weights(&mut self) -> ExplainStep {
        let arms = self.state.arms();
        self.shares((0..).map(VariantId).zip(arms.iter().map(|arm| arm.weight)).skip(1));
        let mut text = per_request(&self.per_request);
        for stop in [Stop::Kill, Stop::Latch, Stop::Hold] {
            let stopped =
                arms.iter().zip(0..).filter(|(arm, _)| arm.stopped() == Some(stop) && arm.weight > Weight::ZERO);
            let stopped: Vec<_> = stopped.map(|(_, id)| self.variant(VariantId(id))).collect();
            if !stopped.is_empty() {
                text = format!("{text}; {}: {}", stop.name(), stopped.join(", "));
            }
        }
        step_of(text)
    }

    fn by_target(&mut self, target: &Target, bucket: Option<Bucket>, verb: &str) -> ExplainStep {
        let Some((weight, salt)) = &target.weight else {
            return step_of(format!("{} matches: {verb}", self.name(target)));
        };
        let range = 0..weight.millionths();
        match bucket {
            Some(_) if self.split.spreads() => {
                self.shares([(target.serve, *weight)]);
                step_of(format!("{} matches for {weight} %: {}", self.name(target), per_request(&self.per_request)))
            }
            Some(bucket) => ExplainStep {
                text: format!(
                    "{} matches for {weight} %: bucket {} by salt {}, its range is {}..{}: {verb}",
                    self.name(target),
                    bucket.number(),
                    readable(salt),
                    range.start,
                    range.end
                ),
                bucket: Some(bucket.number()),
                salt: Some(readable(salt)),
                range: Some(range),
            },
            None => {
                step_of(format!("{} matches for {weight} %, but there is no sticky key: {verb}", self.name(target)))
            }
        }
    }
}

impl Trace for StepRecorder<'_> {
    fn step(&mut self, step: Step<'_>) {
        let recorded = match step {
            // The step with the shares already names the stopped variants.
            Step::Killed("variant") | Step::Latched | Step::Held if self.split.spreads() => return,
            Step::Weighed(..) if self.split.spreads() => self.by_weights(),
            Step::Killed(scope) => step_of(format!("kill: {scope}")),
            Step::Latched => step_of("latch: variant".to_owned()),
            Step::Held => step_of("hold: variant".to_owned()),
            Step::TargetMissed(target) => {
                let Routed { head, caller, .. } = *self.request;
                let reasons = MissReasons { rules: self.rules, head, caller };
                step_of(format!("{} does not match: {}", self.name(target), reasons.of(&target.predicates)))
            }
            Step::TargetPassedOver(target) => {
                let stopped = self.state.stopped(target.serve).map_or("stopped", Stop::name);
                step_of(format!("{} is skipped: {} is {stopped}", self.name(target), self.variant(target.serve)))
            }
            Step::TargetTaken(target, bucket) => {
                self.by_target(target, bucket, &format!("serves {}", self.variant(target.serve)))
            }
            Step::TargetOutside(target, bucket) => self.by_target(target, bucket, "stays on stable"),
            Step::Key(place, text) => step_of(format!("sticky key: {place} {text:?}")),
            Step::Unkeyed => step_of("no sticky key".to_owned()),
            Step::Weighed(bucket, owner) => {
                let range = self.range(owner);
                let shown = range.as_ref().map(|range| format!("{}..{}", range.start, range.end)).unwrap_or_default();
                ExplainStep {
                    text: format!(
                        "bucket {} by salt {}: {} owns {shown}",
                        bucket.number(),
                        readable(&self.split.salt),
                        self.variant(owner)
                    ),
                    bucket: Some(bucket.number()),
                    salt: Some(readable(&self.split.salt)),
                    range,
                }
            }
        };
        self.steps.push(recorded);
    }
}

/// A step with a text only.
fn step_of(text: String) -> ExplainStep {
    ExplainStep { text, ..ExplainStep::default() }
}

/// Shares of requests, as text.
pub(super) fn per_request(shares: &[(String, Weight)]) -> String {
    let shares: Vec<_> = shares.iter().map(|(variant, share)| format!("{share} % {variant}")).collect();
    format!("decided per request: {}", shares.join(", "))
}

/// A salt with slashes as separators.
pub(super) fn readable(salt: &Salt) -> String {
    salt.text().replace('\u{1f}', "/")
}
