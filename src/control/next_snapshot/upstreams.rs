//! Carries the state of upstreams over, by name; their endpoints are carried over when all their settings are equal.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::previous::{Previous, PreviousEntities, same};
use crate::balance::{HashRing, RingMember};
use crate::failover::{ActiveChecks, EndpointKey, EndpointSetting, UpstreamHealth};
use crate::route::{Balance, ClientTls, EndpointHost, OtlpProtocol, Protocol, Rules, TraceExport, Upstream};
use crate::snapshot::{EndpointIdentity, EndpointIndex, EndpointState, Snapshot, UpstreamState};
use crate::telemetry::{CollectorTls, MeterRegistry, UpstreamSeries};
use crate::tls::{CertificateError, EndpointTls, Handshake, OwnCertificate, client};

/// The addresses of the resolved names, sorted.
pub type Addresses = HashMap<String, Vec<IpAddr>>;

/// The names that these rules need to resolve.
#[must_use]
pub fn names_to_resolve(rules: &Rules) -> BTreeSet<String> {
    rules.upstreams.iter().flat_map(hosts).map(str::to_owned).collect()
}

/// The names among the hosts of an upstream.
fn hosts(upstream: &Upstream) -> impl Iterator<Item = &str> {
    upstream.endpoints.iter().filter_map(|endpoint| match &endpoint.host {
        EndpointHost::Name(name) => Some(name.as_str()),
        EndpointHost::Ip(_) => None,
    })
}

/// The inputs for endpoints.
#[derive(Clone, Copy)]
pub struct EndpointInputs<'a> {
    /// The addresses of names.
    pub addresses: &'a Addresses,
    /// Milliseconds since the start of the process.
    pub now_ms: u64,
}

/// The inputs for new series and endpoints.
struct UpstreamInputs<'a> {
    endpoints: EndpointInputs<'a>,
    registry: &'a MeterRegistry,
    /// Some route has a shadow: its copies and controls may use every upstream.
    has_shadows: bool,
}

/// The states of all upstreams.
pub(super) fn upstream_states(
    old: Option<&Snapshot>,
    rules: &Rules,
    registry: &MeterRegistry,
    endpoints: EndpointInputs<'_>,
) -> Arc<[Arc<UpstreamState>]> {
    let (specs, states) = old.map_or((&[][..], &[][..]), |old| (&*old.rules.upstreams, &*old.upstreams));
    let previous = PreviousEntities::new(specs, states, |upstream: &Upstream| &upstream.name);
    let has_shadows = rules.routes.iter().any(|route| route.split().is_some_and(|split| split.shadow.is_some()));
    let inputs = UpstreamInputs { endpoints, registry, has_shadows };
    let all = rules.upstreams.iter().enumerate();
    all.map(|(at, upstream)| upstream_state(previous.find(at, &upstream.name), upstream, &inputs)).collect()
}

/// The upstream states with the new addresses of `name`.
#[must_use]
pub fn with_addresses(old: &Snapshot, name: &str, inputs: EndpointInputs<'_>) -> Arc<[Arc<UpstreamState>]> {
    let one = |(upstream, state): (&Upstream, &Arc<UpstreamState>)| {
        if !hosts(upstream).any(|host| host == name) {
            return Arc::clone(state);
        }
        let endpoints = endpoint_states(Some((upstream, state)), upstream, inputs, &state.health);
        if Arc::ptr_eq(&endpoints, &state.endpoints) {
            return Arc::clone(state);
        }
        let (series, shadow_series) = (Arc::clone(&state.series), state.shadow_series.clone());
        let ring = ring(state.ring.as_ref(), upstream.balance, &endpoints);
        Arc::new(UpstreamState { series, shadow_series, endpoints, health: Arc::clone(&state.health), ring })
    };
    old.rules.upstreams.iter().zip(&*old.upstreams).map(one).collect()
}

/// The state of an upstream: the same `Arc` when nothing of it has changed.
fn upstream_state(
    old: Previous<'_, Upstream, UpstreamState>,
    upstream: &Upstream,
    inputs: &UpstreamInputs<'_>,
) -> Arc<UpstreamState> {
    let series = |carried: Option<&Arc<UpstreamSeries>>| {
        carried.map_or_else(|| Arc::new(UpstreamSeries::new(&upstream.name, inputs.registry.workers)), Arc::clone)
    };
    let health =
        old.map_or_else(|| Arc::new(UpstreamHealth::new(inputs.registry.workers)), |(_, old)| Arc::clone(&old.health));
    let endpoints = endpoint_states(old, upstream, inputs.endpoints, &health);
    let state = UpstreamState {
        series: series(old.map(|(_, old)| &old.series)),
        shadow_series: inputs.has_shadows.then(|| series(old.and_then(|(_, old)| old.shadow_series.as_ref()))),
        ring: ring(old.and_then(|(_, old)| old.ring.as_ref()), upstream.balance, &endpoints),
        endpoints,
        health,
    };
    match old {
        Some((_, old)) if is_same(old, &state) => Arc::clone(old),
        Some(_) | None => Arc::new(state),
    }
}

fn is_same(a: &UpstreamState, b: &UpstreamState) -> bool {
    Arc::ptr_eq(&a.series, &b.series)
        && same(a.shadow_series.as_ref(), b.shadow_series.as_ref())
        && Arc::ptr_eq(&a.endpoints, &b.endpoints)
        && same(a.ring.as_ref(), b.ring.as_ref())
}

/// The ring of these endpoints for `hash`: the last one while addresses and weights are the same.
fn ring(old: Option<&Arc<HashRing>>, balance: Balance, endpoints: &[Arc<EndpointState>]) -> Option<Arc<HashRing>> {
    if balance != Balance::Hash {
        return None;
    }
    let members = RingMember::all(endpoints.iter().map(|endpoint| (endpoint.address, endpoint.weight)));
    let same = old.filter(|ring| *ring.members() == *members);
    Some(same.map_or_else(|| Arc::new(HashRing::new(members)), Arc::clone))
}

/// The endpoints of an upstream with the current addresses: the same `Arc` when all of them are equal.
fn endpoint_states(
    old: Previous<'_, Upstream, UpstreamState>,
    upstream: &Upstream,
    inputs: EndpointInputs<'_>,
    health: &UpstreamHealth,
) -> Arc<[Arc<EndpointState>]> {
    let mut next = endpoints(upstream, client_config(old, upstream).as_ref(), inputs.addresses);
    let setting = |next: &EndpointState| {
        let key = EndpointKey { address: next.address, protocol: next.protocol };
        EndpointSetting { key, role: next.role }
    };
    let settings: Vec<EndpointSetting> = next.iter().map(setting).collect();
    health.set_checks(if upstream.health.is_some() { ActiveChecks::On } else { ActiveChecks::Off });
    for (next, health) in next.iter_mut().zip(health.set_endpoints(&settings, inputs.now_ms)) {
        next.health = health;
    }
    let Some(old) = old.map(|(_, old)| &old.endpoints) else {
        return next.into_iter().map(Arc::new).collect();
    };
    let known = EndpointIndex::new(EndpointIdentity::Settings, old.len(), |at| &*old[at]);
    // An equal one of before, at any index, is carried over.
    let carried = |(at, next): (usize, EndpointState)| {
        known.find(at, &next).map_or_else(|| Arc::new(next), |at| Arc::clone(&old[at]))
    };
    let next: Vec<Arc<EndpointState>> = next.into_iter().enumerate().map(carried).collect();
    let is_same = old.len() == next.len() && old.iter().zip(&next).all(|(old, next)| Arc::ptr_eq(old, next));
    if is_same { Arc::clone(old) } else { next.into() }
}

/// The TLS configuration of an upstream: unchanged when its settings are, so that connections stay open.
fn client_config(old: Previous<'_, Upstream, UpstreamState>, upstream: &Upstream) -> Option<Arc<ClientConfig>> {
    let tls = upstream.tls.as_ref()?;
    let same = old.filter(|(old, _)| old.tls.as_ref() == Some(tls));
    if let Some(dial) = same.and_then(|(_, old)| old.endpoints.iter().find_map(|endpoint| endpoint.tls.as_ref())) {
        return Some(Arc::clone(dial.config()));
    }
    config(tls)
        .inspect_err(|flaw| tracing::error!(upstream = upstream.name, %flaw, "TLS to the upstream cannot be set up"))
        .ok()
}

/// Builds a TLS configuration.
fn config(tls: &ClientTls) -> Result<Arc<ClientConfig>, CertificateError> {
    // The parts were validated when the file was loaded.
    client(&tls.roots, tls.client_cert.as_ref())
}

/// The TLS configuration for the collector of spans.
pub fn collector_tls(export: &TraceExport, tls: &ClientTls) -> io::Result<CollectorTls> {
    let config = config(tls).map_err(|error| io::Error::other(error.to_string()))?;
    let name = tls.server_name.as_deref().unwrap_or(&export.host);
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let who = format!("the collector {}:{}", export.host, export.port);
    let own_certificate = if tls.client_cert.is_some() { OwnCertificate::Configured } else { OwnCertificate::Absent };
    let protocols = match export.protocol {
        OtlpProtocol::Http => "HTTP/1.1",
        OtlpProtocol::Grpc => "HTTP/2",
    };
    let explain = Arc::new(move |error: &io::Error| {
        Handshake { server: &who, own_certificate, owner: "`[traces]`", protocols }.describe(error).1
    });
    Ok(CollectorTls { config, name, explain })
}

/// The endpoints of an upstream with the current addresses.
fn endpoints(upstream: &Upstream, config: Option<&Arc<ClientConfig>>, addresses: &Addresses) -> Vec<EndpointState> {
    let server_name = upstream.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
    let mut all = Vec::new();
    for spec in &upstream.endpoints {
        let (one, host);
        let (ips, host): (&[IpAddr], &str) = match &spec.host {
            EndpointHost::Ip(ip) => {
                one = [*ip];
                host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
                (&one, &host)
            }
            EndpointHost::Name(name) => (addresses.get(name).map_or(&[], Vec::as_slice), name),
        };
        let tls = match spec.protocol {
            Protocol::Http1 | Protocol::H2c => None,
            Protocol::Https => {
                // The trailing dot of an absolute name is for the resolver; certificates do not have it.
                let own = host.strip_suffix('.').unwrap_or(host);
                let name = server_name.unwrap_or_else(|| own.trim_matches(['[', ']']));
                let dial = config.and_then(|config| EndpointTls::new(Arc::clone(config), name));
                // Never fall back to cleartext for an `https` endpoint.
                let Some(dial) = dial else { continue };
                Some(Arc::new(dial))
            }
        };
        let name: Arc<str> = format!("{host}:{}", spec.port).into();
        let looked_up: Option<Arc<str>> = match &spec.host {
            EndpointHost::Ip(_) => None,
            EndpointHost::Name(name) => Some(name.as_str().into()),
        };
        all.extend(ips.iter().map(|ip| EndpointState {
            address: SocketAddr::new(*ip, spec.port),
            protocol: spec.protocol,
            weight: spec.weight,
            role: spec.role,
            tls: tls.clone(),
            name: Arc::clone(&name),
            looked_up: looked_up.clone(),
            health: Arc::default(),
        }));
    }
    all
}
