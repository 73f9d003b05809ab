//! The message to an incoming webhook of Slack: blocks, and a text for notifications of the system.

use serde_json::{Value, json};

use super::notice::{Notice, NoticeLevel, one_line};
use crate::journal::rfc3339;

/// The longest text of a header, in characters: Slack counts some of them twice, and takes 150.
const HEADER_MAX: usize = 140;
/// The longest text of a section, in characters, when it is escaped.
const SECTION_MAX: usize = 3_000;
/// The longest text of an element of a context, in characters, when it is escaped.
const CONTEXT_MAX: usize = 500;
/// The longest text before it is escaped: a letter becomes at most five.
const UNESCAPED_MAX: usize = SECTION_MAX / 5 - 10;
/// The words that notify many people.
const MANY: [&str; 3] = ["here", "channel", "everyone"];

/// The message.
pub(super) fn slack_body(notice: &Notice, host: &str) -> Value {
    let mark = match notice.level {
        NoticeLevel::Critical => "🔴",
        NoticeLevel::Warning => "🟠",
        NoticeLevel::Info => "🟢",
    };
    let title = format!("{mark} {}", notice.title);
    let header = json!({ "type": "header", "text": { "type": "plain_text", "text": one_line(&title, HEADER_MAX), "emoji": false } });
    let mut blocks = vec![header];
    if !notice.text.is_empty() {
        blocks.push(section(&escaped(&one_line(&notice.text, UNESCAPED_MAX))));
    }
    if !notice.todo.is_empty() {
        let shown: String = notice.todo.join("\n").chars().take(UNESCAPED_MAX).collect();
        blocks.push(section(&format!("```{}```", escaped(&shown))));
    }
    let facts = &notice.facts;
    let at = rfc3339(std::time::Duration::from_millis(notice.at_ms));
    let named = [
        Some(("at", at)),
        facts.who.clone().map(|who| ("by", who)),
        facts.revision.clone().map(|revision| ("revision", revision)),
        Some(("host", host.to_owned())),
    ];
    let element = |(name, value): (&str, String)| {
        let value = escaped(&one_line(&value, CONTEXT_MAX / 5 - 10));
        json!({ "type": "mrkdwn", "text": format!("{name}: {value}"), "verbatim": true })
    };
    let elements: Vec<Value> =
        named.into_iter().flatten().filter(|(_, value)| !value.is_empty()).map(element).collect();
    blocks.push(json!({ "type": "context", "elements": elements }));
    json!({ "text": escaped(&one_line(&title, UNESCAPED_MAX)), "blocks": blocks })
}

fn section(text: &str) -> Value {
    debug_assert!(text.chars().count() <= SECTION_MAX, "a section has a bound");
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

/// A text whose letters have no meaning, and that mentions no group of people.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    // A fence in a name must not end a block of commands.
    let text = text.replace("```", "'''");
    MANY.iter().fold(text, |text, word| text.replace(&format!("@{word}"), &format!("@\u{200b}{word}")))
}
