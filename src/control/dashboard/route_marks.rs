//! What is worth a look among the routes: marks such as killed, by which they are counted and found.

use serde_json::Value;

use super::figures::{list, text};

/// What a route may be, with the word of its filter and the words of its sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteMark {
    /// It has a variant besides stable.
    Canary,
    /// A rollout moves it.
    InRollout,
    /// It has a shadow.
    Shadow,
    /// It, or one of its variants, is killed.
    Killed,
    /// A guard has taken a variant off.
    RolledBack,
    /// A variant is held.
    Held,
}

impl RouteMark {
    /// All of them, in the order of the sums.
    pub const ALL: [Self; 6] =
        [Self::Canary, Self::InRollout, Self::Shadow, Self::Killed, Self::RolledBack, Self::Held];

    /// The filter.
    pub const fn filter(self) -> &'static str {
        match self {
            Self::Canary => "is:canary",
            Self::InRollout => "is:rollout",
            Self::Shadow => "is:shadow",
            Self::Killed => "is:killed",
            Self::RolledBack => "is:rolled-back",
            Self::Held => "is:held",
        }
    }

    /// What so many routes are.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Canary => "with a canary",
            Self::InRollout => "in a rollout",
            Self::Shadow => "with a shadow",
            Self::Killed => "killed",
            Self::RolledBack => "rolled back",
            Self::Held => "held",
        }
    }

    /// Whether a route is so.
    pub fn is_of(self, route: &Value) -> bool {
        let has = |member: &str| list(&route["variants"]).any(|variant| variant[member] == true);
        match self {
            Self::Canary => list(&route["variants"]).nth(1).is_some(),
            Self::InRollout => route["rollout"].is_string(),
            Self::Shadow => route["shadow"].is_object(),
            Self::Killed => route["killed"] == true || route["shadow"]["killed"] == true || has("killed"),
            Self::RolledBack => has("latched"),
            Self::Held => has("held"),
        }
    }
}

/// The routes that fit a filter, in the order of the file: a part of a name, or a mark.
pub fn fitting<'r>(filter: &str, routes: &'r Value) -> Vec<&'r Value> {
    let filter = filter.trim().to_lowercase();
    let mark = RouteMark::ALL.into_iter().find(|mark| mark.filter() == filter);
    let fits = |route: &&Value| match mark {
        Some(mark) => mark.is_of(route),
        None => filter.is_empty() || names(route).any(|name| name.to_lowercase().contains(&filter)),
    };
    list(routes).filter(fits).collect()
}

/// The names by which a route is found.
fn names(route: &Value) -> impl Iterator<Item = &str> {
    let own = [&route["name"], &route["rollout"], &route["shadow"]["upstream"]].into_iter();
    own.chain(list(&route["variants"]).map(|variant| &variant["upstream"])).map(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn routes() -> Value {
        json!([
            { "name": "Shop", "rollout": "shop-v2", "variants": [{ "upstream": "v1" }, { "upstream": "v2", "latched": true }] },
            { "name": "api", "variants": [{ "upstream": "v1", "held": true }], "shadow": { "upstream": "v3", "killed": true } },
            { "name": "moved", "action": "redirect" },
            null, 7, { "name": 7, "variants": "x", "shadow": [] },
        ])
    }

    #[test]
    fn a_filter_finds_names_and_marks() {
        let all = routes();
        let found =
            |filter: &str| fitting(filter, &all).iter().map(|route| text(&route["name"])).collect::<Vec<_>>().join(" ");
        for (filter, names) in [
            ("shop", "Shop"),
            (" SHOP-V2 ", "Shop"),
            ("v1", "Shop api"),
            ("v3", "api"),
            ("nothing", ""),
            ("is:canary", "Shop"),
            ("is:rollout", "Shop"),
            ("is:shadow", "api"),
            ("is:killed", "api"),
            ("is:rolled-back", "Shop"),
            ("is:held", "api"),
            ("is:unknown", ""),
        ] {
            assert_eq!(found(filter), names, "{filter}");
        }
        assert_eq!(fitting("", &all).len(), 6);
        assert_eq!(fitting("", &json!({ "x": 1 })).len(), 0);
    }
}
