//! Finds the endpoints that an act names.

use std::net::SocketAddr;
use std::sync::Arc;

use super::act::EndpointActError;
use crate::config::nearest;
use crate::snapshot::{EndpointState, Snapshot, UpstreamState};

/// The most names in an answer.
const KNOWN_MAX: usize = 100;

/// The upstream of this name.
///
/// # Errors
/// There is none; the error has the names that there are.
pub(super) fn find_upstream<'a>(
    snapshot: &'a Snapshot,
    name: &str,
) -> Result<&'a Arc<UpstreamState>, EndpointActError> {
    let specs = &snapshot.rules.upstreams;
    let at = specs.iter().position(|upstream| upstream.name == name);
    at.and_then(|at| snapshot.upstreams.get(at)).ok_or_else(|| {
        let names = || specs.iter().map(|upstream| upstream.name.as_str());
        let known = names().take(KNOWN_MAX).map(str::to_owned).collect();
        EndpointActError::NoUpstream { known, similar: nearest(name, names()).map(str::to_owned) }
    })
}

/// The endpoints that `asked` means: all addresses of `HOST:PORT` as in the file, or one address.
///
/// # Errors
/// There is none; the error has those that there are.
pub(super) fn find_endpoints(
    upstream: &UpstreamState,
    asked: &str,
) -> Result<Vec<Arc<EndpointState>>, EndpointActError> {
    let address: Option<SocketAddr> = asked.parse().ok();
    let is_meant =
        |one: &&Arc<EndpointState>| one.name.eq_ignore_ascii_case(asked) || address.is_some_and(|it| it == one.address);
    let found: Vec<Arc<EndpointState>> = upstream.endpoints.iter().filter(is_meant).map(Arc::clone).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let mut known: Vec<String> = Vec::new();
    for endpoint in &*upstream.endpoints {
        for name in [endpoint.name.to_string(), endpoint.address.to_string()] {
            if known.len() < KNOWN_MAX && !known.contains(&name) {
                known.push(name);
            }
        }
    }
    let similar = nearest(asked, known.iter().map(String::as_str)).map(str::to_owned);
    Err(EndpointActError::NoEndpoint { known, similar })
}

/// Whether the upstream has no usable endpoint besides these.
pub(super) fn leaves_none(upstream: &UpstreamState, without: &[Arc<EndpointState>]) -> bool {
    let stays = |one: &&Arc<EndpointState>| !without.iter().any(|other| Arc::ptr_eq(&one.health, &other.health));
    !upstream.endpoints.iter().filter(stays).any(|one| one.health.is_usable())
}
