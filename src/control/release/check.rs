//! Whether a scope can be killed under the rules in effect, or a release resumed, and what to say if not.

use super::act::ActError;
use crate::config::nearest;
use crate::journal::LatchScope;
use crate::route::{KillScope, Route, RouteId, RouteNames, Rules, ScopeFault};

/// Whether the rules have what a scope names.
///
/// # Errors
/// What is missing, with a similar name, or why there is nothing to kill.
pub(super) fn find_scope(scope: &KillScope, rules: &Rules) -> Result<(), ActError> {
    let Err(fault) = RouteNames::new(rules).find(scope) else { return Ok(()) };
    let name = scope.route().unwrap_or_default();
    Err(match fault {
        ScopeFault::NoRoute => {
            let similar = nearest(name, rules.routes.iter().map(|route| route.name.as_str()));
            unknown(format!("there is no route `{name}`"), similar.map(str::to_owned))
        }
        ScopeFault::NoRollout => {
            let KillScope::Rollout(name) = scope else { return Ok(()) };
            let similar = nearest(name, rules.rollouts.iter().map(|rollout| rollout.name.as_str()));
            unknown(format!("there is no rollout `{name}`"), similar.map(str::to_owned))
        }
        ScopeFault::NoVariant(id) => {
            let KillScope::Variant { variant, .. } = scope else { return Ok(()) };
            let similar = nearest(variant, variants(rules, id).skip(1)).map(|similar| format!("{name}:{similar}"));
            unknown(format!("route `{name}` has no variant `{variant}`"), similar)
        }
        ScopeFault::NoShadow(_) => {
            let with_shadow = |route: &&Route| route.split().is_some_and(|split| split.shadow.is_some());
            let all = rules.routes.iter().filter(with_shadow).map(|route| route.name.as_str());
            unknown(format!("route `{name}` has no shadow"), nearest(name, all).map(str::to_owned))
        }
        ScopeFault::NotForwarded(_) => {
            ActError::NothingToKill(format!("route `{name}` has no upstream: there is nothing to kill"))
        }
        ScopeFault::StableOnly(_) => {
            ActError::NothingToKill(format!("route `{name}` has stable only: there is nothing to kill"))
        }
        ScopeFault::Stable(_) => {
            ActError::NothingToKill("stable cannot be killed: the callers of killed variants get it".to_owned())
        }
    })
}

/// The scope of the variant that a release is.
pub(super) fn variant_scope(release: &str) -> KillScope {
    let (route, variant) = release.split_once(':').unwrap_or((release, ""));
    KillScope::Variant { route: route.to_owned(), variant: variant.to_owned() }
}

/// The name of a release with its revision under these rules.
///
/// # Errors
/// There is no such release, with a similar name.
pub(super) fn find_release(release: &str, rules: &Rules) -> Result<LatchScope, ActError> {
    let scope = variant_scope(release);
    match find_scope(&scope, rules) {
        Ok(()) => {}
        Err(unknown @ ActError::Unknown { .. }) if release.contains(':') => return Err(unknown),
        Err(_) => {
            let message = format!("`{release}` is no release: a release is called `route:variant`, and stable is none");
            return Err(unknown(message, None));
        }
    }
    let revision = scope.route().and_then(|name| rules.find_named(name)).and_then(|id| {
        let KillScope::Variant { variant, .. } = &scope else { return None };
        let split = rules.route(id).split()?;
        split.variants.iter().find(|known| known.name == *variant).map(|known| rules.revision_of(known))
    });
    Ok(LatchScope { release: release.to_owned(), revision: revision.unwrap_or_default() })
}

pub(super) fn unknown(message: String, similar: Option<String>) -> ActError {
    ActError::Unknown { message, similar }
}

fn variants(rules: &Rules, id: RouteId) -> impl Iterator<Item = &str> {
    let split = rules.route(id).split();
    split.into_iter().flat_map(|split| split.variants.iter().map(|variant| variant.name.as_str()))
}
