//! What `explain` tells, and that it never tells anything else than what routing does.

use proptest::prelude::*;

use super::*;

fn asked<'a>(ask: &'a Ask, path_and_query: &'a str) -> Asked<'a> {
    Asked {
        method: &ask.method,
        host: &ask.host,
        path_and_query,
        headers: &ask.headers,
        peer: "192.0.2.1".parse().unwrap(),
        client_cert: None,
        listener: "edge",
        scheme: "http",
        encoded_slash: EncodedSlash::Keep,
        facts: crate::route::Facts::default(),
    }
}

fn shop() -> Rules {
    let mut checkout = route("checkout", "shop.example.com", "/checkout/*");
    checkout.place.line = 12;
    let mut arms = split("checkout", &[("canary", 50_000)]);
    arms.targets = vec![Target {
        place: Place { file: "routes.toml".into(), line: 20 },
        predicates: vec![Predicate::Header("x-canary".parse().unwrap(), StringMatch::Exact("always".into()))],
        segment: None,
        serve: VariantId(1),
        weight: None,
    }];
    arms.rewrite.prefix = Some("/".into());
    checkout.action = Action::Split(arms);
    checkout.request_headers.set = vec![("x-variant".parse().unwrap(), Template::parse("{variant}").unwrap())];
    let mut post = route("post", "shop.example.com", "/checkout/*");
    post.matches.methods = vec![http::Method::POST];
    rules(vec![checkout, post, route("any", "", "")])
}

#[test]
fn a_decision_is_told_step_by_step() {
    let ask = Ask::get("Shop.Example.com:80", "");
    let told = explain(&shop(), &asked(&ask, "/a/../checkout/pay?tenant=acme"));
    let expected = "\
request   GET shop.example.com/checkout/pay?tenant=acme
client    192.0.2.1
tenant    \"acme\" (query:tenant)
route     checkout (routes.toml:12): host shop.example.com, path /checkout/*
step      target 1 (routes.toml:20) does not hold: header x-canary = \"always\"
step      sticky key: tenant \"acme\"
step      bucket 752190 by salt checkout: stable owns 50000..1000000
variant   stable, reason weight: the weight decides
upstream  v1
forward   /pay?tenant=acme
sample    counts in the statistics
request   set x-variant: stable
nearly    post (routes.toml:1): host shop.example.com, path /checkout/*: not for method GET
nearly    any (routes.toml:1): any host, any path: fits too, but comes after checkout
";
    assert_eq!(told.to_string(), expected);
    assert_eq!(
        told.line(),
        "route=checkout at=routes.toml:12 variant=stable reason=weight bucket=752190 salt=checkout \
         range=50000..1000000 upstream=v1 counted"
    );
}

#[test]
fn what_is_passed_over_as_no_identity_is_told() {
    let ask = Ask::get("shop.example.com", "");
    let told = explain(&shop(), &asked(&ask, "/checkout/pay?tenant=acme+"));
    assert_eq!(told.tenant, None);
    let odd = "query:tenant \"acme \" is no tenant: it has control characters, or a blank at an end";
    assert_eq!(told.steps[0].text, odd);
    assert_eq!(told.steps.iter().filter(|step| step.text.contains("is no ")).count(), 1);
}

#[test]
fn each_outcome_has_its_line() {
    let rules = shop();
    let canary = Ask::get("shop.example.com", "").with("x-canary", "always");
    for (ask, path, line) in [
        (&canary, "/checkout", "route=checkout at=routes.toml:12 variant=canary reason=target upstream=v2 not-counted"),
        (&canary, "/..", "refused=\"the path climbs above the root\""),
        (&Ask::get("a b", ""), "/", "refused=\"\\\"a b\\\" is no host\""),
        (&Ask::get("x\u{e9}", ""), "/", "refused=\"\\\"x_\\\" is no host\""),
    ] {
        assert_eq!(explain(&rules, &asked(ask, path)).line(), line, "{path}");
    }
    let empty = super::rules(vec![]);
    assert_eq!(explain(&empty, &asked(&canary, "/")).line(), "no-route");
}

#[test]
fn a_regex_that_matches_a_part_of_the_path_nearly_took_it() {
    let rules = rules(vec![
        route("end", "", "~/u/[0-9]+"),
        route("begin", "", "~[0-9]+/x"),
        route("both", "", "~u/[0-9]"),
        route("not", "", "~/users/[0-9]+"),
        route("elsewhere", "other.example.com", "~/u/[0-9]+"),
    ]);
    let told = explain(&rules, &asked(&Ask::get("shop.example.com", ""), "/u/5/x"));
    let whys: Vec<_> = told.nearly.iter().map(|route| (route.name.as_str(), route.why.as_str())).collect();
    assert_eq!(
        whys,
        [
            ("end", "any host, path regex /u/[0-9]+: matches only /u/5 of the path; end it with `.*` to take the rest"),
            (
                "begin",
                "any host, path regex [0-9]+/x: matches only 5/x of the path; begin it with `.*` to take what stands \
                 before"
            ),
            (
                "both",
                "any host, path regex u/[0-9]: matches only u/5 of the path; begin and end it with `.*` to take the rest"
            ),
        ]
    );
}

#[test]
fn where_nothing_sticks_shares_are_told() {
    let anew = |killed: bool| {
        let mut made = route("checkout", "h", "/*");
        let mut arms = split("checkout", &[("first", 100_000), ("canary", 50_000)]);
        arms.sticky.clear();
        arms.variants[1].killed = killed;
        made.action = Action::Split(arms);
        explain(&rules(vec![made]), &asked(&Ask::get("h", ""), "/"))
    };
    let told = anew(false);
    let text = told.to_string();
    assert!(text.contains("step      each request anew: 10 % first, 5 % canary, 85 % stable\n"), "{text}");
    assert!(text.contains("variant   each request anew: 10 % first, 5 % canary, 85 % stable, reason weight"), "{text}");
    assert!(!text.contains("bucket") && !told.line().contains("bucket"), "{text}");
    assert!(told.line().contains("anew=first:10 anew=canary:5 anew=stable:85"), "{}", told.line());
    let text = anew(true).to_string();
    assert!(text.contains("step      each request anew: 5 % canary, 95 % stable; killed: first\n"), "{text}");
}

proptest! {
    #[test]
    fn explain_and_routing_agree(tenant in "[a-z]{0,6}", host in "(shop\\.example\\.com|x)", path in "/(checkout|y)(/[a-z]{0,3})?", post in any::<bool>(), always in any::<bool>()) {
        let rules = shop();
        let mut ask = Ask::get(&host, &path);
        ask.query = Some(format!("tenant={tenant}"));
        if always { ask = ask.with("x-canary", "always"); }
        if post { ask.method = http::Method::POST; }
        let head = ask.head();
        let lookup = rules.index.find(&rules.routes, &head).unwrap();
        let route = rules.route(lookup.route);
        let caller = rules.identity.caller("192.0.2.1".parse().unwrap(), &head, crate::route::Facts::default());
        let split = route.split().unwrap();
        let decision = decide(&rules, split, &head, &caller, None, &mut Spread::default(), &mut Silent);
        let target = format!("{path}?tenant={tenant}");
        let told = explain_briefly(&rules, &asked(&ask, &target));
        prop_assert_eq!(&told.route.unwrap().name, &route.name);
        let Outcome::Serve(served) = told.outcome else { panic!("it is a split") };
        prop_assert_eq!(served.decision, decision);
        prop_assert_eq!(&served.variant, &split.variants[usize::from(decision.variant.0)].name);
    }
}
