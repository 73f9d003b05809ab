//! Tests of `guard` and `[[route.guard]]`: defaults, tables, mistakes, warnings, and what a reload says of a change.

use std::time::Duration;

use super::{Loaded, load_text};
use crate::route::{
    EffectiveConfig, GuardAct, GuardTest, Guards, SIGNALS_MAX, Signal, SlowThreshold, StatusRange, VariantId, summary,
};

/// A file whose one route, with two variants, has this text.
fn text(route: &str) -> String {
    let upstreams =
        ["a", "b", "c"].map(|name| format!("[upstream.{name}]\nrevision = '1'\nendpoints = 'http://10.0.0.1'\n"));
    format!(
        "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[identity]\nuser = ['header:x-user']\n\
         trusted_proxies = ['127.0.0.0/8']\n{}[[route]]\nname = 'r'\nstable = 'a'\nsticky = ['user', 'client_ip']\n\
         canary = {{ upstream = 'b', weight = 5 }}\n{route}\n\
         [[route.variant]]\nname = 'next'\nupstream = 'c'\nweight = 1\n",
        upstreams.concat()
    )
}

fn load(text: &str) -> Loaded {
    load_text("routes.toml", text, &|_| None).unwrap_or_else(|found| panic!("{found}"))
}

fn effective(loaded: &Loaded) -> EffectiveConfig<'_> {
    EffectiveConfig { rules: &loaded.rules, overlay: &loaded.overlay }
}

fn guards(route: &str) -> Guards {
    (*load(&text(route)).rules.routes.remove(0).split().expect("a split").guards).clone()
}

/// The codes of the diagnostics of a route with this text, in their order.
fn codes(route: &str) -> Vec<&'static str> {
    codes_of(&text(route))
}

fn codes_of(text: &str) -> Vec<&'static str> {
    match load_text("routes.toml", text, &|_| None) {
        Ok(loaded) => loaded.warnings.iter().map(|found| found.code).collect(),
        Err(found) => found.iter().map(|found| found.code).collect(),
    }
}

/// A table with this name and these keys.
fn table(name: &str, keys: &str) -> String {
    format!("[[route.guard]]\nname = '{name}'\n{keys}\n")
}

fn errors_with(keys: &str) -> String {
    table("g", &format!("metric = 'error'\n{keys}"))
}

#[test]
fn a_split_has_the_default_guards() {
    for (route, act) in
        [("", GuardAct::Warn), ("guard = 'warn'", GuardAct::Warn), ("guard = 'rollback'", GuardAct::Rollback)]
    {
        let guards = guards(route);
        assert!(guards.by_default, "{route}");
        let threshold = SlowThreshold::OfStable { quantile: 0.99, over: Duration::from_mins(10) };
        assert_eq!(guards.signals, [Signal::Error, Signal::SlowerThan(threshold)]);
        let all: Vec<_> =
            guards.all.iter().map(|g| (g.name.as_str(), g.signal, g.test, g.alpha, g.act, g.near_full)).collect();
        let expected = [
            ("errors", Some(0), GuardTest::WorseThanStable(1.1), 0.003, act, false),
            ("latency", Some(1), GuardTest::WorseThanStable(1.5), 0.002, act, false),
            ("sample-ratio", None, GuardTest::SampleRatio, 0.001, GuardAct::Hold, false),
            ("near-full", Some(0), GuardTest::Above(None), 0.001, act, true),
        ];
        assert_eq!(all, expected, "{route}");
        assert!(guards.all.iter().all(|guard| guard.variant.is_none()));
    }
    assert_eq!(guards("guard = 'off'"), Guards::default());
    assert_eq!(codes("guard = 'off'"), [""; 0]);
    assert_eq!(codes("guard = 'rollback'"), [""; 0]);
}

#[test]
fn a_route_without_variants_has_no_guards() {
    let file = |guard: &str| {
        format!(
            "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[upstream.a]\nendpoints = 'http://10.0.0.1'\n[[route]]\n\
             name = 'r'\nstable = 'a'\n{guard}\n"
        )
    };
    for (guard, expected) in [
        ("", &[][..]),
        ("guard = 'off'", &[]),
        ("guard = 'rollback'", &["useless-guard"]),
        (&errors_with("above = 0.5"), &["useless-guard"]),
        (&errors_with("above = 0.5\nvariant = 'canary'"), &["unknown-variant"]),
    ] {
        assert_eq!(codes_of(&file(guard)), expected, "{guard}");
    }
    let loaded = load(&file("guard = 'rollback'"));
    assert!(loaded.rules.routes[0].split().unwrap().guards.is_empty());
    let fixed = file("guard = 'rollback'").replace("stable = 'a'", "respond = { status = 404 }");
    assert_eq!(codes_of(&fixed), ["useless-key"]);
}

#[test]
fn tables_replace_the_default_guards() {
    let ranges = |ranges: &[(u16, u16)]| ranges.iter().map(|&(from, to)| StatusRange { from, to }).collect::<Vec<_>>();
    let of_stable = |quantile, minutes| SlowThreshold::OfStable { quantile, over: Duration::from_mins(minutes) };
    for (metric, signal, alpha) in [
        ("'error'", Signal::Error, 0.003_f64),
        ("'lost'", Signal::Lost, 0.003),
        ("{ status = 404 }", Signal::Status(ranges(&[(404, 404)])), 0.003),
        ("{ status = ['5xx', '404', 405] }", Signal::Status(ranges(&[(404, 405), (500, 599)])), 0.003),
        ("{ status = ['503', '5xx'] }", Signal::Status(ranges(&[(500, 599)])), 0.003),
        ("{ grpc = 'internal' }", Signal::Grpc(1 << 13), 0.003),
        ("{ grpc = ['cancelled', 'unauthenticated'] }", Signal::Grpc(1 << 1 | 1 << 16), 0.003),
        ("{ event = 'payment_failed' }", Signal::Event("payment_failed".into()), 0.003),
        ("{ slower_than = '250ms' }", Signal::SlowerThan(SlowThreshold::Fixed(Duration::from_millis(250))), 0.002),
        ("{ slower_than = 'p99(stable, 10m)' }", Signal::SlowerThan(of_stable(0.99, 10)), 0.002),
        ("{ slower_than = 'p99.9(stable,1h)' }", Signal::SlowerThan(of_stable(0.999, 60)), 0.002),
        ("{ slower_than = 'p50(stable, 1m)' }", Signal::SlowerThan(of_stable(0.5, 1)), 0.002),
    ] {
        let guards = guards(&table("g", &format!("metric = {metric}\nworse_than_stable = 2")));
        assert!(!guards.by_default);
        assert_eq!(guards.signals, [signal], "{metric}");
        let [guard] = &guards.all[..] else { panic!("one guard") };
        assert_eq!((guard.signal, guard.test), (Some(0), GuardTest::WorseThanStable(2.0)), "{metric}");
        assert_eq!(
            (guard.alpha.to_bits(), guard.act, guard.variant),
            (alpha.to_bits(), GuardAct::Warn, None),
            "{metric}"
        );
    }
    let guards = guards(&table("slo", "metric = 'error'\nabove = 0.02\nact = 'rollback'\nvariant = 'next'"));
    let guard = &guards.all[0];
    assert_eq!((guard.test, guard.alpha, guard.act), (GuardTest::Above(Some(0.02)), 0.001, GuardAct::Rollback));
    assert_eq!((guard.variant, guard.name.as_str()), (Some(VariantId(2)), "slo"));
}

#[test]
fn guards_of_one_metric_share_its_events() {
    let of = |name: &str, metric: &str| table(name, &format!("metric = {metric}\nworse_than_stable = 1.5"));
    let route = [
        of("a", "{ status = ['5xx', '404'] }"),
        of("b", "'error'"),
        of("c", "{ status = ['404', '500', '5xx'] }"),
        of("d", "'error'"),
        table("e", "metric = 'sample_ratio'\nact = 'hold'\nalpha = 1e-6"),
    ]
    .concat();
    let guards = guards(&route);
    assert_eq!(guards.signals.len(), 2);
    assert_eq!(
        guards.all.iter().map(|guard| guard.signal).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(0), Some(1), None]
    );
    assert_eq!(
        (guards.all[4].test, guards.all[4].alpha, guards.all[4].act),
        (GuardTest::SampleRatio, 1e-6, GuardAct::Hold)
    );
}

#[test]
fn mistakes_have_their_codes() {
    for (route, expected) in [
        ("guard = 'stop'", &["unknown-word"][..]),
        ("guard = true", &["wrong-type"]),
        ("guard = []", &["empty-list"]),
        ("guard = 'warn'\n[[route.guard]]\nname = 'g'", &["ambiguous"]),
        ("[route.guard]\nname = 'g'\nmetric = 'error'\nabove = 0.5", &["wrong-type"]),
        (&errors_with(""), &["missing-key"]),
        (&errors_with("above = 0.1\nworse_than_stable = 2"), &["ambiguous"]),
        (&errors_with("above = 0"), &["out-of-range"]),
        (&errors_with("above = 0.99"), &["out-of-range"]),
        (&errors_with("above = '0.1'"), &["wrong-type"]),
        (&errors_with("worse_than_stable = 0"), &["out-of-range"]),
        (&errors_with("worse_than_stable = 30"), &["out-of-range"]),
        (&errors_with("worse_than_stable = nan"), &["out-of-range"]),
        (&errors_with("worse_than_stable = 29.9"), &[]),
        (&errors_with("worse_than_stable = 0.9"), &["low-bound"]),
        (&errors_with("above = 0.1\nalpha = 0.11"), &["out-of-range"]),
        (&errors_with("above = 0.1\nalpha = 1e-7"), &["out-of-range"]),
        (&errors_with("above = 0.1\nalpha = 0.1"), &[]),
        (&errors_with("above = 0.1\nact = 'off'"), &["unknown-word"]),
        (&errors_with("above = 0.1\nvariant = 'stable'"), &["unknown-variant"]),
        (&errors_with("above = 0.1\nvariant = 'canarz'"), &["unknown-variant"]),
        (&errors_with("above = 0.1\nprometheus = { query = 'x' }"), &["unknown-key"]),
        (&errors_with("worse_then_stable = 1.1"), &["unknown-key"]),
        (&table("g", "above = 0.1"), &["missing-key"]),
        (&table("G", "metric = 'error'\nabove = 0.1"), &["bad-name"]),
        (&table("g", "metric = 'errors'\nabove = 0.1"), &["unknown-word"]),
        (&table("g", "metric = 5\nabove = 0.1"), &["wrong-type"]),
        (&table("g", "metric = {}\nabove = 0.1"), &["missing-key"]),
        (&table("g", "metric = { status = 404, event = 'x' }\nabove = 0.1"), &["ambiguous"]),
        (&table("g", "metric = { status = [] }\nabove = 0.1"), &["empty-list"]),
        (&table("g", "metric = { status = ['6xx', 101] }\nabove = 0.1"), &["out-of-range", "out-of-range"]),
        (&table("g", "metric = { status = ['404', 404] }\nabove = 0.1"), &["duplicate-key"]),
        (&table("g", "metric = { grpc = 'ok' }\nabove = 0.1"), &["unknown-word"]),
        (&table("g", "metric = { event = 'Payment failed' }\nabove = 0.1"), &["bad-name"]),
        (&table("g", "metric = { slower_than = 'p99' }\nabove = 0.1"), &["bad-threshold"]),
        (&table("g", "metric = { slower_than = 'p99(canary, 10m)' }\nabove = 0.1"), &["bad-threshold"]),
        (&table("g", "metric = { slower_than = 'p49(stable, 10m)' }\nabove = 0.1"), &["bad-threshold"]),
        (&table("g", "metric = { slower_than = 'p99.99(stable, 10m)' }\nabove = 0.1"), &["bad-threshold"]),
        (&table("g", "metric = { slower_than = 'p99(stable, 10s)' }\nabove = 0.1"), &["out-of-range"]),
        (&table("g", "metric = { slower_than = '0s' }\nabove = 0.1"), &["out-of-range"]),
        (&table("g", "metric = { slower_than = '6m' }\nabove = 0.1"), &["out-of-range"]),
        (&table("g", "metric = { slower_than = 250 }\nabove = 0.1"), &["wrong-type"]),
        (&table("g", "metric = 'sample_ratio'\nabove = 0.1"), &["useless-key"]),
    ] {
        assert_eq!(codes(route), expected, "{route}");
    }
    let twice = errors_with("above = 0.1").repeat(2);
    assert_eq!(codes(&twice), ["duplicate-name"]);
    let many: String = (0..17).map(|n| table(&format!("g{n}"), "metric = 'error'\nabove = 0.1")).collect();
    assert_eq!(codes(&many), ["too-many"]);
    let kinds = |count: usize| {
        let all = (0..count).map(|n| table(&format!("g{n}"), &format!("metric = {{ event = 'e{n}' }}\nabove = 0.1")));
        all.collect::<String>()
    };
    assert_eq!(codes(&kinds(SIGNALS_MAX)), [""; 0]);
    assert_eq!(codes(&kinds(SIGNALS_MAX + 1)), ["too-many"]);
}

#[test]
fn guards_that_cannot_do_their_work_are_reported() {
    let loud = text("guard = 'rollback'");
    let plain = loud.replace("guard = 'rollback'\n", "");
    // Each change of the file, and what is said: of named guards, but not of those by default.
    for (from, to, expected) in [
        ("revision = '1'\n", "", &["no-revision", "no-revision"][..]),
        ("upstream = 'b'", "upstream = 'a'", &["unused-upstream", "same-upstream"]),
        ("trusted_proxies = ['127.0.0.0/8']\n", "", &["untrusted-identity"]),
    ] {
        let mut found = codes_of(&loud.replace(from, to));
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{from} → {to}");
        let quiet = codes_of(&plain.replace(from, to));
        let is_known = |code: &&str| matches!(*code, "unused-upstream" | "untrusted-identity");
        assert!(quiet.iter().all(is_known), "{from} → {to}: {quiet:?}");
    }
    let addresses = |file: &str| {
        let file = file.replace("['user', 'client_ip']", "['client_ip']");
        file.replace("user = ['header:x-user']\ntrusted_proxies = ['127.0.0.0/8']\n", "")
    };
    assert_eq!(codes_of(&addresses(&loud)), ["one-caller"]);
    assert_eq!(codes_of(&addresses(&plain)), [""; 0]);

    let rolls_back = |alpha: f64| errors_with(&format!("worse_than_stable = 1.1\nact = 'rollback'\nalpha = {alpha}"));
    assert_eq!(codes(&rolls_back(0.05)), [""; 0]);
    assert_eq!(codes(&rolls_back(0.06)), ["guard-alpha"; 2], "of each variant");
    assert_eq!(codes(&rolls_back(0.06).replace("rollback", "warn")), [""; 0]);
    let full = |guard: &str| text(guard).replace("weight = 5", "weight = 95");
    assert_eq!(codes_of(&full(&errors_with("worse_than_stable = 1.1"))), ["no-control"]);
    assert_eq!(codes_of(&full(&errors_with("above = 0.1"))), [""; 0]);
    let slow = |time: &str| table("g", &format!("metric = {{ slower_than = '{time}' }}\nworse_than_stable = 2"));
    assert_eq!(codes(&slow("30s")), ["late-threshold"]);
    assert_eq!(codes(&slow("29s")), [""; 0]);
}

#[test]
fn an_audience_has_as_many_callers_as_must_fail() {
    let users = |count: usize| (0..count).map(|n| format!("'u{n}'")).collect::<Vec<_>>().join(", ");
    let file = |guard: &str, count: usize, more: &str| {
        let target = format!("[[route.target]]\nuser = [{}]\nserve = 'canary'\nweight = 50\n{more}", users(count));
        text(&format!("{guard}\n{target}")).replace("weight = 5 ", "weight = 0 ")
    };
    // At 50 %, 13 callers that fail are needed where the alpha is 0.003 (rule 9 of the windows).
    let only_errors = errors_with("worse_than_stable = 1.1\nvariant = 'canary'");
    assert_eq!(codes_of(&file(&only_errors, 12, "")), ["short-audience"]);
    assert_eq!(codes_of(&file(&only_errors, 13, "")), [""; 0]);
    assert_eq!(codes_of(&file("", 3, "")), [""; 0], "not of default guards that only warn");
    assert!(codes_of(&file("guard = 'rollback'", 3, "")).contains(&"short-audience"));
    // A further audience without a list may have any number of callers.
    let other = "[[route.target]]\nheader = { x-beta = '1' }\nserve = 'canary'\nweight = 5\n";
    assert_eq!(codes_of(&file(&only_errors, 3, other)), [""; 0]);
    let by_address =
        file(&only_errors, 3, "").replace("sticky = ['user', 'client_ip']", "sticky = ['client_ip', 'user']");
    assert_eq!(codes_of(&by_address), [""; 0], "a user may have several addresses");
    let by_weight = file(&only_errors, 3, "").replace("weight = 0 ", "weight = 5 ");
    assert_eq!(codes_of(&by_weight), [""; 0]);
}

#[test]
fn a_changed_guard_is_described_in_words() {
    let said = |old: &str, new: &str| {
        let (old, new) = (load(&text(old)), load(&text(new)));
        summary(effective(&old), effective(&new))
    };
    let first = errors_with("worse_than_stable = 1.1");
    for (old, new, expected) in [
        ("", "guard = 'warn'", &[][..]),
        ("", "guard = 'rollback'", &["r guard warn → rollback"]),
        ("guard = 'rollback'", "guard = 'off'", &["r guard rollback → off"]),
        ("guard = 'warn'", &first, &["r guard warn → g"]),
        (&first, &first, &[]),
        (
            &first,
            &errors_with("worse_than_stable = 1.2\nact = 'rollback'"),
            &["r guard g worse_than_stable 1.1 → 1.2, act warn → rollback"],
        ),
        (
            &first,
            &table("g", "metric = { status = '5xx' }\nabove = 0.02\nvariant = 'canary'"),
            &[
                "r guard g variant each → canary, metric error → status 5xx, worse_than_stable 1.1 → above 0.02, alpha 0.003 → \
                 0.001",
            ],
        ),
        (
            &first,
            &table("slow", "metric = { slower_than = 'p99.9(stable, 90s)' }\nworse_than_stable = 2\nact = 'hold'"),
            &[
                "r guard slow added: slower_than p99.9(stable, 1m30s) worse_than_stable 2, alpha 0.002, act hold",
                "r guard g removed",
            ],
        ),
    ] {
        assert_eq!(said(old, new), expected, "{old} → {new}");
    }
}

#[test]
fn guards_have_a_line() {
    for (route, line) in [
        ("guard = 'off'", "off"),
        ("", "warn (errors, latency, sample-ratio, near-full, by default)"),
        (
            &[errors_with("above = 0.02"), table("ratio", "metric = 'sample_ratio'\nact = 'hold'")].concat(),
            "g (warn), ratio (hold)",
        ),
    ] {
        assert_eq!(guards(route).summary(), line);
    }
    let guards = guards("guard = 'rollback'");
    let lines: Vec<String> = guards.all.iter().map(|guard| guards.describe(guard)).collect();
    let expected = [
        "error worse_than_stable 1.1, alpha 0.003, act rollback",
        "slower_than p99(stable, 10m) worse_than_stable 1.5, alpha 0.002, act rollback",
        "sample_ratio, alpha 0.001, act hold",
        "error above 3 times stable's rate, at least 0.01, alpha 0.001, act rollback, from weight 90 on",
    ];
    assert_eq!(lines, expected);
}
