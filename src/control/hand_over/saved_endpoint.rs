//! The state of an endpoint in a hand-over: ejections and drains survive it. Times are relative, since the clocks differ.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::failover::{EndpointKey, EndpointMemory, FailureCause};
use crate::route::Protocol;
use crate::snapshot::Snapshot;

/// The most endpoints that are passed on.
const ENDPOINTS_MAX: usize = 10_000;
/// The most bytes of a part, which is one datagram.
const PART_BYTES_MAX: usize = 64 * 1024;

/// An endpoint that is not well.
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
}

impl SavedEndpoint {
    fn new(upstream: &str, key: EndpointKey, memory: EndpointMemory) -> Self {
        let EndpointMemory { drained, ejected, left_ms, length_ms, failures, in_row } = memory;
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
        }
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
        };
        Some((EndpointKey { address: self.address, protocol }, memory))
    }
}

/// The endpoints that are not well, in parts that fit in a datagram.
pub(super) fn saved(snapshot: &Snapshot, now_ms: u64) -> Vec<Vec<SavedEndpoint>> {
    let all = snapshot.rules.upstreams.iter().zip(&*snapshot.upstreams);
    let each = all.flat_map(|(spec, state)| {
        let memories = state.health.memories(now_ms).into_iter();
        memories.map(|(key, memory)| SavedEndpoint::new(&spec.name, key, memory))
    });
    let mut parts: Vec<Vec<SavedEndpoint>> = Vec::new();
    let mut bytes = PART_BYTES_MAX;
    for endpoint in each.take(ENDPOINTS_MAX) {
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
        EndpointMemory { drained: true, ejected, left_ms: 1_200, length_ms: 30_000, failures: 0, in_row: 2 }
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
    fn another_version_may_know_more_or_less() {
        let read = |text: &str| serde_json::from_str::<SavedEndpoint>(text).expect("an endpoint").memory();
        let more = r#"{"upstream":"u","address":"10.0.0.1:80","protocol":"http","ejected":"bored","mood":"dark"}"#;
        assert_eq!(read(more).and_then(|(_, memory)| memory.ejected), Some(FailureCause::Status));
        assert_eq!(read(&more.replace("\"http\"", "\"h9\"")), None);
    }
}
