//! Whether routes of two configurations are equivalent. Ids differ between configurations, so upstreams and segments
//! are compared by name, regexes by their text, and source locations not at all.

use ahash::{HashMap, HashSet};

use crate::route::{
    AccessRule, AccessVerdict, Action, EffectiveConfig, PathPattern, Predicate, Rewrite, RouteId, Rules, Segment,
    SegmentId, Shadow, StringMatch, Target, UpstreamId,
};

/// Two configurations.
pub(super) struct ConfigPair<'a> {
    pub(super) old: EffectiveConfig<'a>,
    pub(super) new: EffectiveConfig<'a>,
    /// Names of segments with the same members in both; computed once, because the lists may be long.
    kept: HashSet<&'a str>,
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        match (&self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Exact(_) | Self::Prefix(_) | Self::Regex(_), _) => false,
        }
    }
}

impl PartialEq for StringMatch {
    fn eq(&self, other: &Self) -> bool {
        match (&self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Present(a), Self::Present(b)) => a == b,
            (Self::Exact(_) | Self::Prefix(_) | Self::Regex(_) | Self::Present(_), _) => false,
        }
    }
}

impl PartialEq for Rewrite {
    fn eq(&self, other: &Self) -> bool {
        let text = |rewrite: &Self| rewrite.regex.as_ref().map(|(regex, to)| (regex.as_str().to_owned(), to.clone()));
        self.prefix == other.prefix && self.host == other.host && text(self) == text(other)
    }
}

impl Shadow {
    /// Whether both make the same copies, apart from the upstream and the share.
    pub(super) fn copies_like(&self, other: &Self) -> bool {
        self.methods == other.methods
            && self.host == other.host
            && self.headers == other.headers
            && (self.max_in_flight, self.max_body_bytes) == (other.max_in_flight, other.max_body_bytes)
            && self.timeout == other.timeout
    }
}

impl<'a> ConfigPair<'a> {
    pub(super) fn new(old: EffectiveConfig<'a>, new: EffectiveConfig<'a>) -> Self {
        let mut pair = Self { old, new, kept: HashSet::default() };
        let olds: HashMap<&str, &Segment> =
            old.rules.segments.iter().map(|segment| (segment.name.as_str(), segment)).collect();
        // A segment may refer to another one, so `kept` grows until a round adds nothing.
        loop {
            let more = new.rules.segments.iter().filter(|segment| {
                let before = olds.get(segment.name.as_str());
                !pair.kept.contains(segment.name.as_str())
                    && before.is_some_and(|before| pair.predicates(&before.predicates, &segment.predicates))
            });
            let more: Vec<&str> = more.map(|segment| segment.name.as_str()).collect();
            if more.is_empty() {
                return pair;
            }
            pair.kept.extend(more);
            debug_assert!(
                pair.kept.len() <= new.rules.segments.len(),
                "each round adds segments that were not kept before"
            );
        }
    }

    /// Whether each id of a route means the same in both: upstreams, segments and rollouts have the same names, and the
    /// segments the same members.
    pub(super) fn has_same_names(&self) -> bool {
        let (old, new) = (self.old.rules, self.new.rules);
        let segments = new.segments.iter().map(|one| &one.name);
        old.upstreams.iter().map(|one| &one.name).eq(new.upstreams.iter().map(|one| &one.name))
            && old.rollouts.iter().map(|one| &one.name).eq(new.rollouts.iter().map(|one| &one.name))
            && old.segments.iter().map(|one| &one.name).eq(segments.clone())
            && segments.clone().all(|name| self.kept(name))
    }

    /// Whether a route is shared and its weights and kills are the same: then nothing of it has changed, if its ids have the same
    /// names.
    pub(super) fn shares(&self, old: RouteId, new: RouteId) -> bool {
        self.old.rules.route(old).is_shared_with(self.new.rules.route(new))
            && self.old.overlay.split(old) == self.new.overlay.split(new)
    }

    /// The names of an upstream of the old configuration and of one of the new configuration.
    pub(super) fn upstreams(&self, old: UpstreamId, new: UpstreamId) -> (&'a str, &'a str) {
        let name =
            |rules: &'a Rules, id: UpstreamId| rules.upstreams.get(id.0 as usize).map_or("?", |u| u.name.as_str());
        (name(self.old.rules, old), name(self.new.rules, new))
    }

    /// Whether both predicates are equivalent.
    pub(super) fn predicate(&self, old: &Predicate, new: &Predicate) -> bool {
        use Predicate as P;
        match (old, new) {
            (P::Header(a, x), P::Header(b, y)) => a == b && x == y,
            (P::Cookie(a, x), P::Cookie(b, y))
            | (P::Query(a, x), P::Query(b, y))
            | (P::Claim(a, x), P::Claim(b, y)) => a == b && x == y,
            (P::Grpc, P::Grpc) => true,
            (P::Tenant(a), P::Tenant(b)) | (P::User(a), P::User(b)) => a == b,
            (P::Listener(a), P::Listener(b)) => a == b,
            (P::Cidr(a), P::Cidr(b)) => a == b,
            (P::Country(a), P::Country(b)) => a == b,
            (P::ClientCert(a, x), P::ClientCert(b, y)) => a == b && x == y,
            (P::Segment(a), P::Segment(b)) => self.segment(*a, *b),
            (P::Not(a), P::Not(b)) => self.predicate(a, b),
            (P::Any(a), P::Any(b)) | (P::All(a), P::All(b)) => self.predicates(a, b),
            (
                P::Header(..)
                | P::Cookie(..)
                | P::Query(..)
                | P::Grpc
                | P::Listener(_)
                | P::Tenant(_)
                | P::User(_)
                | P::Cidr(_)
                | P::Claim(..)
                | P::Country(_)
                | P::ClientCert(..)
                | P::Segment(_)
                | P::Not(_)
                | P::Any(_)
                | P::All(_),
                _,
            ) => false,
        }
    }

    /// Whether both lists are equivalent, in the same order.
    pub(super) fn predicates(&self, old: &[Predicate], new: &[Predicate]) -> bool {
        old.len() == new.len() && old.iter().zip(new).all(|(a, b)| self.predicate(a, b))
    }

    /// Whether both segments have the same name and the same members.
    fn segment(&self, old: SegmentId, new: SegmentId) -> bool {
        let of =
            |rules: &'a Rules, id: SegmentId| rules.segments.get(id.0 as usize).map(|segment| segment.name.as_str());
        let (before, after) = (of(self.old.rules, old), of(self.new.rules, new));
        before == after && after.is_some_and(|name| self.kept(name))
    }

    /// Whether the segment of this name has the same members in both configurations.
    pub(super) fn kept(&self, segment: &str) -> bool {
        self.kept.contains(segment)
    }

    /// Whether both lists of targets select the same callers for the same variants.
    pub(super) fn targets(&self, old: &[Target], new: &[Target]) -> bool {
        old.len() == new.len()
            && old.iter().zip(new).all(|(a, b)| {
                a.serve == b.serve && a.weight == b.weight && self.predicates(&a.predicates, &b.predicates)
            })
    }

    /// Whether the proxy answers the same callers itself, with the same responses.
    pub(super) fn access(&self, old: &[AccessRule], new: &[AccessRule]) -> bool {
        let verdict = |a: &AccessVerdict, b: &AccessVerdict| match (a, b) {
            (AccessVerdict::Pass, AccessVerdict::Pass) => true,
            (AccessVerdict::Answer(a), AccessVerdict::Answer(b)) => a == b,
            (AccessVerdict::Pass | AccessVerdict::Answer(_), _) => false,
        };
        let same = |(a, b): (&AccessRule, &AccessRule)| {
            verdict(&a.verdict, &b.verdict) && self.predicates(&a.predicates, &b.predicates)
        };
        old.len() == new.len() && old.iter().zip(new).all(same)
    }

    /// Whether redirects and fixed responses are equal; splits are compared in detail.
    pub(super) fn answers(old: &Action, new: &Action) -> bool {
        match (old, new) {
            (Action::Redirect(a), Action::Redirect(b)) => a == b,
            (Action::Respond(a), Action::Respond(b)) => a == b,
            (Action::Split(_), Action::Split(_)) => true,
            (Action::Redirect(_) | Action::Respond(_) | Action::Split(_), _) => false,
        }
    }
}
