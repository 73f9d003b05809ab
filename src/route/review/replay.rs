//! Replay: decides logged requests with two configurations and counts the differences. A request that is completely
//! known is decided twice. An access log line has neither headers nor cookies nor the query, but it has the bucket; the
//! bucket is enough wherever both configurations have the same salt and sticky keys on the route.

use std::collections::BTreeMap;

use super::shadow_explain::CopyDecision;
use super::what_if::SplitSide;
use crate::route::{
    Caller, Decision, EffectiveConfig, ExplainRequest, NoTrace, Reason, Route, RouteId, Routed, SamplingInput, Split,
    SplitState, Spread, StickyKey, Variant, VariantId, Weight, access, cookie, decide,
};

/// A request of a log.
#[derive(Clone, Copy, Debug)]
pub struct LoggedRequest<'a> {
    /// What the log has of the request itself.
    pub request: ExplainRequest<'a>,
    /// The route that took it.
    pub route: LoggedRoute<'a>,
    /// How its variant was decided.
    pub decision: LoggedDecision<'a>,
}

/// The route of a logged request, under the old configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedRoute<'a> {
    /// The log does not say.
    Unknown,
    /// No route matched.
    None,
    /// The name of the route.
    Name(&'a str),
}

impl LoggedRoute<'_> {
    /// Whether the log is consistent with this route.
    fn agrees(self, route: Option<&str>) -> bool {
        match self {
            Self::Unknown => true,
            Self::None => route.is_none(),
            Self::Name(logged) => route == Some(logged),
        }
    }
}

/// How a logged request was decided, under the old configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedDecision<'a> {
    /// Not logged, and not needed: the request is completely known.
    Complete,
    /// By a target or a kill.
    ByRule,
    /// By the weights of this route.
    ByWeight {
        /// The route's name.
        route: &'a str,
        /// The bucket; nothing without a sticky key.
        bucket: Option<u32>,
    },
}

impl LoggedDecision<'_> {
    /// The logged bucket of the caller, if a weight decided.
    fn bucket(self) -> Option<u32> {
        match self {
            Self::ByWeight { bucket, .. } => bucket,
            Self::Complete | Self::ByRule => None,
        }
    }
}

/// The result of a replay.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// Requests that were replayed.
    pub requests: u64,
    /// Requests that cannot be decided, because the log has too little of them.
    pub unknown: u64,
    /// Those of the unknown requests that match another route of the old configuration than the logged one: the file
    /// has changed since, or the route depends on headers.
    pub rerouted: u64,
    /// Requests that get another answer.
    pub moved: u64,
    /// Number of requests by old and new answer, such as `checkout canary` or `no route`.
    pub moves: BTreeMap<(String, String), u64>,
    /// Copies that shadows make, under the old configuration and the new one.
    pub copied: [CopyCounts; 2],
}

/// The number of copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyCounts {
    /// Whether a matched route has a shadow.
    pub any: bool,
    /// The expected number, in millionths: a request that is sampled at random counts as its probability.
    pub millionths: u64,
    /// Requests whose sampling cannot be decided.
    pub unknown: u64,
}

impl CopyCounts {
    fn add(&mut self, chance: Chance) {
        self.any |= chance != Chance::NoShadow;
        match chance {
            Chance::NoShadow => {}
            Chance::Known(chance) => self.millionths += u64::from(chance.millionths()),
            Chance::Unknown => self.unknown += 1,
        }
    }
}

/// Whether a request is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chance {
    /// Its route has no shadow.
    NoShadow,
    /// Copied with this probability.
    Known(Weight),
    /// The log does not have the sticky key.
    Unknown,
}

/// What a request gets under one configuration.
struct Answer<'a> {
    /// The route and the variant, or the reason why there is none.
    words: String,
    upstream: Option<&'a str>,
    copied: Chance,
}

impl From<String> for Answer<'_> {
    fn from(words: String) -> Self {
        Self { words, upstream: None, copied: Chance::NoShadow }
    }
}

/// Replays these requests. A route with `sticky = []` starts its sequence at the same point in both configurations.
pub fn replay<'a>(
    old: EffectiveConfig<'_>,
    new: EffectiveConfig<'_>,
    requests: impl IntoIterator<Item = ExplainRequest<'a>>,
) -> Replayed {
    let mut replay = Replay::new(old, new);
    for request in requests {
        replay.add(&LoggedRequest { request, route: LoggedRoute::Unknown, decision: LoggedDecision::Complete });
    }
    replay.replayed
}

/// Two configurations, and the result so far.
pub struct Replay<'a> {
    before: ReplayedConfig<'a>,
    after: ReplayedConfig<'a>,
    replayed: Replayed,
}

impl<'a> Replay<'a> {
    /// A replay without requests.
    #[must_use]
    pub fn new(old: EffectiveConfig<'a>, new: EffectiveConfig<'a>) -> Self {
        Self { before: ReplayedConfig::new(old), after: ReplayedConfig::new(new), replayed: Replayed::default() }
    }

    /// Decides a request under both configurations, and counts the result.
    pub fn add(&mut self, logged: &LoggedRequest<'_>) {
        self.replayed.requests += 1;
        if !logged.route.agrees(self.before.route(&logged.request).map(|route| route.name.as_str())) {
            self.replayed.unknown += 1;
            self.replayed.rerouted += 1;
            return;
        }
        let home = match logged.decision {
            LoggedDecision::ByWeight { route, .. } => self.before.split(route),
            LoggedDecision::Complete | LoggedDecision::ByRule => None,
        };
        let (Some(mut from), Some(mut to)) = (self.before.answer(logged, home), self.after.answer(logged, home)) else {
            self.replayed.unknown += 1;
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
        let Replayed { requests, unknown, rerouted, moved, .. } = self.replayed;
        debug_assert!(rerouted <= unknown && unknown + moved <= requests, "a request is counted once");
    }

    /// The result.
    #[must_use]
    pub fn finish(self) -> Replayed {
        self.replayed
    }
}

/// One configuration, and the state of its sequences.
struct ReplayedConfig<'a> {
    config: EffectiveConfig<'a>,
    names: BTreeMap<&'a str, &'a Route>,
    spreads: Vec<Spread>,
}

impl<'a> ReplayedConfig<'a> {
    fn new(config: EffectiveConfig<'a>) -> Self {
        let routes = &config.rules.routes;
        let names = routes.iter().map(|route| (route.name.as_str(), route)).collect();
        Self { config, names, spreads: vec![Spread::default(); routes.len()] }
    }

    fn split(&self, route: &str) -> Option<&'a Split> {
        self.names.get(route).and_then(|route| route.split())
    }

    fn route(&self, request: &ExplainRequest<'_>) -> Option<&'a Route> {
        let normal = request.normal().ok()?;
        let rules = self.config.rules;
        let lookup = rules.index.find(&rules.routes, &normal.head())?;
        Some(rules.route(lookup.route))
    }

    /// What the request gets; nothing when the log has too little of it. `home` is the split of the old configuration
    /// that the logged bucket belongs to.
    fn answer(&mut self, logged: &LoggedRequest<'_>, home: Option<&Split>) -> Option<Answer<'a>> {
        let Ok(normal) = logged.request.normal() else { return Some("refused".to_owned().into()) };
        let head = normal.head();
        let EffectiveConfig { rules, overlay } = self.config;
        let Some(lookup) = rules.index.find(&rules.routes, &head) else {
            return Some("no route".to_owned().into());
        };
        let RouteId(id) = lookup.route;
        let route = rules.route(lookup.route);
        let caller = rules.identity.caller(logged.request.peer, &head, logged.request.facts);
        if let Some((_, respond)) = access(&route.access, &head, &caller, &rules.segments) {
            return Some(format!("{} {} by a target", route.name, respond.status.as_u16()).into());
        }
        let Some(split) = route.split() else { return Some(route.name.clone().into()) };
        let cookie_identity = split.sticky_cookie.as_deref().and_then(|name| cookie(head.fields, name));
        let spread = &mut self.spreads[id as usize];
        let request = Routed { route: lookup.route, split, head: &head, caller: &caller, cookie_identity };
        let decision = decide(rules, overlay, &request, spread, &mut NoTrace);
        let variant = match logged.decision {
            LoggedDecision::Complete => chosen(split, decision),
            LoggedDecision::ByRule => by_rule(split, decision)?,
            LoggedDecision::ByWeight { .. } => self.by_bucket(&request, decision, home?, logged.decision)?,
        };
        let copied = self.copied(&request, &variant.name, logged.decision, home);
        let upstream = rules.upstreams.get(variant.upstream.0 as usize).map(|upstream| upstream.name.as_str());
        Some(Answer { words: format!("{} {}", route.name, variant.name), upstream, copied })
    }

    /// Whether a request that this variant answers is copied.
    fn copied(&self, request: &Routed<'_>, variant: &str, logged: LoggedDecision<'_>, home: Option<&Split>) -> Chance {
        let Routed { route, split, head, caller, cookie_identity } = *request;
        let Some(shadow) = split.shadow.as_deref() else { return Chance::NoShadow };
        let named = split.variants.iter().position(|known| known.name == variant);
        let variant = VariantId(u16::try_from(named.unwrap_or_default()).unwrap_or_default());
        let share = shadow.weight;
        let request = SamplingInput { route, method: head.method, variant, caller, cookie_identity, share };
        let decision = shadow.decision(self.config.overlay, split, &request);
        let by_key = matches!(decision, CopyDecision::Bucket(_) | CopyDecision::Unkeyed | CopyDecision::Issued);
        if by_key && share != Weight::FULL && !is_key_known(split, logged, caller, home) {
            return Chance::Unknown;
        }
        Chance::Known(decision.chance(share))
    }

    /// The variant that serves the logged bucket under this configuration.
    fn by_bucket<'s>(
        &self,
        request: &Routed<'s>,
        decision: Decision,
        home: &Split,
        logged: LoggedDecision<'_>,
    ) -> Option<&'s Variant>
    where
        'a: 's,
    {
        let Routed { route, split, caller, .. } = *request;
        match decision.reason {
            // The bucket of a stopped variant is not the logged one.
            Reason::Kill if decision.bucket.is_none() => return Some(chosen(split, decision)),
            Reason::Target => return Some(chosen(split, decision)),
            Reason::Kill | Reason::Latch | Reason::Hold | Reason::Weight | Reason::Stable => {}
        }
        let same = split.salt == home.salt && split.sticky == home.sticky && split.sticky_cookie == home.sticky_cookie;
        match logged.bucket() {
            Some(bucket) if same => Some(SplitSide::new(self.config, route, split).serving(bucket)),
            // The caller has no key, now as before, or every bucket has one owner.
            None if same => Some(chosen(split, decision)),
            _ if is_certain(self.config.overlay.split(route)) => Some(chosen(split, decision)),
            // The key has another bucket now. A log has no users: with one, the next sticky key is not the caller's.
            _ => is_key_known(split, logged, caller, Some(home)).then(|| chosen(split, decision)),
        }
    }
}

/// The variant of a caller whose sticky key may be unknown, when a target or a kill decides.
fn by_rule(split: &Split, decision: Decision) -> Option<&Variant> {
    let is_by_rule = match decision.reason {
        Reason::Target => !decision.unkeyed,
        Reason::Kill => decision.bucket.is_none(),
        Reason::Latch | Reason::Hold | Reason::Weight | Reason::Stable => false,
    };
    is_by_rule.then(|| chosen(split, decision))
}

fn chosen(split: &Split, decision: Decision) -> &Variant {
    &split.variants[usize::from(decision.variant.0)]
}

/// Whether every bucket has the same owner.
fn is_certain(state: &SplitState) -> bool {
    state.is_stable_only() || state.owner_of_all().is_some()
}

/// Whether the sticky key read from the log is the one of the request. A log has tenants and addresses, but neither
/// users nor cookies. A key whose bucket equals the logged one is the right key.
fn is_key_known(split: &Split, logged: LoggedDecision<'_>, caller: &Caller<'_>, home: Option<&Split>) -> bool {
    if logged == LoggedDecision::Complete {
        return true;
    }
    let bucket = logged.bucket();
    let key = split.sticky_key(caller, None);
    let has_logged_bucket = || {
        let (home, key) = (home?, key?);
        Some(bucket? == key.with_text(|text| home.salt.bucket(text).number()))
    };
    let logged = split.sticky.iter().take_while(|place| **place != StickyKey::User);
    let is_logged = logged.into_iter().any(|place| *place == StickyKey::ClientIp || caller.tenant.is_some());
    is_logged || has_logged_bucket().unwrap_or(false)
}
