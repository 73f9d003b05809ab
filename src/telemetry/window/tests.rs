//! Watches against a simple model, and by several workers at once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::route::{Guard, GuardAct, GuardTest, Guards, KeyHash, Signal, TryOutcome};
use crate::stats::{ArmPlace, JudgedEvent, JudgedKind, SlotNumber, WindowNumber, WindowShape};
use crate::telemetry::MeterRegistry;

const SIGNALS: usize = 2;

fn guards(act: GuardAct) -> Guards {
    let guard = Guard {
        name: "errors".to_owned(),
        variant: None,
        signal: Some(0),
        test: GuardTest::WorseThanStable(1.1),
        alpha: 0.003,
        act,
        near_full: false,
    };
    let signals = vec![Signal::Error, Signal::Event("purchase".to_owned())];
    Guards { signals, all: vec![guard], ..Guards::default() }
}

fn watch(registry: &MeterRegistry) -> GuardWatch {
    let shape = WindowShape { strata: 2, arms: 3, signals: SIGNALS };
    GuardWatch::new(shape, &guards(GuardAct::Warn), registry)
}

/// A key with this place of its own.
fn key(number: u64) -> KeyHash {
    KeyHash::of((number + 1) << 12)
}

fn events(registry: &MeterRegistry) -> Vec<JudgedEvent> {
    let mut all = Vec::new();
    registry.guard_memory.events.take(|event| all.extend(event.event()));
    all
}

/// The number of events that count in the test that began with a window.
fn counted(events: &[JudgedEvent], signal: usize, since: Option<u32>) -> BTreeMap<ArmPlace, u64> {
    let mut counts = BTreeMap::new();
    for event in events {
        if matches!(event.kind, JudgedKind::Signal { signal: of, .. } if usize::from(of) == signal)
            && event.counts_since(since.map(WindowNumber))
        {
            *counts.entry(event.place).or_default() += 1;
        }
    }
    counts
}

fn first_keys(events: &[JudgedEvent]) -> usize {
    events.iter().filter(|event| event.kind == JudgedKind::FirstKey).count()
}

/// After a resume, the failures before it are not a part of a run.
#[test]
fn a_run_that_is_ended_begins_anew() {
    let registry = MeterRegistry::new(1);
    let watch = watch(&registry);
    watch.open(WindowNumber(1), SlotNumber(1));
    let ticket = watch.expose(0, ArmPlace { stratum: 0, arm: 1 }, key(1)).unwrap();
    (0..30).for_each(|_| watch.fail(0, &ticket));
    let before = watch.run(1);
    assert_eq!(before.length, 30);
    watch.end_run(1);
    assert_eq!((watch.run(1).length, watch.run(1).number), (0, before.number + 1));
    watch.fail(0, &ticket);
    assert_eq!(watch.run(1).length, 1);
}

/// Without sticky keys each request counts, also one whose key had an event.
#[test]
fn a_request_that_is_a_caller_of_its_own_always_counts() {
    let registry = MeterRegistry::new(1);
    let watch = watch(&registry);
    watch.open(WindowNumber(1), SlotNumber(1));
    for _ in 0..3 {
        let ticket = watch.expose_alone(0, ArmPlace::default(), key(1)).unwrap();
        watch.record(0, &ticket, 0);
    }
    let exposures = watch.exposures(SlotNumber(1));
    assert_eq!(exposures.at_risk(ArmPlace::default(), 0, None, WindowNumber(1)), 3);
    assert!(registry.guard_memory.events.is_used());
    let events = events(&registry);
    assert!(events.iter().all(|event| event.kind == JudgedKind::Signal { signal: 0, mark: None }), "{events:?}");
    assert_eq!(events.len(), 3);
}

#[test]
fn nothing_is_counted_while_no_slot_is_open() {
    let registry = MeterRegistry::new(1);
    let watch = watch(&registry);
    assert_eq!(watch.expose(0, ArmPlace::default(), key(1)), None);
    assert!(!watch.is_used() && events(&registry).is_empty());
}

#[test]
fn a_key_is_one_exposure_a_slot_and_one_first_key() {
    let registry = MeterRegistry::new(2);
    let watch = watch(&registry);
    let place = ArmPlace { stratum: 1, arm: 2 };
    for slot in 1..=3 {
        watch.open(WindowNumber(1), SlotNumber(slot));
        for worker in [0, 1, 1, 0] {
            assert!(watch.expose(worker, place, key(1)).is_some());
        }
        let exposures = watch.exposures(SlotNumber(slot));
        assert_eq!((exposures.keys(place), exposures.keys(ArmPlace::default())), (1, 0));
    }
    assert_eq!(first_keys(&events(&registry)), 1);
    assert!(watch.exposures(SlotNumber(4)).is_empty(), "not open yet");
}

#[test]
fn a_worker_keeps_sixteen_slots() {
    let registry = MeterRegistry::new(1);
    let watch = watch(&registry);
    for slot in 1..=40 {
        watch.open(WindowNumber(1), SlotNumber(slot));
        watch.expose(0, ArmPlace::default(), key(u64::from(slot)));
    }
    for slot in 1..=40 {
        let is_kept = !watch.exposures(SlotNumber(slot)).is_empty();
        assert_eq!(is_kept, slot > 24, "{slot}");
    }
}

#[test]
fn an_event_counts_once_a_request_and_once_a_key() {
    let registry = MeterRegistry::new(1);
    let watch = watch(&registry);
    watch.open(WindowNumber(1), SlotNumber(1));
    let outcome = TryOutcome { is_error: true, ..TryOutcome::default() };
    for _ in 0..2 {
        let ticket = watch.expose(0, ArmPlace::default(), key(1)).unwrap();
        let mut reported = ReportedSignals::default();
        for _ in 0..2 {
            watch.report(0, &ticket, outcome, &mut reported);
            watch.report_line(0, &ticket, b" purchase ; value=12.50", &mut reported);
            watch.report_line(0, &ticket, b"refund", &mut reported);
        }
    }
    let all = events(&registry);
    assert_eq!(all.len() - first_keys(&all), 2, "one of each signal: {all:?}");
}

#[test]
fn a_time_is_slow_from_the_threshold_on_and_an_abandoned_request_is_not_lost() {
    let registry = MeterRegistry::new(1);
    let signals = vec![
        Signal::SlowerThan(crate::route::SlowThreshold::OfStable {
            quantile: 0.99,
            over: std::time::Duration::from_secs(1),
        }),
        Signal::Lost,
    ];
    let guards = Guards { signals, ..guards(GuardAct::Rollback) };
    let watch = GuardWatch::new(WindowShape { strata: 1, arms: 2, signals: 2 }, &guards, &registry);
    let millis = std::time::Duration::from_millis;
    assert!(!watch.is_slow(millis(59_999)) && watch.is_slow(LOST_AFTER), "without a threshold");
    watch.set_slow_after(0, Some(millis(250)));
    assert!(!watch.is_slow(millis(249)) && watch.is_slow(millis(250)));
    watch.open(WindowNumber(1), SlotNumber(1));
    for (wait, signals) in [
        (HeadWait::Client(millis(249)), vec![]),
        (HeadWait::Abandoned(LOST_AFTER), vec![0]),
        (HeadWait::Client(LOST_AFTER), vec![0, 1]),
    ] {
        watch.open(WindowNumber(watch.window().0 + 1), SlotNumber(watch.slot().0 + 1));
        let ticket = watch.expose(0, ArmPlace::default(), key(1)).unwrap();
        watch.report_wait(0, &ticket, wait, &mut ReportedSignals::default());
        let seen: Vec<u8> = events(&registry)
            .into_iter()
            .filter_map(|event| match event.kind {
                JudgedKind::Signal { signal, .. } => Some(signal),
                JudgedKind::FirstKey => None,
            })
            .collect();
        assert_eq!(seen, signals, "{wait:?}");
    }
    watch.set_slow_after(0, None);
    assert!(!watch.is_slow(millis(59_999)));
}

#[test]
fn memory_is_taken_at_the_first_use_and_is_free_when_the_watch_is_dropped() {
    let registry = MeterRegistry::new(1);
    let memory = &registry.guard_memory;
    let left = || [&memory.seen, &memory.first_keys, &memory.marks].map(|memory| memory.left());
    let all = left();
    let one = watch(&registry);
    one.open(WindowNumber(1), SlotNumber(1));
    assert_eq!(left(), all);
    let ticket = one.expose(0, ArmPlace::default(), key(1)).unwrap();
    let small = KeyTable::PLACES_SMALL * 4;
    assert_eq!(left(), [all[0] - small, all[1] - small, all[2]]);
    one.record(0, &ticket, 1);
    assert_eq!(left(), [all[0] - small, all[1] - small, all[2] - small]);
    drop(one);
    assert_eq!(left(), all);
}

#[test]
fn workers_that_meet_the_same_callers_count_each_once() {
    const WORKERS: usize = 4;
    const KEYS: u64 = 500;
    let registry = MeterRegistry::new(WORKERS);
    let watch = watch(&registry);
    let mut all = Vec::new();
    for slot in 1..=6_u32 {
        // Two slots a window.
        watch.open(WindowNumber(slot.div_ceil(2)), SlotNumber(slot));
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let watch = &watch;
                scope.spawn(move || {
                    for number in 0..KEYS {
                        let place = ArmPlace { stratum: 0, arm: u16::try_from(number % 3).unwrap() };
                        let ticket = watch.expose(worker, place, key(number)).unwrap();
                        watch.record(worker, &ticket, 0);
                    }
                });
            }
        });
        let exposures = watch.exposures(SlotNumber(slot));
        let keys: u64 = (0..3).map(|arm| exposures.keys(ArmPlace { stratum: 0, arm })).sum();
        assert_eq!(keys, KEYS, "slot {slot}");
        all.extend(events(&registry));
    }
    assert_eq!(first_keys(&all), usize::try_from(KEYS).unwrap());
    for since in [None, Some(1), Some(2), Some(3)] {
        assert_eq!(counted(&all, 0, since).values().sum::<u64>(), KEYS, "since {since:?}");
    }
    assert_eq!(registry.guard_memory.events.lost(), 0);
}

#[test]
fn the_control_plane_reads_whole_slots_while_workers_begin_others() {
    let registry = MeterRegistry::new(1);
    let watch = watch(&registry);
    // Two slots that share a place in the ring have different variants.
    let place = |slot: u32| ArmPlace { stratum: 0, arm: u16::try_from(slot % 3).unwrap() };
    watch.open(WindowNumber(1), SlotNumber(1));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for slot in 1..3000 {
                watch.open(WindowNumber(1), SlotNumber(slot));
                for number in 0..3 {
                    assert!(watch.expose(0, place(slot), key(number)).is_some());
                }
            }
        });
        while !writer.is_finished() {
            let newest = watch.slot().0;
            for slot in newest.saturating_sub(20)..=newest {
                let exposures = watch.exposures(SlotNumber(slot));
                let keys = [slot, slot + 1, slot + 2].map(|other| exposures.keys(place(other)));
                assert!(keys[0] <= 3 && keys[1..] == [0, 0], "slot {slot}: {keys:?}");
            }
        }
    });
}

/// A step of a model run.
#[derive(Clone, Debug)]
enum Step {
    /// Opens the next slot, of the next window or of the same.
    Open { next_window: bool },
    /// A request of a key.
    Expose { worker: usize, place: ArmPlace, key: u64 },
    /// An event of one of the requests so far.
    Event { request: usize, signal: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let place = (0_u16..2, 0_u16..3).prop_map(|(stratum, arm)| ArmPlace { stratum, arm });
    prop_oneof![
        2 => any::<bool>().prop_map(|next_window| Step::Open { next_window }),
        6 => (0_usize..2, place, 0_u64..8).prop_map(|(worker, place, key)| Step::Expose { worker, place, key }),
        4 => (any::<prop::sample::Index>(), 0..SIGNALS)
            .prop_map(|(request, signal)| Step::Event { request: request.index(1000), signal }),
    ]
}

/// What the model knows.
#[derive(Default)]
struct Model {
    window: u32,
    slot: u32,
    /// Keys of the slot, with their place.
    seen: BTreeMap<u64, ArmPlace>,
    /// The keys of the slot whose last event of a signal was in that window when they came.
    marked: BTreeMap<(u64, usize), u32>,
    marks: BTreeMap<(u64, usize), u32>,
    /// By signal and key: the windows of its requests with an event, in the order of the events.
    events: Vec<(usize, u64, u32, ArmPlace)>,
    keys: BTreeSet<u64>,
}

impl Model {
    /// The keys at risk in the test that began with a window.
    fn at_risk(&self, place: ArmPlace, signal: usize, since: Option<u32>) -> u64 {
        let at_risk = |key: &u64| match (self.marked.get(&(*key, signal)), since) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mark), Some(since)) => *mark < since,
        };
        self.seen.iter().filter(|(key, at)| **at == place && at_risk(key)).count() as u64
    }

    /// The events that count in the test that began with a window: the first of each key since then.
    fn counted(&self, signal: usize, since: Option<u32>) -> BTreeMap<ArmPlace, u64> {
        let (mut erred, mut counts) = (BTreeSet::new(), BTreeMap::new());
        for (_, key, _, place) in
            self.events.iter().filter(|(of, _, window, _)| *of == signal && since.is_none_or(|since| *window >= since))
        {
            if erred.insert(*key) {
                *counts.entry(*place).or_default() += 1;
            }
        }
        counts
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exposures_and_events_are_those_of_the_model(steps in prop::collection::vec(step(), 1..150)) {
        let registry = MeterRegistry::new(2);
        let watch = watch(&registry);
        let mut model = Model { window: 1, slot: 1, ..Model::default() };
        watch.open(WindowNumber(1), SlotNumber(1));
        let mut requests = Vec::new();
        for step in steps {
            match step {
                Step::Open { next_window } => {
                    (model.window, model.slot) = (model.window + u32::from(next_window), model.slot + 1);
                    model.seen.clear();
                    model.marked.clear();
                    watch.open(WindowNumber(model.window), SlotNumber(model.slot));
                }
                Step::Expose { worker, place, key: number } => {
                    let ticket = watch.expose(worker, place, key(number)).unwrap();
                    requests.push((ticket, number, model.window, place));
                    model.keys.insert(number);
                    if let Entry::Vacant(unseen) = model.seen.entry(number) {
                        unseen.insert(place);
                        for signal in 0..SIGNALS {
                            if let Some(mark) = model.marks.get(&(number, signal)) {
                                model.marked.insert((number, signal), *mark);
                            }
                        }
                    }
                }
                Step::Event { request, signal } if !requests.is_empty() => {
                    let (ticket, number, window, place) = requests[request % requests.len()];
                    watch.record(0, &ticket, signal);
                    model.events.push((signal, number, window, place));
                    let mark = model.marks.entry((number, signal)).or_default();
                    *mark = window.max(*mark);
                }
                Step::Event { .. } => {}
            }
            let exposures = watch.exposures(SlotNumber(model.slot));
            // The tests that are distinguished: that of the watch, and those of the last three windows.
            let lives = (model.window.saturating_sub(2).max(1)..=model.window).map(Some).chain([None]);
            for (since, signal) in lives.flat_map(|since| (0..SIGNALS).map(move |signal| (since, signal))) {
                for place in (0..6).map(|at| ArmPlace { stratum: at / 3, arm: at % 3 }) {
                    let at_risk = exposures.at_risk(place, signal, since.map(WindowNumber), WindowNumber(model.window));
                    prop_assert_eq!(at_risk, model.at_risk(place, signal, since), "{:?} {:?}", place, since);
                }
            }
        }
        let all = events(&registry);
        prop_assert_eq!(first_keys(&all), model.keys.len());
        for since in (1..=model.window).map(Some).chain([None]) {
            for signal in 0..SIGNALS {
                prop_assert_eq!(counted(&all, signal, since), model.counted(signal, since), "since {:?}", since);
            }
        }
    }
}
