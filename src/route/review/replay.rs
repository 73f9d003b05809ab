//! Replaying: requests that were seen are asked of two files. A request that is known whole is simply decided twice. An
//! access log knows less: neither headers nor cookies nor the query, but the bucket that they led to, and that is enough
//! wherever both files keep the salt and the sticky keys of its route.

use std::collections::BTreeMap;

use super::copied::Verdict;
use super::what_if::Side;
use crate::route::{
    Asked, Caller, Decision, EffectiveConfig, Key, Reason, Route, RouteId, Routed, Sampled, Silent, Split, SplitState,
    Spread, StickyKey, Variant, VariantId, Weight, cookie, decide,
};

/// A request that was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What is known of it.
    pub asked: Asked<'a>,
    /// What was noted of its route.
    pub led: Led<'a>,
    /// What was noted of its decision.
    pub noted: Noted<'a>,
}

/// What was noted of a request's route, which holds for the old file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Led<'a> {
    /// Nothing.
    Unnoted,
    /// It came to no route.
    Nowhere,
    /// It came to this one.
    To(&'a str),
}

impl Led<'_> {
    /// Whether this route, or none, is the one that was noted.
    fn agrees(self, route: Option<&str>) -> bool {
        match self {
            Self::Unnoted => true,
            Self::Nowhere => route.is_none(),
            Self::To(noted) => route == Some(noted),
        }
    }
}

/// What was noted of a decision, which holds for the old file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted<'a> {
    /// Nothing, and nothing is missing: the request is known whole.
    Whole,
    /// A target or a kill decided.
    Picked,
    /// The weights of this route decided, by this bucket if there was one.
    Weighed {
        /// The route's name.
        route: &'a str,
        /// The bucket.
        bucket: Option<u32>,
    },
}

/// What became of requests that were asked of two files.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// How many were asked.
    pub requests: u64,
    /// How many of them cannot be told, because too little is known of them.
    pub untold: u64,
    /// How many of those the old file leads to another route than was noted: it has changed since, or what led them
    /// there is not known.
    pub misled: u64,
    /// How many get another answer.
    pub moved: u64,
    /// From what to what, in words (`checkout canary`, `no route`), and how many.
    pub moves: BTreeMap<(String, String), u64>,
    /// How many are copied by a shadow, in the old file and in the new one.
    pub copied: [Copies; 2],
}

/// How many requests are copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Whether any route that was asked has a shadow.
    pub any: bool,
    /// How many are to be expected, in millionths of a request: where chance decides, each counts as its chance.
    pub millionths: u64,
    /// How many requests cannot be told.
    pub untold: u64,
}

impl Copies {
    fn add(&mut self, chance: Chance) {
        self.any |= chance != Chance::NoShadow;
        match chance {
            Chance::NoShadow => {}
            Chance::Told(chance) => self.millionths += u64::from(chance.millionths()),
            Chance::Untold => self.untold += 1,
        }
    }
}

/// Whether a request is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chance {
    /// Its route has no shadow.
    NoShadow,
    /// With this chance.
    Told(Weight),
    /// Too little is known of the caller.
    Untold,
}

/// What a file gives a request.
struct Answer<'a> {
    /// Who answers, in words.
    words: String,
    /// The name of the upstream that answers, when one does.
    upstream: Option<&'a str>,
    /// Whether it is copied.
    copied: Chance,
}

impl From<String> for Answer<'_> {
    fn from(words: String) -> Self {
        Self { words, upstream: None, copied: Chance::NoShadow }
    }
}

/// Asks both files each of these requests. A route with `sticky = []` draws in both files from the same beginning.
pub fn replay<'a>(
    old: EffectiveConfig<'_>,
    new: EffectiveConfig<'_>,
    requests: impl IntoIterator<Item = Asked<'a>>,
) -> Replayed {
    let mut replay = Replay::new(old, new);
    requests.into_iter().for_each(|asked| replay.ask(&Seen { asked, led: Led::Unnoted, noted: Noted::Whole }));
    replay.replayed
}

/// Two files, and what was asked of them so far.
pub struct Replay<'a> {
    before: Asking<'a>,
    after: Asking<'a>,
    replayed: Replayed,
}

impl<'a> Replay<'a> {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new(old: EffectiveConfig<'a>, new: EffectiveConfig<'a>) -> Self {
        Self { before: Asking::new(old), after: Asking::new(new), replayed: Replayed::default() }
    }

    /// Asks both files.
    pub fn ask(&mut self, seen: &Seen<'_>) {
        self.replayed.requests += 1;
        if !seen.led.agrees(self.before.route(&seen.asked).map(|route| route.name.as_str())) {
            self.replayed.untold += 1;
            self.replayed.misled += 1;
            return;
        }
        let home = match seen.noted {
            Noted::Weighed { route, .. } => self.before.split(route),
            Noted::Whole | Noted::Picked => None,
        };
        let (Some(mut from), Some(mut to)) = (self.before.answer(seen, home), self.after.answer(seen, home)) else {
            self.replayed.untold += 1;
            return;
        };
        for (copies, answer) in self.replayed.copied.iter_mut().zip([&from, &to]) {
            copies.add(answer.copied);
        }
        if let (true, Some(before), Some(after)) = (from.words == to.words, from.upstream, to.upstream)
            && before != after
        {
            from.words = format!("{} by {before}", from.words);
            to.words = format!("{} by {after}", to.words);
        }
        if from.words != to.words {
            self.replayed.moved += 1;
            *self.replayed.moves.entry((from.words, to.words)).or_default() += 1;
        }
    }

    /// What became of all of them.
    #[must_use]
    pub fn finish(self) -> Replayed {
        self.replayed
    }
}

/// One file, and how far its spreads have come.
struct Asking<'a> {
    config: EffectiveConfig<'a>,
    names: BTreeMap<&'a str, &'a Route>,
    spreads: Vec<Spread>,
}

impl<'a> Asking<'a> {
    fn new(config: EffectiveConfig<'a>) -> Self {
        let routes = &config.rules.routes;
        let names = routes.iter().map(|route| (route.name.as_str(), route)).collect();
        Self { config, names, spreads: vec![Spread::default(); routes.len()] }
    }

    /// The split of a route.
    fn split(&self, route: &str) -> Option<&'a Split> {
        self.names.get(route).and_then(|route| route.split())
    }

    /// The route of a request.
    fn route(&self, asked: &Asked<'_>) -> Option<&'a Route> {
        let normal = asked.normal().ok()?;
        let rules = self.config.rules;
        let lookup = rules.index.find(&rules.routes, &normal.head())?;
        Some(rules.route(lookup.route))
    }

    /// Who answers, in words; nothing when too little is known. `home` is the old file's split whose bucket was noted.
    fn answer(&mut self, seen: &Seen<'_>, home: Option<&Split>) -> Option<Answer<'a>> {
        let Ok(normal) = seen.asked.normal() else { return Some("refused".to_owned().into()) };
        let head = normal.head();
        let EffectiveConfig { rules, overlay } = self.config;
        let Some(lookup) = rules.index.find(&rules.routes, &head) else {
            return Some("no route".to_owned().into());
        };
        let RouteId(id) = lookup.route;
        let route = rules.route(lookup.route);
        let Some(split) = route.split() else { return Some(route.name.clone().into()) };
        let caller = rules.identity.caller(seen.asked.peer, &head, seen.asked.facts);
        let cookie_identity = split.sticky_cookie.as_deref().and_then(|name| cookie(head.headers, name));
        let key = split.sticky_key(&caller, cookie_identity);
        let spread = &mut self.spreads[id as usize];
        let request = Routed { route: lookup.route, split, head: &head, caller: &caller, cookie_identity };
        let decision = decide(rules, overlay, &request, spread, &mut Silent);
        let variant = match seen.noted {
            Noted::Whole => chosen(split, decision),
            Noted::Picked => by_picking(split, decision)?,
            Noted::Weighed { bucket, .. } => self.by_bucket(&request, decision, (home?, bucket, key.as_ref()))?,
        };
        let copied = self.copied(&request, &variant.name, (seen.noted, home));
        let upstream = rules.upstreams.get(variant.upstream.0 as usize).map(|upstream| upstream.name.as_str());
        Some(Answer { words: format!("{} {}", route.name, variant.name), upstream, copied })
    }

    /// Whether a request that this variant answers is copied.
    fn copied(&self, request: &Routed<'_>, variant: &str, (noted, home): (Noted<'_>, Option<&Split>)) -> Chance {
        let Routed { split, head, caller, cookie_identity, .. } = *request;
        let Some(shadow) = split.shadow.as_deref() else { return Chance::NoShadow };
        let named = split.variants.iter().position(|known| known.name == variant);
        let variant = VariantId(u16::try_from(named.unwrap_or_default()).unwrap_or_default());
        let share = shadow.weight;
        let request = Sampled { method: head.method, variant, caller, cookie_identity, share };
        let verdict = shadow.verdict(self.config.overlay, split, &request);
        let by_key = matches!(verdict, Verdict::Bucket(_) | Verdict::Unkeyed | Verdict::Issued);
        if by_key && share != Weight::FULL && !is_known(split, noted, (caller, home)) {
            return Chance::Untold;
        }
        Chance::Told(verdict.chance(share))
    }

    /// Whoever the weights give a noted bucket.
    fn by_bucket<'s>(
        &self,
        request: &Routed<'s>,
        decision: Decision,
        (home, bucket, key): (&Split, Option<u32>, Option<&Key<'_>>),
    ) -> Option<&'s Variant>
    where
        'a: 's,
    {
        let Routed { route, split, .. } = *request;
        match decision.reason {
            // A stopped variant's caller has a bucket, which is not that of the log.
            Reason::Kill if decision.bucket.is_none() => return Some(chosen(split, decision)),
            Reason::Target => return Some(chosen(split, decision)),
            Reason::Kill | Reason::Latch | Reason::Weight | Reason::Stable => {}
        }
        let same = split.salt == home.salt && split.sticky == home.sticky && split.sticky_cookie == home.sticky_cookie;
        match bucket {
            Some(bucket) if same => Some(Side::new(self.config, route, split).serving(bucket)),
            // Nobody had a key, or it leads to another bucket now; what is known of the caller may still be enough.
            _ if is_certain(self.config.overlay.split(route)) || key.is_some() || (bucket.is_none() && same) => {
                Some(chosen(split, decision))
            }
            _ => None,
        }
    }
}

/// Whoever a target or a kill gives a caller whose sticky key may be unknown.
fn by_picking(split: &Split, decision: Decision) -> Option<&Variant> {
    let by_rule = match decision.reason {
        Reason::Target => !decision.unkeyed,
        Reason::Kill => decision.bucket.is_none(),
        Reason::Latch | Reason::Weight | Reason::Stable => false,
    };
    by_rule.then(|| chosen(split, decision))
}

fn chosen(split: &Split, decision: Decision) -> &Variant {
    &split.variants[usize::from(decision.variant.0)]
}

/// Whether every bucket has the same owner.
fn is_certain(state: &SplitState) -> bool {
    state.is_undivided() || state.owner_of_all().is_some()
}

/// Whether the sticky key that a request seems to have is the one that it had: a log knows tenants and addresses, but
/// neither users nor cookies. A key that falls into the noted bucket is the right one.
fn is_known(split: &Split, noted: Noted<'_>, (caller, home): (&Caller<'_>, Option<&Split>)) -> bool {
    let bucket = match noted {
        Noted::Whole => return true,
        Noted::Picked => None,
        Noted::Weighed { bucket, .. } => bucket,
    };
    let key = split.sticky_key(caller, None);
    let falls_there = || {
        let (home, key) = (home?, key?);
        Some(bucket? == key.with_text(|text| home.salt.bucket(text).number()))
    };
    let logged = split.sticky.iter().take_while(|place| **place != StickyKey::User);
    let is_logged = logged.into_iter().any(|place| *place == StickyKey::ClientIp || caller.tenant.is_some());
    is_logged || falls_there().unwrap_or(false)
}
