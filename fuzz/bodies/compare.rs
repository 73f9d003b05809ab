//! Properties of the comparison of any two responses: it never panics, a response equals itself, and the path of a
//! difference is a pattern that ignores it.
//!
//! The input is a line with the content type and coding, then the two bodies, separated by a zero byte.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use pointsman::compare::{BodyView, Criteria, ExchangeOutcome, FIELDS_MAX, Pattern, ResponseView};

/// Any bytes: two responses with the same head.
pub fn any(bytes: &[u8]) {
    let (head, bodies) = split(bytes, b'\n');
    let (content_type, coding) = split(head, b'|');
    let (a, b) = split(bodies, 0);
    let mut headers = HeaderMap::new();
    for (name, value) in [(header::CONTENT_TYPE, content_type), (header::CONTENT_ENCODING, coding)] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    let outcome = |body| {
        ExchangeOutcome::Answered(ResponseView {
            status: StatusCode::OK,
            headers: &headers,
            trailers: None,
            body: BodyView::whole(body),
        })
    };
    let (a, b) = (outcome(a), outcome(b));
    let mut none = Criteria::default();
    assert!(none.compare(&a, &a).is_equal() && none.compare(&b, &b).is_equal(), "a response equals itself");
    let found = none.compare(&a, &b);
    assert!(found.differences.len() <= FIELDS_MAX, "the differences are limited");
    assert_eq!(none.compare(&b, &a).is_equal(), found.is_equal(), "the comparison is symmetric");
    let parse = |path: &str| Pattern::parse(path).unwrap_or_else(|error| panic!("{path} is not a pattern: {error}"));
    let patterns: Vec<Pattern> = found.fields().iter().map(|field| parse(&field.path)).collect();
    none = Criteria::new(&patterns, &[], &[], &patterns);
    for field in none.compare(&a, &b).fields() {
        assert!(!found.fields().contains(&field), "{field} was ignored");
    }
    for difference in found.differences {
        assert!(difference.primary.len() <= 204 && difference.other.len() <= 204, "samples are limited");
    }
}

fn split(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| byte == at).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}
