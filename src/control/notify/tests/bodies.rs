//! The forms of a message, and its signature.

use serde_json::{Value, json};

use super::super::alertmanager_body::{alertmanager_body, alerts_path};
use super::super::alerts::{alert_of, brief_alert};
use super::super::notice::Notice;
use super::super::of_record::noticed;
use super::super::slack_body::slack_body;
use super::super::webhook_body::{signature, webhook_body};
use super::{BEGIN_MS, kill, rollout, rules};
use crate::route::KillScope;

fn rolled_back() -> Notice {
    let phase = json!({ "is": "rolled_back", "by": "errors", "sentence": "s" });
    noticed(&rollout(41, "rollback", phase), &rules()).notice.expect("it is heard of")
}

#[test]
fn a_webhook_gets_all_facts() {
    let expected = json!({
        "v": 1, "id": format!("41-{}", BEGIN_MS + 41), "event": "rollback", "severity": "critical",
        "at": "2026-11-30T00:53:20.041Z", "title": "next is rolled back, in stage few", "text": "because 41",
        "do": ["pointsman rollout show next", "pointsman rollout resume next --reason TEXT"],
        "host": "edge-1", "rollout": "next", "stage": "few", "revision": "v2=1", "who": "pointsman", "from": 0.0, "to": 20.0,
        "record": {
            "v": 3, "seq": 41, "at": "2026-11-30T00:53:20.041Z", "who": { "name": "pointsman", "via": "process" },
            "what": "rollout", "act": "rollback", "rollout": "next", "revision": "v2=1", "stage": "few", "from": 0.0, "to": 20.0,
            "because": "because 41", "routes": ["api"], "evidence": { "facts": [1.5] }, "config": "c0ffee", "generation": 7,
        },
    });
    assert_eq!(webhook_body(&rolled_back(), "edge-1"), expected);
}

#[test]
fn slack_gets_blocks() {
    let mrkdwn = |text: &str| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
    let expected = json!({
        "text": "🔴 next is rolled back, in stage few",
        "blocks": [
            { "type": "header", "text": { "type": "plain_text", "text": "🔴 next is rolled back, in stage few", "emoji": false } },
            { "type": "section", "text": mrkdwn("because 41") },
            { "type": "section", "text": mrkdwn("```pointsman rollout show next\npointsman rollout resume next --reason TEXT```") },
            { "type": "context", "elements": [
                mrkdwn("at: 2026-11-30T00:53:20.041Z"), mrkdwn("by: pointsman"), mrkdwn("revision: v2=1"), mrkdwn("host: edge-1"),
            ] },
        ],
    });
    assert_eq!(slack_body(&rolled_back(), "edge-1"), expected);
}

#[test]
fn nobodys_words_mention_a_group_or_make_a_link() {
    let hostile = "<!channel> <!here|x> @here @channel @everyone <https://evil.example|click> & ```";
    let mut record = kill(1, &KillScope::Tenant(hostile.to_owned()));
    record.reason = Some(hostile.repeat(100));
    record.who.name = hostile.to_owned();
    let notice = noticed(&record, &rules()).notice.expect("it is heard of");
    let body = slack_body(&notice, hostile);
    let texts = |value: &Value| -> Vec<String> {
        let blocks = value["blocks"].as_array().expect("a list").iter();
        let of = |block: &Value| -> Vec<String> {
            let elements = block["elements"].as_array().cloned().unwrap_or_default();
            let all = elements.iter().chain([&block["text"]]).filter_map(|one| one["text"].as_str().map(str::to_owned));
            all.collect()
        };
        // A header is plain text: it has no meaning there.
        blocks.skip(1).flat_map(of).chain([value["text"].as_str().expect("a text").to_owned()]).collect()
    };
    for text in texts(&body) {
        assert!(!text.contains('<') && !text.contains('>'), "{text}");
        assert!(!["@here", "@channel", "@everyone"].iter().any(|mention| text.contains(mention)), "{text}");
        assert!(text.chars().count() <= 3_000);
        assert!(text.matches("```").count() <= 2 && text.matches("```").count() != 1, "{text}");
    }
    assert!(body["blocks"][0]["text"]["text"].as_str().is_some_and(|title| title.chars().count() <= 140));
}

#[test]
fn an_alertmanager_gets_alerts_that_end_by_themselves() {
    let notice = rolled_back();
    let alert = alert_of(&notice, "PointsmanRolledBack");
    let now_ms = BEGIN_MS + 60_000;
    let expected = json!([{
        "labels": {
            "alertname": "PointsmanRolledBack", "severity": "critical", "rollout": "next", "instance": "edge-1",
        },
        "annotations": {
            "summary": "next is rolled back, in stage few", "description": "because 41",
            "do": "pointsman rollout show next; pointsman rollout resume next --reason TEXT",
        },
        "startsAt": "2026-11-30T00:53:20.041Z", "endsAt": "2026-11-30T00:58:20.000Z",
    }]);
    assert_eq!(alertmanager_body(std::slice::from_ref(&alert), "edge-1", now_ms), expected);
    let ended = super::super::alert::NotifyAlert { ends_ms: Some(BEGIN_MS + 1_000), ..alert };
    assert_eq!(alertmanager_body(&[ended], "edge-1", now_ms)[0]["endsAt"], "2026-11-30T00:53:21.000Z");
    let entered = noticed(&rollout(42, "enter", super::running()), &rules()).notice.expect("it is heard of");
    let brief = brief_alert(&entered).expect("an alert");
    let sent = alertmanager_body(&[brief], "", now_ms);
    assert_eq!((&sent[0]["endsAt"], &sent[0]["labels"]["stage"]), (&json!("2026-11-30T00:59:20.000Z"), &json!("few")));
    assert!(sent[0]["labels"]["instance"].is_null());
}

#[test]
fn alerts_are_posted_under_the_path_of_the_url() {
    for (path, expected) in [
        ("/", "/api/v2/alerts"),
        ("", "/api/v2/alerts"),
        ("/am/", "/am/api/v2/alerts"),
        ("/am?team=a", "/am/api/v2/alerts?team=a"),
        ("/api/v2/alerts", "/api/v2/alerts"),
        ("/am/api/v2/alerts/", "/am/api/v2/alerts"),
    ] {
        assert_eq!(alerts_path(path), expected);
    }
}

/// The value is that of `printf '1764547200.BODY' | openssl dgst -sha256 -hmac 'a-secret-of-16-bytes'`.
#[test]
fn a_signature_is_what_other_tools_compute() {
    let signed = signature(b"a-secret-of-16-bytes", 1_764_547_200, br#"{"v":1,"id":"41-1764547200000"}"#);
    assert_eq!(signed, "sha256=42c62be3d5626f269aa0d624eb3994aea5f5953d35e201963409e8ce3229e0e1");
}
