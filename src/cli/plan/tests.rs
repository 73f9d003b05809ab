//! Whole plans, compared with those in the repository: `BLESS=1 cargo test --lib plan` writes them again.

use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::command::scene;
use super::document::document;
use super::proof::{DoneAct, Proof, RehearsalProof};
use super::sheet::PlanSheet;
use crate::cli::args::{TrafficArguments, start_date};
use crate::cli::traffic::{FigureSource, KnownTraffic, MissingFigures, ProxyTraffic, TrafficFigure, known_traffic};
use crate::config::{Loaded, load_text};
use crate::rehearsal::{GuardForecast, RouteTraffic, StageForecast, StageTimes, Timeline, Traffic, timeline};
use crate::route::Rollout;

/// The title of the section whose figures come from plays.
const PLAYED: &str = "### How soon a fault is found\n";

/// What is known beside the file.
struct Known {
    traffic: Result<KnownTraffic, MissingFigures>,
    forecast: Vec<StageForecast>,
    proxy: Result<ProxyTraffic, String>,
    proof: Proof,
    /// Another one than that of the traffic.
    timeline: Option<Timeline>,
}

fn ms(date: &str) -> u64 {
    start_date(date).ok().and_then(|start| start.milliseconds(&TimeZone::get("Europe/Paris").unwrap())).unwrap()
}

fn rendered(loaded: &Loaded, file: &str, known: Known) -> String {
    let rollout = rollout(loaded);
    let figures = known.traffic.as_ref().map(|known| known.traffic.clone()).unwrap_or_default();
    let scene = scene(loaded, rollout, &figures, ms("2026-12-01T09:00"), 3_600_000);
    document(&PlanSheet {
        rules: &loaded.rules,
        rollout,
        file,
        config: &loaded.hash,
        made_ms: ms("2026-11-30T17:30"),
        approval_delay_ms: 3_600_000,
        zone: TimeZone::get("Europe/Paris").unwrap(),
        traffic: known.traffic,
        timeline: known.timeline.unwrap_or_else(|| timeline(&scene)),
        forecast: known.forecast,
        proxy: known.proxy,
        proof: known.proof,
    })
}

fn rollout(loaded: &Loaded) -> &Rollout {
    loaded.rules.rollouts.iter().find(|one| one.name == "checkout-v2").unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn loaded(name: &str, text: &str) -> Loaded {
    load_text(name, text, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

fn everything() -> Loaded {
    let path = "tests/golden/plans/everything.toml";
    loaded(path, &read(path))
}

/// The plan of `docs/rollouts.md`.
fn sample() -> Loaded {
    let page = read("docs/rollouts.md");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    loaded("routes.toml", &format!("schema = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n{block}"))
}

fn given(loaded: &Loaded) -> KnownTraffic {
    let rates = vec![crate::cli::args::RateArgument { route: None, per_second: 200.0 }];
    let arguments =
        TrafficArguments { rates, callers: Some(36_000), errors: Some(0.001), p99: Some(Duration::from_millis(80)) };
    known_traffic(&arguments, None, &loaded.rules, rollout(loaded)).unwrap()
}

fn compare(path: &str, document: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, document).unwrap();
    }
    let expected = read(path);
    let first = document.lines().zip(expected.lines()).position(|(is, should)| is != should);
    let first = first.unwrap_or_else(|| document.lines().count().min(expected.lines().count()));
    let shown = |text: &str| text.lines().skip(first).take(3).collect::<Vec<_>>().join("\n");
    assert!(
        document == expected,
        "{path} from line {} on: is\n{}\nshould be\n{}",
        first + 1,
        shown(document),
        shown(&expected)
    );
}

fn forecasts() -> Vec<StageForecast> {
    let of = |guard: &str, fault: &str, found: u32| GuardForecast {
        guard: guard.to_owned(),
        fault: fault.to_owned(),
        runs: 20,
        found,
        median_ms: (found > 0).then_some(95_000),
        p90_ms: (found > 0).then_some(312_000),
        requests: 1_900,
        callers: 340,
    };
    let guards = vec![of("errors", "errors=2x", 20), of("errors", "errors=5x", 20), of("latency", "slow=p99*2", 0)];
    vec![StageForecast { stage: "beta".to_owned(), guards }]
}

fn measured() -> KnownTraffic {
    let route = |name: &str, rate| RouteTraffic {
        route: name.to_owned(),
        rate,
        callers: 35_211,
        errors: 0.0012,
        p99: Some(Duration::from_millis(81)),
    };
    let figure = |route: &str, what, value: &str, source| TrafficFigure {
        route: route.to_owned(),
        what,
        value: value.to_owned(),
        source,
    };
    let over = || FigureSource::Measured("over 5 min".to_owned());
    let figures = vec![
        figure("checkout", "requests a second", "201", over()),
        figure("checkout", "distinct callers in an hour", "35211", FigureSource::Given),
        figure("cart", "requests a second", "40", over()),
        figure("cart", "errors of stable", "0.12 %", FigureSource::Assumed("nothing was measured")),
    ];
    KnownTraffic { traffic: Traffic { routes: vec![route("checkout", 201.0), route("cart", 40.0)] }, figures }
}

#[test]
fn a_plan_with_everything_is_as_in_the_repository() {
    let loaded = everything();
    let done = |seq: u64, who: &str| DoneAct {
        at: "2026-11-27T10:15:20.123Z".to_owned(),
        who: who.to_owned(),
        seq,
        revision: "cart-v2=7,checkout-v2=2026-11-27.3".to_owned(),
    };
    let rehearsed = RehearsalProof {
        done: done(42, "ana"),
        stage: "internal".to_owned(),
        last_request_ms: Some(12.3),
        in_force_ms: Some(4.5),
        durable_ms: Some(6.1),
        requests_after: 7,
    };
    let proof = Proof {
        rehearsed: Some(rehearsed),
        rollback: Some(done(41, "errors")),
        kill: Some(done(30, "bo")),
        ..Proof::default()
    };
    let proxy = ProxyTraffic::of_another_plan("unix:state/run/admin.sock", "ab12");
    let known = Known { traffic: Ok(measured()), forecast: forecasts(), proxy: Ok(proxy), proof, timeline: None };
    let document = rendered(&loaded, "routes.toml", known);
    assert!(!document.contains("not-shown") && !document.contains("/services/"), "a URL of a receiver is shown");
    check_markdown(&document);
    compare("tests/golden/plans/everything.md", &document);
}

/// The document of the sample plan, made by the command; but for the figures of plays, which are compared as a table.
#[test]
fn the_example_of_the_docs_is_what_the_command_prints() {
    let loaded = sample();
    let forecast = if std::env::var_os("BLESS").is_some() {
        let traffic = given(&loaded).traffic;
        let scene = scene(&loaded, rollout(&loaded), &traffic, ms("2026-12-01T09:00"), 3_600_000);
        crate::rehearsal::forecast(&scene, super::command::SEED)
    } else {
        Vec::new()
    };
    let proxy = Err("no proxy answers".to_owned());
    let known = Known { traffic: Ok(given(&loaded)), forecast, proxy, proof: Proof::default(), timeline: None };
    let document = rendered(&loaded, "routes.toml", known);
    check_markdown(&document);
    let path = "docs/rollouts/checkout-v2.md";
    if std::env::var_os("BLESS").is_some() {
        compare(path, &document);
    }
    let page = read(path);
    check_markdown(&page);
    let around = |text: &str| {
        let (before, rest) = text.split_once(PLAYED).unwrap();
        let (played, after) = rest.split_once("\n## ").unwrap();
        [before.to_owned(), after.to_owned(), played.to_owned()]
    };
    let [[before, after, _], [page_before, page_after, played]] = [around(&document), around(&page)];
    assert_eq!(before, page_before);
    assert_eq!(after, page_after);
    for row in played.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| stage ")) {
        let stage = row.split('|').nth(1).unwrap_or_default().trim();
        assert!(rollout(&loaded).plan.find(stage).is_some(), "{row}");
    }
}

#[test]
fn without_a_rate_the_missing_figures_are_named() {
    let loaded = sample();
    let missing = known_traffic(&TrafficArguments::default(), None, &loaded.rules, rollout(&loaded)).unwrap_err();
    let proxy = Err("no proxy answers".to_owned());
    // The first stage waits for requests.
    let first = StageTimes { name: "internal".to_owned(), enters_ms: ms("2026-12-01T09:00"), ..StageTimes::default() };
    let stuck = Some("the canary has 0 of 5 000 answered requests in stage `internal`".to_owned());
    let timeline = Timeline { begins_ms: first.enters_ms, stages: vec![first], complete_ms: None, stuck };
    let known = Known {
        traffic: Err(missing),
        forecast: Vec::new(),
        proxy,
        proof: Proof::default(),
        timeline: Some(timeline.clone()),
    };
    let document = rendered(&loaded, "routes.toml", known);
    check_markdown(&document);
    for part in [
        "**Dates and figures are missing**",
        "**Missing**: the rate of route checkout is not known",
        "**Not rehearsed**",
    ] {
        assert!(document.contains(part), "{part}\n{document}");
    }
    let known = Known { traffic: Ok(given(&loaded)), proxy: Err(String::new()), timeline: Some(timeline), ..empty() };
    let document = rendered(&loaded, "routes.toml", known);
    assert!(document.contains("**The plan does not come to its end**: the canary has 0 of 5 000"), "{document}");
}

fn empty() -> Known {
    let traffic = Err(MissingFigures::Rates(Vec::new()));
    Known { traffic, forecast: Vec::new(), proxy: Err(String::new()), proof: Proof::default(), timeline: None }
}

#[test]
fn foreign_text_breaks_nothing() {
    let mut loaded = everything();
    let hostile = "a|b `c` <script>alert(1)</script>\n# x\n\u{202e}abc ![i](j) **k** ||| \\|";
    let at = loaded.rules.rollouts.iter().position(|one| one.name == "checkout-v2").unwrap();
    let one = &mut loaded.rules.rollouts[at];
    (one.about.owner, one.about.ticket, one.about.data) =
        (Some(hostile.into()), Some(hostile.into()), Some(hostile.into()));
    one.approvers[0].people = vec![hostile.to_owned()];
    one.freeze[0].text = hostile.to_owned();
    one.queries[0].query = hostile.to_owned();
    for receiver in &mut loaded.rules.notify.receivers {
        hostile.clone_into(&mut receiver.name);
    }
    let done = DoneAct { at: hostile.into(), who: hostile.into(), seq: 1, revision: hostile.into() };
    let rehearsed = RehearsalProof { done: done.clone(), stage: hostile.to_owned(), ..RehearsalProof::default() };
    let proof = Proof { rehearsed: Some(rehearsed), kill: Some(done), ..Proof::default() };
    let proxy = ProxyTraffic::of_another_plan(hostile, hostile);
    let known = Known { traffic: Ok(measured()), forecast: forecasts(), proxy: Ok(proxy), proof, timeline: None };
    let document = rendered(&loaded, hostile, known);
    check_markdown(&document);
    assert!(!document.contains("\u{202e}") && !document.contains("\n# x"), "{document}");
    for line in document.lines().filter(|line| !line.contains('`')) {
        assert!(!line.contains("<script>") && !line.contains("![i]"), "{line}");
    }
}

/// Each table has as many cells in each row, and an empty line before and after it.
#[track_caller]
fn check_markdown(document: &str) {
    let mut table: Option<usize> = None;
    let mut before = "";
    for line in document.lines() {
        assert!(line.trim_end().len() == line.len() || line.ends_with("`  "), "blanks at the end: {line:?}");
        if line.starts_with('|') {
            let cells = bars(line);
            assert!(line.ends_with('|'), "{line}");
            match table {
                Some(columns) => assert_eq!(cells, columns, "{line}"),
                None => assert_eq!(before, "", "a table begins after an empty line: {line}"),
            }
            table = Some(cells);
        } else {
            assert!(table.is_none() || line.is_empty(), "a table ends with an empty line: {line}");
            table = None;
        }
        before = line;
    }
    assert!(document.starts_with("# Plan of the rollout ") && document.matches("\n# ").count() == 0);
    assert!(!document.contains("\n\n\n"), "two empty lines");
}

/// Bars that end a cell.
fn bars(line: &str) -> usize {
    let mut is_escaped = false;
    let mut count = 0;
    for letter in line.chars() {
        count += usize::from(letter == '|' && !is_escaped);
        is_escaped = letter == '\\' && !is_escaped;
    }
    count
}
