//! Tests of a recorder of the embedding program, and that proxies in one process count separately.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use super::harness::{Folder, eventually, file, get, start};
use crate::app::{SharedRecorder, Stopped};
use crate::route::Reason;
use crate::telemetry::{Fallback, ReasonLabel, StatusClass};

/// A recorder that keeps the values of series in a map: `name{label=value,…}`.
#[derive(Clone, Debug, Default)]
struct MapRecorder(Arc<Mutex<BTreeMap<String, f64>>>);

impl MapRecorder {
    fn at(&self, series: &str) -> Option<f64> {
        self.0.lock().expect("whole").get(series).copied()
    }

    fn series(&self, key: &Key) -> MapHandle {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        MapHandle { series: format!("{}{{{}}}", key.name(), labels.join(",")), recorder: self.clone() }
    }
}

/// A handle of one of the series.
struct MapHandle {
    series: String,
    recorder: MapRecorder,
}

impl MapHandle {
    fn change(&self, series: &str, change: impl FnOnce(&mut f64)) {
        change(self.recorder.0.lock().expect("whole").entry(series.to_owned()).or_default());
    }
}

impl CounterFn for MapHandle {
    fn increment(&self, value: u64) {
        self.change(&self.series, |now| *now += f64::from(u32::try_from(value).expect("small")));
    }

    fn absolute(&self, value: u64) {
        panic!("{} is incremented and not set to {value}", self.series);
    }
}

impl GaugeFn for MapHandle {
    fn increment(&self, value: f64) {
        panic!("{} is set and not incremented by {value}", self.series);
    }

    fn decrement(&self, value: f64) {
        panic!("{} is set and not decremented by {value}", self.series);
    }

    fn set(&self, value: f64) {
        self.change(&self.series, |now| *now = value);
    }
}

impl HistogramFn for MapHandle {
    fn record(&self, value: f64) {
        self.change(&format!("{} {value}", self.series), |count| *count += 1.0);
    }
}

impl Recorder for MapRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(self.series(key)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(self.series(key)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(self.series(key)))
    }
}

#[test]
fn a_recorder_of_the_embedding_program_gets_every_metric() {
    let given = MapRecorder::default();
    let folder = Folder::new(&file(5));
    let mut options = folder.options();
    options.recorder = Some(Arc::new(given.clone()));
    let app = start(&options).expect("started");
    eventually("figures at the start", || given.at("pointsman_config_generation{}") == Some(1.0));
    let applied = "pointsman_config_reloads_total{outcome=applied}";
    eventually("counters at the start", || given.at(applied) == Some(0.0));

    let snapshot = app.state.snapshot();
    let meter = snapshot.routes[0].series[1].meters.of(0);
    meter.requests[ReasonLabel::of(Reason::Weight, Fallback::No).index()][StatusClass::Success as usize].add(60);
    (0..3).for_each(|_| meter.duration.record(Duration::from_millis(4)));
    folder.write("routes.toml", &file(6));
    assert_eq!(app.reload().name(), "applied");
    let line = "pointsman_config_reloads_total{outcome=\"applied\"} 1\n";
    assert!(get(&app, "/metrics").body.contains(line), "the proxy's own page has them too");
    app.stop();
    assert_eq!(app.wait(), Stopped::Drained);
    for (series, figure) in [
        ("pointsman_config_generation{}", 2.0),
        ("pointsman_config_reloads_total{outcome=applied}", 1.0),
        ("pointsman_config_reloads_total{outcome=rejected}", 0.0),
        ("pointsman_drain_phase{phase=forced}", 1.0),
        ("pointsman_requests_total{reason=weight,route=api,status_class=2xx,variant=canary}", 60.0),
        ("pointsman_request_duration_seconds{route=api,variant=canary} 0.005", 3.0),
        ("pointsman_variant_weight_ratio{route=api,variant=canary}", 0.06),
    ] {
        assert_eq!(given.at(series), Some(figure), "{series}: {given:?}");
    }
}

#[test]
fn the_series_of_a_removed_route_are_removed() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let snapshot = app.state.snapshot();
    for series in &snapshot.routes[0].series {
        series.meters.of(0).unkeyed.inc();
    }
    snapshot.upstreams[1].series.meters.of(0).connects.inc();
    let metrics = get(&app, "/metrics").body;
    assert!(metrics.contains("route=\"api\"") && metrics.contains("upstream=\"v2\""), "{metrics}");
    folder.write("routes.toml", &file(5).replace("\"api\"", "\"web\"").replace("v2", "v3"));
    assert_eq!(app.reload().name(), "applied");
    let metrics = get(&app, "/metrics").body;
    assert!(!metrics.contains("\"api\"") && !metrics.contains("\"v2\""), "{metrics}");
    assert!(metrics.contains("pointsman_upstream_endpoints{upstream=\"v3\"} 1\n"), "{metrics}");
}

#[test]
fn proxies_in_one_process_count_separately() {
    let folders = [Folder::new(&file(5)), Folder::new(&file(5))];
    let apps = folders.each_ref().map(Folder::start);
    folders[0].write("routes.toml", &file(6));
    assert_eq!(apps[0].reload().name(), "applied");
    let applied = |at: usize| {
        let metrics = get(&apps[at], "/metrics").body;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("pointsman_config_reloads_total{outcome=\"applied\"} "));
        line.map(str::to_owned)
    };
    assert_eq!([applied(0).as_deref(), applied(1).as_deref()], [Some("1"), Some("0")]);
}

/// Hangs until the other end of a channel is closed, and then panics.
struct Broken(Mutex<Receiver<()>>);

impl Broken {
    fn hang(&self) -> ! {
        let gone = self.0.lock().map(|hangs| hangs.recv());
        panic!("a recorder that is broken: {gone:?}");
    }
}

impl Recorder for Broken {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.hang();
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.hang();
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.hang();
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.hang()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.hang()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        self.hang()
    }
}

#[test]
fn a_recorder_that_hangs_or_panics_delays_nothing_else() {
    let (hanging, hangs) = channel();
    let (panicking, panics) = channel::<()>();
    drop(panicking);
    for receiver in [panics, hangs] {
        let folder = Folder::new(&file(5));
        let mut options = folder.options();
        options.recorder = Some(Arc::new(Broken(Mutex::new(receiver))) as SharedRecorder);
        let app = start(&options).expect("started");
        folder.write("routes.toml", &file(6));
        assert_eq!(app.reload().name(), "applied");
        assert_eq!(get(&app, "/metrics").status, 200);
        app.stop();
        assert_eq!(app.wait(), Stopped::Drained);
    }
    drop(hanging);
}
