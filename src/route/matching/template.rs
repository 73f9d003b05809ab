//! Templates: text with placeholders in braces, for header values and redirects. `{{` and `}}` are literal braces.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use bytes::Bytes;
use http::HeaderValue;

use crate::route::Masks;

/// A text with placeholders, parsed when the file is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `{tenant}`; empty without a tenant.
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

/// The placeholders by name.
const PLACEHOLDERS: [(&str, Part); 9] = [
    ("variant", Part::Variant),
    ("route", Part::Route),
    ("client_ip", Part::ClientIp),
    ("tenant", Part::Tenant),
    ("request_id", Part::RequestId),
    ("host", Part::Host),
    ("path", Part::Path),
    ("query", Part::Query),
    ("scheme", Part::Scheme),
];

/// An error in a template, and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The byte offset of the error.
    pub at: usize,
    /// The length of the faulty text, in bytes.
    pub len: usize,
    /// The kind of the error.
    pub what: TemplateFault,
}

/// The kinds of errors in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateFault {
    /// An unknown placeholder.
    Unknown(String),
    /// A `{` without its `}`, or a `}` without its `{`.
    Unbalanced,
    /// A control character, which is not allowed in a header.
    Control,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            TemplateFault::Unknown(name) => write!(f, "there is no placeholder `{{{name}}}`"),
            TemplateFault::Unbalanced => f.write_str("unmatched brace; write {{ or }} for a brace"),
            TemplateFault::Control => f.write_str("a control character, which is not allowed in a header"),
        }
    }
}

impl std::error::Error for TemplateError {}

/// The values of placeholders.
#[derive(Clone, Copy, Debug, Default)]
pub struct Values<'a> {
    /// `{variant}`.
    pub variant: &'a str,
    /// `{route}`.
    pub route: &'a str,
    /// `{client_ip}`.
    pub client_ip: Option<IpAddr>,
    /// `{tenant}`.
    pub tenant: Option<&'a str>,
    /// `{request_id}`.
    pub request_id: &'a str,
    /// `{host}`.
    pub host: &'a str,
    /// `{path}`.
    pub path: &'a str,
    /// `{query}`, without `?`.
    pub query: Option<&'a str>,
    /// `{scheme}`.
    pub scheme: &'a str,
}

impl Part {
    /// All placeholders, for suggestions; the ones for redirects only come last.
    pub fn placeholders() -> impl Iterator<Item = &'static Self> {
        PLACEHOLDERS.iter().map(|(_, part)| part)
    }

    /// Whether the placeholder is allowed in redirects only.
    #[must_use]
    pub const fn is_for_redirects(&self) -> bool {
        match self {
            Self::Host | Self::Path | Self::Query | Self::Scheme => true,
            Self::Text(_) | Self::Variant | Self::Route | Self::ClientIp | Self::Tenant | Self::RequestId => false,
        }
    }

    /// The placeholder's name; `None` for text.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        PLACEHOLDERS.iter().find(|(_, part)| part == self).map(|(name, _)| *name)
    }
}

impl Template {
    /// Parses a text.
    ///
    /// # Errors
    /// The first error and its position.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts: Vec<Part> = Vec::new();
        let mut plain = String::new();
        let mut at = 0;
        while let Some(next) = text[at..].chars().next() {
            let rest = &text[at..];
            let fault = |len, what| Err(TemplateError { at, len, what });
            if rest.starts_with("{{") || rest.starts_with("}}") {
                plain.push(next);
                at += 2;
            } else if next == '{' {
                let Some(end) = rest.find('}') else { return fault(1, TemplateFault::Unbalanced) };
                let name = &rest[1..end];
                let Some((_, part)) = PLACEHOLDERS.iter().find(|(known, _)| *known == name) else {
                    return fault(end + 1, TemplateFault::Unknown(name.to_owned()));
                };
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(part.clone());
                at += end + 1;
            } else if next == '}' {
                return fault(1, TemplateFault::Unbalanced);
            } else if next.is_ascii_control() && next != '\t' {
                return fault(1, TemplateFault::Control);
            } else {
                plain.push(next);
                at += next.len_utf8();
            }
        }
        if parts.is_empty() {
            return match HeaderValue::from_str(&plain) {
                Ok(value) => Ok(Self::Fixed(value)),
                Err(_) => HeaderValue::from_bytes(plain.as_bytes()).map(Self::Fixed).map_err(|_| TemplateError {
                    at: 0,
                    len: text.len(),
                    what: TemplateFault::Control,
                }),
            };
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self::Parts(parts))
    }

    /// The template with the values of variables masked, for output.
    #[must_use]
    pub(in crate::route) fn covered(&self, masks: &Masks) -> Cow<'_, Self> {
        if masks.is_empty() {
            return Cow::Borrowed(self);
        }
        Cow::Owned(match self {
            Self::Fixed(value) => {
                let text = String::from_utf8_lossy(value.as_bytes());
                let covered = HeaderValue::from_bytes(masks.cover_configured(&text).as_bytes());
                Self::Fixed(covered.unwrap_or_else(|_| HeaderValue::from_static("?")))
            }
            Self::Parts(parts) => {
                let covered = parts.iter().map(|part| {
                    if let Part::Text(text) = part {
                        Part::Text(masks.cover_configured(text).into_owned())
                    } else {
                        part.clone()
                    }
                });
                Self::Parts(covered.collect())
            }
        })
    }

    /// The placeholders in it.
    pub fn placeholders(&self) -> impl Iterator<Item = &Part> {
        let parts: &[Part] = match self {
            Self::Fixed(_) => &[],
            Self::Parts(parts) => parts,
        };
        parts.iter().filter(|part| part.name().is_some())
    }

    /// Whether every expansion begins with this text.
    #[must_use]
    pub fn starts_with(&self, text: &str) -> bool {
        match self {
            Self::Fixed(value) => value.as_bytes().starts_with(text.as_bytes()),
            Self::Parts(parts) => matches!(parts.first(), Some(Part::Text(first)) if first.starts_with(text)),
        }
    }

    /// The `Location` of a redirect: as [`Template::expand`], but a value of the request cannot turn a path into
    /// another host. A path that begins with two slashes gets the prefix `/.`, which clients remove (RFC 3986 §4.2,
    /// §5.2.4). A template that itself begins with two slashes names another host and is not changed.
    #[must_use]
    pub fn location(&self, values: &Values<'_>) -> HeaderValue {
        let expanded = self.expand(values);
        let is_network_path = NETWORK_PATH.iter().any(|start| expanded.as_bytes().starts_with(start.as_bytes()));
        if !is_network_path || NETWORK_PATH.iter().any(|start| self.starts_with(start)) {
            return expanded;
        }
        let path = [b"/.", expanded.as_bytes()].concat();
        HeaderValue::from_maybe_shared(Bytes::from(path)).unwrap_or_else(|_| HeaderValue::from_static("/"))
    }

    /// The text with its placeholders filled in. Control characters in values are removed, so that a value cannot start
    /// another header.
    #[must_use]
    pub fn expand(&self, values: &Values<'_>) -> HeaderValue {
        if let Self::Fixed(value) = self {
            return value.clone();
        }
        let mut out = Vec::with_capacity(64);
        self.expand_into(values, &mut out);
        HeaderValue::from_maybe_shared(Bytes::from(out)).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Appends what [`Template::expand`] returns.
    pub fn expand_into(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Fixed(value) => out.extend_from_slice(value.as_bytes()),
            Self::Parts(parts) => {
                let mut out = Clean(out);
                for part in parts {
                    part.push(values, &mut out);
                }
            }
        }
    }
}

impl Part {
    fn push(&self, values: &Values<'_>, out: &mut Clean<'_>) {
        match self {
            Self::Text(text) => out.push(text),
            Self::Variant => out.push(values.variant),
            Self::Route => out.push(values.route),
            Self::ClientIp => {
                if let Some(address) = values.client_ip {
                    let _ = write!(out, "{address}"); // writing to memory cannot fail
                }
            }
            Self::Tenant => out.push(values.tenant.unwrap_or("")),
            Self::RequestId => out.push(values.request_id),
            Self::Host => out.push(values.host),
            Self::Path => out.push(values.path),
            Self::Query => {
                if let Some(query) = values.query {
                    out.push("?");
                    out.push_ascii(query);
                }
            }
            Self::Scheme => out.push(values.scheme),
        }
    }
}

/// The start of a network path (RFC 3986 §4.2), which is followed by a host; browsers treat `\` as `/`.
const NETWORK_PATH: [&str; 2] = ["//", "/\\"];

/// Bytes that are allowed in a header value.
struct Clean<'a>(&'a mut Vec<u8>);

impl Clean<'_> {
    fn push(&mut self, text: &str) {
        if text.bytes().any(|b| b.is_ascii_control()) {
            self.0.extend(text.bytes().filter(|b| !b.is_ascii_control()));
        } else {
            self.0.extend_from_slice(text.as_bytes());
        }
    }
}

impl Clean<'_> {
    /// As [`Clean::push`], with non-ASCII characters percent-encoded for a URI.
    fn push_ascii(&mut self, text: &str) {
        if text.is_ascii() {
            return self.push(text);
        }
        for c in text.chars() {
            let mut bytes = [0; 4];
            let text = c.encode_utf8(&mut bytes);
            if c.is_ascii() {
                self.push(text);
            } else {
                for byte in text.bytes() {
                    let _ = write!(self, "%{byte:02X}"); // writing to memory cannot fail
                }
            }
        }
    }
}

impl fmt::Write for Clean<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_expand() {
        let values = Values {
            variant: "canary",
            route: "shop",
            client_ip: Some("2001:db8::1".parse().unwrap()),
            tenant: Some("ac\r\nme"),
            request_id: "id-1",
            host: "h.example",
            path: "/p",
            query: Some("q=1"),
            scheme: "https",
        };
        for (text, expanded) in [
            ("", ""),
            ("plain", "plain"),
            ("{variant}", "canary"),
            ("a {variant}/{route} b", "a canary/shop b"),
            ("{client_ip}|{tenant}|{request_id}", "2001:db8::1|acme|id-1"),
            ("{scheme}://{host}{path}{query}", "https://h.example/p?q=1"),
            ("{{variant}}", "{variant}"),
            ("{{{variant}}}", "{canary}"),
            ("{{\"max_age\":1,\"x\":{{}}}}", "{\"max_age\":1,\"x\":{}}"),
            ("a\tb", "a\tb"),
            ("naïve", "naïve"),
        ] {
            let template = Template::parse(text).unwrap();
            assert_eq!(template.expand(&values).as_bytes(), expanded.as_bytes(), "{text}");
        }
        let raw = Values { query: Some("a=\u{e9}|\"\r\n<b>"), ..Values::default() };
        let location = Template::parse("/x{query}").unwrap().expand(&raw);
        assert_eq!(location, "/x?a=%C3%A9|\"<b>", "a safe value, in ASCII");
        let absent = Template::parse("[{tenant}{query}{client_ip}]").unwrap().expand(&Values::default());
        assert_eq!(absent, "[]");
    }

    #[test]
    fn the_path_of_a_request_is_not_another_host() {
        let tenant = Some("/evil.com");
        for (text, path, location) in [
            ("{path}{query}", "/p", "/p?q=1"),
            ("{path}{query}", "//evil.com/x", "/.//evil.com/x?q=1"),
            ("{path}/", "/\\evil.com/x", "/./\\evil.com/x/"),
            ("{path}", "///evil.com", "/.///evil.com"),
            ("{path}", "/", "/"),
            ("{path}{path}", "/", "/.//"),
            ("/{tenant}/x", "/", "/.//evil.com/x"),
            ("/{path}", "/p", "/.//p"),
            ("/shop{path}", "//evil.com/x", "/shop//evil.com/x"),
            ("https://shop.example{path}", "//evil.com/x", "https://shop.example//evil.com/x"),
            ("//cdn.example/a", "/p", "//cdn.example/a"),
            ("//cdn.example{path}", "//evil.com/x", "//cdn.example//evil.com/x"),
            ("/\\cdn.example{path}", "/p", "/\\cdn.example/p"),
        ] {
            let values = Values { path, tenant, query: Some("q=1"), ..Values::default() };
            assert_eq!(Template::parse(text).unwrap().location(&values), location, "{text} of {path}");
        }
    }

    #[test]
    fn errors_have_a_position() {
        for (text, at, len, what) in [
            ("a {nope} b", 2, 6, TemplateFault::Unknown("nope".into())),
            ("ä{}", 2, 2, TemplateFault::Unknown(String::new())),
            ("a {variant", 2, 1, TemplateFault::Unbalanced),
            ("a } b", 2, 1, TemplateFault::Unbalanced),
            ("{variant}}", 9, 1, TemplateFault::Unbalanced),
            ("a\nb", 1, 1, TemplateFault::Control),
        ] {
            assert_eq!(Template::parse(text).unwrap_err(), TemplateError { at, len, what }, "{text}");
        }
    }

    #[test]
    fn redirects_have_more_placeholders() {
        let template = Template::parse("x{route}{host}").unwrap();
        let names: Vec<_> = template.placeholders().map(|part| (part.name(), part.is_for_redirects())).collect();
        assert_eq!(names, [(Some("route"), false), (Some("host"), true)]);
        assert_eq!(Part::placeholders().filter_map(Part::name).count(), PLACEHOLDERS.len());
    }
}
