//! Whether a request would be copied, and why, in words and figures: the same law as
//! [`sampled`](crate::route::sampled), asked without drawing.

use super::teller::{Told, readable};
use crate::route::{
    BUCKETS, Bucket, EffectiveConfig, Overlay, SampleBy, Sampled, Shadow, Split, Unfit, VariantId, Weight,
};

/// What becomes of a request's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The name of the upstream that gets it.
    pub upstream: String,
    /// The chance that there is one: all or nothing where a caller's key or a rule decides.
    pub chance: Weight,
    /// Why, in words and figures.
    pub told: Told,
}

impl Copied {
    /// Whether there is a copy: `yes`, `no`, or the chance.
    #[must_use]
    pub fn word(&self) -> String {
        match self.chance {
            Weight::ZERO => "no".to_owned(),
            Weight::FULL => "yes".to_owned(),
            chance => format!("{chance}%"),
        }
    }
}

/// What decides whether a request is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The weight is zero.
    Off,
    /// The variant is none whose requests are copied.
    From,
    /// It is never copied, whatever the share.
    Unfit(Unfit),
    /// This share of the requests is copied.
    Share,
    /// A live request would get a random identity, and be sampled by it.
    Issued,
    /// The caller's bucket, below the share or not.
    Bucket(Bucket),
    /// There is no sticky key.
    Unkeyed,
}

impl Shadow {
    /// What decides whether this request is copied.
    pub(super) fn verdict(&self, overlay: &Overlay, split: &Split, request: &Sampled<'_>) -> Verdict {
        if request.share == Weight::ZERO {
            return Verdict::Off;
        }
        if !self.from.contains(&request.variant) {
            return Verdict::From;
        }
        if let Some(unfit) = self.unfit(overlay, request.method) {
            return Verdict::Unfit(unfit);
        }
        match (self.sample_by, self.bucket(split, request)) {
            (SampleBy::Request, _) => Verdict::Share,
            (SampleBy::Key, Some(bucket)) => Verdict::Bucket(bucket),
            (SampleBy::Key, None) if split.sticky_cookie.is_some() => Verdict::Issued,
            (SampleBy::Key, None) => Verdict::Unkeyed,
        }
    }
}

impl Verdict {
    /// The chance that a request is copied, at this share.
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
    /// Whether a request would be copied; `None` without a shadow. `anew` is who answers how much where each request is
    /// decided anew, and empty elsewhere.
    #[must_use]
    pub fn copied(
        &self,
        config: EffectiveConfig<'_>,
        request: &Sampled<'_>,
        anew: &[(String, Weight)],
    ) -> Option<Copied> {
        let EffectiveConfig { rules, overlay } = config;
        let shadow = self.shadow.as_deref()?;
        let sources: Vec<&str> = shadow.from.iter().map(|id| self.name_of(*id)).collect();
        let served = shadow.from.first().copied().filter(|_| !anew.is_empty()).unwrap_or(request.variant);
        let verdict = shadow.verdict(overlay, self, &Sampled { variant: served, ..*request });
        let mut chance = verdict.chance(request.share);
        if !anew.is_empty() {
            let answered = anew.iter().filter(|(name, _)| sources.contains(&name.as_str()));
            chance = product(chance, answered.map(|(_, weight)| weight.millionths()).sum());
        }
        let upstream = rules.upstreams.get(shadow.upstream.0 as usize).map_or("?", |upstream| upstream.name.as_str());
        let told = shadow.told(verdict, self.name_of(request.variant), &sources.join(", "));
        Some(Copied { upstream: upstream.to_owned(), chance, told })
    }

    fn name_of(&self, id: VariantId) -> &str {
        self.variants.get(usize::from(id.0)).map_or("?", |variant| variant.name.as_str())
    }
}

impl Shadow {
    /// A verdict in words and figures.
    fn told(&self, verdict: Verdict, variant: &str, sources: &str) -> Told {
        let words = |text: String| Told { text, ..Told::default() };
        let weight = self.weight;
        match verdict {
            Verdict::Off => words("not copied: its weight is 0".to_owned()),
            Verdict::From => words(format!("not copied: {variant} answers, and requests of {sources} are copied")),
            Verdict::Unfit(Unfit::Killed) => words("not copied: kill: all".to_owned()),
            Verdict::Unfit(Unfit::Method) => {
                let methods: Vec<&str> = self.methods.iter().map(http::Method::as_str).collect();
                words(format!("not copied: its methods are {}", methods.join(", ")))
            }
            Verdict::Share => words(format!("{weight} % of the requests of {sources} are copied")),
            Verdict::Issued => words(format!("{weight} % are copied, by the random identity that a live request gets")),
            Verdict::Unkeyed if weight == Weight::FULL => words("copied: every caller is".to_owned()),
            Verdict::Unkeyed => words("not copied: no sticky key".to_owned()),
            Verdict::Bucket(bucket) => {
                let range = 0..weight.millionths();
                let salt = readable(&self.salt);
                let is_copied = if range.contains(&bucket.number()) { "copied" } else { "not copied" };
                let number = bucket.number();
                let text = format!("bucket {number} by salt {salt}, its range is {}..{}: {is_copied}", 0, range.end);
                Told { text, bucket: Some(number), salt: Some(salt), range: Some(range) }
            }
        }
    }
}

/// A share of a share.
fn product(one: Weight, other_millionths: u32) -> Weight {
    let product = u64::from(one.millionths()) * u64::from(other_millionths) / u64::from(BUCKETS);
    u32::try_from(product).ok().and_then(Weight::from_millionths).unwrap_or(Weight::FULL)
}
