//! Rollouts that cannot do what they promise: checks that need the whole configuration.

use super::guard_warnings::{self, GuardedRoutes};
use super::identity_warnings;
use super::known_rollouts::{KnownRollouts, ReadRollout};
use super::rollout_stage::STAGE;
use super::route_context::DefinedUpstreams;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::route::{
    AdminRole, ApproverRole, RolloutMember, Route, Signal, SlowThreshold, Split, SplitState, Stage, TokenList,
    UpstreamId, VariantId,
};

/// A route that a rollout moves.
struct Member<'a, 'd> {
    route: &'a Route,
    split: &'a Split,
    state: &'a SplitState,
    reader: &'a Reader<'d>,
    variant: VariantId,
}

/// Checks all rollouts.
pub(in crate::config) fn check(
    context: &mut Context<'_>,
    known: &KnownRollouts<'_>,
    routes: &GuardedRoutes<'_, '_>,
    defined: &DefinedUpstreams<'_>,
    tokens: Option<&TokenList>,
) {
    let mut warned = Vec::new();
    for (_, one) in known.each() {
        let members = one.rollout.members.iter().filter_map(|member| find(context, routes, *member));
        let members: Vec<_> = members.collect();
        if members.is_empty() {
            let name = &one.rollout.name;
            let finding = Finding::warning("unused-rollout", one.name_at, format!("no route uses rollout `{name}`"));
            let help = format!("write `canary = {{ upstream = \"…\", rollout = \"{name}\" }}` in a route");
            context.report(finding.help(help));
            continue;
        }
        alike(context, one, &members);
        copies_to_compare(context, one, &members);
        late_thresholds(context, one, &members);
        sum_of_alpha(context, one);
        no_request_needed(context, one);
        if let Some(tokens) = tokens {
            approvers_without_token(context, one, tokens);
        }
        if one.rollout.plan.max_tenants.is_some() {
            let at = one.reader.place("max_tenants");
            identity_warnings::warn_unread(context, "tenant", at, "`max_tenants` has no effect");
        }
        for member in &members {
            member.same_upstream(context, one, defined);
            member.no_revision(context, one, defined, &mut warned);
        }
    }
}

fn find<'a, 'd>(
    context: &mut Context<'_>,
    routes: &GuardedRoutes<'a, 'd>,
    member: RolloutMember,
) -> Option<Member<'a, 'd>> {
    let at = member.route.0 as usize;
    let (route, state, written) = (routes.routes.get(at)?, routes.states.get(at)?, routes.written.get(at)?);
    let reader = &written.named(context)?.reader;
    Some(Member { route, split: route.split()?, state, reader, variant: member.variant })
}

/// Warns of routes on which one caller can be in different variants.
fn alike(context: &mut Context<'_>, one: &ReadRollout<'_>, members: &[Member<'_, '_>]) {
    let Some((first, others)) = members.split_first() else { return };
    let name = &one.rollout.name;
    let mut warn = |code: &'static str, key: &str, other: &Member<'_, '_>, what: String, help: &'static str| {
        let message = format!("{what}, so a caller can get the new variant on one and stable on the other");
        let finding = Finding::warning(code, other.reader.place(key), message);
        let finding = finding.also(first.reader.place(key), format!("the first route of rollout `{name}`"));
        context.report(finding.help(help));
    };
    for other in others {
        let (a, b) = (&first.route.name, &other.route.name);
        if first.split.sticky != other.split.sticky || first.split.sticky_cookie != other.split.sticky_cookie {
            let what = format!("routes `{a}` and `{b}` of one rollout have different sticky keys");
            warn("different-sticky", "sticky", other, what, "write the same `sticky` and `sticky_cookie` in both");
        }
        if first.split.salt != other.split.salt {
            let what = format!("routes `{a}` and `{b}` of one rollout have different salts");
            warn("different-salt", "salt", other, what, "write the same `salt` in both, or in none");
        }
        if first.begins() != other.begins() {
            let what = format!("other variants have different weights on routes `{a}` and `{b}` of one rollout");
            let help = "write the same weights before the variant of the rollout on both";
            warn("different-ranges", "name", other, what, help);
        }
    }
}

/// Reports `shadow_mismatch` where no copies are compared: the stage would never be left.
fn copies_to_compare(context: &mut Context<'_>, one: &ReadRollout<'_>, members: &[Member<'_, '_>]) {
    let compared =
        |member: &Member<'_, '_>| member.split.shadow.as_ref().is_some_and(|shadow| shadow.compare.is_some());
    if members.iter().any(compared) {
        return;
    }
    for at in stage_places(context, one, "require", |stage| stage.require.shadow_mismatch.is_some()) {
        let message = "no route of this rollout compares copies, so `shadow_mismatch` would never pass";
        let finding = Finding::error("no-comparison", at, message);
        let help = format!("add `[route.shadow]` with `compare` to route `{}`", members[0].route.name);
        context.report(finding.help(help));
    }
}

/// The places of a key in the stages that this is true of.
fn stage_places(
    context: &mut Context<'_>,
    one: &ReadRollout<'_>,
    key: &'static str,
    is: impl Fn(&Stage) -> bool,
) -> Vec<Span> {
    let tables = one.reader.tables(context, "stage", &STAGE);
    let stages = tables.iter().zip(&one.rollout.plan.stages);
    stages.filter(|(_, stage)| is(stage)).map(|(table, _)| table.place(key)).collect()
}

/// Warns of fixed thresholds that no request of a route reaches.
fn late_thresholds(context: &mut Context<'_>, one: &ReadRollout<'_>, members: &[Member<'_, '_>]) {
    let guards = &one.rollout.guards;
    for guard in &guards.all {
        let signal = guard.signal.and_then(|at| guards.signals.get(at));
        let Some(Signal::SlowerThan(SlowThreshold::Fixed(time))) = signal else { continue };
        let ends = |member: &&Member<'_, '_>| member.route.timeouts.request.is_some_and(|limit| *time >= limit);
        let Some(member) = members.iter().find(ends) else { continue };
        let limit = member.route.timeouts.request.unwrap_or_default();
        let (name, route) = (&guard.name, &member.route.name);
        let message = format!(
            "no request of route `{route}` is slow for guard `{name}`: `timeout.request` ends it after {limit:?}"
        );
        let finding = Finding::warning("late-threshold", one.reader.place("guard"), message);
        context.report(finding.help("write a shorter `slower_than`, or a longer `timeout = { request = \"…\" }`"));
    }
}

/// Warns of stages with a weight that are left without any request: nothing has shown that the new version works.
fn no_request_needed(context: &mut Context<'_>, one: &ReadRollout<'_>) {
    let plan = &one.rollout.plan;
    if plan.on_no_traffic.is_some() {
        return;
    }
    let weighted = || plan.stages.iter().filter(|stage| stage.weight > 0);
    // Once a stage needs requests, a rollout without traffic does not come further.
    let idle: Vec<&Stage> = weighted().take_while(|stage| !needs_more_than_time(stage)).collect();
    let Some(first) = idle.iter().find(|stage| stage.min_duration_ms > 0 || stage.ramp_ms > 0) else { return };
    let places = stage_places(context, one, "name", |stage| stage.name == first.name);
    let at = places.first().copied().unwrap_or(one.name_at);
    let names: Vec<String> = idle.iter().map(|stage| format!("`{}`", stage.name)).collect();
    let (verb, names) = (if names.len() == 1 { "needs" } else { "need" }, names.join(", "));
    let message = format!("{names} of rollout `{}` {verb} no request: without traffic it goes on", one.rollout.name);
    let help = "add `min_requests = 1000` to the stage, or `on_no_traffic = { after = \"30m\", act = \"hold\" }` to the rollout";
    context.report(Finding::warning("no-request", at, message).help(help));
}

/// Whether a stage is left by more than time.
fn needs_more_than_time(stage: &Stage) -> bool {
    let Stage { min_requests, min_keys, require, gates, approve, .. } = stage;
    let evidence = [require.non_inferior, require.or_rate_below, require.shadow_mismatch];
    let counts = [min_requests, min_keys].iter().any(|least| least.is_some_and(|least| least > 0));
    counts || evidence.iter().any(Option::is_some) || !gates.is_empty() || !approve.is_empty()
}

/// Warns of people who are asked and have no token.
fn approvers_without_token(context: &mut Context<'_>, one: &ReadRollout<'_>, tokens: &TokenList) {
    let asked =
        |role: &str| one.rollout.plan.stages.iter().any(|stage| stage.approve.iter().any(|known| known == role));
    let mut missing: Vec<(&str, &str)> = Vec::new();
    for ApproverRole { role, people } in one.rollout.approvers.iter().filter(|known| asked(&known.role)) {
        let needed = AdminRole::Approver(role.clone());
        let has = |name: &str| tokens.named(name).is_some_and(|token| token.roles.contains(&needed));
        missing.extend(people.iter().filter(|name| !has(name)).map(|name| (name.as_str(), role.as_str())));
    }
    let Some((name, role)) = missing.first() else { return };
    let names: Vec<String> = missing.iter().map(|(name, role)| format!("{name} ({role})")).collect();
    let rollout = &one.rollout.name;
    let message = format!("approvers of rollout `{rollout}` have no token with their role: {}", names.join(", "));
    let finding = Finding::warning("approver-without-token", one.reader.place("approvers"), message);
    context.report(finding.help(format!(
        "`pointsman token new {name} --role approver:{role}` makes one; without it a person approves over the socket only"
    )));
}

/// Warns of guards that together roll back healthy releases too often.
fn sum_of_alpha(context: &mut Context<'_>, one: &ReadRollout<'_>) {
    let sum: f64 = one.rollout.guards.all.iter().filter(|guard| guard_warnings::counts(guard)).map(|g| g.alpha).sum();
    if sum <= guard_warnings::ALPHA_MAX + 1e-9 {
        return;
    }
    let percent = (sum * 1_000.0).round() / 10.0;
    let message = format!("the guards of `{}` roll back up to {percent} % of all healthy releases", one.rollout.name);
    let finding = Finding::warning("guard-alpha", one.reader.place("guard"), message);
    context.report(
        finding.help("write a smaller `alpha` for guards that roll back, such as 0.003, or let some only warn"),
    );
}

impl Member<'_, '_> {
    /// The first bucket of the variant.
    fn begins(&self) -> u32 {
        self.state.arms().get(usize::from(self.variant.0)).map_or(0, |arm| arm.start)
    }

    /// The upstream of the variant.
    fn upstream(&self) -> Option<UpstreamId> {
        self.split.variants.get(usize::from(self.variant.0)).map(|variant| variant.upstream)
    }

    /// The place of the variant.
    fn place(&self) -> Span {
        let key = if self.reader.get("variant").is_some() { "variant" } else { "canary" };
        self.reader.place(key)
    }

    /// Warns of a variant that has the upstream of stable.
    fn same_upstream(&self, context: &mut Context<'_>, one: &ReadRollout<'_>, defined: &DefinedUpstreams<'_>) {
        let stable = self.split.variants.first().map(|stable| stable.upstream);
        let Some((upstream, _)) = self.upstream().filter(|id| Some(*id) == stable).and_then(|id| defined.get(id))
        else {
            return;
        };
        let (name, rollout) = (&upstream.name, &one.rollout.name);
        let message = format!("stable and the variant of rollout `{rollout}` are both `{name}`: nothing is released");
        let finding = Finding::warning("same-upstream", self.place(), message);
        context.report(finding.help("name an upstream that runs the new revision"));
    }

    /// Warns of an upstream whose deploys nothing distinguishes, once for each upstream.
    fn no_revision(
        &self,
        context: &mut Context<'_>,
        one: &ReadRollout<'_>,
        defined: &DefinedUpstreams<'_>,
        warned: &mut Vec<UpstreamId>,
    ) {
        let Some(id) = self.upstream().filter(|id| !warned.contains(id)) else { return };
        let Some((upstream, at)) = defined.get(id).filter(|(upstream, _)| upstream.revision.is_none()) else { return };
        warned.push(id);
        let (name, rollout) = (&upstream.name, &one.rollout.name);
        let message =
            format!("upstream `{name}` has no `revision`, so nothing shows rollout `{rollout}` its next deploy");
        let help = format!(
            "add `revision = \"…\"`, another one for each deploy; without it, only `pointsman rollout restart {rollout}` \
             begins again at the first stage"
        );
        context.report(Finding::warning("no-revision", at, message).also(one.name_at, "the rollout").help(help));
    }
}
