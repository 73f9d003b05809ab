//! A receiver of notifications, as the admin listener lists it. Its text is untrusted: control characters are escaped.

use serde_json::Value;

use crate::cli::out::{count, shortened};
use crate::compare::escape_controls;

/// Letters of an error that are shown; `--json` has all.
const ERROR_CHARS_MAX: usize = 200;

/// A receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverRow {
    /// Kind and host.
    pub name: String,
    /// `all`, or the rollouts that name it.
    pub for_whom: String,
    /// `0`, or `3 since 2026-11-29 14:03:10Z`.
    pub pending: String,
    /// Messages that arrived.
    pub sent: u64,
    /// When one arrived last; `-`: none has.
    pub last: String,
    /// Why the last try failed, or how many messages were given up; empty when all is well.
    pub error: String,
    /// What is wrong, in a line.
    pub trouble: Option<String>,
}

impl ReceiverRow {
    /// Reads a receiver.
    #[must_use]
    pub fn read(receiver: &Value) -> Self {
        let name = text(&receiver["name"]);
        let rollouts: Vec<String> = receiver["rollouts"].as_array().into_iter().flatten().map(text).collect();
        let for_whom = if receiver["for_all"] == true { "all".to_owned() } else { rollouts.join(", ") };
        let waiting = receiver["pending"].as_u64().unwrap_or(0);
        let oldest = receiver["oldest"].as_str().map(at).filter(|_| waiting > 0);
        let since = oldest.map(|at| format!(" since {at}")).unwrap_or_default();
        let dropped = receiver["dropped"].as_u64().unwrap_or(0);
        let given_up = (dropped > 0).then(|| format!("{} given up", messages(dropped)));
        let failure = receiver["error"].as_str().map(|why| shortened(&escape_controls(why), ERROR_CHARS_MAX));
        let error: Vec<String> = failure.iter().cloned().chain(given_up).collect();
        let wait = if waiting == 1 { "waits" } else { "wait" };
        let trouble = failure
            .map(|why| format!("receiver {name}: {why}; {} {wait}{since}: `pointsman notify ls`", messages(waiting)));
        Self {
            for_whom: if for_whom.is_empty() { "-".to_owned() } else { for_whom },
            pending: format!("{waiting}{since}"),
            sent: receiver["sent"].as_u64().unwrap_or(0),
            last: receiver["last_sent"].as_str().map_or_else(|| "-".to_owned(), at),
            error: error.join("; "),
            trouble,
            name,
        }
    }
}

fn messages(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "message")
}

/// RFC 3339 to the second, for people.
fn at(text: &str) -> String {
    let seconds = text.split('.').next().unwrap_or_default();
    format!("{}Z", escape_controls(&seconds.trim_end_matches('Z').replace('T', " ")))
}

fn text(value: &Value) -> String {
    escape_controls(value.as_str().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_receiver_that_fails_is_in_trouble() {
        let mut receiver = json!({ "name": "slack:hooks.slack.com", "for_all": true, "rollouts": ["shop-v2"], "pending": 2,
            "oldest": "2026-11-29T14:03:10.123Z", "sent": 7, "last_sent": "2026-11-29T13:00:00Z", "dropped": 1,
            "error": "it answers 503" });
        let row = ReceiverRow::read(&receiver);
        assert_eq!((row.for_whom.as_str(), row.pending.as_str()), ("all", "2 since 2026-11-29 14:03:10Z"));
        assert_eq!((row.last.as_str(), row.sent), ("2026-11-29 13:00:00Z", 7));
        assert_eq!(row.error, "it answers 503; 1 message given up");
        assert_eq!(
            row.trouble.unwrap(),
            "receiver slack:hooks.slack.com: it answers 503; 2 messages wait since 2026-11-29 14:03:10Z: \
             `pointsman notify ls`"
        );
        receiver["error"] = Value::Null;
        receiver["for_all"] = json!(false);
        let row = ReceiverRow::read(&receiver);
        assert_eq!((row.for_whom.as_str(), row.trouble), ("shop-v2", None));
        let row = ReceiverRow::read(&json!({ "name": "a\u{1b}" }));
        assert_eq!((row.name.as_str(), row.for_whom.as_str(), row.pending.as_str()), ("a\\u{1b}", "-", "0"));
        assert_eq!((row.last.as_str(), row.error.as_str()), ("-", ""));
    }
}
