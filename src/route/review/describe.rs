//! Text of predicates, source locations and matches, in the words of `routes.toml`.

use std::fmt;

use crate::route::{Country, Match, PathPattern, Predicate, Segment, SourceLocation, StringMatch};

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "= {text:?}"),
            Self::Prefix(text) => write!(f, "begins with {text:?}"),
            Self::Regex(regex) => write!(f, "matches {:?}", regex.as_str()),
            Self::Present(true) => f.write_str("is present"),
            Self::Present(false) => f.write_str("is absent"),
        }
    }
}

impl Predicate {
    /// The predicate as text.
    #[must_use]
    pub fn describe(&self, segments: &[Segment]) -> String {
        let all = |predicates: &[Self], word: &str| {
            predicates.iter().map(|predicate| predicate.describe(segments)).collect::<Vec<_>>().join(word)
        };
        match self {
            Self::Header(name, wanted) => format!("header {name} {wanted}"),
            Self::Cookie(name, wanted) => format!("cookie {name} {wanted}"),
            Self::Grpc => "gRPC".to_owned(),
            Self::Listener(names) => format!("listener {}", names.join(", ")),
            Self::Query(name, wanted) => format!("query {name} {wanted}"),
            Self::Tenant(list) => format!("tenant in a list of {}", list.len()),
            Self::User(list) => format!("user in a list of {}", list.len()),
            Self::Cidr(nets) => {
                let nets: Vec<_> = nets.iter().take(4).map(ToString::to_string).collect();
                format!("cidr in {}", nets.join(", "))
            }
            Self::Claim(name, wanted) => format!("jwt {name} {wanted}"),
            Self::Country(list) => {
                let codes: Vec<_> = list.iter().map(Country::code).collect();
                format!("country in {}", codes.join(", "))
            }
            Self::ClientCert(field, wanted) => format!("client_cert {} {wanted}", field.name()),
            Self::Segment(id) => {
                let name = segments.get(id.0 as usize).map_or("?", |segment| segment.name.as_str());
                format!("segment {name}")
            }
            Self::Not(predicate) => format!("not ({})", predicate.describe(segments)),
            Self::Any(predicates) => format!("one of ({})", all(predicates, " | ")),
            Self::All(predicates) => all(predicates, ", "),
        }
    }
}

impl Match {
    /// The patterns that match host and path, as text; `None` unless both match.
    pub(super) fn matching_patterns(&self, host: &str, path: &str) -> Option<String> {
        let host = self.matching_host(host)?;
        if self.paths.is_empty() {
            return Some(format!("{host}, any path"));
        }
        let pattern = self.paths.iter().find(|pattern| pattern.covers(path).is_some())?;
        Some(format!("{host}, path {pattern}"))
    }

    /// A regex that matches only a part of the path, if the host matches, and how to match the whole path.
    pub(super) fn partial_match(&self, host: &str, path: &str) -> Option<String> {
        let host = self.matching_host(host)?;
        self.paths.iter().find_map(|pattern| {
            let PathPattern::Regex(regex) = pattern else { return None };
            let found = regex.find(path).filter(|found| !found.is_empty())?;
            let help = match (found.start(), found.end() == path.len()) {
                (0, true) => return None,
                (0, false) => "end it with `.*` to match the rest",
                (_, true) => "start it with `.*` to match what comes before",
                (_, false) => "begin and end it with `.*` to match the rest",
            };
            Some(format!("{host}, path {pattern}: matches only {} of the path; {help}", found.as_str()))
        })
    }

    /// The pattern that matches a host, as text.
    fn matching_host(&self, host: &str) -> Option<String> {
        if self.hosts.is_empty() {
            return Some("any host".to_owned());
        }
        Some(format!("host {}", self.hosts.iter().find(|pattern| pattern.fits(host))?))
    }
}
