//! Laws of ejection under any sequence of tries, tests of the control thread, acts of people and changed endpoints.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::key;
use crate::failover::{
    Choice, EndpointHealth, FailedTry, FailureCause, FailureKind, Moment, Sender, Transition, UpstreamHealth,
};
use crate::route::OutlierSettings;

/// Endpoints of a script.
const ENDPOINTS: u8 = 5;
/// How long a claim lasts without a result.
const TRY_MS: u64 = 5_000;

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
        1 => (0_u8..(1 << ENDPOINTS)).prop_map(|bits| Act::Set { bits }),
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
}

impl Law {
    fn new(max_ejected_percent: u32) -> Self {
        let upstream = UpstreamHealth::new(1);
        let keys: Vec<_> = (1..=ENDPOINTS).map(key).collect();
        let endpoints = upstream.set_endpoints(&keys);
        let settings = OutlierSettings { max_ejected_percent, ..OutlierSettings::default() };
        let current = (0..endpoints.len()).collect();
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
            Act::Drain { at } => self.see(at, self.upstream.drain(&self.endpoints[at])),
            Act::Undrain { at } => self.see(at, self.upstream.undrain(&self.endpoints[at])),
            Act::EjectByHand { at } => self.see(at, self.upstream.eject_by_hand(&self.endpoints[at], self.now_ms)),
            Act::AdmitByHand { at } => self.see(at, self.upstream.admit_by_hand(&self.endpoints[at], self.now_ms)),
            Act::Set { bits } => self.set(bits),
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
            Choice::Yes => assert!(endpoint.is_usable(), "{view:?}"),
            Choice::No => assert!(!endpoint.is_usable(), "{view:?}"),
            Choice::Trial => {
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

    fn set(&mut self, bits: u8) {
        self.current = (0..usize::from(ENDPOINTS)).filter(|at| bits & (1 << at) != 0).collect();
        let keys: Vec<_> = (1..=ENDPOINTS).filter(|host| bits & (1 << (host - 1)) != 0).map(key).collect();
        let missing = (0..usize::from(ENDPOINTS)).filter(|at| !self.current.contains(at));
        let is_well = |at: &usize| self.endpoints[*at].is_quiet() && self.endpoints[*at].view(self.now_ms).in_row == 0;
        self.forgettable.extend(missing.filter(is_well));
        for (at, endpoint) in self.current.iter().zip(self.upstream.set_endpoints(&keys)) {
            let is_same = Arc::ptr_eq(&self.endpoints[*at], &endpoint);
            assert!(self.forgettable.remove(at) || is_same, "only what is well is forgotten: {at}");
            self.endpoints[*at] = endpoint;
        }
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
    fn check(&self) {
        let unusable = self.current.iter().any(|at| !self.endpoints[*at].is_usable());
        assert_eq!(self.upstream.has_unusable(), unusable);
        for endpoint in &self.endpoints {
            let view = endpoint.view(self.now_ms);
            assert_eq!(endpoint.is_usable(), view.standing.serves(), "{view:?}");
        }
        let counts = self.upstream.counts();
        assert_eq!((counts.ejections.iter().sum(), counts.admissions), (self.ejections, self.admissions));
    }
}

proptest! {
    #[test]
    fn tries_never_empty_an_upstream(script in proptest::collection::vec(tries(), 1..60), percent in 1_u32..=100) {
        let mut law = Law::new(percent);
        for act in &script {
            law.step(act);
            assert!(law.upstream.usable() > 0, "after {act:?}");
            let (most, bad) = law.cap();
            assert!(bad <= most, "{bad} of at most {most} after {act:?}");
        }
    }

    #[test]
    fn people_and_dns_break_no_law(script in proptest::collection::vec(acts(), 1..80), percent in any::<u8>()) {
        let mut law = Law::new(u32::from(percent % 101));
        for act in &script {
            law.step(act);
        }
    }
}
