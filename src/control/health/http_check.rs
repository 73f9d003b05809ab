//! An active check over HTTP/1.1. The status decides; a body is not waited for.

use std::time::Duration;

use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::check_target::CheckTarget;
use super::failure::{CheckFailure, io_words, tls_words};
use crate::net::{Socket, is_refusal};
use crate::route::HttpProbe;

/// The longest head of an answer, in bytes.
const HEAD_MAX: usize = 64 * 1024;
/// The most fields of an answer.
const FIELDS_MAX: usize = 128;
/// How much of a body is read, in bytes.
const BODY_MAX: usize = 8 * 1024;
/// How long the end of a short body is waited for, so that the endpoint sees no reset.
const FAREWELL: Duration = Duration::from_millis(100);

/// `user-agent` of checks.
pub(super) const USER: HeaderValue = HeaderValue::from_static(concat!("pointsman/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// The status of an answer, and where its body begins and ends, as far as that is known.
struct AnswerHead {
    status: u16,
    length: usize,
    body: Option<usize>,
}

/// Finds the head of the final answer in bytes that come one by one, in time proportional to their number.
#[derive(Default)]
struct HeadScan {
    /// Where the answer after the interim ones begins.
    begins: usize,
    /// How many bytes were there at the last parse.
    parsed: usize,
    /// How many bytes were there at the last look.
    seen: usize,
}

/// An answer whose body is not read yet.
pub(super) struct HttpAnswer {
    pub(super) status: u16,
    pub(super) rest: UnreadAnswer,
}

/// A connection on which a body may still come.
pub(super) struct UnreadAnswer {
    socket: Socket,
    /// How many bytes of the body have come.
    read: usize,
    length: Option<usize>,
}

/// Asks, and reads the head of the answer.
pub(super) async fn ask_http(
    mut socket: Socket,
    probe: &HttpProbe,
    target: &CheckTarget,
) -> Result<HttpAnswer, CheckFailure> {
    let request = request(probe, &target.authority);
    // An endpoint may answer, and close, before it has read the request.
    let sent = socket.write_all(&request).await;
    let mut bytes = Vec::with_capacity(1024);
    let head = match read_head(&mut socket, &mut bytes, target).await {
        Ok(head) => head,
        Err(why) => return Err(sent.err().filter(|_| bytes.is_empty()).map_or(why, |error| io_words(&error))),
    };
    let rest = UnreadAnswer { socket, read: bytes.len() - head.length, length: head.body };
    Ok(HttpAnswer { status: head.status, rest })
}

/// Whether a status is good.
pub(super) fn judge(probe: &HttpProbe, status: u16) -> Result<(), CheckFailure> {
    if probe.expects(status) { Ok(()) } else { Err(format!("answers {status}")) }
}

/// Fields of a check, beside the host: the proxy's, and those of the file, which come before them.
pub(super) fn fields(extra: &[(HeaderName, HeaderValue)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in extra.iter().filter(|(name, _)| !is_framing(name)) {
        fields.append(name, value.clone());
    }
    fields.entry(USER_AGENT).or_insert(USER);
    fields.entry(ACCEPT).or_insert(ANYTHING);
    fields
}

/// Whether a field is about the connection or its messages.
fn is_framing(name: &HeaderName) -> bool {
    [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name)
        || ["keep-alive", "proxy-connection", "te", "upgrade"].contains(&name.as_str())
}

fn request(probe: &HttpProbe, authority: &str) -> Vec<u8> {
    let host = probe.host.as_ref().map_or(authority.as_bytes(), HeaderValue::as_bytes);
    let mut request = [b"GET ", probe.path.as_bytes(), b" HTTP/1.1\r\nhost: ", host, b"\r\n"].concat();
    for (name, value) in &fields(&probe.headers) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            request.extend_from_slice(part);
        }
    }
    request.extend_from_slice(b"connection: close\r\n\r\n");
    request
}

async fn read_head(socket: &mut Socket, bytes: &mut Vec<u8>, target: &CheckTarget) -> Result<AnswerHead, CheckFailure> {
    let mut scan = HeadScan::default();
    loop {
        let read = socket.read_buf(bytes).await.map_err(|error| {
            // In TLS 1.3 a server rejects the client's certificate only now.
            if is_refusal(&error) { tls_words(target, &error) } else { io_words(&error) }
        })?;
        if let Some(head) = scan.next(bytes)? {
            return Ok(head);
        }
        if read == 0 {
            let what = if bytes.is_empty() { "before it answers" } else { "within the head of its answer" };
            return Err(format!("closes the connection {what}"));
        }
        if bytes.len() > HEAD_MAX {
            return Err(format!("answers with a head of more than {HEAD_MAX} bytes"));
        }
    }
}

impl HeadScan {
    /// The head of the final answer, if it is complete in these bytes, which begin as before.
    ///
    /// They are parsed when an empty line has come, and when there are twice as many as at the last parse: an answer that
    /// is no HTTP is found early, and one in small pieces is not parsed with each of them.
    fn next(&mut self, bytes: &[u8]) -> Result<Option<AnswerHead>, CheckFailure> {
        debug_assert!(self.seen <= bytes.len(), "bytes are added only");
        let is_empty_line = |end: &[u8]| end.starts_with(b"\n\n") || end.starts_with(b"\n\r\n");
        let new = &bytes[self.seen.saturating_sub(2)..];
        let has_empty_line = (0..new.len()).any(|at| is_empty_line(&new[at..]));
        self.seen = bytes.len();
        if !has_empty_line && bytes.len() < self.parsed.saturating_mul(2) {
            return Ok(None);
        }
        self.parsed = bytes.len();
        self.parse(bytes)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which grows")]
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<AnswerHead>, CheckFailure> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut response = httparse::Response::new(&mut fields);
            let parsed = response.parse(&bytes[self.begins..]).map_err(|error| match error {
                httparse::Error::TooManyHeaders => format!("answers with more than {FIELDS_MAX} header fields"),
                _ => "its answer is no HTTP".to_owned(),
            })?;
            let httparse::Status::Complete(length) = parsed else { return Ok(None) };
            self.begins += length;
            let status = response.code.unwrap_or_default();
            // Interim answers, but 101: the connection is no longer HTTP then, and this is the last status.
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let own = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
            let body = own.and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse().ok());
            return Ok(Some(AnswerHead { status, length: self.begins, body }));
        }
    }
}

impl UnreadAnswer {
    /// Reads a short body to its end, as far as it comes within a moment, and closes.
    pub(super) async fn finish(self) {
        let _ = tokio::time::timeout(FAREWELL, self.read()).await;
    }

    async fn read(self) {
        let Self { mut socket, mut read, length } = self;
        let enough = length.unwrap_or(usize::MAX).min(BODY_MAX);
        let mut buffer = [0; 1024];
        while read < enough {
            match socket.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(more) => read += more,
            }
        }
        let _ = socket.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn probe() -> HttpProbe {
        let value = HeaderValue::from_static;
        let headers = vec![
            (HeaderName::from_static("x-team"), value("edge")),
            (CONNECTION, value("keep-alive")),
            (CONTENT_LENGTH, value("7")),
        ];
        HttpProbe { path: "/healthz?full".to_owned(), host: None, headers, expect: vec![200..=399] }
    }

    #[test]
    fn the_request_has_its_own_framing() {
        let text = String::from_utf8(request(&probe(), "checkout:8080")).expect("text");
        let (line, fields) = text.split_once("\r\n").expect("a line");
        assert_eq!(line, "GET /healthz?full HTTP/1.1");
        let mut fields: Vec<&str> = fields.trim_end().split("\r\n").collect();
        assert_eq!((fields.first(), fields.last()), (Some(&"host: checkout:8080"), Some(&"connection: close")));
        fields.sort_unstable();
        let agent = format!("user-agent: pointsman/{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(fields, ["accept: */*", "connection: close", "host: checkout:8080", &agent, "x-team: edge"]);
        let named = HttpProbe { host: Some(HeaderValue::from_static("checkout.internal")), ..probe() };
        assert!(request(&named, "10.0.0.1").starts_with(b"GET /healthz?full HTTP/1.1\r\nhost: checkout.internal\r\n"));
    }

    #[test]
    fn the_status_of_the_final_head_counts() {
        let status = |text: &str| {
            let head = HeadScan::default().next(text.as_bytes());
            head.map(|head| head.map(|head| (head.status, head.body)))
        };
        assert_eq!(status("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), Ok(Some((200, Some(2)))));
        assert_eq!(status("HTTP/1.0 302 Found\r\nlocation: /login\r\n\r\n"), Ok(Some((302, None))));
        assert_eq!(status("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 \r\n\r\n"), Ok(Some((503, None))));
        assert_eq!(status("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Ok(Some((101, None))));
        for unfinished in ["", "HT", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2"] {
            assert_eq!(status(unfinished), Ok(None), "{unfinished:?}");
        }
        let no_http = Err("its answer is no HTTP".to_owned());
        for bad in ["SSH-2.0-OpenSSH_9.6\r\n", "\0\0\0\0", "HTTP/1.1 2x0 OK\r\n\r\n", "+PONG\r\n"] {
            assert_eq!(status(bad), no_http, "{bad:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        assert_eq!(status(&many), Err("answers with more than 128 header fields".to_owned()));
    }
    #[test]
    fn a_head_in_single_bytes_is_found_at_its_end_and_parsed_seldom() {
        let filler = "x-more: and more\r\n".repeat(100);
        for text in [
            format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n{filler}\r\n"),
            "HTTP/1.1 200 OK\n\n".to_owned(),
            "HTTP/1.1 200 OK\r\na: b\r\n\n".to_owned(),
        ] {
            let (mut scan, mut parses) = (HeadScan::default(), BTreeSet::new());
            for end in 1..=text.len() {
                let head = scan.next(&text.as_bytes()[..end]).expect("HTTP");
                parses.insert(scan.parsed);
                assert_eq!(head.map(|head| head.length), (end == text.len()).then_some(end), "{end} of {text:?}");
            }
            assert!(parses.len() <= 20, "{} parses of {} bytes", parses.len(), text.len());
        }
    }
}
