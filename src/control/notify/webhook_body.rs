//! The message to a webhook: a JSON object with all facts, and its signature.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::notice::Notice;
use crate::journal::rfc3339;

/// The version of the form.
const VERSION: u32 = 1;

/// The message.
pub(super) fn webhook_body(notice: &Notice, host: &str) -> Value {
    let mut body = json!({
        "v": VERSION,
        "id": notice.id,
        "event": notice.kind.name(),
        "severity": notice.level.name(),
        "at": rfc3339(std::time::Duration::from_millis(notice.at_ms)),
        "title": notice.title,
        "text": notice.text,
        "do": notice.todo,
        "host": host,
    });
    let facts = serde_json::to_value(&notice.facts).unwrap_or_default();
    if let (Some(body), Value::Object(facts)) = (body.as_object_mut(), facts) {
        body.extend(facts);
        if !notice.record.is_null() {
            body.insert("record".to_owned(), notice.record.clone());
        }
    }
    body
}

/// The value of `X-Pointsman-Signature` for this body, sent at this time in seconds since the Unix epoch.
pub(super) fn signature(secret: &[u8], timestamp: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(timestamp.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let mut signature = "sha256=".to_owned();
    for byte in context.sign().as_ref() {
        for half in [byte >> 4, byte & 15] {
            signature.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
    signature
}
