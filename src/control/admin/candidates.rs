//! Which endpoints of an upstream a request may get now, and why not the others: for `/explain`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::upstreams;
use crate::failover::{EndpointStanding, EndpointView, FailureCause};
use crate::snapshot::EndpointState;

/// Whether the upstream serves as stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VariantRole {
    /// It does: while none of its endpoints is usable, all but drained ones are tried.
    Stable,
    /// It does not: while none is usable, stable answers.
    Other,
}

/// Each endpoint as in `/v1/upstreams`, with `candidate` and `why`.
pub(super) fn candidates(endpoints: &[Arc<EndpointState>], role: VariantRole, now_ms: u64) -> Vec<Value> {
    let is_any_usable = endpoints.iter().any(|one| one.health.is_usable());
    let row = |endpoint: &Arc<EndpointState>| {
        let view = endpoint.health.view(now_ms);
        let is_last_resort = !is_any_usable && role == VariantRole::Stable && !view.drained;
        let mut row = upstreams::endpoint(endpoint, now_ms);
        row["candidate"] = json!(view.standing.serves() || is_last_resort);
        row["why"] = if is_last_resort {
            json!("no endpoint is usable: all that are not drained are tried")
        } else {
            why(&view)
        };
        row
    };
    endpoints.iter().map(row).collect()
}

/// Why it is no candidate, or what is to be known about one.
fn why(view: &EndpointView) -> Value {
    let cause = view.ejected.map_or("", FailureCause::name);
    match view.standing {
        EndpointStanding::Usable => Value::Null,
        EndpointStanding::Failing => json!("it fails, but may not be ejected"),
        EndpointStanding::Drained if view.drained_by_file => json!("the file has drained it"),
        EndpointStanding::Drained => json!("a person has drained it"),
        EndpointStanding::Unhealthy => json!("its active checks fail"),
        EndpointStanding::Unknown => json!("it was not checked yet, and a healthy one serves"),
        EndpointStanding::Standby => json!("it is a backup, and a primary is usable"),
        EndpointStanding::Trial => json!(format!("ejected ({cause}); its time is over: the next fitting try decides")),
        EndpointStanding::Ejected => match view.left_ms {
            Some(left_ms) => json!(format!("ejected ({cause}) for another {} s", left_ms.div_ceil(1000))),
            None => json!("a person has ejected it"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::{EndpointKey, UpstreamHealth};
    use crate::route::{EndpointRole, Protocol};

    #[test]
    fn drained_and_ejected_endpoints_are_no_candidates_and_say_why() {
        let health = UpstreamHealth::new(1);
        let addresses = ["10.0.0.1:80", "10.0.0.2:80"].map(|address| address.parse().expect("an address"));
        let keys = addresses.map(|address| EndpointKey { address, protocol: Protocol::Http1 });
        let endpoint = |(address, health)| {
            let (name, looked_up) = ("a".into(), None);
            Arc::new(EndpointState {
                address,
                protocol: Protocol::Http1,
                weight: 1,
                role: EndpointRole::Primary,
                tls: None,
                name,
                looked_up,
                health,
            })
        };
        let all: Vec<Arc<EndpointState>> =
            addresses.into_iter().zip(health.set_endpoints(&keys, 0)).map(endpoint).collect();
        let shown = |role| candidates(&all, role, 0).iter().map(|row| row["candidate"].clone()).collect::<Vec<_>>();
        assert_eq!(shown(VariantRole::Other), [true, true]);
        health.drain(&all[0].health, 0);
        assert_eq!(shown(VariantRole::Other), [false, true]);
        assert_eq!(candidates(&all, VariantRole::Stable, 0)[0]["why"], "a person has drained it");
        health.eject_by_hand(&all[1].health, 0);
        assert_eq!(shown(VariantRole::Other), [false, false]);
        assert_eq!(candidates(&all, VariantRole::Other, 0)[1]["why"], "a person has ejected it");
        assert_eq!(shown(VariantRole::Stable), [false, true], "the last resort leaves drained ones out");
    }
}
