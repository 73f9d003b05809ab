//! Sampling: whether a request is copied to the upstream of its route's shadow.

use http::Method;

use crate::route::{Bucket, Caller, Overlay, SampleBy, Shadow, ShadowSpread, Split, VariantId, Weight};

/// Whether a request is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// It is not sampled: there is no shadow, it was answered by another variant, or it is outside the share.
    Out,
    /// It is within the share, but must not be copied: it counts as sampled, and as dropped for this reason.
    Dropped(Unfit),
    /// It is copied.
    In,
}

/// Why a sampled request is not copied, before anything is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its method has side effects, or is not named in `methods`.
    Method,
    /// `kill.all`.
    Killed,
}

impl Unfit {
    /// The word in log and metric.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Killed => "killed",
        }
    }
}

/// A request whose variant is known, and which may be copied.
#[derive(Clone, Copy, Debug)]
pub struct SamplingInput<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The variant that answers it, after any fallback.
    pub variant: VariantId,
    /// Who sends it.
    pub caller: &'a Caller<'a>,
    /// The identity of `sticky_cookie`, also a freshly issued one.
    pub cookie_identity: Option<&'a str>,
    /// The share now: [`Shadow::weight`], or less while the upstream has trouble.
    pub share: Weight,
}

/// Decides whether a request is copied. By request, `spread` is drawn from once for each request of a variant in
/// [`Shadow::from`]. By key, the same callers are sampled always, on every replica, and those of a smaller share are
/// among those of a larger one; a caller without a key is sampled at 100 % alone. Allocates nothing.
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
    match (within, shadow.unfit(overlay, request.method)) {
        (false, _) => Sampling::Out,
        (true, Some(unfit)) => Sampling::Dropped(unfit),
        (true, None) => Sampling::In,
    }
}

impl Shadow {
    /// The bucket of a caller, who is sampled when it lies below the share; `None` without a sticky key.
    #[must_use]
    pub fn bucket(&self, split: &Split, request: &SamplingInput<'_>) -> Option<Bucket> {
        let key = split.sticky_key(request.caller, request.cookie_identity)?;
        Some(key.with_text(|text| self.salt.bucket(text)))
    }

    /// Why no request of this method is copied now.
    #[must_use]
    pub fn unfit(&self, overlay: &Overlay, method: &Method) -> Option<Unfit> {
        if overlay.kill().all {
            Some(Unfit::Killed)
        } else if self.methods.contains(method) {
            None
        } else {
            Some(Unfit::Method)
        }
    }
}
