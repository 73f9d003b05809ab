//! `what-if`: what changes for callers when one configuration replaces another.

use std::collections::BTreeMap;

use super::difference::{Both, Changes, beside_routes};
use super::equivalence::ConfigPair;
use crate::route::{Action, BUCKETS, Bucket, EffectiveConfig, RouteId, Split, SplitState, Upstream, Variant, Weight};

/// The differences of two configurations.
#[derive(Clone, Debug, Default)]
pub struct ConfigDiff {
    /// Routes that only the new configuration has. They may match requests of other routes; only a replay shows that.
    pub added: Vec<String>,
    /// Routes that only the old configuration has.
    pub removed: Vec<String>,
    /// Routes that differ.
    pub changed: Vec<RouteChange>,
    /// Other differences as text, such as `upstream web endpoints http://10.0.0.1 → http://10.0.0.2`.
    pub others: Vec<String>,
    /// Upstreams with other endpoints.
    pub moved_upstreams: Vec<MovedUpstream>,
}

/// An upstream whose endpoints differ, and the callers that it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedUpstream {
    /// The name.
    pub upstream: String,
    /// Its variants: route, variant, and the share of the route's callers in millionths.
    pub answers: Vec<(String, String, u32)>,
}

/// The changes of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteChange {
    /// The name.
    pub route: String,
    /// The changes as text, such as `checkout canary 5 → 10`.
    pub words: Vec<String>,
    /// The callers that get another variant.
    pub moved: Moved,
}

/// The share of a route's callers that get another variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Moved {
    /// Computed from the buckets: exact for callers that are decided by weight.
    Exactly(Vec<Flow>),
    /// Computed from the weights alone, with a note.
    ByWeight(Vec<Flow>, &'static str),
    /// Unknown, with the reason.
    Unknown(&'static str),
}

/// Callers that move from one variant to another, or from one upstream of a variant to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The variant before, or the upstream.
    pub from: String,
    /// The variant after, or the upstream.
    pub to: String,
    /// The share, in millionths of the callers.
    pub millionths: u32,
}

impl Moved {
    /// The share of callers that move, in millionths; `None` if unknown.
    #[must_use]
    pub fn millionths(&self) -> Option<u32> {
        match self {
            Self::Exactly(flows) | Self::ByWeight(flows, _) => Some(flows.iter().map(|flow| flow.millionths).sum()),
            Self::Unknown(_) => None,
        }
    }
}

/// Compares two configurations route by route.
#[must_use]
pub fn compare(old: EffectiveConfig<'_>, new: EffectiveConfig<'_>) -> ConfigDiff {
    let pair = ConfigPair::new(old, new);
    let Changes { added, removed, changed: differing } = Changes::between(&pair);
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let mut changed: Vec<RouteChange> = differing
        .into_iter()
        .map(|(both, words)| {
            let route = new.rules.route(both.new).name.clone();
            RouteChange { route, words, moved: moved(&pair, both) }
        })
        .collect();
    if old.overlay.kill().all != new.overlay.kill().all {
        changed.extend(unchanged_splits(&pair, &changed));
    }
    ConfigDiff {
        added: owned(added),
        removed: owned(removed),
        changed,
        others: beside_routes(&pair),
        moved_upstreams: moved_upstreams(old, new),
    }
    .covered([&old.rules.masks, &new.rules.masks])
}

/// Upstreams with other endpoints than before.
fn moved_upstreams(old: EffectiveConfig<'_>, new: EffectiveConfig<'_>) -> Vec<MovedUpstream> {
    let (before, after) = (old.rules, new.rules);
    let olds: ahash::HashMap<&str, &Upstream> = before.upstreams.iter().map(|one| (one.name.as_str(), one)).collect();
    let elsewhere = |one: &&Upstream| olds.get(one.name.as_str()).is_some_and(|old| old.endpoints != one.endpoints);
    let answers = |upstream: &Upstream| {
        let answered = after.numbered().filter_map(|(id, route)| Some((route, SplitSide::of(new, id)?))).flat_map(
            |(route, side)| {
                let shares = side.shares();
                let here = |variant: &Variant| after.upstreams.get(variant.upstream.0 as usize) == Some(upstream);
                let mine = shares.into_values().filter(move |(variant, _)| here(variant));
                mine.map(|(variant, millionths)| (route.name.clone(), variant.name.clone(), millionths))
            },
        );
        answered.collect()
    };
    let moved = after.upstreams.iter().filter(elsewhere);
    moved.map(|one| MovedUpstream { upstream: one.name.clone(), answers: answers(one) }).collect()
}

/// Routes that change only because `kill.all` changes.
fn unchanged_splits(pair: &ConfigPair<'_>, changed: &[RouteChange]) -> Vec<RouteChange> {
    let known: ahash::HashSet<&str> = changed.iter().map(|change| change.route.as_str()).collect();
    let (before, after) = (pair.old.rules, pair.new.rules);
    let olds: ahash::HashMap<&str, RouteId> = before.numbered().map(|(id, route)| (route.name.as_str(), id)).collect();
    let word = if pair.new.overlay.kill().all { "killed" } else { "revived" };
    let splits = after.numbered().filter(|(_, new)| new.split().is_some_and(|split| split.variants.len() > 1));
    splits
        .filter(|(_, new)| !known.contains(new.name.as_str()))
        .filter_map(|(id, new)| Some((new, Both { old: *olds.get(new.name.as_str())?, new: id })))
        .map(|(new, both)| RouteChange {
            route: new.name.clone(),
            words: vec![format!("{} {word} by kill.all", new.name)],
            moved: moved(pair, both),
        })
        .collect()
}

/// The callers of a route that get another variant.
fn moved(pair: &ConfigPair<'_>, both: Both) -> Moved {
    let (old, new) = (pair.old.rules.route(both.old), pair.new.rules.route(both.new));
    let (Action::Split(from), Action::Split(to)) = (&old.action, &new.action) else {
        return Moved::Unknown("the route does not forward in both files");
    };
    let ConfigPair { old: before, new: after, .. } = *pair;
    let (a, b) = (&old.matches, &new.matches);
    let same_match = a.hosts == b.hosts && a.paths == b.paths && a.methods == b.methods && a.priority == b.priority;
    for (unknown, why) in [
        (!same_match || !pair.predicates(&a.predicates, &b.predicates), "the route matches other requests than before"),
        (before.rules.identity != after.rules.identity, "identity is read differently"),
        (before.overlay.kill().tenants != after.overlay.kill().tenants, "other tenants are killed"),
        (!pair.access(&old.access, &new.access), "the proxy answers other callers itself"),
        (!pair.targets(&from.targets, &to.targets), "its targets differ"),
    ] {
        if unknown {
            return Moved::Unknown(why);
        }
    }
    let sides = [SplitSide::new(before, both.old, from), SplitSide::new(after, both.new, to)];
    if let (true, [Some(one), Some(other)]) = (from.targets.is_empty(), sides.each_ref().map(SplitSide::only)) {
        return Moved::Exactly(all(pair, one, other));
    }
    for (unknown, why) in [
        (from.spreads() || to.spreads(), "sticky = []: no caller keeps a variant"),
        (from.sticky != to.sticky || from.sticky_cookie != to.sticky_cookie, "its sticky keys differ"),
    ] {
        if unknown {
            return Moved::Unknown(why);
        }
    }
    let [old, new] = &sides;
    if from.salt != to.salt {
        return Moved::ByWeight(shuffled(pair, old, new), "its salt differs, so every caller gets another bucket");
    }
    if !from.targets.is_empty() && old.killed != new.killed {
        return Moved::ByWeight(flows(pair, old, new), "the kill also moves the callers of targets");
    }
    Moved::Exactly(flows(pair, old, new))
}

/// All callers, from one variant to another, or to another upstream of the same variant.
fn all(pair: &ConfigPair<'_>, old: &Variant, new: &Variant) -> Vec<Flow> {
    let hop = hop(pair, old, new);
    hop.map(|(from, to)| Flow { from: from.to_owned(), to: to.to_owned(), millionths: BUCKETS }).into_iter().collect()
}

/// The move of a caller from one variant to another; `None` if the variant and its upstream stay the same.
fn hop<'a>(pair: &ConfigPair<'a>, old: &'a Variant, new: &'a Variant) -> Option<(&'a str, &'a str)> {
    let upstreams = pair.upstreams(old.upstream, new.upstream);
    let (from, to) = if old.name == new.name { upstreams } else { (old.name.as_str(), new.name.as_str()) };
    (from != to).then_some((from, to))
}

/// A split in one of the two configurations.
pub(super) struct SplitSide<'a> {
    split: &'a Split,
    state: &'a SplitState,
    /// Whether `kill.all` or `kill.routes` covers it.
    killed: bool,
}

impl<'a> SplitSide<'a> {
    pub(super) fn new(config: EffectiveConfig<'a>, route: RouteId, split: &'a Split) -> Self {
        let state = config.overlay.split(route);
        Self { split, state, killed: config.overlay.kill().all || state.is_killed() }
    }

    fn of(config: EffectiveConfig<'a>, route: RouteId) -> Option<Self> {
        Some(Self::new(config, route, config.rules.route(route).split()?))
    }

    /// The variant that serves a bucket; stable serves those of stopped variants.
    pub(super) fn serving(&self, bucket: u32) -> &'a Variant {
        let owner = self.state.owner(Bucket(bucket));
        let stopped = self.killed || self.state.stopped(owner).is_some();
        &self.split.variants[if stopped { 0 } else { usize::from(owner.0) }]
    }

    /// The share of each variant in millionths of the callers, by name.
    fn shares(&self) -> BTreeMap<&'a str, (&'a Variant, u32)> {
        let mut shares = BTreeMap::new();
        for arm in self.state.arms().iter().filter(|arm| arm.weight > Weight::ZERO) {
            let serving = self.serving(arm.start);
            shares.entry(serving.name.as_str()).or_insert((serving, 0)).1 += arm.weight.millionths();
        }
        debug_assert!(
            shares.values().map(|(_, millionths)| millionths).sum::<u32>() == BUCKETS,
            "every caller has a variant"
        );
        shares
    }

    /// The variant that serves all callers, if one does.
    fn only(&self) -> Option<&'a Variant> {
        let shares = self.shares();
        let (_, (variant, _)) = shares.first_key_value().filter(|_| shares.len() == 1)?;
        Some(variant)
    }
}

/// The moves if every caller gets a new bucket that is independent of the old one.
fn shuffled(pair: &ConfigPair<'_>, old: &SplitSide<'_>, new: &SplitSide<'_>) -> Vec<Flow> {
    let mut flows = Vec::new();
    let after = new.shares();
    for (from, before) in old.shares().into_values() {
        for &(to, after) in after.values() {
            let Some((from, to)) = hop(pair, from, to) else { continue };
            let millionths = u64::from(before) * u64::from(after) / u64::from(BUCKETS);
            let millionths = u32::try_from(millionths).unwrap_or(BUCKETS);
            flows.push(Flow { from: from.to_owned(), to: to.to_owned(), millionths });
        }
    }
    flows.retain(|flow| flow.millionths > 0);
    flows
}

/// The buckets that move. Nothing changes between two borders, so one bucket of each interval is enough.
fn flows(pair: &ConfigPair<'_>, old: &SplitSide<'_>, new: &SplitSide<'_>) -> Vec<Flow> {
    let arms = old.state.arms().iter().chain(new.state.arms());
    let mut borders: Vec<u32> = arms.flat_map(|arm| [arm.start, arm.start + arm.weight.millionths()]).collect();
    borders.extend([0, BUCKETS]);
    borders.retain(|border| *border <= BUCKETS);
    borders.sort_unstable();
    borders.dedup();
    debug_assert!(borders.is_sorted() && borders.last() == Some(&BUCKETS), "the intervals cover all buckets");
    let mut moved: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for interval in borders.windows(2) {
        if let Some(hop) = hop(pair, old.serving(interval[0]), new.serving(interval[0])) {
            *moved.entry(hop).or_default() += interval[1] - interval[0];
        }
    }
    moved
        .into_iter()
        .map(|((from, to), millionths)| Flow { from: from.to_owned(), to: to.to_owned(), millionths })
        .collect()
}
