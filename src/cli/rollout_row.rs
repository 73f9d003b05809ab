//! Rollouts as the admin listener lists them. Their text is untrusted: control characters are escaped.

use serde_json::Value;

use super::release_row::{GuardRow, Urgency, moment, text};

/// A rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutRow {
    /// The name.
    pub name: String,
    /// How urgent it is.
    pub urgency: Urgency,
    /// A letter that shows the state without a colour.
    pub shape: char,
    /// The state in words, such as `held: person` or `gated`.
    pub state: String,
    /// The phase, as the proxy writes it, such as `rolled_back`.
    pub phase: String,
    /// The name of the stage where it is.
    pub stage: String,
    /// The stages.
    pub stages: Vec<StageRow>,
    /// As it is set, in percent.
    pub weight: f64,
    /// The ceiling, in percent.
    pub max_weight: f64,
    /// As measured, in percent.
    pub share: Option<f64>,
    /// `2026-11-29 14:03:10Z`.
    pub since: String,
    /// The number of the record in the journal.
    pub seq: Option<u64>,
    /// The record is not on the disk.
    pub is_forgotten: bool,
    /// The state and why, in one line.
    pub says: String,
    /// What would let it go on; may be empty.
    pub unblock: String,
    /// What stands in its way.
    pub blocks: Vec<BlockRow>,
    /// The roles that it waits for, such as `tech-lead (ana)`.
    pub awaited: Vec<String>,
    /// When it goes on by itself; may be empty.
    pub next: String,
    /// Whose it is, and under which ticket; may be empty.
    pub owner: String,
    /// `route:variant`.
    pub variants: Vec<String>,
    /// `upstream=revision`.
    pub revision: String,
    /// `expires` has passed.
    pub is_expired: bool,
    /// It does not go on before a person acts.
    pub needs_person: bool,
    /// The edit of the file that a complete rollout asks for.
    pub edit: Vec<String>,
    /// The guard that is closest to its threshold.
    pub closest: Option<GuardRow>,
    /// All guards, where they were asked for.
    pub guards: Vec<GuardRow>,
}

/// A stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageRow {
    /// The name.
    pub name: String,
    /// In percent.
    pub weight: f64,
    /// `done`, `current` or `ahead`.
    pub place: String,
    /// The running time in it, in milliseconds.
    pub run_ms: Option<u64>,
    /// The least running time, in milliseconds.
    pub min_ms: u64,
    /// The roles that it asks for.
    pub approve: Vec<String>,
    /// The approvals that were given, such as `product by dee`.
    pub approved: Vec<String>,
}

/// What stands in the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockRow {
    /// The kind in words.
    pub kind: String,
    /// What it is.
    pub says: String,
    /// What would end it.
    pub unblock: String,
    /// When it ends by itself; may be empty.
    pub until: String,
}

impl RolloutRow {
    /// Whether an entry of the list is a rollout, not the release of a static weight.
    #[must_use]
    pub fn is(entry: &Value) -> bool {
        entry["kind"] == "rollout"
    }

    /// Reads a rollout.
    #[must_use]
    pub fn read(rollout: &Value) -> Self {
        let (phase, doing, because) = (text(&rollout["state"]), text(&rollout["doing"]), text(&rollout["because"]));
        let (is_expired, needs_person) = (rollout["expired"] == true, rollout["needs_person"] == true);
        let (urgency, shape) = match (phase.as_str(), doing.as_str(), because.as_str()) {
            ("held", _, "no rollback target") => (Urgency::NoTarget, '✖'),
            ("rolled_back" | "killed", ..) => (Urgency::Stopped, '✖'),
            ("held", ..) if needs_person => (Urgency::Stopped, '‖'),
            ("held", ..) => (Urgency::Warned, '‖'),
            ("running", "awaiting_approval", _) => (Urgency::Asked, '◆'),
            _ if is_expired => (Urgency::Warned, '▲'),
            ("running", "frozen", _) => (Urgency::Calm, '✱'),
            ("running", "gated", _) => (Urgency::Calm, '◐'),
            ("running", ..) => (Urgency::Calm, '▶'),
            ("complete", ..) => (Urgency::Calm, '✔'),
            _ => (Urgency::Calm, '○'),
        };
        let word = if doing.is_empty() { &phase } else { &doing }.replace('_', " ");
        let list = |key: &str| rollout[key].as_array().into_iter().flatten();
        let owner: Vec<String> =
            ["owner", "ticket"].iter().map(|key| text(&rollout[*key])).filter(|text| !text.is_empty()).collect();
        Self {
            name: text(&rollout["name"]),
            urgency,
            shape,
            state: if because.is_empty() { word } else { format!("{word}: {because}") },
            phase,
            stage: text(&rollout["stage"]),
            stages: list("stages").map(StageRow::read).collect(),
            weight: rollout["weight"].as_f64().unwrap_or(0.0),
            max_weight: rollout["max_weight"].as_f64().unwrap_or(100.0),
            share: rollout["share"].as_f64(),
            since: moment(&rollout["at"]),
            seq: rollout["seq"].as_u64(),
            is_forgotten: rollout["durable"] == false,
            says: text(&rollout["says"]),
            unblock: text(&rollout["unblock"]),
            blocks: list("blocks").map(BlockRow::read).collect(),
            awaited: list("awaited").map(awaited).collect(),
            next: moment(&rollout["next"]),
            owner: owner.join(", "),
            variants: list("variants").map(text).collect(),
            revision: text(&rollout["revision"]),
            is_expired,
            needs_person,
            edit: list("edit").map(text).collect(),
            closest: rollout["closest"].is_object().then(|| GuardRow::read(&rollout["closest"])),
            guards: list("guards").map(GuardRow::read).collect(),
        }
    }

    /// The rollouts of a list, those that need a person first.
    pub fn sorted<'a>(entries: impl Iterator<Item = &'a Value>) -> Vec<Self> {
        let mut all: Vec<Self> = entries.filter(|entry| Self::is(entry)).map(Self::read).collect();
        all.sort_by(|a, b| (a.urgency, !a.needs_person, &a.name).cmp(&(b.urgency, !b.needs_person, &b.name)));
        all
    }

    /// The index of a stage.
    #[must_use]
    pub fn find(&self, stage: &str) -> Option<usize> {
        self.stages.iter().position(|one| one.name == stage)
    }

    /// The stage where it is.
    #[must_use]
    pub fn current(&self) -> Option<&StageRow> {
        self.stages.iter().find(|one| one.name == self.stage)
    }

    /// The stages in one line: `dark ● beta ◐ full ○`.
    #[must_use]
    pub fn drawn(&self) -> String {
        let stages = self.stages.iter().map(|stage| format!("{} {}", stage.name, stage.shape(self)));
        stages.collect::<Vec<_>>().join(" ")
    }

    /// The weight that is set, and the measured one: `10 % set, 9.8 % measured`.
    #[must_use]
    pub fn shares(&self) -> String {
        let measured = self.share.map(|share| format!(", {share:.1} % measured")).unwrap_or_default();
        format!("{} % set{measured}", self.weight)
    }

    /// In one sentence: `checkout-v2 in beta, since 2026-11-29 14:03:10Z: rolled back by errors: …`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let since = if self.since.is_empty() { String::new() } else { format!(", since {}", self.since) };
        let forgotten = if self.is_forgotten { " [NOT RECORDED: a restart forgets it]" } else { "" };
        format!("{} in {}{since}: {}{forgotten}", self.name, self.stage, self.says)
    }
}

impl StageRow {
    fn read(stage: &Value) -> Self {
        let list = |key: &str| stage[key].as_array().into_iter().flatten();
        Self {
            name: text(&stage["name"]),
            weight: stage["weight"].as_f64().unwrap_or(0.0),
            place: text(&stage["place"]),
            run_ms: stage["run_ms"].as_u64(),
            min_ms: stage["min_duration_ms"].as_u64().unwrap_or(0),
            approve: list("approve").map(text).collect(),
            approved: list("approved").map(|one| format!("{} by {}", text(&one["role"]), text(&one["by"]))).collect(),
        }
    }

    /// `●` left, `◐` where it is, `○` ahead; of a complete rollout the last one is left too.
    #[must_use]
    pub fn shape(&self, of: &RolloutRow) -> char {
        match (self.place.as_str(), of.phase.as_str()) {
            ("done", _) | ("current", "complete") => '●',
            ("current", "pending") => '○',
            ("current", _) => '◐',
            _ => '○',
        }
    }
}

impl BlockRow {
    /// Reads what stands in the way.
    #[must_use]
    pub fn read(block: &Value) -> Self {
        Self {
            kind: text(&block["kind"]).replace('_', " "),
            says: text(&block["says"]),
            unblock: text(&block["unblock"]),
            until: moment(&block["until"]),
        }
    }
}

fn awaited(awaited: &Value) -> String {
    let people: Vec<String> = awaited["people"].as_array().into_iter().flatten().map(text).collect();
    format!("{} ({})", text(&awaited["role"]), people.join(", "))
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    /// A rollout in its stage `beta`, as the proxy lists it.
    pub fn in_beta() -> Value {
        let stage = |name: &str, weight: f64, place: &str| {
            json!({ "name": name, "weight": weight, "place": place, "run_ms": null, "min_duration_ms": 1_800_000,
                "approve": [], "approved": [] })
        };
        let mut beta = stage("beta", 10.0, "current");
        beta["run_ms"] = json!(720_000);
        beta["min_duration_ms"] = json!(7_200_000);
        beta["approve"] = json!(["tech-lead", "product"]);
        beta["approved"] = json!([{ "role": "product", "by": "dee", "at": "2026-11-29T15:00:00.000Z" }]);
        let guard = json!({
            "name": "errors", "test": "errors: at most 1.1 × stable", "act": "rollback", "alpha": 0.003,
            "state": "watching", "evidence_log10": 0.9, "threshold_log10": 2.5229,
            "ratio": { "estimate": 1.1, "lower": 0.6, "upper": 2.1 }, "slow_after_ms": null,
            "says": "errors 1.1 × stable (0.60 to 2.1): 14 of 4210 callers, 120 of 40100 on stable",
        });
        json!({
            "kind": "rollout", "name": "checkout-v2", "revision": "checkout-v2=1.4", "variants": ["checkout:canary"],
            "owner": "team-payments", "ticket": "CHG-4711", "stage": "beta",
            "stages": [stage("dark", 0.0, "done"), stage("internal", 1.0, "done"), beta, stage("full", 100.0, "ahead")],
            "weight": 10.0, "max_weight": 100.0, "share": 9.81, "state": "running", "doing": "gated",
            "because": null, "by": null, "at": "2026-11-29T14:03:10.123Z", "seq": 12, "durable": true,
            "says": "in stage beta: 12 min of 2 h", "unblock": "1 h 48 min more in this stage",
            "blocks": [{ "kind": "duration", "says": "12 min of 2 h", "unblock": "1 h 48 min more in this stage",
                "until": "2026-11-29T16:03:10.000Z" }],
            "awaited": [], "next": "2026-11-29T16:03:10.000Z", "expired": false, "edit": [], "needs_person": false,
            "closest": guard, "guards": [guard],
        })
    }

    /// The same in another state.
    pub fn in_state(name: &str, state: &str, more: &Value) -> Value {
        let mut rollout = in_beta();
        rollout["name"] = json!(name);
        rollout["state"] = json!(state);
        rollout["doing"] = Value::Null;
        for (member, value) in more.as_object().into_iter().flatten() {
            rollout[member] = value.clone();
        }
        rollout
    }

    #[test]
    fn a_rollout_is_read_and_drawn() {
        let row = RolloutRow::read(&in_beta());
        assert_eq!(row.drawn(), "dark ● internal ● beta ◐ full ○");
        assert_eq!(row.shares(), "10 % set, 9.8 % measured");
        assert_eq!((row.state.as_str(), row.shape, row.urgency), ("gated", '◐', Urgency::Calm));
        assert_eq!((row.owner.as_str(), row.next.as_str()), ("team-payments, CHG-4711", "2026-11-29 16:03:10Z"));
        assert_eq!(row.current().map(|stage| stage.approved.join(",")).as_deref(), Some("product by dee"));
        assert_eq!((row.find("full"), row.find("none")), (Some(3), None));
        let complete = RolloutRow::read(&in_state("a", "complete", &json!({ "stage": "full" })));
        assert_eq!((complete.shape, complete.state.as_str()), ('✔', "complete"));
        assert_eq!(RolloutRow::read(&json!({ "name": "a\u{1b}" })).name, "a\\u{1b}");
    }

    #[test]
    fn those_that_need_a_person_come_first() {
        let all = [
            in_beta(),
            in_state("g", "running", &json!({ "doing": "baking", "expired": true, "needs_person": true })),
            in_state("f", "held", &json!({ "because": "canary down" })),
            in_state("e", "running", &json!({ "doing": "awaiting_approval", "needs_person": true })),
            in_state("d", "killed", &Value::Null),
            in_state("c", "held", &json!({ "because": "person", "needs_person": true })),
            in_state("b", "rolled_back", &json!({ "needs_person": true })),
            in_state("a", "held", &json!({ "because": "no rollback target", "needs_person": true })),
            json!({ "kind": "static", "name": "shop:canary" }),
        ];
        let sorted = RolloutRow::sorted(all.iter());
        let shown: Vec<String> = sorted.iter().map(|row| format!("{} {} {}", row.name, row.shape, row.state)).collect();
        assert_eq!(
            shown,
            [
                "a ✖ held: no rollback target",
                "b ✖ rolled back",
                "c ‖ held: person",
                "d ✖ killed",
                "e ◆ awaiting approval",
                "g ▲ baking",
                "f ‖ held: canary down",
                "checkout-v2 ◐ gated",
            ]
        );
    }
}
