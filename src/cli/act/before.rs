//! Whether a scope was killed already when a kill was recorded, read from the journal after the kill: nothing stands
//! before it. The records are untrusted: control characters are escaped.

use serde_json::Value;

use super::send::STATUS_PATIENCE;
use crate::cli::admin::{AdminEndpoint, FetchOptions};
use crate::cli::out;
use crate::compare::escape_controls;
use crate::journal::ScopeFields;
use crate::route::KillScope;

/// How many records before the kill are looked at.
const RECORDS: u64 = 999;

/// `was already killed since 2026-11-29 13:57:10Z by root: errors`, if it was and the proxy says so at once.
pub(super) async fn killed_before(admin: &AdminEndpoint, scope: &KillScope, seq: u64) -> Option<String> {
    let after = seq.saturating_sub(RECORDS + 1);
    let path = format!("/v1/journal?after={after}&limit={}", RECORDS + 1);
    let answer = admin.ask(&path, FetchOptions::within(STATUS_PATIENCE)).await.ok()?;
    let page = answer.page().ok()?;
    in_words(first_kill(page["records"].as_array()?, scope, seq)?)
}

/// The oldest kill of exactly this scope before `seq` that no revive has lifted.
fn first_kill<'a>(records: &'a [Value], scope: &KillScope, seq: u64) -> Option<&'a Value> {
    let earlier = records.iter().filter(|record| record["seq"].as_u64().is_some_and(|number| number < seq));
    let same = earlier.filter(|record| {
        let fields = serde_json::from_value::<ScopeFields>((*record).clone()).ok();
        fields.and_then(|fields| fields.scope()).is_some_and(|of| of == *scope)
    });
    same.fold(None, |first, record| match record["what"].as_str() {
        Some("kill") => first.or(Some(record)),
        Some("revive") => None,
        Some(_) | None => first,
    })
}

fn in_words(record: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(|text| escape_controls(text).into_owned());
    let at = text(&record["at"])?;
    let at = at.split(['.', 'Z']).next()?.replace('T', " ");
    let who = text(&record["who"]["name"])?;
    let why = text(&record["reason"]).map(|why| format!(": {}", out::shortened(&why, 60)));
    Some(format!("was already killed since {at}Z by {who}{}", why.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oldest_kill_that_still_stood_is_named() {
        let record = |seq: u64, what: &str, route: &str| {
            json!({ "seq": seq, "at": format!("2026-11-29T13:57:{seq:02}.123Z"), "what": what, "route": route,
                "who": { "name": "root", "via": "socket" }, "reason": "errors" })
        };
        let shop = KillScope::Route("shop".to_owned());
        let records = [
            record(1, "kill", "shop"),
            record(2, "revive", "shop"),
            record(3, "kill", "shop"),
            record(4, "kill", "api"),
            record(5, "refused", "shop"),
            record(6, "kill", "shop"),
            record(7, "kill", "shop"),
        ];
        let found = |seq: u64| first_kill(&records, &shop, seq).and_then(in_words);
        assert_eq!(found(7).unwrap(), "was already killed since 2026-11-29 13:57:03Z by root: errors");
        assert_eq!(found(3), None, "it was revived");
        assert_eq!(found(1), None);
        assert!(first_kill(&records, &KillScope::All, 8).is_none());
    }
}
