//! Which header fields are compared, and how.
//!
//! | fields | how |
//! |---|---|
//! | of the connection and its framing; `date`, `age`, `via`, `server-timing`, ids of requests and traces, durations | not compared: they always differ, or belong to the hop |
//! | `etag`, `last-modified`, `expires` | presence only: their values depend on the body or the clock |
//! | `set-cookie` | names and attributes of the cookies, as a set; not their values, nor those of `expires`, `max-age` and unknown attributes |
//! | `vary`, `allow`, `access-control-allow-*`, `access-control-expose-headers`, `cache-control` | their members as a set, case-insensitive |
//! | all others | their values, in their order |
//!
//! Samples of URLs end at the query, which may have codes and tokens.

use std::borrow::Cow;
use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::criteria::Criteria;
use super::snippet::{ABSENT, REDACTED, of_text};
use super::{Comparison, Difference, DifferenceKind, ResponseField};

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

/// The maximum length of a reported name.
const NAME_MAX: usize = 64;

/// How the values of a field are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldRule {
    Never,
    Presence,
    Cookies,
    Set,
    Values,
}

fn rule(name: &str) -> FieldRule {
    match name {
        "etag" | "last-modified" | "expires" => FieldRule::Presence,
        "set-cookie" => FieldRule::Cookies,
        "vary" | "allow" | "cache-control" | "access-control-expose-headers" => FieldRule::Set,
        name if name.starts_with("access-control-allow-") => FieldRule::Set,
        name if NEVER.contains(&name) => FieldRule::Never,
        _ => FieldRule::Values,
    }
}

/// The block of fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderBlock {
    Head,
    Trailers,
}

/// Adds the differences of two blocks of fields, in the order of their names.
pub(super) fn compare(
    a: &HeaderMap,
    b: &HeaderMap,
    block: HeaderBlock,
    criteria: &Criteria,
    comparison: &mut Comparison,
) {
    let names: BTreeSet<&str> = a.keys().chain(b.keys()).map(HeaderName::as_str).collect();
    for name in names {
        let (prefix, ignored) = match block {
            HeaderBlock::Head => ("header", criteria.ignores_header(name)),
            HeaderBlock::Trailers => ("trailer", criteria.ignores_trailer(name)),
        };
        // The gRPC status is compared separately, in the head and in the trailers.
        if ignored || name == "grpc-status" {
            continue;
        }
        let rule = rule(name);
        if values(a, name, rule) != values(b, name, rule) {
            let show = |map: &HeaderMap| {
                if map.contains_key(name) && criteria.redacts(name) { REDACTED.into() } else { shown(map, name, rule) }
            };
            let (described, how) = folded(name);
            let field =
                ResponseField { path: format!("{prefix}:{described}{how}").into(), kind: DifferenceKind::Header };
            let listed = || comparison.differences.iter().any(|difference| difference.field == field);
            if how.is_empty() || !listed() {
                comparison.differences.push(Difference { field, primary: show(a), other: show(b) });
            }
        }
    }
}

/// The reported prefix of a field name, and `*` if it is shortened: names may contain ids, and may be long.
fn folded(name: &str) -> (&str, &'static str) {
    let name_max = NAME_MAX.min(name.len());
    for (hyphen, _) in name.match_indices('-').take_while(|(at, _)| (1..name_max).contains(at)) {
        if begins_with_id(&name[hyphen + 1..]) {
            return (&name[..=hyphen], "*");
        }
    }
    // Names are ASCII: RFC 9110 §5.1.
    (&name[..name_max], if name.len() > NAME_MAX { "*" } else { "" })
}

/// Whether the rest of a name begins with a number of at least four digits, a hexadecimal id or a UUID.
fn begins_with_id(rest: &str) -> bool {
    let word = rest.split('-').next().unwrap_or_default().as_bytes();
    let digit = |bytes: &[u8]| bytes.iter().any(u8::is_ascii_digit);
    let hexadecimal = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    (word.len() >= 4 && word.iter().all(u8::is_ascii_digit)) || (word.len() >= 8 && hexadecimal(word) && digit(word))
}

/// The compared form of a field's values.
fn values(map: &HeaderMap, name: &str, rule: FieldRule) -> Vec<Vec<u8>> {
    let all = || map.get_all(name).iter();
    match rule {
        FieldRule::Never => Vec::new(),
        FieldRule::Presence => all().take(1).map(|_| Vec::new()).collect(),
        FieldRule::Values => all().map(|value| value.as_bytes().trim_ascii().to_vec()).collect(),
        FieldRule::Cookies => {
            let mut cookies: Vec<_> = all().map(cookie).collect();
            cookies.sort_unstable();
            cookies
        }
        FieldRule::Set => {
            let members = all().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
            let mut members: Vec<_> =
                members.map(|one| one.trim_ascii().to_ascii_lowercase()).filter(|one| !one.is_empty()).collect();
            members.sort_unstable();
            members.dedup();
            // A field without members is present nevertheless.
            if members.is_empty() && map.contains_key(name) { vec![Vec::new()] } else { members }
        }
    }
}

/// The name and attributes of a cookie, without its value and without attributes that always change.
fn cookie(value: &HeaderValue) -> Vec<u8> {
    let mut parts = value.as_bytes().split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let pair = parts.next().unwrap_or_default();
    // Without `=`, the whole text is the value (RFC 6265bis §5.6).
    let name = pair.iter().position(|&byte| byte == b'=').map(|end| pair[..end].trim_ascii());
    let mut attributes: Vec<_> = parts.filter_map(attribute).collect();
    attributes.sort_unstable();
    let mut cookie = name.filter(|name| !name.is_empty()).unwrap_or(b"(no name)").to_vec();
    for attribute in attributes {
        cookie.extend_from_slice(b"; ");
        cookie.extend_from_slice(&attribute);
    }
    cookie
}

/// An attribute of a cookie. Unknown attributes are not shown, because they may be secret.
fn attribute(part: &[u8]) -> Option<Vec<u8>> {
    let lower = part.to_ascii_lowercase();
    let equals = lower.iter().position(|&byte| byte == b'=');
    let name = lower[..equals.unwrap_or(lower.len())].trim_ascii();
    match name {
        b"" | b"expires" | b"max-age" => None,
        b"secure" | b"httponly" | b"partitioned" => Some(name.to_vec()),
        b"path" | b"domain" | b"samesite" | b"priority" => Some(lower),
        _ => Some(if equals.is_some() { [name, b"=\xe2\x80\xa6"].concat() } else { b"(other)".to_vec() }),
    }
}

/// A URL up to its query or fragment; in a `link`, each of its URLs.
fn without_query(name: &str, value: &str) -> String {
    let cut = |url: &str| match url.find(['?', '#']) {
        Some(end) => format!("{}…", &url[..=end]),
        None => url.to_owned(),
    };
    if name != "link" {
        return cut(value);
    }
    let parts = value.split('>').enumerate().map(|(at, part)| {
        let end = if at == 0 { "" } else { ">" };
        match part.rsplit_once('<') {
            Some((before, url)) => format!("{end}{before}<{}", cut(url)),
            None => format!("{end}{part}"),
        }
    });
    parts.collect()
}

/// The sample of a field: cookies without values, URLs without queries.
fn shown(map: &HeaderMap, name: &str, rule: FieldRule) -> Box<str> {
    if !map.contains_key(name) {
        return ABSENT.into();
    }
    let own = match rule {
        FieldRule::Cookies => values(map, name, rule),
        FieldRule::Never | FieldRule::Presence | FieldRule::Set | FieldRule::Values => {
            values(map, name, FieldRule::Values)
        }
    };
    let own = own.iter().map(|value| String::from_utf8_lossy(value));
    let own: Vec<_> = match name {
        "location" | "content-location" | "refresh" | "link" => own.map(|value| without_query(name, &value)).collect(),
        _ => own.map(Cow::into_owned).collect(),
    };
    of_text(&own.join(", "))
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

    fn described(
        criteria: &Criteria,
        a: &[(&'static str, &'static str)],
        b: &[(&'static str, &'static str)],
    ) -> Vec<String> {
        let mut comparison = Comparison::default();
        compare(&map(a), &map(b), HeaderBlock::Head, criteria, &mut comparison);
        let described = |d: &Difference| format!("{}: {} | {}", d.field, d.primary, d.other);
        comparison.differences.iter().map(described).collect()
    }

    #[test]
    fn fields_are_compared_by_their_rules() {
        let none: [String; 0] = [];
        let same = |a: &[_], b: &[_]| assert_eq!(described(&Criteria::default(), a, b), none, "{a:?} {b:?}");
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
        let differ = |a: &[_], b: &[_], text: &str| assert_eq!(described(&Criteria::default(), a, b), [text]);
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
    fn secrets_are_never_shown_even_without_a_pattern() {
        for (name, a, b, shown) in [
            ("set-cookie", "SECRETVALUE1", "s=1", "(no name) | s"),
            ("set-cookie", "=SECRET", "s=1", "(no name) | s"),
            ("set-cookie", "s=1; tok=SECRET; SECRET; Path=/a", "s=1", "s; (other); path=/a; tok=… | s"),
            ("set-cookie", "s=1; Secure=SECRET", "s=1; HttpOnly", "s; secure | s; httponly"),
            ("x-auth-token", "SECRET", "b", "(redacted) | (redacted)"),
            ("x-api-key", "SECRET", "b", "(redacted) | (redacted)"),
            ("client-secret", "SECRET", "b", "(redacted) | (redacted)"),
            ("x-session-id", "SECRET", "b", "(redacted) | (redacted)"),
            ("location", "/cb?code=SECRET", "/cb?code=s", "/cb?… | /cb?…"),
            ("location", "https://a/cb#token=SECRET", "/cb", "https://a/cb#… | /cb"),
            ("refresh", "0;url=/cb?code=SECRET", "1", "0;url=/cb?… | 1"),
            ("link", "</a?t=SECRET>; rel=next, </b?SECRET>", "</a>", "</a?…>; rel=next, </b?…> | </a>"),
        ] {
            let map = |value: &'static str| map(&[(name, value)]);
            let mut comparison = Comparison::default();
            compare(&map(a), &map(b), HeaderBlock::Head, &Criteria::default(), &mut comparison);
            let found = &comparison.differences[0];
            assert_eq!(format!("{} | {}", found.primary, found.other), shown, "{name}: {a}");
        }
        // The comparison uses more than the sample shows.
        let none: [String; 0] = [];
        let same = [("set-cookie", "s=1; tok=a; Path=/")];
        assert_eq!(described(&Criteria::default(), &same, &[("set-cookie", "s=2; path=/; tok=b")]), none);
    }

    #[test]
    fn names_with_ids_make_one_field() {
        for (name, described) in [
            ("x-req-0190b5c2-7e4a-7c3b-9d2e-1f2a3b4c5d6e", "x-req-*"),
            ("x-item-4711-price", "x-item-*"),
            ("x-b3-traceid", "x-b3-traceid"),
            ("x-amz-id-2", "x-amz-id-2"),
            ("content-md5", "content-md5"),
            ("5f2b6c0d9e8a7b1c", "5f2b6c0d9e8a7b1c"),
            ("-4711", "-4711"),
            (&"n".repeat(64), &"n".repeat(64)),
            (&"n".repeat(60_000), &format!("{}*", "n".repeat(64))),
            (&format!("{}-4711", "n".repeat(60_000)), &format!("{}*", "n".repeat(64))),
        ] {
            let (found, how) = folded(name);
            assert_eq!(format!("{found}{how}"), described);
            let pattern = Pattern::parse(&format!("header:{described}")).unwrap();
            assert!(Criteria::new(&[pattern], &[], &[], &[]).ignores_header(name), "{described} means {name}");
        }
        let found =
            described(&Criteria::default(), &[("x-req-1001", "a"), ("x-req-1002", "b")], &[("x-req-1003", "c")]);
        assert_eq!(found, ["header:x-req-* header: a | (absent)"]);
    }

    #[test]
    fn credentials_are_never_shown_and_patterns_apply() {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect::<Vec<_>>();
        let criteria = Criteria::new(&patterns(&["header:x-debug-*"]), &[], &[], &patterns(&["header:x-token"]));
        let found = described(
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
