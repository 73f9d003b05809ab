//! What `explain` says about a request that fails, and what a change of these settings is called.

use RetryCondition::{Connect, Grpc, RefusedStream, ResetBeforeHead, Status, Timeout};

use super::*;

/// A route with a canary, which gets every request with `x-canary: always`.
fn shop() -> File {
    let mut arms = split("shop", &[("canary", 0)]);
    arms.targets = vec![Target {
        line: RouteLine::default(),
        predicates: vec![Predicate::Header("x-canary".parse().unwrap(), StringMatch::Exact("always".into()))],
        segment: None,
        serve: VariantId(1),
        weight: None,
    }];
    file(vec![route("shop", "h", "/*")], arms)
}

fn set(conditions: &[RetryCondition]) -> RetryConditions {
    conditions.iter().copied().collect()
}

fn failure(file: &File, ask: &Ask) -> FailureExplanation {
    let request = ExplainRequest {
        method: &ask.method,
        host: &ask.host,
        path_and_query: "/x",
        fields: &ask.fields,
        peer: "192.0.2.1".parse().unwrap(),
        client_cert: None,
        listener: "edge",
        scheme: "http",
        encoded_slash: EncodedSlash::Keep,
        facts: crate::route::Facts::default(),
    };
    let ExplainedOutcome::Serve(served) = explain(file.effective(), &request).outcome else { panic!("it is served") };
    *served.on_failure
}

fn by(method: http::Method) -> Ask {
    Ask { method, ..Ask::get("h", "") }
}

#[track_caller]
fn check_retry(ask: &Ask, edit: impl FnOnce(&mut File), expected: &[&str]) {
    let mut file = shop();
    edit(&mut file);
    assert_eq!(failure(&file, ask).retry, expected);
}

#[test]
fn further_tries_are_those_of_this_method() {
    const ELSEWHERE: &str = "at other endpoints after connect, refused_stream";
    let (get, put, post) = (by(http::Method::GET), by(http::Method::PUT), by(http::Method::POST));
    let once = "once after reset_before_head, 502, 503, 504; budget: 20 % of the requests of v1, and 3 a second";
    check_retry(&get, |_| {}, &[ELSEWHERE, once]);
    let once =
        "once after reset_before_head, timeout, 502, 503, 504; budget: 20 % of the requests of v1, and 3 a second";
    let per_try = Some(std::time::Duration::from_secs(1));
    check_retry(&get, |file| file.routes[0].timeouts.per_try = per_try, &[ELSEWHERE, once]);
    let twice = "2 times after reset_before_head, 502, 503, 504; budget: 1.5 % of the requests of v1, and 0 a second";
    let low = |file: &mut File| {
        file.routes[0].retry.attempts = 2;
        file.upstreams[0].retry_budget = RetryBudgetSettings { ratio: 0.015, min_per_second: 0 };
    };
    check_retry(&put, low, &[ELSEWHERE, twice]);
    check_retry(&post, |_| {}, &[ELSEWHERE, "not after it was sent: POST is not idempotent"]);
    let listed = RetryMethods::new(vec![http::Method::GET]);
    let not_listed = "not after it was sent: PUT is not in retry.methods";
    check_retry(&put, |file| file.routes[0].retry.methods = listed, &[ELSEWHERE, not_listed]);
    let none = "not after it was sent: retry.attempts is 0";
    check_retry(&get, |file| file.routes[0].retry.attempts = 0, &[ELSEWHERE, none]);
}

#[test]
fn further_tries_follow_the_conditions_of_this_request() {
    let check = |ask: &Ask, conditions: &[RetryCondition], expected: &[&str]| {
        check_retry(ask, |file| file.routes[0].retry.on = set(conditions), expected);
    };
    let get = by(http::Method::GET);
    let call = by(http::Method::POST).with("content-type", "application/grpc");
    let no_condition = "not after it was sent: retry.on has no condition for that";
    check(&get, &[], &["never: retry.on is empty"]);
    check(&get, &[Connect], &["at other endpoints after connect", no_condition]);
    check(&get, &[Grpc(14)], &[no_condition]);
    let budget = "budget: 20 % of the requests of v1, and 3 a second";
    check(&get, &[Status(503), Grpc(14)], &[&format!("once after 503; {budget}")]);
    check(&call, &[Status(503), Grpc(14)], &[&format!("once after grpc:unavailable; {budget}")]);
    let sent = "not after it was sent: POST is not idempotent";
    check(&call, &[RefusedStream, Timeout, ResetBeforeHead], &["at other endpoints after refused_stream", sent]);
}

#[test]
fn rescue_is_that_of_this_variant_and_method() {
    let canary = |method| by(method).with("x-canary", "always");
    let check = |method: http::Method, rescue: Rescue, expected: &str| {
        let mut file = shop();
        file.first().variants[1].rescue = rescue.clone();
        assert_eq!(failure(&file, &canary(method.clone())).rescue, [expected], "{method} {rescue:?}");
        assert!(failure(&file, &by(method)).rescue.is_empty(), "stable is never rescued");
    };
    let rescue = |conditions: &[RetryCondition]| Rescue { on: set(conditions), methods: RetryMethods::idempotent() };
    let (get, post) = (http::Method::GET, http::Method::POST);
    check(get.clone(), Rescue::default(), "stable (v1) answers after connect");
    check(post.clone(), Rescue::default(), "stable (v1) answers after connect");
    check(get.clone(), Rescue::off(), "off: stable does not answer");
    check(get.clone(), rescue(&[Connect, Status(503)]), "stable (v1) answers after connect, 503");
    check(post.clone(), rescue(&[Connect, Status(503)]), "stable (v1) answers after connect");
    check(post.clone(), rescue(&[Status(503)]), "none: POST is not idempotent");
    let listed = Rescue { methods: RetryMethods::new(vec![http::Method::HEAD]), ..rescue(&[Status(503)]) };
    check(get.clone(), listed, "none: GET is not in rescue.methods");
    check(get.clone(), rescue(&[Timeout, Grpc(14)]), "none: rescue.on has no condition for this request");
    let mut file = shop();
    file.first().variants[1].upstream = UpstreamId(0);
    assert_eq!(failure(&file, &canary(get)).rescue, ["none: stable has the same upstream"]);
}

#[test]
fn without_stickiness_every_variant_has_its_rescue() {
    let mut arms = split("shop", &[("canary", 50_000), ("b", 50_000)]);
    arms.sticky.clear();
    arms.variants[2].rescue = Rescue::off();
    let file = file(vec![route("shop", "h", "/*")], arms);
    let failure = failure(&file, &by(http::Method::GET));
    assert_eq!(failure.rescue, ["canary: stable (v1) answers after connect", "b: off: stable does not answer"]);
    assert_eq!(failure.retry[1], "once after reset_before_head, 502, 503, 504");
}

#[test]
fn changes_have_their_values() {
    let old = shop();
    let check = |edit: &dyn Fn(&mut File), words: &str, back: &str| {
        let mut new = shop();
        edit(&mut new);
        assert_eq!(summary(old.effective(), new.effective()), [words]);
        assert_eq!(summary(new.effective(), old.effective()), [back]);
    };
    check(
        &|file| file.upstreams[0].outlier.consecutive_failures = 3,
        "upstream v1 outlier consecutive_failures 5 → 3",
        "upstream v1 outlier consecutive_failures 3 → 5",
    );
    check(
        &|file| {
            file.upstreams[0].outlier.base_ejection = std::time::Duration::from_secs(1);
            file.upstreams[0].outlier.any_5xx = true;
        },
        "upstream v1 outlier base_ejection 30s → 1s, any_5xx false → true",
        "upstream v1 outlier base_ejection 1s → 30s, any_5xx true → false",
    );
    check(
        &|file| file.upstreams[0].retry_budget = RetryBudgetSettings { ratio: 0.0, min_per_second: 1 },
        "upstream v1 retry_budget ratio 0.2 → 0, min_per_second 3 → 1",
        "upstream v1 retry_budget ratio 0 → 0.2, min_per_second 1 → 3",
    );
    check(
        &|file| file.upstreams[0].limits.pending = 0,
        "upstream v1 limits pending 128 → 0",
        "upstream v1 limits pending 0 → 128",
    );
    check(&|file| file.routes[0].retry.attempts = 0, "shop retry attempts 1 → 0", "shop retry attempts 0 → 1");
    check(
        &|file| file.routes[0].retry.on = set(&[]),
        "shop retry on connect, refused_stream, reset_before_head, timeout, 502, 503, 504 → nothing",
        "shop retry on nothing → connect, refused_stream, reset_before_head, timeout, 502, 503, 504",
    );
    check(
        &|file| file.routes[0].retry.body_buffer = 0,
        "shop retry body_buffer changed",
        "shop retry body_buffer changed",
    );
    let rescue = |rescue: Rescue| move |file: &mut File| file.first().variants[1].rescue = rescue.clone();
    check(&rescue(Rescue::off()), "shop canary rescue off", "shop canary rescue on connect");
    let on = set(&[Connect, Status(503)]);
    check(
        &rescue(Rescue { on, ..Rescue::default() }),
        "shop canary rescue on connect → connect, 503",
        "shop canary rescue on connect, 503 → connect",
    );
    let methods = RetryMethods::new(vec![http::Method::GET]);
    check(
        &rescue(Rescue { methods, ..Rescue::default() }),
        "shop canary rescue methods changed",
        "shop canary rescue methods changed",
    );
}
