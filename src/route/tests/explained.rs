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
        encoded_slash: EncodedSlash::Keep,
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
request   GET shop.example.com/checkout/pay
client    192.0.2.1
tenant    \"acme\" (query:tenant)
route     checkout (routes.toml:12): host shop.example.com, path /checkout/*
step      target 1 (routes.toml:20) does not hold: header x-canary = \"always\"
step      sticky key: tenant \"acme\"
step      bucket 752190 by salt checkout: stable owns 50000..1000000
variant   stable, reason weight: the weight decides
upstream  v1
forward   /pay
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
        let caller = rules.identity.caller("192.0.2.1".parse().unwrap(), &head);
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
