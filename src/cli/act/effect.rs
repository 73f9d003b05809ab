//! What a kill or a revive changes, read from the status of the proxy. The status is untrusted: control characters are
//! escaped.

use serde_json::Value;

use crate::compare::escape_controls;
use crate::route::KillScope;

/// Routes that are listed.
const ROUTES_MAX: usize = 10;

/// The direction of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Callers go to stable.
    Kill,
    /// Callers come back.
    Revive,
}

/// The callers that an act moves, a line for each variant and shadow; nothing when the status does not have the scope.
pub(super) fn effect(status: &Value, scope: &KillScope, direction: Direction) -> Vec<String> {
    let routes: Vec<&Value> = status["routes"].as_array().into_iter().flatten().collect();
    let of = |name: &String| routes.iter().find(|route| route["name"] == name.as_str()).copied();
    let lines: Vec<String> = match scope {
        KillScope::All => {
            let variants = routes.iter().flat_map(|route| moved(route, None, direction));
            variants.chain(routes.iter().filter_map(|route| copies(route, direction))).collect()
        }
        KillScope::Route(name) => of(name).map(|route| moved(route, None, direction)).unwrap_or_default(),
        KillScope::Variant { route, variant } => {
            of(route).map(|route| moved(route, Some(variant), direction)).unwrap_or_default()
        }
        KillScope::Tenant(name) => {
            let name = escape_controls(name);
            let line = match direction {
                Direction::Kill => format!("tenant {name}: all its requests go to stable, on every route"),
                Direction::Revive => format!("tenant {name}: its requests are decided by targets and weights again"),
            };
            vec![line]
        }
        KillScope::Shadow(name) => of(name).and_then(|route| copies(route, direction)).into_iter().collect(),
    };
    let more = lines.len().saturating_sub(ROUTES_MAX);
    let hint = (more > 0).then(|| format!("… and {more} more: `pointsman status` shows them"));
    lines.into_iter().take(ROUTES_MAX).chain(hint).collect()
}

/// A line for each variant of a route that an act moves, or for this one.
fn moved(route: &Value, only: Option<&String>, direction: Direction) -> Vec<String> {
    let variants = route["variants"].as_array().into_iter().flatten();
    let others = variants.filter(|variant| match only {
        Some(only) => variant["name"] == only.as_str(),
        None => variant["name"] != "stable",
    });
    let line = |variant: &Value| {
        let weight = variant["weight"].as_f64().unwrap_or(0.0);
        let (route_name, name) = (text(&route["name"]), text(&variant["name"]));
        let (verb, end) = match direction {
            Direction::Kill => ("go", "from it to stable"),
            Direction::Revive => ("come", "back to it"),
        };
        let seen = (direction == Direction::Kill).then(|| seen(route, variant)).flatten().unwrap_or_default();
        format!("{route_name} {name}: {weight} % of the callers{seen} {verb} {end}")
    };
    others.map(line).collect()
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

fn copies(route: &Value, direction: Direction) -> Option<String> {
    let shadow = route["shadow"].as_object()?;
    let (name, upstream) = (text(&route["name"]), text(&shadow["upstream"]));
    let weight = shadow.get("weight").and_then(Value::as_f64).unwrap_or(0.0);
    Some(match direction {
        Direction::Kill => {
            format!("{name} shadow: {upstream} gets no copies any more, now of {weight} % of the requests")
        }
        Direction::Revive => format!("{name} shadow: {weight} % of the requests are copied to {upstream} again"),
    })
}

fn text(value: &Value) -> String {
    escape_controls(value.as_str().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        let lines = |scope: &KillScope| effect(&status(), scope, Direction::Kill);
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
        let lines = |scope: &KillScope| effect(&status(), scope, Direction::Revive);
        assert_eq!(
            lines(&KillScope::All),
            [
                "shop canary: 10 % of the callers come back to it",
                "api shadow: 100 % of the requests are copied to shop-v3 again"
            ]
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let route =
            |number: usize| json!({ "name": format!("r{number}"), "variants": [{ "name": "canary", "weight": 1 }] });
        let status = json!({ "routes": (0..12).map(route).collect::<Vec<_>>() });
        let lines = effect(&status, &KillScope::All, Direction::Kill);
        assert_eq!((lines.len(), lines.last().unwrap().as_str()), (11, "… and 2 more: `pointsman status` shows them"));
    }
}
