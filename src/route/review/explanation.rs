//! The explanation of a request, as data and as text.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderName, StatusCode};

use super::recorder::{ExplainStep, per_request};
use crate::route::{Counted, Decision, FailureExplanation, Reason, ShadowExplanation, SourceLocation, Weight};

/// What a request gets, and why.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// The method.
    pub method: String,
    /// The host in normal form; as given if it has none.
    pub host: String,
    /// The path in normal form, and the query as sent; as given if there is no normal form.
    pub path: String,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
    /// The tenant and its source.
    pub tenant: Option<(String, String)>,
    /// The user and its source.
    pub user: Option<(String, String)>,
    /// The route, its location, and why it matches.
    pub route: Option<MatchedRoute>,
    /// The steps of the decision.
    pub steps: Vec<ExplainStep>,
    /// The location of the target that answers, if one does.
    pub answered_by: Option<SourceLocation>,
    /// The result.
    pub outcome: ExplainedOutcome,
    /// Requested features that are not granted, as text.
    pub denied: Vec<String>,
    /// Header fields that are dropped because the peer is not trusted, as text.
    pub dropped: Vec<String>,
    /// Edits to the request headers.
    pub request_headers: Vec<HeaderEdit>,
    /// Edits to the response headers.
    pub response_headers: Vec<HeaderEdit>,
    /// Other routes that match host and path, or a part of the path, but not the request, and why. If no route matches,
    /// also routes that match only the host or only the path.
    pub nearly: Vec<MatchedRoute>,
}

/// A route, its location, and why it matches a request or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchedRoute {
    /// The name.
    pub name: String,
    /// The location in the file.
    pub place: SourceLocation,
    /// The reason.
    pub why: String,
}

/// The result of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExplainedOutcome {
    /// 400: no normal form.
    Refused(String),
    /// 404.
    #[default]
    NoRoute,
    /// The route redirects.
    Redirect(StatusCode, String),
    /// The route answers with a fixed response.
    Respond(StatusCode),
    /// A variant answers.
    Serve(ServedVariant),
}

/// The variant that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedVariant {
    /// The decision.
    pub decision: Decision,
    /// The name of the variant.
    pub variant: String,
    /// The name of the upstream.
    pub upstream: String,
    /// The number of variants of the route, including stable.
    pub variants: usize,
    /// The share of each variant, on a route without sticky keys, where each request is decided on its own. The
    /// decision is then that of a first request, without its bucket. Empty on routes with sticky keys.
    pub per_request: Vec<(String, Weight)>,
    /// The path and query that are forwarded, or why there are none.
    pub forwarded_path: Result<String, String>,
    /// The `Host` that is forwarded, if it is rewritten.
    pub forwarded_host: Option<String>,
    /// What happens if the request fails at the upstream.
    pub on_failure: Box<FailureExplanation>,
    /// Whether the request is copied, if the route has a shadow.
    pub copied: Option<Box<ShadowExplanation>>,
}

/// One edit to headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Removes all lines of this name.
    Remove(String),
    /// Replaces all lines of this name.
    Set(HeaderName, String),
    /// Adds a line.
    Add(HeaderName, String),
}

impl Explanation {
    /// One line for a response header or a log: visible ASCII only.
    #[must_use]
    pub fn line(&self) -> String {
        let mut words = Vec::new();
        if let Some(route) = &self.route {
            words.push(format!("route={} at={}", route.name, route.place));
        }
        match &self.outcome {
            ExplainedOutcome::Refused(why) => words.push(format!("refused={why:?}")),
            ExplainedOutcome::NoRoute => words.push("no-route".to_owned()),
            ExplainedOutcome::Redirect(status, to) => words.push(format!("redirect={} to={to}", status.as_u16())),
            ExplainedOutcome::Respond(status) => {
                words.push(format!("respond={}", status.as_u16()));
                words.extend(self.answered_by.iter().map(|place| format!("target={place}")));
            }
            ExplainedOutcome::Serve(served) => {
                let Decision { reason, counted, unkeyed, .. } = served.decision;
                words.push(format!("variant={} reason={}", served.variant, reason.name()));
                words.extend(served.per_request.iter().map(|(variant, share)| format!("anew={variant}:{share}")));
                if let Some(ExplainStep { bucket: Some(bucket), salt, range, .. }) =
                    self.steps.iter().rev().find(|step| step.bucket.is_some())
                {
                    words.push(format!("bucket={bucket} salt={}", salt.as_deref().unwrap_or("")));
                    words.extend(range.iter().map(|range| format!("range={}..{}", range.start, range.end)));
                }
                words.push(format!("upstream={}", served.upstream));
                words.push(if counted == Counted::Yes { "counted" } else { "not-counted" }.to_owned());
                words.extend(unkeyed.then(|| "unkeyed".to_owned()));
                words
                    .extend(served.copied.iter().map(|copied| format!("shadow={}:{}", copied.upstream, copied.word())));
            }
        }
        let visible = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '_' };
        words.join(" ").chars().map(visible).collect()
    }
}

/// A reason as text.
const fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Kill => "killed, so stable answers",
        Reason::Latch => "rolled back, so stable answers",
        Reason::Hold => "held at 0, so stable answers",
        Reason::Target => "a target decides",
        Reason::Weight => "the weight decides",
        Reason::Stable => "no other rule applies",
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request   {} {}{}", self.method, self.host, self.path)?;
        if let Some(address) = self.client_ip {
            writeln!(f, "client    {address}")?;
        }
        for (what, identity) in [("tenant", &self.tenant), ("user", &self.user)] {
            if let Some((value, place)) = identity {
                writeln!(f, "{what:<9} {value:?} ({place})")?;
            }
        }
        for dropped in &self.dropped {
            writeln!(f, "dropped   {dropped}")?;
        }
        if let Some(route) = &self.route {
            writeln!(f, "route     {} ({}): {}", route.name, route.place, route.why)?;
        }
        for step in &self.steps {
            writeln!(f, "step      {}", step.text)?;
        }
        self.outcome.fmt(f)?;
        for (side, edits) in [("request", &self.request_headers), ("response", &self.response_headers)] {
            for edit in edits {
                writeln!(f, "{side:<9} {edit}")?;
            }
        }
        for route in &self.nearly {
            writeln!(f, "nearly    {} ({}): {}", route.name, route.place, route.why)?;
        }
        Ok(())
    }
}

impl fmt::Display for ExplainedOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let served = match self {
            Self::Refused(why) => return writeln!(f, "outcome   400: {why}"),
            Self::NoRoute => return writeln!(f, "outcome   404: no route matches"),
            Self::Redirect(status, to) => return writeln!(f, "outcome   {} to {to}", status.as_u16()),
            Self::Respond(status) => return writeln!(f, "outcome   {} from the proxy", status.as_u16()),
            Self::Serve(served) => served,
        };
        let decision = &served.decision;
        let variant =
            if served.per_request.is_empty() { served.variant.clone() } else { per_request(&served.per_request) };
        writeln!(f, "variant   {variant}, reason {}: {}", decision.reason.name(), reason_text(decision.reason))?;
        writeln!(f, "upstream  {}", served.upstream)?;
        match &served.forwarded_path {
            Ok(path) => writeln!(f, "forward   {}{path}", served.forwarded_host.as_deref().unwrap_or(""))?,
            Err(why) => writeln!(f, "forward   500: {why}")?,
        }
        let FailureExplanation { retry, rescue } = &*served.on_failure;
        for (label, lines) in [("retry", retry), ("rescue", rescue)] {
            for line in lines {
                writeln!(f, "{label:<9} {line}")?;
            }
        }
        let sample = match (decision.counted, decision.unkeyed) {
            (Counted::No, _) if served.variants < 2 => "no statistics: the route has no other variant to compare with",
            (Counted::Yes, _) => "counts in the statistics",
            (Counted::No, true) => "does not count in the statistics: no sticky key",
            (Counted::No, false) => "does not count in the statistics: not a random sample",
        };
        writeln!(f, "sample    {sample}")?;
        match &served.copied {
            Some(copied) => writeln!(f, "shadow    {}: {}", copied.upstream, copied.step.text),
            None => Ok(()),
        }
    }
}

impl fmt::Display for HeaderEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::Set(name, value) => write!(f, "set {name}: {value}"),
            Self::Add(name, value) => write!(f, "add {name}: {value}"),
        }
    }
}
