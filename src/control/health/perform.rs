//! Handles the events of endpoints' health: acts of people, and the tries of endpoints that accept no connections.

use std::sync::Arc;

use super::act::{EndpointAct, EndpointActError, EndpointActOutcome, EndpointVerb};
use super::find::{find_endpoints, find_upstream, leaves_none};
use super::log::log_act;
use crate::control::controller::Controller;
use crate::control::event::HealthEvent;
use crate::drain::Phase;
use crate::failover::FailureCause;
use crate::journal::Deed;
use crate::snapshot::EndpointState;

impl Controller {
    /// Handles an event.
    pub(in crate::control) fn handle_health(&mut self, event: HealthEvent) {
        match event {
            HealthEvent::Act(act, reply) => {
                let outcome = self.act_on_endpoints(*act);
                self.show_release();
                // The caller may have gone.
                let _ = reply.send(outcome);
            }
            HealthEvent::ProbesDue => self.begin_probes(),
            HealthEvent::Probed(result) => self.record_probe(&result),
        }
    }

    /// Does what a person asks for, at once, and records it; nothing waits for the record.
    fn act_on_endpoints(&mut self, act: EndpointAct) -> Result<EndpointActOutcome, EndpointActError> {
        // After a hand-over, the new process has these states.
        if self.shutdown.phase() > Phase::Running || self.is_successor_serving() {
            return Err(EndpointActError::Stopping);
        }
        let snapshot = self.store.load();
        let upstream = find_upstream(&snapshot, &act.upstream)?;
        let endpoints = find_endpoints(upstream, &act.endpoint)?;
        let now_ms = self.state.uptime_ms();
        let would_change = |one: &Arc<EndpointState>| match act.verb {
            EndpointVerb::Drain => !one.health.is_drained_by_hand(),
            EndpointVerb::Undrain => one.health.is_drained_by_hand(),
            EndpointVerb::Eject => one.health.view(now_ms).ejected != Some(FailureCause::ByHand),
            EndpointVerb::Admit => one.health.view(now_ms).ejected.is_some(),
        };
        let is_refused = act.verb.takes_out() && !act.force && leaves_none(upstream, &endpoints);
        if is_refused && endpoints.iter().any(would_change) {
            return Err(EndpointActError::LastUsable);
        }
        let is_by_file = act.verb == EndpointVerb::Undrain && endpoints.iter().any(|one| one.health.is_drained());
        if is_by_file && !endpoints.iter().any(would_change) {
            return Err(EndpointActError::DrainedByFile);
        }
        let mut changed = false;
        for endpoint in &endpoints {
            let change = match act.verb {
                EndpointVerb::Drain => upstream.health.drain(&endpoint.health, now_ms),
                EndpointVerb::Undrain => upstream.health.undrain(&endpoint.health, now_ms),
                EndpointVerb::Eject => upstream.health.eject_by_hand(&endpoint.health, now_ms),
                EndpointVerb::Admit => upstream.health.admit_by_hand(&endpoint.health, now_ms),
            };
            if let Some(change) = change {
                log_act(&act.upstream, endpoint, change, &act.who, &act.reason);
                changed = true;
            }
        }
        let addresses = endpoints.iter().map(|endpoint| endpoint.address).collect();
        let EndpointAct { who, upstream, endpoint, verb, reason, force } = act;
        let deed = Deed::Endpoint { act: verb.name().to_owned(), upstream, endpoint, force };
        let seq = if changed { self.record_deed(who, deed, Some(reason)) } else { None };
        Ok(EndpointActOutcome { changed, addresses, seq })
    }
}
