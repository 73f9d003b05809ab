//! Fields that are believed from trusted proxies only, and dropped when anybody else sends them.

use http::{HeaderMap, HeaderName};

use crate::route::{Caller, Extractor, Identity};

/// Whether proxies tell each other with this field who the client is and how it came: believed from trusted peers only.
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

/// The fields of a request that are dropped since their sender is not trusted, in words.
pub(in crate::route) fn dropped(identity: &Identity, caller: &Caller<'_>, headers: &HeaderMap) -> Vec<String> {
    if caller.trusted {
        return Vec::new();
    }
    let places = || identity.tenant.iter().chain(&identity.user);
    let is_dropped = |name: &&HeaderName| needs_trusted_peer(name.as_str()) || places().any(|place| reads(place, name));
    headers.keys().filter(is_dropped).map(|name| because(name, caller)).collect()
}

/// Why a caller has no identity, when a field that would give it is dropped.
pub(in crate::route) fn dropped_identity(
    caller: &Caller<'_>,
    headers: &HeaderMap,
    places: &[Extractor],
) -> Option<String> {
    let dropped = headers.keys().find(|name| places.iter().any(|place| reads(place, name)))?;
    (!caller.trusted).then(|| because(dropped, caller))
}

fn reads(place: &Extractor, name: &HeaderName) -> bool {
    matches!(place, Extractor::Header(carrier) if carrier == name)
}

/// The client of a request that did not come by a trusted proxy is its sender.
fn because(name: &HeaderName, caller: &Caller<'_>) -> String {
    format!("`{name}` is dropped: its sender {} is not in identity.trusted_proxies", caller.client_ip)
}
