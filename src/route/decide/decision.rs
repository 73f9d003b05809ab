//! The decision: which variant answers. The first rule that applies wins: kill, latch, target, weight, stable.
//!
//! The same function decides for live traffic and for `explain`; the latter passes a [`Trace`] that listens.

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
    /// A target rule.
    Target,
    /// A weight.
    Weight,
    /// Nobody else took it.
    Stable,
}

impl Reason {
    /// The word in log, metric and `explain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Latch => "latch",
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
    /// Hand-picked, killed or unkeyed.
    No,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The variant.
    pub variant: VariantId,
    /// Why.
    pub reason: Reason,
    /// The bucket, when one was computed for the deciding rule.
    pub bucket: Option<Bucket>,
    /// The hash behind the bucket when a weight decided and a sticky key was hashed: what distinct keys are told by.
    pub key: Option<KeyHash>,
    /// Whether it counts in the statistics.
    pub counted: Counted,
    /// No sticky key although the route wants one.
    pub unkeyed: bool,
}

/// Listens to the steps of a decision.
pub trait Trace {
    /// One step was taken.
    fn step(&mut self, step: Step<'_>);
}

/// A [`Trace`] that listens to nothing and costs nothing.
pub struct NoTrace;

impl Trace for NoTrace {
    fn step(&mut self, _step: Step<'_>) {}
}

/// One step of a decision.
#[derive(Debug)]
pub enum Step<'a> {
    /// A kill of this scope applies (`all`, `route`, `tenant`, and for the owner of the bucket `variant`).
    Killed(&'static str),
    /// The owner of the bucket is latched.
    Latched,
    /// A target's predicates do not hold.
    TargetMissed(&'a Target),
    /// A target holds but its variant is killed or latched: passed over.
    TargetPassedOver(&'a Target),
    /// A target holds and takes the caller; with its bucket when it has a weight.
    TargetTaken(&'a Target, Option<Bucket>),
    /// A target holds but the caller's bucket is outside its weight: the caller stays on stable.
    TargetOutside(&'a Target, Option<Bucket>),
    /// The sticky key found: where, and its value.
    Key(&'static str, &'a str),
    /// No sticky key.
    Unkeyed,
    /// The bucket by weight, and who owns it.
    Weighed(Bucket, VariantId),
}

/// A request whose route is known: what a decision depends on, beside the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Routed<'a> {
    /// Its route.
    pub route: RouteId,
    /// The split of that route.
    pub split: &'a Split,
    /// Its head.
    pub head: &'a RequestHead<'a>,
    /// Who sends it.
    pub caller: &'a Caller<'a>,
    /// The identity of `sticky_cookie` (also a freshly issued one): the key of last resort.
    pub cookie_identity: Option<&'a str>,
}

/// Decides. The first rule that applies wins:
///
/// 1. `kill`: everything, this route, or the caller's tenant is killed; or, at rule 4, the variant that owns the caller
///    is. Stable answers; a killed variant's buckets are never handed to another one.
/// 2. `latch`: at rule 4, the variant that owns the caller was rolled back. Stable answers, as with a kill.
/// 3. `target`: the first target whose predicates hold and whose variant is neither killed nor latched. With a weight,
///    those of its audience whose bucket lies outside it stay on stable, also by `target`.
/// 4. `weight`: some variant has a weight, and the caller's bucket says who owns it. Those in stable's share are part of
///    the random sample, so their reason is `weight` too. A variant with weight 100 has everybody, also callers without
///    a sticky key.
/// 5. `stable`: no variant has a weight, or the caller has no sticky key.
///
/// A route with neither `sticky` nor `sticky_cookie` draws from `spread`, at most once a request. Allocates nothing.
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
    if let Some(scope) = overlay.kill_scope(state, caller.tenant.as_deref()) {
        trace.step(Step::Killed(scope));
        return Decision::stable(Reason::Kill);
    }
    let mut source = Source { split, caller, cookie_identity, spread, drawn: None, key: None };
    for target in &split.targets {
        if !all_match(&target.predicates, head, caller, &rules.segments) {
            trace.step(Step::TargetMissed(target));
        } else if state.stopped(target.serve).is_some() {
            trace.step(Step::TargetPassedOver(target));
        } else {
            return by_target(target, &mut source, trace);
        }
    }
    by_weight(state, &mut source, trace)
}

/// A target that holds, and whose variant lives, decides.
fn by_target<T: Trace>(target: &Target, source: &mut Source<'_, '_>, trace: &mut T) -> Decision {
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
    trace.step(if taken { Step::TargetTaken(target, bucket) } else { Step::TargetOutside(target, bucket) });
    let counted = if bucket.is_some() { Counted::Yes } else { Counted::No };
    let variant = if taken { target.serve } else { VariantId::STABLE };
    Decision { variant, bucket, counted, unkeyed: bucket.is_none(), ..decision }
}

/// Nobody was picked by hand: the bucket decides.
fn by_weight<T: Trace>(state: &SplitState, source: &mut Source<'_, '_>, trace: &mut T) -> Decision {
    if state.is_undivided() {
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
        });
        return Decision { bucket, unkeyed, ..Decision::stable(stop.reason()) };
    }
    let counted = if unkeyed { Counted::No } else { Counted::Yes };
    Decision { variant: owner, reason: Reason::Weight, bucket, key: source.key, counted, unkeyed }
}

impl Decision {
    /// Stable, for this reason, outside the sample.
    const fn stable(reason: Reason) -> Self {
        Self { variant: VariantId::STABLE, reason, bucket: None, key: None, counted: Counted::No, unkeyed: false }
    }
}

impl Stop {
    /// Why the callers of a stopped variant get stable.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Latch => Reason::Latch,
            Self::Kill => Reason::Kill,
        }
    }
}

/// Where buckets come from: the caller's sticky key, or the spread of a route that wants none.
struct Source<'a, 's> {
    split: &'a Split,
    caller: &'a Caller<'a>,
    cookie_identity: Option<&'a str>,
    spread: &'s mut Spread,
    drawn: Option<Bucket>,
    /// What the sticky key was hashed to last.
    key: Option<KeyHash>,
}

impl Source<'_, '_> {
    /// Whether there is a key, or none is wanted.
    fn has_key(&self) -> bool {
        self.split.spreads() || self.split.sticky_key(self.caller, self.cookie_identity).is_some()
    }

    /// The bucket under this salt; `None` when the caller has no sticky key although the route wants one.
    fn bucket<T: Trace>(&mut self, salt: &Salt, trace: &mut T) -> Option<Bucket> {
        if self.split.spreads() {
            return Some(*self.drawn.get_or_insert_with(|| self.spread.draw()));
        }
        let Some(key) = self.split.sticky_key(self.caller, self.cookie_identity) else {
            trace.step(Step::Unkeyed);
            return None;
        };
        let hash = key.with_text(|text| {
            trace.step(Step::Key(key.place(), text));
            salt.hash(text.as_bytes())
        });
        self.key = Some(KeyHash::of(hash));
        Some(Bucket::from_hash(hash))
    }
}

impl Split {
    /// Whether each request is anew: there is nothing that could stick.
    #[must_use]
    pub const fn spreads(&self) -> bool {
        self.sticky.is_empty() && self.sticky_cookie.is_none()
    }

    /// The sticky key of a caller: the first present of `sticky`, else the identity of `sticky_cookie`.
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

/// Kept so that a route without a split needs no special case elsewhere.
impl Route {
    /// Its split, when it forwards.
    #[must_use]
    pub const fn split(&self) -> Option<&Split> {
        match &self.action {
            Action::Split(split) => Some(split),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }
}
