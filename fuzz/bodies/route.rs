//! Properties of any host and any path: normal forms are stable, and a lookup returns a route of the rules or none.

use http::Method;
use pointsman::config::load_text;
use pointsman::fields::Fields;
use pointsman::route::{EncodedSlash, RequestHead, Rules, needless_escape, normal_host, normal_path};

/// Routes of every kind of pattern.
const RULES: &str = r#"
schema = 1
[[listener]]
address = "127.0.0.1:0"
[upstream.a]
endpoints = ["http://127.0.0.1:1"]
[[route]]
name = "exact"
match = { host = "a.test", path = "/exact" }
stable = "a"
[[route]]
name = "prefix"
match = { host = ["a.test", "*.b.test"], path = "/prefix/*" }
stable = "a"
[[route]]
name = "regex"
match = { host = "*.b.test", path = { regex = "^/r[0-9]+(/.*)?$" } }
stable = "a"
[[route]]
name = "methods"
match = { path = "/prefix/*", methods = ["POST"] }
stable = "a"
[[route]]
name = "rest"
match = { path = "/*" }
stable = "a"
"#;

/// Any bytes: the host up to the first line feed, the rest the path.
pub fn any(bytes: &[u8]) {
    thread_local! {
        static PARSED: Option<Rules> = load_text("routes.toml", RULES, &|_| None).map(|loaded| loaded.rules).ok();
    }
    let text = String::from_utf8_lossy(bytes);
    let (host, path) = text.split_once('\n').unwrap_or(("a.test", &text));
    let host = normal_host(host);
    if let Some(host) = &host {
        assert_eq!(normal_host(host).as_deref(), Some(host.as_ref()), "a normal host is its own normal form");
        assert!(!host.contains(|c: char| c.is_ascii_uppercase() || c == '/' || c == '@' || c == ' '), "{host:?}");
    }
    for policy in [EncodedSlash::Keep, EncodedSlash::Reject] {
        let Ok(path) = normal_path(path, policy) else { continue };
        assert_eq!(normal_path(&path, policy).as_deref(), Ok(path.as_ref()), "a normal path is its own normal form");
        assert_eq!(needless_escape(&path), None, "unreserved characters are decoded: {path:?}");
        if path != "*" {
            assert!(path.starts_with('/'), "{path:?}");
            let dots = path.split('/').any(|element| matches!(element, "." | ".."));
            assert!(!dots, "dot segments are resolved: {path:?}");
        }
        PARSED.with(|rules| {
            let Some(rules) = rules else { panic!("the rules above are valid") };
            check_lookup(rules, host.as_deref().unwrap_or(""), &path);
        });
    }
}

/// A lookup returns a route of these rules; the route that matches every path is the last choice.
fn check_lookup(rules: &Rules, host: &str, path: &str) {
    let fields = Fields::new();
    for method in [Method::GET, Method::POST] {
        let head = RequestHead {
            method: &method,
            host,
            path,
            query: None,
            fields: &fields,
            client_cert: None,
            listener: "edge",
        };
        let lookup = rules.index.find(&rules.routes, &head);
        if path.starts_with('/') {
            let Some(lookup) = lookup else { panic!("`/*` matches every path: {path:?}") };
            assert!(lookup.matched <= path.len(), "a pattern is not longer than the path: {path:?}");
            assert!((lookup.route.0 as usize) < rules.routes.len());
        }
    }
}
