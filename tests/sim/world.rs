//! A proxy process in virtual time: requests of several workers, the endpoints they get, and what follows failures.
//!
//! The order of steps is that of the proxy (`src/proxy/request/`); what it decides comes from `pointsman::failover`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pointsman::failover::{
    self, FailedAttempt, FailedTry, FailureCause, GiveUpReason, Moment, Reached, Retry, Sender, Tries, Unconnected,
    UpstreamHealth,
};
use pointsman::route::RetryCondition;

use super::arm::{Allowed, Arm, Picked, Why, Wish};
use super::outcome::{CONNECT_US, Outcome, outcome};
use super::plan::{Person, Plan};
use super::request::{Request, draw};
use super::server::Behaviour;
use super::watch::{Ending, Note, Report, Watch};

/// The control thread looks for endpoints to try.
const TICK_US: u64 = 250_000;
/// The tick of the workers.
const FOLD_US: u64 = 100_000;
/// Connections to one endpoint that may turn out dead; then a new one is opened.
const STALE_MAX: u32 = 4;
/// Pooled connections of a worker to an endpoint.
const IDLE_MAX: u32 = 20;

impl Plan {
    /// Runs it to its end; fails with the seed and the last events at the first broken law.
    pub fn run(&self) -> Report {
        let mut world = World::new(self.clone());
        world.run();
        world.watch.report(&world.arms)
    }
}

enum Event {
    Arrival,
    End {
        slot: usize,
        outcome: Outcome,
    },
    Again {
        slot: usize,
        picked: Picked,
    },
    Tick,
    /// The workers report their loads.
    Fold,
    Probed {
        arm: usize,
        at: usize,
        epoch: u32,
        cause: Option<FailureCause>,
    },
    Act(Person),
    /// An ejection should be over, unless the server still fails.
    Due {
        arm: usize,
        at: usize,
        epoch: u32,
        until_us: u64,
    },
    Second,
}

struct World {
    plan: Plan,
    arms: Vec<Arm>,
    random: fastrand::Rng,
    now_us: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// Events by number; the queue refers to them.
    events: Vec<Option<Event>>,
    free_events: Vec<usize>,
    scheduled: u64,
    requests: Vec<Option<Request>>,
    free: Vec<usize>,
    watch: Watch,
}

impl World {
    fn new(plan: Plan) -> Self {
        let arms: Vec<Arm> = plan.arms.iter().map(|arm| Arm::new(arm, plan.workers)).collect();
        let watch = Watch::new(&plan, &arms);
        let random = fastrand::Rng::with_seed(plan.seed);
        let (queue, events, free_events, requests, free) =
            (BinaryHeap::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { plan, arms, random, now_us: 0, queue, events, free_events, scheduled: 0, requests, free, watch }
    }

    fn run(&mut self) {
        self.schedule(0, Event::Arrival);
        // Processes do not start in step.
        let phase_us = self.random.u64(0..TICK_US);
        self.schedule(phase_us, Event::Tick);
        self.schedule(FOLD_US, Event::Fold);
        self.schedule(1_000_000, Event::Second);
        for (ms, act) in self.plan.people.clone() {
            self.schedule(ms * 1000, Event::Act(act));
        }
        let end_us = self.plan.seconds * 1_000_000;
        while let Some(Reverse((at_us, _, number))) = self.queue.pop() {
            let event = self.events[number].take().expect("each is scheduled once");
            self.free_events.push(number);
            self.now_us = at_us;
            let is_over = at_us >= end_us;
            match event {
                Event::Arrival | Event::Tick | Event::Fold | Event::Due { .. } | Event::Second | Event::Act(_)
                    if is_over => {}
                Event::Arrival => self.arrive(),
                Event::End { slot, outcome } => self.end(slot, outcome),
                Event::Again { slot, picked } => self.begin(slot, picked),
                Event::Tick => self.tick(),
                Event::Fold => {
                    self.arms.iter().for_each(|arm| arm.tick(at_us / 1000));
                    self.schedule(FOLD_US, Event::Fold);
                }
                Event::Probed { arm, at, epoch, cause } => self.probed(arm, at, epoch, cause),
                Event::Act(act) => self.act(act),
                Event::Due { arm, at, epoch, until_us } => {
                    self.watch.check_return(&self.arms[arm], Note::of(at_us, "due", arm, at), epoch, until_us);
                }
                Event::Second => {
                    self.watch.check_second(at_us / 1_000_000 - 1);
                    self.schedule(1_000_000, Event::Second);
                }
            }
        }
        let (open, in_flight) = (self.requests.iter().flatten().count(), self.arms.iter().map(Arm::in_flight).sum());
        self.watch.check_end(open, in_flight);
    }

    fn schedule(&mut self, after_us: u64, event: Event) {
        let number = self.free_events.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[number] = Some(event);
        self.scheduled += 1;
        self.queue.push(Reverse((self.now_us + after_us, self.scheduled, number)));
    }

    const fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    fn moment(&mut self) -> Moment {
        Moment { now_ms: self.now_ms(), draw: self.random.f64() }
    }

    fn request(&mut self, slot: usize) -> &mut Request {
        self.requests[slot].as_mut().expect("a request that has not ended")
    }

    fn arrive(&mut self) {
        let mean_us = 1_000_000 / self.plan.rate;
        let gap_us = self.random.u64(mean_us / 2..=mean_us * 3 / 2);
        self.schedule(gap_us, Event::Arrival);
        let is_variant = self.arms.len() > 1 && self.random.u32(0..100) < self.plan.variant_percent;
        let (method, resendable) = draw(self.plan.get_percent, &mut self.random);
        let (id, worker) = (self.watch.next_id(), self.random.usize(0..self.plan.workers));
        let request = Request { id, worker, method, resendable, ..Request::new(usize::from(is_variant), self.now_us) };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.requests.push(None);
            self.requests.len() - 1
        });
        self.requests[slot] = Some(request);
        self.start(slot);
    }

    /// The first endpoint within an upstream.
    fn start(&mut self, slot: usize) {
        let second = self.now_us / 1_000_000;
        let request = self.requests[slot].as_ref().expect("a request that has not ended");
        let (arm, worker) = (request.arm, request.worker);
        self.arms[arm].health.requests.add_request(worker, second);
        self.watch.count_request(arm, second);
        if let Some(picked) = self.pick(slot, Allowed::Usable).or_else(|| self.last_resort(slot)) {
            self.begin(slot, picked);
        } else if arm == 1 && self.plan.rescue.on.contains(RetryCondition::Connect) {
            self.rescue(slot);
        } else {
            self.finish(slot, Ending::NoEndpoint);
        }
    }

    fn last_resort(&mut self, slot: usize) -> Option<Picked> {
        if self.request(slot).arm == 1 { None } else { self.pick(slot, Allowed::All) }
    }

    fn pick(&mut self, slot: usize, allowed: Allowed) -> Option<Picked> {
        let now_ms = self.now_ms();
        let request = self.requests[slot].as_ref().expect("a request that has not ended");
        let sender = if failover::is_safe(&request.method) { Sender::Safe } else { Sender::Unsafe };
        let wish = Wish { worker: request.worker, tried: &request.tried, sender, key: request.id, now_ms };
        let picked = self.arms[request.arm].pick(wish, allowed, &mut self.random)?;
        let note = Note { id: request.id, ..Note::of(self.now_us, "pick", request.arm, picked.at) };
        self.watch.check_pick(&self.arms[request.arm], note, picked.why);
        Some(picked)
    }

    /// The start of a try.
    fn begin(&mut self, slot: usize, picked: Picked) {
        let now_us = self.now_us;
        let request = self.requests[slot].as_mut().expect("a request that has not ended");
        let arm = &mut self.arms[request.arm];
        (request.picked, request.epoch, request.connections) = (picked, arm.endpoints[picked.at].epoch(), 0);
        request.try_began_us = now_us;
        arm.seat(request.worker, picked.at).load.begin();
        self.watch.check_begin(arm, request, now_us);
        self.attempt(slot);
    }

    /// A connection, and what is sent on it.
    fn attempt(&mut self, slot: usize) {
        let now_us = self.now_us;
        let request = self.requests[slot].as_mut().expect("a request that has not ended");
        request.connections += 1;
        let arm = &mut self.arms[request.arm];
        let generation = arm.servers[request.picked.at].generation(now_us);
        let seat = arm.seat(request.worker, request.picked.at);
        request.reused = seat.idle > 0 && request.connections <= STALE_MAX;
        let is_dead = request.reused && seat.generation != generation;
        seat.idle -= u32::from(request.reused);
        let (outcome, after_us) = if is_dead {
            let reached = if self.random.bool() { Reached::Unsent } else { Reached::Unanswered };
            let condition = Some(RetryCondition::ResetBeforeHead);
            (Outcome::Failed { cause: FailureCause::Reset, reached, condition }, 200)
        } else {
            outcome(&arm.servers[request.picked.at], request.reused, now_us, &mut self.random)
        };
        if !matches!(outcome, Outcome::Failed { reached: Reached::Unsent, .. }) {
            request.sent += 1;
            self.watch.check_sent(request);
        }
        self.schedule(after_us, Event::End { slot, outcome });
    }

    fn end(&mut self, slot: usize, outcome: Outcome) {
        let now_us = self.now_us;
        let request = self.requests[slot].as_mut().expect("a request that has not ended");
        let (worker, at, why) = (request.worker, request.picked.at, request.picked.why);
        let arm = &mut self.arms[request.arm];
        match outcome {
            Outcome::Good | Outcome::BrokenBody => {
                arm.forget_failure(worker, at);
                let generation = arm.servers[at].generation(now_us);
                let seat = arm.seat(worker, at);
                seat.load.end();
                // A trial is decided by the head of the response.
                if matches!(outcome, Outcome::BrokenBody) && why != Why::Trial {
                    self.charge(slot, FailureCause::Body);
                } else {
                    if seat.generation != generation {
                        (seat.generation, seat.idle) = (generation, 0);
                    }
                    seat.idle = (seat.idle + u32::from(matches!(outcome, Outcome::Good))).min(IDLE_MAX);
                    self.succeed(slot);
                }
                let ending = if matches!(outcome, Outcome::Good) { Ending::Good } else { Ending::BrokenBody };
                self.finish(slot, ending);
            }
            Outcome::Failed { cause, reached, condition } => {
                if reached == Reached::Unsent && !request.reused {
                    arm.avoid(worker, at, now_us / 1000);
                } else {
                    arm.forget_failure(worker, at);
                }
                self.fail(slot, cause, reached, condition);
            }
        }
    }

    fn fail(&mut self, slot: usize, cause: FailureCause, reached: Reached, condition: Option<RetryCondition>) {
        let policy = &self.plan.policy;
        let request = self.requests[slot].as_ref().expect("a request that has not ended");
        let method = request.method.clone();
        let attempt = FailedAttempt {
            reached,
            condition,
            reused: request.reused,
            method: &method,
            resendable: request.resendable,
            trial: request.picked.why == Why::Trial,
        };
        let next = if reached == Reached::Unsent && !request.reused {
            failover::unconnected(policy, Unconnected::Endpoint, request.past)
        } else {
            failover::next(policy, attempt, request.past)
        };
        if next == Retry::SameEndpoint {
            return self.attempt(slot);
        }
        self.charge(slot, cause);
        let is_refused =
            condition == Some(RetryCondition::Status(503)) || reached == Reached::Unsent && !attempt.reused;
        let now_ms = self.now_ms();
        let (arm, worker, at) = {
            let request = self.request(slot);
            request.tried.push(request.picked.at);
            (request.arm, request.worker, request.picked.at)
        };
        let following = self.next_try(slot, next);
        let load = &self.arms[arm].seat(worker, at).load;
        load.end();
        if is_refused {
            load.keep_place(0, now_ms);
        }
        match following {
            Ok((picked, delay_us)) => self.schedule(delay_us, Event::Again { slot, picked }),
            Err(_) if arm == 1 && failover::rescues(&self.plan.rescue, attempt) => self.rescue(slot),
            Err(ending) => self.finish(slot, ending),
        }
    }

    /// The endpoint of the next try, and the wait before it.
    fn next_try(&mut self, slot: usize, next: Retry) -> Result<(Picked, u64), Ending> {
        let past = self.request(slot).past;
        let (nth, allowed) = match next {
            Retry::GiveUp(reason) => return Err(Ending::GivenUp(reason)),
            Retry::NextEndpoint => (u32::try_from(past.endpoints + past.unprocessed).expect("a few"), Allowed::All),
            Retry::Repeat { .. } | Retry::SameEndpoint => (past.made.saturating_add(1), Allowed::Usable),
        };
        // Before the pick, which may claim the one try of an ejected endpoint.
        if next == (Retry::Repeat { counts: true }) && !self.take(slot) {
            return Err(Ending::GivenUp(GiveUpReason::Budget));
        }
        let picked = self.other(slot, next, allowed).ok_or(Ending::NoEndpoint)?;
        let delay = if nth == 0 { std::time::Duration::ZERO } else { failover::back_off(nth, self.random.f64()) };
        let request = self.request(slot);
        match next {
            Retry::NextEndpoint => request.past.endpoints += 1,
            Retry::Repeat { counts } => request.past.made += u32::from(counts),
            Retry::SameEndpoint | Retry::GiveUp(_) => {}
        }
        Ok((picked, u64::try_from(delay.as_micros()).expect("a short wait")))
    }

    fn other(&mut self, slot: usize, next: Retry, allowed: Allowed) -> Option<Picked> {
        let mut other = self.pick(slot, Allowed::Usable);
        if other.is_none() && allowed == Allowed::All {
            other = self.last_resort(slot);
        }
        let request = self.request(slot);
        if other.is_some() || !(matches!(next, Retry::Repeat { .. }) || request.sent > 0) {
            return other;
        }
        request.tried.clear();
        self.pick(slot, Allowed::Usable).or_else(|| self.last_resort(slot))
    }

    fn take(&mut self, slot: usize) -> bool {
        let (arm, now_ms) = (self.request(slot).arm, self.now_ms());
        let Arm { health, budget, .. } = &self.arms[arm];
        let requests = health.requests.sum(now_ms / 1000).requests;
        let takes = health.budget.try_take(*budget, now_ms, requests);
        if takes {
            self.watch.count_retry(arm, now_ms / 1000);
            assert!(health.budget.used(now_ms) > 0, "a try that was taken is seen");
        }
        takes
    }

    /// Stable answers instead of the variant.
    fn rescue(&mut self, slot: usize) {
        let request = self.request(slot);
        (request.arm, request.rescued, request.past) = (0, true, Tries { made: u32::MAX, ..Tries::default() });
        request.tried.clear();
        self.watch.count_rescue();
        self.start(slot);
    }

    /// The failure of a try counts at its endpoint.
    fn charge(&mut self, slot: usize, cause: FailureCause) {
        let (moment, now_us) = (self.moment(), self.now_us);
        let request = self.requests[slot].as_mut().expect("a request that has not ended");
        let (index, at) = (request.arm, request.picked.at);
        let arm = &self.arms[index];
        let is_first = std::mem::replace(&mut request.is_first, false);
        if is_first && request.picked.why == Why::Usable {
            self.watch.count_first_failure(index, at, request.try_began_us);
        }
        if request.picked.why == Why::Trial {
            self.watch.end_trial(index, at);
        }
        let failed = FailedTry { cause, epoch: request.epoch };
        let (endpoint, worker) = (&arm.endpoints[at], request.worker);
        let changed = arm.health.record_failure(endpoint, failed, &arm.outlier, moment);
        self.watch.note(Note { id: request.id, ..Note::of(now_us, cause.name(), index, at) });
        self.see(index, at, changed);
        let arm = &self.arms[index];
        if arm.outlier.failure_percent > 0 {
            let recent = arm.endpoints[at].recent(self.plan.workers);
            recent.add_request(worker, now_us / 1_000_000);
            recent.add_failure(worker, now_us / 1_000_000);
            let changed = arm.health.record_share(&arm.endpoints[at], recent, &arm.outlier, moment);
            self.see(index, at, changed);
        }
    }

    fn succeed(&mut self, slot: usize) {
        let now_us = self.now_us;
        let request = self.requests[slot].as_ref().expect("a request that has not ended");
        let (index, at) = (request.arm, request.picked.at);
        let arm = &self.arms[index];
        if request.picked.why == Why::Trial {
            self.watch.end_trial(index, at);
        }
        self.watch.note(Note { id: request.id, ..Note::of(now_us, "good", index, at) });
        if arm.outlier.failure_percent > 0 {
            arm.endpoints[at].recent(self.plan.workers).add_request(request.worker, now_us / 1_000_000);
        }
        if !arm.endpoints[at].is_quiet() {
            let changed = arm.health.record_success(&arm.endpoints[at], request.epoch, now_us / 1000);
            self.see(index, at, changed);
        }
    }

    fn finish(&mut self, slot: usize, ending: Ending) {
        let request = self.requests[slot].take().expect("a request that has not ended");
        self.free.push(slot);
        self.watch.check_ending(&self.arms[request.arm], &request, ending, self.now_us);
    }

    fn see(&mut self, arm: usize, at: usize, changed: Option<failover::Transition>) {
        let Some(changed) = changed else { return };
        let note = Note::of(self.now_us, "change", arm, at);
        if let Some(for_ms) = self.watch.check_change(&self.arms[arm], note, changed) {
            let epoch = self.arms[arm].endpoints[at].epoch();
            // A quarter more, the period of the control thread, and the gap between requests.
            let by_us = (for_ms + for_ms / 4 + 500) * 1000;
            self.schedule(by_us, Event::Due { arm, at, epoch, until_us: self.now_us + for_ms * 1000 });
        }
    }

    fn tick(&mut self) {
        self.schedule(TICK_US, Event::Tick);
        let now_us = self.now_us;
        for index in 0..self.arms.len() {
            for (_, endpoint) in self.arms[index].health.due_probes(now_us / 1000) {
                let arm = &self.arms[index];
                let is_it = |one: &std::sync::Arc<_>| std::sync::Arc::ptr_eq(one, &endpoint);
                let at = arm.endpoints.iter().position(is_it).expect("an endpoint of this upstream");
                self.watch.check_pick(arm, Note::of(now_us, "probe", index, at), Why::Trial);
                self.watch.count_probe();
                let (cause, after_us) = match arm.servers[at].at(now_us) {
                    Behaviour::Refuses => (Some(FailureCause::ConnectRefused), 200),
                    Behaviour::BlackHole => (Some(FailureCause::ConnectTimeout), CONNECT_US),
                    Behaviour::Answers { .. }
                    | Behaviour::Freezes
                    | Behaviour::Unavailable { .. }
                    | Behaviour::Resets { .. }
                    | Behaviour::BreaksBodies { .. } => (None, 300),
                };
                self.schedule(after_us, Event::Probed { arm: index, at, epoch: endpoint.epoch(), cause });
            }
        }
    }

    fn probed(&mut self, index: usize, at: usize, epoch: u32, cause: Option<FailureCause>) {
        let (moment, now_ms) = (self.moment(), self.now_ms());
        let arm = &self.arms[index];
        self.watch.end_trial(index, at);
        let changed = match cause {
            None => arm.health.record_success(&arm.endpoints[at], epoch, now_ms),
            Some(cause) => {
                let failed = FailedTry { cause, epoch };
                arm.health.record_failure(&arm.endpoints[at], failed, &arm.outlier, moment)
            }
        };
        self.see(index, at, changed);
    }

    fn act(&mut self, act: Person) {
        let health: &UpstreamHealth = &self.arms[0].health;
        let (at, changed) = match act {
            Person::Drain { at } => (at, health.drain(&self.arms[0].endpoints[at], self.now_ms())),
            Person::Undrain { at } => (at, health.undrain(&self.arms[0].endpoints[at], self.now_ms())),
        };
        self.watch.record_act(act, self.now_us);
        self.see(0, at, changed);
    }
}
