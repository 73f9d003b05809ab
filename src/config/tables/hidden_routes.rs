//! Warns of routes that are never used, because a route with higher precedence matches all of their requests.

use ahash::HashMap;

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::registry::Registry;
use crate::route::{HostPattern, Match, PathPattern, Predicate, Route};

/// At most this many routes are compared with each other route.
const COMPARED_MAX: usize = 50;

/// Warns of routes that another one hides: by a higher `priority`, or by its position among routes of equal precedence.
pub(in crate::config) fn warn(context: &mut Context<'_>, routes: &[Route], names: &Registry<'_>) {
    by_priority(context, routes, names);
    by_order(context, routes, names);
}

/// Routes with the same hosts and paths, with methods, and with the same number of predicates have equal precedence:
/// the first one wins.
fn by_order(context: &mut Context<'_>, routes: &[Route], names: &Registry<'_>) {
    let mut equals: HashMap<String, Vec<u32>> = HashMap::default();
    for (number, hidden) in (0_u32..).zip(routes).filter(|(_, route)| !route.matches.methods.is_empty()) {
        let matches = &hidden.matches;
        let texts = |all: Vec<String>| all.join(" ");
        let hosts = texts(matches.hosts.iter().map(ToString::to_string).collect());
        let paths = texts(matches.paths.iter().map(ToString::to_string).collect());
        let key = format!("{hosts}\0{paths}\0{}\0{}", matches.priority, matches.predicates.len());
        let before = equals.entry(key).or_default();
        let over = before.iter().take(COMPARED_MAX).find(|over| covers(&routes[**over as usize].matches, matches));
        debug_assert!(before.last().is_none_or(|last| *last < number), "in the order of the file");
        if let Some(over) = over {
            let message = format!(
                "route `{}` is never used: `{}` matches all of its requests",
                hidden.name, routes[*over as usize].name
            );
            if let (Some(at), Some(over_at)) = (names.place(number), names.place(*over)) {
                let finding = Finding::warning("shadowed-route", at, message);
                context.report(finding.also(over_at, "comes first"));
            }
        }
        before.push(number);
    }
}

fn by_priority(context: &mut Context<'_>, routes: &[Route], names: &Registry<'_>) {
    let lowest = routes.iter().map(|route| route.matches.priority).min().unwrap_or(0);
    let above: Vec<_> = (0_u32..).zip(routes).filter(|(_, route)| route.matches.priority > lowest).collect();
    for (number, hidden) in (0_u32..).zip(routes) {
        let covering = above.iter().take(COMPARED_MAX).find(|(_, over)| {
            over.matches.priority > hidden.matches.priority && covers(&over.matches, &hidden.matches)
        });
        let Some((over, route)) = covering else { continue };
        let (Some(at), Some(over_at)) = (names.place(number), names.place(*over)) else { continue };
        let message = format!("route `{}` is never used: `{}` matches all of its requests", hidden.name, route.name);
        let finding = Finding::warning("shadowed-route", at, message);
        context.report(finding.also(over_at, format!("has priority {}", route.matches.priority)));
    }
}

/// Whether `over` matches every request that `under` matches.
fn covers(over: &Match, under: &Match) -> bool {
    let hosts = over.hosts.is_empty()
        || (!under.hosts.is_empty() && under.hosts.iter().all(|host| over.hosts.iter().any(|o| covers_host(o, host))));
    let paths = over.paths.is_empty()
        || (!under.paths.is_empty() && under.paths.iter().all(|path| over.paths.iter().any(|o| covers_path(o, path))));
    let methods = over.methods.is_empty()
        || (!under.methods.is_empty() && under.methods.iter().all(|method| over.methods.contains(method)));
    hosts && paths && methods && over.predicates.iter().all(|p| under.predicates.iter().any(|q| same(p, q)))
}

fn covers_host(over: &HostPattern, under: &HostPattern) -> bool {
    match (over, under) {
        (HostPattern::Exact(over), HostPattern::Exact(under)) => over == under,
        (HostPattern::Wildcard(over), HostPattern::Exact(under) | HostPattern::Wildcard(under)) => {
            under.ends_with(over)
        }
        (HostPattern::Exact(_), HostPattern::Wildcard(_)) => false,
    }
}

fn covers_path(over: &PathPattern, under: &PathPattern) -> bool {
    match (over, under) {
        (PathPattern::Exact(over), PathPattern::Exact(under)) => over == under,
        (PathPattern::Prefix(over), PathPattern::Exact(under) | PathPattern::Prefix(under)) => {
            under.strip_prefix(over.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        (PathPattern::Prefix(over), PathPattern::Regex(_)) => over.is_empty(),
        (PathPattern::Regex(over), PathPattern::Regex(under)) => over.as_str() == under.as_str(),
        (PathPattern::Exact(_) | PathPattern::Regex(_), _) => false,
    }
}

fn same(a: &Predicate, b: &Predicate) -> bool {
    format!("{a:?}") == format!("{b:?}")
}
