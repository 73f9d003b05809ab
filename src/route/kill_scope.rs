//! The scope of a kill.

use std::fmt;

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
    /// A tenant always gets stable.
    Tenant(String),
    /// The shadow of this route gets no copies.
    Shadow(String),
}

impl KillScope {
    /// The kind: `all`, `route`, `variant`, `tenant` or `shadow`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Route(_) => "route",
            Self::Variant { .. } => "variant",
            Self::Tenant(_) => "tenant",
            Self::Shadow(_) => "shadow",
        }
    }

    /// The route that the scope names.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        match self {
            Self::All | Self::Tenant(_) => None,
            Self::Route(route) | Self::Variant { route, .. } | Self::Shadow(route) => Some(route),
        }
    }
}

impl fmt::Display for KillScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Route(name) | Self::Tenant(name) | Self::Shadow(name) => write!(f, "{} {name}", self.kind()),
            Self::Variant { route, variant } => write!(f, "variant {route}:{variant}"),
        }
    }
}
