//! Needs: which facts a route may use, so that no others are looked up.

use crate::route::{Extractor, Identity, Predicate, Route, Rules, Segment, Split, StickyKey};

/// The facts that must be looked up before a request of a route is decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The claims of the request's token.
    pub claims: bool,
    /// The country of the client.
    pub country: bool,
}

impl Rules {
    /// The needs of each route, by id.
    #[must_use]
    pub fn needs(&self) -> Box<[Needs]> {
        let of = |route: &Route| route.split().map_or_else(Used::default, |split| split.used_facts(&self.segments));
        self.routes.iter().map(|route| of(route).needs(&self.identity)).collect()
    }
}

impl Split {
    fn used_facts(&self, segments: &[Segment]) -> Used {
        let mut used = Used { user: self.sticky.contains(&StickyKey::User), ..Used::default() };
        for target in &self.targets {
            used.all(&target.predicates, segments);
        }
        used
    }
}

/// The facts that predicates use.
#[derive(Default)]
struct Used {
    user: bool,
    claims: bool,
    country: bool,
}

impl Used {
    fn needs(&self, identity: &Identity) -> Needs {
        let by_claim = |places: &[Extractor]| places.iter().any(|place| matches!(place, Extractor::Claim(_)));
        // Every route needs the tenant, for the access log and for templates.
        let claims = self.claims || by_claim(&identity.tenant) || (self.user && by_claim(&identity.user));
        Needs { claims, country: self.country }
    }

    fn all(&mut self, predicates: &[Predicate], segments: &[Segment]) {
        for predicate in predicates {
            self.one(predicate, segments);
        }
    }

    fn one(&mut self, predicate: &Predicate, segments: &[Segment]) {
        match predicate {
            Predicate::User(_) => self.user = true,
            Predicate::Claim(..) => self.claims = true,
            Predicate::Country(_) => self.country = true,
            Predicate::Segment(id) => {
                // Terminates: validation rejects segments that refer to each other in a cycle.
                if let Some(segment) = segments.get(id.0 as usize) {
                    self.all(&segment.predicates, segments);
                }
            }
            Predicate::Not(predicate) => self.one(predicate, segments),
            Predicate::Any(predicates) | Predicate::All(predicates) => self.all(predicates, segments),
            Predicate::Header(..)
            | Predicate::Cookie(..)
            | Predicate::Grpc
            | Predicate::Listener(_)
            | Predicate::Query(..)
            | Predicate::Tenant(_)
            | Predicate::Cidr(_)
            | Predicate::ClientCert(..) => {}
        }
    }
}
