//! A kill in force, as the admin listener lists it. Its text is untrusted: control characters are escaped.

use serde_json::Value;

use crate::cli::out;
use crate::compare::escape_controls;
use crate::journal::ScopeFields;

/// Letters of a reason that are shown; the journal has all.
const REASON_CHARS_MAX: usize = 200;

/// A kill in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillRow {
    /// `variant shop:canary`.
    pub scope: String,
    /// `ana (socket)`, or the place in the file.
    pub by: String,
    /// `ana`, or the place in the file.
    pub who: String,
    /// `2026-11-29 14:03:10Z`; `-` for a kill of the file.
    pub since: String,
    /// The reason; empty for a kill of the file.
    pub reason: String,
    /// What else is to be known, such as that it is not recorded.
    pub notes: Vec<&'static str>,
}

impl KillRow {
    /// Reads a kill.
    #[must_use]
    pub fn read(kill: &Value) -> Self {
        let text = |value: &Value| escape_controls(value.as_str().unwrap_or_default()).into_owned();
        let scope = serde_json::from_value::<ScopeFields>(kill["scope"].clone()).ok().and_then(|fields| fields.scope());
        let scope = scope.map_or_else(|| "?".to_owned(), |scope| escape_controls(&scope.to_string()).into_owned());
        let is_by_file = kill["source"] == "file";
        let who = text(if is_by_file { &kill["place"] } else { &kill["who"]["name"] });
        let by = if is_by_file { who.clone() } else { format!("{who} ({})", text(&kill["who"]["via"])) };
        let at = text(&kill["at"]);
        let at = at.split('.').next().map(|at| at.trim_end_matches('Z').replace('T', " ")).filter(|at| !at.is_empty());
        let not_there = (kill["matches"] == false).then_some("not in the running configuration");
        let not_recorded = (kill["durable"] == false).then_some("NOT RECORDED: a restart forgets it");
        Self {
            scope,
            by,
            who,
            since: at.map_or_else(|| "-".to_owned(), |at| format!("{at}Z")),
            reason: text(&kill["reason"]),
            notes: not_there.into_iter().chain(not_recorded).collect(),
        }
    }

    /// The reason, cut to a line, and the notes in brackets.
    #[must_use]
    pub fn why(&self) -> String {
        let notes = self.notes.iter().map(|note| format!("[{note}]"));
        Some(out::shortened(&self.reason, REASON_CHARS_MAX))
            .filter(|reason| !reason.is_empty())
            .into_iter()
            .chain(notes)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// In one sentence: `variant shop:canary, by ana (socket), since 2026-11-29 14:03:10Z: errors`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let since = if self.since == "-" { String::new() } else { format!(", since {}", self.since) };
        let why = Some(self.why()).filter(|why| !why.is_empty()).map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}, by {}{since}{why}", self.scope, self.by)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kill_is_a_sentence() {
        let call = json!({ "scope": { "variant": "shop:canary" }, "source": "call", "who": { "name": "a\u{1b}", "via": "token" },
            "reason": "errors", "at": "2026-11-29T14:03:10.123Z", "matches": true, "durable": false });
        assert_eq!(
            KillRow::read(&call).sentence(),
            "variant shop:canary, by a\\u{1b} (token), since 2026-11-29 14:03:10Z: errors [NOT RECORDED: a restart forgets it]"
        );
        let file = json!({ "scope": { "all": true }, "source": "file", "place": "routes.toml:12", "matches": true });
        assert_eq!(KillRow::read(&file).sentence(), "all, by routes.toml:12");
        assert_eq!(KillRow::read(&json!({})).scope, "?");
        let long = json!({ "scope": { "all": true }, "source": "call", "reason": "x".repeat(1_000), "matches": true });
        assert_eq!(KillRow::read(&long).why(), format!("{}…", "x".repeat(199)));
    }
}
