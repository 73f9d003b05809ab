//! Active checks: verdicts, what they change of an ejection, and what is remembered.

use std::sync::Arc;

use super::key;
use crate::failover::{
    ActiveChecks, CheckChanges, CheckCounts, CheckOutcome, CheckThresholds, CheckedHealth, EndpointHealth,
    EndpointSetting, EndpointStanding, FailedCheck, FailedTry, FailureCause, Moment, Transition, UpstreamHealth,
};
use crate::route::{EndpointRole, OutlierSettings};

const THRESHOLDS: CheckThresholds = CheckThresholds { healthy: 2, unhealthy: 3 };

struct Checked {
    upstream: UpstreamHealth,
    endpoints: Vec<Arc<EndpointHealth>>,
}

impl Checked {
    fn new(roles: &[EndpointRole]) -> Self {
        let upstream = UpstreamHealth::new(1);
        upstream.set_checks(ActiveChecks::On);
        let settings: Vec<_> =
            (1..).zip(roles).map(|(host, role)| EndpointSetting { key: key(host), role: *role }).collect();
        let endpoints = upstream.set_endpoints(&settings, 0);
        Self { upstream, endpoints }
    }

    fn primaries(count: usize) -> Self {
        Self::new(&vec![EndpointRole::Primary; count])
    }

    fn good(&self, at: usize, now_ms: u64) -> CheckChanges {
        self.upstream.record_check(&self.endpoints[at], &CheckOutcome::Good, THRESHOLDS, now_ms)
    }

    fn bad(&self, at: usize, now_ms: u64) -> CheckChanges {
        let outcome = CheckOutcome::Bad("answers 503".into());
        self.upstream.record_check(&self.endpoints[at], &outcome, THRESHOLDS, now_ms)
    }

    fn eject(&self, at: usize, now_ms: u64) {
        let (endpoint, settings) = (&self.endpoints[at], OutlierSettings::default());
        for _ in 0..settings.consecutive_failures {
            let failed = FailedTry { cause: FailureCause::Status, epoch: endpoint.epoch() };
            self.upstream.record_failure(endpoint, failed, &settings, Moment { now_ms, draw: 0.5 });
        }
    }

    fn standing(&self, at: usize, now_ms: u64) -> EndpointStanding {
        self.endpoints[at].view(now_ms).standing
    }

    fn serving(&self) -> Vec<usize> {
        (0..self.endpoints.len()).filter(|at| self.endpoints[*at].is_in_rotation()).collect()
    }
}

const UNHEALTHY: CheckChanges = CheckChanges { admitted: None, verdict: Some(Transition::Unhealthy) };
const HEALTHY: CheckChanges = CheckChanges { admitted: None, verdict: Some(Transition::Healthy) };
const ADMITTED: CheckChanges = CheckChanges { admitted: Some(Transition::Admitted), verdict: None };
const NOTHING: CheckChanges = CheckChanges { admitted: None, verdict: None };

#[test]
fn the_first_check_decides_and_then_as_many_in_a_row_as_the_thresholds_say() {
    let scene = Checked::primaries(2);
    assert_eq!(scene.serving(), [0, 1], "at the start all are unknown, and all serve");
    assert_eq!(scene.bad(0, 1), UNHEALTHY);
    assert_eq!((scene.good(0, 2), scene.bad(0, 3), scene.good(0, 4)), (NOTHING, NOTHING, NOTHING));
    assert_eq!((scene.good(0, 5), scene.serving()), (HEALTHY, vec![0, 1]));
    assert_eq!(scene.standing(1, 5), EndpointStanding::Usable, "one of the first serves until its own verdict");
    assert_eq!((scene.good(1, 6), scene.serving()), (HEALTHY, vec![0, 1]));
    assert_eq!([scene.bad(0, 7), scene.bad(0, 8), scene.good(0, 9)], [NOTHING; 3]);
    assert_eq!(
        [scene.bad(0, 10), scene.bad(0, 11), scene.bad(0, 12), scene.bad(0, 13)],
        [NOTHING, NOTHING, UNHEALTHY, NOTHING]
    );
    assert_eq!((scene.standing(0, 13), scene.serving()), (EndpointStanding::Unhealthy, vec![1]));
}

#[test]
fn one_that_comes_later_waits_for_its_first_check_while_another_is_healthy() {
    let mut scene = Checked::primaries(2);
    let set = |scene: &mut Checked, count| {
        let keys: Vec<_> = (1..=count).map(key).collect();
        scene.endpoints = scene.upstream.set_endpoints(&keys, 10);
    };
    scene.bad(0, 1);
    set(&mut scene, 3);
    assert_eq!(scene.serving(), [1, 2], "none is healthy: it serves");
    scene.good(1, 2);
    assert_eq!((scene.serving(), scene.standing(2, 2)), (vec![1], EndpointStanding::Unknown));
    set(&mut scene, 4);
    assert_eq!(scene.serving(), [1], "a reload changes nothing of it");
    (0..3).for_each(|count| _ = scene.bad(1, 3 + count));
    assert_eq!(scene.serving(), [2, 3], "rather than none");
    assert_eq!((scene.good(2, 20), scene.serving()), (HEALTHY, vec![2]));
    assert_eq!((scene.good(3, 30), scene.serving()), (HEALTHY, vec![2, 3]));
    assert!(scene.endpoints[3].ramp(30, 1_000) < 0.2, "its share grows from its admission");
    assert!(scene.endpoints[0].ramp(30, 1_000).total_cmp(&1.0).is_eq());
}

#[test]
fn checks_that_begin_take_out_no_endpoint_before_its_verdict() {
    let upstream = UpstreamHealth::new(1);
    upstream.set_endpoints(&[key(1), key(2), key(3)], 0);
    let rotation = upstream.rotation();
    upstream.set_checks(ActiveChecks::On);
    let endpoints = upstream.set_endpoints(&[key(1), key(2), key(3)], 1);
    for one in &endpoints {
        upstream.record_check(one, &CheckOutcome::Good, THRESHOLDS, 2);
        assert!(endpoints.iter().all(|one| one.is_in_rotation() && one.ramp(3, 1_000).total_cmp(&1.0).is_eq()));
    }
    assert_eq!(upstream.rotation(), rotation, "workers have nothing to do");
}

#[test]
fn what_is_remembered_is_for_people() {
    let scene = Checked::primaries(1);
    assert_eq!(scene.endpoints[0].check_view().last_ms, None);
    scene.bad(0, 10);
    scene.bad(0, 20);
    scene.upstream.note_late_check(0);
    scene.upstream.note_late_check(1_500);
    scene.good(0, 30);
    let view = scene.endpoints[0].check_view();
    assert_eq!((view.good_in_row, view.bad_in_row, view.last_ms), (1, 0, Some(30)));
    assert_eq!(view.failure, Some(FailedCheck { why: "answers 503".into(), at_ms: 20 }));
    assert_eq!(scene.upstream.check_counts(), CheckCounts { good: 1, bad: 2, late: 1, late_ms: 1_500 });
}

#[test]
fn checks_that_are_switched_off_leave_no_verdict() {
    let scene = Checked::primaries(2);
    scene.bad(0, 1);
    scene.upstream.set_checks(ActiveChecks::Off);
    scene.upstream.set_endpoints(&[key(1), key(2)], 2);
    assert_eq!((scene.serving(), scene.endpoints[0].checked()), (vec![0, 1], CheckedHealth::Unchecked));
    assert_eq!(scene.bad(0, 3), NOTHING, "a check that was under way");
    assert_eq!(scene.endpoints[0].check_view().failure, None);
    scene.upstream.set_checks(ActiveChecks::On);
    scene.upstream.set_endpoints(&[key(1), key(2)], 4);
    assert_eq!(scene.endpoints[0].checked(), CheckedHealth::Unknown);
}

#[test]
fn an_unhealthy_verdict_outlasts_an_ejection() {
    let scene = Checked::primaries(3);
    (0..3).for_each(|at| _ = scene.good(at, 0));
    scene.eject(0, 1_000);
    assert_eq!(scene.good(0, 2_000), NOTHING, "a good check lifts no ejection early");
    (0..3).for_each(|count| _ = scene.bad(0, 3_000 + count));
    assert_eq!(scene.standing(0, 4_000), EndpointStanding::Unhealthy);
    assert_eq!(scene.good(0, 31_000), ADMITTED, "its time is over");
    assert_eq!((scene.standing(0, 31_000), scene.serving()), (EndpointStanding::Unhealthy, vec![1, 2]));
    assert_eq!((scene.good(0, 32_000), scene.serving()), (HEALTHY, vec![0, 1, 2]));
}

#[test]
fn a_good_check_admits_when_the_time_is_over_and_a_bad_one_ejects_nothing() {
    let scene = Checked::primaries(3);
    (0..3).for_each(|at| _ = scene.good(at, 0));
    scene.eject(0, 1_000);
    assert_eq!((scene.bad(0, 31_000), scene.standing(0, 31_000)), (NOTHING, EndpointStanding::Trial));
    assert_eq!((scene.good(0, 32_000), scene.standing(0, 32_000)), (ADMITTED, EndpointStanding::Usable));
    scene.upstream.eject_by_hand(&scene.endpoints[1], 33_000);
    assert_eq!(scene.good(1, 999_000), NOTHING, "what a person has ejected, a person admits");
}

#[test]
fn failures_of_an_unhealthy_endpoint_change_nothing() {
    let scene = Checked::primaries(2);
    scene.good(1, 0);
    scene.bad(0, 0);
    scene.eject(0, 10);
    let view = scene.endpoints[0].view(10);
    assert_eq!((view.standing, view.ejected), (EndpointStanding::Unhealthy, None));
    assert!(!scene.endpoints[0].is_failing());
    scene.eject(1, 20);
    assert_eq!(scene.standing(1, 20), EndpointStanding::Failing, "it is the last usable one");
    (0..2).for_each(|count| _ = scene.good(0, 30 + count));
    let endpoint = &scene.endpoints[0];
    assert!(endpoint.is_in_rotation() && endpoint.view(40).failures == 0, "what failed before is past");
    let failed = FailedTry { cause: FailureCause::Status, epoch: endpoint.epoch() };
    let settings = OutlierSettings::default();
    let at = Moment { now_ms: 50, draw: 0.5 };
    assert_eq!(scene.upstream.record_failure(endpoint, failed, &settings, at), None);
}

#[test]
fn a_success_of_an_unhealthy_endpoint_ends_its_failures_in_a_row() {
    let scene = Checked::primaries(1);
    scene.bad(0, 0);
    let endpoint = &scene.endpoints[0];
    let failed = FailedTry { cause: FailureCause::Status, epoch: endpoint.epoch() };
    for _ in 0..3 {
        scene.upstream.record_failure(endpoint, failed, &OutlierSettings::default(), Moment { now_ms: 1, draw: 0.5 });
        assert_eq!(scene.upstream.record_success(endpoint, endpoint.epoch(), 2), None);
        assert_eq!(endpoint.view(2).failures, 0);
    }
}

#[test]
fn a_reload_that_changes_no_endpoint_lifts_no_ejection() {
    let scene = Checked::primaries(3);
    (0..3).for_each(|at| _ = scene.good(at, 0));
    scene.eject(0, 10);
    (0..3).for_each(|count| _ = scene.bad(1, 20 + count));
    (0..3).for_each(|count| _ = scene.bad(2, 20 + count));
    let same = [1, 2, 3].map(|host| EndpointSetting { key: key(host), role: EndpointRole::Primary });
    scene.upstream.set_endpoints(&same, 30);
    assert_eq!(scene.standing(0, 30), EndpointStanding::Ejected);
    scene.upstream.set_endpoints(&same[..2], 40);
    assert_eq!([0, 1].map(|at| scene.standing(at, 40)), [EndpointStanding::Usable, EndpointStanding::Unhealthy]);
}

#[test]
fn of_an_address_that_is_listed_twice_the_drain_counts() {
    let upstream = UpstreamHealth::new(1);
    let of = |role| EndpointSetting { key: key(1), role };
    for (roles, expected) in [
        ([EndpointRole::Primary, EndpointRole::Drained], EndpointStanding::Drained),
        ([EndpointRole::Drained, EndpointRole::Backup], EndpointStanding::Drained),
        ([EndpointRole::Backup, EndpointRole::Primary], EndpointStanding::Standby),
    ] {
        let primary = EndpointSetting { key: key(2), role: EndpointRole::Primary };
        let states = upstream.set_endpoints(&[of(roles[0]), of(roles[1]), primary], 0);
        assert_eq!(states[0].view(0).standing, expected, "{roles:?}");
    }
}

#[test]
fn the_first_endpoints_of_a_process_begin_whole() {
    let scene = Checked::primaries(3);
    (0..3).for_each(|at| _ = scene.good(at, 100));
    assert!(scene.endpoints.iter().all(|endpoint| endpoint.ramp(101, 30_000) >= 1.0));
}

#[test]
fn a_backup_serves_only_while_no_primary_is_usable() {
    let scene = Checked::new(&[EndpointRole::Primary, EndpointRole::Primary, EndpointRole::Backup]);
    assert_eq!(scene.serving(), [0, 1]);
    (0..3).for_each(|at| _ = scene.good(at, 0));
    let standby = |now_ms| scene.standing(2, now_ms);
    assert_eq!((scene.serving(), standby(0)), (vec![0, 1], EndpointStanding::Standby));
    (0..3).for_each(|count| _ = scene.bad(0, count));
    assert_eq!(scene.serving(), [1]);
    (0..3).for_each(|count| _ = scene.bad(1, count));
    assert_eq!(scene.serving(), [2]);
    scene.eject(2, 10);
    assert_eq!(scene.serving(), [2], "the last usable one is not ejected");
    (0..2).for_each(|count| _ = scene.good(1, 20 + count));
    assert_eq!(scene.serving(), [1]);
}

#[test]
fn ten_thousand_changes_leave_nothing_behind() {
    let scene = Checked::primaries(3);
    (0..3).for_each(|at| _ = scene.good(at, 0));
    let mut changes = 0;
    for round in 0..10_000_u64 {
        let good = round % 5 >= 3;
        let after = if good { scene.good(0, round) } else { scene.bad(0, round) };
        changes += u64::from(after.is_any());
    }
    assert_eq!(changes, 4_000, "two in each round of five");
    let counts = scene.upstream.check_counts();
    assert_eq!((counts.good, counts.bad), (4_003, 6_000));
    assert_eq!(Arc::strong_count(&scene.endpoints[0]), 2, "the upstream, and this test");
}

#[test]
fn a_process_that_takes_over_does_not_send_to_what_is_known_as_unhealthy() {
    let before = Checked::primaries(3);
    (0..2).for_each(|at| _ = before.good(at, 0));
    before.bad(2, 0);
    let after = Checked::primaries(3);
    after.upstream.restore(&before.upstream.memories(10), 5);
    assert_eq!((after.serving(), after.standing(2, 5)), (vec![0, 1], EndpointStanding::Unhealthy));
    assert_eq!((after.good(2, 6), after.good(2, 7)), (NOTHING, HEALTHY), "counted from zero");
    // One whose file has no checks any more would never learn better.
    let unchecked = UpstreamHealth::new(1);
    let endpoints = unchecked.set_endpoints(&[key(1), key(2), key(3)], 0);
    unchecked.restore(&before.upstream.memories(10), 5);
    assert!(endpoints.iter().all(|one| one.is_in_rotation()));
}
