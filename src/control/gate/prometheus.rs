//! A query of Prometheus that has one value. Whatever else it answers says what to write instead.

use std::fmt::Write as _;

use bytes::Bytes;
use http::Method;
use http::header::HeaderValue;
use serde::Deserialize;
use serde_json::Value;

use super::exchange::{Answer, ProgramCall};
use super::wording::shown;

/// A query that is longer than this when it is encoded is sent as a body, in bytes.
const QUERY_IN_URL_MAX: usize = 4 * 1024;

/// The answer of `/api/v1/query`. Warnings are not read.
#[derive(Deserialize)]
struct QueryAnswer {
    status: String,
    #[serde(default)]
    data: Option<QueryData>,
    #[serde(default, rename = "errorType")]
    error_type: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct QueryData {
    #[serde(rename = "resultType")]
    result_type: String,
    #[serde(default)]
    result: Value,
}

/// The request for this query, to the Prometheus at this path.
pub(super) fn call(path: &str, query: &str) -> ProgramCall {
    let (prefix, own) = path.split_once('?').unwrap_or((path, ""));
    let mut url = format!("{}/api/v1/query", prefix.trim_end_matches('/'));
    let form = format!("query={}", percent_encoded(query));
    let own = if own.is_empty() { String::new() } else { format!("?{own}") };
    url.push_str(&own);
    if form.len() > QUERY_IN_URL_MAX {
        let content_type = Some(HeaderValue::from_static("application/x-www-form-urlencoded"));
        return ProgramCall {
            method: Method::POST,
            path: url,
            content_type,
            headers: Vec::new(),
            body: Bytes::from(form),
        };
    }
    url.push(if own.is_empty() { '?' } else { '&' });
    url.push_str(&form);
    ProgramCall { method: Method::GET, path: url, content_type: None, headers: Vec::new(), body: Bytes::new() }
}

/// Reads an answer: the one value, which is finite.
///
/// # Errors
/// There is none: why, and what to write instead.
pub(super) fn read(answer: &Answer) -> Result<f64, String> {
    let said = serde_json::from_slice::<QueryAnswer>(&answer.body);
    let (status, data) = match said {
        Ok(QueryAnswer { status, error_type, error, .. }) if status == "error" => {
            let kind = error_type.map(|kind| format!("{}: ", shown(&kind))).unwrap_or_default();
            let error = error.map(|error| shown(&error)).unwrap_or_default();
            return Err(format!("answers with an error: {kind}{error}"));
        }
        Ok(QueryAnswer { status, data, .. }) if answer.status.is_success() => (status, data),
        Ok(_) => return Err(format!("answers with {}", answer.status)),
        Err(_) if !answer.status.is_success() => {
            return Err(format!("answers with {}; is it the URL of Prometheus?", answer.status));
        }
        Err(error) => {
            let error = shown(&error.to_string());
            return Err(format!("does not answer as Prometheus does: {error}; is it the URL of Prometheus?"));
        }
    };
    match data {
        Some(data) if status == "success" => value_of(&data),
        Some(_) | None => Err(format!("does not answer as Prometheus does: its status is {}", shown(&status))),
    }
}

fn value_of(data: &QueryData) -> Result<f64, String> {
    match (data.result_type.as_str(), &data.result) {
        ("scalar", sample) => number(sample),
        ("vector", Value::Array(series)) => match series.as_slice() {
            [] => Err("has no value for the query: no series matches; where that is normal, write `… or vector(0)`".into()),
            [one] if !one["histogram"].is_null() => Err(
                "answers with a histogram, a number is needed: put `histogram_quantile(0.99, …)` or `histogram_avg(…)` around \
                 the query"
                    .into(),
            ),
            [one] => number(&one["value"]),
            more => Err(format!(
                "answers with {} series, one is needed: put `sum(…)` or `max(…)` around the query",
                more.len()
            )),
        },
        ("matrix", _) => Err(
            "answers with a range, a number is needed: put `avg_over_time(…)` or `rate(…)` around it, and `sum(…)` around that"
                .into(),
        ),
        (other, _) => {
            let other = shown(other);
            Err(format!("answers with a result of type {other}, a number is needed: write a query of one series"))
        }
    }
}

/// The number of a sample: `[1435781451.781, "0.2"]`.
fn number(sample: &Value) -> Result<f64, String> {
    let text = sample[1].as_str().ok_or("does not answer as Prometheus does: a sample has no value")?;
    let remedy = "what the query divides by may be 0: write `… or vector(0)`, or a query that always has a number";
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(value) if value.is_nan() => Err(format!("answers with NaN, which is not a number: {remedy}")),
        Ok(value) => {
            let sign = if value > 0.0 { '+' } else { '-' };
            Err(format!("answers with {sign}Inf, which is not a number: {remedy}"))
        }
        Err(_) => Err(format!("answers with the value `{}`, which is not a number", shown(text))),
    }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
