//! The order of the rules, and the fields of a decision.

use super::*;

const CANARY: VariantId = VariantId(1);

/// Names of tenants whose bucket under the salt `r` is below 5 %, and above.
fn inside_and_outside() -> (String, String) {
    let below = |name: &String| Salt::new("r").bucket(name).number() < 50_000;
    let names = || (0..).map(|n| format!("t{n}"));
    (names().find(below).unwrap(), names().find(|name| !below(name)).unwrap())
}

fn tenants(names: &[&str]) -> Predicate {
    Predicate::Tenant(TenantList::new(names.iter().map(|&name| name.into())))
}

fn target(predicate: Predicate, serve: VariantId, percent: Option<u32>) -> Target {
    Target {
        line: RouteLine::default(),
        predicates: vec![predicate],
        segment: None,
        serve,
        weight: percent.map(|p| (Weight::from_millionths(p * 10_000).unwrap(), Salt::target("r", ""))),
    }
}

fn decided(kill: &Kill, arms: &Arms, caller: &Caller<'_>, cookie_identity: Option<&str>) -> Decision {
    let ask = Ask::get("h", "/");
    let overlay = Overlay::new(kill.clone(), vec![arms.state.clone()]);
    let request = Routed { route: RouteId(0), split: arms, head: &ask.head(), caller, cookie_identity };
    decide(&rules(vec![]), &overlay, &request, &mut Spread::default(), &mut NoTrace)
}

/// Variant, reason, counted, unkeyed, and whether there is a bucket.
type Expected = (VariantId, Reason, Counted, bool, bool);

#[track_caller]
fn check(name: &str, kill: &Kill, arms: &Arms, who: &Caller<'_>, expected: Expected) {
    let d = decided(kill, arms, who, None);
    assert_eq!((d.variant, d.reason, d.counted, d.unkeyed, d.bucket.is_some()), expected, "{name}");
}

#[test]
fn the_first_rule_that_applies_wins() {
    use Counted::{No, Yes};
    use Reason::{Kill, Stable, Target, Weight};
    const STABLE: VariantId = VariantId::STABLE;
    let (inside, outside) = inside_and_outside();
    let (inside, outside) = (caller(Some(&inside)), caller(Some(&outside)));
    let unkeyed = caller(None);
    let plain = super::Kill::default();
    let five = split("r", &[("canary", 50_000)]);
    check("in the share", &plain, &five, &inside, (CANARY, Weight, Yes, false, true));
    check("in stable's share", &plain, &five, &outside, (STABLE, Weight, Yes, false, true));
    check("without a key", &plain, &five, &unkeyed, (STABLE, Stable, No, true, false));

    let none = split("r", &[("canary", 0)]);
    check("weight 0", &plain, &none, &inside, (STABLE, Stable, No, false, false));
    check("weight 0 without a key", &plain, &none, &unkeyed, (STABLE, Stable, No, true, false));
    let full = split("r", &[("canary", 1_000_000)]);
    check("weight 100", &plain, &full, &outside, (CANARY, Weight, Yes, false, true));
    check("weight 100 without a key", &plain, &full, &unkeyed, (CANARY, Weight, No, true, false));
    check("only stable", &plain, &split("r", &[]), &inside, (STABLE, Stable, No, false, false));

    let mut killed = five.clone();
    killed.state.stop(CANARY, Stop::Kill);
    check("variant killed", &plain, &killed, &inside, (STABLE, Kill, No, false, true));
    check("variant killed, stable's share", &plain, &killed, &outside, (STABLE, Weight, Yes, false, true));
    killed.targets = vec![target(Predicate::All(vec![]), CANARY, None), target(Predicate::All(vec![]), STABLE, None)];
    check("target passed over", &plain, &killed, &inside, (STABLE, Target, No, false, false));
    let mut all = full.clone();
    all.state.stop(CANARY, Stop::Kill);
    check("full variant killed, no key", &plain, &all, &unkeyed, (STABLE, Kill, No, true, false));
    all.state.kill();
    check("route killed", &plain, &all, &inside, (STABLE, Kill, No, false, false));

    let mut targeted = full.clone();
    targeted.targets = vec![target(tenants(&["none"]), STABLE, None), target(Predicate::All(vec![]), CANARY, None)];
    check("second target", &plain, &targeted, &outside, (CANARY, Target, No, false, false));
    targeted.targets[1].serve = STABLE;
    check("target to stable", &plain, &targeted, &outside, (STABLE, Target, No, false, false));
    let tenants = TenantList::new([outside.tenant.as_deref().unwrap().into()]);
    let mut killing = super::Kill { tenants, ..super::Kill::default() };
    check("tenant killed", &killing, &targeted, &outside, (STABLE, Kill, No, false, false));
    check("another tenant", &killing, &full, &inside, (CANARY, Weight, Yes, false, true));
    killing.all = true;
    check("all killed", &killing, &full, &inside, (STABLE, Kill, No, false, false));
}

#[test]
fn a_latched_variant_serves_no_caller() {
    const STABLE: VariantId = VariantId::STABLE;
    let (inside, outside) = inside_and_outside();
    let (inside, outside) = (caller(Some(&inside)), caller(Some(&outside)));
    let plain = Kill::default();
    let mut latched = split("r", &[("canary", 50_000), ("next", 900_000)]);
    latched.state.stop(CANARY, Stop::Latch);
    check("latched", &plain, &latched, &inside, (STABLE, Reason::Latch, Counted::No, false, true));
    check("behind it", &plain, &latched, &outside, (VariantId(2), Reason::Weight, Counted::Yes, false, true));
    latched.targets = vec![target(Predicate::All(vec![]), CANARY, None), target(Predicate::All(vec![]), STABLE, None)];
    check("passed over", &plain, &latched, &inside, (STABLE, Reason::Target, Counted::No, false, false));
    latched.targets.clear();
    latched.state.stop(CANARY, Stop::Kill);
    check("killed too", &plain, &latched, &inside, (STABLE, Reason::Kill, Counted::No, false, true));
    latched.state.stop(CANARY, Stop::Latch);
    check("a kill stays", &plain, &latched, &inside, (STABLE, Reason::Kill, Counted::No, false, true));
    let mut full = split("r", &[("canary", 1_000_000)]);
    full.state.stop(CANARY, Stop::Latch);
    check("no key", &plain, &full, &caller(None), (STABLE, Reason::Latch, Counted::No, true, false));
}

#[test]
fn a_weighted_target_decides_for_its_whole_audience() {
    use Counted::{No, Yes};
    let plain = Kill::default();
    for (percent, who, expected) in [
        (Some(0), Some("t"), (VariantId::STABLE, Reason::Target, Yes, false, true)),
        (Some(100), Some("t"), (CANARY, Reason::Target, Yes, false, true)),
        (Some(0), None, (VariantId::STABLE, Reason::Target, No, true, false)),
        (Some(50), None, (VariantId::STABLE, Reason::Target, No, true, false)),
        (Some(100), None, (CANARY, Reason::Target, No, true, false)),
    ] {
        let mut full = split("r", &[("canary", 1_000_000)]);
        full.targets = vec![target(Predicate::All(vec![]), CANARY, percent)];
        check(&format!("{percent:?} {who:?}"), &plain, &full, &caller(who), expected);
    }
    let mut half = split("r", &[("canary", 0)]);
    half.targets = vec![target(Predicate::All(vec![]), CANARY, Some(50))];
    for name in (0..200).map(|n| format!("t{n}")) {
        let decision = decided(&plain, &half, &caller(Some(&name)), None);
        let taken = Salt::target("r", "").bucket(&name).number() < 500_000;
        assert_eq!(decision.variant == CANARY, taken, "{name}");
        assert_eq!(decision.reason, Reason::Target, "{name}");
    }
}

#[test]
fn the_first_present_key_sticks_and_the_cookie_comes_last() {
    let mut many = split("r", &[("canary", 50_000)]);
    many.sticky = vec![StickyKey::User, StickyKey::Tenant];
    many.sticky_cookie = Some("pm_id".into());
    let mut who = caller(Some("acme"));
    let bucket = |who: &Caller<'_>, cookie| decided(&Kill::default(), &many, who, cookie).bucket;
    let of = |key| Some(Salt::new("r").bucket(key));
    assert_eq!(bucket(&who, Some("id")), of("acme"));
    who.user = Some("ana".into());
    assert_eq!(bucket(&who, Some("id")), of("ana"));
    assert_eq!(bucket(&caller(None), Some("id")), of("id"));
    assert_eq!(bucket(&caller(None), None), None);
    many.sticky = vec![StickyKey::ClientIp];
    let mut mapped = caller(None);
    mapped.client_ip = "::ffff:192.0.2.1".parse().unwrap();
    let found = decided(&Kill::default(), &many, &mapped, Some("id")).bucket;
    assert_eq!(found, of("192.0.2.1"));
    many.sticky_cookie = None;
    many.sticky = vec![];
    assert!(many.spreads());
}

#[test]
fn every_step_is_recorded() {
    #[derive(Default)]
    struct Recorded(Vec<String>);
    impl Trace for Recorded {
        fn step(&mut self, step: Step<'_>) {
            let text = format!("{step:?}");
            self.0.push(text.split(['(', ' ']).next().unwrap_or("").to_owned());
        }
    }
    let mut five = split("r", &[("canary", 1_000_000)]);
    five.targets = vec![target(tenants(&["x"]), CANARY, None)];
    let mut recorded = Recorded::default();
    let ask = Ask::get("h", "/");
    let who = caller(Some("acme"));
    let overlay = Overlay::new(Kill::default(), vec![five.state.clone()]);
    let request = Routed { route: RouteId(0), split: &five, head: &ask.head(), caller: &who, cookie_identity: None };
    decide(&rules(vec![]), &overlay, &request, &mut Spread::default(), &mut recorded);
    assert_eq!(recorded.0, ["TargetMissed", "Key", "Weighed"]);
}
