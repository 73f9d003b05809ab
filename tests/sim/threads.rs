//! Many workers at once: what they see and count stays consistent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use pointsman::failover::{
    Choice, EndpointHealth, EndpointKey, FailedTry, FailureCause, Moment, Sender, Transition, UpstreamHealth,
};
use pointsman::route::{OutlierSettings, Protocol};

const WORKERS: u64 = 4;
const ROUNDS: u64 = 60;
const TRIES: usize = 300;

fn key(host: u8) -> EndpointKey {
    EndpointKey { address: SocketAddr::from(([10, 0, 0, host], 8080)), protocol: Protocol::Http1 }
}

/// Transitions that were reported.
#[derive(Default)]
struct Reported {
    ejections: AtomicU64,
    admissions: AtomicU64,
    /// Endpoints that were ejected and are kept since.
    kept: AtomicU64,
}

impl Reported {
    fn add(&self, changed: Option<Transition>) {
        let count = match changed {
            Some(Transition::Ejected { .. }) => &self.ejections,
            Some(Transition::Admitted) => &self.admissions,
            Some(Transition::Failing { .. }) => &self.kept,
            _ => return,
        };
        count.fetch_add(1, Relaxed);
    }
}

/// What the workers do beside their tries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum People {
    Absent,
    Drain,
}

/// An upstream with settings under which much happens: two failures eject, for 3 virtual milliseconds.
struct Stage {
    upstream: UpstreamHealth,
    keys: Vec<EndpointKey>,
    settings: OutlierSettings,
    now_ms: AtomicU64,
    reported: Reported,
    people: People,
}

impl Stage {
    fn new(people: People) -> Self {
        let settings = OutlierSettings {
            consecutive_failures: 2,
            base_ejection: std::time::Duration::from_millis(3),
            ..OutlierSettings::default()
        };
        Self {
            upstream: UpstreamHealth::new(1),
            keys: (1..=4).map(key).collect(),
            settings,
            now_ms: AtomicU64::new(1),
            reported: Reported::default(),
            people,
        }
    }

    /// One request of a worker, with one try.
    fn request(&self, endpoints: &[Arc<EndpointHealth>], random: &mut fastrand::Rng) {
        let now_ms = self.now_ms.fetch_add(random.u64(0..20), Relaxed);
        let endpoint = &endpoints[random.usize(0..endpoints.len())];
        let epoch = endpoint.epoch();
        let may = !self.upstream.has_unusable()
            || match UpstreamHealth::choice(endpoint, now_ms, Sender::Safe) {
                Choice::Yes => true,
                Choice::Trial => UpstreamHealth::claim(endpoint, now_ms),
                Choice::No => false,
            };
        if !may {
            return;
        }
        if random.u8(0..3) > 0 {
            if !endpoint.is_quiet() {
                self.reported.add(self.upstream.record_success(endpoint, epoch, now_ms));
            }
            return;
        }
        let causes = [FailureCause::ConnectRefused, FailureCause::Status];
        let failed = FailedTry { cause: causes[random.usize(0..2)], epoch };
        let moment = Moment { now_ms, draw: random.f64() };
        self.reported.add(self.upstream.record_failure(endpoint, failed, &self.settings, moment));
    }

    fn act(&self, endpoints: &[Arc<EndpointHealth>], random: &mut fastrand::Rng) {
        let endpoint = &endpoints[random.usize(0..endpoints.len())];
        let now_ms = self.now_ms.load(Relaxed);
        let changed = match random.u8(0..6) {
            0 => self.upstream.drain(endpoint, 0),
            1 | 2 => self.upstream.undrain(endpoint, 0),
            3 => self.upstream.eject_by_hand(endpoint, now_ms),
            4 => self.upstream.admit_by_hand(endpoint, now_ms),
            _ => {
                // All stay: one that is well would be forgotten while it is missing.
                let mut keys = self.keys.clone();
                keys.rotate_left(random.usize(0..self.keys.len()));
                self.upstream.set_endpoints(&keys, 0);
                None
            }
        };
        self.reported.add(changed);
    }

    /// Some requests of a worker, and acts between them.
    fn work(&self, endpoints: &[Arc<EndpointHealth>], seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..TRIES {
            self.request(endpoints, &mut random);
            if self.people == People::Drain && random.u8(0..20) == 0 {
                self.act(endpoints, &mut random);
            }
        }
    }

    /// While no worker runs.
    fn look(&self, endpoints: &[Arc<EndpointHealth>]) {
        let unusable = endpoints.iter().any(|endpoint| !endpoint.is_usable());
        assert_eq!(self.upstream.has_unusable(), unusable, "a stale flag sends requests to ejected endpoints");
        let counts = self.upstream.counts();
        let ejections = self.reported.ejections.load(Relaxed);
        assert_eq!(counts.ejections.iter().sum::<u64>(), ejections, "each is counted and reported once");
        let admissions = self.reported.admissions.load(Relaxed);
        let kept = self.reported.kept.load(Relaxed);
        assert!((admissions..=admissions + kept).contains(&counts.admissions), "{} {admissions}", counts.admissions);
        let now_ms = self.now_ms.load(Relaxed);
        for endpoint in endpoints {
            let view = endpoint.view(now_ms);
            assert_eq!(endpoint.is_usable(), view.ejected.is_none() && !view.drained, "{view:?}");
        }
    }
}

fn run(stage: &Stage) {
    let endpoints = stage.upstream.set_endpoints(&stage.keys, 0);
    for round in 0..ROUNDS {
        let is_over = AtomicBool::new(false);
        let least = thread::scope(|scope| {
            let watched = scope.spawn(|| {
                let mut least = usize::MAX;
                while !is_over.load(Relaxed) {
                    // Under the lock of all changes: never in the middle of one.
                    least = least.min(stage.upstream.usable());
                    thread::yield_now();
                }
                least
            });
            let seed = |worker| round * WORKERS + worker;
            let spawn = |worker| {
                scope.spawn({
                    let endpoints = &endpoints;
                    move || stage.work(endpoints, seed(worker))
                })
            };
            let workers: Vec<_> = (0..WORKERS).map(spawn).collect();
            let ended: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            is_over.store(true, Relaxed);
            assert!(ended.iter().all(Result::is_ok), "a worker has failed");
            watched.join().expect("the watch ends")
        });
        assert!(stage.people == People::Drain || least > 0, "tries never eject the last one");
        stage.look(&endpoints);
    }
    assert!(stage.reported.ejections.load(Relaxed) > 100, "much has happened");
}

#[test]
fn tries_of_many_workers_never_empty_an_upstream() {
    run(&Stage::new(People::Absent));
}

#[test]
fn people_and_workers_at_once_leave_a_consistent_state() {
    let stage = Stage::new(People::Drain);
    run(&stage);
    for endpoint in stage.upstream.set_endpoints(&stage.keys, 0) {
        stage.upstream.undrain(&endpoint, 0);
        stage.upstream.admit_by_hand(&endpoint, 0);
    }
    assert!(!stage.upstream.has_unusable());
    assert_eq!(stage.upstream.usable(), stage.keys.len());
}
