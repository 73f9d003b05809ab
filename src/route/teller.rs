//! Listens to a decision and tells its steps; and the explanation as people read it.

use std::fmt;
use std::ops::Range;

use super::explain::{because, missing};
use super::{
    Bucket, Caller, Counted, Explanation, Head, HeaderEdit, Outcome, Rules, Salt, Split, Step, Target, Told, Trace,
    VariantId,
};

/// Writes down each step of a decision.
pub(super) struct Teller<'a> {
    rules: &'a Rules,
    split: &'a Split,
    head: &'a Head<'a>,
    caller: &'a Caller<'a>,
    /// What was told.
    pub(super) told: Vec<Told>,
}

impl<'a> Teller<'a> {
    pub(super) const fn new(rules: &'a Rules, split: &'a Split, head: &'a Head<'a>, caller: &'a Caller<'a>) -> Self {
        Self { rules, split, head, caller, told: Vec::new() }
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
        let variant = self.split.variants.get(usize::from(owner.0))?;
        Some(variant.start..variant.start + variant.weight.millionths())
    }

    fn by_target(&self, target: &Target, bucket: Option<Bucket>, verb: &str) -> Told {
        let Some((weight, salt)) = &target.weight else {
            return told(format!("{} holds: {verb}", self.name(target)));
        };
        let range = 0..weight.millionths();
        match bucket {
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
            Step::Killed(scope) => told(format!("kill: {scope}")),
            Step::TargetMissed(target) => {
                let missing = missing(&target.predicates, self.head, self.caller, self.rules);
                let missing = missing.map(|predicate| predicate.describe(&self.rules.segments)).unwrap_or_default();
                told(format!("{} does not hold: {missing}", self.name(target)))
            }
            Step::TargetPassedOver(target) => {
                told(format!("{} is passed over: {} is killed", self.name(target), self.variant(target.serve)))
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

/// A salt as people can read it: its separators as slashes.
fn readable(salt: &Salt) -> String {
    salt.text().replace('\u{1f}', "/")
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request   {} {}{}", self.method, self.host, self.path)?;
        if let Some(address) = self.client_ip {
            writeln!(f, "client    {address}")?;
        }
        for (what, identity) in [("tenant", &self.tenant), ("user", &self.user)] {
            if let Some((value, place)) = identity {
                writeln!(f, "{what:<9} {value:?} ({place})")?;
            }
        }
        if let Some(route) = &self.route {
            writeln!(f, "route     {} ({}): {}", route.name, route.place, route.why)?;
        }
        for told in &self.steps {
            writeln!(f, "step      {}", told.text)?;
        }
        self.outcome.fmt(f)?;
        for (side, edits) in [("request", &self.request_headers), ("response", &self.response_headers)] {
            for edit in edits {
                writeln!(f, "{side:<9} {edit}")?;
            }
        }
        for route in &self.nearly {
            writeln!(f, "nearly    {} ({}): {}", route.name, route.place, route.why)?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let served = match self {
            Self::Refused(why) => return writeln!(f, "outcome   400: {why}"),
            Self::NoRoute => return writeln!(f, "outcome   404: no route takes it"),
            Self::Redirect(status, to) => return writeln!(f, "outcome   {} to {to}", status.as_u16()),
            Self::Respond(status) => return writeln!(f, "outcome   {} from here", status.as_u16()),
            Self::Serve(served) => served,
        };
        let decision = &served.decision;
        writeln!(f, "variant   {}, reason {}: {}", served.variant, decision.reason.name(), because(decision.reason))?;
        writeln!(f, "upstream  {}", served.upstream)?;
        match &served.forwarded_path {
            Ok(path) => writeln!(f, "forward   {}{path}", served.forwarded_host.as_deref().unwrap_or(""))?,
            Err(why) => writeln!(f, "forward   400: {why}")?,
        }
        let sample = match (decision.counted, decision.unkeyed) {
            (Counted::Yes, _) => "counts in the statistics",
            (Counted::No, true) => "does not count in the statistics: no sticky key",
            (Counted::No, false) => "does not count in the statistics: not a random sample",
        };
        writeln!(f, "sample    {sample}")
    }
}

impl fmt::Display for HeaderEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::Set(name, value) => write!(f, "set {name}: {value}"),
            Self::Add(name, value) => write!(f, "add {name}: {value}"),
        }
    }
}
