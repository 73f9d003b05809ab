//! Tests of `health`, `endpoints`, `balance`, `slow_start`, `rate_limit`, `priority` and targets that respond.

use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;

use super::{Diagnostics, Loaded, load_text, run_route_tests};
use crate::route::{
    AccessVerdict, Balance, EndpointRole, GrpcProbe, HealthCheck, HealthProbe, HttpProbe, LoadPriority, Rate, RateKey,
    RateLimitMode, Route, Upstream,
};

const HEAD: &str = "schema = 1\n[[listener]]\naddress = '127.0.0.1:7001'\n";

/// A file with the upstream `a`, of which this is the text, and one route with this text.
fn file(upstream: &str, route: &str) -> Result<Loaded, Diagnostics> {
    let text = format!(
        "{HEAD}[identity]\ntenant = 'header:x-tenant'\n[segment.staff]\ncidr = '10.20.0.0/16'\n[upstream.b]\n\
         endpoints = 'http://10.0.0.3'\n[upstream.a]\n{upstream}\n[[route]]\nname = 'r'\n{route}\n"
    );
    load_text("routes.toml", &text, &|_| None)
}

fn upstream(text: &str) -> Upstream {
    match file(&format!("endpoints = ['http://10.0.0.1', 'http://10.0.0.2']\n{text}"), "stable = 'a'") {
        Ok(mut loaded) => loaded.rules.upstreams.remove(1),
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

fn route(text: &str) -> Route {
    match file("endpoints = 'http://10.0.0.1'", text) {
        Ok(mut loaded) => loaded.rules.routes.remove(0),
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

/// The text of the diagnostics of an upstream, or of a route, with this text.
fn said(upstream: &str, route: &str) -> String {
    match file(upstream, route) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

fn refused(upstream: &str, route: &str) -> String {
    match file(upstream, route) {
        Ok(loaded) => panic!("it loads: {upstream}\n{route}\n{}", loaded.warnings),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

#[test]
fn a_check_has_its_values() {
    assert_eq!(upstream("").health, None);
    let http = HttpProbe { path: "/healthz".into(), host: None, headers: vec![], expect: vec![200..=399] };
    let check = |probe| HealthCheck {
        probe,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        healthy: 2,
        unhealthy: 3,
        port: None,
    };
    assert_eq!(upstream("health = { path = '/healthz' }").health, Some(check(HealthProbe::Http(http.clone()))));
    assert_eq!(upstream("health = { tcp = true, grpc = false }").health, Some(check(HealthProbe::Tcp)));
    let all = upstream(
        "[upstream.a.health]\npath = '/h?full=1'\ninterval = '250ms'\ntimeout = '100ms'\nhealthy = 1\nunhealthy = 100\n\
         expect = [200, '300-302', '404']\nhost = 'a.internal:81'\nheaders = { x-probe = '1' }\nport = 9000",
    );
    let Some(HealthCheck { probe: HealthProbe::Http(probe), interval, timeout, healthy, unhealthy, port }) = all.health
    else {
        panic!("a check over HTTP")
    };
    assert_eq!((interval, timeout), (Duration::from_millis(250), Duration::from_millis(100)));
    assert_eq!((healthy, unhealthy, port), (1, 100, Some(9_000)));
    assert_eq!((&*probe.path, probe.expect), ("/h?full=1", vec![200..=200, 300..=302, 404..=404]));
    assert_eq!(probe.host.unwrap(), "a.internal:81");
    assert_eq!((&probe.headers[0].0, &probe.headers[0].1), (&"x-probe".parse().unwrap(), &"1".parse().unwrap()));
}

#[test]
fn a_grpc_check_needs_http2() {
    let text = "endpoints = 'h2c://10.0.0.1'\nhealth = { grpc = true, service = 'shop.Checkout' }";
    let loaded = file(text, "stable = 'a'").unwrap();
    let probe = GrpcProbe { service: "shop.Checkout".into(), host: None, headers: vec![] };
    assert_eq!(loaded.rules.upstreams[1].health.as_ref().unwrap().probe, HealthProbe::Grpc(probe));
    let said = said("endpoints = 'http://10.0.0.1'\nhealth = { grpc = true }", "stable = 'a'");
    assert!(said.contains("gRPC needs HTTP/2") && said.contains("h2c://"), "{said}");
}

#[test]
fn bad_checks_are_refused() {
    for (health, part) in [
        ("{}", "does not say what is checked"),
        ("{ grpc = false }", "does not say what is checked"),
        ("{ interval = '5s' }", "write `path = \"/healthz\"`"),
        ("{ path = '/', tcp = true }", "cannot have both `path` and `tcp`"),
        ("{ grpc = true, tcp = true }", "cannot have both `grpc` and `tcp`"),
        ("{ path = 'healthz' }", "write `path = \"/healthz\"`"),
        ("{ path = 'http://a:80/ready' }", "write `path = \"/ready\"`"),
        ("{ path = '/a b' }", "this is not a path"),
        ("{ path = '/a#b' }", "this is not a path"),
        ("{ path = '/', service = 'x' }", "`service` has no effect"),
        ("{ tcp = true, expect = 200 }", "`expect` has no effect"),
        ("{ tcp = true, headers = { a = 'b' } }", "`headers` has no effect"),
        ("{ path = '/', interval = '249ms' }", "`interval` must be 250ms to 1h"),
        ("{ path = '/', interval = '61m' }", "`interval` must be 250ms to 1h"),
        ("{ path = '/', timeout = '0s' }", "`timeout` must be 1ms to 60s"),
        ("{ path = '/', healthy = 0 }", "`healthy` must be 1 to 100"),
        ("{ path = '/', unhealthy = 101 }", "`unhealthy` must be 1 to 100"),
        ("{ path = '/', port = 0 }", "`port` must be 1 to 65535"),
        ("{ path = '/', expect = [] }", "`expect` is empty"),
        ("{ path = '/', expect = 99 }", "`expect` must be 100 to 599"),
        ("{ path = '/', expect = '2xx' }", "write `\"200-299\"`"),
        ("{ path = '/', expect = '200-600' }", "is not a status or a range"),
        ("{ path = '/', expect = '299-200' }", "write `\"200-299\"`"),
        ("{ path = '/', host = 'a/b' }", "is not a host"),
        ("{ path = '/', headers = { connection = 'x' } }", "belongs to the connection"),
        ("{ path = '/', headers = { host = 'x' } }", "write `host = \"…\"`"),
        ("{ path = '/', intervall = '5s' }", "did you mean `interval`?"),
        ("{ pth = '/' }", "did you mean `path`?"),
        ("'/healthz'", "write `health = { path = \"/healthz\" }`"),
    ] {
        let said = refused(&format!("endpoints = 'http://10.0.0.1'\nhealth = {health}"), "stable = 'a'");
        assert!(said.contains(part), "{health}: {said}");
    }
    let said = said("endpoints = 'http://10.0.0.1'\nhealth = { path = '/', timeout = '6s' }", "stable = 'a'");
    assert!(said.contains("`timeout` is above `interval`"), "{said}");
}

#[test]
fn balance_and_slow_start_have_their_values() {
    assert_eq!(upstream("balance = 'peak_ewma'").balance, Balance::PeakEwma);
    assert_eq!(upstream("balance = 'hash'").balance, Balance::Hash);
    assert_eq!(upstream("balance = 'round_robin'").balance, Balance::RoundRobin);
    assert_eq!(upstream("").slow_start, Duration::ZERO);
    assert_eq!(upstream("slow_start = '30s'").slow_start, Duration::from_secs(30));
    let said = refused("endpoints = 'http://10.0.0.1'\nslow_start = '61m'", "stable = 'a'");
    assert!(said.contains("`slow_start` must be 0s to 1h"), "{said}");
}

#[test]
fn endpoints_have_roles() {
    let all = file(
        "endpoints = ['http://10.0.0.1', { url = 'http://10.0.0.2', backup = true, weight = 3 }, { url = 'http://10.0.0.4', drain = true }]",
        "stable = 'a'",
    );
    let roles: Vec<_> = all.unwrap().rules.upstreams[1].endpoints.iter().map(|one| (one.role, one.weight)).collect();
    assert_eq!(roles, [(EndpointRole::Primary, 1), (EndpointRole::Backup, 3), (EndpointRole::Drained, 1)]);
    let drained = "endpoints = { url = 'http://10.0.0.2', drain = true }";
    assert!(refused(drained, "stable = 'a'").contains("every endpoint of `a` is drained"));
    let backups = "endpoints = { url = 'http://10.0.0.2', backup = true }";
    assert!(said(backups, "stable = 'a'").contains("no endpoint but backups"));
}

#[test]
fn addresses_of_no_machine_are_refused() {
    for url in
        ["http://0.0.0.0:80", "http://[::]:80", "http://224.0.0.1:80", "http://[ff02::1]:80", "http://255.255.255.255"]
    {
        let said = refused(&format!("endpoints = '{url}'"), "stable = 'a'");
        assert!(said.contains("bad-endpoint"), "{url}: {said}");
    }
}

#[test]
fn an_endpoint_that_is_a_listener_is_a_warning_with_both_places() {
    for url in ["http://127.0.0.1:7001", "http://localhost:7001"] {
        let said = said(&format!("endpoints = ['http://10.0.0.1', '{url}']"), "stable = 'a'");
        assert!(said.contains("is a listener of this proxy") && said.contains("listens here"), "{url}: {said}");
    }
    assert!(!said("endpoints = 'http://127.0.0.1:7002'", "stable = 'a'").contains("own-listener"));
}

#[test]
fn duplicates_are_found_in_a_long_list_and_bounded() {
    let mut list = String::from("endpoints = [");
    for at in 0..3_000 {
        write!(list, "'http://10.0.{}.{}', ", at / 250, at % 250).unwrap();
    }
    list.push_str("'http://10.0.11.249']");
    assert!(refused(&list, "stable = 'a'").contains("this endpoint is listed twice"));
    let many = format!("endpoints = [{}]", "'http://10.0.0.9', ".repeat(50));
    let said = refused(&many, "stable = 'a'");
    assert_eq!(said.matches("this endpoint is listed twice").count(), 5, "{said}");
    assert!(said.contains("44 more endpoints are listed twice"), "{said}");
    let mapped = "endpoints = ['http://[::ffff:10.0.0.9]:80', 'http://10.0.0.9']";
    assert!(refused(mapped, "stable = 'a'").contains("listed twice"));
}

#[test]
fn a_long_rate_without_a_burst_is_a_warning_with_both_numbers() {
    let limit = |lines: &str| {
        said("endpoints = 'http://10.0.0.1'", &format!("stable = 'a'\n[[route.rate_limit]]\nper = 'route'\n{lines}"))
    };
    for (rate, message) in [
        ("100/min", "1 request is let through at once, not 100"),
        ("6000/min", "100 requests are let through at once, not 6000"),
        ("2/d", "1 request is let through at once, not 2"),
    ] {
        let said = limit(&format!("rate = '{rate}'"));
        assert!(said.contains(message) && said.contains("or `burst = 1"), "{said}");
    }
    for lines in ["rate = '1/h'", "rate = 100", "rate = '100/s'", "rate = '100/min'\nburst = 1"] {
        assert!(!limit(lines).contains("small-burst"), "{lines}");
    }
}

#[test]
fn a_limit_has_its_values() {
    let limits = route(
        "stable = 'a'\n[[route.rate_limit]]\nper = 'tenant'\nrate = 100\n[[route.rate_limit]]\nper = 'header:X-Key'\n\
         rate = '6000/min'\nburst = 7\nname = 'keys'\nexcept = 'staff'\ndry_run = true\nstatus = 503\n\
         [[route.rate_limit]]\nper = 'route'\nrate = '1/d'\n[[route.rate_limit]]\nper = 'header:x-b'\nrate = 1",
    );
    let limits = &limits.rate_limits;
    let [tenant, header, all, other] = &**limits else { panic!("four limits: {limits:?}") };
    let second = Duration::from_secs(1);
    assert_eq!((&*tenant.name, &tenant.per, tenant.burst), ("tenant", &RateKey::Tenant, 100));
    assert_eq!(tenant.rate, Rate { requests: 100, per: second });
    assert_eq!((tenant.mode, tenant.status), (RateLimitMode::Enforce, StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(tenant.except, None);
    assert_eq!((&*header.name, header.burst), ("keys", 7));
    assert_eq!(header.per, RateKey::Header("x-key".parse().unwrap()));
    assert_eq!(header.rate, Rate { requests: 6_000, per: 60 * second });
    assert_eq!((header.mode, header.status.as_u16()), (RateLimitMode::DryRun, 503));
    assert!(header.except.is_some());
    assert_eq!((&*all.name, all.burst), ("route", 1));
    assert_eq!(&*other.name, "header-x-b");
}

#[test]
fn bad_limits_are_refused() {
    for (limit, part) in [
        ("rate = 1", "`per` is missing"),
        ("per = 'route'", "`rate` is missing"),
        ("per = 'route', rate = 0", "`rate` is zero"),
        ("per = 'route', rate = -1", "`rate` is below zero"),
        ("per = 'route', rate = 0.5", "write `\"30/min\"`"),
        ("per = 'route', rate = 1000001", "above 1000000 requests a second"),
        ("per = 'route', rate = '100'", "write `\"100/s\"`"),
        ("per = 'route', rate = '100/fortnight'", "is not a unit of a rate"),
        ("per = 'route', rate = true", "must be a whole number or a string"),
        ("per = 'route', rate = 1, burst = 0", "`burst` is zero"),
        ("per = 'route', rate = 1, burst = 1000001", "`burst` must be 1 to 1000000"),
        ("per = 'route', rate = '1/d', burst = 31", "takes more than 30 days"),
        ("per = 'ip', rate = 1", "did you mean `client_ip`?"),
        ("per = 'tenat', rate = 1", "did you mean `tenant`?"),
        ("per = 'x-api-key', rate = 1", "write `header:x-api-key`"),
        ("per = 'header:', rate = 1", "is not a valid header name"),
        ("per = 'route', rate = 1, except = 'stuff'", "did you mean `staff`?"),
        ("per = 'route', rate = 1, status = 200", "`status` must be 400 to 599"),
        ("per = 'route', rate = 1, name = 'A b'", "is not a name"),
        ("per = 'route', rate = 1, average = 5", "did you mean `rate`?"),
    ] {
        let said = refused("endpoints = 'http://10.0.0.1'", &format!("stable = 'a'\nrate_limit = [{{ {limit} }}]"));
        assert!(said.contains(part), "{limit}: {said}");
    }
    let twice = "stable = 'a'\nrate_limit = [{ per = 'route', rate = 1 }, { per = 'route', rate = 2 }]";
    assert!(refused("endpoints = 'http://10.0.0.1'", twice).contains("have the name `route`"));
    let user = "stable = 'a'\nrate_limit = [{ per = 'user', rate = 1 }]";
    assert!(said("endpoints = 'http://10.0.0.1'", user).contains("each caller counts by its address"));
    let many = format!("stable = 'a'\nrate_limit = [{}]", "{ per = 'route', rate = 1 }, ".repeat(33));
    assert!(refused("endpoints = 'http://10.0.0.1'", &many).contains("at most 32 rate limits"));
}

#[test]
fn a_priority_is_an_order_or_a_load_or_both() {
    let of = |text: &str| {
        let route = route(&format!("stable = 'a'\npriority = {text}"));
        (route.matches.priority, route.load)
    };
    assert_eq!(of("5"), (5, LoadPriority::Normal));
    assert_eq!(of("'low'"), (0, LoadPriority::Low));
    assert_eq!(of("'normal'"), (0, LoadPriority::Normal));
    assert_eq!(of("{ order = -3, load = 'low' }"), (-3, LoadPriority::Low));
    assert_eq!(of("{ order = 9 }"), (9, LoadPriority::Normal));
    for (bad, part) in [
        ("'high'", "`priority` cannot be `high`"),
        ("'10'", "write `10`, without quotes"),
        ("true", "must be a whole number, a string or a table"),
        ("1000001", "`priority` must be -1000000 to 1000000"),
        ("{ load = 'lo' }", "did you mean `low`?"),
    ] {
        let said = refused("endpoints = 'http://10.0.0.1'", &format!("stable = 'a'\npriority = {bad}"));
        assert!(said.contains(part), "{bad}: {said}");
    }
}

#[test]
fn targets_respond() {
    let target = "[[route.target]]\nsegment = 'staff'\nserve = 'canary'\n\
                  [[route.target]]\nnot = { cidr = '10.0.0.0/8' }\nrespond = { status = 403, body = 'no' }\n\
                  [[route.target]]\nheader = { x = '1' }\nserve = 'stable'\n";
    let text = format!("stable = 'a'\nsticky = 'client_ip'\ncanary = {{ upstream = 'b' }}\n{target}");
    let route = route(&text);
    let [pass, answer] = &*route.access else { panic!("two rules: {:?}", route.access) };
    assert!(matches!(pass.verdict, AccessVerdict::Pass) && pass.segment.is_some());
    let AccessVerdict::Answer(respond) = &answer.verdict else { panic!("an answer") };
    assert_eq!((respond.status, &*respond.body), (StatusCode::FORBIDDEN, &b"no"[..]));
    assert_eq!(route.split().unwrap().targets.len(), 2, "those that serve");
}

#[test]
fn the_tests_of_a_file_know_answers_of_targets() {
    let deny = "[[route.target]]\nnot = { segment = 'staff' }\nrespond = { status = 403 }\n";
    let asks = |ip: &str, expect: &str| {
        format!("[[test]]\nrequest = {{ client_ip = '{ip}' }}\nexpect = {{ route = 'r', {expect} }}\n")
    };
    for (action, inside) in [("stable = 'a'", "variant = 'stable'"), ("respond = { status = 204 }", "status = 204")] {
        let text = format!("{action}\n{deny}{}{}", asks("10.20.1.1", inside), asks("10.9.1.1", "status = 403"));
        let loaded = file("endpoints = 'http://10.0.0.1'", &text).unwrap();
        let run = run_route_tests(&loaded);
        assert_eq!(run.failed, 0, "{run}");
    }
    let loaded = file(
        "endpoints = 'http://10.0.0.1'",
        &format!("stable = 'a'\n{deny}{}", asks("10.9.1.1", "variant = 'stable'")),
    );
    let run = run_route_tests(&loaded.unwrap());
    assert!(run.to_string().contains("a target of route `r` (routes.toml:"), "{run}");
}

#[test]
fn bad_targets_are_refused() {
    for (action, target, part) in [
        (
            "stable = 'a'",
            "segment = 'staff', serve = 'stable', respond = { status = 403 }",
            "both `serve` and `respond`",
        ),
        ("stable = 'a'", "segment = 'staff'", "does not say what the audience gets"),
        ("stable = 'a'", "segment = 'staff', respond = {}", "`status` is missing in `respond` of a target"),
        ("stable = 'a'", "segment = 'staff', respond = 403", "write `respond = { status = 403 }`"),
        ("stable = 'a'", "segment = 'staff', weight = 5, respond = { status = 403 }", "`weight` has no effect"),
        ("stable = 'a'", "not = {}, respond = { status = 403 }", "`not` is empty"),
        ("stable = 'a'", "not = { not = {} }, respond = { status = 403 }", "unknown key `not`"),
        ("stable = 'a'", "segment = 'staff', deny = true", "respond"),
        ("respond = {}", "segment = 'staff', serve = 'stable'", "`serve` has no effect"),
        ("redirect = { to = '/' }", "respond = { status = 403 }", "this target has no condition"),
    ] {
        let said = refused("endpoints = 'http://10.0.0.1'", &format!("{action}\ntarget = [{{ {target} }}]"));
        assert!(said.contains(part), "{target}: {said}");
    }
}
