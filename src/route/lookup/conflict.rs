//! Routes that can never match, because an earlier route matches all their requests.

use ahash::{HashMap, HashMapExt as _};

use crate::route::{Index, Route, RouteId};

impl Index {
    /// Pairs of routes with the same host, path, methods, predicates and priority: the second route can never match. A
    /// route with several hosts or paths is in conflict only if each of them is taken; the pair names the route that
    /// takes the first one.
    #[must_use]
    pub fn conflicts(routes: &[Route]) -> Vec<(RouteId, RouteId)> {
        let mut taken: HashMap<String, RouteId> = HashMap::with_capacity(routes.len());
        let mut pairs = Vec::new();
        for (route, id) in routes.iter().zip(0..) {
            let (mut first, mut free) = (None, false);
            for key in keys(route) {
                let owner = *taken.entry(key).or_insert(RouteId(id));
                if owner == RouteId(id) {
                    // The key is new, or this route names it twice.
                    free = true;
                } else {
                    first.get_or_insert(owner);
                }
            }
            if let (Some(owner), false) = (first, free) {
                pairs.push((owner, RouteId(id)));
            }
        }
        pairs
    }
}

/// One key for each host and path of a route; equal keys match the same requests.
fn keys(route: &Route) -> Vec<String> {
    let matches = &route.matches;
    let mut methods: Vec<&str> = matches.methods.iter().map(http::Method::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    let mut predicates: Vec<String> = matches.predicates.iter().map(|predicate| format!("{predicate:?}")).collect();
    predicates.sort_unstable();
    predicates.dedup();
    let rest = format!("{}\0{methods:?}\0{predicates:?}", matches.priority);
    let texts = |all: Vec<String>| if all.is_empty() { vec![String::new()] } else { all };
    let hosts = texts(matches.hosts.iter().map(ToString::to_string).collect());
    let paths = texts(matches.paths.iter().map(ToString::to_string).collect());
    let paths: Vec<String> = paths.into_iter().map(|path| if path == "/*" { String::new() } else { path }).collect();
    hosts
        .iter()
        .flat_map(|host| paths.iter().map(move |path| (host, path)))
        .map(|(host, path)| format!("{host}\0{path}\0{rest}"))
        .collect()
}
