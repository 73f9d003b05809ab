//! The laws, checked at every step, and what a simulation was.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};

use pointsman::failover::{ENDPOINTS_MAX, FailureCause, FailureKind, GiveUpReason, Resendable, Transition, is_safe};
use pointsman::route::{RetryBudgetSettings, RetryPolicy};

use super::arm::{Arm, Why};
use super::plan::{Person, Plan};
use super::request::Request;

/// How long a claim lasts without a result.
const TRY_MS: u64 = 5_000;
/// The longest wait between the pick of an endpoint and its try.
const BACK_OFF_US: u64 = 250_000;
/// The last events that a failure shows.
const NOTES_MAX: usize = 40;
/// Seconds of the budget's window.
const WINDOW: usize = 10;

/// An event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Note {
    pub us: u64,
    pub what: &'static str,
    /// The request, or 0.
    pub id: u64,
    pub arm: usize,
    pub at: usize,
}

impl Note {
    /// An event at an endpoint.
    pub const fn of(us: u64, what: &'static str, arm: usize, at: usize) -> Self {
        Self { us, what, id: 0, arm, at }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Good,
    /// After the head of the response: no try can follow.
    BrokenBody,
    GivenUp(GiveUpReason),
    /// None may be picked, or all were tried.
    NoEndpoint,
}

/// An ejection.
#[derive(Clone, Copy, Debug)]
pub struct Ejection {
    pub arm: usize,
    pub at: usize,
    pub ms: u64,
    pub cause: FailureCause,
    pub for_ms: u64,
    pub nth: u32,
}

/// What a simulation was.
#[derive(Debug, Default)]
pub struct Report {
    pub requests: u64,
    pub good: u64,
    /// Failed requests by reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// Those of them that had a healthy endpoint and could be repeated, by what was spent.
    pub spent: BTreeMap<&'static str, u64>,
    /// Tries from the budget.
    pub retries: u64,
    pub rescues: u64,
    pub last_resorts: u64,
    /// First tries at ejected endpoints while the upstream panics.
    pub panics: u64,
    pub ejections: Vec<Ejection>,
    /// By arm, endpoint and millisecond.
    pub admissions: Vec<(usize, usize, u64)>,
    /// Tries of ejected endpoints, in the same way.
    pub trials: Vec<(usize, usize, u64)>,
    /// Those of them that the control thread made.
    pub probes: u64,
    /// First tries that failed at an endpoint that was chosen as usable: by arm, endpoint and start in milliseconds.
    pub first_failures: Vec<(usize, usize, u64)>,
    /// Requests that ended well, by second of their end.
    pub good_by_second: Vec<u64>,
    /// Requests that failed, in the same way.
    pub failed_by_second: Vec<u64>,
    /// The longest time of a request that failed.
    pub longest_failure_ms: u64,
    /// Of all events.
    pub hash: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, good, failed, spent, retries, rescues, last_resorts, .. } = self;
        write!(
            f,
            "{requests} requests, {good} good, failed {failed:?}, spent {spent:?}, {retries} retries, {rescues} \
             rescues, {last_resorts} last resorts, {} ejections, {} admissions, {} trials",
            self.ejections.len(),
            self.admissions.len(),
            self.trials.len()
        )
    }
}

/// What is known of an endpoint from the events.
#[derive(Clone, Debug, Default)]
struct Known {
    trial_us: Option<u64>,
    /// The number of its last ejection in a row, while it is ejected.
    nth: Option<u32>,
    drained_us: Option<u64>,
}

/// Checks the laws.
pub struct Watch {
    seed: u64,
    policy: RetryPolicy,
    budgets: Vec<RetryBudgetSettings>,
    /// People act: they may take the last endpoint away.
    has_people: bool,
    notes: VecDeque<Note>,
    hash: u64,
    known: Vec<Vec<Known>>,
    /// Requests and tries from the budget, by arm and second.
    seconds: Vec<Vec<(u64, u64)>>,
    report: Report,
}

impl Watch {
    pub fn new(plan: &Plan, arms: &[Arm]) -> Self {
        let known = arms.iter().map(|arm| vec![Known::default(); arm.endpoints.len()]).collect();
        let seconds = usize::try_from(plan.seconds).expect("a short time") + 20;
        let report =
            Report { good_by_second: vec![0; seconds], failed_by_second: vec![0; seconds], ..Report::default() };
        Self {
            seed: plan.seed,
            policy: plan.policy.clone(),
            budgets: arms.iter().map(|arm| arm.budget).collect(),
            has_people: !plan.people.is_empty(),
            notes: VecDeque::new(),
            hash: 0,
            known,
            seconds: vec![vec![(0, 0); seconds]; arms.len()],
            report,
        }
    }

    /// Fails with the seed and the last events.
    fn broken(&self, law: &str) -> ! {
        let mut last = String::new();
        for Note { us, what, id, arm, at } in &self.notes {
            let _ = write!(last, "\n  {:>12.3} ms  {what:<16} endpoint {arm}.{at}  request {id}", *us as f64 / 1000.0);
        }
        panic!("seed {}: {law}{last}", self.seed);
    }

    pub fn note(&mut self, note: Note) {
        let Note { us, what, id, arm, at } = note;
        let place = (arm << 8) + at + (what.len() << 16) + (usize::from(what.as_bytes()[0]) << 24);
        // The steps of FNV-1a, by words: cheap without optimisation.
        for word in [us, id, place as u64] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
        }
        if self.notes.len() == NOTES_MAX {
            self.notes.pop_front();
        }
        self.notes.push_back(note);
    }

    pub fn next_id(&mut self) -> u64 {
        self.report.requests += 1;
        self.report.requests
    }

    pub fn count_request(&mut self, arm: usize, second: u64) {
        self.seconds[arm][index(second)].0 += 1;
    }

    pub fn count_probe(&mut self) {
        self.report.probes += 1;
    }

    pub fn count_rescue(&mut self) {
        self.report.rescues += 1;
    }

    /// A try was taken from the budget.
    pub fn count_retry(&mut self, arm: usize, second: u64) {
        self.report.retries += 1;
        self.seconds[arm][index(second)].1 += 1;
        self.check_budget(arm, index(second), 1);
    }

    /// In every second, not only when a try is taken: no try was taken since one of the last ten windows.
    pub fn check_second(&self, second: u64) {
        (0..self.budgets.len()).for_each(|arm| self.check_budget(arm, index(second), WINDOW));
    }

    /// The tries of the ten seconds that end with this one, against the requests of as many windows, of which the
    /// fullest counts.
    fn check_budget(&self, arm: usize, second: usize, windows: usize) {
        let seconds = &self.seconds[arm];
        let window = |second: usize| &seconds[(second + 1).saturating_sub(WINDOW)..=second];
        let requests = |second: usize| window(second).iter().map(|(requests, _)| requests).sum::<u64>();
        let requests = (0..windows).map(|age| requests(second.saturating_sub(age))).max().unwrap_or(0);
        let tries: u64 = window(second).iter().map(|(_, tries)| tries).sum();
        let RetryBudgetSettings { ratio, min_per_second } = self.budgets[arm];
        let allowed = ratio * requests as f64 + f64::from(min_per_second) * WINDOW as f64;
        if tries as f64 > allowed {
            self.broken(&format!("{tries} further tries in ten seconds, at most {allowed}"));
        }
    }

    pub fn count_first_failure(&mut self, arm: usize, at: usize, began_us: u64) {
        self.report.first_failures.push((arm, at, began_us / 1000));
    }

    /// An endpoint was picked, or is tried by the control thread.
    pub fn check_pick(&mut self, arm: &Arm, note: Note, why: Why) {
        self.note(note);
        let (endpoint, Note { us, arm: index, at, .. }) = (&arm.endpoints[note.at], note);
        let view = endpoint.view(us / 1000);
        if endpoint.is_drained() {
            self.broken("a drained endpoint was picked");
        }
        match why {
            Why::Usable if !endpoint.is_usable() => self.broken("an endpoint that is not usable was picked"),
            Why::Usable => {}
            Why::Trial => {
                if view.left_ms != Some(0) {
                    self.broken(&format!("a try before its time: {view:?}"));
                }
                if self.known[index][at].trial_us.is_some_and(|began| us / 1000 < began / 1000 + TRY_MS) {
                    self.broken("two tries of an ejected endpoint at a time");
                }
                self.known[index][at].trial_us = Some(us);
                self.report.trials.push((index, at, us / 1000));
            }
            Why::LastResort => {
                if index != 0 {
                    self.broken("a variant has no last resort");
                }
                self.report.last_resorts += 1;
            }
            Why::Panic => self.report.panics += 1,
        }
    }

    pub fn end_trial(&mut self, arm: usize, at: usize) {
        self.known[arm][at].trial_us = None;
    }

    /// A try begins: what was picked before a wait may have been drained or ejected meanwhile.
    pub fn check_begin(&mut self, arm: &Arm, request: &Request, us: u64) {
        self.note(Note { id: request.id, ..Note::of(us, "begin", request.arm, request.picked.at) });
        if arm.endpoints[request.picked.at].is_drained() {
            let since = self.known[request.arm][request.picked.at].drained_us.unwrap_or(0);
            if us > since + BACK_OFF_US {
                self.broken("a drained endpoint gets a request");
            }
        }
    }

    /// A request was written, perhaps in part.
    pub fn check_sent(&self, request: &Request) {
        let may_repeat = self.policy.methods.contains(&request.method) && request.resendable != Resendable::No;
        if request.sent > 1 && !may_repeat {
            self.broken(&format!("a {} with {:?} was sent twice", request.method, request.resendable));
        }
    }

    /// A change of an endpoint; returns the length of an ejection.
    pub fn check_change(&mut self, arm: &Arm, note: Note, changed: Transition) -> Option<u64> {
        let (index, at) = (note.arm, note.at);
        let what = match changed {
            Transition::Ejected { .. } => "ejected",
            Transition::Failing { .. } => "failing",
            Transition::Admitted => "admitted",
            Transition::Recovered => "recovered",
            Transition::Drained => "drained",
            Transition::Undrained => "undrained",
            Transition::Unhealthy => "unhealthy",
            Transition::Healthy => "healthy",
        };
        self.note(Note { what, ..note });
        if !self.has_people {
            self.check_caps(arm);
        }
        match changed {
            Transition::Ejected { cause, for_ms: Some(for_ms), nth } => {
                let before = self.known[index][at].nth.replace(nth);
                if before.is_some_and(|before| nth != before + 1) {
                    self.broken(&format!("ejection {nth} in a row after {before:?}"));
                }
                let base_ms = arm.outlier.base_ejection.as_millis() as f64;
                let longest = (base_ms * 2_f64.powi(nth.min(40).cast_signed() - 1)).min(300_000.0);
                if !(longest * 0.9 - 1.0..=longest * 1.1).contains(&(for_ms as f64)) {
                    self.broken(&format!("ejection {nth} in a row lasts {for_ms} ms, not about {longest}"));
                }
                self.known[index][at].trial_us = None;
                self.report.ejections.push(Ejection { arm: index, at, ms: note.us / 1000, cause, for_ms, nth });
                return Some(for_ms);
            }
            Transition::Ejected { for_ms: None, .. } => self.broken("no person has ejected it"),
            Transition::Admitted | Transition::Failing { .. } => {
                self.known[index][at].nth = None;
                self.known[index][at].trial_us = None;
                if changed == Transition::Admitted {
                    self.report.admissions.push((index, at, note.us / 1000));
                }
            }
            Transition::Recovered
            | Transition::Drained
            | Transition::Undrained
            | Transition::Unhealthy
            | Transition::Healthy => {}
        }
        None
    }

    /// One is usable, and the cap of those that answer badly is kept.
    fn check_caps(&self, arm: &Arm) {
        if arm.health.usable() == 0 {
            self.broken("no endpoint is usable");
        }
        let views: Vec<_> = arm.endpoints.iter().map(|endpoint| endpoint.view(0)).collect();
        let is_bad = |by: FailureCause| by.kind() == FailureKind::BadAnswer;
        let bad = views.iter().filter(|view| view.ejected.is_some_and(is_bad)).count();
        let most = (views.len() * arm.outlier.max_ejected_percent as usize / 100).max(1);
        if bad > most {
            self.broken(&format!("{bad} endpoints answer badly and are ejected, at most {most}"));
        }
        let unusable = arm.endpoints.iter().any(|endpoint| !endpoint.is_usable());
        if arm.health.has_unusable() != unusable {
            self.broken("the flag of the fast path is stale");
        }
    }

    /// An ejection is over for longer than a quarter of it. Its server is well since: the endpoint is back.
    pub fn check_return(&self, arm: &Arm, note: Note, epoch: u32, until_us: u64) {
        let endpoint = &arm.endpoints[note.at];
        let is_same = endpoint.epoch() == epoch && endpoint.view(note.us / 1000).ejected.is_some();
        // A request tries it, if there is one.
        let second = index(note.us / 1_000_000);
        let requests: u64 = self.seconds[note.arm][second - 1..=second].iter().map(|(requests, _)| requests).sum();
        if requests < 10 {
            return;
        }
        if is_same && !endpoint.is_drained() && arm.servers[note.at].is_well_during(until_us, note.us) {
            let view = endpoint.view(note.us / 1000);
            self.broken(&format!("endpoint {}.{} is well, but not back: {view:?}", note.arm, note.at));
        }
    }

    pub fn record_act(&mut self, act: Person, us: u64) {
        match act {
            Person::Drain { at } => self.known[0][at].drained_us = Some(us),
            Person::Undrain { at } => self.known[0][at].drained_us = None,
        }
    }

    /// A request has ended: if it failed, no endpoint could have answered it, or what it may try was spent.
    pub fn check_ending(&mut self, arm: &Arm, request: &Request, ending: Ending, us: u64) {
        let name = match ending {
            Ending::Good => "good",
            Ending::BrokenBody => "broken_body",
            Ending::GivenUp(reason) => reason.name(),
            Ending::NoEndpoint => "no_endpoint",
        };
        self.note(Note { id: request.id, ..Note::of(us, name, request.arm, request.picked.at) });
        let second = index(us / 1_000_000).min(self.report.good_by_second.len() - 1);
        if ending == Ending::Good {
            self.report.good += 1;
            self.report.good_by_second[second] += 1;
            return;
        }
        *self.report.failed.entry(name).or_default() += 1;
        self.report.failed_by_second[second] += 1;
        self.report.longest_failure_ms = self.report.longest_failure_ms.max((us - request.began_us) / 1000);
        let could = |at: usize| !arm.endpoints[at].is_drained() && arm.servers[at].is_well_during(request.began_us, us);
        let repeatable = self.policy.methods.contains(&request.method) && request.resendable != Resendable::No;
        let had_one = (0..arm.servers.len()).any(could);
        let was_sent = request.sent > 0;
        if !had_one || was_sent && !repeatable || ending == Ending::BrokenBody {
            return;
        }
        let is_spent = match ending {
            Ending::GivenUp(GiveUpReason::Budget) => true,
            Ending::GivenUp(GiveUpReason::Attempts) => {
                request.past.made >= self.policy.attempts || request.past.endpoints + 1 >= ENDPOINTS_MAX
            }
            Ending::GivenUp(_) | Ending::NoEndpoint | Ending::Good | Ending::BrokenBody => false,
        };
        if !is_spent {
            let safe = is_safe(&request.method);
            self.broken(&format!("request {} failed ({name}, safe: {safe}) beside a healthy endpoint", request.id));
        }
        *self.report.spent.entry(name).or_default() += 1;
    }

    pub fn check_end(&self, open: usize, in_flight: u32) {
        if (open, in_flight) != (0, 0) {
            self.broken(&format!("{open} requests have not ended, {in_flight} are in flight"));
        }
    }

    /// The counts of the health are those of the events.
    pub fn report(&mut self, arms: &[Arm]) -> Report {
        for (index, arm) in arms.iter().enumerate() {
            let counts = arm.health.counts();
            let ejections = self.report.ejections.iter().filter(|one| one.arm == index).count() as u64;
            let admissions = self.report.admissions.iter().filter(|one| one.0 == index).count() as u64;
            if counts.ejections.iter().sum::<u64>() != ejections || counts.admissions < admissions {
                self.broken(&format!("{counts:?} are not {ejections} ejections and {admissions} admissions"));
            }
        }
        let mut report = std::mem::take(&mut self.report);
        let failed: u64 = report.failed.values().sum();
        if report.good + failed != report.requests {
            self.broken(&format!("{} good and {failed} failed are not all", report.good));
        }
        report.hash = self.hash;
        report
    }
}

fn index(second: u64) -> usize {
    usize::try_from(second).expect("a short time")
}
