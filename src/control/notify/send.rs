//! One try to send a message, over a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde_json::Value;

use super::alert::NotifyAlert;
use super::alertmanager_body::{alertmanager_body, alerts_path};
use super::notice::Notice;
use super::queue::{SendOutcome, SendVerdict};
use super::slack_body::slack_body;
use super::webhook_body::{signature, webhook_body};
use crate::control::gate::{Answer, AskedProgram, ProgramCall, shown};
use crate::route::{HttpTarget, NotifySecret, Receiver, ReceiverKind};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-pointsman-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("x-pointsman-signature");
/// The table with the settings, for messages.
const OWNER: &str = "`[notify]`";

/// What is sent to a receiver.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub receiver: Receiver,
    pub secret: Option<NotifySecret>,
    /// The message; `None`: only alerts.
    pub notice: Option<Arc<Notice>>,
    pub alerts: Vec<NotifyAlert>,
    /// The name of this machine.
    pub host: Arc<str>,
}

/// Sends it once. `wall` is the wall clock since the Unix epoch.
pub(super) async fn send(outgoing: &Outgoing, wall: Duration) -> SendOutcome {
    let program = match AskedProgram::new(&outgoing.receiver.target, OWNER) {
        Ok(program) => program,
        Err(why) => return failed(why),
    };
    let Some(call) = call(outgoing, wall) else { return failed("there is nothing to send".to_owned()) };
    match program.deliver(call).await {
        Ok(answer) => judge(&answer, &outgoing.receiver, wall, &program),
        // A redirect may repeat the path.
        Err(why) => failed(without_secrets(&why, &outgoing.receiver.target)),
    }
}

pub(super) const fn failed(why: String) -> SendOutcome {
    SendOutcome { verdict: SendVerdict::Failed(why), status: None, retry_after_ms: None }
}

fn call(outgoing: &Outgoing, wall: Duration) -> Option<ProgramCall> {
    let Outgoing { receiver, secret, notice, alerts, host } = outgoing;
    let (mut path, mut headers) = (receiver.target.path.clone(), Vec::new());
    let body: Value = match (receiver.kind, notice) {
        (ReceiverKind::Webhook, Some(notice)) => webhook_body(notice, host),
        (ReceiverKind::Slack, Some(notice)) => slack_body(notice, host),
        (ReceiverKind::Alertmanager, _) => {
            path = alerts_path(&path);
            let now_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
            alertmanager_body(alerts, host, now_ms)
        }
        (ReceiverKind::Webhook | ReceiverKind::Slack, None) => return None,
    };
    let body = body.to_string();
    if let Some(id) = notice.as_ref().and_then(|notice| HeaderValue::from_str(&notice.id).ok()) {
        headers.push((IDEMPOTENCY_KEY, id));
    }
    if let (ReceiverKind::Webhook, Some(secret)) = (receiver.kind, secret) {
        let timestamp = wall.as_secs();
        headers.push((TIMESTAMP, HeaderValue::from(timestamp)));
        let signature = HeaderValue::from_str(&signature(&secret.0, timestamp, body.as_bytes())).ok()?;
        headers.push((SIGNATURE, signature));
    }
    Some(ProgramCall { method: Method::POST, path, content_type: Some(JSON), headers, body: Bytes::from(body) })
}

/// What an answer says of the message.
fn judge(answer: &Answer, receiver: &Receiver, wall: Duration, program: &AskedProgram) -> SendOutcome {
    let status = answer.status;
    let said = shown(&without_secrets(&String::from_utf8_lossy(&answer.body), &receiver.target));
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let why = program.line(&format!("answers with {status}{said}"));
    // Slack says by 404 and 410 that its hook is gone; elsewhere too they are about the URL.
    let is_refused = match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => true,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => receiver.kind == ReceiverKind::Webhook,
        _ => false,
    };
    let verdict = if status.is_success() {
        SendVerdict::Arrived
    } else if is_refused {
        SendVerdict::Refused(why)
    } else {
        SendVerdict::Failed(why)
    };
    let retry_after_ms = answer.retry_after.as_ref().and_then(|value| retry_after_ms(value, wall));
    SendOutcome { verdict, status: Some(status.as_u16()), retry_after_ms }
}

/// An answer without what only the receiver may know: a page for an unknown path often repeats that path.
fn without_secrets(said: &str, target: &HttpTarget) -> String {
    /// Shorter parts of a path are words.
    const PART_MIN: usize = 8;
    let path = target.path.as_str();
    let whole = [path, path.split('?').next().unwrap_or_default()].into_iter().filter(|text| text.len() > 1);
    let parts = path.split(['/', '?', '&', '=']).filter(|part| part.len() >= PART_MIN);
    let headers = target.headers.iter().filter_map(|(_, value)| value.to_str().ok());
    let mut secrets: Vec<&str> = whole.chain(parts).chain(headers).filter(|text| !text.is_empty()).collect();
    secrets.sort_unstable_by_key(|text| std::cmp::Reverse(text.len()));
    secrets.into_iter().fold(said.to_owned(), |said, secret| said.replace(secret, "***"))
}

/// `Retry-After` in milliseconds: seconds, or a date.
fn retry_after_ms(value: &HeaderValue, wall: Duration) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?.as_millisecond();
    let now_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
    Some(u64::try_from(at).ok()?.saturating_sub(now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_repeats_the_url_does_not_show_it() {
        let target = HttpTarget {
            host: "a".to_owned(),
            port: 80,
            path: "/services/T0/B0/0123456789?key=abcdefgh".to_owned(),
            tls: None,
            headers: vec![(http::header::AUTHORIZATION, HeaderValue::from_static("Basic YTpi"))],
            timeout: Duration::from_secs(5),
        };
        for (said, shown) in [
            ("Cannot POST /services/T0/B0/0123456789?key=abcdefgh", "Cannot POST ***"),
            ("no /services/T0/B0/0123456789 here", "no *** here"),
            (r"\/T0\/B0\/0123456789 and abcdefgh", r"\/T0\/B0\/*** and ***"),
            ("authorization: Basic YTpi", "authorization: ***"),
            ("no_service", "no_service"),
        ] {
            assert_eq!(without_secrets(said, &target), shown, "{said}");
        }
        let plain = HttpTarget { path: "/".to_owned(), headers: Vec::new(), ..target };
        assert_eq!(without_secrets("/ a / b", &plain), "/ a / b");
    }
}
