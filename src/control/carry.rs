//! Carrying over: the next snapshot is made of what the file says now and of everything in the last snapshot that the
//! file did not change. What is carried over is the very same object, so that nobody who holds it notices.
//!
//! Identities: a listener by its name and address (its socket also when only its name or its limits change), what it
//! presents under TLS by its certificates (the keys of its tickets also when certificates change), a series of meters
//! by its labels, a sample by its route's name, weights and sticky key, an upstream's endpoints by its name when they are equal.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::hand_over::{Inherited, Wanted};
use super::measure::assignment;
use super::socket::{BindError, bind};
use crate::identity::Witnesses;
use crate::route::{
    Action, ClientTls, EffectiveConfig, EndpointHost, Generation, ListenerSpec, OtlpProtocol, Overlay, Protocol, Route,
    RouteId, Rules, Shadow, TraceExport, Upstream,
};
use crate::snapshot::{Endpoint, Listener, ListeningSocket, Snapshot};
use crate::telemetry::{
    Drawn, Labels, PerWorker, Registry, Sample, Secured, ShadowSeries, UpstreamSeries, VariantSeries,
};
use crate::tls::{Dial, Flaw, Handshake, Server, Shown, client};

/// The addresses of the names that are known, sorted.
pub type Addresses = HashMap<String, Vec<IpAddr>>;

/// Carries listeners over and binds those that are new.
///
/// # Errors
/// All addresses that cannot be bound; then nothing stays bound that was not before.
pub fn listeners(
    old: &[Arc<Listener>],
    (specs, tls): (&[ListenerSpec], &[Option<Arc<Server>>]),
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<Arc<Listener>>, Vec<BindError>> {
    let mut claimed = vec![false; old.len()];
    let mut next: Vec<Option<Arc<Listener>>> = vec![None; specs.len()];
    for same in [same_identity, same_address] {
        for ((slot, spec), tls) in next.iter_mut().zip(specs).zip(tls) {
            let free = |(at, listener): &(usize, &Arc<Listener>)| !claimed[*at] && same(&listener.spec, spec);
            if slot.is_none()
                && let Some((at, listener)) = old.iter().enumerate().find(free)
            {
                claimed[at] = true;
                *slot = Some(respecified(listener, spec, tls.as_ref()));
            }
        }
    }
    let mut errors = Vec::new();
    for ((slot, spec), tls) in next.iter_mut().zip(specs).zip(tls).filter(|((slot, _), _)| slot.is_none()) {
        match open(spec, tls.clone(), workers, inherited) {
            Ok(listener) => *slot = Some(Arc::new(listener)),
            Err(source) => {
                let who = format!("listener \"{}\"", spec.name);
                errors.push(BindError { who, address: spec.address, source });
            }
        }
    }
    if errors.is_empty() { Ok(next.into_iter().flatten().collect()) } else { Err(errors) }
}

fn same_identity(old: &ListenerSpec, new: &ListenerSpec) -> bool {
    old.name == new.name && old.address == new.address
}

fn same_address(old: &ListenerSpec, new: &ListenerSpec) -> bool {
    old.address == new.address
}

/// The same socket with what the file says now.
fn respecified(listener: &Arc<Listener>, spec: &ListenerSpec, tls: Option<&Arc<Server>>) -> Arc<Listener> {
    let (tls, same) = match (&listener.tls, tls) {
        (Some(old), Some(new)) if new.is_same(old) => (Some(Arc::clone(old)), true),
        (Some(old), Some(new)) => (Some(Arc::new(new.inheriting(old))), false),
        (None, None) => (None, true),
        (_, new) => (new.cloned(), false),
    };
    if same && listener.spec == *spec {
        return Arc::clone(listener);
    }
    Arc::new(Listener {
        spec: spec.clone(),
        bound: listener.bound,
        socket: Arc::clone(&listener.socket),
        meters: Arc::clone(&listener.meters),
        tls,
    })
}

/// What changed of the certificates of listeners that go on, in words.
#[must_use]
pub fn certificate_changes(old: &[Arc<Listener>], new: &[Arc<Listener>]) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in new {
        let before = old.iter().find(|old| old.spec.name == listener.spec.name).and_then(|old| old.tls.as_ref());
        if let (Some(before), Some(now)) = (before, &listener.tls) {
            let changes = now.changes(before);
            lines.extend(changes.into_iter().map(|line| format!("listener {}: {line}", listener.spec.name)));
        }
    }
    lines
}

fn open(
    spec: &ListenerSpec,
    tls: Option<Arc<Server>>,
    workers: usize,
    inherited: &mut Inherited,
) -> std::io::Result<Listener> {
    let socket = match inherited.take(Wanted::Listener(&spec.name), spec.address) {
        Some(socket) => socket,
        None => Arc::new(ListeningSocket::own(bind(spec.address)?)),
    };
    let meters = Arc::new(PerWorker::new(workers));
    Ok(Listener { spec: spec.clone(), bound: socket.local_addr()?, socket, meters, tls })
}

/// The names that these rules need resolved.
#[must_use]
pub fn names(rules: &Rules) -> std::collections::BTreeSet<String> {
    let endpoints = rules.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
    endpoints
        .filter_map(|endpoint| match &endpoint.host {
            EndpointHost::Name(name) => Some(name.clone()),
            EndpointHost::Ip(_) => None,
        })
        .collect()
}

/// What the next snapshot is made of.
pub struct Parts<'a> {
    /// Its number.
    pub generation: Generation,
    /// What the file means.
    pub rules: Arc<Rules>,
    /// The weights and kills in force.
    pub overlay: Overlay,
    /// Its listeners.
    pub listeners: Vec<Arc<Listener>>,
    /// Who can tell more about callers.
    pub witnesses: Witnesses,
    /// The addresses of the names.
    pub addresses: &'a Addresses,
    /// The process's meters.
    pub registry: &'a Registry,
    /// The time, by the wall clock.
    pub now: Duration,
}

/// Makes the next snapshot.
#[must_use]
pub fn snapshot(old: Option<&Snapshot>, parts: Parts<'_>) -> Snapshot {
    let Parts { generation, rules, overlay, listeners, witnesses, addresses, registry, now } = parts;
    Snapshot {
        generation,
        listeners,
        endpoints: all_endpoints(old, &rules, addresses),
        series: all_series(old, &rules, registry),
        upstream_series: all_upstream_series(old.map(|old| &*old.upstream_series), &rules, registry),
        shadow_pools: shadow_pools(old, &rules, registry),
        shadows: all_shadows(old, &rules, registry, now),
        samples: all_samples(old, EffectiveConfig { rules: &rules, overlay: &overlay }, registry, now),
        witnesses: old.map_or_else(Witnesses::default, |old| old.witnesses.clone()).renewed(witnesses),
        needs: rules.needs().into(),
        rules,
        overlay,
    }
}

/// Every upstream's endpoints, with the addresses known now.
#[must_use]
pub fn all_endpoints(old: Option<&Snapshot>, rules: &Rules, addresses: &Addresses) -> Vec<Arc<[Endpoint]>> {
    let known: HashMap<&str, (&Upstream, &Arc<[Endpoint]>)> = old.map_or_else(HashMap::new, |old| {
        let all = old.rules.upstreams.iter().zip(&old.endpoints);
        all.map(|(upstream, endpoints)| (upstream.name.as_str(), (upstream, endpoints))).collect()
    });
    let one = |upstream: &Upstream| {
        let known = known.get(upstream.name.as_str());
        let next = endpoints(upstream, secured(upstream, known).as_ref(), addresses);
        match known {
            Some((_, carried)) if ***carried == *next => Arc::clone(carried),
            Some(_) | None => next.into(),
        }
    };
    rules.upstreams.iter().map(one).collect()
}

/// How an upstream's endpoints are secured: as before when nothing of it has changed, so that their connections stay.
fn secured(upstream: &Upstream, known: Option<&(&Upstream, &Arc<[Endpoint]>)>) -> Option<Arc<ClientConfig>> {
    let tls = upstream.tls.as_ref()?;
    let same = known.filter(|(old, _)| old.tls.as_ref() == Some(tls));
    if let Some(dial) = same.and_then(|(_, endpoints)| endpoints.iter().find_map(|endpoint| endpoint.tls.as_ref())) {
        return Some(Arc::clone(dial.config()));
    }
    config(tls)
        .inspect_err(|flaw| tracing::error!(upstream = upstream.name, %flaw, "TLS to the upstream cannot be set up"))
        .ok()
}

/// TLS as `tls` wants it.
fn config(tls: &ClientTls) -> Result<Arc<ClientConfig>, Flaw> {
    // What it is made of was tried when the file was read.
    client(&tls.roots, tls.client_cert.as_ref().map(|cert| (&*cert.chain, &*cert.key)))
}

/// How TLS is spoken with the collector of spans.
pub(super) fn collector(export: &TraceExport, tls: &ClientTls) -> io::Result<Secured> {
    let config = config(tls).map_err(|flaw| io::Error::other(flaw.to_string()))?;
    let name = tls.server_name.as_deref().unwrap_or(&export.host);
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let who = format!("the collector {}:{}", export.host, export.port);
    let shown = if tls.client_cert.is_some() { Shown::Certificate } else { Shown::Nothing };
    let protocols = match export.protocol {
        OtlpProtocol::Http => "HTTP/1.1",
        OtlpProtocol::Grpc => "HTTP/2",
    };
    let explain =
        Arc::new(move |error: &io::Error| Handshake { who: &who, shown, owner: "`[traces]`", protocols }.told(error).1);
    Ok(Secured { config, name, explain })
}

fn endpoints(upstream: &Upstream, config: Option<&Arc<ClientConfig>>, addresses: &Addresses) -> Vec<Endpoint> {
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
                // The dot of an absolute name is for the resolver: no certificate has it.
                let own = host.strip_suffix('.').unwrap_or(host);
                let name = server_name.unwrap_or_else(|| own.trim_matches(['[', ']']));
                let dial = config.and_then(|config| Dial::new(Arc::clone(config), name));
                // In the clear is no way to speak to it.
                let Some(dial) = dial else { continue };
                Some(Arc::new(dial))
            }
        };
        let name: Arc<str> = format!("{host}:{}", spec.port).into();
        let looked_up: Option<Arc<str>> = match &spec.host {
            EndpointHost::Ip(_) => None,
            EndpointHost::Name(name) => Some(name.as_str().into()),
        };
        all.extend(ips.iter().map(|ip| Endpoint {
            address: SocketAddr::new(*ip, spec.port),
            protocol: spec.protocol,
            weight: spec.weight,
            tls: tls.clone(),
            name: Arc::clone(&name),
            looked_up: looked_up.clone(),
        }));
    }
    all
}

fn all_series(old: Option<&Snapshot>, rules: &Rules, registry: &Registry) -> Vec<Box<[Arc<VariantSeries>]>> {
    let count = old.map_or(0, |old| old.series.iter().map(|series| series.len()).sum());
    let mut known: HashMap<(&str, &str), &Arc<VariantSeries>> = HashMap::with_capacity(count + 1);
    let unrouted = &registry.unrouted;
    known.insert((&unrouted.labels.route, &unrouted.labels.variant), unrouted);
    for series in old.iter().flat_map(|old| &old.series).flatten() {
        known.insert((&series.labels.route, &series.labels.variant), series);
    }
    let one = |route: &str, variant: &str| {
        known.get(&(route, variant)).map_or_else(
            || {
                let labels = Labels { route: route.to_owned(), variant: variant.to_owned() };
                Arc::new(VariantSeries { labels, meters: PerWorker::new(registry.workers) })
            },
            |carried| Arc::clone(carried),
        )
    };
    let of_route = |route: &Route| match &route.action {
        Action::Split(split) => split.variants.iter().map(|variant| one(&route.name, &variant.name)).collect(),
        Action::Redirect(_) | Action::Respond(_) => [one(&route.name, "none")].into(),
    };
    rules.routes.iter().map(of_route).collect()
}

/// A sample goes on while nothing is changed that says who gets which variant.
fn all_samples(
    old: Option<&Snapshot>,
    config: EffectiveConfig<'_>,
    registry: &Registry,
    now: Duration,
) -> Arc<[Option<Arc<Sample>>]> {
    let known: HashMap<&str, (RouteId, &Arc<Sample>)> = old.map_or_else(HashMap::new, |old| {
        let all = old.rules.numbered().zip(&*old.samples);
        let mut known = HashMap::with_capacity(old.samples.len());
        known.extend(all.filter_map(|((id, route), sample)| Some((route.name.as_str(), (id, sample.as_ref()?)))));
        known
    });
    let is_same = |before: RouteId, now: RouteId| {
        old.is_some_and(|old| assignment(old.effective(), before) == assignment(config, now))
    };
    let one = |(id, route): (RouteId, &Route)| {
        let split = route.split().filter(|split| split.variants.len() > 1)?;
        let same = known.get(route.name.as_str()).filter(|(before, _)| is_same(*before, id));
        Some(same.map_or_else(
            || {
                let place = (registry.workers, Arc::clone(&registry.room));
                let drawn = if split.spreads() { Drawn::Requests } else { Drawn::Keys };
                Arc::new(Sample::new(now, split.variants.len(), drawn, place))
            },
            |(_, carried)| Arc::clone(carried),
        ))
    };
    config.rules.numbered().map(one).collect()
}

fn all_upstream_series(
    old: Option<&[Arc<UpstreamSeries>]>,
    rules: &Rules,
    registry: &Registry,
) -> Vec<Arc<UpstreamSeries>> {
    let known: HashMap<&str, &Arc<UpstreamSeries>> =
        old.into_iter().flatten().map(|series| (series.upstream.as_str(), series)).collect();
    let one = |upstream: &Upstream| {
        known.get(upstream.name.as_str()).map_or_else(
            || Arc::new(UpstreamSeries::new(&upstream.name, registry.workers)),
            |carried| Arc::clone(carried),
        )
    };
    rules.upstreams.iter().map(one).collect()
}

/// The series of upstreams as shadows use them, where any route has one.
fn shadow_pools(old: Option<&Snapshot>, rules: &Rules, registry: &Registry) -> Arc<[Arc<UpstreamSeries>]> {
    if !rules.routes.iter().any(|route| shadow(route).is_some()) {
        return Arc::new([]);
    }
    all_upstream_series(old.map(|old| &*old.shadow_pools), rules, registry).into()
}

fn all_shadows(
    old: Option<&Snapshot>,
    rules: &Rules,
    registry: &Registry,
    now: Duration,
) -> Arc<[Option<Arc<ShadowSeries>>]> {
    let carried = old.iter().flat_map(|old| old.shadows.iter().flatten());
    let known: HashMap<(&str, &str), &Arc<ShadowSeries>> =
        carried.map(|series| ((series.route.as_str(), series.upstream.as_str()), series)).collect();
    let one = |route: &Route| {
        let upstream = &rules.upstreams.get(shadow(route)?.upstream.0 as usize)?.name;
        Some(known.get(&(&*route.name, &**upstream)).map_or_else(
            || Arc::new(ShadowSeries::new(&route.name, upstream, now, (registry.workers, &registry.shadow_bytes))),
            |carried| Arc::clone(carried),
        ))
    };
    rules.routes.iter().map(one).collect()
}

fn shadow(route: &Route) -> Option<&Shadow> {
    route.split()?.shadow.as_deref()
}
