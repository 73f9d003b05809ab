//! The differences of two configurations, as text.

use std::net::SocketAddr;

use ahash::{HashMap, HashSet};

use super::equivalence::ConfigPair;
use super::guard_words;
use super::limit_difference::limit_changes;
use super::upstream_difference::{differing, upstream_changes};
use crate::route::{
    AccessLog, Action, AdminSpec, ArmState, EffectiveConfig, Identity, ListenerSpec, Rescue, RetryConditions,
    RetryPolicy, RouteId, RoutePairs, Rules, Segment, Shadow, Split, SplitState, TraceExport, Variant, VariantId,
};

/// The maximum number of lines of a summary.
const SUMMARY_LINES_MAX: usize = 100;

/// The word for a change of a kill, by whether it is set now.
const KILL_WORDS: [&str; 2] = ["revived", "killed"];

/// The word for a change of a latch, by whether it is set now.
const LATCH_WORDS: [&str; 2] = ["no longer latched", "latched"];

/// The changes from `old` to `new` as text, for the log of a reload: kills first, then routes in the order of the new
/// file (`checkout canary 5 → 10`), then upstreams, segments and listeners. At most 100 lines; the last one has the
/// number of further changes. Visits each route once.
#[must_use]
pub fn summary(old: EffectiveConfig<'_>, new: EffectiveConfig<'_>) -> Vec<String> {
    let pair = ConfigPair::new(old, new);
    let mut lines = kills(&pair);
    let changes = Changes::between(&pair);
    for (_, words) in changes.changed {
        lines.extend(words);
    }
    lines.extend(changes.added.iter().map(|name| format!("route {name} added")));
    lines.extend(changes.removed.iter().map(|name| format!("route {name} removed")));
    lines.extend(tables(&pair));
    let more = lines.len().saturating_sub(SUMMARY_LINES_MAX);
    if more > 0 {
        lines.truncate(SUMMARY_LINES_MAX - 1);
        lines.push(format!("and {} more changes", more + 1));
    }
    debug_assert!(lines.len() <= SUMMARY_LINES_MAX, "a summary is bounded");
    lines.into_iter().map(|line| old.rules.masks.covered(new.rules.masks.covered(line))).collect()
}

/// The routes that differ.
#[derive(Default)]
pub(super) struct Changes<'a> {
    pub(super) added: Vec<&'a str>,
    pub(super) removed: Vec<&'a str>,
    /// Each with its changes as text.
    pub(super) changed: Vec<(Both, Vec<String>)>,
}

/// The ids of a route that both configurations have.
#[derive(Clone, Copy)]
pub(super) struct Both {
    pub(super) old: RouteId,
    pub(super) new: RouteId,
}

/// A split and its current state.
struct Arms<'a> {
    split: &'a Split,
    state: &'a SplitState,
}

impl<'a> Changes<'a> {
    pub(super) fn between(pair: &ConfigPair<'a>) -> Self {
        let (before, after) = (pair.old.rules, pair.new.rules);
        let pairs = RoutePairs::new(before, after);
        let same_names = pair.has_same_names();
        let mut is_gone = vec![true; before.routes.len()];
        let mut changes = Self::default();
        for (new, old) in pairs.all() {
            let Some(old) = old else {
                changes.added.push(&after.route(new).name);
                continue;
            };
            is_gone[old.0 as usize] = false;
            let both = Both { old, new };
            if same_names && pair.shares(old, new) {
                continue;
            }
            let words = route(pair, both);
            changes.changed.extend((!words.is_empty()).then_some((both, words)));
        }
        let gone = before.routes.iter().zip(is_gone).filter(|(_, is_gone)| *is_gone);
        changes.removed = gone.map(|(route, _)| route.name.as_str()).collect();
        changes
    }
}

/// The changes of a route.
fn route(pair: &ConfigPair<'_>, both: Both) -> Vec<String> {
    let (old, new) = (pair.old.rules.route(both.old), pair.new.rules.route(both.new));
    let mut words = Vec::new();
    let mut changed = |same: bool, what: &str| {
        if !same {
            words.push(format!("{} {what} changed", new.name));
        }
    };
    let (a, b) = (&old.matches, &new.matches);
    let patterns = a.hosts == b.hosts && a.paths == b.paths && a.methods == b.methods;
    changed(patterns && pair.predicates(&a.predicates, &b.predicates), "match");
    changed(ConfigPair::answers(&old.action, &new.action), "action");
    changed(pair.access(&old.access, &new.access), "access");
    changed(old.request_headers == new.request_headers, "request headers");
    changed(old.response_headers == new.response_headers, "response headers");
    changed(old.timeouts == new.timeouts, "timeouts");
    changed(old.limits == new.limits, "limits");
    words.extend(limit_changes(pair, [old, new]));
    words.extend(retry(&new.name, &old.retry, &new.retry));
    if a.priority != b.priority {
        words.push(format!("{} priority {} → {}", new.name, a.priority, b.priority));
    }
    if let (Action::Split(from), Action::Split(to)) = (&old.action, &new.action) {
        let from = Arms { split: from, state: pair.old.overlay.split(both.old) };
        let to = Arms { split: to, state: pair.new.overlay.split(both.new) };
        arms(pair, &new.name, [&from, &to], &mut words);
        split(pair, &new.name, [from.split, to.split], &mut words);
        words.extend(guard_words::changes(&new.name, [from.split, to.split]));
    }
    words
}

/// The changes of `retry`.
fn retry(name: &str, old: &RetryPolicy, new: &RetryPolicy) -> Vec<String> {
    let RetryPolicy { attempts, on, methods, body_buffer } = old;
    let mut words = Vec::new();
    if *attempts != new.attempts {
        words.push(format!("{name} retry attempts {attempts} → {}", new.attempts));
    }
    if *on != new.on {
        let shown = |on: &RetryConditions| if on.is_empty() { "nothing".to_owned() } else { on.to_string() };
        words.push(format!("{name} retry on {} → {}", shown(on), shown(&new.on)));
    }
    let subject = format!("{name} retry ");
    let same = [("methods", *methods == new.methods), ("body_buffer", *body_buffer == new.body_buffer)];
    words.extend(differing(&subject, &same));
    words
}

/// The change of `rescue`.
fn rescue(old: &Rescue, new: &Rescue) -> Option<String> {
    match (old.is_off(), new.is_off()) {
        (true, true) => None,
        (false, true) => Some("off".to_owned()),
        (true, false) => Some(format!("on {}", new.on)),
        (false, false) if old.on != new.on => Some(format!("on {} → {}", old.on, new.on)),
        (false, false) => (old.methods != new.methods).then(|| "methods changed".to_owned()),
    }
}

impl<'a> Arms<'a> {
    fn each(&self) -> impl Iterator<Item = (&'a Variant, &'a ArmState)> {
        self.split.variants.iter().zip(self.state.arms())
    }
}

/// The changes of the variants of a split.
fn arms(pair: &ConfigPair<'_>, name: &str, [old, new]: [&Arms<'_>; 2], words: &mut Vec<String>) {
    if old.state.is_killed() != new.state.is_killed() {
        words.push(format!("{name} {}", KILL_WORDS[usize::from(new.state.is_killed())]));
    }
    if old.state.is_shadow_killed() != new.state.is_shadow_killed() {
        words.push(format!("{name} shadow {}", KILL_WORDS[usize::from(new.state.is_shadow_killed())]));
    }
    for ((to, now), id) in new.each().zip(0..) {
        let Some((from, was)) = old.each().find(|(from, _)| from.name == to.name) else {
            words.push(format!("{name} {} added at {}", to.name, now.weight));
            continue;
        };
        // The weight of stable is the rest of the others.
        if was.weight != now.weight && VariantId(id) != VariantId::STABLE {
            words.push(format!("{name} {} {} → {}", to.name, was.weight, now.weight));
        }
        if was.killed != now.killed {
            words.push(format!("{name} {} {}", to.name, KILL_WORDS[usize::from(now.killed)]));
        }
        if was.latched != now.latched {
            words.push(format!("{name} {} {}", to.name, LATCH_WORDS[usize::from(now.latched)]));
        }
        words.extend(rescue(&from.rescue, &to.rescue).map(|change| format!("{name} {} rescue {change}", to.name)));
        let (before, after) = pair.upstreams(from.upstream, to.upstream);
        if before != after {
            words.push(format!("{name} {} upstream {before} → {after}", to.name));
        }
    }
    let is_gone = |from: &Variant| new.split.variants.iter().all(|to| to.name != from.name);
    for (gone, was) in old.each().filter(|(from, _)| is_gone(from)) {
        words.push(format!("{name} {} removed, was {}", gone.name, was.weight));
    }
}

/// The changes of a split except its variants.
fn split(pair: &ConfigPair<'_>, name: &str, [old, new]: [&Split; 2], words: &mut Vec<String>) {
    if reordered(&old.variants, &new.variants, |variant| &variant.name) {
        words.push(format!("{name} variants reordered"));
    }
    let (before, after) = (rollout(pair.old.rules, old), rollout(pair.new.rules, new));
    if before != after {
        words.push(format!("{name} rollout {} → {}", before.unwrap_or("none"), after.unwrap_or("none")));
    }
    if old.salt != new.salt {
        let (from, to) = (old.salt.text(), new.salt.text());
        let by_rollout =
            before != after && [before, after].into_iter().flatten().any(|name| [from, to].contains(&name));
        let remedy = if by_rollout {
            format!(": callers are dealt anew, unless the route has `salt = {from:?}`")
        } else {
            String::new()
        };
        words.push(format!("{name} salt {from:?} → {to:?}{remedy}"));
    }
    if old.sticky != new.sticky || old.sticky_cookie != new.sticky_cookie {
        words.push(format!("{name} sticky keys changed"));
    }
    if !pair.targets(&old.targets, &new.targets) {
        words.push(format!("{name} targets changed"));
    }
    if old.rewrite != new.rewrite {
        words.push(format!("{name} rewrite changed"));
    }
    shadow(pair, name, [old, new], words);
}

/// The name of the rollout that moves a variant of a split.
fn rollout<'a>(rules: &'a Rules, split: &Split) -> Option<&'a str> {
    split.rollout.map(|id| rules.rollout(id).name.as_str())
}

/// The changes of a shadow.
fn shadow(pair: &ConfigPair<'_>, name: &str, [old, new]: [&Split; 2], words: &mut Vec<String>) {
    let (from, to) = match (old.shadow.as_deref(), new.shadow.as_deref()) {
        (None, None) => return,
        (None, Some(to)) => {
            let (_, upstream) = pair.upstreams(to.upstream, to.upstream);
            return words.push(format!("{name} shadow to {upstream} added at {}", to.weight));
        }
        (Some(from), None) => {
            let (upstream, _) = pair.upstreams(from.upstream, from.upstream);
            return words.push(format!("{name} shadow to {upstream} removed, was {}", from.weight));
        }
        (Some(from), Some(to)) => (from, to),
    };
    if from.weight != to.weight {
        words.push(format!("{name} shadow {} → {}", from.weight, to.weight));
    }
    let (before, after) = pair.upstreams(from.upstream, to.upstream);
    if before != after {
        words.push(format!("{name} shadow upstream {before} → {after}"));
    }
    if from.sample_by != to.sample_by {
        words.push(format!("{name} shadow sample_by {} → {}", from.sample_by.name(), to.sample_by.name()));
    }
    let sources = |split: &Split, shadow: &Shadow| -> Vec<String> {
        let named = shadow.from.iter().filter_map(|id| split.variants.get(usize::from(id.0)));
        named.map(|variant| variant.name.clone()).collect()
    };
    if from.compare != to.compare {
        words.push(format!("{name} shadow compare changed"));
    }
    if sources(old, from) != sources(new, to) || !from.copies_like(to) {
        words.push(format!("{name} shadow changed"));
    }
}

/// The changes of `[kill]` except single routes and variants.
fn kills(ConfigPair { old, new, .. }: &ConfigPair<'_>) -> Vec<String> {
    let mut words = Vec::new();
    let (old, new) = (old.overlay.kill(), new.overlay.kill());
    if old.all != new.all {
        words.push(format!("everything {}", KILL_WORDS[usize::from(new.all)]));
    }
    if old.tenants != new.tenants {
        words.push(format!("killed tenants {} → {}", old.tenants.len(), new.tenants.len()));
    }
    if old.close_streams != new.close_streams {
        words.push("kill close_streams changed".to_owned());
    }
    words
}

/// The changes except single routes: kills of everything and of tenants, then all other tables.
pub(super) fn beside_routes(pair: &ConfigPair<'_>) -> Vec<String> {
    let mut lines = kills(pair);
    lines.extend(tables(pair));
    lines
}

/// The changes except routes and kills.
fn tables(pair: &ConfigPair<'_>) -> Vec<String> {
    // All fields by name, so that a new one cannot be forgotten. Routes are compared elsewhere; the index depends on
    // them.
    let Rules {
        routes: _,
        index: _,
        listeners,
        admin,
        state,
        identity,
        segments,
        upstreams,
        access_log,
        dns,
        traces,
        rollouts,
        freeze,
        prometheus,
        notify,
        masks: _,
    } = pair.old.rules;
    let new = pair.new.rules;
    let mut words = Vec::new();
    if RoutePairs::new(pair.old.rules, new).is_reordered() {
        words.push("routes reordered".to_owned());
    }
    named(&mut words, "upstream", [upstreams, &new.upstreams], |u| &u.name, upstream_changes);
    let kept = |_: &Segment, new: &Segment| if pair.kept(&new.name) { vec![] } else { vec!["changed".to_owned()] };
    named(&mut words, "segment", [segments, &new.segments], |s| &s.name, kept);
    named(&mut words, "listener", [listeners, &new.listeners], |l| &l.name, listener_changes);
    let Identity { trusted_proxies, tenant, user } = identity;
    words.extend(differing(
        "identity ",
        &[
            ("trusted_proxies", *trusted_proxies == new.identity.trusted_proxies),
            ("tenant", *tenant == new.identity.tenant),
            ("user", *user == new.identity.user),
        ],
    ));
    words.extend(admin_changes(admin, &new.admin));
    words.extend(super::rollout_difference::changes(rollouts, &new.rollouts));
    words.extend(super::notify_difference::changes(notify, &new.notify));
    if *freeze != new.freeze {
        words.push("release freeze changed".to_owned());
    }
    if *prometheus != new.prometheus {
        words.push("prometheus changed".to_owned());
    }
    if *state != new.state {
        words.push("state dir changed".to_owned());
    }
    let AccessLog { sink, format, sample } = access_log;
    let log = &new.access_log;
    let log = [
        ("sink", *sink == log.sink),
        ("format", *format == log.format),
        ("sample", sample.to_bits() == log.sample.to_bits()),
    ];
    words.extend(differing("access log ", &log));
    let dns =
        [("max_ttl", dns.max_ttl == new.dns.max_ttl), ("start_patience", dns.start_patience == new.dns.start_patience)];
    words.extend(differing("dns ", &dns));
    words.extend(trace_changes(traces.as_ref(), new.traces.as_ref()));
    words
}

/// The changes of the admin listener.
fn admin_changes(old: &AdminSpec, new: &AdminSpec) -> Vec<String> {
    let AdminSpec { addresses, tls, socket, socket_group, socket_operators, hosts, tokens, grafana } = old;
    let mut words = Vec::new();
    if *addresses != new.addresses {
        let listed = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        words.push(format!("admin {} → {}", listed(addresses), listed(&new.addresses)));
    }
    words.extend(differing(
        "admin ",
        &[
            ("tls", *tls == new.tls),
            ("socket", *socket == new.socket),
            ("socket_group", *socket_group == new.socket_group),
            ("socket_operators", *socket_operators == new.socket_operators),
            ("hosts", *hosts == new.hosts),
            ("tokens", *tokens == new.tokens),
            ("grafana", *grafana == new.grafana),
        ],
    ));
    words
}

/// The changes of a listener.
fn listener_changes(old: &ListenerSpec, new: &ListenerSpec) -> Vec<String> {
    let ListenerSpec { name: _, address, limits, proxy_senders, tls, redirect } = old;
    let mut words = Vec::new();
    if *address != new.address {
        words.push(format!("address {address} → {}", new.address));
    }
    words.extend(differing(
        "",
        &[
            ("limits", *limits == new.limits),
            ("proxy_protocol", *proxy_senders == new.proxy_senders),
            ("tls", *tls == new.tls),
            ("redirect", *redirect == new.redirect),
        ],
    ));
    words
}

/// The changes of `[traces]`.
fn trace_changes(old: Option<&TraceExport>, new: Option<&TraceExport>) -> Option<String> {
    let (old, new) = match (old, new) {
        (None, None) => return None,
        (None, Some(new)) => return Some(format!("traces added, to {}:{}", new.host, new.port)),
        (Some(old), None) => return Some(format!("traces removed, went to {}:{}", old.host, old.port)),
        (Some(old), Some(new)) => (old, new),
    };
    let TraceExport { host, port, path, tls, protocol, sample, service, attributes, headers } = old;
    differing(
        "traces ",
        &[
            ("endpoint", (host, *port, path) == (&new.host, new.port, &new.path)),
            ("tls", *tls == new.tls),
            ("protocol", *protocol == new.protocol),
            ("sample", sample.to_bits() == new.sample.to_bits()),
            ("service", *service == new.service),
            ("attributes", *attributes == new.attributes),
            ("headers", *headers == new.headers),
        ],
    )
}

/// Whether the common elements have another order.
fn reordered<'a, T>(old: &'a [T], new: &'a [T], name: impl Fn(&'a T) -> &'a str) -> bool {
    let names = |all: &'a [T]| -> Vec<&'a str> { all.iter().map(&name).collect() };
    let (mut before, mut after) = (names(old), names(new));
    let known: [HashSet<&str>; 2] = [before.iter().copied().collect(), after.iter().copied().collect()];
    before.retain(|name| known[1].contains(name));
    after.retain(|name| known[0].contains(name));
    before != after
}

/// The added, removed and changed elements of two lists with names.
fn named<'a, T>(
    words: &mut Vec<String>,
    what: &str,
    [old, new]: [&'a [T]; 2],
    name: impl Fn(&'a T) -> &'a str,
    changes: impl Fn(&T, &T) -> Vec<String>,
) {
    let mut olds: HashMap<&str, &T> = old.iter().map(|thing| (name(thing), thing)).collect();
    for thing in new {
        match olds.remove(name(thing)) {
            None => words.push(format!("{what} {} added", name(thing))),
            Some(before) => {
                let changes = changes(before, thing);
                words.extend(changes.into_iter().map(|change| format!("{what} {} {change}", name(thing))));
            }
        }
    }
    let gone = old.iter().filter(|thing| olds.contains_key(name(thing)));
    words.extend(gone.map(|thing| format!("{what} {} removed", name(thing))));
}
