//! The head of a request: method, target, version and fields, over the bytes in which it arrived.

use bytes::BytesMut;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Version, request};

use super::raw_query;
use super::scan::HeadScanner;
use crate::fields::{FieldSpan, Fields};
use crate::telemetry::Refusal;

/// The longest target that `http::Uri` accepts.
pub(crate) const TARGET_BYTES_MAX: usize = u16::MAX as usize - 1;

/// The head of a request. `prepare` turns the received one into the one that the upstream gets.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The version in which it arrived.
    pub version: Version,
    pub(crate) target: RequestTarget,
    /// All fields, and the start line in front of them.
    pub fields: Fields,
}

/// The target of a request (RFC 9112 §3.2). Its parts lie in the prelude of the head's fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestTarget {
    scheme: Option<FieldSpan>,
    /// Empty without one.
    authority: FieldSpan,
    /// The path; empty in absolute-form without one.
    path: FieldSpan,
    /// The query as received, without `?`.
    query: Option<FieldSpan>,
    /// The request line in the prelude, if it can be sent as it stands: in origin-form, and of HTTP/1.1. Else empty.
    line: FieldSpan,
    /// What few targets have.
    changed: Option<Box<ChangedTarget>>,
}

/// What is not sent, or not matched, as it was received.
#[derive(Clone, Debug, Default)]
struct ChangedTarget {
    /// The query for matching and for HTTP/2, if the received one has bytes that `http::Uri` rejects.
    escaped: Option<Box<str>>,
    /// The path that is sent.
    path: Option<Box<str>>,
}

/// The target is longer than 65,534 bytes once its query is percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TargetTooLong;

impl RequestTarget {
    /// Whether it names its host: in absolute-form, and over HTTP/2.
    pub(crate) fn has_authority(&self) -> bool {
        !self.authority.is_empty()
    }

    /// The parts of the target at `place` in the request line `prelude`. The scanner has accepted it.
    pub(crate) fn of_line(prelude: &[u8], place: FieldSpan, version: Version) -> Result<Self, TargetTooLong> {
        let bytes = place.of(prelude);
        let at = place.from as usize;
        let end = place.to as usize;
        let query_at = memchr::memchr(b'?', bytes).map(|mark| at + mark);
        let path_end = query_at.unwrap_or(end);
        let query = query_at.map(|mark| FieldSpan::new(mark + 1, end));
        let mut target = Self { path: FieldSpan::new(at, path_end), query, ..Self::default() };
        if bytes.first() == Some(&b'/') {
            let is_sendable = version == Version::HTTP_11 && !prelude.starts_with(b"\r\n");
            if is_sendable {
                target.line = FieldSpan::new(0, prelude.len());
            }
        } else if let Some(colon) = memchr::memmem::find(&prelude[at..path_end], b"://") {
            let authority_at = at + colon + "://".len();
            let authority_end = memchr::memchr(b'/', &prelude[authority_at..path_end]);
            let authority_end = authority_end.map_or(path_end, |length| authority_at + length);
            target.scheme = Some(FieldSpan::new(at, at + colon));
            target.authority = FieldSpan::new(authority_at, authority_end);
            target.path = FieldSpan::new(authority_end, path_end);
        }
        if let Some(query) = query {
            let received = query.of(prelude);
            if !raw_query::fits(received) {
                let mut escaped = BytesMut::new();
                raw_query::escape(received, &mut escaped);
                if path_end + escaped.len() > TARGET_BYTES_MAX {
                    return Err(TargetTooLong);
                }
                let escaped = String::from_utf8(escaped.into()).ok().map(String::into_boxed_str);
                target.changed = Some(Box::new(ChangedTarget { escaped, path: None }));
            }
        }
        Ok(target)
    }
}

impl Head {
    /// A head that stands for refused bytes.
    pub(crate) fn refused() -> Self {
        Self::of_parts(&http::Request::new(()).into_parts().0, Fields::new())
    }

    /// Frees the fields. The target stays.
    pub(crate) fn forget_fields(&mut self) {
        let mut kept = Fields::new();
        kept.set_prelude(self.fields.prelude());
        self.fields = kept;
    }

    /// The head with these bytes, which `scanner` has accepted and whose lines it has noted in `fields`.
    ///
    /// # Errors
    /// The target is too long once its query is percent-encoded.
    #[inline]
    pub fn received(scanner: &HeadScanner, bytes: &[u8], fields: &mut Fields) -> Result<Self, Refusal> {
        let line = scanner.line().ok_or(Refusal::MalformedHead)?;
        let method = Method::from_bytes(line.method.of(bytes)).map_err(|_| Refusal::MalformedHead)?;
        fields.set_head(bytes, line.fields_at);
        let target = RequestTarget::of_line(fields.prelude(), line.target, line.version());
        let target = target.map_err(|_| Refusal::UriTooLong)?;
        Ok(Self { method, version: line.version(), target, fields: std::mem::take(fields) })
    }

    /// The head of a request over HTTP/2. `fields` are empty: their memory is used.
    pub(crate) fn of_parts(parts: &request::Parts, mut fields: Fields) -> Self {
        let uri = &parts.uri;
        let (method, path, query) = (parts.method.as_str(), uri.path(), uri.query());
        let scheme = uri.scheme_str();
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        let mut place = |text: &str| fields.append_prelude(text.as_bytes());
        place(method);
        place(" ");
        let path = place(path);
        let query = query.map(|query| {
            place("?");
            place(query)
        });
        let line = FieldSpan { from: 0, to: place(" HTTP/1.1\r\n").to };
        let (scheme, authority) = (scheme.map(&mut place), place(authority));
        fields.extend(&parts.headers);
        let target = RequestTarget { scheme, authority, path, query, line, changed: None };
        Self { method: parts.method.clone(), version: parts.version, target, fields }
    }

    fn part(&self, span: FieldSpan) -> &str {
        // The scanner has refused other bytes than ASCII in a path, and `escaped` replaces such a query.
        std::str::from_utf8(self.fields.part(span)).unwrap_or_default()
    }

    /// The path as received, or `*`. In absolute-form, an empty path is `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        // The scanner has refused other bytes than ASCII in a path.
        std::str::from_utf8(self.path_bytes()).unwrap_or_default()
    }

    /// The bytes of [`path`](Self::path).
    #[inline]
    pub(crate) fn path_bytes(&self) -> &[u8] {
        let path = self.fields.part(self.target.path);
        if path.is_empty() && self.target.has_authority() { b"/" } else { path }
    }

    /// The query, without `?`. Bytes that a URI cannot have are percent-encoded.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        let query = self.target.query?;
        let escaped = self.target.changed.as_ref().and_then(|changed| changed.escaped.as_deref());
        Some(escaped.unwrap_or_else(|| self.part(query)))
    }

    /// The authority of the target.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.target.has_authority().then(|| self.part(self.target.authority))
    }

    /// The scheme of the target.
    #[must_use]
    pub fn scheme(&self) -> Option<&str> {
        self.target.scheme.map(|scheme| self.part(scheme))
    }

    /// Bytes of the path and the query as received.
    pub(crate) fn target_bytes(&self) -> usize {
        self.target.path.len() + self.target.query.map_or(0, |query| 1 + query.len())
    }

    /// Whether `accepts` the path and the query as received.
    pub(crate) fn is_target(&self, accepts: impl Fn(&[u8]) -> bool) -> bool {
        accepts(self.fields.part(self.path_and_query()))
    }

    /// Sets the path that is sent.
    pub(crate) fn rewrite_path(&mut self, path: &str) {
        debug_assert!(path == "*" || path.starts_with('/'), "origin-form or asterisk-form");
        self.target.changed.get_or_insert_default().path = Some(path.into());
        self.target.line = FieldSpan::default();
    }

    /// The path that is sent.
    pub(crate) fn sent_path(&self) -> &str {
        self.target.changed.as_ref().and_then(|changed| changed.path.as_deref()).unwrap_or_else(|| self.path())
    }

    /// Sets the method that is sent.
    pub(crate) fn set_method(&mut self, method: Method) {
        self.method = method;
        self.target.line = FieldSpan::default();
    }

    /// Appends the request line in origin-form, for HTTP/1.1. The query has its original bytes.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        if !self.target.line.is_empty() {
            return out.extend_from_slice(self.fields.part(self.target.line));
        }
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.sent_path().as_bytes());
        if let Some(query) = self.target.query {
            out.push(b'?');
            out.extend_from_slice(self.fields.part(query));
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
    }

    /// Path and query as they are sent over HTTP/2. `None`: a rewrite made a path that no URI can have.
    pub(crate) fn sent_target(&self) -> Option<PathAndQuery> {
        let target = &self.target;
        if target.changed.is_none() && !target.path.is_empty() {
            return PathAndQuery::try_from(self.fields.part(self.path_and_query())).ok();
        }
        let path = self.sent_path();
        match self.query() {
            Some(query) => format!("{path}?{query}").parse().ok(),
            None => path.parse().ok(),
        }
    }

    /// The place of the path and the query as received.
    fn path_and_query(&self) -> FieldSpan {
        let end = self.target.query.map_or(self.target.path.to, |query| query.to);
        FieldSpan { from: self.target.path.from, to: end }
    }

    /// Adds a field whose value is text of the proxy. Text that no field can have is left out.
    pub(crate) fn append_text(&mut self, name: &HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.fields.append(name, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The head of a request line alone.
    fn line(text: &str) -> Head {
        let (target, rest) = text.split_once(' ').unwrap().1.rsplit_once(' ').unwrap();
        let version = if rest.starts_with("HTTP/1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
        let at = text.find(' ').unwrap() + 1;
        let mut fields = Fields::new();
        fields.set_head(text.as_bytes(), text.len());
        let target = RequestTarget::of_line(text.as_bytes(), FieldSpan::new(at, at + target.len()), version).unwrap();
        Head { method: Method::GET, version, target, fields }
    }

    fn sent(head: &Head) -> String {
        let mut out = Vec::new();
        head.write_line(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_target_has_its_parts_in_every_form() {
        for (text, scheme, authority, path, query, again) in [
            ("GET /a?b=c?d HTTP/1.1\r\n", None, None, "/a", Some("b=c?d"), "GET /a?b=c?d HTTP/1.1\r\n"),
            ("GET / HTTP/1.0\r\n", None, None, "/", None, "GET / HTTP/1.1\r\n"),
            ("GET /?\" HTTP/1.1\r\n", None, None, "/", Some("%22"), "GET /?\" HTTP/1.1\r\n"),
            ("GET /a://b/ HTTP/1.1\r\n", None, None, "/a://b/", None, "GET /a://b/ HTTP/1.1\r\n"),
            ("GET http://h:1/a?b HTTP/1.1\r\n", Some("http"), Some("h:1"), "/a", Some("b"), "GET /a?b HTTP/1.1\r\n"),
            ("GET https://h?b HTTP/1.1\r\n", Some("https"), Some("h"), "/", Some("b"), "GET /?b HTTP/1.1\r\n"),
            ("GET http://h HTTP/1.1\r\n", Some("http"), Some("h"), "/", None, "GET / HTTP/1.1\r\n"),
            ("GET * HTTP/1.1\r\n", None, None, "*", None, "GET * HTTP/1.1\r\n"),
        ] {
            let head = line(text);
            assert_eq!(
                (head.scheme(), head.authority(), head.path(), head.query()),
                (scheme, authority, path, query),
                "{text}"
            );
            assert_eq!(sent(&head), again);
        }
        let mut head = line("GET /a?b HTTP/1.1\r\n");
        head.rewrite_path("/c");
        assert_eq!((sent(&head).as_str(), head.path()), ("GET /c?b HTTP/1.1\r\n", "/a"));
    }

    #[test]
    fn a_head_without_its_fields_has_its_target() {
        let parts = Request::get("https://h:1/a?b").header("x-a", "1").body(()).unwrap();
        let mut head = Head::of_parts(&parts.into_parts().0, Fields::new());
        head.forget_fields();
        assert_eq!((head.authority(), head.path(), head.query()), (Some("h:1"), "/a", Some("b")));
        assert!(head.fields.is_empty());
    }

    #[test]
    fn a_query_that_grows_too_long_is_refused() {
        let query = "\"".repeat(30_000);
        let text = format!("GET /?{query} HTTP/1.1\r\n");
        let target = RequestTarget::of_line(text.as_bytes(), FieldSpan::new(4, text.len() - 11), Version::HTTP_11);
        assert_eq!(target.unwrap_err(), TargetTooLong);
    }

    #[test]
    fn parts_of_http2_are_the_same_head() {
        let parts = Request::get("https://h:1/a?b").header("x-a", "1").version(Version::HTTP_2).body(()).unwrap();
        let head = Head::of_parts(&parts.into_parts().0, Fields::new());
        assert_eq!((head.scheme(), head.authority()), (Some("https"), Some("h:1")));
        assert_eq!((head.path(), head.query(), head.fields.get("x-a")), ("/a", Some("b"), Some(&b"1"[..])));
        assert_eq!(sent(&head), "GET /a?b HTTP/1.1\r\n");
        assert_eq!(head.sent_target().unwrap(), "/a?b");
    }
}
