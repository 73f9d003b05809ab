//! `[route.shadow]`: the requests of a route that are copied to another upstream, whose answers nobody waits for.

use std::time::Duration;

use http::{HeaderValue, Method};

use super::{Bucket, Caller, HeaderEdits, Overlay, Place, Salt, Split, Spread, UpstreamId, VariantId, Weight};

/// `[route.shadow]`.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// Where it stands.
    pub place: Place,
    /// Who gets the copies.
    pub upstream: UpstreamId,
    /// The share of the requests that are copied.
    pub weight: Weight,
    /// Whether requests are sampled, or whole callers.
    pub sample_by: SampleBy,
    /// The salt of the callers that are sampled: independent of who gets which variant.
    pub salt: Salt,
    /// The methods that are copied; never empty.
    pub methods: Vec<Method>,
    /// The variants whose requests are copied; never empty.
    pub from: Vec<VariantId>,
    /// Copies under way at once, in the whole process; at least 1.
    pub max_in_flight: u32,
    /// The largest body of a request that is copied, in bytes; beyond, the copy is dropped.
    pub max_body_bytes: u64,
    /// For the whole copy, its response included; never zero.
    pub timeout: Duration,
    /// The `Host` of copies; the one that the request came with when not given.
    pub host: Option<HeaderValue>,
    /// Edits to a copy's headers, after those of the route. [`MARKER`] is set besides, whatever they say.
    pub headers: HeaderEdits,
    /// Whether, and how, the copies' responses are compared.
    pub compare: Option<Compare>,
}

/// The field that marks a copy; its value is `1`. A request that a trusted peer marked is never copied again.
pub const MARKER: http::HeaderName = http::HeaderName::from_static("x-pointsman-shadow");

/// What is sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleBy {
    /// Requests, spread evenly.
    #[default]
    Request,
    /// Callers, by their sticky key: all of their requests are copied, or none.
    Key,
}

impl SampleBy {
    /// The word in `routes.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Key => "key",
        }
    }
}

/// `[route.shadow.compare]`. Paths are kept as they were written, and are of the grammar: a consumer reads them once.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    /// The share of the copies that are also sent to the request's own upstream again, to learn the noise.
    pub control: Weight,
    /// What is not compared.
    pub ignore: Vec<String>,
    /// Arrays whose order does not count.
    pub unordered: Vec<String>,
    /// By how much numbers may differ; finite, and not negative.
    pub tolerance: Vec<(String, f64)>,
    /// What is redacted before anything is stored.
    pub redact: Vec<String>,
    /// How many redacted samples are kept for each confirmed field.
    pub keep: u32,
}

impl Default for Compare {
    fn default() -> Self {
        Self {
            control: Weight::from_millionths(200_000).unwrap_or_default(),
            ignore: Vec::new(),
            unordered: Vec::new(),
            tolerance: Vec::new(),
            redact: Vec::new(),
            keep: 50,
        }
    }
}

impl Compare {
    /// Whether the control gets this copy as well. `spread` is drawn from once for each copy.
    pub fn controls(&self, spread: &mut Spread) -> bool {
        self.control > Weight::ZERO && spread.draw().number() < self.control.millionths()
    }
}

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
pub struct Sampled<'a> {
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

/// The low-discrepancy sequence that spreads copies over the requests of a route: one per worker and route. The
/// additive recurrence of the square root of ½, which is independent of the golden ratio's ([`Spread`]): the variants of
/// a route with `sticky = []` are all copied alike.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShadowSpread(pub u64);

impl ShadowSpread {
    /// √½ in 2^64ths, as the nearest odd number.
    const STEP: u64 = 0xb504_f333_f9de_6485;

    /// The next bucket of the sequence.
    pub fn draw(&mut self) -> Bucket {
        self.0 = self.0.wrapping_add(Self::STEP);
        Bucket::from_hash(self.0)
    }
}

/// Decides whether a request is copied. By request, `spread` is drawn from once for each request of a variant in
/// [`Shadow::from`]. By key, the same callers are sampled always, on every replica, and those of a smaller share are
/// among those of a larger one; a caller without a key is sampled at 100 % alone. Allocates nothing.
pub fn sampled(overlay: &Overlay, split: &Split, request: &Sampled<'_>, spread: &mut ShadowSpread) -> Sampling {
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
    pub fn bucket(&self, split: &Split, request: &Sampled<'_>) -> Option<Bucket> {
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
