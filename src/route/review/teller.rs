//! Records the steps of a decision as text.

use std::ops::Range;

use super::lacking::Lacking;
use crate::route::{
    Bucket, EffectiveConfig, Routed, Rules, Salt, Split, SplitState, Step, Stop, Target, Trace, VariantId, Weight,
};

/// One step of a decision, in words and figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// It in words.
    pub text: String,
    /// The bucket that was computed.
    pub bucket: Option<u32>,
    /// The salt of that bucket.
    pub salt: Option<String>,
    /// The buckets of whoever takes the caller.
    pub range: Option<Range<u32>>,
}

/// Writes down each step of a decision.
pub(super) struct Teller<'a> {
    rules: &'a Rules,
    request: &'a Routed<'a>,
    split: &'a Split,
    state: &'a SplitState,
    /// What was told.
    pub(super) told: Vec<Told>,
    /// Who answers how much, where each request is decided anew.
    pub(super) anew: Vec<(String, Weight)>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(config: EffectiveConfig<'a>, request: &'a Routed<'a>) -> Self {
        let (rules, state) = (config.rules, config.overlay.split(request.route));
        Self { rules, request, split: request.split, state, told: Vec::new(), anew: Vec::new() }
    }

    /// `target 2 (routes.toml:40)`.
    fn name(&self, target: &Target) -> String {
        let number = self.split.targets.iter().position(|own| std::ptr::eq(own, target)).map_or(0, |at| at + 1);
        let segment = target.segment.and_then(|id| self.rules.segments.get(id.0 as usize));
        let segment = segment.map(|segment| format!(", segment {}", segment.name)).unwrap_or_default();
        format!("target {number} ({}{segment})", target.place)
    }

    fn variant(&self, id: VariantId) -> &'a str {
        self.split.variants.get(usize::from(id.0)).map_or("?", |variant| variant.name.as_str())
    }

    /// Who owns a bucket, and which ones are theirs.
    fn range(&self, owner: VariantId) -> Option<Range<u32>> {
        let arm = self.state.arms().get(usize::from(owner.0))?;
        Some(arm.start..arm.start + arm.weight.millionths())
    }

    /// Notes who answers how much: these variants, and stable the rest, also in the place of those that are stopped.
    fn shares(&mut self, arms: impl IntoIterator<Item = (VariantId, Weight)>) {
        let is_served = |id: VariantId| id != VariantId::STABLE && self.state.stopped(id).is_none();
        let served = arms.into_iter().filter(|(id, weight)| is_served(*id) && *weight > Weight::ZERO);
        let mut anew: Vec<_> = served.map(|(id, weight)| (self.variant(id).to_owned(), weight)).collect();
        let taken: u32 = anew.iter().map(|(_, weight)| weight.millionths()).sum();
        let rest = Weight::FULL.millionths().checked_sub(taken).and_then(Weight::from_millionths).unwrap_or_default();
        if rest > Weight::ZERO {
            anew.push((self.variant(VariantId::STABLE).to_owned(), rest));
        }
        self.anew = anew;
    }

    /// The weights of a route where nothing sticks.
    fn by_weights(&mut self) -> Told {
        let arms = self.state.arms();
        self.shares((0..).map(VariantId).zip(arms.iter().map(|arm| arm.weight)).skip(1));
        let mut text = anew(&self.anew);
        for stop in [Stop::Kill, Stop::Latch] {
            let stopped =
                arms.iter().zip(0..).filter(|(arm, _)| arm.stopped() == Some(stop) && arm.weight > Weight::ZERO);
            let stopped: Vec<_> = stopped.map(|(_, id)| self.variant(VariantId(id))).collect();
            if !stopped.is_empty() {
                text = format!("{text}; {}: {}", stop.name(), stopped.join(", "));
            }
        }
        told(text)
    }

    fn by_target(&mut self, target: &Target, bucket: Option<Bucket>, verb: &str) -> Told {
        let Some((weight, salt)) = &target.weight else {
            return told(format!("{} holds: {verb}", self.name(target)));
        };
        let range = 0..weight.millionths();
        match bucket {
            Some(_) if self.split.spreads() => {
                self.shares([(target.serve, *weight)]);
                told(format!("{} holds for {weight} %: {}", self.name(target), anew(&self.anew)))
            }
            Some(bucket) => Told {
                text: format!(
                    "{} holds for {weight} %: bucket {} by salt {}, its range is {}..{}: {verb}",
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
            None => told(format!("{} holds for {weight} %, but there is no sticky key: {verb}", self.name(target))),
        }
    }
}

impl Trace for Teller<'_> {
    fn step(&mut self, step: Step<'_>) {
        let told = match step {
            // The step with the shares names the stopped variants.
            Step::Killed("variant") | Step::Latched if self.split.spreads() => return,
            Step::Weighed(..) if self.split.spreads() => self.by_weights(),
            Step::Killed(scope) => told(format!("kill: {scope}")),
            Step::Latched => told("latch: variant".to_owned()),
            Step::TargetMissed(target) => {
                let Routed { head, caller, .. } = *self.request;
                let lacking = Lacking { rules: self.rules, head, caller };
                told(format!("{} does not hold: {}", self.name(target), lacking.of(&target.predicates)))
            }
            Step::TargetPassedOver(target) => {
                let stopped = self.state.stopped(target.serve).map_or("stopped", Stop::name);
                told(format!("{} is passed over: {} is {stopped}", self.name(target), self.variant(target.serve)))
            }
            Step::TargetTaken(target, bucket) => {
                self.by_target(target, bucket, &format!("serves {}", self.variant(target.serve)))
            }
            Step::TargetOutside(target, bucket) => self.by_target(target, bucket, "stays on stable"),
            Step::Key(place, text) => told(format!("sticky key: {place} {text:?}")),
            Step::Unkeyed => told("no sticky key".to_owned()),
            Step::Weighed(bucket, owner) => {
                let range = self.range(owner);
                let shown = range.as_ref().map(|range| format!("{}..{}", range.start, range.end)).unwrap_or_default();
                Told {
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
        self.told.push(told);
    }
}

/// A step without figures.
fn told(text: String) -> Told {
    Told { text, ..Told::default() }
}

/// Shares of requests, in words.
pub(super) fn anew(shares: &[(String, Weight)]) -> String {
    let shares: Vec<_> = shares.iter().map(|(variant, share)| format!("{share} % {variant}")).collect();
    format!("each request anew: {}", shares.join(", "))
}

/// A salt as people can read it: its separators as slashes.
pub(super) fn readable(salt: &Salt) -> String {
    salt.text().replace('\u{1f}', "/")
}
