//! What stands in the way: the conditions under which a stage is left, and the checks before a weight is raised.

use super::decision::{Block, BlockKind};
use super::evidence_blocks::{evidence, gates, requests, shadow};
use super::state::{HeldCause, Regain, RolloutPhase};
use super::view::{Ahead, View};
use super::weight::top;
use super::words::{names, percent, span};
use crate::release::sentence::grouped;
use crate::route::Stage;

/// What stands in the way of going on, the first one first.
pub(super) fn blocks(view: View<'_>) -> Vec<Block> {
    let stopped = match &view.state.phase {
        RolloutPhase::Pending | RolloutPhase::Running => None,
        RolloutPhase::Complete => return Vec::new(),
        RolloutPhase::Held(_) | RolloutPhase::Killed | RolloutPhase::RolledBack(_) => Some(stopped(view)),
    };
    match stopped {
        Some(block) => vec![block],
        None => all_before(view, view.ahead()),
    }
}

/// All that must be over before a rollout goes there, approvals last.
pub(super) fn all_before(view: View<'_>, ahead: Ahead) -> Vec<Block> {
    let mut found = but_approvals(view, ahead);
    if let (Ahead::Enter(_) | Ahead::Complete, Some(at)) = (ahead, view.at().filter(|_| view.has_entered())) {
        found.extend(approvals(view, at));
    }
    found
}

/// The same without approvals.
pub(super) fn but_approvals(view: View<'_>, ahead: Ahead) -> Vec<Block> {
    let mut found = pauses(view);
    let stage = view.stage().filter(|_| view.has_entered());
    match (ahead, stage) {
        (Ahead::Enter(next), left) => {
            found.extend(left.map(|stage| exit(view, stage)).unwrap_or_default());
            if let Some(next) = view.plan.stages.get(next) {
                found.extend(not_before(view, next));
                found.extend(checks(view, ceiling(view, next)));
            }
        }
        (Ahead::Regain, Some(stage)) => {
            if needs_gates(view, stage) {
                found.extend(if view.state.reached > 0 { exit(view, stage) } else { exit_at_zero(view, stage) });
            }
            found.extend(checks(view, None));
        }
        (Ahead::Ramp, Some(stage)) => {
            found.extend(ramp(view));
            found.extend(checks(view, ramp_ceiling(view, stage)));
        }
        (Ahead::Complete, Some(stage)) => {
            found.extend(exit(view, stage));
            found.extend(ceiling(view, stage));
            found.extend(journal(view));
        }
        (Ahead::Regain | Ahead::Ramp | Ahead::Complete, None) => {}
    }
    found
}

/// What pauses a ramp: all but the ramp itself.
pub(super) fn pauses_ramp(view: View<'_>) -> bool {
    let stage = view.stage().filter(|_| pauses(view).is_empty());
    stage.is_none_or(|stage| !checks(view, ramp_ceiling(view, stage)).is_empty())
}

/// The ceiling is below the end of the ramp.
fn ramp_ceiling(view: View<'_>, stage: &Stage) -> Option<Block> {
    ceiling(view, stage).filter(|_| view.state.ramp.is_some_and(|ramp| ramp.to > view.plan.max_weight))
}

/// Whether the weight of a stage is regained only when its gates let it go: it was lowered by an edit and raised again,
/// or the stage has more weight than when it was entered.
fn needs_gates(view: View<'_>, stage: &Stage) -> bool {
    let entered_with = view.state.passed.last().map_or(0, |passed| passed.weight);
    view.state.regain == Regain::Gates || entered_with < stage.weight
}

/// `require` or `min_requests` is unmet: what is missing.
pub(super) fn too_little(view: View<'_>) -> Option<String> {
    let stage = view.stage()?;
    let missing = requests(view, stage).or_else(|| evidence(view, stage)).or_else(|| shadow(view, stage));
    missing.map(|block| block.says)
}

/// What stops every raise, first of all.
fn pauses(view: View<'_>) -> Vec<Block> {
    let mut found = Vec::new();
    if view.facts.kill.all {
        let says = "everything is killed: the time of the stage stands still";
        found.push(Block::new(BlockKind::Stopped, says, "`pointsman revive --all --reason TEXT`"));
    }
    if let Some(clock) = view.state.clock.filter(|clock| clock.wait_ms > 0) {
        let (jump, rest) = (span(clock.jump_ms), span(clock.wait_ms));
        let says = format!("the clock of this machine has jumped by {jump}: nothing is raised for a while");
        let block = Block::new(
            BlockKind::Stopped,
            says,
            format!("it ends by itself in {rest}; compare the time of the machine"),
        );
        found.push(block.until(view.facts.wall_ms.saturating_add(clock.wait_ms)));
    }
    if let Some(freeze) = &view.facts.freeze {
        let rest = freeze.until_ms.saturating_sub(view.facts.wall_ms);
        let block = Block::new(
            BlockKind::Freeze,
            format!("the freeze window `{}` is in force", freeze.text),
            format!("it ends by itself in {}", span(rest)),
        );
        found.push(block.until(freeze.until_ms));
    }
    found
}

/// The same at 0, where no request comes: without those that count requests.
fn exit_at_zero(view: View<'_>, stage: &Stage) -> Vec<Block> {
    let mut found = Vec::new();
    found.extend(duration(view, stage));
    found.extend(shadow(view, stage));
    found.extend(gates(view, stage));
    found
}

/// The conditions under which a stage is left, but for approvals.
fn exit(view: View<'_>, stage: &Stage) -> Vec<Block> {
    let mut found = Vec::new();
    found.extend(duration(view, stage));
    found.extend(requests(view, stage));
    found.extend(evidence(view, stage));
    found.extend(shadow(view, stage));
    found.extend(gates(view, stage));
    found
}

/// The moment, in milliseconds since the Unix epoch, after so much more running time; a freeze window comes before it.
fn moment(view: View<'_>, rest_ms: u64) -> u64 {
    let from = view.facts.freeze.as_ref().map_or(view.facts.wall_ms, |freeze| freeze.until_ms);
    from.saturating_add(rest_ms)
}

fn duration(view: View<'_>, stage: &Stage) -> Option<Block> {
    let run = view.state.progress.run_ms;
    let rest = stage.min_duration_ms.checked_sub(run).filter(|rest| *rest > 0)?;
    let says = format!("{} of {} in stage `{}`", span(run), span(stage.min_duration_ms), stage.name);
    let block = Block::new(BlockKind::Duration, says, format!("{} more of running time", span(rest)));
    Some(block.until(moment(view, rest)))
}

fn ramp(view: View<'_>) -> Option<Block> {
    let ramp = view.state.ramp?;
    let rest = ramp.over_ms.saturating_sub(ramp.run_ms);
    let says = format!(
        "the ramp is at {} of {}, after {} of {}",
        percent(view.state.reached),
        percent(ramp.to),
        span(ramp.run_ms),
        span(ramp.over_ms)
    );
    let block = Block::new(BlockKind::Duration, says, format!("{} more of running time", span(rest)));
    Some(block.until(moment(view, rest)))
}

fn not_before(view: View<'_>, next: &Stage) -> Option<Block> {
    let moment = next.not_before_ms.filter(|moment| *moment > view.facts.wall_ms)?;
    let rest = span(moment - view.facts.wall_ms);
    let says = format!("stage `{}` has a `not_before` that comes in {rest}", next.name);
    Some(Block::new(BlockKind::NotBefore, says, format!("it comes by itself in {rest}")).until(moment))
}

/// The checks before a weight is raised, with what the ceiling says.
fn checks(view: View<'_>, ceiling: Option<Block>) -> Vec<Block> {
    let facts = view.facts;
    let mut found = Vec::new();
    if let Some(expired) = &facts.expired {
        let says = format!("the plan has expired: `expires = {expired}`");
        found.push(Block::new(BlockKind::Expired, says, "a later `expires` in the file"));
    }
    found.extend(tenants(view));
    found.extend(ceiling);
    if !facts.unmet.is_empty() {
        let says = format!("a requirement is not met: {}", names(&facts.unmet));
        found.push(Block::new(BlockKind::Requires, says, "it ends by itself when the other rollout reaches the stage"));
    }
    found.extend(endpoints(view));
    found.extend(stable(view));
    if let Some(what) = &facts.rejected_config {
        let says = format!("a newer file is rejected: {what}");
        found.push(Block::new(
            BlockKind::Config,
            says,
            "mend the file, then `pointsman reload`: its answer says what is wrong",
        ));
    }
    found.extend(journal(view));
    found
}

fn tenants(view: View<'_>) -> Option<Block> {
    let (bound, seen) = (view.plan.max_tenants?, view.facts.tenants?);
    let says = || format!("about {} tenants were exposed, `max_tenants` is {}", grouped(seen), grouped(bound));
    (seen >= bound).then(|| Block::new(BlockKind::Tenants, says(), "a larger `max_tenants` in the file"))
}

/// The ceiling is below the weight of a stage.
fn ceiling(view: View<'_>, to: &Stage) -> Option<Block> {
    (view.plan.max_weight < top(to)).then(|| {
        let (ceiling, weight) = (percent(view.plan.max_weight), percent(to.weight));
        let says = format!("`max_weight` is {ceiling}, stage `{}` has {weight}", to.name);
        Block::new(BlockKind::MaxWeight, says, format!("a `max_weight` of at least {weight} in the file"))
    })
}

fn endpoints(view: View<'_>) -> Option<Block> {
    let endpoints = &view.facts.endpoints;
    if !endpoints.canary_usable {
        let says = "the canary has no usable endpoint";
        return Some(Block::new(BlockKind::Endpoints, says, "an endpoint of the canary that accepts requests"));
    }
    if let Some(down) = &endpoints.down {
        let says = format!("no endpoint of the canary on route `{}` accepts connections", down.route);
        return Some(Block::new(BlockKind::Endpoints, says, "an endpoint of the canary that accepts connections"));
    }
    (!endpoints.ejected.is_empty()).then(|| {
        let says = format!("endpoints of the canary are ejected, unhealthy or fail: {}", names(&endpoints.ejected));
        Block::new(BlockKind::Endpoints, says, "they answer again, or leave the file")
    })
}

fn stable(view: View<'_>) -> Option<Block> {
    let endpoints = &view.facts.endpoints;
    let unblock = "stable answers again: it is the target of a rollback";
    if !endpoints.has_target {
        return Some(Block::new(BlockKind::Stable, "stable has no usable endpoint", unblock));
    }
    endpoints.stable_trouble.as_ref().map(|trouble| {
        let says = format!("stable is in trouble: {trouble}");
        Block::new(BlockKind::Stable, says, unblock)
    })
}

pub(super) fn journal(view: View<'_>) -> Option<Block> {
    view.facts.journal.as_ref().map(|because| {
        let says = format!("the journal cannot be written: {because}");
        Block::new(BlockKind::Journal, says, "a writable `[state] dir`")
    })
}

/// The approvals that a stage waits for.
pub(super) fn approvals(view: View<'_>, at: usize) -> Option<Block> {
    let (awaited, stage) = (view.awaited(at), view.plan.stages.get(at)?);
    (!awaited.is_empty()).then(|| {
        let given = stage.approve.len() - awaited.len();
        let roles = awaited.join(", ");
        let says = format!("it awaits the approval of {roles}: {given} of {} given", stage.approve.len());
        let name = &view.facts.rollout;
        Block::new(BlockKind::Approval, says, format!("`pointsman rollout approve {name} --as ROLE`, as {roles}"))
    })
}

/// Why it does not go on while it is held, killed or rolled back, and what a person does.
fn stopped(view: View<'_>) -> Block {
    let name = &view.facts.rollout;
    let resume = format!("`pointsman rollout resume {name} --reason TEXT`");
    match &view.state.phase {
        RolloutPhase::RolledBack(back) => {
            let upstreams = revised(&view.state.revision);
            let unblock = if upstreams.is_empty() {
                format!("{resume}: no upstream of the canaries has a `revision` by which another deploy is known")
            } else {
                format!("another `revision` of upstream {}, or {resume}", upstreams.join(", "))
            };
            let says = format!("rolled back by {}: {}", back.by, back.sentence);
            Block::new(BlockKind::Stopped, says, unblock)
        }
        RolloutPhase::Held(held) => {
            let says = format!("held ({}): {}", held.cause.name(), held.sentence);
            Block::new(BlockKind::Stopped, says, unhold(view, held.cause, &resume))
        }
        RolloutPhase::Killed => {
            let unblock = match &view.facts.kill.lift {
                Some(lift) => lift.clone(),
                None => format!("`pointsman revive --rollout {name} --resume --reason TEXT`"),
            };
            Block::new(BlockKind::Stopped, view.facts.kill.says(), unblock)
        }
        RolloutPhase::Pending | RolloutPhase::Running | RolloutPhase::Complete => {
            Block::new(BlockKind::Stopped, "", "")
        }
    }
}

/// The upstreams of a revision that say which deploy they are.
fn revised(revision: &str) -> Vec<&str> {
    revision.split(',').filter_map(|one| one.split_once('=')).map(|(upstream, _)| upstream).collect()
}

/// What ends a hold.
fn unhold(view: View<'_>, cause: HeldCause, resume: &str) -> String {
    let name = &view.facts.rollout;
    let restart = format!("`pointsman rollout restart {name} --reason TEXT`");
    match cause {
        HeldCause::Person
        | HeldCause::Guard
        | HeldCause::Revived
        | HeldCause::StableChanged
        | HeldCause::Inconclusive
        | HeldCause::NoTraffic => resume.to_owned(),
        HeldCause::CanaryDown => "it ends by itself when an endpoint of the canary accepts connections".to_owned(),
        HeldCause::NoRollbackTarget => {
            format!("it is rolled back as soon as stable has a usable endpoint; or {resume}")
        }
        HeldCause::Requires => "it ends by itself when the other rollout reaches the stage".to_owned(),
        HeldCause::PlanChanged => {
            format!("`pointsman rollout goto {name} STAGE --reason TEXT` with a stage of the plan, or {restart}")
        }
        HeldCause::Damaged => {
            format!("{resume}, `pointsman rollout goto {name} STAGE --reason TEXT`, or {restart}")
        }
    }
}
