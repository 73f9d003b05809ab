//! Whether a request would be copied, and why: the rules of [`decide_sampling`](crate::route::decide_sampling), without
//! drawing from a sequence.

use super::recorder::{ExplainStep, readable};
use crate::route::{
    BUCKETS, Bucket, EffectiveConfig, Overlay, SampleBy, SamplingInput, Shadow, Split, Unfit, VariantId, Weight,
};

/// Whether a request is copied, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowExplanation {
    /// The name of the upstream that gets the copy.
    pub upstream: String,
    /// The probability of a copy; 0 or 1 if the caller's key or a rule decides.
    pub chance: Weight,
    /// The reason.
    pub step: ExplainStep,
}

impl ShadowExplanation {
    /// `yes`, `no`, or the probability.
    #[must_use]
    pub fn word(&self) -> String {
        match self.chance {
            Weight::ZERO => "no".to_owned(),
            Weight::FULL => "yes".to_owned(),
            chance => format!("{chance}%"),
        }
    }
}

/// The rule that decides whether a request is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyDecision {
    /// The weight is zero.
    Off,
    /// Requests of this variant are not copied.
    From,
    /// Never copied, regardless of the share.
    Unfit(Unfit),
    /// This share of the requests is copied.
    Share,
    /// A live request gets a random identity, which is sampled.
    Issued,
    /// The caller's bucket, below the share or not.
    Bucket(Bucket),
    /// There is no sticky key.
    Unkeyed,
}

impl Shadow {
    /// The rule that decides for this request.
    pub(super) fn decision(&self, overlay: &Overlay, split: &Split, request: &SamplingInput<'_>) -> CopyDecision {
        if request.share == Weight::ZERO {
            return CopyDecision::Off;
        }
        if !self.from.contains(&request.variant) {
            return CopyDecision::From;
        }
        if let Some(unfit) = self.unfit(overlay, request) {
            return CopyDecision::Unfit(unfit);
        }
        match (self.sample_by, self.bucket(split, request)) {
            (SampleBy::Request, _) => CopyDecision::Share,
            (SampleBy::Key, Some(bucket)) => CopyDecision::Bucket(bucket),
            (SampleBy::Key, None) if split.sticky_cookie.is_some() => CopyDecision::Issued,
            (SampleBy::Key, None) => CopyDecision::Unkeyed,
        }
    }
}

impl CopyDecision {
    /// The probability of a copy at this share.
    pub(super) fn chance(self, share: Weight) -> Weight {
        let copied = match self {
            Self::Off | Self::From | Self::Unfit(_) => false,
            Self::Share | Self::Issued => return share,
            Self::Bucket(bucket) => bucket.number() < share.millionths(),
            Self::Unkeyed => share == Weight::FULL,
        };
        if copied { Weight::FULL } else { Weight::ZERO }
    }
}

impl Split {
    /// Whether a request would be copied; `None` without a shadow. `per_request` has the share of each variant if each
    /// request is decided on its own, and is empty otherwise.
    #[must_use]
    pub fn copied(
        &self,
        config: EffectiveConfig<'_>,
        request: &SamplingInput<'_>,
        per_request: &[(String, Weight)],
    ) -> Option<ShadowExplanation> {
        let EffectiveConfig { rules, overlay } = config;
        let shadow = self.shadow.as_deref()?;
        let sources: Vec<&str> = shadow.from.iter().map(|id| self.name_of(*id)).collect();
        let served = shadow.from.first().copied().filter(|_| !per_request.is_empty()).unwrap_or(request.variant);
        let decision = shadow.decision(overlay, self, &SamplingInput { variant: served, ..*request });
        let mut chance = decision.chance(request.share);
        if !per_request.is_empty() {
            let answered = per_request.iter().filter(|(name, _)| sources.contains(&name.as_str()));
            chance = product(chance, answered.map(|(_, weight)| weight.millionths()).sum());
        }
        let upstream = rules.upstreams.get(shadow.upstream.0 as usize).map_or("?", |upstream| upstream.name.as_str());
        let step = shadow.step(decision, self.name_of(request.variant), &sources.join(", "));
        Some(ShadowExplanation { upstream: upstream.to_owned(), chance, step })
    }

    fn name_of(&self, id: VariantId) -> &str {
        self.variants.get(usize::from(id.0)).map_or("?", |variant| variant.name.as_str())
    }
}

impl Shadow {
    /// The decision as a step.
    fn step(&self, decision: CopyDecision, variant: &str, sources: &str) -> ExplainStep {
        let words = |text: String| ExplainStep { text, ..ExplainStep::default() };
        let weight = self.weight;
        match decision {
            CopyDecision::Off => words("not copied: its weight is 0".to_owned()),
            CopyDecision::From => {
                words(format!("not copied: {variant} answers, and only requests of {sources} are copied"))
            }
            CopyDecision::Unfit(Unfit::Killed(scope)) => words(format!("not copied: kill: {scope}")),
            CopyDecision::Unfit(Unfit::Method) => {
                let methods: Vec<&str> = self.methods.iter().map(http::Method::as_str).collect();
                words(format!("not copied: its methods are {}", methods.join(", ")))
            }
            CopyDecision::Share => words(format!("{weight} % of the requests of {sources} are copied")),
            CopyDecision::Issued => words(format!("{weight} % are copied, by the random identity of a live request")),
            CopyDecision::Unkeyed if weight == Weight::FULL => {
                words("copied: the weight covers all callers".to_owned())
            }
            CopyDecision::Unkeyed => words("not copied: no sticky key".to_owned()),
            CopyDecision::Bucket(bucket) => {
                let range = 0..weight.millionths();
                let salt = readable(&self.salt);
                let is_copied = if range.contains(&bucket.number()) { "copied" } else { "not copied" };
                let number = bucket.number();
                let text = format!("bucket {number} by salt {salt}, its range is {}..{}: {is_copied}", 0, range.end);
                ExplainStep { text, bucket: Some(number), salt: Some(salt), range: Some(range) }
            }
        }
    }
}

/// A share of a share. The second is at most 1 000 000.
fn product(one: Weight, other_millionths: u32) -> Weight {
    debug_assert!(other_millionths <= BUCKETS, "a share is at most 100 %");
    let product = u64::from(one.millionths()) * u64::from(other_millionths) / u64::from(BUCKETS);
    u32::try_from(product).ok().and_then(Weight::from_millionths).unwrap_or(Weight::FULL)
}
