//! Hosts: patterns and the one normal form.

/// A host pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Exactly this, lower case.
    Exact(String),
    /// `*.suffix`: any depth below, never the suffix itself. Holds `.suffix`, with the dot.
    Wildcard(String),
}

/// The normal form of a `Host` or `:authority` (lower case, port and one trailing dot removed), or `None` when it is
/// not of the grammar of RFC 3986 §3.2.2 (no userinfo, balanced brackets, digits as port).
#[must_use]
pub fn normal_host(authority: &str) -> Option<std::borrow::Cow<'_, str>> {
    let _ = authority;
    None
}
