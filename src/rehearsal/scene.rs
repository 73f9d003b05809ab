//! What is rehearsed: a rollout under its rules, with its traffic, from a moment on.

use super::traffic::{RolloutTraffic, RouteTraffic};
use crate::route::{Freeze, Rollout, Rules};

/// What is rehearsed.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The compiled file.
    pub rules: &'a Rules,
    /// One of its rollouts.
    pub rollout: &'a Rollout,
    /// What its routes get. A route that is missing there gets nothing.
    pub traffic: &'a RolloutTraffic,
    /// When the release begins, in milliseconds since the Unix epoch.
    pub begins_ms: u64,
    /// How long people take to approve a stage, in milliseconds.
    pub approval_delay_ms: u64,
}

impl<'a> Scene<'a> {
    /// The freeze windows that hold for it.
    pub(super) fn windows(&self) -> Vec<&'a Freeze> {
        self.rollout.freeze.iter().chain(&self.rules.freeze).collect()
    }

    /// The names of its routes, in the order of its members.
    #[must_use]
    pub fn routes(&self) -> Vec<&'a str> {
        let route = |id: crate::route::RouteId| self.rules.routes.get(id.0 as usize);
        self.rollout.members.iter().filter_map(|member| route(member.route)).map(|one| one.name.as_str()).collect()
    }

    /// What a route gets.
    pub(super) fn traffic_of(&self, route: &str) -> RouteTraffic {
        let found = self.traffic.routes.iter().find(|one| one.route == route);
        found.cloned().unwrap_or_else(|| RouteTraffic {
            route: route.to_owned(),
            rate: 0.0,
            callers: 0,
            errors: 0.0,
            p99: None,
        })
    }

    /// Distinct callers: those of the route that has the most, since the routes of a rollout have callers in common.
    pub(super) fn callers(&self) -> u64 {
        let of = |route: &&str| self.traffic_of(route).callers;
        self.routes().iter().map(of).max().unwrap_or(0).max(1)
    }

    /// Requests a second on all routes.
    pub(super) fn rate(&self) -> f64 {
        self.routes().iter().map(|route| self.traffic_of(route).rate).sum()
    }

    /// The part of stable's requests that fail, over all routes.
    pub(super) fn errors(&self) -> f64 {
        let all: Vec<RouteTraffic> = self.routes().iter().map(|route| self.traffic_of(route)).collect();
        let rate: f64 = all.iter().map(|one| one.rate).sum();
        let failed: f64 = all.iter().map(|one| one.rate * one.errors).sum();
        if rate > 0.0 { failed / rate } else { 0.0 }
    }
}
