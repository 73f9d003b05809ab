//! What a plan is made from.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::proof::Proof;
use crate::cli::traffic::{KnownTraffic, MissingFigures, ProxyTraffic};
use crate::rehearsal::{StageForecast, Timeline};
use crate::release::plan_hash;
use crate::route::{Rollout, Route, Rules, Variant};

/// What a plan is made from.
#[derive(Debug)]
pub(super) struct PlanSheet<'a> {
    pub rules: &'a Rules,
    pub rollout: &'a Rollout,
    /// The file as it was named, and its hash with all that it includes.
    pub file: &'a str,
    pub config: &'a str,
    /// In milliseconds since the Unix epoch.
    pub made_ms: u64,
    pub approval_delay_ms: u64,
    pub zone: TimeZone,
    pub traffic: Result<KnownTraffic, MissingFigures>,
    pub timeline: Timeline,
    pub forecast: Vec<StageForecast>,
    /// What the running proxy knows; else why it knows nothing.
    pub proxy: Result<ProxyTraffic, String>,
    pub proof: Proof,
}

/// A route of the rollout, with the variant that it moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct MovedRoute<'a> {
    pub route: &'a Route,
    pub stable: &'a Variant,
    pub canary: &'a Variant,
}

impl<'a> PlanSheet<'a> {
    /// A moment as `Tue 2026-12-01 09:00`, in the zone of the rollout.
    pub fn date(&self, ms: u64) -> String {
        let moment =
            i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX);
        self.zone.to_datetime(moment).strftime("%a %Y-%m-%d %H:%M").to_string()
    }

    /// The routes.
    pub fn routes(&self) -> Vec<MovedRoute<'a>> {
        let of = |member: &crate::route::RolloutMember| {
            let route = self.rules.routes.get(member.route.0 as usize)?;
            let variants = &route.split()?.variants;
            Some(MovedRoute { route, stable: variants.first()?, canary: variants.get(usize::from(member.variant.0))? })
        };
        self.rollout.members.iter().filter_map(of).collect()
    }

    /// The name of the upstream of a variant.
    pub fn upstream(&self, variant: &Variant) -> &'a str {
        self.rules.upstreams.get(variant.upstream.0 as usize).map_or("", |upstream| upstream.name.as_str())
    }

    /// The hash of all stages.
    pub fn plan_hash(&self) -> String {
        let plan = &self.rollout.plan;
        plan_hash(plan, plan.stages.len().saturating_sub(1))
    }

    /// The last moment that is known of the plan, in milliseconds since the Unix epoch.
    pub fn ends_ms(&self) -> u64 {
        let last = self.timeline.stages.last().map_or(self.timeline.begins_ms, |stage| stage.enters_ms);
        self.timeline.complete_ms.unwrap_or(last)
    }

    /// The people who fill a role.
    pub fn people(&self, role: &str) -> &'a [String] {
        let known = self.rollout.approvers.iter().find(|one| one.role == role);
        known.map(|one| one.people.as_slice()).unwrap_or_default()
    }
}
