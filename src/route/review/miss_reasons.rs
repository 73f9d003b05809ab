//! Why predicates do not match: each with the value that the request has instead.

use std::borrow::Cow;

use http::{HeaderName, header};

use crate::fields::Fields;
use crate::route::matching::{cookie_bytes, dropped_identity, parameters};
use crate::route::{Caller, Extractor, Predicate, RequestHead, Rules};

/// Limits of the shown values of one field.
const VALUES_MAX: usize = 4;
const VALUE_CHARS_MAX: usize = 80;

/// A request, its caller, and the rules.
#[derive(Clone, Copy)]
pub(super) struct MissReasons<'a> {
    pub(super) rules: &'a Rules,
    pub(super) head: &'a RequestHead<'a>,
    pub(super) caller: &'a Caller<'a>,
}

impl MissReasons<'_> {
    /// The predicates that do not match, as text. For a segment, the keys that do not match.
    pub(super) fn of(&self, predicates: &[Predicate]) -> String {
        self.failing(predicates, "; ")
    }

    fn failing(&self, predicates: &[Predicate], separator: &str) -> String {
        let failing = predicates.iter().filter(|one| !one.matches(self.head, self.caller, &self.rules.segments));
        failing.map(|one| self.describe(one)).collect::<Vec<_>>().join(separator)
    }

    fn describe(&self, predicate: &Predicate) -> String {
        let words = || predicate.describe(&self.rules.segments);
        match predicate {
            Predicate::Segment(id) => match self.rules.segments.get(id.0 as usize) {
                Some(segment) => format!("{}: {}", words(), self.failing(&segment.predicates, ", ")),
                None => words(),
            },
            Predicate::All(all) => self.failing(all, ", "),
            Predicate::Header(..)
            | Predicate::Cookie(..)
            | Predicate::Query(..)
            | Predicate::Grpc
            | Predicate::Listener(_)
            | Predicate::Tenant(_)
            | Predicate::User(_)
            | Predicate::Cidr(_)
            | Predicate::Claim(..)
            | Predicate::Country(_)
            | Predicate::ClientCert(..)
            | Predicate::Not(_)
            | Predicate::Any(_) => format!("{} ({})", words(), self.instead(predicate)),
        }
    }

    /// The value of the request that a predicate checks.
    fn instead(&self, predicate: &Predicate) -> String {
        let Self { head, caller, .. } = self;
        match predicate {
            Predicate::Header(name, _) => self.field(name),
            Predicate::Cookie(name, _) => given(cookie_bytes(head.fields, name).map(String::from_utf8_lossy)),
            Predicate::Query(name, _) => given(parameters(head.query, name)),
            Predicate::Grpc => format!("{}: {}", header::CONTENT_TYPE, self.field(&header::CONTENT_TYPE)),
            Predicate::Listener(_) => format!("the listener is {}", head.listener),
            Predicate::Tenant(_) => self.identity("tenant", caller.tenant.as_deref(), &self.rules.identity.tenant),
            Predicate::User(_) => self.identity("user", caller.user.as_deref(), &self.rules.identity.user),
            Predicate::Cidr(_) => format!("the client is {}", caller.client_ip),
            Predicate::Claim(name, _) => match (caller.facts.claims, caller.facts.fault) {
                (Some(claims), _) => given(claims.all(name).map(Cow::Borrowed)),
                (None, Some(fault)) => format!("the token is not accepted: {}", fault.name()),
                (None, None) => "there is no token".to_owned(),
            },
            Predicate::Country(_) => match caller.facts.country {
                Some(country) => format!("the country is {}", country.code()),
                None => "the country is unknown".to_owned(),
            },
            Predicate::ClientCert(field, _) => match head.client_cert {
                Some(certificate) => given(certificate.values(*field).map(Cow::Borrowed)),
                None => "there is no verified certificate".to_owned(),
            },
            // The alternatives have the same name, so the value is the same for all.
            Predicate::Any(alternatives) => alternatives.first().map(|first| self.instead(first)).unwrap_or_default(),
            Predicate::Not(_) | Predicate::Segment(_) | Predicate::All(_) => "it matches".to_owned(),
        }
    }

    fn field(&self, name: &HeaderName) -> String {
        values_of(self.head.fields, name)
    }

    fn identity(&self, what: &str, value: Option<&str>, places: &[Extractor]) -> String {
        if let Some(value) = value {
            return format!("the {what} is {}", shown(value));
        }
        let why = dropped_identity(self.caller, self.head.fields, places);
        why.map_or_else(|| format!("there is no {what}"), |why| format!("there is no {what}: {why}"))
    }
}

fn values_of(fields: &Fields, name: &HeaderName) -> String {
    given(fields.get_all(name).map(String::from_utf8_lossy))
}

/// The given values, as text.
fn given<'v>(values: impl IntoIterator<Item = Cow<'v, str>>) -> String {
    let mut values = values.into_iter();
    let mut all: Vec<String> = values.by_ref().take(VALUES_MAX).map(|value| shown(&value)).collect();
    all.extend(values.next().map(|_| "…".to_owned()));
    if all.is_empty() { "not given".to_owned() } else { format!("given: {}", all.join(", ")) }
}

/// A value in quotes; long values are cut.
fn shown(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}
