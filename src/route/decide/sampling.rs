//! Sampling: whether a request is copied to the upstream of its route's shadow.

use http::Method;

use crate::route::{Bucket, Caller, Overlay, RouteId, SampleBy, Shadow, ShadowSpread, Split, VariantId, Weight};

/// Whether a request is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Not sampled: the route has no shadow, another variant answers, or the request is outside the share.
    Out,
    /// Within the share, but not copied for this reason: counted as sampled and as dropped.
    Dropped(Unfit),
    /// Copied.
    In,
}

/// Why a sampled request is not copied, as far as its rules forbid the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The method is not in `methods`.
    Method,
    /// A kill of this scope: `all` or `shadow`.
    Killed(&'static str),
}

impl Unfit {
    /// The name in log and metric.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Killed(_) => "killed",
        }
    }
}

/// The input of the sampling decision: a request whose variant is known.
#[derive(Clone, Copy, Debug)]
pub struct SamplingInput<'a> {
    /// The route.
    pub route: RouteId,
    /// The method.
    pub method: &'a Method,
    /// The variant that answers, after a fallback.
    pub variant: VariantId,
    /// The caller.
    pub caller: &'a Caller<'a>,
    /// The identity in `sticky_cookie`, also a new one.
    pub cookie_identity: Option<&'a str>,
    /// The current share: [`Shadow::weight`], or less while copies fail.
    pub share: Weight,
}

/// Decides whether a request is copied. With `sample_by = "request"`, `spread` is drawn from once for each request of a
/// variant in [`Shadow::from`]. With `sample_by = "key"`, every replica samples the same callers, and a larger share
/// includes the callers of a smaller one; a caller without a key is sampled only at 100 %. No allocation.
pub fn decide_sampling(
    overlay: &Overlay,
    split: &Split,
    request: &SamplingInput<'_>,
    spread: &mut ShadowSpread,
) -> Sampling {
    let Some(shadow) = &split.shadow else { return Sampling::Out };
    if request.share == Weight::ZERO || !shadow.from.contains(&request.variant) {
        return Sampling::Out;
    }
    let bucket = match shadow.sample_by {
        SampleBy::Request => Some(spread.draw()),
        SampleBy::Key => shadow.bucket(split, request),
    };
    let within = match bucket {
        Some(bucket) => bucket.number() < request.share.millionths(),
        None => request.share == Weight::FULL,
    };
    match (within, shadow.unfit(overlay, request)) {
        (false, _) => Sampling::Out,
        (true, Some(unfit)) => Sampling::Dropped(unfit),
        (true, None) => Sampling::In,
    }
}

impl Shadow {
    /// The bucket of a caller, who is sampled if it is below the share; `None` without a sticky key.
    #[must_use]
    pub fn bucket(&self, split: &Split, request: &SamplingInput<'_>) -> Option<Bucket> {
        let key = split.sticky_key(request.caller, request.cookie_identity)?;
        Some(key.with_text(|text| self.salt.bucket(text)))
    }

    /// Why requests of this route and method are not copied now.
    #[must_use]
    pub fn unfit(&self, overlay: &Overlay, request: &SamplingInput<'_>) -> Option<Unfit> {
        if let Some(scope) = overlay.shadow_kill(request.route) {
            Some(Unfit::Killed(scope))
        } else if self.methods.contains(request.method) {
            None
        } else {
            Some(Unfit::Method)
        }
    }
}
