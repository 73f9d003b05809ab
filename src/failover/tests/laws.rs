//! Laws of ejection and rotation under any sequence of tries, checks, tests of the control thread, acts of people and
//! changed endpoints.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::key;
use crate::failover::{
    ActiveChecks, CheckOutcome, CheckThresholds, CheckedHealth, Choice, EndpointHealth, EndpointSetting, FailedTry,
    FailureCause, FailureKind, Moment, Sender, Transition, UpstreamHealth,
};
use crate::route::{EndpointRole, OutlierSettings};

/// Endpoints of a script.
const ENDPOINTS: u8 = 5;
/// How long a claim lasts without a result.
const TRY_MS: u64 = 5_000;
const THRESHOLDS: CheckThresholds = CheckThresholds { healthy: 2, unhealthy: 3 };

#[derive(Clone, Debug)]
enum Act {
    Advance {
        ms: u64,
    },
    /// Several tries fail, each of the present epoch.
    Fail {
        at: usize,
        cause: FailureCause,
        times: usize,
    },
    /// Tries end that began before the last change.
    Straggle {
        at: usize,
        cause: FailureCause,
    },
    Succeed {
        at: usize,
    },
    /// A request looks for an endpoint that is due, and reports later, or never.
    Try {
        at: usize,
        sender: Sender,
    },
    Probe,
    Drain {
        at: usize,
    },
    Undrain {
        at: usize,
    },
    EjectByHand {
        at: usize,
    },
    AdmitByHand {
        at: usize,
    },
    /// The endpoints are now those of these bits.
    Set {
        bits: u8,
        backups: u8,
        drained: u8,
    },
    /// Active checks end.
    Check {
        at: usize,
        outcome: CheckOutcome,
        times: usize,
    },
}

fn at() -> impl Strategy<Value = usize> {
    0..usize::from(ENDPOINTS)
}

fn cause() -> impl Strategy<Value = FailureCause> {
    // A person's act is no failure of a try.
    (0..FailureCause::ALL.len() - 1).prop_map(|index| FailureCause::ALL[index])
}

/// What tries and time do.
fn tries() -> impl Strategy<Value = Act> {
    let sender = prop_oneof![
        proptest::strategy::Just(Sender::Safe),
        proptest::strategy::Just(Sender::Unsafe),
        proptest::strategy::Just(Sender::Copy),
    ];
    prop_oneof![
        2 => (0_u64..20_000).prop_map(|ms| Act::Advance { ms }),
        1 => (20_000_u64..400_000).prop_map(|ms| Act::Advance { ms }),
        4 => (at(), cause(), 1_usize..8).prop_map(|(at, cause, times)| Act::Fail { at, cause, times }),
        1 => (at(), cause()).prop_map(|(at, cause)| Act::Straggle { at, cause }),
        2 => at().prop_map(|at| Act::Succeed { at }),
        2 => (at(), sender).prop_map(|(at, sender)| Act::Try { at, sender }),
        1 => proptest::strategy::Just(Act::Probe),
    ]
}

/// The same with what people and DNS do.
fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => tries(),
        1 => at().prop_map(|at| Act::Drain { at }),
        1 => at().prop_map(|at| Act::Undrain { at }),
        1 => at().prop_map(|at| Act::EjectByHand { at }),
        1 => at().prop_map(|at| Act::AdmitByHand { at }),
        1 => set(),
    ]
}

fn set() -> impl Strategy<Value = Act> {
    let bits = || 0_u8..(1 << ENDPOINTS);
    // Few are drained: what serves is more interesting.
    let drained = (bits(), bits(), bits()).prop_map(|(a, b, c)| a & b & c);
    (bits(), bits(), drained).prop_map(|(bits, backups, drained)| Act::Set { bits, backups, drained })
}

/// The same with active checks.
fn checked_acts() -> impl Strategy<Value = Act> {
    let outcome =
        any::<bool>().prop_map(|good| if good { CheckOutcome::Good } else { CheckOutcome::Bad("503".into()) });
    prop_oneof![
        2 => acts(),
        1 => (at(), outcome, 1_usize..5).prop_map(|(at, outcome, times)| Act::Check { at, outcome, times }),
    ]
}

/// An upstream under a script, and what is known of it from the reported changes.
struct Law {
    upstream: UpstreamHealth,
    settings: OutlierSettings,
    /// Those that the script names; the upstream may not have them at the moment.
    endpoints: Vec<Arc<EndpointHealth>>,
    current: Vec<usize>,
    now_ms: u64,
    draw: f64,
    /// When the try of an endpoint was claimed, while no change followed.
    claims: HashMap<usize, u64>,
    /// Missing ones that were well.
    forgettable: HashSet<usize>,
    ejections: u64,
    admissions: u64,
    /// Those that came when the upstream had others.
    later: HashSet<usize>,
    /// The verdicts that must be there, with good and bad checks in a row.
    verdicts: Vec<(CheckedHealth, u32, u32)>,
    /// Which endpoints got requests after the last step, and the number of changes until then.
    rotation: (Vec<usize>, u64),
}

impl Law {
    fn new(max_ejected_percent: u32, checks: ActiveChecks) -> Self {
        let upstream = UpstreamHealth::new(1);
        upstream.set_checks(checks);
        let keys: Vec<_> = (1..=ENDPOINTS).map(key).collect();
        let endpoints = upstream.set_endpoints(&keys, 0);
        let settings = OutlierSettings { max_ejected_percent, ..OutlierSettings::default() };
        let current: Vec<usize> = (0..endpoints.len()).collect();
        let rotation = (current.clone(), upstream.rotation());
        let verdicts = endpoints.iter().map(|one| (one.checked(), 0, 0)).collect();
        Self {
            upstream,
            settings,
            endpoints,
            current,
            now_ms: 0,
            draw: 0.3,
            claims: HashMap::new(),
            forgettable: HashSet::new(),
            ejections: 0,
            admissions: 0,
            later: HashSet::new(),
            verdicts,
            rotation,
        }
    }

    fn step(&mut self, act: &Act) {
        match *act {
            Act::Advance { ms } => self.now_ms += ms,
            Act::Fail { at, cause, times } => (0..times).for_each(|_| self.fail(at, cause, 0)),
            Act::Straggle { at, cause } => {
                let before = self.endpoints[at].view(self.now_ms);
                self.fail(at, cause, 1);
                let late = self.endpoints[at].epoch().wrapping_sub(1);
                assert_eq!(self.upstream.record_success(&self.endpoints[at], late, self.now_ms), None);
                assert_eq!(self.endpoints[at].view(self.now_ms), before, "a straggler changes nothing");
            }
            Act::Succeed { at } => {
                let endpoint = Arc::clone(&self.endpoints[at]);
                let changed = self.upstream.record_success(&endpoint, endpoint.epoch(), self.now_ms);
                self.see(at, changed);
            }
            Act::Try { at, sender } => self.try_it(at, sender),
            Act::Probe => self.probe(),
            // People act on endpoints that the upstream has.
            Act::Drain { at } | Act::Undrain { at } | Act::EjectByHand { at } | Act::AdmitByHand { at }
                if !self.current.contains(&at) => {}
            Act::Drain { at } => self.see(at, self.upstream.drain(&self.endpoints[at], 0)),
            Act::Undrain { at } => self.see(at, self.upstream.undrain(&self.endpoints[at], 0)),
            Act::EjectByHand { at } => self.see(at, self.upstream.eject_by_hand(&self.endpoints[at], self.now_ms)),
            Act::AdmitByHand { at } => self.see(at, self.upstream.admit_by_hand(&self.endpoints[at], self.now_ms)),
            Act::Set { bits, backups, drained } => self.set(bits, backups, drained),
            // A check of an endpoint that the upstream does not have is ignored by the prober.
            Act::Check { at, .. } if !self.current.contains(&at) => {}
            Act::Check { at, ref outcome, times } => (0..times).for_each(|_| self.check_once(at, outcome)),
        }
        self.check();
    }

    fn fail(&mut self, at: usize, cause: FailureCause, changes_ago: u32) {
        let endpoint = Arc::clone(&self.endpoints[at]);
        let failed = FailedTry { cause, epoch: endpoint.epoch().wrapping_sub(changes_ago) };
        // Another draw each time, from 0 to 1.
        self.draw = (self.draw * 7.3).fract();
        let moment = Moment { now_ms: self.now_ms, draw: self.draw };
        let changed = self.upstream.record_failure(&endpoint, failed, &self.settings, moment);
        self.see(at, changed);
    }

    fn try_it(&mut self, at: usize, sender: Sender) {
        let endpoint = &self.endpoints[at];
        let (view, choice) = (endpoint.view(self.now_ms), UpstreamHealth::choice(endpoint, self.now_ms, sender));
        match choice {
            Choice::Yes => assert!(endpoint.is_in_rotation(), "{view:?}"),
            Choice::No => assert!(!endpoint.is_in_rotation(), "{view:?}"),
            Choice::Trial => {
                assert!(self.upstream.next_trial_ms() <= self.now_ms || !self.current.contains(&at), "{view:?}");
                assert!(view.checked != CheckedHealth::Unhealthy, "an unhealthy one is not tried: {view:?}");
                assert!(!view.drained && view.left_ms == Some(0) && sender != Sender::Copy, "{view:?}");
                assert!(UpstreamHealth::claim(endpoint, self.now_ms), "what is offered can be claimed");
                self.claimed(at);
            }
        }
    }

    fn probe(&mut self) {
        for (key, endpoint) in self.upstream.due_probes(self.now_ms) {
            let at = self.endpoints.iter().position(|one| Arc::ptr_eq(one, &endpoint)).expect("one of them");
            let view = endpoint.view(self.now_ms);
            assert!(self.current.contains(&at) && !view.drained && view.left_ms == Some(0), "{key:?} {view:?}");
            assert_eq!(view.ejected.map(FailureCause::kind), Some(FailureKind::NotAccepting));
            self.claimed(at);
        }
    }

    fn claimed(&mut self, at: usize) {
        let before = self.claims.insert(at, self.now_ms);
        assert!(before.is_none_or(|ms| ms + TRY_MS <= self.now_ms), "one try at a time: {before:?}");
    }

    fn set(&mut self, bits: u8, backups: u8, drained: u8) {
        let has = |bits: u8, at: &usize| bits & (1 << at) != 0;
        let had = std::mem::take(&mut self.current);
        self.current = (0..usize::from(ENDPOINTS)).filter(|at| has(bits, at)).collect();
        let role = |at: &usize| match (has(drained, at), has(backups, at)) {
            (true, _) => EndpointRole::Drained,
            (false, true) => EndpointRole::Backup,
            (false, false) => EndpointRole::Primary,
        };
        let setting = |host: u8| EndpointSetting { key: key(host), role: role(&usize::from(host - 1)) };
        let settings: Vec<_> = (1..=ENDPOINTS).filter(|host| has(bits, &usize::from(host - 1))).map(setting).collect();
        let missing = (0..usize::from(ENDPOINTS)).filter(|at| !self.current.contains(at));
        let is_well = |at: &usize| {
            let (endpoint, view) = (&self.endpoints[*at], self.endpoints[*at].view(self.now_ms));
            let is_out = view.ejected.is_some() || endpoint.is_drained_by_hand();
            !is_out && !endpoint.is_failing() && view.failures == 0 && view.in_row == 0
        };
        self.forgettable.extend(missing.filter(is_well));
        let before = self.upstream.counts().admissions;
        for at in self.current.iter().filter(|at| !had.contains(at)) {
            self.later.remove(at);
            self.later.extend((!had.is_empty()).then_some(at));
        }
        for (at, endpoint) in self.current.iter().zip(self.upstream.set_endpoints(&settings, self.now_ms)) {
            let is_same = Arc::ptr_eq(&self.endpoints[*at], &endpoint);
            assert!(self.forgettable.remove(at) || is_same, "only what is well is forgotten: {at}");
            if !is_same || !had.contains(at) {
                // Checks of before it left say nothing.
                self.verdicts[*at] = (endpoint.checked(), 0, 0);
            }
            self.endpoints[*at] = endpoint;
        }
        assert_eq!(self.upstream.counts().admissions, before, "admission for want of others is not counted");
    }

    /// One active check against what it must do.
    fn check_once(&mut self, at: usize, outcome: &CheckOutcome) {
        let endpoint = Arc::clone(&self.endpoints[at]);
        let before = endpoint.view(self.now_ms);
        let changes = self.upstream.record_check(&endpoint, outcome, THRESHOLDS, self.now_ms);
        if before.checked == CheckedHealth::Unchecked {
            assert!(!changes.is_any(), "nothing checks it");
            return;
        }
        let (verdict, good, bad) = self.verdicts[at];
        let (good, bad) = if *outcome == CheckOutcome::Good { (good + 1, 0) } else { (0, bad + 1) };
        let next = match verdict {
            CheckedHealth::Unknown if good > 0 => CheckedHealth::Healthy,
            CheckedHealth::Unknown => CheckedHealth::Unhealthy,
            CheckedHealth::Healthy if bad >= THRESHOLDS.unhealthy => CheckedHealth::Unhealthy,
            CheckedHealth::Unhealthy if good >= THRESHOLDS.healthy => CheckedHealth::Healthy,
            CheckedHealth::Unchecked | CheckedHealth::Healthy | CheckedHealth::Unhealthy => verdict,
        };
        self.verdicts[at] = (next, good, bad);
        let after = endpoint.view(self.now_ms);
        assert_eq!((after.checked, changes.verdict.is_some()), (next, next != verdict), "{outcome:?}");
        let is_due = before.left_ms == Some(0) && *outcome == CheckOutcome::Good;
        let ejected = if is_due { None } else { before.ejected };
        assert_eq!((after.ejected, changes.admitted.is_some()), (ejected, is_due), "{before:?}");
        self.see(at, changes.admitted);
    }

    /// Checks a reported change against the state that it has left.
    fn see(&mut self, at: usize, changed: Option<Transition>) {
        let view = self.endpoints[at].view(self.now_ms);
        match changed {
            Some(Transition::Ejected { cause, for_ms, nth }) => {
                self.ejections += 1;
                self.claims.remove(&at);
                assert_eq!((view.failures, view.ejected, view.left_ms), (0, Some(cause), for_ms));
                if let Some(ms) = for_ms {
                    self.check_ejection(at, cause);
                    let base_ms = u64::try_from(self.settings.base_ejection.as_millis()).expect("a short time");
                    let longest = (base_ms << (nth - 1).min(20)).min(300_000);
                    assert!((longest * 9 / 10..=longest * 11 / 10).contains(&ms), "{ms} ms, {nth} in a row");
                }
            }
            Some(Transition::Admitted) => {
                self.admissions += 1;
                self.claims.remove(&at);
                assert_eq!((view.failures, view.ejected), (0, None));
            }
            Some(Transition::Failing { .. }) => {
                if self.admissions < self.upstream.counts().admissions {
                    // It was ejected, and the caps do not allow that any more.
                    self.admissions += 1;
                    self.claims.remove(&at);
                }
                assert_eq!(view.ejected, None);
            }
            _ => {}
        }
    }

    /// After an ejection by a failure: one is left, and the cap is kept.
    fn check_ejection(&self, at: usize, cause: FailureCause) {
        let current = || self.current.iter().map(|at| self.endpoints[*at].view(self.now_ms));
        assert!(self.current.contains(&at), "one that gets requests");
        assert!(current().any(|view| view.standing.serves()), "one is left");
        if cause.kind() == FailureKind::BadAnswer {
            let (most, bad) = self.cap();
            assert!(bad <= most, "{bad} answer badly and are ejected, at most {most}");
        }
    }

    /// The most endpoints that may be ejected for bad answers, and those that are.
    fn cap(&self) -> (usize, usize) {
        let all = self.current.iter().map(|at| self.endpoints[*at].view(self.now_ms)).filter(|view| !view.drained);
        let views: Vec<_> = all.collect();
        let most = (views.len() * self.settings.max_ejected_percent as usize / 100).max(1);
        let is_bad = |by: FailureCause| by.kind() == FailureKind::BadAnswer && by != FailureCause::ByHand;
        (most, views.iter().filter(|view| view.ejected.is_some_and(is_bad)).count())
    }

    /// After each step.
    fn check(&mut self) {
        for endpoint in &self.endpoints {
            let view = endpoint.view(self.now_ms);
            assert_eq!(endpoint.is_in_rotation(), view.standing.serves(), "{view:?}");
        }
        let counts = self.upstream.counts();
        assert_eq!((counts.ejections.iter().sum(), counts.admissions), (self.ejections, self.admissions));
        self.check_rotation();
    }

    /// Which endpoints get requests, by the rules alone.
    fn check_rotation(&mut self) {
        let all: Vec<(usize, &EndpointHealth)> = self.current.iter().map(|at| (*at, &*self.endpoints[*at])).collect();
        let usable = || all.iter().map(|(_, one)| *one).filter(|one| one.is_usable());
        let is_any_healthy = usable().any(|one| one.checked() == CheckedHealth::Healthy);
        let waits = |at: usize| {
            is_any_healthy && self.later.contains(&at) && self.endpoints[at].checked() == CheckedHealth::Unknown
        };
        let is_primary = |at: usize| !self.endpoints[at].is_backup() && self.endpoints[at].is_usable() && !waits(at);
        let is_primary_there = self.current.iter().any(|at| is_primary(*at));
        for (at, one) in &all {
            let serves = one.is_usable() && !waits(*at) && !(one.is_backup() && is_primary_there);
            assert_eq!(one.is_in_rotation(), serves, "{at}: {:?}", one.view(self.now_ms));
            let is_well = one.is_usable() && one.checked() == CheckedHealth::Healthy && !one.is_backup();
            assert!(!is_well || one.is_in_rotation(), "a healthy one serves");
        }
        let serving: Vec<usize> = all.iter().filter(|(_, one)| one.is_in_rotation()).map(|(at, _)| *at).collect();
        assert_eq!(serving.is_empty(), usable().next().is_none(), "a usable one serves");
        assert_eq!(self.upstream.has_unusable(), serving.len() < all.len());
        let now = self.upstream.rotation();
        let (before, count) = &self.rotation;
        let is_known_change = |at: &usize| before.contains(at) != serving.contains(at);
        let changed = self.current.iter().any(is_known_change);
        assert!(!changed || now != *count, "a change is counted");
        self.rotation = (serving, now);
    }
}

proptest! {
    #[test]
    fn tries_never_empty_an_upstream(script in proptest::collection::vec(tries(), 1..60), percent in 1_u32..=100) {
        let mut law = Law::new(percent, ActiveChecks::Off);
        for act in &script {
            law.step(act);
            assert!(law.upstream.usable() > 0, "after {act:?}");
            let (most, bad) = law.cap();
            assert!(bad <= most, "{bad} of at most {most} after {act:?}");
        }
    }

    #[test]
    fn people_and_dns_break_no_law(script in proptest::collection::vec(acts(), 1..80), percent in any::<u8>()) {
        let mut law = Law::new(u32::from(percent % 101), ActiveChecks::Off);
        for act in &script {
            law.step(act);
        }
    }

    #[test]
    fn checks_break_no_law(script in proptest::collection::vec(checked_acts(), 1..80), percent in 1_u32..=100) {
        let mut law = Law::new(percent, ActiveChecks::On);
        for act in &script {
            law.step(act);
        }
    }
}
