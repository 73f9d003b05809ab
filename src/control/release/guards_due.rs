//! A tick of the guards: reads what they count, judges it, and does what follows.

use std::sync::Arc;

use crate::control::controller::Controller;
use crate::control::guard::{RouteTick, RouteView};
use crate::control::health::Tried;
use crate::drain::Phase;
use crate::release::{GuardTrip, ReleaseFacts, ReleasePhase};
use crate::route::{UpstreamId, VariantId};
use crate::telemetry;

impl Controller {
    /// Judges what guards have counted since the last tick.
    pub(super) fn judge_releases(&mut self) {
        if !self.decides_about_rollouts() {
            self.end_falls();
        }
        // After a hand-over the other process judges, also for this one. If the hand-over fails, this one judges again.
        if self.is_successor_serving() || self.is_passing_journal() || self.shutdown.phase() >= Phase::Forced {
            self.state.release.begin_judging();
            return;
        }
        let now_ms = self.state.uptime_ms();
        let registry = Arc::clone(&self.state.counts.registry);
        let ticked = self.release.guards.tick(&registry.guard_memory, now_ms);
        let (mut tried, mut is_changed) = (Vec::new(), false);
        for RouteTick { at, trips } in &ticked {
            let before = tried.len();
            is_changed |= self.judge_route(*at, trips, &mut tried);
            if tried.len() > before {
                self.release.guards.follow_closely(*at);
            }
        }
        self.release.unshown.extend(ticked.iter().map(|tick| tick.at));
        is_changed |= self.step_rollouts();
        tried.extend(self.rollouts_to_try(&self.store.load()));
        let held = self.held_canaries(&self.store.load());
        if self.release.guards.is_active() {
            self.state.release.begin_settling();
        } else {
            self.state.release.end_settling();
        }
        if is_changed || !tried.is_empty() || !held.is_empty() {
            self.state.release.begin_judging();
        } else {
            self.state.release.end_judging();
        }
        if self.release.schedule.are_tries_due(now_ms) {
            self.try_upstreams(&tried, Tried::Unconnected);
            self.try_upstreams(&held, Tried::All);
        }
        if self.release.schedule.is_show_due(now_ms) || is_changed {
            let (recorder, memory) = (&self.state.counts.recorder, &registry.guard_memory);
            let refused = memory.seen.refused() + memory.first_keys.refused() + memory.marks.refused();
            telemetry::guards::set_events_lost(recorder, memory.events.lost());
            telemetry::guards::count_late_events(recorder, self.release.guards.take_late_events());
            telemetry::guards::set_tables_refused(recorder, u64::try_from(refused).unwrap_or(u64::MAX));
            let unshown = std::mem::take(&mut self.release.unshown);
            self.show_releases(unshown.into_iter());
            self.show_rollouts();
        }
        if self.release.schedule.is_save_due(now_ms) {
            self.save_evidence();
        }
    }

    /// Gives the evidence to the journal's thread, if it has changed: it outlives the process.
    pub(in crate::control) fn save_evidence(&mut self) {
        if let Some(evidence) = self.release.save_progress() {
            self.release.ledger.save_evidence(evidence);
        }
    }

    /// Judges the releases of a route; returns whether the state of one has changed. `tried` gets the upstreams whose
    /// endpoints are to be tried.
    fn judge_route(&mut self, at: usize, trips: &[GuardTrip], tried: &mut Vec<UpstreamId>) -> bool {
        let mut is_changed = false;
        for index in 0..self.release.guards.routes().get(at).map_or(0, |route| route.releases.len()) {
            let snapshot = self.store.load();
            let Some(route) = self.release.guards.routes().get(at) else { continue };
            let (Some(release), Some(view)) = (route.releases.get(index), RouteView::new(&snapshot, route.id)) else {
                continue;
            };
            let (variant, arm) = (release.variant, usize::from(release.variant.0));
            let own: Vec<GuardTrip> = trips.iter().filter(|trip| trip.arm == arm).cloned().collect();
            let error_guards = view.error_guards(variant);
            let facts = ReleaseFacts {
                arm,
                now_ms: self.state.uptime_ms(),
                trips: &own,
                serves: view.serves(variant),
                is_latched: self.release.latches.latch(&release.key).is_some(),
                has_target: view.is_usable(VariantId::STABLE),
                down: view.down(variant),
                errors: view.errors_act(variant),
                error_guards: &error_guards,
            };
            let (course, decisions) = release.course.step(&facts);
            let may_be_down = facts.down.is_some() && facts.errors.is_some() && facts.serves;
            if course.phase() == ReleasePhase::Down || (may_be_down && !facts.is_latched) {
                tried.extend(view.upstream(variant));
            }
            if course.phase() == ReleasePhase::NoTarget || (course.phase() == ReleasePhase::Down && !facts.has_target) {
                tried.extend(view.upstream(VariantId::STABLE));
            }
            is_changed |= course.phase() != release.course.phase() || !decisions.is_empty();
            if let Some(release) = self.release.guards.route_mut(at).and_then(|route| route.releases.get_mut(index)) {
                release.course = course;
            }
            for decision in decisions {
                self.follow_decision(ReleasePlace { at, index }, decision);
            }
        }
        is_changed
    }
}

/// A release among those that guards watch.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReleasePlace {
    /// The index of its route.
    pub at: usize,
    /// Its index in the route.
    pub index: usize,
}
