//! The scope of a kill, and what it is in a set of rules.

use std::fmt;

use super::{Action, RolloutId, Route, RouteId, Rules, VariantId};

/// What a kill takes out of service: callers in the scope get stable, a shadow in the scope gets no copies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KillScope {
    /// Every route serves stable only, and no copy is made.
    All,
    /// A route serves stable only.
    Route(String),
    /// A variant gets no requests.
    Variant {
        /// The name of the route.
        route: String,
        /// The name of the variant.
        variant: String,
    },
    /// No variant of a rollout gets requests.
    Rollout(String),
    /// A tenant always gets stable.
    Tenant(String),
    /// The shadow of this route gets no copies.
    Shadow(String),
}

/// What a scope is in a set of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundScope {
    /// Everything.
    All,
    /// A route that has variants.
    Route(RouteId),
    /// A variant other than stable.
    Variant(RouteId, VariantId),
    /// A rollout.
    Rollout(RolloutId),
    /// A tenant: the rules do not list them.
    Tenant,
    /// The shadow of this route.
    Shadow(RouteId),
}

/// Why a scope is nothing that can be killed in a set of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeFault {
    /// There is no route of this name.
    NoRoute,
    /// There is no rollout of this name.
    NoRollout,
    /// The route has no variant of this name.
    NoVariant(RouteId),
    /// The route has no shadow.
    NoShadow(RouteId),
    /// The route redirects or responds by itself.
    NotForwarded(RouteId),
    /// The route has no variant but stable.
    StableOnly(RouteId),
    /// Stable itself: the callers of killed variants get it.
    Stable(RouteId),
}

/// The routes of a set of rules by name.
pub struct RouteNames<'a> {
    rules: &'a Rules,
}

impl KillScope {
    /// The kind: `all`, `route`, `variant`, `rollout`, `tenant` or `shadow`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Route(_) => "route",
            Self::Variant { .. } => "variant",
            Self::Rollout(_) => "rollout",
            Self::Tenant(_) => "tenant",
            Self::Shadow(_) => "shadow",
        }
    }

    /// The route that the scope names.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        match self {
            Self::All | Self::Rollout(_) | Self::Tenant(_) => None,
            Self::Route(route) | Self::Variant { route, .. } | Self::Shadow(route) => Some(route),
        }
    }
}

impl<'a> RouteNames<'a> {
    /// The names of these rules.
    #[must_use]
    pub const fn new(rules: &'a Rules) -> Self {
        Self { rules }
    }

    fn route(&self, name: &str) -> Option<(RouteId, &'a Route)> {
        self.rules.find_named(name).map(|id| (id, self.rules.route(id)))
    }

    /// What a scope is in these rules.
    ///
    /// # Errors
    /// Why it is nothing that can be killed.
    pub fn find(&self, scope: &KillScope) -> Result<FoundScope, ScopeFault> {
        if let KillScope::Rollout(name) = scope {
            return self.rules.find_rollout(name).map(FoundScope::Rollout).ok_or(ScopeFault::NoRollout);
        }
        let Some(name) = scope.route() else {
            return Ok(if *scope == KillScope::All { FoundScope::All } else { FoundScope::Tenant });
        };
        let (id, route) = self.route(name).ok_or(ScopeFault::NoRoute)?;
        let split = match &route.action {
            Action::Split(split) => split,
            Action::Redirect(_) | Action::Respond(_) => return Err(ScopeFault::NotForwarded(id)),
        };
        match scope {
            KillScope::Route(_) if split.variants.len() < 2 => Err(ScopeFault::StableOnly(id)),
            KillScope::Variant { variant, .. } => {
                let named = split.variants.iter().zip((0..).map(VariantId)).find(|(known, _)| known.name == *variant);
                match named {
                    Some((_, VariantId::STABLE)) => Err(ScopeFault::Stable(id)),
                    Some((_, variant)) => Ok(FoundScope::Variant(id, variant)),
                    None => Err(ScopeFault::NoVariant(id)),
                }
            }
            KillScope::Shadow(_) if split.shadow.is_none() => Err(ScopeFault::NoShadow(id)),
            KillScope::Shadow(_) => Ok(FoundScope::Shadow(id)),
            KillScope::Route(_) | KillScope::All | KillScope::Rollout(_) | KillScope::Tenant(_) => {
                Ok(FoundScope::Route(id))
            }
        }
    }
}

impl fmt::Display for KillScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Route(name) | Self::Rollout(name) | Self::Tenant(name) | Self::Shadow(name) => {
                write!(f, "{} {name}", self.kind())
            }
            Self::Variant { route, variant } => write!(f, "variant {route}:{variant}"),
        }
    }
}
