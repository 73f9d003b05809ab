//! What an edit changes in rollouts, for people.

use super::upstream_difference::differing;
use crate::route::{Guards, QueryGuard, Rollout, RolloutNotes, RolloutPlan, Stage};

/// A line for each rollout that is new or removed, and for each change of the others.
pub(super) fn changes(old: &[Rollout], new: &[Rollout]) -> Vec<String> {
    let find = |all: &[Rollout], name: &str| all.iter().position(|one| one.name == name);
    let mut words = Vec::new();
    for one in new {
        match find(old, &one.name) {
            None => words.push(format!("rollout {} added with {}", one.name, stages(&one.plan))),
            Some(at) => {
                let changed = rollout(&old[at], one);
                words.extend(changed.into_iter().map(|change| format!("rollout {} {change}", one.name)));
            }
        }
    }
    let removed = old.iter().filter(|one| find(new, &one.name).is_none());
    words.extend(removed.map(|one| format!("rollout {} removed", one.name)));
    words
}

/// The stages of a plan in short: `stages dark 0, beta 10`.
fn stages(plan: &RolloutPlan) -> String {
    let each: Vec<String> = plan.stages.iter().map(|stage| format!("{} {}", stage.name, stage.weight())).collect();
    format!("stages {}", each.join(", "))
}

/// The changes of a rollout that both files have.
fn rollout(old: &Rollout, new: &Rollout) -> Vec<String> {
    // All fields by name, so that a new one cannot be forgotten. What is masked in the plan is compared by its target.
    let Rollout {
        name: _,
        place: _,
        plan,
        approvers,
        freeze,
        expires_ms,
        guards,
        by_route,
        queries,
        webhooks,
        notify,
        members: _,
        about,
    } = old;
    let mut words = plan_changes(plan, &new.plan);
    if *expires_ms != new.expires_ms {
        let shown = |about: &RolloutNotes| about.expires.clone().unwrap_or_else(|| "never".to_owned());
        words.push(format!("expires {} → {}", shown(about), shown(&new.about)));
    }
    let same_urls = webhooks == &new.webhooks || plan.stages != new.plan.stages;
    words.extend(each_differing(&[
        ("approvers", *approvers == new.approvers),
        ("freeze", *freeze == new.freeze),
        ("webhooks", same_urls),
        ("notify", *notify == new.notify),
    ]));
    words.extend(guard_changes([guards, &new.guards]));
    words.extend(each_differing(&[("scope of guards", *by_route == new.by_route)]));
    words.extend(query_changes([queries, &new.queries]));
    let RolloutNotes { owner, ticket, zone, expires: _, visible, breaking, reversible, data, rehearsal } = about;
    let now = &new.about;
    let change = (visible, breaking, reversible, data) == (&now.visible, &now.breaking, &now.reversible, &now.data);
    words.extend(each_differing(&[
        ("owner", *owner == now.owner),
        ("ticket", *ticket == now.ticket),
        ("zone", *zone == now.zone),
        ("change", change),
        ("rehearsal", *rehearsal == now.rehearsal),
    ]));
    words
}

fn each_differing(all: &[(&str, bool)]) -> Vec<String> {
    all.iter().filter(|(_, same)| !same).map(|(what, _)| format!("{what} changed")).collect()
}

/// The changes of what a step of the state machine reads.
fn plan_changes(old: &RolloutPlan, new: &RolloutPlan) -> Vec<String> {
    let RolloutPlan {
        stages,
        max_weight,
        max_tenants,
        requires,
        rollback_over_ms,
        on_inconclusive,
        on_no_traffic,
        same_person,
    } = old;
    let mut words = Vec::new();
    if *max_weight != new.max_weight {
        words.push(format!("max_weight {} → {}", old.ceiling(), new.ceiling()));
    }
    for stage in &new.stages {
        match stages.iter().find(|known| known.name == stage.name) {
            None => words.push(format!("stage {} added at {}", stage.name, stage.weight())),
            Some(known) => words.extend(stage_changes(known, stage)),
        }
    }
    let is_gone = |known: &&Stage| new.find(&known.name).is_none();
    words.extend(stages.iter().filter(is_gone).map(|gone| format!("stage {} removed", gone.name)));
    let names = |all: &[Stage], other: &RolloutPlan| -> Vec<String> {
        all.iter().filter(|stage| other.find(&stage.name).is_some()).map(|stage| stage.name.clone()).collect()
    };
    words.extend(each_differing(&[
        ("order of stages", names(stages, new) == names(&new.stages, old)),
        ("max_tenants", *max_tenants == new.max_tenants),
        ("requires", *requires == new.requires),
        ("on_rollback", *rollback_over_ms == new.rollback_over_ms),
        ("on_inconclusive", *on_inconclusive == new.on_inconclusive),
        ("on_no_traffic", *on_no_traffic == new.on_no_traffic),
        ("same_person", *same_person == new.same_person),
    ]));
    words
}

fn stage_changes(old: &Stage, new: &Stage) -> Vec<String> {
    let Stage {
        name,
        weight,
        ramp_ms,
        not_before_ms,
        min_duration_ms,
        min_requests,
        min_keys,
        require,
        gates,
        approve,
        control,
    } = old;
    let mut words = Vec::new();
    if *weight != new.weight {
        words.push(format!("stage {name} {} → {}", old.weight(), new.weight()));
    }
    let same = [
        ("ramp", *ramp_ms == new.ramp_ms),
        ("not_before", *not_before_ms == new.not_before_ms),
        ("min_duration", *min_duration_ms == new.min_duration_ms),
        ("min_requests", *min_requests == new.min_requests),
        ("min_keys", *min_keys == new.min_keys),
        ("require", *require == new.require),
        ("gates", *gates == new.gates),
        ("approve", *approve == new.approve),
        ("control", *control == new.control),
    ];
    words.extend(differing(&format!("stage {name} "), &same));
    words
}

fn guard_changes([old, new]: [&Guards; 2]) -> Vec<String> {
    let mut words = Vec::new();
    for guard in &new.all {
        let now = new.describe(guard);
        match old.all.iter().find(|known| known.name == guard.name).map(|known| old.describe(known)) {
            None => words.push(format!("guard {} added: {now}", guard.name)),
            Some(before) if before != now => words.push(format!("guard {} {before} → {now}", guard.name)),
            Some(_) => {}
        }
    }
    let is_gone = |name: &str| new.all.iter().all(|guard| guard.name != name);
    let gone = old.all.iter().filter(|known| is_gone(&known.name));
    words.extend(gone.map(|gone| format!("guard {} removed", gone.name)));
    words
}

fn query_changes([old, new]: [&[QueryGuard]; 2]) -> Vec<String> {
    let mut words = Vec::new();
    for guard in new {
        let QueryGuard { name, place: _, query, above, hold_for, every, act } = guard;
        let Some(known) = old.iter().find(|known| known.name == *name) else {
            words.push(format!("guard {name} added: above {above} for {hold_for:?}, act {}", act.name()));
            continue;
        };
        let same = [
            ("query", known.query == *query),
            ("above", known.above.to_bits() == above.to_bits()),
            ("for", known.hold_for == *hold_for),
            ("every", known.every == *every),
            ("act", known.act == *act),
        ];
        words.extend(differing(&format!("guard {name} "), &same));
    }
    let is_gone = |known: &&QueryGuard| new.iter().all(|guard| guard.name != known.name);
    words.extend(old.iter().filter(is_gone).map(|gone| format!("guard {} removed", gone.name)));
    words
}
