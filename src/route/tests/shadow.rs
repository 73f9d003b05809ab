//! The law of shadows: who is sampled, how many, and that it has nothing to do with who gets which variant.

use http::Method;
use proptest::prelude::*;

use super::*;

/// A split whose stable is copied at this weight, in millionths.
pub(super) fn shadowed(mut arms: Arms, millionths: u32, sample_by: SampleBy) -> Arms {
    let shadow = Shadow {
        upstream: UpstreamId(1),
        weight: Weight::from_millionths(millionths).unwrap(),
        sample_by,
        salt: Salt::shadow(arms.salt.text()),
        methods: vec![Method::GET],
        from: vec![VariantId::STABLE],
        max_in_flight: 64,
        max_body_bytes: 65_536,
        timeout: std::time::Duration::from_secs(5),
        host: None,
        headers: HeaderEdits::default(),
        compare: None,
    };
    arms.shadow = Some(Box::new(shadow));
    arms
}

fn ask_of<'a>(split: &Split, who: &'a Caller<'a>) -> SamplingInput<'a> {
    let share = split.shadow.as_ref().unwrap().weight;
    let (route, variant) = (RouteId(0), VariantId::STABLE);
    SamplingInput { route, method: &Method::GET, variant, caller: who, cookie_identity: None, share }
}

/// An overlay without kills.
fn unkilled() -> Overlay {
    Overlay::new(Kill::default(), vec![SplitState::default()])
}

fn of_caller(split: &Split, who: &Caller<'_>) -> Sampling {
    decide_sampling(&unkilled(), split, &ask_of(split, who), &mut ShadowSpread::default())
}

#[test]
fn what_is_not_meant_is_not_sampled() {
    let (overlay, who) = (unkilled(), caller(Some("acme")));
    let all = shadowed(split("r", &[("canary", 50_000)]), BUCKETS, SampleBy::Request);
    let request = ask_of(&all, &who);
    let of = |overlay: &Overlay, split: &Split, request: &SamplingInput<'_>| {
        decide_sampling(overlay, split, request, &mut ShadowSpread::default())
    };
    assert_eq!(of(&overlay, &all, &request), Sampling::In);
    assert_eq!(of(&overlay, &split("r", &[]), &request), Sampling::Out);
    assert_eq!(of(&overlay, &all, &SamplingInput { share: Weight::ZERO, ..request }), Sampling::Out);
    assert_eq!(of(&overlay, &all, &SamplingInput { variant: VariantId(1), ..request }), Sampling::Out);
    let post = SamplingInput { method: &Method::POST, ..request };
    assert_eq!(of(&overlay, &all, &post), Sampling::Dropped(Unfit::Method));
    let killed = overlay.with_kill(Kill { all: true, ..Kill::default() });
    assert_eq!(of(&killed, &all, &post), Sampling::Dropped(Unfit::Killed("all")));
    assert_eq!(of(&killed, &all, &SamplingInput { variant: VariantId(1), ..request }), Sampling::Out);
    let mut state = SplitState::default();
    state.kill_shadow();
    let killed = overlay.with([(RouteId(0), state)]);
    assert_eq!(of(&killed, &all, &post), Sampling::Dropped(Unfit::Killed("shadow")));
    assert_eq!(of(&killed.unkilled().unwrap(), &all, &request), Sampling::In);
    assert_eq!(Unfit::Killed("shadow").name(), "killed");
}

#[test]
fn a_caller_without_a_key_is_sampled_with_everybody_only() {
    let unkeyed = caller(None);
    for (millionths, sampling) in [(BUCKETS - 1, Sampling::Out), (BUCKETS, Sampling::In)] {
        let split = shadowed(split("r", &[]), millionths, SampleBy::Key);
        assert_eq!(of_caller(&split, &unkeyed), sampling, "{millionths}");
    }
}

#[test]
fn a_key_falls_where_the_contract_says() {
    assert_eq!(Salt::shadow("checkout").text(), "checkout\u{1f}shadow");
    assert_eq!(Salt::shadow("r"), Salt::new("r\u{1f}shadow"));
    let bucket = Salt::shadow("checkout").bucket("acme").number();
    for (share, sampling) in [(bucket, Sampling::Out), (bucket + 1, Sampling::In)] {
        let split = shadowed(split("checkout", &[]), share, SampleBy::Key);
        assert_eq!(of_caller(&split, &caller(Some("acme"))), sampling);
    }
}

#[test]
fn the_share_of_callers_is_within_three_sigma() {
    const KEYS: u32 = 200_000;
    let salt = Salt::shadow("checkout");
    for millionths in [100, 10_000, 50_000, 500_000] {
        let hits: u32 = (0..KEYS).map(|n| u32::from(salt.bucket(&format!("user-{n}")).number() < millionths)).sum();
        let (n, p) = (f64::from(KEYS), f64::from(millionths) / f64::from(BUCKETS));
        let sigmas = (f64::from(hits) - n * p) / (n * p * (1.0 - p)).sqrt();
        assert!(sigmas.abs() < 3.0, "weight {millionths}: {hits} hits, {sigmas:.2} sigma");
    }
}

/// Chi-square of a table of 16 × 16 against independence: mean 225, and 0.1 % lies above 295.
fn chi2(pairs: impl Iterator<Item = (Bucket, Bucket)>) -> f64 {
    const CELLS: usize = 16;
    let cell = |bucket: Bucket| bucket.number() as usize * CELLS / BUCKETS as usize;
    let mut table = [[0_u32; CELLS]; CELLS];
    pairs.for_each(|(a, b)| table[cell(a)][cell(b)] += 1);
    let all: u32 = table.iter().flatten().sum();
    let row = |i: usize| f64::from(table[i].iter().sum::<u32>());
    let column = |j: usize| f64::from(table.iter().map(|r| r[j]).sum::<u32>());
    let cells = (0..CELLS).flat_map(|i| (0..CELLS).map(move |j| (i, j)));
    cells
        .map(|(i, j)| {
            let expected = row(i) * column(j) / f64::from(all);
            (f64::from(table[i][j]) - expected).powi(2) / expected
        })
        .sum()
}

#[test]
fn callers_are_sampled_whatever_their_variant() {
    let (weights, shadow) = (Salt::new("checkout"), Salt::shadow("checkout"));
    let keys = (0..160_000).map(|n| format!("tenant-{n}"));
    let chi2 = chi2(keys.map(|key| (weights.bucket(&key), shadow.bucket(&key))));
    assert!((155.0..295.0).contains(&chi2), "chi² {chi2:.1}");
}

#[test]
fn requests_are_sampled_whatever_their_variant() {
    for seed in [0, 1, u64::MAX / 3, 0x1234_5678_9abc_def0] {
        let (mut weights, mut shadow) = (Spread(seed), ShadowSpread(seed));
        // Spread evenly together, which is better than independent draws.
        let chi2 = chi2((0..160_000).map(|_| (weights.draw(), shadow.draw())));
        assert!(chi2 < 155.0, "seed {seed}: chi² {chi2:.1}");
    }
}

#[test]
fn any_hundred_consecutive_requests_at_five_percent_give_five_or_one_off() {
    let (overlay, who) = (unkilled(), caller(None));
    let split = shadowed(split("r", &[]), 50_000, SampleBy::Request);
    for seed in [0, 1, u64::MAX / 3, 0x1234_5678_9abc_def0] {
        let mut spread = ShadowSpread(seed);
        let hits: Vec<bool> = (0..20_000)
            .map(|_| decide_sampling(&overlay, &split, &ask_of(&split, &who), &mut spread) == Sampling::In)
            .collect();
        for (at, window) in hits.windows(100).enumerate() {
            let sum = window.iter().filter(|hit| **hit).count();
            assert!((4..=6).contains(&sum), "requests {at} on after seed {seed}: {sum}");
        }
    }
}

#[test]
fn the_control_gets_its_share_of_the_copies() {
    for (millionths, wanted) in [(0, 0..=0), (200_000, 199..=201), (BUCKETS, 1_000..=1_000)] {
        let compare = Compare { control: Weight::from_millionths(millionths).unwrap(), ..Compare::default() };
        let mut spread = Spread::default();
        let hits = (0..1_000).filter(|_| compare.controls(&mut spread)).count();
        assert!(wanted.contains(&hits), "{millionths}: {hits}");
    }
}

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

/// The file of one route.
fn only(arms: Arms) -> File {
    file(vec![route("checkout", "h", "/*")], arms)
}

fn copied(file: &File, path_and_query: &str) -> ShadowExplanation {
    let ask = Ask::get("h", "");
    let explanation = explain(file.effective(), &asked(&ask, path_and_query));
    let ExplainedOutcome::Serve(served) = &explanation.outcome else { panic!("{explanation}") };
    let copied = *served.copied.clone().expect("a shadow");
    assert!(explanation.line().ends_with(&format!(" shadow=v2:{}", copied.word())), "{}", explanation.line());
    assert!(explanation.to_string().contains(&format!("\nshadow    v2: {}\n", copied.step.text)), "{explanation}");
    copied
}

#[test]
fn explain_shows_a_copy() {
    let bucket = Salt::shadow("checkout").bucket("acme").number();
    let by_key = |share| only(shadowed(split("checkout", &[]), share, SampleBy::Key));
    let inside = copied(&by_key(bucket + 1), "/?tenant=acme");
    assert_eq!((inside.chance, inside.step.range), (Weight::FULL, Some(0..bucket + 1)));
    let text = format!("bucket {bucket} by salt checkout/shadow, its range is 0..{}: copied", bucket + 1);
    assert_eq!(inside.step.text, text);
    let outside = copied(&by_key(bucket), "/?tenant=acme");
    assert_eq!((outside.chance, outside.step.bucket), (Weight::ZERO, Some(bucket)));
    assert_eq!(copied(&by_key(500_000), "/").step.text, "not copied: no sticky key");
    assert_eq!(copied(&by_key(BUCKETS), "/").word(), "yes");
    assert_eq!(copied(&by_key(0), "/").step.text, "not copied: its weight is 0");

    let by_request = only(shadowed(split("checkout", &[]), 200_000, SampleBy::Request));
    assert_eq!(copied(&by_request, "/").word(), "20%");
    assert_eq!(copied(&by_request, "/").step.text, "20 % of the requests of stable are copied");
    assert_eq!(copied(&by_request.clone().all_killed(), "/").step.text, "not copied: kill: all");
    let killed = by_request.clone().having(SplitState::kill_shadow);
    assert_eq!(
        (copied(&killed, "/").step.text.as_str(), copied(&killed, "/").chance),
        ("not copied: kill: shadow", Weight::ZERO)
    );
    let mut post = shadowed(split("checkout", &[]), 200_000, SampleBy::Request);
    post.shadow.as_mut().unwrap().methods = vec![Method::POST, Method::PUT];
    assert_eq!(copied(&only(post), "/").step.text, "not copied: its methods are POST, PUT");
    let canary = shadowed(split("checkout", &[("canary", BUCKETS)]), 200_000, SampleBy::Request);
    let text = "not copied: canary answers, and only requests of stable are copied";
    assert_eq!(copied(&only(canary), "/?tenant=a").step.text, text);
}

#[test]
fn where_nothing_sticks_the_chance_is_that_of_both() {
    let mut per_request = shadowed(split("checkout", &[("canary", 250_000)]), 200_000, SampleBy::Request);
    per_request.sticky.clear();
    assert_eq!(copied(&only(per_request.clone()), "/").word(), "15%");
    per_request.shadow.as_mut().unwrap().from.push(VariantId(1));
    assert_eq!(copied(&only(per_request), "/").word(), "20%");
    let mut issued = shadowed(split("checkout", &[]), 200_000, SampleBy::Key);
    (issued.sticky, issued.sticky_cookie) = (vec![], Some("id".into()));
    assert_eq!(copied(&only(issued), "/").word(), "20%");
}

#[test]
fn changes_are_described_in_words() {
    let with = |share, edit: fn(&mut Shadow)| {
        let mut split = shadowed(split("checkout", &[("canary", 50_000)]), share, SampleBy::Request);
        edit(split.shadow.as_mut().unwrap());
        only(split)
    };
    let (none, five) = (only(split("checkout", &[("canary", 50_000)])), with(50_000, |_| {}));
    let check = |old: &File, new: &File, words: &[&str]| {
        let (old, new) = (old.effective(), new.effective());
        assert_eq!(summary(old, new), words);
        let comparison = compare(old, new);
        assert!(comparison.changed.iter().all(|change| change.moved.millionths() == Some(0)), "{comparison:?}");
    };
    check(&five, &with(50_000, |_| {}), &[]);
    check(&none, &five, &["checkout shadow to v2 added at 5"]);
    check(&five, &none, &["checkout shadow to v2 removed, was 5"]);
    check(&five, &with(100_000, |_| {}), &["checkout shadow 5 → 10"]);
    check(&five, &with(50_000, |s| s.upstream = UpstreamId(0)), &["checkout shadow upstream v2 → v1"]);
    check(&five, &with(50_000, |s| s.sample_by = SampleBy::Key), &["checkout shadow sample_by request → key"]);
    check(&five, &with(50_000, |s| s.compare = Some(Compare::default())), &["checkout shadow compare changed"]);
    check(&five, &with(50_000, |s| s.from.push(VariantId(1))), &["checkout shadow changed"]);
    check(&five, &with(50_000, |s| s.methods.push(Method::POST)), &["checkout shadow changed"]);
    check(&five, &with(50_000, |s| s.max_in_flight = 1), &["checkout shadow changed"]);
}

#[test]
fn a_replay_counts_how_many_are_copied() {
    let with = |share, sample_by| only(shadowed(split("checkout", &[("canary", 500_000)]), share, sample_by));
    let (none, by_request) = (only(split("checkout", &[])), with(200_000, SampleBy::Request));
    let by_key = with(200_000, SampleBy::Key);
    let key = |n: u32| format!("/?tenant=t{n}");
    let is_copied = |n: &u32| {
        let key = format!("t{n}");
        Salt::new("checkout").bucket(&key).number() >= 500_000
            && Salt::shadow("checkout").bucket(&key).number() < 200_000
    };
    let (asks, keys): (Vec<Ask>, Vec<String>) = (0..1_000).map(|n| (Ask::get("h", ""), key(n))).unzip();
    let all = || asks.iter().zip(&keys).map(|(ask, key)| asked(ask, key));
    let stable = (0..1_000_u32).filter(|n| Salt::new("checkout").bucket(&format!("t{n}")).number() >= 500_000).count();
    let [before, after] = replay(none.effective(), by_request.effective(), all()).copied;
    assert_eq!(before, CopyCounts::default());
    assert_eq!(after, CopyCounts { any: true, millionths: stable as u64 * 200_000, unknown: 0 });
    let [_, after] = replay(by_request.effective(), by_key.effective(), all()).copied;
    assert_eq!(after.millionths, (0..1_000).filter(is_copied).count() as u64 * 1_000_000);
}

#[test]
fn a_log_shows_copies_where_it_knows_the_key() {
    let sticky = |sticky: &[StickyKey]| {
        let mut split = shadowed(split("checkout", &[("canary", 1)]), 999_999, SampleBy::Key);
        split.sticky = sticky.to_vec();
        only(split)
    };
    let unknown = |file: &File, path_and_query: &str, noted| {
        let ask = Ask::get("h", "");
        let mut replay = Replay::new(file.effective(), file.effective());
        replay.add(&LoggedRequest {
            request: asked(&ask, path_and_query),
            route: LoggedRoute::Unknown,
            decision: noted,
        });
        let replayed = replay.finish();
        assert_eq!(replayed.unknown, 0);
        replayed.copied[0].unknown
    };
    let at = |bucket| LoggedDecision::ByWeight { route: "checkout", bucket: Some(bucket) };
    let (tenant, user) = ([StickyKey::Tenant, StickyKey::User], [StickyKey::User, StickyKey::Tenant]);
    assert_eq!(unknown(&sticky(&tenant), "/?tenant=a", at(7_000)), 0);
    assert_eq!(unknown(&sticky(&tenant), "/", at(7_000)), 1);
    assert_eq!(unknown(&sticky(&user), "/?tenant=a", at(7_000)), 1);
    let bucket = Salt::new("checkout").bucket("a").number();
    assert_eq!(unknown(&sticky(&user), "/?tenant=a", at(bucket)), 0);
    assert_eq!(unknown(&sticky(&user), "/?tenant=a", LoggedDecision::Complete), 0);
    assert_eq!(unknown(&sticky(&[StickyKey::ClientIp]), "/", at(7_000)), 0);
}

proptest! {
    #[test]
    fn explain_and_sampling_agree(tenant in "[a-z]{0,3}", weight in 0..=BUCKETS, canary in 0..=BUCKETS) {
        let arms = split("checkout", &[("canary", canary)]);
        let by_key = only(shadowed(arms, weight, SampleBy::Key));
        let (ask, path) = (Ask::get("h", ""), format!("/?tenant={tenant}"));
        let explanation = explain(by_key.effective(), &asked(&ask, &path));
        let ExplainedOutcome::Serve(served) = &explanation.outcome else { panic!("{explanation}") };
        let split = by_key.routes[0].split().unwrap();
        let who = caller(Some(tenant.as_str()).filter(|tenant| !tenant.is_empty()));
        let request = SamplingInput { variant: served.decision.variant, ..ask_of(split, &who) };
        let sampling = decide_sampling(&by_key.overlay, split, &request, &mut ShadowSpread::default());
        let chance = served.copied.as_ref().unwrap().chance;
        prop_assert_eq!(chance, if sampling == Sampling::In { Weight::FULL } else { Weight::ZERO });
    }

    #[test]
    fn growing_adds_callers_and_removes_none(tenant in ".{1,40}", small in 0..=BUCKETS, more in 0..=BUCKETS) {
        let (less, much) = (small.min(more), small.max(more));
        let who = caller(Some(&tenant));
        let by = |millionths| of_caller(&shadowed(split("r", &[]), millionths, SampleBy::Key), &who);
        prop_assert!(by(less) == Sampling::Out || by(much) == Sampling::In);
        prop_assert_eq!(by(0), Sampling::Out);
        prop_assert_eq!(by(BUCKETS), Sampling::In);
    }

    #[test]
    fn a_smaller_share_is_the_same_as_a_smaller_weight(tenant in ".{1,40}", weight in 0..=BUCKETS, share in 0..=BUCKETS) {
        let who = caller(Some(&tenant));
        let split_of = |millionths| shadowed(split("r", &[]), millionths, SampleBy::Key);
        let large = split_of(weight);
        let share = Weight::from_millionths(share).unwrap();
        let lowered = SamplingInput { share, ..ask_of(&large, &who) };
        let sampling = decide_sampling(&unkilled(), &large, &lowered, &mut ShadowSpread::default());
        prop_assert_eq!(sampling, of_caller(&split_of(share.millionths()), &who));
    }
}
