//! The levels of a comparison, cheap ones first.
//!
//! | level | if it differs |
//! |---|---|
//! | outcome of the transport | the comparison ends |
//! | HTTP status and gRPC status | the comparison ends: an error response has another body |
//! | headers and trailers (`headers.rs`) | listed; the body is compared nevertheless |
//! | length and digest of bodies in the same coding | next level; if equal, the comparison ends |
//! | both JSON | compared value by value (`walk.rs`); one malformed: `type` at `$`; both malformed: text |
//! | both text | compared line by line (`lines.rs`) |
//! | other content, invalid UTF-8, too large or too many values | `opaque`, with the reason |
//! | a body was not captured for lack of memory | not compared |

use std::borrow::Cow;

use http::{HeaderMap, header};

use super::coding::{Bound, Undecoded, decode};
use super::criteria::Criteria;
use super::headers::{self, HeaderBlock};
use super::json::{JsonError, JsonTree};
use super::snippet::{ABSENT, REDACTED, of_text};
use super::{
    BodyView, Comparison, Difference, DifferenceKind, Ending, ExchangeOutcome, Failure, ResponseField, ResponseView,
    UnreadBody, lines, walk,
};

/// The largest decoded body, in bytes.
pub const DECODED_MAX: usize = 2 << 20;
/// The largest ratio of decoded to encoded size, above 64 KiB.
pub const RATIO_MAX: usize = 100;
/// The number of fields that are listed for one pair of responses.
pub const FIELDS_MAX: usize = 256;
/// The largest number of values in a document; each takes 64 bytes during the comparison.
const VALUES_MAX: usize = 65_536;

/// The content of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Json,
    Text,
    Bytes,
}

/// A body without its content coding.
#[derive(Clone, Copy)]
struct DecodedBody<'a> {
    bytes: &'a [u8],
    content: Content,
}

/// The length and the hash of a body, by which a report names it without showing it.
struct Digest {
    length: u64,
    /// `XXH3_128`, seed 0.
    hash: u128,
}

impl Criteria {
    /// Compares the primary response with another response to the same request.
    #[must_use]
    pub fn compare(&self, primary: &ExchangeOutcome<'_>, other: &ExchangeOutcome<'_>) -> Comparison {
        let mut comparison = Comparison::default();
        if ending(primary) != ending(other) {
            if !self.ignores_transport() {
                add(&mut comparison, "transport", DifferenceKind::Status, ending(primary), ending(other));
            }
            return comparison;
        }
        if let (ExchangeOutcome::Answered(primary), ExchangeOutcome::Answered(other)) = (primary, other) {
            self.responses(primary, other, &mut comparison);
        }
        comparison.truncated |= comparison.differences.len() > FIELDS_MAX;
        comparison.differences.truncate(FIELDS_MAX);
        comparison
    }

    fn responses(&self, a: &ResponseView<'_>, b: &ResponseView<'_>, comparison: &mut Comparison) {
        if a.status != b.status {
            if !self.ignores_status() {
                add(comparison, "status", DifferenceKind::Status, a.status.as_str(), b.status.as_str());
            }
            return;
        }
        let (a_grpc, b_grpc) = (grpc_status(a), grpc_status(b));
        if a_grpc != b_grpc && !self.ignores_trailer("grpc-status") {
            let show = |status: Option<&[u8]>| {
                status.map_or_else(|| ABSENT.into(), |status| of_text(&String::from_utf8_lossy(status)))
            };
            add(comparison, "trailer:grpc-status", DifferenceKind::Status, &show(a_grpc), &show(b_grpc));
            return;
        }
        headers::compare(a.headers, b.headers, HeaderBlock::Head, self, comparison);
        let none = HeaderMap::new();
        let (a_trailers, b_trailers) = (a.trailers.unwrap_or(&none), b.trailers.unwrap_or(&none));
        headers::compare(a_trailers, b_trailers, HeaderBlock::Trailers, self, comparison);
        let cut = a.body.ending == Ending::Cut;
        if !cut && !self.ignores_body() {
            self.bodies(a, b, comparison);
        }
    }

    fn bodies(&self, a: &ResponseView<'_>, b: &ResponseView<'_>, comparison: &mut Comparison) {
        let (a_coding, b_coding) = (coding(a.headers), coding(b.headers));
        let same_coding = a_coding.eq_ignore_ascii_case(&b_coding);
        if same_coding && a.body.length == b.body.length && a.body.digest == b.body.digest {
            return;
        }
        if [&a.body, &b.body].iter().any(|body| body.is_uncaptured()) {
            comparison.unread = Some(UnreadBody::NoRoom);
            return;
        }
        match (decoded(&a.body, &a_coding), decoded(&b.body, &b_coding)) {
            (Ok(a_text), Ok(b_text)) if a_text == b_text => {}
            (Ok(a_text), Ok(b_text)) => {
                let a_content = content(a.headers, &a_text);
                let b_content = content(b.headers, &b_text);
                let a = DecodedBody { bytes: &a_text, content: a_content };
                let b = DecodedBody { bytes: &b_text, content: b_content };
                self.contents(a, b, comparison);
            }
            // Bodies that cannot be decoded are a difference only if a coding is malformed or both codings are equal.
            (a_text, b_text) => {
                let malformed = [&a_text, &b_text].iter().any(|text| matches!(text, Err(Undecoded::Malformed)));
                if same_coding || malformed {
                    let show = |body: &BodyView<'_>, text: &Result<Cow<'_, [u8]>, Undecoded>| {
                        let why = text.as_ref().err().map(|error| undecoded(body, *error));
                        self.digested(Digest { length: body.length, hash: body.digest }, why)
                    };
                    add(comparison, "body", DifferenceKind::Opaque, &show(&a.body, &a_text), &show(&b.body, &b_text));
                } else {
                    comparison.unread = Some(UnreadBody::Coding);
                }
            }
        }
    }

    fn contents(&self, a: DecodedBody<'_>, b: DecodedBody<'_>, comparison: &mut Comparison) {
        let (a_text, b_text) = (a.text(), b.text());
        match (a.tree(), b.tree()) {
            (Some(Ok(a_tree)), Some(Ok(b_tree))) => walk::compare(a_tree, b_tree, self, FIELDS_MAX, comparison),
            (Some(Err(JsonError::TooManyValues)), _) | (_, Some(Err(JsonError::TooManyValues))) => {
                self.opaque([a.bytes, b.bytes], "too many values", comparison);
            }
            (Some(Ok(_)), _) => add(comparison, "$", DifferenceKind::Type, "JSON", "not JSON"),
            (_, Some(Ok(_))) => add(comparison, "$", DifferenceKind::Type, "not JSON", "JSON"),
            (_, _) => match (a_text, b_text) {
                (Some(a_text), Some(b_text)) => {
                    for kind in lines::differences(a_text, b_text) {
                        let show = |text: &str| {
                            let summary = self.digested(Digest::of(text.as_bytes()), None);
                            if self.redacts_body() {
                                summary
                            } else {
                                format!("{} lines, {summary}", text.lines().count())
                            }
                        };
                        add(comparison, "body", kind, &show(a_text), &show(b_text));
                    }
                }
                (Some(_) | None, _) => self.opaque([a.bytes, b.bytes], "no text", comparison),
            },
        }
    }

    fn opaque(&self, [a, b]: [&[u8]; 2], why: &str, comparison: &mut Comparison) {
        let show = |bytes| self.digested(Digest::of(bytes), Some(why));
        add(comparison, "body", DifferenceKind::Opaque, &show(a), &show(b));
    }

    /// The size of a body, a prefix of its salted digest, and why it was not compared in detail. Shows no content.
    fn digested(&self, Digest { length, hash }: Digest, why: Option<&str>) -> String {
        if self.redacts_body() {
            return why.map_or_else(|| REDACTED.to_owned(), |why| format!("{REDACTED}: {why}"));
        }
        let summary = format!("{length} bytes, {:08x}…", self.salted(hash) >> 32);
        why.map_or_else(|| summary.clone(), |why| format!("{summary}: {why}"))
    }
}

impl<'a> DecodedBody<'a> {
    /// The body as text; nothing for binary content and invalid UTF-8.
    fn text(self) -> Option<&'a str> {
        let bytes = (self.content != Content::Bytes).then_some(self.bytes)?;
        std::str::from_utf8(bytes).ok()
    }

    /// The body as JSON, where its content type is JSON.
    fn tree(self) -> Option<Result<JsonTree<'a>, JsonError>> {
        let text = self.text().filter(|_| self.content == Content::Json)?;
        Some(JsonTree::parse(text, VALUES_MAX))
    }
}

/// The name of the outcome.
fn ending(outcome: &ExchangeOutcome<'_>) -> &'static str {
    match outcome {
        ExchangeOutcome::Failed(Failure::Connect) => "connect",
        ExchangeOutcome::Failed(Failure::Timeout) => "timeout",
        ExchangeOutcome::Failed(Failure::Reset) => "reset",
        ExchangeOutcome::Answered(answer) => match answer.body.ending {
            Ending::Complete => "complete",
            Ending::Cut => "cut",
        },
    }
}

/// The status of a gRPC call: in the trailers, or in the head of a response without a body.
fn grpc_status<'a>(answer: &ResponseView<'a>) -> Option<&'a [u8]> {
    let own = answer.trailers.and_then(|trailers| trailers.get("grpc-status"));
    own.or_else(|| answer.headers.get("grpc-status")).map(http::HeaderValue::as_bytes)
}

/// The content codings of a response, without white space.
fn coding(headers: &HeaderMap) -> String {
    let values =
        headers.get_all(header::CONTENT_ENCODING).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let joined = values.collect::<Vec<_>>().join(",");
    joined.split(',').map(str::trim).filter(|name| !name.is_empty()).collect::<Vec<_>>().join(",")
}

fn decoded<'a>(body: &BodyView<'a>, coding: &str) -> Result<Cow<'a, [u8]>, Undecoded> {
    if !body.is_whole() {
        return Err(Undecoded::TooLarge);
    }
    decode(body.captured, coding, Bound { most: DECODED_MAX, ratio: RATIO_MAX })
}

/// The content of a body by its content type; without one, JSON if it begins like JSON.
fn content(headers: &HeaderMap, body: &[u8]) -> Content {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        let json = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
        return if json { Content::Json } else { Content::Text };
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let lines = ["application/x-ndjson", "application/jsonl", "application/x-www-form-urlencoded"];
    match essence.as_str() {
        "application/json" | "text/json" => Content::Json,
        json if json.ends_with("+json") => Content::Json,
        text if text.starts_with("text/") || text.ends_with("xml") || text.ends_with("javascript") => Content::Text,
        text if text.ends_with("yaml") || text.ends_with("graphql") || lines.contains(&text) => Content::Text,
        _ => Content::Bytes,
    }
}

fn add(comparison: &mut Comparison, path: &str, kind: DifferenceKind, primary: &str, other: &str) {
    let field = ResponseField { path: path.into(), kind };
    comparison.differences.push(Difference { field, primary: primary.into(), other: other.into() });
}

/// Why a body was not decoded, as text.
fn undecoded(body: &BodyView<'_>, error: Undecoded) -> &'static str {
    match error {
        Undecoded::TooLarge if body.is_whole() => "too large when decoded",
        Undecoded::TooLarge => "larger than 256 KiB",
        Undecoded::Malformed => "not in its content coding",
        Undecoded::Unknown => "in an unknown content coding",
    }
}

impl Digest {
    fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len() as u64, hash: xxhash_rust::xxh3::xxh3_128(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http::{HeaderName, HeaderValue, StatusCode};

    use super::super::BODY_MAX;
    use super::*;
    use crate::compare::Pattern;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn answer<'a>(status: u16, headers: &'a HeaderMap, body: BodyView<'a>) -> ExchangeOutcome<'a> {
        let status = StatusCode::from_u16(status).unwrap();
        ExchangeOutcome::Answered(ResponseView { status, headers, trailers: None, body })
    }

    fn fields(a: &ExchangeOutcome<'_>, b: &ExchangeOutcome<'_>) -> Vec<String> {
        Criteria::default().compare(a, b).fields().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_level_that_differs_ends_the_comparison() {
        let json = map(&[("content-type", "application/json")]);
        let (one, two) = (BodyView::whole(b"{\"a\":1}"), BodyView::whole(b"{\"a\":2}"));
        let cut = BodyView { ending: Ending::Cut, ..two };
        let (ok, cut) = (answer(200, &json, one), answer(200, &json, cut));
        for (a, b, found) in [
            (&ok, &ok, vec![]),
            (&ok, &ExchangeOutcome::Failed(Failure::Timeout), vec!["transport status"]),
            (
                &ExchangeOutcome::Failed(Failure::Reset),
                &ExchangeOutcome::Failed(Failure::Timeout),
                vec!["transport status"],
            ),
            (&ExchangeOutcome::Failed(Failure::Reset), &ExchangeOutcome::Failed(Failure::Reset), vec![]),
            (&ok, &cut, vec!["transport status"]),
            (&cut, &cut, vec![]),
            (&ok, &answer(500, &HeaderMap::new(), two), vec!["status status"]),
            (&ok, &answer(200, &HeaderMap::new(), two), vec!["header:content-type header", "$.a value"]),
        ] {
            assert_eq!(fields(a, b), found, "{a:?} {b:?}");
        }
        let ignoring = ["transport", "status"].map(|text| Pattern::parse(text).unwrap());
        let criteria = Criteria::new(&ignoring, &[], &[], &[]);
        assert!(criteria.compare(&ok, &ExchangeOutcome::Failed(Failure::Connect)).is_equal());
        assert!(criteria.compare(&ok, &answer(500, &json, two)).is_equal());
    }

    #[test]
    fn a_grpc_status_is_compared_in_head_and_trailers() {
        let (head, bad) = (map(&[("grpc-status", "0")]), map(&[("grpc-status", "13"), ("grpc-message", "no")]));
        let none = HeaderMap::new();
        let call = |headers, trailers| {
            ExchangeOutcome::Answered(ResponseView {
                status: StatusCode::OK,
                headers,
                trailers,
                body: BodyView::whole(b""),
            })
        };
        assert_eq!(fields(&call(&none, Some(&head)), &call(&head, None)), [""; 0]);
        assert_eq!(fields(&call(&none, Some(&head)), &call(&none, Some(&bad))), ["trailer:grpc-status status"]);
        assert_eq!(fields(&call(&none, Some(&head)), &call(&none, None)), ["trailer:grpc-status status"]);
        let other = map(&[("grpc-status", "0"), ("x-cost", "1")]);
        assert_eq!(fields(&call(&none, Some(&head)), &call(&none, Some(&other))), ["trailer:x-cost header"]);
    }

    #[test]
    fn bodies_are_compared_by_content_type() {
        for (content_type, a, b, found) in [
            ("text/html; charset=utf-8", "<p>\n1", "<p>\n2", vec!["body value"]),
            ("application/problem+json", "{\"a\":1}", "{\"a\":2}", vec!["$.a value"]),
            ("Application/JSON ; charset=utf-8", "[1]", "[2]", vec!["$[*] value"]),
            ("application/octet-stream", "[1]", "[2]", vec!["body opaque"]),
            ("application/grpc", "\0\0\0\0\u{1}a", "\0\0\0\0\u{1}b", vec!["body opaque"]),
            ("application/json", "", "{}", vec!["$ type"]),
            ("application/json", "<html>", "<body>", vec!["body value"]),
            ("application/json", "1", "1.0", vec![]),
            ("application/x-ndjson", "{}\n{}", "{}", vec!["body length"]),
        ] {
            let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect();
            let outcome = |text: &'static str| answer(200, &headers, BodyView::whole(text.as_bytes()));
            assert_eq!(fields(&outcome(a), &outcome(b)), found, "{content_type} {a} {b}");
        }
        // Invalid UTF-8 is neither text nor JSON.
        let json = map(&[("content-type", "application/json")]);
        let (good, bad) =
            (answer(200, &json, BodyView::whole(b"[]")), answer(200, &json, BodyView::whole(b"[\"\xff\"]")));
        assert_eq!(fields(&good, &bad), ["$ type"]);
        assert_eq!(fields(&bad, &answer(200, &json, BodyView::whole(b"\xff"))), ["body opaque"]);
        // Too many values.
        let many = |last| format!("[{}{last}]", "1,".repeat(70_000));
        let (a, b) = (many(1), many(2));
        assert_eq!(
            fields(
                &answer(200, &json, BodyView::whole(a.as_bytes())),
                &answer(200, &json, BodyView::whole(b.as_bytes()))
            ),
            ["body opaque"]
        );
    }

    #[test]
    fn bodies_are_decoded_first() {
        let gzip = |text: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let plain = map(&[("content-type", "application/json"), ("content-encoding", "identity")]);
        let coded = map(&[("content-type", "application/json"), ("content-encoding", "gzip")]);
        let (one, two) = (gzip(b"{\"a\":1}"), gzip(b"{\"a\":2}"));
        let coding = "header:content-encoding header";
        let [plain_one, coded_one, coded_two] = [(&plain, &b"{\"a\":1}"[..]), (&coded, &one), (&coded, &two)]
            .map(|(headers, bytes)| answer(200, headers, BodyView::whole(bytes)));
        assert_eq!(fields(&plain_one, &coded_one), [coding]);
        assert_eq!(fields(&coded_one, &coded_two), ["$.a value"]);
        assert_eq!(fields(&plain_one, &coded_two), [coding, "$.a value"]);
        assert_eq!(fields(&plain_one, &answer(200, &coded, BodyView::whole(b"no gzip"))), [coding, "body opaque"]);
        // A bomb, and a body that was not captured as a whole: a difference only if the digests can be compared.
        let bomb = gzip(&vec![b' '; 8 << 20]);
        let (bomb, larger) = (BodyView::whole(&bomb), BodyView { length: 1 << 30, ..BodyView::whole(&one) });
        for large in [bomb, larger] {
            let large = answer(200, &coded, large);
            assert_eq!(fields(&large, &large), [""; 0]);
            assert_eq!(fields(&large, &coded_one), ["body opaque"]);
            let comparison = Criteria::default().compare(&large, &plain_one);
            assert_eq!((comparison.fields().len(), comparison.unread), (1, Some(UnreadBody::Coding)));
        }
    }

    #[test]
    fn an_opaque_body_has_a_reason() {
        let json = map(&[("content-type", "application/json")]);
        let sample = |a: &ExchangeOutcome<'_>, b: &ExchangeOutcome<'_>, redact: &[Pattern]| {
            let found = Criteria::new(&[], &[], &[], redact).compare(a, b);
            found.differences.first().map(|found| (found.primary.to_string(), found.other.to_string()))
        };
        let kept = vec![b' '; BODY_MAX - 1];
        let large = answer(200, &json, BodyView { length: 300_000, ..BodyView::whole(&kept) });
        let small = answer(200, &json, BodyView::whole(b"{}"));
        let (a, b) = sample(&large, &small, &[]).unwrap();
        assert!(a.starts_with("300000 bytes, ") && a.ends_with(": larger than 256 KiB"), "{a}");
        assert!(b.starts_with("2 bytes, ") && !b.contains(": "), "{b}");
        let bytes = map(&[("content-type", "image/png")]);
        let (one, two) =
            (answer(200, &bytes, BodyView::whole(b"123456")), answer(200, &bytes, BodyView::whole(b"654321")));
        let (a, _) = sample(&one, &two, &[]).unwrap();
        assert!(a.starts_with("6 bytes, ") && a.ends_with(": no text"), "{a}");
        // A digest shows which samples are equal, but only within one table: the salt differs between tables.
        assert_ne!(a, sample(&one, &two, &[]).unwrap().0);
        for redact in ["body", "$"].map(|text| Pattern::parse(text).unwrap()) {
            let (a, b) = sample(&one, &two, std::slice::from_ref(&redact)).unwrap();
            assert_eq!((&*a, &*b), ("(redacted): no text", "(redacted): no text"));
            assert_eq!(sample(&large, &small, &[redact]).unwrap().1, "(redacted)");
        }
    }

    #[test]
    fn an_uncaptured_body_is_not_compared() {
        let json = map(&[("content-type", "application/json")]);
        let body = BodyView::whole(b"{\"a\":1}");
        let cut = BodyView { captured: b"{\"a\"", ..body };
        let (none, other) = (answer(200, &json, cut), answer(200, &json, BodyView::whole(b"{\"a\":2}")));
        for (a, b) in [(&none, &other), (&other, &none)] {
            let found = Criteria::default().compare(a, b);
            assert_eq!((found.fields().len(), found.unread), (0, Some(UnreadBody::NoRoom)));
        }
        // The digest is known nevertheless.
        let found = Criteria::default().compare(&none, &answer(200, &json, body));
        assert_eq!((found.is_equal(), found.unread), (true, None));
    }
}
