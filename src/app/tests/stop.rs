//! The end: drained, forced, at once.

use std::time::Duration;

use super::harness::{Folder, eventually, file, followers, get};
use crate::app::{App, Stopped};
use crate::drain::Phase;

#[test]
fn drains_and_says_so() {
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
fn the_deadline_cuts_what_is_left() {
    let folder = Folder::new(&file(5));
    let mut options = folder.options();
    options.drain_deadline = Duration::from_millis(10);
    let app = App::launch(options.settings(), followers(Phase::Forced)).expect("started");
    app.stop();
    assert_eq!(app.wait(), Stopped::Forced);
}

#[test]
fn dropping_it_ends_it() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let (admin, snapshot) = (app.admin(), std::sync::Arc::downgrade(&app.ledger.snapshot()));
    drop(app);
    assert!(std::net::TcpStream::connect(admin).is_err(), "nobody listens");
    assert!(snapshot.upgrade().is_none(), "no thread holds a snapshot");
}

#[test]
fn workers_that_do_not_start_fail_the_start() {
    let folder = Folder::new(&file(5));
    let spawn = Box::new(|_| Err(std::io::Error::other("no threads left")));
    let error = App::launch(folder.options().settings(), spawn).err().expect("no workers");
    assert_eq!(error.to_string(), "error[start]: a worker's thread: no threads left");
    assert_eq!(error.exit_code(), 1);
}
