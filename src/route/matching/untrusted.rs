//! Header fields that are accepted from trusted proxies only, and dropped from other peers.

use crate::fields::Fields;
use crate::route::{Caller, Extractor, Identity};

/// Whether proxies use this field to name the client and its connection, so that it is accepted from trusted peers
/// only.
#[must_use]
pub fn needs_trusted_peer(name: impl AsRef<[u8]>) -> bool {
    match name.as_ref() {
        [b'f', rest @ ..] => rest == b"orwarded",
        [b'x', b'-', rest @ ..] => {
            rest.starts_with(b"forwarded-")
                || rest.starts_with(b"pointsman-")
                || matches!(rest, b"real-ip" | b"request-id")
        }
        _ => false,
    }
}

/// The dropped fields of a request from an untrusted peer, each with the reason.
pub(in crate::route) fn dropped(identity: &Identity, caller: &Caller<'_>, fields: &Fields) -> Vec<String> {
    if caller.trusted {
        return Vec::new();
    }
    let places = || identity.tenant.iter().chain(&identity.user);
    let is_dropped = |name: &&[u8]| needs_trusted_peer(name) || places().any(|place| reads(place, name));
    let mut names: Vec<&[u8]> = Vec::new();
    for name in fields.names().filter(is_dropped) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| reason_text(name, caller)).collect()
}

/// Why a caller has no identity, if the field with the identity is dropped.
pub(in crate::route) fn dropped_identity(caller: &Caller<'_>, fields: &Fields, places: &[Extractor]) -> Option<String> {
    let dropped = fields.names().find(|name| places.iter().any(|place| reads(place, name)))?;
    (!caller.trusted).then(|| reason_text(dropped, caller))
}

fn reads(place: &Extractor, name: &[u8]) -> bool {
    matches!(place, Extractor::Header(carrier) if carrier.as_str().as_bytes() == name)
}

/// The reason for a dropped field. Without a trusted proxy, the client is the peer.
fn reason_text(name: &[u8], caller: &Caller<'_>) -> String {
    let name = String::from_utf8_lossy(name);
    format!("`{name}` is dropped: its sender {} is not in identity.trusted_proxies", caller.client_ip)
}
