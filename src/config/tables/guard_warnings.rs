//! Guards that cannot do what their route expects: checks that need the whole configuration. Only guards that the file
//! names are judged, not those that every split has by default.

use super::guard;
use super::route_context::{DefinedUpstreams, NamedRoute};
use super::route_text::RouteText;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::source::Span;
use crate::route::{
    Guard, GuardAct, GuardTest, Guards, Identity, ListenerSpec, Predicate, Route, Segment, Signal, SlowThreshold,
    Split, SplitState, StickyKey, UpstreamId, Variant, VariantId, Weight,
};
use crate::stats::least_events;

/// Guards that roll back should not trip on healthy releases more often than this, together.
pub(super) const ALPHA_MAX: f64 = 0.05;

/// From this weight on, in millionths, there is little of stable to compare with.
const NEAR_FULL: u32 = 900_000;

/// The routes of a configuration.
pub(in crate::config) struct GuardedRoutes<'a, 'd> {
    pub(in crate::config) routes: &'a [Route],
    /// In the order of the routes.
    pub(in crate::config) states: &'a [SplitState],
    /// In the order of the routes.
    pub(in crate::config) written: &'a [RouteText<'d>],
}

/// What a configuration says of callers.
pub(in crate::config) struct KnownCallers<'a> {
    pub(in crate::config) segments: &'a [Segment],
    pub(in crate::config) identity: &'a Identity,
    pub(in crate::config) listeners: &'a [ListenerSpec],
}

/// A split with guards that the file names.
struct Guarded<'a, 'd> {
    route: &'a Route,
    split: &'a Split,
    state: &'a SplitState,
    written: &'a NamedRoute<'d>,
}

/// Checks the guards of all routes.
pub(in crate::config) fn check(
    context: &mut Context<'_>,
    all: &GuardedRoutes<'_, '_>,
    callers: &KnownCallers<'_>,
    defined: &DefinedUpstreams<'_>,
) {
    debug_assert!(all.routes.len() == all.states.len() && all.routes.len() == all.written.len(), "one of each a route");
    let mut warned = Vec::new();
    for ((route, state), written) in all.routes.iter().zip(all.states).zip(all.written) {
        let Some(split) = route.split().filter(|split| is_named(&split.guards)) else { continue };
        let RouteText::Written(written, _) = written else {
            unread(context, split, defined, &warned);
            continue;
        };
        let guarded = Guarded { route, split, state, written };
        let moved = guarded.moved();
        guarded.late_thresholds(context);
        guarded.one_caller(context, callers);
        if guarded.own().next().is_none() {
            continue;
        }
        // A variant that a rollout moves is judged with its rollout.
        let own = split.variants.iter().zip((0..).map(VariantId)).skip(1).filter(|(_, id)| Some(*id) != moved);
        for (variant, id) in own {
            guarded.same_upstream(context, variant, defined);
            guarded.sum_of_alpha(context, id);
            guarded.no_control(context, id);
            guarded.short_audience(context, id, callers.segments);
            if guarded.of(id).any(|guard| guard.act == GuardAct::Rollback) {
                guarded.no_revision(context, variant, defined, &mut warned);
            }
        }
    }
}

/// A check of the whole file had no finding of a route that is not read. Of what it depends on, only the upstreams that others have warned of may differ.
fn unread(context: &mut Context<'_>, split: &Split, defined: &DefinedUpstreams<'_>, warned: &[UpstreamId]) {
    if !split.guards.all.iter().any(|guard| guard.act == GuardAct::Rollback) {
        return;
    }
    let has_none = |variant: &Variant| {
        let upstream = defined.get(variant.upstream);
        !warned.contains(&variant.upstream) && upstream.is_some_and(|(upstream, _)| upstream.revision.is_none())
    };
    if split.variants.iter().skip(1).any(has_none) {
        context.want_text();
    }
}

/// Whether the file names the guards, or wants a rollback.
fn is_named(guards: &Guards) -> bool {
    let acts = guards.all.iter().any(|guard| guard.act == GuardAct::Rollback);
    !guards.is_empty() && (!guards.by_default || acts)
}

/// Whether a weight leaves callers to both arms.
fn splits(weight: Weight) -> bool {
    weight > Weight::ZERO && weight < Weight::FULL
}

/// Whether a guard adds to the share of healthy releases that are rolled back.
pub(super) fn counts(guard: &Guard) -> bool {
    guard.act == GuardAct::Rollback && !matches!(guard.test, GuardTest::Above(_)) && !guard.near_full
}

impl Guarded<'_, '_> {
    /// The variant that a rollout moves.
    fn moved(&self) -> Option<VariantId> {
        let last = u16::try_from(self.split.variants.len() - 1).ok().map(VariantId);
        last.filter(|_| self.split.rollout.is_some())
    }

    /// The guards that the route names, with the index of their tables.
    fn own(&self) -> impl Iterator<Item = (usize, &Guard)> {
        let moved = self.moved();
        let own = self.split.guards.all.iter().filter(move |guard| guard.variant.is_none() || guard.variant != moved);
        // Beside a rollout, the guard of a table stands once for each variant.
        own.scan((0_usize, ""), |(at, name), guard| {
            *at += usize::from(!name.is_empty() && *name != guard.name);
            *name = &guard.name;
            Some((*at, guard))
        })
    }

    /// The guards that judge a variant.
    fn of(&self, id: VariantId) -> impl Iterator<Item = &Guard> {
        self.split.guards.all.iter().filter(move |guard| guard.variant.is_none_or(|only| only == id))
    }

    fn weight(&self, id: VariantId) -> Weight {
        self.state.arms().get(usize::from(id.0)).map_or(Weight::ZERO, |arm| arm.weight)
    }

    fn name(&self, id: VariantId) -> &str {
        self.split.variants.get(usize::from(id.0)).map_or("", |variant| &variant.name)
    }

    /// The place of `guard`.
    fn place(&self) -> Span {
        self.written.reader.place("guard")
    }

    /// Warns of fixed thresholds that no request reaches.
    fn late_thresholds(&self, context: &mut Context<'_>) {
        let Some(limit) = self.route.timeouts.request else { return };
        let tables = guard::tables(context, &self.written.reader);
        for (at, guard) in self.own() {
            let signal = guard.signal.and_then(|at| self.split.guards.signals.get(at));
            let Some(Signal::SlowerThan(SlowThreshold::Fixed(time))) = signal else { continue };
            if *time < limit {
                continue;
            }
            let place = tables.get(at).map_or(self.place(), |table| table.place("metric"));
            let message = format!("no request is slow: `timeout.request` ends it after {limit:?}");
            let finding = Finding::warning("late-threshold", place, message);
            context.report(finding.help("write a shorter `slower_than`, or a longer `timeout = { request = \"…\" }`"));
        }
    }

    /// Warns of a sticky key that many callers may share.
    fn one_caller(&self, context: &mut Context<'_>, callers: &KnownCallers<'_>) {
        let by_target =
            self.split.targets.iter().filter_map(|target| target.weight.as_ref().map(|(weight, _)| *weight));
        let mut weights = self.state.arms().iter().skip(1).map(|arm| arm.weight).chain(by_target);
        let is_behind = !callers.identity.trusted_proxies.is_empty()
            || callers.listeners.iter().any(|listener| !listener.proxy_senders.is_empty());
        let by_address = self.split.sticky == [StickyKey::ClientIp] && self.split.sticky_cookie.is_none();
        if is_behind || !by_address || !weights.any(splits) {
            return;
        }
        let message = "a guard counts each client address once: behind a load balancer it sees one caller";
        let finding = Finding::warning("one-caller", self.written.reader.place("sticky"), message);
        let help = "where a load balancer is in front, name it in `trusted_proxies` of `[identity]`; or add \
                    `sticky_cookie = \"…\"`";
        context.report(finding.help(help));
    }

    /// Warns of a variant that has the upstream of stable.
    fn same_upstream(&self, context: &mut Context<'_>, variant: &Variant, defined: &DefinedUpstreams<'_>) {
        let stable = self.split.variants.first().map(|stable| stable.upstream);
        let Some((upstream, _)) = defined.get(variant.upstream).filter(|_| stable == Some(variant.upstream)) else {
            return;
        };
        let message =
            format!("`{}` and stable are both `{}`: their guards find no difference", variant.name, upstream.name);
        let finding = Finding::warning("same-upstream", self.place(), message);
        context.report(finding.help("name an upstream that runs the new revision, or write `guard = \"off\"`"));
    }

    /// Warns of guards that together roll back healthy releases too often. A guard with a bound of its own has no control,
    /// and is outside the sum.
    fn sum_of_alpha(&self, context: &mut Context<'_>, id: VariantId) {
        let sum: f64 = self.of(id).filter(|guard| counts(guard)).map(|guard| guard.alpha).sum();
        if sum <= ALPHA_MAX + 1e-9 {
            return;
        }
        let percent = (sum * 1_000.0).round() / 10.0;
        let message = format!("the guards of `{}` roll back up to {percent} % of all healthy releases", self.name(id));
        let finding = Finding::warning("guard-alpha", self.place(), message);
        context.report(
            finding.help("write a smaller `alpha` for guards that roll back, such as 0.003, or let some only warn"),
        );
    }

    /// Warns of a variant that has nearly all callers, and only guards that compare it with stable.
    fn no_control(&self, context: &mut Context<'_>, id: VariantId) {
        let is_near = self.weight(id).millionths() >= NEAR_FULL;
        if !is_near || self.of(id).any(|guard| matches!(guard.test, GuardTest::Above(_))) {
            return;
        }
        let message = format!(
            "`{}` has {} % of the callers, too few are left to compare it with",
            self.name(id),
            self.weight(id)
        );
        let finding = Finding::warning("no-control", self.place(), message);
        context.report(
            finding.help("add a guard with a bound of its own, such as `metric = \"error\"` and `above = 0.02`"),
        );
    }

    /// Reports guards that cannot trip: the variant goes to a list of callers that is shorter than the number that must
    /// fail.
    fn short_audience(&self, context: &mut Context<'_>, id: VariantId, segments: &[Segment]) {
        let serves = |target: &&crate::route::Target| target.serve == id;
        let weighted = self.split.targets.iter().filter(serves).filter_map(|target| {
            let (weight, _) = target.weight.as_ref()?;
            splits(*weight).then_some((*weight, target))
        });
        let weighted: Vec<_> = weighted.collect();
        let Some(first) = self.split.sticky.first().filter(|_| !weighted.is_empty() && !splits(self.weight(id))) else {
            return;
        };
        let lengths = weighted.iter().map(|(_, target)| callers(&target.predicates, segments, *first));
        let Some(total) = lengths.sum::<Option<usize>>() else { return };
        let tables = guard::tables(context, &self.written.reader);
        for (at, guard) in self.own() {
            let GuardTest::WorseThanStable(ratio) = guard.test else { continue };
            if guard.variant.is_some_and(|only| only != id) {
                continue;
            }
            let needed = weighted.iter().filter_map(|(weight, _)| {
                let share = f64::from(weight.millionths()) / 1e6;
                Some((least_events(share, ratio, guard.alpha)?, *weight))
            });
            let Some((least, weight)) = needed.min() else { continue };
            if u64::try_from(total).is_ok_and(|total| total >= least) {
                continue;
            }
            let place = tables.get(at).map_or(self.place(), |table| table.place("name"));
            let message = format!(
                "guard `{}` never trips: `{}` goes to a list of {total}, and at {weight} % at least {least} callers must fail",
                guard.name,
                self.name(id),
            );
            let help =
                "name more callers in the `[[route.target]]`, lower its weight, use `above`, or remove the guard";
            context.report(Finding::error("short-audience", place, message).help(help));
        }
    }

    /// Warns of an upstream whose deploys nothing distinguishes, once for each upstream.
    fn no_revision(
        &self,
        context: &mut Context<'_>,
        variant: &Variant,
        defined: &DefinedUpstreams<'_>,
        warned: &mut Vec<UpstreamId>,
    ) {
        let Some((upstream, at)) = defined.get(variant.upstream).filter(|(upstream, _)| upstream.revision.is_none())
        else {
            return;
        };
        if warned.contains(&variant.upstream) {
            return;
        }
        warned.push(variant.upstream);
        let (name, route) = (&upstream.name, &self.route.name);
        let message =
            format!("upstream `{name}` has no `revision`, so a rollback of it holds for its next deploy, too");
        let help = format!(
            "add `revision = \"…\"`, another one for each deploy; without it, only `pointsman rollout resume {route}:{}` \
             ends a rollback",
            variant.name
        );
        context.report(Finding::warning("no-revision", at, message).also(self.place(), "rolls back").help(help));
    }
}

/// The most callers that meet all conditions, by the sticky key: `None` where no list limits them.
fn callers(predicates: &[Predicate], segments: &[Segment], key: StickyKey) -> Option<usize> {
    let one = |predicate: &Predicate| match predicate {
        Predicate::Tenant(list) => (key == StickyKey::Tenant).then(|| list.len()),
        Predicate::User(list) => (key == StickyKey::User).then(|| list.len()),
        Predicate::Segment(id) => callers(&segments.get(id.0 as usize)?.predicates, segments, key),
        Predicate::All(all) => callers(all, segments, key),
        Predicate::Any(all) => all.iter().map(|one| callers(std::slice::from_ref(one), segments, key)).sum(),
        Predicate::Header(..)
        | Predicate::Cookie(..)
        | Predicate::Query(..)
        | Predicate::Grpc
        | Predicate::Listener(_)
        | Predicate::Cidr(_)
        | Predicate::Claim(..)
        | Predicate::Country(_)
        | Predicate::ClientCert(..)
        | Predicate::Not(_) => None,
    };
    predicates.iter().filter_map(one).min()
}
