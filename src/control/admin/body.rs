//! The body of an acting call: bounded in size and time, UTF-8, JSON of bounded depth.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{HeaderMap, header};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;

use super::problem::{CallProblem, ProblemKind};

/// The largest body, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The deepest nesting of objects and arrays.
const DEPTH_MAX: usize = 64;

/// A body that has arrived.
#[derive(Debug)]
pub(super) struct CallBody {
    pub text: String,
    /// The media type, in lower case and without parameters.
    pub media: String,
}

impl CallBody {
    /// Reads a body of one of these media types.
    ///
    /// # Errors
    /// When it has another media type, is too large, late, cut, or not UTF-8.
    pub async fn read(headers: &HeaderMap, body: Body, media_types: &[&str]) -> Result<Self, CallProblem> {
        let media = media_type(headers);
        if !media_types.contains(&media.as_str()) {
            let help = format!("send `Content-Type: {}`", media_types.join("` or `"));
            let detail =
                if media.is_empty() { "there is no Content-Type".to_owned() } else { format!("it is `{media}`") };
            return Err(ProblemKind::MediaType.because(detail, help));
        }
        let too_large = || {
            let detail = format!("it has more than {BODY_BYTES_MAX} bytes");
            ProblemKind::BodyTooLarge.because(detail, "send a smaller one")
        };
        let announced = body.size_hint().lower();
        if announced > u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX) {
            return Err(too_large());
        }
        let bytes = match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) if is_too_large(&error) => return Err(too_large()),
            Ok(Err(_)) => return Err(ProblemKind::BadBody.because("it is cut", "send all of it")),
            Err(_) => {
                let detail = format!("it has not arrived after {} s", BODY_TIMEOUT.as_secs());
                return Err(ProblemKind::BodyLate.because(detail, "send it at once"));
            }
        };
        match String::from_utf8(bytes.into()) {
            Ok(text) => Ok(Self { text, media }),
            Err(error) => {
                let detail = format!("byte {} is not UTF-8", error.utf8_error().valid_up_to());
                Err(ProblemKind::BadBody.because(detail, "send UTF-8"))
            }
        }
    }

    /// Parses it as JSON.
    ///
    /// # Errors
    /// When it is not JSON, too deep, or not of this form; the message names the fields that are known.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, CallProblem> {
        let help = "see /v1/openapi.json for the fields of this call";
        if is_too_deep(self.text.as_bytes()) {
            let detail = format!("it is nested more than {DEPTH_MAX} levels deep");
            return Err(ProblemKind::BadBody.because(detail, help));
        }
        // An array would be read as the fields in their order.
        if !self.text.trim_ascii_start().starts_with('{') {
            return Err(ProblemKind::BadBody.because("it is not a JSON object", help));
        }
        serde_json::from_str(&self.text).map_err(|error| ProblemKind::BadBody.because(error.to_string(), help))
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let written = all.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if all.next().is_some() {
        return "several".to_owned();
    }
    written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_too_large(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Whether brackets outside strings are nested too deep. It reads each byte once and needs no stack.
fn is_too_deep(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_media(media: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, media.parse().expect("a value"));
        headers
    }

    async fn read(media: &str, body: Body) -> Result<CallBody, ProblemKind> {
        CallBody::read(&with_media(media), body, &["application/json"]).await.map_err(|problem| problem.kind)
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let text = |length| Body::from("x".repeat(length));
        assert!(read("application/json", text(BODY_BYTES_MAX)).await.is_ok());
        let large = read("application/json", text(BODY_BYTES_MAX + 1)).await;
        assert_eq!(large.err(), Some(ProblemKind::BodyTooLarge));
        assert_eq!(read("application/json", Body::from(vec![0xff])).await.err(), Some(ProblemKind::BadBody));
        assert!(read("Application/JSON; charset=utf-8", text(1)).await.is_ok());
        assert_eq!(read("text/plain", text(1)).await.err(), Some(ProblemKind::MediaType));
        let mut two = with_media("application/json");
        two.append(header::CONTENT_TYPE, "text/plain".parse().expect("a value"));
        assert!(CallBody::read(&two, text(1), &["application/json"]).await.is_err());
        let none = CallBody::read(&HeaderMap::new(), text(1), &["application/json"]).await;
        assert_eq!(none.expect_err("refused").detail, "there is no Content-Type");
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_too_deep(nested(DEPTH_MAX).as_bytes()));
        assert!(is_too_deep(nested(DEPTH_MAX + 1).as_bytes()));
        assert!(!is_too_deep(format!("[\"{}\"]", "[".repeat(1_000)).as_bytes()));
        assert!(is_too_deep(format!("[\"\\\"\",{}", "{".repeat(1_000)).as_bytes()));
        assert!(!is_too_deep("[]".repeat(1_000).as_bytes()));
    }
}
