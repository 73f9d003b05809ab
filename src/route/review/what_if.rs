//! `what-if`: what changes for callers when one file takes the place of another.

use std::collections::BTreeMap;

use super::difference::{Both, Changes, beside_routes};
use super::equivalence::ConfigPair;
use crate::route::{Action, BUCKETS, Bucket, EffectiveConfig, RouteId, Split, SplitState, Upstream, Variant, Weight};

/// What changes from one file to another.
#[derive(Clone, Debug, Default)]
pub struct ConfigDiff {
    /// Routes that only the new file has. They may take requests from others: only a replay can tell.
    pub added: Vec<String>,
    /// Routes that only the old file has.
    pub removed: Vec<String>,
    /// Routes that both have and that differ.
    pub changed: Vec<RouteChange>,
    /// What differs beside routes, in words, such as `upstream web endpoints http://10.0.0.1 → http://10.0.0.2`.
    pub others: Vec<String>,
    /// Upstreams that answer from other endpoints, whichever route leads there.
    pub moved_upstreams: Vec<MovedUpstream>,
}

/// An upstream whose endpoints differ, and who is answered by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedUpstream {
    /// Its name.
    pub upstream: String,
    /// The variants that it answers for: route, variant, and the share of the route's callers in millionths.
    pub answers: Vec<(String, String, u32)>,
}

/// How a route changes.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteChange {
    /// Its name.
    pub route: String,
    /// In words, such as `checkout canary 5 → 10`.
    pub words: Vec<String>,
    /// Who gets another variant.
    pub moved: Moved,
}

/// The share of a route's callers that gets another variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Moved {
    /// By the arithmetic of buckets: exact for the callers whom the weights decide.
    Exactly(Vec<Flow>),
    /// By the weights alone, and what else is to be known.
    ByWeight(Vec<Flow>, &'static str),
    /// Buckets cannot tell, and why.
    Unknown(&'static str),
}

/// Callers that move from one variant to another; those who keep their variant, from its upstream to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The variant before, or the upstream.
    pub from: String,
    /// The variant after, or the upstream.
    pub to: String,
    /// How many, in millionths of the callers.
    pub millionths: u32,
}

impl Moved {
    /// How many callers move, in millionths; `None` when buckets cannot tell.
    #[must_use]
    pub fn millionths(&self) -> Option<u32> {
        match self {
            Self::Exactly(flows) | Self::ByWeight(flows, _) => Some(flows.iter().map(|flow| flow.millionths).sum()),
            Self::Unknown(_) => None,
        }
    }
}

/// Compares two files route by route.
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

/// Upstreams that have other endpoints than before.
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

/// Routes that change only because everything is killed or revived.
fn unchanged_splits(pair: &ConfigPair<'_>, changed: &[RouteChange]) -> Vec<RouteChange> {
    let told: ahash::HashSet<&str> = changed.iter().map(|change| change.route.as_str()).collect();
    let (before, after) = (pair.old.rules, pair.new.rules);
    let olds: ahash::HashMap<&str, RouteId> = before.numbered().map(|(id, route)| (route.name.as_str(), id)).collect();
    let word = if pair.new.overlay.kill().all { "killed" } else { "revived" };
    let splits = after.numbered().filter(|(_, new)| new.split().is_some_and(|split| split.variants.len() > 1));
    splits
        .filter(|(_, new)| !told.contains(new.name.as_str()))
        .filter_map(|(id, new)| Some((new, Both { old: *olds.get(new.name.as_str())?, new: id })))
        .map(|(new, both)| RouteChange {
            route: new.name.clone(),
            words: vec![format!("{} {word} by kill.all", new.name)],
            moved: moved(pair, both),
        })
        .collect()
}

/// Who gets another variant of a route.
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

/// Everybody, from one variant to another; or to another upstream of the same variant.
fn all(pair: &ConfigPair<'_>, old: &Variant, new: &Variant) -> Vec<Flow> {
    let hop = hop(pair, old, new);
    hop.map(|(from, to)| Flow { from: from.to_owned(), to: to.to_owned(), millionths: BUCKETS }).into_iter().collect()
}

/// From where to where a caller moves who had one variant and gets the other; nothing when the same upstream answers
/// for the same variant.
fn hop<'a>(pair: &ConfigPair<'a>, old: &'a Variant, new: &'a Variant) -> Option<(&'a str, &'a str)> {
    let upstreams = pair.upstreams(old.upstream, new.upstream);
    let (from, to) = if old.name == new.name { upstreams } else { (old.name.as_str(), new.name.as_str()) };
    (from != to).then_some((from, to))
}

/// A split on one side of the comparison.
pub(super) struct SplitSide<'a> {
    split: &'a Split,
    state: &'a SplitState,
    /// By `kill.all` or `kill.routes`.
    killed: bool,
}

impl<'a> SplitSide<'a> {
    pub(super) fn new(config: EffectiveConfig<'a>, route: RouteId, split: &'a Split) -> Self {
        let state = config.overlay.split(route);
        Self { split, state, killed: config.overlay.kill().all || state.is_killed() }
    }

    /// The split of a route, if it has one.
    fn of(config: EffectiveConfig<'a>, route: RouteId) -> Option<Self> {
        Some(Self::new(config, route, config.rules.route(route).split()?))
    }

    /// The variant that serves a bucket; a stopped one's is stable's.
    pub(super) fn serving(&self, bucket: u32) -> &'a Variant {
        let owner = self.state.owner(Bucket(bucket));
        let stopped = self.killed || self.state.stopped(owner).is_some();
        &self.split.variants[if stopped { 0 } else { usize::from(owner.0) }]
    }

    /// How many millionths of the callers each variant serves, by its name.
    fn shares(&self) -> BTreeMap<&'a str, (&'a Variant, u32)> {
        let mut shares = BTreeMap::new();
        for arm in self.state.arms().iter().filter(|arm| arm.weight > Weight::ZERO) {
            let serving = self.serving(arm.start);
            shares.entry(serving.name.as_str()).or_insert((serving, 0)).1 += arm.weight.millionths();
        }
        shares
    }

    /// The variant that serves everybody, whoever they are.
    fn only(&self) -> Option<&'a Variant> {
        let shares = self.shares();
        let (_, (variant, _)) = shares.first_key_value().filter(|_| shares.len() == 1)?;
        Some(variant)
    }
}

/// Who moves when every caller falls into another bucket, which is independent of the one before.
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

/// The buckets that change hands: between two borders nothing changes, so one look at each interval is enough.
fn flows(pair: &ConfigPair<'_>, old: &SplitSide<'_>, new: &SplitSide<'_>) -> Vec<Flow> {
    let arms = old.state.arms().iter().chain(new.state.arms());
    let mut borders: Vec<u32> = arms.flat_map(|arm| [arm.start, arm.start + arm.weight.millionths()]).collect();
    borders.extend([0, BUCKETS]);
    borders.retain(|border| *border <= BUCKETS);
    borders.sort_unstable();
    borders.dedup();
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
