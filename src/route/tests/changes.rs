//! What `what-if` and the summary of a reload say.

use super::*;

fn checkout(weight: u32) -> File {
    of(&[("canary", weight)])
}

fn of(arms: &[(&str, u32)]) -> File {
    file(vec![route("checkout", "h", "/*"), route("other", "o", "/*")], split("checkout", arms))
}

fn summary_of(old: &File, new: &File) -> Vec<String> {
    summary(old.effective(), new.effective())
}

fn compared(old: &File, new: &File) -> ConfigDiff {
    compare(old.effective(), new.effective())
}

#[track_caller]
fn check(old: &File, new: &File, words: &[&str], millionths: Option<u32>) {
    assert_eq!(summary_of(old, new), words);
    let comparison = compared(old, new);
    let change = comparison.changed.iter().find(|change| change.route == "checkout").expect("checkout changes");
    assert_eq!(change.moved.millionths(), millionths, "{words:?}: {:?}", change.moved);
}

#[test]
fn changes_are_described_in_words_and_shares() {
    let five = checkout(50_000);
    assert_eq!(summary_of(&five, &checkout(50_000)), [""; 0]);
    assert!(compared(&five, &checkout(50_000)).changed.is_empty());
    check(&five, &checkout(100_000), &["checkout canary 5 → 10"], Some(50_000));
    check(&five, &checkout(100), &["checkout canary 5 → 0.01"], Some(49_900));

    let killed = checkout(50_000).having(|state| state.stop(VariantId(1), Stop::Kill));
    check(&five, &killed, &["checkout canary killed"], Some(50_000));
    check(&killed, &five, &["checkout canary revived"], Some(50_000));
    let latched = checkout(50_000).having(|state| state.stop(VariantId(1), Stop::Latch));
    check(&five, &latched, &["checkout canary latched"], Some(50_000));
    check(&latched, &five, &["checkout canary no longer latched"], Some(50_000));
    let both = checkout(50_000).having(|state| {
        state.stop(VariantId(1), Stop::Latch);
        state.stop(VariantId(1), Stop::Kill);
    });
    check(&latched, &both, &["checkout canary killed"], Some(0));
    check(&both, &latched, &["checkout canary revived"], Some(0));
    let killed = checkout(50_000).having(SplitState::kill);
    check(&five, &killed, &["checkout killed"], Some(50_000));
    let shadow = checkout(50_000).having(SplitState::kill_shadow);
    check(&five, &shadow, &["checkout shadow killed"], Some(0));
    check(&shadow, &five, &["checkout shadow revived"], Some(0));
    let all = checkout(50_000).all_killed();
    check(&five, &all, &["everything killed"], Some(50_000));

    let mut salted = checkout(50_000);
    salted.first().salt = Salt::new("other");
    // 5 % of stable's 95 % and the reverse.
    check(&five, &salted, &["checkout salt \"checkout\" → \"other\""], Some(95_000));
    let mut sticky = checkout(50_000);
    sticky.first().sticky = vec![StickyKey::User];
    check(&five, &sticky, &["checkout sticky keys changed"], None);
    let mut upstream = checkout(50_000);
    upstream.upstreams[1].name = "v3".into();
    check(
        &five,
        &upstream,
        &["checkout canary upstream v2 → v3", "upstream v3 added", "upstream v2 removed"],
        Some(50_000),
    );
    let mut matched = checkout(50_000);
    matched.routes[0].matches.paths = vec![path("/x/*")];
    matched.routes[0].place.line = 99;
    check(&five, &matched, &["checkout match changed"], None);
}

#[test]
fn who_has_one_variant_moves_as_a_whole() {
    let flow = |from: &str, to: &str, millionths| Flow { from: from.into(), to: to.into(), millionths };
    let moved = |old: &File, new: &File| compared(old, new).changed.remove(0).moved;
    // Without variants nothing sticks, and nothing has to.
    let lone = |upstream| {
        let mut lone = of(&[]);
        lone.first().variants[0].upstream = UpstreamId(upstream);
        lone.first().sticky.clear();
        lone
    };
    assert_eq!(moved(&lone(0), &lone(1)), Moved::Exactly(vec![flow("v1", "v2", BUCKETS)]));
    let mut limited = lone(0);
    limited.routes[0].limits.body_bytes = Some(1);
    assert_eq!(moved(&lone(0), &limited), Moved::Exactly(vec![]));
    let mut salted = checkout(BUCKETS);
    salted.first().salt = Salt::new("other");
    assert_eq!(moved(&checkout(0), &salted), Moved::Exactly(vec![flow("stable", "canary", BUCKETS)]));
}

#[test]
fn who_keeps_a_variant_may_get_another_upstream() {
    let flow = |from: &str, to: &str, millionths| Flow { from: from.into(), to: to.into(), millionths };
    let mut new = checkout(100_000);
    new.upstreams[0].name = "w1".into();
    let comparison = compared(&checkout(50_000), &new);
    let flows = vec![flow("stable", "canary", 50_000), flow("v1", "w1", 900_000)];
    assert_eq!(comparison.changed[0].moved, Moved::Exactly(flows));
    let endpoint = |port| EndpointSpec {
        protocol: Protocol::Http1,
        host: EndpointHost::Ip("10.0.0.1".parse().unwrap()),
        port,
        weight: 1,
        role: EndpointRole::Primary,
    };
    let at = |port| {
        let mut made = checkout(50_000);
        made.upstreams[1].endpoints = vec![endpoint(port)];
        made
    };
    let comparison = compared(&at(1), &at(2));
    assert!(comparison.changed.is_empty());
    assert_eq!(comparison.others, ["upstream v2 endpoints http://10.0.0.1:1 → http://10.0.0.1:2"]);
    let answers = vec![("checkout".to_owned(), "canary".to_owned(), 50_000)];
    assert_eq!(comparison.moved_upstreams, [MovedUpstream { upstream: "v2".into(), answers }]);
}

#[test]
fn every_table_is_described() {
    let traces = TraceExport {
        host: "collector".into(),
        port: 4318,
        path: String::new(),
        tls: None,
        protocol: OtlpProtocol::Http,
        sample: 0.1,
        service: "edge".into(),
        attributes: vec![],
        headers: vec![],
    };
    let with = |edit: &dyn Fn(&mut File)| {
        let mut made = checkout(50_000);
        made.traces = Some(traces.clone());
        edit(&mut made);
        made
    };
    let old = with(&|_| {});
    for (edit, line) in [
        (&(|r: &mut File| r.traces = None) as &dyn Fn(&mut File), "traces removed, went to collector:4318"),
        (&|r| r.traces.as_mut().unwrap().sample = 0.5, "traces sample changed"),
        (&|r| r.upstreams[0].limits.requests = 1, "upstream v1 limits requests 4096 → 1"),
        (&|r| r.access_log.sample = 0.5, "access log sample changed"),
        (&|r| r.identity.tenant.clear(), "identity tenant changed"),
        (&File::reverse, "routes reordered"),
    ] {
        assert_eq!(summary_of(&old, &with(edit)), [line]);
        assert_eq!(compared(&old, &with(edit)).others, [line]);
    }
    assert_eq!(summary_of(&checkout(50_000), &old), ["traces added, to collector:4318"]);
}

#[test]
fn shares_are_given_by_weight_where_targets_pick_as_well() {
    let picking = |all: bool| {
        let mut made = checkout(50_000);
        made.first().targets = vec![Target {
            line: RouteLine::default(),
            predicates: vec![],
            segment: None,
            serve: VariantId(1),
            weight: None,
        }];
        if all { made.all_killed() } else { made }
    };
    let Moved::ByWeight(flows, note) = compared(&picking(false), &picking(true)).changed.remove(0).moved else {
        panic!("the weights are known");
    };
    assert_eq!(flows, [Flow { from: "canary".into(), to: "stable".into(), millionths: 50_000 }]);
    assert!(note.contains("targets"), "{note}");
}

#[test]
fn an_arm_in_front_moves_those_behind_it() {
    let old = of(&[("a", 100_000), ("b", 100_000)]);
    let new = of(&[("a", 150_000), ("b", 100_000)]);
    let comparison = compared(&old, &new);
    let flow = |from: &str, to: &str, millionths| Flow { from: from.into(), to: to.into(), millionths };
    assert_eq!(comparison.changed[0].moved, Moved::Exactly(vec![flow("b", "a", 50_000), flow("stable", "b", 50_000)]));
}

#[test]
fn segments_are_compared_by_name_and_members() {
    let segment = |name: &str, tenant: &str| Segment {
        name: name.into(),
        predicates: vec![Predicate::Tenant(TenantList::new([tenant.into()]))],
    };
    let with = |segments: Vec<Segment>, of: u32| {
        let mut made = checkout(50_000);
        made.segments = segments;
        made.first().targets = vec![Target {
            line: RouteLine::default(),
            predicates: vec![Predicate::Segment(SegmentId(of))],
            segment: Some(SegmentId(of)),
            serve: VariantId(1),
            weight: None,
        }];
        made
    };
    let old = with(vec![segment("beta", "acme"), segment("staff", "us")], 0);
    assert_eq!(summary_of(&old, &with(vec![segment("staff", "us"), segment("beta", "acme")], 1)), [""; 0]);
    let other = with(vec![segment("beta", "globex"), segment("staff", "us")], 0);
    check(&old, &other, &["checkout targets changed", "segment beta changed"], None);
}

#[test]
fn routes_come_and_go_and_a_summary_ends() {
    let routes = |numbers: std::ops::Range<u32>| {
        let first = format!("r{}", numbers.start);
        let routes = numbers.map(|n| route(&format!("r{n}"), "h", &format!("/{n}")));
        file(routes.collect(), split(&first, &[]))
    };
    let (old, new) = (routes(0..300), routes(150..301));
    let lines = summary_of(&old, &new);
    assert_eq!((lines.len(), lines[0].as_str(), lines[1].as_str()), (100, "route r300 added", "route r0 removed"));
    assert_eq!(lines[99], "and 52 more changes");
    let comparison = compared(&old, &new);
    assert_eq!((comparison.added.len(), comparison.removed.len()), (1, 150));
}

#[test]
fn a_replay_counts_what_arithmetic_says() {
    let (old, new) = (checkout(50_000), checkout(100_000));
    let fields = Fields::new();
    let paths: Vec<String> = (0..10_000).map(|n| format!("/x?tenant=t{n}")).collect();
    let asked = paths.iter().map(|path| ExplainRequest {
        method: &http::Method::GET,
        host: "h",
        path_and_query: path,
        fields: &fields,
        peer: "192.0.2.1".parse().unwrap(),
        client_cert: None,
        listener: "edge",
        scheme: "http",
        encoded_slash: EncodedSlash::Keep,
        facts: crate::route::Facts::default(),
    });
    let expected =
        (0..10_000).filter(|n| (50_000..100_000).contains(&Salt::new("checkout").bucket(&format!("t{n}")).number()));
    let replayed = replay(old.effective(), new.effective(), asked);
    assert_eq!((replayed.requests, replayed.moved), (10_000, expected.count() as u64));
    let only = ("checkout stable".to_owned(), "checkout canary".to_owned());
    assert_eq!(replayed.moves.keys().collect::<Vec<_>>(), [&only]);
}
