//! Laws of all charts: what they show, how large they are, and that no history breaks them.

use serde_json::{Value, json};

use super::{error_chart, evidence_chart, latency_chart, share_chart, sparkline, stage_chart};

const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&\u{202e}\u{2066}";

/// Noise with a fixed start.
struct Noise(u64);

impl Noise {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn part(&mut self) -> f64 {
        f64::from(u32::try_from(self.below(100_000)).unwrap()) / 100_000.0
    }
}

/// A history in which each value is anywhere in its range.
fn wild(points: usize, arms: usize) -> Value {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut list = |low: f64, high: f64| -> Value {
        std::iter::repeat_with(|| json!(low + (high - low) * noise.part())).take(points).collect()
    };
    let (weight, share, evidence) = (list(0.0, 100.0), list(0.0, 100.0), list(-3.0, 9.0));
    let times: Vec<[Value; 2]> = (0..arms).map(|_| [list(0.5, 30.0), list(30.0, 3_000.0)]).collect();
    let mut counts =
        |most: usize| -> Value { std::iter::repeat_with(|| json!(noise.below(most))).take(points).collect() };
    let arm = |(at, [p50, p99]): (usize, &[Value; 2])| {
        let name =
            ["stable".to_owned(), "canary".to_owned()].get(at).cloned().unwrap_or_else(|| format!("variant-{at}"));
        json!({ "name": name, "requests": counts(9_000), "errors": counts(4_000), "p50_ms": p50, "p99_ms": p99 })
    };
    let arms: Vec<Value> = times.iter().enumerate().map(arm).collect();
    json!({
        "kind": "rollout", "name": "checkout-v2", "from": "2026-12-01T13:03:10Z", "step_s": 10, "points": points,
        "weight": weight, "share": share, "arms": arms,
        "guards": [{ "name": "errors", "threshold_log10": 2.5229, "evidence_log10": evidence }],
    })
}

/// By hand: the last two points of canary have no requests, and the proxy was down before.
fn known() -> Value {
    json!({
        "from": "2026-12-01T13:03:10Z", "step_s": 10, "points": 6,
        "weight": [1, 1, null, 5, 5, 0], "share": [0.9, 1.1, null, 4.8, 5.1, 0.0],
        "arms": [
            { "name": "stable", "requests": [1_000, 1_000, null, 1_190, 1_000, 2_000], "errors": [1, 2, null, 5, 0, 4],
              "p50_ms": [10, 10, null, 12, 11, 12.3], "p99_ms": [80, 90, null, 91, 88, 92] },
            { "name": "canary", "requests": [10, 20, null, 50, 0, 0], "errors": [0, 1, null, 2, 0, 0],
              "p50_ms": [10, 10, null, 14, null, null], "p99_ms": [80, 90, null, 250, null, null] },
        ],
        "guards": [{ "name": "errors", "threshold_log10": 2.5229, "evidence_log10": [0.0, -0.1, null, 0.4, 0.9, 0.9] }],
    })
}

fn charts(history: &Value) -> [(&'static str, String); 5] {
    [
        ("evidence", evidence_chart(history, &history["guards"][0])),
        ("errors", error_chart(history)),
        ("durations", latency_chart(history)),
        ("share", share_chart(history)),
        ("spark", sparkline(history)),
    ]
    .map(|(name, markup)| (name, markup.into_string()))
}

/// What no chart has: figures that are none, styles and scripts in attributes, names that are markup.
fn assert_sound(chart: &str, context: &Value) {
    let context = context.to_string();
    let context = context.get(..600).unwrap_or(&context);
    for text in ["NaN", "inf\u{a0}", ">inf", "\"inf", "-inf", " style=", "<img", "<script", "\u{202e}", "\u{2066}"] {
        assert!(!chart.contains(text), "`{text}` in {chart}\nof {context}");
    }
    for element in ["svg", "g", "text", "tspan", "path", "line", "rect", "figure", "table", "td", "th", "ol", "li"] {
        let opened = [" ", ">"].map(|end| chart.matches(&format!("<{element}{end}")).count());
        let closed = chart.matches(&format!("</{element}>")).count();
        assert_eq!(opened.iter().sum::<usize>(), closed, "<{element}> in {chart}");
    }
}

fn words(chart: &str) -> String {
    chart.replace('\u{a0}', " ")
}

/// The path data of a class, in the order of the lines.
fn paths<'a>(chart: &'a str, class: &str) -> Vec<&'a str> {
    let begin = format!("class=\"{class}\" d=\"");
    let plot = chart.split("<table").next().unwrap_or(chart);
    plot.match_indices(&begin).map(|(at, _)| plot[at + begin.len()..].split('"').next().unwrap_or_default()).collect()
}

#[test]
fn charts_state_their_figures_in_words() {
    let history = known();
    let [evidence, errors, durations, share, spark] = charts(&history).map(|(_, chart)| words(&chart));
    for chart in [&evidence, &errors, &durations, &share, &spark] {
        assert!(chart.contains("role=\"img\"") && chart.contains("2026-12-01 13:03:10 to 13:04:10 UTC"), "{chart}");
        assert_sound(chart, &history);
    }
    for text in [
        "evidence: last 0.9 (E = 7.94); largest 0.9 (at 13:04:00 UTC)",
        "stable 6 190, canary 80",
        "trips 2.52",
        "E = 333",
    ] {
        assert!(evidence.contains(text), "{text}: {evidence}");
    }
    for text in [
        "stable: last 0.2 % (4 of 2 000); largest 0.42 % (5 of 1 190, 13:03:50 UTC); all 1 min 0.194 % (12 of 6 190).",
        "canary: last – (no request); largest 5 % (1 of 20, 13:03:30 UTC); all 1 min 3.75 % (3 of 80).",
        "<tspan class=\"owner\">stable </tspan>0.2 %",
        "<tspan class=\"owner\">canary </tspan>–",
        "% of those of each arm, by 10 s",
    ] {
        assert!(errors.contains(text), "{text}: {errors}");
    }
    for text in [
        "stable p99: last 92 ms (n = 2 000)",
        "canary p99: last – (n = 0); largest 250 ms (n = 50, 13:03:50 UTC)",
        "logarithmic",
    ] {
        assert!(durations.contains(text), "{text}: {durations}");
    }
    for text in
        ["measured: last 0 % (of 2 000 requests)", "largest 5.1 % (of 1 000 requests, 13:04:00 UTC)", "set: last 0 %"]
    {
        assert!(share.contains(text), "{text}: {share}");
    }
    for text in ["stable last 0.2 % (4 of 2 000)", "canary last without requests, largest 5 % (1 of 20)"] {
        assert!(spark.contains(text), "{text}: {spark}");
    }
}

#[test]
fn holes_stay_holes() {
    let history = known();
    let errors = error_chart(&history).into_string();
    // A point of 4 units each; the third one is not known, and canary has no requests in the last two.
    let [stable, canary] = ["line stable main", "line canary main"].map(|class| paths(&errors, class));
    assert_eq!(stable[0].matches('M').count(), 2, "{stable:?}");
    assert!(stable[0].starts_with("M4 ") && stable[0].contains("M16 "), "{stable:?}");
    assert_eq!(canary[0].matches('M').count(), 1, "{canary:?}");
    assert_eq!(paths(&errors, "dots canary").len(), 1, "its point between holes is a dot: {errors}");
    let share = share_chart(&history).into_string();
    assert!(paths(&share, "line set level")[0].contains("M12 "), "steps begin where their point begins: {share}");
}

#[test]
fn the_place_of_the_threshold_is_marked() {
    let y = |threshold: Value, evidence: Value| {
        let mut history = known();
        history["guards"][0]["threshold_log10"] = threshold;
        history["guards"][0]["evidence_log10"] = evidence;
        let chart = evidence_chart(&history, &history["guards"][0]).into_string();
        assert_sound(&chart, &history);
        let at = chart.find("class=\"over\"").map(|at| &chart[at..]);
        let height = at.and_then(|rest| rest.split("height=\"").nth(1)).and_then(|rest| rest.split('"').next());
        (height.map(|height| height.parse::<f64>().unwrap()), words(&chart))
    };
    let low = json!([0.0, 0.1, 0.2, 0.1, 0.0, -0.1]);
    // From -1 to 2.5229 × 1.3: a sixth is above the threshold.
    let (height, _) = y(json!(2.5229), low.clone());
    assert!(height.is_some_and(|height| (height - 128.0 * 0.757 / 4.28).abs() < 0.2), "{height:?}");
    let (height, chart) = y(json!(500_000.0), low.clone());
    assert!(height.is_some_and(|height| height > 20.0) && chart.contains("trips 500000"), "{chart}");
    // Evidence far beyond: the axis ends, the figure stays.
    let (height, chart) = y(json!(2.5), json!([0.0, 100.0, null, 3.0, 4.0, 100.0]));
    assert!(height.is_some_and(|height| height > 60.0 && height < 128.0) && chart.contains(">100 ↑<"), "{chart}");
    let (_, chart) = y(json!(2.5), json!([0.0, -3.0, null, -40.0, -40.0, -40.0]));
    assert!(chart.contains(">−40 ↓<"), "{chart}");
    for none in [json!(null), json!("2.5"), json!(1e300), json!({})] {
        let (height, chart) = y(none, low.clone());
        assert!(height.is_none() && !chart.contains("trips"), "{chart}");
    }
    let (_, chart) = y(json!(2.5), json!([null, null]));
    assert!(chart.contains("No evidence from 2026-12-01") && !chart.contains("<svg"), "{chart}");
}

#[test]
fn without_a_history_there_is_a_sentence_and_no_axis() {
    for none in
        [json!(null), json!({}), json!({ "points": 0, "from": null, "step_s": 10, "arms": [] }), json!([HOSTILE])]
    {
        for (name, chart) in charts(&none) {
            assert!(!chart.contains("<svg") && chart.to_lowercase().contains("no history yet"), "{name}: {chart}");
        }
    }
    let mut idle = known();
    for arm in 0..2 {
        for list in ["requests", "errors"] {
            idle["arms"][arm][list] = json!([0, 0, 0, 0, 0, 0]);
        }
        for list in ["p50_ms", "p99_ms"] {
            idle["arms"][arm][list] = json!([null, null, null, null, null, null]);
        }
    }
    let [_, errors, durations, share, spark] = charts(&idle).map(|(_, chart)| words(&chart));
    for chart in [errors, durations] {
        assert!(chart.contains("No requests from 2026-12-01 13:03:10 to 13:04:10 UTC"), "{chart}");
    }
    assert!(share.contains("<svg") && spark.contains("no requests"), "{spark}");
}

#[test]
fn charts_are_small() {
    for (points, arms) in [(1, 2), (60, 2), (300, 2), (1_000, 2), (300, 1), (300, 3), (1_000, 5), (1_000, 40)] {
        let history = wild(points, arms);
        for (name, chart) in charts(&history) {
            let most = if name == "spark" { 3_500 } else { 15_000 };
            assert!(chart.len() < most, "{name} of {points} points of {arms} arms: {} bytes", chart.len());
            assert_sound(&chart, &history);
        }
    }
}

#[test]
fn equal_values_and_few_points_are_drawn() {
    for points in [1, 2, 3] {
        for value in [0.0, 1e-9, 0.3, 100.0, 1e12] {
            let list = json!(vec![value; points]);
            let counts = json!(vec![7; points]);
            let arm = json!({ "name": "stable", "requests": counts, "errors": counts, "p50_ms": list, "p99_ms": list });
            let history = json!({
                "from": "2026-12-01T13:03:10Z", "step_s": 10, "points": points, "weight": list, "share": list,
                "arms": [arm, arm], "guards": [{ "name": "errors", "threshold_log10": value, "evidence_log10": list }],
            });
            for (name, chart) in charts(&history) {
                let is_left_out = value > 100.0 && (name == "share" || name == "evidence");
                assert_eq!(chart.contains("<svg"), !is_left_out, "{name}: {value} {chart}");
                assert_sound(&chart, &history);
            }
        }
    }
}

#[test]
fn hostile_names_stay_text_and_do_not_fill_the_page() {
    for name in [
        HOSTILE.to_owned(),
        HOSTILE.repeat(100),
        "\u{5d0}".repeat(4_096),
        String::new(),
        "\u{0}\n]]>--></svg>".repeat(50),
    ] {
        let mut history = wild(20, 5);
        for arm in 0..5 {
            history["arms"][arm]["name"] = json!(name);
        }
        history["guards"][0]["name"] = json!(name);
        for (kind, chart) in charts(&history) {
            assert!(chart.len() < 15_000, "{kind}: {}", chart.len());
            assert_sound(&chart, &history);
        }
        let stage = json!({
            "name": name, "weight": 5.0, "place": "current", "run_ms": 5, "min_duration_ms": 10, "approve": [name, "b"],
            "approved": [{ "role": name, "by": name, "at": name }],
        });
        let rollout = json!({
            "state": name, "weight": 3.0, "next": name, "awaited": [{ "role": "b", "people": [name] }],
            "blocks": [{ "kind": name, "says": name, "until": name }], "stages": [stage],
        });
        let chart = stage_chart(&rollout).into_string();
        assert!(chart.len() < 4_000, "{chart}");
        assert_sound(&chart, &rollout);
    }
}

/// Puts something else into a place of the value.
fn spoil(value: &mut Value, noise: &mut Noise) {
    let junk = [
        json!(null),
        json!(true),
        json!("x"),
        json!(""),
        json!(-1),
        json!(-0.0),
        json!(1e308),
        json!(-1e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(5e-324),
        json!([]),
        json!([[1]]),
        json!({}),
        json!({ "name": 1 }),
        json!("9999-12-31T23:59:59Z"),
    ];
    let inner = noise.below(8) > 0;
    match value {
        Value::Array(list) if inner && !list.is_empty() => {
            let at = noise.below(list.len());
            if noise.below(12) == 0 { list.truncate(at) } else { spoil(&mut list[at], noise) }
        }
        Value::Object(members) if inner && !members.is_empty() => {
            let at = noise.below(members.len());
            if let Some(member) = members.values_mut().nth(at) {
                spoil(member, noise);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            *value = junk[noise.below(junk.len())].clone();
        }
    }
}

#[test]
fn no_history_and_no_rollout_breaks_a_chart() {
    let mut noise = Noise(0x1234_5678_9abc_def1);
    for _ in 0..600 {
        let mut history = wild(1 + noise.below(12), 1 + noise.below(3));
        let mut rollout = five_stages();
        for _ in 0..=noise.below(6) {
            spoil(&mut history, &mut noise);
            spoil(&mut rollout, &mut noise);
        }
        for (_, chart) in charts(&history) {
            assert_sound(&chart, &history);
        }
        assert_sound(&stage_chart(&rollout).into_string(), &rollout);
    }
}

fn five_stages() -> Value {
    let stage = |name: &str, weight: f64, place: &str| {
        json!({ "name": name, "weight": weight, "place": place, "run_ms": null, "min_duration_ms": 7_200_000,
                "approve": [], "approved": [] })
    };
    let mut quarter = stage("quarter", 25.0, "current");
    quarter["run_ms"] = json!(2_520_000);
    quarter["approve"] = json!(["operations", "product"]);
    quarter["approved"] = json!([{ "role": "product", "by": "dee", "at": "2026-12-01T13:10:00.000Z" }]);
    json!({
        "name": "checkout-v2", "state": "running", "weight": 17.0, "next": "2026-12-01T15:10:00.000Z",
        "awaited": [{ "role": "operations", "people": ["bo"] }],
        "blocks": [
            { "kind": "duration", "says": "42 min of 2 h", "until": null },
            { "kind": "approval", "says": "it awaits operations", "until": null },
            { "kind": "freeze", "says": "freeze window `friday`", "until": "2026-12-04T08:00:00.000Z" },
        ],
        "stages": [stage("internal", 1.0, "done"), stage("beta", 5.0, "done"), quarter, stage("half", 50.0, "ahead"),
                   stage("full", 100.0, "ahead")],
    })
}

#[test]
fn stages_say_where_they_stand() {
    let mut rollout = five_stages();
    let chart = words(&stage_chart(&rollout).into_string());
    for text in [
        "<b>25 %</b> <bdi>quarter</bdi>",
        "aria-current=\"step\"",
        "42 min of 2 h",
        "set now: 17 %",
        "needs approval",
        "<bdi>product</bdi>: approved by <bdi>dee</bdi>",
        "<bdi>operations</bdi>: asked",
        "freeze window `friday`",
        "width=\"35%\"",
        "at least 2 h",
        "next: ",
    ] {
        assert!(chart.contains(text), "{text}: {chart}");
    }
    assert_eq!((chart.matches("passed").count(), chart.matches(">ahead<").count()), (2, 2), "{chart}");
    assert!(!chart.contains("it awaits operations"), "approvals are shown once: {chart}");
    for (state, word) in [
        ("held", "held here"),
        ("rolled_back", "rolled back here"),
        ("killed", "killed here"),
        ("pending", "not started"),
        ("complete", "complete"),
        ("another_word", "another word"),
    ] {
        rollout["state"] = json!(state);
        assert!(stage_chart(&rollout).into_string().contains(word), "{state}");
    }
    rollout["stages"][2]["run_ms"] = json!(7_500_000);
    assert!(words(&stage_chart(&rollout).into_string()).contains("2 h 5 min, at least 2 h is over"));
    rollout["stages"] = json!([]);
    assert!(stage_chart(&rollout).into_string().contains("No stages"));
    assert!(stage_chart(&Value::Null).into_string().contains("No stages"));
}
