//! What is simulated: a plan, and how its canary behaves.

use pointsman::route::{Gate, Overdue, OverdueAct, Require, RolloutPlan, Stage};

/// How a release goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReleaseKind {
    Healthy,
    FailsAtOnce,
    FailsLate,
    Slow,
    Bursty,
    CommonIncident,
    LowTraffic,
    NoTraffic,
    Revisions,
    Operators,
    Crashes,
}

impl ReleaseKind {
    pub const ALL: [Self; 11] = [
        Self::Healthy,
        Self::FailsAtOnce,
        Self::FailsLate,
        Self::Slow,
        Self::Bursty,
        Self::CommonIncident,
        Self::LowTraffic,
        Self::NoTraffic,
        Self::Revisions,
        Self::Operators,
        Self::Crashes,
    ];

    /// Whether the canary is as good as stable.
    pub const fn is_healthy(self) -> bool {
        !matches!(self, Self::FailsAtOnce | Self::FailsLate | Self::Slow | Self::Bursty)
    }

    /// Whether nothing but the canary disturbs it.
    pub const fn is_calm(self) -> bool {
        matches!(self, Self::Healthy | Self::FailsAtOnce | Self::FailsLate | Self::Slow | Self::Bursty)
    }

    /// Requests a second.
    pub fn rate(self, random: &mut fastrand::Rng) -> f64 {
        match self {
            Self::NoTraffic => 0.0,
            Self::LowTraffic => 0.2 + random.f64(),
            Self::Healthy
            | Self::FailsAtOnce
            | Self::FailsLate
            | Self::Slow
            | Self::Bursty
            | Self::CommonIncident
            | Self::Revisions
            | Self::Operators
            | Self::Crashes => 50.0 + 200.0 * random.f64(),
        }
    }
}

const ROLES: [&str; 3] = ["tech-lead", "operations", "product"];

/// Some plan.
pub fn some_plan(random: &mut fastrand::Rng, kind: ReleaseKind) -> RolloutPlan {
    let count = random.usize(2..=4);
    let mut weights: Vec<u32> = (0..count).map(|_| random.u32(1..=100) * 10_000).collect();
    weights.sort_unstable();
    if random.u8(0..4) == 0 {
        weights[0] = 0;
    }
    weights[count - 1] = 1_000_000;
    let stages = weights.into_iter().enumerate().map(|(at, weight)| some_stage(random, kind, at, weight)).collect();
    let acts = [OverdueAct::Hold, OverdueAct::Rollback];
    let no_traffic = Overdue { after_ms: random.u64(10_000..18_000), act: acts[random.usize(0..2)] };
    let inconclusive = Overdue { after_ms: random.u64(300_000..900_000), act: acts[random.usize(0..2)] };
    let waits = matches!(kind, ReleaseKind::NoTraffic | ReleaseKind::LowTraffic);
    RolloutPlan {
        stages,
        max_weight: 1_000_000,
        max_tenants: None,
        requires: Vec::new(),
        rollback_over_ms: if random.u8(0..4) == 0 { 20_000 } else { 0 },
        on_inconclusive: waits.then_some(inconclusive),
        on_no_traffic: (kind == ReleaseKind::NoTraffic).then_some(no_traffic),
        same_person: random.bool(),
    }
}

fn some_stage(random: &mut fastrand::Rng, kind: ReleaseKind, at: usize, weight: u32) -> Stage {
    let rated = weight > 0 && random.u8(0..4) == 0 && kind != ReleaseKind::NoTraffic;
    let gates = if random.u8(0..4) == 0 {
        let url = "https://ci.example.com/gate".to_owned();
        vec![Gate::Webhook { url, every_ms: 30_000, timeout_ms: 5_000 }]
    } else {
        Vec::new()
    };
    let approvers = if random.u8(0..3) == 0 { random.usize(1..=3) } else { 0 };
    Stage {
        name: format!("s{at}"),
        weight,
        ramp_ms: if random.u8(0..4) == 0 { 30_000 + random.u64(0..60_000) } else { 0 },
        not_before_ms: None,
        min_duration_ms: 20_000 + random.u64(0..100_000),
        min_requests: (weight > 0 && random.bool()).then_some(50),
        min_keys: None,
        require: Require { or_rate_below: rated.then_some(0.01), ..Require::default() },
        gates,
        approve: ROLES.iter().take(approvers).map(|role| (*role).to_owned()).collect(),
        control: 0,
    }
}
