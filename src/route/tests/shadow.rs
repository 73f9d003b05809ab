//! The law of shadows: who is sampled, how many, and that it has nothing to do with who gets which variant.

use http::Method;
use proptest::prelude::*;

use super::*;

/// A split whose stable is copied at this weight, in millionths.
fn shadowed(split: Split, millionths: u32, sample_by: SampleBy) -> Split {
    let shadow = Shadow {
        place: Place::default(),
        upstream: UpstreamId(1),
        weight: Weight::from_millionths(millionths).unwrap(),
        sample_by,
        salt: Salt::shadow(split.salt.text()),
        methods: vec![Method::GET],
        from: vec![VariantId::STABLE],
        max_in_flight: 64,
        max_body_bytes: 65_536,
        timeout: std::time::Duration::from_secs(5),
        host: None,
        headers: HeaderEdits::default(),
        compare: None,
    };
    Split { shadow: Some(Box::new(shadow)), ..split }
}

fn ask<'a>(split: &Split, who: &'a Caller<'a>) -> Sampled<'a> {
    let share = split.shadow.as_ref().unwrap().weight;
    Sampled { method: &Method::GET, variant: VariantId::STABLE, caller: who, cookie_identity: None, share }
}

fn of_caller(split: &Split, who: &Caller<'_>) -> Sampling {
    sampled(&rules(vec![]), split, &ask(split, who), &mut ShadowSpread::default())
}

#[test]
fn what_is_not_meant_is_not_sampled() {
    let (rules, who) = (rules(vec![]), caller(Some("acme")));
    let all = shadowed(split("r", &[("canary", 50_000)]), BUCKETS, SampleBy::Request);
    let request = ask(&all, &who);
    let of = |rules: &Rules, split: &Split, request: &Sampled<'_>| {
        sampled(rules, split, request, &mut ShadowSpread::default())
    };
    assert_eq!(of(&rules, &all, &request), Sampling::In);
    assert_eq!(of(&rules, &split("r", &[]), &request), Sampling::Out);
    assert_eq!(of(&rules, &all, &Sampled { share: Weight::ZERO, ..request }), Sampling::Out);
    assert_eq!(of(&rules, &all, &Sampled { variant: VariantId(1), ..request }), Sampling::Out);
    let post = Sampled { method: &Method::POST, ..request };
    assert_eq!(of(&rules, &all, &post), Sampling::Dropped(Unfit::Method));
    let mut killed = rules.clone();
    killed.kill.all = true;
    assert_eq!(of(&killed, &all, &post), Sampling::Dropped(Unfit::Killed));
    assert_eq!(of(&killed, &all, &Sampled { variant: VariantId(1), ..request }), Sampling::Out);
    assert_eq!(Unfit::Killed.name(), "killed");
}

#[test]
fn a_caller_without_a_key_is_sampled_with_everybody_only() {
    let nobody = caller(None);
    for (millionths, sampling) in [(BUCKETS - 1, Sampling::Out), (BUCKETS, Sampling::In)] {
        let split = shadowed(split("r", &[]), millionths, SampleBy::Key);
        assert_eq!(of_caller(&split, &nobody), sampling, "{millionths}");
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
    let (rules, who) = (rules(vec![]), caller(None));
    let split = shadowed(split("r", &[]), 50_000, SampleBy::Request);
    for seed in [0, 1, u64::MAX / 3, 0x1234_5678_9abc_def0] {
        let mut spread = ShadowSpread(seed);
        let hits: Vec<bool> =
            (0..20_000).map(|_| sampled(&rules, &split, &ask(&split, &who), &mut spread) == Sampling::In).collect();
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

proptest! {
    #[test]
    fn growing_adds_callers_and_moves_nobody_out(tenant in ".{1,40}", small in 0..=BUCKETS, more in 0..=BUCKETS) {
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
        let lowered = Sampled { share, ..ask(&large, &who) };
        let sampling = sampled(&rules(vec![]), &large, &lowered, &mut ShadowSpread::default());
        prop_assert_eq!(sampling, of_caller(&split_of(share.millionths()), &who));
    }
}
