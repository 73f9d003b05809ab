//! Tests of the registry: the rest of workers.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;

#[test]
fn a_rest_ends_with_the_first_worker_that_is_roused() {
    let registry = MeterRegistry::new(2);
    let at = |secs| registry.started + Duration::from_secs(secs);
    registry.rest(0);
    assert!(!registry.is_at_rest(), "the other worker may count");
    registry.rest(1);
    assert!(registry.is_at_rest());
    let mut roused = pin!(registry.roused());
    let mut poll = || roused.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending());
    registry.rest(0);
    assert!(poll().is_pending());
    registry.rouse(1, at(60));
    assert!(matches!(poll(), Poll::Ready(())));
    assert!(!registry.is_at_rest());
}

#[test]
fn a_worker_at_rest_is_not_silent() {
    let registry = MeterRegistry::new(1);
    let at = |secs| registry.started + Duration::from_secs(secs);
    registry.beat(0, at(1));
    assert_eq!(registry.heartbeat_age(0, at(3)), Some(Duration::from_secs(2)));
    registry.rest(0);
    assert_eq!(registry.heartbeat_age(0, at(6)), Some(Duration::ZERO));
    assert_eq!(registry.heartbeat_age(0, at(60)), Some(Duration::from_secs(54)), "it hangs");
    registry.rouse(0, at(100));
    assert_eq!(registry.heartbeat_age(0, at(103)), Some(Duration::from_secs(3)));
    registry.rest(0);
    registry.end(0);
    assert_eq!(registry.heartbeat_age(0, at(200)), None);
}
