//! Tries endpoints that accept no connections: when their time is over, at most 64 at once, and each once at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::log::log;
use super::probe::{ProbeResult, ProbeTarget, probe};
use crate::control::controller::Controller;
use crate::control::event::{Event, HealthEvent};
use crate::control::state::ControlState;
use crate::drain::Phase;
use crate::failover::{EndpointKey, FailedTry, Moment};
use crate::route::{Upstream, UpstreamId};
use crate::snapshot::{EndpointState, Snapshot};

/// How often is looked whether a try is due.
const TICK: Duration = Duration::from_millis(250);

/// Sends an event while some endpoint is ejected or drained. Otherwise a tick is one load an upstream.
/// There are no ticks while all workers rest and all endpoints are in use; then housekeeping looks whether a try is due.
pub(in crate::control) async fn send_probe_ticks(
    state: Arc<ControlState>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    events: mpsc::Sender<Event>,
) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let is_needed = state.snapshot().upstreams.iter().any(|upstream| upstream.health.has_unusable());
        if is_needed && events.send(Event::Health(HealthEvent::ProbesDue)).await.is_err() {
            return;
        }
        if !is_needed {
            state.wait_for_work(&mut snapshots).await;
        }
    }
}

/// Which endpoints are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Tried {
    /// Those whose last try did not connect.
    Unconnected,
    /// All.
    All,
}

impl Controller {
    /// Tries the endpoints whose time is over.
    pub(in crate::control) fn begin_probes(&mut self) {
        if self.shutdown.phase() >= Phase::Draining {
            return;
        }
        let (snapshot, now_ms) = (self.store.load(), self.state.uptime_ms());
        for (spec, upstream) in snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams) {
            let due = upstream.health.due_probes(now_ms);
            if due.is_empty() {
                continue;
            }
            let endpoints = upstream.endpoints.iter().rev().map(|one| (Arc::as_ptr(&one.health), one));
            let by_state: HashMap<_, &Arc<EndpointState>> = endpoints.collect();
            for (key, health) in due {
                let Some(endpoint) = by_state.get(&Arc::as_ptr(&health)) else { continue };
                self.begin_probe(spec, endpoint, key);
            }
        }
    }

    /// Tries the endpoints of these upstreams that did not connect last, ejected or not.
    pub(in crate::control) fn try_upstreams(&mut self, upstreams: &[UpstreamId], tried: Tried) {
        let snapshot = self.store.load();
        for id in upstreams {
            let at = id.0 as usize;
            let Some((spec, upstream)) = snapshot.rules.upstreams.get(at).zip(snapshot.upstreams.get(at)) else {
                continue;
            };
            for endpoint in &*upstream.endpoints {
                let health = &endpoint.health;
                let is_tried = tried == Tried::All || health.unconnected_tries() > 0;
                if is_tried && !health.is_drained() && !health.is_ejected_by_hand() {
                    let key = EndpointKey { address: endpoint.address, protocol: endpoint.protocol };
                    self.begin_probe(spec, endpoint, key);
                }
            }
        }
    }

    /// Tries an endpoint, unless it is tried already.
    fn begin_probe(&mut self, spec: &Upstream, endpoint: &Arc<EndpointState>, key: EndpointKey) {
        if !self.probes.under_way.insert((spec.name.clone(), key)) {
            return;
        }
        let target = ProbeTarget {
            upstream: spec.name.clone(),
            endpoint: Arc::clone(endpoint),
            epoch: endpoint.health.epoch(),
            within: spec.connect_timeout,
            proxy_protocol: spec.proxy_protocol,
        };
        let (places, events) = (Arc::clone(&self.probes.places), self.sender.clone());
        tokio::spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire_owned().await;
            let result = probe(target).await;
            // Sending fails when the controller has ended.
            let _ = events.send(Event::Health(HealthEvent::Probed(Box::new(result)))).await;
        });
    }

    /// Admits an endpoint that accepts connections, and ejects one anew that does not.
    pub(super) fn record_probe(&mut self, result: &ProbeResult) {
        let ProbeResult { upstream, endpoint, epoch, failure } = result;
        let key = EndpointKey { address: endpoint.address, protocol: endpoint.protocol };
        self.probes.under_way.remove(&(upstream.clone(), key));
        let snapshot = self.store.load();
        let all = snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams);
        // A reload may have removed the upstream.
        let Some((spec, state)) = all.into_iter().find(|(spec, _)| spec.name == *upstream) else { return };
        let now_ms = self.state.uptime_ms();
        let change = match failure {
            None => state.health.record_success(&endpoint.health, *epoch, now_ms),
            Some(cause) => {
                let failed = FailedTry { cause: *cause, epoch: *epoch };
                let at = Moment { now_ms, draw: fastrand::f64() };
                state.health.record_failure(&endpoint.health, failed, &spec.outlier, at)
            }
        };
        if let Some(change) = change {
            log(upstream, endpoint, change);
        }
    }
}
