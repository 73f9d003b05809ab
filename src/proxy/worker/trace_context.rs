//! The trace context of a request (W3C Trace Context): continued from its headers, or new.

use std::io::Write as _;
use std::net::SocketAddr;

use http::Method;
use http::header::HeaderName;

use crate::clock::Timestamp;
use crate::fields::{Fields, text};
use crate::proxy::wire::field_rules::Peer;
use crate::route::{TraceExport, UpstreamId};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The longest `tracestate` that is exported. The upstream gets a longer one unchanged.
const STATE_BYTES_MAX: usize = 512;

/// The trace context of one exchange.
#[derive(Debug)]
pub(crate) struct TraceContext {
    pub(crate) id: u128,
    /// The server span.
    pub(crate) span: u64,
    pub(crate) parent: Option<TraceParent>,
    pub(crate) state: Box<str>,
    pub(crate) sampled: Option<bool>,
    pub(crate) attempts: Vec<Attempt>,
}

/// A parsed `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    trace: u128,
    pub(crate) span: u64,
    sampled: bool,
}

/// An attempt to get a response, and its client span.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) span: u64,
    pub(crate) began: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) upstream: Option<UpstreamId>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) status: u16,
    pub(crate) error: &'static str,
}

impl TraceContext {
    /// Continues the trace of the headers, or starts a new one.
    pub(crate) fn new(fields: &Fields, random: &mut fastrand::Rng) -> Self {
        let parent = TraceParent::read(fields);
        let state = parent.map_or_else(String::new, |_| state(fields));
        let id = parent.map_or_else(|| random.u128(1..), |parent| parent.trace);
        let span = random.u64(1..);
        Self { id, span, parent, state: state.into(), sampled: None, attempts: Vec::new() }
    }

    /// The trace id as 32 hex digits.
    pub(crate) fn text(&self) -> Box<str> {
        format!("{:032x}", self.id).into()
    }

    /// Whether its spans are exported. A trusted peer's `sampled` flag decides; otherwise the share in `[traces]`.
    pub(crate) fn is_sampled(&mut self, export: &TraceExport, peer: Peer) -> bool {
        let id = self.id;
        let decide = |parent: Option<TraceParent>| match parent {
            Some(parent) if peer == Peer::Trusted => parent.sampled,
            Some(_) | None => export.samples(id),
        };
        *self.sampled.get_or_insert_with(|| decide(self.parent))
    }

    /// Ends the last attempt, unless it has ended.
    pub(crate) fn end_attempt(&mut self, now: Timestamp, error: &'static str) {
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.ended.is_none()) {
            (attempt.ended, attempt.error) = (Some(now), error);
        }
    }

    /// Sets the response status of the last attempt; the attempt ends with the response.
    pub(crate) fn set_status(&mut self, status: u16) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.status = status;
        }
    }

    /// Sets `traceparent` so that `span` is the parent of the upstream's spans.
    pub(crate) fn inject(&self, span: u64, fields: &mut Fields) {
        fields.remove(TRACEPARENT);
        let flags = u8::from(self.sampled == Some(true));
        fields.append_with(&TRACEPARENT, |bytes| drop(write!(bytes, "00-{:032x}-{span:016x}-{flags:02x}", self.id)));
        if self.parent.is_none() {
            // A `tracestate` without a valid `traceparent` is not passed on.
            fields.remove(TRACESTATE);
        }
    }
}

/// `tracestate`, which may have several lines.
fn state(fields: &Fields) -> String {
    let lines: Vec<&str> = fields.get_all(&TRACESTATE).filter_map(text).collect();
    let joined = lines.join(",");
    if joined.len() <= STATE_BYTES_MAX { joined } else { String::new() }
}

impl TraceParent {
    /// Parses the only `traceparent`: version, trace, span, flags. Later versions may have more fields after these.
    fn read(fields: &Fields) -> Option<Self> {
        let mut lines = fields.get_all("traceparent");
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let text = text(line)?;
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let (trace, span, flags) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
        let more = parts.next().is_some();
        let valid = version != 0xff && (version > 0 || !more) && trace != 0 && span != 0;
        let span = u64::try_from(span).ok()?;
        valid.then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// Parses exactly `digits` lower-case hex digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let fits = text.len() == digits && text.bytes().all(lower);
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// The span attribute for a method that is not a standard one.
pub(crate) const OTHER_METHOD: &str = "_OTHER";

/// The method if it is a standard one. Invented methods must not create new span names.
pub(crate) fn known_method(method: &Method) -> &str {
    let all = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    if all.contains(method) { method.as_str() } else { OTHER_METHOD }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_parent_is_parsed_as_the_recommendation_requires() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        const SPAN: &str = "00f067aa0ba902b7";
        let read = |lines: &[String]| {
            let mut fields = Fields::new();
            for line in lines {
                fields.append(&TRACEPARENT, &HeaderValue::from_str(line).expect("a value"));
            }
            TraceParent::read(&fields)
        };
        let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        let parent = |sampled| Some(TraceParent { trace, span: 0x00f0_67aa_0ba9_02b7, sampled });
        let check = |line: String, expected| assert_eq!(read(std::slice::from_ref(&line)), expected, "{line}");
        check(format!("00-{TRACE}-{SPAN}-01"), parent(true));
        check(format!("00-{TRACE}-{SPAN}-00"), parent(false));
        check(format!("00-{TRACE}-{SPAN}-03"), parent(true));
        check(format!("cc-{TRACE}-{SPAN}-01"), parent(true));
        check(format!("cc-{TRACE}-{SPAN}-01-what-will-be"), parent(true));
        for wrong in [
            String::new(),
            "x".to_owned(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("+0-{TRACE}-{SPAN}-01"),
        ] {
            check(wrong, None);
        }
        let line = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(read(&[line.clone(), line]), None, "two lines count as none");
    }
}
