//! Routes that can never match, because an earlier route matches all their requests.

use std::fmt::Write as _;

use ahash::{HashMap, HashMapExt as _};
use xxhash_rust::xxh3::xxh3_128;

use crate::route::{Index, Route, RouteId};

impl Index {
    /// Pairs of routes with the same host, path, methods, predicates and priority: the second route can never match. A
    /// route with several hosts or paths is in conflict only if each of them is taken; the pair names the route that
    /// takes the first one.
    #[must_use]
    pub fn conflicts(routes: &[Route]) -> Vec<(RouteId, RouteId)> {
        let mut taken: HashMap<u128, RouteId> = HashMap::with_capacity(routes.len());
        let mut pairs = Vec::new();
        let mut text = String::new();
        for (route, id) in routes.iter().zip(0..) {
            let (mut first, mut free) = (None, false);
            each_key(route, &mut text, |key| {
                let owner = *taken.entry(key).or_insert(RouteId(id));
                if owner == RouteId(id) {
                    // The key is new, or this route names it twice.
                    free = true;
                } else {
                    first.get_or_insert(owner);
                }
            });
            if let (Some(owner), false) = (first, free) {
                pairs.push((owner, RouteId(id)));
            }
        }
        pairs
    }
}

/// One key for each host and path of a route; routes with equal keys match the same requests. A key is the XXH3-128 of its
/// `text`, which is reused: 100 000 routes allocate nothing for it.
fn each_key(route: &Route, text: &mut String, mut found: impl FnMut(u128)) {
    let matches = &route.matches;
    let mut methods: Vec<&str> = matches.methods.iter().map(http::Method::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    let mut predicates: Vec<String> = matches.predicates.iter().map(|predicate| format!("{predicate:?}")).collect();
    predicates.sort_unstable();
    predicates.dedup();
    // Without hosts or paths: any.
    for host in 0..matches.hosts.len().max(1) {
        for path in 0..matches.paths.len().max(1) {
            text.clear();
            // Writing to a string cannot fail.
            let _ = matches.hosts.get(host).map(|host| write!(text, "{host}"));
            text.push('\0');
            let from = text.len();
            let _ = matches.paths.get(path).map(|path| write!(text, "{path}"));
            if text.get(from..) == Some("/*") {
                text.truncate(from);
            }
            let _ = write!(text, "\0{}\0{methods:?}\0{predicates:?}", matches.priority);
            found(xxh3_128(text.as_bytes()));
        }
    }
}
