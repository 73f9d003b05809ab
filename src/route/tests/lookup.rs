//! Lookup: precedence by example, and against a matcher that looks at every route.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;

fn found<'a>(routes: &'a [Route], ask: &Ask) -> Option<(&'a str, usize)> {
    let lookup = Index::new(routes).find(routes, &ask.head())?;
    Some((&routes[lookup.route.0 as usize].name, lookup.matched))
}

#[track_caller]
fn check(routes: &[Route], ask: &Ask, expected: Option<(&str, usize)>) {
    assert_eq!(found(routes, ask), expected, "{} {}{}", ask.method, ask.host, ask.path);
}

#[test]
fn hosts_and_paths_by_precedence() {
    let routes = [
        route("any", "", ""),
        route("wild", "*.example.com", "/*"),
        route("deep", "*.shop.example.com", "/*"),
        route("host", "a.shop.example.com", "/x/*"),
        route("exact", "a.shop.example.com", "/x/y"),
        route("regex", "a.shop.example.com", "~/x/[0-9]+"),
        route("longer", "a.shop.example.com", "~/x/[0-9]+/?.*"),
        route("under", "a.shop.example.com", "/x/y/z/*"),
        route("root", "root.example.com", "/"),
    ];
    for (host, path, expected) in [
        ("other.org", "/x", Some(("any", 0))),
        ("", "/x", Some(("any", 0))),
        ("other.org", "*", Some(("any", 0))),
        ("example.com", "/x", Some(("any", 0))),
        ("b.example.com", "/x", Some(("wild", 0))),
        ("shop.example.com", "/x", Some(("wild", 0))),
        ("b.c.shop.example.com", "/x", Some(("deep", 0))),
        ("a.shop.example.com", "/x", Some(("host", 2))),
        ("a.shop.example.com", "/x/", Some(("host", 2))),
        ("a.shop.example.com", "/x/q/r", Some(("host", 2))),
        ("a.shop.example.com", "/x/y", Some(("exact", 4))),
        ("a.shop.example.com", "/x/y/", Some(("host", 2))),
        ("a.shop.example.com", "/x/y/z", Some(("under", 6))),
        ("a.shop.example.com", "/x/y/z/1/2", Some(("under", 6))),
        ("a.shop.example.com", "/x/77", Some(("longer", 5))),
        ("a.shop.example.com", "/x/77/8", Some(("longer", 7))),
        ("a.shop.example.com", "/xy", Some(("deep", 0))),
        ("a.shop.example.com", "/", Some(("deep", 0))),
        ("root.example.com", "/", Some(("root", 1))),
        ("root.example.com", "//", Some(("wild", 0))),
    ] {
        check(&routes, &Ask::get(host, path), expected);
    }
    check(&routes[1..], &Ask::get("other.org", "/"), None);
}

#[test]
fn methods_and_predicates_refine_a_path_and_fall_through() {
    let header =
        |name: &'static str| Predicate::Header(http::HeaderName::from_static(name), StringMatch::Present(true));
    let mut routes = vec![
        route("plain", "h", "/a/*"),
        route("post", "h", "/a/*"),
        route("one", "h", "/a/*"),
        route("two", "h", "/a/*"),
    ];
    routes[1].matches.methods = vec![http::Method::POST];
    routes[2].matches.predicates = vec![header("x-a")];
    routes[3].matches.predicates = vec![Predicate::All(vec![header("x-a"), header("x-b")])];
    routes.push(route("beta", "h", "/a/b"));
    routes[4].matches.predicates = vec![header("x-beta")];
    routes.push(route("again", "h", "/a/*"));
    let ask = Ask::get("h", "/a/b");
    check(&routes, &ask, Some(("plain", 2)));
    check(&routes, &ask.clone().with("x-a", "1"), Some(("one", 2)));
    check(&routes, &ask.clone().with("x-a", "1").with("x-b", "1"), Some(("two", 2)));
    check(&routes, &ask.clone().with("x-beta", "1"), Some(("beta", 4)));
    let post = Ask { method: http::Method::POST, ..ask.with("x-a", "1") };
    check(&routes, &post, Some(("post", 2)));
    check(&routes[4..5], &Ask::get("h", "/a/b"), None);
}

#[test]
fn priority_overrides_everything() {
    let mut routes =
        vec![route("exact", "h", "/a"), route("low", "h", "/a"), route("high", "", ""), route("higher", "*.h", "/b")];
    routes[1].matches.priority = -1;
    routes[2].matches.priority = 1;
    routes[3].matches.priority = 2;
    routes[2].matches.methods = vec![http::Method::PUT];
    check(&routes, &Ask::get("h", "/a"), Some(("exact", 2)));
    check(&routes, &Ask { method: http::Method::PUT, ..Ask::get("h", "/a") }, Some(("high", 0)));
    check(&routes, &Ask { method: http::Method::PUT, ..Ask::get("x.h", "/b") }, Some(("higher", 2)));
    check(&routes[1..], &Ask::get("h", "/a"), Some(("low", 2)));
}

#[test]
fn many_hosts_are_found_in_any_number() {
    for count in [1, 101, 1001] {
        let routes: Vec<_> = (0..count).map(|n| route(&format!("r{n}"), &format!("h{n}.example.com"), "/*")).collect();
        for n in [0, count / 2, count - 1] {
            let asked = normal_host(&format!("H{n}.EXAMPLE.com.:8080")).unwrap().into_owned();
            check(&routes, &Ask::get(&asked, "/x"), Some((format!("r{n}").as_str(), 0)));
        }
    }
}

#[test]
fn conflicts_are_routes_that_can_never_answer() {
    let mut routes = vec![
        route("a", "h", "/x"),
        route("b", "h", "/x"),
        route("c", "h", "/y"),
        route("d", "h", ""),
        route("e", "h", "/*"),
        route("f", "h", "/x"),
        route("g", "h", "/x"),
        route("h", "h", "/x"),
        route("i", "h", "~/x"),
    ];
    routes[2].matches.paths.push(path("/x"));
    routes[5].matches.methods = vec![http::Method::GET, http::Method::PUT];
    routes[6].matches.methods = vec![http::Method::PUT, http::Method::GET];
    routes[7].matches.priority = 1;
    let pairs: Vec<_> = Index::conflicts(&routes).iter().map(|(a, b)| (a.0, b.0)).collect();
    assert_eq!(pairs, [(0, 1), (3, 4), (5, 6)]);
}

/// The same rules, by looking at every route.
fn naive(routes: &[Route], head: &RequestHead<'_>) -> Option<(RouteId, usize)> {
    let mut all = vec![];
    for (route, id) in routes.iter().zip(0..) {
        let m = &route.matches;
        let matches = m.predicates.iter().all(|p| p.matches(head, &caller(None), &[]));
        if !matches || !(m.methods.is_empty() || m.methods.contains(head.method)) {
            continue;
        }
        let hosts: Vec<(u8, usize)> = if m.hosts.is_empty() { vec![(2, 0)] } else { vec![] };
        let hosts = hosts.into_iter().chain(m.hosts.iter().filter(|h| h.fits(head.host)).map(|h| match h {
            HostPattern::Exact(_) => (0, 0),
            HostPattern::Wildcard(suffix) => (1, suffix.len()),
        }));
        for (host, suffix) in hosts {
            let any = m.paths.is_empty().then_some((2_u8, 0, 0));
            let paths = m.paths.iter().filter_map(|p| match p {
                PathPattern::Exact(exact) => (exact == head.path).then_some((0, 0, head.path.len())),
                PathPattern::Regex(regex) => regex::Regex::new(&format!("^(?:{regex})$"))
                    .unwrap()
                    .is_match(head.path)
                    .then(|| (1, regex.as_str().len(), head.path.len())),
                PathPattern::Prefix(prefix) => {
                    let rest = head.path.strip_prefix(prefix.as_str());
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')).then_some((
                        2,
                        prefix.len(),
                        prefix.len(),
                    ))
                }
            });
            for (kind, len, matched) in any.into_iter().chain(paths) {
                let rank = (Reverse(m.priority), host, Reverse(suffix), kind, Reverse(len));
                all.push((rank, (m.methods.is_empty(), Reverse(m.predicates.len()), id), matched));
            }
        }
    }
    all.into_iter().min().map(|(_, (_, _, id), matched)| (RouteId(id), matched))
}

fn element() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "ab", "", "a.b"])
}

fn any_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(element(), 1..4).prop_map(|elements| format!("/{}", elements.join("/")))
}

fn pattern() -> impl Strategy<Value = PathPattern> {
    prop_oneof![
        3 => any_path().prop_map(PathPattern::Exact),
        3 => any_path().prop_map(|p| PathPattern::Prefix(p.trim_end_matches('/').to_owned())),
        1 => Just(PathPattern::Prefix(String::new())),
        1 => prop::sample::select(vec!["~/a.*", "~/[ab]/b", "~/a|/a/b", "~.*", "~/[^/]+"]).prop_map(path),
    ]
}

fn any_host() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["h", "a.h", "b.a.h", "c.b.a.h", "x"])
}

fn any_route() -> impl Strategy<Value = Route> {
    let hosts = prop::sample::select(vec!["h", "a.h", "*.h", "*.a.h", "b.a.h", "x"]);
    (
        proptest::collection::vec(hosts, 0..3),
        proptest::collection::vec(pattern(), 0..3),
        prop::sample::select(vec![vec![], vec![http::Method::GET], vec![http::Method::POST, http::Method::GET]]),
        proptest::collection::vec(prop::sample::select(vec!["x-a", "x-b"]), 0..2),
        prop::sample::select(vec![0, 0, 0, 0, 1, 2, -1]),
    )
        .prop_map(|(hosts, paths, methods, headers, priority)| {
            let mut made = route("r", "", "");
            let present = |name| Predicate::Header(http::HeaderName::from_static(name), StringMatch::Present(true));
            made.matches = Match {
                hosts: hosts.into_iter().map(host).collect(),
                paths,
                methods,
                predicates: headers.into_iter().map(present).collect(),
                priority,
            };
            made
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_index_agrees_with_the_naive_matcher(
        routes in proptest::collection::vec(any_route(), 0..24),
        asks in proptest::collection::vec((any_host(), any_path(), 0..4_u8, any::<bool>()), 1..12),
    ) {
        let index = Index::new(&routes);
        for (host, path, headers, post) in asks {
            let mut ask = Ask::get(host, &path);
            if headers & 1 == 1 { ask = ask.with("x-a", "1"); }
            if headers & 2 == 2 { ask = ask.with("x-b", "1"); }
            if post { ask.method = http::Method::POST; }
            let found = index.find(&routes, &ask.head()).map(|l| (l.route, l.matched));
            prop_assert_eq!(found, naive(&routes, &ask.head()), "{} {}", host, path);
        }
    }
}
