//! Predicates, places and matches in words, as `routes.toml` writes them.

use std::fmt;

use super::{Match, Place, Predicate, Segment, StringMatch};

impl fmt::Display for Place {
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
    /// It in words.
    #[must_use]
    pub fn describe(&self, segments: &[Segment]) -> String {
        let all = |predicates: &[Self], word: &str| {
            predicates.iter().map(|predicate| predicate.describe(segments)).collect::<Vec<_>>().join(word)
        };
        match self {
            Self::Header(name, wanted) => format!("header {name} {wanted}"),
            Self::Cookie(name, wanted) => format!("cookie {name} {wanted}"),
            Self::Query(name, wanted) => format!("query {name} {wanted}"),
            Self::Tenant(list) => format!("tenant in a list of {}", list.len()),
            Self::User(list) => format!("user in a list of {}", list.len()),
            Self::Cidr(nets) => {
                let nets: Vec<_> = nets.iter().take(4).map(ToString::to_string).collect();
                format!("cidr in {}", nets.join(", "))
            }
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
    /// The patterns of it that fit a host and path, in words; `None` when it fits neither or one of them only.
    pub(super) fn fitting(&self, host: &str, path: &str) -> Option<String> {
        let mut words = Vec::new();
        if self.hosts.is_empty() {
            words.push("any host".to_owned());
        } else {
            words.push(format!("host {}", self.hosts.iter().find(|pattern| pattern.fits(host))?));
        }
        if self.paths.is_empty() {
            words.push("any path".to_owned());
        } else {
            words.push(format!("path {}", self.paths.iter().find(|pattern| pattern.covers(path).is_some())?));
        }
        Some(words.join(", "))
    }
}
