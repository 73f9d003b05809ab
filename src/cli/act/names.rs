//! The names that a scope may have, read from the status of the proxy, for those who typed another. The status is
//! untrusted: control characters are escaped.

use serde_json::Value;

use super::send::status;
use crate::cli::admin::{AdminEndpoint, AdminResponse, ProblemDocument};
use crate::compare::escape_controls;
use crate::route::KillScope;

/// Names that are listed.
const LISTED_MAX: usize = 10;

/// Why a scope names no route where it has to; nothing when it does.
pub(super) async fn missing_route(admin: &AdminEndpoint, scope: &KillScope) -> Option<String> {
    let KillScope::Variant { route, variant } = scope else { return None };
    if !route.is_empty() {
        return None;
    }
    let page = status(admin).await.unwrap_or_default();
    Some(full_names(&page, variant))
}

/// What to write for a variant that was named without its route.
fn full_names(page: &Value, variant: &str) -> String {
    let routes = page["routes"].as_array().into_iter().flatten();
    let has = |route: &&Value| variants(route).any(|name| name == variant);
    let named: Vec<String> = routes.filter(has).map(|route| format!("{}:{variant}", text(&route["name"]))).collect();
    match named.as_slice() {
        [] => "a variant is written ROUTE:VARIANT, such as shop:canary".to_owned(),
        [only] => format!("a variant is written ROUTE:VARIANT: --variant {}", escape_controls(only)),
        several => format!("several routes have it, a variant is written ROUTE:VARIANT: {}", listed(several)),
    }
}

/// The names that the proxy has, when the answer is that there is none of this name.
pub(super) async fn known_names(admin: &AdminEndpoint, scope: &KillScope, answer: &AdminResponse) -> Option<String> {
    let problem = ProblemDocument::read(answer)?;
    problem.document["type"].as_str().filter(|name| name.ends_with(":unknown-scope"))?;
    names(&status(admin).await?, scope)
}

/// The variants of the route that a scope names, else the routes.
fn names(page: &Value, scope: &KillScope) -> Option<String> {
    let routes: Vec<&Value> = page["routes"].as_array()?.iter().collect();
    let words = |words: Vec<String>| (!words.is_empty()).then(|| listed(&words));
    if let KillScope::Rollout(_) = scope {
        let rollouts = page["rollouts"].as_array()?.iter().map(|rollout| text(&rollout["name"]));
        return words(rollouts.collect()).map(|names| format!("rollouts: {names}"));
    }
    let name = scope.route()?;
    match (routes.iter().find(|route| route["name"] == name), scope) {
        (Some(route), KillScope::Variant { .. }) => {
            let others = variants(route).filter(|name| *name != "stable").map(str::to_owned).collect();
            words(others).map(|names| format!("variants of {name}: {names}"))
        }
        (_, KillScope::Shadow(_)) => {
            let with_shadow = routes.iter().filter(|route| route["shadow"].is_object());
            words(with_shadow.map(|route| text(&route["name"])).collect())
                .map(|names| format!("routes with a shadow: {names}"))
        }
        _ => words(routes.iter().map(|route| text(&route["name"])).collect()).map(|names| format!("routes: {names}")),
    }
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(LISTED_MAX);
    let shown: Vec<_> = names.iter().take(LISTED_MAX).map(|name| escape_controls(name)).collect();
    let end = if more > 0 { format!(" and {more} more: `pointsman status --all`") } else { String::new() };
    format!("{}{end}", shown.join(", "))
}

fn variants(route: &Value) -> impl Iterator<Item = &str> {
    route["variants"].as_array().into_iter().flatten().filter_map(|variant| variant["name"].as_str())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_what_runs_are_listed() {
        let route = |name: &str, variants: &[&str]| {
            let variants: Vec<Value> = variants.iter().map(|name| json!({ "name": name })).collect();
            json!({ "name": name, "variants": variants })
        };
        let page =
            json!({ "routes": [route("shop", &["stable", "canary"]), route("api", &["stable", "canary", "next"])] });
        assert_eq!(
            full_names(&page, "canary"),
            "several routes have it, a variant is written ROUTE:VARIANT: shop:canary, api:canary"
        );
        assert_eq!(full_names(&page, "next"), "a variant is written ROUTE:VARIANT: --variant api:next");
        assert!(full_names(&page, "none").ends_with("such as shop:canary"));
        let variant = |route: &str| KillScope::Variant { route: route.to_owned(), variant: "x".to_owned() };
        assert_eq!(names(&page, &variant("api")).unwrap(), "variants of api: canary, next");
        assert_eq!(names(&page, &variant("none")).unwrap(), "routes: shop, api");
        assert_eq!(names(&page, &KillScope::Shadow("shop".to_owned())), None);
        let many: Vec<Value> = (0..12).map(|number| route(&format!("r{number}\u{1b}"), &[])).collect();
        let listed = names(&json!({ "routes": many }), &KillScope::Route("x".to_owned())).unwrap();
        assert!(listed.ends_with("r9\\u{1b} and 2 more: `pointsman status --all`"), "{listed}");
    }
}
