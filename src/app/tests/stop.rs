//! The end of the app: drained, forced, at once.

use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::harness::{Folder, eventually, file, follower, followers, generation, get, rejected};
use crate::app::{App, Stopped};
use crate::control::SystemdNotify;
use crate::drain::Phase;

#[test]
fn a_drain_ends_with_its_outcome() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    app.stop();
    app.stop();
    assert_eq!(app.wait(), Stopped::Drained);
}

#[test]
fn is_not_ready_while_it_stops() {
    let folder = Folder::new(&file(5));
    let mut options = folder.options();
    options.drain_delay = Duration::from_hours(1);
    let app = super::harness::start(&options).expect("started");
    assert_eq!(get(&app, "/readyz").status, 200);
    app.stop();
    eventually("readiness fails", || get(&app, "/readyz").status == 503);
    assert_eq!(get(&app, "/readyz").body, "the proxy is stopping\n");
    assert_eq!(get(&app, "/healthz").status, 200);
    assert!(get(&app, "/metrics").body.contains("pointsman_drain_phase{phase=\"lame\"} 1\n"));
    assert_eq!(app.reload().name(), "rejected");
}

#[test]
fn a_stop_while_a_reload_reads_applies_nothing() {
    let folder = Folder::new(&file(5));
    let mut options = folder.options();
    options.drain_delay = Duration::from_hours(1);
    let systemd = UnixDatagram::bind(folder.path("notify")).expect("bound");
    options.notify = SystemdNotify::to(&folder.path("notify").to_string_lossy(), None).expect("a name");
    let mut settings = options.settings();
    let (begun, begins) = channel();
    let (go, gate) = channel::<()>();
    let (gate, inner, first) = (Mutex::new(gate), settings.load.clone(), AtomicBool::new(true));
    settings.load = Arc::new(move |last_good| {
        if !first.swap(false, SeqCst) {
            begun.send(()).expect("the test waits");
            gate.lock().expect("whole").recv().expect("a word");
        }
        inner(last_good)
    });
    let app = App::launch(settings, followers(Phase::Draining)).expect("started");
    folder.write("routes.toml", &file(10));
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| app.reload());
        begins.recv().expect("it reads");
        app.stop();
        eventually("readiness fails", || get(&app, "/readyz").status == 503);
        go.send(()).expect("the client reads");
        let outcome = reload.join().expect("answered");
        assert!(rejected(&outcome).contains("stopping"), "{outcome:?}");
    });
    assert_eq!((generation(&app), app.status()["last_reload"]["cause"].as_str()), (1, Some("start")));
    systemd.set_nonblocking(true).expect("set");
    let mut text = [0; 1024];
    let received = std::iter::from_fn(|| systemd.recv(&mut text).ok().map(|bytes| text[..bytes].to_vec()));
    let received: Vec<String> = received.map(|text| String::from_utf8_lossy(&text).into_owned()).collect();
    let last = received.iter().rev().find(|text| !text.starts_with("WATCHDOG")).expect("a notification");
    assert!(last.starts_with("STOPPING=1"), "{received:?}");
}

#[test]
fn the_deadline_closes_remaining_connections() {
    let folder = Folder::new(&file(5));
    let mut options = folder.options();
    options.drain_deadline = Duration::from_millis(10);
    let app = App::launch(options.settings(), followers(Phase::Forced)).expect("started");
    app.stop();
    assert_eq!(app.wait(), Stopped::Forced);
}

#[test]
fn a_stuck_worker_is_found_during_a_drain_and_an_ended_one_is_not_stuck() {
    let folder = Folder::new(&file(5));
    let mut options = folder.options();
    options.drain_deadline = Duration::from_hours(1);
    // The second worker does not react to the drain, and gives no heartbeat.
    let spawn = Box::new(|parts: crate::control::WorkerParts| {
        let end = if parts.index == 0 { Phase::Draining } else { Phase::Forced };
        follower(parts, end)
    });
    let app = App::launch(options.settings(), spawn).expect("started");
    app.stop();
    eventually("a stall is counted", || get(&app, "/metrics").body.contains("pointsman_worker_stalls_total 1\n"));
    assert_eq!(app.state.stuck_worker().map(|(worker, _)| worker), Some(1));
    let metrics = get(&app, "/metrics").body;
    assert!(!metrics.contains("pointsman_worker_heartbeat_age_seconds{worker=\"0\"}"), "{metrics}");
    assert!(metrics.contains("pointsman_worker_heartbeat_age_seconds{worker=\"1\"}"), "{metrics}");
    assert_eq!(get(&app, "/healthz").status, 200, "a restart would not help: the process is ending");
}

#[test]
fn dropping_the_app_stops_it() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let (admin, snapshot) = (app.admin(), std::sync::Arc::downgrade(&app.state.snapshot()));
    drop(app);
    assert!(std::net::TcpStream::connect(admin).is_err(), "the admin listener is closed");
    assert!(snapshot.upgrade().is_none(), "no thread references a snapshot");
}

#[test]
fn workers_that_do_not_start_fail_the_start() {
    let folder = Folder::new(&file(5));
    let spawn = Box::new(|_| Err(std::io::Error::other("no threads left")));
    let error = App::launch(folder.options().settings(), spawn).err().expect("no workers");
    assert_eq!(error.to_string(), "error[start]: a worker's thread: no threads left");
    assert_eq!(error.exit_code(), 1);
}
