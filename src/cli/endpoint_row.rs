//! Upstreams and endpoints as the admin listener lists them. Their text is untrusted: control characters are escaped.

use serde_json::Value;

use crate::compare::escape_controls;

/// An upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamRow {
    /// Its name.
    pub name: String,
    /// Endpoints that get requests; `None` from a proxy that does not say so.
    pub usable: Option<u64>,
    /// All endpoints that have an address.
    pub total: u64,
    /// Retries within the budget in the last 10 s, and how many are allowed.
    pub tries: Option<[u64; 2]>,
    /// How it balances and what its checks ask, in a line; empty from a proxy that does not say so.
    pub settings: String,
    /// Its endpoints.
    pub endpoints: Vec<EndpointRow>,
    /// The names among its endpoints that have no address.
    pub unresolved: Vec<EndpointRow>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointRow {
    /// Its address, and its name in brackets where that is another one.
    pub name: String,
    /// Its weight.
    pub weight: u64,
    /// `usable`, `failing`, `ejected`, `trial`, `drained`, `unhealthy`, `unknown` or `standby`.
    pub standing: String,
    /// What is to be known about it; may be empty.
    pub why: String,
    /// The same in few words, for a line with others.
    pub brief: String,
}

impl UpstreamRow {
    /// Reads an upstream.
    #[must_use]
    pub fn read(upstream: &Value) -> Self {
        let endpoints: Vec<EndpointRow> =
            upstream["endpoints"].as_array().into_iter().flatten().map(EndpointRow::read).collect();
        let budget = &upstream["retry_budget"];
        Self {
            name: text(&upstream["name"]),
            usable: upstream["usable"].as_u64(),
            total: upstream["total"].as_u64().unwrap_or(endpoints.len() as u64),
            tries: budget["used"].as_u64().zip(budget["allowed"].as_u64()).map(Into::into),
            settings: settings(upstream),
            endpoints,
            unresolved: upstream["unresolved"].as_array().into_iter().flatten().map(EndpointRow::unresolved).collect(),
        }
    }

    /// What is wrong with it, in a line: `checkout-v1: 2 of 3 usable; 10.0.0.2:8080 ejected 12 s (connect_refused)`.
    /// `None` while all endpoints are well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let usable = self.usable?;
        let unwell: Vec<&EndpointRow> = self.endpoints.iter().filter(|one| !one.is_well()).collect();
        if unwell.is_empty() {
            return None;
        }
        let shown = unwell.iter().take(3).map(|one| format!("{} {}", one.name, one.brief));
        let more = unwell.len().checked_sub(3).filter(|more| *more > 0).map(|more| format!("{more} more"));
        let all: Vec<String> = shown.chain(more).collect();
        Some(format!("{}: {usable} of {} usable; {}", self.name, self.total, all.join(", ")))
    }
}

impl EndpointRow {
    /// Whether nothing is wrong with it: it serves, or it waits for its turn.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self.standing.as_str(), "usable" | "standby" | "unknown")
    }

    /// A name that has no address.
    fn unresolved(name: &Value) -> Self {
        let (standing, why) = ("unresolved".to_owned(), "no address".to_owned());
        Self { name: text(name), weight: 1, brief: why.clone(), standing, why }
    }

    /// Reads an endpoint.
    #[must_use]
    pub fn read(endpoint: &Value) -> Self {
        let (name, address) = (text(&endpoint["name"]), text(&endpoint["address"]));
        let standing = text(&endpoint["standing"]);
        let (why, brief) = words(endpoint, &standing);
        let backup = (endpoint["role"] == "backup").then(|| "backup".to_owned());
        let ramp = endpoint["slow_start"].as_f64().map(|share| format!("slow start: {:.0} %", share * 100.0));
        let why: Vec<String> = backup.into_iter().chain(ramp).chain(Some(why).filter(|why| !why.is_empty())).collect();
        let why = why.join("; ");
        let is_name = !name.is_empty() && name != address;
        Self {
            name: if is_name { format!("{address} ({name})") } else { address },
            weight: endpoint["weight"].as_u64().unwrap_or(1),
            why,
            brief,
            standing,
        }
    }
}

/// Why it stands so, at length and in brief.
fn words(endpoint: &Value, standing: &str) -> (String, String) {
    let because = text(&endpoint["ejected_because"]);
    let last = text(&endpoint["last_failure"]);
    let failures = endpoint["failures_in_a_row"].as_u64().unwrap_or(0);
    let in_row = match endpoint["ejections_in_a_row"].as_u64().unwrap_or(0) {
        0 | 1 => String::new(),
        number => format!(", {} in a row", ordinal(number)),
    };
    match standing {
        "drained" if endpoint["drained_by_file"] == true => {
            ("by the file".to_owned(), "drained by the file".to_owned())
        }
        "drained" => ("by hand".to_owned(), "drained".to_owned()),
        "unhealthy" => match checks(&endpoint["health"]) {
            (why, Some(cause)) => (why, format!("unhealthy ({cause})")),
            (why, None) => (why, "unhealthy".to_owned()),
        },
        "unknown" => ("not checked yet, and a healthy one serves".to_owned(), "not checked yet".to_owned()),
        "standby" => ("a primary serves".to_owned(), "standby".to_owned()),
        "ejected" if because == "by_hand" => ("by hand, until it is admitted".to_owned(), "ejected by hand".to_owned()),
        "ejected" => {
            let left = endpoint["ejected_for_ms"].as_u64().unwrap_or(0).div_ceil(1000);
            (format!("{left} s left{in_row}: {because}"), format!("ejected {left} s ({because})"))
        }
        "trial" => (format!("its time is over{in_row}: {because}"), format!("trial ({because})")),
        _ if failures > 0 || standing == "failing" => {
            let plural = if failures == 1 { "" } else { "s" };
            (format!("{failures} failure{plural} in a row: {last}"), format!("{standing} ({last})"))
        }
        _ => (String::new(), standing.to_owned()),
    }
}

/// What the active checks have found, and the cause of the last bad one: `3 bad checks in a row: timeout, 2 s ago`.
fn checks(health: &Value) -> (String, Option<String>) {
    let cause = Some(text(&health["last_failure"])).filter(|cause| !cause.is_empty());
    let in_row = health["bad_in_a_row"].as_u64().filter(|number| *number > 0);
    let head = match in_row {
        Some(1) => "1 bad check".to_owned(),
        Some(number) => format!("{number} bad checks in a row"),
        None => "its checks fail".to_owned(),
    };
    let ago = health["last_failure_ago_ms"].as_u64().map(|ago| format!(", {} s ago", ago / 1000)).unwrap_or_default();
    let words = cause.as_ref().map_or(head.clone(), |cause| format!("{head}: {cause}{ago}"));
    (words, cause)
}

/// `least_request; checks: GET /healthz each 5 s, 2 good or 3 bad in a row decide`.
fn settings(upstream: &Value) -> String {
    let balance = text(&upstream["balance"]);
    let seconds = |key: &str| upstream["health"][key].as_f64().unwrap_or(0.0) / 1000.0;
    let check = &upstream["health"];
    let asked = match check["kind"].as_str() {
        Some("http") => format!("GET {}", text(&check["path"])),
        Some("grpc") => format!("grpc.health.v1 {}", text(&check["service"])).trim_end().to_owned(),
        Some(kind) => escape_controls(kind).into_owned(),
        None => return balance,
    };
    let number = |key: &str| check[key].as_u64().unwrap_or(0);
    let (healthy, unhealthy) = (number("healthy"), number("unhealthy"));
    format!(
        "{balance}; checks: {asked} each {} s, {healthy} good or {unhealthy} bad in a row decide",
        seconds("interval_ms")
    )
}

/// `2nd`.
fn ordinal(number: u64) -> String {
    let end = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}

fn text(value: &Value) -> String {
    escape_controls(value.as_str().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trouble_is_a_line() {
        let well = json!({ "name": "10.0.0.1:8080", "address": "10.0.0.1:8080", "standing": "usable", "weight": 1 });
        let mut upstream = json!({ "name": "checkout-v1", "usable": 2, "total": 3, "endpoints": [well, well,
            { "name": "shop:8080", "address": "10.0.0.2:8080", "standing": "ejected", "ejected_because": "connect_refused",
              "ejected_for_ms": 11_200, "ejections_in_a_row": 2, "weight": 1 }] });
        let row = UpstreamRow::read(&upstream);
        assert_eq!(
            row.trouble().unwrap(),
            "checkout-v1: 2 of 3 usable; 10.0.0.2:8080 (shop:8080) ejected 12 s (connect_refused)"
        );
        assert_eq!(row.endpoints[2].why, "12 s left, 2nd in a row: connect_refused");
        upstream["endpoints"] = json!([well]);
        assert_eq!(UpstreamRow::read(&upstream).trouble(), None);
        upstream["endpoints"] = json!([{ "address": "a\u{1b}", "standing": "drained", "drained": true }]);
        assert_eq!(UpstreamRow::read(&upstream).trouble().unwrap(), "checkout-v1: 2 of 3 usable; a\\u{1b} drained");
        let older = json!({ "name": "u", "endpoints": [{ "address": "10.0.0.1:80" }] });
        assert_eq!(UpstreamRow::read(&older).trouble(), None, "a proxy that does not know states");
    }

    #[test]
    fn each_standing_says_why() {
        let why = |value: Value| EndpointRow::read(&value).why;
        assert_eq!(
            why(json!({ "standing": "usable", "failures_in_a_row": 1, "last_failure": "reset" })),
            "1 failure in a row: reset"
        );
        assert_eq!(
            why(json!({ "standing": "failing", "failures_in_a_row": 7, "last_failure": "status" })),
            "7 failures in a row: status"
        );
        assert_eq!(
            why(json!({ "standing": "ejected", "ejected_because": "by_hand" })),
            "by hand, until it is admitted"
        );
        let check = json!({ "verdict": "unhealthy", "bad_in_a_row": 3, "last_failure": "timeout",
            "last_failure_ago_ms": 2_400 });
        let unhealthy = json!({ "address": "10.0.0.2:80", "standing": "unhealthy", "health": check });
        assert_eq!(why(unhealthy.clone()), "3 bad checks in a row: timeout, 2 s ago");
        assert_eq!(EndpointRow::read(&unhealthy).brief, "unhealthy (timeout)");
        assert_eq!(why(json!({ "standing": "unhealthy", "health": { "verdict": "unhealthy" } })), "its checks fail");
        assert_eq!(why(json!({ "standing": "standby", "role": "backup" })), "backup; a primary serves");
        assert_eq!(why(json!({ "standing": "usable", "slow_start": 0.34 })), "slow start: 34 %");
        assert_eq!(why(json!({ "standing": "drained", "drained_by_file": true })), "by the file");
        assert_eq!(
            [1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal),
            ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th"]
        );
    }
}
