//! What changes the evidence beside callers: shares, a new configuration, stages, and what begins anew.

use super::facts::{ArmFacts, Opening};
use super::judged_group::{JudgedArm, JudgedGroup, JudgedRoute};
use super::promotion_evidence::PromotionPlan;
use super::release_evidence::{ReleaseEvidence, WARM_UP_MS};
use super::route_evidence::{Marks, RouteEvidence};
use super::slow_thresholds::SlowThresholds;
use crate::route::Guards;
use crate::stats::{WindowNumber, WindowShape};

impl RouteEvidence {
    /// The time of what follows: a route without traffic has no ticks.
    pub fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Follows a new configuration of a route alone; see [`follow_group`](Self::follow_group).
    pub fn follow(&mut self, guards: &Guards, arms: Vec<ArmFacts>, shape: WindowShape, marks: Marks) -> Opening {
        self.follow_group(JudgedGroup::of_route(guards, arms, shape.strata), marks)
    }

    /// Follows a new configuration, under which the variants have these revisions and shares. A release with another
    /// revision, and a guard with another test, begin without evidence. The open slot ends: the caller opens the slot that is
    /// returned in the watches. Where other routes are judged together, the slots before are no longer kept: their exposures
    /// count, and events of requests that are under way count nowhere.
    pub fn follow_group(&mut self, group: JudgedGroup, marks: Marks) -> Opening {
        let now_ms = self.now_ms;
        let began = WindowNumber(self.opening().window.0 + 1);
        self.keep_thresholds(&group);
        let (layout, shares) = (group.layout(), group.shares());
        let restarts = marks == Marks::Lost || layout != *self.ring.layout();
        if restarts {
            let settled = self.ring.settle_all();
            self.settle(settled);
        }
        if marks == Marks::Lost {
            self.releases.iter_mut().for_each(|release| release.freeze(began));
        }
        let is_new = self.follow_arms(group, began);
        if restarts {
            self.ring.restart(layout, &shares, now_ms);
        } else if is_new {
            self.ring.next_window(Some(&shares), now_ms);
        } else {
            self.ring.next(Some(&shares), now_ms);
        }
        // Targets may have other weights now.
        self.ring.break_spans();
        if self.opening().window == began {
            self.begin_windows();
        }
        self.opening()
    }

    /// Takes over the thresholds of each route.
    fn keep_thresholds(&mut self, group: &JudgedGroup) {
        let before = std::mem::take(&mut self.thresholds);
        let signals = &group.guards.signals;
        for route in &group.routes {
            let mut thresholds = SlowThresholds::new(signals);
            let was = self.group.routes.iter().zip(&before).find(|(was, _)| was.name == route.name);
            if let Some((was, kept)) = was {
                thresholds.keep(signals, kept, &self.group.guards.signals);
                if fixed_shares(&self.group.arms, was) != fixed_shares(&group.arms, route) {
                    thresholds.retake();
                }
            }
            self.thresholds.push(thresholds);
        }
        self.thresholds_changed = true;
    }

    /// Takes over the variants; `true` if evidence of one of them, or of one of its guards, begins with window `began`.
    pub(super) fn follow_arms(&mut self, group: JudgedGroup, began: WindowNumber) -> bool {
        let is_same = |one: &ArmFacts, other: &ArmFacts| one.name == other.name && one.revision == other.revision;
        let stable_stays = match (self.group.arms.first(), group.arms.first()) {
            (Some(before), Some(now)) => is_same(before, now),
            (None, _) | (_, None) => false,
        };
        let scope = group.layout().scope(None);
        let mut before = std::mem::take(&mut self.releases);
        let mut is_new = false;
        for (arm, facts) in (1..).zip(group.arms.iter().skip(1)) {
            let was = self.group.arms.iter().find(|one| stable_stays && is_same(one, facts));
            let at = before.iter().position(|release| was.is_some() && release.name == facts.name);
            let rises = facts.share > 0.0 && was.is_none_or(|was| was.share <= 0.0);
            let mut warm_at_ms = if rises { self.now_ms + WARM_UP_MS } else { 0 };
            let release = if let Some(mut release) = at.map(|at| before.swap_remove(at)) {
                warm_at_ms = warm_at_ms.max(release.by.warm_at_ms);
                release.by = JudgedArm { arm, warm_at_ms, scope };
                let stops = facts.share <= 0.0 && was.is_some_and(|was| was.share > 0.0);
                if stops && !(facts.by_rollout && is_dealt(&group)) {
                    release.stop_dealing();
                }
                if facts.by_rollout != release.promotion.is_some() {
                    release.promotion = ReleaseEvidence::new(release.by, facts, &group, began).promotion;
                }
                is_new |= release.follow(&group, began);
                release
            } else {
                is_new = true;
                ReleaseEvidence::new(JudgedArm { arm, warm_at_ms, scope }, facts, &group, began)
            };
            self.releases.push(release);
        }
        self.group = group;
        is_new
    }

    /// The shares have changed, given by route and then by variant: the open slot ends. Returns the slot that opens.
    pub fn set_shares(&mut self, shares: &[f64], now_ms: u64) -> Opening {
        self.now_ms = self.now_ms.max(now_ms);
        if *shares == *self.group.shares() {
            return self.opening();
        }
        let mut group = self.group.clone();
        group.set_shares(shares);
        for release in &mut self.releases {
            let arm = usize::from(release.by.arm);
            let (had, has) = (self.group.arms[arm].share > 0.0, group.arms[arm].share > 0.0);
            if has && !had {
                release.by.warm_at_ms = now_ms + WARM_UP_MS;
            }
            // At a weight of 0 all callers get stable and are dealt by the weights; while it is stopped, its own are missing.
            let are_dealt = group.arms[arm].by_rollout && is_dealt(&self.group) && is_dealt(&group);
            if had != has && !are_dealt {
                release.stop_dealing();
            }
        }
        let routes = self.group.routes.iter().zip(&group.routes).zip(&mut self.thresholds);
        for ((before, now), thresholds) in routes {
            if fixed_shares(&group.arms, before) != fixed_shares(&group.arms, now) {
                thresholds.retake();
            }
        }
        self.group = group;
        self.open_next();
        self.opening()
    }

    /// A rollout enters a stage: a window begins, and thresholds are taken anew. The open slot ends: the caller opens the
    /// slot that is returned in the watches.
    pub fn enter_stage(&mut self, now_ms: u64) -> Opening {
        self.now_ms = self.now_ms.max(now_ms);
        self.ring.next_window(None, self.now_ms);
        self.begin_windows();
        self.thresholds.iter_mut().for_each(SlowThresholds::retake);
        self.opening()
    }

    /// What a rollout needs to go on: of the variants that a rollout moves.
    pub fn set_promotion(&mut self, plan: &PromotionPlan) {
        let of_rollout = self.releases.iter_mut().filter_map(|release| release.promotion.as_mut());
        of_rollout.for_each(|promotion| promotion.follow(&self.group.guards, plan));
    }

    /// Begins the evidence of a variant anew, after a person ended its latch. The open slot ends: the caller opens the slot
    /// that is returned in the watches.
    pub fn resume(&mut self, arm: usize, now_ms: u64) -> Opening {
        self.now_ms = self.now_ms.max(now_ms);
        self.ring.next_window(None, self.now_ms);
        let began = self.opening().window;
        for release in &mut self.releases {
            if usize::from(release.by.arm) == arm {
                release.restart(began, self.now_ms + WARM_UP_MS);
            } else {
                release.begin_window(began);
            }
        }
        self.opening()
    }
}

/// The shares of a route that no rollout moves: a ramp takes no new thresholds.
fn fixed_shares<'a>(arms: &'a [ArmFacts], route: &JudgedRoute) -> Vec<(&'a str, u64)> {
    let has_rollout = arms.iter().any(|arm| arm.by_rollout);
    let all = arms.iter().zip(&route.shares).enumerate();
    let fixed = all.filter(|(at, (arm, _))| !(has_rollout && (*at == 0 || arm.by_rollout)));
    let dealt = fixed.filter(|(_, (_, share))| **share > 0.0);
    dealt.map(|(_, (arm, share))| (arm.name.as_str(), share.to_bits())).collect()
}

/// Whether the shares are those of all callers: no variant with a weight is stopped.
fn is_dealt(group: &JudgedGroup) -> bool {
    group.routes.iter().all(|route| (route.shares.iter().sum::<f64>() - 1.0).abs() < 1e-9)
}
