//! A route in virtual time: one variant beside stable, with the real counts and the real evidence.

use std::sync::Arc;
use std::time::Duration;

use pointsman::release::{ArmFacts, GuardTrip, RouteEvidence, RunFacts, TickFacts};
use pointsman::route::{Guard, GuardAct, GuardTest, Guards, KeyHash, Signal, SlowThreshold};
use pointsman::stats::{ArmPlace, Failures, JudgedEvent, WindowShape};
use pointsman::telemetry::{GuardTicket, GuardWatch, MeterRegistry};

/// The workers that take the requests in turn, at random.
pub const WORKERS: usize = 4;
/// The control plane reads counts and events this often.
pub const TICK_MS: u64 = 100;

/// A route, and what its guards have found.
pub struct SimulatedRoute {
    pub random: fastrand::Rng,
    pub now_ms: u64,
    /// The share of the canary.
    pub share: f64,
    pub trips: Vec<GuardTrip>,
    registry: Arc<MeterRegistry>,
    pub watch: GuardWatch,
    pub evidence: RouteEvidence,
}

/// A request that is under way.
pub struct SimulatedTry {
    ticket: Option<GuardTicket>,
    worker: usize,
    pub is_canary: bool,
}

/// What a relative guard tests, and how often it may be wrong.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    pub ratio: f64,
    pub alpha: f64,
    pub slow: bool,
}

/// One relative guard, the sample ratio, and, where it is of errors, the rule of failing runs.
pub fn guards(promise: Promise) -> Guards {
    let slow = Signal::SlowerThan(SlowThreshold::Fixed(Duration::from_millis(80)));
    let guard = |name: &str, signal, test, alpha, act| Guard {
        name: name.to_owned(),
        variant: None,
        signal,
        test,
        alpha,
        act,
        near_full: false,
    };
    Guards {
        signals: vec![if promise.slow { slow } else { Signal::Error }],
        all: vec![
            guard("tested", Some(0), GuardTest::WorseThanStable(promise.ratio), promise.alpha, GuardAct::Rollback),
            guard("sample-ratio", None, GuardTest::SampleRatio, 0.001, GuardAct::Hold),
        ],
        by_default: false,
    }
}

impl SimulatedRoute {
    pub fn new(registry: &Arc<MeterRegistry>, guards: &Guards, share: f64, seed: u64) -> Self {
        let counts = WindowShape { strata: 1, arms: 2, signals: guards.signals.len() };
        let arm = |name: &str, share| ArmFacts {
            name: name.to_owned(),
            revision: format!("{name}=1"),
            share,
            by_rollout: false,
        };
        let evidence = RouteEvidence::new(guards, vec![arm("stable", 1.0 - share), arm("canary", share)], counts, 0);
        let watch = GuardWatch::new(counts, guards, registry);
        let opening = evidence.opening();
        watch.open(opening.window, opening.slot);
        Self {
            random: fastrand::Rng::with_seed(seed),
            now_ms: 0,
            share,
            trips: Vec::new(),
            registry: Arc::clone(registry),
            watch,
            evidence,
        }
    }

    /// The canary gets this share of the callers from now on.
    pub fn set_share(&mut self, share: f64) {
        if (share - self.share).abs() > 1e-9 {
            self.share = share;
            let opening = self.evidence.set_shares(&[1.0 - share, share], self.now_ms);
            self.watch.open(opening.window, opening.slot);
        }
    }

    /// Sends a request of a caller: the upper bits of its hash choose the variant.
    pub fn send(&mut self, hash: u64) -> SimulatedTry {
        let is_canary = (hash as f64) < self.share * 2_f64.powi(64);
        let worker = self.random.usize(0..WORKERS);
        let place = ArmPlace { stratum: 0, arm: u16::from(is_canary) };
        SimulatedTry { ticket: self.watch.expose(worker, place, KeyHash::of(hash)), worker, is_canary }
    }

    /// The request has ended.
    pub fn end(&mut self, sent: &SimulatedTry, is_event: bool) {
        let Some(ticket) = &sent.ticket else { return };
        if is_event {
            self.watch.record(sent.worker, ticket, 0);
            self.watch.fail(sent.worker, ticket);
        } else {
            self.watch.record_success(sent.worker, ticket);
        }
    }

    /// The control plane reads and judges.
    pub fn tick(&mut self) {
        self.now_ms += TICK_MS;
        let mut events: Vec<JudgedEvent> = Vec::new();
        self.registry.guard_memory.events.take(|event| {
            if event.watch == self.watch.id() {
                events.extend(event.event());
            }
        });
        let view = self.watch.view();
        let run = self.watch.run(1);
        let run = RunFacts { number: run.number, length: run.length, keys: run.keys };
        let facts = TickFacts {
            now_ms: self.now_ms,
            stable: vec![Failures { requests: view.stable_answers, failed: view.stable_failures }],
            runs: vec![RunFacts::default(), run],
            stable_quantiles: vec![None],
            ..TickFacts::default()
        };
        let outcome = self.evidence.tick(&facts, &mut |slot| self.watch.exposures(slot), &events);
        if let Some(opening) = outcome.opening {
            self.watch.open(opening.window, opening.slot);
        }
        self.trips.extend(outcome.trips);
    }

    /// How many requests arrive in a tick, at a rate per second.
    pub fn arrivals(&mut self, rate: f64) -> u32 {
        // Knuth's product of uniforms; a tick has few.
        let least = (-rate * TICK_MS as f64 / 1_000.0).exp();
        let (mut count, mut product) = (0, self.random.f64());
        while product > least {
            count += 1;
            product *= self.random.f64();
        }
        count
    }

    /// Whether a guard has stopped the canary.
    pub fn is_rolled_back(&self) -> bool {
        self.trips.iter().any(|trip| trip.act == GuardAct::Rollback)
    }

    /// Whether the sample ratio holds it.
    pub fn is_held(&self) -> bool {
        self.trips.iter().any(|trip| trip.act == GuardAct::Hold)
    }
}

/// How many of some healthy releases were stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stopped {
    pub runs: u64,
    pub rolled_back: u64,
    pub held: u64,
}

/// Releases to play.
#[derive(Clone, Copy, Debug)]
pub struct Plays {
    pub runs: u64,
    pub seed: u64,
    /// How long each lasts.
    pub seconds: u64,
}

impl Plays {
    /// Plays them; how many are stopped.
    pub fn count(&self, play: impl Fn(&Arc<MeterRegistry>, u64) -> SimulatedRoute) -> Stopped {
        let registry = Arc::new(MeterRegistry::new(WORKERS));
        let mut stopped = Stopped { runs: self.runs, ..Stopped::default() };
        for run in 0..self.runs {
            let route = play(&registry, self.seed << 32 | run);
            stopped.rolled_back += u64::from(route.is_rolled_back());
            stopped.held += u64::from(route.is_held());
        }
        stopped
    }
}
