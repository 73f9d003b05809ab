//! What a kill or a revive changes, beside the kills that stand anyway, read from the status of the proxy. The status is untrusted: control characters are
//! escaped.

use serde_json::Value;

use super::standing::StandingKills;
use crate::compare::escape_controls;
use crate::route::KillScope;

/// Routes that are listed.
const ROUTES_MAX: usize = 10;

/// What is shown of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EffectOf {
    /// Callers will go to stable.
    Kill,
    /// Callers have gone to stable.
    Killed,
    /// Callers will come back.
    Revive,
}

/// The callers that an act moves, a line for each variant and shadow; nothing when the status does not have the scope.
pub(super) fn effect(status: &Value, scope: &KillScope, of: EffectOf) -> Vec<String> {
    let kills = StandingKills::read(status);
    let kills = match of {
        EffectOf::Kill => kills,
        EffectOf::Killed => kills.others(scope),
        EffectOf::Revive => kills.without(scope),
    };
    Effect { status, kills, of, is_everything: *scope == KillScope::All }.lines(scope)
}

/// An act, before it is done or after.
struct Effect<'a> {
    status: &'a Value,
    /// The kills that stand whatever the act does.
    kills: StandingKills,
    of: EffectOf,
    /// It concerns everything: a rollout goes on by itself after the end of such a kill.
    is_everything: bool,
}

impl Effect<'_> {
    fn lines(&self, scope: &KillScope) -> Vec<String> {
        let routes: Vec<&Value> = self.status["routes"].as_array().into_iter().flatten().collect();
        let of = |name: &String| routes.iter().find(|route| route["name"] == name.as_str()).copied();
        let mut lines: Vec<String> = match scope {
            KillScope::All => {
                let variants = routes.iter().flat_map(|route| self.moved(route, None));
                variants.chain(routes.iter().filter_map(|route| self.copies(route))).collect()
            }
            KillScope::Route(name) => of(name).map(|route| self.moved(route, None)).unwrap_or_default(),
            KillScope::Variant { route, variant } => {
                of(route).map(|route| self.moved(route, Some(variant))).unwrap_or_default()
            }
            // The status names the rollout of a route.
            KillScope::Rollout(name) => {
                let own = routes.iter().filter(|route| route["rollout"] == name.as_str());
                own.filter_map(|route| self.staged(route)).collect()
            }
            KillScope::Tenant(name) => vec![self.tenant(name)],
            KillScope::Shadow(name) => of(name).and_then(|route| self.copies(route)).into_iter().collect(),
        };
        let more = lines.len().saturating_sub(ROUTES_MAX);
        lines.truncate(ROUTES_MAX);
        lines.extend((more > 0).then(|| format!("… and {more} more: `pointsman status` shows them")));
        let is_of_callers = !matches!(scope, KillScope::Tenant(_) | KillScope::Shadow(_));
        if self.of == EffectOf::Revive && is_of_callers && !lines.is_empty() {
            lines.extend(self.kills.of_tenants().map(|tenants| format!("still killed: {tenants}")));
        }
        lines
    }

    /// A line for each variant of a route that the act moves, or for this one.
    fn moved(&self, route: &Value, only: Option<&String>) -> Vec<String> {
        let variants = route["variants"].as_array().into_iter().flatten();
        let others = variants.filter(|variant| match only {
            Some(only) => variant["name"] == only.as_str(),
            None => variant["name"] != "stable",
        });
        others.map(|variant| self.variant(route, variant)).collect()
    }

    /// A line for the variant of a route that its rollout moves.
    fn staged(&self, route: &Value) -> Option<String> {
        let mut variants = route["variants"].as_array().into_iter().flatten();
        variants.find(|variant| variant["rollout"].is_string()).map(|variant| self.variant(route, variant))
    }

    fn variant(&self, route: &Value, variant: &Value) -> String {
        let by = self.kills.of_variant(plain(&route["name"]), plain(&variant["name"]), variant["rollout"].as_str());
        let (route_name, name) = (text(&route["name"]), text(&variant["name"]));
        if let Some(by) = by {
            return format!("{route_name} {name}: no caller moves, {} {by}", self.stays());
        }
        let weight = variant["weight"].as_f64().unwrap_or(0.0);
        if self.of == EffectOf::Revive && variant["rollout"].is_string() && !self.is_everything {
            let rollout = text(&variant["rollout"]);
            return format!("{route_name} {name}: no caller moves, rollout {rollout} is held at 0 until it is resumed");
        }
        if self.of == EffectOf::Revive {
            return format!("{route_name} {name}: {weight} % of the callers come back to it");
        }
        let seen = seen(route, variant).unwrap_or_default();
        format!("{route_name} {name}: {weight} % of the callers{seen} go from it to stable")
    }

    fn tenant(&self, name: &str) -> String {
        let by = self.kills.of_tenant(name);
        let name = escape_controls(name);
        match (by, self.of) {
            (Some(by), _) => format!("tenant {name}: nothing changes, {} {by}", self.stays()),
            (None, EffectOf::Revive) => format!("tenant {name}: its requests are decided by targets and weights again"),
            (None, EffectOf::Kill | EffectOf::Killed) => {
                format!("tenant {name}: all its requests go to stable, on every route")
            }
        }
    }

    fn copies(&self, route: &Value) -> Option<String> {
        let shadow = route["shadow"].as_object()?;
        let (name, upstream) = (text(&route["name"]), text(&shadow["upstream"]));
        let weight = shadow.get("weight").and_then(Value::as_f64).unwrap_or(0.0);
        if let Some(by) = self.kills.of_shadow(plain(&route["name"])) {
            return Some(format!("{name} shadow: {upstream} gets no copies, {} {by}", self.stays()));
        }
        Some(if self.of == EffectOf::Revive {
            format!("{name} shadow: {weight} % of the requests are copied to {upstream} again")
        } else {
            format!("{name} shadow: {upstream} gets no copies any more, now of {weight} % of the requests")
        })
    }

    /// How a kill that stands is named.
    const fn stays(&self) -> &'static str {
        match self.of {
            EffectOf::Kill | EffectOf::Killed => "already killed by",
            EffectOf::Revive => "still killed by",
        }
    }
}

/// What was measured: ` (9.80 % of the requests, about 420 callers)`.
fn seen(route: &Value, variant: &Value) -> Option<String> {
    let share = variant["share"].as_f64().map(|share| format!("{share:.2} % of the requests"));
    let sampled = route["experiment"]["variants"].as_array().into_iter().flatten();
    let keys = sampled.filter(|one| one["name"] == variant["name"]).find_map(|one| one["keys"].as_f64());
    let callers = keys.filter(|keys| *keys >= 1.0).map(|keys| format!("about {keys:.0} callers"));
    let parts: Vec<String> = share.into_iter().chain(callers).collect();
    (!parts.is_empty()).then(|| format!(" ({})", parts.join(", ")))
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn text(value: &Value) -> String {
    escape_controls(plain(value)).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::standing::tests::kills;
    use super::*;

    fn status() -> Value {
        json!({ "routes": [
            { "name": "shop", "variants": [
                { "name": "stable", "weight": 90.0, "share": 90.2 },
                { "name": "canary", "weight": 10.0, "share": 9.8 },
            ], "experiment": { "variants": [{ "name": "canary", "keys": 419.6 }] } },
            { "name": "api", "variants": [{ "name": "stable", "weight": 100.0 }],
                "shadow": { "upstream": "shop-v3", "weight": 100.0 } },
            { "name": "old", "action": "redirect", "variants": [] },
        ] })
    }

    #[test]
    fn a_kill_shows_who_moves() {
        let lines = |scope: &KillScope| effect(&status(), scope, EffectOf::Kill);
        let canary = KillScope::Variant { route: "shop".to_owned(), variant: "canary".to_owned() };
        let moved = "shop canary: 10 % of the callers (9.80 % of the requests, about 420 callers) go from it to stable";
        assert_eq!(lines(&canary), [moved]);
        assert_eq!(lines(&KillScope::Route("shop".to_owned())), [moved]);
        let copies = "api shadow: shop-v3 gets no copies any more, now of 100 % of the requests";
        assert_eq!(lines(&KillScope::Shadow("api".to_owned())), [copies]);
        assert_eq!(lines(&KillScope::All), [moved, copies]);
        assert_eq!(
            lines(&KillScope::Tenant("a\u{1b}c".to_owned())),
            ["tenant a\\u{1b}c: all its requests go to stable, on every route"]
        );
        for unknown in [KillScope::Route("none".to_owned()), KillScope::Shadow("shop".to_owned())] {
            assert!(lines(&unknown).is_empty(), "{unknown}");
        }
    }

    #[test]
    fn a_revive_shows_what_comes_back() {
        let lines = |scope: &KillScope| effect(&status(), scope, EffectOf::Revive);
        assert_eq!(
            lines(&KillScope::All),
            [
                "shop canary: 10 % of the callers come back to it",
                "api shadow: 100 % of the requests are copied to shop-v3 again"
            ]
        );
    }

    #[test]
    fn a_rollout_moves_its_variant_and_stays_at_0_after_its_kill() {
        let mut page = status();
        page["routes"][0]["rollout"] = json!("shop-v2");
        let canary =
            page["routes"][0]["variants"].as_array_mut().unwrap().iter_mut().find(|one| one["name"] == "canary");
        canary.unwrap()["rollout"] = json!("shop-v2");
        let rollout = KillScope::Rollout("shop-v2".to_owned());
        let killed = effect(&page, &rollout, EffectOf::Kill);
        assert!(killed.len() == 1 && killed[0].starts_with("shop canary: 10 % of the callers"), "{killed:?}");
        let revived = effect(&page, &rollout, EffectOf::Revive);
        assert_eq!(revived, ["shop canary: no caller moves, rollout shop-v2 is held at 0 until it is resumed"]);
        let all = effect(&page, &KillScope::All, EffectOf::Revive);
        assert!(all.contains(&"shop canary: 10 % of the callers come back to it".to_owned()), "{all:?}");
    }

    #[test]
    fn what_is_killed_by_others_does_not_move() {
        let mut page = status();
        let shop = json!({ "route": "shop" });
        page["kills"] = kills(&[json!({ "all": true }), shop.clone(), json!({ "tenant": "acme" })])["kills"].take();
        let canary = KillScope::Variant { route: "shop".to_owned(), variant: "canary".to_owned() };
        let stays =
            "shop canary: no caller moves, still killed by all (#3, root: errors), route shop (#4, root: errors)";
        assert_eq!(
            effect(&page, &canary, EffectOf::Revive),
            [stays, "still killed: callers of tenant acme (#5, root: errors)"]
        );
        assert_eq!(
            effect(&page, &KillScope::Route("shop".to_owned()), EffectOf::Kill),
            ["shop canary: no caller moves, already killed by all (#3, root: errors), route shop (#4, root: errors)"]
        );
        assert_eq!(
            effect(&page, &KillScope::Shadow("api".to_owned()), EffectOf::Kill),
            ["api shadow: shop-v3 gets no copies, already killed by all (#3, root: errors)"]
        );
        assert_eq!(
            effect(&page, &KillScope::Tenant("acme".to_owned()), EffectOf::Revive),
            ["tenant acme: nothing changes, still killed by all (#3, root: errors)"]
        );
        // What the act itself did does not count as done before.
        page["kills"] = kills(&[shop])["kills"].take();
        let killed = effect(&page, &KillScope::Route("shop".to_owned()), EffectOf::Killed);
        assert!(killed[0].contains("go from it to stable"), "{killed:?}");
    }

    #[test]
    fn a_long_list_is_cut() {
        let route =
            |number: usize| json!({ "name": format!("r{number}"), "variants": [{ "name": "canary", "weight": 1 }] });
        let status = json!({ "routes": (0..12).map(route).collect::<Vec<_>>() });
        let lines = effect(&status, &KillScope::All, EffectOf::Kill);
        assert_eq!((lines.len(), lines.last().unwrap().as_str()), (11, "… and 2 more: `pointsman status` shows them"));
    }
}
