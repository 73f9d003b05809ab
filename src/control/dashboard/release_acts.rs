//! The acts on a rollout or a watched release that are possible now, for this viewer, each with its effect.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::figures::{grouped, list, percent, text};
use super::parts::{ActButton, ReasonField, in_path};
use super::release_verdict::covering;
use super::viewer::Viewer;

/// A release, who looks at it, and the kills of `/v1/status`.
#[derive(Clone, Copy, Debug)]
pub struct ActScene<'a> {
    pub release: &'a Value,
    pub viewer: &'a Viewer,
    pub kills: &'a Value,
}

/// A call on the rollout, without what is the same for all of them.
struct RolloutAct {
    verb: &'static str,
    label: &'static str,
    effect: String,
    key: Option<char>,
}

impl<'a> ActScene<'a> {
    /// The acts that a decision needs: promote, hold, roll back.
    pub fn first_acts(self) -> Vec<ActButton<'a>> {
        let is_static = self.release["kind"] == "static";
        let mut acts = if is_static { Vec::new() } else { self.approvals() };
        if !self.viewer.may_operate {
            return acts;
        }
        if is_static {
            acts.extend(self.static_acts());
        } else {
            acts.extend(self.resume());
            acts.extend(self.hold());
            acts.extend(self.roll_back());
            acts.extend(self.revives());
        }
        acts
    }

    /// The acts that are rare: another stage, all anew, a rehearsal.
    pub fn rare_acts(self) -> Vec<ActButton<'a>> {
        if !self.viewer.may_operate || self.release["kind"] == "static" || self.state() == "killed" {
            return Vec::new();
        }
        let mut acts = self.gotos();
        acts.extend(self.restart());
        acts.extend(self.rehearse());
        acts
    }

    fn state(self) -> &'a str {
        text(&self.release["state"])
    }

    fn because(self) -> &'a str {
        text(&self.release["because"])
    }

    fn name(self) -> &'a str {
        text(&self.release["name"])
    }

    fn weight(self) -> f64 {
        self.release["weight"].as_f64().unwrap_or_default()
    }

    /// The stage where it is, if it has entered one that the plan has.
    fn current(self) -> Option<&'a Value> {
        list(&self.release["stages"]).find(|stage| stage["place"] == "current")
    }

    fn act(self, RolloutAct { verb, label, effect, key }: RolloutAct) -> ActButton<'a> {
        ActButton {
            label,
            target: self.name(),
            path: format!("/v1/rollouts/{}/{verb}", in_path(self.name())),
            body: json!({}),
            effect,
            key,
            reason: ReasonField::Required,
            is_grave: false,
        }
    }

    /// One button for each awaited role that the viewer fills.
    fn approvals(self) -> Vec<ActButton<'a>> {
        let own = self.viewer.roles_in(self.name());
        if self.state() != "running" || own.is_empty() || self.has_signed() {
            return Vec::new();
        }
        let awaited: Vec<&str> = list(&self.release["awaited"]).map(|one| text(&one["role"])).collect();
        let wanted = self.current().map_or(0, |stage| list(&stage["approve"]).count()).max(awaited.len());
        let given = wanted - awaited.len();
        let asked = awaited.iter().filter(|role| own.iter().any(|one| one == *role));
        let keys = std::iter::once(Some('a')).chain(std::iter::repeat(None));
        let each = asked.zip(keys).map(|(role, key)| {
            let rest: Vec<&str> = awaited.iter().copied().filter(|other| other != role).collect();
            let then =
                if rest.is_empty() { self.after_approval() } else { format!("awaits {} still", rest.join(", ")) };
            let effect = format!("as {role}, {} of {wanted}: {then}", given + 1);
            let button = self.act(RolloutAct { verb: "approve", label: "Approve", effect, key });
            ActButton { body: json!({ "as": role }), reason: ReasonField::Optional, ..button }
        });
        each.collect()
    }

    /// Whether the viewer has filled a role of the stage, where one person fills one role.
    fn has_signed(self) -> bool {
        let name = self.viewer.name.as_deref();
        let given = self.current().into_iter().flat_map(|stage| list(&stage["approved"]));
        self.release["same_person"] != true
            && given.into_iter().any(|one| one["by"].as_str().is_some_and(|by| Some(by) == name))
    }

    fn after_approval(self) -> String {
        match list(&self.release["stages"]).find(|stage| stage["place"] == "ahead") {
            Some(stage) => format!("→ {} at the next step", percent(&stage["weight"])),
            None => "the rollout is complete".to_owned(),
        }
    }

    fn hold(self) -> Option<ActButton<'a>> {
        let effect = match (self.state(), self.because()) {
            ("running", _) => format!("stays at {}", percent(&self.release["weight"])),
            ("pending", _) => "does not enter its first stage".to_owned(),
            ("held", "canary down" | "requires") => "stays held when this hold ends by itself".to_owned(),
            _ => return None,
        };
        Some(self.act(RolloutAct { verb: "hold", label: "Hold", effect, key: Some('h') }))
    }

    fn resume(self) -> Option<ActButton<'a>> {
        let stage = self.release["stage"].as_str().unwrap_or_default();
        let found = list(&self.release["stages"]).find(|one| one["name"] == stage)?;
        let full = percent(&found["weight"]);
        let effect = match (self.state(), self.because()) {
            ("rolled_back", _) if self.current().is_none() => "waits before its first stage again".to_owned(),
            ("rolled_back", _) => format!("→ {full} in stage {stage} when its checks pass; evidence begins anew"),
            ("held", "canary down" | "requires" | "plan changed") => return None,
            ("held", "revived" | "journal damaged") => format!("→ {full} in stage {stage} when its checks pass"),
            ("held", "guard" | "no rollback target") => format!("goes on in stage {stage}; evidence begins anew"),
            ("held", _) => format!("goes on in stage {stage}, from {}", percent(&self.release["weight"])),
            _ => return None,
        };
        Some(self.act(RolloutAct { verb: "resume", label: "Resume", effect, key: None }))
    }

    fn roll_back(self) -> Option<ActButton<'a>> {
        let effect = match self.state() {
            "held" if self.because() == "no rollback target" => {
                "all callers to stable, which has no usable endpoint: they get errors".to_owned()
            }
            "running" | "complete" | "held" if self.weight() > 0.0 => self.to_stable(),
            "held" => "stays at 0 for this revision, until a person resumes it".to_owned(),
            _ => return None,
        };
        let button = self.act(RolloutAct { verb: "rollback", label: "Roll back", effect, key: None });
        Some(ActButton { is_grave: true, ..button })
    }

    /// Who gets stable, with the figure where it is known.
    fn to_stable(self) -> String {
        match callers(self.release) {
            Some(callers) => format!("about {} callers to stable at the next request", grouped(callers)),
            None => "all callers to stable at the next request".to_owned(),
        }
    }

    /// A kill is lifted by the scope that it has.
    fn revives(self) -> Vec<ActButton<'a>> {
        let is_static = self.release["kind"] == "static";
        let covering_count = covering(self.release, self.kills).count();
        let by_call =
            covering(self.release, self.kills).filter(|kill| kill["source"] == "call" && kill["scope"]["all"] != true);
        let each = by_call.map(|kill| {
            let effect = if covering_count > 1 {
                "still killed by another kill: see Kills".to_owned()
            } else if is_static {
                format!("its weight of {} is in force again", percent(&self.release["weight"]))
            } else {
                "held at 0 until a person resumes it".to_owned()
            };
            let button = self.act(RolloutAct { verb: "", label: "Revive", effect, key: None });
            ActButton { path: "/v1/revive".to_owned(), body: named_scope(&kill["scope"]), ..button }
        });
        each.collect()
    }

    fn static_acts(self) -> Vec<ActButton<'a>> {
        let mut acts = self.revives();
        if covering(self.release, self.kills).next().is_some() {
            return acts;
        }
        if self.state() == "rolled_back" {
            let effect = format!("gets {} again; evidence begins anew", percent(&self.release["weight"]));
            acts.push(self.act(RolloutAct { verb: "resume", label: "Resume", effect, key: None }));
            return acts;
        }
        let effect = "its callers get stable at the next request, until a revive".to_owned();
        let button = self.act(RolloutAct { verb: "", label: "Kill", effect, key: None });
        let body = json!({ "variant": self.name() });
        acts.push(ActButton { path: "/v1/kill".to_owned(), body, is_grave: true, ..button });
        acts
    }

    /// Stages that it may go to: those before, and the first one where its place is not known.
    fn gotos(self) -> Vec<ActButton<'a>> {
        let stages = || list(&self.release["stages"]);
        let before: Vec<&Value> = match (self.state(), self.because()) {
            ("held", "plan changed" | "journal damaged") => stages().take(1).collect(),
            ("held", "canary down" | "requires" | "no rollback target") => Vec::new(),
            ("running" | "complete" | "held", _) if self.current().is_some() => {
                stages().take_while(|stage| stage["place"] == "done").collect()
            }
            _ => Vec::new(),
        };
        let each = before.into_iter().map(|stage| {
            let effect = format!("stage {}, {}: it is passed anew", text(&stage["name"]), percent(&stage["weight"]));
            let button = self.act(RolloutAct { verb: "goto", label: "Go to stage", effect, key: None });
            ActButton { body: json!({ "stage": stage["name"] }), ..button }
        });
        each.collect()
    }

    fn restart(self) -> Option<ActButton<'a>> {
        if matches!(self.state(), "" | "pending" | "killed") {
            return None;
        }
        let first = list(&self.release["stages"]).next()?;
        let effect = format!("from its first stage, {}: approvals and evidence begin anew", percent(&first["weight"]));
        Some(self.act(RolloutAct { verb: "restart", label: "Restart", effect, key: None }))
    }

    fn rehearse(self) -> Option<ActButton<'a>> {
        // The plan must allow it.
        if self.state() != "running" || self.weight() <= 0.0 || self.release["rehearsal"] != true {
            return None;
        }
        let effect = format!("a guard trips by hand, and it is rolled back: {}", self.to_stable());
        let button = self.act(RolloutAct { verb: "rehearse", label: "Rehearse", effect, key: None });
        Some(ActButton { is_grave: true, ..button })
    }
}

/// About how many callers the canaries of a rollout have, by the callers of its routes and its weight.
fn callers(release: &Value) -> Option<u64> {
    let known: Vec<f64> = list(&release["traffic"]).filter_map(|route| route["callers"].as_f64()).collect();
    let share = release["weight"].as_f64()? / 100.0;
    if known.is_empty() || known.len() != list(&release["traffic"]).count() {
        return None;
    }
    let about = (known.iter().sum::<f64>() * share).round();
    (0.0..1e15).contains(&about).then(|| format!("{about:.0}").parse().ok())?
}

/// The members of a scope that are set.
fn named_scope(scope: &Value) -> Value {
    let members = scope.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    Value::Object(members.map(|(kind, value)| (kind.clone(), value.clone())).collect())
}

/// The buttons, each with its effect beside it.
pub fn act_list(acts: &[ActButton<'_>]) -> Markup {
    html! {
        @if !acts.is_empty() {
            ul class="acts" {
                @for act in acts { li { (act.markup()) " " span class="effect" { bdi { (act.effect) } } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn operator() -> Viewer {
        Viewer { name: Some("bo".to_owned()), may_operate: true, ..Viewer::default() }
    }

    fn approver() -> Viewer {
        let approves = BTreeMap::from([("v2".to_owned(), vec!["lead".to_owned(), "product".to_owned()])]);
        Viewer { name: Some("ana".to_owned()), approves, ..Viewer::default() }
    }

    fn rollout(state: &str, because: &str) -> Value {
        json!({ "kind": "rollout", "name": "v2", "state": state, "because": because, "stage": "half", "weight": 50,
            "variants": ["shop:canary"], "stages": [
                { "name": "few", "weight": 5, "place": "done" },
                { "name": "half", "weight": 50, "place": "current", "approve": ["lead", "product"] },
                { "name": "all", "weight": 100, "place": "ahead" } ] })
    }

    fn labels(release: &Value, viewer: &Viewer) -> String {
        let scene = ActScene { release, viewer, kills: &Value::Null };
        scene.first_acts().iter().map(|act| act.label).collect::<Vec<_>>().join(" ")
    }

    fn rare(release: &Value) -> String {
        let viewer = operator();
        let scene = ActScene { release, viewer: &viewer, kills: &Value::Null };
        scene.rare_acts().iter().map(|act| act.label).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_state_has_only_acts_that_are_possible() {
        for (state, because, first, others) in [
            ("pending", "", "Hold", ""),
            ("running", "", "Hold Roll back", "Go to stage Restart"),
            ("complete", "", "Roll back", "Go to stage Restart"),
            ("killed", "", "", ""),
            ("rolled_back", "", "Resume", "Restart"),
            ("held", "person", "Resume Roll back", "Go to stage Restart"),
            ("held", "guard", "Resume Roll back", "Go to stage Restart"),
            ("held", "canary down", "Hold Roll back", "Restart"),
            ("held", "requires", "Hold Roll back", "Restart"),
            ("held", "no rollback target", "Resume Roll back", "Restart"),
            ("held", "plan changed", "Roll back", "Go to stage Restart"),
            ("held", "journal damaged", "Resume Roll back", "Go to stage Restart"),
            ("held", "revived", "Resume Roll back", "Go to stage Restart"),
            ("strange", "", "", "Restart"),
            ("", "", "", ""),
        ] {
            let release = rollout(state, because);
            assert_eq!(labels(&release, &operator()), first, "{state} {because}");
            assert_eq!(rare(&release), others, "{state} {because}");
            assert_eq!(labels(&release, &Viewer::default()), "", "a reader has no button");
        }
        assert_eq!((labels(&Value::Null, &operator()), rare(&json!([]))), (String::new(), String::new()));
        let mut permitted = rollout("running", "");
        permitted["rehearsal"] = json!(true);
        assert_eq!(rare(&permitted), "Go to stage Restart Rehearse", "the plan permits it");
    }

    #[test]
    fn a_person_who_has_filled_a_role_is_asked_no_more_but_where_the_plan_permits_it() {
        let mut release = rollout("running", "");
        let viewer = Viewer { name: Some("ana".to_owned()), ..approver() };
        release["awaited"] = json!([{ "role": "product" }]);
        assert_eq!(labels(&release, &viewer), "Approve");
        let stages = release["stages"].as_array_mut().expect("stages");
        let current = stages.iter_mut().find(|stage| stage["place"] == "current").expect("a stage");
        current["approved"] = json!([{ "role": "lead", "by": "ana" }]);
        assert_eq!(labels(&release, &viewer), "");
        release["same_person"] = json!(true);
        assert_eq!(labels(&release, &viewer), "Approve");
    }

    #[test]
    fn approvals_are_for_the_roles_that_are_awaited_and_filled() {
        let mut release = rollout("running", "");
        assert_eq!(labels(&release, &approver()), "", "its approvers are not asked yet");
        release["awaited"] = json!([{ "role": "product" }, { "role": "operations" }]);
        let viewer = approver();
        let scene = ActScene { release: &release, viewer: &viewer, kills: &Value::Null };
        let acts = scene.first_acts();
        assert_eq!(acts.len(), 1);
        assert_eq!((&acts[0].body, acts[0].key), (&json!({ "as": "product" }), Some('a')));
        assert_eq!(acts[0].effect, "as product, 1 of 2: awaits operations still");
        release["awaited"] = json!([{ "role": "lead" }]);
        let scene = ActScene { release: &release, viewer: &viewer, kills: &Value::Null };
        assert_eq!(scene.first_acts()[0].effect, "as lead, 2 of 2: → 100\u{a0}% at the next step");
    }

    #[test]
    fn a_rollback_says_how_many_callers_it_moves_where_that_is_known() {
        let mut release = rollout("running", "");
        let effect = |release: &Value| {
            let viewer = operator();
            let scene = ActScene { release, viewer: &viewer, kills: &Value::Null };
            scene.first_acts().last().map(|act| act.effect.clone()).unwrap_or_default()
        };
        assert_eq!(effect(&release), "all callers to stable at the next request");
        release["traffic"] = json!([{ "callers": 80_000 }, { "callers": 2_400 }]);
        assert_eq!(effect(&release), "about 41\u{a0}200 callers to stable at the next request");
        release["traffic"] = json!([{ "callers": 80_000 }, { "callers": null }]);
        assert_eq!(effect(&release), "all callers to stable at the next request");
        release["weight"] = json!(0);
        release["state"] = json!("held");
        assert!(effect(&release).starts_with("stays at 0"));
    }

    #[test]
    fn a_static_weight_is_killed_and_revived() {
        let release =
            json!({ "kind": "static", "name": "shop:canary", "route": "shop", "state": "watching", "weight": 10 });
        assert_eq!(labels(&release, &operator()), "Kill");
        assert_eq!(
            labels(&json!({ "kind": "static", "name": "shop:canary", "state": "rolled_back" }), &operator()),
            "Resume"
        );
        let viewer = operator();
        for (kill, acts) in [
            (json!({ "scope": { "variant": "shop:canary" }, "source": "call" }), "Revive"),
            (json!({ "scope": { "route": "shop", "variant": null }, "source": "call" }), "Revive"),
            (json!({ "scope": { "route": "shop" }, "source": "file" }), ""),
            (json!({ "scope": { "all": true }, "source": "call" }), ""),
        ] {
            let kills = json!([kill]);
            let scene = ActScene { release: &release, viewer: &viewer, kills: &kills };
            let found = scene.first_acts();
            assert_eq!(found.iter().map(|act| act.label).collect::<Vec<_>>().join(" "), acts, "{kill}");
            assert!(
                found
                    .iter()
                    .all(|act| act.path == "/v1/revive" && act.body.as_object().is_some_and(|body| body.len() == 1))
            );
        }
        let killed = json!([{ "scope": { "rollout": "v2" }, "source": "call" }]);
        let stopped = rollout("killed", "");
        let scene = ActScene { release: &stopped, viewer: &viewer, kills: &killed };
        assert_eq!(scene.first_acts()[0].body, json!({ "rollout": "v2" }));
    }

    #[test]
    fn hostile_names_stay_text_and_in_the_path() {
        let mut release = rollout("running", "");
        release["name"] = json!("../<img src=x onerror=alert(1)>\"");
        release["stages"][0]["name"] = json!("<img src=x>");
        let viewer = operator();
        let scene = ActScene { release: &release, viewer: &viewer, kills: &Value::Null };
        let page = act_list(&[scene.first_acts(), scene.rare_acts()].concat()).into_string();
        assert!(!page.contains("<img") && page.contains("/v1/rollouts/..%2F%3Cimg"), "{page}");
    }
}
