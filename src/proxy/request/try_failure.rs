//! A try that failed, as the endpoint's health, the retry rule and the access log see it.

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, RETRY_AFTER};

use crate::compare::Failure;
use crate::failover::{FailureCause, Reached, Resendable};
use crate::fields::{Fields, text};
use crate::proxy::upstream::upstream_head::UpstreamHead;
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::grpc::GrpcCall;
use crate::route::{OutlierSettings, RetryCondition};
use crate::telemetry::GrpcStatus;

const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// A try that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct TryFailure {
    /// The fault; `None`: the endpoint sent a response.
    pub(super) fault: Option<Fault>,
    /// The status of the response, or 0.
    pub(super) status: u16,
    /// What it is in the access log.
    pub(super) why: &'static str,
    /// What it says about the endpoint; `None`: nothing.
    pub(super) cause: Option<FailureCause>,
    /// What it is in the words of `on`.
    pub(super) condition: Option<RetryCondition>,
    /// How far the try came.
    pub(super) reached: Reached,
    /// The connection came from the pool.
    pub(super) reused: bool,
    /// The part of the request that is kept.
    pub(super) resendable: Resendable,
    /// When the endpoint accepts another try.
    pub(super) pushback: Pushback,
}

/// When an endpoint accepts another try, as its response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushback {
    /// It does not say.
    None,
    /// After this time (`Retry-After`, RFC 9110 §10.2.3; `grpc-retry-pushback-ms`).
    After(Duration),
    /// Never (`grpc-retry-pushback-ms` below 0 or malformed).
    Never,
}

impl TryFailure {
    /// The failure of a connection: nothing was sent.
    pub(super) const fn unconnected(fault: Fault) -> Self {
        Self {
            cause: cause_of(fault),
            condition: Some(RetryCondition::Connect),
            reached: Reached::Unsent,
            ..Self::of_fault(fault)
        }
    }

    /// A fault after the endpoint was connected to.
    pub(super) const fn of_fault(fault: Fault) -> Self {
        let condition = if matches!(fault, Fault::UpstreamReset | Fault::UpstreamProtocol) {
            Some(RetryCondition::ResetBeforeHead)
        } else if matches!(fault, Fault::ResponseTimeout) {
            Some(RetryCondition::Timeout)
        } else {
            None
        };
        Self {
            fault: Some(fault),
            status: 0,
            why: fault.detail(),
            cause: cause_of(fault),
            condition,
            reached: Reached::Unanswered,
            reused: false,
            resendable: Resendable::No,
            pushback: Pushback::None,
        }
    }

    /// The failure that the head of a response shows, if it shows one; `call`: the gRPC call that it answers.
    #[cold]
    pub(super) fn of_head(head: &UpstreamHead, settings: &OutlierSettings, call: Option<&GrpcCall>) -> Option<Self> {
        let status = head.status.as_u16();
        let answered = Self { fault: None, status, reached: Reached::Answered, ..Self::of_fault(Fault::UpstreamReset) };
        if let Some(code) = GrpcStatus::of_fields(&head.fields).filter(|_| call.is_some()).and_then(GrpcStatus::code) {
            // A status in the head is that of a trailers-only response.
            let cause = (code == UNAVAILABLE).then_some(FailureCause::Grpc);
            let condition = (code > 0).then_some(RetryCondition::Grpc(code));
            let pushback = grpc_pushback(&head.fields);
            return condition.map(|_| Self { why: grpc_name(code), cause, condition, pushback, ..answered });
        }
        if status < 400 {
            return None;
        }
        let is_bad = matches!(status, 502..=504) || settings.any_5xx && status >= 500;
        let cause = is_bad.then_some(FailureCause::Status);
        let condition = Some(RetryCondition::Status(status));
        Some(Self { why: status_name(head.status), cause, condition, pushback: retry_after(&head.fields), ..answered })
    }

    /// Whether it is an error in the evidence about its variant: not a refused stream, nor a 4xx response.
    pub(super) const fn is_error(&self) -> bool {
        self.cause.is_some() || self.status >= 500
    }

    /// For how long the balancer keeps the place of a try that the endpoint has refused, in milliseconds and not yet
    /// bounded: it did not accept the connection, or answered 429, 503 or what gRPC has for them. `None`: it has not.
    pub(super) fn keeps_ms(&self) -> Option<u64> {
        let unconnected = self.reached == Reached::Unsent && !self.reused && self.cause.is_some();
        let refused = matches!(self.status, 429 | 503)
            || matches!(self.condition, Some(RetryCondition::Grpc(UNAVAILABLE | RESOURCE_EXHAUSTED)));
        let asked = match self.pushback {
            Pushback::After(time) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            Pushback::None | Pushback::Never => 0,
        };
        (unconnected || refused).then_some(asked)
    }

    /// Whether it says nothing about the upstream, if another try follows: the end of an idle connection has crossed the
    /// request, or the peer states that it did not process it. An endpoint that refuses the handshake has refused a
    /// connection.
    pub(super) fn is_untouched(&self) -> bool {
        match self.reached {
            Reached::Unprocessed => self.fault != Some(Fault::TlsAlert),
            Reached::Unsent | Reached::Unanswered => self.reused && self.condition != Some(RetryCondition::Timeout),
            Reached::Answered | Reached::Aborted => false,
        }
    }

    /// What a comparison with copies records instead of a response; nothing where there was one.
    pub(super) fn compared(&self) -> Option<Failure> {
        self.fault.and_then(|fault| fault.row().failure)
    }
}

/// The codes of gRPC for what is refused.
const RESOURCE_EXHAUSTED: u8 = 8;
const UNAVAILABLE: u8 = 14;

/// What a fault says about the endpoint.
pub(super) const fn cause_of(fault: Fault) -> Option<FailureCause> {
    match fault {
        Fault::ConnectRefused => Some(FailureCause::ConnectRefused),
        Fault::ConnectTimeout => Some(FailureCause::ConnectTimeout),
        Fault::TlsCertificate | Fault::TlsProtocol | Fault::TlsAlert | Fault::TlsTimeout => Some(FailureCause::Tls),
        Fault::UpstreamReset => Some(FailureCause::Reset),
        Fault::UpstreamProtocol | Fault::UpstreamSpeaksTls => Some(FailureCause::Protocol),
        Fault::ResponseTimeout => Some(FailureCause::Timeout),
        Fault::Refused(_)
        | Fault::RateLimited(_)
        | Fault::Shed
        | Fault::ClientGone
        | Fault::NoEndpoint
        | Fault::Ejected
        | Fault::Unhealthy
        | Fault::AnswerMemory
        | Fault::UpstreamRequests
        | Fault::UpstreamConnections
        | Fault::UpstreamHeaders
        | Fault::NoUpgrade
        | Fault::Killed
        | Fault::CallTimeout => None,
    }
}

/// `Retry-After` in seconds. A date is ignored: it is longer than any try waits.
fn retry_after(fields: &Fields) -> Pushback {
    let seconds = fields.get_text(RETRY_AFTER).and_then(|value| value.trim().parse().ok());
    seconds.map_or(Pushback::None, |seconds| Pushback::After(Duration::from_secs(seconds)))
}

fn grpc_pushback(fields: &Fields) -> Pushback {
    let Some(value) = fields.get(PUSHBACK) else { return Pushback::None };
    let millis = text(value).and_then(|text| text.parse::<u32>().ok());
    millis.map_or(Pushback::Never, |millis| Pushback::After(Duration::from_millis(millis.into())))
}

/// A status in the access log.
const fn status_name(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// A status of gRPC in the access log.
fn grpc_name(code: u8) -> &'static str {
    const NAMES: [&str; 17] = [
        "grpc:ok",
        "grpc:cancelled",
        "grpc:unknown",
        "grpc:invalid_argument",
        "grpc:deadline_exceeded",
        "grpc:not_found",
        "grpc:already_exists",
        "grpc:permission_denied",
        "grpc:resource_exhausted",
        "grpc:failed_precondition",
        "grpc:aborted",
        "grpc:out_of_range",
        "grpc:unimplemented",
        "grpc:internal",
        "grpc:unavailable",
        "grpc:data_loss",
        "grpc:unauthenticated",
    ];
    NAMES.get(usize::from(code)).copied().unwrap_or("grpc:unknown")
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Version};

    use super::*;

    fn of(status: u16, fields: &[(&'static str, &'static str)]) -> Option<TryFailure> {
        seen(status, fields, Some(&GrpcCall { deadline: None, status: GrpcStatus::UNSEEN }))
    }

    fn seen(status: u16, fields: &[(&'static str, &'static str)], call: Option<&GrpcCall>) -> Option<TryFailure> {
        let mut all = Fields::new();
        for (name, value) in fields {
            all.append(&HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        let head = UpstreamHead { status, version: Version::HTTP_11, fields: all };
        TryFailure::of_head(&head, &OutlierSettings::default(), call)
    }

    #[test]
    fn statuses_are_failures_of_the_request_and_some_of_the_endpoint() {
        assert!(of(200, &[]).is_none() && of(304, &[]).is_none());
        for (status, cause) in
            [(404, None), (500, None), (503, Some(FailureCause::Status)), (504, Some(FailureCause::Status))]
        {
            let failure = of(status, &[]).unwrap();
            assert_eq!((failure.condition, failure.cause), (Some(RetryCondition::Status(status)), cause), "{status}");
        }
    }

    #[test]
    fn a_trailers_only_response_has_its_status_in_the_head() {
        assert!(of(200, &[("grpc-status", "0")]).is_none());
        let failure = of(200, &[("grpc-status", "14")]).unwrap();
        assert_eq!((failure.condition, failure.cause), (Some(RetryCondition::Grpc(14)), Some(FailureCause::Grpc)));
        assert_eq!((failure.why, failure.pushback), ("grpc:unavailable", Pushback::None));
        assert_eq!(of(200, &[("grpc-status", "8")]).unwrap().cause, None);
        assert!(seen(200, &[("grpc-status", "14")], None).is_none(), "not a call");
    }

    #[test]
    fn a_refused_try_keeps_its_place() {
        let kept = |status, fields: &[_]| of(status, fields).and_then(|failure| failure.keeps_ms());
        assert_eq!((kept(429, &[]), kept(503, &[("retry-after", "7")])), (Some(0), Some(7_000)));
        assert_eq!(kept(503, &[("retry-after", "99999999999")]), Some(99_999_999_999_000), "bounded where it is kept");
        assert_eq!(kept(503, &[("retry-after", "999999999999999999999999")]), Some(0), "not a number");
        assert_eq!((kept(500, &[]), kept(404, &[]), kept(502, &[])), (None, None, None));
        assert_eq!((kept(200, &[("grpc-status", "14")]), kept(200, &[("grpc-status", "5")])), (Some(0), None));
        let unconnected = TryFailure::unconnected(Fault::ConnectRefused);
        assert_eq!(unconnected.keeps_ms(), Some(0));
        assert_eq!(TryFailure { reused: true, ..unconnected }.keeps_ms(), None, "an idle connection that had ended");
        assert_eq!(TryFailure::unconnected(Fault::UpstreamConnections).keeps_ms(), None, "the limit of the proxy");
    }

    #[test]
    fn endpoints_push_back() {
        let after = |millis| Pushback::After(Duration::from_millis(millis));
        assert_eq!(of(503, &[("retry-after", "2")]).unwrap().pushback, after(2_000));
        assert_eq!(of(503, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]).unwrap().pushback, Pushback::None);
        for (text, pushback) in [("250", after(250)), ("-1", Pushback::Never), ("soon", Pushback::Never)] {
            let fields = [("grpc-status", "14"), ("grpc-retry-pushback-ms", text)];
            assert_eq!(of(200, &fields).unwrap().pushback, pushback, "{text}");
        }
    }
}
