//! The verdict on a rollout or a watched release: is anyone hurt now, does it wait for a person.

use maud::{Markup, html};
use serde_json::Value;

use super::figures::{list, text};
use super::guard_meter::{Knowledge, closest, is_near, knowledge};
use super::parts::Tone;

/// A verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseVerdict {
    pub tone: Tone,
    pub shape: &'static str,
    pub word: String,
    /// The state for programs, such as `rolled_back`: a change of it is announced.
    pub state: String,
    /// Callers get errors now, and nothing protects them.
    pub is_hurting: bool,
}

impl ReleaseVerdict {
    /// The verdict on a member of `/v1/rollouts`, with the kills of `/v1/status`.
    pub fn of(release: &Value, kills: &Value) -> Self {
        let state = text(&release["state"]);
        if release["kind"] == "static" && covering(release, kills).next().is_some() {
            return Self::new(Tone::Held, "⊘", "killed");
        }
        match state {
            "held" => held(release),
            "killed" => Self::new(Tone::Held, "⊘", "killed"),
            "rolled_back" => Self::new(Tone::Bad, "✕", "rolled back"),
            "running" | "watching" => running(release),
            "warned" => Self { state: state.to_owned(), ..Self::new(Tone::Watch, "▲", "watch") },
            "complete" if is_tripped(release) => {
                Self { state: state.to_owned(), ..Self::new(Tone::Watch, "▲", "watch") }
            }
            "complete" => Self::new(Tone::Quiet, "✓", "complete"),
            "pending" if release["expired"] == true => asks("expired"),
            "pending" => Self::new(Tone::Quiet, "○", "pending"),
            "" => Self::new(Tone::Unknown, "◌", "unknown"),
            other => Self::new(Tone::Unknown, "◌", other),
        }
    }

    /// Rows are in this order, then by name: the worst first.
    pub const fn rank(&self) -> u8 {
        match self.tone {
            Tone::Bad if self.is_hurting => 0,
            Tone::Bad => 1,
            Tone::Asks => 2,
            Tone::Held => 3,
            Tone::Watch => 4,
            Tone::Unknown => 5,
            Tone::Serving => 6,
            Tone::Quiet => 7,
        }
    }

    /// It is over or has not begun: its row is quiet.
    pub fn is_quiet(&self) -> bool {
        self.tone == Tone::Quiet
    }

    /// The verdict, with its shape.
    pub fn markup(&self) -> Markup {
        html! {
            span class={ "verdict " (self.tone.class()) @if self.is_hurting { " now" } } {
                span class="shape" aria-hidden="true" { (self.shape) } " " bdi { (self.word) }
            }
        }
    }

    /// The verdict in a title: `■ held`.
    pub fn title(&self) -> String {
        format!("{} {}", self.shape, self.word)
    }

    fn new(tone: Tone, shape: &'static str, word: &str) -> Self {
        Self { tone, shape, word: word.to_owned(), state: word.replace(' ', "_"), is_hurting: false }
    }
}

fn asks(state: &str) -> ReleaseVerdict {
    ReleaseVerdict { state: state.to_owned(), ..ReleaseVerdict::new(Tone::Asks, "◆", "needs you") }
}

fn held(release: &Value) -> ReleaseVerdict {
    match text(&release["because"]) {
        // A guard has tripped at a weight that cannot be taken back.
        "no rollback target" => {
            ReleaseVerdict { is_hurting: true, ..ReleaseVerdict::new(Tone::Bad, "✕", "callers hurt") }
        }
        _ => ReleaseVerdict::new(Tone::Held, "■", "held"),
    }
}

fn running(release: &Value) -> ReleaseVerdict {
    if list(&release["awaited"]).next().is_some() {
        return asks("awaiting_approval");
    }
    if release["expired"] == true {
        return asks("expired");
    }
    if release["needs_person"] == true {
        return asks("needs_person");
    }
    let state = text(&release["state"]);
    let mut verdict = if closest(release).is_some_and(is_near) {
        ReleaseVerdict::new(Tone::Watch, "▲", "watch")
    } else if release["doing"] == "frozen" {
        ReleaseVerdict::new(Tone::Held, "■", "frozen")
    } else if closest(release).map(knowledge) == Some(Knowledge::Enough) {
        ReleaseVerdict::new(Tone::Serving, "●", "serving")
    } else {
        ReleaseVerdict::new(Tone::Unknown, "◌", "not enough")
    };
    if verdict.tone != Tone::Held {
        // Evidence comes and goes with each second: it is no change of the state.
        state.clone_into(&mut verdict.state);
    }
    verdict
}

fn is_tripped(release: &Value) -> bool {
    closest(release).is_some_and(|guard| guard["state"] == "tripped")
}

/// The kills that cover a release.
pub fn covering<'k>(release: &'k Value, kills: &'k Value) -> impl Iterator<Item = &'k Value> {
    list(kills).filter(|kill| covers(&kill["scope"], release))
}

fn covers(scope: &Value, release: &Value) -> bool {
    if scope["all"] == true {
        return true;
    }
    let name = text(&release["name"]);
    let is = |wanted: &Value, found: &str| !found.is_empty() && wanted == found;
    if release["kind"] == "static" {
        return is(&scope["variant"], name) || is(&scope["route"], text(&release["route"]));
    }
    let moves = |variant: &Value| {
        let variant = text(variant);
        let route = variant.split_once(':').map_or("", |(route, _)| route);
        is(&scope["variant"], variant) || is(&scope["route"], route)
    };
    is(&scope["rollout"], name) || list(&release["variants"]).any(moves)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn word(release: &Value) -> String {
        let verdict = ReleaseVerdict::of(release, &Value::Null);
        format!("{} {}", verdict.title(), verdict.rank())
    }

    fn guard(state: &str, evidence: f64, exposures: u64) -> Value {
        json!({ "state": state, "evidence_log10": evidence, "threshold_log10": 2.5,
            "tested": { "exposures": exposures, "events": 1 } })
    }

    #[test]
    fn each_state_has_its_verdict() {
        for (release, expected) in [
            (json!({ "state": "held", "because": "no rollback target" }), "✕ callers hurt 0"),
            (json!({ "state": "held", "because": "person" }), "■ held 3"),
            (json!({ "state": "held", "because": null }), "■ held 3"),
            (json!({ "state": "rolled_back" }), "✕ rolled back 1"),
            (json!({ "state": "killed" }), "⊘ killed 3"),
            (json!({ "state": "warned" }), "▲ watch 4"),
            (json!({ "state": "complete" }), "✓ complete 7"),
            (json!({ "state": "complete", "closest": guard("tripped", 3.0, 9) }), "▲ watch 4"),
            (json!({ "state": "pending" }), "○ pending 7"),
            (json!({ "state": "pending", "expired": true }), "◆ needs you 2"),
            (json!({ "state": "running", "expired": true }), "◆ needs you 2"),
            (json!({ "state": "running", "awaited": [{ "role": "lead" }] }), "◆ needs you 2"),
            (json!({ "state": "running", "needs_person": true }), "◆ needs you 2"),
            (json!({ "state": "running", "doing": "frozen" }), "■ frozen 3"),
            (json!({ "state": "running", "closest": guard("watching", 0.1, 9) }), "● serving 6"),
            (json!({ "state": "running", "closest": guard("watching", 1.3, 9) }), "▲ watch 4"),
            (json!({ "state": "running", "closest": guard("tripped", 0.0, 9) }), "▲ watch 4"),
            (json!({ "state": "watching", "closest": guard("watching", -0.1, 9) }), "● serving 6"),
            (json!({ "state": "new one" }), "◌ new one 5"),
            (json!({}), "◌ unknown 5"),
        ] {
            assert_eq!(word(&release), expected, "{release}");
        }
    }

    #[test]
    fn what_is_not_known_is_never_green() {
        for closest in
            [Value::Null, json!({}), guard("warming_up", 0.0, 0), guard("watching", 0.0, 0), guard("too_few", 0.0, 3)]
        {
            let release = json!({ "state": "running", "closest": closest });
            assert_eq!(word(&release), "◌ not enough 5", "{release}");
        }
    }

    #[test]
    fn kills_cover_what_they_are_about() {
        let canary = json!({ "kind": "static", "name": "shop:canary", "route": "shop", "state": "watching" });
        for (scope, is_killed) in [
            (json!({ "variant": "shop:canary" }), true),
            (json!({ "route": "shop" }), true),
            (json!({ "all": true }), true),
            (json!({ "route": "api" }), false),
            (json!({ "variant": "shop:other" }), false),
            (json!({ "tenant": "shop" }), false),
            (json!(null), false),
        ] {
            let kills = json!([{ "scope": scope }]);
            assert_eq!(ReleaseVerdict::of(&canary, &kills).word == "killed", is_killed, "{scope}");
        }
        let rollout = json!({ "kind": "rollout", "name": "v2", "variants": ["shop:canary"] });
        let kills = json!([{ "scope": { "route": "shop" } }, { "scope": { "rollout": "v2" } }, { "scope": { "rollout": "v3" } }]);
        assert_eq!(covering(&rollout, &kills).count(), 2);
        assert_eq!(covering(&json!({}), &json!([{ "scope": { "variant": "" } }, {}])).count(), 0);
    }
}
