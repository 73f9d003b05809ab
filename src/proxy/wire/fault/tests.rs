//! The table of all faults is compared with `table.txt`: clients, logs and metrics depend on it. `BLESS=1` renews the
//! file.

use std::fmt::Write as _;

use super::{Advice, Fault, LimitRefusal};
use crate::telemetry::{EndedBy, GrpcStatus, Refusal};

/// Lists all faults but the refusals and the rate limits. The match does not compile if one is missing.
macro_rules! others {
    ($($name:ident),* $(,)?) => {
        const OTHERS: &[Fault] = &[$(Fault::$name),*];
        const _: fn(Fault) = |fault| match fault {
            Fault::Refused(_) | Fault::RateLimited(_) $(| Fault::$name)* => {}
        };
    };
}

others!(
    Shed,
    ClientGone,
    NoEndpoint,
    Ejected,
    Unhealthy,
    AnswerMemory,
    UpstreamRequests,
    UpstreamConnections,
    ConnectRefused,
    ConnectTimeout,
    UpstreamReset,
    UpstreamProtocol,
    UpstreamHeaders,
    UpstreamSpeaksTls,
    NoUpgrade,
    TlsCertificate,
    TlsProtocol,
    TlsAlert,
    TlsTimeout,
    Killed,
    ResponseTimeout,
    CallTimeout,
);

fn all() -> impl Iterator<Item = Fault> {
    let limited = Fault::RateLimited(LimitRefusal { number: 0, wait_ms: 1 });
    [limited].into_iter().chain(OTHERS.iter().copied()).chain(Refusal::ALL.into_iter().map(Fault::Refused))
}

#[test]
fn the_table_of_faults_is_unchanged() {
    let mut text = String::new();
    for fault in all() {
        let row = fault.row();
        let (status, error, detail) = (row.status.as_u16(), row.proxy_error, row.detail);
        let (blame, grpc) = (row.blame, row.grpc.name());
        let failure = row.failure.map_or("-".to_owned(), |failure| format!("{failure:?}"));
        let transient = if row.advice == Advice::RetryAfter { "retry" } else { "-" };
        let closes = if row.advice == Advice::Close { "close" } else { "-" };
        writeln!(text, "{detail} {status} {error} {blame:?} {grpc} {failure} {transient} {closes} {}", row.message)
            .unwrap();
    }
    if std::env::var_os("BLESS").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/proxy/wire/fault/table.txt");
        std::fs::write(file, &text).unwrap();
    }
    // The test fails in the run that renews the file: `include_str!` still has the old one.
    assert_eq!(text, include_str!("table.txt"), "BLESS=1 renews the file");
}

/// The error types of RFC 9209 §2.3.
const PROXY_ERRORS: [&str; 32] = [
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
];

#[test]
fn every_row_is_valid() {
    let mut details = Vec::new();
    for fault in all() {
        let row = fault.row();
        assert!(row.status.is_client_error() || row.status.is_server_error(), "{fault:?}");
        assert!(row.grpc.code().is_some_and(|code| code != 0), "{fault:?}");
        assert!(PROXY_ERRORS.contains(&row.proxy_error), "{fault:?}: {}", row.proxy_error);
        assert!(!details.contains(&row.detail), "{fault:?}: {} is another fault's", row.detail);
        details.push(row.detail);
        assert!(row.detail.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{fault:?}");
        assert!(row.message.starts_with(char::is_uppercase) && row.message.ends_with('.'), "{fault:?}");
        assert!(row.message.is_ascii() && !row.message.contains(['\n', '"']), "{fault:?}");
    }
}

#[test]
fn the_blamed_side_agrees_with_the_status() {
    for fault in all() {
        let row = fault.row();
        match row.blame {
            EndedBy::Client => assert!(row.status.is_client_error(), "{fault:?}"),
            EndedBy::Upstream => assert!(matches!(row.status.as_u16(), 502 | 504), "{fault:?}"),
            EndedBy::Proxy => assert!(!matches!(row.status.as_u16(), 502 | 504), "{fault:?}"),
            EndedBy::Done => panic!("{fault:?} is a success"),
        }
        if row.status.is_client_error() {
            assert!(row.failure.is_none() && !row.upstream_failed, "{fault:?}");
        }
    }
}

#[test]
fn only_transient_faults_advise_a_retry() {
    for fault in all() {
        let row = fault.row();
        match row.advice {
            Advice::RetryAfter => {
                assert_eq!((row.status.as_u16(), row.grpc), (503, GrpcStatus::UNAVAILABLE), "{fault:?}");
                assert!(!row.upstream_failed, "{fault:?}");
            }
            Advice::Close => assert!(row.status.is_client_error() && row.blame == EndedBy::Proxy, "{fault:?}"),
            Advice::Nothing => {}
        }
    }
}

#[test]
fn faults_of_the_upstream_and_the_lack_of_an_endpoint_count_against_it() {
    for fault in all() {
        let expected = match fault {
            Fault::Refused(_)
            | Fault::RateLimited(_)
            | Fault::Shed
            | Fault::ClientGone
            | Fault::UpstreamRequests
            | Fault::UpstreamConnections
            | Fault::AnswerMemory
            | Fault::Killed => false,
            Fault::NoEndpoint
            | Fault::Ejected
            | Fault::Unhealthy
            | Fault::ConnectRefused
            | Fault::ConnectTimeout
            | Fault::UpstreamReset
            | Fault::UpstreamProtocol
            | Fault::UpstreamHeaders
            | Fault::UpstreamSpeaksTls
            | Fault::NoUpgrade
            | Fault::TlsCertificate
            | Fault::TlsProtocol
            | Fault::TlsAlert
            | Fault::TlsTimeout
            | Fault::ResponseTimeout
            | Fault::CallTimeout => true,
        };
        assert_eq!(fault.row().upstream_failed, expected, "{fault:?}");
    }
}
