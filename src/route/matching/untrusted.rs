//! Header fields that are accepted from trusted proxies only, and dropped from other peers.

use http::{HeaderMap, HeaderName};

use crate::route::{Caller, Extractor, Identity};

/// Whether proxies use this field to name the client and its connection, so that it is accepted from trusted peers
/// only.
#[must_use]
pub fn needs_trusted_peer(name: &str) -> bool {
    match name.as_bytes() {
        [b'f', ..] => name == "forwarded",
        [b'x', b'-', ..] => {
            name.starts_with("x-forwarded-")
                || name.starts_with("x-pointsman-")
                || matches!(name, "x-real-ip" | "x-request-id")
        }
        _ => false,
    }
}

/// The dropped fields of a request from an untrusted peer, each with the reason.
pub(in crate::route) fn dropped(identity: &Identity, caller: &Caller<'_>, headers: &HeaderMap) -> Vec<String> {
    if caller.trusted {
        return Vec::new();
    }
    let places = || identity.tenant.iter().chain(&identity.user);
    let is_dropped = |name: &&HeaderName| needs_trusted_peer(name.as_str()) || places().any(|place| reads(place, name));
    headers.keys().filter(is_dropped).map(|name| reason_text(name, caller)).collect()
}

/// Why a caller has no identity, if the field with the identity is dropped.
pub(in crate::route) fn dropped_identity(
    caller: &Caller<'_>,
    headers: &HeaderMap,
    places: &[Extractor],
) -> Option<String> {
    let dropped = headers.keys().find(|name| places.iter().any(|place| reads(place, name)))?;
    (!caller.trusted).then(|| reason_text(dropped, caller))
}

fn reads(place: &Extractor, name: &HeaderName) -> bool {
    matches!(place, Extractor::Header(carrier) if carrier == name)
}

/// The reason for a dropped field. Without a trusted proxy, the client is the peer.
fn reason_text(name: &HeaderName, caller: &Caller<'_>) -> String {
    format!("`{name}` is dropped: its sender {} is not in identity.trusted_proxies", caller.client_ip)
}
