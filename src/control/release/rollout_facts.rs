//! What is known about a rollout at a step: read from the snapshot, the guards, the journal and the clock.

use super::rollouts::{ActiveRollout, ActiveRollouts, IsUp};
use crate::control::controller::Controller;
use crate::control::gate::{QuestionId, Replied, Reply};
use crate::control::guard::{RouteView, StageSources};
use crate::control::outcome::ReloadOutcome;
use crate::release::{
    CanaryDown, EndpointFacts, FreezeFact, GateAnswer, GateVerdict, HeldCause, KillFacts, RolloutFacts, RolloutPhase,
    RolloutState, StageEvidence, TripAct, effective_weight,
};
use crate::route::{
    Freeze, Gate, KillScope, Require, Requirement, Rollout, RolloutPlan, Rules, VariantId, Weight, frozen,
};
use crate::snapshot::Snapshot;

/// The most endpoints that are named.
const NAMED_MAX: usize = 5;

impl Controller {
    /// What is known about a rollout now. The trips of its guards are taken: the step must be made.
    pub(super) fn take_rollout_facts(
        &mut self,
        snapshot: &Snapshot,
        rollout: &Rollout,
        elapsed_ms: u64,
    ) -> RolloutFacts {
        let facts = self.rollout_facts(snapshot, rollout, elapsed_ms);
        let mut trips = self.release.guards.take_rollout_trips(&rollout.name);
        let active = &mut self.release.rollouts;
        trips.extend(active.queries.judge(rollout, &active.answers, facts.now_ms));
        RolloutFacts { trips, ..facts }
    }

    /// What is known about a rollout now, without trips.
    pub(super) fn rollout_facts(&mut self, snapshot: &Snapshot, rollout: &Rollout, elapsed_ms: u64) -> RolloutFacts {
        let rules = &snapshot.rules;
        let (now_ms, wall) = (self.state.uptime_ms(), self.state.clock.wall());
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let state = self.release.rollouts.get(&rollout.name).map(|one| one.state.clone()).unwrap_or_default();
        let now_in = rollout.plan.find(&state.stage).and_then(|at| rollout.plan.stages.get(at));
        let windows: Vec<&Freeze> = rollout.freeze.iter().chain(&rules.freeze).collect();
        let freeze =
            frozen(&windows, wall_ms).map(|found| FreezeFact { text: found.text.to_owned(), until_ms: found.until_ms });
        let require = now_in.map_or_else(Require::default, |stage| stage.require);
        let evidence = match state.phase {
            RolloutPhase::Running | RolloutPhase::Held(_) => {
                let comparator = &self.state.comparator;
                let sources = StageSources { snapshot, comparator, now_ms };
                self.release.guards.stage_evidence(sources, &rollout.name, &require)
            }
            RolloutPhase::Pending | RolloutPhase::Killed | RolloutPhase::RolledBack(_) | RolloutPhase::Complete => {
                StageEvidence::default()
            }
        };
        let gates = now_in.map_or_else(Vec::new, |stage| {
            let answers = &self.release.rollouts.answers;
            let id = |gate| QuestionId::Gate { rollout: rollout.name.clone(), stage: stage.name.clone(), gate };
            (0..).zip(&stage.gates).map(|(at, gate)| gate_answer(answers.get(&id(at)), gate)).collect()
        });
        RolloutFacts {
            rollout: rollout.name.clone(),
            now_ms,
            wall_ms,
            elapsed_ms,
            revision: rules.revision_of_rollout(rollout),
            stable: rules.stable_revision_of_rollout(rollout),
            trips: Vec::new(),
            kill: self.kills_over(snapshot, rollout),
            endpoints: self.endpoints_of(snapshot, rollout, now_ms),
            freeze,
            expired: rollout.expires_ms.filter(|at| *at <= wall_ms).and(rollout.about.expires.clone()),
            rejected_config: self.rejected_config(),
            journal: self.release.ledger.written().failure,
            tenants: self.release.guards.tenants(&rollout.name),
            unmet: unmet(&self.release.rollouts, rules, &rollout.plan),
            evidence,
            gates,
        }
    }

    /// The endpoints of a rollout. A canary that was down is up when its endpoints have been tried.
    fn endpoints_of(&mut self, snapshot: &Snapshot, rollout: &Rollout, now_ms: u64) -> EndpointFacts {
        let mut facts = endpoints(snapshot, rollout, now_ms);
        let is_up = if facts.down.is_none() && facts.canary_usable { IsUp::Yes } else { IsUp::No };
        if self.release.rollouts.counts_as_down(&rollout.name, is_up, now_ms) && facts.down.is_none() {
            let views = rollout.members.iter().filter_map(|member| {
                let view = RouteView::new(snapshot, member.route)?;
                let act = view.errors_act(member.variant).map(TripAct::from);
                Some(CanaryDown { route: view.name().to_owned(), endpoints: 0, tries: 0, act })
            });
            facts.down = views.into_iter().next();
        }
        facts
    }

    /// What kills cover of a rollout, and what lifts them.
    fn kills_over(&self, snapshot: &Snapshot, rollout: &Rollout) -> KillFacts {
        let facts = kills(snapshot, rollout);
        if !facts.own {
            return facts;
        }
        let named = rollout.members.iter().flat_map(|member| {
            let route = snapshot.rules.route(member.route);
            let variant = route.split().and_then(|split| split.variants.get(usize::from(member.variant.0)));
            let variant =
                variant.map(|one| KillScope::Variant { route: route.name.clone(), variant: one.name.clone() });
            [Some(KillScope::Route(route.name.clone())), variant].into_iter().flatten()
        });
        let scopes = std::iter::once(KillScope::Rollout(rollout.name.clone())).chain(named);
        let killed = scopes.into_iter().find(|scope| self.release.kills.is_killed(scope));
        let (lift, by) =
            (killed.as_ref().map(|scope| self.lift(scope)), killed.as_ref().map(|scope| self.killed_by(scope)));
        KillFacts { lift, by, ..facts }
    }

    /// What was killed, by whom and why, in one line.
    fn killed_by(&self, scope: &KillScope) -> String {
        let kills = &self.release.kills;
        match (kills.killed_by_people(scope), kills.place_in_file(scope)) {
            (Some(record), _) => {
                let why = record.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
                format!("{} has killed {scope}{why}", record.who.name)
            }
            (None, Some(place)) => format!("[kill] at {}:{} covers {scope}", place.file, place.line),
            (None, None) => format!("a kill covers {scope}"),
        }
    }

    /// What lifts the kill of this scope, in one line.
    fn lift(&self, scope: &KillScope) -> String {
        let kills = &self.release.kills;
        if let (Some(place), None) = (kills.place_in_file(scope), kills.killed_by_people(scope)) {
            return format!("remove {scope} from [kill] at {}:{}, and reload", place.file, place.line);
        }
        let named = scope.to_string();
        let (kind, name) = named.split_once(' ').unwrap_or((&named, ""));
        format!("`pointsman revive --{kind} {name} --resume --reason TEXT`")
    }

    /// What is wrong with a newer file that was rejected, in one line.
    fn rejected_config(&self) -> Option<String> {
        let data = self.state.lock();
        let ReloadOutcome::Rejected(rejection) = &data.last.as_ref()?.outcome else { return None };
        rejection.text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }
}

/// What kills cover of a rollout, but for what lifts them.
fn kills(snapshot: &Snapshot, rollout: &Rollout) -> KillFacts {
    let is_killed = |at: usize| {
        let member = rollout.members[at];
        let split = snapshot.overlay.split(member.route);
        let arm = split.arms().get(usize::from(member.variant.0));
        split.is_killed() || arm.is_some_and(|arm| arm.killed)
    };
    KillFacts {
        own: (0..rollout.members.len()).any(is_killed),
        all: snapshot.overlay.kill().all,
        ..KillFacts::default()
    }
}

/// The endpoints of the canaries and of stable, over all routes.
fn endpoints(snapshot: &Snapshot, rollout: &Rollout, now_ms: u64) -> EndpointFacts {
    let views = rollout.members.iter().filter_map(|member| Some((*member, RouteView::new(snapshot, member.route)?)));
    let mut facts = EndpointFacts { has_target: true, canary_usable: true, ..EndpointFacts::default() };
    for (member, view) in views {
        facts.has_target &= view.is_usable(VariantId::STABLE);
        facts.canary_usable &= view.is_usable(member.variant);
        facts.ejected.extend(view.troubled(member.variant, now_ms));
        if facts.stable_trouble.is_none() {
            facts.stable_trouble = view.stable_trouble(now_ms);
        }
        if facts.down.is_none()
            && let Some(down) = view.down(member.variant)
        {
            let act = view.errors_act(member.variant).map(TripAct::from);
            let route = view.name().to_owned();
            facts.down = Some(CanaryDown { route, endpoints: down.endpoints, tries: down.tries, act });
        }
    }
    facts.ejected.sort_unstable();
    facts.ejected.dedup();
    facts.ejected.truncate(NAMED_MAX);
    facts
}

/// The requirements of a plan that are not met, each in one line.
fn unmet(rollouts: &ActiveRollouts, rules: &Rules, plan: &RolloutPlan) -> Vec<String> {
    let one = |requirement: &Requirement| {
        let Requirement { rollout, stage } = requirement;
        let Some(id) = rules.find_rollout(rollout) else { return Some(format!("there is no rollout {rollout}")) };
        let other = &rules.rollout(id).plan;
        let state = rollouts.get(rollout).map(|one: &ActiveRollout| &one.state);
        let Some(state) = state else { return Some(format!("{rollout} has not begun, {stage} is required")) };
        let is_met = reached(other, state).is_some_and(|at| Some(at) >= other.find(stage));
        (!is_met).then(|| match &state.phase {
            RolloutPhase::Running | RolloutPhase::Complete => {
                format!("{rollout} is at stage {}, {stage} is required", state.stage)
            }
            RolloutPhase::Pending | RolloutPhase::Held(_) | RolloutPhase::Killed | RolloutPhase::RolledBack(_) => {
                format!("{rollout} is {}, stage {stage} of it is required", state.phase.name().replace('_', " "))
            }
        })
    };
    plan.requires.iter().filter_map(one).collect()
}

/// The index of the stage that a rollout has reached, while its canaries get requests.
fn reached(plan: &RolloutPlan, state: &RolloutState) -> Option<usize> {
    let serves = match &state.phase {
        RolloutPhase::Running | RolloutPhase::Complete => true,
        RolloutPhase::Held(held) => !held.cause.is_at_zero() && held.cause != HeldCause::NoRollbackTarget,
        RolloutPhase::Pending | RolloutPhase::Killed | RolloutPhase::RolledBack(_) => false,
    };
    let at = plan.find(&state.stage).filter(|_| serves && !state.passed.is_empty())?;
    let is_dark = plan.stages.get(at).is_some_and(|stage| stage.weight == 0);
    (is_dark || effective_weight(plan, state) > Weight::ZERO).then_some(at)
}

/// The last answer of a gate.
fn gate_answer(replied: Option<&Replied>, gate: &Gate) -> GateAnswer {
    let Some(Replied { reply, asked_ms, .. }) = replied else {
        return GateAnswer { verdict: GateVerdict::NotAsked, sentence: "it was not asked yet".to_owned(), asked_ms: 0 };
    };
    let (verdict, sentence) = match (reply, gate) {
        (Reply::Failed(why), _) => (GateVerdict::Failed, why.clone()),
        (Reply::Webhook { pass, reason }, _) => {
            (if *pass { GateVerdict::Pass } else { GateVerdict::Block }, reason.clone())
        }
        (Reply::Value(value), Gate::Prometheus { max, min, .. }) => {
            let is_low = min.is_some_and(|min| *value < min);
            let is_high = max.is_some_and(|max| *value > max);
            let verdict = if is_low || is_high { GateVerdict::Block } else { GateVerdict::Pass };
            (verdict, bounds(*value, *min, *max))
        }
        (Reply::Value(value), Gate::Webhook { .. }) => (GateVerdict::Failed, format!("an unexpected value: {value}")),
    };
    GateAnswer { verdict, sentence, asked_ms: *asked_ms }
}

fn bounds(value: f64, min: Option<f64>, max: Option<f64>) -> String {
    let least = min.map(|min| format!(", at least {min}")).unwrap_or_default();
    let most = max.map(|max| format!(", at most {max}")).unwrap_or_default();
    format!("the value is {value}{least}{most}")
}
