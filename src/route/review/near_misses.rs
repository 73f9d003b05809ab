//! Near misses: routes that nearly match a request, and why they do not.

use super::miss_reasons::MissReasons;
use crate::route::{Caller, HostPattern, MatchedRoute, PathPattern, RequestHead, Route, Rules};

/// The maximum number of listed routes.
const NEARLY_MAX: usize = 10;
/// The maximum number of those with another host or path, if no route matches.
const APART_MAX: usize = 5;

/// Routes that match host and path but not the request, then routes whose regex matches only a part of the path.
/// Without a `taken` route, also routes that differ only in the path or only in the host, closest first.
pub(super) fn near_misses(
    rules: &Rules,
    head: &RequestHead<'_>,
    caller: &Caller<'_>,
    taken: Option<&str>,
) -> Vec<MatchedRoute> {
    let others = || rules.routes.iter().filter(|route| Some(route.name.as_str()) != taken);
    let partly =
        others().filter_map(|route| Some(near_miss(route, route.matches.partial_match(head.host, head.path)?)));
    let reasons = MissReasons { rules, head, caller };
    let fitting = others().filter_map(|route| {
        let fitting = route.matches.matching_patterns(head.host, head.path)?;
        let why = if route.matches.accepts(head) {
            format!("{fitting}: matches too, but has a lower precedence than {}", taken.unwrap_or("it"))
        } else if !route.matches.methods.is_empty() && !route.matches.methods.contains(head.method) {
            format!("{fitting}: does not match method {}", head.method)
        } else {
            format!("{fitting}: does not match: {}", reasons.of(&route.matches.predicates))
        };
        Some(near_miss(route, why))
    });
    let by_host_or_path = if taken.is_none() { by_host_or_path(rules, head) } else { Vec::new() };
    fitting.chain(partly).chain(by_host_or_path).take(NEARLY_MAX).collect()
}

fn near_miss(route: &Route, why: String) -> MatchedRoute {
    MatchedRoute { name: route.name.clone(), place: route.place.clone(), why }
}

/// Routes that match either the host or the path, sorted by the number of bytes that differ in the other.
fn by_host_or_path(rules: &Rules, head: &RequestHead<'_>) -> Vec<MatchedRoute> {
    let close = rules.routes.iter().filter_map(|route| {
        let matches = &route.matches;
        let by_host = NearestPattern::of(&matches.hosts, |host| (host.fits(head.host), host_distance(host, head.host)));
        let by_path = NearestPattern::of(&matches.paths, |path| {
            (path.covers(head.path).is_some(), path_distance(path, head.path))
        });
        let (host, path) = (by_host.describe("host"), by_path.describe("path"));
        let why = match (by_host.fits, by_path.fits) {
            (true, false) if matches.partial_match(head.host, head.path).is_none() => {
                format!("{host} matches, {path} does not")
            }
            (false, true) if head.host.is_empty() => format!("{path} matches, {host} does not (the request has none)"),
            (false, true) => format!("{path} matches, {host} does not"),
            (true | false, _) => return None,
        };
        let distance = if by_host.fits { by_path.distance } else { by_host.distance };
        Some((distance, near_miss(route, why)))
    });
    let mut close: Vec<_> = close.collect();
    close.sort_by_key(|(distance, _)| *distance);
    close.into_iter().take(APART_MAX).map(|(_, matched)| matched).collect()
}

/// The host or path pattern of a route that is closest to a request.
struct NearestPattern<'a, P> {
    /// Whether a pattern matches.
    fits: bool,
    /// The number of bytes that differ.
    distance: usize,
    /// The pattern that matches, else the closest one; `None` if the route matches any.
    pattern: Option<&'a P>,
}

impl<'a, P: std::fmt::Display> NearestPattern<'a, P> {
    fn of(patterns: &'a [P], look: impl Fn(&P) -> (bool, usize)) -> Self {
        let all = patterns.iter().map(|pattern| (look(pattern), pattern));
        match all.min_by_key(|((fits, distance), _)| (!fits, *distance)) {
            Some(((fits, distance), pattern)) => Self { fits, distance, pattern: Some(pattern) },
            None => Self { fits: true, distance: 0, pattern: None },
        }
    }

    fn describe(&self, what: &str) -> String {
        self.pattern.map_or_else(|| format!("any {what}"), |pattern| format!("{what} {pattern}"))
    }
}

/// The number of bytes of a pattern and a path after their common prefix. A regex counts as its text.
fn path_distance(pattern: &PathPattern, path: &str) -> usize {
    let text = match pattern {
        PathPattern::Exact(text) | PathPattern::Prefix(text) => text.as_str(),
        PathPattern::Regex(regex) => regex.as_str(),
    };
    let alike = text.bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
    text.len() + path.len() - 2 * alike
}

/// The number of bytes of a pattern and a host before their common suffix.
fn host_distance(pattern: &HostPattern, host: &str) -> usize {
    let text = match pattern {
        HostPattern::Exact(text) | HostPattern::Wildcard(text) => text.as_str(),
    };
    let alike = text.bytes().rev().zip(host.bytes().rev()).take_while(|(a, b)| a == b).count();
    text.len() + host.len() - 2 * alike
}
