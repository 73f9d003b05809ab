//! Rollouts: what a valid file compiles to.

use std::time::Duration;

use super::load::{Loaded, load_text};
use super::route_test_run::run_route_tests;
use crate::route::{
    ExplainQuery, Gate, GuardAct, GuardTest, KillScope, Overdue, OverdueAct, Requirement, RolloutId, RolloutMember,
    RouteId, Salt, Signal, Split, Stop, VariantId, Weight, compare, summary,
};

/// A file with rollouts `v2` and `cart`; `more` follows.
fn file(routes: &str, more: &str) -> String {
    format!(
        r#"
        schema = 1
        upstream.a = {{ endpoints = ["http://127.0.0.1:1"] }}
        upstream.b = {{ endpoints = ["http://127.0.0.1:2"], revision = "7" }}
        upstream.c = {{ endpoints = ["http://127.0.0.1:3"], revision = "8" }}
        [[listener]]
        address = "127.0.0.1:8080"
        {routes}
        {more}
        "#
    )
}

/// A file with so many of something.
type OfSize<'a> = &'a dyn Fn(usize) -> String;

const ROUTE: &str = r#"
    [[route]]
    name = "shop"
    stable = "a"
    sticky = ["client_ip"]
    canary = { upstream = "b", rollout = "v2" }
"#;

const PLAN: &str = r#"
    [rollout.v2]
    [[rollout.v2.stage]]
    name = "beta"
    weight = 5
    min_duration = "1h"
    [[rollout.v2.stage]]
    name = "full"
    weight = 100
    min_duration = "1h"
"#;

fn loaded(routes: &str, more: &str) -> Loaded {
    let text = file(routes, more);
    load_text("routes.toml", &text, &|_| None).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn split(loaded: &Loaded, route: usize) -> &Split {
    loaded.rules.routes[route].split().unwrap()
}

/// Plans with all keys.
const WHOLE: &str = r#"
        [release]
        freeze = ["2026-12-20 - 2027-01-03 Europe/Paris", "daily 00:00 - 01:00"]
        [prometheus]
        url = "http://prometheus:9090/base"
        headers = { authorization = "Bearer x" }
        timeout = "2s"
        [rollout.v2]
        owner     = "team-payments"
        ticket    = "CHG-4711"
        zone      = "Europe/Paris"
        expires   = 2099-12-31
        approvers = { tech-lead = ["ana"], operations = ["bo", "chen"], product = ["dee"] }
        freeze    = ["fri 16:00 - mon 08:00", "daily 11:30 - 14:00"]
        max_weight  = 60
        max_tenants = 200
        requires    = ["cart:beta"]
        on_rollback     = { over = "30s" }
        on_inconclusive = { after = "6h", act = "rollback" }
        on_no_traffic   = { after = "30m" }
        change = { visible = true, breaking = false, reversible = true, data = "expand/contract" }
        rehearsal = true
        [[rollout.v2.stage]]
        name = "dark"
        weight = 0
        min_duration = "1h"
        [[rollout.v2.stage]]
        name = "beta"
        weight = 10
        ramp = "1h"
        min_duration = "2h"
        min_requests = 5000
        min_keys = 7
        require = { non_inferior = 2.0, or_rate_below = 0.001 }
        approve = ["tech-lead", "operations", "product"]
        [[rollout.v2.stage.gate]]
        webhook = { url = "http://ci.example.com/gate?x=1", every = "10s", timeout = "3s" }
        [[rollout.v2.stage.gate]]
        prometheus = { query = "sum(rate(payment_failures[5m]))", max = 0.2, min = -1.5, every = "1m" }
        [[rollout.v2.stage]]
        name = "gradual"
        weight = 50.5
        ramp = "4h"
        not_before = 2026-12-07T09:00:00
        [rollout.cart]
        stage = [{ name = "beta", weight = 1, min_duration = "1h" }]
    "#;

#[test]
fn a_plan_compiles_with_all_of_its_keys() {
    let loaded = loaded(ROUTE, WHOLE);
    let rules = &loaded.rules;
    assert_eq!(rules.rollouts.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["cart", "v2"]);
    assert_eq!(rules.freeze.len(), 2);
    let prometheus = rules.prometheus.as_ref().unwrap();
    assert_eq!((prometheus.host.as_str(), prometheus.port, prometheus.path.as_str()), ("prometheus", 9090, "/base"));
    assert_eq!((prometheus.headers.len(), prometheus.timeout), (1, Duration::from_secs(2)));
    let one = rules.rollout(RolloutId(1));
    assert_eq!(one.about.zone, "Europe/Paris");
    assert_eq!((one.about.owner.as_deref(), one.about.ticket.as_deref()), (Some("team-payments"), Some("CHG-4711")));
    assert_eq!((one.about.visible, one.about.data.as_deref()), (Some(true), Some("expand/contract")));
    assert_eq!(one.about.expires.as_deref(), Some("2099-12-31"));
    assert!(one.about.rehearsal && one.expires_ms.is_some());
    assert_eq!(one.approvers.iter().map(|role| role.people.len()).sum::<usize>(), 4);
    assert_eq!(
        one.freeze.iter().map(|freeze| freeze.text.as_str()).collect::<Vec<_>>(),
        ["fri 16:00 - mon 08:00", "daily 11:30 - 14:00"]
    );
    assert_eq!(one.members, [RolloutMember { route: RouteId(0), variant: VariantId(1) }]);
}

#[test]
fn stages_compile_with_all_of_their_keys() {
    let loaded = loaded(ROUTE, WHOLE);
    let one = loaded.rules.rollout(RolloutId(1));
    let plan = &one.plan;
    assert_eq!((plan.max_weight, plan.max_tenants, plan.rollback_over_ms), (600_000, Some(200), 30_000));
    assert_eq!(plan.requires, [Requirement { rollout: "cart".into(), stage: "beta".into() }]);
    assert_eq!(plan.on_inconclusive, Some(Overdue { after_ms: 21_600_000, act: OverdueAct::Rollback }));
    assert_eq!(plan.on_no_traffic, Some(Overdue { after_ms: 1_800_000, act: OverdueAct::Hold }));
    assert_eq!(plan.stages.iter().map(|stage| stage.weight).collect::<Vec<_>>(), [0, 100_000, 505_000]);
    let beta = &plan.stages[1];
    assert_eq!((beta.ramp_ms, beta.min_duration_ms), (3_600_000, 7_200_000));
    assert_eq!((beta.min_requests, beta.min_keys), (Some(5_000), Some(7)));
    assert_eq!(beta.approve, ["tech-lead", "operations", "product"]);
    let [Gate::Webhook { url, every_ms: 10_000, timeout_ms: 3_000 }, Gate::Prometheus { max, min, .. }] =
        &beta.gates[..]
    else {
        panic!("{:?}", beta.gates)
    };
    assert_eq!(url, "http://ci.example.com/gate?x=1");
    assert_eq!((max.map(f64::to_bits), min.map(f64::to_bits)), (Some(0.2_f64.to_bits()), Some((-1.5_f64).to_bits())));
    let [webhook] = &one.webhooks[..] else { panic!("{:?}", one.webhooks) };
    assert_eq!((webhook.stage, webhook.gate, webhook.target.path.as_str()), (1, 0, "/gate?x=1"));
    // 9 o'clock in Paris.
    assert_eq!(plan.stages[2].not_before_ms, Some(1_796_630_400_000));
}

#[test]
fn the_overlay_of_a_file_has_the_first_stage_under_the_ceiling() {
    let weight = |more: &str| loaded(ROUTE, more).overlay.split(RouteId(0)).arms()[1].weight;
    assert_eq!(weight(PLAN), Weight::from_millionths(50_000).unwrap());
    assert_eq!(
        weight(&PLAN.replace("[rollout.v2]", "[rollout.v2]\nmax_weight = 2")),
        Weight::from_millionths(20_000).unwrap()
    );
}

#[test]
fn the_salt_is_the_name_of_the_rollout_unless_the_route_has_one() {
    let plain = loaded(ROUTE, PLAN);
    assert_eq!((split(&plain, 0).salt.clone(), split(&plain, 0).rollout), (Salt::new("v2"), Some(RolloutId(0))));
    let salted = loaded(&format!("{ROUTE}\nsalt = 'x'"), PLAN);
    assert_eq!(split(&salted, 0).salt, Salt::new("x"));
}

#[test]
fn a_rollout_without_guards_has_the_default_ones_on_each_route() {
    let loaded = loaded(ROUTE, PLAN);
    let guards = &loaded.rules.rollouts[0].guards;
    assert!(guards.by_default && guards.all.iter().all(|guard| guard.variant.is_none()));
    let acts: Vec<_> = guards.all.iter().map(|guard| (guard.name.as_str(), guard.act)).collect();
    assert_eq!(
        acts,
        [
            ("errors", GuardAct::Rollback),
            ("latency", GuardAct::Rollback),
            ("sample-ratio", GuardAct::Hold),
            ("near-full", GuardAct::Rollback),
        ]
    );
    let merged = &split(&loaded, 0).guards;
    assert_eq!((merged.all.len(), &merged.signals), (4, &guards.signals));
    assert!(merged.all.iter().all(|guard| guard.variant == Some(VariantId(1))));
}

#[test]
fn guards_of_a_rollout_stand_beside_those_of_the_other_variants() {
    let routes = r#"
        [[route]]
        name = "shop"
        stable = "a"
        sticky = ["client_ip"]
        canary = { upstream = "b", weight = 10 }
        [[route.guard]]
        name = "own"
        metric = { status = ["404"] }
        worse_than_stable = 2.0
        [[route.variant]]
        name = "new"
        upstream = "c"
        rollout = "v2"
    "#;
    let plan = PLAN.replace("[rollout.v2]", "[rollout.v2]\nmax_weight = 90")
        + r#"
        [prometheus]
        url = "http://prometheus:9090"
        [[rollout.v2.guard]]
        name = "slow"
        metric = { slower_than = "1s" }
        worse_than_stable = 1.5
        scope = "route"
        [[rollout.v2.guard]]
        name = "missing"
        metric = { status = ["404"] }
        worse_than_stable = 1.5
        act = "hold"
        [[rollout.v2.guard]]
        name = "queue"
        prometheus = { query = "queue_depth", above = 1000, for = "2m" }
        act = "hold"
    "#;
    let loaded = loaded(routes, &plan);
    let one = &loaded.rules.rollouts[0];
    assert_eq!(one.by_route, [0]);
    assert_eq!(
        one.guards.all.iter().map(|guard| guard.name.as_str()).collect::<Vec<_>>(),
        ["slow", "missing", "near-full"]
    );
    let near = &one.guards.all[2];
    assert_eq!((near.act, near.test, near.near_full), (GuardAct::Rollback, GuardTest::Above(None), true));
    let [queue] = &one.queries[..] else { panic!("{:?}", one.queries) };
    assert_eq!((queue.name.as_str(), queue.hold_for, queue.act), ("queue", Duration::from_mins(2), GuardAct::Hold));
    let merged = &split(&loaded, 0).guards;
    let all: Vec<_> = merged.all.iter().map(|guard| (guard.name.as_str(), guard.variant, guard.signal)).collect();
    let (own, moved) = (Some(VariantId(1)), Some(VariantId(2)));
    assert_eq!(
        all,
        [("own", own, Some(0)), ("slow", moved, Some(1)), ("missing", moved, Some(0)), ("near-full", moved, Some(2)),]
    );
    assert_eq!(merged.signals[2], Signal::Error);
    assert!(!merged.by_default);
}

#[test]
fn a_kill_of_a_rollout_stops_its_variants() {
    let second = ROUTE.replace("\"shop\"", "\"other\"") + "match = { path = '/other' }";
    let killed = loaded(&format!("{ROUTE}{second}"), &format!("{PLAN}\n[kill]\nrollouts = ['v2']"));
    for route in [RouteId(0), RouteId(1)] {
        assert_eq!(killed.overlay.split(route).stopped(VariantId(1)), Some(Stop::Kill));
    }
    assert!(killed.kills.place_of(&KillScope::Rollout("v2".into())).is_some());
    assert_eq!(killed.rules.rollouts[0].members.len(), 2);
}

#[test]
fn a_secret_in_the_url_of_a_webhook_stays_masked() {
    let plan = PLAN.replace("min_duration = \"1h\"", "gate = [{ webhook = { url = 'http://ci/${TOKEN}' } }]");
    let text = file(ROUTE, &plan);
    let loaded = load_text("routes.toml", &text, &|name| (name == "TOKEN").then(|| "s3cr3t-value".to_owned())).unwrap();
    let one = &loaded.rules.rollouts[0];
    let Gate::Webhook { url, .. } = &one.plan.stages[0].gates[0] else { panic!("{:?}", one.plan) };
    assert_eq!((url.as_str(), one.webhooks[0].target.path.as_str()), ("http://ci/${TOKEN}", "/s3cr3t-value"));
    assert!(!serde_json::to_string(&one.plan).unwrap().contains("s3cr3t"));
}

#[test]
fn a_plan_that_has_expired_is_an_error_of_check_alone() {
    let expired = loaded(ROUTE, &PLAN.replace("[rollout.v2]", "[rollout.v2]\nexpires = 2020-01-01"));
    let found: Vec<_> = expired.warnings.iter().map(|one| one.code).collect();
    assert!(found.contains(&"rollout-expired"), "{found:?}");
    assert_eq!((expired.warnings.errors(), expired.warnings.clone().for_check().errors()), (0, 1));
    assert!(expired.rules.rollouts[0].expires_ms.is_some());
}

#[test]
fn tests_and_explanations_choose_a_stage() {
    let test = "[[test]]\nrequest = { client_ip = '203.0.113.9', rollouts = { v2 = 'full' } }\nexpect = { variant = 'canary' }\n\
                [[test]]\nrequest = { client_ip = '203.0.113.9' }\nexpect = { variant = 'stable' }\n";
    // Under the lowest ceiling no caller gets it.
    for (ceiling, failed) in [("100", 0), ("0", 1)] {
        let plan = PLAN.replace("[rollout.v2]", &format!("[rollout.v2]\nmax_weight = {ceiling}"));
        let run = run_route_tests(&loaded(ROUTE, &format!("{plan}{test}")));
        assert_eq!(run.failed, failed, "{ceiling}: {run}");
    }
    let loaded = loaded(ROUTE, &format!("{PLAN}\n[kill]\nrollouts = 'v2'"));
    let config = loaded.effective();
    let query = |text: &str| ExplainQuery { rollouts: vec![text.to_owned()], ..ExplainQuery::default() };
    let overlay = query("v2=full").overlay(config).unwrap().unwrap();
    let arm = overlay.split(RouteId(0)).arms()[1];
    assert_eq!((arm.weight, arm.stopped()), (Weight::FULL, Some(Stop::Kill)));
    for (text, part) in [
        ("v2", "is not NAME=STAGE"),
        ("v3=full", "there is no rollout \"v3\"; there is v2"),
        ("v2=x", "rollout \"v2\" has no stage \"x\"; it has beta, full"),
    ] {
        let error = query(text).overlay(config).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_reload_says_what_changed_in_a_plan() {
    let changed = |from: &str, to: &str| {
        let (old, new) = (loaded(ROUTE, PLAN), loaded(ROUTE, &PLAN.replace(from, to)));
        summary(old.effective(), new.effective())
    };
    for (from, to, expected) in [
        ("weight = 100", "weight = 90", &["rollout v2 stage full 100 → 90"][..]),
        ("weight = 5\n", "weight = 6\n", &["shop canary 5 → 6", "rollout v2 stage beta 5 → 6"]),
        ("name = \"full\"", "name = \"all\"", &["rollout v2 stage all added at 100", "rollout v2 stage full removed"]),
        ("[rollout.v2]", "[rollout.v2]\nmax_weight = 50", &["rollout v2 max_weight 100 → 50"]),
        ("[rollout.v2]", "[rollout.v2]\nexpires = 2099-01-01", &["rollout v2 expires never → 2099-01-01"]),
        (
            "[rollout.v2]",
            "[rollout.v2]\nowner = 'a'\nzone = 'Europe/Paris'",
            &["rollout v2 owner changed", "rollout v2 zone changed"],
        ),
        (
            "min_duration = \"1h\"",
            "min_duration = \"2h\"",
            &["rollout v2 stage beta min_duration changed", "rollout v2 stage full min_duration changed"],
        ),
        (
            "[rollout.v2]",
            "[prometheus]\nurl = 'http://p:1'\n[rollout.v2]\nfreeze = 'daily 10:00 - 11:00'\n[[rollout.v2.guard]]\n\
          name = 'errors'\nmetric = 'error'\nworse_than_stable = 2\n",
            &[
                "rollout v2 freeze changed",
                "rollout v2 guard errors error worse_than_stable 1.1, alpha 0.003, act rollback → error worse_than_stable 2, \
             alpha 0.003, act rollback",
                "rollout v2 guard latency removed",
                "rollout v2 guard sample-ratio removed",
                "prometheus changed",
            ],
        ),
    ] {
        assert_eq!(changed(from, to), expected, "{to}");
    }
    let fixed = ROUTE.replace("rollout = \"v2\"", "weight = 5");
    let (by_weight, by_plan) = (loaded(&fixed, ""), loaded(ROUTE, PLAN));
    let salt = |from: &str, to: &str| {
        format!("shop salt {from:?} → {to:?}: callers are dealt anew, unless the route has `salt = {from:?}`")
    };
    let [there, back] =
        [[&by_weight, &by_plan], [&by_plan, &by_weight]].map(|[old, new]| summary(old.effective(), new.effective()));
    assert_eq!(
        there,
        [
            "shop rollout none → v2".to_owned(),
            salt("shop", "v2"),
            "rollout v2 added with stages beta 5, full 100".to_owned()
        ]
    );
    assert_eq!(back, ["shop rollout v2 → none".to_owned(), salt("v2", "shop"), "rollout v2 removed".to_owned()]);
    let kept = loaded(&format!("{ROUTE}\nsalt = 'shop'"), PLAN);
    assert_eq!(summary(by_weight.effective(), kept.effective()).len(), 2);
    // The share that moves is that of the first stage.
    let found = compare(by_weight.effective(), by_plan.effective());
    let moved = found.changed[0].moved.millionths().unwrap();
    assert!((50_000..=100_000).contains(&moved), "{moved}");
}

#[test]
fn the_sizes_of_a_plan_are_bounded() {
    let list = |count: usize, each: &dyn Fn(usize) -> String| (0..count).map(each).collect::<Vec<_>>().join(", ");
    let gates = |count: usize| list(count, &|_| "{ webhook = { url = 'http://a/b' } }".to_owned());
    let stage = |at: usize| format!("[[rollout.v2.stage]]\nname = 's{at}'\nweight = {at}\nmin_duration = '1s'\n");
    let stages = |count: usize| (0..count).map(stage).collect::<String>();
    let guard = |at: usize| {
        format!("[[rollout.v2.guard]]\nname = 'g{at}'\nmetric = 'error'\nworse_than_stable = 1.1\nalpha = 0.001\n")
    };
    let with = |key: &str| PLAN.replace("[rollout.v2]", &format!("[rollout.v2]\n{key}"));
    let others = |count: usize| {
        let one = |at: usize| format!("[[rollout.r{at}.stage]]\nname = 'a'\nweight = 1\nmin_duration = '1s'\n");
        (0..count).map(one).collect::<String>()
    };
    let requires =
        |count: usize| with(&format!("requires = [{}]", list(count, &|at| format!("'r{at}:a'")))) + &others(count);
    let cases: [(&str, usize, OfSize<'_>); 8] = [
        ("stages", 50, &|count| format!("[rollout.v2]\n{}", stages(count))),
        ("gates", 8, &|count| PLAN.replace("min_duration = \"1h\"", &format!("gate = [{}]", gates(count)))),
        ("guards", 16, &|count| format!("{PLAN}{}", (0..count).map(guard).collect::<String>())),
        ("windows", 64, &|count| with(&format!("freeze = [{}]", list(count, &|_| "'daily 10:00 - 11:00'".to_owned())))),
        ("roles", 32, &|count| with(&format!("approvers = {{ {} }}", list(count, &|at| format!("r{at} = 'p{at}'"))))),
        ("people", 256, &|count| with(&format!("approvers = {{ a = [{}] }}", list(count, &|at| format!("'p{at}'"))))),
        ("requires", 32, &requires),
        ("rollouts", 1_000, &|count| format!("{PLAN}{}", others(count - 1))),
    ];
    for (what, most, text) in cases {
        let codes = |count: usize| match load_text("routes.toml", &file(ROUTE, &text(count)), &|_| None) {
            Ok(_) => Vec::new(),
            Err(found) => found.iter().map(|one| one.code).filter(|code| !code.starts_with("un")).collect(),
        };
        assert_eq!(codes(most), Vec::<&str>::new(), "{what}");
        assert!(codes(most + 1).contains(&"too-many"), "{what}: {:?}", codes(most + 1));
    }
}

#[test]
fn a_plan_that_expires_soon_is_a_warning() {
    let days = |days: i64| jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    for (ahead, expected) in [(1, true), (12, true), (16, false), (100, false)] {
        let date = days(ahead).to_zoned(jiff::tz::TimeZone::UTC).date();
        let found = loaded(ROUTE, &PLAN.replace("[rollout.v2]", &format!("[rollout.v2]\nexpires = {date}")));
        let warned = found.warnings.iter().any(|one| one.code == "rollout-expires");
        assert_eq!((warned, found.warnings.for_check().errors()), (expected, 0), "{date}");
    }
}

#[test]
fn routes_of_one_rollout_share_its_salt_and_weight() {
    let second = ROUTE.replace("\"shop\"", "\"cart\"") + "match = { path = '/cart' }";
    let loaded = loaded(&format!("{ROUTE}{second}"), PLAN);
    assert_eq!(split(&loaded, 0).salt, split(&loaded, 1).salt);
    let arms = [RouteId(0), RouteId(1)].map(|route| loaded.overlay.split(route).arms()[1]);
    assert_eq!(arms[0], arms[1]);
    let codes: Vec<_> = loaded.warnings.iter().map(|one| one.code).collect();
    assert!(codes.iter().all(|code| !code.starts_with("different")), "{codes:?}");
}
