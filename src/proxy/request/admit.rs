//! Admit: validates a request. An admitted request has a normalized host and path, and nothing in its head is
//! ambiguous.

use std::borrow::Cow;
use std::rc::Rc;

use http::{Method, Version};

use super::exchange::{Exchange, ExchangeStage, ReceivedRequest};
use super::upgrade_state::Upgrade;
use crate::fields::{Fields, text};
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::client_host::ClientHost;
use crate::proxy::downstream::client_request::ExtendedConnect;
use crate::proxy::upstream::upgrade_request::UpgradeRequest;
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::field_rules::{self, FieldSummary, Peer};
use crate::proxy::wire::head::Head;
use crate::proxy::worker::budget::HeadSize;
use crate::proxy::worker::request_id::RequestId;
use crate::route::{ClientIp, Identity, is_normal_path, normal_host, normal_path};
use crate::telemetry::Refusal;

/// The proxy's name in `Via`.
pub(super) const VIA_NAME: &str = "pointsman";
/// A request with more than this many own entries in `Via` is in a loop.
const VIA_MAX: usize = 1;
/// The fields of a refused head are kept up to this size.
const REFUSED_BYTES_MAX: usize = 1024;

/// Admits a request, or returns the reason for its rejection.
pub(super) fn admit(exchange: &mut Exchange, connect: Option<Box<ExtendedConnect>>) -> Result<(), Fault> {
    let client = &exchange.client;
    let number = client.requests.replace(client.requests.get() + 1);
    let admitted = match client.refused_head.get() {
        Some((refused, refusal)) if refused == number && exchange.request.head.version != Version::HTTP_2 => {
            // The scanner replaced an invalid head with this one, so that the earlier responses are sent first.
            client.closing.set(true);
            Err(refusal)
        }
        _ => inspect(exchange, connect),
    };
    if let Err(refusal) = admitted {
        // The response may wait for its reader, and no one accounts for a head that is refused so early.
        let head = &mut exchange.request.head;
        if exchange.request.memory.is_none() && head.fields.bytes() + head.fields.len() > REFUSED_BYTES_MAX {
            head.forget_fields();
        }
        return Err(Fault::Refused(refusal));
    }
    exchange.progress.stage = ExchangeStage::Decide;
    Ok(())
}

fn inspect(exchange: &mut Exchange, connect: Option<Box<ExtendedConnect>>) -> Result<(), Refusal> {
    if exchange.request.head.method == Method::CONNECT {
        let ExtendedConnect { protocol, stream } = *connect.ok_or(Refusal::Method)?;
        // A CONNECT for a WebSocket (RFC 8441) is matched, decided, forwarded and logged as a GET.
        exchange.upgrade = Upgrade::request(UpgradeRequest::by_connect(&protocol, stream)?);
        exchange.request.head.set_method(Method::GET);
    }
    let (head, summary) = (&exchange.request.head, exchange.request.field_summary);
    let limits = &exchange.client.listener.spec.limits;
    if head.version == Version::HTTP_2 {
        inspect_h2(head, summary, limits.uri_bytes as usize)?;
        // On HTTP/1.1 the scanner rejects such a head.
        if summary.framing_alias {
            return Err(Refusal::BadFraming);
        }
    }
    if head.fields.len() > limits.headers as usize {
        return Err(Refusal::HeadersTooLarge);
    }
    if head.method == Method::TRACE {
        return Err(Refusal::Method);
    }
    let (client, others) = (&exchange.client, exchange.client.in_flight.get().saturating_sub(1));
    let size = HeadSize { fields: head.fields.len(), bytes: summary.bytes as usize };
    exchange.request.memory = Some(client.worker.budget.reserve_request(size, others, client.share())?);
    let encoded_slash = limits.encoded_slash;
    exchange.request.host = host(head, host_field(&head.fields, summary)?, client)?;
    if exchange.client.tls.get().is_some_and(|secured| secured.is_misdirected(exchange.request.host())) {
        return Err(Refusal::Misdirected);
    }
    // Few paths need their text: most are normal, which their bytes show.
    if !is_normal_path(head.path_bytes())
        && let Cow::Owned(path) = normal_path(head.path(), encoded_slash).map_err(|_| Refusal::BadPath)?
    {
        exchange.request.normal_path = Some(path.into());
    }
    within_limits(&exchange.client)?;
    if summary.via {
        check_loop(&exchange.request.head.fields)?;
    }
    apply_trust(&mut exchange.request, &exchange.client, &exchange.view.snapshot.rules.identity);
    Ok(())
}

/// Rejects what HTTP/2 allows and HTTP/1.1 cannot carry unchanged (RFC 9113 §8).
fn inspect_h2(head: &Head, summary: FieldSummary, uri_bytes_max: usize) -> Result<(), Refusal> {
    if field_rules::is_malformed_h2(&head.fields)
        || !head.method.as_str().bytes().all(crate::proxy::wire::grammar::is_token)
    {
        return Err(Refusal::MalformedHead);
    }
    if head.scheme().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Refusal::MalformedHead);
    }
    if summary.content_length {
        let mut lengths = head.fields.get_all("content-length");
        let is_number = |length: &[u8]| crate::proxy::wire::scan::content_length(length).is_some();
        if lengths.next().is_some_and(|length| !is_number(length)) || lengths.next().is_some() {
            return Err(Refusal::BadFraming);
        }
    }
    if head.target_bytes() > uri_bytes_max {
        return Err(Refusal::UriTooLong);
    }
    if !head.is_target(crate::proxy::wire::scan::is_uri) {
        return Err(Refusal::BadPath);
    }
    let asterisk = head.path() == "*" && head.query().is_none() && head.method == Method::OPTIONS;
    if head.path().starts_with('/') || asterisk { Ok(()) } else { Err(Refusal::BadPath) }
}

/// The value of `Host`. Several are refused.
fn host_field(fields: &Fields, summary: FieldSummary) -> Result<Option<&[u8]>, Refusal> {
    if !summary.host {
        return Ok(None);
    }
    let mut values = fields.get_all("host");
    let first = values.next();
    if values.next().is_some() { Err(Refusal::BadHost) } else { Ok(first) }
}

/// The host of a request with this `Host` field. The authority of the target takes precedence over it; on HTTP/2 both
/// must be equal.
fn host(head: &Head, field: Option<&[u8]>, client: &Client) -> Result<Option<Rc<ClientHost>>, Refusal> {
    let received = match (head.authority(), field) {
        (Some(authority), field) => {
            let differs = field.is_some_and(|field| !field.eq_ignore_ascii_case(authority.as_bytes()));
            if differs && head.version == Version::HTTP_2 {
                return Err(Refusal::BadHost);
            }
            if field.is_some_and(|field| text(field).is_none_or(|field| normal_host(field).is_none())) {
                return Err(Refusal::BadHost);
            }
            authority.as_bytes()
        }
        (None, Some(field)) => field,
        (None, None) if head.version == Version::HTTP_10 => return Ok(None),
        (None, None) => return Err(Refusal::BadHost),
    };
    ClientHost::find(&mut client.described.borrow_mut(), received).map(Some).ok_or(Refusal::BadHost)
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

fn check_loop(fields: &Fields) -> Result<(), Refusal> {
    let ours = |via: &[u8]| {
        let mut words = via.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(VIA_NAME.as_bytes()))
    };
    let lines = fields.get_all("via");
    let passed = lines.flat_map(|line| line.split(|b| *b == b',')).filter(|via| ours(via)).count();
    if passed > VIA_MAX { Err(Refusal::Loop) } else { Ok(()) }
}

/// Determines the client, and strips the fields that an untrusted peer must not set.
fn apply_trust(received: &mut ReceivedRequest, client: &Client, identity: &Identity) {
    let peer = client.peer.ip();
    received.trusted = identity.trusts(peer);
    let fields = &mut received.head.fields;
    if received.trusted && received.field_summary.trusted_only {
        received.client_ip = ClientIp::find(identity, peer, fields);
        received.forwarded_scheme = identity.forwarded_scheme(fields);
        received.request_id = fields.get(super::forwarding::REQUEST_ID).and_then(RequestId::received);
    }
    let peer = if received.trusted { Peer::Trusted } else { Peer::Untrusted };
    let aliases = field_rules::strip_untrusted(fields, received.field_summary, identity, peer);
    if aliases > 0 {
        client.worker.meter().alias_headers_dropped.add(aliases);
    }
}
