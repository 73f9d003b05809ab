//! `what-if`: what changes for callers when one file takes the place of another.

use std::collections::BTreeMap;

use super::difference::{Changes, beside_routes};
use super::sameness::Pair;
use super::{Action, BUCKETS, Bucket, Route, Rules, Split, Upstream, Variant, Weight};

/// What changes from one file to another.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
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
pub fn compare(old: &Rules, new: &Rules) -> Comparison {
    let pair = Pair::new(old, new);
    let Changes { added, removed, changed: differing } = Changes::between(&pair);
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let mut changed: Vec<RouteChange> = differing
        .into_iter()
        .map(|((from, to), words)| RouteChange { route: to.name.clone(), words, moved: moved(&pair, from, to) })
        .collect();
    if old.kill.all != new.kill.all {
        changed.extend(unchanged_splits(&pair, &changed));
    }
    Comparison {
        added: owned(added),
        removed: owned(removed),
        changed,
        others: beside_routes(&pair),
        moved_upstreams: moved_upstreams(old, new),
    }
    .covered([&old.masks, &new.masks])
}

/// Upstreams that have other endpoints than before.
fn moved_upstreams(old: &Rules, new: &Rules) -> Vec<MovedUpstream> {
    let olds: ahash::HashMap<&str, &Upstream> = old.upstreams.iter().map(|one| (one.name.as_str(), one)).collect();
    let elsewhere = |one: &&Upstream| olds.get(one.name.as_str()).is_some_and(|old| old.endpoints != one.endpoints);
    let answers = |upstream: &Upstream| {
        let answered =
            new.routes.iter().filter_map(|route| Some((route, route.split()?))).flat_map(|(route, split)| {
                let shares = Side { split, killed: new.kill.all || split.killed }.shares();
                let here = |variant: &Variant| new.upstreams.get(variant.upstream.0 as usize) == Some(upstream);
                let mine = shares.into_values().filter(move |(variant, _)| here(variant));
                mine.map(|(variant, millionths)| (route.name.clone(), variant.name.clone(), millionths))
            });
        answered.collect()
    };
    let moved = new.upstreams.iter().filter(elsewhere);
    moved.map(|one| MovedUpstream { upstream: one.name.clone(), answers: answers(one) }).collect()
}

/// Routes that change only because everything is killed or revived.
fn unchanged_splits(pair: &Pair<'_>, changed: &[RouteChange]) -> Vec<RouteChange> {
    let told: ahash::HashSet<&str> = changed.iter().map(|change| change.route.as_str()).collect();
    let olds: ahash::HashMap<&str, &Route> = pair.old.routes.iter().map(|route| (route.name.as_str(), route)).collect();
    let both = pair.new.routes.iter().filter_map(|new| Some((*olds.get(new.name.as_str())?, new)));
    both.filter(|(_, new)| !told.contains(new.name.as_str()) && new.split().is_some_and(|s| s.variants.len() > 1))
        .map(|(old, new)| RouteChange {
            route: new.name.clone(),
            words: vec![format!("{} {} by kill.all", new.name, if pair.new.kill.all { "killed" } else { "revived" })],
            moved: moved(pair, old, new),
        })
        .collect()
}

/// Who gets another variant of a route.
fn moved(pair: &Pair<'_>, old: &Route, new: &Route) -> Moved {
    let (Action::Split(from), Action::Split(to)) = (&old.action, &new.action) else {
        return Moved::Unknown("the route does not forward in both files");
    };
    let Pair { old: before, new: after, .. } = pair;
    let (a, b) = (&old.matches, &new.matches);
    let same_match = a.hosts == b.hosts && a.paths == b.paths && a.methods == b.methods && a.priority == b.priority;
    let killed = |rules: &Rules, split: &Split| rules.kill.all || split.killed;
    for (unknown, why) in [
        (!same_match || !pair.predicates(&a.predicates, &b.predicates), "the route takes other requests than before"),
        (before.identity != after.identity, "identity is read in another way"),
        (before.kill.tenants != after.kill.tenants, "other tenants are killed"),
        (!pair.targets(&from.targets, &to.targets), "its targets differ"),
    ] {
        if unknown {
            return Moved::Unknown(why);
        }
    }
    let sides = [Side { split: from, killed: killed(before, from) }, Side { split: to, killed: killed(after, to) }];
    if let (true, [Some(one), Some(other)]) = (from.targets.is_empty(), sides.each_ref().map(Side::only)) {
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
        return Moved::ByWeight(
            shuffled(pair, old, new),
            "its salt differs, so every caller falls into another bucket",
        );
    }
    if !from.targets.is_empty() && old.killed != new.killed {
        return Moved::ByWeight(flows(pair, old, new), "the kill also moves those whom targets pick");
    }
    Moved::Exactly(flows(pair, old, new))
}

/// Everybody, from one variant to another; or to another upstream of the same variant.
fn all(pair: &Pair<'_>, old: &Variant, new: &Variant) -> Vec<Flow> {
    let hop = hop(pair, old, new);
    hop.map(|(from, to)| Flow { from: from.to_owned(), to: to.to_owned(), millionths: BUCKETS }).into_iter().collect()
}

/// From where to where a caller moves who had one variant and gets the other; nothing when the same upstream answers
/// for the same variant.
fn hop<'a>(pair: &Pair<'a>, old: &'a Variant, new: &'a Variant) -> Option<(&'a str, &'a str)> {
    let upstreams = pair.upstreams(old.upstream, new.upstream);
    let (from, to) = if old.name == new.name { upstreams } else { (old.name.as_str(), new.name.as_str()) };
    (from != to).then_some((from, to))
}

/// A split on one side of the comparison.
pub(super) struct Side<'a> {
    pub(super) split: &'a Split,
    /// By `kill.all` or `kill.routes`.
    pub(super) killed: bool,
}

impl<'a> Side<'a> {
    /// The variant that serves a bucket; a killed one's is stable's.
    pub(super) fn serving(&self, bucket: u32) -> &'a Variant {
        let variants = &self.split.variants;
        let owner = &variants[usize::from(self.split.owner(Bucket(bucket)).0)];
        if self.killed || owner.killed { &variants[0] } else { owner }
    }

    /// How many millionths of the callers each variant serves, by its name.
    fn shares(&self) -> BTreeMap<&'a str, (&'a Variant, u32)> {
        let mut shares = BTreeMap::new();
        for variant in self.split.variants.iter().filter(|variant| variant.weight > Weight::ZERO) {
            let serving = self.serving(variant.start);
            shares.entry(serving.name.as_str()).or_insert((serving, 0)).1 += variant.weight.millionths();
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
fn shuffled(pair: &Pair<'_>, old: &Side<'_>, new: &Side<'_>) -> Vec<Flow> {
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
fn flows(pair: &Pair<'_>, old: &Side<'_>, new: &Side<'_>) -> Vec<Flow> {
    let arms = old.split.variants.iter().chain(&new.split.variants);
    let mut borders: Vec<u32> = arms.flat_map(|v| [v.start, v.start + v.weight.millionths()]).collect();
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
