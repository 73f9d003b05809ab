//! The decision, over sockets: each caller gets the variant that the rules and the documented bucketing give, for every
//! way to identify or select a caller.

#![expect(clippy::unwrap_used, clippy::float_cmp, reason = "a test may fail, and counts are whole")]

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderName, Method};
use pointsman::app::ReloadOutcome;
use pointsman::fields::Fields;
use pointsman::route::{self, EncodedSlash, ExplainRequest, Salt};

use crate::harness::proxy::Ignorant;
use crate::harness::{Answer, Proxy, Raw, Upstream};

/// Two upstreams, callers identified by a cookie, tenants by a header that this machine may set.
const PARTS: &str = r#"
[identity]
trusted_proxies = ["127.0.0.0/8"]
tenant = ["header:x-tenant-id"]
user = ["cookie:uid"]
[upstream.v1]
endpoints = ["http://{v1}"]
[upstream.v2]
endpoints = ["http://{v2}"]
"#;

const SHOP: &str = r#"
[[route]]
name = "shop"
match = { path = "/*" }
stable = "v1"
sticky = ["user"]
"#;

/// A proxy with upstreams that answer with their names.
struct Scene {
    proxy: Proxy,
    client: Raw,
    _upstreams: [Upstream; 3],
}

impl Scene {
    fn start(routes: &str) -> Self {
        let upstreams = ["v1", "v2", "v3"].map(|name| Upstream::echo().named(name));
        let [v1, v2, v3] = &upstreams;
        let proxy = Proxy::with("v1", v1).with("v2", v2).with("v3", v3).start(&format!("{PARTS}{routes}"));
        let client = proxy.connect();
        Self { proxy, client, _upstreams: upstreams }
    }

    #[track_caller]
    fn rewrite(&self, routes: &str) {
        let outcome = self.proxy.rewrite(&format!("{PARTS}{routes}"));
        assert!(!matches!(outcome, ReloadOutcome::Rejected(_)), "{outcome:?}");
    }

    /// The name of the upstream that answers a request with these field lines.
    #[track_caller]
    fn served(&mut self, lines: &str) -> String {
        name(&self.client.get("/", lines))
    }

    #[track_caller]
    fn count(&self, variant: &str, reason: &str) -> f64 {
        let labels = format!("reason=\"{reason}\",route=\"shop\",status_class=\"2xx\",variant=\"{variant}\"");
        self.proxy.metric(&format!("pointsman_requests_total{{{labels}}}"))
    }
}

#[track_caller]
fn name(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["name"].as_str().unwrap().to_owned()
}

fn bucket(salt: &str, key: &str) -> u32 {
    Salt::new(salt).bucket(key).number()
}

#[test]
fn sticky_keys_fall_into_the_documented_buckets() {
    let weighted = |weight: &str| format!("{SHOP}canary = {{ upstream = \"v2\", weight = {weight} }}\n");
    let mut scene = Scene::start(&weighted("5"));
    for (weight, below) in [("5", 50_000), ("0", 0), ("100", 1_000_000), ("12.5", 125_000)] {
        scene.rewrite(&weighted(weight));
        let mut canaries = 0;
        for n in 0..300 {
            let key = format!("user-{n}");
            let expected = if bucket("shop", &key) < below { "v2" } else { "v1" };
            assert_eq!(scene.served(&format!("Cookie: a=b; uid={key}\r\n")), expected, "{key} at {weight} %");
            canaries += u32::from(expected == "v2");
        }
        assert!(canaries.abs_diff(below * 300 / 1_000_000) <= 15, "{canaries} of 300 at {weight} %");
    }
}

#[test]
fn several_variants_own_ranges_in_file_order_and_a_salt_overrides() {
    let mut scene = Scene::start(&format!(
        "[upstream.v3]\nendpoints = [\"http://{{v3}}\"]\n{SHOP}salt = \"ranking\"\n\
         [[route.variant]]\nname = \"b\"\nupstream = \"v2\"\nweight = 33\n\
         [[route.variant]]\nname = \"c\"\nupstream = \"v3\"\nweight = 33.25\n"
    ));
    for n in 0..300 {
        let key = format!("k{n}");
        let expected = match bucket("ranking", &key) {
            0..330_000 => "v2",
            330_000..662_500 => "v3",
            _ => "v1",
        };
        assert_eq!(scene.served(&format!("Cookie: uid={key}\r\n")), expected, "{key}");
    }
}

#[test]
fn callers_without_a_key_get_stable_unless_the_variant_has_all_weight() {
    let weighted = |weight: u32| format!("{SHOP}canary = {{ upstream = \"v2\", weight = {weight} }}\n");
    let mut scene = Scene::start(&weighted(99));
    for _ in 0..50 {
        assert_eq!(scene.served(""), "v1");
    }
    assert_eq!(scene.proxy.metric("pointsman_unkeyed_total{route=\"shop\",variant=\"stable\"}"), 50.0);
    scene.rewrite(&weighted(100));
    assert_eq!(scene.served(""), "v2");
    scene.rewrite(&weighted(0));
    assert_eq!(scene.served(""), "v1");
}

#[test]
fn without_sticky_requests_are_spread_evenly() {
    let mut scene =
        Scene::start(&format!("{}canary = {{ upstream = \"v2\", weight = 5 }}\n", SHOP.replace("[\"user\"]", "[]")));
    for window in 0..5 {
        let canaries = (0..100).filter(|_| scene.served("") == "v2").count();
        assert!((4..=6).contains(&canaries), "{canaries} of 100 in window {window}");
    }
}

#[test]
fn targets_pick_by_header_cookie_tenant_and_segment_before_weights() {
    let mut scene = Scene::start(&format!(
        "[segment.beta]\ntenant = [\"acme\", \"globex\"]\n[segment.held]\ntenant = [\"slow\"]\n{SHOP}\
         canary = {{ upstream = \"v2\", weight = 0 }}\n\
         [[route.target]]\nsegment = \"held\"\nserve = \"stable\"\n\
         [[route.target]]\nheader = {{ x-canary = \"always\" }}\nserve = \"canary\"\n\
         [[route.target]]\ncookie = {{ preview = \"v2\" }}\nserve = \"canary\"\n\
         [[route.target]]\ntenant = [\"initech\"]\nserve = \"canary\"\n\
         [[route.target]]\nsegment = \"beta\"\nserve = \"canary\"\nweight = 50\n"
    ));
    let rows = [
        ("", "v1"),
        ("X-Canary: always\r\n", "v2"),
        ("X-Canary: never\r\n", "v1"),
        ("X-Canary: Always\r\n", "v1"),
        ("Cookie: a=b; preview=v2\r\n", "v2"),
        ("Cookie: preview=v1\r\n", "v1"),
        ("X-Tenant-Id: initech\r\n", "v2"),
        ("X-Tenant-Id: other\r\n", "v1"),
        // The first target that matches decides.
        ("X-Tenant-Id: slow\r\nX-Canary: always\r\n", "v1"),
    ];
    for (lines, expected) in rows {
        assert_eq!(scene.served(lines), expected, "{lines:?}");
    }
    let of_beta = Salt::target("shop", "beta");
    for n in 0..100 {
        let key = format!("user-{n}");
        let expected = if of_beta.bucket(&key).number() < 500_000 { "v2" } else { "v1" };
        let lines = format!("X-Tenant-Id: acme\r\nCookie: uid={key}\r\n");
        assert_eq!(scene.served(&lines), expected, "{key} of the segment");
        assert_eq!(scene.served(&format!("Cookie: uid={key}\r\n")), "v1", "{key} outside of the segment");
    }
}

#[test]
fn a_sticky_cookie_is_issued_once_and_decides_from_its_first_request() {
    let mut scene = Scene::start(&format!(
        "{}canary = {{ upstream = \"v2\", weight = 50 }}\n",
        SHOP.replace("sticky = [\"user\"]", "sticky_cookie = \"pm_id\"")
    ));
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..60 {
        let first = scene.client.get("/", "Cookie: other=1\r\n");
        let cookie = first.field("set-cookie").expect("an identity").to_owned();
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "HttpOnly; SameSite=Lax; Path=/");
        let identity = pair.strip_prefix("pm_id=").unwrap();
        assert!(identity.len() == 32 && identity.bytes().all(|byte| byte.is_ascii_hexdigit()), "{identity}");
        let expected = if bucket("shop", identity) < 500_000 { "v2" } else { "v1" };
        assert_eq!(name(&first), expected, "the request that issued {identity}");
        let second = scene.client.get("/", &format!("Cookie: {pair}\r\n"));
        assert_eq!(name(&second), expected, "the next request of {identity}");
        assert_eq!(second.field("set-cookie"), None, "an identity is issued once");
        *seen.entry(expected).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 2, "both variants were seen: {seen:?}");
}

#[test]
fn kill_is_checked_first_at_every_scope() {
    let canary = "canary = { upstream = \"v2\", weight = 100 }\n\
                  [[route.target]]\nheader = { x-canary = \"1\" }\nserve = \"canary\"\n";
    let with = |kill: &str| format!("[kill]\n{kill}\n{SHOP}{canary}");
    let mut scene = Scene::start(&with(""));
    let callers = ["", "X-Canary: 1\r\n", "Cookie: uid=7\r\n", "X-Tenant-Id: acme\r\n"];
    for lines in callers {
        assert_eq!(scene.served(lines), "v2", "nothing is killed: {lines:?}");
    }
    for kill in ["all = true", "routes = [\"shop\"]", "variants = [\"shop:canary\"]"] {
        scene.rewrite(&with(kill));
        for lines in callers {
            assert_eq!(scene.served(lines), "v1", "{kill}: {lines:?}");
        }
    }
    assert!(scene.count("stable", "kill") >= 11.0, "{}", scene.proxy.metrics());
    scene.rewrite(&with("tenants = [\"acme\"]"));
    assert_eq!(scene.served("X-Tenant-Id: acme\r\nX-Canary: 1\r\n"), "v1");
    assert_eq!(scene.served("X-Tenant-Id: globex\r\n"), "v2");
    assert_eq!(scene.served(""), "v2");
    scene.rewrite(&with(""));
    assert_eq!(scene.served("X-Tenant-Id: acme\r\n"), "v2", "alive again");
}

#[test]
fn a_canary_without_an_address_falls_back_and_stable_never_does() {
    let v2 = Upstream::echo().named("v2");
    let setup = Proxy::with("v2", &v2).tuned(|options| options.resolver = std::sync::Arc::new(Ignorant));
    let text = |stable: &str, canary: &str, weight: u32| {
        format!(
            "[upstream.found]\nendpoints = [\"http://{{v2}}\"]\n[upstream.lost]\nendpoints = [\"http://nowhere:80\"]\n\
             [[route]]\nname = \"shop\"\nmatch = {{ path = \"/*\" }}\nstable = \"{stable}\"\nsticky = [\"client_ip\"]\n\
             canary = {{ upstream = \"{canary}\", weight = {weight} }}\n\
             [[route.target]]\nheader = {{ x-canary = \"1\" }}\nserve = \"canary\"\n"
        )
    };
    let proxy = setup.start(&text("found", "lost", 100));
    let mut client = proxy.connect();
    assert_eq!(name(&client.get("/", "")), "v2");
    assert_eq!(name(&client.get("/", "X-Canary: 1\r\n")), "v2");
    proxy.rewrite(&text("lost", "found", 0));
    let answer = client.get("/", "");
    assert_eq!(answer.status, 503, "stable has no endpoint, and no other variant answers for it");
    assert!(answer.field("proxy-status").unwrap().contains("destination_unavailable"), "{answer:?}");
    assert_eq!(name(&client.get("/", "X-Canary: 1\r\n")), "v2");
    let lines = proxy.logged(4);
    let logged: Vec<_> = lines.iter().map(|line| (line["variant"].as_str(), line["reason"].as_str())).collect();
    let expected =
        [("canary", "weight+fallback"), ("canary", "target+fallback"), ("stable", "stable"), ("canary", "target")];
    assert_eq!(logged, expected.map(|(variant, reason)| (Some(variant), Some(reason))));
    assert_eq!(lines[2]["termination"], "PC");
}

/// Several hosts and paths, predicates of all kinds, segments, targets, rewrites, redirects and local responses. Every
/// response names the route and the variant.
const MANY: &str = r#"
[segment.staff]
cidr = ["127.0.0.0/8"]
header = { x-employee = "1" }
[segment.beta]
tenant = ["acme", "globex"]
[[route]]
name = "checkout"
match = { host = ["shop.example.com", "*.shop.example.com"], path = "/checkout/*", methods = ["GET", "POST"] }
stable = "v1"
sticky = ["tenant", "user"]
canary = { upstream = "v2", weight = 30 }
rewrite = { prefix = "/" }
headers = { response = { set = { x-route = "{route}", x-variant = "{variant}" } } }
[[route.target]]
segment = "staff"
serve = "canary"
[[route.target]]
segment = "beta"
serve = "canary"
weight = 50
[[route]]
name = "checkout-v2"
match = { host = "shop.example.com", path = "/checkout/*", header = { x-api = "2" } }
stable = "v2"
headers = { response = { set = { x-route = "{route}", x-variant = "{variant}" } } }
[[route]]
name = "items"
match = { host = "shop.example.com", path = { regex = "/items/[0-9]+" }, query = { full = "1" } }
stable = "v1"
sticky = ["client_ip"]
canary = { upstream = "v2", weight = 50 }
headers = { response = { set = { x-route = "{route}", x-variant = "{variant}" } } }
[[route]]
name = "exact"
match = { path = "/exact", cookie = { preview = { prefix = "v" } } }
stable = "v2"
headers = { response = { set = { x-route = "{route}", x-variant = "{variant}" } } }
[[route]]
name = "moved"
match = { host = "old.example.com" }
redirect = { to = "https://new.example.com{path}", status = 308 }
headers = { response = { set = { x-route = "{route}" } } }
[[route]]
name = "gone"
match = { path = "/gone/*" }
respond = { status = 410, body = "gone" }
headers = { response = { set = { x-route = "{route}" } } }
[[route]]
name = "rest"
match = { host = "shop.example.com" }
stable = "v1"
sticky = ["user"]
canary = { upstream = "v2", weight = 100 }
headers = { response = { set = { x-route = "{route}", x-variant = "{variant}" } } }
"#;

fn pick<'a>(random: &mut fastrand::Rng, all: &[&'a str]) -> &'a str {
    all[random.usize(..all.len())]
}

/// A random request: method, host, path, field lines.
fn any_request(random: &mut fastrand::Rng) -> (&'static str, &'static str, String, Vec<(&'static str, String)>) {
    let hosts =
        ["shop.example.com", "SHOP.example.com:80", "a.b.shop.example.com", "old.example.com", "other.example.com"];
    let paths = [
        "/checkout",
        "/checkout/",
        "/checkout/pay",
        "/checkoutx",
        "/a/../checkout/x",
        "/%2e%2e/checkout/%2f",
        "/items/7",
        "/items/x",
        "/items/70",
        "/exact",
        "/exact/",
        "/gone/x",
        "/gone",
        "/",
        "/x/./y",
        "//checkout/pay",
        "/a%zz",
    ];
    let mut path = pick(random, &paths).to_owned();
    if random.u8(..3) == 0 {
        path.push_str(pick(random, &["?full=1", "?full=2", "?x&full=1", "?"]));
    }
    let mut lines = Vec::new();
    let mut maybe = |name, values: &[&str]| {
        if random.u8(..3) == 0 {
            lines.push((name, pick(random, values).to_owned()));
        }
    };
    maybe("x-tenant-id", &["acme", "globex", "initech", ""]);
    maybe("x-employee", &["1", "0"]);
    maybe("x-api", &["2", "1"]);
    maybe("x-forwarded-for", &["192.0.2.7", "10.1.1.1, 127.0.0.1", "nonsense"]);
    if random.bool() {
        let uid = random.u32(..1000);
        lines.push(("cookie", format!("preview={}; uid=u{uid}", pick(random, &["v2", "x", ""]))));
    }
    (pick(random, &["GET", "POST", "DELETE"]), pick(random, &hosts), path, lines)
}

/// The actual result, in the format of [`explained`].
fn routed(answer: &Answer) -> String {
    match (answer.field("x-route"), answer.field("x-variant")) {
        (Some(route), Some(variant)) => {
            let got = answer.json();
            format!("{route} {variant} {} {}", got["name"].as_str().unwrap(), got["target"].as_str().unwrap())
        }
        (Some(route), None) => format!("{route} {} {}", answer.status, answer.field("location").unwrap_or("")),
        (None, _) => format!("{}", answer.status),
    }
}

fn explained(explanation: &route::Explanation) -> String {
    let route = explanation.route.as_ref().map_or("", |route| &route.name);
    match &explanation.outcome {
        route::ExplainedOutcome::Refused(_) => "400".to_owned(),
        route::ExplainedOutcome::NoRoute => "404".to_owned(),
        route::ExplainedOutcome::Redirect(status, to) => format!("{route} {} {to}", status.as_u16()),
        route::ExplainedOutcome::Respond(status) => format!("{route} {} ", status.as_u16()),
        route::ExplainedOutcome::Serve(served) => {
            let path = served.forwarded_path.as_ref().unwrap();
            format!("{route} {} {} {path}", served.variant, served.upstream)
        }
    }
}

#[test]
fn explain_and_routing_agree() {
    let mut scene = Scene::start(MANY);
    let file = scene.proxy.dir().join("routes.toml");
    let loaded = pointsman::config::load(&file, &|_| None).unwrap_or_else(|_| panic!("the file is valid"));
    let mut random = fastrand::Rng::with_seed(20);
    let mut kinds = std::collections::BTreeMap::new();
    for n in 0..3000 {
        let (method, host, path, lines) = any_request(&mut random);
        let mut fields = Fields::new();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in &lines {
            head.extend([name, ": ", value, "\r\n"]);
            fields.append(&HeaderName::from_static(name), &value.parse().unwrap());
        }
        let answer = scene.client.send(format!("{head}\r\n")).read_response();
        if answer.closes() {
            scene.client = scene.proxy.connect();
        }
        let method: Method = method.parse().unwrap();
        let asked = ExplainRequest {
            method: &method,
            host,
            path_and_query: &path,
            fields: &fields,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            client_cert: None,
            listener: "edge",
            scheme: "http",
            encoded_slash: EncodedSlash::Keep,
            facts: route::Facts::default(),
        };
        let expected = explained(&route::explain(loaded.effective(), &asked));
        assert_eq!(routed(&answer), expected, "request {n}: {head}");
        *kinds.entry(expected.split(' ').next().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(kinds.len(), 9, "every route, 400 and 404 occurred: {kinds:?}");
}

#[test]
fn a_route_can_be_limited_to_one_listener() {
    let text = r#"
[[listener]]
name = "open"
address = "127.0.0.1:0"
[[listener]]
name = "inside"
address = "127.0.0.1:0"
[[route]]
name = "open"
match = { path = "/*" }
respond = { status = 200, body = "open" }
[[route]]
name = "inside"
match = { path = "/admin/*", listener = "inside" }
respond = { status = 200, body = "inside" }
[[route]]
name = "both"
match = { path = "/admin/*", listener = ["inside", "open"], methods = ["POST"] }
respond = { status = 200, body = "both" }
"#;
    let proxy = crate::harness::Proxy::workers(1).start(text);
    let ask = |listener: &str, method: &str, path: &str| {
        let mut client = crate::harness::Raw::connect(proxy.listener(listener).unwrap());
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).read_response().text()
    };
    for (listener, method, path, route) in [
        ("inside", "GET", "/admin/x", "inside"),
        ("open", "GET", "/admin/x", "open"),
        ("inside", "GET", "/", "open"),
        ("open", "POST", "/admin/x", "both"),
        ("inside", "POST", "/admin/x", "both"),
    ] {
        assert_eq!(ask(listener, method, path), route, "{listener} {method} {path}");
    }
}
