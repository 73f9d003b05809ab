//! Needs: which facts a route may use, so that no others are looked up.

use crate::route::{Extractor, Identity, Predicate, RateKey, Route, Rules, Segment, StickyKey};

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
        self.routes.iter().map(|route| Used::by(route, &self.segments).needs(&self.identity)).collect()
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
    fn by(route: &Route, segments: &[Segment]) -> Self {
        let mut used = Self::default();
        if let Some(split) = route.split() {
            used.user = split.sticky.contains(&StickyKey::User);
            for target in &split.targets {
                used.all(&target.predicates, segments);
            }
        }
        for rule in &route.access {
            used.all(&rule.predicates, segments);
        }
        for limit in &route.rate_limits {
            used.user |= limit.per == RateKey::User;
            if let Some(except) = limit.except {
                used.one(&Predicate::Segment(except), segments);
            }
        }
        used
    }

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
