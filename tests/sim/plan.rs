//! What is simulated: servers, settings, requests and acts of people.

use pointsman::route::{Rescue, RetryPolicy};

use super::arm::ArmPlan;
use super::server::Server;

/// A simulation.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub workers: usize,
    pub seconds: u64,
    /// Requests a second.
    pub rate: u64,
    /// Stable, and perhaps a variant.
    pub arms: Vec<ArmPlan>,
    pub variant_percent: u32,
    /// The share of GET, the rest is PUT and POST.
    pub get_percent: u32,
    pub policy: RetryPolicy,
    pub rescue: Rescue,
    /// Acts of people on stable's endpoints, by virtual millisecond.
    pub people: Vec<(u64, Person)>,
}

/// The act of a person.
#[derive(Clone, Copy, Debug)]
pub enum Person {
    Drain { at: usize },
    Undrain { at: usize },
}

impl Plan {
    /// Default settings: two workers, one upstream with these servers.
    pub fn new(seed: u64, servers: Vec<Server>) -> Self {
        Self {
            seed,
            workers: 2,
            seconds: 60,
            rate: 200,
            arms: vec![ArmPlan::new(servers)],
            variant_percent: 0,
            get_percent: 70,
            policy: RetryPolicy::default(),
            rescue: Rescue::default(),
            people: Vec::new(),
        }
    }
}
