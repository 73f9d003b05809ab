//! Changes of endpoints in the log: each once.

use crate::failover::{CheckOutcome, Transition};
use crate::journal::Actor;
use crate::snapshot::EndpointState;

/// Logs a change that a try of the control plane has caused.
pub(super) fn log(upstream: &str, endpoint: &EndpointState, change: Transition) {
    let (name, address) = (&endpoint.name, endpoint.address);
    match change {
        Transition::Ejected { cause, for_ms, nth } => {
            let cause = cause.name();
            tracing::warn!(upstream, endpoint = %name, %address, cause, for_ms, nth, "endpoint ejected");
        }
        Transition::Failing { cause, kept } => {
            let (cause, kept) = (cause.name(), kept.name());
            tracing::warn!(upstream, endpoint = %name, %address, cause, kept, "endpoint failing, but not ejected");
        }
        Transition::Admitted => tracing::info!(upstream, endpoint = %name, %address, "endpoint admitted again"),
        Transition::Recovered => tracing::info!(upstream, endpoint = %name, %address, "endpoint fails no longer"),
        Transition::Unhealthy => tracing::warn!(upstream, endpoint = %name, %address, "endpoint unhealthy"),
        Transition::Healthy => tracing::info!(upstream, endpoint = %name, %address, "endpoint healthy"),
        Transition::Drained | Transition::Undrained => {}
    }
}

/// Logs a change that an active check has caused, with why the check was bad.
pub(super) fn log_checked(upstream: &str, endpoint: &EndpointState, change: Transition, outcome: &CheckOutcome) {
    let (name, address) = (&endpoint.name, endpoint.address);
    match (change, outcome) {
        (Transition::Unhealthy, CheckOutcome::Bad(why)) => {
            let why = &**why;
            tracing::warn!(upstream, endpoint = %name, %address, why, "endpoint unhealthy");
        }
        (other, _) => log(upstream, endpoint, other),
    }
}

/// Logs a change that a person has made.
pub(super) fn log_act(upstream: &str, endpoint: &EndpointState, change: Transition, by: &Actor, why: &str) {
    let word = match change {
        Transition::Ejected { .. } => "endpoint ejected by hand",
        Transition::Failing { .. } | Transition::Recovered | Transition::Unhealthy | Transition::Healthy => {
            "endpoint changed by hand"
        }
        Transition::Admitted => "endpoint admitted by hand",
        Transition::Drained => "endpoint drained",
        Transition::Undrained => "endpoint undrained",
    };
    let (name, address, who) = (&endpoint.name, endpoint.address, by.name.as_str());
    tracing::warn!(upstream, endpoint = %name, %address, who, via = ?by.via, why, "{word}");
}
