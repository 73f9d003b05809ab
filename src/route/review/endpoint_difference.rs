//! The differences of the endpoints and the checks of an upstream, as text.

use ahash::HashMap;

use crate::route::{EndpointHost, EndpointRole, EndpointSpec, HealthCheck, HealthProbe, Protocol};

/// Lists of at most this many endpoints are shown as a whole.
const LISTED_MAX: usize = 4;

/// What makes two endpoints the same.
type Place<'a> = (Protocol, &'a EndpointHost, u16);

/// The change of the endpoints: short lists as a whole, the differences of long ones counted.
pub(super) fn endpoint_changes(old: &[EndpointSpec], new: &[EndpointSpec]) -> Option<String> {
    if old == new {
        return None;
    }
    if old.len().max(new.len()) <= LISTED_MAX {
        return Some(format!("endpoints {} → {}", listed(old), listed(new)));
    }
    let mut olds: HashMap<Place<'_>, &EndpointSpec> = old.iter().map(|one| (place(one), one)).collect();
    let mut added = Vec::new();
    let [mut drained, mut undrained, mut others] = [0_usize; 3];
    for now in new {
        let Some(was) = olds.remove(&place(now)) else {
            added.push(now);
            continue;
        };
        match (was.role, now.role) {
            (was, now) if was == now => {}
            (EndpointRole::Primary | EndpointRole::Backup, EndpointRole::Drained) => drained += 1,
            (EndpointRole::Drained, EndpointRole::Primary | EndpointRole::Backup) => undrained += 1,
            (EndpointRole::Primary | EndpointRole::Backup | EndpointRole::Drained, _) => others += 1,
        }
        others += usize::from(was.weight != now.weight && was.role == now.role);
    }
    let removed: Vec<&EndpointSpec> = old.iter().filter(|one| olds.contains_key(&place(one))).collect();
    let named = |all: &[&EndpointSpec]| all.first().filter(|_| all.len() == 1).map(|one| format!(" ({})", one.url()));
    let counts = [
        (added.len(), "added", named(&added)),
        (removed.len(), "removed", named(&removed)),
        (drained, "drained", None),
        (undrained, "no longer drained", None),
        (others, "changed", None),
    ];
    let counts = counts.into_iter().filter(|(count, ..)| *count > 0);
    let words: Vec<String> =
        counts.map(|(count, what, name)| format!("{count} {what}{}", name.unwrap_or_default())).collect();
    Some(if words.is_empty() { "endpoints reordered".to_owned() } else { format!("endpoints: {}", words.join(", ")) })
}

fn place(endpoint: &EndpointSpec) -> Place<'_> {
    (endpoint.protocol, &endpoint.host, endpoint.port)
}

/// The endpoints, as configured.
fn listed(endpoints: &[EndpointSpec]) -> String {
    endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The change of `health`.
pub(super) fn health_changes(old: Option<&HealthCheck>, new: Option<&HealthCheck>) -> Option<String> {
    let (was, now) = match (old, new) {
        (None, None) => return None,
        (None, Some(now)) => return Some(format!("health added: {}", words(now))),
        (Some(was), None) => return Some(format!("health removed, was {}", words(was))),
        (Some(was), Some(now)) if was == now => return None,
        (Some(was), Some(now)) => (words(was), words(now)),
    };
    Some(if was == now { "health changed".to_owned() } else { format!("health {was} → {now}") })
}

/// A check in words, such as `http /healthz every 5s`.
fn words(check: &HealthCheck) -> String {
    let what = match &check.probe {
        HealthProbe::Http(probe) => format!(" {}", probe.path),
        HealthProbe::Grpc(probe) if !probe.service.is_empty() => format!(" {}", probe.service),
        HealthProbe::Grpc(_) | HealthProbe::Tcp => String::new(),
    };
    let port = check.port.map(|port| format!(" at port {port}")).unwrap_or_default();
    let HealthCheck { interval, timeout, healthy, unhealthy, .. } = check;
    let kind = check.probe.kind();
    format!("{kind}{what}{port} every {interval:?}, timeout {timeout:?}, {healthy} good or {unhealthy} bad in a row")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u16) -> Vec<EndpointSpec> {
        let at = |port| EndpointSpec {
            protocol: Protocol::Http1,
            host: EndpointHost::Ip([10, 0, 0, 1].into()),
            port,
            weight: 1,
            role: EndpointRole::Primary,
        };
        (1..=count).map(at).collect()
    }

    #[test]
    fn short_lists_are_shown() {
        let (old, new) = (endpoints(1), endpoints(2));
        let expected = "endpoints http://10.0.0.1:1 → http://10.0.0.1:1, http://10.0.0.1:2";
        assert_eq!(endpoint_changes(&old, &new).as_deref(), Some(expected));
        assert_eq!(endpoint_changes(&old, &old), None);
    }

    #[test]
    fn the_changes_of_long_lists_are_counted() {
        let old = endpoints(10_000);
        let mut new = old.clone();
        new.rotate_left(1);
        assert_eq!(endpoint_changes(&old, &new).as_deref(), Some("endpoints reordered"));
        new = old.clone();
        new.remove(7);
        assert_eq!(endpoint_changes(&old, &new).as_deref(), Some("endpoints: 1 removed (http://10.0.0.1:8)"));
        new = old.clone();
        new[0].role = EndpointRole::Drained;
        new[1].role = EndpointRole::Backup;
        new[2].weight = 2;
        new[3].port = 20_000;
        new[4].port = 20_001;
        let expected = "endpoints: 2 added, 2 removed, 1 drained, 2 changed";
        assert_eq!(endpoint_changes(&old, &new).as_deref(), Some(expected));
        let expected = "endpoints: 2 added, 2 removed, 1 no longer drained, 2 changed";
        assert_eq!(endpoint_changes(&new, &old).as_deref(), Some(expected));
    }
}
