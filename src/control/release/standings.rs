//! How releases stand, for the admin listener.

use std::collections::HashSet;
use std::sync::Arc;

use super::release_state::Release;
use crate::control::controller::Controller;
use crate::control::guard::{Followed, FollowedRoutes, KeptRelease, KeptRoute, RouteView};
use crate::journal::{Deed, Record};
use crate::release::{HoldCause, ReleasePhase, ReleaseStanding, ReleaseState, Rollback};
use crate::route::Rules;
use crate::snapshot::Snapshot;
use crate::telemetry;

impl Controller {
    /// Shows all releases: after a start, a reload, and latches of another process.
    pub(in crate::control) fn show_all_releases(&mut self) {
        let snapshot = self.store.load();
        let durable_seq = self.release.ledger.written().durable_seq;
        let kept = self.release.guards.routes().iter();
        let mut all: Vec<ReleaseStanding> =
            kept.flat_map(|route| self.of_route(&snapshot, route, durable_seq)).collect();
        let known: HashSet<String> = all.iter().map(ReleaseStanding::name).collect();
        // A latch holds where no guard watches any more.
        let latched = self.release.latches.in_force(&snapshot.rules).filter_map(|(stopped, record)| {
            let route = snapshot.rules.route(stopped.route);
            let variant = route.split()?.variants.get(usize::from(stopped.variant.0))?;
            Some(ReleaseStanding {
                route: route.name.clone(),
                variant: variant.name.clone(),
                revision: snapshot.rules.revision_of(variant),
                weight: RouteView::new(&snapshot, stopped.route).map_or(0.0, |view| view.percent(stopped.variant)),
                state: rolled_back(record, durable_seq),
                guards: Vec::new(),
            })
        });
        all.extend(latched.filter(|one| !known.contains(&one.name())));
        self.state.release.set_releases(all);
        self.show_rollouts();
        let count = self.release.latches.in_force(&snapshot.rules).count();
        telemetry::guards::set_latches(&self.state.counts.recorder, count);
    }

    /// Shows the releases of these routes.
    pub(super) fn show_releases(&mut self, routes: impl Iterator<Item = usize>) {
        let snapshot = self.store.load();
        let durable_seq = self.release.ledger.written().durable_seq;
        let kept = routes.filter_map(|at| self.release.guards.routes().get(at));
        let shown = kept.flat_map(|route| self.of_route(&snapshot, route, durable_seq)).collect();
        self.state.release.update_releases(shown);
        let count = self.release.latches.in_force(&snapshot.rules).count();
        telemetry::guards::set_latches(&self.state.counts.recorder, count);
    }

    /// Shows these releases no longer.
    fn end_releases(&self, ended: &[String]) {
        if ended.is_empty() {
            return;
        }
        self.state.release.remove_releases(ended);
        let ended: HashSet<&str> = ended.iter().map(String::as_str).collect();
        let is_ended = |name: &str| ended.contains(name);
        let recorder = &self.state.counts.recorder;
        telemetry::guards::retain(recorder, |guard| !is_ended(&format!("{}:{}", guard.route, guard.variant)));
    }

    fn of_route(&self, snapshot: &Snapshot, route: &KeptRoute, durable_seq: u64) -> Vec<ReleaseStanding> {
        let Some(view) = RouteView::new(snapshot, route.id) else { return Vec::new() };
        let one = |release: &KeptRelease| {
            let (_, variant) = release.key.release.split_once(':')?;
            Some(ReleaseStanding {
                route: route.name.clone(),
                variant: variant.to_owned(),
                revision: release.key.revision.clone(),
                weight: view.percent(release.variant),
                state: self.release.state_of(release, durable_seq),
                guards: self.release.guards.guards(route, release.variant),
            })
        };
        route.releases.iter().filter_map(one).collect()
    }

    /// Guards follow the configuration in effect.
    pub(in crate::control) fn follow_guards(&mut self) {
        let snapshot = self.store.load();
        let followed = self.release.guards.follow(&snapshot, self.state.uptime_ms());
        // The indexes of routes may be others.
        self.release.unshown = self.release.guards.active_routes().collect();
        if let Followed::Few(FollowedRoutes { routes, ended }) = followed
            && self.release.latches.records().next().is_none()
        {
            self.end_releases(&ended);
            self.show_releases(routes.into_iter());
            self.show_rollouts();
            return;
        }
        let routes = self.release.guards.routes().iter();
        let names: HashSet<&str> =
            routes.flat_map(|route| route.releases.iter().map(|release| release.key.release.as_str())).collect();
        let staged: HashSet<String> =
            self.state.release.rollouts().into_iter().flat_map(|rollout| rollout.variants).collect();
        telemetry::guards::retain(&self.state.counts.recorder, |guard| {
            let name = format!("{}:{}", guard.route, guard.variant);
            names.contains(name.as_str()) || staged.contains(&name)
        });
        self.show_all_releases();
    }

    /// Guards follow the shares of the overlay in effect.
    pub(in crate::control) fn follow_shares(&mut self) {
        self.release.guards.follow_shares(&self.store.load(), self.state.uptime_ms());
    }
}

impl Release {
    fn state_of(&self, release: &KeptRelease, durable_seq: u64) -> ReleaseState {
        if let Some(latch) = self.latches.latch(&release.key) {
            return rolled_back(latch, durable_seq);
        }
        let warned = || release.warning.clone().map_or(ReleaseState::Watching, ReleaseState::Warned);
        match release.course.phase() {
            ReleasePhase::Down => ReleaseState::Held(HoldCause::CanaryDown),
            ReleasePhase::NoTarget => release
                .waits
                .clone()
                .map_or_else(warned, |waits| ReleaseState::Held(HoldCause::NoRollbackTarget(waits))),
            ReleasePhase::Warned => warned(),
            ReleasePhase::Watching | ReleasePhase::RolledBack => ReleaseState::Watching,
        }
    }

    /// A line for each latch that holds under these rules although the file gives the variant a weight.
    pub(in crate::control) fn latched_words(&self, rules: &Rules) -> Vec<String> {
        let word = |record: &Arc<Record>| {
            let Deed::Release(deed) = &record.what else { return None };
            Some(format!(
                "{} stays at 0: {} has rolled back revision {} (record {}); `pointsman rollout resume {}` ends that",
                deed.release, record.who.name, deed.revision, record.seq, deed.release
            ))
        };
        self.latches.in_force(rules).filter_map(|(_, record)| word(record)).collect()
    }
}

fn rolled_back(latch: &Record, durable_seq: u64) -> ReleaseState {
    let sentence = match &latch.what {
        Deed::Release(deed) => deed.sentence().unwrap_or_default().to_owned(),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Kill { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Rollout(_)
        | Deed::Checkpoint { .. } => String::new(),
    };
    let seq = Some(latch.seq).filter(|seq| *seq > 0);
    let durable = seq.is_some_and(|seq| seq <= durable_seq);
    ReleaseState::RolledBack(Rollback { by: latch.who.name.clone(), sentence, at: latch.at.clone(), seq, durable })
}
