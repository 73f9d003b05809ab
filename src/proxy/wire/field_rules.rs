//! Classifies header fields: hop-by-hop, set by the proxy, forbidden in trailers, or passed through.

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::grammar::{is_name, token_length};
use super::scan::{content_length, is_framing_look_alike};
use crate::fields::{Fields, text};
use crate::route::{Extractor, Identity, UpstreamLimits, is_grpc_type, needs_trusted_peer};

/// The field in which an upstream reports a business event to the guards of a route.
pub(crate) const EVENT: HeaderName = HeaderName::from_static("x-pointsman-event");

/// Most trailer fields of one body.
pub(crate) const TRAILERS_MAX: usize = 32;

/// A summary of a request's fields, made in one pass. Most requests have none of these, and skip the code for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one head, each read alone")]
pub(crate) struct FieldSummary {
    /// The content type is that of gRPC: a call, if the method is POST.
    pub(crate) grpc: bool,
    /// The client accepts JSON.
    pub(crate) json: bool,
    /// The client asks for an explanation of the decision.
    pub(crate) explain: bool,
    /// It has a `traceparent`.
    pub(crate) traced: bool,
    /// It has a `Via`.
    pub(crate) via: bool,
    /// It has a `Host`.
    pub(crate) host: bool,
    /// It has a `Content-Length`.
    pub(crate) content_length: bool,
    /// It has several `Cookie` lines.
    pub(crate) cookie_lines: bool,
    /// It has a hop-by-hop field, other than one `TE: trailers`, which stays.
    pub(crate) hop_by_hop: bool,
    /// The client accepts trailers.
    pub(crate) trailers: bool,
    /// Another proxy has sent this request before; counts only from a trusted peer.
    pub(crate) repeated: bool,
    /// It has a field that only a trusted peer may set.
    pub(crate) trusted_only: bool,
    /// A name contains an underscore.
    pub(crate) underscore: bool,
    /// A name can be mistaken for that of a framing field.
    pub(crate) framing_alias: bool,
    /// Bytes of all names and values.
    pub(crate) bytes: u32,
}

impl FieldSummary {
    /// Visits every field once.
    pub(crate) fn of(fields: &Fields) -> Self {
        let mut summary = Self::default();
        let (mut bytes, mut cookies) = (0, 0);
        for (name, value) in fields.iter() {
            bytes += name.len() + value.len();
            // The length is compared first: it excludes most names at once.
            match name.len() {
                10 if is_name(name, b"user-agent") => {}
                4 if is_name(name, b"host") => summary.host = true,
                6 if is_name(name, b"cookie") => cookies += 1,
                14 if is_name(name, b"content-length") => summary.content_length = true,
                6 if is_name(name, b"accept") => summary.json |= names_json(value),
                12 if is_name(name, b"content-type") => summary.grpc |= is_grpc_type(value),
                3 if name == b"via" => summary.via = true,
                _ => summary.add_rare(name, value),
            }
        }
        summary.bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        summary.cookie_lines = cookies > 1;
        summary
    }

    fn add_rare(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"traceparent" => self.traced = true,
            b"x-pointsman-explain" => (self.explain, self.trusted_only) = (true, true),
            b"x-pointsman-attempt" => (self.repeated, self.trusted_only) = (self.repeated || is_above_one(value), true),
            b"x-envoy-attempt-count" => self.repeated |= is_above_one(value),
            b"te" => {
                self.hop_by_hop |= self.trailers || value != b"trailers";
                self.trailers |= takes_trailers(value);
            }
            _ if is_hop_by_hop(name) => self.hop_by_hop = true,
            _ => {
                self.trusted_only |= is_of_trusted_peer(name);
                self.underscore |= name.contains(&b'_');
                self.framing_alias |= is_framing_look_alike(name);
            }
        }
    }
}

/// Whether a value of `Accept` names JSON. Most are shorter than its name.
fn names_json(value: &[u8]) -> bool {
    const JSON: &[u8] = b"application/json";
    value.len() >= JSON.len() && memchr::memmem::find(value, JSON).is_some()
}

/// Whether the number of an attempt is that of a repeated one.
fn is_above_one(value: &[u8]) -> bool {
    text(value).and_then(|text| text.parse::<u32>().ok()).is_some_and(|number| number > 1)
}

/// Whether only a trusted peer may set a field of this name.
fn is_of_trusted_peer(name: &[u8]) -> bool {
    needs_trusted_peer(name)
}

/// Whether a field is hop-by-hop (RFC 9110 §7.6.1), or must not be forwarded for another reason. The name is a token in
/// any case.
#[inline]
pub(super) fn is_hop_by_hop(name: &[u8]) -> bool {
    // Most names are ruled out by their length alone.
    match name.len() {
        2 => is_name(name, b"te"),
        5 => is_name(name, b"proxy"),
        7 => is_name(name, b"upgrade"),
        10 => is_name(name, b"connection") || is_name(name, b"keep-alive"),
        14 => is_name(name, b"http2-settings"),
        16 => is_name(name, b"proxy-connection"),
        17 => is_name(name, b"transfer-encoding"),
        18 => is_name(name, b"proxy-authenticate"),
        19 => is_name(name, b"proxy-authorization"),
        25 => is_name(name, b"proxy-authentication-info"),
        _ => false,
    }
}

/// Whether a name, a token in any case, is [`EVENT`].
#[inline]
pub(super) fn is_event(name: &[u8]) -> bool {
    is_name(name, b"x-pointsman-event")
}

/// Whether the configuration reads an identity from a field of this name.
fn is_identity(name: &HeaderName, identity: &Identity) -> bool {
    let carries = |extractor: &Extractor| matches!(extractor, Extractor::Header(carrier) if carrier == name);
    identity.tenant.iter().any(carries) || identity.user.iter().any(carries)
}

/// Whether a field matters for routing, framing or identity. The proxy drops the aliases of such a field.
fn is_protected(name: &HeaderName, identity: &Identity) -> bool {
    is_hop_by_hop(name.as_str().as_bytes())
        || needs_trusted_peer(name.as_str())
        || is_identity(name, identity)
        || matches!(*name, header::HOST | header::CONTENT_LENGTH | header::VIA | header::AUTHORIZATION | header::COOKIE)
}

/// Whether a field may be a trailer: not framing, routing or authentication, nor a field that the proxy sets or trusts.
pub(crate) fn is_allowed_in_trailers(name: &HeaderName) -> bool {
    !(is_hop_by_hop(name.as_str().as_bytes())
        || needs_trusted_peer(name.as_str())
        || is_framing_look_alike(name.as_str().as_bytes())
        || matches!(
            *name,
            header::HOST
                | header::CONTENT_LENGTH
                | header::CONTENT_ENCODING
                | header::CONTENT_TYPE
                | header::CONTENT_RANGE
                | header::TRAILER
                | header::AUTHORIZATION
                | header::COOKIE
                | header::SET_COOKIE
                | header::CACHE_CONTROL
                | header::MAX_FORWARDS
                | header::EXPECT
                | header::VIA
        ))
}

/// Removes the fields that `Connection` names, then the hop-by-hop fields. `TE: trailers` stays.
pub(crate) fn strip_hop_by_hop(fields: &mut Fields) {
    if !fields.names().any(is_hop_by_hop) {
        return;
    }
    let named: Vec<Vec<u8>> = fields
        .get_all("connection")
        .flat_map(|value| value.split(|b| *b == b','))
        .filter_map(named_by_connection)
        .collect();
    let trailers = fields.get_all("te").any(takes_trailers);
    fields.retain(|name, _| !is_hop_by_hop(name) && !named.iter().any(|named| named == name));
    debug_assert!(!fields.contains("connection"), "`Connection` is hop-by-hop");
    if trailers {
        fields.append(&header::TE, &HeaderValue::from_static("trailers"));
    }
}

/// The field that an option of `Connection` names. A sender must not remove `Host` or `Content-Length` this way, and
/// `close` and `keep-alive` are no fields.
fn named_by_connection(option: &[u8]) -> Option<Vec<u8>> {
    let name = option.trim_ascii().to_ascii_lowercase();
    let is_field = !name.is_empty() && token_length(&name) == name.len();
    let stays = matches!(&name[..], b"close" | b"keep-alive" | b"host" | b"content-length");
    (is_field && !stays).then_some(name)
}

fn remove_where(headers: &mut HeaderMap, matches: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| matches(name)).cloned() {
        headers.remove(&name);
    }
}

/// Whether one `TE` value lists `trailers`.
fn takes_trailers(value: &[u8]) -> bool {
    value.split(|b| *b == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Whether the peer of a connection is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A trusted proxy.
    Trusted,
    /// Any other peer.
    Untrusted,
}

/// Removes the fields that only a trusted peer may set, and the aliases of protected fields. Returns the number of
/// aliases.
pub(crate) fn strip_untrusted(fields: &mut Fields, summary: FieldSummary, identity: &Identity, peer: Peer) -> u64 {
    if peer == Peer::Untrusted {
        for carrier in identity.tenant.iter().chain(&identity.user) {
            if let Extractor::Header(name) = carrier {
                fields.remove(name);
            }
        }
        if summary.trusted_only {
            fields.retain(|name, _| !is_of_trusted_peer(name));
        }
    }
    if !summary.underscore {
        return 0;
    }
    strip_aliases(fields, |meant| is_protected(meant, identity))
}

/// Removes the aliases of the fields that `meant` selects, and returns the number of names. An upstream that reads `_`
/// as `-` would read an alias as the field itself.
pub(crate) fn strip_aliases(fields: &mut Fields, meant: impl Fn(&HeaderName) -> bool) -> u64 {
    let is_alias = |name: &[u8]| alias_of(name).is_some_and(|name| meant(&name));
    let mut aliases: Vec<Vec<u8>> = Vec::new();
    fields.retain(|name, _| {
        let stays = !is_alias(name);
        if !stays && !aliases.iter().any(|known| known == name) {
            aliases.push(name.to_vec());
        }
        stays
    });
    aliases.len() as u64
}

/// The name that a name with `_` is an alias of.
fn alias_of(name: &[u8]) -> Option<HeaderName> {
    let plain = || name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect::<Vec<_>>();
    name.contains(&b'_').then(|| HeaderName::from_bytes(&plain()).ok()).flatten()
}

/// The trailers that may be sent on (RFC 9110 §6.5.1), at most [`TRAILERS_MAX`].
pub(crate) fn filter_trailers(trailers: HeaderMap) -> HeaderMap {
    if trailers.len() <= TRAILERS_MAX && trailers.keys().all(is_allowed_in_trailers) {
        return trailers;
    }
    let mut kept = HeaderMap::with_capacity(trailers.len().min(TRAILERS_MAX));
    for (name, value) in &trailers {
        if kept.len() < TRAILERS_MAX && is_allowed_in_trailers(name) {
            kept.append(name, value.clone());
        }
    }
    debug_assert!(kept.len() <= TRAILERS_MAX, "the bound counts lines, not names");
    kept
}

/// Removes from trailers the fields that carry an identity, and the aliases of protected fields.
pub(crate) fn strip_protected(trailers: &mut HeaderMap, identity: &Identity) {
    remove_where(trailers, |name| {
        is_identity(name, identity)
            || alias_of(name.as_str().as_bytes()).is_some_and(|meant| is_protected(&meant, identity))
    });
}

/// Whether an HTTP/2 head has fields that HTTP/1.1 cannot carry unchanged (RFC 9113 §8.2.1): names that are no tokens,
/// values with white space at an end, connection-specific fields.
pub(crate) fn is_malformed_h2(fields: &Fields) -> bool {
    fields.iter().any(|(name, value)| {
        let ends = [value.first(), value.last()];
        token_length(name) < name.len()
            || ends.iter().any(|end| matches!(end, Some(b' ' | b'\t')))
            || (is_hop_by_hop(name) && name != b"te" && name != b"proxy" && !name.starts_with(b"proxy-auth"))
            || (name == b"te" && value != b"trailers")
    })
}

/// Whether a response exceeds the limits on its fields. Their size is that of the lines of HTTP/1.1.
pub(crate) fn is_too_large(fields: &Fields, limits: &UpstreamLimits) -> bool {
    fields.len() > limits.response_headers as usize
        || fields.bytes() + fields.len() * ": \r\n".len() > limits.response_header_bytes as usize
}

/// Whether a response's framing is ambiguous (RFC 9112 §6.1, §6.3).
pub(crate) fn is_ambiguous_response(version: Version, fields: &Fields) -> bool {
    if fields.names().any(is_framing_look_alike) {
        return true;
    }
    let mut lengths = fields.get_all("content-length");
    let length = lengths.next();
    let mut codings = fields.get_all("transfer-encoding");
    if let Some(coding) = codings.next() {
        version == Version::HTTP_10
            || length.is_some()
            || codings.next().is_some()
            || !coding.trim_ascii().eq_ignore_ascii_case(b"chunked")
    } else {
        length.is_some_and(|length| content_length(length).is_none()) || lengths.next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Fields {
        Fields::from(&map(lines))
    }

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn names(fields: &Fields) -> Vec<&str> {
        let mut names: Vec<&str> = fields.names().map(|name| std::str::from_utf8(name).unwrap()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    #[test]
    fn hop_by_hop_fields_are_removed_except_te_trailers() {
        let mut given = headers(&[
            ("host", "a"),
            ("connection", "close, X-Private"),
            ("connection", "host"),
            ("x-private", "1"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("keep-alive", "1"),
            ("proxy", "evil"),
            ("proxy-authorization", "x"),
            ("x-kept", "1"),
        ]);
        strip_hop_by_hop(&mut given);
        assert_eq!(names(&given), ["host", "te", "x-kept"]);
        assert_eq!(given.get("te"), Some(&b"trailers"[..]));
        let again = given.clone();
        strip_hop_by_hop(&mut given);
        assert_eq!(given, again);
    }

    #[test]
    fn untrusted_peers_cannot_set_the_client() {
        let identity = Identity { tenant: vec![Extractor::Header("x-tenant".parse().unwrap())], ..Identity::default() };
        let lines = [
            ("x-forwarded-for", "1"),
            ("x-forwarded-client-cert", "1"),
            ("forwarded", "1"),
            ("x-request-id", "1"),
            ("x-tenant", "acme"),
            ("x_tenant", "acme"),
            ("x_forwarded_for", "1"),
            ("content_length", "1"),
            ("x_other", "1"),
            ("accept", "1"),
        ];
        let strip = |given: &mut Fields, peer| {
            let summary = FieldSummary::of(given);
            strip_untrusted(given, summary, &identity, peer)
        };
        let mut given = headers(&lines);
        assert_eq!(strip(&mut given, Peer::Untrusted), 3);
        assert_eq!(names(&given), ["accept", "x_other"]);
        let mut given = headers(&lines);
        assert_eq!(strip(&mut given, Peer::Trusted), 3);
        assert!(given.contains("x-tenant") && !given.contains("x_tenant"));
    }

    #[test]
    fn one_pass_finds_every_kind() {
        assert_eq!(
            FieldSummary::of(&headers(&[("host", "a"), ("accept", "text/html"), ("x-own", "1")])),
            FieldSummary { bytes: 26, host: true, ..FieldSummary::default() }
        );
        let all = [
            ("accept", "text/html"),
            ("accept", "text/plain, application/json"),
            ("content-type", "application/grpc+proto"),
            ("via", "1.1 a"),
            ("connection", "close"),
            ("traceparent", "x"),
            ("x-pointsman-explain", "1"),
            ("x_tenant", "a"),
        ];
        let FieldSummary { grpc, json, explain, traced, via, hop_by_hop, trusted_only, underscore, .. } =
            FieldSummary::of(&headers(&all));
        assert!(grpc && json && explain && traced && via && hop_by_hop && trusted_only && underscore);
        for name in ["te", "upgrade", "keep-alive", "proxy", "proxy-connection", "http2-settings"] {
            assert!(FieldSummary::of(&headers(&[(name, "x")])).hop_by_hop, "{name}");
        }
        for (lines, hop_by_hop, trailers) in [
            (&["trailers"][..], false, true),
            (&["Trailers"], true, true),
            (&["gzip, trailers"], true, true),
            (&["trailers", "trailers"], true, true),
            (&["trailers", "gzip"], true, true),
            (&["gzip", "trailers"], true, true),
            (&["gzip"], true, false),
        ] {
            let lines: Vec<_> = lines.iter().map(|value| ("te", *value)).collect();
            let summary = FieldSummary::of(&headers(&lines));
            assert_eq!((summary.hop_by_hop, summary.trailers), (hop_by_hop, trailers), "{lines:?}");
        }
        let one = FieldSummary::of(&headers(&[("content-length", "1"), ("cookie", "a=1")]));
        assert!(one.content_length && !one.cookie_lines && !one.host);
        assert!(FieldSummary::of(&headers(&[("cookie", "a=1"), ("cookie", "b=2")])).cookie_lines);
        for name in ["forwarded", "x-forwarded-for", "x-real-ip", "x-request-id", "x-pointsman-anything"] {
            assert!(FieldSummary::of(&headers(&[(name, "x")])).trusted_only, "{name}");
        }
    }

    #[test]
    fn trailers_are_kept_unless_one_is_forbidden_or_there_are_too_many() {
        let fine = map(&[("grpc-status", "0"), ("x-a", "1"), ("x-a", "2")]);
        assert_eq!(filter_trailers(fine.clone()), fine);
        let mut mixed = fine.clone();
        mixed.append("content-length", HeaderValue::from_static("1"));
        assert_eq!(filter_trailers(mixed), fine);
        let most = vec![("x-a", "1"); TRAILERS_MAX];
        assert_eq!(filter_trailers(map(&most)).len(), TRAILERS_MAX);
        let many = vec![("x-a", "1"); TRAILERS_MAX + 1];
        assert_eq!(filter_trailers(map(&many)).len(), TRAILERS_MAX);
    }

    #[test]
    fn trailers_carry_no_framing() {
        for name in [
            "content-length",
            "content_length",
            "transfer-encoding",
            "transfer.encoding",
            "host",
            "x-forwarded-for",
            "authorization",
            "connection",
        ] {
            assert!(!is_allowed_in_trailers(&name.parse().unwrap()), "{name}");
        }
        for name in ["grpc-status", "grpc-message", "x-checksum", "server-timing"] {
            assert!(is_allowed_in_trailers(&name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn ambiguous_responses_are_recognized() {
        for lines in [
            &[("transfer-encoding", "chunked"), ("content-length", "5")][..],
            &[("transfer-encoding", "chunked, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked, gzip")],
            &[("content-length", "5"), ("content-length", "5")],
            &[("content-length", "5, 5")],
            &[("content-length", "+5")],
            &[("content-length", "")],
            &[("content-length", "9223372036854775808")],
            &[("content-length", "5"), ("content_length", "5")],
            &[("transfer.encoding", "chunked")],
        ] {
            assert!(is_ambiguous_response(Version::HTTP_11, &headers(lines)), "{lines:?}");
        }
        for lines in [&[("transfer-encoding", "Chunked")][..], &[("content-length", "9223372036854775807")], &[]] {
            assert!(!is_ambiguous_response(Version::HTTP_11, &headers(lines)), "{lines:?}");
        }
        let chunked = headers(&[("transfer-encoding", "chunked")]);
        assert!(is_ambiguous_response(Version::HTTP_10, &chunked), "HTTP/1.0 has no chunks");
    }

    #[test]
    fn h2_heads_that_h1_could_not_carry_are_malformed() {
        assert!(!is_malformed_h2(&headers(&[("accept", "x"), ("te", "trailers"), ("cookie", "a=b")])));
        for line in [("connection", "close"), ("te", "gzip"), ("transfer-encoding", "chunked"), ("upgrade", "x")] {
            assert!(is_malformed_h2(&headers(&[line])), "{line:?}");
        }
        // The names of HTTP/2 may have a quote, those of HTTP/1.1 not.
        let mut quoted = HeaderMap::new();
        quoted.insert(HeaderName::from_lowercase(b"x\"y").unwrap(), HeaderValue::from_static("a"));
        assert!(is_malformed_h2(&Fields::from(&quoted)));
        let mut spaced = HeaderMap::new();
        spaced.insert("x", HeaderValue::from_bytes(b" a").unwrap());
        assert!(is_malformed_h2(&Fields::from(&spaced)));
    }
}
