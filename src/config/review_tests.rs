//! What `explain`, the summary of a reload, `what-if` and a replay say of targets that respond, rate limits, checks and
//! files of endpoints.

use http::{HeaderName, Method, StatusCode};

use super::{Loaded, load_text};
use crate::fields::Fields;
use crate::route::{
    EncodedSlash, ExplainRequest, ExplainedOutcome, Explanation, Facts, Moved, compare, explain, replay, summary,
};

fn load(upstream: &str, route: &str) -> Loaded {
    let text = format!(
        "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[identity]\ntrusted_proxies = ['127.0.0.1']\n\
         tenant = 'header:x-tenant'\n[segment.staff]\ncidr = '10.20.0.0/16'\n[upstream.b]\nendpoints = 'http://10.0.0.3'\n\
         [upstream.a]\n{upstream}\n[[route]]\nname = 'r'\nstable = 'a'\nsticky = 'client_ip'\n\
         canary = {{ upstream = 'b', weight = 50 }}\n{route}\n"
    );
    load_text("routes.toml", &text, &|_| None).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn by_route(route: &str) -> Loaded {
    load("endpoints = 'http://10.0.0.1'", route)
}

fn by_upstream(upstream: &str) -> Loaded {
    load(upstream, "")
}

/// A request of this client, with this tenant.
fn with_request<T>(client: &str, tenant: &str, run: impl FnOnce(ExplainRequest<'_>) -> T) -> T {
    let mut fields = Fields::new();
    fields.append(&HeaderName::from_static("x-forwarded-for"), &client.parse().unwrap());
    if !tenant.is_empty() {
        fields.append(&HeaderName::from_static("x-tenant"), &tenant.parse().unwrap());
    }
    run(ExplainRequest {
        method: &Method::GET,
        host: "h",
        path_and_query: "/",
        fields: &fields,
        peer: "127.0.0.1".parse().unwrap(),
        client_cert: None,
        listener: "127.0.0.1:0",
        scheme: "http",
        encoded_slash: EncodedSlash::Keep,
        facts: Facts::default(),
    })
}

fn explained(loaded: &Loaded, client: &str, tenant: &str) -> Explanation {
    with_request(client, tenant, |request| explain(loaded.effective(), &request))
}

fn steps(explanation: &Explanation) -> Vec<&str> {
    explanation.steps.iter().map(|step| step.text.as_str()).collect()
}

fn changes(old: &Loaded, new: &Loaded) -> Vec<String> {
    summary(old.effective(), new.effective())
}

const DENY: &str = "[[route.target]]\nheader = { x-test = '1' }\nserve = 'canary'\n[[route.target]]\n\
                    not = { segment = 'staff' }\nrespond = { status = 403 }\n[[route.target]]\ntenant = 'acme'\n\
                    serve = 'canary'";

#[test]
fn a_denied_request_names_its_target() {
    let loaded = by_route(DENY);
    let denied = explained(&loaded, "192.0.2.1", "");
    assert_eq!(denied.outcome, ExplainedOutcome::Respond(StatusCode::FORBIDDEN));
    assert_eq!(steps(&denied), ["denied by target 2 (routes.toml:21): 403"]);
    assert!(denied.line().ends_with("respond=403 target=routes.toml:21"), "{}", denied.line());
    let served = explained(&loaded, "10.20.1.1", "acme");
    assert!(matches!(served.outcome, ExplainedOutcome::Serve(_)), "{served}");
    let steps = steps(&served);
    assert!(steps[0].starts_with("target 2 (routes.toml:21) does not match: not (segment staff)"), "{steps:?}");
    assert!(steps.contains(&"target 3 (routes.toml:24) matches: serves canary"), "{steps:?}");
}

#[test]
fn a_target_that_serves_lets_pass() {
    let loaded = by_route(
        "[[route.target]]\nsegment = 'staff'\nserve = 'stable'\n[[route.target]]\ncidr = '10.0.0.0/8'\n\
         respond = { status = 200, body = 'later' }",
    );
    let passed = explained(&loaded, "10.20.1.1", "");
    let expected = [
        "target 1 (routes.toml:18, segment staff) matches, so that no later target answers",
        "target 1 (routes.toml:18, segment staff) matches: serves stable",
    ];
    assert_eq!(steps(&passed), expected);
    let answered = explained(&loaded, "10.9.1.1", "");
    assert_eq!(steps(&answered), ["answered by target 2 (routes.toml:21): 200"]);
}

#[test]
fn a_limit_says_what_it_counts_by() {
    let loaded = by_route(
        "[[route.rate_limit]]\nper = 'tenant'\nrate = 100\n[[route.rate_limit]]\nper = 'header:x-key'\nrate = '60/min'\n\
         dry_run = true\n[[route.rate_limit]]\nper = 'route'\nrate = 9\nexcept = 'staff'",
    );
    let of = |client: &str, tenant: &str| {
        let explanation = explained(&loaded, client, tenant);
        let steps = explanation.steps.into_iter().map(|step| step.text).take(3);
        steps.map(|text| text.split_once("): ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let unknown = "the count is not looked at here";
    assert_eq!(
        of("192.0.2.1", "acme"),
        [
            format!("100/s, burst 100, by tenant \"acme\"; beyond: 429; {unknown}"),
            format!(
                "60/min, burst 1, no header:x-key, so by client_ip 192.0.2.1; dry run: nothing is refused; {unknown}"
            ),
            format!("9/s, burst 9, all requests of the route; beyond: 429; {unknown}"),
        ]
    );
    let staff = of("10.20.1.1", "");
    assert!(staff[0].contains("no tenant, so by client_ip 10.20.1.1"), "{staff:?}");
    assert_eq!(staff[2], "not limited, the caller is in segment staff");
    let six = of("2001:db8:1:2:3::4", "");
    assert!(six[0].contains("client_ip 2001:db8:1:2::/64"), "{six:?}");
}

#[test]
fn a_reload_says_what_changes_of_a_route() {
    let plain = by_route("");
    let limit = |text: &str| by_route(&format!("[[route.rate_limit]]\nper = 'tenant'\n{text}"));
    let hundred = limit("rate = 100");
    for (old, new, expected) in [
        (&plain, &hundred, "r rate limit tenant added: 100/s per tenant, burst 100"),
        (&hundred, &plain, "r rate limit tenant removed, was 100/s per tenant, burst 100"),
        (&hundred, &limit("rate = '50/min'\nburst = 100"), "r rate limit tenant 100/s → 50/min"),
        (&hundred, &limit("rate = 100\nburst = 7"), "r rate limit tenant burst 100 → 7"),
        (&hundred, &limit("rate = 100\ndry_run = true"), "r rate limit tenant refuses nothing now: dry run"),
        (&limit("rate = 100\ndry_run = true"), &hundred, "r rate limit tenant refuses requests now"),
        (
            &hundred,
            &limit("rate = 100\nexcept = 'staff'\nstatus = 503"),
            "r rate limit tenant except none → staff, status 429 → 503",
        ),
        (&plain, &by_route("priority = 'low'"), "r load normal → low"),
        (&plain, &by_route("[[route.target]]\ncidr = '10.0.0.0/8'\nrespond = { status = 403 }"), "r access changed"),
    ] {
        assert_eq!(changes(old, new), [expected]);
        assert!(changes(new, new).is_empty());
    }
}

#[test]
fn a_reload_says_what_changes_of_an_upstream() {
    let two = "endpoints = ['http://10.0.0.1', 'http://10.0.0.2']\n";
    let of = |text: &str| by_upstream(&format!("{two}{text}"));
    let plain = of("");
    let check = of("health = { path = '/healthz' }");
    let words = "http /healthz every 5s, timeout 1s, 2 good or 3 bad in a row";
    for (old, new, expected) in [
        (&plain, &check, format!("upstream a health added: {words}")),
        (&check, &plain, format!("upstream a health removed, was {words}")),
        (
            &check,
            &of("health = { tcp = true, port = 9, interval = '1s' }"),
            format!("upstream a health {words} → tcp at port 9 every 1s, timeout 1s, 2 good or 3 bad in a row"),
        ),
        (&check, &of("health = { path = '/healthz', expect = 200 }"), "upstream a health changed".to_owned()),
        (&plain, &of("slow_start = '30s'"), "upstream a slow_start 0ns → 30s".to_owned()),
        (&plain, &of("balance = 'peak_ewma'"), "upstream a balance changed".to_owned()),
        (
            &plain,
            &by_upstream("endpoints = ['http://10.0.0.1', { url = 'http://10.0.0.2', drain = true }]"),
            "upstream a endpoints http://10.0.0.1:80, http://10.0.0.2:80 → http://10.0.0.1:80, http://10.0.0.2:80 (drained)"
                .to_owned(),
        ),
    ] {
        assert_eq!(changes(old, new), [expected]);
    }
}

#[test]
fn a_long_list_of_endpoints_is_counted() {
    let list = |range: std::ops::Range<usize>| {
        let all: Vec<String> = range.map(|at| format!("'http://10.1.{}.{}'", at / 200, at % 200)).collect();
        by_upstream(&format!("endpoints = [{}]", all.join(", ")))
    };
    assert_eq!(
        changes(&list(0..5_000), &list(1..5_002)),
        ["upstream a endpoints: 2 added, 1 removed (http://10.1.0.0:80)"]
    );
}

#[test]
fn a_comparison_counts_callers_who_would_be_denied() {
    let (old, new) = (by_route(""), by_route(DENY));
    let changed = compare(old.effective(), new.effective()).changed;
    assert_eq!(changed[0].moved, Moved::Unknown("the proxy answers other callers itself"));
    let replayed = with_request("192.0.2.1", "", |request| replay(old.effective(), new.effective(), [request; 3]));
    assert_eq!((replayed.requests, replayed.moved), (3, 3));
    let to = replayed.moves.keys().next().unwrap().1.as_str();
    assert_eq!(to, "r 403 by a target");
    let inside = with_request("10.20.1.1", "", |request| replay(old.effective(), new.effective(), [request]));
    assert_eq!(inside.moved, 0, "{:?}", inside.moves);
}
