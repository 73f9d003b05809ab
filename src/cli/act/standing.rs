//! The kills in force, as far as they decide what an act changes. The list is untrusted: control characters are escaped.

use serde_json::Value;

use crate::cli::kill_row::KillRow;
use crate::cli::out;
use crate::journal::ScopeFields;
use crate::route::KillScope;

/// Kills that are named in one line.
const NAMED_MAX: usize = 5;
/// Letters of a reason beside a kill.
const REASON_CHARS_MAX: usize = 60;

/// The kills in force.
#[derive(Clone, Debug, Default)]
pub(super) struct StandingKills {
    kills: Vec<StandingKill>,
}

/// A kill in force that the running configuration has something for.
#[derive(Clone, Debug)]
struct StandingKill {
    scope: KillScope,
    /// A call made it: `revive` lifts it.
    by_call: bool,
    /// `all (#3, root: errors)`.
    text: String,
}

impl StandingKills {
    /// Those in the `kills` of a page.
    pub(super) fn read(page: &Value) -> Self {
        let kills = page["kills"].as_array().into_iter().flatten().filter(|kill| kill["matches"] != false);
        Self { kills: kills.filter_map(StandingKill::read).collect() }
    }

    /// Without those of exactly this scope that calls made: as after a revive.
    pub(super) fn without(mut self, scope: &KillScope) -> Self {
        self.kills.retain(|kill| kill.scope != *scope || !kill.by_call);
        self
    }

    /// Without all kills of exactly this scope.
    pub(super) fn others(mut self, scope: &KillScope) -> Self {
        self.kills.retain(|kill| kill.scope != *scope);
        self
    }

    /// The kills that keep a variant from all callers, in words; `rollout` is the one that moves it.
    pub(super) fn of_variant(&self, route: &str, variant: &str, rollout: Option<&str>) -> Option<String> {
        self.named(|scope| match scope {
            KillScope::All => true,
            KillScope::Route(name) => name == route,
            KillScope::Variant { route: of, variant: name } => of == route && name == variant,
            KillScope::Rollout(name) => rollout == Some(name.as_str()),
            KillScope::Tenant(_) | KillScope::Shadow(_) => false,
        })
    }

    /// The kills that stop the copies of a route, in words.
    pub(super) fn of_shadow(&self, route: &str) -> Option<String> {
        self.named(|scope| matches!(scope, KillScope::All) || *scope == KillScope::Shadow(route.to_owned()))
    }

    /// The kills that keep a tenant on stable on every route, in words.
    pub(super) fn of_tenant(&self, tenant: &str) -> Option<String> {
        self.named(|scope| matches!(scope, KillScope::All) || *scope == KillScope::Tenant(tenant.to_owned()))
    }

    /// The kills of tenants, in words.
    pub(super) fn of_tenants(&self) -> Option<String> {
        self.named(|scope| matches!(scope, KillScope::Tenant(_)))
    }

    /// The kills that concern callers or copies in this scope, in words.
    pub(super) fn that_concern(&self, scope: &KillScope) -> Option<String> {
        self.named(|other| concerns(other, scope))
    }

    fn named(&self, wanted: impl Fn(&KillScope) -> bool) -> Option<String> {
        let found: Vec<&str> =
            self.kills.iter().filter(|kill| wanted(&kill.scope)).map(|kill| kill.text.as_str()).collect();
        let more = found.len().saturating_sub(NAMED_MAX);
        let named = found.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
        match more {
            0 => (!found.is_empty()).then_some(named),
            more => Some(format!("{named} and {more} more: `pointsman kill` lists them")),
        }
    }
}

impl StandingKill {
    fn read(kill: &Value) -> Option<Self> {
        let scope = serde_json::from_value::<ScopeFields>(kill["scope"].clone()).ok()?.scope()?;
        let by_call = kill["source"] != "file";
        let row = KillRow::read(kill);
        let callers = if matches!(scope, KillScope::Tenant(_)) { "callers of " } else { "" };
        let why = Some(out::shortened(&row.reason, REASON_CHARS_MAX)).filter(|why| !why.is_empty());
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let number = kill["seq"].as_u64().map(|seq| format!("#{seq}, ")).unwrap_or_default();
        Some(Self { text: format!("{callers}{} ({number}{}{why})", row.scope, row.who), scope, by_call })
    }
}

/// Whether a kill of `kill` keeps something in `scope` killed.
fn concerns(kill: &KillScope, scope: &KillScope) -> bool {
    match (kill, scope) {
        (KillScope::All, _) | (_, KillScope::All) => true,
        (KillScope::Shadow(one), KillScope::Shadow(other)) | (KillScope::Tenant(one), KillScope::Tenant(other)) => {
            one == other
        }
        (KillScope::Shadow(_), _) | (_, KillScope::Shadow(_)) => false,
        (KillScope::Rollout(_), KillScope::Rollout(_)) | (KillScope::Variant { .. }, KillScope::Variant { .. }) => {
            kill == scope
        }
        (KillScope::Tenant(_) | KillScope::Rollout(_), _) | (_, KillScope::Tenant(_) | KillScope::Rollout(_)) => true,
        (KillScope::Route(_) | KillScope::Variant { .. }, KillScope::Route(_) | KillScope::Variant { .. }) => {
            kill.route() == scope.route()
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    fn call(scope: &Value, seq: u64) -> Value {
        json!({ "scope": scope, "source": "call", "who": { "name": "root", "via": "socket" }, "reason": "errors",
            "at": "2026-11-29T13:57:10.123Z", "seq": seq, "matches": true, "durable": true })
    }

    pub(in crate::cli::act) fn kills(scopes: &[Value]) -> Value {
        json!({ "kills": (3..).zip(scopes).map(|(seq, scope)| call(scope, seq)).collect::<Vec<_>>() })
    }

    #[test]
    fn what_stays_killed_is_named() {
        let mut page = kills(&[
            json!({ "all": true }),
            json!({ "route": "shop" }),
            json!({ "variant": "shop:canary" }),
            json!({ "tenant": "acme" }),
            json!({ "shadow": "shop" }),
            json!({ "route": "api" }),
        ]);
        page["kills"].as_array_mut().unwrap().push(
            json!({ "scope": { "route": "gone" }, "source": "call", "who": { "name": "a" }, "seq": 9, "matches": false }),
        );
        let canary = KillScope::Variant { route: "shop".to_owned(), variant: "canary".to_owned() };
        let after = StandingKills::read(&page).without(&canary);
        assert_eq!(
            after.of_variant("shop", "canary", None).unwrap(),
            "all (#3, root: errors), route shop (#4, root: errors)"
        );
        assert_eq!(
            after.of_variant("api", "canary", None).unwrap(),
            "all (#3, root: errors), route api (#8, root: errors)"
        );
        assert_eq!(
            after.that_concern(&canary).unwrap(),
            "all (#3, root: errors), route shop (#4, root: errors), callers of tenant acme (#6, root: errors)"
        );
        let staged = StandingKills::read(&kills(&[json!({ "rollout": "shop-v2" })]));
        assert_eq!(
            staged.of_variant("shop", "canary", Some("shop-v2")).as_deref(),
            Some("rollout shop-v2 (#3, root: errors)")
        );
        assert_eq!(staged.of_variant("shop", "canary", Some("cart-v2")), None);
        let without_all = StandingKills::read(&page).without(&KillScope::All);
        assert_eq!(without_all.of_shadow("shop").unwrap(), "shadow shop (#7, root: errors)");
        assert_eq!(without_all.of_tenant("acme").unwrap(), "callers of tenant acme (#6, root: errors)");
        assert!(!without_all.that_concern(&KillScope::Shadow("shop".to_owned())).unwrap().contains("route"));
        assert!(without_all.of_variant("gone", "canary", None).is_none(), "it kills nothing that runs");
    }

    #[test]
    fn many_kills_are_counted_and_a_long_reason_is_cut() {
        let scopes: Vec<Value> = (0..7).map(|number| json!({ "route": format!("r{number}") })).collect();
        let mut page = kills(&scopes);
        page["kills"][0]["reason"] = json!("é".repeat(1_000));
        let all = StandingKills::read(&page).that_concern(&KillScope::All).unwrap();
        assert!(all.ends_with(", route r4 (#7, root: errors) and 2 more: `pointsman kill` lists them"), "{all}");
        assert!(all.starts_with(&format!("route r0 (#3, root: {}…), ", "é".repeat(59))), "{all}");
    }

    #[test]
    fn a_kill_of_the_file_stays_after_a_revive() {
        let page = json!({ "kills": [{ "scope": { "route": "shop" }, "source": "file", "place": "routes.toml:7",
            "matches": true }] });
        let kills = StandingKills::read(&page).without(&KillScope::Route("shop".to_owned()));
        assert_eq!(kills.of_variant("shop", "canary", None).unwrap(), "route shop (routes.toml:7)");
        assert!(
            StandingKills::read(&page)
                .others(&KillScope::Route("shop".to_owned()))
                .of_variant("shop", "c", None)
                .is_none()
        );
    }
}
