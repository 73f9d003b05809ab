//! The state of an endpoint in a hand-over: ejections, drains and verdicts of active checks survive it. Times are
//! relative, since the clocks differ.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::failover::{CheckedHealth, EndpointKey, EndpointMemory, FailureCause};
use crate::route::Protocol;
use crate::snapshot::Snapshot;

/// The most endpoints that are passed on.
const ENDPOINTS_MAX: usize = 10_000;
/// The most bytes of a part, which is one datagram.
const PART_BYTES_MAX: usize = 64 * 1024;

/// An endpoint that is not well, or that active checks know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::control) struct SavedEndpoint {
    /// The name of its upstream.
    upstream: String,
    address: SocketAddr,
    /// The scheme of its protocol.
    protocol: String,
    #[serde(default)]
    drained: bool,
    /// The cause of its ejection, if it is ejected.
    #[serde(default)]
    ejected: Option<String>,
    #[serde(default)]
    left_ms: u64,
    #[serde(default)]
    length_ms: u64,
    #[serde(default)]
    failures: u32,
    #[serde(default)]
    in_row: u32,
    /// The verdict of its active checks.
    #[serde(default)]
    checked: String,
}

impl SavedEndpoint {
    fn new(upstream: &str, key: EndpointKey, memory: EndpointMemory) -> Self {
        let EndpointMemory { drained, ejected, left_ms, length_ms, failures, in_row, checked } = memory;
        Self {
            upstream: upstream.to_owned(),
            address: key.address,
            protocol: key.protocol.scheme().to_owned(),
            drained,
            ejected: ejected.map(|cause| cause.name().to_owned()),
            left_ms,
            length_ms,
            failures,
            in_row,
            checked: checked.name().to_owned(),
        }
    }

    /// Whether a process that does not know it would send requests that fail.
    fn is_out(&self) -> bool {
        self.drained || self.ejected.is_some() || self.checked == CheckedHealth::Unhealthy.name()
    }

    /// The key and the state; `None` when a newer version names a protocol that this one does not know. A cause that it
    /// does not know ejects as a bad response does.
    fn memory(&self) -> Option<(EndpointKey, EndpointMemory)> {
        let known = [Protocol::Http1, Protocol::H2c, Protocol::Https];
        let protocol = known.into_iter().find(|one| one.scheme() == self.protocol)?;
        let cause = |name: &String| FailureCause::named(name).unwrap_or(FailureCause::Status);
        let memory = EndpointMemory {
            drained: self.drained,
            ejected: self.ejected.as_ref().map(cause),
            left_ms: self.left_ms,
            length_ms: self.length_ms,
            failures: self.failures,
            in_row: self.in_row,
            checked: CheckedHealth::named(&self.checked),
        };
        Some((EndpointKey { address: self.address, protocol }, memory))
    }
}

/// The endpoints that have something to remember, in parts that fit in a datagram.
pub(super) fn saved(snapshot: &Snapshot, now_ms: u64) -> Vec<Vec<SavedEndpoint>> {
    let all = snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams);
    let each = all.flat_map(|(spec, state)| {
        let memories = state.health.memories(now_ms).into_iter();
        memories.map(|(key, memory)| SavedEndpoint::new(&spec.name, key, memory))
    });
    in_parts(most_important(each.collect()))
}

/// As many as are passed on: those that get no requests come first.
fn most_important(mut all: Vec<SavedEndpoint>) -> Vec<SavedEndpoint> {
    all.sort_by_key(|endpoint| !endpoint.is_out());
    all.truncate(ENDPOINTS_MAX);
    all
}

fn in_parts(endpoints: Vec<SavedEndpoint>) -> Vec<Vec<SavedEndpoint>> {
    let mut parts: Vec<Vec<SavedEndpoint>> = Vec::new();
    let mut bytes = PART_BYTES_MAX;
    for endpoint in endpoints {
        // A comma follows each.
        let size = serde_json::to_vec(&endpoint).map_or(PART_BYTES_MAX, |text| text.len() + 1);
        if bytes + size > PART_BYTES_MAX {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(part) = parts.last_mut() {
            part.push(endpoint);
        }
    }
    parts
}

/// Gives the endpoints the states that the process before had. What is not in the configuration is ignored.
pub(in crate::control) fn restore_endpoints(snapshot: &Snapshot, endpoints: &[SavedEndpoint], now_ms: u64) {
    let mut by_upstream: HashMap<&str, Vec<(EndpointKey, EndpointMemory)>> = HashMap::new();
    for endpoint in endpoints {
        by_upstream.entry(&endpoint.upstream).or_default().extend(endpoint.memory());
    }
    for (spec, state) in snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams) {
        if let Some(memories) = by_upstream.get(spec.name.as_str()) {
            state.health.restore(memories, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> EndpointMemory {
        let ejected = Some(FailureCause::Tls);
        EndpointMemory {
            drained: true,
            ejected,
            left_ms: 1_200,
            length_ms: 30_000,
            failures: 0,
            in_row: 2,
            checked: CheckedHealth::Healthy,
        }
    }

    #[test]
    fn a_state_comes_back_as_it_was() {
        for protocol in [Protocol::Http1, Protocol::H2c, Protocol::Https] {
            let key = EndpointKey { address: "[::1]:443".parse().expect("an address"), protocol };
            let text = serde_json::to_string(&SavedEndpoint::new("u", key, memory())).expect("JSON");
            let read: SavedEndpoint = serde_json::from_str(&text).expect("the same");
            assert_eq!(read.memory(), Some((key, memory())));
        }
    }

    #[test]
    fn those_that_get_no_requests_are_passed_on_first() {
        let well = EndpointMemory { drained: false, ejected: None, ..memory() };
        let unhealthy = EndpointMemory { checked: CheckedHealth::Unhealthy, ..well };
        let all = (0..12_000_u16).map(|port| {
            let key = EndpointKey { address: ([10, 0, 0, 1], port).into(), protocol: Protocol::Http1 };
            let memory = match port % 1_000 {
                997 => unhealthy,
                998 => EndpointMemory { drained: true, ..well },
                999 => EndpointMemory { ejected: Some(FailureCause::Reset), ..well },
                _ => well,
            };
            SavedEndpoint::new("u", key, memory)
        });
        let kept = most_important(all.collect());
        assert_eq!((kept.len(), kept.iter().filter(|one| one.is_out()).count()), (ENDPOINTS_MAX, 36));
        assert!(kept[..36].iter().all(SavedEndpoint::is_out));
        let parts = in_parts(kept);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), ENDPOINTS_MAX);
        assert!(parts.iter().all(|part| serde_json::to_vec(part).expect("JSON").len() <= PART_BYTES_MAX + 2));
    }

    #[test]
    fn another_version_may_know_more_or_less() {
        let read = |text: &str| serde_json::from_str::<SavedEndpoint>(text).expect("an endpoint").memory();
        let more = r#"{"upstream":"u","address":"10.0.0.1:80","protocol":"http","ejected":"bored","mood":"dark"}"#;
        assert_eq!(read(more).and_then(|(_, memory)| memory.ejected), Some(FailureCause::Status));
        assert_eq!(read(&more.replace("\"http\"", "\"h9\"")), None);
    }
}
