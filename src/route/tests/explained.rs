//! What `explain` returns, and that it always agrees with routing.

use proptest::prelude::*;

use super::*;

fn asked<'a>(ask: &'a Ask, path_and_query: &'a str) -> ExplainRequest<'a> {
    ExplainRequest {
        method: &ask.method,
        host: &ask.host,
        path_and_query,
        fields: &ask.fields,
        peer: "192.0.2.1".parse().unwrap(),
        client_cert: None,
        listener: "edge",
        scheme: "http",
        encoded_slash: EncodedSlash::Keep,
        facts: crate::route::Facts::default(),
    }
}

fn explained(file: &File, asked: &ExplainRequest<'_>) -> Explanation {
    explain(file.effective(), asked)
}

fn shop() -> File {
    let mut checkout = route("checkout", "shop.example.com", "/checkout/*");
    checkout.place.line = 12;
    let mut arms = split("checkout", &[("canary", 50_000)]);
    arms.targets = vec![Target {
        line: RouteLine(8),
        predicates: vec![Predicate::Header("x-canary".parse().unwrap(), StringMatch::Exact("always".into()))],
        segment: None,
        serve: VariantId(1),
        weight: None,
    }];
    arms.rewrite.prefix = Some("/".into());
    checkout.request_headers.set = vec![("x-variant".parse().unwrap(), Template::parse("{variant}").unwrap())];
    let mut post = route("post", "shop.example.com", "/checkout/*");
    post.matches.methods = vec![http::Method::POST];
    file(vec![checkout, post, route("any", "", "")], arms)
}

#[test]
fn a_route_without_variants_has_nothing_to_compare() {
    let sample = |path: &str| {
        let explanation = explained(&shop(), &asked(&Ask::get("shop.example.com", ""), path)).to_string();
        explanation.lines().find_map(|line| line.strip_prefix("sample    ").map(str::to_owned)).unwrap()
    };
    assert_eq!(sample("/elsewhere?tenant=acme"), "no statistics: the route has no other variant to compare with");
    assert_eq!(sample("/elsewhere"), "no statistics: the route has no other variant to compare with");
    assert_eq!(sample("/checkout/pay"), "does not count in the statistics: no sticky key");
}

#[test]
fn a_decision_is_explained_step_by_step() {
    let ask = Ask::get("Shop.Example.com:80", "");
    let explanation = explained(&shop(), &asked(&ask, "/a/../checkout/pay?tenant=acme"));
    let expected = "\
request   GET shop.example.com/checkout/pay?tenant=acme
client    192.0.2.1
tenant    \"acme\" (query:tenant)
route     checkout (routes.toml:12): host shop.example.com, path /checkout/*
step      target 1 (routes.toml:20) does not match: header x-canary = \"always\" (not given)
step      sticky key: tenant \"acme\"
step      bucket 752190 by salt checkout: stable owns 50000..1000000
variant   stable, reason weight: the weight decides
upstream  v1
forward   /pay?tenant=acme
retry     at other endpoints after connect, refused_stream
retry     once after reset_before_head, 502, 503, 504; budget: 20 % of the requests of v1, and 3 a second
sample    counts in the statistics
request   set x-variant: stable
nearly    post (routes.toml:1): host shop.example.com, path /checkout/*: does not match method GET
nearly    any (routes.toml:1): any host, any path: matches too, but has a lower precedence than checkout
";
    assert_eq!(explanation.to_string(), expected);
    assert_eq!(
        explanation.line(),
        "route=checkout at=routes.toml:12 variant=stable reason=weight bucket=752190 salt=checkout \
         range=50000..1000000 upstream=v1 counted"
    );
}

#[test]
fn a_skipped_identity_is_explained() {
    let ask = Ask::get("shop.example.com", "");
    let explanation = explained(&shop(), &asked(&ask, "/checkout/pay?tenant=acme+"));
    assert_eq!(explanation.tenant, None);
    let odd = "query:tenant \"acme \" is not a valid tenant: it has control characters or surrounding spaces";
    assert_eq!(explanation.steps[0].text, odd);
    assert_eq!(explanation.steps.iter().filter(|step| step.text.contains("is not a valid ")).count(), 1);
}

#[test]
fn each_outcome_has_its_line() {
    let shop = shop();
    let canary = Ask::get("shop.example.com", "").with("x-canary", "always");
    for (ask, path, line) in [
        (&canary, "/checkout", "route=checkout at=routes.toml:12 variant=canary reason=target upstream=v2 not-counted"),
        (&canary, "/..", "refused=\"the path goes above the root\""),
        (&Ask::get("a b", ""), "/", "refused=\"\\\"a b\\\" is not a valid host\""),
        (&Ask::get("x\u{e9}", ""), "/", "refused=\"\\\"x_\\\" is not a valid host\""),
    ] {
        assert_eq!(explained(&shop, &asked(ask, path)).line(), line, "{path}");
    }
    let empty = file(vec![], split("none", &[]));
    assert_eq!(explained(&empty, &asked(&canary, "/")).line(), "no-route");
}

#[test]
fn a_regex_that_matches_a_part_of_the_path_nearly_took_it() {
    let routes = vec![
        route("end", "", "~/u/[0-9]+"),
        route("begin", "", "~[0-9]+/x"),
        route("both", "", "~u/[0-9]"),
        route("not", "", "~/users/[0-9]+"),
        route("elsewhere", "other.example.com", "~/u/[0-9]+"),
    ];
    let explanation = explained(&file(routes, split("end", &[])), &asked(&Ask::get("shop.example.com", ""), "/u/5/x"));
    let whys: Vec<_> = explanation.nearly.iter().map(|route| (route.name.as_str(), route.why.as_str())).collect();
    assert_eq!(
        whys,
        [
            (
                "end",
                "any host, path regex /u/[0-9]+: matches only /u/5 of the path; end it with `.*` to match the rest"
            ),
            (
                "begin",
                "any host, path regex [0-9]+/x: matches only 5/x of the path; start it with `.*` to match what comes \
                 before"
            ),
            (
                "both",
                "any host, path regex u/[0-9]: matches only u/5 of the path; begin and end it with `.*` to match the rest"
            ),
            ("not", "any host matches, path regex /users/[0-9]+ does not"),
        ]
    );
}

/// The steps and the dropped fields of a request to one route with one target.
fn target_of(predicates: Vec<Predicate>, ask: &Ask, tune: impl FnOnce(&mut Rules)) -> Explanation {
    let mut arms = split("r", &[("canary", 0)]);
    arms.targets = vec![Target { line: RouteLine(8), predicates, segment: None, serve: VariantId(1), weight: None }];
    let mut made = file(vec![route("r", "", "")], arms);
    tune(&mut made);
    explained(&made, &asked(ask, "/?q=a&q=b"))
}

#[test]
fn a_predicate_that_does_not_match_is_explained_with_the_request_value() {
    let exact = |text: &str| StringMatch::Exact(text.into());
    let header = |name: &str, text: &str| Predicate::Header(name.parse().unwrap(), exact(text));
    let list = |name: &str| TenantList::new([name.into()]);
    let far = || Predicate::Cidr(vec!["10.0.0.0/8".parse().unwrap()]);
    let ask = Ask::get("h", "").with("x-team", "blue").with("cookie", "preview=v1");
    let staff = || {
        let predicates = vec![header("x-team", "blue"), far(), header("x-employee", "1")];
        move |rules: &mut Rules| rules.segments = vec![Segment { name: "staff".into(), predicates }]
    };
    let long = "é".repeat(100);
    for (predicates, explanation) in [
        (vec![header("x-team", "blue"), header("x-canary", "always")], "header x-canary = \"always\" (not given)"),
        (
            vec![header("x-team", "red"), far()],
            "header x-team = \"red\" (given: \"blue\"); cidr in 10.0.0.0/8 (the client is 192.0.2.1)",
        ),
        (
            vec![Predicate::Segment(SegmentId(0))],
            "segment staff: cidr in 10.0.0.0/8 (the client is 192.0.2.1), header x-employee = \"1\" (not given)",
        ),
        (vec![Predicate::Cookie("preview".into(), exact("v2"))], "cookie preview = \"v2\" (given: \"v1\")"),
        (vec![Predicate::Query("q".into(), exact("c"))], "query q = \"c\" (given: \"a\", \"b\")"),
        (
            vec![Predicate::Any(vec![header("x-team", "red"), header("x-team", "green")])],
            "one of (header x-team = \"red\" | header x-team = \"green\") (given: \"blue\")",
        ),
        (vec![Predicate::Not(Box::new(header("x-team", "blue")))], "not (header x-team = \"blue\") (it matches)"),
        (vec![Predicate::Tenant(list("acme"))], "tenant in a list of 1 (there is no tenant)"),
        (vec![Predicate::Country(vec![Country::new("DE").unwrap()])], "country in DE (the country is unknown)"),
        (vec![Predicate::Claim("sub".into(), exact("u"))], "jwt sub = \"u\" (there is no token)"),
        (
            vec![Predicate::ClientCert(CertField::Cn, exact("till"))],
            "client_cert cn = \"till\" (there is no verified certificate)",
        ),
        (vec![Predicate::Grpc], "gRPC (content-type: not given)"),
    ] {
        let step = &target_of(predicates, &ask, staff()).steps[0].text;
        assert_eq!(step, &format!("target 1 (routes.toml:9) does not match: {explanation}"));
    }
    let ask = Ask::get("h", "").with("x-a", &"x".repeat(100)).with("cookie", &format!("c={long}"));
    let step = &target_of(vec![header("x-a", "y")], &ask, |_| {}).steps[0].text;
    assert!(step.ends_with(&format!("(given: \"{}\"…)", "x".repeat(80))), "{step}");
    let step = &target_of(vec![Predicate::Cookie("c".into(), exact("y"))], &ask, |_| {}).steps[0].text;
    assert!(step.ends_with(&format!("(given: \"{}\"…)", "é".repeat(80))), "{step}");
}

#[test]
fn fields_dropped_for_lack_of_trust_are_explained() {
    let ask = Ask::get("h", "").with("x-tenant-id", "acme").with("x-forwarded-for", "10.1.1.1").with("x-other", "1");
    let tenants = || vec![Predicate::Tenant(TenantList::new(["acme".into()]))];
    let by_header = |rules: &mut Rules| {
        rules.identity.tenant = vec![Extractor::Header("x-tenant-id".parse().unwrap())];
    };
    let explanation = target_of(tenants(), &ask, by_header);
    let why = "is dropped: its sender 192.0.2.1 is not in identity.trusted_proxies";
    let mut dropped = explanation.dropped.clone();
    dropped.sort();
    assert_eq!(dropped, [format!("`x-forwarded-for` {why}"), format!("`x-tenant-id` {why}")]);
    let step = format!("tenant in a list of 1 (there is no tenant: `x-tenant-id` {why})");
    assert!(explanation.steps[0].text.ends_with(&step), "{}", explanation.steps[0].text);
    assert!(explanation.to_string().contains(&format!("dropped   `x-tenant-id` {why}\n")), "{explanation}");
    let explanation = target_of(tenants(), &ask, |rules| {
        by_header(rules);
        rules.identity.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    });
    assert!(explanation.dropped.is_empty() && explanation.tenant.is_some(), "{explanation}");
}

#[test]
fn if_no_route_matches_the_nearest_are_listed() {
    let mut post = route("post", "shop.example.com", "/cart");
    post.matches.methods = vec![http::Method::POST];
    let routes = vec![
        route("search", "shop.example.com", "/search"),
        route("checkout", "shop.example.com", "/checkout/*"),
        route("far", "other.test", "/far"),
        route("api", "api.example.com", "/cart"),
        post,
        route("robots", "", "/robots.txt"),
        route("users", "", "~/checkouts/[0-9]+"),
    ];
    let file = file(routes, split("search", &[]));
    let nearly = |host: &str, path: &str| {
        let explanation = explained(&file, &asked(&Ask::get(host, ""), path));
        assert_eq!(explanation.outcome, ExplainedOutcome::NoRoute);
        explanation.nearly.into_iter().map(|route| format!("{}: {}", route.name, route.why)).collect::<Vec<_>>()
    };
    let misses = nearly("shop.example.com", "/checkouts");
    assert_eq!(misses[0], "checkout: host shop.example.com matches, path /checkout/* does not");
    assert!(
        misses.contains(&"users: any host matches, path regex /checkouts/[0-9]+ does not".to_owned()),
        "{misses:?}"
    );
    assert!(misses.len() == 5 && !misses.iter().any(|miss| miss.starts_with("far")), "{misses:?}");
    let misses = nearly("shop.example.com", "/cart");
    assert_eq!(
        misses[..2],
        [
            "post: host shop.example.com, path /cart: does not match method GET".to_owned(),
            "api: path /cart matches, host api.example.com does not".to_owned(),
        ]
    );
    let misses = nearly("", "/far");
    assert_eq!(misses[0], "far: path /far matches, host other.test does not (the request has none)");
}

#[test]
fn without_stickiness_shares_are_given() {
    let per_request = |stops: &[Stop]| {
        let mut arms = split("checkout", &[("first", 100_000), ("canary", 50_000)]);
        arms.sticky.clear();
        for (stop, id) in stops.iter().zip(1..) {
            arms.state.stop(VariantId(id), *stop);
        }
        explained(&file(vec![route("checkout", "h", "/*")], arms), &asked(&Ask::get("h", ""), "/"))
    };
    let explanation = per_request(&[]);
    let text = explanation.to_string();
    assert!(text.contains("step      decided per request: 10 % first, 5 % canary, 85 % stable\n"), "{text}");
    assert!(
        text.contains("variant   decided per request: 10 % first, 5 % canary, 85 % stable, reason weight"),
        "{text}"
    );
    assert!(!text.contains("bucket") && !explanation.line().contains("bucket"), "{text}");
    assert!(explanation.line().contains("anew=first:10 anew=canary:5 anew=stable:85"), "{}", explanation.line());
    let text = per_request(&[Stop::Kill]).to_string();
    assert!(text.contains("step      decided per request: 5 % canary, 95 % stable; killed: first\n"), "{text}");
    let text = per_request(&[Stop::Latch, Stop::Kill]).to_string();
    assert!(text.contains("step      decided per request: 100 % stable; killed: canary; latched: first\n"), "{text}");
}

#[test]
fn a_latch_is_explained() {
    let mut arms = split("checkout", &[("canary", 1_000_000)]);
    arms.state.stop(VariantId(1), Stop::Latch);
    let target = |serve| Target { line: RouteLine::default(), predicates: vec![], segment: None, serve, weight: None };
    let routes = || vec![route("checkout", "h", "/*")];
    let ask = Ask::get("h", "");
    let explanation = explained(&file(routes(), arms.clone()), &asked(&ask, "/?tenant=acme")).to_string();
    assert!(
        explanation.contains("step      latch: variant\nvariant   stable, reason latch: rolled back, so"),
        "{explanation}"
    );
    arms.targets = vec![target(VariantId(1))];
    let explanation = explained(&file(routes(), arms), &asked(&ask, "/?tenant=acme")).to_string();
    assert!(explanation.contains("is skipped: canary is latched\n"), "{explanation}");
}

proptest! {
    #[test]
    fn explain_and_routing_agree(tenant in "[a-z]{0,6}", host in "(shop\\.example\\.com|x)", path in "/(checkout|y)(/[a-z]{0,3})?", post in any::<bool>(), always in any::<bool>()) {
        let shop = shop();
        let rules = &shop.rules;
        let mut ask = Ask::get(&host, &path);
        ask.query = Some(format!("tenant={tenant}"));
        if always { ask = ask.with("x-canary", "always"); }
        if post { ask.method = http::Method::POST; }
        let head = ask.head();
        let lookup = rules.index.find(&rules.routes, &head).unwrap();
        let route = rules.route(lookup.route);
        let caller = rules.identity.caller("192.0.2.1".parse().unwrap(), &head, crate::route::Facts::default());
        let split = route.split().unwrap();
        let request = Routed { route: lookup.route, split, head: &head, caller: &caller, cookie_identity: None };
        let decision = decide(rules, &shop.overlay, &request, &mut Spread::default(), &mut NoTrace);
        let target = format!("{path}?tenant={tenant}");
        let explanation = explain_briefly(shop.effective(), &asked(&ask, &target));
        prop_assert_eq!(&explanation.route.unwrap().name, &route.name);
        let ExplainedOutcome::Serve(served) = explanation.outcome else { panic!("it is a split") };
        prop_assert_eq!(served.decision, decision);
        prop_assert_eq!(&served.variant, &split.variants[usize::from(decision.variant.0)].name);
    }
}
