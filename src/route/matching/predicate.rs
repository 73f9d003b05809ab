//! Predicates: conditions on a request and its caller. Segments: named audiences. A predicate can refer to a segment,
//! and a segment consists of predicates.

use ipnet::IpNet;

use super::cookie::cookie_bytes;
use super::identity::net_contains;
use super::query::parameters;
use crate::fields::Fields;
use crate::route::{Caller, CertField, Claims, Country, RequestHead, SegmentId, TenantList, VerifiedCert, is_grpc};

/// How a string is compared.
#[derive(Clone, Debug)]
pub enum StringMatch {
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// The regex matches somewhere.
    Regex(regex::Regex),
    /// Present (`true`) or absent (`false`).
    Present(bool),
}

/// One predicate.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// A header; any of its lines may match.
    Header(http::HeaderName, StringMatch),
    /// A cookie.
    Cookie(String, StringMatch),
    /// The request is gRPC.
    Grpc,
    /// The listener is one of these, sorted by name.
    Listener(Vec<String>),
    /// A query parameter, percent-decoded.
    Query(String, StringMatch),
    /// The tenant is one of these.
    Tenant(TenantList),
    /// The user is one of these.
    User(TenantList),
    /// The client's address is in one of these.
    Cidr(Vec<IpNet>),
    /// A claim of the verified token; any member of a list may match.
    Claim(String, StringMatch),
    /// The client's address is in one of these countries.
    Country(Vec<Country>),
    /// A field of the client's verified certificate; any of its values may match.
    ClientCert(CertField, StringMatch),
    /// The caller is in the segment.
    Segment(SegmentId),
    /// The predicate does not match.
    Not(Box<Predicate>),
    /// One of these matches.
    Any(Vec<Predicate>),
    /// All of these match.
    All(Vec<Predicate>),
}

/// One `[segment.NAME]`: all its predicates must match.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The unique name.
    pub name: String,
    /// All must match.
    pub predicates: Vec<Predicate>,
}

impl Predicate {
    /// Whether the predicate matches. Segments must not refer to each other in a cycle.
    #[must_use]
    pub fn matches(&self, head: &RequestHead<'_>, caller: &Caller<'_>, segments: &[Segment]) -> bool {
        match self {
            Self::Header(name, wanted) => wanted.fits_header(head.fields, name),
            Self::Cookie(name, wanted) => wanted.fits_value(cookie_bytes(head.fields, name)),
            Self::Query(name, wanted) => wanted.fits_query(head.query, name),
            Self::Grpc => is_grpc(head.fields),
            Self::Listener(names) => names.iter().any(|name| name == head.listener),
            Self::Tenant(list) => caller.tenant.as_deref().is_some_and(|tenant| list.contains(tenant)),
            Self::User(list) => caller.user.as_deref().is_some_and(|user| list.contains(user)),
            Self::Cidr(nets) => nets.iter().any(|net| net_contains(net, caller.client_ip)),
            Self::Claim(name, wanted) => wanted.fits_claim(caller.facts.claims, name),
            Self::Country(list) => caller.facts.country.is_some_and(|country| list.contains(&country)),
            Self::ClientCert(field, wanted) => wanted.fits_cert(head.client_cert, *field),
            Self::Segment(id) => segments
                .get(id.0 as usize)
                .is_some_and(|segment| all_match(&segment.predicates, head, caller, segments)),
            Self::Not(predicate) => !predicate.matches(head, caller, segments),
            Self::Any(predicates) => predicates.iter().any(|p| p.matches(head, caller, segments)),
            Self::All(predicates) => all_match(predicates, head, caller, segments),
        }
    }

    /// The number of conditions; alternatives and negations count as one.
    pub(in crate::route) fn conditions(&self) -> usize {
        match self {
            Self::All(predicates) => predicates.iter().map(Self::conditions).sum(),
            Self::Header(..)
            | Self::Cookie(..)
            | Self::Query(..)
            | Self::Grpc
            | Self::Listener(_)
            | Self::Tenant(_)
            | Self::User(_)
            | Self::Cidr(_)
            | Self::Claim(..)
            | Self::Country(_)
            | Self::ClientCert(..)
            | Self::Segment(_)
            | Self::Not(_)
            | Self::Any(_) => 1,
        }
    }
}

/// Whether all of `predicates` match.
pub(in crate::route) fn all_match(
    predicates: &[Predicate],
    head: &RequestHead<'_>,
    caller: &Caller<'_>,
    segments: &[Segment],
) -> bool {
    predicates.iter().all(|predicate| predicate.matches(head, caller, segments))
}

impl StringMatch {
    /// Whether any line of the header matches, as a whole or one of its comma-separated members, so that a second value
    /// cannot hide the first one from a rule.
    fn fits_header(&self, fields: &Fields, name: &http::HeaderName) -> bool {
        if let Self::Present(wanted) = self {
            return fields.contains(name) == *wanted;
        }
        fields.get_all(name).any(|line| {
            self.fits(line.trim_ascii())
                || memchr::memchr(b',', line).is_some()
                    && line.split(|&b| b == b',').any(|member| self.fits(member.trim_ascii()))
        })
    }

    /// Whether any parameter of that name matches.
    fn fits_query(&self, query: Option<&str>, name: &str) -> bool {
        let mut values = parameters(query, name);
        match self {
            Self::Present(wanted) => values.next().is_some() == *wanted,
            Self::Exact(_) | Self::Prefix(_) | Self::Regex(_) => values.any(|value| self.fits(value.as_bytes())),
        }
    }

    /// Whether the value of a claim matches, or a member of its list.
    fn fits_claim(&self, claims: Option<&Claims>, name: &str) -> bool {
        let mut values = claims.into_iter().flat_map(|claims| claims.all(name));
        match self {
            Self::Present(wanted) => values.next().is_some() == *wanted,
            Self::Exact(_) | Self::Prefix(_) | Self::Regex(_) => values.any(|value| self.fits(value.as_bytes())),
        }
    }

    /// Whether any value of this field of a certificate matches.
    fn fits_cert(&self, certificate: Option<&VerifiedCert>, field: CertField) -> bool {
        let mut values = certificate.into_iter().flat_map(|certificate| certificate.values(field));
        match self {
            Self::Present(wanted) => values.next().is_some() == *wanted,
            Self::Exact(_) | Self::Prefix(_) | Self::Regex(_) => values.any(|value| self.fits(value.as_bytes())),
        }
    }

    /// Whether a value that may be missing matches.
    fn fits_value(&self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Present(wanted) => value.is_some() == *wanted,
            Self::Exact(_) | Self::Prefix(_) | Self::Regex(_) => value.is_some_and(|value| self.fits(value)),
        }
    }

    /// Whether a value matches. For a regex, bytes that are not UTF-8 become U+FFFD.
    fn fits(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == value,
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Regex(regex) => regex.is_match(&String::from_utf8_lossy(value)),
            Self::Present(wanted) => *wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use http::{HeaderName, HeaderValue, Method};

    use super::*;
    use crate::route::Facts;

    fn countries(codes: &[&str]) -> Predicate {
        Predicate::Country(codes.iter().map(|code| Country::new(code).unwrap()).collect())
    }

    fn claims() -> Claims {
        let mut claims = Claims::default();
        claims.add("sub", "u1");
        claims.add_member("groups", "a");
        claims.add_member("groups", "b");
        claims
    }

    fn regex(pattern: &str) -> StringMatch {
        StringMatch::Regex(regex::Regex::new(pattern).unwrap())
    }

    fn exact(text: &str) -> StringMatch {
        StringMatch::Exact(text.into())
    }

    fn list(names: &[&str]) -> TenantList {
        TenantList::new(names.iter().map(|&name| name.into()))
    }

    /// A minimal head with these fields.
    fn bare(fields: &Fields) -> RequestHead<'_> {
        RequestHead {
            method: &Method::GET,
            host: "h",
            path: "/",
            query: None,
            fields,
            client_cert: None,
            listener: "edge",
        }
    }

    #[test]
    fn each_predicate_checks_its_condition() {
        use Predicate::{All, Any, Cidr, Claim, Cookie, Grpc, Header, Not, Query, Segment as In, Tenant, User};
        let mut fields = Fields::new();
        for (name, value) in [
            ("x-one", &b"1"[..]),
            ("x-two", b"a"),
            ("x-two", b"b, c"),
            ("x-raw", b"caf\xe9"),
            ("content-type", b"application/grpc+proto"),
            ("cookie", b"a=1; a=2; b=\xff"),
        ] {
            fields.append(&HeaderName::from_static(name), &HeaderValue::from_bytes(value).unwrap());
        }
        let head = RequestHead { query: Some("q=1&q=2&e"), ..bare(&fields) };
        let claims = claims();
        let caller = Caller {
            client_ip: "::ffff:10.1.1.1".parse().unwrap(),
            trusted: false,
            tenant: Some(Cow::Borrowed("acme")),
            user: None,
            facts: Facts { claims: Some(&claims), country: Country::new("de"), fault: None },
        };
        let segments =
            [Segment { name: "s".into(), predicates: vec![Tenant(list(&["acme"])), Query("q".into(), exact("2"))] }];
        let header = |name, wanted| Header(HeaderName::from_static(name), wanted);
        for (predicate, holds) in [
            (header("x-one", exact("1")), true),
            (header("x-one", exact("2")), false),
            (header("x-two", exact("a")), true),
            (header("x-two", exact("b")), true),
            (header("x-two", exact("c")), true),
            (header("x-two", exact("b, c")), true),
            (header("x-two", StringMatch::Prefix("c".into())), true),
            (header("x-two", regex("^c$")), true),
            (header("x-raw", exact("café")), false),
            (header("x-raw", StringMatch::Prefix("caf".into())), true),
            (header("x-raw", regex("^caf.$")), true),
            (header("x-raw", StringMatch::Present(true)), true),
            (header("x-none", StringMatch::Present(true)), false),
            (header("x-none", StringMatch::Present(false)), true),
            (header("x-none", regex("")), false),
            (Grpc, true),
            (Cookie("a".into(), exact("1")), true),
            (Cookie("a".into(), exact("2")), false),
            (Cookie("b".into(), regex(".")), true),
            (Cookie("c".into(), StringMatch::Present(false)), true),
            (Query("q".into(), exact("2")), true),
            (Query("e".into(), exact("")), true),
            (Query("e".into(), StringMatch::Present(true)), true),
            (Query("z".into(), StringMatch::Present(false)), true),
            (Tenant(list(&["globex", "acme"])), true),
            (Tenant(list(&["globex"])), false),
            (User(list(&["acme"])), false),
            (Cidr(vec!["10.0.0.0/8".parse().unwrap()]), true),
            (Cidr(vec!["11.0.0.0/8".parse().unwrap()]), false),
            (Claim("sub".into(), exact("u1")), true),
            (Claim("groups".into(), exact("b")), true),
            (Claim("groups".into(), StringMatch::Present(true)), true),
            (Claim("none".into(), StringMatch::Present(false)), true),
            (countries(&["FR", "DE"]), true),
            (countries(&["FR"]), false),
            (In(SegmentId(0)), true),
            (In(SegmentId(7)), false),
            (Not(Box::new(In(SegmentId(0)))), false),
            (Any(vec![User(list(&["x"])), Tenant(list(&["acme"]))]), true),
            (All(vec![User(list(&["x"])), Tenant(list(&["acme"]))]), false),
            (All(vec![]), true),
            (Any(vec![]), false),
        ] {
            assert_eq!(predicate.matches(&head, &caller, &segments), holds, "{predicate:?}");
        }
    }

    #[test]
    fn the_listener_is_one_of_the_named_ones() {
        let (fields, unknown) = (Fields::new(), crate::route::tests::caller(None));
        for (names, holds) in [(vec!["a".to_owned(), "edge".to_owned()], true), (vec!["a".to_owned()], false)] {
            assert_eq!(Predicate::Listener(names).matches(&bare(&fields), &unknown, &[]), holds);
        }
    }

    #[test]
    fn a_certificate_is_matched_by_field() {
        let names = vec!["a".into(), "b".into()];
        let certificate = VerifiedCert { cn: Some("till".into()), dns: names, ..VerifiedCert::default() };
        let fields = Fields::new();
        let bare = bare(&fields);
        let caller = Caller {
            client_ip: "10.1.1.1".parse().unwrap(),
            trusted: false,
            tenant: None,
            user: None,
            facts: Facts::default(),
        };
        for (field, wanted, holds, holds_without) in [
            (CertField::Cn, exact("till"), true, false),
            (CertField::Cn, exact("tills"), false, false),
            (CertField::Dns, exact("b"), true, false),
            (CertField::Dns, StringMatch::Prefix("c".into()), false, false),
            (CertField::Email, StringMatch::Present(true), false, false),
            (CertField::Email, StringMatch::Present(false), true, true),
        ] {
            let predicate = Predicate::ClientCert(field, wanted);
            let head = RequestHead { client_cert: Some(&certificate), ..bare };
            assert_eq!(predicate.matches(&head, &caller, &[]), holds, "{predicate:?}");
            assert_eq!(predicate.matches(&bare, &caller, &[]), holds_without, "{predicate:?} without one");
        }
    }
}
