//! One route: the requests that it matches, and what happens to them.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use super::{
    AccessRule, AccessVerdict, Caller, EncodedSlash, Facts, Guards, HeaderEdits, HostPattern, LoadPriority, PathError,
    PathPattern, Predicate, RateLimit, RequestHead, Rescue, Respond, RetryPolicy, RolloutId, RouteLine, Salt,
    SegmentId, Shadow, SourceLocation, StickyKey, Template, UpstreamId, VariantId, Weight, normal_path,
};

/// One `[[route]]`: where it is, and what it says. What it says is shared with the rules before, when its text is the same.
#[derive(Clone, Debug)]
pub struct Route {
    /// The location in the file.
    pub place: SourceLocation,
    spec: Arc<RouteSpec>,
}

/// What a `[[route]]` says.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// The unique name.
    pub name: String,
    /// The requests that it matches.
    pub matches: Match,
    /// What happens to them.
    pub action: Action,
    /// Edits to the request's headers, after forwarding headers are set.
    pub request_headers: HeaderEdits,
    /// Edits to the response's headers.
    pub response_headers: HeaderEdits,
    /// Time limits.
    pub timeouts: Timeouts,
    /// When a failed try is repeated.
    pub retry: RetryPolicy,
    /// Size limits.
    pub limits: RouteLimits,
    /// Which callers the proxy answers itself; empty: none.
    pub access: Box<[AccessRule]>,
    /// The rate limits; the strictest one decides.
    pub rate_limits: Box<[RateLimit]>,
    /// Whether its requests are refused first under load.
    pub load: LoadPriority,
}

impl Deref for Route {
    type Target = RouteSpec;

    #[inline]
    fn deref(&self) -> &RouteSpec {
        &self.spec
    }
}

/// Copies what it says when other rules share it.
impl DerefMut for Route {
    fn deref_mut(&mut self) -> &mut RouteSpec {
        Arc::make_mut(&mut self.spec)
    }
}

impl Route {
    /// A route at this place.
    #[must_use]
    pub fn new(place: SourceLocation, spec: RouteSpec) -> Self {
        Self { place, spec: Arc::new(spec) }
    }

    /// Whether both share what they say: the text of the route has not changed.
    #[must_use]
    #[inline]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec)
    }

    /// The same route at another place. What it says is shared.
    #[must_use]
    pub fn moved_to(&self, place: SourceLocation) -> Self {
        Self { place, spec: Arc::clone(&self.spec) }
    }

    /// The place of a part of it, such as a target.
    #[must_use]
    pub fn place_of(&self, part: RouteLine) -> SourceLocation {
        SourceLocation { file: Arc::clone(&self.place.file), line: self.place.line.saturating_add(part.0) }
    }

    /// The number of a target that serves, from 1, among all targets of the file. `at` is its index in
    /// [`Split::targets`].
    pub(super) fn target_number(&self, at: usize) -> usize {
        let passes = |rule: &AccessRule| matches!(rule.verdict, AccessVerdict::Pass);
        let mut before = self.access.iter().enumerate().filter(|(_, rule)| passes(rule)).map(|(at, _)| at);
        before.nth(at).unwrap_or_else(|| {
            let answers = self.access.iter().filter(|rule| !passes(rule)).count();
            debug_assert!(answers <= self.access.len(), "a part of the rules answers");
            at + answers
        }) + 1
    }
}

/// `[route.match]`: all given conditions must match.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// One of these hosts; empty: any.
    pub hosts: Vec<HostPattern>,
    /// One of these paths; empty: any.
    pub paths: Vec<PathPattern>,
    /// One of these methods; empty: any.
    pub methods: Vec<Method>,
    /// All of these; only header, cookie, query, gRPC and listener predicates.
    pub predicates: Vec<Predicate>,
    /// Overrides all other precedence; higher wins; default 0.
    pub priority: i32,
}

impl Match {
    /// Whether both match the same requests, with the same precedence.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let Self { hosts, paths, methods, predicates, priority } = self;
        // Regexes are compared by their text, and ids are those of the same file.
        let text = |all: &[Predicate]| format!("{all:?}");
        (hosts, methods, priority) == (&other.hosts, &other.methods, &other.priority)
            && *paths == other.paths
            && predicates.len() == other.predicates.len()
            && (predicates.is_empty() || text(predicates) == text(&other.predicates))
    }

    /// Whether methods and predicates match.
    pub(super) fn accepts(&self, head: &RequestHead<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(head.method))
            && self.predicates.iter().all(|predicate| predicate_matches(predicate, head))
    }
}

/// Whether a predicate of a route matches. Such predicates use headers, cookies, the query and the listener, never the
/// caller.
fn predicate_matches(predicate: &Predicate, head: &RequestHead<'_>) -> bool {
    const UNKNOWN_CALLER: Caller<'_> = Caller {
        client_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        trusted: false,
        tenant: None,
        user: None,
        facts: Facts { claims: None, country: None, fault: None },
    };
    predicate.matches(head, &UNKNOWN_CALLER, &[])
}

/// What a route does with a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Forward to one of the variants.
    Split(Split),
    /// Answer with a redirect.
    Redirect(Redirect),
    /// Answer with a fixed response.
    Respond(Respond),
}

/// The variants of a route and the rules by which callers get them.
#[derive(Clone, Debug)]
pub struct Split {
    /// The variants; the first is `stable`, the others are in file order.
    pub variants: Vec<Variant>,
    /// The identities that are sticky keys; the first one present is used. Empty: each request is decided on its own.
    pub sticky: Vec<StickyKey>,
    /// The cookie that gives callers without an identity one.
    pub sticky_cookie: Option<String>,
    /// The salt of the weights.
    pub salt: Salt,
    /// The targets, in order.
    pub targets: Vec<Target>,
    /// The rewrite before forwarding.
    pub rewrite: Rewrite,
    /// The shadow that gets copies of its requests.
    pub shadow: Option<Box<Shadow>>,
    /// The guards of its variants: its own, and for a variant of a rollout those of the rollout.
    pub guards: Box<Guards>,
    /// The rollout that moves its last variant.
    pub rollout: Option<RolloutId>,
}

/// One variant. Its weight is in the [`SplitState`](super::SplitState) of its split.
#[derive(Clone, Debug)]
pub struct Variant {
    /// `stable`, `canary` or a given name.
    pub name: String,
    /// The upstream that answers.
    pub upstream: UpstreamId,
    /// When stable answers instead of it.
    pub rescue: Rescue,
}

/// One `[[route.target]]`.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is in its route.
    pub line: RouteLine,
    /// All must match.
    pub predicates: Vec<Predicate>,
    /// The segment that it names, for output and for the salt.
    pub segment: Option<SegmentId>,
    /// The variant that it serves.
    pub serve: VariantId,
    /// The share of the matching callers that it serves, with its own salt; `None`: all of them.
    pub weight: Option<(Weight, Salt)>,
}

/// `redirect = { to, status }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The location; `{host}`, `{path}`, `{query}`, `{scheme}` expand in addition to the header placeholders.
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// `[route.rewrite]`.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// Replaces the matched prefix (or the whole of an exact path).
    pub prefix: Option<String>,
    /// Replaces each match of a regex; `$1` refers to its groups.
    pub regex: Option<(regex::Regex, String)>,
    /// Replaces `Host`.
    pub host: Option<http::HeaderValue>,
}

impl Rewrite {
    /// Whether nothing is rewritten.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keeps_path() && self.host.is_none()
    }

    /// Whether the path is forwarded as it is.
    #[must_use]
    pub const fn keeps_path(&self) -> bool {
        self.prefix.is_none() && self.regex.is_none()
    }

    /// The path to forward. `matched` is how many of the path's bytes the route's prefix covers
    /// ([`Lookup::matched`](super::Lookup::matched)); they are replaced by `prefix`, joined by exactly one slash. Then
    /// `regex` replaces all that it matches. Borrows when nothing is rewritten.
    ///
    /// # Errors
    /// If the path after the regex has no normal form, such as a new `..`: a 500, because the cause is the
    /// configuration.
    pub fn path<'a>(&self, path: &'a str, matched: usize) -> Result<Cow<'a, str>, PathError> {
        let path = match &self.prefix {
            None => Cow::Borrowed(path),
            Some(prefix) => Cow::Owned(joined(prefix, path.get(matched..).unwrap_or(""))),
        };
        let Some((regex, replacement)) = &self.regex else { return Ok(path) };
        let Cow::Owned(mut replaced) = regex.replace_all(&path, replacement.as_str()) else { return Ok(path) };
        if !replaced.starts_with('/') {
            replaced.insert(0, '/');
        }
        Ok(Cow::Owned(normal_path(&replaced, EncodedSlash::Keep)?.into_owned()))
    }
}

/// Joins a prefix and the rest of a path with exactly one slash.
fn joined(prefix: &str, rest: &str) -> String {
    // `OPTIONS *` has no elements: the rest is `*`.
    debug_assert!(
        rest.is_empty() || rest.starts_with('/') || rest == "*",
        "a matched prefix ends at an element of the path"
    );
    if rest.is_empty() {
        return if prefix.is_empty() { "/".to_owned() } else { prefix.to_owned() };
    }
    [prefix.strip_suffix('/').unwrap_or(prefix), rest].concat()
}

/// `[route.timeout]`; `None` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the end of the request body to the response head.
    pub request: Option<Duration>,
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
    /// From sending one try to its response head.
    pub per_try: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { request: Some(Duration::from_secs(30)), idle: Some(Duration::from_mins(1)), per_try: None }
    }
}

/// `[route.limits]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteLimits {
    /// The largest request body in bytes.
    pub body_bytes: Option<u64>,
    /// Whether requests may upgrade to `WebSocket` (RFC 6455, RFC 8441).
    pub websocket: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_with_one_slash() {
        for (prefix, path, matched, rewritten) in [
            ("/", "/checkout/pay", 9, "/pay"),
            ("/", "/checkout", 9, "/"),
            ("/", "/checkout/", 9, "/"),
            ("", "/checkout", 9, "/"),
            ("/v2", "/checkout/pay", 9, "/v2/pay"),
            ("/v2/", "/checkout/pay", 9, "/v2/pay"),
            ("/v2", "/checkout", 9, "/v2"),
            ("/v2", "/checkout/", 9, "/v2/"),
            ("/v2", "/a", 0, "/v2/a"),
        ] {
            let rewrite = Rewrite { prefix: Some(prefix.into()), ..Rewrite::default() };
            assert_eq!(rewrite.path(path, matched).as_deref(), Ok(rewritten), "{prefix} {path}");
        }
    }

    #[test]
    fn a_regex_rewrites_and_cannot_smuggle_dots() {
        for (regex, to, path, rewritten) in [
            ("^/u/([0-9]+)/(.*)$", "/users/$1/$2", "/u/7/x", Ok("/users/7/x")),
            ("b", "c", "/abab", Ok("/acac")),
            ("^/", "", "/x", Ok("/x")),
            ("zzz", "y", "/x", Ok("/x")),
            ("-", ".", "/a/--/b", Ok("/b")),
            ("^/a", "/..", "/a/b", Err(PathError::AboveRoot)),
            ("a", "?", "/a", Err(PathError::IllegalByte)),
        ] {
            let rewrite = Rewrite { regex: Some((regex::Regex::new(regex).unwrap(), to.into())), ..Rewrite::default() };
            assert_eq!(rewrite.path(path, path.len()).as_deref(), rewritten.as_ref().copied(), "{regex} {path}");
        }
        assert!(matches!(Rewrite::default().path("/x", 2), Ok(Cow::Borrowed("/x"))));
    }
}
