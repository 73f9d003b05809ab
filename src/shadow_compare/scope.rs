//! The scope of evidence: if any part of it changes, the evidence starts from zero.

use http::{HeaderValue, Method};

use crate::route::{Compare, EndpointSpec, HeaderEdits, RouteId, Rules, UpstreamId};

/// The scope of a route's evidence.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EvidenceScope {
    /// The upstream of the shadow.
    pub(super) shadow: Deployed,
    /// The variants whose requests are copied, with their upstreams.
    from: Vec<(String, Deployed)>,
    methods: Vec<Method>,
    host: Option<HeaderValue>,
    headers: HeaderEdits,
    pub(super) compare: Compare,
}

/// The deployment of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Deployed {
    pub(super) upstream: String,
    pub(super) revision: Option<String>,
    endpoints: Vec<EndpointSpec>,
}

impl EvidenceScope {
    /// The name of a route and the scope of its evidence under these rules; `None` if the route has no comparison.
    pub(super) fn of(rules: &Rules, route: RouteId) -> Option<(&str, Self)> {
        let route = rules.routes.get(route.0 as usize)?;
        let split = route.split()?;
        let shadow = split.shadow.as_ref()?;
        let from = shadow.from.iter().map(|variant| {
            let variant = split.variants.get(usize::from(variant.0))?;
            Some((variant.name.clone(), deployed(rules, variant.upstream)?))
        });
        let scope = Self {
            shadow: deployed(rules, shadow.upstream)?,
            from: from.collect::<Option<_>>()?,
            methods: shadow.methods.clone(),
            host: shadow.host.clone(),
            headers: shadow.headers.clone(),
            compare: shadow.compare.clone()?,
        };
        Some((&route.name, scope))
    }

    /// Whether the route of this name has the same scope under these rules.
    pub(super) fn is_current(&self, name: &str, rules: &Rules) -> bool {
        let at = rules.routes.iter().position(|route| route.name == name).and_then(|at| u32::try_from(at).ok());
        at.and_then(|at| Self::of(rules, RouteId(at))).is_some_and(|(_, scope)| scope == *self)
    }
}

fn deployed(rules: &Rules, upstream: UpstreamId) -> Option<Deployed> {
    let upstream = rules.upstreams.get(upstream.0 as usize)?;
    Some(Deployed {
        upstream: upstream.name.clone(),
        revision: upstream.revision.clone(),
        endpoints: upstream.endpoints.clone(),
    })
}
