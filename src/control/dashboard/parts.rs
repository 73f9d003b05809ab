//! Parts that several pages share: verdicts, moments, buttons that act, bars.

use maud::{Markup, html};
use serde_json::Value;

use super::figures::{text, unbroken};

/// How a state looks: each has a shape, a word and a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Callers get errors now, or could not be protected.
    Bad,
    /// It waits for a person.
    Asks,
    /// It stands still.
    Held,
    /// Something is to be watched.
    Watch,
    /// Nothing is known yet: not the same as good.
    Unknown,
    /// It serves.
    Serving,
    /// It is over, or off.
    Quiet,
}

impl Tone {
    /// The class of the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Asks => "asks",
            Self::Held => "held",
            Self::Watch => "watch",
            Self::Unknown => "unknown",
            Self::Serving => "serving",
            Self::Quiet => "quiet",
        }
    }
}

/// A verdict: a shape and a word, never a colour alone.
pub fn verdict(tone: Tone, shape: &str, word: &str) -> Markup {
    html! { span class={ "verdict " (tone.class()) } { span class="shape" aria-hidden="true" { (shape) } " " (word) } }
}

/// A moment of the API (RFC 3339): the time of day, with the whole moment for a pointer and for programs.
pub fn moment(at: &Value) -> Markup {
    let at = text(at);
    let Some((date, rest)) = at.split_once('T') else { return html! { "–" } };
    let time = rest.get(..8).unwrap_or(rest);
    html! { time datetime=(at) title=(at) { span class="date" { (date) " " } (time) "\u{a0}Z" } }
}

/// A text of the API: what it has in backquotes is code.
pub fn code_spans(says: &str) -> Markup {
    if says.matches('`').count() % 2 == 1 {
        return html! { bdi { (unbroken(says)) } };
    }
    html! {
        @for (at, part) in says.split('`').enumerate() {
            @if at % 2 == 1 { code { bdi { (part) } } } @else { (unbroken(part)) }
        }
    }
}

/// Whether an act takes a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonField {
    Required,
    Optional,
}

/// A button that opens the dialog of an act.
#[derive(Clone, Debug)]
pub struct ActButton<'a> {
    /// What stands on it, such as `Hold`.
    pub label: &'a str,
    /// What it acts on, such as `checkout-v2`.
    pub target: &'a str,
    /// The call, percent-encoded: `/v1/rollouts/checkout-v2/hold`.
    pub path: String,
    /// Members of the body besides `reason` and `expect`.
    pub body: Value,
    /// What it will do, in one line: `stays at 10 %`.
    pub effect: String,
    /// The key that opens it for the chosen row.
    pub key: Option<char>,
    pub reason: ReasonField,
    /// It takes callers off a variant, or stops something.
    pub is_grave: bool,
}

impl ActButton<'_> {
    /// The button.
    pub fn markup(&self) -> Markup {
        let reason = match self.reason {
            ReasonField::Required => "required",
            ReasonField::Optional => "optional",
        };
        let key = self.key.map(|key| key.to_string());
        html! {
            button type="button" class={ "act" @if self.is_grave { " grave" } }
                data-act=(self.label) data-target=(self.target) data-path=(self.path) data-body=(self.body.to_string())
                data-effect=(self.effect) data-reason=(reason) data-key=[key.as_deref()] aria-keyshortcuts=[key.as_deref()]
                title=(self.effect) { (self.label) }
        }
    }
}

/// A part of a path, percent-encoded (RFC 3986): unreserved characters alone stay.
pub fn in_path(name: &str) -> String {
    use std::fmt::Write as _;
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hostile_names_stay_text() {
        let hostile = "<img src=x onerror=alert(1)>\"'&";
        let button = ActButton {
            label: "Hold",
            target: hostile,
            path: format!("/v1/rollouts/{}/hold", in_path(hostile)),
            body: json!({ "stage": hostile }),
            effect: hostile.to_owned(),
            key: Some('h'),
            reason: ReasonField::Required,
            is_grave: false,
        };
        let markup = button.markup().into_string();
        assert!(!markup.contains("<img") && markup.contains("&lt;img"), "{markup}");
        assert_eq!(in_path("a/b c:ü"), "a%2Fb%20c%3A%C3%BC");
        assert!(moment(&json!(hostile)).into_string().len() < 200);
        assert_eq!(code_spans("stage `half` at 5 %").into_string(), "stage <code><bdi>half</bdi></code> at 5\u{a0}%");
        assert_eq!(code_spans("a ` alone").into_string(), "<bdi>a ` alone</bdi>");
        assert!(!code_spans(hostile).into_string().contains("<img"));
    }
}
