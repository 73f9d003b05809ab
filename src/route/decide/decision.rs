//! The decision: which variant answers a request. The first rule that applies wins: kill, latch or hold, target, weight,
//! stable.
//!
//! The same function decides for live traffic and for `explain`; `explain` passes a [`Trace`] that records the steps.

use crate::route::matching::all_match;
use crate::route::{
    Action, Bucket, Caller, Key, KeyHash, Overlay, RequestHead, Route, RouteId, Rules, Salt, Split, SplitState, Spread,
    StickyKey, Stop, Target, VariantId, Weight,
};

/// Why a variant was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A kill.
    Kill,
    /// The variant was rolled back.
    Latch,
    /// The variant is held at 0: none of its endpoints can be reached.
    Hold,
    /// A target rule.
    Target,
    /// A weight.
    Weight,
    /// No other rule applied.
    Stable,
}

impl Reason {
    /// The name in log, metric and `explain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Latch => "latch",
            Self::Hold => "hold",
            Self::Target => "target",
            Self::Weight => "weight",
            Self::Stable => "stable",
        }
    }
}

/// Whether the request is part of the random sample that statistics may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Decided by weight, or by a target with a weight.
    Yes,
    /// Chosen by a target without a weight, by a kill, or without a key.
    No,
}

/// The decision about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The variant.
    pub variant: VariantId,
    /// The rule that decided.
    pub reason: Reason,
    /// The bucket, if the rule that decided computed one.
    pub bucket: Option<Bucket>,
    /// The hash of the sticky key, if a weight decided by it; distinct keys are counted by this hash.
    pub key: Option<KeyHash>,
    /// Whether the request counts in the statistics.
    pub counted: Counted,
    /// The rule whose audience the caller is in, for a request that counts: 0 is the weights, then each target by its
    /// place.
    pub stratum: u16,
    /// The caller has no sticky key, although the route requires one.
    pub unkeyed: bool,
}

/// Receives the steps of a decision.
pub trait Trace {
    /// Called for each step.
    fn step(&mut self, step: Step<'_>);
}

/// A [`Trace`] that records nothing; it compiles to no instructions.
pub struct NoTrace;

impl Trace for NoTrace {
    fn step(&mut self, _step: Step<'_>) {}
}

/// One step of a decision.
#[derive(Debug)]
pub enum Step<'a> {
    /// A kill of this scope applies: `all`, `route`, `tenant`, or `variant` for the owner of the bucket.
    Killed(&'static str),
    /// The owner of the bucket is latched.
    Latched,
    /// The owner of the bucket is held at 0.
    Held,
    /// The predicates of a target do not match.
    TargetMissed(&'a Target),
    /// A target matches, but its variant is killed or latched: the target is skipped.
    TargetPassedOver(&'a Target),
    /// A target matches and serves the caller; with the bucket if the target has a weight.
    TargetTaken(&'a Target, Option<Bucket>),
    /// A target matches, but the caller's bucket is outside its weight: the caller stays on stable.
    TargetOutside(&'a Target, Option<Bucket>),
    /// The sticky key: its source and its value.
    Key(&'static str, &'a str),
    /// No sticky key.
    Unkeyed,
    /// The bucket by weight, and the variant that owns it.
    Weighed(Bucket, VariantId),
}

/// A request with its route: the input of a decision apart from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Routed<'a> {
    /// The id of the route.
    pub route: RouteId,
    /// The split of the route.
    pub split: &'a Split,
    /// The head of the request.
    pub head: &'a RequestHead<'a>,
    /// The caller.
    pub caller: &'a Caller<'a>,
    /// The identity in `sticky_cookie`, also a new one; the last sticky key that is tried.
    pub cookie_identity: Option<&'a str>,
}

/// Decides. The first rule that applies wins:
///
/// 1. `kill`: a kill covers everything, this route or the caller's tenant; or, at rule 4, the variant that owns the
///    caller's bucket. Stable answers; the buckets of a killed variant are never given to another variant.
/// 2. `latch`, `hold`: at rule 4, the variant that owns the caller's bucket was rolled back, or is held at 0. Stable
///    answers, as with a kill.
/// 3. `target`: the first target whose predicates match and whose variant is not stopped. If the target
///    has a weight, matching callers with a bucket outside it stay on stable, also with reason `target`.
/// 4. `weight`: a variant has a weight, and the caller's bucket selects the variant. Callers in stable's share are part
///    of the random sample, so their reason is `weight` too. A variant with weight 100 serves all callers, also those
///    without a sticky key.
/// 5. `stable`: no variant has a weight, or the caller has no sticky key.
///
/// A route with neither `sticky` nor `sticky_cookie` draws from `spread`, at most once per request. No allocation.
#[inline]
pub fn decide<T: Trace>(
    rules: &Rules,
    overlay: &Overlay,
    request: &Routed<'_>,
    spread: &mut Spread,
    trace: &mut T,
) -> Decision {
    let Routed { route, split, head, caller, cookie_identity } = *request;
    let state = overlay.split(route);
    debug_assert_eq!(state.arms().len(), split.variants.len(), "an overlay has a state for each variant");
    if let Some(scope) = overlay.kill_scope(state, caller.tenant.as_deref()) {
        trace.step(Step::Killed(scope));
        return Decision::stable(Reason::Kill);
    }
    let mut source = BucketSource { split, caller, cookie_identity, spread, drawn: None, key: None };
    for (target, stratum) in split.targets.iter().zip(1..) {
        if !all_match(&target.predicates, head, caller, &rules.segments) {
            trace.step(Step::TargetMissed(target));
        } else if state.stopped(target.serve).is_some() {
            trace.step(Step::TargetPassedOver(target));
        } else {
            return Decision { stratum, ..by_target(target, &mut source, trace) };
        }
    }
    by_weight(state, &mut source, trace)
}

/// Decides by a target that matches and whose variant is not stopped.
fn by_target<T: Trace>(target: &Target, source: &mut BucketSource<'_, '_>, trace: &mut T) -> Decision {
    let decision = Decision { variant: target.serve, ..Decision::stable(Reason::Target) };
    let Some((weight, salt)) = &target.weight else {
        trace.step(Step::TargetTaken(target, None));
        return decision;
    };
    let bucket = source.bucket(salt, trace);
    let taken = match bucket {
        Some(bucket) => bucket.number() < weight.millionths(),
        None => *weight == Weight::FULL,
    };
    debug_assert!(usize::from(target.serve.0) < source.split.variants.len(), "a target serves a variant of its route");
    trace.step(if taken { Step::TargetTaken(target, bucket) } else { Step::TargetOutside(target, bucket) });
    let counted = if bucket.is_some() { Counted::Yes } else { Counted::No };
    let variant = if taken { target.serve } else { VariantId::STABLE };
    Decision { variant, bucket, key: source.key, counted, unkeyed: bucket.is_none(), ..decision }
}

/// Decides by the weights, when no target applies.
fn by_weight<T: Trace>(state: &SplitState, source: &mut BucketSource<'_, '_>, trace: &mut T) -> Decision {
    if state.is_stable_only() {
        return Decision { unkeyed: !source.has_key(), ..Decision::stable(Reason::Stable) };
    }
    let bucket = source.bucket(&source.split.salt, trace);
    let owner = match bucket {
        Some(bucket) => state.owner(bucket),
        None => match state.owner_of_all() {
            Some(owner) => owner,
            None => return Decision { unkeyed: true, ..Decision::stable(Reason::Stable) },
        },
    };
    if let Some(bucket) = bucket {
        trace.step(Step::Weighed(bucket, owner));
    }
    let unkeyed = bucket.is_none();
    if let Some(stop) = state.stopped(owner) {
        trace.step(match stop {
            Stop::Kill => Step::Killed("variant"),
            Stop::Latch => Step::Latched,
            Stop::Hold => Step::Held,
        });
        return Decision { bucket, unkeyed, ..Decision::stable(stop.reason()) };
    }
    let counted = if unkeyed { Counted::No } else { Counted::Yes };
    Decision { variant: owner, reason: Reason::Weight, bucket, key: source.key, counted, stratum: 0, unkeyed }
}

impl Decision {
    /// Stable answers for this reason; the request is not in the sample.
    const fn stable(reason: Reason) -> Self {
        Self {
            variant: VariantId::STABLE,
            reason,
            bucket: None,
            key: None,
            counted: Counted::No,
            stratum: 0,
            unkeyed: false,
        }
    }
}

impl Stop {
    /// The reason for which stable answers the callers of a stopped variant.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Latch => Reason::Latch,
            Self::Hold => Reason::Hold,
            Self::Kill => Reason::Kill,
        }
    }
}

/// The source of buckets: the caller's sticky key, or the sequence of a route without sticky keys.
struct BucketSource<'a, 's> {
    split: &'a Split,
    caller: &'a Caller<'a>,
    cookie_identity: Option<&'a str>,
    spread: &'s mut Spread,
    drawn: Option<Bucket>,
    /// The hash of the sticky key under the last salt.
    key: Option<KeyHash>,
}

impl BucketSource<'_, '_> {
    /// Whether the caller has a key, or the route needs none.
    fn has_key(&self) -> bool {
        self.split.spreads() || self.split.sticky_key(self.caller, self.cookie_identity).is_some()
    }

    /// The bucket under this salt; `None` if the route needs a sticky key and the caller has none.
    fn bucket<T: Trace>(&mut self, salt: &Salt, trace: &mut T) -> Option<Bucket> {
        if self.split.spreads() {
            return Some(*self.drawn.get_or_insert_with(|| self.spread.draw()));
        }
        let Some(key) = self.split.sticky_key(self.caller, self.cookie_identity) else {
            trace.step(Step::Unkeyed);
            return None;
        };
        let hash = key.with_text(|text| {
            trace.step(Step::Key(key.source(), text));
            salt.hash(text.as_bytes())
        });
        self.key = Some(KeyHash::of(hash));
        Some(Bucket::from_hash(hash))
    }
}

impl Split {
    /// Whether each request is decided on its own, because the route has no sticky keys.
    #[must_use]
    pub const fn spreads(&self) -> bool {
        self.sticky.is_empty() && self.sticky_cookie.is_none()
    }

    /// The sticky key of a caller: the first of `sticky` that is present, else the identity in `sticky_cookie`.
    #[must_use]
    pub fn sticky_key<'a>(&self, caller: &'a Caller<'_>, cookie_identity: Option<&'a str>) -> Option<Key<'a>> {
        let found = self.sticky.iter().find_map(|place| match place {
            StickyKey::Tenant => caller.tenant.as_deref().map(Key::Tenant),
            StickyKey::User => caller.user.as_deref().map(Key::User),
            StickyKey::ClientIp => Some(Key::ClientIp(caller.client_ip.to_canonical())),
        });
        found.or_else(|| if self.sticky_cookie.is_some() { cookie_identity.map(Key::Cookie) } else { None })
    }
}

impl Route {
    /// The split of a route that forwards.
    #[must_use]
    #[inline]
    pub fn split(&self) -> Option<&Split> {
        match &self.action {
            Action::Split(split) => Some(split),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }
}
