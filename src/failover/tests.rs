//! The life of endpoints: failures, ejection, the try that decides, admission, and what people do.

mod checks;
mod laws;

use std::net::SocketAddr;
use std::sync::Arc;

use super::{
    Choice, EndpointHealth, EndpointKey, EndpointStanding, FailedTry, FailureCause, KeptReason, Moment, RecentWindows,
    Sender, Transition, UpstreamHealth,
};
use crate::route::{OutlierSettings, Protocol};

fn key(host: u8) -> EndpointKey {
    EndpointKey { address: SocketAddr::from(([10, 0, 0, host], 8080)), protocol: Protocol::Http1 }
}

/// An upstream with some endpoints and the default settings.
struct Scene {
    upstream: UpstreamHealth,
    endpoints: Vec<Arc<EndpointHealth>>,
    settings: OutlierSettings,
}

impl Scene {
    fn of(endpoints: u8) -> Self {
        let upstream = UpstreamHealth::new(1);
        let keys: Vec<_> = (1..=endpoints).map(key).collect();
        let endpoints = upstream.set_endpoints(&keys, 0);
        Self { upstream, endpoints, settings: OutlierSettings::default() }
    }

    fn fail(&self, at: usize, cause: FailureCause, now_ms: u64) -> Option<Transition> {
        let endpoint = &self.endpoints[at];
        let failed = FailedTry { cause, epoch: endpoint.epoch() };
        self.upstream.record_failure(endpoint, failed, &self.settings, Moment { now_ms, draw: 0.5 })
    }

    /// As many failures as eject; returns the last transition.
    fn fail_often(&self, at: usize, cause: FailureCause, now_ms: u64) -> Option<Transition> {
        let first = (1..self.settings.consecutive_failures).map(|_| self.fail(at, cause, now_ms));
        assert!(first.eq((1..self.settings.consecutive_failures).map(|_| None)), "the first ones change nothing");
        self.fail(at, cause, now_ms)
    }

    fn succeed(&self, at: usize, now_ms: u64) -> Option<Transition> {
        self.upstream.record_success(&self.endpoints[at], self.endpoints[at].epoch(), now_ms)
    }

    fn choice(&self, at: usize, now_ms: u64, sender: Sender) -> Choice {
        UpstreamHealth::choice(&self.endpoints[at], now_ms, sender)
    }

    fn standing(&self, at: usize, now_ms: u64) -> EndpointStanding {
        self.endpoints[at].view(now_ms).standing
    }
}

#[test]
fn five_failures_in_a_row_eject_and_a_success_between_them_does_not() {
    let scene = Scene::of(3);
    for _ in 0..4 {
        assert_eq!(scene.fail(0, FailureCause::Status, 0), None);
    }
    assert!(!scene.endpoints[0].is_quiet());
    assert_eq!(scene.succeed(0, 0), None);
    assert!(scene.endpoints[0].is_quiet() && !scene.upstream.has_unusable());
    let ejected = Transition::Ejected { cause: FailureCause::Status, for_ms: Some(30_000), nth: 1 };
    assert_eq!(scene.fail_often(0, FailureCause::Status, 1_000), Some(ejected));
    assert!(scene.upstream.has_unusable());
    assert_eq!(scene.standing(0, 1_000), EndpointStanding::Ejected);
    assert_eq!(scene.choice(0, 30_999, Sender::Safe), Choice::No);
    assert_eq!(scene.upstream.usable(), 2);
}

#[test]
fn after_its_time_one_safe_request_tries_it_and_a_success_admits() {
    let scene = Scene::of(3);
    scene.fail_often(0, FailureCause::Reset, 0);
    assert_eq!(scene.standing(0, 30_000), EndpointStanding::Trial);
    assert_eq!(scene.choice(0, 30_000, Sender::Copy), Choice::No);
    assert_eq!(scene.choice(0, 30_000, Sender::Unsafe), Choice::No, "within the first quarter only safe methods");
    assert_eq!(scene.choice(0, 37_500, Sender::Unsafe), Choice::Trial);
    assert_eq!(scene.choice(0, 30_000, Sender::Safe), Choice::Trial);
    assert!(UpstreamHealth::claim(&scene.endpoints[0], 30_000));
    assert_eq!(scene.choice(0, 30_001, Sender::Safe), Choice::No, "one at a time");
    assert!(!UpstreamHealth::claim(&scene.endpoints[0], 30_001));
    assert_eq!(scene.choice(0, 35_000, Sender::Safe), Choice::Trial, "a try without a result is not for ever");
    assert_eq!(scene.succeed(0, 30_005), Some(Transition::Admitted));
    assert!(scene.endpoints[0].is_quiet() && !scene.upstream.has_unusable());
    assert_eq!((scene.upstream.counts().admissions, scene.upstream.counts().ejections.iter().sum::<u64>()), (1, 1));
}

#[test]
fn a_failed_try_ejects_for_twice_as_long_and_quiet_halves_it() {
    let scene = Scene::of(3);
    scene.fail_often(0, FailureCause::Reset, 0);
    let again = |for_ms, nth| Some(Transition::Ejected { cause: FailureCause::Reset, for_ms: Some(for_ms), nth });
    assert_eq!(scene.fail(0, FailureCause::Reset, 30_000), again(60_000, 2));
    assert_eq!(scene.fail(0, FailureCause::Reset, 90_000), again(120_000, 3));
    assert_eq!(scene.succeed(0, 210_000), Some(Transition::Admitted));
    assert_eq!(scene.fail_often(0, FailureCause::Reset, 240_000), again(120_000, 3), "one base time of quiet");
}

#[test]
fn stragglers_of_an_ejected_endpoint_change_nothing() {
    let scene = Scene::of(3);
    let before = scene.endpoints[0].epoch();
    scene.fail_often(0, FailureCause::Status, 0);
    assert_eq!(scene.upstream.record_success(&scene.endpoints[0], before, 10), None);
    let late = FailedTry { cause: FailureCause::Status, epoch: before };
    let at = Moment { now_ms: 40_000, draw: 0.5 };
    assert_eq!(scene.upstream.record_failure(&scene.endpoints[0], late, &scene.settings, at), None);
    assert_eq!(scene.standing(0, 10), EndpointStanding::Ejected);
    assert_eq!(scene.endpoints[0].view(10).failures, 0, "counted from zero");
}

#[test]
fn a_last_resort_before_the_time_admits_by_success_and_does_not_prolong_by_failure() {
    let scene = Scene::of(3);
    scene.fail_often(0, FailureCause::ConnectRefused, 0);
    let left = scene.endpoints[0].view(0).left_ms;
    assert_eq!(scene.fail(0, FailureCause::ConnectRefused, 0), None);
    assert_eq!(scene.endpoints[0].view(0).left_ms, left);
    // While another endpoint is well, only `panic_percent` sends it requests: they do not shorten its time.
    assert_eq!(scene.succeed(0, 100), None);
    scene.fail_often(1, FailureCause::ConnectRefused, 100);
    scene.fail_often(2, FailureCause::ConnectRefused, 100);
    assert_eq!(scene.succeed(0, 200), Some(Transition::Admitted));
}

#[test]
fn where_only_ejected_endpoints_are_left_they_serve() {
    let scene = Scene::of(3);
    scene.fail_often(0, FailureCause::Status, 0);
    scene.upstream.set_endpoints(&[key(1)], 0);
    assert_eq!((scene.standing(0, 1), scene.upstream.has_unusable()), (EndpointStanding::Usable, false));
}

#[test]
fn the_last_usable_endpoint_is_kept_and_said_to_fail() {
    let scene = Scene::of(3);
    for at in [0, 1] {
        assert!(matches!(scene.fail_often(at, FailureCause::ConnectRefused, 0), Some(Transition::Ejected { .. })));
    }
    let kept = Transition::Failing { cause: FailureCause::ConnectRefused, kept: KeptReason::LastUsable };
    assert_eq!(scene.fail_often(2, FailureCause::ConnectRefused, 0), Some(kept));
    assert_eq!(scene.fail(2, FailureCause::ConnectRefused, 0), None, "said once");
    assert_eq!((scene.standing(2, 0), scene.choice(2, 0, Sender::Copy)), (EndpointStanding::Failing, Choice::Yes));
    // Another one comes back: the next failure ejects it.
    assert_eq!(scene.succeed(0, 1), Some(Transition::Admitted));
    assert!(matches!(scene.fail(2, FailureCause::ConnectRefused, 2), Some(Transition::Ejected { .. })));
    assert_eq!(scene.succeed(1, 30_000), Some(Transition::Admitted));
}

#[test]
fn those_that_answer_badly_have_a_cap_of_their_own() {
    let scene = Scene::of(3);
    assert!(matches!(scene.fail_often(0, FailureCause::Status, 0), Some(Transition::Ejected { .. })));
    let kept = Transition::Failing { cause: FailureCause::Status, kept: KeptReason::Cap };
    assert_eq!(scene.fail_often(1, FailureCause::Status, 0), Some(kept));
    assert_eq!(scene.succeed(1, 9_999), None, "a success among failures");
    assert_eq!((scene.standing(1, 9_999), scene.endpoints[1].view(9_999).failures), (EndpointStanding::Failing, 0));
    assert_eq!(scene.succeed(1, 10_000), Some(Transition::Recovered));
    assert!(scene.endpoints[1].is_quiet());
    assert!(matches!(scene.fail_often(1, FailureCause::ConnectTimeout, 0), Some(Transition::Ejected { .. })));
}

#[test]
fn a_try_that_fails_in_another_way_ejects_anew_only_within_the_cap() {
    let scene = Scene::of(3);
    scene.fail_often(0, FailureCause::ConnectRefused, 0);
    scene.fail_often(1, FailureCause::Status, 0);
    // It accepts connections again, but answers badly, as one does already.
    let kept = Transition::Failing { cause: FailureCause::Status, kept: KeptReason::Cap };
    assert_eq!(scene.fail(0, FailureCause::Status, 40_000), Some(kept));
    assert_eq!(scene.standing(0, 40_000), EndpointStanding::Failing);
    assert!(matches!(scene.fail(1, FailureCause::Status, 40_000), Some(Transition::Ejected { nth: 2, .. })));
}

#[test]
fn what_gets_no_request_is_not_ejected() {
    let scene = Scene::of(3);
    scene.upstream.drain(&scene.endpoints[0], 0);
    assert_eq!(scene.fail(1, FailureCause::ConnectRefused, 0), None);
    scene.upstream.set_endpoints(&[key(1), key(3)], 0);
    for at in [0, 1] {
        assert!((0..9).all(|_| scene.fail(at, FailureCause::ConnectRefused, 0).is_none()));
    }
    scene.upstream.undrain(&scene.endpoints[0], 0);
    scene.upstream.set_endpoints(&[key(1), key(2), key(3)], 0);
    assert_eq!(scene.upstream.usable(), 3);
    assert!(matches!(scene.fail(1, FailureCause::ConnectRefused, 0), Some(Transition::Ejected { .. })));
}

#[test]
fn an_ejected_endpoint_is_admitted_once_ejection_is_switched_off() {
    let mut scene = Scene::of(3);
    scene.fail_often(0, FailureCause::Status, 0);
    scene.settings.consecutive_failures = 0;
    assert_eq!(scene.fail(0, FailureCause::Status, 29_999), None);
    assert_eq!(scene.fail(0, FailureCause::Status, 30_000), Some(Transition::Admitted));
}

#[test]
fn a_claim_is_void_once_the_try_is_not_due() {
    let scene = Scene::of(3);
    assert!(!UpstreamHealth::claim(&scene.endpoints[0], 0), "it is not ejected");
    scene.fail_often(0, FailureCause::Status, 0);
    assert!(!UpstreamHealth::claim(&scene.endpoints[0], 29_999));
    assert!(UpstreamHealth::claim(&scene.endpoints[0], 30_000), "the void claim keeps no one away");
}

#[test]
fn one_alone_is_never_ejected() {
    let scene = Scene::of(1);
    let kept = Transition::Failing { cause: FailureCause::ConnectRefused, kept: KeptReason::Alone };
    assert_eq!(scene.fail_often(0, FailureCause::ConnectRefused, 0), Some(kept));
    assert!(!scene.upstream.has_unusable());
    assert_eq!(scene.succeed(0, 10_000), Some(Transition::Recovered));
}

#[test]
fn zero_failures_in_a_row_turn_ejection_off() {
    let mut scene = Scene::of(3);
    scene.settings.consecutive_failures = 0;
    assert!((0..1_000).all(|now_ms| scene.fail(0, FailureCause::Status, now_ms).is_none()));
    assert!(!scene.upstream.has_unusable());
}

#[test]
fn a_share_of_failures_ejects_from_twenty_requests_on() {
    let mut scene = Scene::of(3);
    scene.settings.failure_percent = 50;
    let recent = RecentWindows::new(1);
    let at = Moment { now_ms: 1_500, draw: 0.5 };
    let judged = || scene.upstream.record_share(&scene.endpoints[0], &recent, &scene.settings, at);
    for _ in 0..19 {
        recent.add_request(0, 1);
        recent.add_failure(0, 1);
    }
    assert_eq!(judged(), None, "too few requests");
    recent.add_request(0, 1);
    assert!(matches!(judged(), Some(Transition::Ejected { cause: FailureCause::Percent, .. })));
    assert_eq!(judged(), None, "it is ejected already");
    assert_eq!(scene.succeed(0, 31_500), Some(Transition::Admitted));
    assert_eq!(judged(), None, "the failures before the admission are paid for");
}

#[test]
fn the_control_thread_tries_those_that_accept_no_connections() {
    let scene = Scene::of(3);
    scene.fail_often(0, FailureCause::Tls, 0);
    scene.fail_often(1, FailureCause::Status, 0);
    assert!(scene.upstream.due_probes(29_999).is_empty());
    let due = scene.upstream.due_probes(30_000);
    assert_eq!(due.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [key(1)]);
    assert!(scene.upstream.due_probes(30_001).is_empty(), "claimed");
    assert_eq!(scene.choice(0, 30_000, Sender::Safe), Choice::No, "requests leave it to the control thread");
    assert_eq!(scene.choice(0, 37_500, Sender::Safe), Choice::Trial, "but not for ever");
}

#[test]
fn people_drain_eject_and_admit() {
    let scene = Scene::of(2);
    let endpoint = &scene.endpoints[0];
    assert_eq!(scene.upstream.drain(endpoint, 0), Some(Transition::Drained));
    assert_eq!(scene.upstream.drain(endpoint, 0), None);
    assert_eq!((scene.standing(0, 0), scene.choice(0, 0, Sender::Safe)), (EndpointStanding::Drained, Choice::No));
    assert!(scene.upstream.has_unusable());
    // Of the two only one is left: it is alone.
    let kept = Transition::Failing { cause: FailureCause::Reset, kept: KeptReason::Alone };
    assert_eq!(scene.fail_often(1, FailureCause::Reset, 0), Some(kept));
    assert_eq!(scene.upstream.undrain(endpoint, 0), Some(Transition::Undrained));
    assert!(!scene.upstream.has_unusable());
    let ejected = Transition::Ejected { cause: FailureCause::ByHand, for_ms: None, nth: 0 };
    assert_eq!(scene.upstream.eject_by_hand(endpoint, 0), Some(ejected));
    assert_eq!(scene.upstream.eject_by_hand(endpoint, 0), None);
    assert_eq!(scene.choice(0, u64::MAX - 1, Sender::Safe), Choice::No, "until a person admits it");
    assert_eq!(scene.succeed(0, 1), None);
    assert_eq!(scene.upstream.admit_by_hand(endpoint, 2), Some(Transition::Admitted));
    assert_eq!(scene.upstream.admit_by_hand(endpoint, 2), None);
}

#[test]
fn an_endpoint_that_is_missing_for_a_while_keeps_its_state() {
    let scene = Scene::of(3);
    scene.fail_often(0, FailureCause::Status, 0);
    scene.upstream.set_endpoints(&[key(2), key(3)], 0);
    assert!(!scene.upstream.has_unusable());
    let again = scene.upstream.set_endpoints(&[key(3), key(1), key(1)], 0);
    assert!(Arc::ptr_eq(&again[1], &scene.endpoints[0]) && Arc::ptr_eq(&again[1], &again[2]));
    assert!(scene.upstream.has_unusable());
}

#[test]
fn a_hand_over_keeps_ejections_and_drains() {
    let scene = Scene::of(3);
    scene.fail_often(0, FailureCause::Status, 0);
    scene.upstream.drain(&scene.endpoints[1], 0);
    let memories = scene.upstream.memories(10_000);
    assert_eq!(memories.len(), 2);
    let next = Scene::of(3);
    next.upstream.restore(&memories, 500);
    assert!(next.upstream.has_unusable());
    assert_eq!(next.endpoints[0].view(500).left_ms, Some(20_000));
    assert_eq!(next.standing(1, 500), EndpointStanding::Drained);
    assert_eq!(
        next.fail(0, FailureCause::Status, 20_500)
            .map(|transition| matches!(transition, Transition::Ejected { nth: 2, .. })),
        Some(true)
    );
}
