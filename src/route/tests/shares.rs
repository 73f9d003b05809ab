//! The law of buckets: shares, growth, independence, spread.

use proptest::prelude::*;

use super::*;

fn owner(arms: &Arms, key: &str) -> VariantId {
    arms.state.owner(arms.salt.bucket(key))
}

/// Decides about a request of this caller as one of a row.
fn decided(arms: &Arms, caller: &Caller<'_>, spread: &mut Spread) -> Decision {
    let (rules, ask) = (rules(vec![]), Ask::get("h", "/"));
    let overlay = Overlay::new(Kill::default(), vec![arms.state.clone()]);
    let request = Routed { route: RouteId(0), split: arms, head: &ask.head(), caller, cookie_identity: None };
    decide(&rules, &overlay, &request, spread, &mut NoTrace)
}

#[test]
fn shares_are_within_three_sigma_over_a_million_keys() {
    const KEYS: u32 = 1_000_000;
    let salt = Salt::new("shares");
    let weights = [100, 10_000, 50_000, 500_000];
    let mut hits = [0_u32; 4];
    let mut key = String::new();
    for n in 0..KEYS {
        key.clear();
        std::fmt::Write::write_fmt(&mut key, format_args!("user-{n}")).unwrap();
        let bucket = salt.bucket(&key).number();
        for (hit, weight) in hits.iter_mut().zip(weights) {
            *hit += u32::from(bucket < weight);
        }
    }
    for (hit, weight) in hits.into_iter().zip(weights) {
        let (n, p) = (f64::from(KEYS), f64::from(weight) / f64::from(BUCKETS));
        let sigmas = (f64::from(hit) - n * p) / (n * p * (1.0 - p)).sqrt();
        assert!(sigmas.abs() < 3.0, "weight {weight}: {hit} hits, {sigmas:.2} sigma");
    }
}

#[test]
fn two_salts_are_independent() {
    const CELLS: usize = 16;
    const KEYS: u32 = 160_000;
    let (one, two) = (Salt::new("checkout"), Salt::new("search"));
    let cell = |salt: &Salt, key: &str| (salt.bucket(key).number() as usize * CELLS) / BUCKETS as usize;
    let mut table = [[0_u32; CELLS]; CELLS];
    for n in 0..KEYS {
        let key = format!("tenant-{n}");
        table[cell(&one, &key)][cell(&two, &key)] += 1;
    }
    let row = |i: usize| f64::from(table[i].iter().sum::<u32>());
    let column = |j: usize| f64::from(table.iter().map(|r| r[j]).sum::<u32>());
    let chi2: f64 = (0..CELLS)
        .flat_map(|i| (0..CELLS).map(move |j| (i, j)))
        .map(|(i, j)| {
            let expected = row(i) * column(j) / f64::from(KEYS);
            (f64::from(table[i][j]) - expected).powi(2) / expected
        })
        .sum();
    // 225 degrees of freedom: mean 225, standard deviation 21.2; 0.1 % lies above 295.
    assert!((155.0..295.0).contains(&chi2), "chi² {chi2:.1}");
}

#[test]
fn any_hundred_consecutive_requests_at_five_percent_give_five_or_one_off() {
    let mut per_request = split("r", &[("first", 300_000), ("canary", 50_000)]);
    per_request.sticky.clear();
    let who = caller(None);
    for seed in [0, 1, u64::MAX / 3, 0x1234_5678_9abc_def0] {
        let mut spread = Spread(seed);
        let hits: Vec<u32> = (0..20_000)
            .map(|_| {
                let decision = decided(&per_request, &who, &mut spread);
                assert_eq!((decision.reason, decision.unkeyed), (Reason::Weight, false));
                u32::from(decision.variant == VariantId(2))
            })
            .collect();
        for (at, window) in hits.windows(100).enumerate() {
            let sum: u32 = window.iter().sum();
            assert!((4..=6).contains(&sum), "requests {at} on after seed {seed}: {sum}");
        }
    }
}

proptest! {
    #[test]
    fn growing_adds_and_shrinking_removes_the_latest(key in ".{0,40}", small in 0..=BUCKETS, more in 0..=BUCKETS) {
        let (small, large) = (small.min(more), small.max(more));
        let on = |weight| owner(&split("r", &[("canary", weight)]), &key) == VariantId(1);
        prop_assert!(!on(small) || on(large));
        // Who is on at `large` and off at `small` came last: the buckets from `small` up.
        if on(large) && !on(small) {
            prop_assert!((small..large).contains(&Salt::new("r").bucket(&key).number()));
        }
        prop_assert!(!on(0) && on(BUCKETS));
    }

    #[test]
    fn replicas_agree(key in ".{0,40}", salt in "[a-z]{1,20}", weight in 0..=BUCKETS) {
        let here = split(&salt, &[("canary", weight)]);
        let there = split(&salt, &[("canary", weight)]);
        prop_assert_eq!(owner(&here, &key), owner(&there, &key));
    }

    #[test]
    fn each_bucket_has_one_owner(a in 0..=400_000_u32, b in 0..=300_000_u32, c in 0..=300_000_u32, bucket in 0..BUCKETS) {
        let arms = split("r", &[("a", a), ("b", b), ("c", c)]);
        let expected = if bucket < a { 1 } else if bucket < a + b { 2 } else if bucket < a + b + c { 3 } else { 0 };
        prop_assert_eq!(arms.state.owner(Bucket(bucket)), VariantId(expected));
    }

    #[test]
    fn no_decision_serves_a_stopped_variant(
        tenant in proptest::option::of("[a-c]"),
        weights in (0..=500_000_u32, 0..=500_000_u32),
        stops in proptest::collection::vec((1..3_u16, any::<bool>()), 0..3),
        serve in proptest::collection::vec((0..3_u16, proptest::option::of(0..=BUCKETS)), 0..4),
        keyed in any::<bool>(),
    ) {
        let mut arms = split("r", &[("a", weights.0), ("b", weights.1)]);
        for (id, by_kill) in stops {
            arms.state.stop(VariantId(id), if by_kill { Stop::Kill } else { Stop::Latch });
        }
        arms.sticky = if keyed { vec![StickyKey::Tenant] } else { vec![] };
        arms.targets = serve.into_iter().map(|(id, weight)| Target {
            line: RouteLine::default(),
            predicates: vec![],
            segment: None,
            serve: VariantId(id),
            weight: weight.map(|w| (Weight::from_millionths(w).unwrap(), Salt::target("r", ""))),
        }).collect();
        let who = caller(tenant.as_deref());
        let mut spread = Spread(7);
        for _ in 0..20 {
            let decision = decided(&arms, &who, &mut spread);
            prop_assert_eq!(arms.state.stopped(decision.variant), None, "{:?}", decision);
        }
    }
}
