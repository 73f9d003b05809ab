//! Admit: validates a request. An admitted request has a normalized host and path, and nothing in its head is
//! ambiguous.

use std::borrow::Cow;

use http::header::{self, HeaderValue};
use http::{Method, Uri, Version, request};

use super::exchange::{Exchange, ExchangeStage, Host, ReceivedRequest};
use super::upgrade_state::Upgrade;
use crate::proxy::downstream::client::Client;
use crate::proxy::upstream::upgrade_request::UpgradeRequest;
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::field_rules::{self, FieldSummary, Peer};
use crate::proxy::wire::header_fields::HeaderFields;
use crate::proxy::worker::budget::HeadSize;
use crate::route::{ClientIp, Identity, normal_host, normal_path};
use crate::telemetry::Refusal;

/// The proxy's name in `Via`.
pub(super) const VIA_NAME: &str = "pointsman";
/// A request with more than this many own entries in `Via` is in a loop.
const VIA_MAX: usize = 1;

/// Admits a request, or returns the reason for its rejection.
pub(super) fn admit(exchange: &mut Exchange, parts: &mut request::Parts) -> Result<(), Fault> {
    let client = std::rc::Rc::clone(&exchange.client);
    let number = client.requests.replace(client.requests.get() + 1);
    if parts.version != Version::HTTP_2
        && let Some(query) = client.raw_query(number)
    {
        parts.extensions.insert(query);
    }
    let admitted = match client.refused_head.get() {
        Some((refused, refusal)) if refused == number && parts.version != Version::HTTP_2 => {
            // The scanner replaced an invalid head with this one, so that the earlier responses are sent first.
            client.closing.set(true);
            exchange.request.uri = Uri::from_static("/");
            Err(refusal)
        }
        _ => inspect(exchange, parts),
    };
    admitted.map_err(Fault::Refused)?;
    exchange.progress.stage = ExchangeStage::Decide;
    Ok(())
}

fn inspect(exchange: &mut Exchange, parts: &mut request::Parts) -> Result<(), Refusal> {
    if parts.method == Method::CONNECT {
        // A CONNECT for a WebSocket (RFC 8441) is matched, decided, forwarded and logged as a GET.
        exchange.upgrade = Upgrade::request(UpgradeRequest::by_connect(parts)?);
        (parts.method, exchange.request.method) = (Method::GET, Method::GET);
    }
    let limits = &exchange.client.listener.spec.limits;
    if parts.version == Version::HTTP_2 {
        inspect_h2(parts, exchange.request.field_summary, limits.uri_bytes as usize)?;
        // On HTTP/1.1 the scanner rejects such a head.
        if exchange.request.field_summary.framing_alias {
            return Err(Refusal::BadFraming);
        }
    }
    if parts.headers.len() > limits.headers as usize {
        return Err(Refusal::HeadersTooLarge);
    }
    if parts.method == Method::TRACE {
        return Err(Refusal::Method);
    }
    let (client, others) = (&exchange.client, exchange.client.in_flight.get().saturating_sub(1));
    let size = HeadSize { fields: parts.headers.len(), bytes: exchange.request.field_summary.bytes as usize };
    exchange.request.memory = Some(client.worker.budget.reserve_request(size, others, client.share())?);
    let encoded_slash = limits.encoded_slash;
    let field = host_field(&parts.headers, exchange.request.field_summary)?;
    exchange.request.host = host(&parts.uri, parts.version, field)?;
    if exchange.client.tls.get().is_some_and(|secured| secured.is_misdirected(exchange.request.host.normal())) {
        return Err(Refusal::Misdirected);
    }
    if let Cow::Owned(path) = normal_path(parts.uri.path(), encoded_slash).map_err(|_| Refusal::BadPath)? {
        exchange.request.normal_path = Some(path.into());
    }
    within_limits(&exchange.client)?;
    if exchange.request.field_summary.via {
        check_loop(&parts.headers)?;
    }
    apply_trust(&mut exchange.request, &exchange.client, parts, &exchange.view.snapshot.rules.identity);
    Ok(())
}

/// Rejects what HTTP/2 allows and HTTP/1.1 cannot carry unchanged (RFC 9113 §8).
fn inspect_h2(parts: &request::Parts, summary: FieldSummary, uri_bytes_max: usize) -> Result<(), Refusal> {
    if field_rules::is_malformed_h2(&parts.headers)
        || !parts.method.as_str().bytes().all(crate::proxy::wire::grammar::is_token)
    {
        return Err(Refusal::MalformedHead);
    }
    if parts.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Refusal::MalformedHead);
    }
    if summary.content_length {
        let mut lengths = parts.headers.all(&header::CONTENT_LENGTH);
        let is_number = |length: &HeaderValue| crate::proxy::wire::scan::content_length(length.as_bytes()).is_some();
        if lengths.next().is_some_and(|length| !is_number(length)) || lengths.next().is_some() {
            return Err(Refusal::BadFraming);
        }
    }
    let target = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    if target.len() > uri_bytes_max {
        return Err(Refusal::UriTooLong);
    }
    if !crate::proxy::wire::scan::is_uri(target.as_bytes()) {
        return Err(Refusal::BadPath);
    }
    let asterisk = target == "*" && parts.method == Method::OPTIONS;
    if target.starts_with('/') || asterisk { Ok(()) } else { Err(Refusal::BadPath) }
}

/// The value of `Host`. Several are refused.
fn host_field(fields: &impl HeaderFields, summary: FieldSummary) -> Result<Option<&HeaderValue>, Refusal> {
    if !summary.host {
        return Ok(None);
    }
    let mut hosts = fields.all(&header::HOST);
    let host = hosts.next();
    if hosts.next().is_some() { Err(Refusal::BadHost) } else { Ok(host) }
}

/// The host of a request with this `Host` field. The authority of the target takes precedence over it; on HTTP/2 both
/// must be equal.
fn host(uri: &Uri, version: Version, field: Option<&HeaderValue>) -> Result<Host, Refusal> {
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let value = match (authority, field) {
        (Some(authority), field) => {
            let differs = field.is_some_and(|field| !field.as_bytes().eq_ignore_ascii_case(authority.as_bytes()));
            if differs && version == Version::HTTP_2 {
                return Err(Refusal::BadHost);
            }
            if field.is_some_and(|field| !field.to_str().is_ok_and(|field| normal_host(field).is_some())) {
                return Err(Refusal::BadHost);
            }
            HeaderValue::from_str(authority).map_err(|_| Refusal::BadHost)?
        }
        (None, Some(field)) => field.clone(),
        (None, None) if version == Version::HTTP_10 => return Ok(Host::default()),
        (None, None) => return Err(Refusal::BadHost),
    };
    let text = value.to_str().map_err(|_| Refusal::BadHost)?;
    let (bytes, normal) = match normal_host(text).ok_or(Refusal::BadHost)? {
        Cow::Borrowed(normal) if text.starts_with(normal) => (normal.len(), None),
        Cow::Borrowed(normal) => (0, Some(Box::from(normal))),
        Cow::Owned(normal) => (0, Some(normal.into())),
    };
    Ok(Host { value: Some(value), bytes, normal })
}

/// Checks `limits.requests` of the listener, for all workers together; and `limits.requests_per_ip`, while more than
/// half of it is used.
fn within_limits(client: &Client) -> Result<(), Refusal> {
    let listener = &client.listener;
    let worker = &client.worker;
    let limit = listener.spec.limits.requests;
    let own = listener.meters.of(worker.index).requests.value();
    if own <= worker.share_of(limit) {
        return Ok(());
    }
    let everywhere: i64 = listener.meters.used().map(|meter| meter.requests.value()).sum();
    if everywhere > i64::from(limit) {
        return Err(Refusal::Requests);
    }
    let per_ip = i64::from(listener.spec.limits.requests_per_ip);
    let is_much = everywhere > i64::from(limit) / 2;
    if is_much && client.share().is_some_and(|share| share.requests() > per_ip) {
        return Err(Refusal::RequestsPerIp);
    }
    Ok(())
}

fn check_loop(fields: &impl HeaderFields) -> Result<(), Refusal> {
    let ours = |via: &[u8]| {
        let mut words = via.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(VIA_NAME.as_bytes()))
    };
    let lines = fields.all(&header::VIA);
    let passed = lines.flat_map(|line| line.as_bytes().split(|b| *b == b',')).filter(|via| ours(via)).count();
    if passed > VIA_MAX { Err(Refusal::Loop) } else { Ok(()) }
}

/// Determines the client, and strips the fields that an untrusted peer must not set.
fn apply_trust(received: &mut ReceivedRequest, client: &Client, parts: &mut request::Parts, identity: &Identity) {
    let peer = client.peer.ip();
    received.trusted = identity.trusts(peer);
    if received.trusted && received.field_summary.trusted_only {
        received.client_ip = ClientIp::find(identity, peer, &parts.headers);
        received.forwarded_scheme = identity.forwarded_scheme(&parts.headers);
        let id = parts.headers.first(&super::forwarding::REQUEST_ID);
        received.request_id = id.filter(|id| is_sane_id(id)).cloned();
    }
    let peer = if received.trusted { Peer::Trusted } else { Peer::Untrusted };
    let aliases = field_rules::strip_untrusted(&mut parts.headers, received.field_summary, identity, peer);
    if aliases > 0 {
        client.worker.meter().alias_headers_dropped.add(aliases);
    }
}

/// Whether a request id may be passed on and logged.
fn is_sane_id(id: &HeaderValue) -> bool {
    !id.is_empty() && id.len() <= 128 && id.as_bytes().iter().all(u8::is_ascii_graphic)
}
