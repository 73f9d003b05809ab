//! The counts of guards, as `control` counts the rest of the control plane. Evidence and states are read at a scrape.

#![expect(clippy::disallowed_macros, reason = "this file names the metrics of guards")]

use metrics::{Label, counter, describe_counter, describe_gauge, gauge, with_local_recorder};

use super::recorder::ControlRecorder;

pub(super) const GUARD_TRIPS: &str = "pointsman_guard_trips_total";
pub(super) const LATCHES: &str = "pointsman_latches";
pub(super) const GUARD_EVENTS_LOST: &str = "pointsman_guard_events_lost_total";
pub(super) const GUARD_LATE_EVENTS: &str = "pointsman_guard_late_events_total";
pub(super) const GUARD_TABLES_REFUSED: &str = "pointsman_guard_tables_refused_total";

/// A guard of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardName<'a> {
    /// The route.
    pub route: &'a str,
    /// The variant.
    pub variant: &'a str,
    /// The guard.
    pub guard: &'a str,
}

/// The descriptions, and the series that exist from the start, in the current recorder.
pub(super) fn describe() {
    describe_counter!(GUARD_TRIPS, "Guards that have tripped, by what followed.");
    describe_gauge!(LATCHES, "Releases that are rolled back until a person resumes them, or until another revision.");
    gauge!(LATCHES).set(0.0);
    describe_counter!(GUARD_EVENTS_LOST, "Events of guards that found a full queue.");
    counter!(GUARD_EVENTS_LOST).increment(0);
    describe_counter!(GUARD_LATE_EVENTS, "Events of guards that came more than ten minutes after their request.");
    counter!(GUARD_LATE_EVENTS).increment(0);
    describe_counter!(GUARD_TABLES_REFUSED, "Tables of guards that found no memory.");
    counter!(GUARD_TABLES_REFUSED).increment(0);
}

/// Counts a guard that has tripped. `act` is the word of what followed: `warn`, `hold` or `rollback`.
pub fn count_trip(recorder: &ControlRecorder, of: GuardName<'_>, act: &'static str) {
    let labels = vec![
        Label::new("act", act),
        Label::new("guard", of.guard.to_owned()),
        Label::new("route", of.route.to_owned()),
        Label::new("variant", of.variant.to_owned()),
    ];
    with_local_recorder(recorder, || counter!(GUARD_TRIPS, labels).increment(1));
}

/// Removes the series of guards that are not wanted: their route, variant or guard has left the configuration.
pub fn retain(recorder: &ControlRecorder, wanted: impl Fn(GuardName<'_>) -> bool) {
    recorder.retain(GUARD_TRIPS, |key| {
        let value = |name: &str| key.labels().find(|label| label.key() == name).map_or("", Label::value);
        wanted(GuardName { route: value("route"), variant: value("variant"), guard: value("guard") })
    });
}

/// Sets the number of releases that are latched.
pub fn set_latches(recorder: &ControlRecorder, count: usize) {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    with_local_recorder(recorder, || gauge!(LATCHES).set(count as f64));
}

/// Sets the number of events that found a full queue since the start.
pub fn set_events_lost(recorder: &ControlRecorder, count: u64) {
    with_local_recorder(recorder, || counter!(GUARD_EVENTS_LOST).absolute(count));
}

/// Counts events that came more than ten minutes after their request was sent.
pub fn count_late_events(recorder: &ControlRecorder, count: u64) {
    with_local_recorder(recorder, || counter!(GUARD_LATE_EVENTS).increment(count));
}

/// Sets the number of tables that found no memory since the start.
pub fn set_tables_refused(recorder: &ControlRecorder, count: u64) {
    with_local_recorder(recorder, || counter!(GUARD_TABLES_REFUSED).absolute(count));
}

#[cfg(test)]
mod tests {
    use metrics::Key;

    use super::*;

    fn trips(recorder: &ControlRecorder, of: GuardName<'_>, act: &'static str) -> u64 {
        let labels = [("act", act), ("guard", of.guard), ("route", of.route), ("variant", of.variant)];
        let labels = labels.map(|(name, value)| Label::new(name, value.to_owned()));
        recorder.count(&Key::from_parts(GUARD_TRIPS, labels.to_vec()))
    }

    #[test]
    fn trips_are_counted_by_act_and_go_with_their_route() {
        let recorder = ControlRecorder::default();
        let of = |route| GuardName { route, variant: "canary", guard: "errors" };
        for (route, act) in [("shop", "warn"), ("shop", "warn"), ("shop", "rollback"), ("cart", "rollback")] {
            count_trip(&recorder, of(route), act);
        }
        assert_eq!((trips(&recorder, of("shop"), "warn"), trips(&recorder, of("shop"), "rollback")), (2, 1));
        retain(&recorder, |guard| guard.route != "shop");
        assert_eq!((trips(&recorder, of("shop"), "warn"), trips(&recorder, of("cart"), "rollback")), (0, 1));
    }

    #[test]
    fn totals_never_fall() {
        let recorder = ControlRecorder::default();
        for count in [3, 2, 5] {
            set_events_lost(&recorder, count);
            set_tables_refused(&recorder, count);
            count_late_events(&recorder, count);
        }
        let count = |name| recorder.count(&Key::from_static_name(name));
        assert_eq!([GUARD_EVENTS_LOST, GUARD_TABLES_REFUSED, GUARD_LATE_EVENTS].map(count), [5, 5, 10]);
    }
}
