//! Header edits and the templates that expand in them.

use http::{HeaderName, HeaderValue};

/// `route.headers.request` or `.response`: ordered remove, set, add.
#[derive(Clone, Debug, Default)]
pub struct HeaderEdits {
    /// Removed first.
    pub remove: Vec<HeaderName>,
    /// Then set, replacing all lines of that name.
    pub set: Vec<(HeaderName, Template)>,
    /// Then added as a further line.
    pub add: Vec<(HeaderName, Template)>,
}

impl HeaderEdits {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// A text with placeholders, parsed when the file is compiled.
#[derive(Clone, Debug)]
pub enum Template {
    /// No placeholder: ready to send.
    Fixed(HeaderValue),
    /// Parts to join.
    Parts(Vec<Part>),
}

/// One part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// `{variant}`.
    Variant,
    /// `{route}`.
    Route,
    /// `{client_ip}`.
    ClientIp,
    /// `{tenant}`; empty when there is none.
    Tenant,
    /// `{request_id}`.
    RequestId,
    /// `{host}`, redirects only.
    Host,
    /// `{path}`, redirects only.
    Path,
    /// `{query}`, redirects only: `?` and the query, or nothing.
    Query,
    /// `{scheme}`, redirects only.
    Scheme,
}
