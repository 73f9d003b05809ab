//! Rate limits over sockets: each `per`, what a refused client gets, what is counted, and what survives.

use serde_json::Value;

use crate::harness::h2_client::H2;
use crate::harness::{Answer, Proxy, Raw, Setup, Upstream, until};

mod shed;
mod threads;

/// Nothing is refilled while a test runs.
const SLOW: &str = "rate = \"1/h\"\nburst = 2";

/// A route with these limits, whose callers are known by headers.
fn limited(limits: &str) -> String {
    format!(
        "[identity]\ntrusted_proxies = [\"127.0.0.0/8\"]\ntenant = [\"header:x-tenant\"]\nuser = [\"header:x-user\"]\n\
         [segment.staff]\nheader = {{ x-staff = \"1\" }}\n\
         [upstream.main]\nendpoints = [\"http://{{main}}\"]\n\
         [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n{limits}\n"
    )
}

fn one_limit(lines: &str) -> String {
    limited(&format!("[[route.rate_limit]]\n{lines}\n"))
}

fn proxy(upstream: &Upstream, limits: &str) -> Proxy {
    Proxy::with("main", upstream).start(&one_limit(limits))
}

/// How many requests with these lines pass before one is refused.
fn passing(client: &mut Raw, lines: &str) -> usize {
    (0..100).take_while(|_| client.get("/", lines).status != 429).count()
}

fn limited_total(proxy: &Proxy, limit: &str, outcome: &str) -> f64 {
    proxy.metric(&format!("pointsman_rate_limited_total{{limit=\"{limit}\",outcome=\"{outcome}\",route=\"all\"}}"))
}

#[test]
fn each_key_has_a_count_of_its_own() {
    for (per, one, other) in [
        ("client_ip", "X-Forwarded-For: 192.0.2.1\r\n", "X-Forwarded-For: 192.0.2.2\r\n"),
        ("client_ip", "X-Forwarded-For: 2001:db8:1:1::1\r\n", "X-Forwarded-For: 2001:db8:1:2::1\r\n"),
        ("user", "X-User: ann\r\n", "X-User: bob\r\n"),
        ("tenant", "X-Tenant: acme\r\n", "X-Tenant: globex\r\n"),
        ("header:x-key", "X-Key: a\r\n", "X-Key: b\r\n"),
    ] {
        let echo = Upstream::echo();
        let proxy = proxy(&echo, &format!("per = \"{per}\"\n{SLOW}"));
        let mut client = proxy.connect();
        assert_eq!([passing(&mut client, one), passing(&mut client, other)], [2, 2], "{per}");
        assert_eq!((passing(&mut client, one), echo.requests()), (0, 4), "{per}: a refused request goes nowhere");
        let (keys, name) = ("pointsman_rate_limit_keys", per.replace(':', "-"));
        let text = proxy.metrics();
        assert!(text.contains(keys) && text.contains("} 2\n"), "{name}: {text}");
    }
}

#[test]
fn all_requests_of_a_route_share_its_count() {
    let echo = Upstream::echo();
    let proxy = proxy(&echo, &format!("per = \"route\"\n{SLOW}"));
    let mut client = proxy.connect();
    assert_eq!([passing(&mut client, "X-Tenant: a\r\n"), passing(&mut client, "X-Tenant: b\r\n")], [2, 0]);
}

#[test]
fn a_request_without_the_key_counts_for_its_address() {
    let echo = Upstream::echo();
    let proxy = proxy(&echo, &format!("per = \"tenant\"\n{SLOW}"));
    let mut client = proxy.connect();
    let from = |ip: &str| format!("X-Forwarded-For: {ip}\r\n");
    assert_eq!([passing(&mut client, &from("192.0.2.1")), passing(&mut client, &from("192.0.2.2"))], [2, 2]);
    let known = format!("{}X-Tenant: acme\r\n", from("192.0.2.1"));
    assert_eq!(passing(&mut client, &known), 2, "a tenant at an address that is used up");
    assert_eq!(passing(&mut client, "X-Tenant: 192.0.2.3\r\n"), 2);
    assert_eq!(passing(&mut client, &from("192.0.2.3")), 2, "a tenant with the name of an address is another key");
    let networks = ["2001:db8:1:1::1", "2001:db8:1:1:9::9", "2001:db8:1:2::1"];
    assert_eq!(networks.map(|ip| passing(&mut client, &from(ip))), [2, 0, 2], "IPv6 by its /64");
}

#[test]
fn a_segment_is_not_limited_and_a_dry_run_only_counts() {
    let echo = Upstream::echo();
    let limits = format!("name = \"by-tenant\"\nper = \"tenant\"\n{SLOW}\nexcept = \"staff\"");
    let proxy_ = proxy(&echo, &limits);
    let mut client = proxy_.connect();
    assert_eq!(passing(&mut client, "X-Tenant: a\r\nX-Staff: 1\r\n"), 100);
    assert_eq!(passing(&mut client, "X-Tenant: a\r\n"), 2, "nothing was taken for them");
    assert_eq!(limited_total(&proxy_, "by-tenant", "refused"), 1.0);

    let tried = proxy(&echo, &format!("{limits}\ndry_run = true"));
    let mut client = tried.connect();
    assert_eq!(passing(&mut client, "X-Tenant: a\r\n"), 100);
    let counted = ["refused", "dry_run"].map(|outcome| limited_total(&tried, "by-tenant", outcome));
    assert_eq!(counted, [0.0, 98.0]);
}

/// The seconds of `Retry-After`, which agree with `RateLimit`.
#[track_caller]
fn retry_after(answer: &Answer, name: &str) -> u64 {
    let seconds = answer.field("retry-after").unwrap();
    assert_eq!(answer.field("ratelimit"), Some(&*format!("\"{name}\";r=0;t={seconds}")));
    seconds.parse().unwrap()
}

#[test]
fn a_refused_client_learns_when_to_come_back() {
    let echo = Upstream::echo();
    let text = one_limit("per = \"tenant\"\nrate = \"6/min\"\nburst = 1").replace(
        "stable = \"main\"",
        "stable = \"main\"\nheaders = { response = { set = { x-edge = \"yes\", retry-after = \"0\" } } }",
    );
    let proxy = Proxy::with("main", &echo).start(&text);
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "X-Tenant: a\r\n").status, 200);
    let answer = client.get("/", "X-Tenant: a\r\n");
    assert_eq!((answer.status, answer.field("x-edge")), (429, Some("yes")));
    assert!((9..=10).contains(&retry_after(&answer, "tenant")), "one in ten seconds");
    assert_eq!(answer.field("ratelimit-policy"), Some("\"tenant\";q=6;w=60"));
    assert_eq!(answer.field("proxy-status"), Some("pointsman; error=http_request_denied; details=\"rate_limited\""));
    assert!(answer.text().starts_with("429 Too Many Requests\nToo many requests. Try again later.\n"));
    let json = client.get("/", "X-Tenant: a\r\nAccept: application/json\r\n").json();
    assert_eq!((&json["status"], &json["error"]), (&Value::from(429), &Value::from("rate_limited")));
    let explained = client.get("/", "X-Tenant: a\r\nX-Pointsman-Explain: 1\r\n");
    assert_eq!(explained.field("x-pointsman-explain"), Some("route=all; limit=tenant; generation=1"));
    let posted = client.post("/", "X-Tenant: a\r\n", &[b'x'; 1000]);
    assert_eq!(posted.status, 429);
    drop(client);
    proxy.settles();
    let lines = proxy.logged(5);
    let refused = &lines[1];
    let found = ["detail", "limit", "termination", "route", "tenant"].map(|key| refused[key].as_str().unwrap_or(""));
    assert_eq!(found, ["rate_limited", "tenant", "PD", "all", "a"], "{refused}");
    assert!(refused.get("variant").is_none() && refused["attempts"] == 0, "{refused}");
    assert!(lines[0].get("limit").is_none());
    let of = |variant: &str, class: &str| {
        let labels = format!("reason=\"none\",route=\"all\",status_class=\"{class}\",variant=\"{variant}\"");
        proxy.metric(&format!("pointsman_requests_total{{{labels}}}"))
    };
    assert_eq!([of("none", "4xx"), of("stable", "4xx")], [4.0, 0.0], "no variant has answered");
}

#[test]
fn a_limit_may_have_another_status() {
    let echo = Upstream::echo();
    let proxy = proxy(&echo, "per = \"route\"\nrate = \"1/h\"\nburst = 1\nstatus = 503");
    let mut client = proxy.connect();
    assert_eq!([client.get("/", "").status, client.get("/", "").status], [200, 503]);
    let answer = client.get("/", "");
    assert!((3_590..=3_600).contains(&retry_after(&answer, "route")));
}

#[test]
fn a_refused_call_is_an_answer_of_grpc() {
    let upstream = Upstream::h2c();
    let text = one_limit("per = \"route\"\nrate = \"1/min\"\nburst = 1").replace("http://", "h2c://");
    let proxy = Proxy::with("main", &upstream).start(&text);
    let mut client = H2::connect(proxy.address());
    let mut call = || {
        let head = H2::request("POST", "/shop.Cart/Get").header("content-type", "application/grpc").body(()).unwrap();
        client.send(head, &[b"\0\0\0\0\0"], None)
    };
    call();
    let refused = call();
    assert_eq!((refused.status, refused.field("grpc-status")), (200, Some("8")), "RESOURCE_EXHAUSTED");
    assert_eq!(refused.field("grpc-message"), Some("Too many requests. Try again later."));
    let wait: u64 = refused.field("grpc-retry-pushback-ms").unwrap().parse().unwrap();
    assert!((50_000..=60_000).contains(&wait), "{wait}");
    assert!(refused.field("retry-after").is_some() && refused.field("ratelimit").is_some());
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn the_strictest_limit_decides_and_takes_nothing_of_the_others() {
    let echo = Upstream::echo();
    let limits = "[[route.rate_limit]]\nper = \"route\"\nrate = \"1/h\"\nburst = 5\n\
                  [[route.rate_limit]]\nper = \"tenant\"\nrate = \"1/h\"\nburst = 2\n\
                  [[route.rate_limit]]\nname = \"tried\"\nper = \"client_ip\"\nrate = \"1/h\"\nburst = 3\ndry_run = true\n";
    let proxy = Proxy::with("main", &echo).start(&limited(limits));
    let mut client = proxy.connect();
    let mut pass = |tenant: &str| passing(&mut client, &format!("X-Tenant: {tenant}\r\n"));
    assert_eq!([pass("a"), pass("a"), pass("b")], [2, 0, 2], "what is refused takes nothing of the route");
    assert_eq!([pass("c"), pass("d")], [1, 0], "five in all");
    let refused = client.get("/", "X-Tenant: a\r\n");
    // Both refuse: the tenant was first, and so waits less.
    retry_after(&refused, "route");
    let counted = ["route", "tenant"].map(|limit| limited_total(&proxy, limit, "refused"));
    assert_eq!(counted, [3.0, 3.0]);
    assert_eq!(limited_total(&proxy, "tried", "dry_run"), 2.0, "of five that passed, three were within it");
}

#[test]
fn routes_without_an_upstream_have_limits_too() {
    let limits = "[[route.rate_limit]]\nper = \"client_ip\"\nrate = \"1/h\"\nburst = 1\n";
    let text = format!(
        "[[route]]\nname = \"moved\"\nmatch = {{ path = \"/moved\" }}\nredirect = {{ to = \"https://x.test/\" }}\n{limits}\
         [[route]]\nname = \"fixed\"\nmatch = {{ path = \"/fixed\" }}\nrespond = {{ status = 200, body = \"ok\" }}\n{limits}"
    );
    let proxy = Proxy::start(&text);
    let mut client = proxy.connect();
    let mut statuses = |path| [client.get(path, "").status, client.get(path, "").status];
    assert_eq!([statuses("/moved"), statuses("/fixed")], [[308, 429], [200, 429]], "each route has its own");
}

#[test]
fn a_reload_keeps_the_counts_of_a_limit_with_its_name() {
    let echo = Upstream::echo();
    let with = |lines: &str| one_limit(&format!("per = \"tenant\"\n{lines}"));
    let proxy = Proxy::with("main", &echo).start(&with(SLOW));
    let mut client = proxy.connect();
    let lines = "X-Tenant: a\r\n";
    assert_eq!(passing(&mut client, lines), 2);
    proxy.rewrite(&with(&format!("{SLOW}\nstatus = 429 # edited")));
    assert_eq!(passing(&mut client, lines), 0, "an edit elsewhere");
    proxy.rewrite(&with("rate = \"1/h\"\nburst = 1"));
    assert_eq!(passing(&mut client, lines), 0, "a lower burst");
    proxy.rewrite(&with("rate = \"1/h\"\nburst = 4"));
    assert!(passing(&mut client, lines) <= 3, "a higher one has only what is more");
    proxy.rewrite(&with("name = \"other\"\nrate = \"1/h\"\nburst = 2"));
    assert_eq!(passing(&mut client, lines), 2, "another limit");
}

#[test]
fn workers_share_the_counts() {
    let echo = Upstream::echo();
    for (rate, burst) in [("\"1/h\"", 40), ("10000", 100)] {
        let text = one_limit(&format!("per = \"tenant\"\nrate = {rate}\nburst = {burst}"));
        let proxy = Proxy::workers(2).with("main", &echo).start(&text);
        let statuses = std::thread::scope(|scope| {
            let connection = || {
                let mut client = proxy.connect();
                (0..20).map(|_| client.get("/", "X-Tenant: a\r\n").status).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(connection)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let passed = statuses.iter().filter(|status| **status == 200).count();
        if burst == 40 {
            assert_eq!(passed, 40, "exactly");
        } else {
            assert!(passed >= 100, "{passed}: a batch of one worker keeps no other worker out for long");
        }
    }
}

#[test]
fn a_refused_request_is_no_exposure_no_sample_and_has_no_copy() {
    let (main, canary, dark) = (Upstream::echo(), Upstream::echo(), Upstream::echo());
    let text = one_limit(&format!("per = \"route\"\n{SLOW}"))
        .replace("[[route]]", "[upstream.v2]\nendpoints = [\"http://{canary}\"]\n[upstream.dark]\nendpoints = [\"http://{dark}\"]\n[[route]]")
        .replace(
            "stable = \"main\"",
            "stable = \"main\"\nsticky = [\"user\"]\ncanary = { upstream = \"v2\", weight = 50 }\n\
             shadow = { upstream = \"dark\", weight = 100, from = [\"stable\", \"canary\"] }",
        );
    let setup: Setup = Proxy::with("main", &main).with("canary", &canary).with("dark", &dark);
    let proxy = setup.start(&text);
    let mut client = proxy.connect();
    let answered = (0..60).filter(|n| client.get("/", &format!("X-User: u{n}\r\n")).status == 200).count();
    assert_eq!(answered, 2);
    drop(client);
    proxy.settles();
    until("the copies arrive", || (dark.requests() == 2).then_some(()));
    assert_eq!(main.requests() + canary.requests(), 2);
    let text = proxy.metrics();
    let sampled: f64 = text
        .lines()
        .filter(|line| line.starts_with("pointsman_shadow_sampled_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert_eq!(sampled, 2.0);
    let variant = |variant: &str| proxy.metric_of(&text, variant);
    assert_eq!(variant("stable") + variant("canary"), 2.0, "{text}");
    assert_eq!(variant("none"), 58.0);
}

impl Proxy {
    /// The requests of a variant in the text of metrics.
    fn metric_of(&self, text: &str, variant: &str) -> f64 {
        let label = format!("variant=\"{variant}\"");
        let counted =
            text.lines().filter(|line| line.starts_with("pointsman_requests_total{") && line.contains(&label));
        let total = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        assert!(self.app().listeners().len() == 1, "the proxy runs");
        total
    }
}
