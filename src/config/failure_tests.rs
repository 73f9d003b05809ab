//! Tests of the tables for upstreams that fail: `outlier`, `retry_budget`, `retry`, `rescue`, `limits.pending`.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{load_text, schema};
use crate::route::RetryCondition::{Connect, Grpc, RefusedStream, ResetBeforeHead, Status, Timeout};
use crate::route::{
    OutlierSettings, Rescue, RetryBudgetSettings, RetryCondition, RetryConditions, RetryMethods, RetryPolicy, Rules,
    UpstreamLimits,
};

/// The rules of a file with the upstreams `a` and `b`, of which `a` has this text, and one route with this text.
fn rules(upstream: &str, route: &str) -> Rules {
    let text = format!(
        "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[upstream.b]\nendpoints = 'http://10.0.0.3'\n[upstream.a]\n\
         endpoints = ['http://10.0.0.1', 'http://10.0.0.2']\n{upstream}\n[[route]]\nname = 'r'\nstable = 'a'\n\
         sticky = 'client_ip'\n{route}\n"
    );
    match load_text("routes.toml", &text, &|_| None) {
        Ok(loaded) => loaded.rules,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

fn retry(text: &str) -> RetryPolicy {
    rules("", text).routes[0].retry.clone()
}

fn rescue(text: &str) -> Rescue {
    let route = rules("", &format!("canary = {{ upstream = 'b', rescue = {text} }}")).routes.remove(0);
    route.split().unwrap().variants[1].rescue.clone()
}

fn set(conditions: &[RetryCondition]) -> RetryConditions {
    conditions.iter().copied().collect()
}

#[test]
fn an_upstream_has_its_values() {
    let upstream = rules(
        "limits = { pending = 0 }\n[upstream.a.outlier]\nconsecutive_failures = 0\nfailure_percent = 100\nbase_ejection = '5m'\n\
         max_ejected_percent = 1\npanic_percent = 50\nany_5xx = true\n[upstream.a.retry_budget]\nratio = 1\n\
         min_per_second = 1000\n",
        "",
    )
    .upstreams
    .remove(1);
    let outlier = OutlierSettings {
        consecutive_failures: 0,
        failure_percent: 100,
        base_ejection: Duration::from_mins(5),
        max_ejected_percent: 1,
        panic_percent: 50,
        any_5xx: true,
    };
    assert_eq!(upstream.outlier, outlier);
    assert_eq!(upstream.retry_budget, RetryBudgetSettings { ratio: 1.0, min_per_second: 1_000 });
    assert_eq!(upstream.limits, UpstreamLimits { pending: 0, ..UpstreamLimits::default() });
    let upstream = rules("outlier = {}\nretry_budget = { ratio = 0.0 }\n", "").upstreams.remove(1);
    assert_eq!(upstream.outlier, OutlierSettings::default());
    assert_eq!(upstream.retry_budget, RetryBudgetSettings { ratio: 0.0, ..RetryBudgetSettings::default() });
}

#[test]
fn a_route_has_its_values() {
    assert_eq!(retry(""), RetryPolicy::default());
    assert_eq!(retry("retry = {}"), RetryPolicy::default());
    let policy = retry("retry = { attempts = 10, on = 'connect', methods = 'TRACE', body_buffer = '1MiB' }");
    let expected = RetryPolicy {
        attempts: 10,
        on: set(&[Connect]),
        methods: RetryMethods::new(vec![Method::TRACE]),
        body_buffer: 1 << 20,
    };
    assert_eq!(policy, expected);
    assert_eq!(retry("retry = { body_buffer = '0B' }").body_buffer, 0);
    assert!(retry("retry = { on = [] }").on.is_empty());
    let per_try = rules("", "timeout = { per_try = '1ms' }").routes.remove(0).timeouts.per_try;
    assert_eq!(per_try, Some(Duration::from_millis(1)));
}

#[test]
fn conditions_are_words_statuses_and_those_of_grpc() {
    for (written, conditions) in [
        ("['connect', 'refused_stream']", vec![Connect, RefusedStream]),
        ("['reset_before_head', 'timeout']", vec![ResetBeforeHead, Timeout]),
        ("['400', 599, '503']", vec![Status(400), Status(503), Status(599)]),
        ("503", vec![Status(503)]),
        ("'5xx'", (500..=599).map(Status).collect()),
        ("['grpc:cancelled', 'grpc:unavailable', 'grpc:unauthenticated']", vec![Grpc(1), Grpc(14), Grpc(16)]),
    ] {
        assert_eq!(retry(&format!("retry = {{ on = {written} }}")).on, set(&conditions), "{written}");
        assert_eq!(rescue(&format!("{{ on = {written} }}")).on, set(&conditions), "{written}");
    }
    let all: Vec<_> = RetryCondition::PLAIN.into_iter().chain(RetryCondition::every_grpc()).collect();
    let words: Vec<String> = all.iter().map(|condition| format!("'{condition}'")).collect();
    assert_eq!(retry(&format!("retry = {{ on = [{}] }}", words.join(", "))).on, set(&all));
}

#[test]
fn the_schema_accepts_the_conditions_that_are_valid() {
    let schema = schema();
    let on = &schema["properties"]["route"]["items"]["properties"]["retry"]["properties"]["on"];
    let pattern = regex::Regex::new(on["anyOf"][0]["anyOf"][0]["pattern"].as_str().unwrap()).unwrap();
    let named = RetryCondition::PLAIN.into_iter().chain(RetryCondition::every_grpc()).map(|known| known.to_string());
    for word in named.chain(["400", "599", "5xx"].map(str::to_owned)) {
        assert!(pattern.is_match(&word), "{word}");
    }
    for word in ["", "399", "600", "4xx", "conect", "grpc:", "grpc:ok", "connect "] {
        assert!(!pattern.is_match(word), "{word}");
    }
}

#[test]
fn rescue_is_a_table_or_off() {
    assert_eq!(rescue("{}"), Rescue::default());
    assert_eq!(rescue("true"), Rescue::default());
    assert_eq!(rescue("false"), Rescue::off());
    let expected = Rescue { on: set(&[Connect, Status(503)]), methods: RetryMethods::new(vec![Method::GET]) };
    assert_eq!(rescue("{ on = ['connect', '503'], methods = ['GET'] }"), expected);
}

/// The defaults of a table of the schema, by key.
fn defaults(path: &[&str]) -> Value {
    let root = schema();
    let mut table = &root;
    for step in path {
        let key = &table["properties"][step];
        table = key["anyOf"].as_array().and_then(|all| all.last()).unwrap_or(key);
        table = table
            .get("items")
            .or_else(|| table.get("additionalProperties").filter(|inner| inner.is_object()))
            .unwrap_or(table);
    }
    let keys = table["properties"].as_object().unwrap_or_else(|| panic!("{path:?} is a table"));
    Value::Object(keys.iter().map(|(name, key)| (name.clone(), key["default"].clone())).collect())
}

#[test]
fn defaults_are_those_of_the_schema() {
    let outlier = OutlierSettings::default();
    let expected = json!({
        "consecutive_failures": outlier.consecutive_failures,
        "failure_percent": outlier.failure_percent,
        "base_ejection": format!("{}s", outlier.base_ejection.as_secs()),
        "max_ejected_percent": outlier.max_ejected_percent,
        "panic_percent": outlier.panic_percent,
        "any_5xx": outlier.any_5xx,
    });
    assert_eq!(defaults(&["upstream", "outlier"]), expected);
    let budget = RetryBudgetSettings::default();
    let expected = json!({ "ratio": budget.ratio, "min_per_second": budget.min_per_second });
    assert_eq!(defaults(&["upstream", "retry_budget"]), expected);
    assert_eq!(defaults(&["upstream", "limits"])["pending"], UpstreamLimits::default().pending);
    let words = |on: &RetryConditions| on.all().map(|condition| condition.to_string()).collect::<Vec<_>>();
    let methods = |methods: &RetryMethods| methods.all().iter().map(Method::to_string).collect::<Vec<_>>();
    let policy = RetryPolicy::default();
    let expected = json!({
        "attempts": policy.attempts,
        "on": words(&policy.on),
        "methods": methods(&policy.methods),
        "body_buffer": format!("{}KiB", policy.body_buffer >> 10),
    });
    assert_eq!(defaults(&["route", "retry"]), expected);
    let rescue = Rescue::default();
    let expected = json!({ "on": words(&rescue.on), "methods": methods(&rescue.methods) });
    for variant in ["canary", "variant"] {
        assert_eq!(defaults(&["route", variant, "rescue"]), expected, "{variant}");
    }
}
