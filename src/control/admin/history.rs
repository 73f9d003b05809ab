//! `/v1/history`: the points that charts are drawn from.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::fields::{NAME_CHARS_MAX, check_text};
use super::format::time;
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::query::{NumberParameter, form_decoded, numbers};
use super::release_json::rounded;
use super::response::respond;
use super::rollout_list::rollout_of;
use super::rollouts::{is_rollout, unknown};
use crate::config::nearest;
use crate::control::history::{ArmLine, GuardLine, HistoryOf};
use crate::control::state::ControlState;

/// How many points an answer has at most.
const POINTS: NumberParameter = NumberParameter { name: "points", min: 10, max: 1_000 };
/// The same without `points`.
const POINTS_DEFAULT: u64 = 300;
/// How a call is made.
const USAGE: &str = "write ?rollout=NAME or ?route=NAME, and &points=N if you like";

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HistoryQuery {
    name: String,
    is_route: bool,
    points: usize,
}

/// Answers the call. It takes longer than a moment: not for the control thread.
pub(super) fn history_page(state: &ControlState, query: Option<&str>) -> Response {
    match answer(state, query.unwrap_or_default()) {
        // Long lists: a line for each entry would be most of it.
        Ok(value) => respond(StatusCode::OK, "application/json", format!("{value}\n")),
        Err(problem) => problem.respond(ProblemForm::Document),
    }
}

fn answer(state: &ControlState, query: &str) -> Result<Value, CallProblem> {
    let HistoryQuery { name, is_route, points } = parse(query)?;
    let of = if is_route { HistoryOf::Route(&name) } else { HistoryOf::Rollout(&name) };
    let missing = || if is_route { unknown_route(state, &name) } else { unknown(state, &name) };
    history_of(state, of, points).ok_or_else(missing)
}

/// The points of a rollout, a release or a route, as at most so many: what the call answers. `None`: there is nothing of this
/// name. Before its first point, the lists are empty.
pub(super) fn history_of(state: &ControlState, of: HistoryOf<'_>, points: usize) -> Option<Value> {
    let snapshot = state.snapshot();
    let (kind, name) = match of {
        HistoryOf::Rollout(name) => ("rollout", name),
        HistoryOf::Route(name) => ("route", name),
    };
    let is_known = match of {
        HistoryOf::Rollout(name) => {
            let is_release = || state.release.read_release(name, |_| ()).is_some();
            is_rollout(state, name) || (is_release() && rollout_of(&snapshot.rules, name).is_none())
        }
        HistoryOf::Route(name) => snapshot.rules.find_named(name).is_some(),
    };
    if !is_known {
        return None;
    }
    let uptime_ms = state.uptime_ms();
    let chart = state.history.chart(of, points, uptime_ms).unwrap_or_default();
    let from = state.history.begin_of(chart.begin, state.clock.wall(), uptime_ms);
    Some(json!({
        "kind": kind,
        "name": name,
        "from": if chart.points == 0 { Value::Null } else { time(from) },
        "step_s": seconds(state.history.step_ms(chart.step.max(1))),
        "points": chart.points,
        "weight": chart.weight,
        "share": percent(&chart.share),
        "arms": chart.arms.iter().map(arm).collect::<Vec<_>>(),
        "guards": chart.guards.iter().map(guard).collect::<Vec<_>>(),
        "dropped": state.history.memory().dropped,
    }))
}

fn arm(line: &ArmLine) -> Value {
    json!({
        "name": line.name,
        "requests": line.requests,
        "errors": line.errors,
        "share": percent(&line.share),
        "p50_ms": line.p50_ms,
        "p99_ms": line.p99_ms,
    })
}

fn guard(line: &GuardLine) -> Value {
    json!({
        "name": line.name,
        "threshold_log10": rounded(line.threshold_log10),
        "evidence_log10": line.evidence_log10,
    })
}

/// In percent, to four decimals, like weights.
fn percent(shares: &[Option<f64>]) -> Vec<Option<f64>> {
    shares.iter().map(|share| share.map(|share| rounded(share * 100.0))).collect()
}

/// Whole seconds as a whole number.
fn seconds(ms: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "a day at most")]
    if ms.is_multiple_of(1_000) { json!(ms / 1_000) } else { json!(ms as f64 / 1e3) }
}

fn parse(query: &str) -> Result<HistoryQuery, CallProblem> {
    let bad = |detail: String, help: &str| ProblemKind::BadQuery.because(detail, help);
    let (mut name, mut others) = (None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let is_route = match pair.split_once('=').unwrap_or((pair, "")).0 {
            "rollout" => false,
            "route" => true,
            "points" => {
                others.push(pair);
                continue;
            }
            _ => return Err(bad("a parameter is not known".to_owned(), "the parameters are: rollout, route, points")),
        };
        if name.is_some() {
            return Err(bad("two names are given".to_owned(), USAGE));
        }
        name = Some((is_route, pair.split_once('=').map_or("", |(_, value)| value)));
    }
    let Some((is_route, encoded)) = name else { return Err(bad("no name is given".to_owned(), USAGE)) };
    let [points] = numbers(Some(&others.join("&")), [POINTS])?;
    let parameter = if is_route { "route" } else { "rollout" };
    let name = form_decoded(encoded)
        .map_err(|_| bad(format!("`{parameter}` is not percent-encoded UTF-8"), "percent-encode the name, as UTF-8"))?;
    check_text(parameter, &name, NAME_CHARS_MAX).map_err(|problem| bad(problem.detail, &problem.help))?;
    let points = usize::try_from(points.unwrap_or(POINTS_DEFAULT)).unwrap_or(usize::MAX);
    Ok(HistoryQuery { name, is_route, points })
}

/// The problem of a name that no route has.
fn unknown_route(state: &ControlState, name: &str) -> CallProblem {
    let rules = &state.snapshot().rules;
    let detail = format!("there is no route `{name}`");
    match nearest(name, rules.routes.iter().map(|route| route.name.as_str())) {
        Some(similar) => {
            let help = format!("did you mean `{similar}`? GET /v1/routes lists all");
            ProblemKind::UnknownScope.because(detail, help).with("similar", similar)
        }
        None => ProblemKind::UnknownScope.because(detail, "GET /v1/routes lists all"),
    }
}

/// The schemas by name.
pub(super) fn history_schemas() -> Value {
    let list = |of: &str, description: &str| json!({ "type": "array", "items": { "type": [of, "null"] }, "description": description });
    json!({
        "Points": { "type": "integer", "minimum": POINTS.min, "maximum": POINTS.max },
        "History": {
            "type": "object",
            "description": "The points of a chart, oldest first: every 10 s one, for 24 h of a rollout or a release and for 1 h of \
                a route. They are in the memory of the process and not durable: a restart and a hand-over begin anew. All lists \
                have as many entries; null is what is not known. Of coarser points, counts are sums, p99 and evidence the \
                largest, p50 the mean by requests, and the weight the last.",
            "required": ["kind", "name", "from", "step_s", "points", "weight", "share", "arms", "guards", "dropped"],
            "properties": {
                "kind": { "enum": ["rollout", "route"] },
                "name": { "type": "string" },
                "from": { "type": ["string", "null"], "description": "When the first point begins: RFC 3339." },
                "step_s": { "type": "number", "description": "The time of a point, in seconds." },
                "points": { "type": "integer", "minimum": 0, "description": "How many there are." },
                "weight": list("number", "As it is set, in percent; of a route that of all variants but stable."),
                "share": list("number", "The measured part of the requests dealt by weight, in percent."),
                "arms": {
                    "type": "array",
                    "description": "Stable and canary; of a route its variants, stable first.",
                    "items": { "$ref": "#/components/schemas/HistoryArm" },
                },
                "guards": { "type": "array", "items": { "$ref": "#/components/schemas/HistoryGuard" } },
                "dropped": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "The series of the process that were dropped since its start, because all were more than \
                        their memory: those without a request for the longest time.",
                },
            },
        },
        "HistoryArm": {
            "type": "object",
            "required": ["name", "requests", "errors", "share", "p50_ms", "p99_ms"],
            "properties": {
                "name": { "type": "string" },
                "requests": list("integer", "All requests."),
                "errors": list("integer", "Those that failed."),
                "share": list("number", "Its part of the requests dealt by weight, in percent."),
                "p50_ms": list("number", "The median of the times of responses; null without one."),
                "p99_ms": list("number", "The time that one response in 100 exceeds."),
            },
        },
        "HistoryGuard": {
            "type": "object",
            "required": ["name", "threshold_log10", "evidence_log10"],
            "properties": {
                "name": { "type": "string" },
                "threshold_log10": { "type": "number", "description": "Where it trips." },
                "evidence_log10": list("number", "The decimal logarithm of its evidence; null while it does not judge."),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_one_name_and_maybe_points() {
        let read = |query: &str| parse(query).map(|read| (read.name, read.is_route, read.points));
        assert_eq!(read("rollout=checkout"), Ok(("checkout".to_owned(), false, 300)));
        assert_eq!(read("points=10&rollout=shop%3Acanary"), Ok(("shop:canary".to_owned(), false, 10)));
        assert_eq!(read("route=a+b&points=1000"), Ok(("a b".to_owned(), true, 1_000)));
        let mark = "%3Cimg%20src%3Dx%20onerror%3D1%3E";
        assert_eq!(read(&format!("route={mark}")), Ok(("<img src=x onerror=1>".to_owned(), true, 300)));
        let long = format!("route={}", "x".repeat(4_096));
        for (query, detail) in [
            ("", "no name is given"),
            ("points=10", "no name is given"),
            ("rollout=a&route=b", "two names are given"),
            ("rollout=a&rollout=a", "two names are given"),
            ("rollout=a&points=10&points=10", "`points` is given twice"),
            ("rollout=a&points=9", "`points` is not such a number"),
            ("rollout=a&points=1001", "`points` is not such a number"),
            ("rollout=a&points=-20", "`points` is not such a number"),
            ("rollout=a&step=10", "a parameter is not known"),
            ("rollout=", "`rollout` is blank"),
            ("route", "`route` is blank"),
            ("route=%ff", "`route` is not percent-encoded UTF-8"),
            ("route=%zz", "`route` is not percent-encoded UTF-8"),
            ("route=a%00b", "`route` has control characters"),
            (&long, "`route` has 4096 characters"),
        ] {
            let problem = parse(query).expect_err(query);
            assert_eq!((problem.kind, problem.detail.as_str()), (ProblemKind::BadQuery, detail), "{query}");
            assert!(!problem.help.is_empty(), "{query}");
        }
    }

    #[test]
    fn figures_are_percent_and_whole_seconds() {
        assert_eq!(percent(&[Some(0.123_456_78), None, Some(1.0)]), [Some(12.3457), None, Some(100.0)]);
        assert_eq!((seconds(10_000), seconds(50)), (json!(10), json!(0.05)));
    }
}
