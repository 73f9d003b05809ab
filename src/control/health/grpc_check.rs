//! An active check by `grpc.health.v1.Health/Check`. Only SERVING is good.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, TE};
use http::{Method, StatusCode};

use super::check_target::CheckTarget;
use super::failure::CheckFailure;
use super::h2_check::{H2Answer, H2Question, ReadUpTo, ask_h2};
use super::http_check::fields;
use crate::net::Socket;
use crate::route::GrpcProbe;
use crate::telemetry::GrpcStatus;

const PATH: &str = "/grpc.health.v1.Health/Check";
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The length of the prefix of a message: a flag, and its length.
const PREFIX: usize = 5;
/// The tag of field 1 as a string.
const SERVICE: u8 = 0x0a;
/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// Asks, and reads the status of the service.
pub(super) async fn check_grpc(socket: Socket, probe: &GrpcProbe, target: &CheckTarget) -> Result<(), CheckFailure> {
    let mut fields = fields(&probe.headers);
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(TE, HeaderValue::from_static("trailers"));
    // At most eight digits.
    let limit_ms = target.settings.timeout.as_millis().clamp(1, 99_999_999);
    if let Ok(limit) = HeaderValue::from_str(&format!("{limit_ms}m")) {
        fields.insert(TIMEOUT, limit);
    }
    let (path, host) = (PATH.to_owned(), probe.host.clone());
    let question = H2Question { method: Method::POST, path, host, fields, body: message(&probe.service) };
    let answer = ask_h2(socket, question, target, ReadUpTo::Trailers).await?;
    judge(&answer)
}

fn judge(answer: &H2Answer) -> Result<(), CheckFailure> {
    if answer.status != StatusCode::OK {
        return Err(format!("answers {}", answer.status.as_u16()));
    }
    let content_type = answer.head.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !content_type.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return Err("its answer is no gRPC".to_owned());
    }
    // An answer of trailers alone has its status in the head.
    let status = answer.trailers.as_ref().and_then(GrpcStatus::of_map);
    let status = status.or_else(|| GrpcStatus::of_map(&answer.head));
    match status {
        Some(GrpcStatus::OK) => serving(&answer.body),
        Some(other) => Err(call_failed(other)),
        None => Err("its answer has no grpc-status".to_owned()),
    }
}

/// Why the call failed, with the name of the code.
fn call_failed(status: GrpcStatus) -> CheckFailure {
    let code = status.name();
    let (name, what) = match status.code() {
        Some(2) => ("UNKNOWN", ""),
        Some(4) => ("DEADLINE_EXCEEDED", ""),
        Some(5) => ("NOT_FOUND", ": it does not know the service"),
        Some(7) => ("PERMISSION_DENIED", ""),
        Some(8) => ("RESOURCE_EXHAUSTED", ""),
        Some(12) => ("UNIMPLEMENTED", ": it has no grpc.health.v1.Health"),
        Some(13) => ("INTERNAL", ""),
        Some(14) => ("UNAVAILABLE", ""),
        Some(16) => ("UNAUTHENTICATED", ""),
        Some(_) | None => return format!("answers grpc-status {code}"),
    };
    format!("answers grpc-status {code} ({name}){what}")
}

/// Whether the message says SERVING.
fn serving(body: &[u8]) -> Result<(), CheckFailure> {
    let odd = || Err("its answer is no HealthCheckResponse".to_owned());
    let Some((prefix, rest)) = body.split_at_checked(PREFIX) else { return odd() };
    let [flag, length @ ..] = prefix else { return odd() };
    if *flag != 0 {
        return Err("its answer is compressed, which it was not asked for".to_owned());
    }
    let length = length.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    let Some(message) = rest.get(..length) else { return odd() };
    match status_of(message) {
        Some(SERVING) => Ok(()),
        Some(0) => Err("says UNKNOWN".to_owned()),
        Some(2) => Err("says NOT_SERVING".to_owned()),
        Some(3) => Err("says SERVICE_UNKNOWN".to_owned()),
        Some(other) => Err(format!("says {other}, which is no status")),
        None => odd(),
    }
}

/// A `HealthCheckRequest` with its prefix.
fn message(service: &str) -> Bytes {
    let mut fields = Vec::with_capacity(service.len() + 8);
    if !service.is_empty() {
        fields.push(SERVICE);
        put_varint(&mut fields, service.len() as u64);
        fields.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(fields.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &fields].concat().into()
}

/// Field 1 of a `HealthCheckResponse`, as a number; 0 where it is left out. Other fields are skipped.
fn status_of(message: &[u8]) -> Option<u64> {
    let (mut rest, mut status) = (message, 0);
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = take_varint(&mut rest)?,
            (_, 0) => drop(take_varint(&mut rest)?),
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap_or_default());
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for at in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn the_question_is_one_string() {
        assert_eq!(&*message(""), b"\0\0\0\0\0");
        assert_eq!(&*message("shop"), b"\0\0\0\0\x06\x0a\x04shop");
        let long = "s".repeat(300);
        assert_eq!(&message(&long)[..8], b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn only_serving_is_good() {
        let says = |bytes: &[u8]| serving(bytes);
        assert_eq!(says(b"\0\0\0\0\x02\x08\x01"), Ok(()));
        for (bytes, why) in [
            (&b"\0\0\0\0\0"[..], "says UNKNOWN"),
            (b"\0\0\0\0\x02\x08\x02", "says NOT_SERVING"),
            (b"\0\0\0\0\x02\x08\x03", "says SERVICE_UNKNOWN"),
            (b"\0\0\0\0\x02\x08\x09", "says 9, which is no status"),
            (b"\x01\0\0\0\x02\x08\x01", "its answer is compressed, which it was not asked for"),
            (b"", "its answer is no HealthCheckResponse"),
            (b"\0\0\0\0\x09\x08\x01", "its answer is no HealthCheckResponse"),
            (b"\0\0\0\0\x01\x0f", "its answer is no HealthCheckResponse"),
        ] {
            assert_eq!(says(bytes), Err(why.to_owned()), "{bytes:?}");
        }
        // Fields of later versions are skipped.
        assert_eq!(says(b"\0\0\0\0\x07\x12\x01x\x18\x05\x08\x01"), Ok(()));
    }

    fn answer(head: &[(&'static str, &str)], trailers: Option<&[(&'static str, &str)]>) -> H2Answer {
        let map = |fields: &[(&'static str, &str)]| -> HeaderMap {
            let one = |(name, value): &(&'static str, &str)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
            };
            fields.iter().map(one).collect()
        };
        let body = b"\0\0\0\0\x02\x08\x01".to_vec();
        H2Answer { status: StatusCode::OK, head: map(head), body, trailers: trailers.map(map) }
    }

    #[test]
    fn the_status_of_the_call_comes_first() {
        let grpc = ("content-type", "application/grpc+proto");
        let status = |value: &'static str| ("grpc-status", value);
        assert_eq!(judge(&answer(&[grpc], Some(&[status("0")]))), Ok(()));
        let failed = |answer: H2Answer| judge(&answer).expect_err("a bad check");
        assert_eq!(failed(answer(&[grpc], None)), "its answer has no grpc-status");
        assert_eq!(failed(answer(&[], Some(&[status("0")]))), "its answer is no gRPC");
        let unimplemented = "answers grpc-status 12 (UNIMPLEMENTED): it has no grpc.health.v1.Health";
        assert_eq!(failed(answer(&[grpc, status("12")], None)), unimplemented, "trailers alone");
        assert_eq!(failed(answer(&[grpc], Some(&[status("14")]))), "answers grpc-status 14 (UNAVAILABLE)");
        assert_eq!(failed(answer(&[grpc], Some(&[status("11")]))), "answers grpc-status 11");
        let gone = H2Answer { status: StatusCode::BAD_GATEWAY, ..answer(&[grpc], None) };
        assert_eq!(failed(gone), "answers 502");
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>) {
            let _ = serving(&bytes);
            let _ = status_of(&bytes);
        }

        #[test]
        fn a_number_comes_back(value in any::<u64>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(take_varint(&mut &bytes[..]), Some(value));
        }
    }
}
