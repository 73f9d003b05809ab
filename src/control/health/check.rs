//! Makes one active check: a connection of its own, one question, and an answer within bounds and one time limit.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::check_target::CheckTarget;
use super::destination::destination;
use super::failure::{CheckFailure, io_words, tls_words};
use super::grpc_check::check_grpc;
use super::h2_check::check_h2;
use super::http_check::{UnreadAnswer, ask_http, judge};
use crate::failover::CheckOutcome;
use crate::net::{ConnectError, ConnectPhase, Socket, connector};
use crate::route::{HealthProbe, Protocol};

/// How much longer than its limit a check may take before it shows nothing: then the process itself has stood still.
const STALL: Duration = Duration::from_millis(500);

/// Makes a check. `None`: it has shown nothing about the endpoint.
pub(super) async fn check(target: &CheckTarget) -> Option<CheckOutcome> {
    let (began, within) = (Instant::now(), target.settings.timeout);
    let mut rest = None;
    let ended = tokio::time::timeout(within, ask(target, &mut rest)).await;
    let took = began.elapsed();
    // The status has decided already, and a body that does not end changes nothing.
    if let Some(rest) = rest {
        rest.finish().await;
    }
    let too_late = |_| Err(format!("does not answer within {within:?}"));
    outcome(ended.unwrap_or_else(too_late), took, within)
}

/// The outcome of a check that took this long.
fn outcome(answer: Result<(), CheckFailure>, took: Duration, within: Duration) -> Option<CheckOutcome> {
    match answer {
        Ok(()) => Some(CheckOutcome::Good),
        // A good answer may have come meanwhile.
        Err(_) if took > within + STALL => None,
        Err(why) => Some(CheckOutcome::Bad(Arc::from(why))),
    }
}

/// Asks, and leaves what it does not read of the answer in `rest`.
async fn ask(target: &CheckTarget, rest: &mut Option<UnreadAnswer>) -> Result<(), CheckFailure> {
    let settings = &target.settings;
    let to = destination(target.address, settings.proxy_protocol, target.tls.as_ref());
    let socket = connector(settings.timeout).oneshot(to).await;
    let mut socket = socket.map_err(|error| not_connected(target, &error))?;
    match &settings.probe {
        HealthProbe::Tcp => {
            // The end of the connection says nothing about the endpoint.
            let _ = socket.shutdown().await;
            Ok(())
        }
        HealthProbe::Http(probe) if speaks_h2(target.protocol, &socket) => check_h2(socket, probe, target).await,
        HealthProbe::Http(probe) => {
            let answer = ask_http(socket, probe, target).await?;
            *rest = Some(answer.rest);
            judge(probe, answer.status)
        }
        HealthProbe::Grpc(_) if target.protocol == Protocol::Https && !socket.agreed_on(b"h2") => {
            Err("does not speak HTTP/2, which gRPC needs".to_owned())
        }
        HealthProbe::Grpc(probe) => check_grpc(socket, probe, target).await,
    }
}

/// Whether a request over this connection is HTTP/2, as it is for the requests of clients.
fn speaks_h2(protocol: Protocol, socket: &Socket) -> bool {
    match protocol {
        Protocol::Http1 => false,
        Protocol::H2c => true,
        Protocol::Https => socket.agreed_on(b"h2"),
    }
}

fn not_connected(target: &CheckTarget, error: &ConnectError) -> CheckFailure {
    let within = target.settings.timeout;
    match error {
        ConnectError::Unreachable(error) | ConnectError::ProxyHeader(error) => io_words(error),
        ConnectError::TimedOut(ConnectPhase::Tcp) => format!("does not accept the connection within {within:?}"),
        ConnectError::TimedOut(ConnectPhase::Tls) => format!("does not end the TLS handshake within {within:?}"),
        ConnectError::Tls(error) => tls_words(target, error),
    }
}

#[cfg(test)]
mod tests;
