//! What a running proxy has measured of the routes of a rollout.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;

use crate::cli::act::encoded;
use crate::cli::admin::{AdminEndpoint, AdminResponse, FetchOptions};
use crate::cli::release_row::moment;
use crate::compare::escape_controls;
use crate::release::span;

/// Callers that were counted for less time, in milliseconds, are not taken for those of an hour.
const CALLERS_OVER_MS_MIN: u64 = 1_800_000;

/// What a running proxy has measured of routes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProxyTraffic {
    /// The proxy.
    pub place: String,
    /// By route.
    pub(super) routes: BTreeMap<String, ProxyRoute>,
    /// The hash of the plan that it runs; `None`: it has no such rollout.
    pub plan: Option<String>,
    /// Where the rollout is, in one sentence; `None`: it has no such rollout.
    pub stands: Option<String>,
    /// The hash of the whole configuration that it runs.
    pub config: String,
}

/// What a running proxy has measured of a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ProxyRoute {
    /// Requests a second.
    pub rate: Option<MeasuredFigure>,
    /// Distinct callers.
    pub callers: Option<MeasuredFigure>,
    /// The share of stable's requests that fail.
    pub errors: Option<MeasuredFigure>,
    /// In milliseconds.
    pub p99_ms: Option<MeasuredFigure>,
}

/// A figure that was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MeasuredFigure {
    pub value: f64,
    /// The time that it is about.
    pub over: String,
}

#[cfg(test)]
impl ProxyTraffic {
    /// What a proxy knows that runs another plan, and has measured nothing.
    #[must_use]
    pub fn of_another_plan(place: &str, plan: &str) -> Self {
        Self { place: place.to_owned(), plan: Some(plan.to_owned()), ..Self::default() }
    }
}

/// Asks a proxy for the traffic of a rollout. One that does not have the rollout yet knows its routes since it started.
///
/// # Errors
/// It does not answer, or refuses.
pub async fn measured_traffic(admin: &AdminEndpoint, rollout: &str) -> anyhow::Result<ProxyTraffic> {
    let answer = admin.ask(&format!("/v1/rollouts/{}", encoded(rollout)), FetchOptions::get()).await?;
    let status = admin.ask("/v1/status", FetchOptions::get()).await?.page()?;
    let place = answer.place.clone();
    let config = text(&status["hash"]);
    let page = shown(&answer)?.filter(|page| page["kind"] == "rollout");
    let plan = page.as_ref().map(|page| text(&page["plan_hash"]));
    let stands = page.as_ref().map(|page| text(&page["says"])).filter(|says| !says.is_empty());
    let mut routes = since_start(&status);
    if let Some(page) = &page {
        for one in page["traffic"].as_array().into_iter().flatten() {
            let before = routes.remove(one["route"].as_str().unwrap_or_default()).unwrap_or_default();
            routes.insert(text(&one["route"]), recent(one, before));
        }
    }
    Ok(ProxyTraffic { place, routes, plan, stands, config })
}

/// The page of the rollout; `None`: there is no such rollout, or it has not begun.
fn shown(answer: &AdminResponse) -> anyhow::Result<Option<Value>> {
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE => Ok(None),
        _ => answer.page().map(Some),
    }
}

/// The traffic of the last minutes; what it does not have is that since the start.
fn recent(one: &Value, before: ProxyRoute) -> ProxyRoute {
    let over_ms = one["over_ms"].as_u64().unwrap_or(0);
    let over = format!("over {}", span(over_ms));
    let of = |key: &str| one[key].as_f64().map(|value| MeasuredFigure { value, over: over.clone() });
    let over_ms = one["callers_over_ms"].as_u64().unwrap_or(0);
    let is_long = over_ms >= CALLERS_OVER_MS_MIN;
    let callers = one["callers"].as_f64().filter(|callers| is_long && *callers > 0.0).map(|value| MeasuredFigure {
        value,
        over: format!("over {} from {} on", span(over_ms), moment(&one["callers_since"])),
    });
    ProxyRoute {
        rate: of("rate").filter(|rate| rate.value > 0.0).or(before.rate),
        callers: callers.or(before.callers),
        errors: of("error_ratio").or(before.errors),
        p99_ms: of("p99_ms").or(before.p99_ms),
    }
}

/// The traffic of all routes since the proxy started, by name.
fn since_start(status: &Value) -> BTreeMap<String, ProxyRoute> {
    // In whole seconds: the first one counts as one.
    let uptime_s = status["uptime_s"].as_f64().unwrap_or(0.0).max(1.0);
    let over = format!("since the proxy started, at {}", moment(&status["started_at"]));
    let figure = |value: Option<f64>| value.map(|value| MeasuredFigure { value, over: over.clone() });
    let each = status["routes"].as_array().into_iter().flatten().map(|route| {
        let requests = route["requests"].as_f64().filter(|requests| *requests > 0.0);
        let stable = &route["variants"][0];
        let errors = stable["error_ratio"].as_f64().or_else(|| route["error_ratio"].as_f64());
        let read = ProxyRoute {
            rate: figure(requests.map(|requests| requests / uptime_s)),
            callers: callers(&route["experiment"]),
            errors: figure(errors),
            p99_ms: figure(stable["p99_ms"].as_f64()),
        };
        (text(&route["name"]), read)
    });
    each.collect()
}

/// The callers that an experiment has counted.
fn callers(experiment: &Value) -> Option<MeasuredFigure> {
    let all = experiment["variants"].as_array()?.iter().filter_map(|variant| variant["keys"].as_f64());
    let value = Some(all.sum::<f64>()).filter(|sum| *sum > 0.0)?;
    Some(MeasuredFigure { value, over: format!("from {} on", moment(&experiment["since"])) })
}

fn text(value: &Value) -> String {
    escape_controls(value.as_str().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_measured_lately_is_that_since_the_start() {
        let status = json!({ "uptime_s": 100, "started_at": "2026-11-30T08:00:00.000Z", "routes": [
            { "name": "shop", "requests": 5_000, "error_ratio": 0.5,
              "variants": [{ "error_ratio": 0.01, "p99_ms": 80.5 }, { "error_ratio": 0.9 }],
              "experiment": { "since": "2026-11-30T08:00:00.000Z",
                              "variants": [{ "keys": 90.0 }, { "keys": 10.0 }] } },
            { "name": "idle", "requests": 0, "error_ratio": null },
        ] });
        let routes = since_start(&status);
        let value = |figure: &Option<MeasuredFigure>| figure.as_ref().map(|one| one.value.round());
        let shop = &routes["shop"];
        assert_eq!(
            (value(&shop.rate), value(&shop.callers), value(&shop.p99_ms)),
            (Some(50.0), Some(100.0), Some(81.0))
        );
        assert!(shop.errors.as_ref().is_some_and(|errors| (errors.value - 0.01).abs() < 1e-9));
        assert_eq!(routes["idle"], ProxyRoute::default());
        let one = json!({ "route": "shop", "rate": 40.0, "over_ms": 300_000, "error_ratio": null, "p99_ms": null,
            "callers": 700, "callers_over_ms": 3_600_000, "callers_since": "2026-11-30T09:00:00.000Z" });
        let mut soon = one.clone();
        soon["callers_over_ms"] = json!(300_000);
        assert_eq!(recent(&soon, ProxyRoute::default()).callers, None, "five minutes are not an hour");
        let recent = recent(&one, shop.clone());
        assert_eq!(recent.rate.map(|rate| rate.over).as_deref(), Some("over 5 min"));
        assert_eq!(recent.callers.map(|one| one.over).as_deref(), Some("over 1 h from 2026-11-30 09:00:00Z on"));
        assert_eq!(recent.errors.map(|one| one.over), shop.errors.clone().map(|one| one.over));
    }
}
