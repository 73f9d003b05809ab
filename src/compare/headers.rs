//! Which header fields are compared, and how.
//!
//! | fields | how |
//! |---|---|
//! | those of the connection and its framing; `date`, `age`, `via`, `server-timing`, ids of requests and traces, times taken | not at all: they differ by nature, or belong to the hop |
//! | `etag`, `last-modified`, `expires` | whether they are there: their values follow from the body or the clock |
//! | `set-cookie` | the cookies' names and attributes, as a set; not their values, nor `expires` and `max-age` |
//! | `vary`, `allow`, `access-control-allow-*`, `access-control-expose-headers`, `cache-control` | their members as a set, in any case |
//! | all others | their values, in their order |

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::criteria::Criteria;
use super::snippet::{ABSENT, REDACTED, of_text};
use super::{Comparison, Difference, Field, Kind};

/// Fields that are not compared.
const NEVER: &[&str] = &[
    "age",
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "server-timing",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-envoy-upstream-service-time",
    "x-request-id",
    "x-response-time",
    "x-runtime",
    "x-trace-id",
];

/// How the values of a field are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Never,
    Presence,
    Cookies,
    Set,
    Values,
}

fn reading(name: &str) -> Reading {
    match name {
        "etag" | "last-modified" | "expires" => Reading::Presence,
        "set-cookie" => Reading::Cookies,
        "vary" | "allow" | "cache-control" | "access-control-expose-headers" => Reading::Set,
        name if name.starts_with("access-control-allow-") => Reading::Set,
        name if NEVER.contains(&name) => Reading::Never,
        _ => Reading::Values,
    }
}

/// Which block of fields is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Head,
    Trailers,
}

/// Adds the differences of two blocks of fields, in the order of their names.
pub(super) fn compare(a: &HeaderMap, b: &HeaderMap, block: Block, criteria: &Criteria, comparison: &mut Comparison) {
    let names: BTreeSet<&str> = a.keys().chain(b.keys()).map(HeaderName::as_str).collect();
    for name in names {
        let (prefix, ignored) = match block {
            Block::Head => ("header", criteria.ignores_header(name)),
            Block::Trailers => ("trailer", criteria.ignores_trailer(name)),
        };
        // A gRPC status is compared as such, wherever it stands.
        if ignored || name == "grpc-status" {
            continue;
        }
        let reading = reading(name);
        if values(a, name, reading) != values(b, name, reading) {
            let show = |map: &HeaderMap| {
                if map.contains_key(name) && criteria.redacts(name) {
                    REDACTED.into()
                } else {
                    shown(map, name, reading)
                }
            };
            comparison.differences.push(Difference {
                field: Field { path: format!("{prefix}:{name}").into(), kind: Kind::Header },
                primary: show(a),
                other: show(b),
            });
        }
    }
}

/// What of a field's values is compared.
fn values(map: &HeaderMap, name: &str, reading: Reading) -> Vec<Vec<u8>> {
    let all = || map.get_all(name).iter();
    match reading {
        Reading::Never => Vec::new(),
        Reading::Presence => all().take(1).map(|_| Vec::new()).collect(),
        Reading::Values => all().map(|value| value.as_bytes().trim_ascii().to_vec()).collect(),
        Reading::Cookies => {
            let mut cookies: Vec<_> = all().map(cookie).collect();
            cookies.sort_unstable();
            cookies
        }
        Reading::Set => {
            let members = all().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
            let mut members: Vec<_> =
                members.map(|one| one.trim_ascii().to_ascii_lowercase()).filter(|one| !one.is_empty()).collect();
            members.sort_unstable();
            members.dedup();
            // A field without members is still there.
            if members.is_empty() && map.contains_key(name) { vec![Vec::new()] } else { members }
        }
    }
}

/// A cookie's name and attributes, without what is new each time.
fn cookie(value: &HeaderValue) -> Vec<u8> {
    let mut parts = value.as_bytes().split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let pair = parts.next().unwrap_or_default();
    let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
    let attributes = parts.map(<[u8]>::to_ascii_lowercase);
    let mut attributes: Vec<_> =
        attributes.filter(|one| !one.starts_with(b"expires=") && !one.starts_with(b"max-age=")).collect();
    attributes.sort_unstable();
    let mut cookie = name.to_vec();
    for attribute in attributes {
        cookie.extend_from_slice(b"; ");
        cookie.extend_from_slice(&attribute);
    }
    cookie
}

/// What is shown of a field: cookies without their values.
fn shown(map: &HeaderMap, name: &str, reading: Reading) -> Box<str> {
    if !map.contains_key(name) {
        return ABSENT.into();
    }
    let own = match reading {
        Reading::Cookies => values(map, name, reading),
        Reading::Never | Reading::Presence | Reading::Set | Reading::Values => values(map, name, Reading::Values),
    };
    of_text(&String::from_utf8_lossy(&own.join(&b", "[..])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Pattern;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        map
    }

    fn told(
        criteria: &Criteria,
        a: &[(&'static str, &'static str)],
        b: &[(&'static str, &'static str)],
    ) -> Vec<String> {
        let mut comparison = Comparison::default();
        compare(&map(a), &map(b), Block::Head, criteria, &mut comparison);
        let told = |d: &Difference| format!("{}: {} | {}", d.field, d.primary, d.other);
        comparison.differences.iter().map(told).collect()
    }

    #[test]
    fn fields_are_compared_by_what_they_are() {
        let none: [String; 0] = [];
        let same = |a: &[_], b: &[_]| assert_eq!(told(&Criteria::default(), a, b), none, "{a:?} {b:?}");
        same(
            &[("date", "a"), ("x-request-id", "1"), ("traceparent", "2")],
            &[("date", "b"), ("age", "7"), ("via", "x")],
        );
        same(&[("etag", "1"), ("last-modified", "a")], &[("etag", "2"), ("last-modified", "b")]);
        same(&[("vary", "Accept, Origin")], &[("vary", "origin"), ("vary", "accept")]);
        same(
            &[("set-cookie", "s=1; Path=/; Expires=x"), ("set-cookie", "t=2")],
            &[("set-cookie", "t=9"), ("set-cookie", "s=8; Max-Age=1; path=/")],
        );
        let differ = |a: &[_], b: &[_], text: &str| assert_eq!(told(&Criteria::default(), a, b), [text]);
        differ(&[("x-a", "1")], &[("x-a", "2")], "header:x-a header: 1 | 2");
        differ(&[("x-a", "1"), ("x-a", "2")], &[("x-a", "2"), ("x-a", "1")], "header:x-a header: 1, 2 | 2, 1");
        differ(&[("x-a", "")], &[], "header:x-a header:  | (absent)");
        differ(&[("etag", "1")], &[], "header:etag header: 1 | (absent)");
        differ(&[("vary", "a")], &[("vary", "b")], "header:vary header: a | b");
        differ(
            &[("set-cookie", "s=secret; Secure")],
            &[("set-cookie", "s=hidden")],
            "header:set-cookie header: s; secure | s",
        );
    }

    #[test]
    fn credentials_are_never_shown_and_patterns_hold() {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect::<Vec<_>>();
        let criteria = Criteria::new(&patterns(&["header:x-debug-*"]), &[], &[], &patterns(&["header:x-token"]));
        let found = told(
            &criteria,
            &[("x-token", "a"), ("x-debug-1", "a"), ("www-authenticate", "b")],
            &[("x-token", "b"), ("x-debug-1", "b")],
        );
        assert_eq!(
            found,
            ["header:www-authenticate header: (redacted) | (absent)", "header:x-token header: (redacted) | (redacted)"]
        );
    }
}
